"""Reads a compiled pipeline definition and refuses, before a run, what cannot run here."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from typing import Any

from pipeline.local.arguments import wrong_step
from pipeline.local.cache import duration_s
from pipeline.local.errors import ServiceError
from pipeline.local.expressions import (
    COMPARISONS,
    STEP_REFERENCE,
    negated,
    referenced_steps,
    references,
)
from pipeline.local.form import PARAMETER, misfit, misfit_of_steps
from pipeline.local.supported import (
    EXCEPTION_TYPES,
    EXECUTION_VARIABLES,
    JOB_VARIABLES,
    STEP_TYPES,
    unsupported,
)

VERSION = "2020-12-01"
PROPERTY_FILE = re.compile(r"Steps\.[^.]+\.PropertyFiles\..+")
STEP_NAME = re.compile(r"[A-Za-z0-9\-_]{1,64}")
Step = dict[str, Any]


def invalid(message: str) -> ServiceError:
    """The error with which SageMaker refuses a definition or its parameters."""
    return ServiceError("ValidationException", message)


def branches(step: Step) -> list[tuple[str, list[Step]]]:
    """The branches of a condition, `IfSteps` and `ElseSteps`; none for another type of step."""
    if step.get("Type") != "Condition":
        return []
    return [(name, step["Arguments"].get(name, [])) for name in ("IfSteps", "ElseSteps")]


def every_step(steps: list[Step]) -> Iterator[Step]:
    """The steps and those in the branches of their conditions, depth first."""
    for step in steps:
        yield step
        for _, branch in branches(step):
            yield from every_step(branch)


def parse(text: str) -> dict[str, Any]:
    """The checked definition; a ServiceError names the first thing that is wrong with it."""
    try:
        definition = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise invalid(f"the pipeline definition is not JSON: {error}") from error
    if not isinstance(definition, dict) or definition.get("Version") != VERSION:
        raise invalid(f"the pipeline definition needs Version {VERSION}")
    steps = list(every_step(_formed(definition)))
    known: set[str] = set()
    for name in (step["Name"] for step in steps):
        if not STEP_NAME.fullmatch(name):
            raise invalid(f"step name {name!r} is not legal (form: {STEP_NAME.pattern})")
        if name in known:
            raise invalid(f"step name {name} is used twice")
        known.add(name)
    parameters = _check_parameters(definition.get("Parameters", []))
    for step in steps:
        _check_step(step, known, parameters)
    _check_order(definition["Steps"])
    return definition


def check(text: str) -> None:
    """As `parse`, and every step's request too; what a service model costs to load is paid once."""
    steps = list(every_step(parse(text)["Steps"]))
    files: set[str] = set()
    for step in steps:
        wrong = wrong_step(step)
        if wrong:
            raise invalid(f"step {step['Name']}: {' '.join(wrong.split())}")
        files |= _property_files(step)
    for step in steps:
        for reference in references(own_parts(step)):
            if PROPERTY_FILE.fullmatch(reference) and reference not in files:
                raise invalid(f"step {step['Name']}: there is no property file {reference}")


def _formed(definition: dict[str, Any]) -> list[Step]:
    """The steps, once all of the definition is known to have the form of one."""
    if not definition.get("Steps"):
        raise invalid("the pipeline definition has no Steps")
    wrong = misfit(definition.get("Parameters", []), [PARAMETER], "Parameters")
    wrong = wrong or misfit_of_steps(definition["Steps"])
    if wrong:
        raise invalid(wrong)
    steps: list[Step] = definition["Steps"]
    return steps


def _check_parameters(parameters: list[dict[str, Any]]) -> set[str]:
    """The names of the parameters, each of a type that there is."""
    for item in parameters:
        if item["Type"] not in READERS:
            valid = ", ".join(READERS)
            raise invalid(f"parameter {item['Name']} has no type {item['Type']} (valid: {valid})")
    return {item["Name"] for item in parameters}


def _check_step(step: Step, names: set[str], parameters: set[str]) -> None:
    if step.get("Type") not in STEP_TYPES:
        valid = ", ".join(STEP_TYPES)
        raise invalid(
            f"step {step['Name']}: type {step.get('Type')} does not run here (these do: {valid})"
        )
    for path in unsupported(step):
        raise invalid(f"step {step['Name']}: {path} does not run in the local account")
    _check_retry_policies(step)
    _check_cache(step)
    if step["Type"] == "Condition":
        for condition in step["Arguments"]["Conditions"]:
            _check_condition(step["Name"], condition)
    for name in [*step.get("DependsOn", []), *referenced_steps(own_parts(step))]:
        if name not in names:
            raise invalid(f"step {step['Name']} refers to step {name}, which does not exist")
    for reference in references(own_parts(step)):
        _check_reference(step, reference, parameters)


def _check_retry_policies(step: Step) -> None:
    for policy in step.get("RetryPolicies", []):
        for kind in policy.get("ExceptionType", []):
            if kind not in EXCEPTION_TYPES:
                valid = ", ".join(EXCEPTION_TYPES)
                raise invalid(f"step {step['Name']}: no exception type {kind} (valid: {valid})")


