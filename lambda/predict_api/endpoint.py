"""Asks the SageMaker endpoint, and turns whatever happens there into what a caller may know."""

from __future__ import annotations

import json
import math
import random
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from threading import Thread
from typing import Any

from predict_api.body import VERSION
from predict_api.errors import (
    ApiError,
    EndpointFailed,
    EndpointMissing,
    EndpointThrottled,
    EndpointTimeout,
)
from predict_api.logs import logger
from predict_api.settings import Settings

# boto3 makes the methods of its clients at run time, so there is no class to name
RuntimeClient = Any

# https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_runtime_InvokeEndpoint.html
MISSING = ("ValidationError", "ValidationException", "ResourceNotFound")
THROTTLED = (
    "ModelNotReadyException",
    "Throttling",
    "ThrottlingException",
    "ThrottledException",
    "TooManyRequestsException",
)
PROBE = "a good film"


@dataclass(frozen=True)
class Word:
    """A word that decided: `review[start:end]`, for positive where its weight is above 0."""

    text: str
    start: int
    end: int
    weight: float


@dataclass(frozen=True)
class Prediction:
    """One verdict. `probability` is that of a positive review, from 0 to 1."""

    label: str
    probability: float
    token_count: int
    """Words that were judged; of none, nothing can be said."""
    words: tuple[Word, ...] | None = None
    """None where they were not asked for, or the version cannot say."""


@dataclass(frozen=True)
class Predictions:
    """One verdict a review, in the order asked."""

    items: tuple[Prediction, ...]
    model_version: str


class Endpoint:
    """The endpoint behind the API."""

    def __init__(
        self,
        settings: Settings,
        client: Callable[[], RuntimeClient],
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._settings = settings
        self._client = client
        self._sleep = sleep

    def predict(self, reviews: Sequence[str]) -> Predictions:
        """Judge the reviews. Raises a subclass of Unavailable when the endpoint does not."""
        return self._persist({"reviews": list(reviews)}, reviews)

    def explain(self, review: str) -> Predictions:
        """Judge one review and say which words decided. Raises as `predict` does."""
        return self._persist({"review": review, "explain": True}, [review])

    def _persist(self, question: dict[str, Any], reviews: Sequence[str]) -> Predictions:
        attempt = 1
        while True:
            try:
                return self._ask(question, reviews)
            except (EndpointThrottled, EndpointTimeout) as error:
                if attempt == self._settings.max_attempts:
                    raise
                logger.info("retried", code=error.code, attempt=attempt)
            attempt += 1
            # jitter, so that callers refused together do not return together; not a secret
            self._sleep(random.uniform(0.5, 1.0) * self._settings.backoff_s)  # noqa: S311

    def status(self) -> tuple[str, str | None]:
        """How the endpoint stands, and which model version answered.

        It is asked for a verdict rather than described: that is the one thing this function is
        allowed to do, and the one that shows that it works.
        """
        try:
            return "InService", self._ask({"review": PROBE}, [PROBE]).model_version
        except ApiError as error:
            return error.code.removeprefix("endpoint_").capitalize(), None

    def _ask(self, question: dict[str, Any], reviews: Sequence[str]) -> Predictions:
        # boto3 takes longer to import than the rest of a cold start together
        from botocore.exceptions import BotoCoreError, ClientError

        client = self._client()  # made outside the time allowed: that is for the endpoint

        def exchange() -> bytes:
            answer = client.invoke_endpoint(
                EndpointName=self._settings.endpoint_name,
                ContentType="application/json",
                Accept="application/json",
                Body=json.dumps(question).encode(),
            )
            content: bytes = answer["Body"].read()
            return content

        try:
            content = _within(self._settings.attempt_s, exchange)
        except TimeoutError as error:
            raise _too_slow() from error
        except ClientError as error:
            raise _refusal(error) from error
        except BotoCoreError as error:
            raise _no_answer(error) from error
        return _read(content, reviews)


def _within(time_s: float, exchange: Callable[[], bytes]) -> bytes:
    """The outcome of the exchange, or TimeoutError once the time is up.

    A socket's timeout starts anew with each byte, so an answer that trickles in never meets it.
    The thread that is left behind ends with its connection, and keeps no process from ending.
    """
    outcome: Future[bytes] = Future()

    def run() -> None:
        try:
            outcome.set_result(exchange())
        except Exception as error:
            outcome.set_exception(error)

    Thread(target=run, daemon=True).start()
    return outcome.result(time_s)


def _too_slow() -> ApiError:
    return EndpointTimeout("the model took too long; it may be waking up")


def _refusal(error: Any) -> ApiError:
    code = error.response["Error"]["Code"]
    if code in MISSING:
        return EndpointMissing("no model is in service yet")
    if code in THROTTLED:
        return EndpointThrottled("too many reviews at once; please try again")
    # what the model said stays in its own log
    logger.warning("endpoint_failed", error=code, status=error.response.get("OriginalStatusCode"))
    return EndpointFailed("the model could not answer")


def _no_answer(error: Any) -> ApiError:
    from botocore.exceptions import ConnectTimeoutError, ReadTimeoutError

    if isinstance(error, ConnectTimeoutError | ReadTimeoutError):
        return _too_slow()
    logger.warning("endpoint_failed", error=type(error).__name__)
    return EndpointFailed("the model could not be reached")


def _read(content: bytes, reviews: Sequence[str]) -> Predictions:
    try:
        answer = json.loads(content)
        items = tuple(
            Prediction(item["label"], item["probability"], item["token_count"], _words(item))
            for item in answer["predictions"]
        )
        version = answer["model_version"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise _nonsense() from error
    # it becomes a header
    if not isinstance(version, str) or not VERSION.fullmatch(version):
        raise _nonsense()
    if len(items) != len(reviews):
        raise _nonsense()
    if not all(map(_is_sound, items, reviews)):
        raise _nonsense()
    return Predictions(items, version)


def _words(item: dict[str, Any]) -> tuple[Word, ...] | None:
    words = item.get("words")
    return None if words is None else tuple(Word(**word) for word in words)


def _is_sound(item: Prediction, review: str) -> bool:
    return (
        _is_number(item.probability)
        and 0 <= item.probability <= 1
        and item.label == ("positive" if item.probability >= 0.5 else "negative")
        and isinstance(item.token_count, int)
        and all(
            # a slice of anything but two whole numbers is a TypeError, so those come first
            isinstance(word.start, int)
            and isinstance(word.end, int)
            and word.text == review[word.start : word.end]
            and _is_number(word.weight)
            for word in item.words or ()
        )
    )


def _is_number(value: object) -> bool:
    try:
        return isinstance(value, float | int) and math.isfinite(value)
    except OverflowError:  # a whole number greater than any float
        return False


def _nonsense() -> ApiError:
    logger.warning("endpoint_failed", error="unreadable answer")
    return EndpointFailed("the model could not answer")
