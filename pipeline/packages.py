"""What is handed to AWS: the functions' packages and the serving image's source, by content.

The same files give the same bytes, whoever packs them and when, so a key that holds a package's
digest says what is in it, and nothing is uploaded or built twice.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import SourceError

# https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
LAMBDA_BYTES = 50 << 20
NEEDED = "aws-lambda-powertools"
# The first time a zip archive can tell; another would differ from one packing to the next.
EPOCH = (1980, 1, 1, 0, 0, 0)
DIGEST_LENGTH = 16
_SKIPPED = frozenset({"__pycache__", ".pytest_cache"})

File = tuple[str, bytes]
# Imports of what takes long wait inside the functions: the names alone must cost nothing.


@dataclass(frozen=True)
class Package:
    """A zip archive and the key under which it belongs into the artifact bucket."""

    key: str
    content: bytes


def function_package(name: str, root: Path) -> Package:
    """A function of `lambda/` with what it needs beside boto3, which Lambda has itself."""
    files = [*_tree(root / "lambda" / name, root / "lambda"), *_distribution_files(NEEDED)]
    return _package(f"source/functions/{name}", files)


def image_source(root: Path) -> Package:
    """What the serving image is built from."""
    return Package(f"source/image/{image_tag(root)}.zip", _zipped(_image_files(root)))


def content_digest(files: Iterable[File], length: int = DIGEST_LENGTH) -> str:
    """Hex digest of files given as (name, content), whatever their order."""
    digest = hashlib.sha256()
    for name, content in sorted(files):
        digest.update(f"{name}\0{hashlib.sha256(content).hexdigest()}\n".encode())
    return digest.hexdigest()[:length]


def image_tag(root: Path) -> str:
    """Names the serving image by what it is built from."""
    return content_digest(_image_files(root), length=32)


def _image_files(root: Path) -> list[File]:
    """The Dockerfile and all that it copies."""
    dockerfile = root / "inference" / "Dockerfile"
    try:
        text = dockerfile.read_text("utf-8")
        names = {"inference/Dockerfile"}
        for line in re.findall(r"^COPY +(.+)$", text, re.MULTILINE):
            names.update(line.split()[:-1])
        return [(name, (root / name).read_bytes()) for name in sorted(names)]
    except OSError as error:
        raise SourceError(
            f"cannot read {error.filename}, which the serving image needs: {error.strerror}"
        ) from error


def _package(prefix: str, files: Iterable[File]) -> Package:
    content = _zipped(files)
    if len(content) > LAMBDA_BYTES:
        raise SourceError(f"{prefix}: {len(content)} bytes are more than Lambda takes")
    return Package(f"{prefix}/{hashlib.sha256(content).hexdigest()[:32]}.zip", content)


def _zipped(files: Iterable[File]) -> bytes:
    import zipfile

    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in sorted(files):
            entry = zipfile.ZipInfo(name, EPOCH)
            entry.external_attr = 0o644 << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, content)
    return buffer.getvalue()


def _tree(folder: Path, base: Path) -> Iterator[File]:
    if not folder.is_dir():
        raise SourceError(f"no folder {folder}: run from a complete clone")
    for path in folder.rglob("*"):
        if path.is_file() and not _SKIPPED & set(path.parts) and path.suffix != ".pyc":
            yield path.relative_to(base).as_posix(), path.read_bytes()


def _distribution_files(name: str) -> Iterator[File]:
    """Files of an installed distribution and of what it needs, but for boto's.

    All of it is Python alone, so it runs on either of Lambda's processors.
    """
    from importlib.metadata import distribution

    for wanted in sorted(_needed(name)):
        for file in distribution(wanted).files or []:
            path = Path(str(file.locate()))
            outside = file.parts[0] == ".." or ".dist-info" in file.parts[0]
            if not outside and path.suffix != ".pyc" and path.is_file():
                if path.suffix in (".so", ".pyd"):
                    raise SourceError(f"{wanted} holds machine code: {file}")
                yield file.as_posix(), path.read_bytes()


def _needed(name: str) -> set[str]:
    from importlib.metadata import PackageNotFoundError, distribution

    try:
        requirements = distribution(name).requires or []
    except PackageNotFoundError as error:
        raise SourceError(f"{name} is not installed (make setup)") from error
    names = {name}
    for requirement in requirements:
        match = re.match(r"[\w.-]+", requirement)
        if match and "extra ==" not in requirement and "boto" not in requirement:
            names |= _needed(match[0])
    return names
