"""One run from data to a registered version and, when asked for, to a served one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from pipeline import compilation, data
from pipeline.commit import source_commit
from pipeline.display import ByteProgress, Follower
from pipeline.endpoint import Endpoint, predict_through_api
from pipeline.errors import DataError, ExecutionError, ParameterError
from pipeline.executions import Execution, Executions, Step
from pipeline.parameters import declare, parse_assignments
from pipeline.registry import APPROVED, Registry, Version
from pipeline.settings import Account
from pipeline.tables import resolve_tables
from pipeline.target import Target

APPROVAL_REASON = "approved by sentiment run --approve"
REVIEW = "The story is not boring at all, and the ending is brilliant."


@dataclass(frozen=True)
class Request:
    """What the user asked for."""

    data: str | None
    assignments: Sequence[str]
    approve: bool


@dataclass(frozen=True)
class Result:
    """What a run that succeeded leaves behind; `prediction` only of one that approved."""

    execution: Execution
    about_data: str
    is_sample: bool
    version: Version
    prediction: Mapping[str, Any] | None

    @property
    def seconds(self) -> float:
        """How long the execution took."""
        return self.execution.seconds or 0.0

    def as_json(self) -> dict[str, Any]:
        """The result for a script."""
        return {
            "execution": self.execution.id,
            "status": self.execution.status,
            "seconds": round(self.seconds, 1),
            "data": self.about_data,
            "accuracy": self.version.accuracy,
            "version": self.version.number,
            "approval_status": self.version.status,
            "prediction": self.prediction,
        }


def run(target: Target, request: Request, root: Path, talk: IO[str]) -> Result:
    """Upsert the pipeline, start an execution and follow it to its end, talking on `talk`.

    Raises ExecutionError, naming the step, its reason and its log, when the execution fails.
    """
    given = parse_assignments(request.assignments, declare(target.account, ""))
    if request.data is not None and "InputDataUrl" in given:
        raise ParameterError("give either --data or --parameter InputDataUrl=…, not both")
    target.prepare()
    given = {**given, **resolve_tables(given, target.client("s3"), target.account)}
    reviews = _reviews(target, request, given, talk)
    parameters = _parameters(target, reviews, given, root)
    check_readable(target.account, parameters)
    print(f"data: {reviews.about}", file=talk, flush=True)
    executions = Executions(target)
    print("compiling the pipeline definition", file=talk, flush=True)
    definition = compilation.compile_definition(target.session, target.account, root)
    executions.upsert(definition.text)
    arn = executions.start(parameters)
    print(f"execution {arn.rpartition('/')[2]}", file=talk, flush=True)
    execution, steps = Follower(target, talk).watch(executions.follow(arn))
    if execution.status != "Succeeded":
        raise ExecutionError(failure(execution, steps))
    version = _registered(Registry(target), steps)
    prediction = None
    if request.approve:
        prediction = _approve_and_predict(target, version, talk)
        version = Registry(target).find(version.number)
    return Result(execution, reviews.about, reviews.is_sample, version, prediction)


def failure(execution: Execution, steps: Sequence[Step]) -> str:
    """One line on why an execution did not succeed: the step, the reason, the log."""
    for step in steps:
        if step.status == "Failed":
            log = f" (log: {step.log.place})" if step.log else ""
            reason = " ".join((step.reason or execution.reason).split()).rstrip(".")
            return f"step {step.name} failed: {reason}{log}"
    what = "was stopped" if execution.status == "Stopped" else "failed"
    return f"execution {execution.id} {what}: {execution.reason or 'no reason is known'}"


def check_readable(account: Account, parameters: Mapping[str, str]) -> None:
    """Raise DataError for an s3:// address in a bucket that the run's role may not read."""
    for name, url in parameters.items():
        bucket = url.removeprefix("s3://").partition("/")[0]
        if not url.startswith("s3://") or bucket in (account.bucket, *account.readable_buckets):
            continue
        if account.readable_buckets:
            raise DataError(
                f"{name}: the run's role may not read bucket {bucket} (let it: sentiment stack "
                f"deploy --parameter DataBucket={bucket}, or give a copy on this machine)"
            )


def _reviews(
    target: Target, request: Request, given: Mapping[str, str], talk: IO[str]
) -> data.Reviews:
    if url := given.get("InputDataUrl"):
        return data.Reviews(url, url)
    with ByteProgress(talk) as progress:
        return data.resolve(
            request.data, target.client("s3"), target.account.bucket, target.scratch, progress
        )


def _parameters(
    target: Target, reviews: data.Reviews, given: Mapping[str, str], root: Path
) -> dict[str, str]:
    """What the execution is started with; what the user gave comes before everything else."""
    parameters = {
        **reviews.parameters,
        "InputDataUrl": reviews.url,
        "ExpectedDataSha256": reviews.sha256,
        "SourceCommit": source_commit(root),
        **_production_evaluation(target),
    }
    if instance_type := given.get("TrainingInstanceType"):
        region = target.account.region
        parameters["TrainingImageUri"] = compilation.training_image(region, instance_type)
    return parameters | dict(given)


def _production_evaluation(target: Target) -> dict[str, str]:
    """Where the evaluation of the version that is served lies, if there is one."""
    served = Endpoint(target).served()
    if served is None or served.version is None:
        return {}
    url = Registry(target).find(served.version).evaluation_url
    return {"ProductionEvaluationUrl": url} if url else {}


def _registered(registry: Registry, steps: Sequence[Step]) -> Version:
    for step in steps:
        if "RegisterModel" in step.metadata:
            arn: str = step.metadata["RegisterModel"]["Arn"]
            return registry.find(int(arn.rpartition("/")[2]))
    raise ExecutionError("the execution succeeded but registered no version")


def _approve_and_predict(target: Target, version: Version, talk: IO[str]) -> dict[str, Any]:
    Registry(target).decide(version.number, APPROVED, APPROVAL_REASON)
    print(f"version {version.number} approved; waiting until it is served", file=talk, flush=True)
    served = Endpoint(target).wait_for(version.arn, target.deploy_timeout_s)
    if served.version != version.number:
        print(f"version {served.version} is served: it was approved later, or pinned", file=talk)
    return {"review": REVIEW, "answer": predict_through_api(target, REVIEW)}
