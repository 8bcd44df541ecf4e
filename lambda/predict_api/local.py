"""The API over plain HTTP: what API Gateway does for the function, done on this machine.

Each request becomes the event that API Gateway would send, and the handler's answer becomes the
response, so that nothing can answer differently here than there. `app` is an ASGI application:

    ENDPOINT_NAME=sentiment uvicorn predict_api.local:app
"""

from __future__ import annotations

import asyncio
import base64
import uuid
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

from predict_api.app import handler
from predict_api.clients import settings
from predict_api.errors import ApiError, RequestTimeout, SettingsError, TooManyRequests
from predict_api.logs import logger
from predict_api.replies import error_reply
from predict_api.throttle import Throttle

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]
Handler = Callable[[Mapping[str, Any], Any], Mapping[str, Any]]

# https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-quotas.html
MAX_PAYLOAD_BYTES = 10 * 1024 * 1024
THREADS = 32
MAX_IN_FLIGHT = 64
BODY_WITHIN_S = 10.0


class Gateway:
    """An ASGI application that stands where API Gateway stands.

    More a second than `throttle` lets in are refused with 429, as by the stage on AWS, and so are
    more than `max_in_flight` at a time, which AWS answers with 503. Of a body no
    more than `kept_bytes` is held in memory, and one that is not there within `body_within_s` is
    refused with 408; it takes nobody's place meanwhile.
    """

    def __init__(
        self,
        handler: Handler,
        kept_bytes: Callable[[], int],
        max_in_flight: int = MAX_IN_FLIGHT,
        threads: int = THREADS,
        throttle: Throttle | None = None,
        body_within_s: float = BODY_WITHIN_S,
    ) -> None:
        self._handler = handler
        self._kept_bytes = kept_bytes
        self._max_in_flight = max_in_flight
        self._throttle = throttle or Throttle()
        self._body_within_s = body_within_s
        self._in_flight = 0
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="predict-api")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "http":
            if not self._throttle.take():
                await _respond(send, _refuse(_too_many()))
                return
            try:
                reading = _read(receive, self._kept_bytes() + 1)
                body = await asyncio.wait_for(reading, self._body_within_s)
            except TimeoutError:
                message = "the body did not come in time"
                await _respond(send, _refuse(RequestTimeout(message, Connection="close")))
                return
            if body is not None:  # else the caller has gone
                await _respond(send, await self._answer(to_event(scope, body)))

    async def _answer(self, event: Mapping[str, Any]) -> Mapping[str, Any]:
        if self._in_flight >= self._max_in_flight:
            return _refuse(_too_many())
        context = SimpleNamespace(aws_request_id=event["requestContext"]["requestId"])
        loop = asyncio.get_running_loop()
        self._in_flight += 1
        try:
            return await loop.run_in_executor(self._threads, self._handler, event, context)
        finally:
            self._in_flight -= 1

    async def _live(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                try:
                    self._kept_bytes()  # a wrong setting is told now, not to the first caller
                except SettingsError as error:
                    await send({"type": "lifespan.startup.failed", "message": str(error)})
                    return
                await send({"type": "lifespan.startup.complete"})
            elif message["type"] == "lifespan.shutdown":
                self._threads.shutdown()
                await send({"type": "lifespan.shutdown.complete"})
                return


def to_event(scope: Scope, body: bytes) -> dict[str, Any]:
    """The event that an HTTP API sends for a request, format version 2.0.

    https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html
    """
    headers: dict[str, str] = {}
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]},{value}" if name in headers else value
    path = scope["path"].removeprefix(scope.get("root_path", "")) or "/"
    text, is_base64 = _as_text(body)
    client = scope.get("client") or ("127.0.0.1", 0)
    return {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": scope.get("query_string", b"").decode("latin-1"),
        "headers": headers,
        "requestContext": {
            "requestId": uuid.uuid4().hex,
            "stage": "$default",
            "http": {
                "method": scope["method"],
                "path": path,
                "protocol": f"HTTP/{scope.get('http_version', '1.1')}",
                "sourceIp": client[0],
                "userAgent": headers.get("user-agent", ""),
            },
        },
        "body": text,
        "isBase64Encoded": is_base64,
    }


def _as_text(body: bytes) -> tuple[str | None, bool]:
    if not body:
        return None, False
    try:
        return body.decode(), False
    except UnicodeDecodeError:
        return base64.b64encode(body).decode("ascii"), True


async def _read(receive: Receive, kept_bytes: int) -> bytes | None:
    """The first `kept_bytes` of the body; the rest is taken off the wire and dropped, so that the
    caller has sent all and listens for the answer. None if the caller hung up."""
    kept, seen = bytearray(), 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        chunk = message.get("body", b"")
        seen += len(chunk)
        kept += chunk[: kept_bytes - len(kept)]
        if not message.get("more_body", False) or seen > MAX_PAYLOAD_BYTES:
            return bytes(kept)


async def _respond(send: Send, answer: Mapping[str, Any]) -> None:
    text = answer["body"] or ""
    body = base64.b64decode(text) if answer.get("isBase64Encoded") else text.encode()
    headers = [
        (name.lower().encode("latin-1"), str(value).encode("latin-1"))
        for name, value in answer["headers"].items()
    ]
    headers.append((b"content-length", str(len(body)).encode("ascii")))
    await send({"type": "http.response.start", "status": answer["statusCode"], "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _too_many() -> TooManyRequests:
    return TooManyRequests("too many at once; please wait", Retry_After="1")


def _refuse(error: ApiError) -> dict[str, Any]:
    request_id = uuid.uuid4().hex
    reply = error_reply(error, request_id)
    logger.info("answered", request_id=request_id, status=reply.status_code, code=error.code)
    return {"statusCode": reply.status_code, "headers": reply.headers, "body": reply.body}


app = Gateway(handler, kept_bytes=lambda: settings().max_batch_body_bytes)
