"""Kinds of reviews that are judged apart: by length, by negation, by contrast."""

import itertools
import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_LENGTHS = (100, 200, 400)  # words
_NEGATION = re.compile(
    r"n['\u2019]t\b|\b(?:not|no|never|none|nothing|nobody|nowhere|neither|nor|without|hardly|cannot)\b",
    re.IGNORECASE,
)
_CONTRAST = re.compile(r"\b(?:but|however)\b", re.IGNORECASE)
_FEW, _MANY = 1, 4  # negations in a review


class Slice(NamedTuple):
    """Some of the reviews: `chosen` (reviews) is true for those that belong to it."""

    group: str
    name: str
    chosen: NDArray[np.bool_]


def by_length(lengths: NDArray[np.int64]) -> list[Slice]:
    """`lengths` (reviews) in words, before a long review is cut."""
    bounds = [0, *_LENGTHS, np.iinfo(np.int64).max]
    names = [
        f"under {_LENGTHS[0]} words",
        *(f"{low} to {high - 1} words" for low, high in itertools.pairwise(_LENGTHS)),
        f"{_LENGTHS[-1]} words or more",
    ]
    ranges = itertools.pairwise(bounds)
    return [
        Slice("length", name, (lengths >= low) & (lengths < high))
        for name, (low, high) in zip(names, ranges, strict=True)
    ]


def by_wording(texts: Sequence[str]) -> list[Slice]:
    """By negation ("not", "never", "n't" …) and by contrast ("but", "however")."""
    negations = np.array([len(_NEGATION.findall(text)) for text in texts])
    contrast = np.array([bool(_CONTRAST.search(text)) for text in texts])
    return [
        Slice("negation", "no negation", negations == 0),
        Slice(
            "negation", f"{_FEW} to {_MANY - 1} negations", (negations > 0) & (negations < _MANY)
        ),
        Slice("negation", f"{_MANY} negations or more", negations >= _MANY),
        Slice("contrast", "“but” or “however”", contrast),
        Slice("contrast", "neither of them", ~contrast),
    ]
