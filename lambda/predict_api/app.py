"""The API as a Lambda function behind an HTTP API.

`handler` takes API Gateway's version 2 events; `predict_api.local` hands it the same events made
from plain HTTP, so there is one API, not two.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Mapping
from typing import Any

from aws_lambda_powertools.event_handler import Response
from aws_lambda_powertools.event_handler.exceptions import NotFoundError

from predict_api.errors import ApiError, MethodNotAllowed, NotFound
from predict_api.logs import logger
from predict_api.replies import error_reply
from predict_api.resolver import Resolver
from predict_api.routes import router

# CloudFront serves the API under /api, the HTTP API itself at its root
api = Resolver(router, strip_prefixes=["/api"])
# What a route or an error notes about a request, for its line in the log
NOTED = ("code", "model_version", "probability")
METHODS = {
    path: ", ".join(sorted(route.method for route in api.routes if route.path == path))
    for path in {route.path for route in api.routes}
}


def handler(event: Mapping[str, Any], context: Any) -> dict[str, Any]:
    """Answer one HTTP request. Nothing but a broken event makes it raise."""
    started = time.monotonic()
    request_id = str(
        event["requestContext"].get("requestId") or getattr(context, "aws_request_id", "unknown")
    )
    answer, noted = api.answer(event, context, {"request_id": request_id})
    facts: dict[str, Any] = {key: noted[key] for key in NOTED if key in noted}
    request_id = noted["request_id"]
    answer["headers"]["X-Request-Id"] = request_id
    if "model_version" in noted:
        answer["headers"]["X-Model-Version"] = noted["model_version"]
    logger.info(
        "answered",
        request_id=request_id,
        status=answer["statusCode"],
        duration_ms=round((time.monotonic() - started) * 1000, 1),
        **facts,
    )
    return answer


def expected(error: ApiError) -> Response[str]:
    api.context["code"] = error.code
    return error_reply(error, api.context["request_id"])


def unknown(_: NotFoundError) -> Response[str]:
    methods = METHODS.get(api.context["_path"])
    if methods is None:
        return expected(NotFound(f"known are {', '.join(sorted(METHODS))}"))
    return expected(MethodNotAllowed(f"only {methods} is known here", Allow=methods))


def unexpected(error: Exception) -> Response[str]:
    # Where it happened, but not what it says: that may hold a review.
    last = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{last.filename}:{last.lineno}"
    logger.error(
        "crashed", request_id=api.context["request_id"], error=type(error).__name__, place=place
    )
    return expected(ApiError("something went wrong on our side"))


api.exception_handler(ApiError)(expected)
api.exception_handler(Exception)(unexpected)
api.not_found(unknown)
