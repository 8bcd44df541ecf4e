from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import Iterator
from typing import Any

import boto3
import pytest

from pipeline import serving
from pipeline.errors import ServeError
from pipeline.settings import ROOT
from pipeline.target import Target


@pytest.fixture
def application(target: Target, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    monkeypatch.setenv("ENDPOINT_NAME", "other")
    monkeypatch.setenv("FEEDBACK_BUCKET", "other")
    from predict_api import clients

    clients.settings.cache_clear()
    yield serving.application(target, ROOT)
    clients.settings.cache_clear()


def get(application: Any, path: str) -> tuple[int, str, bytes]:
    return ask(application, "GET", path)


def ask(application: Any, method: str, path: str, body: bytes = b"") -> tuple[int, str, bytes]:
    """Ask an ASGI application: status, content type, body."""
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "query_string": b"",
        "headers": [(b"content-type", b"application/json")],
    }
    asyncio.run(application(scope, receive, send))
    headers = dict(sent[0]["headers"])
    return sent[0]["status"], headers[b"content-type"].decode(), sent[1]["body"]


def test_the_website_is_at_the_root(application: Any) -> None:
    status, content_type, body = get(application, "/")
    assert (status, content_type) == (200, "text/html; charset=utf-8")
    assert body == (ROOT / "website" / "index.html").read_bytes()


def test_the_api_is_beside_it_and_asks_the_target(application: Any, target: Target) -> None:
    _status, content_type, body = get(application, "/health")
    assert content_type.startswith("application/json")
    assert json.loads(body)["api"] == "ok"
    assert boto3.DEFAULT_SESSION is target.session
    assert os.environ["ENDPOINT_NAME"] == "sentiment"


def test_feedback_is_kept_in_the_accounts_bucket(application: Any, target: Target) -> None:
    target.prepare()
    from predict_api.feedback import sign

    request_id = sign(os.environ["FEEDBACK_KEY"], "abc")
    body = json.dumps({"request_id": request_id, "label": "negative"}).encode()
    status, _type, _body = ask(application, "POST", "/feedback", body)
    assert status == 201
    stored = target.client("s3").get_object(
        Bucket=target.account.bucket, Key=f"feedback/{request_id}.json"
    )["Body"]
    assert json.loads(stored.read())["label"] == "negative"


def test_the_page_is_told_what_is_served_here(application: Any) -> None:
    _status, content_type, body = get(application, "/config.json")
    config = json.loads(body)
    assert content_type.startswith("application/json")
    assert (config["feedback"], config["model_version"]) == (True, None)
    assert config["max_review_bytes"] == 16_000


def test_a_free_port_is_found_for_0() -> None:
    with serving.bind("127.0.0.1", 0) as listener:
        assert listener.getsockname()[1] > 0


def test_a_small_answer_does_not_wait_for_an_acknowledgement() -> None:
    with serving.bind("127.0.0.1", 0) as listener:
        listener.listen()
        with socket.create_connection(listener.getsockname()):
            accepted, _ = listener.accept()
            with accepted:
                assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_a_port_in_use_is_refused() -> None:
    with serving.bind("127.0.0.1", 0) as listener:
        listener.listen()
        port = listener.getsockname()[1]
        with pytest.raises(ServeError, match=rf"cannot serve on 127.0.0.1:{port}: Address already"):
            serving.bind("127.0.0.1", port)
