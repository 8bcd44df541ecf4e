from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from threading import Event, Thread
from typing import Any

import pytest
from botocore.config import Config
from botocore.exceptions import (
    ConnectionClosedError,
    ConnectTimeoutError,
    EndpointConnectionError,
    NoCredentialsError,
    ReadTimeoutError,
)
from predict_api.endpoint import Endpoint
from predict_api.errors import EndpointTimeout
from predict_api.settings import Settings

from tests.predict_api.endpoint_in_memory import SESSION, EndpointInMemory

Ask = Callable[..., dict[str, Any]]
URL = "https://runtime.sagemaker.us-east-1.amazonaws.com"
INSIDE = "arn:aws:sagemaker:us-east-1:000000000000:endpoint/sentiment Traceback /opt/ml/model"
THROTTLED = ("ThrottlingException", INSIDE)
TIMEOUT = ReadTimeoutError(endpoint_url=URL)
LASTING = {
    "missing": (("ValidationError", INSIDE), "endpoint_missing"),
    "model error": (("ModelError", INSIDE), "endpoint_failed"),
    "internal failure": (("InternalFailure", INSIDE), "endpoint_failed"),
    "access denied": (("AccessDeniedException", INSIDE), "endpoint_failed"),
    "unreachable": (EndpointConnectionError(endpoint_url=URL), "endpoint_failed"),
    "hung up": (ConnectionClosedError(endpoint_url=URL), "endpoint_failed"),
    "no credentials": (NoCredentialsError(), "endpoint_failed"),
}
PASSING = {
    "throttled": (THROTTLED, "endpoint_throttled"),
    "not ready": (("ModelNotReadyException", INSIDE), "endpoint_throttled"),
    "read timeout": (TIMEOUT, "endpoint_timeout"),
    "connect timeout": (ConnectTimeoutError(endpoint_url=URL), "endpoint_timeout"),
}


@pytest.mark.parametrize("case", [*LASTING, *PASSING])
def test_an_endpoint_that_does_not_answer_is_503_with_a_time_to_come_back_and_no_more(
    ask: Ask, model: EndpointInMemory, case: str
) -> None:
    failure, code = (LASTING | PASSING)[case]
    model.failures = [failure] * 10
    answer = ask()
    assert (answer["statusCode"], answer["json"]["code"]) == (503, code)
    assert int(answer["headers"]["Retry-After"]) > 0
    assert answer["json"].keys() == {"code", "message", "request_id"}
    for hint in ("arn:", "Traceback", "/opt", "amazonaws", "Exception"):
        assert hint not in answer["body"]


@pytest.mark.parametrize("case", LASTING)
def test_what_will_not_pass_is_not_tried_again(
    ask: Ask, model: EndpointInMemory, case: str
) -> None:
    model.failures = [LASTING[case][0]] * 10
    ask()
    assert (model.calls, model.slept) == (1, [])


@pytest.mark.parametrize("case", PASSING)
def test_a_throttle_or_a_timeout_is_tried_once_more_after_a_pause(
    ask: Ask, model: EndpointInMemory, case: str
) -> None:
    model.failures = [PASSING[case][0]]
    assert ask()["statusCode"] == 200
    assert model.calls == 2
    (pause,) = model.slept
    assert 0 < pause <= 0.5


def test_attempts_come_to_an_end(ask: Ask, model: EndpointInMemory) -> None:
    model.failures = [TIMEOUT] * 10
    ask()
    assert model.calls == 2


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


@pytest.fixture(params=["head", "body"])
def trickle(request: pytest.FixtureRequest) -> Iterator[str]:
    """Where an endpoint is whose answer, from its head or its body on, comes a byte at a time."""
    stop = Event()
    start, piece = (HEAD + b"X: ", b"x") if request.param == "head" else (HEAD, b" ")
    if request.param == "body":
        start += b"Content-Length: 1000\r\n\r\n"

    def serve() -> None:
        connection, _ = server.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(start)
            for _ in range(60):
                if stop.wait(0.05):
                    return
                connection.sendall(piece)

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        stop.set()
        thread.join(10)


def test_an_answer_that_trickles_in_has_no_more_time_than_any_other(trickle: str) -> None:
    client = SESSION.client(
        "sagemaker-runtime",
        region_name="us-east-1",
        endpoint_url=trickle,
        config=Config(retries={"total_max_attempts": 1}),
    )
    settings = Settings("sentiment", connect_timeout_s=0.25, read_timeout_s=0.25, max_attempts=1)
    with pytest.raises(EndpointTimeout):
        Endpoint(settings, lambda: client).predict(["good"])


def a_prediction(**changes: Any) -> dict[str, Any]:
    return {"label": "positive", "probability": 0.9, "token_count": 3} | changes


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"Traceback",
        b"[]",
        b"\xff",
        b"[" * 100_000,
        json.dumps({"predictions": [a_prediction()]}).encode(),
        json.dumps({"predictions": [a_prediction()], "model_version": 3}).encode(),
        json.dumps({"predictions": [a_prediction()], "model_version": "3\r\nX: y"}).encode(),
        json.dumps({"predictions": [a_prediction()], "model_version": "\u00e9"}).encode(),
        json.dumps({"predictions": [], "model_version": "3"}).encode(),
        json.dumps({"predictions": [a_prediction()] * 2, "model_version": "3"}).encode(),
        *(
            json.dumps({"predictions": [a_prediction(**odd)], "model_version": "3"}).encode()
            for odd in (
                {"probability": 1.1},
                {"probability": -0.1},
                {"probability": float("nan")},
                {"probability": 10**400},
                {"probability": "0.9"},
                {"probability": None},
                {"label": "neutral"},
                {"label": "negative"},
                {"token_count": None},
                {"words": 5},
                {"words": [{"text": "A"}]},
                {"words": [{"text": "A", "start": "0", "end": 1, "weight": 1.0}]},
                {"words": [{"text": "other", "start": 0, "end": 1, "weight": 1.0}]},
                {"words": [{"text": "A", "start": 0, "end": 1, "weight": float("inf")}]},
                {"words": [{"text": "A", "start": 0, "end": 1, "weight": 10**400}]},
                {"words": [{"text": "A", "start": 0, "end": 1, "weight": 1.0, "more": 1}]},
            )
        ),
    ],
)
def test_an_answer_that_makes_no_sense_is_not_passed_on(
    ask: Ask, model: EndpointInMemory, answer: bytes
) -> None:
    model.failures = [answer or b" "]
    assert ask()["json"]["code"] == "endpoint_failed"
