"""The expressions of a pipeline definition: references, functions and conditions. Pure functions.

Source: SageMaker's pipeline definition JSON, version 2020-12-01.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pipeline.local.errors import ExpressionError

PATH_PART = re.compile(r"\.?([A-Za-z_][\w-]*)|\[(\d+)\]|\[['\"]([^'\"]+)['\"]\]")
STEP_REFERENCE = re.compile(r"Steps\.([A-Za-z0-9_-]{1,64})(.*)", re.DOTALL)


@dataclass
class Scope:
    """What expressions can refer to while an execution runs.

    `steps` holds each finished step's properties (what its Describe call returns); `read_property`
    gives the parsed JSON of a property file by step and name, or of an S3 URI by (None, uri).
    """

    parameters: Mapping[str, Any] = field(default_factory=dict)
    execution: Mapping[str, Any] = field(default_factory=dict)
    steps: Mapping[str, Any] = field(default_factory=dict)
    read_property: Callable[[str | None, str], Any] = lambda step, name: None


def select(value: Any, path: str) -> Any:
    """The part of `value` at a path such as `a.b[0].Outputs['train'].c`.

    A list is indexed by number, or by the name of an item (SageMaker's own lists of named things:
    `OutputName`, `ChannelName`, ...).
    """
    position = 0
    while position < len(path):
        match = PATH_PART.match(path, position)
        if not match:
            raise ExpressionError(f"cannot read the path {path!r} at character {position}")
        name, index, quoted = match.groups()
        try:
            if index is not None:
                value = value[int(index)]
            elif isinstance(value, list):
                value = _named(value, name or quoted)
            else:
                value = value[name or quoted]
        except (KeyError, IndexError, TypeError) as error:
            raise ExpressionError(f"there is nothing at {path!r}") from error
        position = match.end()
    return value


def _named(items: list[Any], name: str) -> Any:
    for item in items:
        if isinstance(item, dict) and any(
            key.endswith("Name") and value == name for key, value in item.items()
        ):
            return item
    raise KeyError(name)


def evaluate(value: Any, scope: Scope) -> Any:
    """`value` with every expression inside it replaced by what it stands for."""
    if isinstance(value, list):
        return [evaluate(item, scope) for item in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1:
        (key, inner), *_ = value.items()
        if key == "Get":
            return _get(inner, scope)
        if key == "Std:Join":
            return str(evaluate(inner["On"], scope)).join(
                text(item) for item in evaluate(inner["Values"], scope)
            )
        if key == "Std:JsonGet":
            return _json_get(inner, scope)
    return {key: evaluate(item, scope) for key, item in value.items()}


def text(value: Any) -> str:
    """A value as SageMaker writes it into a string: booleans and containers in JSON's form."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool | dict | list) or value is None:
        return json.dumps(value)
    return str(value)


def _get(reference: str, scope: Scope) -> Any:
    kind, _, rest = reference.partition(".")
    known = {"Parameters": scope.parameters, "Execution": scope.execution}.get(kind)
    if known is not None:
        if rest not in known:
            raise ExpressionError(f"{reference} is not defined")
        return known[rest]
    match = STEP_REFERENCE.fullmatch(reference)
    if not match:
        raise ExpressionError(f"{reference} is not a reference this account knows")
    step, path = match.groups()
    if step not in scope.steps:
        raise ExpressionError(f"{reference} refers to step {step}, which has not run")
    return select(scope.steps[step], path)


def _json_get(arguments: Mapping[str, Any], scope: Scope) -> Any:
    path = evaluate(arguments["Path"], scope)
    if "S3Uri" in arguments:
        uri = evaluate(arguments["S3Uri"], scope)
        return _select(scope.read_property(None, uri), path, uri)
    parts = arguments["PropertyFile"]["Get"].split(".")
    if len(parts) != 4 or parts[0] != "Steps" or parts[2] != "PropertyFiles":
        raise ExpressionError(f"{arguments['PropertyFile']['Get']} names no property file")
    document = scope.read_property(parts[1], parts[3])
    return _select(document, path, f"property file {parts[3]} of step {parts[1]}")


def _select(document: Any, path: str, where: str) -> Any:
    try:
        return select(document, path)
    except ExpressionError as error:
        raise ExpressionError(f"{where}: {error}") from error


def negated(condition: Mapping[str, Any]) -> Mapping[str, Any]:
    """The condition inside a Not: AWS's schema calls it Expression, the SDK (3.27) Condition."""
    inner: Mapping[str, Any] = condition.get("Expression") or condition["Condition"]
    return inner


def condition_holds(condition: Mapping[str, Any], scope: Scope) -> bool:
    """Whether one condition of a Condition step holds."""
    kind = condition["Type"]
    if kind == "Not":
        return not condition_holds(negated(condition), scope)
    if kind == "Or":
        return any(condition_holds(item, scope) for item in condition["Conditions"])
    if kind == "In":
        return evaluate(condition["QueryValue"], scope) in evaluate(condition["Values"], scope)
    compare = COMPARISONS.get(kind)
    if compare is None:
        raise ExpressionError(f"condition type {kind} is not known (known: {CONDITION_TYPES})")
    left = evaluate(condition["LeftValue"], scope)
    right = evaluate(condition["RightValue"], scope)
    try:
        return compare(left, right)
    except TypeError as error:
        raise ExpressionError(f"{kind} cannot compare {left!r} with {right!r}") from error


COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "Equals": lambda left, right: bool(left == right),
    "GreaterThan": lambda left, right: bool(left > right),
    "GreaterThanOrEqualTo": lambda left, right: bool(left >= right),
    "LessThan": lambda left, right: bool(left < right),
    "LessThanOrEqualTo": lambda left, right: bool(left <= right),
}
CONDITION_TYPES = ", ".join((*COMPARISONS, "In", "Not", "Or"))


def references(value: Any) -> Iterator[str]:
    """Every `Get` reference inside a value."""
    if isinstance(value, list):
        for item in value:
            yield from references(item)
    elif isinstance(value, dict):
        if len(value) == 1 and isinstance(value.get("Get"), str):
            yield value["Get"]
        for item in value.values():
            yield from references(item)


def referenced_steps(value: Any) -> set[str]:
    """Names of the steps that a value refers to."""
    return {match[1] for item in references(value) if (match := STEP_REFERENCE.fullmatch(item))}
