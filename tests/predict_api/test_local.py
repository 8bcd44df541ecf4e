from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any

import pytest
import uvicorn
from predict_api import app, clients, local
from predict_api.local import Gateway, to_event
from predict_api.throttle import Throttle

from tests.predict_api.endpoint_in_memory import EndpointInMemory

pytestmark = pytest.mark.usefixtures("model")
LIMIT = 25 * 16384


def a_gateway(handler: local.Handler = app.handler, **limits: Any) -> Gateway:
    return Gateway(handler, kept_bytes=lambda: LIMIT, **limits)


def a_scope(
    method: str = "POST", path: str = "/predict", content_type: str = "application/json"
) -> dict[str, Any]:
    return {
        "type": "http",
        "method": method,
        "path": path,
        "headers": [(b"Content-Type", content_type.encode("latin-1"))],
    }


def exchange(
    gateway: local.Application, scope: Mapping[str, Any], *chunks: bytes
) -> tuple[int, dict[str, str], bytes]:
    """One request through the application: status, headers, body."""
    waiting = [
        {"type": "http.request", "body": chunk, "more_body": number < len(chunks)}
        for number, chunk in enumerate(chunks or (b"",), start=1)
    ]
    sent: list[Any] = []

    async def receive() -> Any:
        return waiting.pop(0) if waiting else {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(_awaited(gateway(dict(scope), receive, send)))
    if not sent:
        return 0, {}, b""
    start, *bodies = sent
    headers = {name.decode(): value.decode() for name, value in start["headers"]}
    return start["status"], headers, b"".join(body["body"] for body in bodies)


async def _awaited(answer: Awaitable[None]) -> None:
    await answer


CASES = {
    "verdict": ("POST", "/predict", "application/json", b'{"review": "good"}'),
    "text": ("POST", "/predict", "text/plain", b"good"),
    "accents": ("POST", "/predict", "text/plain; charset=utf-8", "très good".encode()),
    "batch": ("POST", "/predict/batch", "application/json", b'{"reviews": ["good", "bad"]}'),
    "under the api path": ("POST", "/api/predict", "text/plain", b"good"),
    "health": ("GET", "/health", "", b""),
    "description": ("GET", "/openapi.json", "", b""),
    "not found": ("GET", "/nowhere", "", b""),
    "no such method": ("PUT", "/predict", "application/json", b"{}"),
    "malformed": ("POST", "/predict", "application/json", b"{"),
    "not UTF-8": ("POST", "/predict", "text/plain", b"\xff"),
    "empty": ("POST", "/predict", "text/plain", b""),
    "no words": ("POST", "/predict", "text/plain", b"..."),
    "too large": ("POST", "/predict", "text/plain", b"x" * 16385),
    "other type": ("POST", "/predict", "text/html", b"good"),
}


@pytest.mark.parametrize("case", CASES)
def test_plain_http_is_answered_byte_for_byte_as_api_gateway_is(
    case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    method, path, content_type, body = CASES[case]
    scope = a_scope(method, path, content_type)
    event = to_event(scope, body)
    monkeypatch.setattr(local, "to_event", lambda scope, body: event)
    status, headers, content = exchange(a_gateway(), scope, body)
    answer = app.handler(event, None)
    assert status == answer["statusCode"]
    assert content == answer["body"].encode()
    assert headers.pop("content-length") == str(len(content))
    assert headers == {name.lower(): value for name, value in answer["headers"].items()}


def test_a_request_becomes_the_event_that_api_gateway_sends(
    event: Callable[..., dict[str, Any]],
) -> None:
    sample = event("predict_json")
    scope = a_scope() | {
        "headers": [(name.encode(), value.encode()) for name, value in sample["headers"].items()],
        "client": ("192.0.2.1", 50000),
    }
    made = to_event(scope, sample["body"].encode())
    assert len(made["requestContext"].pop("requestId")) == 32
    for key in ("version", "rawPath", "rawQueryString", "headers", "body", "isBase64Encoded"):
        assert made[key] == sample[key]
    assert made["requestContext"]["http"] == sample["requestContext"]["http"]
    assert made["requestContext"]["stage"] == sample["requestContext"]["stage"]


def test_headers_that_come_twice_are_joined_as_api_gateway_joins_them() -> None:
    scope = a_scope() | {"headers": [(b"Accept", b"text/html"), (b"accept", b"text/plain")]}
    assert to_event(scope, b"")["headers"] == {"accept": "text/html,text/plain"}


def test_a_body_may_come_in_pieces() -> None:
    status, _, content = exchange(a_gateway(), a_scope(), b'{"rev', b'iew": "go', b'od"}')
    assert (status, json.loads(content)["label"]) == (200, "positive")


def test_of_a_huge_body_no_more_than_the_limit_is_kept() -> None:
    kept = []

    def handler(event: Mapping[str, Any], context: Any) -> Mapping[str, Any]:
        kept.append(len(event["body"]))
        return app.handler(event, context)

    status, _, _ = exchange(a_gateway(handler), a_scope(), *[b"x" * 10**6] * 8)
    assert (status, kept) == (413, [LIMIT + 1])


def test_who_sends_without_end_is_answered_without_hearing_the_rest() -> None:
    status, _, _ = exchange(a_gateway(), a_scope(), *[b"x" * 10**6] * 50)
    assert status == 413


def test_who_hangs_up_gets_no_answer_and_holds_no_place(model: EndpointInMemory) -> None:
    gateway = a_gateway(max_in_flight=1)
    for _ in range(3):

        async def gone() -> Any:
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            raise AssertionError("nobody is there")

        asyncio.run(_awaited(gateway(a_scope(), gone, send)))
    assert exchange(gateway, a_scope(), b'{"review": "good"}')[0] == 200


def test_too_many_at_once_are_told_to_come_back_and_the_others_are_answered() -> None:
    entered, leave = threading.Barrier(3), threading.Event()

    def handler(event: Mapping[str, Any], context: Any) -> Mapping[str, Any]:
        entered.wait(10)
        leave.wait(10)
        return app.handler(event, context)

    gateway = a_gateway(handler, max_in_flight=2)
    statuses: list[int] = []

    async def crowd() -> None:
        first = [asyncio.create_task(_one(gateway, statuses)) for _ in range(2)]
        await asyncio.get_running_loop().run_in_executor(None, entered.wait, 10)
        await asyncio.gather(*(_one(gateway, statuses) for _ in range(5)))
        assert statuses == [429] * 5
        leave.set()
        await asyncio.gather(*first)

    asyncio.run(crowd())
    assert statuses == [429] * 5 + [200] * 2


def test_who_does_not_send_a_body_takes_no_place_and_is_told_so() -> None:
    gateway = a_gateway(max_in_flight=1, body_within_s=0.2)
    statuses: list[int] = []

    async def nothing() -> Any:
        await asyncio.Event().wait()

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])
            assert (b"connection", b"close") in message["headers"]

    async def run() -> None:
        idle = [asyncio.create_task(gateway(a_scope(), nothing, send)) for _ in range(3)]
        await asyncio.sleep(0)
        await _one(gateway, statuses)
        assert statuses == [200]
        await asyncio.gather(*idle)

    asyncio.run(run())
    assert statuses == [200, 408, 408, 408]


