"""Stands between the account and a container's process: `launch.py RECORD LINKS COMMAND...`.

Standard input is a pipe whose other end only the owner holds. When it closes, by a stop, or because
the owner died, every process of the command's group is ended: SIGTERM, then SIGKILL after a grace
period. What the command detached (a daemon, a session of its own) is handed to this process by the
kernel when it loses its parent, and killed when the command ends. Should this process itself be
killed, the command dies with it; RECORD.group tells whose the group was, and every process of the
command has the path of RECORD in its environment, for the account to end what is left (`end_rest`).
At the end exit status and resource use are written to the file RECORD, and the folder LINKS (the
short names under which the process saw its /opt/ml, see containers.py) is removed. Imports nothing
but the standard library, since it starts with every job.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
LINUX = sys.platform.startswith("linux")
PAUSE_S, LOOKS = 0.005, 1000  # between two looks at processes that are being killed, and at most
# The environment of a command and of all it starts has its record: by it they are known as its own.
RECORD_VARIABLE = "LOCAL_ACCOUNT_RECORD"
# The account's own background processes, which code in a job or function may have asked for.
LOCK_VARIABLE = "LOCAL_ACCOUNT_LOCK"
# Of one command, which does not hand it on; and of all of them.
GRACE_VARIABLES = ("LAUNCH_GRACE_S", "LOCAL_ACCOUNT_GRACE_S")
GRACE_S = float(os.environ.pop(GRACE_VARIABLES[0], os.environ.get(GRACE_VARIABLES[1], "30")))


def die_with_parent() -> None:
    """Have the kernel kill this process when the one that started it is killed (Linux)."""
    if LINUX:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _adopt_orphans() -> None:
    """Have the kernel make this process the parent of what its descendants leave behind (Linux)."""
    if LINUX:
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)


def started_at(process: int) -> str:
    """When a process began, in the kernel's ticks: with its number, its identity. "" if gone."""
    try:
        with open(f"/proc/{process}/stat", encoding="utf-8") as file:  # noqa: PTH123
            return file.read().rpartition(")")[2].split()[19]
    except OSError:
        return ""


def _end_group(group: int, signal_number: int) -> None:
    try:
        os.killpg(group, signal_number)
    except (ProcessLookupError, PermissionError):
        return


def end_rest(record: str) -> None:
    """Kill what is left of a command whose launcher was killed, if it is still that command."""
    try:
        with open(f"{record}.group", encoding="utf-8") as file:  # noqa: PTH123
            group, started = [*file.read().split(), "", ""][:2]
    except OSError:
        return  # it never began, or its launcher saw to it
    # A number is not given to a new process while a group of that number has members.
    if started and started_at(int(group)) in ("", started):
        _end_group(int(group), signal.SIGKILL)
    for _ in range(LOOKS):
        if not any([_end(process) for process in _processes() if _is_marked(process, record)]):
            return
        time.sleep(PAUSE_S)


def _end(process: int) -> bool:
    """Kill a process; False where it cannot be: it is gone, or is not this user's."""
    try:
        os.kill(process, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _processes() -> list[int]:
    """Every process of the machine (Linux)."""
    return [int(name) for name in os.listdir("/proc") if name.isdigit()] if LINUX else []  # noqa: PTH208


def _variables(process: int) -> list[bytes]:
    """What a process has in its environment; nothing where it has ended, or is another user's."""
    try:
        with open(f"/proc/{process}/environ", "rb") as file:  # noqa: PTH123
            return file.read().split(b"\0")
    except OSError:
        return []


def _is_marked(process: int, record: str) -> bool:
    return os.fsencode(f"{RECORD_VARIABLE}={record}") in _variables(process)


def _is_the_accounts(process: int) -> bool:
    return any(item.startswith(f"{LOCK_VARIABLE}=".encode()) for item in _variables(process))


def _is_child(process: int) -> bool:
    try:
        with open(f"/proc/{process}/stat", encoding="utf-8", errors="replace") as file:  # noqa: PTH123
            return int(file.read().rpartition(")")[2].split()[1]) == os.getpid()
    except OSError:
        return False


def _wait_for(command: int) -> int:
    """The exit status of the command; of the orphans that end meanwhile nothing is kept."""
    while True:
        process, status = os.wait()
        if process == command:
            return os.waitstatus_to_exitcode(status)


def _end_orphans() -> None:
    """Kill every process that the command left: its children become this one's as they end."""
    for _ in range(LOOKS):
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        children = [process for process in _processes() if _is_child(process)]
        if not any([_end(process) for process in children if not _is_the_accounts(process)]):
            return  # what is left is another user's
        time.sleep(PAUSE_S)


def _write_group(record: str, text: str) -> None:
    with open(f"{record}.group", "w", encoding="utf-8") as file:  # noqa: PTH123
        file.write(text)


def _write_record(record: str, status: int, wall_s: float) -> None:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    with open(record, "w", encoding="utf-8") as file:  # noqa: PTH123 - pathlib costs start-up time
        json.dump(
            {
                "ExitStatus": status,
                "WallSeconds": round(wall_s, 3),
                "CpuSeconds": round(usage.ru_utime + usage.ru_stime, 3),
                "PeakMemoryBytes": usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024),
            },
            file,
        )


def main(record: str, links: str, command: list[str]) -> int:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal's Ctrl-C is the owner's business
    started = time.time()
    _adopt_orphans()
    _write_group(record, "")  # before there is a process that it is for
    try:
        process = subprocess.Popen(  # noqa: S603
            command,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=die_with_parent,
            env={**os.environ, RECORD_VARIABLE: record},
        )
    except OSError as error:
        print(f"cannot start {command[0]}: {error.strerror}", file=sys.stderr)
        return 127

    _write_group(record, f"{process.pid} {started_at(process.pid)}")
    ended = threading.Event()

    def follow_owner() -> None:
        os.read(0, 1)  # not sys.stdin: its lock would be held while the interpreter ends
        _end_group(process.pid, signal.SIGTERM)
        if not ended.wait(GRACE_S):
            _end_group(process.pid, signal.SIGKILL)

    threading.Thread(target=follow_owner, daemon=True).start()
    status = process.returncode = _wait_for(process.pid)
    ended.set()
    _end_group(process.pid, signal.SIGKILL)
    _end_orphans()
    with suppress(FileNotFoundError):  # a job outside strict mode may write where it is
        os.unlink(f"{record}.group")  # noqa: PTH108
    _write_record(record, status, time.time() - started)
    if links:
        for entry in os.scandir(links):
            os.unlink(entry.path)  # noqa: PTH108
        os.rmdir(links)  # noqa: PTH106
    return status if status >= 0 else 128 - status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], sys.argv[3:]))
