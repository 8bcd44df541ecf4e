"""Pipelines and their executions."""

from __future__ import annotations

import os
import secrets
import string
import time

from pipeline.local import functions
from pipeline.local.account import Account, answers
from pipeline.local.definition import check, parameter_values, parse
from pipeline.local.errors import ServiceError
from pipeline.local.objects import split_uri
from pipeline.local.processes import acquire, held, is_alive, start
from pipeline.local.runner import UNFINISHED, execution_lock, finish
from pipeline.local.selection import selection
from pipeline.local.services.jobs import describe_job
from pipeline.local.services.listing import listed, page
from pipeline.local.services.tags import tag, untag
from pipeline.local.store import Document

RUNNER_LEAVES_WITHIN_S = 10.0
SETTLED_WITHIN_S = 1.0
ALPHABET = string.ascii_lowercase + string.digits


def _name(name: str) -> str:
    return name.rpartition("/")[2] if name.startswith("arn:") else name


def _definition(account: Account, request: Document) -> str | None:
    location = request.get("PipelineDefinitionS3Location")
    if location:
        bucket, key = split_uri(f"s3://{location['Bucket']}/{location['ObjectKey']}")
        return account.objects.entry(bucket, key).path.read_text()
    text: str | None = request.get("PipelineDefinition")
    return text


@answers("sagemaker:CreatePipeline")
def create_pipeline(account: Account, request: Document) -> Document:
    name = request["PipelineName"]
    arn = account.arn("sagemaker", f"pipeline/{name}")
    text = _definition(account, request)
    if text is None:
        raise ServiceError("ValidationException", "a pipeline needs a PipelineDefinition")
    check(text)
    now = time.time()
    with account.store.transaction():
        if account.store.get("pipeline", name):
            raise ServiceError(
                "ValidationException",
                "Pipeline names must be unique within an AWS account and region. "
                f"Pipeline with name ({name}) already exists.",
            )
        account.store.put(
            "pipeline",
            name,
            {
                **request,
                "PipelineDefinition": text,
                "PipelineArn": arn,
                "PipelineDisplayName": request.get("PipelineDisplayName", name),
                "PipelineStatus": "Active",
                "CreationTime": now,
                "LastModifiedTime": now,
            },
        )
        tag(account, arn, request)
    return {"PipelineArn": arn}


@answers("sagemaker:UpdatePipeline")
def update_pipeline(account: Account, request: Document) -> Document:
    text = _definition(account, request)
    if text is not None:
        check(text)
    with account.store.transaction():
        pipeline = describe_pipeline(account, request)
        changes = {"PipelineDefinition": text} if text is not None else {}
        account.store.put(
            "pipeline",
            pipeline["PipelineName"],
            {**pipeline, **request, **changes, "LastModifiedTime": time.time()},
        )
    return {"PipelineArn": pipeline["PipelineArn"]}


@answers("sagemaker:DescribePipeline")
def describe_pipeline(account: Account, request: Document) -> Document:
    name = _name(request["PipelineName"])
    pipeline = account.store.get("pipeline", name)
    if pipeline is None:
        arn = account.arn("sagemaker", f"pipeline/{name}")
        raise ServiceError("ResourceNotFound", f"Pipeline '{arn}' does not exist.")
    return pipeline


@answers("sagemaker:ListPipelines")
def list_pipelines(account: Account, request: Document) -> Document:
    wanted = request.get("PipelineNamePrefix", "")
    return page(
        account.store.rows("pipeline"),
        request,
        member="PipelineSummaries",
        name="PipelineName",
        keep=lambda item: item["PipelineName"].startswith(wanted),
    )


@answers("sagemaker:DeletePipeline")
def delete_pipeline(account: Account, request: Document) -> Document:
    """Delete a pipeline and its executions, of which none may run (API reference)."""
    pipeline = describe_pipeline(account, request)
    name, store = pipeline["PipelineName"], account.store
    for known in store.every("execution", parent=name):
        _execution(account, known["PipelineExecutionArn"])  # one that was killed runs no more
    with store.transaction():
        executions = store.every("execution", parent=name)
        if any(known["PipelineExecutionStatus"] in UNFINISHED for known in executions):
            message = f"Pipeline {name} has running executions: stop them first"
            raise ServiceError("ConflictException", message)
        for known in executions:
            arn, token = known["PipelineExecutionArn"], known.get("ClientRequestToken")
            store.delete_below("step", arn)
            store.delete("start-token", f"{name}/{token}")
            untag(account, arn)
        store.delete_below("execution", name)
        store.delete_below("cache", name)
        store.delete("pipeline", name)
        untag(account, pipeline["PipelineArn"])
    return {"PipelineArn": pipeline["PipelineArn"]}


