"""The load generator counts and times what a server really answers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from benchmarks.load import NO_ANSWER, Answers, load, request

Reader, Writer = asyncio.StreamReader, asyncio.StreamWriter
BODY = b'{"review": "good"}'


def run(
    answer: Callable[[int], bytes], clients: int = 2, per_s: float | None = None
) -> tuple[Answers, list[bytes]]:
    """Load a server that gives `answer(number of the request)` to each."""
    seen: list[bytes] = []

    async def serve(reader: Reader, writer: Writer) -> None:
        while head := await reader.readline():
            await reader.readuntil(b"\r\n\r\n")
            seen.append(head + await reader.readexactly(len(BODY)))
            writer.write(answer(len(seen)))
            await writer.drain()
        writer.close()
        await writer.wait_closed()

    async def both() -> Answers:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            asked: Awaitable[Answers] = load(
                port, [request("/x", BODY)], clients=clients, duration_s=0.3, per_s=per_s
            )
            return await asked

    return asyncio.run(both()), seen


def good(_: int) -> bytes:
    return b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


def test_every_answer_is_counted_and_good_ones_are_timed() -> None:
    answers, seen = run(good)
    assert answers.statuses == {200: len(seen)}
    assert len(answers.durations_s) == len(seen) > 2
    assert seen[0] == b"POST /x HTTP/1.1\r\n" + BODY
    figures = answers.figures()
    assert 0 < figures["median_ms"] <= figures["p95_ms"] <= figures["p99_ms"]


def test_no_more_are_sent_than_the_rate_allows() -> None:
    answers, _ = run(good, per_s=100)
    assert 2 < answers.statuses[200] <= 32  # of 0.3 s, and a client each that was under way


def test_a_refusal_that_does_not_say_when_to_come_back_is_noted() -> None:
    refusals = (
        b"HTTP/1.1 429 No\r\nretry-after: 1\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n",
    )
    answers, _ = run(lambda number: refusals[number % 2], clients=1)
    assert set(answers.statuses) == {429, 503}
    assert answers.without_retry_after == answers.statuses[503]
    assert answers.durations_s == []


def test_a_server_that_never_answers_does_not_hold_it_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("benchmarks.load.ANSWER_WITHIN_S", 0.05)
    with pytest.raises(TimeoutError):
        run(lambda _: b"")


def test_a_connection_that_breaks_is_counted_and_made_anew() -> None:
    async def nobody() -> Answers:
        server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            return await load(port, [request("/x", BODY)], clients=1, duration_s=0.1)

    answers = asyncio.run(nobody())
    assert set(answers.statuses) == {NO_ANSWER}
    assert answers.statuses[NO_ANSWER] > 1
