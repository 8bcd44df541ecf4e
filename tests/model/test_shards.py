from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from model.errors import DataError
from model.shards import Reviews, concatenate, read_shards, shard_name, write_shard
from tests.model.factory import encoded

SIZE = 100


def shards(folder: Path, reviews: Reviews, count: int = 2) -> None:
    for number in range(count):
        write_shard(folder / shard_name("train", number, count), reviews, "digest")


def test_shards_are_read_back_in_order(tmp_path: Path) -> None:
    reviews = encoded(7)
    shards(tmp_path, reviews)
    again = read_shards(tmp_path, "digest", SIZE)
    assert len(again) == 14
    assert again[8].tolist() == reviews[1].tolist()
    assert again.labels.tolist() == 2 * reviews.labels.tolist()
    assert again.lengths.tolist() == 2 * reviews.lengths.tolist()


def test_nothing_put_together_is_nothing() -> None:
    assert len(concatenate([])) == 0


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    shards(tmp_path, encoded(3))
    (tmp_path / shard_name("train", 1, 2)).unlink()
    with pytest.raises(DataError, match=r"missing: .*train-00001-of-00002"):
        read_shards(tmp_path, "digest", SIZE)


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no shards such as"):
        read_shards(tmp_path, "digest", SIZE)


def test_another_dictionary_is_refused(tmp_path: Path) -> None:
    shards(tmp_path, encoded(3))
    with pytest.raises(DataError, match="encoded with another dictionary"):
        read_shards(tmp_path, "other", SIZE)


def test_a_damaged_shard_is_named(tmp_path: Path) -> None:
    shards(tmp_path, encoded(3))
    path = tmp_path / shard_name("train", 0, 2)
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(DataError, match="train-00000-of-00002"):
        read_shards(tmp_path, "digest", SIZE)


@pytest.mark.parametrize(
    "change",
    [
        {"tokens": np.array([SIZE], np.int32), "offsets": np.array([0, 1], np.int64)},
        {"offsets": np.array([0, 9_999], np.int64)},
        {"offsets": np.array([0, 1, 0, 2], np.int64)},
        {"labels": np.zeros(1, np.int64)},
    ],
)
def test_numbers_that_no_encoding_gives_are_refused(
    tmp_path: Path, change: dict[str, np.ndarray]
) -> None:
    reviews = Reviews(np.array([2], np.int32), np.array([0, 1], np.int64), np.zeros(1, np.int8))
    shards(tmp_path, replace(reviews, **change))
    with pytest.raises(DataError, match="no encoding gives"):
        read_shards(tmp_path, "digest", SIZE)
