"""Batch transform jobs: the model's own server, asked once a file or once a line.

Source: SageMaker API, CreateTransformJob: an object `x` under the input gives `x.out` under the
output; `SplitType` Line with `BatchStrategy` SingleRecord sends a line a request, MultiRecord (the
default) as many lines as `MaxPayloadInMB` holds; `AssembleWith` Line ends each answer with a line
feed.
"""

from __future__ import annotations

import gzip
import io
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from pipeline.local.errors import StepError, StepStoppedError
from pipeline.local.inputs import located
from pipeline.local.model_server import Server, post, start_server
from pipeline.local.objects import Entry, split_uri

if TYPE_CHECKING:
    from pipeline.local.account import Account
    from pipeline.local.containers import Stopped

Document = dict[str, Any]
DEFAULT_PAYLOAD_MB = 6


def run_transform(
    account: Account, job: Document, stopped: Stopped, clients: dict[str, str]
) -> Document:
    """Run a transform job; what the finished job's description has in addition."""
    from pipeline.local.jobs import job_folder

    name = job["TransformJobName"]
    source = job["TransformInput"]["DataSource"]["S3DataSource"]
    found = located(account, source, "transform input")
    if not found:
        raise StepError(f"transform input: there is no object at {source['S3Uri']}")
    log = account.log_file("/aws/sagemaker/TransformJobs", f"{name}/algo-1")
    folder = job_folder(account, name) / "algo-1"
    environment = {**clients, **job.get("Environment", {})}
    server = start_server(account, name, job["ModelName"], folder, log, environment)
    try:
        for inside, entry in found:
            _transform(account, job, server, inside, entry, stopped)
    finally:
        server.stop()
    return {}


def _transform(
    account: Account, job: Document, server: Server, inside: str, entry: Entry, stopped: Stopped
) -> None:
    request, output = job["TransformInput"], job["TransformOutput"]
    headers = {
        "Content-Type": request.get("ContentType", "application/octet-stream"),
        "Accept": output.get("Accept", "*/*"),
    }
    body = entry.path.read_bytes()
    if request.get("CompressionType") == "Gzip":
        body = gzip.decompress(body)
    end = b"\n" if output.get("AssembleWith") == "Line" else b""
    answers = io.BytesIO()
    for payload in payloads(job, body):
        if stopped():
            raise StepStoppedError(f"{job['TransformJobName']} was stopped")
        status, answer, _ = post(server.port, payload, headers)
        if status != 200:
            text = answer.decode(errors="replace")
            raise StepError(f"the model answered {status} to a record of {inside}: {text}")
        answers.write(answer + (end if not answer.endswith(end) else b""))
    answers.seek(0)
    bucket, prefix = split_uri(f"{output['S3OutputPath'].rstrip('/')}/{inside}.out")
    account.objects.put(bucket, prefix, answers)


def payloads(job: Document, body: bytes) -> Iterator[bytes]:
    """What is sent for one object: all of it, each line, or lines up to the payload's limit."""
    if job["TransformInput"].get("SplitType", "None") != "Line":
        yield body
        return
    limit = int(job.get("MaxPayloadInMB", DEFAULT_PAYLOAD_MB)) << 20
    single = job.get("BatchStrategy") == "SingleRecord"
    batch: list[bytes] = []
    size = 0
    for line in body.splitlines(keepends=True):
        if batch and (single or size + len(line) > limit):
            yield b"".join(batch)
            batch, size = [], 0
        batch.append(line)
        size += len(line)
    if batch:
        yield b"".join(batch)
