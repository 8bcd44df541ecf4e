"""Two machines prepare the data and two train, through the SDK's own torchrun driver."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pipeline.cli import main

PARAMETERS = {
    "ProcessingInstanceCount": 2,
    "TrainingInstanceCount": 2,
    "MaxReviews": 200,
    "PretrainingEpochs": 0,
    "GuessingEpochs": 0,
    "Epochs": 1,
    "MinAccuracy": 0,
    "MinAdvantageOverBaseline": -1,
}


def test_a_run_on_two_machines_registers_one_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = tmp_path / "home"
    parts = [part for each in PARAMETERS.items() for part in ("--parameter", "{}={}".format(*each))]
    assert main(["--home", str(home), "run", *parts]) == 0, capsys.readouterr().err
    assert main(["--home", str(home), "registry", "show", "1"]) == 0

    logs = {
        (job, path.name): path.read_text()
        for job in ("Preprocess", "Train", "Evaluate")
        for path in home.glob(f"logs/aws/sagemaker/*/*-{job}-*/algo-*.log")
    }
    two = ["Preprocess", "Train"]
    assert sorted(logs) == sorted(
        [("Evaluate", "algo-1.log"), *((job, f"algo-{host}.log") for job in two for host in (1, 2))]
    )
    for rank in (0, 1):
        started = re.search(r"torchrun --nnodes=2 .*", logs["Train", f"algo-{rank + 1}.log"])
        assert started and f"--node_rank={rank} " in started[0]
    # one leads and says how it goes; the other takes its part of each batch in silence
    assert "epoch 1/1: loss" in logs["Train", "algo-1.log"]
    assert "epoch 1/1: loss" not in logs["Train", "algo-2.log"]
