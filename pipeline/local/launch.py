"""Stands between the account and a container's process: `launch.py RECORD LINKS COMMAND...`.

Standard input is a pipe whose other end only the owner holds. When it closes, by a stop, or because
the owner died, every process of the command's group is ended: SIGTERM, then SIGKILL after a grace
period. At the end exit status and resource use are written to the file RECORD, and the folder LINKS
(the short names under which the process saw its /opt/ml, see jobs.py) is removed. Imports nothing
but the standard library, since it starts with every job.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time

GRACE_S = float(os.environ.get("LOCAL_ACCOUNT_GRACE_S", "30"))


def _end_group(group: int, signal_number: int) -> None:
    try:
        os.killpg(group, signal_number)
    except (ProcessLookupError, PermissionError):
        return


def main(record: str, links: str, command: list[str]) -> int:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal's Ctrl-C is the owner's business
    started = time.time()
    try:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)  # noqa: S603
    except OSError as error:
        print(f"cannot start {command[0]}: {error.strerror}", file=sys.stderr)
        return 127

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
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    with open(record, "w", encoding="utf-8") as file:  # noqa: PTH123 - pathlib costs start-up time
        json.dump(
            {
                "ExitStatus": status,
                "WallSeconds": round(time.time() - started, 3),
                "CpuSeconds": round(usage.ru_utime + usage.ru_stime, 3),
                "PeakMemoryBytes": usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024),
            },
            file,
        )
    if links:
        for entry in os.scandir(links):
            os.unlink(entry.path)  # noqa: PTH108
        os.rmdir(links)  # noqa: PTH106
    return status if status >= 0 else 128 - status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], sys.argv[3:]))
