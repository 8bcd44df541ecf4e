"""Writes what was measured into docs/: `python -m benchmarks.tables`.

The benchmarks themselves do so after each run, so that a page never says anything but what
`results/` holds.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
RESULTS = ROOT / "benchmarks" / "results"
# What each figure with a target is, and on which side of the target it must be
LABELS = {
    "ready_s": ("start to ready, s", "≤"),
    "memory_mb": ("memory, MB", "≤"),
    "one_client_median_ms": ("one client, median, ms", "≤"),
    "one_client_p99_ms": ("one client, 99th percentile, ms", "≤"),
    "explained_median_ms": ("one client that wants the words, median, ms", "≤"),
    "reviews_per_s_at_32_clients": ("32 clients, reviews/s", "≥"),
    "times_as_fast_as_the_ancestor": ("times as fast as the ancestor's handler", "≥"),
    "api_adds_ms": ("what the API adds to the endpoint's median, ms", "≤"),
    "cold_import_ms": ("cold import of the API's function, ms", "≤"),
    "offered_share_at_the_limit": ("at the limit: sent, of what was to be sent", "≥"),
    "error_share_at_the_limit": ("at the limit: errors, of all answers", "≤"),
    "p95_ms_at_the_limit": ("at the limit: 95th percentile, ms", "≤"),
    "offered_share_at_twice": ("at twice the limit: sent, of what was to be sent", "≥"),
    "refused_429_at_twice": ("at twice the limit: refused with 429", "≥"),
    "taken_at_twice_off_the_allowed": ("at twice the limit: taken, off what is allowed", "≤"),
    "other_answers_at_twice": ("at twice the limit: neither 200 nor 429", "≤"),
    "memory_growth_mb": ("at twice the limit: memory grows by, MB", "≤"),
    "refused_503_after_the_kill": ("after the kill: refused with 503", "≥"),
    "back_s": ("after the kill: back within, s", "≤"),
    "other_answers_after_the_kill": ("after the kill: none of 200, 429, 503", "≤"),
    "without_retry_after": ("429 and 503 that do not say when to come back", "≤"),
}
PARTS = {
    "at_the_limit": "at the limit",
    "at_twice_the_limit": "at twice the limit",
    "after_a_kill": "after the kill",
}
ENGINE_COLUMNS = {
    "batch_1_ms_a_review": "ms a review",
    "batch_4_ms_a_review": "ms, 4 in a batch",
    "two_at_once_per_s": "reviews/s, two threads",
    "most_off": "furthest from training",
}


ACCURACY = {
    "accuracy": "test accuracy, both branches",
    "lstm_accuracy": "the LSTM alone",
    "ngrams_accuracy": "the n-grams alone",
    "baseline_accuracy": "NBSVM on all training reviews",
    "calibration_error": "expected calibration error, 15 bins",
    "rewritten_accuracy": "accuracy on rewritten reviews, whose label flipped",
    "minutes": "Preprocess, Train and Evaluate, minutes",
    "preprocessed_per_second": "reviews a second in preprocessing, start-up included",
    "tokens_per_second": "tokens a second in training",
}


def accuracy(figures: dict[str, Any]) -> str:
    """A column a kind of run, with the means over its seeds, and what is aimed at."""
    kinds = figures["runs"]
    aims = {(one["kind"], one["name"]): one for one in figures["targets"]}
    rows = []
    for name, label in ACCURACY.items():
        cells = [label]
        for kind in kinds:
            value = figures["means"][kind].get(name)
            cells.append("" if value is None else _rounded(value))
            cells.append(_aim(aims.get((kind, name)), value))
        if any(cells[1:]):
            rows.append(cells)
    row = ["at commit"]
    for runs in kinds.values():
        row += [", ".join(sorted({run["commit"][:7] for run in runs})), ""]
    rows.append(row)
    heads = ["", *(head for kind in kinds for head in (_headed(kind, kinds[kind]), "aim"))]
    shares = {kind: figures[f"share_of_{kind}_peak"] for kind in figures["peak_flops"]}
    said = (
        "What training multiplies a second is, of what the same cores reach in products of large "
        f"matrices, {' and '.join(f'{share:.0%} in {kind}' for kind, share in shares.items())}."
    )
    return f"{_table(heads, rows)}\n\n{textwrap.fill(said, 103)}\n"


def _headed(kind: str, runs: Sequence[Any]) -> str:
    return f"{kind}, {'one seed' if len(runs) == 1 else f'{len(runs)} seeds'}"


def _aim(target: dict[str, Any] | None, value: float | None) -> str:
    if target is None or value is None:
        return ""
    met = value >= target["wanted"] if target["at_least"] else value <= target["wanted"]
    sign = "≥" if target["at_least"] else "≤"
    return f"{sign} {target['wanted']:g}, {'reached' if met else 'not reached'}"


def _rounded(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.1f}" if value > 1 else f"{value:.4f}"


def serve(figures: dict[str, Any]) -> str:
    server = figures["server"]
    said = (
        f"The ancestor's handler takes {server['ancestor_median_ms']:.1f} ms a review in the same "
        f"run, and {server['ancestor_reading_stop_words_once_median_ms']:.1f} ms where it reads "
        "its list of stop words once and not for every word. At 32 clients the server does "
        f"{figures['share_at_32_clients']:.0%} of the {figures['matrix_limit_gflops']:.0f} GFLOP/s "
        "that the same cores reach in multiplying large matrices."
    )
    return f"{_targets(figures)}\n\n{textwrap.fill(said, 103)}\n"


def limits(figures: dict[str, Any]) -> str:
    rows = [
        [
            PARTS[name],
            f"{run['duration_s']:g}",
            ", ".join(f"{count:,} times {status}" for status, count in run["statuses"].items()),
            *(f"{run[key]:g}" for key in ("median_ms", "p95_ms", "p99_ms")),
        ]
        for name, run in figures["runs"].items()
    ]
    heads = ["part", "s", "answers", "median, ms", "95 %", "99 %"]
    return f"{_targets(figures)}\n\n{_table(heads, rows)}\n"


def engines(figures: dict[str, Any]) -> str:
    rows = [
        [
            f"**{name}**" if name == figures["chosen"] else name,
            *(f"{row[key]:.4g}" if key in row else "" for key in ENGINE_COLUMNS),
        ]
        for name, row in figures["engines"].items()
    ]
    return f"{_table(['engine', *ENGINE_COLUMNS.values()], rows)}\n"


EXPLAIN = {
    "sum_agrees_with_logit": "share of reviews whose weights add up to the verdict's side",
    "sum_agrees_before_the_rest_is_spread": "the same of the gradients alone",
    "words_whose_sign_the_rest_turns": "share of words whose sign the rest of the logit turns",
    "logit_lost_without_the_ten_heaviest_words": "share of the logit lost without ten heavy words",
    "logit_lost_without_ten_words_at_random": "the same without ten words at random",
    "explain_ms": "a review explained, ms",
    "forward_and_backward_ms": "one pass forwards and backwards, ms",
    "predict_ms": "a review judged, ms",
}


def explained(figures: dict[str, Any]) -> str:
    rows = [[label, f"{figures[name]:g}"] for name, label in EXPLAIN.items()]
    heads = [f"{figures['reviews']} test reviews", ""]
    return f"{_table(heads, rows)}\n"


def preprocess_speed(figures: dict[str, Any]) -> str:
    rows = [
        [preset, f"{run['reviews_per_second']:,.0f}", f"{run['seconds']:.1f}"]
        for preset, run in figures.items()
    ]
    return f"{_table(['text preset', 'reviews a second, archive to shards', 's'], rows)}\n"


def preprocess_memory(figures: dict[str, Any]) -> str:
    rows = [
        [
            times,
            f"{run['reviews']:,}",
            f"{run['seconds']:.1f}",
            f"{run['peak_memory_mib']:,}",
        ]
        for times, run in figures.items()
    ]
    return (
        f"{_table(['times the archive', 'reviews', 's', 'memory of all processes, MiB'], rows)}\n"
    )


PAGES: dict[str, dict[str, Callable[[dict[str, Any]], str]]] = {
    "serving.md": {"serve": serve, "limits": limits, "engines": engines},
    "training.md": {"accuracy": accuracy},
    "evaluation.md": {"explain": explained},
    "preprocessing.md": {
        "preprocess-speed": preprocess_speed,
        "preprocess-memory": preprocess_memory,
    },
}


def written(name_of_page: str, folder: Path = RESULTS) -> str:
    """The page with its tables made anew."""
    page = (DOCS / name_of_page).read_text("utf-8")
    for name, section in PAGES[name_of_page].items():
        path = folder / f"{name}.json"
        text = ""
        if path.exists():
            result = json.loads(path.read_text())
            text = f"{section(result['figures'])}\n{_origin(name, result)}\n"
        start, end = f"<!-- {name} -->\n", "<!-- end -->"
        before, _, rest = page.partition(start)
        _, _, after = rest.partition(end)
        page = f"{before}{start}{text}{end}{after}"
    return page


def write() -> None:
    for page in PAGES:
        (DOCS / page).write_text(written(page), "utf-8")


def _origin(name: str, result: dict[str, Any]) -> str:
    machine = result["machine"]
    return (
        f"[{name}.json](../benchmarks/results/{name}.json), {result['date'][:10]}: "
        f"{machine['cores']} cores ({machine['processor']}), torch {result['versions']['torch']}."
    )


def _targets(figures: dict[str, Any]) -> str:
    rows = []
    for name, target in figures["targets"].items():
        label, sign = LABELS[name]
        found = figures["found"][name]
        rows.append([label, f"{sign} {target:g}", "never" if found is None else f"{found:g}"])
    return _table(["", "target", "measured"], rows)


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


if __name__ == "__main__":
    write()
