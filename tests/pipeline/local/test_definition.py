"""Definitions that cannot run are refused before anything starts."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pipeline.local.definition import dependencies, parameter_values, parse
from pipeline.local.errors import ServiceError


def definition(*steps: dict[str, Any], parameters: tuple[dict[str, Any], ...] = ()) -> str:
    return json.dumps({"Version": "2020-12-01", "Parameters": parameters, "Steps": steps})


def fail(name: str, message: Any = "no") -> dict[str, Any]:
    return {"Name": name, "Type": "Fail", "Arguments": {"ErrorMessage": message}}


def condition(name: str, *conditions: Any, then: Any = ()) -> dict[str, Any]:
    arguments = {"Conditions": list(conditions), "IfSteps": then, "ElseSteps": []}
    return {"Name": name, "Type": "Condition", "Arguments": arguments}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not JSON"),
        ('{"Version": "1"}', "needs Version 2020-12-01"),
        (definition(), "has no Steps"),
        (definition(fail("a b")), "step name 'a b' is not legal"),
        (definition(fail("A"), fail("A")), "A is used twice"),
        (definition({"Name": "T", "Type": "Tuning"}), "step T: type Tuning does not run here"),
        (definition(fail("A", {"Get": "Steps.B.x"})), "refers to step B, which does not exist"),
        (definition(fail("A", {"Get": "Parameters.P"})), "parameter P, which is not defined"),
        (definition(fail("A", {"Get": "Execution.Mood"})), "execution variable Mood"),
        (definition(fail("A", {"Get": "Nonsense"})), "cannot resolve the reference Nonsense"),
        (definition(condition("C", {"Type": "Maybe"})), "condition type Maybe"),
        (definition(condition("C", then=[fail("C")])), "C is used twice"),
        (
            definition(fail("A", {"Get": "Steps.B.x"}), fail("B", {"Get": "Steps.A.x"})),
            "in a circle: A, B",
        ),
        (definition({**fail("A"), "DependsOn": ["A"]}), "in a circle: A"),
        (
            definition(
                {**condition("C", then=[fail("X")]), "DependsOn": ["A"]},
                {**fail("A"), "DependsOn": ["X"]},
            ),
            "in a circle: A, C, X",
        ),
    ],
)
def test_a_definition_is_refused_with_the_reason(text: str, message: str) -> None:
    with pytest.raises(ServiceError, match=message) as caught:
        parse(text)
    assert caught.value.code == "ValidationException"


def test_a_condition_waits_for_its_own_references_not_for_those_of_its_branches() -> None:
    compared = {"Type": "Equals", "LeftValue": {"Get": "Steps.A.x"}, "RightValue": 1}
    step = condition("C", compared, then=[{**fail("G"), "DependsOn": ["B"]}])
    assert dependencies({**step, "DependsOn": ["D"]}) == {"A", "D"}


PARAMETERS = {
    "Parameters": [
        {"Name": "Epochs", "Type": "Integer", "DefaultValue": 2},
        {"Name": "Rate", "Type": "Float", "DefaultValue": 0.1},
        {"Name": "Fast", "Type": "Boolean", "DefaultValue": False},
        {"Name": "Status", "Type": "String", "DefaultValue": "a", "EnumValues": ["a", "b"]},
    ]
}


def test_given_values_are_typed_and_the_rest_keep_their_defaults() -> None:
    values = parameter_values(PARAMETERS, {"Epochs": "5", "Fast": "true"})
    assert values == {"Epochs": 5, "Rate": 0.1, "Fast": True, "Status": "a"}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"Epoch": "1"}, "no parameter Epoch .it has: Epochs, Rate, Fast, Status"),
        ({"Epochs": "many"}, "Epochs takes a value of type Integer, not 'many'"),
        ({"Fast": "1"}, "Fast takes a value of type Boolean"),
        ({"Status": "c"}, "Status takes one of a, b, not 'c'"),
    ],
)
def test_a_wrong_parameter_names_the_valid_form(given: dict[str, str], message: str) -> None:
    with pytest.raises(ServiceError, match=message):
        parameter_values(PARAMETERS, given)


def test_a_parameter_without_default_must_be_given() -> None:
    with pytest.raises(ServiceError, match="N has no default"):
        parameter_values({"Parameters": [{"Name": "N", "Type": "String"}]}, {})
