"""What each type of step does: its properties (as Describe would return them) and metadata."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from pipeline.local.errors import StepError
from pipeline.local.jobs import job_lock, run_job
from pipeline.local.processes import held
from pipeline.local.services.jobs import create_job

if TYPE_CHECKING:
    import boto3

    from pipeline.local.account import Account

Document = dict[str, Any]
Result = tuple[Document, Document]
JOB_NAME_LIMIT = 63
TAG_PREFIX = "local-account:"
TAG_CHARS = 256
CLIENT_TOKEN_CHARS = 36


@dataclass(frozen=True)
class StepContext:
    """What a step may use. `announce` publishes its metadata while it still runs.

    `explanation` says why the cache had nothing for it, "" where it was not asked.
    """

    account: Account
    session: boto3.Session
    step: Document
    execution_id: str
    stopped: Callable[[], bool]
    announce: Callable[[Document], object]
    explanation: str = ""

    def client(self, service: str) -> Any:
        return self.session.client(service)  # type: ignore[call-overload]


def _run_job(context: StepContext, kind: str, arguments: Document) -> Result:
    step = re.sub(r"[^A-Za-z0-9-]", "-", context.step["Name"])
    prefix, suffix = f"pipelines-{context.execution_id}-", f"-{secrets.token_hex(5)}"
    name = prefix + step[: JOB_NAME_LIMIT - len(prefix) - len(suffix)] + suffix
    account = context.account
    with held(job_lock(account, name), what=f"job {name}"):
        job = create_job(account, kind, {**arguments, f"{kind}JobName": name})
        metadata = {f"{kind}Job": {"Arn": job[f"{kind}JobArn"]}}
        context.announce(metadata)
        tags = {"cache": context.explanation} if context.explanation else {}
        _tag(account, job[f"{kind}JobArn"], tags)
        done = run_job(account, kind, name, context.stopped)
        _tag(account, job[f"{kind}JobArn"], resource_use(done.get("Usage", [])))
        return done, metadata


def _tag(account: Account, arn: str, values: Document) -> None:
    """Tell what AWS has no field for, where any client can read it: in the job's tags."""
    if values:
        tags = [
            {"Key": f"{TAG_PREFIX}{key}", "Value": str(value)[:TAG_CHARS]}
            for key, value in values.items()
        ]
        account.call("sagemaker:AddTags", {"ResourceArn": arn, "Tags": tags})


def resource_use(usage: list[Document]) -> Document:
    """CPU seconds of all hosts together, and the largest memory that a process of one had."""
    if not usage:
        return {}
    return {
        "cpu-seconds": round(sum(item["CpuSeconds"] for item in usage), 2),
        "peak-memory-mib": max(item["PeakMemoryBytes"] for item in usage) >> 20,
    }


def run_processing(context: StepContext, arguments: Document) -> Result:
    return _run_job(context, "Processing", arguments)


def run_training(context: StepContext, arguments: Document) -> Result:
    return _run_job(context, "Training", arguments)


def run_transform(context: StepContext, arguments: Document) -> Result:
    return _run_job(context, "Transform", arguments)


def _request(call: Callable[..., Document], **arguments: Any) -> Document:
    """Send a request through a real client, so that botocore checks it against the model."""
    try:
        return call(**arguments)
    except (ClientError, BotoCoreError) as error:
        raise StepError(str(error)) from error


def run_register_model(context: StepContext, arguments: Document) -> Result:
    client = context.client("sagemaker")
    group = arguments.get("ModelPackageGroupName")
    known = {item["ModelPackageGroupName"] for item in _groups(client)}
    if group and group not in known:
        try:  # as on AWS the step makes the group; another run may have made it meanwhile
            client.create_model_package_group(ModelPackageGroupName=group)
        except ClientError as error:
            if "already exists" not in str(error):
                raise StepError(str(error)) from error
    # A retry after a kill between the registration and the record of it registers nothing new.
    token = f"{context.execution_id}-{context.step['Name']}"[:CLIENT_TOKEN_CHARS]
    request = {"ClientToken": token, **arguments}
    arn = _request(client.create_model_package, **request)["ModelPackageArn"]
    properties = context.account.call("sagemaker:DescribeModelPackage", {"ModelPackageName": arn})
    return properties, {"RegisterModel": {"Arn": arn}}


def _groups(client: Any) -> list[Document]:
    pages = client.get_paginator("list_model_package_groups").paginate()
    return [item for page in pages for item in page["ModelPackageGroupSummaryList"]]


def run_model(context: StepContext, arguments: Document) -> Result:
    name = f"pipelines-{context.execution_id}-{context.step['Name']}-{secrets.token_hex(5)}"
    name = arguments.get("ModelName") or name[-JOB_NAME_LIMIT:]
    request = {**arguments, "ModelName": name}
    arn = _request(context.client("sagemaker").create_model, **request)["ModelArn"]
    properties = context.account.call("sagemaker:DescribeModel", {"ModelName": name})
    return properties, {"Model": {"Arn": arn}}


def run_lambda(context: StepContext, arguments: Document) -> Result:
    function = context.step["FunctionArn"]
    answer = _request(
        context.client("lambda").invoke,
        FunctionName=function,
        Payload=json.dumps(arguments).encode(),
    )
    payload = json.loads(answer["Payload"].read() or b"null")
    if answer.get("FunctionError"):
        message = payload.get("errorMessage") if isinstance(payload, dict) else payload
        raise StepError(f"function {function.rpartition(':')[2]} failed: {message}")
    outputs = {}
    for output in context.step.get("OutputParameters", []):
        name = output["OutputName"]
        if not isinstance(payload, dict) or name not in payload:
            raise StepError(f"function {function.rpartition(':')[2]} returned no {name!r}")
        outputs[name] = payload[name]
    metadata = {
        "Lambda": {
            "Arn": function,
            "OutputParameters": [
                {"Name": name, "Value": str(value)} for name, value in outputs.items()
            ],
        }
    }
    return {"OutputParameters": outputs}, metadata


RUN_STEP: dict[str, Callable[[StepContext, Document], Result]] = {
    "Processing": run_processing,
    "Training": run_training,
    "Transform": run_transform,
    "RegisterModel": run_register_model,
    "Model": run_model,
    "Lambda": run_lambda,
}
