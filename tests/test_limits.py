"""The API on this machine at its limit, beyond it, and when the model's server is killed.

The same as `make load`, shorter; how quick answers are is for that to say, on a quiet machine.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from predict_api import throttle

from benchmarks import limits
from pipeline.local import processes
from tests.model import factory

KILL_SECONDS = 12.0


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    folder: Path = tmp_path_factory.mktemp("limits")
    code = folder / "code"
    code.mkdir()
    version = factory.write_tiny_artifact(folder / "model", factory.stage(code))
    yield limits.measure(version, folder, seconds=5.0, kill_seconds=KILL_SECONDS)
    for child in processes._CHILDREN:
        child.wait(60)


def test_the_limit_is_the_throttles() -> None:
    assert (throttle.RATE_PER_S, throttle.BURST) == (limits.LIMIT_PER_S, limits.BURST)


def test_the_limit_is_the_same_on_aws() -> None:
    template = (factory.ROOT / "lambda/template.yaml").read_text()
    for limit, parameter, ours in (
        ("ThrottlingRateLimit", "RequestsPerSecond", throttle.RATE_PER_S),
        ("ThrottlingBurstLimit", "BurstRequests", throttle.BURST),
    ):
        assert f"{limit}: !Ref {parameter}" in template
        default = re.search(rf"  {parameter}:\n    Type: Number\n    Default: (\d+)", template)
        assert default and int(default[1]) == ours


def test_at_the_limit_every_request_is_answered(measured: Any) -> None:
    figures, runs = measured
    assert figures["error_share_at_the_limit"] < 0.01
    assert runs["at_the_limit"]["statuses"]["200"] > 50


def test_at_twice_the_limit_the_excess_is_refused_and_nothing_else_breaks(measured: Any) -> None:
    figures, runs = measured
    assert runs["at_twice_the_limit"]["statuses"].get("429", 0) > 0
    assert figures["other_answers_at_twice"] == 0
    assert figures["memory_growth_mb"] < 32


def test_a_killed_server_is_told_by_503_and_replaced(measured: Any) -> None:
    figures, runs = measured
    after = runs["after_a_kill"]["statuses"]
    assert after.get("503", 0) > 0
    assert figures["other_answers_after_the_kill"] == 0
    # before the end, so there were answers again; on a quiet machine it takes 3 s
    assert figures["back_s"] is not None, "no answer came again"
    assert figures["back_s"] < KILL_SECONDS - limits.KILL_AFTER_S - 1


def test_every_refusal_says_when_to_come_back(measured: Any) -> None:
    figures, _ = measured
    assert figures["without_retry_after"] == 0
