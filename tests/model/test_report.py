"""The report as text, and as a browser shows it."""

import os
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model.charts import Axis, Dot, Line, dot_chart, line_chart, nice_axis
from model.evaluation import Judged, evaluate
from model.explain import WordWeight
from model.highlights import Mistake, marked
from model.report import report_html

HOSTILE = '<script>document.title = "hacked"</script> & "so" <img src=x onerror=alert(1)> bad'


HISTORY = {
    "before": [
        {
            "name": "pre-training",
            "epochs": [
                {"epoch": 1, "loss": 5.0, "curve": [6.0, 5.0, 4.5]},
                {"epoch": 2, "loss": 4.0, "curve": [4.2, 4.0, 3.9]},
            ],
        },
        {
            "name": "guesses",
            "epochs": [
                {"epoch": 1, "loss": 0.5, "validation_accuracy": 0.75, "validation_loss": 0.45}
            ],
        },
    ],
    "epochs": [
        {"epoch": 1, "loss": 0.6, "validation_accuracy": 0.7, "validation_loss": 0.5},
        {"epoch": 2, "loss": 0.4, "validation_accuracy": 0.8, "validation_loss": 0.4},
    ],
    "mix": {"ngram_share": 0.37, "temperature": 0.944},
}


def document(**more: Any) -> dict[str, Any]:
    chance = np.random.default_rng(1)
    labels = chance.integers(0, 2, 300).astype(np.int8)
    judged = Judged(
        labels,
        np.clip(0.4 * labels + chance.uniform(0, 0.6, 300), 0, 1),
        np.clip(0.2 * labels + chance.uniform(0, 0.8, 300), 0, 1),
        {"lstm": chance.uniform(size=300)},
    )
    texts = ["not bad, but long"] * 150 + ["fine"] * 150
    return evaluate(judged, chance.integers(1, 900, 300), texts, counterfactual=judged, **more)


def whole(mistakes: int = 1) -> str:
    production = {
        "binary_classification_metrics": {"accuracy": {"value": 0.7, "standard_deviation": 0.01}}
    }
    start = HOSTILE.index("bad")
    words = [WordWeight("bad", start, start + 3, -2.5)]
    return report_html(
        document(production=production),
        history=HISTORY,
        mistakes=[Mistake(HOSTILE, 1, 0.02, words)] * mistakes,
        bars={"MinAccuracy": 0.99, "MinAdvantageOverBaseline": 0.0},
        lineage={"data SHA-256": "91ab", "SourceCommit": "<commit>"},
    )


def test_the_mistakes_are_counted() -> None:
    assert "The 2 most confident mistakes</h2>" in whole(mistakes=2)


class Elements(HTMLParser):
    """Fails where an element is left open; collects names and attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_whole_and_holds_neither_script_nor_outside_part() -> None:
    elements = Elements(whole()).found
    names = {name for name, _ in elements}
    assert not names & {"script", "img", "link", "iframe", "object"}
    attributes = {key for _, attrs in elements for key in attrs}
    assert not {key for key in attributes if key.startswith("on")} | attributes & {"src", "href"}


@pytest.mark.parametrize(
    "words",
    [
        "Test accuracy",
        "missed",
        "Against NBSVM",
        "Against production",
        "on other data",
        "Its LSTM alone",
        "Rewritten reviews",
        "ROC: area",
        "Precision and recall",
        "Calibration: error",
        "taken for positive",
        "Accuracy of the LSTM on the validation slice",
        "Guesses: loss",
        "at a temperature of 0.94",
        "By length",
        "By negation",
        "By contrast",
        "The most confident mistake</h2>",
        "91ab",
        "&lt;commit&gt;",
    ],
)
def test_the_page_shows(words: str) -> None:
    assert words in whole()


def test_a_judgement_without_a_mistake_is_not_certain() -> None:
    labels = np.tile(np.array([0, 1], dtype=np.int8), 50)
    judged = Judged(labels, labels.astype(np.float64))
    page = report_html(evaluate(judged, np.full(100, 9), []))
    # Wilson's interval of 100 in 100, as statistics packages give it
    assert "96.3 to 100.0\N{NO-BREAK SPACE}%" in page


def test_a_table_that_was_given_is_not_called_test_reviews() -> None:
    page = report_html(document(), unseen=False)
    assert "est accuracy" not in page
    assert "On the test reviews" not in page


def test_what_was_not_measured_is_not_shown() -> None:
    judged = Judged(np.array([1, 0], dtype=np.int8), np.array([0.9, 0.2]))
    page = report_html(evaluate(judged, np.array([3, 500]), []))
    Elements(page)
    for words in (
        "NBSVM",
        "production",
        "Rewritten",
        "Training",
        "negation",
        "mistakes",
        "made of",
    ):
        assert words not in page


def test_a_review_is_text_whatever_it_holds() -> None:
    page = marked(HOSTILE, [WordWeight("so", 46, 48, 1.0)])
    assert "<script" not in page
    assert "&lt;script&gt;" in page


def test_weights_decide_colour_and_strength() -> None:
    page = marked(
        "a b c d",
        [
            *(
                WordWeight(x, 2 * i, 2 * i + 1, w)
                for i, (x, w) in enumerate([("a", 2.0), ("b", -1.0), ("c", 0.5), ("d", 0.01)])
            )
        ],
    )
    assert re.findall(r'<mark class="(..)" title="([^"]+)">(.)</mark>', page) == [
        ("p3", "+2.00", "a"),
        ("n2", "-1.00", "b"),
        ("p1", "+0.50", "c"),
    ]


def test_line_breaks_of_a_review_are_shown_as_such() -> None:
    assert marked("one<br /><br />two", []) == "one\n\ntwo"


@pytest.mark.parametrize("values", [[0.5], [0.3, 0.31], [1, 2, 3], [0.0, 0.0], [-4.0, 100.0]])
def test_an_axis_holds_its_values_between_round_ticks(values: list[float]) -> None:
    axis = nice_axis("", values)
    assert axis.low <= min(values) <= max(values) <= axis.high
    assert 2 <= len(axis.ticks) <= 7


def test_a_line_runs_from_corner_to_corner() -> None:
    unit = Axis("x", 0, 1, (0, 1))
    chart = line_chart("a line", [Line("", (0, 1), (0, 1))], unit, unit)
    assert 'points="58.0,276.0 466.0,10.0"' in chart


def test_a_dot_chart_names_each_value() -> None:
    chart = dot_chart("values", [Dot("A & B", 0.9, 0.88, 0.92, size=1200)], bar=0.85)
    assert "A &amp; B (1,200)" in chart
    assert "90.0 %" in chart


def test_a_browser_shows_it_without_a_request_or_a_script(tmp_path: Path) -> None:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    names = ("chromium", "chromium-browser", "google-chrome")
    program = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    if program is None:
        pytest.skip("no Chromium on this machine: apt-get install chromium")
    path = tmp_path / "report.html"
    path.write_text(whole())
    asked: list[str] = []
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=program, args=["--no-sandbox"])
        for width in (1120, 390):
            page = browser.new_page(viewport={"width": width, "height": 800})
            page.on("request", lambda request: asked.append(request.url))
            page.goto(path.as_uri())
            page.locator("summary").click()
            assert page.locator("mark").last.is_visible()
            assert page.title() == "Evaluation of a sentiment model"
            assert page.evaluate("document.documentElement.scrollWidth") <= width
        browser.close()
    assert asked == [path.as_uri()] * 2
