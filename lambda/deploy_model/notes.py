"""What this project writes beside a model package, in its CustomerMetadataProperties.

The registry keeps one time of change, not the time of approval, and every note changes it. So a
note says when it was made and which approval it found: a package changed since then has been
decided on anew, and what was noted about its failure is void, as is a pin.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

APPROVED_AT = "approved_at"
NOTED_AT = "noted_at"
FAILED_MODEL = "deploy_failed_model"
FAILED_REASON = "deploy_failed_reason"
PINNED_AT = "pinned_at"
KEYS = (APPROVED_AT, NOTED_AT, FAILED_MODEL, FAILED_REASON, PINNED_AT)

# Our clock and the registry's may differ, and a request takes its time. Nobody reads a report
# and decides anew within it.
SLACK = timedelta(seconds=10)
MAX_LENGTH = 256
# AWS takes letters, digits, spaces and these; no line break
_NOT_METADATA = re.compile(r"[^\w .:/=+\-@]")


@dataclass(frozen=True)
class Notes:
    """The notes on one package that still hold."""

    approved_at: datetime
    failed_model: str | None = None
    """Model, by name, that did not come into service: the version with its settings."""
    failed_reason: str = ""
    pinned_at: str = ""


def read(properties: Mapping[str, str], changed_at: datetime) -> Notes:
    """Notes on a package that was changed last at `changed_at`."""
    noted, approved = properties.get(NOTED_AT), properties.get(APPROVED_AT)
    if not noted or not approved or changed_at > datetime.fromisoformat(noted) + SLACK:
        return Notes(changed_at, pinned_at=_pinned_at(properties, changed_at))
    approved_at = datetime.fromisoformat(approved)
    return Notes(
        approved_at=approved_at,
        failed_model=properties.get(FAILED_MODEL),
        failed_reason=properties.get(FAILED_REASON, ""),
        pinned_at=_pinned_at(properties, approved_at),
    )


def _pinned_at(properties: Mapping[str, str], approved_at: datetime) -> str:
    """When it was pinned; a decision made since, in Studio say, has taken the pin away."""
    pinned = properties.get(PINNED_AT, "")
    return pinned if pinned and datetime.fromisoformat(pinned) + SLACK >= approved_at else ""


def failure(model: str, reason: str, approved_at: datetime, now: datetime) -> dict[str, str]:
    """The note that an approval led to nothing."""
    return {
        APPROVED_AT: approved_at.isoformat(),
        NOTED_AT: now.isoformat(),
        FAILED_MODEL: model,
        FAILED_REASON: _NOT_METADATA.sub(" ", reason)[:MAX_LENGTH],
    }
