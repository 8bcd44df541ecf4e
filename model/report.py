"""report.html: what a reviewer needs to see of a version, in one file without outside parts."""

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from model.charts import Axis, Dot, Line, dot_chart, line_chart, nice_axis, share_axis
from model.highlights import Mistake, mistake_html
from model.report_style import STYLE

Document = Mapping[str, Any]
_CONFIDENCE = 1.96  # standard deviations: 95 %
_TEST = "Judged on {count:,} test reviews, which neither training nor selection has seen."
_GIVEN = "Judged on {count:,} reviews that were given; whether training saw some is not known here."
# No script, no outside part: whatever a review holds, it stays text.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def report_html(
    evaluation: Document,
    *,
    history: Document | None = None,
    mistakes: Sequence[Mistake] = (),
    bars: Mapping[str, float] | None = None,
    lineage: Mapping[str, str] | None = None,
    unseen: bool = True,
) -> str:
    """The page of one evaluation document (see `evaluation.evaluate`).

    `history` is training_history.json, `bars` what the gate asks for (MinAccuracy,
    MinAdvantageOverBaseline), `lineage` names and values of what the version was made of,
    `unseen` whether the reviews are known to have had no part in training.
    """
    bars = bars or {}
    sections = (
        _comparison(evaluation, bars, unseen=unseen),
        _curves(evaluation),
        _training(history or {}),
        _slices(evaluation),
        _mistakes(mistakes),
        _lineage(lineage or {}),
    )
    count = evaluation["dataset"]["item_count"]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        f"<title>Evaluation of a sentiment model</title><style>{STYLE}</style></head><body><main>"
        "<h1>Evaluation of a sentiment model</h1>"
        f'<p class="soft">{(_TEST if unseen else _GIVEN).format(count=count)}'
        " Ranges are 95&nbsp;% confidence.</p>"
        f"{_tiles(evaluation, bars, unseen=unseen)}{''.join(sections)}</main></body></html>\n"
    )


def _accuracy(part: Document) -> float:
    return float(part["accuracy"]["value"])


def _range(share: float, count: int) -> tuple[float, float]:
    """Its confidence interval after Wilson (1927), which holds near 0 and 1 as well."""
    if not count:
        return share, share  # of an older version it is not known how many were judged
    square = _CONFIDENCE**2 / count
    middle = (share + square / 2) / (1 + square)
    half = math.sqrt(square * (share * (1 - share) + square / 4)) / (1 + square)
    return max(0.0, middle - half), min(1.0, middle + half)


def _tiles(evaluation: Document, bars: Mapping[str, float], *, unseen: bool) -> str:
    metrics = evaluation["binary_classification_metrics"]
    value = _accuracy(metrics)
    minimum = bars.get("MinAccuracy")
    name = "Test accuracy" if unseen else "Accuracy"
    tiles = [_accuracy_tile(name, metrics, evaluation["dataset"]["item_count"])]
    if minimum is not None:
        tiles.append(_gate_tile("Gate", value, minimum, f"MinAccuracy {_percent(minimum)}"))
    if "baseline" in evaluation:
        advantage = evaluation["advantage_over_baseline"]["value"]
        name = evaluation["baseline"]["name"]
        least = bars.get("MinAdvantageOverBaseline", 0.0)
        tiles.append(
            _tile(
                f"Against {name}",
                f"{_signed(advantage)} points",
                f"{name} reaches {_percent(_accuracy(evaluation['baseline']))}",
                "good" if advantage >= least else "bad",
            )
        )
    if "production" in evaluation:
        tiles.append(_production_tile(evaluation["production"], bars))
    if "counterfactual" in evaluation:
        rewritten = evaluation["counterfactual"]
        tiles.append(_accuracy_tile("Rewritten reviews", rewritten, rewritten["item_count"]))
    error = evaluation["calibration"]["expected_calibration_error"]
    tiles.append(_tile("Calibration error", f"{error:.3f}", "expected, 15 bins"))
    return f'<div class="tiles">{"".join(tiles)}</div>'


def _accuracy_tile(name: str, part: Document, count: int) -> str:
    low, high = _range(_accuracy(part), count)
    return _tile(name, _percent(_accuracy(part)), f"{100 * low:.1f} to {_percent(high)}")


def _gate_tile(name: str, value: float, minimum: float, about: str) -> str:
    passed = value >= minimum
    return _tile(name, "passed" if passed else "missed", about, "good" if passed else "bad")


def _production_tile(production: Document, bars: Mapping[str, float]) -> str:
    difference = production["difference"]
    about = f"it reaches {_percent(_accuracy(production))}"
    style = "good" if -difference <= bars.get("MaxAccuracyDrop", 0.0) else "bad"
    if not production["same_data"]:
        about, style = f"{about} on other data", ""
    return _tile("Against production", f"{_signed(difference)} points", about, style)


