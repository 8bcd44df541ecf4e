"""Reviews that nobody would write, from the archive to the report."""

import json
import signal
from pathlib import Path

import pytest

from steps import evaluate, preprocess, train
from tests.model.factory import corpus, write_archive, write_folder

ODD = {
    "empty": b"",
    "blank": b" \n\t ",
    "markup": b"<br /><br />",
    "one": b"great",
    "unknown": b"quagga zyzzyva okapi",
    "long": b"word " * 100_000,
    "marks": b"!!! ???",
    "nul": b"good\x00film",
}
SMALL = ["--embedding-dim=6", "--hidden-dim=5", "--max-review-length=30", "--batch-size=8"]


@pytest.mark.parametrize("preset", ["modern", "classic"])
def test_every_odd_review_is_encoded_learned_judged_and_reported(
    tmp_path: Path, code: Path, monkeypatch: pytest.MonkeyPatch, preset: str
) -> None:
    files = corpus(6)
    for folder in ("train/neg", "test/neg", "train/unsup"):
        files |= {f"top/{folder}/{name}_1.txt": data for name, data in ODD.items()}
    rewritten = b"Sentiment\tText\nPositive\t\nNegative\tgreat\n"
    write_folder(tmp_path, {"rewritten/table.tsv": rewritten})
    source = write_archive(tmp_path / "in", files)
    out = tmp_path / "out"
    names = ("train", "test", "unlabelled", "counterfactual", "vocabulary", "report")
    flags = [part for name in names for part in (f"--{name}", str(out / name))]
    flags += ["--counterfactual-input", str(tmp_path / "rewritten"), "--text-preset", preset]
    assert preprocess.main(["--input", str(source), *flags]) == 0

    monkeypatch.setattr(train, "__file__", str(code / "train.py"))
    monkeypatch.setattr(signal, "signal", lambda number, handler: None)
    channels = ("train", "unlabelled", "counterfactual", "vocabulary")
    environ = {f"SM_CHANNEL_{name.upper()}": str(out / name) for name in channels}
    environ |= {"SM_MODEL_DIR": str(out / "model"), "SM_OUTPUT_DATA_DIR": str(out / "data")}
    checkpoints = f"--checkpoint-dir={out / 'checkpoints'}"
    assert train.main([*SMALL, checkpoints], environ) == 0
    history = json.loads((out / "data/training_history.json").read_text())
    assert [part["name"] for part in history["before"]] == ["pre-training", "guesses"]

    given = ["--model", str(out / "model"), "--test", str(out / "test")]
    given += ["--train", str(out / "train"), "--counterfactual", str(tmp_path / "rewritten")]
    given += ["--data-report", str(out / "report"), "--output", str(out / "evaluation")]
    assert evaluate.main(given) == 0

    result = json.loads((out / "evaluation/evaluation.json").read_text())
    assert result["dataset"]["item_count"] == 12 + len(ODD)
    assert result["counterfactual"]["item_count"] == 2
    assert (out / "evaluation/report.html").stat().st_size > 10_000
