"""The recipe: accuracy, robustness, calibration and speed of the default parameters, over seeds.

    make bench DATA=path/to/aclImdb_v1.tar.gz REWRITTEN=folder/with/train.tsv/and/dev.tsv

Each run is the jobs of the pipeline, one after the other, with their defaults and a seed. A run
that is there already for the same code, data and machine is not repeated, so that a part can be run
at a time. A kind is recorded when all its seeds have been run; what is recorded of the other kind
stays, and each run names its commit.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks import tables
from benchmarks.record import RESULTS, ROOT, commit, machine, record, versions
from model.files import sha256_of
from pipeline.source import stage

SEEDS = (1, 2, 3)
PLAIN, PAIRS = "default parameters", "with rewritten reviews"
TABLES = ("train.tsv", "dev.tsv")  # of rewritten reviews, to learn from and to judge
FOLDERS = ("train", "test", "unlabelled", "counterfactual", "vocabulary", "report")
# multiplications and additions of a step: forward once, backward twice (Kaplan et al. 2020, 2.1)
_PASSES = 3


@dataclass(frozen=True)
class Target:
    """A figure of the runs of one kind, as it is to be."""

    kind: str
    name: str
    wanted: float
    at_least: bool = True

    def met(self, value: float) -> bool:
        return value >= self.wanted if self.at_least else value <= self.wanted


TARGETS = (
    Target(PLAIN, "accuracy", 0.925),
    Target(PLAIN, "lstm_accuracy", 0.915),
    Target(PLAIN, "minutes", 15.0, at_least=False),
    Target(PLAIN, "calibration_error", 0.02, at_least=False),
    Target(PLAIN, "preprocessed_per_second", 8000.0),
    Target(PAIRS, "accuracy", 0.925),
    Target(PAIRS, "rewritten_accuracy", 0.88),
)


def run_pipeline(
    source: Path, rewritten: Path | None, kind: str, seed: int, made: Path
) -> dict[str, Any]:
    """Preprocess, train and evaluate; the figures of the version."""
    shutil.rmtree(made, ignore_errors=True)  # a run that went on would seem to have been quick
    folders = {name: made / name for name in FOLDERS}
    given = [link(made / "in", source)]
    if rewritten is not None and kind == PAIRS:
        given += ["--counterfactual-input", link(made / "rewrites", rewritten / TABLES[0])]
    judged = ["--train", str(folders["train"])]
    if rewritten is not None:
        judged += ["--counterfactual", link(made / "rewritten", rewritten / TABLES[1])]
    flags = [part for name, folder in folders.items() for part in (f"--{name}", str(folder))]
    channels = ("train", "unlabelled", "counterfactual", "vocabulary")
    seconds = {
        "preprocess": job("preprocess", "--input", *given, *flags),
        "train": job(
            "train",
            *(part for name in channels for part in (f"--{name}", str(folders[name]))),
            *("--model-dir", str(made / "model"), "--output-data-dir", str(made / "output/data")),
            *("--checkpoint-dir", str(made / "checkpoints"), "--seed", str(seed)),
        ),
        "evaluate": job(
            "evaluate",
            *("--model", str(made / "model"), "--test", str(folders["test"])),
            *("--output", str(made / "evaluation"), *judged),
        ),
    }
    return figures(made, seconds)


def work_folder(source: Path, rewritten: Path | None) -> Path:
    """Where runs of this very code and data on this machine keep what they make."""
    digest = hashlib.sha256(json.dumps([machine(), versions()]).encode())
    code = sorted([*(ROOT / "model").glob("*.py"), *(ROOT / "steps").glob("*.py")])
    rewrites = sorted(rewritten.glob("*.tsv")) if rewritten is not None else []
    for path in (*code, source, *rewrites):
        digest.update(sha256_of(path).encode())
    return ROOT / "build" / "bench" / digest.hexdigest()[:12]


def link(folder: Path, file: Path) -> str:
    """A folder with that one file in it."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / file.name).exists():
        (folder / file.name).symlink_to(file.resolve())
    return str(folder)


def job(name: str, *arguments: str) -> float:
    """Run a job's script in a tree of its own, as a container holds it; the seconds it took."""
    with tempfile.TemporaryDirectory() as folder:
        for file, content in stage(name, ROOT).files:
            path = Path(folder, file)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        started = time.perf_counter()
        subprocess.run([sys.executable, f"{name}.py", *arguments], cwd=folder, check=True)  # noqa: S603
        return time.perf_counter() - started


def figures(made: Path, seconds: Mapping[str, float]) -> dict[str, Any]:
    """What evaluation.json and training_history.json say, and how long it took."""
    evaluation = json.loads((made / "evaluation/evaluation.json").read_text())
    training = json.loads((made / "output/data/training_history.json").read_text())
    speeds = [row["tokens_per_second"] for row in training["epochs"]]
    branches = {
        f"{name}_accuracy": branch["accuracy"]["value"]
        for name, branch in evaluation["branches"].items()
    }
    rewritten = evaluation.get("counterfactual")
    splits = json.loads((made / "report/data_report.json").read_text())["splits"]
    reviews = sum(split["reviews"] for split in splits.values())
    return {
        "accuracy": evaluation["binary_classification_metrics"]["accuracy"]["value"],
        **branches,
        "baseline_accuracy": evaluation["baseline"]["accuracy"]["value"],
        "calibration_error": evaluation["calibration"]["expected_calibration_error"],
        **({"rewritten_accuracy": rewritten["accuracy"]["value"]} if rewritten else {}),
        "minutes": sum(seconds.values()) / 60,
        "seconds": {name: round(value, 1) for name, value in seconds.items()},
        "preprocessed_per_second": reviews / seconds["preprocess"],
        "tokens_per_second": statistics.mean(speeds),
        "mix": training["mix"],
    }


