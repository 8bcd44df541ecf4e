"""S3's objects as files: bucket `b`, key `k` is the file `<root>/b/k`.

Anyone can look at them, or drop files in, with ordinary tools. A write goes to a temporary file
first and is then renamed, so an object is whole or absent. Keys that no file system can hold (`..`,
an empty part, a `%`) are percent-encoded part by part.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import IO
from urllib.parse import unquote

from pipeline.local.errors import ServiceError

CHUNK_BYTES = 1 << 20
PART_BYTES = 255  # of a file's name
# Another client that empties the same folder can be in the way of each.
ATTEMPTS = 100
# A bucket's name is a folder's name as it stands. AWS asks for three characters at least.
BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class Entry:
    """One object: its key, its file, size in bytes and time of last change (epoch seconds)."""

    key: str
    path: Path
    size_bytes: int
    modified: float
    modified_ns: int


def write_atomically(path: Path, data: bytes, temporary: Path) -> None:
    """Write a whole file or none; `temporary` is a folder on the same file system."""
    temporary.mkdir(parents=True, exist_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = temporary / uuid.uuid4().hex
    try:
        draft.write_bytes(data)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def split_uri(uri: str) -> tuple[str, str]:
    """Bucket and key (or prefix) of an s3:// URI."""
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    if not uri.startswith("s3://") or not bucket:
        raise ServiceError("ValidationException", f"not an S3 URI: {uri!r} (form: s3://bucket/key)")
    return bucket, key


