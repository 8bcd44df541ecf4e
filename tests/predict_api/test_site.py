from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from predict_api.site import Site

WEBSITE = Path(__file__).parents[2] / "website"


async def api(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 299, "headers": []})


def ask(path: str, method: str = "GET", configuration: Any = dict) -> list[Any]:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def exchange() -> None:
        scope = {"type": "http", "path": path, "method": method}
        await Site(api, WEBSITE, configuration)(scope, asyncio.Event().wait, send)  # type: ignore[arg-type]

    asyncio.run(exchange())
    return sent


@pytest.mark.parametrize(
    ("path", "content_type"),
    [
        ("/", "text/html; charset=utf-8"),
        ("/index.html", "text/html; charset=utf-8"),
        ("/app.js", "text/javascript; charset=utf-8"),
        ("/config.json", "application/json; charset=utf-8"),
    ],
)
def test_a_file_of_the_site_is_served_with_its_type_and_its_policy(
    path: str, content_type: str
) -> None:
    start, body = ask(path)
    headers = dict(start["headers"])
    assert start["status"] == 200
    assert headers[b"content-type"].decode() == content_type
    assert b"default-src 'none'" in headers[b"content-security-policy"]
    assert int(headers[b"content-length"]) == len(body["body"]) > 0


def test_who_asks_for_the_headers_alone_gets_no_body() -> None:
    start, body = ask("/", "HEAD")
    assert (start["status"], body["body"]) == (200, b"")


@pytest.mark.parametrize(
    ("path", "method"),
    [("/predict", "POST"), ("/", "POST"), ("/headers.json", "GET"), ("/../pyproject.toml", "GET")],
)
def test_everything_else_is_for_the_api(path: str, method: str) -> None:
    (start,) = ask(path, method)
    assert start["status"] == 299


def test_a_configuration_that_cannot_be_asked_for_leaves_the_sites_own() -> None:
    def fail() -> dict[str, Any]:
        raise RuntimeError

    start, body = ask("/config.json", configuration=fail)
    assert (start["status"], body["body"]) == (200, (WEBSITE / "config.json").read_bytes())


def test_what_differs_here_is_laid_over_the_sites_own_configuration() -> None:
    _, body = ask("/config.json", configuration=lambda: {"model_version": "7"})
    own = json.loads((WEBSITE / "config.json").read_text("utf-8"))
    assert json.loads(body["body"]) == own | {"model_version": "7"}
