"""Loads an HTTP server: `clients` connections that each send, wait for the answer, and send again.

Written for this, because the generator shares the cores with what it measures: it costs a tenth of
a millisecond a request, a general HTTP client ten times that.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

HOST = "127.0.0.1"
NO_ANSWER = 0
"""Stands for a status where the connection broke."""
RECONNECT_S = 0.02
ANSWER_WITHIN_S = 60.0
"""Longer than any answer takes; who waits longer waits for ever."""


@dataclass
class Answers:
    """What came back, and how long each answer took."""

    statuses: Counter[int] = field(default_factory=Counter)
    durations_s: list[float] = field(default_factory=list)
    """Of answers with status 200 alone: a refusal is quick."""
    wall_s: float = 0.0
    timeline: list[tuple[float, int]] = field(default_factory=list)
    """When each answer came, by `time.perf_counter`, and its status."""
    without_retry_after: int = 0
    """How many 429 and 503 did not say when to come back."""

    def figures(self) -> dict[str, Any]:
        """Median, 95th and 99th percentile in ms, good answers a second, answers by status."""
        ordered = sorted(self.durations_s)

        def percentile(share: float) -> float | None:
            return round(1000 * ordered[int(share * (len(ordered) - 1))], 2) if ordered else None

        return {
            "median_ms": percentile(0.5),
            "p95_ms": percentile(0.95),
            "p99_ms": percentile(0.99),
            "per_s": round(len(ordered) / self.wall_s, 1),
            "statuses": {str(status): count for status, count in sorted(self.statuses.items())},
        }


class Client(asyncio.Protocol):
    """One connection; answers must carry a Content-Length."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self._received = b""
        self._answer: asyncio.Future[bytes] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, found, body = self._received.partition(b"\r\n\r\n")
        if found and len(body) >= content_length(head) and self._answer:
            self._received = b""
            if not self._answer.done():
                self._answer.set_result(head)

    def connection_lost(self, error: Exception | None) -> None:
        self.transport = None
        if self._answer and not self._answer.done():
            self._answer.set_exception(ConnectionResetError())

    def close(self) -> None:
        if self.transport:
            self.transport.close()

    async def ask(self, request: bytes) -> bytes:
        """The head of the answer. Raises OSError when the connection breaks."""
        if self.transport is None:
            raise ConnectionResetError
        self._answer = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return await self._answer


def content_length(head: bytes) -> int:
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line.partition(b":")[2])
    return 0


def request(path: str, body: bytes, content_type: str = "application/json") -> bytes:
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: {content_type}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def load(
    port: int,
    requests: Sequence[bytes],
    *,
    clients: int,
    duration_s: float,
    per_s: float | None = None,
) -> Answers:
    """Send the requests, round and round, for a time; `per_s` of all clients together at most.

    What could not be sent in its time, because every client waited for an answer, is left out.
    Raises TimeoutError where an answer never comes.
    """
    answers = Answers()
    started = free_at = time.perf_counter()
    gap_s = 1 / per_s if per_s else 0.0
    sent = 0

    async def run() -> None:
        nonlocal sent, free_at
        client = Client()
        try:
            while (now := time.perf_counter()) < started + duration_s:
                number, sent = sent, sent + 1
                at = max(free_at, now)
                free_at = at + gap_s
                if at > now:
                    await asyncio.sleep(at - now)
                if client.transport is None:
                    client = await connect(port)
                await _ask(client, requests[number % len(requests)], answers)
        finally:
            client.close()

    async with asyncio.timeout(duration_s + ANSWER_WITHIN_S):
        await asyncio.gather(*(run() for _ in range(clients)))
    answers.wall_s = time.perf_counter() - started
    await asyncio.sleep(0)  # the connections end in the loop's next round
    return answers


async def connect(port: int) -> Client:
    """A connection, or one that is broken already if none can be had."""
    try:
        _, client = await asyncio.get_running_loop().create_connection(Client, HOST, port)
        return client
    except OSError:
        await asyncio.sleep(RECONNECT_S)
        return Client()


async def _ask(client: Client, message: bytes, answers: Answers) -> None:
    asked = time.perf_counter()
    try:
        head = await client.ask(message)
        status = int(head[9:12])
    except OSError:
        head, status = b"", NO_ANSWER
    answers.statuses[status] += 1
    answers.timeline.append((time.perf_counter(), status))
    if status == 200:
        answers.durations_s.append(time.perf_counter() - asked)
    elif status in (429, 503) and b"\r\nretry-after:" not in head.lower():
        answers.without_retry_after += 1
