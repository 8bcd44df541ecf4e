"""Expressions of a pipeline definition."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.local.errors import ExpressionError
from pipeline.local.expressions import (
    Scope,
    condition_holds,
    evaluate,
    referenced_steps,
    select,
)

OUTPUTS = [{"OutputName": "train", "S3Output": {"S3Uri": "s3://b/train"}}]
SCOPE = Scope(
    parameters={"Epochs": 3, "MinAccuracy": 0.8, "Name": "x"},
    execution={"PipelineExecutionId": "abc"},
    steps={"Pre": {"ProcessingOutputConfig": {"Outputs": OUTPUTS}}, "T": {"Scores": [1, 2]}},
    read_property=lambda step, name: {"a": {"b": 0.9}} if (step, name) == ("E", "Report") else {},
)


def get(reference: str) -> dict[str, str]:
    return {"Get": reference}


def test_a_parameter_keeps_its_type() -> None:
    assert evaluate(get("Parameters.Epochs"), SCOPE) == 3


def test_references_are_replaced_at_any_depth() -> None:
    value = {"a": [{"b": get("Parameters.Name")}], "c": get("Execution.PipelineExecutionId")}
    assert evaluate(value, SCOPE) == {"a": [{"b": "x"}], "c": "abc"}


def test_a_named_output_is_found_in_the_list_of_outputs() -> None:
    path = "Steps.Pre.ProcessingOutputConfig.Outputs['train'].S3Output.S3Uri"
    assert evaluate(get(path), SCOPE) == "s3://b/train"


def test_a_list_is_indexed_by_number() -> None:
    assert evaluate(get("Steps.T.Scores[1]"), SCOPE) == 2


def test_join_writes_numbers_and_booleans_as_sagemaker_does() -> None:
    value = {"Std:Join": {"On": "/", "Values": ["s3:/", get("Parameters.Epochs"), True, 0.5]}}
    assert evaluate(value, SCOPE) == "s3://3/true/0.5"


def test_json_get_reads_a_property_file() -> None:
    value = {"Std:JsonGet": {"PropertyFile": get("Steps.E.PropertyFiles.Report"), "Path": "a.b"}}
    assert evaluate(value, SCOPE) == 0.9


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (get("Parameters.Missing"), "Parameters.Missing is not defined"),
        (get("Steps.Late.Arn"), "step Late, which has not run"),
        (get("Steps.T.Nothing"), "nothing at '.Nothing'"),
        (get("Steps.T.Scores.a"), "nothing at '.Scores.a'"),
        (get("Elsewhere.X"), "not a reference"),
        (
            {"Std:JsonGet": {"S3Uri": "s3://b/words.json", "Path": "a.b"}},
            "s3://b/words.json: there is nothing at 'a.b'",
        ),
        (
            {"Std:JsonGet": {"PropertyFile": get("Steps.E.PropertyFiles.Report"), "Path": "a.z"}},
            "property file Report of step E",
        ),
    ],
)
def test_an_expression_that_cannot_be_evaluated_is_named(value: Any, message: str) -> None:
    with pytest.raises(ExpressionError, match=message):
        evaluate(value, SCOPE)


@pytest.mark.parametrize(
    ("kind", "left", "right", "holds"),
    [
        ("Equals", 1, 1, True),
        ("Equals", "a", "b", False),
        ("GreaterThan", 2, 1, True),
        ("GreaterThan", 1, 1, False),
        ("GreaterThanOrEqualTo", 1, 1, True),
        ("LessThan", 1, 2, True),
        ("LessThanOrEqualTo", 2, 1, False),
    ],
)
def test_comparisons(kind: str, left: Any, right: Any, holds: bool) -> None:
    assert condition_holds({"Type": kind, "LeftValue": left, "RightValue": right}, SCOPE) is holds


def test_in_not_and_or_combine_conditions() -> None:
    inside = {"Type": "In", "QueryValue": get("Parameters.Name"), "Values": ["x", "y"]}
    outside = {"Type": "Not", "Expression": inside}
    assert condition_holds(inside, SCOPE)
    assert not condition_holds(outside, SCOPE)
    assert condition_holds({"Type": "Or", "Conditions": [outside, inside]}, SCOPE)


def test_comparing_a_word_with_a_number_is_an_error_that_shows_both() -> None:
    condition = {"Type": "GreaterThan", "LeftValue": "NaN", "RightValue": 0.8}
    with pytest.raises(ExpressionError, match=r"cannot compare 'NaN' with 0\.8"):
        condition_holds(condition, SCOPE)


def test_a_bad_path_is_shown() -> None:
    with pytest.raises(ExpressionError, match="cannot read the path"):
        select({"a": 1}, "a[")


def test_the_steps_that_a_value_refers_to_are_found() -> None:
    value = [get("Steps.A.x"), {"k": get("Steps.B-1.y[0]")}, get("Parameters.C")]
    assert referenced_steps(value) == {"A", "B-1"}
