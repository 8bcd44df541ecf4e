"""How good predictions are, in the form that SageMaker's model quality reports have.

https://docs.aws.amazon.com/sagemaker/latest/dg/model-monitor-model-quality-metrics.html
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.errors import DataError

CURVE_POINTS = 200
_RESAMPLES = 1000

Numbers = NDArray[np.float64]


def evaluation(labels: NDArray[Any], probabilities: Numbers) -> dict[str, Any]:
    """evaluation.json for `labels` (n) of 0 and 1 and `probabilities` (n) of being 1.

    What cannot be computed, such as the area under the curve with one class alone, is "NaN".
    """
    truth = np.asarray(labels) == 1
    if len(truth) == 0 or len(truth) != len(probabilities):
        raise DataError(f"{len(truth)} labels, {len(probabilities)} predictions: cannot be judged")
    if not np.isfinite(probabilities).all():
        raise DataError("a prediction is no finite number")
    counts = confusion(truth, probabilities >= 0.5)  # (4)
    return {
        "version": 0.0,
        "dataset": {"item_count": len(truth)},
        "binary_classification_metrics": {
            "confusion_matrix": _confusion_json(counts),
            **_rates(counts),
            "auc": _auc(truth, probabilities),
            **_best_constant(int(truth.sum()), len(truth)),
            **_curves(truth, probabilities),
        },
    }


def confusion(truth: NDArray[np.bool_], predicted: NDArray[np.bool_]) -> NDArray[np.int64]:
    """True negatives, false positives, false negatives, true positives."""
    return np.bincount(2 * truth.astype(np.int64) + predicted, minlength=4)


def _confusion_json(counts: NDArray[np.int64]) -> dict[str, dict[str, int]]:
    """The outer key is the actual class."""
    tn, fp, fn, tp = (int(count) for count in counts)
    return {"0": {"0": tn, "1": fp}, "1": {"0": fn, "1": tp}}


def _formulas(counts: Numbers) -> dict[str, Numbers]:
    """Every metric of confusion counts (…, 4)."""
    tn, fp, fn, tp = np.moveaxis(counts, -1, 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        precision, recall = tp / (tp + fp), tp / (tp + fn)
        metrics = {
            "accuracy": (tp + tn) / (tn + fp + fn + tp),
            "precision": precision,
            "recall": recall,
            "true_positive_rate": recall,
            "true_negative_rate": tn / (tn + fp),
            "false_positive_rate": fp / (tn + fp),
            "false_negative_rate": fn / (tp + fn),
        }
        for name, beta in (("f0_5", 0.5), ("f1", 1.0), ("f2", 2.0)):
            weight = beta * beta
            metrics[name] = (1 + weight) * tp / ((1 + weight) * tp + weight * fn + fp)
    return metrics


def _rates(counts: NDArray[np.int64]) -> dict[str, Any]:
    """Values, with standard deviations from drawing the reviews anew (bootstrap).

    Drawing n reviews with replacement is drawing the four counts from a multinomial.
    """
    total = int(counts.sum())
    drawn = np.random.default_rng(0).multinomial(total, counts / total, size=_RESAMPLES)
    values, spread = _formulas(counts.astype(np.float64)), _formulas(drawn.astype(np.float64))
    return {
        name: _metric(float(value), float(spread[name].std())) for name, value in values.items()
    }


def _auc(truth: NDArray[np.bool_], probabilities: Numbers) -> dict[str, Any]:
    """Mann-Whitney, ties counting half; deviation after Hanley and McNeil (1982)."""
    positives = int(truth.sum())
    negatives = len(truth) - positives
    if not positives or not negatives:
        return _metric(math.nan, math.nan)
    _, inverse, repeats = np.unique(probabilities, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(repeats) - (repeats - 1) / 2)[inverse]
    above = float(ranks[truth].sum()) - positives * (positives + 1) / 2
    auc = above / (positives * negatives)
    q1, q2 = auc / (2 - auc), 2 * auc * auc / (1 + auc)
    variance = auc * (1 - auc) + (positives - 1) * (q1 - auc**2) + (negatives - 1) * (q2 - auc**2)
    return _metric(auc, math.sqrt(max(0.0, variance) / (positives * negatives)))


def _best_constant(positives: int, total: int) -> dict[str, Any]:
    """What always answering the same would reach, in each metric the better of both answers."""
    share = positives / total
    always = _formulas(np.array([0, total - positives, 0, positives], dtype=np.float64))
    always["accuracy"] = np.maximum(share, 1 - share)
    deviation = math.sqrt(share * (1 - share) / total)
    return {
        f"{name}_best_constant_classifier": _metric(
            float(always[name]),
            deviation if name in ("accuracy", "precision") else math.nan,
        )
        for name in ("accuracy", "precision", "recall", "f0_5", "f1", "f2")
    }


def _curves(truth: NDArray[np.bool_], probabilities: Numbers) -> dict[str, Any]:
    order = np.argsort(-probabilities, kind="stable")
    # one point a distinct probability: equal ones cannot be told apart by any threshold
    ends = np.append(np.flatnonzero(np.diff(probabilities[order])), len(order) - 1)
    tp = np.cumsum(truth[order])[ends].astype(np.float64)
    fp = ends + 1 - tp
    kept = np.unique(np.linspace(0, len(ends) - 1, min(len(ends), CURVE_POINTS - 1)).astype(int))
    positives, negatives = max(1, int(truth.sum())), max(1, int((~truth).sum()))
    recalls = tp[kept] / positives
    return {
        "receiver_operating_characteristic_curve": {
            "false_positive_rates": _points(0.0, fp[kept] / negatives),
            "true_positive_rates": _points(0.0, recalls),
        },
        "precision_recall_curve": {
            "precisions": _points(1.0, tp[kept] / (tp[kept] + fp[kept])),
            "recalls": _points(0.0, recalls),
        },
    }


def _points(first: float, others: Numbers) -> list[float]:
    return [first, *(round(float(value), 6) for value in others)]


def _metric(value: float, deviation: float) -> dict[str, Any]:
    return {"value": _number(value), "standard_deviation": _number(deviation)}


def _number(value: float) -> float | str:
    return value if math.isfinite(value) else "NaN"
