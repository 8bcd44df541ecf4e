"""An account in a temporary folder (with a space in its path), and what tests hand in to it."""

from __future__ import annotations

import io
import json
import os
import signal
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest

import pipeline.local
from pipeline.local import Function, Image, Rule, processes
from pipeline.local.account import Account, open_account

WAIT_S = 30
Value = TypeVar("Value")
# A container that answers with the text its model holds; "broken" never becomes healthy.
SERVER = """
import http.server, os, pathlib, sys
word = pathlib.Path(sys.argv[1], "word.txt").read_text()
if word == "broken":
    sys.exit("cannot load the model")
class Handler(http.server.BaseHTTPRequestHandler):
    def answer(self, status, body):
        self.send_response(status)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def do_GET(self):
        self.answer(200, b"")
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if body == b"die":
            with pathlib.Path(sys.argv[1]).parents[2].joinpath("died").open("a") as file:
                file.write("die")
            os._exit(1)
        status = 400 if body == b"bad" else 200
        self.answer(status, word.encode() + b":" + body + b":" + os.environ["COLOUR"].encode())
    def log_message(self, *arguments):
        pass
http.server.ThreadingHTTPServer(
    (os.environ["SAGEMAKER_BIND_TO_HOST"], int(os.environ["SAGEMAKER_BIND_TO_PORT"])), Handler
).serve_forever()
"""


def wait_until(condition: Callable[[], Value | None]) -> Value:
    """Poll until the condition gives something true; fails loudly after WAIT_S."""
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.02)
    raise AssertionError(f"not within {WAIT_S} s: {condition}")


