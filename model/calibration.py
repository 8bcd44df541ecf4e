"""Whether a probability means what it says: of those called 80 % sure, 80 % should be right."""

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.errors import DataError

BINS = 15
_LOWEST, _HIGHEST = 0.05, 20.0  # temperatures; what lies outside is no calibration any more
_STEPS = 80

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


def fit_temperature(logits: Numbers, labels: NDArray[Any]) -> float:
    """The number to divide logits by, so that their log loss on `labels` is least (Guo et al.).

    Fitted on reviews that the weights were not; it changes no verdict. The loss has one valley in
    the inverse temperature, so a search by golden sections finds it.
    """
    if len(logits) == 0 or len(logits) != len(labels):
        raise DataError(f"{len(logits)} logits, {len(labels)} labels: no temperature can be fitted")
    signed = np.where(np.asarray(labels) == 1, logits, -logits).astype(np.float64)

    def loss(log_temperature: float) -> float:
        return float(np.logaddexp(0.0, -signed / math.exp(log_temperature)).mean())

    low, high = math.log(_LOWEST), math.log(_HIGHEST)
    golden = (math.sqrt(5) - 1) / 2
    for _ in range(_STEPS):
        left, right = high - golden * (high - low), low + golden * (high - low)
        if loss(left) <= loss(right):
            high = right
        else:
            low = left
    return math.exp((low + high) / 2)
