"""Whether a probability means what it says: of those called 80 % sure, 80 % should be right."""

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.errors import DataError
from model.judging import probability

BINS = 15
_LOWEST, _HIGHEST = 0.05, 20.0  # temperatures; what lies outside is no calibration any more
_STEPS, _CLOSE = 50, 1e-9
# of the slope, which anything may be, and of the intercept: its standard deviation of 0.1 gave the
# least log loss by trial, see ablations.json
_VARIANCES = np.array([1e9, 0.1**2])

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
    """Temperature and shift, so that `(logits + shift) / temperature` says how likely `labels` are.

    Fitted on reviews that the weights were not. Each class has one review more of the other label
    (Platt 1999), so that nothing is certain where there are few, none of them wrong; and large
    shifts are held unlikely beforehand, so that few reviews, which may lean by chance, move little.
    """
    if len(logits) == 0 or len(logits) != len(labels):
        raise DataError(f"{len(logits)} logits, {len(labels)} labels: nothing can be fitted")
    positive = np.asarray(labels) == 1
    many = np.where(positive, positive.sum(), (~positive).sum())
    targets = np.where(positive, many + 1, 1) / (many + 2)
    logits, ones = np.asarray(logits, np.float64), np.ones((1, len(logits)))
    slope, intercept = _logistic(np.stack([logits, ones[0]]), targets, _VARIANCES)
    bounded = float(np.clip(slope, 1 / _HIGHEST, 1 / _LOWEST))
    if bounded != slope:
        (intercept,) = _logistic(ones, targets, _VARIANCES[1:], bounded * logits)
    return 1 / bounded, float(intercept / bounded)


def _logistic(
    inputs: Numbers, targets: Numbers, variances: Numbers, given: Numbers | float = 0.0
) -> Numbers:
    """Weights (k) of the most likely logits `weights @ inputs (k, n) + given` for `targets` (n).

    `variances` (k) are of the normal prior of each weight. Newton's method, halving steps that go
    too far (Lin, Lin and Weng 2007).
    """

    def loss(weights: Numbers) -> float:
        found = weights @ inputs + given
        prior = (weights**2 / variances).sum() / 2
        return float((np.logaddexp(0, found) - targets * found).sum() + prior)

    weights = np.zeros(len(inputs))
    for _ in range(_STEPS):
        chances = probability(weights @ inputs + given)
        curvature = (inputs * chances * (1 - chances)) @ inputs.T + np.diag(1 / variances)
        step = np.linalg.solve(curvature, inputs @ (chances - targets) + weights / variances)
        while loss(weights - step) > loss(weights) and np.abs(step).max() > _CLOSE:
            step /= 2
        weights = weights - step
        if np.abs(step).max() <= _CLOSE:
            break
    return weights
