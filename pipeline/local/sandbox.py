"""Namespaces around a container's process: `sandbox.py ML TEMPORARY HOSTS COMMAND...`.

With TEMPORARY (a folder), strictly: the process sees that folder as /tmp, ML (a folder, or nothing)
as /opt/ml, shared memory of its own, no process but its own, and all the rest read-only. It has no
capability to change that, and all that it started ends with it. HOSTS (a file, or nothing) stands
for /etc/hosts in any case, so that the hosts of a job find each other by name. Needs Linux with
unprivileged user namespaces. Only the standard library: it starts with jobs.

It keeps a script to its folders. It is no jail for hostile code, which finds the machine's network
and the sockets of its services.
"""

from __future__ import annotations

import ctypes
import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from glob import glob

STRICT_VARIABLE = "LOCAL_ACCOUNT_STRICT"
CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWPID = 0x00020000, 0x10000000, 0x20000000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC = 1, 2, 4, 8
MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 32, 4096, 16384, 1 << 18
KEPT_FLAGS = {"nosuid": MS_NOSUID, "nodev": MS_NODEV, "noexec": MS_NOEXEC, "noatime": 1024,
              "nodiratime": 2048, "relatime": 1 << 21}  # fmt: skip
PR_SET_PDEATHSIG, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 1, 24, 38
CAPABILITY_VERSION = 0x20080522
OPT, TEMPORARY = "/opt", "/tmp"  # noqa: S108 - hidden behind a folder of the job's own
PYTHON = f"{OPT}/ml-python"  # the job's; its own path may have a space, which drivers do not quote
SHARED_MEMORY = "/dev/shm"  # noqa: S108 - likewise
WRITABLE = (f"{OPT}/ml", TEMPORARY, SHARED_MEMORY, "/dev/pts", "/proc")
# Written to, they change the machine: https://github.com/opencontainers/runtime-spec, readonlyPaths
OF_THE_MACHINE = ("/proc/sys", "/proc/sysrq-trigger", "/proc/irq", "/proc/bus", "/proc/fs")
DEVICES = ("null", "zero", "full", "random", "urandom", "tty", "ptmx",
           "nvidia*", "dri", "kfd", "dxg")  # fmt: skip


def is_strict() -> bool:
    """Whether what this process starts is to run in strict mode."""
    return os.environ.get(STRICT_VARIABLE) == "1"


def _check(result: int, what: str) -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def _mount(source: str, target: str, kind: str, flags: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    names = (os.fsencode(text) if text else None for text in (source, target, kind))
    _check(libc.mount(*names, ctypes.c_ulong(flags), None), f"mount {target}")


def _enter(strict: bool) -> None:
    """Enter new user and mount namespaces under the same user id; children, of processes too."""
    user, group = os.geteuid(), os.getegid()
    libc = ctypes.CDLL(None, use_errno=True)
    kinds = CLONE_NEWUSER | CLONE_NEWNS | (CLONE_NEWPID if strict else 0)
    _check(libc.unshare(kinds), "unshare")
    for name, text in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"),
                       ("gid_map", f"{group} {group} 1")):  # fmt: skip
        with open(f"/proc/self/{name}", "w") as file:  # noqa: PTH123 - start-up time
            file.write(text)
    _mount("", "/", "", MS_REC | MS_PRIVATE)


# -- what is seen


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
        if name != "ml" and is_folder:
            os.mkdir(f"{OPT}/{name}")  # noqa: PTH102
            _mount(f"/proc/self/fd/{handle}", f"{OPT}/{name}", "", MS_BIND | MS_REC)
        os.close(handle)
    os.symlink(_environment(), PYTHON)  # noqa: PTH211
    os.mkdir(f"{OPT}/ml")  # noqa: PTH102
    _mount(f"/proc/self/fd/{source}", f"{OPT}/ml", "", MS_BIND | MS_REC)
    os.close(source)


def _needed(command: list[str]) -> list[str]:
    """What of the temporary folder stays visible: Python, and what the command was told of."""
    told = [part for value in os.environ.values() for part in value.split(os.pathsep)]
    paths = {os.path.normpath(path) for path in (_environment(), sys.prefix, *command, *told)}
    return sorted(
        path
        for path in paths
        if path.startswith(f"{TEMPORARY}/") and os.path.exists(path)  # noqa: PTH110
    )


def _show_temporary(folder: str, needed: list[str]) -> None:
    """Make `folder` /tmp, with what is needed of the one before at its old place."""
    handles = [(path, os.open(path, os.O_PATH), os.path.isdir(path)) for path in needed]  # noqa: PTH112
    _mount(folder, TEMPORARY, "", MS_BIND)
    for path, handle, is_folder in handles:
        if not os.path.exists(path):  # noqa: PTH110 - else a folder above it is needed too
            os.makedirs(path if is_folder else os.path.dirname(path), exist_ok=True)  # noqa: PTH103, PTH120
            if not is_folder:
                os.close(os.open(path, os.O_CREAT))
            _mount(f"/proc/self/fd/{handle}", path, "", MS_BIND | MS_REC)
        os.close(handle)


def _show_processes() -> None:
    """Show no process but the job's own; where a container around us forbids it, by number only."""
    try:
        _mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    except PermissionError:
        return  # no number of a process that is seen there means anything to the job


