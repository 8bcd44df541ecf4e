from __future__ import annotations

import io
import json
import tarfile
from typing import Any

import pytest

from pipeline.outcomes import outcome
from pipeline.target import Target
from tests.pipeline.test_run import make_step

JOB = "arn:aws:sagemaker:us-east-1:000000000000:processing-job/j"


class Services:
    """Answers with the files of finished jobs."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files

    def describe_processing_job(self, **_: Any) -> Any:
        outputs = [
            {"OutputName": name, "S3Output": {"S3Uri": f"s3://b/{name}"}}
            for name in ("report", "evaluation")
        ]
        return {"ProcessingOutputConfig": {"Outputs": outputs}}

    def describe_training_job(self, **_: Any) -> Any:
        return {"ModelArtifacts": {"S3ModelArtifacts": "s3://b/t/output/model.tar.gz"}}

    def get_object(self, **request: Any) -> Any:
        return {"Body": io.BytesIO(self.files[request["Key"]])}


def history(*accuracies: float) -> bytes:
    epochs = [
        {"epoch": number, "validation_accuracy": accuracy, "validation_loss": 1 - accuracy}
        for number, accuracy in enumerate(accuracies, 1)
    ]
    content = json.dumps({"epochs": epochs, "mix": {"validation_accuracy": 0.92}}).encode()
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        member = tarfile.TarInfo("training_history.json")
        member.size = len(content)
        tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


REPORT = {
    "splits": {"train": {"reviews": 3000}, "test": {"reviews": 1000}},
    "vocabulary": {"words": 1234},
}
METRICS = {"binary_classification_metrics": {"accuracy": {"value": 0.9}, "auc": {"value": 0.95}}}
FILES = {
    "report/data_report.json": json.dumps(REPORT).encode(),
    "evaluation/evaluation.json": json.dumps(METRICS).encode(),
    "t/output/output.tar.gz": history(0.8, 0.9, 0.85),
}
DEPLOYED = [{"Name": "status", "Value": "in_service"}, {"Name": "message", "Value": "1 is served"}]


def told(target: Target, name: str, files: dict[str, bytes], **metadata: Any) -> str:
    services = Services(files)
    target._clients.update(sagemaker=services, s3=services)
    return outcome(target, make_step(name, metadata=metadata))


@pytest.mark.parametrize(
    ("name", "metadata", "words"),
    [
        (
            "Preprocess",
            {"ProcessingJob": {"Arn": JOB}},
            "3,000 train, 1,000 test reviews; 1,234 words",
        ),
        (
            "Train",
            {"TrainingJob": {"Arn": JOB}},
            "validation accuracy 0.9200; of the LSTM 0.9000 in epoch 2",
        ),
        ("Evaluate", {"ProcessingJob": {"Arn": JOB}}, "test accuracy 0.9000, AUC 0.9500"),
        ("AccuracyGate", {"Condition": {"Outcome": "True"}}, "accurate enough"),
        ("AccuracyGate", {"Condition": {"Outcome": "False"}}, "not accurate enough"),
        ("BaselineGate", {"Condition": {"Outcome": "True"}}, "far enough above the baseline"),
        ("BaselineGate", {"Condition": {"Outcome": "False"}}, "not far enough above the baseline"),
        ("ProductionGate", {"Condition": {"Outcome": "True"}}, "not worse than production"),
        ("ProductionGate", {"Condition": {"Outcome": "False"}}, "worse than production"),
        ("Register", {"RegisterModel": {"Arn": "a/model-package/sentiment/4"}}, "version 4"),
        ("Deploy", {"Lambda": {"OutputParameters": DEPLOYED}}, "1 is served"),
        ("Unheard", {}, ""),
    ],
)
def test_a_finished_step_tells_its_figure(
    target: Target, name: str, metadata: dict[str, Any], words: str
) -> None:
    assert told(target, name, FILES, **metadata) == words


def test_the_baseline_is_told_where_it_was_measured(target: Target) -> None:
    figure = {"accuracy": {"value": 0.9}, "auc": {"value": 0.95}}
    report = {
        "binary_classification_metrics": figure,
        "baseline": {"name": "NBSVM", "accuracy": {"value": 0.88}},
    }
    files = {"evaluation/evaluation.json": json.dumps(report).encode()}
    told_now = told(target, "Evaluate", files, ProcessingJob={"Arn": JOB})
    assert told_now == "test accuracy 0.9000, AUC 0.9500; NBSVM 0.8800"


def test_a_file_that_cannot_be_read_fails_nothing(target: Target) -> None:
    assert told(target, "Evaluate", {}, ProcessingJob={"Arn": JOB}) == ""
    broken = {"evaluation/evaluation.json": b"{"}
    assert told(target, "Evaluate", broken, ProcessingJob={"Arn": JOB}) == ""


def test_a_failed_step_has_no_figure(target: Target) -> None:
    assert outcome(target, make_step("Evaluate", "Failed")) == ""
