"""What training reads: reviews, what is to be learned of each, and the slice held out."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from model.errors import DataError
from model.shards import Reviews
from model.tensors import Array

Indices = NDArray[np.int64]
_STRETCH = 100  # reviews; IMDB has up to 30 of one film in a row


@dataclass(frozen=True)
class Examples:
    """`targets` are probabilities of being positive: 0 or 1 of a label, between of a guess.

    `rewrites` are reviews held out that people rewrote; their originals are in the slice.
    `held_out` is both, as often as an epoch would meet them.
    """

    reviews: Reviews
    targets: NDArray[np.float32]  # (reviews)
    training: Indices  # what an epoch meets; a review that stands there twice is met twice
    validation: Indices
    rewrites: Indices = field(default_factory=lambda: np.empty(0, np.int64))
    held_out: Indices = field(default_factory=lambda: np.empty(0, np.int64))


def split_validation(labels: Array, fraction: float, seed: int) -> tuple[Indices, Indices]:
    """Indices to train on and to judge on; the same share of each class is held out.

    Neighbours in an archive are often reviews of one film. Whole stretches are held out, lest the
    slice flatter a model that has learned the names of actors by heart.
    """
    random = np.random.default_rng((seed, 0))
    held_out: list[Array] = []
    for label in (0, 1):
        of_class = np.flatnonzero(labels == label)
        if len(of_class) < 2:
            raise DataError(
                f"train shards hold {len(of_class)} reviews of class {label}; at least 2 are needed"
            )
        count = min(max(1, round(fraction * len(of_class))), len(of_class) - 1)
        stretches = np.array_split(of_class, -(-len(of_class) // min(_STRETCH, count)))
        order = random.permutation(len(stretches))
        held_out.append(np.concatenate([stretches[number] for number in order])[:count])
    validation = np.sort(np.concatenate(held_out))
    training = np.setdiff1d(np.flatnonzero(labels >= 0), validation)
    return training, validation
