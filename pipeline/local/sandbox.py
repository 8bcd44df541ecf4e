"""A mount namespace around a container's process: `sandbox.py ML HOSTS COMMAND...`.

With ML (a folder) the process sees it as /opt/ml, the temporary folder and the shared memory are
its own, and all the rest is read-only. Either way HOSTS stands for /etc/hosts, so that the hosts of
a job find each other by name. Needs Linux with unprivileged user namespaces. Only the standard
library: it starts with jobs.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from functools import cache

STRICT_VARIABLE = "LOCAL_ACCOUNT_STRICT"
CLONE_NEWNS, CLONE_NEWUSER = 0x00020000, 0x10000000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC = 1, 2, 4, 8
MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 32, 4096, 16384, 1 << 18
KEPT_FLAGS = {"nosuid": MS_NOSUID, "nodev": MS_NODEV, "noexec": MS_NOEXEC, "noatime": 1024,
              "nodiratime": 2048, "relatime": 1 << 21}  # fmt: skip
OPT, TEMPORARY = "/opt", "/tmp"  # noqa: S108 - hidden behind a folder of the job's own
PYTHON = f"{OPT}/ml-python"  # the job's; its own path may have a space, which drivers do not quote
SHARED_MEMORY = "/dev/shm"  # noqa: S108 - likewise
WRITABLE = (f"{OPT}/ml", TEMPORARY, SHARED_MEMORY, "/dev/pts", "/proc")


def _check(result: int, what: str) -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def _mount(source: str, target: str, kind: str, flags: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    names = (os.fsencode(text) if text else None for text in (source, target, kind))
    _check(libc.mount(*names, ctypes.c_ulong(flags), None), f"mount {target}")


def _enter() -> None:
    """Enter new user and mount namespaces under the same user id."""
    user, group = os.geteuid(), os.getegid()
    libc = ctypes.CDLL(None, use_errno=True)
    _check(libc.unshare(CLONE_NEWUSER | CLONE_NEWNS), "unshare")
    for name, text in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"),
                       ("gid_map", f"{group} {group} 1")):  # fmt: skip
        with open(f"/proc/self/{name}", "w") as file:  # noqa: PTH123 - start-up time
            file.write(text)
    _mount("", "/", "", MS_REC | MS_PRIVATE)


def _environment() -> str:
    """The virtual environment; started without `site`, Python's own prefix is not it."""
    return os.path.dirname(os.path.dirname(sys.executable))  # noqa: PTH120


def _show_ml(folder: str) -> None:
    """Make `folder` /opt/ml; what else is in /opt stays visible."""
    kept = [(name, f"{OPT}/{name}") for name in os.listdir(OPT)] if os.path.isdir(OPT) else []  # noqa: PTH112, PTH208
    handles = [(name, os.open(path, os.O_PATH), os.path.isdir(path)) for name, path in kept]  # noqa: PTH112
    source = os.open(folder, os.O_PATH)
    _mount("tmpfs", OPT, "tmpfs", MS_NOSUID | MS_NODEV)
    for name, handle, is_folder in handles:
        if name == "ml" or not is_folder:
            continue
        os.mkdir(f"{OPT}/{name}")  # noqa: PTH102
        _mount(f"/proc/self/fd/{handle}", f"{OPT}/{name}", "", MS_BIND | MS_REC)
    os.symlink(_environment(), PYTHON)  # noqa: PTH211
    os.mkdir(f"{OPT}/ml")  # noqa: PTH102
    _mount(f"/proc/self/fd/{source}", f"{OPT}/ml", "", MS_BIND | MS_REC)


def _make_read_only() -> None:
    with open("/proc/self/mountinfo") as file:  # noqa: PTH123
        rows = [line.split() for line in file]
    for row in rows:
        target = row[4].encode().decode("unicode_escape")
        if f"{target}/".startswith(tuple(f"{part}/" for part in WRITABLE)):
            continue
        kept = sum(KEPT_FLAGS.get(option, 0) for option in row[5].split(","))
        try:
            _mount("", target, "", MS_BIND | MS_REMOUNT | MS_RDONLY | kept)
        except OSError:
            if target == "/":
                raise


@cache
def is_available() -> bool:
    """Whether this kernel lets this user make mount namespaces."""
    if not sys.platform.startswith("linux"):
        return False
    command = [sys.executable, "-S", __file__, "", "/etc/hosts", "true"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0  # noqa: S603


def main(ml: str, hosts: str, command: list[str]) -> None:
    here = os.getcwd()  # noqa: PTH109
    _enter()
    _mount(hosts, "/etc/hosts", "", MS_BIND)
    if ml:
        temporary = f"{ml}-tmp"
        os.makedirs(temporary, exist_ok=True)  # noqa: PTH103
        handle = os.open(temporary, os.O_PATH)
        _show_ml(ml)
        if not _environment().startswith(f"{TEMPORARY}/"):
            _mount(f"/proc/self/fd/{handle}", TEMPORARY, "", MS_BIND)
        if os.path.isdir(SHARED_MEMORY):  # noqa: PTH112
            _mount("tmpfs", SHARED_MEMORY, "tmpfs", MS_NOSUID | MS_NODEV)
        _make_read_only()
        here = f"{OPT}/ml"
    os.chdir(here)
    try:
        os.execvp(command[0], command)  # noqa: S606 - the container's own command
    except OSError as error:
        sys.exit(f"cannot start {command[0]}: {error.strerror}")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
