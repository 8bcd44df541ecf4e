"""The server as a process, over real HTTP."""

import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from inference.server import parse
from inference.service import MOST_AT_ONCE
from model.manifest import write_manifest
from tests.model.factory import ROOT
from tests.naughty import NAUGHTY

Start = Callable[..., "Served"]


class Served:
    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.log: list[dict[str, Any]] = []

    def until(self, event: str) -> dict[str, Any]:
        """Read the log up to an event."""
        assert self.process.stderr
        for line in self.process.stderr:
            self.log.append(json.loads(line))
            if self.log[-1]["event"] == event:
                return self.log[-1]
        raise AssertionError(f"{event} never came: {self.log}")

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)

    @property
    def port(self) -> int:
        return int(next(entry["port"] for entry in self.log if entry["event"] == "listening"))

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        _, rest = self.process.communicate(timeout=60)
        self.log += [json.loads(line) for line in rest.splitlines()]
        return self.process.returncode


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    started: list[Served] = []

    def run(model_dir: Path, *arguments: str, **environ: str) -> Served:
        process = subprocess.Popen(  # noqa: S603
            [sys.executable, "-m", "inference.server", *arguments, "--model-dir", str(model_dir)],
            cwd=tmp_path_factory.mktemp("anywhere"),
            env={**os.environ, "PYTHONPATH": str(ROOT), **environ},
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(Served(process))
        return started[-1]

    yield run
    for served in started:
        served.process.kill()
        served.process.communicate()


@pytest.fixture(scope="module")
def server(start: Start, pristine_artifact: Path) -> Served:
    served = start(
        pristine_artifact,
        "serve",
        MODEL_VERSION="3",
        SAGEMAKER_BIND_TO_PORT="0",
        MAX_BODY_BYTES="20000",
        SAGEMAKER_PROGRAM="inference.py",
        SAGEMAKER_SUBMIT_DIRECTORY="/opt/ml/model/code",
    )
    served.until("ready")
    return served


@pytest.fixture
def ask(server: Served) -> Iterator[Callable[..., tuple[int, Any]]]:
    connection = server.connect()

    def send(body: Any, content_type: str = "application/json", accept: str = "") -> Any:
        data = json.dumps(body) if isinstance(body, dict) else body
        headers = {"Content-Type": content_type, **({"Accept": accept} if accept else {})}
        connection.request("POST", "/invocations", data, headers)
        response = connection.getresponse()
        content = response.read()
        is_json = response.headers.get_content_type() == "application/json"
        return response.status, json.loads(content) if is_json else content.decode()

    yield send
    connection.close()


def test_ping_is_answered_once_the_model_is_warm(server: Served) -> None:
    with contextlib.closing(server.connect()) as connection:
        connection.request("GET", "/ping")
        assert connection.getresponse().status == 200


def test_one_review_and_many(ask: Any) -> None:
    status, one = ask({"review": "a good film"})
    assert status == 200
    assert one["model_version"] == "3"
    assert set(one["predictions"][0]) == {"label", "probability", "token_count"}
    _, many = ask({"reviews": ["a good film", "", "bad"]})
    assert many["predictions"][0] == one["predictions"][0]
    assert [prediction["token_count"] for prediction in many["predictions"]] == [3, 0, 1]


def test_json_lines_and_plain_text(ask: Any) -> None:
    lines = '{"review": "good"}\n{"review": "bad"}\n'
    status, answer = ask(lines, "application/jsonlines", "application/jsonlines")
    assert status == 200
    assert len(answer.splitlines()) == 2
    status, answer = ask("a good film", "text/plain", "text/plain")
    assert (status, answer in ("0.0", "1.0")) == (200, True)


@pytest.mark.parametrize(
    ("body", "content_type", "status", "error_code"),
    [
        ("{", "application/json", 400, "malformed"),
        ({"text": "x"}, "application/json", 400, "malformed"),
        (b"\xff", "text/plain", 400, "malformed"),
        ("x", "application/xml", 415, "unsupported_media_type"),
        ("x" * 20_001, "text/plain", 413, "too_large"),
        ("[" * 20_000, "application/json", 400, "malformed"),
    ],
)
def test_errors_are_json_with_code_and_message(
    ask: Any, body: Any, content_type: str, status: int, error_code: str
) -> None:
    answered, error = ask(body, content_type)
    assert (answered, error["code"]) == (status, error_code)
    assert set(error) == {"code", "message"}
    assert "Traceback" not in error["message"]


@pytest.mark.parametrize(
    "review", ["", "\x00", "🎉", "مرحبا", "<b></b>", "\ud800", "x" * 15_000, "!? " * 4_000]
)
def test_odd_text_is_answered(ask: Any, review: str) -> None:
    status, answer = ask({"review": review})
    assert status == 200
    assert 0 <= answer["predictions"][0]["probability"] <= 1


def test_no_naughty_string_is_an_error_of_the_servers(ask: Any) -> None:
    for review in NAUGHTY:
        status, answer = ask({"review": review, "explain": True})
        if len(json.dumps(review)) > 19_900:
            assert status == 413
            continue
        assert status == 200, review[:50]
        (prediction,) = answer["predictions"]
        assert 0 <= prediction["probability"] <= 1
        for word in prediction["words"]:
            assert word["text"] == review[word["start"] : word["end"]]


def test_review_text_never_reaches_the_log(start: Start, pristine_artifact: Path) -> None:
    served = start(pristine_artifact, "--port", "0")
    served.until("ready")
    connection = served.connect()
    bodies = [
        (b'{"review": "canaryword"}', "application/json"),
        (b'{"review": "canaryword', "application/json"),
        (b'{"canaryword": 1}', "application/json"),
        (b"canaryword", "text/plain"),
        (b"canaryword \xff", "text/plain"),
        (b'{"review": "a"}\ncanaryword', "application/jsonlines"),
        (b"canaryword", "image/png"),
        (b"canaryword" * 100, "application/jsonlines"),
    ]
    for number in range(1000):
        body, content_type = bodies[number % len(bodies)]
        headers = {"Content-Type": content_type, "X-Request-Id": str(number)}
        connection.request("POST", "/invocations", body, headers)
        assert b"canaryword" not in connection.getresponse().read()
        served.until("invocation")
    connection.close()
    assert served.stop() == 0
    requests = [entry for entry in served.log if entry["event"] == "invocation"]
    assert len(requests) == 1000
    assert "canaryword" not in json.dumps(served.log)


def test_a_request_under_way_is_finished_before_it_stops(
    start: Start, pristine_artifact: Path
) -> None:
    served = start(pristine_artifact, "--port", "0")
    served.until("ready")
    body = b'{"review": "a good film"}'
    head = (
        "POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\nExpect: 100-continue\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", served.port), timeout=60) as connection:
        connection.sendall(head.encode())
        # the server reads the body now, so the request is under way
        assert connection.recv(100).startswith(b"HTTP/1.1 100")
        served.process.send_signal(signal.SIGTERM)
        connection.sendall(body)
        with http.client.HTTPResponse(connection) as response:
            response.begin()
            assert response.status == 200
    assert served.stop() == 0
    assert served.log[-1]["event"] == "stopped"


