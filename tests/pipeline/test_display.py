from __future__ import annotations

import io
from typing import Any

import pytest

from pipeline import display
from pipeline.display import ByteProgress, Follower, text_table
from pipeline.executions import Log
from pipeline.target import Target
from tests.pipeline.test_run import make_execution, make_step

LOG = Log("/group", "job/", "/home/logs/train.log")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def states() -> Any:
    running = make_step("Train", "Executing", log=LOG)
    done = make_step("Train", "Succeeded", log=LOG, cached_from="xyz")
    yield make_execution("Executing"), [make_step("Train", "Starting")]
    yield make_execution("Executing"), [running]
    yield make_execution("Executing"), [running]
    yield make_execution("Succeeded"), [done]


@pytest.fixture(autouse=True)
def told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(display, "outcome", lambda target, step: f"{step.name} has a result")


def test_without_a_terminal_each_change_is_a_line(target: Target) -> None:
    stream = io.StringIO()
    execution, steps = Follower(target, stream).watch(states())
    assert execution.status == "Succeeded"
    assert [step.status for step in steps] == ["Succeeded"]
    assert stream.getvalue().splitlines() == [
        "Train          starting",
        "Train          running  log: /home/logs/train.log",
        "Train          Succeeded (cached, from xyz), 1.0 s  Train has a result",
    ]


def test_on_a_terminal_there_is_a_live_table(
    target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    stream = Terminal()
    execution, _ = Follower(target, stream).watch(states())
    assert execution.status == "Succeeded"
    for words in ("step", "Succeeded (cached, from xyz)", "Train has a result"):
        assert words in stream.getvalue()


def test_a_running_step_shows_where_its_log_is(target: Target) -> None:
    from rich.console import Console

    stream = io.StringIO()
    table = Follower(target, stream)._table([make_step("Train", "Executing", log=LOG)])
    Console(file=stream, width=120).print(table)
    assert "log: /home/logs/train.log" in stream.getvalue()


def test_columns_are_as_wide_as_they_must_be() -> None:
    assert text_table(("a", "long"), [(1, ""), ("three", 2)]) == "a      long\n1\nthree  2"


def test_on_a_terminal_the_last_column_is_wrapped_within_itself() -> None:
    told = "one two three four five six seven eight"
    assert text_table(("a", "told"), [("first", told), ("second", "x")], width=30).splitlines() == [
        "a       told",
        "first   one two three four five",
        "        six seven eight",
        "second  x",
    ]


def test_progress_is_a_line_a_tenth() -> None:
    stream = io.StringIO()
    with ByteProgress(stream) as progress:
        for done in range(0, 101, 5):
            progress("uploading", done, 100)
    assert stream.getvalue().splitlines()[:2] == ["uploading: 10 %", "uploading: 20 %"]
    assert len(stream.getvalue().splitlines()) == 10


def test_progress_on_a_terminal_is_a_bar() -> None:
    stream = Terminal()
    with ByteProgress(stream) as progress:
        progress("uploading", 50, 100)
        progress("uploading", 100, 100)
    assert "uploading" in stream.getvalue()
    assert "100 %" in stream.getvalue()
