"""Stages the source tree of each job: its entry scripts and the `model` package, nothing else.

Every tree lies in S3 under a prefix that is the digest of its content. The same code thus gives
the same pipeline definition and SageMaker's step cache hits, whoever compiles it and wherever.
"""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from pipeline.errors import SourceError
from pipeline.packages import content_digest

PACKAGE_SUFFIXES = frozenset({".py", ".txt", ".json"})

ENTRY_FILES = {
    "preprocess": {"preprocess.py": "steps/preprocess.py"},
    "train": {"train.py": "steps/train.py", "inference.py": "inference/inference.py"},
    "evaluate": {"evaluate.py": "steps/evaluate.py"},
}
REQUIREMENTS = "requirements.txt"
ARCHIVE = "sourcedir.tar.gz"


@dataclass(frozen=True)
class Tree:
    """The files of one job: path in the job's folder, content."""

    job: str
    files: tuple[tuple[str, bytes], ...]

    @property
    def digest(self) -> str:
        """Hex digest of names and contents; times, modes and places do not count."""
        return content_digest(self.files)

    @property
    def prefix(self) -> str:
        """The S3 key prefix of this tree, without a slash at its end."""
        return f"source/{self.job}/{self.digest}"

    def archive(self) -> bytes:
        """The tree as a tar.gz that is the same, byte for byte, for the same content."""
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
            for name, content in self.files:
                member = tarfile.TarInfo(name)
                member.size, member.mode = len(content), 0o644
                tar.addfile(member, io.BytesIO(content))
        return gzip.compress(buffer.getvalue(), mtime=0)


def stage(job: str, root: Path) -> Tree:
    """Collect the tree of `job` (preprocess, train or evaluate) from the clone at `root`."""
    sources = {name: root / path for name, path in ENTRY_FILES[job].items()}
    sources[REQUIREMENTS] = root / "steps" / REQUIREMENTS
    sources.update(_package(root / "model", root))
    return Tree(job, tuple((name, _read(sources[name])) for name in sorted(sources)))


def code_digest(trees: Iterable[Tree]) -> str:
    """One digest for all jobs' code together: the model version's record of what made it."""
    return content_digest((tree.job, tree.digest.encode()) for tree in trees)


def upload(s3: Any, bucket: str, prefix: str, files: Iterable[tuple[str, bytes]]) -> str:
    """Put what is not there yet under a content-addressed prefix; returns its URI with a slash."""
    listing = s3.list_objects_v2(Bucket=bucket, Prefix=f"{prefix}/")
    present = {item["Key"]: item["Size"] for item in listing.get("Contents", [])}
    for name, content in files:
        key = f"{prefix}/{name}"
        if present.get(key) != len(content):
            s3.put_object(Bucket=bucket, Key=key, Body=content)
    return f"s3://{bucket}/{prefix}/"


def folder_files(folder: Path) -> tuple[tuple[str, bytes], ...]:
    """Every file below `folder` but compiled Python, as (relative name, content)."""
    return tuple(
        (path.relative_to(folder).as_posix(), path.read_bytes())
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    )


def _package(package: Path, root: Path) -> dict[str, Path]:
    files = {
        path.relative_to(root).as_posix(): path
        for path in package.rglob("*")
        if path.suffix in PACKAGE_SUFFIXES and path.is_file() and not _is_hidden(path, root)
    }
    if f"{package.name}/__init__.py" not in files:
        raise SourceError(f"no Python package at {package}: run from a complete clone")
    return files


def _is_hidden(path: Path, root: Path) -> bool:
    parts = PurePosixPath(path.relative_to(root).as_posix()).parts
    return any(part.startswith(".") or part == "__pycache__" for part in parts)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SourceError(f"cannot read {path}, which a job needs: {error.strerror}") from error
