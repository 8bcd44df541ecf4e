"""The pipeline's parameters as plain values: what a run may change, its default, its limits."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pipeline.errors import ParameterError
from pipeline.settings import Account

Value = str | int | float
ANY_DATA = "any"
# SageMaker takes neither an empty parameter nor an input that may be absent. What is optional
# therefore has a prefix with one object in it that says so; on the command line it is called:
NONE = "none"
NO_TABLE_KEY = "data/none/none"


INSTANCE_TYPE = re.compile(r"ml\.[a-z0-9-]+\.[a-z0-9-]+")
S3_URL = re.compile(r"s3://[^/\s]+(/|/\S.*)?")


@dataclass(frozen=True)
class Parameter:
    """One parameter; its type is the type of its default.

    A number lies from `least` to `most`; text matches `form`, if there is one, and is not empty.
    """

    name: str
    default: Value
    about: str
    choices: tuple[str, ...] = ()
    least: float = -math.inf
    most: float = math.inf
    form: re.Pattern[str] | None = None

    @property
    def type_name(self) -> str:
        """The type as a pipeline definition calls it."""
        return {str: "String", int: "Integer", float: "Float"}[type(self.default)]

    def parse(self, text: str) -> str:
        """Check a value given as text; returns it as text, which is how an execution takes it."""
        if self.choices and text not in self.choices:
            raise self._refusal(text, f"one of {', '.join(self.choices)}")
        if isinstance(self.default, str):
            if not text.strip() or (self.form and not self.form.fullmatch(text)):
                raise self._refusal(text, f"of the valid form (for example {self.default})")
            return text
        kind = {"Integer": "a whole number", "Float": "a number"}[self.type_name]
        try:
            value = type(self.default)(text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise self._refusal(text, f"{kind} (for example {self.default})")
        if not self.least <= value <= self.most:
            limits = f"at least {self.least:g}"
            if self.most < math.inf:
                limits = f"from {self.least:g} to {self.most:g}"
            raise self._refusal(text, limits)
        return str(value)

    def _refusal(self, text: str, valid: str) -> ParameterError:
        return ParameterError(f"parameter {self.name}: {text!r} is not {valid}")


# Pipeline parameter → flag of preprocess.py.
DATA_PARAMETERS = {
    "VocabularySize": "--vocabulary-size",
    "TextPreset": "--text-preset",
    "ExpectedDataSha256": "--expected-sha256",
    "MaxReviews": "--max-reviews",
}

# Pipeline parameter → input of the step that reads it: S3 prefixes that may be NONE.
TABLE_PARAMETERS = ("CounterfactualDataUrl", "CounterfactualTestUrl")

# Pipeline parameter → hyperparameter, which ModelTrainer hands to train.py as `--name value`.
HYPERPARAMETERS = {
    "PretrainingEpochs": "pretraining-epochs",
    "GuessingEpochs": "guessing-epochs",
    "Epochs": "epochs",
    "EmbeddingDim": "embedding-dim",
    "HiddenDim": "hidden-dim",
    "MaxReviewLength": "max-review-length",
    "BatchSize": "batch-size",
    "LearningRate": "learning-rate",
    "Dropout": "dropout",
    "Seed": "seed",
    "ValidationFraction": "validation-fraction",
    "Patience": "patience",
}


def no_table_url(account: Account) -> str:
    """The prefix that stands for a table that is not given."""
    return f"s3://{account.bucket}/{NO_TABLE_KEY.rpartition('/')[0]}/"


def declare(account: Account, training_image: str) -> tuple[Parameter, ...]:
    """All parameters in the order in which the definition lists them."""
    return (
        Parameter(
            "InputDataUrl",
            f"s3://{account.bucket}/data/imdb/",
            "S3 prefix of one archive, or of a folder, laid out like aclImdb",
            form=S3_URL,
        ),
        Parameter(
            "ExpectedDataSha256",
            ANY_DATA,
            f"SHA-256 the archive must have, or {ANY_DATA!r}; anything else registers nothing",
        ),
        Parameter(
            "CounterfactualDataUrl",
            no_table_url(account),
            f"S3 prefix of a table (Text, Sentiment) of rewritten training reviews, or {NONE!r}",
        ),
        Parameter(
            "CounterfactualTestUrl",
            no_table_url(account),
            f"S3 prefix of such a table that nothing is trained on, to report on, or {NONE!r}",
        ),
        Parameter(
            "MaxReviews", 0, "reviews kept of each split, balanced by class; 0 keeps all", least=0
        ),
        Parameter("TextPreset", "modern", "how text becomes words", ("modern", "classic")),
        Parameter(
            "VocabularySize",
            40_000,
            "words in the dictionary, the most frequent ones",
            least=2,
            most=10_000_000,
        ),
        Parameter(
            "MaxReviewLength",
            1000,
            "words of a review that the LSTMs read",
            least=1,
            most=10_000_000,
        ),
        Parameter("EmbeddingDim", 128, "numbers that stand for a word", least=1, most=4096),
        Parameter("HiddenDim", 128, "state of the LSTM in each direction", least=1, most=4096),
        Parameter(
            "PretrainingEpochs",
            2,
            "passes over labelled and unlabelled reviews to foretell words",
            least=0,
        ),
        Parameter(
            "GuessingEpochs",
            2,
            "passes of a copy that then guesses the unlabelled reviews' labels, which are learned"
            " too; 0 guesses none",
            least=0,
        ),
        Parameter("Epochs", 2, "passes over the training reviews", least=1),
        Parameter("BatchSize", 64, "reviews in one step of training", least=1),
        Parameter("LearningRate", 0.01, "highest rate of the one-cycle schedule", least=1e-9),
        Parameter("Dropout", 0.5, "share of values left out in training", least=0, most=0.99),
        Parameter("Seed", 1, "makes a run repeatable on one machine", least=0, most=2**31 - 1),
        Parameter(
            "ValidationFraction",
            0.1,
            "share of the training reviews kept to stop by",
            least=0.001,
            most=0.89,
        ),
        Parameter("Patience", 2, "epochs without progress before training stops", least=1),
        Parameter(
            "MinAccuracy",
            0.85,
            "test accuracy that a version needs to be registered",
            least=0,
            most=1,
        ),
        Parameter(
            "MinAdvantageOverBaseline",
            0.0,
            "by how much that accuracy must be above the one of the NBSVM baseline",
            least=-1,
            most=1,
        ),
        Parameter(
            "MaxAccuracyDrop",
            0.01,
            "by how much that accuracy may be below production's on the same data",
            least=0,
            most=1,
        ),
        Parameter(
            "ProductionEvaluationUrl",
            no_table_url(account),
            "evaluation.json of the version in production; a run from here finds it itself",
        ),
        Parameter(
            "ModelApprovalStatus",
            "PendingManualApproval",
            "status with which a version is registered",
            ("PendingManualApproval", "Approved", "Rejected"),
        ),
        Parameter(
            "ProcessingInstanceType",
            "ml.m5.xlarge",
            "machine of Preprocess and Evaluate",
            form=INSTANCE_TYPE,
        ),
        Parameter(
            "ProcessingInstanceCount",
            1,
            "machines of Preprocess, each with all of the data",
            least=1,
        ),
        Parameter("TrainingInstanceType", "ml.c5.2xlarge", "machine of Train", form=INSTANCE_TYPE),
        Parameter("TrainingInstanceCount", 1, "machines of Train", least=1),
        Parameter("TrainingImageUri", training_image, "image of Train"),
        Parameter("SourceCommit", "unknown", "git commit recorded with the model version"),
    )


def parse_assignments(
    assignments: Iterable[str], parameters: Iterable[Parameter]
) -> Mapping[str, str]:
    """Turn `Name=Value` texts into an execution's parameters; the last of a name counts."""
    known = {parameter.name: parameter for parameter in parameters}
    values: dict[str, str] = {}
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not equals:
            raise ParameterError(f"--parameter {assignment!r} is not of the form Name=Value")
        if name not in known:
            raise ParameterError(f"unknown parameter {name!r} (valid: {', '.join(known)})")
        values[name] = known[name].parse(text)
    return values
