from __future__ import annotations

from predict_api.throttle import Throttle


def taken(throttle: Throttle, asked: int) -> int:
    return sum(throttle.take() for _ in range(asked))


def test_a_burst_is_taken_and_then_no_more_than_the_rate() -> None:
    now = [0.0]
    throttle = Throttle(rate_per_s=10, burst=20, clock=lambda: now[0])
    assert taken(throttle, 100) == 20
    now[0] += 0.5
    assert taken(throttle, 100) == 5
    now[0] += 0.05
    assert taken(throttle, 100) == 0
    now[0] += 0.05
    assert taken(throttle, 100) == 1


def test_time_without_requests_fills_it_no_further_than_the_burst() -> None:
    now = [0.0]
    throttle = Throttle(rate_per_s=10, burst=20, clock=lambda: now[0])
    now[0] += 3600
    assert taken(throttle, 100) == 20


def test_at_twice_the_rate_half_is_taken_once_the_burst_is_spent() -> None:
    now = [0.0]
    throttle = Throttle(rate_per_s=50, burst=100, clock=lambda: now[0])
    answers = []
    for _ in range(2000):
        now[0] += 1 / 100
        answers.append(throttle.take())
    assert 1099 <= sum(answers) <= 1101
    assert all(answers[:100])
    assert 499 <= sum(answers[1000:]) <= 501