class ObjectStore:
    """Buckets as folders below `root`; drafts of files in `temporary`."""

    def __init__(self, root: Path, temporary: Path) -> None:
        self.root = root
        self.temporary = temporary

    def create_bucket(self, bucket: str) -> None:
        self._folder(bucket).mkdir(parents=True, exist_ok=True)

    def buckets(self) -> list[Path]:
        """The folder of every bucket; what else lies beside them is none."""
        found = self.root.iterdir() if self.root.exists() else ()
        return sorted(path for path in found if BUCKET.fullmatch(path.name) and path.is_dir())

    def _folder(self, bucket: str) -> Path:
        """A bucket's folder below the root, whether it exists or not."""
        if not BUCKET.fullmatch(bucket):
            raise ServiceError(
                "InvalidBucketName",
                f"The specified bucket is not valid: {bucket!r} (form: {BUCKET.pattern})",
            )
        return self.root / bucket

    def bucket(self, bucket: str) -> Path:
        """The folder of a bucket that exists."""
        path = self._folder(bucket)
        if not path.is_dir():
            raise ServiceError(
                "NoSuchBucket", f"The specified bucket does not exist: {bucket}", 404
            )
        return path

    def path(self, bucket: str, key: str) -> Path:
        """The file of a key, whether it exists or not."""
        parts = [_part(part) for part in key.split("/")]
        if max(len(os.fsencode(part)) for part in parts) > PART_BYTES:
            raise ServiceError(
                "KeyTooLongError",
                f"a key kept as a file has at most {PART_BYTES} bytes between two slashes",
            )
        return self.bucket(bucket).joinpath(*parts)

    def entry(self, bucket: str, key: str) -> Entry:
        """The object, or a NoSuchKey error."""
        path = self.path(bucket, key)
        entry = _entry(key, path) if path.is_file() else None
        if entry is None:
            raise _no_such_key(key)
        return entry

    def open(self, bucket: str, key: str) -> tuple[Entry, FileIO]:
        """The object and its bytes, which stay its own whatever becomes of the key."""
        path = self.path(bucket, key)
        try:
            file = FileIO(path)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
            raise _no_such_key(key) from error
        return _described(key, path, os.fstat(file.fileno())), file

    @contextmanager
    def draft(self, source: IO[bytes]) -> Iterator[tuple[Path, str]]:
        """A stream in a file for as long as this is entered, and its bytes' MD5 hex digest."""
        self.temporary.mkdir(parents=True, exist_ok=True)
        draft = self.temporary / uuid.uuid4().hex
        digest = hashlib.md5(usedforsecurity=False)
        try:
            with draft.open("wb") as target:
                while chunk := source.read(CHUNK_BYTES):
                    digest.update(chunk)
                    target.write(chunk)
            yield draft, digest.hexdigest()
        finally:
            draft.unlink(missing_ok=True)

    def place(self, draft: Path, bucket: str, key: str) -> Entry:
        """Make a draft an object."""
        path, status = self.path(bucket, key), draft.stat()  # once placed, it may be deleted
        self._move(draft, path, key)
        return _described(key, path, status)

    def put(self, bucket: str, key: str, source: IO[bytes]) -> tuple[Entry, str]:
        """Store a stream; the object and the MD5 hex digest of its bytes."""
        self.path(bucket, key)  # a key that cannot be is refused before its bytes are read
        with self.draft(source) as (draft, digest):
            return self.place(draft, bucket, key), digest

    def put_file(self, bucket: str, key: str, source: Path) -> None:
        """Store a copy of a file."""
        self.temporary.mkdir(parents=True, exist_ok=True)
        draft = self.temporary / uuid.uuid4().hex
        path = self.path(bucket, key)
        try:
            shutil.copyfile(source, draft)
            self._move(draft, path, key)
        finally:
            draft.unlink(missing_ok=True)

    def _move(self, draft: Path, path: Path, key: str) -> None:
        """Put a file in its place; folders that a deletion takes away meanwhile are made again."""
        for _ in range(ATTEMPTS):
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                draft.replace(path)
                return
            except (FileNotFoundError, FileExistsError, NotADirectoryError, IsADirectoryError):
                if not draft.exists():
                    raise
                if self._is_blocked(path):
                    break
        raise ServiceError(
            "InvalidRequest",
            f"key {key!r} and another key would be a file and a folder of one name, "
            "which a bucket kept as a folder cannot hold",
        )

    def _is_blocked(self, path: Path) -> bool:
        """Whether a folder is where the file should be, or a file where a folder should be."""
        above = path.parents[: len(path.relative_to(self.root).parts) - 1]
        return path.is_dir() or any(parent.is_file() for parent in above)

    def delete(self, bucket: str, key: str) -> None:
        """Delete an object and the folders that it leaves empty; a missing one is no error."""
        path, folder = self.path(bucket, key), self.bucket(bucket)
        if not path.is_file():
            return
        path.unlink(missing_ok=True)
        for parent in path.parents:
            if parent == folder:
                break
            try:
                parent.rmdir()
            except OSError:
                break

    def list(self, bucket: str, prefix: str = "") -> list[Entry]:
        """The objects whose key starts with `prefix`, in S3's order (UTF-8 bytes of the key)."""
        folder = self.bucket(bucket)
        head, _, _ = prefix.rpartition("/")
        start = folder.joinpath(*map(_part, head.split("/"))) if head else folder
        found = [
            entry
            for path in _files(start)
            if (key := _key(path.relative_to(folder))).startswith(prefix)
            and (entry := _entry(key, path))
        ]
        return sorted(found, key=lambda entry: entry.key.encode())

    def locate(self, uri: str) -> Sequence[tuple[str, Entry]]:
        """The object, or every object below the prefix, each with its path relative to it."""
        bucket, prefix = split_uri(uri)
        located = []
        for entry in self.list(bucket, prefix):
            inside = entry.key[len(prefix) :].lstrip("/")
            if entry.key == prefix or not inside:
                inside = Path(entry.key).name
            elif not prefix.endswith("/") and prefix and entry.key[len(prefix)] != "/":
                inside = entry.key[prefix.rfind("/") + 1 :]
            located.append(("/".join(map(_part, inside.split("/"))), entry))
        return located

    def download(self, uri: str, target: Path) -> int:
        """Copy the object, or every object below the prefix, into the folder; how many."""
        located = self.locate(uri)
        for inside, entry in located:
            path = target / inside
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(entry.path, path)
        return len(located)

    def upload(self, source: Path, uri: str) -> int:
        """Copy every file below the folder to the prefix; how many."""
        bucket, prefix = split_uri(uri)
        files = list(_files(source))
        for path in files:
            key = "/".join((*prefix.rstrip("/").split("/"), *path.relative_to(source).parts))
            self.put_file(bucket, key.lstrip("/"), path)
        return len(files)


def _files(folder: Path) -> Iterator[Path]:
    if not folder.is_dir():
        return
    for parent, _, names in os.walk(folder):
        for name in names:
            path = Path(parent, name)
            if not path.is_symlink():
                yield path


def _entry(key: str, path: Path) -> Entry | None:
    """The object in a file, None where another client has just deleted it."""
    try:
        return _described(key, path, path.stat())
    except (FileNotFoundError, NotADirectoryError):
        return None


def _described(key: str, path: Path, status: os.stat_result) -> Entry:
    return Entry(key, path, status.st_size, status.st_mtime, status.st_mtime_ns)


def _no_such_key(key: str) -> ServiceError:
    return ServiceError("NoSuchKey", f"The specified key does not exist: {key}", 404)


def _part(part: str) -> str:
    """A key's part as a file name."""
    if part == "":
        return "%"
    if set(part) == {"."}:
        return "".join("%2E" for _ in part)
    return part.replace("%", "%25").replace("\0", "%00")


def _key(path: Path) -> str:
    return "/".join("" if part == "%" else unquote(part) for part in path.parts)
