import json
from pathlib import Path
from typing import Any

import pytest

from model import chunks
from model.chunks import Host
from model.errors import ArchiveError, DataError
from model.files import sha256_of
from model.labelled import find_table
from model.preprocessing import SPLITS, PreprocessOutputs, PreprocessSettings, preprocess
from model.shards import Reviews, read_shards
from model.vocabulary import Vocabulary
from tests.model.factory import archive_bytes, corpus, write_archive, write_folder


def outputs(folder: Path) -> PreprocessOutputs:
    names = (*SPLITS, "vocabulary", "report")
    return PreprocessOutputs(**{name: folder / name for name in names})


def run(
    source: Path,
    target: Path,
    counterfactual: Path | None = None,
    host: Host | None = None,
    **settings: Any,
) -> dict[str, Any]:
    processes = settings.pop("processes", 1)
    made = PreprocessSettings(**settings)
    return preprocess(source, outputs(target), made, processes, counterfactual, host)


def read(folder: Path, split: str) -> Reviews:
    vocabulary = Vocabulary.load(folder / "vocabulary/vocabulary.json")
    return read_shards(folder / split, vocabulary.sha256, len(vocabulary))


def write_table(folder: Path, rows: str) -> Path:
    return write_folder(folder, {"rewritten.tsv": f"Sentiment\tText\n{rows}".encode()})


