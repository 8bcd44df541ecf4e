import json
from pathlib import Path

import pytest

from steps.preprocess import main, parse
from tests.model.factory import archive_bytes, corpus, write_archive, write_folder

FOLDERS = ("train", "test", "unlabelled", "counterfactual", "vocabulary", "report")


def arguments(source: Path, target: Path, *more: str) -> list[str]:
    folders = [part for name in FOLDERS for part in (f"--{name}", str(target / name))]
    return ["--input", str(source), *folders, "--vocabulary-size", "9", *more]


def test_reviews_become_shards_dictionary_and_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write_archive(tmp_path / "in", corpus(4, unlabelled=2))
    assert main(arguments(source, tmp_path / "out")) == 0
    files = sorted(path.name for path in (tmp_path / "out").rglob("*.*"))
    assert files == [
        "counterfactual-00000-of-00001.safetensors",
        "data_report.json",
        "test-00000-of-00001.jsonl",
        "test-00000-of-00001.safetensors",
        "train-00000-of-00001.safetensors",
        "unlabelled-00000-of-00001.safetensors",
        "vocabulary.json",
    ]
    vocabulary = json.loads((tmp_path / "out/vocabulary/vocabulary.json").read_text())
    assert len(vocabulary["words"]) == 9
    assert vocabulary["text"] == {"preset": "modern"}
    assert "reviews: train 8, test 8, unlabelled 2, counterfactual 0;" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("data", "more", "line"),
    [
        (archive_bytes(corpus(3))[:-30], (), "data.tar.gz: the archive is truncated or corrupt"),
        (archive_bytes({"README": b"x"}), (), "data.tar.gz: holds no reviews; expected train/pos"),
        (archive_bytes(corpus(3)), ("--expected-sha256", "ab"), "data.tar.gz: SHA-256 is"),
        (archive_bytes(corpus(3)), ("--text-preset", "fancy"), "unknown text preset 'fancy'"),
        (archive_bytes(corpus(3)), ("--vocabulary-size", "0"), "vocabulary size is 0; it must"),
        (archive_bytes(corpus(3)), ("--max-reviews", "-3"), "max reviews is -3; it must be 0"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    data: bytes,
    more: tuple[str, ...],
    line: str,
) -> None:
    source = write_folder(tmp_path / "in", {"data.tar.gz": data})
    assert main(arguments(source, tmp_path / "out", *more)) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith(f"error: {line}")
    assert not (tmp_path / "out").exists()


def test_a_missing_input_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments(tmp_path / "none", tmp_path / "out")) == 1
    assert "none: no such folder" in capsys.readouterr().err


def test_hosts_share_the_work_as_the_resource_config_says(tmp_path: Path) -> None:
    source = write_archive(tmp_path / "in", corpus(4))
    config = tmp_path / "resourceconfig.json"
    for host in ("algo-2", "algo-1"):
        config.write_text(json.dumps({"current_host": host, "hosts": ["algo-1", "algo-2"]}))
        assert main(arguments(source, tmp_path / host, "--resource-config", str(config))) == 0
    assert (tmp_path / "algo-1/vocabulary/vocabulary.json").is_file()
    assert not list((tmp_path / "algo-2").rglob("*.*"))


@pytest.mark.parametrize("config", ["{}", '{"current_host": "algo-3", "hosts": ["algo-1"]}', "[]"])
def test_a_resource_config_of_another_form_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], config: str
) -> None:
    path = tmp_path / "resourceconfig.json"
    path.write_text(config)
    source = write_archive(tmp_path / "in", corpus(3))
    assert main(arguments(source, tmp_path / "out", "--resource-config", str(path))) == 1
    assert "resourceconfig.json: must be of the form" in capsys.readouterr().err


def test_wrong_usage_exits_2() -> None:
    with pytest.raises(SystemExit, match="2"):
        parse(["--vocabulary-size", "many"])


def test_any_archive_will_do_where_none_is_expected(tmp_path: Path) -> None:
    source = write_archive(tmp_path / "in", corpus(4))
    assert main(arguments(source, tmp_path / "out", "--expected-sha256", "any")) == 0
    assert parse([]).expected_sha256 == "any"


def test_a_folder_is_recorded_as_one_since_it_has_no_digest(tmp_path: Path) -> None:
    source = write_folder(tmp_path / "in", corpus(4))
    assert main(arguments(source, tmp_path / "out")) == 0
    report = json.loads((tmp_path / "out/report/data_report.json").read_text())
    assert report["input"]["sha256"] == "folder"