def _check_cache(step: Step) -> None:
    expiry = step.get("CacheConfig", {}).get("ExpireAfter")
    if expiry is not None:
        try:
            duration_s(expiry)
        except ServiceError as error:
            raise invalid(f"step {step['Name']}: ExpireAfter is {error.message}") from error


def _property_files(step: Step) -> set[str]:
    """What others call the property files of a step; each must be in an output that it has."""
    outputs = step.get("Arguments", {}).get("ProcessingOutputConfig", {}).get("Outputs", [])
    known = [output["OutputName"] for output in outputs]
    for file in step.get("PropertyFiles", []):
        if file["OutputName"] not in known:
            raise invalid(
                f"step {step['Name']}: property file {file['PropertyFileName']} is in output "
                f"{file['OutputName']}, which the step does not have"
            )
    names = (file["PropertyFileName"] for file in step.get("PropertyFiles", []))
    return {f"Steps.{step['Name']}.PropertyFiles.{name}" for name in names}


def _check_condition(step: str, condition: Mapping[str, Any]) -> None:
    kind = condition["Type"]
    if kind == "Not":
        _check_condition(step, negated(condition))
    elif kind == "Or":
        for item in condition["Conditions"]:
            _check_condition(step, item)
    elif kind != "In" and kind not in COMPARISONS:
        raise invalid(f"step {step}: condition type {kind} does not run here")


def _check_reference(step: Step, reference: str, parameters: set[str]) -> None:
    name, (kind, _, rest) = step["Name"], reference.partition(".")
    if kind == "Parameters" and rest not in parameters:
        raise invalid(f"step {name} refers to parameter {rest}, which is not defined")
    if kind == "Execution" and rest in JOB_VARIABLES:
        if step["Type"] != JOB_VARIABLES[rest]:
            raise invalid(
                f"step {name} refers to execution variable {rest}: only a {JOB_VARIABLES[rest]} "
                f"step has it, the name of its own job (of another's job: Steps.NAME.{rest})"
            )
    elif kind == "Execution" and rest not in EXECUTION_VARIABLES:
        raise invalid(f"step {name} refers to execution variable {rest}, which does not run here")
    if kind not in ("Parameters", "Execution") and not STEP_REFERENCE.fullmatch(reference):
        raise invalid(f"step {name}: cannot resolve the reference {reference}")


def own_parts(step: Step) -> Any:
    """What a step itself evaluates: all of it but the steps in a condition's branches."""
    if step["Type"] != "Condition":
        return {key: value for key, value in step.items() if key != "Name"}
    return step["Arguments"]["Conditions"]


def dependencies(step: Step) -> set[str]:
    """The steps that must have succeeded before this one; steps in its branches wait for theirs."""
    return referenced_steps(own_parts(step)) | set(step.get("DependsOn", []))


def _check_order(steps: list[Step]) -> None:
    """Refuse a circle; a step in a branch comes after its condition, as in the SDK's own graph."""
    needs = {step["Name"]: dependencies(step) for step in every_step(steps)}
    for step in every_step(steps):
        for inner in (inner for _, branch in branches(step) for inner in branch):
            needs[inner["Name"]].add(step["Name"])
    try:
        TopologicalSorter(needs).prepare()
    except CycleError as error:
        circle = ", ".join(sorted(set(error.args[1])))
        raise invalid(f"steps depend on each other in a circle: {circle}") from error


def parameter_values(definition: Mapping[str, Any], given: Mapping[str, str]) -> dict[str, Any]:
    """Every parameter's value, typed; `given` are strings, as StartPipelineExecution takes them."""
    known = {item["Name"]: item for item in definition.get("Parameters", [])}
    for name in given:
        if name not in known:
            valid = ", ".join(known) or "none"
            raise invalid(f"pipeline has no parameter {name} (it has: {valid})")
    values = {}
    for name, parameter in known.items():
        if name in given:
            values[name] = _typed(parameter, given[name])
        elif "DefaultValue" in parameter:
            values[name] = parameter["DefaultValue"]
        else:
            raise invalid(f"parameter {name} has no default and was not given")
    return values


def _typed(parameter: Mapping[str, Any], given: str) -> Any:
    name, kind = parameter["Name"], parameter["Type"]
    try:
        value = READERS[kind](given)
    except ValueError as error:
        raise invalid(f"parameter {name} takes a value of type {kind}, not {given!r}") from error
    allowed = parameter.get("EnumValues")
    if allowed and value not in allowed:
        valid = ", ".join(map(str, allowed))
        raise invalid(f"parameter {name} takes one of {valid}, not {given!r}")
    return value


def _boolean(given: str) -> bool:
    if given.lower() not in ("true", "false"):
        raise ValueError(given)
    return given.lower() == "true"


READERS: dict[str, Callable[[str], Any]] = {
    "Integer": int,
    "Float": float,
    "Boolean": _boolean,
    "String": str,
}
