import csv
import json
from pathlib import Path

import pytest

from model.shards import shard_name, write_shard
from steps.evaluate import main
from tests.model.factory import encoded, packed, unvouched, vocabulary


@pytest.fixture
def test_shards(tmp_path: Path) -> Path:
    folder = tmp_path / "test"
    folder.mkdir()
    write_shard(folder / shard_name("test", 0, 1), encoded(20), vocabulary().sha256)
    return folder


def evaluate(model: Path, tmp_path: Path, *data: str) -> int:
    return main(["--model", str(model), "--output", str(tmp_path / "out"), *data])


def test_shards_are_judged(tmp_path: Path, artifact: Path, test_shards: Path) -> None:
    model = packed(artifact, tmp_path / "model")
    assert evaluate(model, tmp_path, "--test", str(test_shards)) == 0
    result = json.loads((tmp_path / "out/evaluation.json").read_text())
    metrics = result["binary_classification_metrics"]
    assert result["dataset"]["item_count"] == 20
    with (tmp_path / "out/predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["label"]) for row in rows] == encoded(20).labels.tolist()
    assert [row["row"] for row in rows] == [str(number) for number in range(1, 21)]
    right = sum(row["label"] == row["predicted"] for row in rows)
    assert metrics["accuracy"]["value"] == right / 20


def test_a_table_is_judged_like_the_same_shards(
    tmp_path: Path, artifact: Path, test_shards: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = vocabulary().words
    lines = ["text,label"]
    reviews = encoded(20)
    for index in range(len(reviews)):
        text = " ".join(words[token - 2] for token in reviews[index])
        lines.append(f"{text},{reviews.labels[index]}")
    table = tmp_path / "table.csv"
    table.write_text("\n".join(lines))
    assert evaluate(artifact, tmp_path, "--labelled", str(table)) == 0
    from_table = (tmp_path / "out/predictions.csv").read_text()
    assert evaluate(artifact, tmp_path, "--test", str(test_shards)) == 0
    assert from_table == (tmp_path / "out/predictions.csv").read_text()
    assert "on 20 reviews" in capsys.readouterr().out


def test_an_artifact_that_nobody_vouches_for_is_not_evaluated(
    tmp_path: Path, artifact: Path, test_shards: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "model").mkdir()
    spoilt = unvouched(artifact, {"code/model/text.py": b"import os\n"})
    (tmp_path / "model/model.tar.gz").write_bytes(spoilt)
    assert evaluate(tmp_path / "model", tmp_path, "--test", str(test_shards)) == 1
    assert "error: code/model/text.py: has" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_shards_of_another_dictionary_are_refused(
    tmp_path: Path, artifact: Path, test_shards: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_shard(test_shards / shard_name("test", 0, 1), encoded(4), "other")
    assert evaluate(artifact, tmp_path, "--test", str(test_shards)) == 1
    assert "was encoded with another dictionary" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ("a,b\n1,2\n", "table.csv: its first row must name the columns"),
        ("text,label\ngood canary,5\n", "table.csv: row 1 (line 2) has no valid label"),
    ],
)
def test_a_bad_table_is_one_line(
    tmp_path: Path, artifact: Path, capsys: pytest.CaptureFixture[str], content: str, line: str
) -> None:
    table = tmp_path / "table.csv"
    table.write_text(content)
    assert evaluate(artifact, tmp_path, "--labelled", str(table)) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"error: {line}")
    assert "canary" not in error


def test_a_missing_model_is_named(
    tmp_path: Path, test_shards: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(tmp_path / "none", tmp_path, "--test", str(test_shards)) == 1
    assert "model.tar.gz: no such file" in capsys.readouterr().err