def test_what_is_more_than_can_wait_is_told_to_come_back(
    start: Start, pristine_artifact: Path
) -> None:
    served = start(pristine_artifact, "--port", "0")
    served.until("ready")
    head = b"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n"
    head += b"Content-Type: text/plain\r\nExpect: 100-continue\r\n\r\n"
    with contextlib.ExitStack() as stack:
        waiting = []
        for _ in range(MOST_AT_ONCE):
            waiting.append(
                stack.enter_context(socket.create_connection(("127.0.0.1", served.port)))
            )
            waiting[-1].settimeout(60)
            waiting[-1].sendall(head)
            assert waiting[-1].recv(100).startswith(b"HTTP/1.1 100")  # it is under way
        for _ in range(100):
            with contextlib.closing(served.connect()) as connection:
                connection.request("POST", "/invocations", "good", {"Content-Type": "text/plain"})
                answer = connection.getresponse()
                assert (answer.status, answer.headers["retry-after"]) == (503, "1")
                assert json.loads(answer.read())["code"] == "busy"
        for connection in waiting:  # none of them is lost
            connection.sendall(b"good")
            assert connection.recv(1000).startswith(b"HTTP/1.1 200")
    with contextlib.closing(served.connect()) as connection:
        connection.request("POST", "/invocations", "good", {"Content-Type": "text/plain"})
        assert connection.getresponse().status == 200


