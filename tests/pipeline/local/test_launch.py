"""The launcher between the account and a container's process: nothing outlives the command."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.local import processes
from pipeline.local.containers import LAUNCHER
from pipeline.local.launch import end_rest
from tests.pipeline.local.conftest import wait_until

# A daemon as daemons are made: a session of its own, its parent gone.
DAEMON = """
import os, pathlib, subprocess, sys
if os.fork() == 0:
    os.setsid()
    child = subprocess.Popen(["sleep", "300"])
    pathlib.Path(sys.argv[1]).write_text(f"{child.pid}\\n")
    os._exit(0)
while not pathlib.Path(sys.argv[1]).exists():
    pass
"""
WAITS = DAEMON + "import time\ntime.sleep(300)\n"
# Code in a function that has the account start a background process of its own.
OWN = """
import pathlib, sys
from pipeline.local.processes import _CHILDREN, spawn
mark = pathlib.Path(sys.argv[1])
spawn("http.server", ["0", "--bind", "127.0.0.1"], lock=mark.with_name("lock"),
      log=mark.with_name("log"))
mark.write_text(f"{_CHILDREN[0].pid}\\n")
"""
pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux hands orphans")


@pytest.fixture
def mark(tmp_path: Path) -> Iterator[Path]:
    """The file into which a script writes the process that it detaches; it is ended in any case."""
    path = tmp_path / "mark"
    yield path
    if not is_gone(detached(path)):
        os.kill(detached(path), signal.SIGKILL)


def launch(script: str, mark: Path) -> Any:
    return subprocess.Popen(  # noqa: S603 - the launcher itself
        [sys.executable, "-S", LAUNCHER, mark.with_name("usage.json"), "",
         sys.executable, "-c", script, mark],
        stdin=subprocess.PIPE,
        env={**processes.own_environment(), "LAUNCH_GRACE_S": "1"},
    )  # fmt: skip


def detached(mark: Path) -> int:
    return wait_until(lambda: int(mark.read_text()) if mark.exists() and mark.read_text() else None)


def is_gone(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def test_a_process_that_a_command_detached_ends_with_it(mark: Path) -> None:
    with launch(DAEMON, mark) as launcher:
        assert launcher.wait(30) == 0
        assert is_gone(detached(mark))


def test_a_process_that_a_command_detached_ends_when_the_owner_stops_it(mark: Path) -> None:
    with launch(WAITS, mark) as launcher:
        child = detached(mark)
        launcher.stdin.close()
        assert launcher.wait(30) == 128 + signal.SIGTERM
        assert is_gone(child)


def test_what_a_killed_launcher_cannot_end_is_known_by_its_record(mark: Path) -> None:
    with launch(WAITS, mark) as launcher:
        child = detached(mark)
        launcher.kill()
    assert not is_gone(child), "nobody is left to end it"
    end_rest(str(mark.with_name("usage.json")))
    wait_until(lambda: is_gone(child))


def test_the_accounts_own_process_outlives_the_function_that_asked_for_it(mark: Path) -> None:
    with launch(OWN, mark) as launcher:
        assert launcher.wait(30) == 0
    assert not is_gone(detached(mark))
