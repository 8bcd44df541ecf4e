import numpy as np
import pytest

from model.batches import batch_of, crop, in_length_order, pad, shuffled
from model.shards import Reviews
from tests.model.factory import encoded


def test_a_long_review_keeps_its_first_third_and_its_end() -> None:
    tokens = np.arange(100, dtype=np.int32)
    assert crop(tokens, 9).tolist() == [0, 1, 2, 94, 95, 96, 97, 98, 99]
    assert crop(tokens, 1).tolist() == [99]
    assert crop(tokens, 100) is tokens


def test_padding_comes_last() -> None:
    tokens, lengths = pad([np.array([5, 6], np.int32), np.array([7], np.int32)])
    assert tokens.tolist() == [[5, 6], [7, 0]]
    assert lengths.tolist() == [2, 1]


def test_an_empty_review_is_read_as_one_unknown_word() -> None:
    tokens, lengths = pad([np.array([], np.int32)])
    assert tokens.tolist() == [[1]]
    assert lengths.tolist() == [1]


def test_a_batch_has_what_its_indices_say() -> None:
    reviews = encoded(6)
    tokens, lengths = batch_of(reviews, np.array([3, 0]), max_length=4)
    for row, length, index in zip(tokens, lengths, (3, 0), strict=True):
        assert row[:length].tolist() == crop(reviews[index], 4).tolist()


@pytest.mark.parametrize("batch_size", [1, 7, 60, 99])
def test_an_epoch_meets_every_review_once(batch_size: int) -> None:
    lengths, indices = encoded(60).lengths, np.arange(3, 60)
    batches = shuffled(lengths, indices, batch_size, (1, 2))
    assert sorted(np.concatenate(batches).tolist()) == indices.tolist()
    assert max(map(len, batches)) <= batch_size


def test_the_order_is_the_seeds() -> None:
    lengths, indices = encoded(60).lengths, np.arange(60)
    one, same, other = (shuffled(lengths, indices, 8, seed) for seed in ((1, 0), (1, 0), (1, 1)))
    assert np.concatenate(one).tolist() == np.concatenate(same).tolist()
    assert np.concatenate(one).tolist() != np.concatenate(other).tolist()


def test_reviews_of_a_batch_are_of_similar_length() -> None:
    lengths = np.random.default_rng(1).integers(1, 1000, 640)
    spread = [int(np.ptp(lengths[batch])) for batch in shuffled(lengths, np.arange(640), 32, (1,))]
    assert max(spread) < 150


def test_judging_goes_from_short_to_long() -> None:
    reviews = Reviews(np.zeros(6, np.int32), np.array([0, 3, 4, 6]), np.zeros(3, np.int8))
    batches = in_length_order(reviews.lengths, np.arange(3), 2)
    assert [batch.tolist() for batch in batches] == [[1, 2], [0]]
