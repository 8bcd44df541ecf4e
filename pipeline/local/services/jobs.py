"""Processing and training jobs as the API sees them."""

from __future__ import annotations

import shutil
import time

from pipeline.local.account import Account, answers
from pipeline.local.errors import ServiceError
from pipeline.local.jobs import clear, job_folder, job_lock
from pipeline.local.metrics import check_metrics
from pipeline.local.processes import held, is_alive, start
from pipeline.local.services.listing import page
from pipeline.local.services.tags import tag
from pipeline.local.store import Document


def create_job(account: Account, kind: str, request: Document) -> Document:
    """Keep a new job, not yet running; its description."""
    name = request[f"{kind}JobName"]
    check_metrics(request)
    arn = account.arn("sagemaker", f"{kind.lower()}-job/{name}")
    document = {
        **request,
        f"{kind}JobArn": arn,
        f"{kind}JobStatus": "InProgress",
        "SecondaryStatus": "Starting",
        "CreationTime": time.time(),
    }
    with account.store.transaction():
        _check_is_new(account, kind, name)
        account.store.put(f"{kind.lower()}-job", name, document)
        tag(account, arn, request)
    shutil.rmtree(job_folder(account, name), ignore_errors=True)
    job_folder(account, name).mkdir(parents=True)
    return document


def _check_is_new(account: Account, kind: str, name: str) -> None:
    if account.store.get(f"{kind.lower()}-job", name):
        arn = account.arn("sagemaker", f"{kind.lower()}-job/{name}")
        raise ServiceError(
            "ResourceInUse",
            "Job name must be unique within an AWS account and region, "
            f"and a {kind.lower()} job with this name already exists ({arn})",
        )


def _create(account: Account, kind: str, request: Document) -> Document:
    name = request[f"{kind}JobName"]
    _check_is_new(account, kind, name)  # before its lock, which one that runs holds
    with held(job_lock(account, name), what=f"job {name}") as descriptor:
        document = create_job(account, kind, request)
        start(
            "pipeline.local.jobs",
            [str(account.home), kind, name],
            descriptor=descriptor,
            log=account.home / "logs" / "local" / "jobs.log",
        )
    return {f"{kind}JobArn": document[f"{kind}JobArn"]}


def describe_job(account: Account, kind: str, request: Document) -> Document:
    """The job as it is: what a killed process left of it is ended first."""
    name = request[f"{kind}JobName"]
    job = account.store.get(f"{kind.lower()}-job", name)
    if job is None:
        raise ServiceError("ResourceNotFound", f"Requested resource not found: {name}")
    return _truthful(account, kind, job)


def _truthful(account: Account, kind: str, job: Document) -> Document:
    """A job whose process was killed is said to have failed, not to run for ever."""
    status, name = f"{kind}JobStatus", job[f"{kind}JobName"]
    if job[status] not in ("InProgress", "Stopping") or is_alive(job_lock(account, name)):
        return job

    def settle(current: Document) -> Document | None:
        if current[status] not in ("InProgress", "Stopping"):
            return None
        return {
            **current,
            status: "Failed",
            "FailureReason": "the process that ran the job was killed",
            f"{kind}EndTime": time.time(),
        }

    clear(account, name)
    return account.store.change(f"{kind.lower()}-job", name, settle) or job


def _list(account: Account, kind: str, request: Document) -> Document:
    return page(
        account.store.rows(f"{kind.lower()}-job"),
        request,
        member=f"{kind}JobSummaries",
        name=f"{kind}JobName",
        status=f"{kind}JobStatus",
        see=lambda job: _truthful(account, kind, job),
    )


def _stop(account: Account, kind: str, request: Document) -> Document:
    describe_job(account, kind, request)
    status = f"{kind}JobStatus"

    def stop(job: Document) -> Document | None:
        return {**job, status: "Stopping"} if job[status] == "InProgress" else None

    account.store.change(f"{kind.lower()}-job", request[f"{kind}JobName"], stop)
    return {}


@answers("sagemaker:CreateProcessingJob")
def create_processing_job(account: Account, request: Document) -> Document:
    return _create(account, "Processing", request)


@answers("sagemaker:DescribeProcessingJob")
def describe_processing_job(account: Account, request: Document) -> Document:
    return describe_job(account, "Processing", request)


@answers("sagemaker:ListProcessingJobs")
def list_processing_jobs(account: Account, request: Document) -> Document:
    return _list(account, "Processing", request)


@answers("sagemaker:StopProcessingJob")
def stop_processing_job(account: Account, request: Document) -> Document:
    return _stop(account, "Processing", request)


@answers("sagemaker:CreateTrainingJob")
def create_training_job(account: Account, request: Document) -> Document:
    return _create(account, "Training", request)


@answers("sagemaker:DescribeTrainingJob")
def describe_training_job(account: Account, request: Document) -> Document:
    return describe_job(account, "Training", request)


@answers("sagemaker:ListTrainingJobs")
def list_training_jobs(account: Account, request: Document) -> Document:
    return _list(account, "Training", request)


@answers("sagemaker:StopTrainingJob")
def stop_training_job(account: Account, request: Document) -> Document:
    return _stop(account, "Training", request)


@answers("sagemaker:CreateTransformJob")
def create_transform_job(account: Account, request: Document) -> Document:
    if account.store.get("model", request["ModelName"]) is None:
        arn = account.arn("sagemaker", f"model/{request['ModelName']}")
        raise ServiceError("ValidationException", f'Could not find model "{arn}".')
    return _create(account, "Transform", request)


@answers("sagemaker:DescribeTransformJob")
def describe_transform_job(account: Account, request: Document) -> Document:
    return describe_job(account, "Transform", request)


@answers("sagemaker:ListTransformJobs")
def list_transform_jobs(account: Account, request: Document) -> Document:
    return _list(account, "Transform", request)


@answers("sagemaker:StopTransformJob")
def stop_transform_job(account: Account, request: Document) -> Document:
    return _stop(account, "Transform", request)
