"""Checks a version before it is served: its files against their manifest, its image by digest.

Only the standard library, and nothing is written: the archive is read as it arrives, each file's
digest taken on the way.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import tarfile
import zlib
from collections.abc import Mapping
from typing import Any

from botocore.exceptions import ClientError

from deploy_model.errors import ArtifactError
from deploy_model.observed import ModelPackage

MANIFEST = "manifest.json"
MAX_MANIFEST_BYTES = 1 << 20
MAX_TOTAL_BYTES = 2 << 30
MAX_FILES = 400
PIECE_BYTES = 1 << 20
BY_DIGEST = re.compile(r".+@sha256:[0-9a-f]{64}")


def verify(s3: Any, package: ModelPackage) -> None:
    """Raise ArtifactError, naming the file, where the version is not what it says it is."""
    if not BY_DIGEST.fullmatch(package.image):
        raise ArtifactError(f"its image is named without a digest: {package.image[:200] or 'none'}")
    match = re.fullmatch(r"s3://([^/]+)/(.+)", package.model_data_url)
    if match is None:
        raise ArtifactError("its model data is no s3:// address")
    try:
        body = s3.get_object(Bucket=match[1], Key=match[2])["Body"]
    except ClientError as error:
        code = error.response["Error"]["Code"]
        if code in ("NoSuchKey", "NoSuchBucket", "404"):
            raise ArtifactError("its model data is not in the bucket any more") from error
        raise
    try:
        with gzip.GzipFile(fileobj=body) as plain:
            with tarfile.open(fileobj=plain, mode="r|") as archive:
                found, manifest = _read(archive)
            while plain.read(PIECE_BYTES):  # to its end, which has a checksum of the whole
                pass
    except (tarfile.TarError, zlib.error, EOFError, OSError) as error:
        raise ArtifactError("its model data is no whole tar.gz archive") from error
    _compare(found, manifest)


def _read(archive: tarfile.TarFile) -> tuple[dict[str, str], bytes]:
    """SHA-256 by file, and the manifest itself."""
    found: dict[str, str] = {}
    manifest, total_bytes = b"", 0
    for member in archive:
        name = member.name.removeprefix("./")
        if member.isdir():
            continue
        total_bytes += member.size
        if not member.isreg() or name in found or name.startswith("/") or ".." in name.split("/"):
            raise ArtifactError(f"{name[:80]!a}: no plain file of an artifact")
        if total_bytes > MAX_TOTAL_BYTES or len(found) >= MAX_FILES:
            raise ArtifactError(f"{name[:80]!a}: the artifact is larger than is allowed")
        content = archive.extractfile(member)
        if content is None:
            raise ArtifactError(f"{name[:80]!a}: cannot be read")
        digest = hashlib.sha256()
        while piece := content.read(PIECE_BYTES):
            digest.update(piece)
            if name == MANIFEST and len(manifest) <= MAX_MANIFEST_BYTES:
                manifest += piece
        found[name] = digest.hexdigest()
    return found, manifest


def _compare(found: dict[str, str], manifest: bytes) -> None:
    if found.pop(MANIFEST, None) is None:
        raise ArtifactError(f"{MANIFEST}: is not in the artifact")
    wanted = _digests(manifest)
    for name in sorted(found.keys() | wanted.keys()):
        if name not in wanted:
            raise ArtifactError(f"{name}: is in the artifact, but not in its {MANIFEST}")
        if name not in found:
            raise ArtifactError(f"{name}: is named by {MANIFEST}, but not in the artifact")
        if found[name] != wanted[name]:
            raise ArtifactError(f"{name}: its SHA-256 is not the one that {MANIFEST} says")


def _digests(manifest: bytes) -> Mapping[str, str]:
    try:
        files = json.loads(manifest)["files"]
        return {str(name): str(entry["sha256"]) for name, entry in files.items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ArtifactError(f"{MANIFEST}: is no manifest") from None
