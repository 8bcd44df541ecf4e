"""Keeps what readers say about verdicts: for drift and, where they give the review, a training.

A verdict's request id carries a signature, so that feedback is for a verdict that was given, and
one a verdict.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from predict_api.body import Feedback
from predict_api.errors import FeedbackNotKept
from predict_api.logs import logger

PREFIX = "feedback/"
SIGNATURE_DIGITS = 24  # 96 bits; nobody guesses that, and the id stays below 64 characters


def sign(key: str, request_id: str) -> str:
    """The request id with its signature."""
    signature = hmac.new(key.encode(), request_id.encode(), hashlib.sha256).hexdigest()
    return f"{request_id}-{signature[:SIGNATURE_DIGITS]}"


def is_signed(key: str, request_id: str) -> bool:
    """Whether it is an id that `sign` made with this key."""
    return hmac.compare_digest(sign(key, request_id[: -SIGNATURE_DIGITS - 1]), request_id)


def keep(client: Callable[[], Any], bucket: str, feedback: Feedback, now: datetime) -> None:
    """One object a verdict: who thinks again replaces it. Raises FeedbackNotKept."""
    from botocore.exceptions import BotoCoreError, ClientError

    given = {key: value for key, value in asdict(feedback).items() if value is not None}
    record = given | {"received_at": now.astimezone(UTC).isoformat(timespec="milliseconds")}
    try:
        client().put_object(
            Bucket=bucket,
            Key=f"{PREFIX}{feedback.request_id}.json",
            Body=json.dumps(record).encode(),
            ContentType="application/json",
        )
    except (BotoCoreError, ClientError) as error:
        logger.warning("feedback_not_kept", error=type(error).__name__)
        raise FeedbackNotKept("the feedback could not be kept; please try again") from error
