"""The account over HTTP: boto3 and the real AWS CLI as clients that know nothing of us."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from pipeline.local.account import ANSWERS
from pipeline.local.errors import LocalAccountError, ServiceError
from pipeline.local.http_api import HOST, bind
from pipeline.local.signatures import client_variables
from pipeline.local.wire import decode_body
from tests.pipeline.local.steps import SCRIPT, gate, processing

AWS = Path(__file__).parents[3] / ".tools/awscli/bin/aws"
ROLE = "arn:aws:iam::000000000000:role/r"
UNSIGNED = "AWS4-HMAC-SHA256 Credential=x/20260101/us-east-1/{}/aws4_request, Signature=0"


@pytest.fixture
def port(box: Any) -> Iterator[int]:
    server = bind(box.account, 0)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.port
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def remote(box: Any, port: int) -> Any:
    """A plain boto3 session's clients, pointed at the server."""

    def client(service: str) -> Any:
        return boto3.Session(*box.account.credentials, region_name="us-east-1").client(  # type: ignore[call-overload]
            service, endpoint_url=f"http://{HOST}:{port}"
        )

    return client


def ask(port: int, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(HOST, port)
    connection.request(method, path, body, {k.replace("_", "-"): v for k, v in headers.items()})
    response = connection.getresponse()
    answer = response.status, response.read()
    connection.close()
    return answer


@pytest.fixture
def ask_signed(box: Any, port: int) -> Any:
    """Send a request of our own making, signed with the account's key."""

    def send(
        service: str, method: str, path: str, body: bytes = b"", **headers: str
    ) -> tuple[int, bytes]:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        request = AWSRequest(method, f"http://{HOST}:{port}{path}", named, body)
        if "aws-chunked" in headers.values():
            request.context["checksum"] = {"request_algorithm": {"in": "trailer"}}
        signer = S3SigV4Auth if service == "s3" else SigV4Auth
        signer(Credentials(*box.account.credentials), service, "us-east-1").add_auth(request)
        return ask(port, method, path, body, **dict(request.headers))

    return send


def test_objects_travel_with_metadata_ranges_and_in_parts(remote: Any, tmp_path: Path) -> None:
    s3 = remote("s3")
    s3.create_bucket(Bucket="b")
    s3.put_object(Bucket="b", Key="a b+ü/x", Body=b"hello", Metadata={"kind": "greeting"})
    answer = s3.get_object(Bucket="b", Key="a b+ü/x", Range="bytes=1-3")
    assert (answer["Body"].read(), answer["Metadata"]) == (b"ell", {"kind": "greeting"})
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 206
    s3.copy_object(Bucket="b", Key="copy", CopySource={"Bucket": "b", "Key": "a b+ü/x"})
    assert s3.head_object(Bucket="b", Key="copy")["ContentLength"] == 5
    large = os.urandom(9 << 20)
    (tmp_path / "large").write_bytes(large)
    s3.upload_file(str(tmp_path / "large"), "b", "large")
    s3.download_file("b", "large", str(tmp_path / "back"))
    assert (tmp_path / "back").read_bytes() == large
    pages = s3.get_paginator("list_objects_v2").paginate(
        Bucket="b", PaginationConfig={"PageSize": 1}
    )
    keys = [item["Key"] for page in pages for item in page["Contents"]]
    assert keys == ["a b+ü/x", "copy", "large"]
    s3.delete_objects(Bucket="b", Delete={"Objects": [{"Key": key} for key in keys]})
    assert s3.list_objects_v2(Bucket="b")["KeyCount"] == 0


def test_a_presigned_url_needs_no_client(remote: Any, port: int) -> None:
    s3 = remote("s3")
    s3.create_bucket(Bucket="b")
    s3.put_object(Bucket="b", Key="k", Body=b"hello")
    url = s3.generate_presigned_url("get_object", Params={"Bucket": "b", "Key": "k"})
    assert ask(port, "GET", url.partition(str(port))[2]) == (200, b"hello")


@pytest.mark.parametrize("version", ["s3", "s3v4"])
def test_a_presigned_url_holds_until_it_expires(
    box: Any, port: int, version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    box.put("k", b"hello")
    config = Config(signature_version=version)
    s3 = boto3.Session(*box.account.credentials, region_name="us-east-1").client(
        "s3", endpoint_url=f"http://{HOST}:{port}", config=config
    )
    url = s3.generate_presigned_url("get_object", Params={"Bucket": "b", "Key": "k"}, ExpiresIn=60)
    path = url.partition(str(port))[2]
    assert ask(port, "GET", path) == (200, b"hello")
    now = time.time()
    monkeypatch.setattr("pipeline.local.http_api.time.time", lambda: now + 61)
    status, body = ask(port, "GET", path)
    assert (status, b"Request has expired" in body) == (403, True)


def test_a_key_that_xml_cannot_hold_is_listed_encoded(box: Any, remote: Any) -> None:
    box.put("a b+\u00fc\x01/c", b"x")
    s3 = remote("s3")
    assert s3.list_objects_v2(Bucket="b")["Contents"][0]["Key"] == "a b+\u00fc\x01/c"
    asked = {"Bucket": "b", "EncodingType": "url", "Delimiter": "/"}
    for answer in (s3.list_objects_v2(**asked), s3.list_objects(**asked)):
        assert answer["CommonPrefixes"] == [{"Prefix": "a%20b%2B%C3%BC%01/"}]


@pytest.mark.parametrize(
    ("method", "path", "body", "code"),
    [
        ("POST", "/b?delete", b"<Delete><nonsense", b"MalformedXML"),
        ("GET", "/b?list-type=2&max-keys=many", b"", b"InvalidArgument"),
        ("GET", "/b/k?X-Amz-Expires=60", b"", b"AuthorizationQueryParametersError"),
    ],
)
def test_a_request_that_cannot_be_read_is_refused(
    box: Any, ask_signed: Any, method: str, path: str, body: bytes, code: bytes
) -> None:
    box.put("k", b"x")
    status, answer = ask_signed("s3", method, path, body)
    assert (status, code in answer) == (400, True)


def test_what_nobody_expected_is_a_failure_of_the_account_and_a_line_in_its_log(
    box: Any, remote: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> Any:
        raise ZeroDivisionError("private")

    monkeypatch.setitem(ANSWERS, "sagemaker:DescribePipeline", broken)
    remote_client = remote("sagemaker")
    remote_client.meta.config.retries = {"max_attempts": 1}
    for client in (box.client("sagemaker"), remote_client):
        with pytest.raises(ClientError) as caught:
            client.describe_pipeline(PipelineName="p")
        assert caught.value.response["Error"]["Code"] == "InternalFailure"
        assert "private" not in str(caught.value)
    lines = (box.home / "logs/local/errors.log").read_text().splitlines()
    assert {line.split(" ", 2)[2] for line in lines} == {"ZeroDivisionError: private"}


@pytest.mark.parametrize("port", [-1, 65536, 99999])
def test_a_port_that_is_none_is_told_in_one_line(box: Any, port: int) -> None:
    with pytest.raises(LocalAccountError, match="there is no port"):
        bind(box.account, port)


@pytest.mark.parametrize(
    ("service", "call", "arguments", "code", "status"),
    [
        ("s3", "get_object", {"Bucket": "b", "Key": "k"}, "NoSuchBucket", 404),
        ("s3", "head_object", {"Bucket": "b", "Key": "k"}, "404", 404),
        ("sagemaker", "describe_pipeline", {"PipelineName": "p"}, "ResourceNotFound", 400),
        ("sagemaker", "describe_model", {"ModelName": "m"}, "ValidationException", 400),
        ("lambda", "get_function", {"FunctionName": "f"}, "ResourceNotFoundException", 404),
        ("sagemaker", "list_apps", {}, "NotImplemented", 501),
        ("logs", "get_log_events", {"logGroupName": "g", "logStreamName": "s"},
         "ResourceNotFoundException", 400),
    ],
)  # fmt: skip
def test_errors_have_the_code_and_status_of_the_service(
    remote: Any, service: str, call: str, arguments: Any, code: str, status: int
) -> None:
    with pytest.raises(ClientError) as caught:
        client = remote(service)
        client.meta.config.retries = {"max_attempts": 1}
        getattr(client, call)(**arguments)
    assert caught.value.response["Error"]["Code"] == code
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == status


def test_functions_identity_and_events_answer(remote: Any) -> None:
    payload = remote("lambda").invoke(FunctionName="echo", Payload=b'{"a": 1}')["Payload"].read()
    assert json.loads(payload)["event"] == {"a": 1}
    failed = remote("lambda").invoke(FunctionName="fail", Payload=b"{}")
    assert failed["FunctionError"] == "Unhandled"
    assert remote("sts").get_caller_identity()["Account"] == "000000000000"
    entry = {"Source": "other", "DetailType": "t", "Detail": "{}"}
    assert remote("events").put_events(Entries=[entry])["FailedEntryCount"] == 0


def test_arguments_are_checked_as_boto3_checks_them(ask_signed: Any) -> None:
    status, body = ask_signed(
        "sagemaker", "POST", "/", b"{}", Content_Type="application/x-amz-json-1.1",
        X_Amz_Target="SageMaker.DescribeModel",
    )  # fmt: skip
    assert status == 400
    assert b'Missing required parameter in input: \\"ModelName\\"' in body


def test_a_page_of_another_host_and_an_unknown_operation_get_nothing(port: int) -> None:
    assert ask(port, "GET", "/", Host="evil.example")[0] == 403
    unknown = UNSIGNED.format("nonsense")
    assert ask(port, "GET", "/x", Authorization=unknown)[0] == 404
    target = {"Authorization": UNSIGNED.format("sagemaker"), "X_Amz_Target": "SageMaker.Nonsense"}
    assert ask(port, "POST", "/", **target)[0] == 404


FRAMED = (
    b"5;chunk-signature=0\r\nhello\r\n6\r\n world\r\n0\r\nx-amz-checksum-crc32:DUoRhQ==\r\n\r\n"
)
STREAMING = {"x-amz-content-sha256": "STREAMING-UNSIGNED-PAYLOAD-TRAILER"}
CHUNKED = {"Content_Encoding": "aws-chunked", "x_amz_decoded_content_length": "11"}


def test_a_framed_body_is_unframed_and_checked(ask_signed: Any, remote: Any) -> None:
    remote("s3").create_bucket(Bucket="b")
    assert ask_signed("s3", "PUT", "/b/k", FRAMED, **CHUNKED)[0] == 200
    assert remote("s3").get_object(Bucket="b", Key="k")["Body"].read() == b"hello world"
    damaged = FRAMED.replace(b"hello", b"hullo")
    status, body = ask_signed("s3", "PUT", "/b/bad", damaged, **CHUNKED)
    assert (status, b"BadDigest" in body) == (400, True)
    assert remote("s3").list_objects_v2(Bucket="b")["KeyCount"] == 1


@pytest.mark.parametrize(
    ("body", "headers", "code"),
    [
        (b"5\r\nhel", STREAMING, "IncompleteBody"),
        (b"zz\r\n", STREAMING, "IncompleteBody"),
        (FRAMED, {**STREAMING, "x-amz-decoded-content-length": "12"}, "IncompleteBody"),
        (b"x", {"x-amz-checksum-sha256": "AAAA"}, "BadDigest"),
    ],
)
def test_a_body_that_is_not_what_was_sent_is_refused(body: bytes, headers: Any, code: str) -> None:
    with pytest.raises(ServiceError) as caught:
        decode_body(body, headers)
    assert caught.value.code == code


@pytest.fixture
def aws(box: Any, port: int, tmp_path: Path) -> Any:
    """The AWS CLI, pointed at the server: its answer parsed, or as text."""
    assert AWS.exists(), "the AWS CLI is missing: make test installs it (.tools/awscli)"
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        **client_variables(box.account.credentials, f"http://{HOST}:{port}", "us-east-1"),
    }

    def run(*arguments: str) -> Any:
        done = subprocess.run(  # noqa: S603 - the pinned client
            # by its Python: the script's first line cannot name one whose path has a space in it
            [AWS.with_name("python"), AWS, *arguments],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout) if done.stdout.startswith("{") else done.stdout

    return run


def definition(box: Any) -> str:
    """A job, a gate, and the registration of a version that answers `hi`."""
    specification = {
        "Containers": [
            {
                "Image": "server:1",
                "ModelDataUrl": box.model_data("hi"),
                "Environment": {"COLOUR": "blue"},
            }
        ],
        "SupportedContentTypes": ["text/plain"],
        "SupportedResponseMIMETypes": ["text/plain"],
    }
    register = {
        "Name": "Register",
        "Type": "RegisterModel",
        "Arguments": {"ModelPackageGroupName": "g", "InferenceSpecification": specification},
    }
    steps = [processing(box, "P", SCRIPT, "0.9"), gate("P", 0.5, [register])]
    return json.dumps({"Version": "2020-12-01", "Steps": steps})


def test_the_aws_cli_runs_a_pipeline_and_reads_its_log(box: Any, aws: Any, tmp_path: Path) -> None:
    (tmp_path / "definition.json").write_text(definition(box))
    aws("sagemaker", "create-pipeline", "--pipeline-name", "p", "--role-arn", ROLE,
        "--pipeline-definition", f"file://{tmp_path / 'definition.json'}")  # fmt: skip
    started = aws("sagemaker", "start-pipeline-execution", "--pipeline-name", "p")
    arn = started["PipelineExecutionArn"]
    box.wait_for_execution(arn)
    listed = aws("sagemaker", "list-pipeline-execution-steps", "--pipeline-execution-arn", arn)
    by_name = {step["StepName"]: step for step in listed["PipelineExecutionSteps"]}
    assert {step["StepStatus"] for step in by_name.values()} == {"Succeeded"}
    job = by_name["P"]["Metadata"]["ProcessingJob"]["Arn"].rpartition("/")[2]
    log = aws("logs", "get-log-events", "--log-group-name", "/aws/sagemaker/ProcessingJobs",
              "--log-stream-name", f"{job}/algo-1", "--start-from-head")  # fmt: skip
    assert "arguments" in log["events"][0]["message"]


def test_the_aws_cli_approves_deploys_and_asks_a_version(
    box: Any, aws: Any, tmp_path: Path
) -> None:
    box.register("hi")
    packages = aws("sagemaker", "list-model-packages", "--model-package-group-name", "g")
    package = packages["ModelPackageSummaryList"][0]["ModelPackageArn"]
    aws("sagemaker", "update-model-package", "--model-package-arn", package,
        "--model-approval-status", "Approved")  # fmt: skip
    aws("sagemaker", "create-model", "--model-name", "m", "--execution-role-arn", ROLE,
        "--primary-container", f"ModelPackageName={package}")  # fmt: skip
    aws("sagemaker", "create-endpoint-config", "--endpoint-config-name", "c",
        "--production-variants", "VariantName=v,ModelName=m,InitialInstanceCount=1,"
        "InstanceType=ml.m5.large")  # fmt: skip
    aws("sagemaker", "create-endpoint", "--endpoint-name", "e", "--endpoint-config-name", "c")
    aws("sagemaker", "wait", "endpoint-in-service", "--endpoint-name", "e")
    described = aws("sagemaker", "describe-endpoint", "--endpoint-name", "e")
    assert described["EndpointStatus"] == "InService"
    answer = tmp_path / "answer"
    aws("sagemaker-runtime", "invoke-endpoint", "--endpoint-name", "e", "--body", "you",
        "--content-type", "text/plain", str(answer))  # fmt: skip
    assert answer.read_text() == "hi:you:blue"
    aws("sagemaker", "delete-endpoint", "--endpoint-name", "e")


def test_the_aws_cli_copies_lists_and_presigns(
    box: Any, aws: Any, port: int, tmp_path: Path
) -> None:
    box.put("other", b"x")
    (tmp_path / "a file").write_text("hello")
    aws("s3", "cp", str(tmp_path / "a file"), "s3://b/folder/a file")
    listed = aws("s3", "ls", "s3://b/").split()
    assert (listed[:2], listed[-2:]) == (["PRE", "folder/"], ["1", "other"])
    url = aws("s3", "presign", "s3://b/folder/a file").strip()
    assert ask(port, "GET", url.partition(str(port))[2]) == (200, b"hello")


def test_a_bucket_of_the_path_leads_nowhere_outside_the_account(box: Any, ask_signed: Any) -> None:
    (box.tmp / "outside").mkdir()
    status, body = ask_signed("s3", "GET", "/%2Fetc/passwd")
    assert (status, b"InvalidBucketName" in body, b"root:" in body) == (400, True, False)
    for method, path in (("PUT", "/..%2F..%2Foutside/new.txt"), ("DELETE", "/..%2F..%2Foutside")):
        assert ask_signed("s3", method, path)[0] == 400
    assert list((box.tmp / "outside").iterdir()) == []


@pytest.mark.parametrize(
    "headers", [{"Origin": "http://evil.example"}, {"Origin": "null"},
                {"Sec_Fetch_Site": "cross-site"}, {"Sec_Fetch_Site": "same-origin"}]
)  # fmt: skip
def test_a_web_page_is_not_answered(box: Any, port: int, headers: dict[str, str]) -> None:
    assert ask(port, "PUT", "/from-a-page", **headers)[0] == 403
    assert box.account.objects.buckets() == []


def test_names_are_checked_for_any_client(remote: Any) -> None:
    with pytest.raises(ClientError, match="ModelPackageGroupName failed to satisfy constraint"):
        remote("sagemaker").create_model_package_group(ModelPackageGroupName="../g")
