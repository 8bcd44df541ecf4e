from __future__ import annotations

from collections.abc import Iterator

import pytest
from predict_api import clients


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("ENDPOINT_NAME", "sentiment")
    monkeypatch.setenv("READ_TIMEOUT_S", "7")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    made = (clients.settings, clients.endpoint, clients._runtime, clients.s3)
    for one in made:
        one.cache_clear()
    yield
    for one in made:
        one.cache_clear()


def test_the_client_waits_as_long_as_the_settings_say_and_never_retries_by_itself() -> None:
    config = clients._runtime().meta.config
    assert (config.connect_timeout, config.read_timeout) == (1.0, 7.0)
    assert config.retries["total_max_attempts"] == 1


def test_a_process_makes_one_of_each_and_keeps_it() -> None:
    assert clients.endpoint() is clients.endpoint()
    assert clients._runtime() is clients._runtime()
    assert clients.s3() is clients.s3()
