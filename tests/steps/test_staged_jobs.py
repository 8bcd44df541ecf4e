"""The jobs one after the other, each a process that sees its staged tree and nothing else."""

import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from tests.model.factory import corpus, write_archive


class Jobs:
    def __init__(self, code: Path, root: Path) -> None:
        self.code, self.root = code, root

    def run(self, script: str, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        # coverage of child processes needs to find its own settings, nothing of ours
        passed = {name: value for name, value in os.environ.items() if name.startswith("COV")}
        return subprocess.run(  # noqa: S603
            [sys.executable, script, *arguments],
            cwd=self.code,
            env={"PATH": os.environ["PATH"], **passed, **environ},
            capture_output=True,
            text=True,
            timeout=300,
        )

    def path(self, name: str) -> str:
        return str(self.root / name)


@pytest.fixture
def jobs(tmp_path: Path, code: Path) -> Jobs:
    shutil.copytree(code, tmp_path / "a tree with spaces")
    return Jobs(tmp_path / "a tree with spaces", tmp_path)


def test_archive_to_evaluation(jobs: Jobs) -> None:
    write_archive(jobs.root / "in", corpus(60))
    folders = ("train", "test", "unlabelled", "counterfactual", "vocabulary", "report")
    flags = [part for name in folders for part in (f"--{name}", jobs.path(name))]
    done = jobs.run("preprocess.py", "--input", jobs.path("in"), *flags)
    assert done.returncode == 0, done.stderr

    small = [
        "--embedding-dim=8",
        "--hidden-dim=8",
        "--pretraining-epochs=1",
        "--epochs=6",
        "--patience=6",
        "--dropout=0.1",
        "--learning-rate=0.03",
    ]
    done = jobs.run(
        "train.py",
        *small,
        "--checkpoint-dir",
        jobs.path("checkpoints"),
        SM_CHANNEL_TRAIN=jobs.path("train"),
        SM_CHANNEL_VOCABULARY=jobs.path("vocabulary"),
        SM_MODEL_DIR=jobs.path("model"),
        SM_OUTPUT_DATA_DIR=jobs.path("output/data"),
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\ntraining, epoch ") == 6

    (jobs.root / "artifact").mkdir()
    with tarfile.open(jobs.root / "artifact/model.tar.gz", "w:gz") as tar:
        tar.add(jobs.root / "model", ".")
    places = ("--model", jobs.path("artifact"), "--test", jobs.path("test"))
    done = jobs.run("evaluate.py", *places, "--output", jobs.path("evaluation"))
    assert done.returncode == 0, done.stderr
    evaluation = json.loads((jobs.root / "evaluation/evaluation.json").read_text())
    assert evaluation["binary_classification_metrics"]["accuracy"]["value"] > 0.8


def test_preprocessing_is_quick_to_start(jobs: Jobs) -> None:
    program = "import sys, preprocess; print('torch' in sys.modules)"
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-c", program], cwd=jobs.code, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"
