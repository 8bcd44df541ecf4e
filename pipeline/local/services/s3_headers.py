"""What S3's request headers ask for: a range, conditions, tags. Pure functions.

Source: Amazon S3 API reference, GetObject and PutObject; RFC 9110, sections 13 and 14.
"""

from __future__ import annotations

import datetime as dt
import re
from typing import Any
from urllib.parse import parse_qsl

from pipeline.local.errors import ServiceError
from pipeline.local.store import Document

RANGE = re.compile(r"bytes=(\d*)-(\d*)")


def byte_range(header: str, size: int) -> tuple[int, int] | None:
    """First and last byte (inclusive) that a Range header asks for.

    None for all of it: no range is asked for, or one that makes no sense (`5-2`), which S3 ignores.
    """
    match = RANGE.fullmatch(header)
    if not match or match.groups() == ("", ""):
        return None
    first, last = match.groups()
    if first and last and int(last) < int(first):
        return None
    if int(first) >= size if first else int(last) == 0 or size == 0:
        raise ServiceError("InvalidRange", "The requested range is not satisfiable", 416)
    if not first:
        return max(0, size - int(last)), size - 1
    return int(first), min(int(last), size - 1) if last else size - 1


def check_conditions(request: Document, answer: Document) -> None:
    """Hold a GetObject or HeadObject to its conditions; an ETag goes before a time."""
    etag, modified = answer["ETag"], int(answer["LastModified"])  # HTTP's times are whole seconds
    if "IfMatch" in request:
        holds = _names(request["IfMatch"], etag)
    else:
        holds = modified <= _seconds(request.get("IfUnmodifiedSince", modified))
    if not holds:
        message = "At least one of the pre-conditions you specified did not hold"
        raise ServiceError("PreconditionFailed", message, 412)
    if "IfNoneMatch" in request:
        is_known = _names(request["IfNoneMatch"], etag)
    else:
        since = request.get("IfModifiedSince")
        is_known = since is not None and modified <= _seconds(since)
    if is_known:
        raise ServiceError("304", "Not Modified", 304)


def _names(header: str, etag: str) -> bool:
    """Whether a list of ETags, with their quotes or without, has this one."""
    named = [item.strip().removeprefix("W/").strip('"') for item in header.split(",")]
    return "*" in named or etag.strip('"') in named


def _seconds(time: Any) -> float:
    return time.timestamp() if isinstance(time, dt.datetime) else float(time)


def read_tagging(header: str) -> dict[str, str]:
    """Tags of a Tagging header, which has the form of a URL's query: `key=value&key=value`."""
    return dict(parse_qsl(header, keep_blank_values=True))
