"""Encoded reviews in padded batches of similar length."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.shards import Reviews
from model.vocabulary import INFREQUENT_WORD, NO_WORD

_POOL_BATCHES = 32

Tokens = NDArray[np.int32]


def crop(tokens: Tokens, max_length: int) -> Tokens:
    """At most `max_length` tokens: the first third and the last two, where verdicts stand."""
    if len(tokens) <= max_length:
        return tokens
    head = max_length // 3
    return np.concatenate([tokens[:head], tokens[len(tokens) - (max_length - head) :]])


def pad(reviews: Sequence[Tokens]) -> tuple[Tensor, Tensor]:
    """`tokens` (B, T) and `lengths` (B); an empty review is read as one unknown word."""
    lengths = np.array([max(1, len(review)) for review in reviews])
    tokens = np.full((len(reviews), lengths.max()), NO_WORD, dtype=np.int64)
    for row, review in zip(tokens, reviews, strict=True):
        row[: len(review)] = review
        if not len(review):
            row[0] = INFREQUENT_WORD
    return torch.from_numpy(tokens), torch.from_numpy(lengths)


def batch_of(
    reviews: Reviews, indices: NDArray[np.int64], max_length: int | None = None
) -> tuple[Tensor, Tensor]:
    """`tokens` (B, T) and `lengths` (B) of those reviews; `max_length` words of each at most."""
    chosen = [reviews[index] for index in indices]
    return pad([crop(one, max_length) for one in chosen] if max_length else chosen)


def shuffled(
    lengths: NDArray[np.int64], indices: NDArray[np.int64], batch_size: int, seed: tuple[int, ...]
) -> list[NDArray[np.int64]]:
    """Indices of each batch of an epoch, in an order that `seed` decides.

    Reviews are sorted by length within pools of some batches, so that little is padding and
    hardly anything is lost of the shuffle.
    """
    random = np.random.default_rng(seed)
    order = random.permutation(indices)
    batches: list[NDArray[np.int64]] = []
    for start in range(0, len(order), batch_size * _POOL_BATCHES):
        pool = order[start : start + batch_size * _POOL_BATCHES]
        pool = pool[np.argsort(lengths[pool], kind="stable")]
        batches += [pool[at : at + batch_size] for at in range(0, len(pool), batch_size)]
    return [batches[number] for number in random.permutation(len(batches))]


def in_length_order(
    lengths: NDArray[np.int64], indices: NDArray[np.int64], batch_size: int
) -> list[NDArray[np.int64]]:
    """Indices of each batch for judging."""
    order = indices[np.argsort(lengths[indices], kind="stable")]
    return [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
