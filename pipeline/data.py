"""Turns what the user calls DATA into reviews in the bucket, content-addressed.

DATA is nothing (the bundled sample), `imdb`, an archive, a folder or an `s3://` prefix.
"""

from __future__ import annotations

import gzip
import re
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError, ParamValidationError

from pipeline import sample
from pipeline.download import CHUNK_BYTES, RemoteFile, fetch, sha256_of
from pipeline.errors import DataError
from pipeline.parameters import ANY_DATA
from pipeline.settings import expand

IMDB = RemoteFile(
    url="https://ai.stanford.edu/~amaas/data/sentiment/aclImdb_v1.tar.gz",
    size_bytes=84_125_825,
    sha256="c40f74a18d3b61f90feba1e17730e0d38e8b97c05fde7008942e91923d1658fe",
)
SUFFIXES = (".tar.gz", ".tgz", ".tar")
VALID = f"an archive ({', '.join(SUFFIXES)}), a folder like aclImdb, s3://bucket/prefix, or imdb"
FOLDERS = ("train/pos", "train/neg", "train/unsup", "test/pos", "test/neg")
KEY_DIGEST_LENGTH = 16

Report = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Reviews:
    """Reviews in S3: what an execution is started with."""

    about: str
    url: str
    sha256: str = ANY_DATA
    parameters: Mapping[str, str] = field(default_factory=dict)
    is_sample: bool = False


def resolve(
    data: str | None, s3: Any, bucket: str, scratch: Path, report: Report, imdb: RemoteFile = IMDB
) -> Reviews:
    """Find or make the reviews that `data` names and put them into the bucket, if not there yet.

    `scratch` keeps what was made or downloaded; `report(what, done, total)` follows in bytes.
    Raises DataError, before anything is uploaded, for reviews that cannot be read.
    """
    if data is None or data == "sample":
        archive = _write_sample(scratch)
        about = "the bundled sample (generated sentences, not real reviews)"
        uploaded = _upload(archive, about, s3, bucket, report)
        return replace(uploaded, parameters=dict(sample.PARAMETERS), is_sample=True)
    if not data.strip():
        raise DataError(f"--data is empty; it must be {VALID}")
    if data.startswith("s3://"):
        return Reviews(data, in_s3(data, s3))
    if data == "imdb":
        path = fetch(imdb, scratch, lambda done, total: report("downloading", done, total))
    else:
        path = expand(data)
    if path.is_dir():
        return _upload_folder(path, s3, bucket, scratch, report)
    check_archive(path)
    return _upload(path, str(path), s3, bucket, report)


def check_archive(path: Path) -> None:
    """Raise DataError unless `path` is a whole tar archive, compressed with gzip or not."""
    if not path.is_file():
        raise DataError(f"no reviews at {path} (valid: {VALID})")
    if not path.name.endswith(SUFFIXES):
        raise DataError(f"{path} is not called an archive (valid: {VALID})")
    try:
        with tarfile.open(path, "r|*") as tar:
            if tar.next() is None:
                raise DataError(f"{path} is an empty archive")
        if not path.name.endswith(".tar"):
            for _ in _decompressed(path):
                pass
    except EOFError as error:
        raise DataError(f"{path} is cut off: the compressed data ends early") from error
    except (tarfile.TarError, OSError, zlib.error) as error:
        raise DataError(f"{path} is not a readable archive: {error}") from error


def _decompressed(path: Path) -> Iterator[bytes]:
    """Read to the end, where gzip keeps the checksum and the size of the whole."""
    with gzip.open(path) as stream:
        while chunk := stream.read(CHUNK_BYTES):
            yield chunk


def _write_sample(scratch: Path) -> Path:
    path = scratch / "sample.tar.gz"
    content = sample.sample_archive()
    if not path.is_file() or path.read_bytes() != content:
        scratch.mkdir(parents=True, exist_ok=True)
        _replace(path, content)
    return path


def _replace(path: Path, content: bytes) -> None:
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
        file.write(content)
    Path(file.name).replace(path)


def in_s3(url: str, s3: Any) -> str:
    """The URL, once something is found under it. Raises DataError."""
    bucket, _, prefix = url.removeprefix("s3://").partition("/")
    try:
        listing = s3.list_objects_v2(Bucket=bucket, Prefix=prefix, MaxKeys=1)
    except ClientError as error:
        raise DataError(f"cannot list {url}: {error.response['Error']['Message']}") from error
    except ParamValidationError:
        raise DataError(f"{url} names no bucket (valid: s3://bucket/prefix)") from None
    if not listing.get("KeyCount"):
        raise DataError(f"nothing lies under {url} (valid: the prefix of what is there)")
    return url


def _upload_folder(folder: Path, s3: Any, bucket: str, scratch: Path, report: Report) -> Reviews:
    files = list(_review_files(folder))
    if not files:
        raise DataError(
            f"{folder} holds no reviews (wanted: .txt files in {', '.join(FOLDERS)} below it)"
        )
    scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=scratch) as made:
        path = Path(made) / f"{_key_name(folder.resolve().name)}.tar.gz"
        _pack(files, path, report)
        return _upload(path, str(folder), s3, bucket, report)


def _review_files(folder: Path) -> Iterator[tuple[str, Path]]:
    """Names as in the archive, and paths; the layout may lie one folder further down."""
    inner = [child for child in sorted(folder.iterdir()) if (child / "train").is_dir()]
    root = folder if (folder / "train").is_dir() or not inner else inner[0]
    for name in FOLDERS:
        for path in sorted((root / name).glob("*.txt")):
            if path.is_file() and not path.is_symlink():
                yield f"reviews/{name}/{path.name}", path


def _pack(files: list[tuple[str, Path]], path: Path, report: Report) -> None:
    """A tar.gz of the files, the same bytes for the same names and contents."""
    with (
        path.open("wb") as raw,
        gzip.GzipFile("", "wb", 6, raw, mtime=0) as stream,
        tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as tar,
    ):
        for done, (name, source) in enumerate(files, start=1):
            member = tarfile.TarInfo(name)
            member.size, member.mode = source.stat().st_size, 0o644
            with source.open("rb") as content:
                tar.addfile(member, content)
            if done % 5000 == 0 or done == len(files):
                report("packing reviews", done, len(files))


def _upload(path: Path, about: str, s3: Any, bucket: str, report: Report) -> Reviews:
    sha256 = sha256_of(path)
    prefix = f"data/{sha256[:KEY_DIGEST_LENGTH]}/"
    key, size_bytes = prefix + _key_name(path.name), path.stat().st_size
    if _size_in_s3(s3, bucket, key) != size_bytes:
        sent = 0

        def count(more: int) -> None:
            nonlocal sent
            sent += more
            report("uploading", sent, size_bytes)

        s3.upload_file(str(path), bucket, key, Callback=count)
    return Reviews(about, f"s3://{bucket}/{prefix}", sha256)


def _size_in_s3(s3: Any, bucket: str, key: str) -> int | None:
    try:
        size: int = s3.head_object(Bucket=bucket, Key=key)["ContentLength"]
    except ClientError as error:
        if error.response["Error"]["Code"] in {"404", "NoSuchKey", "NotFound"}:
            return None
        raise
    return size


def _key_name(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name)