def test_more_a_second_than_the_throttle_lets_in_are_told_to_come_back() -> None:
    gateway = a_gateway(throttle=Throttle(rate_per_s=1e-6, burst=2))
    statuses: list[int] = []

    async def one_after_the_other() -> None:
        for _ in range(5):
            await _one(gateway, statuses)

    asyncio.run(one_after_the_other())
    assert statuses == [200, 200, 429, 429, 429]


async def _one(gateway: Gateway, statuses: list[int]) -> None:
    body = iter([{"type": "http.request", "body": b'{"review": "good"}', "more_body": False}])

    async def receive() -> Any:
        return next(body)

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])
            if message["status"] == 429:
                assert (b"retry-after", b"1") in message["headers"]

    await gateway(a_scope(), receive, send)


def test_a_wrong_setting_is_told_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("READ_TIMEOUT_S", "soon")
    clients.settings.cache_clear()
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "lifespan.startup"}

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(_awaited(local.app({"type": "lifespan"}, receive, send)))
    clients.settings.cache_clear()
    (failed,) = sent
    assert failed["type"] == "lifespan.startup.failed"
    assert failed["message"].startswith("READ_TIMEOUT_S: ")


@contextlib.contextmanager
def served(gateway: Gateway) -> Iterator[int]:
    """The port of a real server with the gateway behind it."""
    server = uvicorn.Server(
        uvicorn.Config(gateway, host="127.0.0.1", port=0, log_level="critical", ws="none")
    )
    thread = threading.Thread(target=server.run)
    started = threading.Event()
    startup = server.startup

    async def and_tell(*arguments: Any, **named: Any) -> None:
        await startup(*arguments, **named)
        started.set()

    server.startup = and_tell  # type: ignore[method-assign]
    thread.start()
    assert started.wait(10)
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(10)


def test_a_real_server_answers_a_verdict_and_a_body_of_megabytes() -> None:
    with served(a_gateway()) as port:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        for body, status in ((b'{"review": "good"}', 200), (b"x" * 5_000_000, 413)):
            connection.request("POST", "/predict", body, {"Content-Type": "application/json"})
            response = connection.getresponse()
            content = json.loads(response.read())
            assert response.status == status
            assert content["request_id"] == response.headers["X-Request-Id"]
        connection.close()
