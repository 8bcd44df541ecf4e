"""What of a pipeline definition runs here, and what is refused by name before a run starts.

The tables are data: `python -m pipeline.local.supported` prints those of docs/local-account.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

STEP_FIELDS = ("Name", "Type", "Arguments", "DisplayName", "Description", "DependsOn")
JOB_FIELDS = ("CacheConfig", "RetryPolicies")
# Type of a step → the fields it may have beside STEP_FIELDS, and what it does here.
STEP_TYPES: dict[str, tuple[tuple[str, ...], str]] = {
    "Processing": (
        (*JOB_FIELDS, "PropertyFiles"),
        "a process a host; sharded, replicated, gzip'd and manifest inputs",
    ),
    "Training": (
        JOB_FIELDS,
        "a process a host; channels, checkpoints, metrics, `model.tar.gz` and `output.tar.gz`",
    ),
    "Transform": (JOB_FIELDS, "the model's server, one request a file or a line, `.out` objects"),
    "Condition": ((), "every condition type, nested; branches in branches"),
    "RegisterModel": (("RetryPolicies",), "a version in its group, with the approval event"),
    "Model": (("RetryPolicies",), "a model for endpoints and transform jobs"),
    "Lambda": (
        ("CacheConfig", "RetryPolicies", "FunctionArn", "OutputParameters"),
        "a function that was handed in, in a process of its own",
    ),
    "Fail": ((), "ends the execution with a message"),
}
CONDITION_TYPES = (
    "Equals",
    "GreaterThan",
    "GreaterThanOrEqualTo",
    "LessThan",
    "LessThanOrEqualTo",
    "In",
    "Not",
    "Or",
)
EXECUTION_VARIABLES = (
    "StartDateTime",
    "CurrentDateTime",
    "PipelineName",
    "PipelineArn",
    "PipelineExecutionId",
    "PipelineExecutionArn",
)
# The name of a step's own job → the type of step that has one.
JOB_VARIABLES = {"ProcessingJobName": "Processing", "TrainingJobName": "Training"}
EXCEPTION_TYPES = (
    "Step.SERVICE_FAULT",
    "Step.THROTTLING",
    "SageMaker.JOB_INTERNAL_ERROR",
    "SageMaker.CAPACITY_ERROR",
    "SageMaker.RESOURCE_LIMIT",
)
FUNCTIONS = ("Get", "Std:Join", "Std:JsonGet")

Path = tuple[str, ...]
# Type of a step → arguments that are refused; `*` is every item of a list. With values, only those.
REFUSED: dict[str, dict[Path, tuple[str, ...]]] = {
    "Processing": {
        ("ProcessingInputs", "*", "DatasetDefinition"): (),
        ("ProcessingInputs", "*", "S3Input", "S3InputMode"): ("Pipe",),
        ("ProcessingOutputConfig", "Outputs", "*", "FeatureStoreOutput"): (),
    },
    "Training": {
        ("AlgorithmSpecification", "AlgorithmName"): (),
        ("AlgorithmSpecification", "TrainingInputMode"): ("Pipe",),
        ("InputDataConfig", "*", "InputMode"): ("Pipe",),
        ("InputDataConfig", "*", "DataSource", "FileSystemDataSource"): (),
        ("InputDataConfig", "*", "DataSource", "S3DataSource", "S3DataType"): (
            "AugmentedManifestFile",
        ),
        ("ResourceConfig", "InstanceGroups"): (),
    },
    "Transform": {
        ("TransformInput", "DataSource", "S3DataSource", "S3DataType"): ("AugmentedManifestFile",),
        ("TransformInput", "SplitType"): ("RecordIO", "TFRecord"),
        ("DataProcessing",): (),
    },
}


def unsupported(step: dict[str, Any]) -> Iterator[str]:
    """What of a step does not run here, each as the path that names it."""
    extra, _ = STEP_TYPES[step["Type"]]
    for name in step:
        if name not in (*STEP_FIELDS, *extra):
            yield name
    for path, values in REFUSED.get(step["Type"], {}).items():
        for found in _at(step.get("Arguments", {}), path):
            if not values:
                yield ".".join(path)
            elif found in values:
                yield f"{'.'.join(path)} {found}"


def _at(value: Any, path: Path) -> Iterator[Any]:
    if not path:
        yield value
    elif path[0] == "*":
        for item in value if isinstance(value, list) else ():
            yield from _at(item, path[1:])
    elif isinstance(value, dict) and path[0] in value:
        yield from _at(value[path[0]], path[1:])


def tables() -> str:
    """The tables as Markdown."""
    steps = "".join(f"| `{name}` | {about} |\n" for name, (_, about) in STEP_TYPES.items())
    refused = "".join(
        f"| `{kind}` | `{'.'.join(path)}` | {', '.join(values) or 'any'} |\n"
        for kind, paths in REFUSED.items()
        for path, values in paths.items()
    )
    return (
        f"| step | what it does here |\n|---|---|\n{steps}\n"
        f"Conditions: {_listed(CONDITION_TYPES)}. Functions: {_listed(FUNCTIONS)}. "
        f"Execution variables: {_listed(EXECUTION_VARIABLES)}; "
        f"{_listed(tuple(JOB_VARIABLES))} in a step of that type, its own job's name. "
        f"Retry policies: {_listed(EXCEPTION_TYPES)}.\n\n"
        "Refused before a run starts, by name, beside every step type and field not in the table:\n"
        f"\n| step | argument | value |\n|---|---|---|\n{refused}"
    )


def operations() -> str:
    """Every operation that the account answers, by service, as Markdown."""
    from pipeline.local import services  # noqa: F401 - registers the answers
    from pipeline.local.account import ANSWERS

    by_service: dict[str, list[str]] = {}
    for operation in ANSWERS:
        service, _, name = operation.partition(":")
        by_service.setdefault(service, []).append(name)
    rows = "".join(
        f"| `{service}` | {', '.join(sorted(names))} |\n"
        for service, names in sorted(by_service.items())
    )
    return f"| service | operations |\n|---|---|\n{rows}"


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(f"`{name}`" for name in names)


if __name__ == "__main__":
    print(tables())
    print(operations())
