"""Rewritten reviews: people changed as little as turns the label (Kaushik et al., ICLR 2020).

A rewrite shares most n-grams with its original, which stands among the labelled reviews and has
the other label. The two together show which words decide.
"""

import numpy as np
from numpy.typing import NDArray

from model.ngrams import NgramTable, build_table
from model.shards import Reviews, concatenate

_RARE = 50  # reviews with an n-gram, up to which it tells whose rewrite this is
# of its rare n-grams that any other review has; rewrites share 0.88 with the original (median),
# and 0.04 with the next; of 1,707 published ones four share less than 0.3
_SHARED = 0.2

Indices = NDArray[np.int64]


def find_originals(rewrites: Reviews, labelled: Reviews, vocabulary_size: int) -> Indices:
    """For each rewrite the labelled review of the other label that shares most rare n-grams.

    -1 where none shares enough of them to be it.
    """
    if not len(rewrites):
        return np.empty(0, np.int64)
    table = build_table(concatenate([labelled, rewrites]), vocabulary_size)
    sizes = np.diff(table.ngram_starts)
    found = [
        _most_alike(table, sizes, number, labelled.labels != label, len(labelled))
        for number, label in enumerate(rewrites.labels, len(labelled))
    ]
    return np.array(found, dtype=np.int64)


def _most_alike(
    table: NgramTable, sizes: Indices, number: int, eligible: NDArray[np.bool_], count: int
) -> int:
    ngrams = table.ngram_of[table.review_starts[number] : table.review_starts[number + 1]]
    rare = ngrams[sizes[ngrams] <= _RARE]
    if not len(rare):
        return -1
    starts, lengths = table.ngram_starts[rare], sizes[rare]
    ends = np.cumsum(lengths)
    places = np.repeat(starts - (ends - lengths), lengths) + np.arange(ends[-1])
    holders = table.review_of[places]
    weights = np.repeat(1 / lengths, lengths)
    best = int((np.bincount(holders, weights, minlength=count)[:count] * eligible).argmax())
    shared = np.count_nonzero(holders == best)
    return best if eligible[best] and shared >= _SHARED * len(rare) else -1
