import numpy as np
import pytest

from model.calibration import _VARIANCES, Bin, expected_calibration_error, fit_platt, reliability
from model.errors import DataError
from model.judging import log_loss


def drawn(temperature: float, shift: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Logits, and labels drawn as if these were `temperature` times too large, and moved."""
    chance = np.random.default_rng(1)
    logits = chance.normal(0, 4, 100_000)
    labels = chance.uniform(size=100_000) < 1 / (1 + np.exp(-(logits + shift) / temperature))
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
@pytest.mark.parametrize("shift", [-0.5, 0.0, 0.4])
def test_temperature_and_shift_are_found(temperature: float, shift: float) -> None:
    found = fit_platt(*drawn(temperature, shift))
    assert found == (pytest.approx(temperature, rel=0.05), pytest.approx(shift, abs=0.1))


def test_no_other_line_has_less_loss() -> None:
    logits, labels = drawn(2.5, 0.4)
    temperature, shift = fit_platt(logits, labels)

    def loss(temperature: float, shift: float) -> float:
        unlikely = (shift / temperature) ** 2 / _VARIANCES[1] / 2
        found = log_loss((logits + shift) / temperature, labels == 1)
        return found + unlikely / len(labels)

    least = loss(temperature, shift)
    for other in (0.99, 1.01):
        assert loss(other * temperature, shift) > least
        assert loss(temperature, shift + other - 1) > least


def test_calibrated_logits_have_a_smaller_error() -> None:
    logits, labels = drawn(2.5)
    raw = expected_calibration_error(labels, 1 / (1 + np.exp(-logits)))
    temperature, shift = fit_platt(logits, labels)
    chances = 1 / (1 + np.exp(-(logits + shift) / temperature))
    calibrated = expected_calibration_error(labels, chances)
    assert calibrated < 0.02 < raw


def test_two_that_are_right_make_nothing_certain() -> None:
    temperature, shift = fit_platt(np.array([3.0, -3.0]), np.array([1, 0]))
    # Platt's targets for one review of each class are 2/3 and 1/3
    assert 3 / temperature == pytest.approx(np.log(2))
    assert shift == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    ("logits", "labels"),
    [([2.0] * 6, [1, 0] * 3), ([0.0] * 4, [1] * 4), ([3.0, -3.0] * 9, [0, 1] * 9), ([50.0], [0])],
)
def test_logits_that_say_nothing_or_lie_give_a_line_all_the_same(
    logits: list[float], labels: list[int]
) -> None:
    temperature, shift = fit_platt(np.array(logits), np.array(labels))
    assert 0 < temperature <= 20
    assert np.isfinite(shift)


def test_no_line_is_worse_than_a_coin() -> None:
    """Of logits that lie, or that all lie to one side, whose slope is beyond what it may be."""
    chance = np.random.default_rng(1)
    for centre, spread, slope in ((3, 1, -1), (0.05, 0.01, 100), (-0.15, 0.01, 0), (5, 1, 1)):
        logits = chance.normal(centre, spread, 2500)
        labels = chance.uniform(size=2500) < 1 / (1 + np.exp(-slope * (logits - centre)))
        temperature, shift = fit_platt(logits, labels)
        assert log_loss((logits + shift) / temperature, labels) < np.log(2) + 0.06


def test_few_reviews_move_little() -> None:
    logits, leaning = np.array([2.0, -2.0] * 100), np.array([1, 0] * 100)
    leaning[1] = leaning[3] = 1  # two of 200 are more positive than said
    few = fit_platt(logits, leaning)[1]
    many = fit_platt(np.tile(logits, 100), np.tile(leaning, 100))[1]
    assert 0 < few < many / 2


def test_nothing_to_judge_is_refused() -> None:
    with pytest.raises(DataError):
        fit_platt(np.array([]), np.array([]))
    with pytest.raises(DataError):
        expected_calibration_error(np.array([]), np.array([]))
