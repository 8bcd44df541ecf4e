"""Shows a run while it goes: a live table on a terminal, a line a change anywhere else."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Iterable, Sequence
from typing import IO, Any

from pipeline.executions import Execution, Step
from pipeline.outcomes import outcome
from pipeline.target import Target

_REFRESH_PER_S = 4
_LEAST_WRAPPED = 24  # narrower than that, it is easier to read where the terminal breaks lines


class Follower:
    """Watches an execution to its end; remembers what each step has produced."""

    def __init__(self, target: Target, stream: IO[str]) -> None:
        self._target = target
        self._stream = stream
        self._said: dict[str, str] = {}
        self._outcomes: dict[str, str] = {}

    def watch(self, states: Iterable[tuple[Execution, list[Step]]]) -> tuple[Execution, list[Step]]:
        """Show every state; returns the last one."""
        shown = self._watch_live if self._stream.isatty() else self._watch_lines
        last = shown(states)
        if last is None:
            raise ValueError("an execution has at least one state")
        return last

    def outcome(self, step: Step) -> str:
        """What the step produced; asked of the account once."""
        if step.is_running:
            return ""
        if step.name not in self._outcomes:
            self._outcomes[step.name] = outcome(self._target, step)
        return self._outcomes[step.name]

    def _watch_lines(
        self, states: Iterable[tuple[Execution, list[Step]]]
    ) -> tuple[Execution, list[Step]] | None:
        last = None
        for execution, steps in states:
            for step in steps:
                line = self._line(step)
                if line != self._said.get(step.name):
                    self._said[step.name] = line
                    print(line, file=self._stream, flush=True)
            last = execution, steps
        return last

    def _line(self, step: Step) -> str:
        if step.is_running:
            where = f"  log: {step.log.place}" if step.log else ""
            return f"{step.name:<14} {'running' if where else 'starting'}{where}"
        return f"{step.name:<14} {state(step)}, {step.seconds:.1f} s  {self.outcome(step)}".rstrip()

    def _watch_live(
        self, states: Iterable[tuple[Execution, list[Step]]]
    ) -> tuple[Execution, list[Step]] | None:
        from rich.console import Console
        from rich.live import Live

        last = None
        console = Console(file=self._stream)
        with Live(console=console, refresh_per_second=_REFRESH_PER_S, transient=False) as live:
            for execution, steps in states:
                live.update(self._table(steps))
                last = execution, steps
        return last

    def _table(self, steps: Sequence[Step]) -> Any:
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, pad_edge=False)
        for heading in ("step", "state", "seconds", "result"):
            table.add_column(heading, justify="right" if heading == "seconds" else "left")
        colours = {"Succeeded": "green", "Failed": "red", "Stopped": "yellow"}
        for step in steps:
            told = self.outcome(step)
            if not told and step.log:
                told = f"log: {step.log.place}"
            table.add_row(
                step.name,
                Text(state(step), colours.get(step.status, "cyan")),
                f"{step.seconds:.1f}",
                Text(told, overflow="fold"),
            )
        return table


def state(step: Step) -> str:
    """The status of a step, and where its result was taken from if it did not run."""
    if step.cached_from:
        return f"{step.status} (cached, from {step.cached_from})"
    return step.status


def text_table(
    headings: Sequence[str], rows: Iterable[Sequence[Any]], width: int | None = None
) -> str:
    """Columns of text, as wide as they must be; the last is left ragged.

    Given the `width` of a terminal, the last is wrapped within its own column.
    """
    lines = [list(headings), *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(headings))]
    start = sum(widths[:-1]) + 2 * (len(widths) - 1)
    if width:
        room = max(width - start, _LEAST_WRAPPED)
        for line in lines:
            line[-1] = f"\n{'':{start}}".join(textwrap.wrap(line[-1], room))
    return "\n".join(
        "  ".join([*map(str.ljust, line[:-1], widths), line[-1]]).rstrip() for line in lines
    )


def terminal_width() -> int | None:
    """Columns of the terminal that standard output is; None where it is none."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


class ByteProgress:
    """Reports the progress of a transfer: a bar on a terminal, a line a tenth elsewhere."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._tenths: dict[str, int] = {}
        self._bar: Any = None
        self._tasks: dict[str, Any] = {}

    def __enter__(self) -> ByteProgress:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, what: str, done: int, total: int) -> None:
        """`done` of `total`, in whatever unit; a new `what` begins a new bar."""
        if self._stream.isatty():
            self._show_bar(what, done, total)
            return
        tenth = 10 * done // max(total, 1)
        if tenth > self._tenths.get(what, 0):
            self._tenths[what] = tenth
            print(f"{what}: {10 * tenth} %", file=self._stream, flush=True)

    def _show_bar(self, what: str, done: int, total: int) -> None:
        if self._bar is None:
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.percentage:3.0f} %"),
                TimeRemainingColumn(),
                console=Console(file=self._stream),
            )
            self._bar.start()
        if what not in self._tasks:
            self._tasks[what] = self._bar.add_task(what, total=total)
        self._bar.update(self._tasks[what], completed=done)
