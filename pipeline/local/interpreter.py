"""Runs an execution of a pipeline: what may start, in which order, and what became of it.

Steps whose dependencies are met run side by side, each in a thread. Every change of state is
written to the store at once, so what a killed execution had finished is there for a retry.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import threading
import time
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pipeline.local import cache
from pipeline.local.definition import parameter_values, parse
from pipeline.local.errors import (
    ExpressionError,
    LocalAccountError,
    StepError,
    StepStoppedError,
)
from pipeline.local.expressions import Scope, condition_holds, evaluate, text
from pipeline.local.objects import split_uri
from pipeline.local.schedule import Schedule
from pipeline.local.selection import selection
from pipeline.local.steps import RUN_STEP, StepContext, new_job_name

if TYPE_CHECKING:
    from pipeline.local.account import Account

Document = dict[str, Any]
STOP_POLL_S = 0.2


def isoformat(seconds: float) -> str:
    return dt.datetime.fromtimestamp(seconds, dt.UTC).isoformat()


class Interpreter:
    """One run of one execution document."""

    def __init__(self, account: Account, execution: Document) -> None:
        self.account = account
        self.arn: str = execution["PipelineExecutionArn"]
        self.pipeline: str = execution["PipelineName"]
        self.definition = parse(execution["Definition"])
        parallelism = execution.get("ParallelismConfiguration") or {}
        self.workers = parallelism.get("MaxParallelExecutionSteps") or os.cpu_count() or 1
        self.selection = selection(account, execution, self.definition["Steps"])
        given = {item["Name"]: item["Value"] for item in execution.get("PipelineParameters", [])}
        self.properties: dict[str, Document] = {}
        self.scope = Scope(
            parameters=parameter_values(self.definition, given),
            execution={
                "PipelineName": self.pipeline,
                "PipelineArn": execution["PipelineArn"],
                "PipelineExecutionArn": self.arn,
                "PipelineExecutionId": self.arn.rpartition("/")[2],
                "StartDateTime": isoformat(execution["CreationTime"]),
                "CurrentDateTime": isoformat(time.time()),
            },
            steps=self.properties,
            read_property=self._read_property,
        )
        self.property_files: dict[tuple[str, str], Document] = {}
        self._checked, self._stopping = 0.0, False
        self._lock = threading.Lock()

    # -- state

    def stopped(self) -> bool:
        """Whether the execution was asked to stop; looks at the store now and then."""
        with self._lock:
            if not self._stopping and time.monotonic() - self._checked > STOP_POLL_S:
                self._checked = time.monotonic()
                document = self.account.store.get("execution", self.arn)
                self._stopping = (
                    document is None or document["PipelineExecutionStatus"] == "Stopping"
                )
            return self._stopping

    def _step_document(self, name: str) -> Document | None:
        return self.account.store.get("step", f"{self.arn}/{name}")

    def _record(self, step: Document, **fields: Any) -> Document:
        """Change the state of a step in the store, making it if it is new."""
        name = step["Name"]
        key = f"{self.arn}/{name}"
        with self.account.store.transaction():
            document = self.account.store.get("step", key) or {
                "StepName": name,
                "StepType": step["Type"],
                "StepDisplayName": step.get("DisplayName"),
                "StepDescription": step.get("Description"),
            }
            document |= fields
            self.account.store.put("step", key, document, parent=self.arn)
        return document

    def _read_property(self, step: str | None, name: str) -> Any:
        """The parsed JSON of a property file, or of the object at an S3 URI."""
        if step is None:
            bucket, key = split_uri(name)
        else:
            file = self.property_files.get((step, name))
            if file is None:
                raise ExpressionError(f"step {step} has no property file {name}")
            outputs = self.properties[step]["ProcessingOutputConfig"]["Outputs"]
            output = next(item for item in outputs if item["OutputName"] == file["OutputName"])
            bucket, key = split_uri(f"{output['S3Output']['S3Uri'].rstrip('/')}/{file['FilePath']}")
        try:
            return json.loads(self.account.objects.entry(bucket, key).path.read_text())
        except ValueError as error:
            raise ExpressionError(f"s3://{bucket}/{key} is not JSON: {error}") from error

    # -- scheduling

    def run(self) -> None:
        """Run every step that is to run; raises the StepError of the first that failed."""
        schedule = Schedule()
        self._expect(schedule, self.definition["Steps"])
        running: dict[Future[None], Document] = {}
        failure: StepError | StepStoppedError | None = None
        with ThreadPoolExecutor(self.workers) as pool:
            while True:
                if failure is None and self.stopped():
                    failure = StepStoppedError("the execution was stopped")
                while failure is None and len(running) < self.workers and (
                    step := schedule.take()
                ):  # fmt: skip
                    running[pool.submit(self._run_step, step)] = step
                if not running:
                    break
                done, _ = wait(running, timeout=STOP_POLL_S, return_when=FIRST_COMPLETED)
                for future in done:
                    step = running.pop(future)
                    error = future.exception()
                    if isinstance(error, StepError | StepStoppedError):
                        failure = failure or error
                    elif error is not None:
                        raise error
                    else:
                        schedule.finish(step["Name"])
                        self._expect(schedule, self._chosen_branch(step))
        if failure:
            raise failure

    def _expect(self, schedule: Schedule, steps: list[Document]) -> None:
        chosen = self.selection
        taking_part = [step for step in steps if not chosen or chosen.includes(step["Name"])]
        schedule.add(taking_part)
        for step in taking_part:
            for file in step.get("PropertyFiles", []):
                self.property_files[step["Name"], file["PropertyFileName"]] = file

    def _chosen_branch(self, step: Document) -> list[Document]:
        if step["Type"] != "Condition":
            return []
        holds = self.properties[step["Name"]]["Outcome"] == "True"
        branch: list[Document] = step["Arguments"].get("IfSteps" if holds else "ElseSteps", [])
        return branch

    # -- one step

    def _run_step(self, step: Document) -> None:
        name = step["Name"]
        before = self._step_document(name)
        if before and before["StepStatus"] == "Succeeded":  # the execution is a retry
            self.properties[name] = before["Properties"]
            return
        if self.selection and name in self.selection.reuses:
            self._lend(step, self.selection.source)
            return
        self._record(step, StepStatus="Executing", StartTime=time.time(), EndTime=None,
                     FailureReason=None, AttemptCount=1)  # fmt: skip
        try:
            self._attempt(step)
        except StepStoppedError:
            self._record(step, StepStatus="Stopped", EndTime=time.time())
            raise
        except StepError as error:
            self._record(step, StepStatus="Failed", EndTime=time.time(), FailureReason=str(error))
            raise StepError(f"step {name}: {error}", error.kind) from error

    def _lend(self, step: Document, source: str) -> None:
        """Take the result of a step that is not selected from the reference execution."""
        kept = self.account.store.get("step", f"{source}/{step['Name']}") or {}
        self._record(
            step,
            StartTime=time.time(),
            SelectiveExecutionResult={"SourcePipelineExecutionArn": source},
        )
        self._succeed(step, kept["Properties"], kept["Metadata"])

    def _attempt(self, step: Document) -> None:
        """Run a step, again and with back-off as its retry policies say."""
        attempts, started = 1, time.monotonic()
        while True:
            try:
                return self._execute(step)
            except StepError as error:
                policy = _policy(step, error.kind)
                if policy is None or not _may_retry(policy, attempts, time.monotonic() - started):
                    raise
                pause_s = policy.get("IntervalSeconds", 1) * policy.get("BackoffRate", 2.0) ** (
                    attempts - 1
                )
                attempts += 1
                self._record(step, AttemptCount=attempts)
                self._pause(pause_s)

    def _pause(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if self.stopped():
                raise StepStoppedError("stopped while waiting to retry")
            time.sleep(min(STOP_POLL_S, max(0.0, until - time.monotonic())))

    def _execute(self, step: Document) -> None:
        kind = step["Type"]
        try:
            if kind == "Condition":
                holds = all(
                    condition_holds(item, self.scope) for item in step["Arguments"]["Conditions"]
                )
                properties: Document = {"Outcome": str(holds)}
                metadata: Document = {"Condition": properties}
            elif kind == "Fail":
                raise StepError(text(evaluate(step["Arguments"]["ErrorMessage"], self.scope)))
            else:
                self._run(step)
                return
        except ExpressionError as error:
            raise StepError(str(error)) from error
        except (StepError, StepStoppedError):
            raise
        except (LocalAccountError, OSError) as error:
            raise StepError(str(error)) from error
        self._succeed(step, properties, metadata)

    def _run(self, step: Document) -> None:
        """Reuse an earlier run's result if the step's cache has one, else run the step."""
        if not cache.is_enabled(step):
            self._succeed(step, *self._result(step))
            return
        # The name of a job that is yet to be is in no key.
        key = cache.cache_key(self.account, step, self._arguments(step, job_name="its own"))
        found = cache.look_up(self.account, self.pipeline, step, key)
        self._record(step, CacheExplanation=found.explanation)
        if kept := found.step:
            self._record(step, CacheHitResult={"SourcePipelineExecutionArn": kept["ExecutionArn"]})
            self._succeed(step, kept["Properties"], kept["Metadata"])
            return
        done = self._succeed(step, *self._result(step, found.explanation))
        cache.remember(self.account, self.pipeline, key, done)

    def _arguments(self, step: Document, job_name: str) -> Document:
        """What a step is given, with every expression in it evaluated."""
        execution = {**self.scope.execution, f"{step['Type']}JobName": job_name}
        scope = replace(self.scope, execution=execution)
        arguments: Document = evaluate(step.get("Arguments", {}), scope)
        return arguments

    def _result(self, step: Document, explanation: str = "") -> tuple[Document, Document]:
        """Run a step; its properties and metadata."""
        execution_id = self.scope.execution["PipelineExecutionId"]
        context = StepContext(
            account=self.account,
            step=step,
            execution_id=execution_id,
            job_name=new_job_name(execution_id, step["Name"]),
            stopped=self.stopped,
            announce=lambda metadata: self._record(step, Metadata=metadata),
            explanation=explanation,
        )
        return RUN_STEP[step["Type"]](context, self._arguments(step, context.job_name))

    def _succeed(self, step: Document, properties: Document, metadata: Document) -> Document:
        self.properties[step["Name"]] = properties
        return self._record(
            step,
            StepStatus="Succeeded",
            EndTime=time.time(),
            Properties=properties,
            Metadata=metadata,
            ExecutionArn=self.arn,
        )


def _policy(step: Document, kind: str) -> Document | None:
    """The retry policy that covers a kind of failure."""
    for policy in step.get("RetryPolicies", []):
        if kind in policy.get("ExceptionType", []):
            found: Document = policy
            return found
    return None


def _may_retry(policy: Document, attempts: int, elapsed_s: float) -> bool:
    """A policy has a number of attempts or a time within which it may try again."""
    if "MaxAttempts" in policy:
        return attempts <= int(policy["MaxAttempts"])
    return elapsed_s < 60 * float(policy.get("ExpireAfterMin", 0))
