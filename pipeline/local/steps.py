"""What each type of step does: its properties (as Describe would return them) and metadata."""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline.local.arguments import wrong_arguments
from pipeline.local.errors import ServiceError, StepError
from pipeline.local.jobs import job_lock, run_job
from pipeline.local.processes import held
from pipeline.local.services.jobs import create_job

if TYPE_CHECKING:
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

    `job_name` is what a job of the step is to be called; `explanation` says why the cache had
    nothing for it, "" where it was not asked.
    """

    account: Account
    step: Document
    execution_id: str
    job_name: str
    stopped: Callable[[], bool]
    announce: Callable[[Document], object]
    explanation: str = ""


def new_job_name(execution_id: str, step: str) -> str:
    """A name for the job of a step, of the form that SageMaker gives it."""
    plain = re.sub(r"[^A-Za-z0-9-]", "-", step)
    prefix, suffix = f"pipelines-{execution_id}-", f"-{secrets.token_hex(5)}"
    return prefix + plain[: JOB_NAME_LIMIT - len(prefix) - len(suffix)] + suffix


def _run_job(context: StepContext, kind: str, arguments: Document) -> Result:
    account, name = context.account, context.job_name
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


def _request(context: StepContext, operation: str, arguments: Document) -> Document:
    """Send a request of the pipeline's, checked as boto3 checks its own."""
    service, _, name = operation.partition(":")
    wrong = wrong_arguments(service, name, arguments)
    if wrong:
        raise StepError(f"Parameter validation failed:\n{wrong}")
    try:
        return context.account.call(operation, arguments)
    except ServiceError as error:
        raise StepError(str(error)) from error


def run_register_model(context: StepContext, arguments: Document) -> Result:
    group = arguments.get("ModelPackageGroupName")
    if group and context.account.store.get("model-package-group", str(group)) is None:
        try:  # as on AWS the step makes the group; another run may have made it meanwhile
            _request(context, "sagemaker:CreateModelPackageGroup", {"ModelPackageGroupName": group})
        except StepError as error:
            if "already exists" not in str(error):
                raise
    # A retry after a kill between the registration and the record of it registers nothing new.
    name = f"{context.execution_id}/{context.step['Name']}"
    token = hashlib.sha256(name.encode()).hexdigest()[:CLIENT_TOKEN_CHARS]
    request = {"ClientToken": token, **arguments}
    arn = _request(context, "sagemaker:CreateModelPackage", request)["ModelPackageArn"]
    properties = context.account.call("sagemaker:DescribeModelPackage", {"ModelPackageName": arn})
    return properties, {"RegisterModel": {"Arn": arn}}


def run_model(context: StepContext, arguments: Document) -> Result:
    name = f"pipelines-{context.execution_id}-{context.step['Name']}-{secrets.token_hex(5)}"
    name = arguments.get("ModelName") or name[-JOB_NAME_LIMIT:]
    request = {**arguments, "ModelName": name}
    arn = _request(context, "sagemaker:CreateModel", request)["ModelArn"]
    properties = context.account.call("sagemaker:DescribeModel", {"ModelName": name})
    return properties, {"Model": {"Arn": arn}}


def run_lambda(context: StepContext, arguments: Document) -> Result:
    function = context.step["FunctionArn"]
    payload_sent = json.dumps(arguments).encode()
    request = {"FunctionName": function, "Payload": payload_sent}
    answer = _request(context, "lambda:Invoke", request)
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
