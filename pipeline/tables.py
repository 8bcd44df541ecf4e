"""Labelled tables, CSV or TSV, on their way into the bucket."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.data import in_s3
from pipeline.download import sha256_of
from pipeline.errors import DataError
from pipeline.packages import DIGEST_LENGTH
from pipeline.parameters import NONE, TABLE_PARAMETERS, no_table_url
from pipeline.settings import Account, expand
from pipeline.source import upload

SUFFIXES = (".csv", ".tsv")
COLUMNS = "Text,Sentiment | review,sentiment | text,label"


def check_table(path: Path) -> None:
    """Raise DataError unless `path` looks like a labelled table; the job reads it in full."""
    if not path.is_file():
        raise DataError(f"no file at {path} (valid: a CSV or TSV with columns {COLUMNS})")
    if path.suffix.lower() not in SUFFIXES:
        raise DataError(f"{path} is not called {' or '.join(SUFFIXES)} (columns: {COLUMNS})")


def resolve_table(table: str, s3: Any, account: Account) -> str:
    """The S3 prefix of a labelled table, given as that prefix, as a local file or as `none`."""
    if table in (NONE, no_table_url(account)):
        return no_table_url(account)
    if table.startswith("s3://"):
        return in_s3(table, s3)
    path = expand(table)
    check_table(path)
    return upload_table(path, s3, account.bucket)


def resolve_tables(given: Mapping[str, str], s3: Any, account: Account) -> dict[str, str]:
    """The S3 prefixes of the tables among the parameters that the user gave.

    Raises DataError where a model would be judged by what it has learned.
    """
    found = {
        name: resolve_table(given[name], s3, account) for name in TABLE_PARAMETERS if name in given
    }
    learned, judged = (found.get(name) for name in TABLE_PARAMETERS)
    if learned == judged and learned not in (None, no_table_url(account)):
        raise DataError(
            "CounterfactualTestUrl: the same table as CounterfactualDataUrl, which is trained on "
            f"(valid: another table, or {NONE})"
        )
    return found


def upload_table(path: Path, s3: Any, bucket: str) -> str:
    """Put a table under a prefix of its own that its content names; returns that prefix."""
    prefix = f"data/{sha256_of(path)[:DIGEST_LENGTH]}"
    return upload(s3, bucket, prefix, [(f"table{path.suffix.lower()}", path.read_bytes())])
