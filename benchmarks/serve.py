"""How fast a review is judged: `make bench-serve`.

The server's figures are taken through HTTP from this process, on the same cores, beside the
ancestor's method in the same run. Without --artifact a version of the default size is made, with
random weights: they do not change how long it takes.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks import served, tables
from benchmarks.ancestor import Ancestor
from benchmarks.load import load, request
from benchmarks.record import record
from model.threads import thread_map

TARGETS = {
    "ready_s": 3.0,
    "memory_mb": 500.0,
    "one_client_median_ms": 5.0,
    "one_client_p99_ms": 15.0,
    "explained_median_ms": 30.0,
    "reviews_per_s_at_32_clients": 300.0,
    "times_as_fast_as_the_ancestor": 13.0,
    "api_adds_ms": 3.0,
    "cold_import_ms": 350.0,
}
AT_LEAST = ("reviews_per_s_at_32_clients", "times_as_fast_as_the_ancestor")
ROUNDS = 3
COLD_STARTS = 5
CLIENTS = 32
API_RATE_PER_S = 40.0  # below its throttle
SIDE = 1024


def matrix_limit_gflops() -> float:
    """What all cores together reach in multiplying large matrices, each its own."""

    def multiply(_: int) -> None:
        a, b = torch.rand(SIDE, SIDE), torch.rand(SIDE, SIDE)
        for _ in range(10):
            a @ b

    with thread_map() as each:
        list(each(multiply, range(2)))
        tasks = 8
        started = time.perf_counter()
        list(each(multiply, range(tasks)))
        seconds = time.perf_counter() - started
    return float(tasks * 10 * 2 * SIDE**3 / seconds / 1e9)


def flop_per_review(model_dir: Path) -> float:
    """Of the two LSTM directions, for a review of `REVIEW_WORDS` words: all but a thousandth."""
    config = json.loads((model_dir / "config.json").read_text())["model"]
    embedding_dim, hidden_dim = int(config["embedding_dim"]), int(config["hidden_dim"])
    gates = 4 * hidden_dim * (embedding_dim + hidden_dim)
    return 2.0 * 2 * served.REVIEW_WORDS * gates


def measure_server(model_dir: Path, folder: Path, seconds: float) -> dict[str, Any]:
    """One client and the ancestor in turns, then many clients."""
    texts = served.reviews(200)
    bodies = [request("/invocations", json.dumps({"review": text}).encode()) for text in texts]
    ancestor = Ancestor(folder / "nltk", texts)
    explained = [
        request("/invocations", json.dumps({"review": text, "explain": True}).encode())
        for text in texts
    ]
    with served.server(model_dir, folder / "server.log") as process:

        def run(clients: int, requests: Sequence[bytes] = bodies) -> dict[str, Any]:
            return asyncio.run(
                load(process.port, requests, clients=clients, duration_s=seconds)
            ).figures()

        run(1)
        alone, old, spared = [], [], []
        for number in range(ROUNDS):
            alone.append(run(1))
            for text in texts[10 * number :][:10]:
                old.append(_milliseconds(ancestor.judge, text))
                spared.append(_milliseconds(ancestor.judge_reading_stop_words_once, text))
        with_words = [run(1, explained) for _ in range(ROUNDS)]
        many = [run(CLIENTS) for _ in range(ROUNDS)]
        memory_mb = process.peak_memory_mb()
    return {
        "ready_s": process.ready_s,
        "memory_mb": memory_mb,
        "one_client": _middle(alone, "median_ms"),
        "one_client_explained": _middle(with_words, "median_ms"),
        "clients_32": _middle(many, "per_s"),
        "ancestor_median_ms": round(statistics.median(old), 2),
        "ancestor_reading_stop_words_once_median_ms": round(statistics.median(spared), 2),
    }


def measure_api(model_dir: Path, folder: Path, seconds: float) -> dict[str, Any]:
    """The same reviews at the same pace, through the API and straight to the endpoint."""
    target = served.deploy(folder / "home", model_dir)
    port = _endpoint_port(folder / "home")
    payloads = [json.dumps({"review": text}).encode() for text in served.reviews(200)]
    with served.api(target.settings.home, folder / "api.log") as process:

        def run(port: int, path: str) -> dict[str, Any]:
            bodies = [request(path, payload) for payload in payloads]
            return asyncio.run(
                load(port, bodies, clients=1, duration_s=seconds, per_s=API_RATE_PER_S)
            ).figures()

        run(process.port, "/predict")
        through, straight = [], []
        for _ in range(ROUNDS):  # in turns, so that both meet the machine in the same moods
            through.append(run(process.port, "/predict"))
            straight.append(run(port, "/invocations"))
        memory_mb = process.peak_memory_mb()
    target.client("sagemaker").delete_endpoint(EndpointName="sentiment")
    return {
        "through_the_api": _middle(through, "median_ms"),
        "straight_to_the_endpoint": _middle(straight, "median_ms"),
        "memory_mb": memory_mb,
        "cold_import_ms": statistics.median(cold_import_ms() for _ in range(COLD_STARTS)),
    }


def cold_import_ms() -> float:
    """How long a new interpreter takes to import the Lambda function."""
    program = (
        "import time; started = time.perf_counter(); import predict_api.app;"
        "print(1000 * (time.perf_counter() - started))"
    )
    environment = {"PYTHONPATH": str(served.ROOT / "lambda"), "ENDPOINT_NAME": "sentiment"}
    result = subprocess.run(  # noqa: S603 - our own module
        [sys.executable, "-c", program], env=environment, capture_output=True, check=True
    )
    return round(float(result.stdout), 1)


def _endpoint_port(home: Path) -> int:
    from pipeline.local.account import open_account

    endpoint = open_account(home).store.get("endpoint", "sentiment")
    return int((endpoint or {})["Port"])


def _milliseconds(judge: Callable[[str], float], text: str) -> float:
    started = time.perf_counter()
    judge(text)
    return 1000 * (time.perf_counter() - started)


def _middle(runs: list[dict[str, Any]], key: str) -> dict[str, Any]:
    return sorted(runs, key=lambda figures: figures[key])[len(runs) // 2]


def summary(server: dict[str, Any], api: dict[str, Any]) -> dict[str, float]:
    """The figures that have a target."""
    one, through = server["one_client"], api["through_the_api"]
    return {
        "ready_s": server["ready_s"],
        "memory_mb": server["memory_mb"],
        "one_client_median_ms": one["median_ms"],
        "one_client_p99_ms": one["p99_ms"],
        "explained_median_ms": server["one_client_explained"]["median_ms"],
        "reviews_per_s_at_32_clients": server["clients_32"]["per_s"],
        "times_as_fast_as_the_ancestor": round(server["ancestor_median_ms"] / one["median_ms"], 1),
        "api_adds_ms": round(
            through["median_ms"] - api["straight_to_the_endpoint"]["median_ms"], 2
        ),
        "cold_import_ms": api["cold_import_ms"],
    }


def main() -> int:
    """Print and keep the figures; 1 when a target is missed."""
    parser = argparse.ArgumentParser(prog="make bench-serve", description=__doc__)
    parser.add_argument("--artifact", type=Path, help="a model directory [one of default size]")
    parser.add_argument("--seconds", type=float, default=4.0, help="of each run [%(default)s]")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model_dir = options.artifact or served.write_version(folder)
        limit = matrix_limit_gflops()
        server = measure_server(model_dir, folder, options.seconds)
        api = measure_api(model_dir, folder, options.seconds)
        gflops = server["clients_32"]["per_s"] * flop_per_review(model_dir) / 1e9
    found = summary(server, api)
    missed = [
        name
        for name, target in TARGETS.items()
        if (found[name] < target if name in AT_LEAST else found[name] > target)
    ]
    for name, target in TARGETS.items():
        sign = ">=" if name in AT_LEAST else "<="
        print(f"{name:<32}{found[name]:>9}  {sign} {target:g}{'  MISSED' * (name in missed)}")
    share = round(gflops / limit, 3)
    print(f"{'share of the matrix limit':<32}{share:>9}  of {limit:.0f} GFLOP/s")
    limits = {"matrix_limit_gflops": round(limit, 1), "share_at_32_clients": share}
    path = record(
        "serve", {"targets": TARGETS, "found": found, "server": server, "api": api} | limits
    )
    tables.write()
    print(f"written to {path}", file=sys.stderr)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
