"""Stands between the account and a container's process: `launch.py RECORD LINKS COMMAND...`.

Standard input is a pipe whose other end only the owner holds. When it closes, by a stop, or because
the owner died, every process of the command's group is ended: SIGTERM, then SIGKILL after a grace
period. Should this process itself be killed, the command dies with it, and RECORD.group tells whose
the group was, for the account to end what is left (`end_group`). At the end exit status and
resource use are written to the file RECORD, and the folder LINKS (the short names under which the
process saw its /opt/ml, see containers.py) is removed. Imports nothing but the standard library,
since it starts with every job.
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

PR_SET_PDEATHSIG = 1
# Of one command, which does not hand it on; and of all of them.
GRACE_VARIABLES = ("LAUNCH_GRACE_S", "LOCAL_ACCOUNT_GRACE_S")
GRACE_S = float(os.environ.pop(GRACE_VARIABLES[0], os.environ.get(GRACE_VARIABLES[1], "30")))


def die_with_parent() -> None:
    """Have the kernel kill this process when the one that started it is killed (Linux)."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


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


def end_group(record: str) -> None:
    """Kill what is left of a command whose launcher was killed, if it is still that command."""
    try:
        with open(f"{record}.group", encoding="utf-8") as file:  # noqa: PTH123
            group, started = [*file.read().split(), ""][:2]
    except (OSError, ValueError):
        return
    # A number is not given to a new process while a group of that number has members.
    if started and started_at(int(group)) in ("", started):
        _end_group(int(group), signal.SIGKILL)


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
    try:
        process = subprocess.Popen(  # noqa: S603
            command, stdin=subprocess.DEVNULL, start_new_session=True, preexec_fn=die_with_parent
        )
    except OSError as error:
        print(f"cannot start {command[0]}: {error.strerror}", file=sys.stderr)
        return 127

    with open(f"{record}.group", "w", encoding="utf-8") as file:  # noqa: PTH123
        file.write(f"{process.pid} {started_at(process.pid)}")

    def follow_owner() -> None:
        os.read(0, 1)  # not sys.stdin: its lock would be held while the interpreter ends
        _end_group(process.pid, signal.SIGTERM)
        try:
            process.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            _end_group(process.pid, signal.SIGKILL)

    threading.Thread(target=follow_owner, daemon=True).start()
    status = process.wait()
    _end_group(process.pid, signal.SIGKILL)  # what the command left running
    _write_record(record, status, time.time() - started)
    if links:
        for entry in os.scandir(links):
            os.unlink(entry.path)  # noqa: PTH108
        os.rmdir(links)  # noqa: PTH106
    return status if status >= 0 else 128 - status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], sys.argv[3:]))
