"""What SageMaker's List operations share: filters, sort orders and pages.

In the order of creation, which is every operation's default, a page reads no more of the store than
it needs, whatever the account holds: the token is the place of the last item. Other orders sort.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

from pipeline.local.errors import ServiceError
from pipeline.local.store import Document, Rows

DEFAULT_PAGE = 100
# Request member → which end of the range it is, and of which time.
TIME_FILTERS = {
    "CreationTimeAfter": ("CreationTime", True),
    "CreationTimeBefore": ("CreationTime", False),
    "CreatedAfter": ("CreationTime", True),
    "CreatedBefore": ("CreationTime", False),
    "LastModifiedTimeAfter": ("LastModifiedTime", True),
    "LastModifiedTimeBefore": ("LastModifiedTime", False),
}


def listed(documents: list[Document]) -> Rows:
    """Documents at hand, oldest first, as rows to page through."""

    def rows(after: int | None, descending: bool) -> Iterator[tuple[int, Document]]:
        places = range(len(documents))
        for place in reversed(places) if descending else places:
            if after is None or (place < after if descending else place > after):
                yield place, documents[place]

    return rows


def page(
    rows: Rows,
    request: Document,
    *,
    member: str,
    name: str = "",
    status: str = "",
    keep: Callable[[Document], bool] = lambda document: True,
    see: Callable[[Document], Document] = lambda document: document,
    default_order: str = "Descending",
) -> Document:
    """One page of the answer under `member`.

    `name` and `status` are the members that filters and orders by them mean; `keep` is the
    operation's own filter; `see` gives a document as it is to be seen.
    """
    token, limit = _token(request), int(request.get("MaxResults", DEFAULT_PAGE))
    descending = request.get("SortOrder", default_order) == "Descending"
    sort_by = {"Name": name, "Status": status, "LastModifiedTime": "LastModifiedTime"}.get(
        request.get("SortBy", "")
    )

    def wanted(items: Iterable[tuple[int, Document]]) -> Iterator[tuple[int, Document]]:
        for place, document in items:
            seen = see(document)
            if keep(seen) and _matches(seen, request, name, status):
                yield place, seen

    if sort_by:
        documents = [document for _, document in wanted(rows(None, False))]
        documents.sort(key=lambda document: _sort_key(document, sort_by), reverse=descending)
        found = list(enumerate(documents))[(token or 0) :][: limit + 1]
        next_token = (token or 0) + limit
    else:
        found = list(islice(wanted(rows(token, descending)), limit + 1))
        next_token = found[limit - 1][0] if len(found) > limit else 0
    answer: Document = {member: [document for _, document in found[:limit]]}
    if len(found) > limit:
        answer["NextToken"] = str(next_token)
    return answer


def _token(request: Document) -> int | None:
    try:
        return int(request["NextToken"]) if "NextToken" in request else None
    except ValueError as error:
        raise ServiceError("ValidationException", "Invalid NextToken") from error


def _sort_key(document: Mapping[str, Any], member: str) -> Any:
    return document.get(member) or document.get("CreationTime") or 0


def _matches(document: Document, request: Document, name: str, status: str) -> bool:
    """Whether a document passes the filters that the request has."""
    if name and request.get("NameContains", "") not in document[name]:
        return False
    if status and request.get("StatusEquals") not in (None, document[status]):
        return False
    for member, (field, is_after) in TIME_FILTERS.items():
        if member in request:
            limit = _seconds(request[member])
            time = document.get(field) or document.get("CreationTime", 0)
            if time < limit if is_after else time > limit:
                return False
    return True


def _seconds(value: Any) -> float:
    return value.timestamp() if isinstance(value, dt.datetime) else float(value)
