"""EventBridge: an event goes to the outbox once for every rule that matches it."""

from __future__ import annotations

import datetime as dt
import json
import uuid
from typing import Any

from pipeline.local.account import Account, answers
from pipeline.local.delivery import deliver_in_background
from pipeline.local.store import Document


def emit(account: Account, *, source: str, detail_type: str, detail: Document, arn: str) -> None:
    """Queue an event for every rule that matches, inside the caller's transaction.

    The caller commits and then calls `deliver_in_background`.
    """
    event = {
        "version": "0",
        "id": str(uuid.uuid4()),
        "source": source,
        "detail-type": detail_type,
        "account": account.id,
        "region": account.region,
        "time": dt.datetime.now(dt.UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        "resources": [arn] if arn else [],
        "detail": detail,
    }
    for rule in account.configuration["rules"]:
        if matches(rule["pattern"], event):
            account.store.enqueue(rule["function"], event)


def matches(pattern: Any, event: Document) -> bool:
    """Whether an event matches: exact values, `prefix`, `anything-but` and `exists`.

    Source: EventBridge user guide, "Creating event patterns".
    """
    return all(
        matches(wanted, event.get(key) or {})
        if isinstance(wanted, dict)
        else _matches_value(wanted, event.get(key))
        for key, wanted in pattern.items()
    )


def _matches_value(wanted: list[Any], value: Any) -> bool:
    values = value if isinstance(value, list) else [value]
    return any(_matches_one(item, candidate) for item in wanted for candidate in values)


def _matches_one(wanted: Any, value: Any) -> bool:
    if not isinstance(wanted, dict):
        return bool(wanted == value)
    if "prefix" in wanted:
        return isinstance(value, str) and value.startswith(wanted["prefix"])
    if "exists" in wanted:
        return bool((value is not None) == wanted["exists"])
    if "anything-but" in wanted:
        unwanted = wanted["anything-but"]
        return value not in (unwanted if isinstance(unwanted, list) else [unwanted])
    return False


@answers("events:PutEvents")
def put_events(account: Account, request: Document) -> Document:
    with account.store.transaction():
        entries = [_put_event(account, entry) for entry in request["Entries"]]
    deliver_in_background(account)
    failed = sum("ErrorCode" in answer for answer in entries)
    return {"FailedEntryCount": failed, "Entries": entries}


def _put_event(account: Account, entry: Document) -> Document:
    """What is answered for one entry; one that is wrong does not keep the others back."""
    try:
        detail = json.loads(entry.get("Detail", "{}"))
    except ValueError:
        detail = None
    if not isinstance(detail, dict):
        return {"ErrorCode": "MalformedDetail", "ErrorMessage": "Detail is malformed."}
    emit(
        account,
        source=entry.get("Source", ""),
        detail_type=entry.get("DetailType", ""),
        detail=detail,
        arn=(entry.get("Resources") or [""])[0],
    )
    return {"EventId": str(uuid.uuid4())}
