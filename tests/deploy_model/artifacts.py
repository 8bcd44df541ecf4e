"""Model archives as the pipeline writes them, and spoiled ones."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Mapping

FILES = {"config.json": b"{}", "model.safetensors": b"weights", "code/inference.py": b""}


def archive(
    files: Mapping[str, bytes] = FILES, manifest: Mapping[str, bytes] | None = None
) -> bytes:
    """A tar.gz of files under the manifest of `manifest`, their own unless another is given."""
    vouched = {
        name: {"sha256": hashlib.sha256(content).hexdigest(), "size_bytes": len(content)}
        for name, content in (files if manifest is None else manifest).items()
    }
    document = json.dumps({"format": 1, "files": vouched}).encode()
    return packed({**files, "manifest.json": document})


def packed(files: Mapping[str, bytes], kind: bytes = tarfile.REGTYPE) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.type = len(content), kind
            tar.addfile(member, io.BytesIO(content))
    return gzip.compress(buffer.getvalue(), mtime=0)
