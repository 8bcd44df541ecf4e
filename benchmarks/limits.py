"""What the API does at its limit, at twice its limit, and when the model's server is killed.

`make load` serves a version through the API on this machine and loads it in three parts: at the
limit there are no errors to speak of and answers are quick; at twice the limit the excess is
refused with 429 and nothing else changes; after `kill -9` of the server requests are told when to
come back, until a new server answers them. A part of the requests asks for the words that decided.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import signal
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import served, tables
from benchmarks.load import Answers, load, request
from benchmarks.record import record

# predict_api.throttle's, and the stage's on AWS
LIMIT_PER_S = 50.0
BURST = 50
CLIENTS = 16
EXPLAINED_EVERY = 5  # one request in so many wants the words that decided, which takes longer
KILL_AFTER_S = 2.0
RECORDED_FROM_S = 600.0  # a look of a few seconds is not to replace what the page reports
TARGETS = {
    "offered_share_at_the_limit": 0.95,
    "error_share_at_the_limit": 0.01,
    "p95_ms_at_the_limit": 100.0,
    "offered_share_at_twice": 0.95,
    "refused_429_at_twice": 1.0,
    "taken_at_twice_off_the_allowed": 0.1,
    "other_answers_at_twice": 0.0,
    "memory_growth_mb": 32.0,
    "refused_503_after_the_kill": 1.0,
    "back_s": 5.0,
    "other_answers_after_the_kill": 0.0,
    "without_retry_after": 0.0,
}
AT_LEAST = (
    "offered_share_at_the_limit",
    "offered_share_at_twice",
    "refused_429_at_twice",
    "refused_503_after_the_kill",
)
Figures = dict[str, float | None]
"""None for what never happened, which misses any target."""


@dataclass
class Api:
    """The API on this machine over a local account, and how to find the model's server."""

    home: Path
    process: served.Process
    bodies: list[bytes]

    def load(self, per_s: float, duration_s: float) -> Answers:
        return asyncio.run(self._load(per_s, duration_s))

    async def _load(self, per_s: float, duration_s: float) -> Answers:
        port = self.process.port
        telling = asyncio.create_task(_tell(duration_s))
        try:
            return await load(
                port, self.bodies, clients=CLIENTS, duration_s=duration_s, per_s=per_s
            )
        finally:
            telling.cancel()

    def load_and_kill(self, per_s: float, duration_s: float) -> tuple[Answers, float]:
        """What came back, and when, on the clock of `Answers.timeline`, the server was killed."""

        async def both() -> tuple[Answers, float]:
            loading = asyncio.create_task(self._load(per_s, duration_s))
            await asyncio.sleep(KILL_AFTER_S)
            os.kill(self.server_pid(), signal.SIGKILL)
            killed_at = time.perf_counter()
            return await loading, killed_at

        return asyncio.run(both())

    def server_pid(self) -> int:
        """The inference server's process: not its launcher, which names the same folder."""
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                command = (folder / "cmdline").read_bytes()
            except OSError:  # ended meanwhile
                continue
            if str(self.home).encode() in command and b"inference.server" in command:
                if b"launch.py" not in command:
                    return int(folder.name)
        raise RuntimeError("no server runs")

    def memory_mb(self) -> float:
        """Of API and server together, now."""
        return sum(map(resident_mb, (self.process.popen.pid, self.server_pid())))


async def _tell(duration_s: float) -> None:
    """A line a minute, for whom waits."""
    for minute in itertools.count(1):
        await asyncio.sleep(60)
        print(f"  {60 * minute} of {duration_s:g} s", file=sys.stderr, flush=True)


