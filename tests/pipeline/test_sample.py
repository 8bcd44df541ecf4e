from __future__ import annotations

import gzip
import hashlib
import io
import re
import tarfile

import pytest

from pipeline.parameters import declare, parse_assignments
from pipeline.sample import PARAMETERS, Size, sample_archive, sample_files
from pipeline.settings import Account

SMALL = Size(train_per_class=60, test_per_class=20, unlabelled=10)


def test_one_seed_gives_the_same_bytes() -> None:
    assert sample_archive(SMALL, 1) == sample_archive(SMALL, 1)


def test_another_seed_gives_other_reviews() -> None:
    assert sample_archive(SMALL, 1) != sample_archive(SMALL, 2)


def test_the_content_is_the_same_on_every_machine() -> None:
    # Of the archive before compression: zlib may differ from machine to machine.
    digest = hashlib.sha256(gzip.decompress(sample_archive(SMALL, 1))).hexdigest()
    assert digest == "df0d6a688fc11907df21b3367a10a30a258b637a717d58b3f97a74a3a531b94e"


def test_it_is_laid_out_like_the_imdb_archive() -> None:
    with tarfile.open(fileobj=io.BytesIO(sample_archive(SMALL, 1))) as tar:
        folders = [name.rpartition("/")[0] for name in tar.getnames()]
    assert {folder: folders.count(folder) for folder in set(folders)} == {
        "sample": 1,
        "sample/train/pos": 60,
        "sample/train/neg": 60,
        "sample/test/pos": 20,
        "sample/test/neg": 20,
        "sample/train/unsup": 10,
    }


def test_ratings_in_the_names_fit_the_classes() -> None:
    for name, _ in sample_files(SMALL, 1):
        if match := re.search(r"/(pos|neg)/\d+_(\d+)\.txt", name):
            assert (int(match[2]) > 5) == (match[1] == "pos")


def test_no_review_of_the_test_split_is_in_the_training_split() -> None:
    texts = [text for _, text in sample_files(Size(), 1)]
    assert len(set(texts)) == len(texts)


@pytest.mark.parametrize(
    "mark", ["<br />", "&quot;", "&amp;", " not ", ", but ", "lthough ", " and the "]
)
def test_it_holds_what_makes_reviews_hard(mark: str) -> None:
    assert any(mark in text for _, text in sample_files(SMALL, 1))


def test_words_alone_do_not_tell_the_classes_apart() -> None:
    """The best single word is right about far fewer reviews than a reader would be."""
    texts = {0: [], 1: []}  # type: dict[int, list[set[str]]]
    for name, text in sample_files(Size(), 1):
        if "/pos/" in name or "/neg/" in name:
            texts["/pos/" in name].append(set(re.findall(r"[a-z']+", text.lower())))
    total = len(texts[0]) + len(texts[1])
    words = set.union(*texts[0], *texts[1])
    gains = (
        abs(sum(w in t for t in texts[1]) - sum(w in t for t in texts[0])) / total for w in words
    )
    assert max(gains) < 0.1


def test_the_recipe_for_the_sample_names_real_parameters(account: Account) -> None:
    assignments = [f"{name}={value}" for name, value in PARAMETERS.items()]
    assert parse_assignments(assignments, declare(account, "image")) == PARAMETERS
