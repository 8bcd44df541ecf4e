import csv
import json
from pathlib import Path

import pytest

from model.files import sha256_of
from model.shards import shard_name, write_shard
from steps.evaluate import main
from tests.model.factory import encoded, packed, unvouched, vocabulary, write_folder


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
    assert "whether training saw some is not known" in (tmp_path / "out/report.html").read_text()
    assert evaluate(artifact, tmp_path, "--test", str(test_shards)) == 0
    assert "which neither training nor selection" in (tmp_path / "out/report.html").read_text()
    assert from_table == (tmp_path / "out/predictions.csv").read_text()
    assert "on 20 reviews" in capsys.readouterr().out


def write_split(folder: Path, split: str, count: int, seed: int) -> str:
    folder.mkdir()
    write_shard(folder / shard_name(split, 0, 1), encoded(count, seed), vocabulary().sha256)
    return str(folder)


def test_baseline_rewritten_reviews_and_production_are_measured_when_given(
    tmp_path: Path, artifact: Path, test_shards: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (test_shards / "test-00000-of-00001.jsonl").write_text('"the <b>film</b> was bad"\n' * 20)
    write_folder(
        tmp_path,
        {
            "rewritten/dev.tsv": b"Sentiment\tText\nPositive\ta good film\nNegative\tbad\n",
            "production/evaluation.json": b'{"binary_classification_metrics":'
            b' {"accuracy": {"value": 0.5, "standard_deviation": 0.1}}}',
            "report/data_report.json": b'{"input": {"name": "a.tar.gz", "sha256": "12ab"},'
            b' "vocabulary": {"sha256": "34cd"}, "counterfactual": {"sha256": "56ef"}}',
        },
    )
    folders = {"counterfactual": "rewritten", "production": "production", "data-report": "report"}
    given = [part for name, at in folders.items() for part in (f"--{name}", str(tmp_path / at))]
    train = write_split(tmp_path / "train", "train", 60, 2)
    bars = ["--made-of", "MinAccuracy", "0.8", "--made-of", "MinAdvantageOverBaseline", "-0.5"]
    options = ["--test", str(test_shards), "--train", train, *given, *bars]
    assert evaluate(artifact, tmp_path, *options) == 0
    result = json.loads((tmp_path / "out/evaluation.json").read_text())
    assert result["baseline"]["accuracy"]["value"] > 0.9
    assert result["counterfactual"]["item_count"] == 2
    assert result["production"]["accuracy"]["value"] == 0.5
    assert result["dataset"] == {"item_count": 20, "sha256": "12ab"}
    page = (tmp_path / "out/report.html").read_text()
    judged = sha256_of(tmp_path / "rewritten/dev.tsv")
    for words in ("MinAdvantageOverBaseline", "12ab", "34cd", "56ef", judged, "<mark"):
        assert words in page
    assert "NBSVM" in capsys.readouterr().out


@pytest.mark.parametrize("flag", ["--counterfactual", "--production", "--labelled"])
def test_what_is_named_must_be_there(
    tmp_path: Path, artifact: Path, flag: str, test_shards: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    test = [] if flag == "--labelled" else ["--test", str(test_shards)]
    assert evaluate(artifact, tmp_path, *test, flag, str(tmp_path / "wrong")) == 1
    assert "wrong: no such" in capsys.readouterr().err


def test_texts_that_are_not_those_of_the_shards_are_refused(
    tmp_path: Path, artifact: Path, test_shards: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (test_shards / "test-00000-of-00001.jsonl").write_text('"bad"\n' * 19)
    assert evaluate(artifact, tmp_path, "--test", str(test_shards)) == 1
    assert "holds 20 reviews and 19 texts of them" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_nothing_is_left_when_a_table_is_bad(
    tmp_path: Path, artifact: Path, test_shards: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_folder(tmp_path / "rewritten", {"dev.tsv": b"Sentiment\tText\nMaybe\tcanary\n"})
    options = ["--test", str(test_shards), "--counterfactual", str(folder)]
    assert evaluate(artifact, tmp_path, *options) == 1
    error = capsys.readouterr().err
    assert "dev.tsv: row 1 (line 2) has no valid label" in error
    assert "canary" not in error
    assert not (tmp_path / "out").exists()


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
