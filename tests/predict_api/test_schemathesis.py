"""Schemathesis makes requests of our own description, good and bad, and checks every answer."""

from __future__ import annotations

import os
import re
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn
from predict_api import app
from predict_api.local import Gateway
from predict_api.throttle import Throttle

from tests.predict_api.endpoint_in_memory import EndpointInMemory

ROOT = Path(__file__).parents[2]
SCHEMATHESIS = ROOT / ".tools/schemathesis/bin/schemathesis"
CONFIG = Path(__file__).with_name("schemathesis.toml")
CASES_AN_OPERATION = 350
FEWEST_CASES = 1000


@pytest.fixture
def url(model: EndpointInMemory, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    bucket = type("Bucket", (), {"put_object": staticmethod(lambda **_: None)})
    monkeypatch.setattr("predict_api.routes.s3", lambda: bucket)
    gateway = Gateway(app.handler, lambda: 25 * 16384, throttle=Throttle(1e9, 10**9))
    config = uvicorn.Config(gateway, host="127.0.0.1", port=0, log_level="critical", ws="none")
    server = uvicorn.Server(config)
    listener = config.bind_socket()
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    server.should_exit = True
    thread.join(10)
    listener.close()


def test_no_request_that_schemathesis_makes_finds_a_fault(url: str, tmp_path: Path) -> None:
    assert SCHEMATHESIS.exists(), "it is missing: make test installs it (.tools/schemathesis)"
    found = subprocess.run(  # noqa: S603 - a pinned tool
        [
            SCHEMATHESIS,
            f"--config-file={CONFIG}",
            "run",
            f"{url}/openapi.json",
            f"--max-examples={CASES_AN_OPERATION}",
            "--seed=1",
            "--workers=2",
            "--continue-on-failure",
            "--no-color",
        ],
        cwd=tmp_path,
        env={**os.environ, "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stdout[-5000:] + found.stderr[-2000:]
    made = re.search(r"([\d,]+) generated", found.stdout)
    assert made, found.stdout[-2000:]
    assert int(made[1].replace(",", "")) >= FEWEST_CASES
