"""`sentiment definition|executions|status|logs`: what would run, what ran, and what it printed."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pipeline.errors import ExecutionError
from pipeline.opening import opened
from pipeline.output import print_json
from pipeline.settings import ROOT, Settings

if TYPE_CHECKING:
    from pipeline.executions import Step
    from pipeline.target import Target

# Imports of boto3 and of modules that need it wait inside the functions: `--help` must not pay.


def add_watching(adder: Any, command: Callable[..., Any]) -> None:
    """Add the commands to the parser; `command` is the command line's way to add one."""
    command(
        adder,
        "definition",
        definition,
        "print the compiled pipeline definition as JSON",
        "The same files give the same bytes:\n  sentiment definition | sha256sum",
    )
    command(adder, "executions", executions, "list what ran, the newest first")
    status_parser = command(adder, "status", status, "show how an execution and its steps stand")
    logs_parser = command(
        adder,
        "logs",
        logs,
        "print what a step printed",
        "example:\n  sentiment logs Train",
    )
    logs_parser.add_argument("step", metavar="STEP", help="Preprocess, Train, Evaluate or Deploy")
    for parser in (status_parser, logs_parser):
        parser.add_argument(
            "execution", metavar="ID", nargs="?", help="id of the execution [the newest]"
        )


def definition(options: Namespace, settings: Settings) -> int:
    """Print the compiled definition."""
    from pipeline.compilation import compile_definition

    target = opened(settings)
    target.prepare()
    compiled = compile_definition(target.session, target.account, ROOT)
    print_json(compiled.document)
    return 0


def executions(options: Namespace, settings: Settings) -> int:
    """List the executions."""
    from pipeline.display import terminal_width, text_table
    from pipeline.executions import Executions

    found = Executions(opened(settings)).all()
    rows = [
        {
            "execution": one.id,
            "status": one.status,
            "started": one.started.isoformat(timespec="seconds"),
            "reason": one.reason,
        }
        for one in found
    ]
    if options.json:
        print_json(rows)
    elif rows:
        print(text_table(list(rows[0]), [list(row.values()) for row in rows], terminal_width()))
    else:
        print("nothing has run yet (start with: sentiment run)", file=sys.stderr)
    return 0


def status(options: Namespace, settings: Settings) -> int:
    """Show an execution and its steps."""
    from pipeline.executions import Executions

    target = opened(settings)
    known = Executions(target)
    execution = known.find(options.execution)
    steps = known.steps(execution.arn)
    notes = {step.name: known.notes(step) for step in steps}
    rows = [_row(target, step, notes[step.name]) for step in steps]
    never = [] if execution.is_running else known.not_executed(execution.arn)
    if options.json:
        print_json(
            {
                "execution": execution.id,
                "status": execution.status,
                "seconds": execution.seconds,
                "not_executed": never,
                "reason": execution.reason,
                "parameters": known.parameters(execution.arn),
                "steps": rows,
            }
        )
        return 0
    print(f"execution {execution.id}: {execution.status}, {execution.seconds or 0:.1f} s")
    _print_steps(rows)
    if never:
        print(f"not executed: {', '.join(never)}")
    for step in steps:
        if (why := notes[step.name].get("cache")) and not step.cached_from:
            print(f"{step.name} was not taken from the cache: {why}")
    return 0


def _row(target: Target, step: Step, notes: dict[str, str]) -> dict[str, Any]:
    """What is told of a step; log and cache are too long for a table."""
    from pipeline.display import state
    from pipeline.outcomes import outcome

    return {
        "step": step.name,
        "status": state(step),
        "seconds": round(step.seconds, 1),
        "cpu_s": notes.get("cpu-seconds", ""),
        "memory_mib": notes.get("peak-memory-mib", ""),
        "result": step.reason or outcome(target, step),
        "log": step.log.place if step.log else "",
        "cache": notes.get("cache", ""),
    }


def _print_steps(rows: list[dict[str, Any]]) -> None:
    from pipeline.display import terminal_width, text_table

    if rows:
        columns = [name for name in rows[0] if name not in ("log", "cache")]
        shown = [[row[column] for column in columns] for row in rows]
        print(text_table(columns, shown, terminal_width()))
        print("logs of a step: sentiment logs STEP")


def logs(options: Namespace, settings: Settings) -> int:
    """Print what a step printed."""
    from pipeline.executions import Executions

    known = Executions(opened(settings))
    execution = known.find(options.execution)
    steps = {step.name: step for step in known.steps(execution.arn)}
    if options.step not in steps:
        valid = ", ".join(steps) or "none has begun yet"
        raise ExecutionError(
            f"execution {execution.id} has no step {options.step!r} (valid: {valid})"
        )
    log = steps[options.step].log
    if log is None:
        raise ExecutionError(
            f"step {options.step} runs nothing that prints (sentiment status shows its result)"
        )
    lines = known.log_lines(log)
    if options.json:
        print_json({"step": options.step, "place": log.place, "lines": list(lines)})
        return 0
    for line in lines:
        print(line)
    return 0
