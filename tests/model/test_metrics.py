import json
import math
from typing import Any

import numpy as np
import pytest

from model.errors import DataError
from model.metrics import CURVE_POINTS, evaluation

LABELS = np.array([1, 1, 1, 0, 0, 0, 0, 1])
PROBABILITIES = np.array([0.9, 0.8, 0.4, 0.1, 0.2, 0.6, 0.3, 0.7])

NAMES = [
    *("accuracy", "precision", "recall", "auc", "f0_5", "f1", "f2"),
    *("true_positive_rate", "true_negative_rate", "false_positive_rate", "false_negative_rate"),
    *(
        f"{name}_best_constant_classifier"
        for name in ("accuracy", "precision", "recall", "f0_5", "f1", "f2")
    ),
]


def metrics(labels: Any = LABELS, probabilities: Any = PROBABILITIES) -> dict[str, Any]:
    document = evaluation(np.array(labels), np.array(probabilities, dtype=float))
    found: dict[str, Any] = document["binary_classification_metrics"]
    return found


def test_the_form_is_that_of_sagemakers_model_quality() -> None:
    found = metrics()
    curves = {"receiver_operating_characteristic_curve", "precision_recall_curve"}
    assert set(found) == {"confusion_matrix", *NAMES, *curves}
    assert all(set(found[name]) == {"value", "standard_deviation"} for name in NAMES)
    json.dumps(found, allow_nan=False)


def test_the_outer_key_of_the_confusion_matrix_is_the_actual_class() -> None:
    assert metrics()["confusion_matrix"] == {"0": {"0": 3, "1": 1}, "1": {"0": 1, "1": 3}}
    assert metrics([1], [0.2])["confusion_matrix"] == {"0": {"0": 0, "1": 0}, "1": {"0": 1, "1": 0}}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("accuracy", 0.75),
        ("precision", 0.75),
        ("recall", 0.75),
        ("f1", 0.75),
        ("f0_5", 0.75),
        ("f2", 0.75),
        ("false_positive_rate", 0.25),
        ("true_negative_rate", 0.75),
        ("auc", 15 / 16),
        ("accuracy_best_constant_classifier", 0.5),
        ("precision_best_constant_classifier", 0.5),
        ("recall_best_constant_classifier", 1.0),
        ("f1_best_constant_classifier", 2 / 3),
    ],
)
def test_values_are_those_computed_by_hand(name: str, value: float) -> None:
    assert metrics()[name]["value"] == pytest.approx(value)


def test_f_scores_weigh_precision_and_recall() -> None:
    found = metrics([1, 1, 1, 1, 0], [0.9, 0.1, 0.1, 0.1, 0.1])  # precision 1, recall 1/4
    assert found["f0_5"]["value"] == pytest.approx(1.25 * 0.25 / (0.25 + 0.25))
    assert found["f2"]["value"] == pytest.approx(5 * 0.25 / (4 + 0.25))


def test_deviations_are_close_to_the_binomials() -> None:
    chance = np.random.default_rng(1)
    labels = chance.integers(0, 2, 5000)
    probabilities = np.clip(0.4 * labels + chance.uniform(0, 0.6, 5000), 0, 1)
    found = metrics(labels, probabilities)
    accuracy = found["accuracy"]["value"]
    expected = math.sqrt(accuracy * (1 - accuracy) / 5000)
    assert found["accuracy"]["standard_deviation"] == pytest.approx(expected, rel=0.1)
    assert 0 < found["auc"]["standard_deviation"] < 0.01
    assert found["accuracy"] == metrics(labels, probabilities)["accuracy"]


def test_ties_count_half() -> None:
    assert metrics([1, 0, 1, 0], [0.5, 0.5, 0.5, 0.5])["auc"]["value"] == 0.5


def test_with_one_class_what_is_undefined_is_the_string_nan() -> None:
    found = metrics([1, 1], [0.9, 0.2])
    assert found["accuracy"]["value"] == 0.5
    for name in ("auc", "true_negative_rate", "false_positive_rate"):
        assert found[name] == {"value": "NaN", "standard_deviation": "NaN"}


def test_curves_are_thinned_and_run_from_corner_to_corner() -> None:
    chance = np.random.default_rng(1)
    found = metrics(chance.integers(0, 2, 3000), chance.uniform(size=3000))
    roc = found["receiver_operating_characteristic_curve"]
    precision_recall = found["precision_recall_curve"]
    for points in (*roc.values(), *precision_recall.values()):
        assert len(points) == CURVE_POINTS
    assert (roc["false_positive_rates"][0], roc["true_positive_rates"][0]) == (0, 0)
    assert (roc["false_positive_rates"][-1], roc["true_positive_rates"][-1]) == (1, 1)
    assert roc["true_positive_rates"] == sorted(roc["true_positive_rates"])
    assert precision_recall["recalls"][-1] == 1


@pytest.mark.parametrize(
    ("labels", "probabilities"), [([], []), ([1], []), ([1], [math.nan]), ([1], [math.inf])]
)
def test_what_cannot_be_judged_is_refused(labels: list[int], probabilities: list[float]) -> None:
    with pytest.raises(DataError):
        metrics(labels, probabilities)
