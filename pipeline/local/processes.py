"""Background processes of the account, and how to know whether one still lives.

A process that owns something (an execution, an endpoint, the outbox) holds an advisory lock on a
file for as long as it lives. The kernel releases the lock however the process ends, `kill -9`
included, so "is the lock free?" is a truthful "is it dead?", which a recorded pid is not.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.local.errors import LocalAccountError
from pipeline.local.launch import LOCK_VARIABLE, RECORD_VARIABLE

PACKAGE_ROOT = Path(__file__).resolve().parents[2]

# Started by this process and not yet seen to end: kept so that a long-lived one leaves no zombies.
_CHILDREN: list[subprocess.Popen[bytes]] = []
_REAPING = threading.Lock()
# A look at a lock (`is_alive`) holds it, shared, for microseconds: an owner-to-be tries again.
ACQUIRE_WITHIN_S = 0.05
ACQUIRE_PAUSE_S = 0.01


def acquire(lock: Path, *, within_s: float = ACQUIRE_WITHIN_S) -> int | None:
    """Take the lock; the open file descriptor, or None when another process keeps holding it."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + within_s
    while True:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(lock, descriptor):
                return descriptor
        except BlockingIOError:
            pass
        os.close(descriptor)
        if time.monotonic() > deadline:
            return None
        time.sleep(ACQUIRE_PAUSE_S)


def _is_at(lock: Path, descriptor: int) -> bool:
    """Whether the open file is still the one at the path: whoever held it may have removed it."""
    try:
        return os.path.samestat(lock.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


@contextmanager
def held(lock: Path, *, what: str, within_s: float = ACQUIRE_WITHIN_S) -> Iterator[int]:
    """Hold the lock inside; its descriptor can be handed over with `start`.

    Raises LocalAccountError when another process holds it.
    """
    descriptor = acquire(lock, within_s=within_s)
    if descriptor is None:
        raise LocalAccountError(f"{what} is already being worked on by another process")
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def is_alive(lock: Path) -> bool:
    """Whether a living process holds the lock."""
    while True:
        try:
            descriptor = os.open(lock, os.O_RDWR)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            if _is_at(lock, descriptor):
                return False
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)


def spawn(module: str, arguments: list[str], *, lock: Path, log: Path) -> bool:
    """Start `python -m module` detached, holding the lock; False if a living process holds it."""
    descriptor = acquire(lock)
    if descriptor is None:
        return False
    try:
        start(module, arguments, descriptor=descriptor, log=log)
    finally:
        os.close(descriptor)
    return True


def start(module: str, arguments: list[str], *, descriptor: int, log: Path) -> None:
    """Start `python -m module` detached and hand it a lock that the caller has taken.

    The child inherits the lock, so there is no moment at which the work is promised but nobody
    holds it.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        child = subprocess.Popen(  # noqa: S603 - our own interpreter and module
            [sys.executable, "-m", module, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            pass_fds=(descriptor,),
            env={**own_environment(), LOCK_VARIABLE: str(descriptor)},
            cwd="/",
        )
    with _REAPING:  # threads start children at once, and none may be forgotten
        _CHILDREN[:] = [*(one for one in _CHILDREN if one.poll() is None), child]


def release_inherited_lock() -> None:
    """Give up the lock that `spawn` handed to this process, before it ends."""
    descriptor = os.environ.pop(LOCK_VARIABLE, None)
    if descriptor is not None:
        os.close(int(descriptor))


def own_environment() -> dict[str, str]:
    """The environment of the account's own processes: the caller's, able to import this package.

    Whatever job or function the caller is in, they are none of it.
    """
    variables = {key: value for key, value in os.environ.items() if key != RECORD_VARIABLE}
    return {**variables, "PYTHONPATH": str(PACKAGE_ROOT), "PYTHONUNBUFFERED": "1"}
