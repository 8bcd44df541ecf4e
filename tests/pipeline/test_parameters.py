from __future__ import annotations

import pytest

from pipeline.errors import ParameterError
from pipeline.parameters import DATA_PARAMETERS, HYPERPARAMETERS, declare, parse_assignments
from pipeline.settings import Account
from steps import preprocess, train


@pytest.mark.parametrize(
    ("assignment", "words"),
    [
        ("Epochs", "not of the form Name=Value"),
        ("epochs=3", "unknown parameter 'epochs' (valid: InputDataUrl"),
        ("Epochs=many", "parameter Epochs: 'many' is not a whole number (for example 2)"),
        ("Epochs=2.5", "not a whole number"),
        ("MinAccuracy=high", "parameter MinAccuracy: 'high' is not a number (for example 0.85)"),
        ("MinAccuracy=nan", "not a number"),
        ("MinAccuracy=95", "parameter MinAccuracy: '95' is not from 0 to 1"),
        ("Epochs=0", "parameter Epochs: '0' is not at least 1"),
        ("SourceCommit=", "parameter SourceCommit: '' is not of the valid form"),
        ("TrainingInstanceType=big", "'big' is not of the valid form (for example ml.c5.2xlarge)"),
        ("InputDataUrl=/tmp/reviews", "'/tmp/reviews' is not of the valid form (for example s3://"),
        (
            "ModelApprovalStatus=Maybe",
            "'Maybe' is not one of PendingManualApproval, Approved, Rejected",
        ),
    ],
)
def test_a_wrong_assignment_says_what_is_right(
    account: Account, assignment: str, words: str
) -> None:
    with pytest.raises(ParameterError) as caught:
        parse_assignments([assignment], declare(account, "image"))
    assert words in str(caught.value)


def test_the_last_value_of_a_parameter_counts(account: Account) -> None:
    values = parse_assignments(["Epochs=2", "Seed=7", "Epochs=5"], declare(account, "image"))
    assert values == {"Epochs": "5", "Seed": "7"}


def test_every_default_is_a_valid_value(account: Account) -> None:
    parameters = declare(account, "image")
    given = [f"{one.name}={one.default}" for one in parameters]
    assert parse_assignments(given, parameters) == {
        one.name: str(one.default) for one in parameters
    }


def test_a_value_may_hold_an_equals_sign(account: Account) -> None:
    values = parse_assignments(["InputDataUrl=s3://b/a=b/"], declare(account, "image"))
    assert values == {"InputDataUrl": "s3://b/a=b/"}


def test_the_defaults_are_those_of_the_training_script(account: Account) -> None:
    script = vars(train.parse([], {}))
    for parameter in declare(account, "image"):
        if flag := HYPERPARAMETERS.get(parameter.name):
            assert parameter.default == script[flag.replace("-", "_")], parameter.name


def test_the_preprocessing_script_knows_its_flags(account: Account) -> None:
    defaults = {one.name: one.default for one in declare(account, "image")}
    flags = [word for name, flag in DATA_PARAMETERS.items() for word in (flag, str(defaults[name]))]
    script = vars(preprocess.parse(flags))
    for name, flag in DATA_PARAMETERS.items():
        assert script[flag.lstrip("-").replace("-", "_")] == defaults[name]
