"""The form of every reply."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from aws_lambda_powertools.event_handler import Response

from predict_api.errors import ApiError

JSON = "application/json; charset=utf-8"
TEXT = "text/plain; charset=utf-8"
HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


def reply(status: int, body: str, content_type: str = JSON, **headers: str) -> Response[str]:
    """A reply with the headers that all of them have; `Retry_After` names `Retry-After`."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Response(status, content_type, body, headers=HEADERS | named)


def error_reply(error: ApiError, request_id: str) -> Response[str]:
    """The one form that every error has."""
    body = {"code": error.code, "message": error.message, "request_id": request_id}
    return reply(error.status, dump(body), **error.headers)


def dump(body: Mapping[str, Any]) -> str:
    return json.dumps(body, separators=(",", ":"), allow_nan=False)
