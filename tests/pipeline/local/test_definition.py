"""Definitions that cannot run are refused before anything starts."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.local.cache import duration_s
from pipeline.local.definition import check, dependencies, parameter_values, parse
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


JOB: dict[str, Any] = {
    "ProcessingResources": {
        "ClusterConfig": {
            "InstanceCount": {"Get": "Parameters.Count"},
            "InstanceType": "ml.m5.large",
            "VolumeSizeInGB": 1,
        }
    },
    "AppSpecification": {"ImageUri": {"Std:Join": {"On": ":", "Values": ["job", "1"]}}},
}
COUNT = {"Name": "Count", "Type": "Integer", "DefaultValue": 1}


def job(arguments: Any = JOB, **more: Any) -> str:
    step = {"Name": "P", "Type": "Processing", "Arguments": arguments, **more}
    return definition(step, parameters=(COUNT,))


def test_an_expression_stands_for_any_value_of_a_request() -> None:
    check(job())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"Version": "2020-12-01", "Steps": null}', "has no Steps"),
        ('{"Version": "2020-12-01", "Steps": {"a": 1}}', "Steps is not a list"),
        ('{"Version": "2020-12-01", "Steps": ["a"]}', r"Steps\[0\] is not an object"),
        (definition({"Name": 3, "Type": "Fail"}), "step 3.Name is not a string"),
        (definition({"Name": "F", "Type": "Fail"}), "step F has no Arguments"),
        (definition({"Name": "L", "Type": "Lambda"}), "step L has no FunctionArn"),
        (definition({"Name": "C", "Type": "Condition"}), "step C has no Arguments"),
        (definition(condition("C", {"Type": "Equals"}, then=["x"])), r"IfSteps\[0\] is not an ob"),
        (definition(condition("C", {"Type": "Equals"})), "step C: Equals has no LeftValue"),
        (definition(condition("C", {"Type": "Not"})), "step C: Not has no Expression"),
        (definition(condition("C", {"Type": "Or", "Conditions": [{"Type": "In"}]})),
         "step C: In has no QueryValue"),
        (definition(fail("A", {"Std:Join": {"On": "-"}})), "Std:Join has no Values"),
        (definition(fail("A", {"Std:JsonGet": {"Path": "x"}})), "Std:JsonGet has no PropertyFile"),
        (definition({**fail("A"), "DependsOn": "B"}), "step A.DependsOn is not a list"),
        (definition(fail("A"), parameters=({"Name": "D", "Type": "Date"},)),
         "parameter D has no type Date"),
        (job({}), 'step P: Missing required parameter in input: "ProcessingResources"'),
        (job({**JOB, "Nonsense": 1}), 'Unknown parameter in input: "Nonsense"'),
        (job({**JOB, "ProcessingResources": {"ClusterConfig": {"InstanceCount": "two"}}}),
         "Invalid type for parameter ProcessingResources.ClusterConfig.InstanceCount"),
        (job(CacheConfig={"Enabled": True, "ExpireAfter": "30d"}),
         "step P: ExpireAfter is not an ISO 8601 duration: '30d'"),
        (job(PropertyFiles=[{"PropertyFileName": "r", "OutputName": "zz", "FilePath": "x"}]),
         "step P: property file r is in output zz, which the step does not have"),
        (definition(fail("A"), fail("B", {"Std:JsonGet": {"Path": "x", "PropertyFile": {
            "Get": "Steps.A.PropertyFiles.r"}}})), "B: there is no property file Steps.A.Prop"),
    ],
)  # fmt: skip
def test_what_would_fail_in_the_run_is_refused_before_it(text: str, message: str) -> None:
    with pytest.raises(ServiceError, match=message) as caught:
        check(text)
    assert caught.value.code == "ValidationException"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("P30D", 2592000), ("p30d", 2592000), ("P4DT12H", 388800), ("T12H", 43200), ("PT1M1S", 61)],
)
def test_an_expiry_is_a_duration_in_each_form_of_the_sdks_examples(
    text: str, seconds: float
) -> None:
    check(job(CacheConfig={"Enabled": True, "ExpireAfter": text}))
    assert duration_s(text) == seconds


@pytest.mark.parametrize("text", ["", "P", "T", "PT", "30d", "P1", "1DT1H"])
def test_what_only_resembles_a_duration_is_none(text: str) -> None:
    with pytest.raises(ServiceError, match="not an ISO 8601 duration"):
        duration_s(text)


JUNK = st.sampled_from([None, 3, 0.5, "x", "", True, [], {}, [None], {"Get": 3}, {"Get": "x"}])
WHOLE = json.loads(
    definition(
        {
            "Name": "P",
            "Type": "Processing",
            "Arguments": JOB,
            "DependsOn": [],
            "CacheConfig": {"Enabled": True, "ExpireAfter": "P1D"},
            "RetryPolicies": [{"ExceptionType": ["Step.THROTTLING"], "MaxAttempts": 2}],
            "PropertyFiles": [],
        },
        {"Name": "L", "Type": "Lambda", "FunctionArn": "f", "OutputParameters": []},
        condition(
            "C",
            {"Type": "Or", "Conditions": [{"Type": "In", "QueryValue": 1, "Values": [1]}]},
            then=[{**fail("F", {"Std:Join": {"On": "-", "Values": ["a"]}}), "DependsOn": ["P"]}],
        ),
        parameters=(COUNT,),
    )
)


def places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every value inside a document."""
    inner = value.items() if isinstance(value, dict) else enumerate(value)
    below = [places(item, (*at, key)) for key, item in inner if isinstance(item, dict | list)]
    keys = value if isinstance(value, dict) else range(len(value))
    return [(*at, key) for key in keys] + [path for paths in below for path in paths]


@settings(deadline=None)  # the first look loads the service's model
@given(st.sampled_from(places(WHOLE)), JUNK)
def test_whatever_stands_anywhere_in_a_definition_it_is_refused_by_name_or_runs(
    place: tuple[Any, ...], junk: Any
) -> None:
    document = copy.deepcopy(WHOLE)
    *path, last = place
    holder = document
    for key in path:
        holder = holder[key]
    holder[last] = junk
    try:
        check(json.dumps(document))
    except ServiceError as error:
        assert error.code == "ValidationException"
        assert error.message


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
