"""One roll-out at a time: whoever changes the account holds a lease, an object in the bucket.

S3 writes an object only if it is not there, or only if it is still the one that was read:
https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html
The lease lasts as long as the function may run, so a holder that died is not waited for longer.
"""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any

from botocore.exceptions import ClientError

from deploy_model.settings import Settings

REFUSED = ("PreconditionFailed", "ConditionalRequestConflict", "412", "409")
FREE = datetime.min.replace(year=1970).isoformat() + "+00:00"


class Lease:
    """The right to change one endpoint and what belongs to it."""

    def __init__(self, s3: Any, settings: Settings) -> None:
        self._s3 = s3
        self._where = {
            "Bucket": settings.artifact_bucket,
            "Key": f"deployments/{settings.endpoint_name}/lease.json",
        }
        self._lasts = timedelta(seconds=settings.lease_s)
        self._etag: str | None = None

    def take(self, now: datetime) -> bool:
        """Take it if it is free or has run out; False where another call holds it."""
        expires = (now + self._lasts).isoformat()
        if self._write(expires, IfNoneMatch="*"):
            return True
        held = self._read()
        if held is None or self._holds(held[0], now):
            return False
        return self._write(expires, IfMatch=held[1])

    def _holds(self, body: bytes, now: datetime) -> bool:
        """Whether that is a lease which has not run out; none is further ahead than one can be.

        A body cut off by a loss of power, or written before the clock was set back, binds nobody.
        """
        try:
            left = datetime.fromisoformat(json.loads(body)["expires_at"]) - now
        except (ValueError, KeyError, TypeError):
            return False
        return timedelta() < left <= 2 * self._lasts

    def give_back(self) -> None:
        """Let others have it at once; where it has run out and been taken, leave it to them."""
        if self._etag is not None:
            self._write(FREE, IfMatch=self._etag)
            self._etag = None

    def _write(self, expires: str, **condition: str) -> bool:
        body = json.dumps({"expires_at": expires}).encode()
        try:
            answer = self._s3.put_object(**self._where, Body=body, **condition)
        except ClientError as error:
            if error.response["Error"]["Code"] in (*REFUSED, "NoSuchKey"):
                return False
            raise
        self._etag = answer["ETag"]
        return True

    def _read(self) -> tuple[bytes, str] | None:
        try:
            answer = self._s3.get_object(**self._where)
        except ClientError as error:
            if error.response["Error"]["Code"] == "NoSuchKey":
                return None
            raise
        return answer["Body"].read(), answer["ETag"]
