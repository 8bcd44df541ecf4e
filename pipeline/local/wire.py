"""Requests as SDKs send them to S3: `aws-chunked` framing, checksums, URLs that expire.

Source: Amazon S3 API reference, "Signature Calculations for the Authorization Header: Transferring
Payload in Multiple Chunks" and "Checking object integrity". The signatures of single chunks are not
checked: the request's own is (signatures.py), and checksums are.
"""

from __future__ import annotations

import base64
import datetime as dt
from collections.abc import Mapping

from botocore.httpchecksum import Crc32Checksum, Sha1Checksum, Sha256Checksum

from pipeline.local.errors import ServiceError

CHECKSUMS = {"crc32": Crc32Checksum, "sha1": Sha1Checksum, "sha256": Sha256Checksum}
PREFIX = "x-amz-checksum-"


def decode_body(body: bytes, headers: Mapping[str, str]) -> bytes:
    """The bytes that were meant, unframed and checked against the checksums that came with them.

    Raises ServiceError (`IncompleteBody`, `BadDigest`) for a body that is not what was sent.
    """
    lowered = {name.lower(): value for name, value in headers.items()}
    chunked = "aws-chunked" in lowered.get("content-encoding", "") or lowered.get(
        "x-amz-content-sha256", ""
    ).startswith("STREAMING-")
    if chunked:
        body, trailers = _unframe(body)
        lowered |= trailers
        length = lowered.get("x-amz-decoded-content-length")
        if length is not None and int(length) != len(body):
            raise ServiceError("IncompleteBody", f"{len(body)} bytes came of {length}")
    for name, checksum in CHECKSUMS.items():
        wanted = lowered.get(f"{PREFIX}{name}")
        if wanted is None:
            continue
        digest = checksum()
        digest.update(body)
        if base64.b64encode(digest.digest()).decode() != wanted:
            raise ServiceError("BadDigest", f"The {name} you specified did not match what came")
    return body


def check_expiry(query: Mapping[str, str], now: float) -> None:
    """Refuse a presigned URL after its time; `now` in epoch seconds.

    A signature of version 4 says when it was made and for how many seconds it holds, one of
    version 2 until when.
    """
    try:
        if "X-Amz-Expires" in query:
            made = dt.datetime.strptime(query["X-Amz-Date"], "%Y%m%dT%H%M%SZ")
            ends = made.replace(tzinfo=dt.UTC).timestamp() + int(query["X-Amz-Expires"])
        elif "Signature" in query and "Expires" in query:
            ends = float(query["Expires"])
        else:
            return
    except (KeyError, ValueError) as error:
        message = "X-Amz-Date and X-Amz-Expires must say when the URL expires"
        raise ServiceError("AuthorizationQueryParametersError", message) from error
    if now > ends:
        raise ServiceError("AccessDenied", "Request has expired", 403)


def _unframe(body: bytes) -> tuple[bytes, dict[str, str]]:
    """Data and trailing headers of `size[;signature]\\r\\n data \\r\\n … 0 \\r\\n trailers`."""
    parts, position = [], 0
    try:
        while True:
            end = body.index(b"\r\n", position)
            size = int(body[position:end].partition(b";")[0], 16)
            position = end + 2
            if size == 0:
                break
            parts.append(body[position : position + size])
            position += size
            if body[position : position + 2] != b"\r\n":
                raise ValueError("a chunk does not end where it said")
            position += 2
    except ValueError as error:
        raise ServiceError("IncompleteBody", f"not aws-chunked: {error}") from error
    lines = (line.partition(b":") for line in body[position:].split(b"\r\n") if b":" in line)
    trailers = {name.strip().decode().lower(): value.strip().decode() for name, _, value in lines}
    return b"".join(parts), trailers
