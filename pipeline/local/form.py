"""The form of a pipeline definition: which fields a step must have, and of which type each is.

Everything after this check may take the fields for granted.
Source: SageMaker's pipeline definition JSON, version 2020-12-01.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pipeline.local.expressions import COMPARISONS

Step = dict[str, Any]
BRANCHES = ("IfSteps", "ElseSteps")
NUMBER = (int, float)
WORDS = {str: "a string", bool: "true or false", dict: "an object", NUMBER: "a number"}
# A type, a list of one form, or an object's fields; those with a `?` may be missing.
CONDITION = {"Type": str}
OPERANDS: dict[str, Any] = {
    **{kind: {"LeftValue": object, "RightValue": object} for kind in COMPARISONS},
    "In": {"QueryValue": object, "Values": [object]},
    "Or": {"Conditions": [CONDITION]},
}
EXPRESSIONS: dict[str, Any] = {
    "Get": str,
    "Std:Join": {"On": object, "Values": object},
    "Std:JsonGet": {"Path": object},
}
PROPERTY_FILE = {"PropertyFile": {"Get": str}}
PARAMETER = {"Name": str, "Type": str, "EnumValues?": [object]}
STEP = {
    "Name": str,
    "Type": str,
    "Arguments?": dict,
    "DependsOn?": [str],
    "CacheConfig?": {"Enabled?": bool, "ExpireAfter?": str},
    "RetryPolicies?": [
        {
            "ExceptionType?": [str],
            "IntervalSeconds?": NUMBER,
            "BackoffRate?": NUMBER,
            "MaxAttempts?": NUMBER,
            "ExpireAfterMin?": NUMBER,
        }
    ],
    "PropertyFiles?": [{"PropertyFileName": str, "OutputName": str, "FilePath": str}],
    "OutputParameters?": [{"OutputName": str}],
}
# Type of a step → the fields that it needs beside those of every step.
NEEDED: dict[str, Any] = {
    "Lambda": {"FunctionArn": str},
    "Fail": {"Arguments": {"ErrorMessage": object}},
    "Condition": {
        "Arguments": {"Conditions": [CONDITION], "IfSteps?": [dict], "ElseSteps?": [dict]}
    },
}


def misfit(value: Any, form: Any, where: str) -> str:
    """What of a value is not of the form, named by where it is; "" when all of it is."""
    if isinstance(form, list):
        if not isinstance(value, list):
            return f"{where} is not a list"
        found = (misfit(item, form[0], f"{where}[{n}]") for n, item in enumerate(value))
    elif isinstance(form, dict):
        if not isinstance(value, dict):
            return f"{where} is not an object"
        found = (_field(value, name, inner, where) for name, inner in form.items())
    else:
        fits = isinstance(value, form) and not (form is NUMBER and isinstance(value, bool))
        return "" if fits else f"{where} is not {WORDS[form]}"
    return next((wrong for wrong in found if wrong), "")


def _field(value: Step, name: str, form: Any, where: str) -> str:
    key = name.rstrip("?")
    if key not in value:
        return "" if name.endswith("?") else f"{where} has no {key}"
    return misfit(value[key], form, f"{where}.{key}" if where else key)


def misfit_of_steps(steps: Any) -> str:
    """What is wrong with the form of a list of steps and of the branches in it; "" if nothing."""
    wrong = misfit(steps, [dict], "Steps")
    return wrong or next((found for step in steps if (found := _misfit_of_step(step))), "")


def _misfit_of_step(step: Step) -> str:
    where = f"step {step.get('Name')}"
    wrong = (
        misfit(step, STEP, where)
        or misfit(step, NEEDED.get(step["Type"], {}), where)
        or _misfit_of_expressions(
            {k: v for k, v in step.get("Arguments", {}).items() if k not in BRANCHES},
            f"{where}.Arguments",
        )
    )
    if wrong or step["Type"] != "Condition":
        return wrong
    arguments = step["Arguments"]
    return (
        _misfit_of_conditions(arguments["Conditions"], where)
        or misfit_of_steps(arguments.get("IfSteps", []))
        or misfit_of_steps(arguments.get("ElseSteps", []))
    )


def _misfit_of_conditions(conditions: Any, where: str) -> str:
    """As `misfit`, for conditions and those inside them."""
    wrong = misfit(conditions, [CONDITION], f"{where}: Conditions")
    found = () if wrong else (_misfit_of_condition(one, where) for one in conditions)
    return wrong or next((one for one in found if one), "")


def _misfit_of_condition(condition: dict[str, Any], where: str) -> str:
    kind = condition["Type"]
    if kind == "Not":
        inner = condition.get("Expression") or condition.get("Condition")
        if inner is None:
            return f"{where}: Not has no Expression"
        return _misfit_of_conditions([inner], where)
    wrong = misfit(condition, OPERANDS.get(kind, {}), f"{where}: {kind}")
    if wrong or kind != "Or":
        return wrong
    return _misfit_of_conditions(condition["Conditions"], where)


def _misfit_of_expressions(value: Any, where: str) -> str:
    """As `misfit`, for every function in a value."""
    inner: Iterable[tuple[str, Any]] = ()
    if isinstance(value, list):
        inner = ((f"{where}[{n}]", item) for n, item in enumerate(value))
    elif isinstance(value, dict):
        for name, form in EXPRESSIONS.items():
            if len(value) == 1 and name in value:
                wrong = misfit(value[name], form, f"{where}.{name}")
                if not wrong and name == "Std:JsonGet" and "S3Uri" not in value[name]:
                    wrong = misfit(value[name], PROPERTY_FILE, f"{where}.{name}")
                if wrong:
                    return wrong
        inner = ((f"{where}.{name}", item) for name, item in value.items())
    return next((wrong for at, item in inner if (wrong := _misfit_of_expressions(item, at))), "")