@dataclass
class Box:
    """The account under test, and a client of each service."""

    home: Path
    tmp: Path
    configuration: dict[str, Any] = field(default_factory=dict)
    wait_until = staticmethod(wait_until)

    def __post_init__(self) -> None:
        self.session = pipeline.local.session(self.home, **self.configuration)

    @property
    def account(self) -> Account:
        return open_account(self.home)

    def client(self, service: str) -> Any:
        return self.session.client(service)  # type: ignore[call-overload]

    def put(self, key: str, body: bytes | str) -> str:
        """Store an object in the bucket `b`; its URI."""
        self.client("s3").create_bucket(Bucket="b")
        self.client("s3").put_object(Bucket="b", Key=key, Body=body)
        return f"s3://b/{key}"

    def get(self, key: str) -> bytes:
        body: bytes = self.client("s3").get_object(Bucket="b", Key=key)["Body"].read()
        return body

    def model_data(self, word: str) -> str:
        """A model.tar.gz whose server answers with `word`; its URI."""
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
            member = tarfile.TarInfo("word.txt")
            member.size = len(word)
            tar.addfile(member, io.BytesIO(word.encode()))
        return self.put(f"models/{word}/model.tar.gz", buffer.getvalue())

    def register(self, word: str, status: str = "PendingManualApproval") -> str:
        """Register a version in the group `g`; its ARN."""
        sagemaker = self.client("sagemaker")
        if not sagemaker.list_model_package_groups()["ModelPackageGroupSummaryList"]:
            sagemaker.create_model_package_group(ModelPackageGroupName="g")
        answer = sagemaker.create_model_package(
            ModelPackageGroupName="g",
            ModelApprovalStatus=status,
            InferenceSpecification={
                "Containers": [
                    {
                        "Image": "server:1",
                        "ModelDataUrl": self.model_data(word),
                        "Environment": {"COLOUR": "blue"},
                    }
                ],
                "SupportedContentTypes": ["text/plain"],
                "SupportedResponseMIMETypes": ["text/plain"],
            },
        )
        arn: str = answer["ModelPackageArn"]
        return arn

    def create_config(self, name: str, package: str, **environment: str) -> str:
        """A model and an endpoint configuration of one name, made from a version."""
        sagemaker = self.client("sagemaker")
        sagemaker.create_model(
            ModelName=name,
            ExecutionRoleArn="arn:aws:iam::000000000000:role/r",
            PrimaryContainer={"ModelPackageName": package, "Environment": environment},
        )
        sagemaker.create_endpoint_config(
            EndpointConfigName=name,
            ProductionVariants=[
                {
                    "VariantName": "AllTraffic",
                    "ModelName": name,
                    "ServerlessConfig": {"MemorySizeInMB": 1024, "MaxConcurrency": 1},
                }
            ],
        )
        return name

    def invoke(self, endpoint: str, body: bytes) -> bytes:
        answer = self.client("sagemaker-runtime").invoke_endpoint(EndpointName=endpoint, Body=body)
        text: bytes = answer["Body"].read()
        return text

    def run(self, definition: dict[str, Any], **parameters: str) -> dict[str, Any]:
        """Start an execution of a definition and wait for its end; its description."""
        sagemaker = self.client("sagemaker")
        text = json.dumps({"Version": "2020-12-01", **definition})
        role = "arn:aws:iam::000000000000:role/r"
        if sagemaker.list_pipelines()["PipelineSummaries"]:
            sagemaker.update_pipeline(PipelineName="p", PipelineDefinition=text)
        else:
            sagemaker.create_pipeline(
                PipelineName="p", PipelineDefinition=text, RoleArn=role, ClientRequestToken="t" * 32
            )
        arn = sagemaker.start_pipeline_execution(
            PipelineName="p",
            PipelineParameters=[{"Name": k, "Value": v} for k, v in parameters.items()],
        )["PipelineExecutionArn"]
        return self.wait_for_execution(arn)

    def wait_for_execution(self, arn: str) -> dict[str, Any]:
        sagemaker = self.client("sagemaker")

        def ended() -> dict[str, Any] | None:
            document: dict[str, Any] = sagemaker.describe_pipeline_execution(
                PipelineExecutionArn=arn
            )
            running = document["PipelineExecutionStatus"] in ("Executing", "Stopping")
            return None if running else document

        return wait_until(ended)

    def steps(self, arn: str) -> dict[str, dict[str, Any]]:
        """The steps of an execution by name."""
        answer = self.client("sagemaker").list_pipeline_execution_steps(PipelineExecutionArn=arn)
        return {step["StepName"]: step for step in answer["PipelineExecutionSteps"]}

    def processes(self) -> list[int]:
        """Processes of the machine that name this account's home in their command line."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                command = (folder / "cmdline").read_bytes()
            except OSError:
                continue
            if str(self.home).encode() in command and int(folder.name) != os.getpid():
                found.append(int(folder.name))
        return found

    def kill_all(self) -> None:
        """`kill -9` every process of this account; they have ended when this returns."""
        for process in self.processes():
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        wait_until(lambda: not self.processes())


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    """An account with a server image, a job image, three functions and an approval rule."""
    server = tmp_path / "server.py"
    server.write_text(SERVER)
    functions = tmp_path / "functions"
    functions.mkdir()
    (functions / "handlers.py").write_text(
        "import boto3, json, os, time\n"
        "def echo(event, context):\n"
        "    print('hello from', context.function_name)\n"
        "    return {'event': event, 'variable': os.environ.get('VARIABLE'),\n"
        "            'account': boto3.client('sts').get_caller_identity()['Account']}\n"
        "def fail(event, context):\n"
        "    raise ValueError('no good')\n"
        "def sleep(event, context):\n"
        "    time.sleep(60)\n"
        "def hang(event, context):\n"
        "    import pathlib, subprocess\n"
        "    child = subprocess.Popen(['sleep', '300'])\n"
        "    pathlib.Path(event['mark']).write_text(f'{os.getpid()} {child.pid}\\n')\n"
        "    child.wait()\n"
        "def own_session(event, context):\n"
        "    return boto3.Session().client('sts').get_caller_identity()['Account']\n"
        "def keep(event, context):\n"
        "    s3 = boto3.client('s3')\n"
        "    s3.create_bucket(Bucket='events')\n"
        "    s3.put_object(Bucket='events', Key=event['id'], Body=json.dumps(event))\n"
    )
    configuration = {
        "images": {
            "server:*": Image(entrypoint=(sys.executable, str(server), "/opt/ml/model")),
            "job:*": Image(environment={"FROM_IMAGE": "yes"}),
        },
        "functions": {
            "echo": Function("handlers.echo", functions, {"VARIABLE": "value"}),
            "fail": Function("handlers.fail", functions),
            "sleep": Function("handlers.sleep", functions, timeout_s=1),
            "hang": Function("handlers.hang", functions),
            "own-session": Function("handlers.own_session", functions),
            "keep": Function("handlers.keep", functions),
        },
        "rules": [
            Rule("approvals", {"source": ["aws.sagemaker"]}, "keep"),
            Rule("mine", {"source": ["mine"], "detail": {"kind": ["good"]}}, "fail"),
        ],
    }
    made = Box(tmp_path / "a home", tmp_path, configuration)
    yield made
    made.kill_all()
    for child in processes._CHILDREN:
        child.wait(WAIT_S)
