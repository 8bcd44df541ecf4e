"""Who decided what, when and why, and what was served when."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pipeline import notes
from pipeline.registry import PENDING, PINNED, UNPINNED, Registry
from pipeline.target import Target

SERVED, ENDED = "Served", "Ended"


@dataclass(frozen=True)
class Event:
    """One line of the history."""

    at: str
    version: int
    what: str
    """Approved, Rejected, PendingManualApproval, Pinned, Unpinned, Served, Ended or Failed.

    Ended: it was served until then."""
    by: str
    reason: str


def history(target: Target) -> list[Event]:
    """Everything known, the newest first."""
    rollouts = sorted(_rollouts(target), key=lambda event: event.at)
    events = [*_decisions(Registry(target)), *rollouts, *_taken_over(rollouts)]
    return sorted(reversed(events), key=lambda event: (event.at, event.version), reverse=True)


def _decisions(registry: Registry) -> Iterator[Event]:
    for version in registry.versions():
        last = PENDING
        for line in notes.decisions(version.metadata):
            at, what, rest = line.split(" ", 2)
            by, _, reason = rest.removeprefix("by ").partition(": ")
            yield Event(at, version.number, what, by, reason)
            last = last if what in (PINNED, UNPINNED) else what
        if version.status != last:  # decided elsewhere: in Studio
            at = _second(version.approved_at.isoformat())
            yield Event(at, version.number, version.status, "", version.reason)


def _rollouts(target: Target) -> Iterator[Event]:
    """What the deploy function recorded in the bucket."""
    s3, bucket = target.client("s3"), target.account.bucket
    prefix = f"deployments/{target.account.endpoint_name}/history/"
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        for item in page.get("Contents", []):
            body = s3.get_object(Bucket=bucket, Key=item["Key"])["Body"].read()
            facts: dict[str, Any] = json.loads(body)
            what = str(facts["outcome"]).capitalize()
            reason = str(facts.get("reason", ""))
            yield Event(_second(facts["at"]), facts["version"], what, "deploy function", reason)


def _taken_over(rollouts: Sequence[Event]) -> Iterator[Event]:
    """The end of what was served until another version was, the roll-outs given in order.

    Where the endpoint itself went, the deploy function has recorded the end.
    """
    served: Event | None = None
    for event in rollouts:
        if event.what == SERVED:
            if served is not None and served.version != event.version:
                reason = f"version {event.version} is served"
                yield Event(event.at, served.version, ENDED, event.by, reason)
            served = event
        elif event.what == ENDED:
            served = None


def _second(at: str) -> str:
    """An ISO 8601 time in UTC, to the second, as decisions have it."""
    return datetime.fromisoformat(at).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
