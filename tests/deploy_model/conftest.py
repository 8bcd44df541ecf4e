from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from deploy_model.app import Outcome, converge
from deploy_model.settings import Settings

from tests.deploy_model.world import BUCKET, ROLE, World

EVENTS = Path(__file__).parents[1] / "events"


@pytest.fixture
def settings() -> Settings:
    return Settings("sentiment", "sentiment", ROLE, BUCKET)


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def call(world: World, settings: Settings) -> Callable[..., Outcome]:
    """Wake the function once, as any event does."""

    def wake(asked_for: str | None = None) -> Outcome:
        return converge(world.surroundings, settings, asked_for)

    return wake


@pytest.fixture
def event() -> Callable[[str], dict[str, Any]]:
    def read(name: str) -> dict[str, Any]:
        content: dict[str, Any] = json.loads((EVENTS / f"{name}.json").read_text("utf-8"))
        return content

    return read
