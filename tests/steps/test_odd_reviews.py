"""Reviews that nobody would write, from the archive to the report."""

import json
from pathlib import Path

import pytest

from model.artifact import write_artifact
from model.lstm import LSTMConfig, SentimentLSTM
from model.vocabulary import Vocabulary
from steps import evaluate, preprocess
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


@pytest.mark.parametrize("preset", ["modern", "classic"])
def test_every_odd_review_is_encoded_judged_and_reported(
    tmp_path: Path, code: Path, preset: str
) -> None:
    files = corpus(6)
    for split in ("train", "test"):
        files |= {f"top/{split}/neg/{name}_1.txt": data for name, data in ODD.items()}
    rewritten = b"Sentiment\tText\nPositive\t\nNegative\tgreat\n"
    write_folder(tmp_path, {"rewritten/table.tsv": rewritten})
    source = write_archive(tmp_path / "in", files)
    out = tmp_path / "out"
    names = ("train", "test", "unlabelled", "counterfactual", "vocabulary", "report")
    flags = [part for name in names for part in (f"--{name}", str(out / name))]
    flags += ["--counterfactual-input", str(tmp_path / "rewritten"), "--text-preset", preset]
    assert preprocess.main(["--input", str(source), *flags]) == 0

    vocabulary = Vocabulary.load(out / "vocabulary/vocabulary.json")
    model = SentimentLSTM(
        LSTMConfig(len(vocabulary), embedding_dim=6, hidden_dim=5, max_review_length=30)
    )
    write_artifact(out / "model", model, vocabulary, code, training={}, source={})
    given = ["--model", str(out / "model"), "--test", str(out / "test")]
    given += ["--train", str(out / "train"), "--counterfactual", str(tmp_path / "rewritten")]
    given += ["--data-report", str(out / "report"), "--output", str(out / "evaluation")]
    assert evaluate.main(given) == 0

    result = json.loads((out / "evaluation/evaluation.json").read_text())
    assert result["dataset"]["item_count"] == 12 + len(ODD)
    assert result["counterfactual"]["item_count"] == 2
    assert (out / "evaluation/report.html").stat().st_size > 10_000
