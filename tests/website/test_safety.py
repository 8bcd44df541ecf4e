from __future__ import annotations

import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from tests.website.conftest import WEBSITE, Visit

Go = Callable[..., Visit]
HEADERS = json.loads((WEBSITE / "headers.json").read_text("utf-8"))
# Each would set `pwned`, open a dialog or ask another host if any of it were taken as code.
ATTACKS = [
    "<script>pwned=1</script>",
    "<img src=x onerror=pwned=1>",
    "<svg onload=pwned=1>",
    "<svg><script>pwned=1</script></svg>",
    "<body onload=pwned=1>",
    "<iframe srcdoc='<script>parent.pwned=1</script>'></iframe>",
    "<iframe src=javascript:parent.pwned=1></iframe>",
    "<a href=javascript:pwned=1 autofocus onfocus=pwned=1>x</a>",
    "<input autofocus onfocus=pwned=1>",
    "<details open ontoggle=pwned=1>",
    "<video><source onerror=pwned=1></video>",
    "<math><mtext><table><mglyph><style><img src=x onerror=pwned=1>",
    "<template><script>pwned=1</script></template>",
    "<style>@import 'http://evil.invalid/x.css';</style>",
    "<link rel=stylesheet href=http://evil.invalid/x.css>",
    "<img src=http://evil.invalid/pixel.png>",
    "<base href=http://evil.invalid/>",
    "<meta http-equiv=refresh content='0;url=http://evil.invalid/'>",
    "<form action=http://evil.invalid><button>x</button></form>",
    "</textarea><script>pwned=1</script>",
    "</p></section><script>alert(1)</script>",
    '"><script>pwned=1</script>',
    "'-pwned=1-'",
    "${pwned=1}{{constructor.constructor('pwned=1')()}}",
    "javascript:pwned=1",
    "jaVasCript:/*-/*`/*\\`/*'/*\"/**/(/* */oNcliCk=pwned=1 )//</stYle/</titLe/</scRipt/--!>",
    '<noscript><p title="</noscript><img src=x onerror=pwned=1>">',
    "\u003cscript\u003epwned=1\u003c/script\u003e",
    "&lt;script&gt;pwned=1&lt;/script&gt;",
    "<scr\x00ipt>pwned=1</script>",
]


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.inline: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1][0] in ("script", "style") and data.strip():
            self.inline.append(data)


@pytest.fixture(params=["index.html", "api.html"])
def tags(request: pytest.FixtureRequest) -> Tags:
    tags = Tags()
    tags.feed((WEBSITE / request.param).read_text("utf-8"))
    return tags


def harmed(visitor: Visit) -> Any:
    return visitor.page.evaluate("typeof pwned !== 'undefined'")


def test_nothing_that_is_typed_is_ever_run(visit: Go) -> None:
    visitor = visit(feedback=True)
    dialogs: list[str] = []
    visitor.page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    tags = visitor.page.evaluate("document.querySelectorAll('body *').length")
    for attack in ATTACKS:
        visitor.read(f"good {attack}")
        visitor.wait_for("verdict")
    assert visitor.page.locator("#earlier li").count() == 8
    added = visitor.page.evaluate("document.querySelectorAll('body *').length") - tags
    assert added == 8 * 4 + 1  # four for each of the earlier ones, and the mark under "good"
    assert not harmed(visitor)
    assert dialogs == []
    assert all(url.startswith(visitor.served.url) for url in visitor.requests)
    assert visitor.page.url == visitor.served.url
    assert visitor.console == []
    assert len(visitor.served.model.reviews) == len(ATTACKS)


def test_nothing_that_the_api_says_is_ever_run(visit: Go) -> None:
    visitor = visit()
    for attack in ATTACKS[:3]:
        answer = {
            "label": "positive",
            "probability": 0.9,
            "model_version": attack,
            "request_id": attack,
            "words": [{"text": attack, "start": 0, "end": 4, "weight": 1.0}],
        }
        # not by the model: the API refuses such a version before the page sees it
        visitor.page.route("**/predict", lambda route, _, answer=answer: route.fulfill(json=answer))
        visitor.read("good")
        visitor.page.get_by_text(f"Judged by model version {attack}", exact=True).wait_for()
        assert not harmed(visitor)


