"""What is noted beside a model version, and when it was approved: as the deploy function reads it.

The registry keeps one time of change, not the time of approval, and every note changes it. So a
note says when it was made and which approval it found; a version changed since has been decided
on anew. `lambda/deploy_model/notes.py` is the other half, and a test holds the two equal.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timedelta

APPROVED_AT, NOTED_AT, PINNED_AT = "approved_at", "noted_at", "pinned_at"
FAILED_MODEL, FAILED_REASON = "deploy_failed_model", "deploy_failed_reason"
KEYS = (APPROVED_AT, NOTED_AT, FAILED_MODEL, FAILED_REASON, PINNED_AT)
SLACK = timedelta(seconds=10)

DECISION = "decision_"
# A version has room for 50 properties: https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_CreateModelPackage.html
KEPT_DECISIONS = 20
MAX_LENGTH = 256
# AWS takes letters, digits, spaces and these; no line break
_NOT_METADATA = re.compile(r"[^\w .:/=+\-@]")


def plain(text: str) -> str:
    """Text as the registry takes it beside a version."""
    return _NOT_METADATA.sub("-", text)[:MAX_LENGTH]


def approved_at(metadata: Mapping[str, str], changed: datetime) -> datetime:
    """When a version was last decided on, given when it was last changed."""
    if _hold(metadata, changed):
        return datetime.fromisoformat(metadata[APPROVED_AT])
    return changed


def failure(metadata: Mapping[str, str], changed: datetime) -> str | None:
    """Why it did not come into service since it was approved; None where it did, or may yet."""
    if _hold(metadata, changed) and FAILED_MODEL in metadata:
        return metadata.get(FAILED_REASON) or "no reason is known"
    return None


def pinned_at(metadata: Mapping[str, str], changed: datetime) -> str:
    """When it was pinned, as ISO 8601; empty where it is not, or was decided on since."""
    pinned = metadata.get(PINNED_AT, "")
    if pinned and datetime.fromisoformat(pinned) + SLACK >= approved_at(metadata, changed):
        return pinned
    return ""


def touch(metadata: Mapping[str, str], changed: datetime, now: datetime) -> dict[str, str]:
    """The properties that let a change of properties pass for what it is: no decision."""
    approved = approved_at(metadata, changed)
    return {APPROVED_AT: approved.isoformat(), NOTED_AT: now.isoformat()}


def void(metadata: Mapping[str, str], changed: datetime) -> list[str]:
    """The properties that a `touch` would bring back to life: a failure before the approval."""
    if _hold(metadata, changed):
        return []
    return [key for key in (FAILED_MODEL, FAILED_REASON) if key in metadata]


def decisions(metadata: Mapping[str, str]) -> list[str]:
    """What was decided on a version, pins included, the oldest first."""
    return [metadata[key] for key in sorted(metadata) if key.startswith(DECISION)]


def add_decision(metadata: Mapping[str, str], line: str) -> tuple[dict[str, str], list[str]]:
    """The property that keeps one more decision, and those that have to make room for it."""
    keys = sorted(key for key in metadata if key.startswith(DECISION))
    number = int(keys[-1].removeprefix(DECISION)) + 1 if keys else 1
    return {f"{DECISION}{number:04d}": plain(line)}, keys[: max(0, len(keys) + 1 - KEPT_DECISIONS)]


def _hold(metadata: Mapping[str, str], changed: datetime) -> bool:
    noted = metadata.get(NOTED_AT)
    if not noted or APPROVED_AT not in metadata:
        return False
    return changed <= datetime.fromisoformat(noted) + SLACK
