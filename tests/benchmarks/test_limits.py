"""Every target of `make load` can be missed, and missing one fails the command."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from benchmarks import limits
from benchmarks.load import Answers

REACHED: limits.Figures = {
    name: target if name in limits.AT_LEAST else 0.0 for name, target in limits.TARGETS.items()
}


class Api:
    """Stands for an API that gave these answers; it was killed at 10 s."""

    def __init__(self, answers: Answers, grown_mb: float = 0.0) -> None:
        self.answers = answers
        self.memory = [100.0, 100.0 + grown_mb]

    def load(self, per_s: float, duration_s: float) -> Answers:
        return self.answers

    def load_and_kill(self, per_s: float, duration_s: float) -> tuple[Answers, float]:
        return self.answers, 10.0

    def memory_mb(self) -> float:
        return self.memory.pop(0)


def found(part: Any, *timeline: tuple[float, int], grown_mb: float = 0.0) -> limits.Figures:
    """What the part finds in answers that came at these times within a second, with these
    statuses, each good one within 5 ms.
    """
    statuses = Counter(status for _, status in timeline)
    answers = Answers(statuses, [0.005] * statuses[200], wall_s=1.0, timeline=list(timeline))
    figures, _ = part(Api(answers, grown_mb), 1.0)
    return {name: figures[name] for name in figures}


def missed(figures: limits.Figures) -> list[str]:
    return limits.missed(REACHED | figures)


@pytest.mark.parametrize("name", limits.TARGETS)
def test_each_target_is_missed_on_its_wrong_side_and_by_nothing_at_all(name: str) -> None:
    off = -0.01 if name in limits.AT_LEAST else 0.01
    assert limits.missed(REACHED) == []
    assert missed({name: limits.TARGETS[name] + off}) == [name]
    assert missed({name: None}) == [name]


def test_what_is_well_misses_nothing() -> None:
    assert missed(found(limits.at_the_limit, *[(0.1, 200)] * 50)) == []
    assert missed(found(limits.at_twice_the_limit, *[(0.1, 200)] * 98, (0.2, 429))) == []
    assert missed(found(limits.after_a_kill, (9, 200), (11, 503), (12, 200))) == []


def test_fewer_requests_than_were_to_be_sent_are_a_miss() -> None:
    assert missed(found(limits.at_the_limit, *[(0.1, 200)] * 47)) == ["offered_share_at_the_limit"]
    sent = [(0.1, 200)] * 93 + [(0.1, 429)]
    assert missed(found(limits.at_twice_the_limit, *sent)) == ["offered_share_at_twice"]


def test_no_good_answer_at_all_is_a_miss() -> None:
    figures = found(limits.at_the_limit, *[(0.1, 503)] * 50)
    assert missed(figures) == ["error_share_at_the_limit", "p95_ms_at_the_limit"]


def test_a_limit_that_refuses_nobody_is_a_miss() -> None:
    assert missed(found(limits.at_twice_the_limit, *[(0.1, 200)] * 100)) == ["refused_429_at_twice"]


def test_a_limit_that_refuses_too_many_is_a_miss() -> None:
    sent = [(0.1, 200)] * 60 + [(0.1, 429)] * 40
    assert missed(found(limits.at_twice_the_limit, *sent)) == ["taken_at_twice_off_the_allowed"]


def test_other_answers_and_memory_that_grows_are_misses() -> None:
    sent = [(0.1, 200)] * 98 + [(0.2, 429), (0.3, 500)]
    figures = found(limits.at_twice_the_limit, *sent, grown_mb=33)
    assert missed(figures) == ["other_answers_at_twice", "memory_growth_mb"]


def test_a_kill_that_nobody_is_told_of_is_a_miss() -> None:
    figures = found(limits.after_a_kill, (9, 200), (11, 0), (12, 200))
    assert missed(figures) == ["refused_503_after_the_kill", "other_answers_after_the_kill"]


def test_a_server_that_comes_back_late_or_never_is_a_miss() -> None:
    late = found(limits.after_a_kill, (9, 200), (11, 503), (12, 200), (15, 503), (15.1, 200))
    assert (late["back_s"], missed(late)) == (5.1, ["back_s"])
    never = found(limits.after_a_kill, (9, 200), (11, 503))
    assert (never["back_s"], missed(never)) == (None, ["back_s"])


@pytest.mark.parametrize(("back_s", "status"), [(1.4, 0), (5.1, 1), (None, 1)])
def test_the_command_fails_where_a_target_is_missed(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    back_s: float | None,
    status: int,
) -> None:
    kept: dict[str, Any] = {}
    monkeypatch.setattr("sys.argv", ["limits", "--artifact", str(tmp_path)])
    monkeypatch.setattr(limits, "measure", lambda *_: (REACHED | {"back_s": back_s}, {}))
    monkeypatch.setattr(limits.tables, "write", lambda: None)
    monkeypatch.setattr(limits, "record", lambda name, figures: kept.update(figures))
    assert limits.main() == status
    assert ("MISSED" in capsys.readouterr().out) == bool(status)
    assert kept["found"]["back_s"] == back_s


@pytest.mark.parametrize(
    ("options", "is_kept"),
    [([], True), (["--seconds", "18"], False), (["--seconds", "18", "--record"], True)],
)
def test_a_short_run_replaces_the_kept_figures_only_where_asked_to(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, options: list[str], is_kept: bool
) -> None:
    kept: list[str] = []
    monkeypatch.setattr("sys.argv", ["limits", "--artifact", str(tmp_path), *options])
    monkeypatch.setattr(limits, "measure", lambda *_: (REACHED, {}))
    monkeypatch.setattr(limits.tables, "write", lambda: kept.append("the page"))
    monkeypatch.setattr(limits, "record", lambda *_: kept.append("the figures"))
    assert limits.main() == 0
    assert kept == ["the figures", "the page"] * is_kept