@answers("sagemaker:StartPipelineExecution")
def start_pipeline_execution(account: Account, request: Document) -> Document:
    pipeline = describe_pipeline(account, request)
    name = pipeline["PipelineName"]
    if known := _started_by(account, name, request):
        return known
    definition = parse(pipeline["PipelineDefinition"])
    given = {item["Name"]: item["Value"] for item in request.get("PipelineParameters", [])}
    parameter_values(definition, given)
    if request.get("SelectiveExecutionConfig"):
        probe = {**request, "PipelineName": name, "PipelineExecutionArn": ""}
        selection(account, probe, definition["Steps"])
    identifier = "".join(secrets.choice(ALPHABET) for _ in range(12))
    arn = f"{pipeline['PipelineArn']}/execution/{identifier}"
    now = time.time()
    document = {
        **request,
        "PipelineName": name,
        "ParallelismConfiguration": request.get("ParallelismConfiguration")
        or pipeline.get("ParallelismConfiguration"),
        "PipelineArn": pipeline["PipelineArn"],
        "PipelineExecutionArn": arn,
        "PipelineExecutionDisplayName": request.get(
            "PipelineExecutionDisplayName", f"execution-{int(now * 1000)}"
        ),
        "PipelineExecutionStatus": "Executing",
        "CreationTime": now,
        "LastModifiedTime": now,
        "StartTime": now,
        "Definition": pipeline["PipelineDefinition"],
    }
    with held(execution_lock(account, arn), what=f"execution {identifier}") as descriptor:
        with account.store.transaction():  # the same token may have come twice at once
            if known := _started_by(account, name, request):
                return known
            account.store.put("execution", arn, document, parent=name)
            if token := request.get("ClientRequestToken"):
                account.store.put("start-token", f"{name}/{token}", {"Arn": arn})
        _run(account, arn, descriptor)
    return {"PipelineExecutionArn": arn}


def _started_by(account: Account, pipeline: str, request: Document) -> Document | None:
    """The answer to an earlier request with the same token."""
    known = account.store.get("start-token", f"{pipeline}/{request.get('ClientRequestToken')}")
    return {"PipelineExecutionArn": known["Arn"]} if known else None


def _run(account: Account, arn: str, descriptor: int) -> None:
    start(
        "pipeline.local.runner",
        [str(account.home), arn],
        descriptor=descriptor,
        log=account.home / "logs" / "local" / "runner.log",
    )


def _execution(account: Account, arn: str) -> Document:
    """The execution; one whose runner was killed is said to have failed, not to run for ever."""
    document = account.store.get("execution", arn)
    if document is None:
        raise ServiceError("ResourceNotFound", f"Pipeline execution '{arn}' does not exist.")
    lock = execution_lock(account, arn)
    if document["PipelineExecutionStatus"] not in UNFINISHED or is_alive(lock):
        return document
    descriptor = acquire(lock, within_s=SETTLED_WITHIN_S)
    if descriptor is None:  # a retry of it began just now
        return account.store.get("execution", arn) or document
    try:
        document = account.store.get("execution", arn) or document
        status = "Stopped" if document["PipelineExecutionStatus"] == "Stopping" else "Failed"
        _end_jobs(account, arn)
        finish(account, arn, status, "the process that ran the pipeline was killed")
    finally:
        os.close(descriptor)
    return account.store.get("execution", arn) or document


def _end_jobs(account: Account, arn: str) -> None:
    """End what the jobs and functions of a killed runner left running."""
    functions.clear(account)
    for step in account.store.every("step", parent=arn):
        job = (step.get("Metadata") or {}).get(f"{step['StepType']}Job")
        if step["StepStatus"] in UNFINISHED and job:
            kind, name = step["StepType"], job["Arn"].rpartition("/")[2]
            describe_job(account, kind, {f"{kind}JobName": name})


@answers("sagemaker:DescribePipelineExecution")
def describe_pipeline_execution(account: Account, request: Document) -> Document:
    return _execution(account, request["PipelineExecutionArn"])


