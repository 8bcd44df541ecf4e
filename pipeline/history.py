"""Who decided what, when and why, and what was served when."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pipeline import notes
from pipeline.registry import PENDING, PINNED, UNPINNED, Registry
from pipeline.target import Target


@dataclass(frozen=True)
class Event:
    """One line of the history."""

    at: str
    version: int
    what: str
    """Approved, Rejected, PendingManualApproval, Pinned, Unpinned, Served or Failed."""
    by: str
    reason: str


def history(target: Target) -> list[Event]:
    """Everything known, the newest first."""
    events = [*_decisions(Registry(target)), *_rollouts(target)]
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


def _second(at: str) -> str:
    """An ISO 8601 time in UTC, to the second, as decisions have it."""
    return datetime.fromisoformat(at).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
