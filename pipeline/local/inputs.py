"""What a job's hosts find in their folders before they start: objects of the bucket as files.

An input is a prefix, one object, or a manifest that lists objects (S3DataType `ManifestFile`). It
is given whole to every host or, `ShardedByS3Key`, one n-th of its objects to each of n hosts.
`CompressionType`/`S3CompressionType` `Gzip` unpacks `x.gz` to `x`.
"""

from __future__ import annotations

import gzip
import json
import shutil
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.local.containers import ML
from pipeline.local.errors import LocalAccountError, StepError
from pipeline.local.objects import Entry, split_uri

if TYPE_CHECKING:
    from pipeline.local.account import Account

Document = dict[str, Any]
Located = tuple[str, Entry]


def inside(folder: Path, local_path: str) -> Path:
    """The place in a host's folder of a path below /opt/ml."""
    if not local_path.startswith(f"{ML}/") or ".." in local_path.split("/"):
        raise StepError(f"LocalPath {local_path} is not below {ML}")
    return folder / "ml" / local_path.removeprefix(f"{ML}/")


def place(
    account: Account, source: Document, targets: Sequence[Path], what: str, compression: str | None
) -> None:
    """Copy an input's objects into the folder of each host; `what` names it in an error."""
    try:
        found = list(located(account, source, what))
        if not found:
            raise StepError(f"{what}: there is no object at {source['S3Uri']}")
        distribution = source.get("S3DataDistributionType", "FullyReplicated")
        for index, target in enumerate(targets):
            target.mkdir(parents=True, exist_ok=True)
            sharded = distribution == "ShardedByS3Key"
            for name, entry in found[index :: len(targets)] if sharded else found:
                _copy(entry, target / name, compression)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise StepError(f"{what}: not readable as gzip: {error}") from error
    except StepError:
        raise
    except LocalAccountError as error:
        raise StepError(f"{what}: {error}") from error


def _copy(entry: Entry, path: Path, compression: str | None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if compression != "Gzip" or path.suffix != ".gz":
        shutil.copyfile(entry.path, path)
        return
    with gzip.open(entry.path) as packed, path.with_suffix("").open("wb") as file:
        shutil.copyfileobj(packed, file)


def located(account: Account, source: Document, what: str) -> Sequence[Located]:
    """Each object of an input and the relative path it gets; `what` names it in an error."""
    if source.get("S3DataType", "S3Prefix") != "ManifestFile":
        return account.objects.locate(source["S3Uri"])
    bucket, key = split_uri(source["S3Uri"])
    text = account.objects.entry(bucket, key).path.read_text()
    found: list[Located] = []
    for prefix, name in manifest(text, what):
        bucket, key = split_uri(f"{prefix}{name}")
        found.append((name.lstrip("/"), account.objects.entry(bucket, key)))
    return found


def manifest(text: str, what: str) -> list[tuple[str, str]]:
    """Prefix and name of each object of a manifest: `[{"prefix": "s3://b/"}, "key", ...]`.

    Source: SageMaker API, S3DataSource, `ManifestFile`.
    """
    form = '[{"prefix": "s3://bucket/folder/"}, "object", ...]'
    try:
        first, *names = json.loads(text)
        prefix = first["prefix"]
    except (ValueError, TypeError, KeyError) as error:
        raise StepError(f"{what}: not a manifest (form: {form})") from error
    if not names or not all(isinstance(name, str) for name in names):
        raise StepError(f"{what}: the manifest names no object (form: {form})")
    if any(".." in name.split("/") for name in names):
        raise StepError(f"{what}: the manifest has a name with '..'")
    return [(prefix, name) for name in names]
