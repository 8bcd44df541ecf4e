"""What training reads: reviews, what is to be learned of each, and the slice held out."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.errors import DataError
from model.shards import Reviews
from model.tensors import Array

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Examples:
    """`targets` are probabilities of being positive: 0 or 1 of a label, between of a guess."""

    reviews: Reviews
    targets: NDArray[np.float32]  # (reviews)
    training: Indices  # what an epoch meets; a review that stands there twice is met twice
    validation: Indices


def split_validation(labels: Array, fraction: float, seed: int) -> tuple[Indices, Indices]:
    """Indices to train on and to judge on; the same share of each class is held out."""
    random = np.random.default_rng((seed, 0))
    held_out: list[Array] = []
    for label in (0, 1):
        of_class = np.flatnonzero(labels == label)
        if len(of_class) < 2:
            raise DataError(
                f"train shards hold {len(of_class)} reviews of class {label}; at least 2 are needed"
            )
        count = min(max(1, round(fraction * len(of_class))), len(of_class) - 1)
        held_out.append(random.permutation(of_class)[:count])
    validation = np.sort(np.concatenate(held_out))
    training = np.setdiff1d(np.flatnonzero(labels >= 0), validation)
    return training, validation
