"""SageMaker's Search: packages, jobs, pipelines and executions by any member, tag or metadata.

Source: SageMaker API, Search and SearchExpression.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

from pipeline.local.account import Account, answers
from pipeline.local.errors import ServiceError
from pipeline.local.services.endpoints import describe_endpoint
from pipeline.local.services.jobs import describe_training_job
from pipeline.local.services.listing import listed, page
from pipeline.local.services.pipelines import describe_pipeline_execution
from pipeline.local.store import Document

# Resource of the request → kind of the store, member of its ARN.
RESOURCES = {
    "ModelPackage": ("model-package", "ModelPackageArn"),
    "ModelPackageGroup": ("model-package-group", "ModelPackageGroupArn"),
    "TrainingJob": ("training-job", "TrainingJobArn"),
    "Endpoint": ("endpoint", "EndpointArn"),
    "Pipeline": ("pipeline", "PipelineArn"),
    "PipelineExecution": ("execution", "PipelineExecutionArn"),
}
# Kind of the store → the operation that tells of one as it is, though its process was killed, and
# the member that names it.
SEEN: dict[str, tuple[Callable[[Account, Document], Document], str]] = {
    "training-job": (describe_training_job, "TrainingJobName"),
    "endpoint": (describe_endpoint, "EndpointName"),
    "execution": (describe_pipeline_execution, "PipelineExecutionArn"),
}
OPERATORS: dict[str, Callable[[Any, str], bool]] = {
    "Equals": lambda value, wanted: value is not None and str(value) == wanted,
    "NotEquals": lambda value, wanted: str(value) != wanted,
    "Contains": lambda value, wanted: value is not None and wanted in str(value),
    "In": lambda value, wanted: str(value) in wanted.split(","),
    "Exists": lambda value, wanted: value is not None,
    "NotExists": lambda value, wanted: value is None,
    "GreaterThan": lambda value, wanted: value is not None and float(value) > float(wanted),
    "GreaterThanOrEqualTo": lambda value, wanted: (
        value is not None and float(value) >= float(wanted)
    ),
    "LessThan": lambda value, wanted: value is not None and float(value) < float(wanted),
    "LessThanOrEqualTo": lambda value, wanted: value is not None and float(value) <= float(wanted),
}


@answers("sagemaker:Search")
def search(account: Account, request: Document) -> Document:
    resource = request["Resource"]
    if resource not in RESOURCES:
        valid = ", ".join(RESOURCES)
        raise ServiceError("ValidationException", f"{resource} is not searched here ({valid} are)")
    kind, arn = RESOURCES[resource]
    expression = request.get("SearchExpression", {})
    found = []
    see, name = SEEN.get(kind, (None, ""))
    for document in account.store.every(kind):
        try:
            document = see(account, {name: document[name]}) if see else document
        except ServiceError:  # it was deleted meanwhile
            continue
        tags = (account.store.get("tags", document[arn]) or {}).get("Tags", {})
        if _holds(expression, {**document, "Tags": tags}):
            seen = {**document, "Tags": [{"Key": k, "Value": v} for k, v in tags.items()]}
            found.append({resource: seen})
    order = request.get("SortBy", "LastModifiedTime")
    found.sort(key=lambda item: _sortable(item[resource], order))
    paging: Document = {name: request[name] for name in ("MaxResults", "NextToken", "SortOrder")
              if name in request}  # fmt: skip
    return page(listed(found), paging, member="Results")


def _sortable(document: Document, member: str) -> Any:
    value = _value(document, member)
    return (0, value, "") if isinstance(value, int | float) else (1, 0, str(value))


def _value(document: Any, path: str) -> Any:
    """The member at a path such as `CustomerMetadataProperties.commit`; a key may hold dots."""
    if not isinstance(document, dict):
        return None
    if path in document:
        return document[path]
    head, _, rest = path.partition(".")
    return _value(document[head], rest) if rest and head in document else None


def _holds(expression: Document, document: Document) -> bool:
    parts = [_compare(item, document) for item in expression.get("Filters", [])]
    parts += [_holds(item, document) for item in expression.get("SubExpressions", [])]
    parts += [
        any(
            all(_compare({**item, "Name": item["Name"].rpartition(".")[2]}, entry)
                for item in nested["Filters"])
            for entry in _value(document, nested["NestedPropertyName"]) or []
        )
        for nested in expression.get("NestedFilters", [])
    ]  # fmt: skip
    return any(parts) if expression.get("Operator") == "Or" and parts else all(parts)


def _compare(item: Document, document: Document) -> bool:
    operator, wanted = item.get("Operator", "Equals" if "Value" in item else "Exists"), ""
    try:
        if "Value" in item:
            wanted = _epoch(item["Value"]) if item["Name"].endswith("Time") else item["Value"]
        return OPERATORS[operator](_value(document, item["Name"]), wanted)
    except ValueError as error:
        raise ServiceError(
            "ValidationException",
            f"{operator} of {item['Name']} takes a number, or of a time one as 2026-01-31T12:00:00",
        ) from error


def _epoch(text: str) -> str:
    """A time in ISO 8601, of UTC where it names no zone, as the number that a document has."""
    try:
        return str(float(text))
    except ValueError:
        time = dt.datetime.fromisoformat(text)
        return str((time if time.tzinfo else time.replace(tzinfo=dt.UTC)).timestamp())
