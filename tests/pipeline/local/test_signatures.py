"""Over HTTP the account answers whoever has its key, and nobody else of the machine."""

from __future__ import annotations

import json
import os
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from pipeline.local.clients import aws_clients
from pipeline.local.http_api import HOST, bind
from pipeline.local.signatures import kept_credentials

FORGED = "AWS4-HMAC-SHA256 Credential=z/20200101/us-east-1/sagemaker/aws4_request"
CODES = {
    "s3": ("InvalidAccessKeyId", "SignatureDoesNotMatch", "AccessDenied"),
    "sagemaker": (
        "UnrecognizedClientException",
        "InvalidSignatureException",
        "MissingAuthenticationTokenException",
    ),
}


@pytest.fixture
def url(box: Any) -> Iterator[str]:
    server = bind(box.account, 0)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://{HOST}:{server.port}"
    server.shutdown()
    server.server_close()
    thread.join()


def client(url: str, service: str, key: str, secret: str, **config: Any) -> Any:
    session = boto3.Session(key, secret, region_name="us-east-1")
    return session.client(service, endpoint_url=url, config=Config(**config))  # type: ignore[call-overload]


def status(url: str, body: bytes | None = None, **headers: str) -> int:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, body, named)) as answer:  # noqa: S310
            code: int = answer.status
    except urllib.error.HTTPError as error:
        code = error.code
    return code


@pytest.mark.parametrize("service", ["s3", "sagemaker"])
def test_another_key_and_another_secret_are_refused_with_the_services_code(
    box: Any, url: str, service: str
) -> None:
    key, secret = box.account.credentials
    for pair, code in zip((("LOCALX", secret), (key, "guess")), CODES[service], strict=False):
        asked = client(url, service, *pair)
        with pytest.raises(ClientError) as caught:
            asked.list_buckets() if service == "s3" else asked.list_pipelines()
        assert caught.value.response["Error"]["Code"] == code
        assert "sentiment account env" in str(caught.value)


def test_an_unsigned_request_creates_no_job(box: Any, url: str) -> None:
    cluster = {"InstanceCount": 1, "InstanceType": "ml.m5.large", "VolumeSizeInGB": 1}
    job = {
        "ProcessingJobName": "x",
        "RoleArn": "arn:aws:iam::000000000000:role/r",
        "AppSpecification": {"ImageUri": "job:1", "ContainerEntrypoint": ["true"]},
        "ProcessingResources": {"ClusterConfig": cluster},
    }
    target = {
        "X_Amz_Target": "SageMaker.CreateProcessingJob",
        "Content_Type": "application/x-amz-json-1.1",
    }
    for authorization in (FORGED, f"{FORGED}, SignedHeaders=host, Signature=00", "AWS z:z"):
        body = json.dumps(job).encode()
        assert status(url, body, Authorization=authorization, **target) in (403, 404)
    jobs = box.client("sagemaker").list_processing_jobs()["ProcessingJobSummaries"]
    assert jobs == []
    assert status(f"{url}/b/k") == 403


@pytest.mark.parametrize("version", ["s3", "s3v4"])
def test_a_presigned_url_opens_what_it_was_made_for_alone(box: Any, url: str, version: str) -> None:
    for key in ("a b+ü", "other"):
        box.put(key, b"x")
    s3 = client(url, "s3", *box.account.credentials, signature_version=version)
    made = s3.generate_presigned_url(
        "get_object",
        Params={"Bucket": "b", "Key": "a b+ü", "ResponseContentType": "text/plain"},
    )
    assert status(made) == 200
    assert status(made.replace("a%20b%2B%C3%BC", "other")) == 403
    assert status(made.replace("xpires=", "xpires=9")) == 403
    assert status(made.replace("text%2Fplain", "text%2Fhtml")) == 403


def test_a_presigned_call_of_another_service_than_s3_is_answered(box: Any, url: str) -> None:
    sts = client(url, "sts", *box.account.credentials)
    assert status(sts.generate_presigned_url("get_caller_identity", HttpMethod="GET")) == 200


@pytest.mark.parametrize("query", ["prefix=a&prefix-b=1", "prefix=a&prefix=B", "prefix=%FF"])
def test_a_query_is_signed_by_its_names_and_bytes(box: Any, url: str, query: str) -> None:
    box.put("k", b"x")
    request = AWSRequest("GET", f"{url}/b?{query}")
    S3SigV4Auth(Credentials(*box.account.credentials), "s3", "us-east-1").add_auth(request)
    sent = request.prepare()
    assert status(sent.url, **dict(sent.headers)) == 200


def test_the_clients_of_a_job_have_the_key_and_nothing_else_is_answered(box: Any) -> None:
    with aws_clients(box.account) as variables:
        address = variables["AWS_ENDPOINT_URL"]
        pair = variables["AWS_ACCESS_KEY_ID"], variables["AWS_SECRET_ACCESS_KEY"]
        assert client(address, "sagemaker", *pair).list_pipelines()["PipelineSummaries"] == []
        assert status(f"{address}/b/k") == 403


def test_the_key_is_made_once_and_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "credentials.json"
    before = os.umask(0)
    try:
        with ThreadPoolExecutor(8) as pool:
            made = set(pool.map(lambda _: kept_credentials(path), range(8)))
    finally:
        os.umask(before)
    assert len(made) == 1
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]
    assert kept_credentials(tmp_path / "another") not in made