def content(folder: Path) -> dict[str, str]:
    """Digest of every file but the report, which holds seconds."""
    return {
        path.relative_to(folder).as_posix(): sha256_of(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "data_report.json"
    }


def test_every_split_is_encoded_whole(tmp_path: Path) -> None:
    files = corpus(4, unlabelled=3)
    run(write_archive(tmp_path / "in", files), tmp_path / "out")
    vocabulary = Vocabulary.load(tmp_path / "out/vocabulary/vocabulary.json")
    test = read_shards(tmp_path / "out/test", vocabulary.sha256, len(vocabulary))
    texts = [data.decode() for name, data in files.items() if "/test/" in name]
    assert [test[index].tolist() for index in range(len(test))] == [
        vocabulary.encode(text.split()).tolist() for text in texts
    ]
    assert test.labels.tolist() == [1] * 4 + [0] * 4
    unlabelled = read_shards(tmp_path / "out/unlabelled", vocabulary.sha256, len(vocabulary))
    assert unlabelled.labels.tolist() == [-1] * 3


def test_the_report_counts_what_there_is(tmp_path: Path) -> None:
    source = write_archive(tmp_path / "in", corpus(4, unlabelled=3))
    run(source, tmp_path / "out")
    report = json.loads((tmp_path / "out/report/data_report.json").read_text())
    assert report["input"] == {
        "name": "data.tar.gz",
        "sha256": sha256_of(source / "data.tar.gz"),
    }
    assert report["splits"]["train"]["classes"] == {"pos": 4, "neg": 4}
    assert report["splits"]["train"]["length"]["mean"] == 10.0
    assert report["splits"]["unlabelled"]["reviews"] == 3
    assert 0 <= report["splits"]["test"]["out_of_vocabulary_rate"] < 0.5


def test_test_and_unlabelled_text_never_enter_the_dictionary(tmp_path: Path) -> None:
    files = corpus(4, unlabelled=4)
    changed = {
        name: data if "/train/pos" in name or "/train/neg" in name else b"zebra zebra zebra quagga"
        for name, data in files.items()
    }
    for name, variant in (("a", files), ("b", changed)):
        run(write_archive(tmp_path / name, variant), tmp_path / f"out-{name}")
    one, other = (tmp_path / f"out-{name}/vocabulary/vocabulary.json" for name in "ab")
    assert one.read_bytes() == other.read_bytes()
    assert b"zebra" not in other.read_bytes()


def test_rewritten_reviews_are_a_split_of_their_own_and_train_the_dictionary(
    tmp_path: Path,
) -> None:
    source = write_archive(tmp_path / "in", corpus(3))
    table = write_table(tmp_path / "rewritten", 'Negative\tquagga good\npos\t"bad\tquagga"\n')
    report = run(source, tmp_path / "out", table)
    rewritten = read(tmp_path / "out", "counterfactual")
    assert rewritten.labels.tolist() == [0, 1]
    assert rewritten.lengths.tolist() == [2, 2]
    words = Vocabulary.load(tmp_path / "out/vocabulary/vocabulary.json")
    assert rewritten[0].tolist() == words.encode(["quagga", "good"]).tolist()
    assert "quagga" in words.ids
    assert report["splits"]["counterfactual"]["classes"] == {"pos": 1, "neg": 1}
    assert report["counterfactual"] == {"sha256": sha256_of(table / "rewritten.tsv")}


@pytest.mark.parametrize("folder", [None, "empty", "marked"])
def test_without_rewritten_and_unlabelled_reviews_their_shards_are_there_and_empty(
    tmp_path: Path, folder: str | None
) -> None:
    write_folder(tmp_path, {"marked/none": b"no table"})
    (tmp_path / "empty").mkdir()
    source = write_archive(tmp_path / "in", corpus(3))
    report = run(source, tmp_path / "out", tmp_path / folder if folder else None)
    assert len(read(tmp_path / "out", "counterfactual")) == 0
    assert len(read(tmp_path / "out", "unlabelled")) == 0
    assert report["counterfactual"] == {"sha256": "none"}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("Positive\tgood\nMaybe\tcanary\n", r"rewritten\.tsv: row 2 \(line 3\) has no valid label"),
        ('Positive\t"two\nlines"\nPositive\n', r"row 2 \(line 4\) has too few columns"),
        ("", "holds no rows below its header"),
        ("Positive\t" + "x" * (1 << 21), r"is no valid table after line 1: field larger"),
    ],
)
def test_a_bad_table_is_refused_with_its_line(tmp_path: Path, rows: str, message: str) -> None:
    source = write_archive(tmp_path / "in", corpus(3))
    with pytest.raises(DataError, match=message) as caught:
        run(source, tmp_path / "out", write_table(tmp_path / "table", rows))
    assert "canary" not in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (
            {"a.tsv": b"", "b.csv": b""},
            r"one \.csv or \.tsv file is wanted, it holds a\.tsv, b\.csv",
        ),
        ({"a.tsv": b"", "notes.txt": b""}, r"one \.csv or \.tsv file is wanted"),
        ({"a.xlsx": b""}, r"a\.xlsx is not called \.csv or \.tsv"),
    ],
)
def test_a_folder_without_one_table_is_refused(
    tmp_path: Path, files: dict[str, bytes], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        find_table(write_folder(tmp_path, files))


def test_a_table_is_found_where_it_is_named_and_a_wrong_name_is_told(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "given", {"a.tsv": b""})
    assert find_table(folder) == find_table(folder / "a.tsv") == folder / "a.tsv"
    assert find_table(write_folder(tmp_path / "none", {"none": b""})) is None
    with pytest.raises(DataError, match="gvien: no such table or folder"):
        find_table(tmp_path / "gvien")


@pytest.mark.parametrize("processes", [1, 2])
def test_two_runs_give_the_same_bytes(
    tmp_path: Path, processes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_archive(tmp_path / "in", corpus(6, unlabelled=5))
    run(source, tmp_path / "one")
    monkeypatch.setattr(chunks, "CHUNK_REVIEWS", 4)
    run(source, tmp_path / "two", processes=processes)
    assert content(tmp_path / "one") == content(tmp_path / "two")


def test_many_reviews_are_spread_over_shards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunks, "CHUNK_REVIEWS", 4)
    monkeypatch.setattr("model.preprocessing.CHUNKS_PER_SHARD", 2)
    run(write_archive(tmp_path / "in", corpus(12)), tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out/train").iterdir()) == [
        f"train-0000{number}-of-00003.safetensors" for number in range(3)
    ]


@pytest.mark.parametrize(("hosts", "processes"), [(2, 1), (3, 2)])
def test_hosts_write_together_what_one_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hosts: int, processes: int
) -> None:
    monkeypatch.setattr(chunks, "CHUNK_REVIEWS", 4)
    for module in ("model.chunks", "model.preprocessing"):
        monkeypatch.setattr(f"{module}.CHUNKS_PER_SHARD", 2)
    source = write_archive(tmp_path / "in", corpus(16, unlabelled=19))
    table = write_table(tmp_path / "table", "Negative\tquagga quagga\n")
    whole = run(source, tmp_path / "one", table)
    for number in range(hosts):
        part = run(source, tmp_path / "all", table, Host(number, hosts), processes=processes)
        run(source, tmp_path / f"only-{number}", table, Host(number, hosts))
        assert part["vocabulary"] == whole["vocabulary"]
    assert content(tmp_path / "all") == content(tmp_path / "one")
    shares = [set(content(tmp_path / f"only-{number}")) for number in range(hosts)]
    assert not set.intersection(*shares)
    assert all(shares)


