import numpy as np
import pytest
import torch

from model import ngrams
from model.batches import pad
from model.errors import DataError
from model.ngrams import MAX_VOCABULARY, NgramBranch, NgramTable, build_table, fit_ngrams
from model.shards import Reviews, concatenate
from tests.model.factory import encoded, vocabulary

BASE = 10


def reviews(*rows: list[int]) -> Reviews:
    return concatenate(
        [
            Reviews(
                np.array(row, np.int32), np.array([0, len(row)]), np.array([number % 2], np.int8)
            )
            for number, row in enumerate(rows)
        ]
    )


def branch(table: NgramTable, weights: list[float], base: int = BASE) -> NgramBranch:
    made = NgramBranch(len(table.keys), base)
    made.set(table.keys, np.array(weights), 0.0)
    return made


def digits(table: NgramTable) -> list[int]:
    """With a base of 10, the key of an n-gram is its words' ids written side by side."""
    return table.keys.tolist()


def test_ngrams_of_two_reviews_are_known() -> None:
    table = build_table(reviews([2, 3, 4, 5], [9, 2, 3, 4], [7, 8]), BASE)
    assert digits(table) == [2, 3, 4, 23, 34, 234]


def test_an_ngram_holds_neither_an_infrequent_word_nor_another_reviews() -> None:
    table = build_table(reviews([2, 1, 3], [2, 1, 3], [4], [5], [4], [5]), BASE)
    assert digits(table) == [2, 3, 4, 5]


def test_a_repeated_ngram_counts_once() -> None:
    rows = reviews([2, 3, 2, 3, 2], [2, 3], [3])
    table = build_table(rows, BASE)
    assert digits(table) == [2, 3, 23]
    assert table.logits(np.array([1.0, 10.0, 100.0])).tolist() == [111.0, 111.0, 10.0]
    tokens, _ = pad([rows[number] for number in range(3)])
    assert branch(table, [1.0, 10.0, 100.0])(tokens).tolist() == pytest.approx([111, 111, 10])


def test_the_branch_reads_as_the_table_does() -> None:
    rows, size = encoded(60), len(vocabulary())
    table = build_table(rows, size)
    weights = np.random.default_rng(1).normal(size=len(table.keys))
    tokens, _ = pad([rows[number] for number in range(60)])
    found = branch(table, weights.tolist(), size)(tokens)
    np.testing.assert_allclose(found.detach().numpy(), table.logits(weights), atol=1e-5)


def test_the_gradient_is_the_transpose_of_the_logits() -> None:
    rows = encoded(60)
    table = build_table(rows, len(vocabulary()))
    random = np.random.default_rng(1)
    weights, residuals = random.normal(size=len(table.keys)), random.normal(size=60)
    assert table.logits(weights) @ residuals == pytest.approx(weights @ table.gradient(residuals))


def test_sums_do_not_depend_on_how_many_are_taken_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = [[2, 3, 4], [], [2, 3], [], [3, 4, 5, 2, 3, 4], [5], []]
    table = build_table(reviews(*rows), BASE)
    weights = np.random.default_rng(1).normal(size=len(table.keys))
    whole = table.logits(weights)
    for review in range(len(rows)):
        mine = table.ngram_of[slice(*table.review_starts[review : review + 2])]
        assert whole[review] == pytest.approx(weights[mine].sum())
    residuals = np.random.default_rng(2).normal(size=len(rows))
    gradient = table.gradient(residuals)
    monkeypatch.setattr("model.threads.os.cpu_count", lambda: 3)
    for few in (1, 2, 5):
        monkeypatch.setattr(ngrams, "_AT_A_TIME", few)
        assert table.logits(weights).tolist() == whole.tolist()
        assert table.gradient(residuals).tolist() == gradient.tolist()


def test_an_ngram_is_there_as_far_as_its_words_are() -> None:
    table = build_table(reviews([2, 3], [2, 3]), BASE)
    presence = torch.tensor([[1.0, 0.5]])
    logits = branch(table, [1.0, 10.0, 100.0])(torch.tensor([[2, 3]]), presence)
    assert logits.tolist() == pytest.approx([1 * 1.0 + 10 * 0.5 + 100 * 0.75])


def test_without_an_ngram_only_the_bias_speaks() -> None:
    empty = build_table(reviews([2], [3]), BASE)
    assert len(empty.keys) == 0
    assert branch(empty, [])(torch.tensor([[2, 3], [4, 0]])).tolist() == [0.0, 0.0]
    some = branch(build_table(reviews([2], [2]), BASE), [5.0])
    assert some(torch.tensor([[1], [0]])).tolist() == [0.0, 0.0]


def test_what_speaks_for_a_class_is_found() -> None:
    rows = encoded(200)
    table = build_table(rows, len(vocabulary()))
    targets = rows.labels.astype(float)
    weights, bias = fit_ngrams(table, targets, np.ones(200))
    assert ((table.logits(weights) + bias > 0) == (targets > 0.5)).mean() > 0.95
    ids = vocabulary().ids
    weight = dict(zip(table.keys.tolist(), weights, strict=True))
    assert weight[ids["great"]] > 0.1
    assert weight[ids["dull"]] < -0.1


def test_important_reviews_outweigh_others() -> None:
    rows = reviews(*([2, 3] for _ in range(4)))
    table = build_table(rows, BASE)
    targets, importance = np.array([0.0, 1.0, 0.0, 1.0]), np.array([1.0, 9.0, 1.0, 9.0])
    weights, bias = fit_ngrams(table, targets, importance)
    assert (table.logits(weights) + bias > 1).all()


def test_a_dictionary_too_large_for_the_keys_is_refused() -> None:
    with pytest.raises(DataError, match="n-grams take up to"):
        build_table(reviews([2], [3]), MAX_VOCABULARY + 1)