def _tile(name: str, value: str, about: str, style: str = "") -> str:
    return (
        f'<div class="card tile"><span>{escape(name)}</span><b class="{style}">{escape(value)}</b>'
        f"<span>{escape(about)}</span></div>"
    )


def _comparison(evaluation: Document, bars: Mapping[str, float], *, unseen: bool) -> str:
    count = evaluation["dataset"]["item_count"]
    version = _dot("This version", evaluation["binary_classification_metrics"], count)
    dots = [version, *_beside(evaluation, count)]
    if "production" in evaluation:
        production = evaluation["production"]
        count = production.get("item_count", 0)
        dots.append(_dot("Version in production", production, count, "two"))
    minimum = bars.get("MinAccuracy")
    note = "The dashed line is MinAccuracy, below which nothing is registered."
    chart = dot_chart("Accuracy of this version and what it is held against", dots, bar=minimum)
    cards = _card("On the test reviews" if unseen else "On the reviews given", chart)
    if "counterfactual" in evaluation:
        cards += _rewritten(evaluation["counterfactual"])
    return _section("Accuracy", note if minimum is not None else "", _grid(cards))


def _beside(judged: Document, count: int) -> list[Dot]:
    """What judged the same reviews as a version: its branches by themselves, and the baseline."""
    names = {"lstm": "Its LSTM alone", "ngrams": "Its n-grams alone"}
    dots = [
        _dot(names.get(name, name), branch, count, "third")
        for name, branch in judged.get("branches", {}).items()
    ]
    if "baseline" in judged:
        name = judged["baseline"]["name"]
        dots.append(_dot(f"{name} baseline", judged["baseline"], count, "two"))
    return dots


def _rewritten(counterfactual: Document) -> str:
    count = counterfactual["item_count"]
    dots = [_dot("This version", counterfactual, count), *_beside(counterfactual, count)]
    about = (
        f"{count:,} reviews that people changed as little as they could until the label flipped:"
        " a model that only counts words keeps the old verdict."
    )
    chart = dot_chart("Accuracy on rewritten reviews", dots)
    return _card("On rewritten reviews", f'{chart}<p class="key">{about}</p>')


def _dot(name: str, part: Document, count: int, style: str = "one", size: int = 0) -> Dot:
    value = _accuracy(part)
    return Dot(name, value, *_range(value, count), style, size)


def _curves(evaluation: Document) -> str:
    metrics = evaluation["binary_classification_metrics"]
    roc = metrics["receiver_operating_characteristic_curve"]
    recall = metrics["precision_recall_curve"]
    bins = evaluation["calibration"]["bins"]
    largest = max(one["size"] for one in bins)
    diagonal = Line("", (0, 1), (0, 1), "guide")
    cards = [
        _card(
            f"ROC: area {_figure(metrics['auc'])}",
            line_chart(
                "Receiver operating characteristic",
                [diagonal, Line("", roc["false_positive_rates"], roc["true_positive_rates"])],
                share_axis("false positive rate"),
                share_axis("true positive rate"),
            ),
        ),
        _card(
            f"Precision and recall: F1 {_figure(metrics['f1'])}",
            line_chart(
                "Precision over recall",
                [Line("", recall["recalls"], recall["precisions"])],
                share_axis("recall"),
                share_axis("precision"),
            ),
        ),
        _card(
            f"Calibration: error {evaluation['calibration']['expected_calibration_error']:.3f}",
            line_chart(
                "Accuracy over confidence",
                [
                    Line("", (0.5, 1), (0.5, 1), "guide"),
                    Line(
                        "",
                        [one["confidence"] for one in bins],
                        [one["accuracy"] for one in bins],
                        radii=[_radius(one["size"] / largest) for one in bins],
                    ),
                ],
                Axis("confidence in the verdict", 0.5, 1.0, (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)),
                share_axis("share of right verdicts"),
            )
            + '<p class="key">The larger a dot, the more verdicts are of that confidence.</p>',
        ),
        _card("Confusion", _confusion(metrics["confusion_matrix"])),
    ]
    return _section("How it decides", "", _grid("".join(cards)))


def _radius(share: float) -> float:
    """Of a dot whose area tells the share; the least are still seen."""
    return max(2.0, 8.0 * math.sqrt(share))


def _confusion(matrix: Document) -> str:
    total = sum(count for row in matrix.values() for count in row.values())
    rows = []
    for actual, name in (("0", "negative"), ("1", "positive")):
        cells = "".join(
            f'<td class="{"" if actual == verdict else "wrong"}">{matrix[actual][verdict]:,}'
            f"<span>{100 * matrix[actual][verdict] / total:.1f} %</span></td>"
            for verdict in ("0", "1")
        )
        rows.append(f"<tr><th>is {name}</th>{cells}</tr>")
    head = "<tr><th></th><th>taken for negative</th><th>taken for positive</th></tr>"
    return f'<table class="confusion">{head}{"".join(rows)}</table>'


