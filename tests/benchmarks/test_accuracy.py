"""What the benchmark of the recipe does with runs that are there already."""

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import accuracy

MET = {
    "accuracy": 0.93,
    "lstm_accuracy": 0.92,
    "calibration_error": 0.01,
    "rewritten_accuracy": 0.9,
    "minutes": 13.0,
    "preprocessed_per_second": 15_000.0,
    "tokens_per_second": 100_000.0,
}


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """An archive and a folder of rewrites; nothing is written outside of the test's folder."""
    (tmp_path / "archive.tar.gz").write_bytes(b"1")
    (tmp_path / "rewritten").mkdir()
    for name in accuracy.TABLES:
        (tmp_path / "rewritten" / name).write_text("Text\tSentiment\n")
    for part in ("model", "steps"):
        (tmp_path / part).mkdir()
        (tmp_path / part / "code.py").write_text("")
    monkeypatch.setattr(accuracy, "ROOT", tmp_path)
    monkeypatch.setattr(accuracy, "peak_flops", lambda: {"float32": 1e12})
    return [str(tmp_path / "archive.tar.gz"), "--rewritten", str(tmp_path / "rewritten")]


@pytest.fixture
def recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What was recorded, one after the other."""
    found: list[dict[str, Any]] = []

    def record(name: str, figures: dict[str, Any]) -> None:
        found.append(figures)
        (tmp_path / f"{name}.json").write_text(json.dumps({"figures": figures}))

    monkeypatch.setattr(accuracy, "RESULTS", tmp_path)
    monkeypatch.setattr(accuracy, "record", record)
    monkeypatch.setattr(accuracy.tables, "write", lambda: None)
    return found


def keep(data: list[str], runs: dict[tuple[str, int], dict[str, float]]) -> None:
    folder = accuracy.work_folder(Path(data[0]), Path(data[2]))
    for (kind, seed), figures in runs.items():
        made = folder / f"{kind.replace(' ', '-')}-{seed}"
        made.mkdir(parents=True)
        (made / "figures.json").write_text(json.dumps(figures))


def test_a_whole_is_recorded_and_every_target_has_its_line(
    data: list[str], recorded: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    kinds = (accuracy.PLAIN, accuracy.PAIRS)
    keep(data, {(kind, seed): MET for kind in kinds for seed in accuracy.SEEDS})
    accuracy.main(data)
    lines = capsys.readouterr().out.splitlines()
    for target, line in zip(accuracy.TARGETS, lines, strict=False):
        assert line.startswith(target.kind) and target.name in line and line.endswith(" met"), line
    assert [[*figures["runs"]] for figures in recorded] == [[*kinds]]


def test_a_kind_that_is_run_anew_leaves_the_other_as_it_was_recorded(
    data: list[str], recorded: list[dict[str, Any]]
) -> None:
    kinds = (accuracy.PLAIN, accuracy.PAIRS)
    keep(data, {(kind, seed): MET for kind in kinds for seed in accuracy.SEEDS})
    accuracy.main(data)
    (accuracy.ROOT / "model" / "code.py").write_text("pass")
    better = MET | {"accuracy": 0.94}
    keep(data, {(accuracy.PAIRS, seed): better for seed in accuracy.SEEDS})
    accuracy.main([*data, "--only", accuracy.PAIRS])
    means = recorded[-1]["means"]
    assert [means[kind]["accuracy"] for kind in kinds] == [0.93, 0.94]


def test_a_part_is_printed_and_not_recorded(
    data: list[str], recorded: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    keep(data, {(accuracy.PLAIN, 1): MET | {"minutes": 16.0}})
    accuracy.main([*data, "--seeds", "1", "--only", accuracy.PLAIN])
    said = capsys.readouterr().out
    assert "not met" in said and "not measured" in said and "a part of the seeds" in said
    assert not recorded


def test_runs_of_other_data_or_code_are_not_taken_for_these(data: list[str]) -> None:
    archive, rewritten = Path(data[0]), Path(data[2])
    folders = {accuracy.work_folder(archive, rewritten), accuracy.work_folder(archive, None)}
    (rewritten / "dev.tsv").write_text("Text\tSentiment\nA film.\tPositive\n")
    folders.add(accuracy.work_folder(archive, rewritten))
    archive.write_bytes(b"2")
    folders.add(accuracy.work_folder(archive, rewritten))
    (accuracy.ROOT / "model" / "code.py").write_text("pass")
    folders.add(accuracy.work_folder(archive, rewritten))
    assert len(folders) == 5


@pytest.mark.parametrize("gone", ["archive", "train.tsv", "dev.tsv"])
def test_what_is_not_there_is_not_taken_for_nothing(
    data: list[str], capsys: pytest.CaptureFixture[str], gone: str
) -> None:
    (Path(data[0]) if gone == "archive" else Path(data[2]) / gone).unlink()
    with pytest.raises(SystemExit):
        accuracy.main(data)
    assert "no file at" in capsys.readouterr().err


def test_a_kind_that_needs_rewrites_is_not_run_without(
    data: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        accuracy.main([data[0], "--only", accuracy.PAIRS])
    assert "need --rewritten" in capsys.readouterr().err
