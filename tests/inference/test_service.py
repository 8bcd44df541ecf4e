import asyncio
import json
import logging
import threading
from typing import Any

import pytest

from inference.hooks import Hooks, LoadError
from inference.service import Service
from tests.inference.asgi import ask, ask_at_once

TEXT = {"content-type": "text/plain"}


def echo(**changes: Any) -> Hooks:
    hooks: dict[str, Any] = {
        "model_fn": lambda model_dir: None,
        "input_fn": lambda body, content_type: [body.decode()],
        "predict_fn": lambda data, model: data,
        "output_fn": lambda prediction, accept: (json.dumps(len(prediction)), accept),
    }
    return Hooks(**(hooks | changes))


def service(hooks: Hooks | None = None, **options: Any) -> Service:
    return Service(lambda: (hooks or echo(), None), model_version="3", **options)


def fail(error: Exception) -> Any:
    def hook(*_: Any) -> Any:
        raise error

    return hook


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, logger="inference")
    return caplog


def details(log: pytest.LogCaptureFixture) -> dict[str, Any]:
    found: dict[str, Any] = log.records[-1].__dict__["details"]
    return found


def test_ping_answers_only_when_ready() -> None:
    waiting = ask(service(), "/ping", method="GET", load=False)
    assert (waiting.status, waiting.headers["retry-after"]) == (503, "1")
    assert ask(service(), "/ping", method="GET").status == 200


def test_before_it_is_ready_there_is_no_answer() -> None:
    answer = ask(service(), load=False, headers=TEXT)
    assert answer.status == 503
    assert answer.json()["code"] == "not_ready"
    assert answer.headers["retry-after"] == "1"


def test_a_version_that_cannot_be_loaded_is_said_and_never_ready(
    log: pytest.LogCaptureFixture,
) -> None:
    failed: list[int] = []
    broken = Service(
        fail(LoadError("config.json: its SHA-256 is not the one")), failed=lambda: failed.append(1)
    )
    assert ask(broken, "/ping", method="GET").status == 503
    assert failed == [1]
    assert log.records[0].message == "load_failed"
    assert details(log)["reason"] == "config.json: its SHA-256 is not the one"


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("", "application/json"),
        ("*/*", "application/json"),
        ("application/*", "application/json"),
        ("text/plain", "text/plain"),
        ("text/*;q=0.5", "text/plain"),
        ("text/html, application/jsonlines;q=0.9, */*;q=0.1", "application/jsonlines"),
        ("application/json;q=0.2, text/plain;q=0.9", "text/plain"),
        ("*/*, application/json;q=0", "application/jsonlines"),
        ("*/*;q=0.1, text/plain;q=0, application/jsonlines ; Q=0.5", "application/jsonlines"),
        ("text/plain;q=never, */*", "application/json"),
        (" , ;q=1,", "application/json"),
        ("text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2", "application/json"),
    ],
)
def test_the_answer_has_the_accepted_type(accept: str, content_type: str) -> None:
    answer = ask(service(), body=[b"x"], headers=TEXT | {"accept": accept})
    assert answer.status == 200
    assert answer.headers["content-type"].split(";")[0] == content_type


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({"content-type": "image/png"}, 415, "unsupported_media_type"),
        (TEXT | {"accept": "text/html"}, 406, "not_acceptable"),
        (TEXT | {"accept": "text/plain;q=0"}, 406, "not_acceptable"),
        (TEXT | {"accept": "text/html, */*;q=0.000"}, 406, "not_acceptable"),
    ],
)
def test_types_that_are_not_spoken_are_refused(
    headers: dict[str, str], status: int, code: str
) -> None:
    answer = ask(service(), body=[b"canary"], headers=headers)
    assert (answer.status, answer.json()["code"]) == (status, code)
    assert b"canary" not in answer.body


def test_without_a_content_type_a_body_is_json() -> None:
    hooks = echo(
        input_fn=lambda body, content_type: content_type,
        output_fn=lambda prediction, accept: (prediction, accept),
    )
    assert ask(service(hooks)).body == b"application/json"


def test_a_body_that_does_not_come_is_waited_for_no_longer_than_allowed() -> None:
    async def run() -> list[Any]:
        slow = service(body_within_s=0.05)
        await slow._become_ready()
        sent: list[Any] = []

        async def nothing() -> Any:
            await asyncio.Event().wait()

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {"type": "http", "method": "POST", "path": "/invocations", "query_string": b"",
                 "headers": [(b"content-type", b"text/plain")]}  # fmt: skip
        await slow.app(scope, nothing, send)
        return sent

    start, *_ = asyncio.run(run())
    assert start["status"] == 408
    assert (b"connection", b"close") in start["headers"]


def test_a_body_over_the_limit_is_refused_while_it_is_read() -> None:
    small = service(max_body_bytes=10)
    assert ask(small, body=[b"x" * 5, b"x" * 5], headers=TEXT).status == 200
    answer = ask(small, body=[b"x" * 5, b"x" * 6], headers=TEXT)
    assert (answer.status, answer.json()["code"]) == (413, "too_large")


def test_a_malformed_body_is_the_hooks_to_explain() -> None:
    answer = ask(service(echo(input_fn=fail(ValueError("write it so")))))
    assert (answer.status, answer.json()) == (400, {"code": "malformed", "message": "write it so"})


@pytest.mark.parametrize("hook", ["predict_fn", "output_fn"])
def test_an_error_inside_shows_nothing_outside(log: pytest.LogCaptureFixture, hook: str) -> None:
    answer = ask(service(echo(**{hook: fail(ValueError("canary"))})))
    assert answer.status == 500
    assert answer.json() == {"code": "internal_error", "message": "the model could not answer"}
    assert details(log)["error"].startswith("ValueError at test_service.py:")
    assert "canary" not in log.text + json.dumps(details(log))


def test_a_client_that_hangs_up_is_no_error(log: pytest.LogCaptureFixture) -> None:
    ask(service(), body=[b"half"], gone=True, headers=TEXT)
    assert details(log)["code"] == "client_gone"


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/", 404), ("POST", "/ping", 405)])
def test_other_addresses_get_a_json_error(method: str, path: str, status: int) -> None:
    answer = ask(service(), path, method=method)
    assert answer.status == status
    assert set(answer.json()) == {"code", "message"}


def test_a_request_is_one_log_line_without_its_text(log: pytest.LogCaptureFixture) -> None:
    ask(service(), body=[b"canary"], headers=TEXT | {"x-request-id": "abc-1"})
    found = details(log)
    assert found["request_id"] == "abc-1"
    assert (found["status"], found["size_bytes"], found["reviews"]) == (200, 6, 1)
    assert (found["model_version"], found["duration_ms"] >= 0) == ("3", True)
    assert "canary" not in json.dumps(found)


@pytest.mark.parametrize("given", ["", "a b", "x" * 65, "<script>"])
def test_an_odd_request_id_is_replaced(given: str) -> None:
    answer = ask(service(), headers=TEXT | {"x-request-id": given})
    assert len(answer.headers["x-request-id"]) == 32


def test_requests_are_answered_side_by_side() -> None:
    both_are_here = threading.Barrier(2)

    def wait_for_the_other(data: Any, model: Any) -> Any:
        both_are_here.wait(10)
        return data

    answers = ask_at_once(service(echo(predict_fn=wait_for_the_other)), 2, headers=TEXT)
    assert [answer.status for answer in answers] == [200, 200]