def resident_mb(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


def at_the_limit(api: Api, duration_s: float) -> tuple[Figures, Answers]:
    answers = api.load(LIMIT_PER_S, duration_s)
    return {
        "offered_share_at_the_limit": _offered_share(answers, LIMIT_PER_S, duration_s),
        "error_share_at_the_limit": round(1 - answers.statuses[200] / answers.statuses.total(), 4),
        "p95_ms_at_the_limit": answers.figures()["p95_ms"],
    }, answers


def at_twice_the_limit(api: Api, duration_s: float) -> tuple[Figures, Answers]:
    before = api.memory_mb()
    answers = api.load(2 * LIMIT_PER_S, duration_s)
    allowed = LIMIT_PER_S * answers.wall_s + BURST
    return {
        "offered_share_at_twice": _offered_share(answers, 2 * LIMIT_PER_S, duration_s),
        "refused_429_at_twice": answers.statuses[429],
        "taken_at_twice_off_the_allowed": round(abs(answers.statuses[200] / allowed - 1), 3),
        "other_answers_at_twice": _others(answers, 200, 429),
        "memory_growth_mb": round(api.memory_mb() - before, 1),
    }, answers


def after_a_kill(api: Api, duration_s: float) -> tuple[Figures, Answers]:
    answers, killed_at = api.load_and_kill(LIMIT_PER_S / 2, duration_s)
    return {
        "refused_503_after_the_kill": answers.statuses[503],
        "back_s": _back_s(answers, killed_at),
        "other_answers_after_the_kill": _others(answers, 200, 429, 503),
    }, answers


def _back_s(answers: Answers, killed_at: float) -> float | None:
    """From the kill to the first answer after which all were good."""
    after = [(at, status) for at, status in answers.timeline if at > killed_at]
    last_refused = max((at for at, status in after if status != 200), default=killed_at)
    good = [at for at, status in after if status == 200 and at > last_refused]
    return round(min(good) - killed_at, 2) if good else None


def _offered_share(answers: Answers, per_s: float, duration_s: float) -> float:
    """Of the requests that were to be sent: where every client waits for an answer, none is."""
    return round(answers.statuses.total() / (per_s * duration_s), 3)


def _others(answers: Answers, *expected: int) -> int:
    return sum(count for status, count in answers.statuses.items() if status not in expected)


def main() -> int:
    """Print the figures, keep those of a run of full length; 1 when a target is missed."""
    parser = argparse.ArgumentParser(prog="make load", description=__doc__)
    parser.add_argument("--artifact", type=Path, help="a model directory [one of default size]")
    parser.add_argument(
        "--seconds",
        type=float,
        default=RECORDED_FROM_S,
        help="at the limit, and again at twice the limit [%(default)s]",
    )
    parser.add_argument("--record", action="store_true", help="keep a shorter run's figures too")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model_dir = options.artifact or served.write_version(folder)
        figures, runs = measure(model_dir, folder, options.seconds)
    misses = missed(figures)
    for name, target in TARGETS.items():
        found = "never" if figures[name] is None else figures[name]
        bound = ">=" if name in AT_LEAST else "<="
        print(f"{name:<36}{found!s:>9}  {bound} {target:g}{'  MISSED' * (name in misses)}")
    if options.record or options.seconds >= RECORDED_FROM_S:
        path = record("limits", {"targets": TARGETS, "found": figures, "runs": runs})
        tables.write()
        print(f"written to {path}", file=sys.stderr)
    else:
        print(f"not kept: shorter than {RECORDED_FROM_S:g} s; --record keeps it", file=sys.stderr)
    return 1 if misses else 0


def missed(figures: Figures) -> list[str]:
    """The targets that the figures do not reach."""
    return [name for name, target in TARGETS.items() if not _reaches(name, figures[name], target)]


def _reaches(name: str, figure: float | None, target: float) -> bool:
    if figure is None:
        return False
    return figure >= target if name in AT_LEAST else figure <= target


def measure(
    model_dir: Path, folder: Path, seconds: float, kill_seconds: float = 12.0
) -> tuple[Figures, dict[str, Any]]:
    """The figures that have a target, and what each part's answers were."""
    target = served.deploy(folder / "home", model_dir)
    payloads = [
        json.dumps({"review": text} | ({} if number % EXPLAINED_EVERY else {"explain": True}))
        for number, text in enumerate(served.reviews(200))
    ]
    figures: Figures = {}
    without_retry_after = 0
    runs: dict[str, Any] = {}
    with served.api(target.settings.home, folder / "api.log") as process:
        api = Api(
            folder / "home", process, [request("/predict", body.encode()) for body in payloads]
        )
        api.load(LIMIT_PER_S / 2, 1)
        parts = (
            (at_the_limit, seconds),
            (at_twice_the_limit, seconds),
            (after_a_kill, kill_seconds),
        )
        for part, duration_s in parts:
            print(f"{part.__name__.replace('_', ' ')}, {duration_s:g} s", file=sys.stderr)
            found, answers = part(api, duration_s)
            figures |= found
            without_retry_after += answers.without_retry_after
            runs[part.__name__] = answers.figures() | {"duration_s": duration_s}
    target.client("sagemaker").delete_endpoint(EndpointName="sentiment")
    return figures | {"without_retry_after": without_retry_after}, runs


if __name__ == "__main__":
    sys.exit(main())
