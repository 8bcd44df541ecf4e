"""The real page in a real Chromium, on the real API, before an endpoint in memory."""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import uvicorn
from predict_api import app, clients
from predict_api.endpoint import Endpoint
from predict_api.local import Gateway
from predict_api.settings import Settings
from predict_api.site import Site

from tests.predict_api.endpoint_in_memory import EndpointInMemory

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

ROOT = Path(__file__).parents[2]
WEBSITE = ROOT / "website"
SCREENSHOTS = ROOT / "test-output" / "website"
PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@dataclass
class Served:
    """Where the page is, and what stands behind it."""

    url: str
    model: EndpointInMemory
    kept: dict[str, Any]
    asked: list[str]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium, ended with its module: while it runs, no other test can run an event loop."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    program = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        pytest.skip("no Chromium on this machine: apt-get install chromium")
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=program, args=list(FLAGS))
        yield browser
        browser.close()


@pytest.fixture
def configure(tmp_path: Path) -> Callable[..., Path]:
    """A copy of the website with some of its configuration changed."""

    def copy(**changes: Any) -> Path:
        folder = tmp_path / "website"
        shutil.copytree(WEBSITE, folder)
        config = json.loads((folder / "config.json").read_text("utf-8"))
        (folder / "config.json").write_text(json.dumps(config | changes), "utf-8")
        return folder

    return copy


@pytest.fixture
def serve(
    configure: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Served]]:
    """Serve the page and the API; keywords change the page's configuration."""
    monkeypatch.setenv("ENDPOINT_NAME", "sentiment")
    monkeypatch.setenv("FEEDBACK_BUCKET", "some-bucket")
    monkeypatch.setenv("FEEDBACK_KEY", "k" * 32)
    clients.settings.cache_clear()
    running: list[tuple[uvicorn.Server, threading.Thread]] = []
    model = EndpointInMemory()

    def start(**config: Any) -> Served:
        client = model.client()
        endpoint = Endpoint(Settings("sentiment"), lambda: client, sleep=model.slept.append)
        monkeypatch.setattr("predict_api.routes.endpoint", lambda: endpoint)
        kept: dict[str, Any] = {}
        asked: list[str] = []

        def put_object(Key: str, Body: bytes, **_: Any) -> None:
            kept[Key] = json.loads(Body)

        s3 = type("Bucket", (), {"put_object": staticmethod(put_object)})
        monkeypatch.setattr("predict_api.routes.s3", lambda: s3)

        def handler(event: Any, context: Any) -> Any:
            asked.append(event["rawPath"])
            return app.handler(event, context)

        gateway = Gateway(handler, kept_bytes=lambda: 10**6)
        server, thread, port = run(Site(gateway, configure(**config)))
        running.append((server, thread))
        return Served(f"http://127.0.0.1:{port}/", model, kept, asked)

    yield start
    model.is_open.set()
    for server, thread in running:
        server.should_exit = True
        thread.join(10)
    clients.settings.cache_clear()


def run(site: Site) -> tuple[uvicorn.Server, threading.Thread, int]:
    config = uvicorn.Config(site, host="127.0.0.1", port=0, log_level="critical", ws="none")
    server = uvicorn.Server(config)
    started = threading.Event()
    startup = server.startup

    async def and_tell(*arguments: Any, **named: Any) -> None:
        await startup(*arguments, **named)
        started.set()

    server.startup = and_tell  # type: ignore[method-assign]
    thread = threading.Thread(target=server.run)
    thread.start()
    assert started.wait(10)
    return server, thread, server.servers[0].sockets[0].getsockname()[1]


@pytest.fixture
def visit(browser: Browser, serve: Callable[..., Served]) -> Iterator[Callable[..., Visit]]:
    """Open the page; `screen` is Playwright's context options, the rest is configuration."""
    contexts = []

    def go(screen: dict[str, Any] | None = None, **config: Any) -> Visit:
        served = serve(**config)
        context = browser.new_context(
            **{"viewport": {"width": 1280, "height": 900}, "reduced_motion": "reduce"}
            | (screen or {})
        )
        contexts.append(context)
        context.set_default_timeout(10_000)
        page = context.new_page()
        visit = Visit(page, served, [], [])
        page.on("console", lambda message: visit.console.append(message.text))
        page.on("pageerror", lambda error: visit.console.append(str(error)))
        page.on("request", lambda request: visit.requests.append(request.url))
        page.goto(served.url)
        page.wait_for_selector("html[data-ready]")
        return visit

    yield go
    for context in contexts:
        context.close()


@dataclass
class Visit:
    """A page that is open, and what it has said and asked for."""

    page: Page
    served: Served
    console: list[str]
    requests: list[str]

    def read(self, review: str) -> None:
        """Write the review and press the button."""
        self.page.get_by_label("Your review").fill(review)
        self.page.get_by_role("button", name="Read it").click()

    def wait_for(self, state: str) -> None:
        self.page.wait_for_selector(f"#verdict[data-state={state}]")

    def text(self, name: str) -> str:
        return self.page.locator(f"#{name}").inner_text()

    def shoot(self, name: str) -> None:
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=True)
