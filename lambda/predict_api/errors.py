"""What a caller can be told has gone wrong. None of these repeats what the caller sent."""

from __future__ import annotations


class PredictApiError(Exception):
    """Base of everything this package raises on purpose."""


class SettingsError(PredictApiError):
    """A setting is missing, unknown or has an illegal value."""


class ApiError(PredictApiError):
    """An answer other than the one hoped for: `{code, message, request_id}` and a status."""

    status = 500
    code = "internal_error"

    def __init__(self, message: str, **headers: str) -> None:
        super().__init__(message)
        self.message = message
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


class MalformedRequest(ApiError):
    status, code = 400, "malformed_request"


class NotFound(ApiError):
    status, code = 404, "not_found"


class MethodNotAllowed(ApiError):
    status, code = 405, "method_not_allowed"


class RequestTimeout(ApiError):
    status, code = 408, "request_timeout"


class BodyTooLarge(ApiError):
    status, code = 413, "body_too_large"


class UnsupportedMediaType(ApiError):
    status, code = 415, "unsupported_media_type"


class NothingToJudge(ApiError):
    status, code = 422, "nothing_to_judge"


class TooManyRequests(ApiError):
    status, code = 429, "too_many_requests"


class Unavailable(ApiError):
    """Something behind this API does not answer now; trying again later may help."""

    status, code = 503, "unavailable"
    retry_after_s = 5

    def __init__(self, message: str) -> None:
        super().__init__(message, Retry_After=str(self.retry_after_s))


class EndpointMissing(Unavailable):
    code = "endpoint_missing"
    retry_after_s = 30


class EndpointThrottled(Unavailable):
    code = "endpoint_throttled"
    retry_after_s = 2


class EndpointTimeout(Unavailable):
    code = "endpoint_timeout"


class EndpointFailed(Unavailable):
    code = "endpoint_failed"


class FeedbackNotKept(Unavailable):
    code = "feedback_not_kept"