def _training(history: Document) -> str:
    """A card for each part of training, in their order, and one for what the slice said."""
    parts = [*history.get("before", ()), {"name": "training", "epochs": history.get("epochs", ())}]
    cards = [_losses(part["name"], part["epochs"]) for part in parts if part["epochs"]]
    judged = [row for row in parts[-1]["epochs"] if "validation_accuracy" in row]
    if len(judged) > 1:
        epochs = [row["epoch"] for row in judged]
        accuracies = [row["validation_accuracy"] for row in judged]
        title = "Accuracy of the LSTM on the validation slice"
        chart = line_chart(
            title,
            [Line("", epochs, accuracies, radii=[3.5] * len(epochs))],
            nice_axis("epoch", epochs, whole=True),
            nice_axis("", accuracies),
        )
        cards.append(_card(title, chart))
    if not cards:
        return ""
    return _section(
        "Training",
        "Losses on what is learned, with guesses where some are made. The slice is held out, and"
        " the version is the epoch that does best on it. See docs/training.md on the parts."
        + _mixed(history.get("mix", {})),
        _grid("".join(cards)),
    )


def _mixed(mix: Mapping[str, float]) -> str:
    """How the branches were put together."""
    if not {"ngram_share", "temperature"} <= mix.keys():
        return ""
    rewrites = " and to the rewritten reviews held out" if "rewrites_accuracy" in mix else ""
    return (
        f" How much each branch counts was fitted to it{rewrites}: the n-grams"
        f" {_percent(mix['ngram_share'])}, the LSTM the rest, moved by"
        f" {mix.get('shift', 0.0):.2f} and at a temperature of {mix['temperature']:.2f}."
    )


def _losses(name: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """The curve of one part's loss; each epoch's points lie at the middles of their stretches."""
    xs: list[float] = []
    ys: list[float] = []
    for row in rows:
        curve = row.get("curve") or [row["loss"]]
        xs += [row["epoch"] - 1 + (place + 0.5) / len(curve) for place in range(len(curve))]
        ys += curve
    title = f"{name[:1].upper()}{name[1:]}: loss"
    if "validation_accuracy" in rows[-1]:
        best = min(rows, key=lambda row: row["validation_loss"])
        title += f" (accuracy on the slice: {_percent(best['validation_accuracy'])})"
    axis = nice_axis("epoch", [0, len(rows)], whole=len(rows) > 1)
    return _card(title, line_chart(title, [Line("", xs, ys, "two")], axis, nice_axis("", ys)))


def _slices(evaluation: Document) -> str:
    baseline = any("baseline" in one for one in evaluation["slices"])
    cards = []
    groups = dict.fromkeys(one["group"] for one in evaluation["slices"])
    for group in groups:
        dots: list[Dot] = []
        for one in evaluation["slices"]:
            if one["group"] == group:
                count = one["item_count"]
                dots.append(_dot(one["name"], one, count, size=count))
                if "baseline" in one:
                    dots.append(_dot("", one["baseline"], count, "two"))
        cards.append(_card(f"By {group}", dot_chart(f"Accuracy by {group}", dots)))
    name = evaluation["baseline"]["name"] if baseline else ""
    key = _key(("one", "this version"), *((("two", f"{name} baseline"),) if baseline else ()))
    return _section("Which reviews it gets right", "", _grid("".join(cards)) + key)


def _key(*entries: tuple[str, str]) -> str:
    items = "".join(
        f'<span><i class="{style}"></i>{escape(name)}</span>' for style, name in entries
    )
    return f'<p class="key">{items}</p>'


def _mistakes(mistakes: Sequence[Mistake]) -> str:
    if not mistakes:
        return ""
    return _section(
        f"The {len(mistakes)} most confident mistakes"
        if len(mistakes) > 1
        else "The most confident mistake",
        "Green words spoke for positive, red ones for negative; a click shows the review.",
        "".join(mistake_html(mistake) for mistake in mistakes),
    )


def _lineage(lineage: Mapping[str, str]) -> str:
    if not lineage:
        return ""
    rows = "".join(
        f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>"
        for name, value in lineage.items()
    )
    return _section(
        "What it was made of", "", f'<div class="card wide"><table>{rows}</table></div>'
    )


def _section(title: str, about: str, body: str) -> str:
    note = f'<p class="soft">{escape(about)}</p>' if about else ""
    return f"<section><h2>{escape(title)}</h2>{note}{body}</section>"


def _grid(cards: str) -> str:
    return f'<div class="charts">{cards}</div>'


def _card(title: str, body: str) -> str:
    head = f"<h3>{escape(title)}</h3>" if title else ""
    return f'<div class="card">{head}{body}</div>'


def _percent(value: float) -> str:
    return f"{100 * value:.1f}\N{NO-BREAK SPACE}%"


def _signed(value: float) -> str:
    return f"{100 * value:+.1f}".replace("-", "\N{MINUS SIGN}")


def _figure(metric: Document) -> str:
    value = metric["value"]
    return f"{value:.4f}" if isinstance(value, int | float) else str(value)