def peak_flops(size: int = 2048, repeats: int = 10) -> dict[str, float]:
    """Multiplications and additions a second in products of matrices, on all cores."""
    found = {}
    for kind in (torch.float32, torch.bfloat16):
        one, other = (torch.randn(size, size).to(kind) for _ in range(2))
        one @ other
        started = time.perf_counter()
        for _ in range(repeats):
            one @ other
        seconds = time.perf_counter() - started
        found[str(kind).removeprefix("torch.")] = 2 * size**3 * repeats / seconds
    return found


def lstm_flops(embedding_dim: int = 128, hidden_dim: int = 128) -> int:
    """Multiplications and additions that training needs for a token, in both directions."""
    return _PASSES * 2 * 2 * 4 * hidden_dim * (embedding_dim + hidden_dim)


def means(runs: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    runs = list(runs)
    names = [name for name, value in runs[0].items() if isinstance(value, float)]
    return {name: round(statistics.mean(run[name] for run in runs), 5) for name in names}


def table(found: Mapping[str, Mapping[str, float]]) -> Iterable[str]:
    """A line a target: wanted, reached, met or not."""
    for target in TARGETS:
        value = found.get(target.kind, {}).get(target.name)
        sign = "≥" if target.at_least else "≤"
        reached = "not measured" if value is None else f"{value:.{4 if value < 1 else 1}f}"
        verdict = "" if value is None else ("met" if target.met(value) else "not met")
        yield f"{target.kind:24}{target.name:25}{sign} {target.wanted:<8g}{reached:14}{verdict}"


def measure(
    source: Path, rewritten: Path | None, kind: str, seed: int, folder: Path
) -> dict[str, Any]:
    """The figures of a run, which is made if it is not there yet."""
    made = folder / f"{kind.replace(' ', '-')}-{seed}"
    kept = made / "figures.json"
    if not kept.exists():
        # runs of one kind may be of another commit than the rest, which this makes plain
        run = {"commit": commit()} | run_pipeline(source, rewritten, kind, seed, made)
        kept.write_text(json.dumps(run))
    return {"seed": seed, **json.loads(kept.read_text())}


def recorded() -> dict[str, list[dict[str, Any]]]:
    """The runs of each kind that were recorded last."""
    path = RESULTS / "accuracy.json"
    if not path.exists():
        return {}
    runs: dict[str, list[dict[str, Any]]] = json.loads(path.read_text())["figures"]["runs"]
    return runs


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="the archive")
    parser.add_argument("--rewritten", type=Path, help="folder with train.tsv and dev.tsv")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    parser.add_argument("--only", choices=(PLAIN, PAIRS), help="runs of one kind")
    options = parser.parse_args(arguments)
    tables_given = [options.rewritten / name for name in TABLES] if options.rewritten else []
    for path in (options.data, *tables_given):
        if not path.is_file():
            parser.error(f"no file at {str(path)!r} (DATA is an archive, REWRITTEN such a folder)")
    kinds = [PLAIN] + ([PAIRS] if options.rewritten else [])
    if options.only is not None and options.only not in kinds:
        parser.error(f"runs {options.only} need --rewritten")
    folder = work_folder(options.data, options.rewritten)
    runs = {
        kind: [
            measure(options.data, options.rewritten, kind, seed, folder) for seed in options.seeds
        ]
        for kind in kinds
        if options.only in (None, kind)
    }
    complete = set(SEEDS) <= set(options.seeds)
    whole = (recorded() if complete else {}) | runs
    whole = {kind: whole[kind] for kind in (PLAIN, PAIRS) if kind in whole}
    found = {kind: means(of_kind) for kind, of_kind in whole.items()}
    peaks = peak_flops()
    speed = statistics.mean(one["tokens_per_second"] for one in found.values()) * lstm_flops()
    shares = {f"share_of_{kind}_peak": round(speed / peak, 3) for kind, peak in peaks.items()}
    speeds = {f"{kind}, tokens_per_second": one["tokens_per_second"] for kind, one in found.items()}
    for line in (*table(found), *(f"{name}: {value}" for name, value in (speeds | shares).items())):
        print(line)
    if complete:
        targets = [dataclasses.asdict(target) for target in TARGETS]
        figures = {"means": found, "runs": whole, "targets": targets, "peak_flops": peaks}
        record("accuracy", figures | shares)
        tables.write()
    else:
        print("a part of the seeds: benchmarks/results/accuracy.json is left as it is")


if __name__ == "__main__":
    main(sys.argv[1:])
