"""The stack as CloudFormation knows it: look at it, change it by change sets, follow its events."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Any

from botocore import xform_name
from botocore.exceptions import ClientError

from pipeline.errors import StackError
from pipeline.stack.requests import Request, delete_change_set, delete_stack, execute_change_set

EMPTY = "REVIEW_IN_PROGRESS"  # a change set was made for it, and never carried out
NOTHING_TO_CHANGE = ("didn't contain changes", "No updates are to be performed")
GOOD = ("CREATE_COMPLETE", "UPDATE_COMPLETE", "IMPORT_COMPLETE")
# Whatever went wrong before, these take another update.
# https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/view-stack-events.html
USABLE = (*GOOD, "UPDATE_FAILED", "UPDATE_ROLLBACK_COMPLETE", "IMPORT_ROLLBACK_COMPLETE")
# A stack that could not be created, or not be deleted, can only be deleted.
DEAD = ("ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "CREATE_FAILED", "DELETE_FAILED")
REMOVE = "remove it first: sentiment stack destroy"
CONTINUE = (
    "mend what its events name and have it go on: aws cloudformation continue-update-rollback "
    "--stack-name {name}"
)
# What is lost with a resource that is removed or made anew
HOLDS = {
    "AWS::S3::Bucket": "its objects",
    "AWS::ECR::Repository": "its images",
    "AWS::SageMaker::ModelPackageGroup": "its versions",
    "AWS::KMS::Key": "all that it encrypts; EncryptWithKmsKey cannot be taken back",
}
MAX_WAIT_S = 3600.0


@dataclass(frozen=True)
class State:
    """A stack that is there."""

    status: str
    outputs: Mapping[str, str]
    parameters: Mapping[str, str]
    reason: str

    @property
    def is_busy(self) -> bool:
        return self.status.endswith("_IN_PROGRESS")


@dataclass(frozen=True)
class Change:
    """What a change set would do to one resource."""

    action: str
    resource: str
    kind: str
    replacement: str


def refuse_unusable(name: str, state: State) -> None:
    """Raise StackError, with what to do, for a stack that is idle and takes no update."""
    if state.status in USABLE:
        return
    advice = REMOVE if state.status in DEAD else CONTINUE.format(name=name)
    reason = state.reason or "no reason is known"
    raise StackError(f"stack {name} is {state.status} ({reason}): {advice}")


def refuse_loss(name: str, changes: Sequence[Change]) -> None:
    """Raise StackError for changes that would lose what a resource holds."""
    for change in changes:
        goes = change.action == "Remove" or change.replacement == "True"
        if goes and change.kind in HOLDS:
            raise StackError(
                f"stack {name} cannot be changed so: {change.resource} would go, and with it "
                f"{HOLDS[change.kind]} (to begin anew: sentiment stack destroy)"
            )


class Stack:
    """One stack in one account."""

    def __init__(
        self,
        client: Any,
        name: str,
        talk: IO[str],
        poll_s: float,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._client = client
        self.name = name
        self._talk = talk
        self._poll_s = poll_s
        self._sleep = sleep

    def look(self) -> State | None:
        """The stack, or None where there is none."""
        try:
            (stack,) = self._client.describe_stacks(StackName=self.name)["Stacks"]
        except ClientError as error:
            if "does not exist" in str(error):
                return None
            raise
        if stack["StackStatus"] == "DELETE_COMPLETE":
            return None
        return State(
            status=stack["StackStatus"],
            outputs={one["OutputKey"]: one["OutputValue"] for one in stack.get("Outputs", [])},
            parameters={
                one["ParameterKey"]: one.get("ParameterValue", "")
                for one in stack.get("Parameters", [])
            },
            reason=stack.get("StackStatusReason", ""),
        )

    def resources(self) -> list[tuple[str, str]]:
        """Type and physical name of everything that the stack holds.

        What it failed to make is not its own: under that name may lie somebody else's.
        """
        pages = self._client.get_paginator("list_stack_resources").paginate(StackName=self.name)
        return [
            (one["ResourceType"], one.get("PhysicalResourceId", ""))
            for page in pages
            for one in page["StackResourceSummaries"]
            if one["ResourceStatus"] not in ("DELETE_COMPLETE", "CREATE_FAILED")
        ]

    def prepare(self, request: Request) -> list[Change] | None:
        """Make a change set and wait until it says what it would do; None if that is nothing."""
        name = request.parameters["ChangeSetName"]
        try:
            self.send(request)
        except ClientError as error:
            if any(words in str(error) for words in NOTHING_TO_CHANGE):
                return None
            if error.response["Error"]["Code"] != "AlreadyExistsException":
                raise
            # one that was interrupted before: the stack may have changed since
            self.send(delete_change_set(self.name, name))
            self.send(request)
        described = self._wait_for_change_set(name)
        if described["Status"] == "FAILED":
            reason = described.get("StatusReason", "no reason is known")
            self.send(delete_change_set(self.name, name))
            if any(words in reason for words in NOTHING_TO_CHANGE):
                return None
            raise StackError(f"stack {self.name} cannot be changed so: {reason}")
        return list(self._changes(name))

    def discard(self, request: Request) -> None:
        """Forget a change set, and the empty stack that was made to hold it."""
        self.send(delete_change_set(self.name, request.parameters["ChangeSetName"]))
        state = self.look()
        if state is not None and state.status == EMPTY:
            self.send(delete_stack(self.name))

    def execute(self, request: Request) -> None:
        """Carry a change set out and follow it to its end."""
        seen = self._newest_event()
        self.send(execute_change_set(self.name, request.parameters["ChangeSetName"]))
        self._finish(seen)

    def delete(self) -> None:
        """Delete the stack and follow that to its end."""
        seen = self._newest_event()
        self.send(delete_stack(self.name))
        self._finish(seen, gone=True)

    def wait_until_idle(self) -> State | None:
        """Follow whatever somebody else has begun; the stack as it is then."""
        state = self.look()
        if state is None or not state.is_busy or state.status == EMPTY:
            return state
        print(f"stack {self.name} is {state.status}; waiting for its end", file=self._talk)
        return self._follow(self._newest_event())

    def send(self, request: Request) -> Any:
        """Send a request to CloudFormation."""
        return getattr(self._client, xform_name(request.operation))(**request.parameters)

    def _finish(self, seen: str | None, *, gone: bool = False) -> None:
        state = self._follow(seen)
        if state is None and gone:
            return
        if state is None or gone or state.status not in GOOD:
            status = state.status if state else "gone"
            raise StackError(f"stack {self.name} is {status}: {self._first_failure(seen)}")

    def _follow(self, seen: str | None) -> State | None:
        deadline = time.monotonic() + MAX_WAIT_S
        while True:
            state = self.look()
            seen = self._tell(seen)
            if state is None or not state.is_busy:
                return state
            if time.monotonic() > deadline:
                raise StackError(
                    f"stack {self.name} is {state.status} after an hour (see: sentiment stack "
                    "status)"
                )
            self._sleep(self._poll_s)

    def _tell(self, seen: str | None) -> str | None:
        """Print the events since `seen`; the newest."""
        events = list(self._events_since(seen))
        for event in reversed(events):
            status, resource = event["ResourceStatus"], event["LogicalResourceId"]
            reason = event.get("ResourceStatusReason", "")
            told = f"  {reason}" if "FAILED" in status else ""
            print(f"{status:<28} {resource}{told}", file=self._talk, flush=True)
        return events[0]["EventId"] if events else seen

    def _first_failure(self, seen: str | None) -> str:
        failed = [
            f"{event['LogicalResourceId']}: {event.get('ResourceStatusReason', 'no reason given')}"
            for event in self._events_since(seen)
            if "FAILED" in event["ResourceStatus"]
            and "cancelled" not in event.get("ResourceStatusReason", "")
        ]
        return failed[-1] if failed else "no reason is known"

    def _events_since(self, seen: str | None) -> Iterator[Mapping[str, Any]]:
        """The newest first."""
        pages = self._client.get_paginator("describe_stack_events").paginate(StackName=self.name)
        try:
            for page in pages:
                for event in page["StackEvents"]:
                    if event["EventId"] == seen:
                        return
                    yield event
        except ClientError as error:
            if "does not exist" not in str(error):  # it has been deleted meanwhile
                raise

    def _newest_event(self) -> str | None:
        return next((event["EventId"] for event in self._events_since(None)), None)

    def _wait_for_change_set(self, name: str) -> Mapping[str, Any]:
        deadline = time.monotonic() + MAX_WAIT_S
        while True:
            described: Mapping[str, Any] = self._client.describe_change_set(
                StackName=self.name, ChangeSetName=name
            )
            if described["Status"] in ("CREATE_COMPLETE", "FAILED"):
                return described
            if time.monotonic() > deadline:
                raise StackError(f"change set {name} is {described['Status']} after an hour")
            self._sleep(self._poll_s)

    def _changes(self, name: str) -> Iterator[Change]:
        pages = self._client.get_paginator("describe_change_set").paginate(
            StackName=self.name, ChangeSetName=name
        )
        for page in pages:
            for change in page["Changes"]:
                one = change["ResourceChange"]
                yield Change(
                    one["Action"],
                    one["LogicalResourceId"],
                    one["ResourceType"],
                    one.get("Replacement", ""),
                )
