import numpy as np

from model.counterfactual import find_originals
from model.shards import Reviews, concatenate


def review(label: int, *tokens: int) -> Reviews:
    return Reviews(
        np.array(tokens, np.int32), np.array([0, len(tokens)]), np.array([label], np.int8)
    )


LABELLED = concatenate(
    [review(1, 2, 3, 4, 5, 6), review(0, 7, 8, 9, 10), review(0, 2, 3, 4, 5, 7), review(1, 11)]
)


def test_the_original_shares_most_and_has_the_other_label() -> None:
    rewrites = concatenate([review(0, 2, 3, 4, 5, 12), review(1, 7, 8, 9, 12)])
    assert find_originals(rewrites, LABELLED, 20).tolist() == [0, 1]


def test_two_rewrites_of_one_review_are_not_taken_for_each_others_originals() -> None:
    rewrites = concatenate([review(0, 2, 3, 4, 5, 6), review(1, 2, 3, 4, 5, 6)])
    assert find_originals(rewrites, LABELLED, 20).tolist() == [0, 2]


def test_a_review_like_no_other_has_no_original() -> None:
    assert find_originals(review(0, 15, 16, 17), LABELLED, 20).tolist() == [-1]


def test_a_word_in_common_makes_no_original() -> None:
    labelled = concatenate([LABELLED, review(0, 15, 16, 17, 18, 19)])
    assert find_originals(review(0, 2, 15, 16, 17, 18, 19), labelled, 20).tolist() == [-1]


def test_without_rewrites_there_is_nothing_to_find() -> None:
    assert len(find_originals(concatenate([]), LABELLED, 20)) == 0
