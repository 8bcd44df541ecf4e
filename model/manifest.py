"""What a model directory holds, vouched for file by file.

Only the standard library, so that an artifact is checked before anything of it, or anything
that could read it, is loaded. A file that the manifest does not name is refused like one that
it names wrongly: nothing can be slipped in, a pickle or a compiled module least of all.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from model.errors import ArtifactError, DataError
from model.files import read_json, sha256_of, write_json

FORMAT = 1
NAME = "manifest.json"
REQUIRED = ("config.json", "model.safetensors", "vocabulary.json", "code/inference.py")
SUFFIXES = (".json", ".py", ".safetensors")
MAX_FILE_BYTES = 1 << 30
MAX_FILES = 200
_MAX_MANIFEST_BYTES = 1 << 20


@dataclass(frozen=True)
class Entry:
    sha256: str
    size_bytes: int


def write_manifest(directory: Path) -> None:
    """Vouch for every file that `directory` holds now."""
    files = {
        name: {"sha256": sha256_of(directory / name), "size_bytes": size}
        for name, size in sorted(_files(directory).items())
        if name != NAME
    }
    write_json(directory / NAME, {"format": FORMAT, "files": files})


def verify(directory: Path) -> Mapping[str, Entry]:
    """The files that the manifest names, all of them as it says and no others there.

    Raises ArtifactError naming the first file that is not.
    """
    entries = _read(directory / NAME)
    found = _files(directory)
    found.pop(NAME, None)
    for name in sorted(found.keys() | entries.keys()):
        if name not in entries:
            raise ArtifactError(f"{name}: is in the artifact, but not in its {NAME}")
        if name not in found:
            raise ArtifactError(f"{name}: is named by {NAME}, but not in the artifact")
        if found[name] != entries[name].size_bytes:
            raise ArtifactError(
                f"{name}: has {found[name]} bytes; {NAME} says {entries[name].size_bytes}"
            )
        if sha256_of(directory / name) != entries[name].sha256:
            raise ArtifactError(f"{name}: its SHA-256 is not the one that {NAME} says")
    return entries


def check_name(name: str) -> None:
    """Refuse a name that leads elsewhere or that no artifact needs."""
    parts = PurePosixPath(name).parts
    plain = name == "/".join(parts) and all(part.isprintable() for part in parts)
    if not plain or not parts or ".." in parts or name.startswith("/") or "\\" in name:
        raise ArtifactError(f"{name[:80]!a}: is no plain relative path")
    if not name.endswith(SUFFIXES) or "__pycache__" in parts:
        raise ArtifactError(f"{name[:80]!a}: an artifact holds {', '.join(SUFFIXES)} files alone")


def _read(path: Path) -> dict[str, Entry]:
    try:
        if path.is_symlink() or path.stat().st_size > _MAX_MANIFEST_BYTES:
            raise ArtifactError(f"{NAME}: is a link, or too large")
        document = read_json(path)
        if document["format"] != FORMAT:
            raise KeyError("format")
        entries = {str(name): _entry(entry) for name, entry in document["files"].items()}
    except FileNotFoundError:
        raise ArtifactError(f"{NAME}: is not in the artifact") from None
    except (DataError, AttributeError, TypeError, KeyError):
        raise ArtifactError(f"{NAME}: is no manifest of format {FORMAT}") from None
    missing = [name for name in REQUIRED if name not in entries]
    if missing:
        raise ArtifactError(f"{missing[0]}: is missing from {NAME}")
    return entries


def _entry(value: Any) -> Entry:
    sha256, size_bytes = value["sha256"], value["size_bytes"]
    if not isinstance(sha256, str) or not isinstance(size_bytes, int) or len(value) != 2:
        raise TypeError
    return Entry(sha256, size_bytes)


def _files(directory: Path) -> dict[str, int]:
    """Sizes of all files below; anything that is neither file nor directory is refused."""
    found: dict[str, int] = {}
    pending = [(directory, "")]
    while pending:
        folder, prefix = pending.pop()
        with os.scandir(folder) as entries:
            for entry in entries:
                name = prefix + entry.name
                if entry.is_dir(follow_symlinks=False):
                    pending.append((Path(entry.path), name + "/"))
                    continue
                check_name(name)
                if not entry.is_file(follow_symlinks=False):
                    raise ArtifactError(f"{name}: is a link or a device, not a file")
                found[name] = entry.stat(follow_symlinks=False).st_size
                if found[name] > MAX_FILE_BYTES or len(found) > MAX_FILES:
                    raise ArtifactError(f"{name}: the artifact is larger than is allowed")
    return found
