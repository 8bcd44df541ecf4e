"""One JSON line an event. What a review says never goes into one."""

from __future__ import annotations

from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.logging.formatter import LambdaPowertoolsFormatter


class EventFormatter(LambdaPowertoolsFormatter):
    """Powertools' line, with what happened under `event`."""

    def serialize(self, log: Any) -> str:
        return super().serialize({"event": log.pop("message"), **log})


logger = Logger(service="predict_api", logger_formatter=EventFormatter())