def test_even_code_that_got_in_would_not_be_run(visit: Go) -> None:
    visitor = visit()
    visitor.page.evaluate(
        """() => {
            const script = document.createElement("script");
            try { script.textContent = "pwned=1"; } catch { /* refused already */ }
            document.body.append(script);
            try { document.body.insertAdjacentHTML("beforeend", "<img src=x onerror=pwned=1>"); }
            catch { /* refused already */ }
            const image = new Image();
            image.src = "http://evil.invalid/pixel.png";
            document.body.append(image);
        }"""
    )
    assert not harmed(visitor)
    assert any("Content Security Policy" in line or "Trusted" in line for line in visitor.console)


def test_there_is_no_inline_script_or_style_and_nothing_from_elsewhere(tags: Tags) -> None:
    assert tags.inline == []
    for tag, attributes in tags.tags:
        assert not [name for name in attributes if name == "style" or name.startswith("on")]
        for name in ("src", "href"):
            value = attributes.get(name) or ""
            assert re.fullmatch(r"(#?[\w.-]*)", value), f"{tag} {name}={value}"
    for path in [*WEBSITE.glob("*.js"), *WEBSITE.glob("*.css")]:
        assert "http:" not in path.read_text("utf-8")
        assert "https:" not in path.read_text("utf-8")


@pytest.mark.parametrize("path", sorted(WEBSITE.glob("*.js")), ids=lambda path: path.name)
def test_no_script_knows_a_way_to_turn_text_into_code(path: Path) -> None:
    script = path.read_text("utf-8")
    for word in (
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "eval(",
        "Function(",
        "document.write",
    ):
        assert word not in script


def test_the_page_and_the_headers_hold_the_same_policy(tags: Tags) -> None:
    (meta,) = [a["content"] for tag, a in tags.tags if a.get("http-equiv")]
    in_header = HEADERS["Content-Security-Policy"].split("; ")
    assert meta is not None
    assert meta.split("; ") == [rule for rule in in_header if not rule.startswith("frame-")]
    assert "default-src 'none'" in in_header
    assert "frame-ancestors 'none'" in in_header
    assert not [rule for rule in in_header if "unsafe" in rule or "*" in rule]


def test_every_file_is_served_with_the_headers(visit: Go) -> None:
    visitor = visit()
    for name in ("", "index.html", "app.js", "style.css", "config.json", "favicon.svg"):
        response = visitor.page.request.get(visitor.served.url + name)
        assert response.status == 200
        for header, value in HEADERS.items():
            assert response.headers[header.lower()] == value


def test_nothing_but_the_site_is_served(visit: Go) -> None:
    visitor = visit()
    for path in ("headers.json", "../pyproject.toml", "%2e%2e/pyproject.toml", "nothing.html"):
        assert visitor.page.request.get(visitor.served.url + path).status == 404


def test_the_configuration_in_the_repository_is_whole_and_within_the_apis_limits() -> None:
    config = json.loads((WEBSITE / "config.json").read_text("utf-8"))
    assert config.keys() == {
        "api",
        "max_review_bytes",
        "slow_after_ms",
        "timeout_ms",
        "feedback",
        "model_version",
    }
    assert config["max_review_bytes"] + len('{"review":""}') <= 16384
    assert config["timeout_ms"] >= 30_000


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(visit: Go, scheme: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="no axe installed")
    # axe brings its own script, which the page's policy would refuse
    visitor = visit({"color_scheme": scheme, "bypass_csp": True}, feedback=True)

    def examine() -> None:
        results = axe.Axe().run(visitor.page)
        assert results.violations_count == 0, results.generate_report()

    visitor.page.goto(f"{visitor.served.url}api.html")
    visitor.page.wait_for_selector("html[data-ready]")
    examine()
    visitor.page.goto(visitor.served.url)
    visitor.page.wait_for_selector("html[data-ready]")
    examine()
    for review, phrase in (("A good film", "Leans positive"), ("A bad film", "Leans negative")):
        visitor.read(review)
        visitor.page.get_by_role("heading", name="Verdict").wait_for()
        visitor.page.locator("#phrase", has_text=phrase).wait_for()
        examine()
    visitor.served.model.failures = [("ModelError", "")]
    visitor.read("A bad film")
    visitor.wait_for("error")
    examine()
    visitor.read("")
    examine()


def test_the_site_is_small(tmp_path: Path) -> None:
    assert sum(path.stat().st_size for path in WEBSITE.iterdir()) < 50_000
