"""Keeps what readers say about verdicts: for drift and, where they give the review, a training."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from predict_api.body import Feedback
from predict_api.errors import FeedbackNotKept
from predict_api.logs import logger

PREFIX = "feedback/"


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
