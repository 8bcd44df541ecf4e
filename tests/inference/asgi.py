"""One request to an ASGI application, without a network."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from inference.service import Service


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


def ask(
    service: Service,
    path: str = "/invocations",
    body: Sequence[bytes] = (b"",),
    *,
    method: str = "POST",
    load: bool = True,
    gone: bool = False,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """`body` in chunks; with `gone` the client hangs up midway."""

    async def run() -> Answer:
        if load:
            await service._become_ready()
        return await _ask(service, path, body, method, gone, headers or {})

    return asyncio.run(run())


def ask_at_once(service: Service, count: int, headers: Mapping[str, str]) -> list[Answer]:
    """The same request `count` times, none waiting for another's answer."""

    async def run() -> list[Answer]:
        await service._become_ready()
        once = partial(_ask, service, "/invocations", (b"x",), "POST", False, headers)
        return list(await asyncio.gather(*(once() for _ in range(count))))

    return asyncio.run(run())


async def _ask(
    service: Service,
    path: str,
    body: Sequence[bytes],
    method: str,
    gone: bool,
    headers: Mapping[str, str],
) -> Answer:
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
    }
    events: list[dict[str, Any]] = [
        {"type": "http.request", "body": chunk, "more_body": gone or number < len(body)}
        for number, chunk in enumerate(body, 1)
    ]
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return events.pop(0) if events else {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    await service.app(scope, receive, send)
    answered = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    content = b"".join(message.get("body", b"") for message in sent[1:])
    return Answer(sent[0]["status"], answered, content)
