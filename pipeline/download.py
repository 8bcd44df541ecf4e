"""Downloads one file with a known size and SHA-256; an interrupted download goes on later."""

from __future__ import annotations

import hashlib
import http
import http.client
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from pipeline.errors import DataError

CHUNK_BYTES = 1 << 20
ATTEMPTS = 3
TIMEOUT_S = 60.0

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class RemoteFile:
    """A file on the web as its publisher describes it."""

    url: str
    size_bytes: int
    sha256: str

    @property
    def name(self) -> str:
        """The file's name at the end of its address."""
        return self.url.rpartition("/")[2]


def fetch(remote: RemoteFile, folder: Path, progress: Progress) -> Path:
    """Return the verified file in `folder`, downloading what is missing of it.

    Raises DataError when the address cannot be reached or serves another file. What has arrived
    is kept as `NAME.part`; the next call asks the server for the rest only.
    """
    path = folder / remote.name
    if path.is_file() and sha256_of(path) == remote.sha256:
        return path
    folder.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    failure = ""
    for _ in range(ATTEMPTS):
        try:
            _continue(remote, part, progress)
        except (OSError, http.client.HTTPException) as error:
            failure = str(error) or type(error).__name__
        if part.is_file() and part.stat().st_size >= remote.size_bytes:
            break
    else:
        arrived = part.stat().st_size if part.is_file() else 0
        raise DataError(
            f"cannot download {remote.url}: {failure or 'the connection ended early'}"
            f" ({arrived:,} of {remote.size_bytes:,} bytes are here; run again to go on)"
        )
    _verify(remote, part)
    part.replace(path)
    return path


def _continue(remote: RemoteFile, part: Path, progress: Progress) -> None:
    have = part.stat().st_size if part.is_file() else 0
    if have >= remote.size_bytes:
        return
    headers = {"Range": f"bytes={have}-"} if have else {}
    request = urllib.request.Request(remote.url, headers=headers)  # noqa: S310 - our constant
    with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:  # noqa: S310
        if response.status != http.HTTPStatus.PARTIAL_CONTENT:
            have = 0  # the server sends the whole file again
        with part.open("ab" if have else "wb") as file:
            _copy(response, file, have, remote.size_bytes, progress)


def _copy(
    response: IO[bytes], file: IO[bytes], have: int, size_bytes: int, progress: Progress
) -> None:
    progress(have, size_bytes)
    # One byte more than expected is enough to know that it is another file.
    while have <= size_bytes and (chunk := response.read(CHUNK_BYTES)):
        file.write(chunk)
        have += len(chunk)
        progress(have, size_bytes)


def _verify(remote: RemoteFile, part: Path) -> None:
    size_bytes, sha256 = part.stat().st_size, sha256_of(part)
    if size_bytes == remote.size_bytes and sha256 == remote.sha256:
        return
    part.unlink()
    raise DataError(
        f"{remote.url} is not the expected file: {size_bytes:,} bytes with SHA-256 {sha256},"
        f" expected {remote.size_bytes:,} bytes with {remote.sha256}"
    )


def sha256_of(path: Path) -> str:
    """Hex SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
