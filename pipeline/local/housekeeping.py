"""Where the space of an account's folder is, and what of it nobody needs any more."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.local.containers import end_orphans
from pipeline.local.jobs import job_lock
from pipeline.local.processes import acquire, is_alive

if TYPE_CHECKING:
    from pipeline.local.account import Account

DRAFT_AGE_S = 3600.0
DAY_S = 86_400.0
# What may go, why, and the lock that whoever uses it holds.
Found = tuple[Path, str, Path | None]


@dataclass(frozen=True)
class Leftover:
    """A file or folder that may go, and why; nobody may hold its `lock` when it does."""

    path: Path
    why: str
    size_bytes: int
    lock: Path | None = None


def size_bytes(path: Path) -> int:
    """Bytes of a file, or of all files below a folder."""
    if not path.is_dir():
        return path.stat().st_size if path.exists() else 0
    total = 0
    for parent, _, names in os.walk(path):
        for name in names:
            try:
                total += Path(parent, name).lstat().st_size
            except FileNotFoundError:  # whoever made it has just removed it
                continue
    return total


def usage(account: Account) -> list[tuple[str, int]]:
    """Each part of the home and its bytes, the largest first; buckets by their first prefix."""
    parts: list[tuple[str, int]] = []
    for path in sorted(account.home.iterdir()):
        if path.name == "s3":
            parts += [
                (f"s3://{bucket.name}/{item.name}{'/' if item.is_dir() else ''}", size_bytes(item))
                for bucket in account.objects.buckets()
                for item in sorted(bucket.iterdir())
            ]
        else:
            parts.append((f"{path.name}/" if path.is_dir() else path.name, size_bytes(path)))
    return sorted(parts, key=lambda part: -part[1])


def leftovers(account: Account, *, logs_older_than_days: float | None = None) -> list[Leftover]:
    """What a kill or a finished piece of work left behind: safe to delete, and nothing else.

    Buckets, registry and executions are never among it; logs only when an age is given.
    """
    return [
        Leftover(path, why, size_bytes(path), lock)
        for path, why, lock in (
            *_jobs(account),
            *_drafts(account),
            *_endpoints(account),
            *_logs(account, logs_older_than_days),
            *_locks(account),
        )
    ]


def delete(found: list[Leftover]) -> list[Leftover]:
    """Delete them, but for what has come into use since; those that are gone."""
    return [item for item in found if _delete(item)]


def _delete(item: Leftover) -> bool:
    if item.lock is None:
        _remove(item.path)
        return True
    descriptor = acquire(item.lock)
    if descriptor is None:
        return False
    try:
        end_orphans(item.path)
        _remove(item.path)
        item.lock.unlink(missing_ok=True)  # while it is held: see `acquire`
    finally:
        os.close(descriptor)
    return True


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _children(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _jobs(account: Account) -> Iterator[Found]:
    for path in _children(account.home / "jobs"):
        lock = job_lock(account, path.name)
        if not is_alive(lock):
            yield path, "the folder of a job that has ended", lock


def _drafts(account: Account) -> Iterator[Found]:
    for path in _children(account.objects.temporary):
        if time.time() - path.stat().st_mtime > DRAFT_AGE_S:
            yield path, "an upload or a call that was not finished", None


def _endpoints(account: Account) -> Iterator[Found]:
    for path in _children(account.home / "endpoints"):
        lock = account.home / "locks" / f"endpoint-{path.name}"
        if account.store.get("endpoint", path.name) is None and not is_alive(lock):
            yield path, "the model of an endpoint that was deleted", lock


def _logs(account: Account, days: float | None) -> Iterator[Found]:
    if days is None:
        return
    for path in sorted((account.home / "logs").rglob("*.log")):
        if time.time() - path.stat().st_mtime > days * DAY_S:
            yield path, f"a log of more than {days:g} days ago", None


def _locks(account: Account) -> Iterator[Found]:
    for path in _children(account.home / "locks"):
        if path.name.startswith(("job-", "execution-", "function-")) and not is_alive(path):
            yield path, "the lock of work that has ended", path
