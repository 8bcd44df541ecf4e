"""What SageMaker's List operations share: name and time filters, order and pages."""

from __future__ import annotations

import datetime as dt
from typing import Any

from pipeline.local.errors import ServiceError
from pipeline.local.store import Document

DEFAULT_PAGE = 100


def _seconds(value: Any) -> float:
    return value.timestamp() if isinstance(value, dt.datetime) else float(value)


def page(
    documents: list[Document],
    request: Document,
    *,
    member: str,
    name: str = "",
    default_order: str = "Descending",
    time_key: str = "CreationTime",
) -> Document:
    """One page of the answer under `member`; `documents` come oldest first."""
    kept = documents
    if wanted := request.get("NameContains"):
        kept = [item for item in kept if wanted in item[name]]
    if "CreationTimeAfter" in request:
        after = _seconds(request["CreationTimeAfter"])
        kept = [item for item in kept if item[time_key] >= after]
    if "CreationTimeBefore" in request:
        before = _seconds(request["CreationTimeBefore"])
        kept = [item for item in kept if item[time_key] <= before]
    if request.get("SortBy") in ("Name",) and name:
        kept = sorted(kept, key=lambda item: item[name])
    if request.get("SortOrder", default_order) == "Descending":
        kept = kept[::-1]
    try:
        start = int(request.get("NextToken", "0"))
    except ValueError as error:
        raise ServiceError("ValidationException", "Invalid NextToken") from error
    end = start + request.get("MaxResults", DEFAULT_PAGE)
    answer: Document = {member: kept[start:end]}
    if end < len(kept):
        answer["NextToken"] = str(end)
    return answer