def test_a_multiplication_is_not_shared_between_cores(
    start: Start, pristine_artifact: Path, tmp_path: Path
) -> None:
    version = shutil.copytree(pristine_artifact, tmp_path / "model")
    with (version / "code/inference.py").open("a") as file:
        file.write(
            "\ndef predict_fn(data, model):\n"
            "    import torch\n"
            "    return torch.get_num_threads()\n"
            "\ndef output_fn(prediction, accept):\n"
            "    return str(prediction), accept\n"
        )
    write_manifest(version)
    served = start(version, "--port", "0")
    served.until("ready")
    with contextlib.closing(served.connect()) as connection:
        connection.request("POST", "/invocations", "good", {"Content-Type": "text/plain"})
        assert connection.getresponse().read() == b"1"


def test_the_image_holds_all_that_the_server_needs(
    start: Start, pristine_artifact: Path, tmp_path: Path
) -> None:
    for line in (ROOT / "inference/Dockerfile").read_text().splitlines():
        if line.startswith("COPY "):
            *sources, target = line.split()[1:]
            place = tmp_path / target.removeprefix("/")
            (place if target.endswith("/") else place.parent).mkdir(parents=True, exist_ok=True)
            for source in sources:
                shutil.copy(ROOT / source, place)
    served = start(pristine_artifact, "serve", "--port", "0", PYTHONPATH=str(tmp_path / "app"))
    served.until("ready")
    assert served.stop() == 0


def test_a_spoilt_version_is_not_served(
    start: Start, pristine_artifact: Path, tmp_path: Path
) -> None:
    spoilt = shutil.copytree(pristine_artifact, tmp_path / "model")
    with (spoilt / "code/inference.py").open("a") as file:
        file.write("\nraise SystemExit('ran')\n")
    served = start(spoilt, "--port", "0")
    reason = served.until("load_failed")["reason"]
    assert reason.startswith("code/inference.py: has")
    assert served.process.wait(60) == 1


def test_a_port_in_use_is_one_line(start: Start, pristine_artifact: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        served = start(pristine_artifact, "--host", "127.0.0.1", "--port", port)
        assert served.until("bind_failed")["port"] == int(port)
        assert served.process.wait(60) == 1


def test_a_number_that_is_no_port_is_one_line(start: Start, pristine_artifact: Path) -> None:
    served = start(pristine_artifact, SAGEMAKER_BIND_TO_PORT="70000")
    assert "0-65535" in served.until("bind_failed")["reason"]
    assert served.process.wait(60) == 1


def test_the_environment_of_sagemaker_is_understood() -> None:
    environ = {"SAGEMAKER_BIND_TO_PORT": "9000", "SAGEMAKER_PROGRAM": "", "MODEL_VERSION": "4"}
    settings = parse(["serve", "--model-dir", "/m", "--port", "1"], environ)
    assert (settings.port, settings.model_version, settings.model_dir) == (9000, "4", Path("/m"))
    assert settings.program == "inference.py"
    assert (parse([], {}).port, parse([], {}).host) == (8080, "0.0.0.0")  # noqa: S104
    assert parse([], {"SAGEMAKER_BIND_TO_HOST": "127.0.0.1"}).host == "127.0.0.1"


def test_a_port_that_is_no_number_is_wrong_usage() -> None:
    with pytest.raises(SystemExit, match="2"):
        parse([], {"SAGEMAKER_BIND_TO_PORT": "many"})
