"""A training job's checkpoints: its folder /opt/ml/checkpoints and its S3 prefix, kept alike."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.local.objects import split_uri

if TYPE_CHECKING:
    from pipeline.local.account import Account

INTERVAL_S = 1.0
SETTLED_S = 0.5


class Checkpoints:
    """Brings what an earlier job left to every host, and what the hosts write to the prefix.

    While the job runs only files that have not changed for a moment are copied, so that a runner
    that is killed leaves the checkpoints so far, and each of them whole.
    """

    def __init__(self, account: Account, job: dict[str, Any], folders: Sequence[Path]) -> None:
        self._objects = account.objects
        self._uri: str | None = job.get("CheckpointConfig", {}).get("S3Uri")
        self._folders = [folder / "ml/checkpoints" for folder in folders]
        self._kept: dict[Path, int] = {}
        self._looked = time.monotonic()

    def restore(self) -> None:
        """Copy the prefix into the folder of every host."""
        if not self._uri:
            return
        for folder in self._folders:
            self._objects.download(self._uri, folder)
            self._kept |= {path: path.stat().st_mtime_ns for path in _files(folder)}

    def sync(self, *, final: bool = False) -> None:
        """Copy to the prefix what changed; not more often than once a second unless `final`."""
        now = time.monotonic()
        if not self._uri or (not final and now - self._looked < INTERVAL_S):
            return
        self._looked = now
        bucket, prefix = split_uri(self._uri)
        for folder in self._folders:
            for path in _files(folder):
                try:
                    changed_ns = path.stat().st_mtime_ns
                    settled = final or time.time_ns() - changed_ns > SETTLED_S * 1e9
                    if not settled or self._kept.get(path) == changed_ns:
                        continue
                    parts = (*prefix.rstrip("/").split("/"), *path.relative_to(folder).parts)
                    self._objects.put_file(bucket, "/".join(parts).lstrip("/"), path)
                except FileNotFoundError:  # the job replaced or removed it meanwhile
                    continue
                self._kept[path] = changed_ns


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
