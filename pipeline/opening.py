"""The target of a command, imported where it is asked for: `--help` must not pay for boto3."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.settings import Settings

if TYPE_CHECKING:
    from pipeline.target import Target


def opened(settings: Settings) -> Target:
    """What `pipeline.target.open_target` makes of the settings."""
    from pipeline.target import open_target

    return open_target(settings)
