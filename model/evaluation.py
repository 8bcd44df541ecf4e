"""Everything that is measured of one version: evaluation.json, of which the report is made."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.calibration import expected_calibration_error, reliability
from model.errors import DataError
from model.files import read_json
from model.metrics import evaluation
from model.shards import Reviews
from model.slices import Slice, by_length, by_wording
from model.vocabulary import Vocabulary

Numbers = NDArray[np.float64]
BASELINE = "NBSVM"


@dataclass(frozen=True)
class Judged:
    """Reviews with the probabilities (reviews) of being positive that each judge gave them."""

    labels: NDArray[np.int8]
    probabilities: Numbers
    baseline: Numbers | None = None
    branches: Mapping[str, Numbers] = field(default_factory=dict)


def evaluate(
    test: Judged,
    lengths: NDArray[np.int64],
    texts: Sequence[str],
    *,
    counterfactual: Judged | None = None,
    production: Mapping[str, Any] | None = None,
    data_sha256: str = "unknown",
) -> dict[str, Any]:
    """The evaluation document; `production` is that of the version in production.

    Parts that were not measured are left out. Without `texts` nothing is said of wording.
    """
    document = evaluation(test.labels, test.probabilities)
    document["dataset"]["sha256"] = data_sha256
    document["calibration"] = _calibration(test)
    document |= _comparison(test)
    slices = by_length(lengths) + (by_wording(texts) if texts else [])
    document["slices"] = [_slice_json(one, test) for one in slices if one.chosen.any()]
    if counterfactual is not None:
        document["counterfactual"] = {
            "item_count": len(counterfactual.labels),
            "accuracy": accuracy(counterfactual.labels, counterfactual.probabilities),
            **_comparison(counterfactual),
        }
    if production is not None:
        document["production"] = _production(production, document)
    document["accuracy_drop"] = {"value": _drop(document.get("production"))}
    return document


def accuracy(labels: NDArray[Any], probabilities: Numbers) -> dict[str, float]:
    """Share of right verdicts, and its binomial standard deviation."""
    share = float(((probabilities >= 0.5) == (labels == 1)).mean())
    return _figure(share, math.sqrt(share * (1 - share) / len(labels)))


def encode_texts(texts: Sequence[str], labels: Sequence[int], vocabulary: Vocabulary) -> Reviews:
    """Texts as reviews under a version's dictionary."""
    rows = [vocabulary.encode(vocabulary.text.tokenize(text)) for text in texts]
    return Reviews(
        np.concatenate([np.empty(0, np.int32), *rows]),
        np.cumsum([0, *map(len, rows)]).astype(np.int64),
        np.array(labels, dtype=np.int8),
    )


def read_texts(folder: Path) -> list[str]:
    """The reviews of a folder of test shards as they were written; none if they were not kept."""
    paths = sorted(folder.glob("*.jsonl"))
    return [json.loads(line) for path in paths for line in path.read_bytes().splitlines()]


def read_production(folder: Path | None) -> Mapping[str, Any] | None:
    """evaluation.json of the version in production, or None where there is no such version."""
    if folder is None:
        return None
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder")
    path = folder / "evaluation.json"
    if not path.exists():
        return None
    document = read_json(path)
    try:
        float(document["binary_classification_metrics"]["accuracy"]["value"])
    except (TypeError, KeyError, ValueError):
        raise DataError(f"{path}: is no evaluation of a version") from None
    found: Mapping[str, Any] = document
    return found


def _comparison(judged: Judged) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if judged.branches:
        found["branches"] = {
            name: {"accuracy": accuracy(judged.labels, probabilities)}
            for name, probabilities in judged.branches.items()
        }
    if judged.baseline is not None:
        found["baseline"] = {
            "name": BASELINE,
            "accuracy": accuracy(judged.labels, judged.baseline),
        }
        found["advantage_over_baseline"] = _advantage(judged, judged.baseline)
    return found


def _advantage(judged: Judged, baseline: Numbers) -> dict[str, float]:
    """By how much the model's accuracy is higher; both judged the same reviews (McNemar)."""
    truth = judged.labels == 1
    model_right = (judged.probabilities >= 0.5) == truth
    baseline_right = (baseline >= 0.5) == truth
    difference = model_right.astype(np.float64) - baseline_right
    return _figure(float(difference.mean()), float(difference.std()) / math.sqrt(len(difference)))


def _production(production: Mapping[str, Any], document: Mapping[str, Any]) -> dict[str, Any]:
    """Accuracies compare only where the data is the same, and as much of it was read."""
    theirs = production["binary_classification_metrics"]["accuracy"]
    ours = document["binary_classification_metrics"]["accuracy"]["value"]
    data, known = document["dataset"], production.get("dataset", {})
    same = all(known.get(name) == data[name] for name in ("sha256", "item_count"))
    return {
        "accuracy": theirs,
        "item_count": known.get("item_count", 0),
        "difference": ours - float(theirs["value"]),
        "same_data": same and data["sha256"] != "unknown",
    }


def _drop(production: Mapping[str, Any] | None) -> float:
    """By how much the accuracy is below that of production; 0 where the two do not compare."""
    if production is None or not production["same_data"]:
        return 0.0
    # rounded, or 0.93 - 0.92 would be above 0.01
    return max(0.0, round(-float(production["difference"]), 9))


def _calibration(judged: Judged) -> dict[str, Any]:
    return {
        "expected_calibration_error": expected_calibration_error(
            judged.labels, judged.probabilities
        ),
        "bins": [one._asdict() for one in reliability(judged.labels, judged.probabilities)],
    }


def _slice_json(one: Slice, judged: Judged) -> dict[str, Any]:
    labels = judged.labels[one.chosen]
    found = {
        "group": one.group,
        "name": one.name,
        "item_count": len(labels),
        "accuracy": accuracy(labels, judged.probabilities[one.chosen]),
    }
    if judged.baseline is not None:
        found["baseline"] = {"accuracy": accuracy(labels, judged.baseline[one.chosen])}
    return found


def _figure(value: float, deviation: float) -> dict[str, float]:
    return {"value": value, "standard_deviation": deviation}