@answers("sagemaker:UpdatePipelineExecution")
def update_pipeline_execution(account: Account, request: Document) -> Document:
    arn = request["PipelineExecutionArn"]
    _execution(account, arn)
    account.store.change(
        "execution", arn, lambda item: {**item, **request, "LastModifiedTime": time.time()}
    )
    return {"PipelineExecutionArn": arn}


@answers("sagemaker:ListPipelineExecutions")
def list_pipeline_executions(account: Account, request: Document) -> Document:
    name = describe_pipeline(account, request)["PipelineName"]

    def see(item: Document) -> Document:
        if item["PipelineExecutionStatus"] in UNFINISHED:
            item = _execution(account, item["PipelineExecutionArn"])
        return {**item, "PipelineExecutionFailureReason": item.get("FailureReason")}

    return page(
        account.store.rows("execution", name),
        request,
        member="PipelineExecutionSummaries",
        see=see,
    )


@answers("sagemaker:ListPipelineExecutionSteps")
def list_pipeline_execution_steps(account: Account, request: Document) -> Document:
    arn = request["PipelineExecutionArn"]
    _execution(account, arn)
    return page(
        account.store.rows("step", arn),
        request,
        member="PipelineExecutionSteps",
    )


@answers("sagemaker:ListPipelineParametersForExecution")
def list_pipeline_parameters_for_execution(account: Account, request: Document) -> Document:
    execution = _execution(account, request["PipelineExecutionArn"])
    given = {item["Name"]: item["Value"] for item in execution.get("PipelineParameters", [])}
    values = parameter_values(parse(execution["Definition"]), given)
    parameters = [{"Name": name, "Value": str(value)} for name, value in values.items()]
    return page(listed(parameters), request, member="PipelineParameters", default_order="Ascending")


@answers("sagemaker:DescribePipelineDefinitionForExecution")
def describe_pipeline_definition_for_execution(account: Account, request: Document) -> Document:
    execution = _execution(account, request["PipelineExecutionArn"])
    return {
        "PipelineDefinition": execution["Definition"],
        "CreationTime": execution["CreationTime"],
    }


@answers("sagemaker:StopPipelineExecution")
def stop_pipeline_execution(account: Account, request: Document) -> Document:
    arn = request["PipelineExecutionArn"]
    _execution(account, arn)

    def stop(item: Document) -> Document | None:
        if _is_repeated(item, "stop", request):
            return None
        _check_status(item, UNFINISHED, "It must be Executing to be stopped.")
        return {**item, **_token(item, "stop", request), "PipelineExecutionStatus": "Stopping"}

    account.store.change("execution", arn, stop)
    return {"PipelineExecutionArn": arn}


def _is_repeated(execution: Document, what: str, request: Document) -> bool:
    """Whether a request of this token was carried out already."""
    return f"{what} {request.get('ClientRequestToken')}" in execution.get("Tokens", [])


def _token(execution: Document, what: str, request: Document) -> Document:
    """The tokens of an execution with that of a request, by which its repetition is known."""
    token = request.get("ClientRequestToken")
    return {"Tokens": [*execution.get("Tokens", []), *([f"{what} {token}"] if token else [])]}


def _check_status(execution: Document, allowed: tuple[str, ...], rule: str) -> None:
    arn, status = execution["PipelineExecutionArn"], execution["PipelineExecutionStatus"]
    if status not in allowed:
        message = f"Pipeline execution with ARN {arn} status {status}. {rule}"
        raise ServiceError("ValidationException", message)


@answers("sagemaker:RetryPipelineExecution")
def retry_pipeline_execution(account: Account, request: Document) -> Document:
    arn = request["PipelineExecutionArn"]

    def retry(item: Document) -> Document:
        _check_status(item, ("Failed", "Stopped"), "It must be Failed or Stopped to be retried.")
        return {
            **item,
            **_token(item, "retry", request),
            "ParallelismConfiguration": request.get("ParallelismConfiguration")
            or item.get("ParallelismConfiguration"),
            "PipelineExecutionStatus": "Executing",
            "LastModifiedTime": time.time(),
            "FailureReason": None,
        }

    execution = _execution(account, arn)
    if _is_repeated(execution, "retry", request):
        return {"PipelineExecutionArn": arn}
    retry(execution)
    # A runner that has just recorded the end still takes a moment to leave.
    lock = execution_lock(account, arn)
    with held(lock, what=f"execution {arn}", within_s=RUNNER_LEAVES_WITHIN_S) as descriptor:
        account.store.change("execution", arn, retry)
        _run(account, arn, descriptor)
    return {"PipelineExecutionArn": arn}