def _devices() -> list[str]:
    return [path for name in DEVICES for path in glob(f"/dev/{name}") if not os.path.islink(path)]  # noqa: PTH114, PTH207


def _mounts() -> list[tuple[int, str, int]]:
    """Number, path and flags of each mount. Source: proc_pid_mountinfo(5)."""
    with open("/proc/self/mountinfo", "rb") as file:  # noqa: PTH123
        rows = [line.split() for line in file]
    found = []
    for row in rows:
        path = re.sub(rb"\\([0-7]{3})", lambda match: bytes([int(match[1], 8)]), row[4])
        flags = sum(KEPT_FLAGS.get(option, 0) for option in row[5].decode().split(","))
        found.append((int(row[0]), os.fsdecode(path), flags))
    return found


def _is_seen(number: int, path: str) -> bool:
    """Whether a path leads to that mount: another may cover it, or nobody may go there."""
    try:
        handle = os.open(path, os.O_PATH)
    except OSError:
        return False
    with open(f"/proc/self/fdinfo/{handle}") as file:  # noqa: PTH123
        lines = dict(line.split(":", 1) for line in file)
    os.close(handle)
    return int(lines["mnt_id"]) == number


def _make_read_only() -> None:
    """Make every mount read-only, and without devices; raises OSError where one refuses."""
    devices = _devices()
    for path in (*devices, *filter(os.path.exists, OF_THE_MACHINE)):
        _mount(path, path, "", MS_BIND | MS_REC)
    for number, path, flags in _mounts():
        if path not in (*WRITABLE, *devices) and _is_seen(number, path):
            _mount("", path, "", MS_BIND | MS_REMOUNT | MS_RDONLY | MS_NODEV | flags)


# -- who runs in it


def _start_init() -> None:
    """Go on as the first process of the namespace; this one waits for it and passes SIGTERM on.

    When this process is killed, so is the first of the namespace, and with it all the others.
    """
    here, there = os.pipe()
    init = os.fork()
    if init:
        signal.signal(signal.SIGTERM, lambda number, _: os.kill(init, number))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        _exit_as(init)
    os.close(there)
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    os.set_blocking(here, False)
    try:
        os.read(here, 1)
    except BlockingIOError:  # whoever started this process still has its end of the pipe
        os.close(here)
        os.setsid()
        return
    os._exit(1)


def _exit_as(process: int) -> None:
    """End as a child does; the orphans that end before it are only buried."""
    while True:
        ended, status = os.wait()
        if ended == process:
            code = os.waitstatus_to_exitcode(status)
            os._exit(code if code >= 0 else 128 - code)


def _drop_privileges() -> None:
    """Give up every capability, and the way to any: mounts stay as they are."""
    libc = ctypes.CDLL(None, use_errno=True)
    _check(libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no new privileges")
    capability = 0
    while libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) == 0:  # EINVAL after the last
        capability += 1
    header, none = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION, 0), (ctypes.c_uint32 * 6)()
    _check(libc.capset(header, none), "drop capabilities")


def _run(command: list[str]) -> None:
    """Become the command."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    try:
        os.execvp(command[0], command)  # noqa: S606 - the container's own command
    except OSError as error:
        print(f"cannot start {command[0]}: {error.strerror}", file=sys.stderr, flush=True)
        os._exit(127)


def _run_below(command: list[str]) -> None:
    """Run the command in a group of its own, as the child of this, the namespace's first process.

    The first one itself would not be ended by a signal that it has no handler for.
    """
    child = os.fork()
    if child == 0:
        os.setsid()
        _run(command)

    def pass_on(number: int, _: object) -> None:
        try:
            os.killpg(child, number)
        except ProcessLookupError:  # it has no group of its own yet
            os.kill(child, number)

    signal.signal(signal.SIGTERM, pass_on)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    _exit_as(child)


def command_line(
    command: Sequence[str], *, ml: str = "", temporary: str = "", hosts: str = ""
) -> list[str]:
    """What runs the command so."""
    return [sys.executable, "-S", __file__, ml, temporary, hosts, *command]


@cache
def is_available(*, strict: bool = False) -> bool:
    """Whether this kernel lets this user make mount namespaces; `strict`: and strict mode."""
    if not sys.platform.startswith("linux"):
        return False
    import tempfile  # start-up time

    with tempfile.TemporaryDirectory() as folder:
        command = command_line(["true"], temporary=folder if strict else "")
        return subprocess.run(command, capture_output=True, check=False).returncode == 0  # noqa: S603


def main(ml: str, temporary: str, hosts: str, command: list[str]) -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})  # until it can be passed on
    here = os.getcwd()  # noqa: PTH109
    try:
        _enter(strict=bool(temporary))
    except OSError as error:
        sys.exit(f"this machine lets this user make no namespaces ({error.strerror})")
    if hosts:
        _mount(hosts, "/etc/hosts", "", MS_BIND)
    if not temporary:
        os.chdir(here)
        _run(command)
    needed = _needed(command)
    _start_init()
    if ml:
        _show_ml(ml)
    _show_temporary(temporary, needed)
    if os.path.isdir(SHARED_MEMORY):  # noqa: PTH112
        _mount("tmpfs", SHARED_MEMORY, "tmpfs", MS_NOSUID | MS_NODEV)
    _show_processes()
    _make_read_only()
    os.chdir(f"{OPT}/ml" if ml else TEMPORARY)
    _drop_privileges()
    _run_below(command)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4:])
