"""Whether a probability means what it says: of those called 80 % sure, 80 % should be right."""

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.errors import DataError

BINS = 15
_LOWEST, _HIGHEST = 0.05, 20.0  # temperatures; what lies outside is no calibration any more
_STEPS, _CLOSE = 50, 1e-9
_RIDGE = 1e-9  # lest logits that are all alike have no solution

Numbers = NDArray[np.float64]


class Bin(NamedTuple):
    """Predictions of about the same confidence; `confidence` and `accuracy` are their means."""

    size: int
    confidence: float
    accuracy: float


def reliability(labels: NDArray[Any], probabilities: Numbers, bins: int = BINS) -> list[Bin]:
    """Bins of equal width over the probability of the class that was chosen, the empty left out.

    `labels` (n) are 0 and 1, `probabilities` (n) are of being 1.
    """
    chosen = probabilities >= 0.5
    confidence = np.where(chosen, probabilities, 1 - probabilities)
    right = chosen == (np.asarray(labels) == 1)
    numbers = np.minimum((confidence * bins).astype(np.int64), bins - 1)
    return [
        Bin(int(inside.sum()), float(confidence[inside].mean()), float(right[inside].mean()))
        for inside in (numbers == number for number in range(bins))
        if inside.any()
    ]


def expected_calibration_error(
    labels: NDArray[Any], probabilities: Numbers, bins: int = BINS
) -> float:
    """How far confidence and accuracy are apart, on the mean (Guo et al., arXiv 1706.04599)."""
    found = reliability(labels, probabilities, bins)
    total = sum(one.size for one in found)
    if not total:
        raise DataError("no predictions: their calibration cannot be judged")
    return math.fsum(one.size * abs(one.confidence - one.accuracy) for one in found) / total


def fit_platt(logits: Numbers, labels: NDArray[Any]) -> tuple[float, float]:
    """Temperature and shift: `(logits + shift) / temperature` has the least log loss on `labels`.

    Fitted on reviews that the weights were not. Each class has one review more of the other label
    (Platt 1999), so that nothing is certain where there are few, none of them wrong. Newton's
    method finds it, halving steps that go too far (Lin, Lin and Weng 2007). Of the intercept is
    taken what its standard error leaves (James and Stein 1961): of few reviews it is chance.
    """
    if len(logits) == 0 or len(logits) != len(labels):
        raise DataError(f"{len(logits)} logits, {len(labels)} labels: nothing can be fitted")
    positive = np.asarray(labels) == 1
    many = np.where(positive, positive.sum(), (~positive).sum())
    targets = np.where(positive, many + 1, 1) / (many + 2)
    inputs = np.stack([np.asarray(logits, np.float64), np.ones(len(logits))])  # (2, n)

    def loss(line: Numbers) -> float:
        found = line @ inputs
        return float((np.logaddexp(0, found) - targets * found).sum())

    line = np.zeros(2)  # slope, intercept
    for _ in range(_STEPS):
        chances = 1 / (1 + np.exp(-np.clip(line @ inputs, -60, 60)))
        curvature = (inputs * chances * (1 - chances)) @ inputs.T + _RIDGE * np.eye(2)
        step = np.linalg.solve(curvature, inputs @ (chances - targets))
        while loss(line - step) > loss(line) and np.abs(step).max() > _CLOSE:
            step /= 2
        line = line - step
        if np.abs(step).max() <= _CLOSE:
            break
    variance = np.linalg.inv(curvature)[1, 1]
    line[1] *= max(0.0, 1 - variance / max(line[1] ** 2, _RIDGE))
    slope = min(max(line[0], 1 / _HIGHEST), 1 / _LOWEST)
    return float(1 / slope), float(line[1] / slope)
