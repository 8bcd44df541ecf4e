import numpy as np

from model.baseline import fit_baseline, judge_baseline
from model.shards import Reviews
from tests.model.factory import encoded, vocabulary


def test_it_learns_which_words_are_good() -> None:
    baseline = fit_baseline(encoded(200), len(vocabulary()))
    reviews = encoded(100, seed=2)
    right = (judge_baseline(baseline, reviews) >= 0.5) == (reviews.labels == 1)
    assert right.mean() > 0.95


def test_pairs_of_words_count() -> None:
    """With "not" before it, each word means the opposite: single words say nothing."""
    words = vocabulary()
    rows = [words.encode(row.split()) for row in ("not good", "not bad", "good not", "bad not")] * 9
    reviews = Reviews(
        np.concatenate(rows),
        np.arange(0, 2 * len(rows) + 1, 2),
        np.array([0, 1, 1, 0] * 9, dtype=np.int8),
    )
    judged = judge_baseline(fit_baseline(reviews, len(words)), reviews)
    assert ((judged >= 0.5) == (reviews.labels == 1)).all()


def test_it_is_the_same_twice() -> None:
    judged = [
        judge_baseline(fit_baseline(encoded(80), len(vocabulary())), encoded(9)) for _ in "ab"
    ]
    assert (judged[0] == judged[1]).all()


def test_an_empty_review_and_unknown_words_are_judged() -> None:
    baseline = fit_baseline(encoded(80), len(vocabulary()))
    unseen = Reviews(np.ones(3, np.int32), np.array([0, 0, 3]), np.array([1, 0], dtype=np.int8))
    assert np.isfinite(judge_baseline(baseline, unseen)).all()
