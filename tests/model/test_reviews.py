from pathlib import Path

import pytest

from model.errors import DataError
from model.reviews import Source, find_source, limited
from tests.model.factory import corpus, write_archive, write_folder


def test_archive_and_folder_give_the_same_reviews(tmp_path: Path) -> None:
    files = corpus(3, unlabelled=2)
    archive = find_source(write_archive(tmp_path / "a", files))
    folder = find_source(write_folder(tmp_path / "f", files))
    assert archive.is_archive
    assert not folder.is_archive
    assert sorted(archive.reviews()) == sorted(folder.reviews())
    assert len(list(folder.reviews())) == 14


def test_a_folder_may_be_without_a_top(tmp_path: Path) -> None:
    files = {name.removeprefix("top/"): data for name, data in corpus(2).items()}
    reviews = list(find_source(write_folder(tmp_path, files)).reviews())
    assert {(review.split, review.label) for review in reviews} == {
        (split, label) for split in ("train", "test") for label in (0, 1)
    }


def test_what_lies_outside_the_layout_is_no_review(tmp_path: Path) -> None:
    files = {"top/other/pos/1.txt": b"x", "top/train/pos/notes.md": b"x", "pos/1.txt": b"x"}
    assert list(find_source(write_archive(tmp_path, files)).reviews()) == []


def test_two_archives_are_one_too_many(tmp_path: Path) -> None:
    write_archive(tmp_path, corpus(1), "a.tar.gz")
    write_archive(tmp_path, corpus(1), "b.tgz")
    with pytest.raises(DataError, match=r"more than one archive \(a\.tar\.gz, b\.tgz\)"):
        find_source(tmp_path)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere: no such folder"):
        find_source(tmp_path / "nowhere")


def test_links_in_a_folder_are_refused(tmp_path: Path) -> None:
    write_folder(tmp_path, corpus(1))
    (tmp_path / "top/train/pos/2_9.txt").symlink_to("/etc/passwd")
    with pytest.raises(DataError, match=r"2_9\.txt: is not a regular file"):
        list(find_source(tmp_path).reviews())


def test_an_oversized_review_in_a_folder_is_refused(tmp_path: Path) -> None:
    write_folder(tmp_path, {"train/pos/1_9.txt": bytes(2 << 20)})
    with pytest.raises(DataError, match="a review may have"):
        list(find_source(tmp_path).reviews())


def test_a_limit_is_shared_evenly_by_the_classes(tmp_path: Path) -> None:
    source = Source(write_archive(tmp_path, corpus(9, unlabelled=9)) / "data.tar.gz", True)
    some = list(limited(source.reviews(), 5))
    counts = {
        (split, label): sum((review.split, review.label) == (split, label) for review in some)
        for split, label in (("train", 1), ("train", 0), ("test", 1), ("unlabelled", -1))
    }
    assert counts == {("train", 1): 3, ("train", 0): 2, ("test", 1): 3, ("unlabelled", -1): 5}
    assert some == list(limited(source.reviews(), 5))
