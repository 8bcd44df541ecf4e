"""Preprocessing: reviews a second from archive to encoded shards, and memory at ten times the data.

    make bench-preprocess DATA=path/to/aclImdb_v1.tar.gz

Speed is the median of some runs of the job, start and writing included; memory is the largest sum
over its processes, shared pages counted once, looked at ten times a second.
"""

from __future__ import annotations

import argparse
import gzip
import io
import json
import resource
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks import tables
from benchmarks.record import ROOT, record
from model.preprocessing import SPLITS
from model.reviews import Source, find_source

TIMES = 10
REPEATS = 3
PRESETS = ("modern", "classic")


def job(source: Path, scratch: Path, preset: str) -> dict[str, Any]:
    """Run the Preprocess job on one archive; its speed and memory."""
    with tempfile.TemporaryDirectory(dir=scratch) as made:
        (Path(made) / "in").mkdir()
        (Path(made) / "in" / source.name).symlink_to(source.resolve())
        folders = [
            part
            for name in (*SPLITS, "vocabulary", "report")
            for part in (f"--{name}", f"{made}/{name}")
        ]
        command = [sys.executable, "-m", "steps.preprocess", "--input", f"{made}/in", *folders]
        started, cpu_before = time.perf_counter(), cpu_seconds()
        process = subprocess.Popen(  # noqa: S603 - our own job
            [*command, "--text-preset", preset], cwd=ROOT, stdout=subprocess.DEVNULL
        )
        peak = peak_memory(process)
        seconds, cpu = time.perf_counter() - started, cpu_seconds() - cpu_before
        if process.returncode:
            raise SystemExit(f"preprocessing ended with exit code {process.returncode}")
        report = json.loads((Path(made) / "report" / "data_report.json").read_text())
    reviews = sum(split["reviews"] for split in report["splits"].values())
    return {
        "reviews": reviews,
        "seconds": round(seconds, 2),
        "cpu_seconds": round(cpu, 2),
        "reviews_per_second": round(reviews / seconds),
        "peak_memory_mib": round(peak / 2**20),
    }


def cpu_seconds() -> float:
    """Of all processes that have ended; says more than the clock where others are at work."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def peak_memory(process: subprocess.Popen[bytes]) -> int:
    """Wait for a process; the largest memory in bytes that it and its children had together."""
    peak = 0
    while process.poll() is None:
        peak = max(peak, sum(map(memory, family(process.pid))))
        time.sleep(0.1)
    return peak


def family(pid: int) -> Iterator[int]:
    """A process and all that it started."""
    yield pid
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:  # it has just ended
        return
    for child in children:
        yield from family(int(child))


def memory(pid: int) -> int:
    """Proportional set size in bytes."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(1024 * int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def write_larger(source: Source, path: Path, times: int) -> None:
    """An archive of `times` copies of each review, each with a word of its own."""
    with (
        gzip.open(path, "wb", compresslevel=1) as packed,
        tarfile.open(fileobj=packed, mode="w|", format=tarfile.USTAR_FORMAT) as tar,
    ):
        for number, review in enumerate(source.reviews()):
            for copy in range(times):
                data = review.data + f" title{number}of{copy}".encode()
                folder, _, name = review.name.rpartition("/")
                member = tarfile.TarInfo(f"{folder}/{copy}_{name}")
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))


def speed(archive: Path, scratch: Path) -> dict[str, Any]:
    """The median run of each preset."""
    figures: dict[str, Any] = {}
    for preset in PRESETS:
        runs = [job(archive, scratch, preset) for _ in range(REPEATS)]
        runs.sort(key=lambda run: run["seconds"])
        every = [run["reviews_per_second"] for run in runs]
        figures[preset] = runs[REPEATS // 2] | {"all_reviews_per_second": every}
    return figures


def memory_at_scale(archive: Path, scratch: Path) -> dict[str, Any]:
    """The archive as it is, and with ten times the reviews."""
    larger = scratch / "larger.tar.gz"
    write_larger(find_source(archive), larger, TIMES)
    return {"1": job(archive, scratch, "modern"), str(TIMES): job(larger, scratch, "modern")}


MEASURES = {"preprocess-speed": speed, "preprocess-memory": memory_at_scale}


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("measure", choices=MEASURES)
    parser.add_argument("archive", type=Path)
    options = parser.parse_args(arguments)
    if not options.archive.is_file():
        parser.error(f"no archive at {options.archive}")
    with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
        figures = MEASURES[options.measure](options.archive, Path(scratch))
    print(record(options.measure, figures).read_text(), end="")
    tables.write()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
