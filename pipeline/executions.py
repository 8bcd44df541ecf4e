"""Runs of the pipeline: start one, watch it, ask how it stands, read what its steps printed."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from botocore.exceptions import ClientError

from pipeline.errors import ExecutionError
from pipeline.target import Target

RUNNING = frozenset({"Executing", "Stopping"})
SHOWN_IDS = 5
NOTE_PREFIX = "local-account:"

# Metadata key of a step → the log group of what it ran.
_JOB_GROUPS = {
    "ProcessingJob": "/aws/sagemaker/ProcessingJobs",
    "TrainingJob": "/aws/sagemaker/TrainingJobs",
    "TransformJob": "/aws/sagemaker/TransformJobs",
}


@dataclass(frozen=True)
class Log:
    """Where a step's output lies in CloudWatch Logs; streams begin with `prefix`.

    A function logs into one group whoever calls it: what a step's call printed is told by `span`,
    the first and the last millisecond of the step.
    """

    group: str
    prefix: str
    place: str
    span: tuple[int, int] | None = None


@dataclass(frozen=True)
class Step:
    """One step of an execution as it stands."""

    name: str
    status: str
    seconds: float
    reason: str
    cached_from: str
    metadata: Mapping[str, Any]
    log: Log | None

    @property
    def is_running(self) -> bool:
        return self.status in RUNNING or self.status == "Starting"


@dataclass(frozen=True)
class Execution:
    """One run of the pipeline."""

    arn: str
    status: str
    reason: str
    started: datetime
    seconds: float | None
    """None in a list, which does not say when an execution ended."""

    @property
    def id(self) -> str:
        """The last part of the ARN, which is enough to name it."""
        return self.arn.rpartition("/")[2]

    @property
    def is_running(self) -> bool:
        return self.status in RUNNING


class Executions:
    """The pipeline's executions in one account."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._sagemaker = target.client("sagemaker")

    def upsert(self, definition: str) -> str:
        """Create the pipeline or bring it up to date; returns its ARN."""
        request = {
            "PipelineName": self._target.account.pipeline_name,
            "PipelineDefinition": definition,
            "RoleArn": self._target.account.role_arn,
        }
        try:
            arn: str = self._sagemaker.update_pipeline(**request)["PipelineArn"]
        except ClientError as error:
            if not _is_missing(error):
                raise
            try:
                arn = self._sagemaker.create_pipeline(**request)["PipelineArn"]
            except ClientError as other:
                if "already exists" not in str(other):
                    raise
                # Another run has created it in the meantime.
                arn = self._sagemaker.update_pipeline(**request)["PipelineArn"]
        return arn

    def start(self, parameters: Mapping[str, str]) -> str:
        """Start an execution; returns its ARN at once."""
        response = self._sagemaker.start_pipeline_execution(
            PipelineName=self._target.account.pipeline_name,
            PipelineParameters=[
                {"Name": name, "Value": value} for name, value in sorted(parameters.items())
            ],
        )
        arn: str = response["PipelineExecutionArn"]
        return arn

    def all(self) -> list[Execution]:
        """All executions, the newest first."""
        pages = self._sagemaker.get_paginator("list_pipeline_executions").paginate(
            PipelineName=self._target.account.pipeline_name,
            SortBy="CreationTime",
            SortOrder="Descending",
        )
        try:
            summaries = [one for page in pages for one in page["PipelineExecutionSummaries"]]
        except ClientError as error:
            if _is_missing(error):
                return []
            raise
        return [self._execution(one) for one in summaries]

    def find(self, execution_id: str | None) -> Execution:
        """The execution with this id or ARN; the newest for None."""
        executions = self.all()
        if not executions:
            raise ExecutionError("nothing has run yet (start with: sentiment run)")
        for execution in executions:
            if execution_id in (None, execution.id, execution.arn):
                return self.describe(execution.arn)
        newest = ", ".join(execution.id for execution in executions[:SHOWN_IDS])
        raise ExecutionError(f"unknown execution {execution_id!r} (the newest: {newest})")

    def describe(self, arn: str) -> Execution:
        """How an execution stands now."""
        return self._execution(
            self._sagemaker.describe_pipeline_execution(PipelineExecutionArn=arn)
        )

    def steps(self, arn: str) -> list[Step]:
        """The steps that have begun, in that order."""
        pages = self._sagemaker.get_paginator("list_pipeline_execution_steps").paginate(
            PipelineExecutionArn=arn, SortOrder="Ascending"
        )
        return [self._step(one) for page in pages for one in page["PipelineExecutionSteps"]]

    def not_executed(self, arn: str) -> list[str]:
        """Steps that never began: of a branch not taken, after one of these, or after a failure.

        SageMaker's list of steps has only those that began.
        """
        answer = self._sagemaker.describe_pipeline_definition_for_execution(
            PipelineExecutionArn=arn
        )
        begun = {step.name for step in self.steps(arn)}
        defined = _names(json.loads(answer["PipelineDefinition"])["Steps"])
        return [name for name in defined if name not in begun]

    def parameters(self, arn: str) -> dict[str, str]:
        """The values an execution runs with, defaults included."""
        pages = self._sagemaker.get_paginator("list_pipeline_parameters_for_execution").paginate(
            PipelineExecutionArn=arn
        )
        return {one["Name"]: one["Value"] for page in pages for one in page["PipelineParameters"]}

    def follow(self, arn: str) -> Iterator[tuple[Execution, list[Step]]]:
        """Yield how the execution and its steps stand, again and again, to its end."""
        while True:
            execution = self.describe(arn)
            yield execution, self.steps(arn)
            if not execution.is_running:
                return
            time.sleep(self._target.poll_s)

    def stop(self, arn: str) -> None:
        """Ask an execution to stop; what runs is given time to end."""
        self._sagemaker.stop_pipeline_execution(
            PipelineExecutionArn=arn, ClientRequestToken=_token()
        )

    def retry(self, arn: str) -> None:
        """Go on with an execution from the step that failed or was stopped."""
        self._sagemaker.retry_pipeline_execution(
            PipelineExecutionArn=arn, ClientRequestToken=_token()
        )

    def notes(self, step: Step) -> dict[str, str]:
        """What the account noted in the tags of the step's job: the cache's reason, its use."""
        for key in _JOB_GROUPS:
            if key in step.metadata:
                tags = self._sagemaker.list_tags(ResourceArn=step.metadata[key]["Arn"])["Tags"]
                return {
                    tag["Key"].removeprefix(NOTE_PREFIX): tag["Value"]
                    for tag in tags
                    if tag["Key"].startswith(NOTE_PREFIX)
                }
        return {}

    def log_lines(self, log: Log) -> Iterator[str]:
        """What a step printed, line by line."""
        logs = self._target.client("logs")
        prefix: dict[str, str] = {"logStreamNamePrefix": log.prefix} if log.prefix else {}
        pages = logs.get_paginator("describe_log_streams").paginate(
            logGroupName=log.group, **prefix
        )
        try:
            streams = [stream for page in pages for stream in page["logStreams"]]
        except ClientError as error:
            if _is_missing(error):
                return
            raise
        for stream in streams:
            yield from self._stream_lines(log, stream["logStreamName"])

    def _stream_lines(self, log: Log, stream: str) -> Iterator[str]:
        logs = self._target.client("logs")
        request = {"logGroupName": log.group, "logStreamName": stream, "startFromHead": True}
        if log.span:
            request["startTime"], request["endTime"] = log.span
        token = None
        while True:
            page = logs.get_log_events(**request)
            for event in page["events"]:
                yield event["message"]
            # The end of a stream gives back the token it was asked with:
            # https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_GetLogEvents.html
            if page["nextForwardToken"] == token:
                return
            request["nextToken"] = token = page["nextForwardToken"]

    def _execution(self, document: Mapping[str, Any]) -> Execution:
        started = document.get("StartTime") or document["CreationTime"]
        status = document["PipelineExecutionStatus"]
        changed = document.get("LastModifiedTime")
        return Execution(
            arn=document["PipelineExecutionArn"],
            status=status,
            reason=document.get("FailureReason")
            or document.get("PipelineExecutionFailureReason")
            or "",
            started=started,
            seconds=_seconds(started, None if status in RUNNING else changed) if changed else None,
        )

    def _step(self, document: Mapping[str, Any]) -> Step:
        metadata = document.get("Metadata", {})
        return Step(
            name=document["StepName"],
            status=document["StepStatus"],
            seconds=_seconds(document.get("StartTime"), document.get("EndTime")),
            reason=document.get("FailureReason") or "",
            cached_from=document.get("CacheHitResult", {})
            .get("SourcePipelineExecutionArn", "")
            .rpartition("/")[2],
            metadata=metadata,
            log=self._log(metadata, _span(document)),
        )

    def _log(self, metadata: Mapping[str, Any], span: tuple[int, int]) -> Log | None:
        for key, group in _JOB_GROUPS.items():
            if key in metadata:
                job = metadata[key]["Arn"].rpartition("/")[2]
                place = self._target.log_place(group, f"{job}/algo-1")
                return Log(group, f"{job}/", place)
        if "Lambda" in metadata:
            group = f"/aws/lambda/{metadata['Lambda']['Arn'].rpartition(':')[2]}"
            place = self._target.log_place(group, "").removesuffix("/.log")
            return Log(group, "", place, span)
        return None


def _span(step: Mapping[str, Any]) -> tuple[int, int]:
    """When a step began and ended, in milliseconds; `endTime` itself is no part of an answer."""
    ended = step.get("EndTime") or datetime.now(UTC)
    started = step.get("StartTime") or ended
    return int(started.timestamp() * 1000), int(ended.timestamp() * 1000) + 1000


def _seconds(started: datetime | None, ended: datetime | None) -> float:
    if started is None:
        return 0.0
    return max(0.0, ((ended or datetime.now(UTC)) - started).total_seconds())


def _is_missing(error: ClientError) -> bool:
    return error.response["Error"]["Code"] in {"ResourceNotFound", "ResourceNotFoundException"}


def _names(steps: list[dict[str, Any]]) -> Iterator[str]:
    """The names of steps and of those in their branches."""
    for step in steps:
        yield step["Name"]
        if step["Type"] == "Condition":
            for branch in ("IfSteps", "ElseSteps"):
                yield from _names(step["Arguments"].get(branch, []))


def _token() -> str:
    """A fresh token: AWS wants 32 characters or more of a request that must not run twice."""
    return uuid.uuid4().hex
