"""What can go wrong in the account."""

from __future__ import annotations


class LocalAccountError(Exception):
    """Base of every error the local account raises itself."""


class ServiceError(LocalAccountError):
    """An error answer of a service; the caller's client turns it into botocore's ClientError.

    `code` is the AWS error code (`ValidationException`, `NoSuchKey`, ...), `status` the HTTP one.
    """

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status


class AnswerTimeout(ServiceError):
    """A model's server took longer than the client waits: the client's ReadTimeoutError."""

    def __init__(self, endpoint: str) -> None:
        super().__init__("ModelError", f"Endpoint {endpoint} did not answer in time", 424)


class ExpressionError(LocalAccountError):
    """A pipeline expression that cannot be evaluated; the message names it."""


class StepError(LocalAccountError):
    """A step failed; the message becomes its FailureReason. `kind` drives retry policies."""

    def __init__(self, message: str, kind: str = "AlgorithmError") -> None:
        super().__init__(message)
        self.kind = kind


class StepStoppedError(LocalAccountError):
    """The execution was asked to stop while this step ran."""


def not_found(kind: str, name: str) -> ServiceError:
    """SageMaker answers a missing resource with ValidationException and this wording."""
    return ServiceError("ValidationException", f'Could not find {kind} "{name}".')


def as_service_error(error: Exception) -> ServiceError:
    """What a client is told of an error: the service's own, or that the account failed, and why.

    What nobody expected is told by its type alone; the account's log has the line it is from.
    """
    if isinstance(error, ServiceError):
        return error
    if isinstance(error, OSError):
        text = error.strerror or str(error)
    elif isinstance(error, LocalAccountError):
        text = str(error)
    else:
        text = f"the local account failed: {type(error).__name__} (its logs/local/errors.log)"
    return ServiceError("InternalFailure", text, 500)