def test_the_first_host_says_how_many_reviews_its_figures_are_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunks, "CHUNK_REVIEWS", 4)
    for module in ("model.chunks", "model.preprocessing"):
        monkeypatch.setattr(f"{module}.CHUNKS_PER_SHARD", 1)
    report = run(write_archive(tmp_path / "in", corpus(6)), tmp_path / "out", host=Host(0, 2))
    assert report["hosts"] == 2
    assert report["splits"]["test"]["reviews"] == 12
    assert report["splits"]["test"]["measured"] == 8


def test_test_reviews_are_kept_as_they_were_written(tmp_path: Path) -> None:
    files = corpus(4) | {"top/test/pos/99_9.txt": "A <b>line</b>\nand \u2028 more".encode()}
    run(write_archive(tmp_path / "in", files), tmp_path / "out")
    lines = (tmp_path / "out/test/test-00000-of-00001.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [
        data.decode() for name, data in files.items() if "/test/" in name
    ]
    assert not list((tmp_path / "out/train").glob("*.jsonl"))


def test_fewer_reviews_can_be_asked_for(tmp_path: Path) -> None:
    source = write_archive(tmp_path / "in", corpus(9, unlabelled=9))
    report = run(source, tmp_path / "out", max_reviews=6)
    assert {name: split["reviews"] for name, split in report["splits"].items()} == {
        "train": 6,
        "test": 6,
        "unlabelled": 6,
        "counterfactual": 0,
    }


def test_the_expected_digest_lets_the_right_archive_through(tmp_path: Path) -> None:
    source = write_archive(tmp_path / "in", corpus(3))
    run(source, tmp_path / "out", expected_sha256=sha256_of(source / "data.tar.gz").upper())
    with pytest.raises(DataError, match=r"SHA-256 is .*, expected 1234"):
        run(source, tmp_path / "other", expected_sha256="1234")
    folder = write_folder(tmp_path / "folder", corpus(3))
    with pytest.raises(DataError, match="not defined for a folder"):
        run(folder, tmp_path / "other", expected_sha256="1234")
    assert not (tmp_path / "other").exists()


def without(part: str) -> dict[str, bytes]:
    return {name: data for name, data in corpus(3).items() if part not in name}


BAD: dict[str, tuple[bytes, str]] = {
    "no reviews": (archive_bytes({"top/README": b"x"}), "holds no reviews; expected train/pos"),
    "one class": (archive_bytes(without("/neg/")), r"no reviews in train/neg; both classes"),
    "no test": (archive_bytes(without("/test/")), r"no reviews in test/pos"),
    "truncated": (archive_bytes(corpus(3))[:-40], "truncated or corrupt"),
    "not an archive": (b"hello", "is not a .tar"),
    "another encoding": (
        archive_bytes(corpus(3) | {"top/train/pos/99_9.txt": "déjà vu".encode("latin-1")}),
        r"top/train/pos/99_9\.txt: is not UTF-8 text \(byte 1\)",
    ),
    "hostile": (archive_bytes(corpus(3) | {"../evil.txt": b"x"}), "leads outside"),
}


@pytest.mark.parametrize(
    ("case", "processes"), [*((case, 1) for case in BAD), ("another encoding", 2)]
)
def test_bad_data_writes_nothing(tmp_path: Path, case: str, processes: int) -> None:
    data, message = BAD[case]
    source = write_folder(tmp_path / "in", {"data.tar.gz": data})
    with pytest.raises((DataError, ArchiveError), match=message):
        run(source, tmp_path / "out", processes=processes)
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "evil.txt").exists()


def test_a_full_disk_leaves_nothing_half_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("model.preprocessing.write_json", full)
    with pytest.raises(OSError, match="No space left"):
        run(write_archive(tmp_path / "in", corpus(3)), tmp_path / "out")
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file()]


@pytest.mark.parametrize("limit", [-1, 1, 3])
def test_an_impossible_limit_is_refused(limit: int) -> None:
    with pytest.raises(DataError, match="max reviews"):
        PreprocessSettings(max_reviews=limit)
