"""`sentiment stop` and `sentiment retry`: end an execution that runs, resume one that failed."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from collections.abc import Callable
from typing import Any

from pipeline.opening import opened
from pipeline.settings import Settings


def add_control(adder: Any, command: Callable[..., Any]) -> None:
    """Add the two commands; `command` is the command line's way to add one."""
    for name, function, about in (
        ("stop", stop, "stop an execution: its jobs get SIGTERM, 30 s later SIGKILL"),
        ("retry", retry, "go on from the step that failed or was stopped, and follow to the end"),
    ):
        parser = command(adder, name, function, about)
        parser.add_argument(
            "execution", metavar="ID", nargs="?", help="id of the execution [the newest]"
        )
    add_strict(parser)


def add_strict(parser: Any) -> None:
    """Add the option of the commands that run jobs in the local account."""
    parser.add_argument(
        "--strict",
        action="store_true",
        help="local account: jobs see /opt/ml itself, and the rest of the machine read-only",
    )


def stop(options: Namespace, settings: Settings) -> int:
    """Ask an execution to stop, and wait until it has."""
    return _act(options, settings, "stop")


def retry(options: Namespace, settings: Settings) -> int:
    """Start a failed or stopped execution again; what succeeded is kept."""
    return _act(options, settings, "retry")


def _act(options: Namespace, settings: Settings, verb: str) -> int:
    from pipeline.display import Follower
    from pipeline.executions import Executions

    target = opened(settings)
    known = Executions(target)
    execution = known.find(options.execution)
    (known.stop if verb == "stop" else known.retry)(execution.arn)
    execution, _ = Follower(target, sys.stderr).watch(known.follow(execution.arn))
    if options.json:
        print(json.dumps({
            "execution": execution.id,
            "status": execution.status,
            "reason": execution.reason,
        }))  # fmt: skip
    else:
        print(f"execution {execution.id}: {execution.status}")
        if execution.reason:
            print(execution.reason, file=sys.stderr)
    wanted = "Stopped" if verb == "stop" else "Succeeded"
    return 0 if execution.status == wanted else 1
