import numpy as np
import pytest

from model.calibration import Bin, expected_calibration_error, fit_temperature, reliability
from model.errors import DataError


def drawn(temperature: float, count: int = 20_000) -> tuple[np.ndarray, np.ndarray]:
    """Logits, and labels drawn as if the logits were `temperature` times too large."""
    chance = np.random.default_rng(1)
    logits = chance.normal(0, 4, count)
    labels = chance.uniform(size=count) < 1 / (1 + np.exp(-logits / temperature))
    return logits, labels.astype(int)


def test_bins_hold_confidence_and_accuracy_by_hand() -> None:
    labels, probabilities = np.array([1, 0, 1, 0]), np.array([0.95, 0.93, 0.56, 0.06])
    assert reliability(labels, probabilities, 10) == [
        Bin(1, pytest.approx(0.56), 1.0),
        Bin(3, pytest.approx((0.95 + 0.93 + 0.94) / 3), pytest.approx(2 / 3)),
    ]
    error = (0.44 + 3 * (0.94 - 2 / 3)) / 4
    assert expected_calibration_error(labels, probabilities, 10) == pytest.approx(error)


def test_what_is_sure_and_right_has_no_error() -> None:
    assert expected_calibration_error(np.array([1, 0]), np.array([1.0, 0.0])) == 0


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_the_temperature_is_found(temperature: float) -> None:
    logits, labels = drawn(temperature)
    assert fit_temperature(logits, labels) == pytest.approx(temperature, rel=0.1)


def test_calibrated_logits_have_a_smaller_error() -> None:
    logits, labels = drawn(2.5)
    raw = expected_calibration_error(labels, 1 / (1 + np.exp(-logits)))
    temperature = fit_temperature(logits, labels)
    calibrated = expected_calibration_error(labels, 1 / (1 + np.exp(-logits / temperature)))
    assert calibrated < 0.02 < raw


def test_logits_that_are_all_right_give_a_finite_temperature() -> None:
    assert 0 < fit_temperature(np.array([3.0, -3.0]), np.array([1, 0])) < 1


def test_nothing_to_judge_is_refused() -> None:
    with pytest.raises(DataError):
        fit_temperature(np.array([]), np.array([]))
    with pytest.raises(DataError):
        expected_calibration_error(np.array([]), np.array([]))
