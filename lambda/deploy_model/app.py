"""The deploy function: whatever woke it up, it makes the endpoint serve what the registry says.

It is called by the pipeline's Deploy step, by an approval or rejection in the registry, by the end
of an endpoint update, and by a schedule. Events come twice, late, in the wrong order or not at all,
so none is believed: each only means "look now".
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any, TypedDict

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

from deploy_model.apply import apply
from deploy_model.errors import ArtifactError, EventError, LeaseHeldError
from deploy_model.lease import Lease
from deploy_model.logs import logger
from deploy_model.observe import Clients, observe
from deploy_model.observed import APPROVED, PENDING, Observed
from deploy_model.plan import Plan, Status, plan, refuse
from deploy_model.settings import Settings
from deploy_model.variants import Request
from deploy_model.verify import verify

DETAIL_TYPES = (
    "SageMaker Model Package State Change",
    "SageMaker Endpoint State Change",
    "CloudWatch Alarm State Change",
)
# Each round ends with an account nearer to the wanted one; a delete, a create and the tidying up
# are three. More are needed only when someone else is at work, and they will be called for it too.
MAX_ROUNDS = 6
# Another call changes the account in seconds, and this one may have come about something newer.
LEASE_ATTEMPTS = 20
LEASE_PAUSE_S = 1.0


class Outcome(TypedDict):
    """What the caller is told; the pipeline's Deploy step shows it."""

    endpoint_name: str
    status: Status
    model_package_arn: str
    message: str


@dataclass(frozen=True)
class Surroundings:
    """The account and the clock; tests bring their own."""

    clients: Clients
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    sleep: Callable[[float], None] = time.sleep


def handler(event: Mapping[str, Any], context: Any) -> Outcome:
    """Converge, and say how things stand. Raises EventError for an event it does not know."""
    started = time.monotonic()
    settings = Settings.from_env(os.environ)
    asked_for = requested_package(event)
    outcome = converge(Surroundings(_client), settings, asked_for)
    logger.info(
        "converged",
        request_id=getattr(context, "aws_request_id", None),
        duration_ms=round((time.monotonic() - started) * 1000),
        status=outcome["status"],
        model_package_arn=outcome["model_package_arn"],
        reason=outcome["message"],
    )
    return outcome


def requested_package(event: Mapping[str, Any]) -> str | None:
    """The package that the caller wants an answer about; None if it only says "look now"."""
    if isinstance(event.get("model_package_arn"), str):
        return str(event["model_package_arn"])
    if event.get("reconcile") is True or event.get("detail-type") in DETAIL_TYPES:
        return None
    raise EventError(
        'unknown event; known are {"model_package_arn": "arn:…"}, {"reconcile": true} and '
        f"EventBridge's {', '.join(DETAIL_TYPES)}"
    )


def converge(
    surroundings: Surroundings, settings: Settings, asked_for: str | None = None
) -> Outcome:
    """Observe, plan and apply until there is nothing left to do but to wait.

    Raises LeaseHeldError where another call keeps changing the account, or died of it: whoever
    sent the event sends it again, and by then that call's lease has run out. Who waits for an
    answer is told how things stand; the registry has sent an event about the same.
    """
    observed = observe(surroundings.clients, settings)
    step = plan(settings, observed, surroundings.now())
    if step.requests:
        lease = Lease(surroundings.clients("s3"), settings)
        if _take(lease, surroundings):
            try:
                observed, step = _change(surroundings, settings)
            finally:
                lease.give_back()
        elif asked_for is None:
            raise LeaseHeldError("another call holds the lease; this one must be made again")
        else:
            logger.info("deferred", reason="another call holds the lease")
    return _outcome(settings, observed, step, asked_for)


def _take(lease: Lease, surroundings: Surroundings) -> bool:
    for attempt in range(LEASE_ATTEMPTS):
        if attempt:
            surroundings.sleep(LEASE_PAUSE_S)
        if lease.take(surroundings.now()):
            return True
    return False


def _change(surroundings: Surroundings, settings: Settings) -> tuple[Observed, Plan]:
    """What is done under the lease: everything that changes the account."""
    clients = surroundings.clients
    for _ in range(MAX_ROUNDS):
        observed = observe(clients, settings)
        step = _verified(surroundings, observed, plan(settings, observed, surroundings.now()))
        if not step.requests:
            break
        try:
            _send(clients, settings, observed, step.requests)
        except ClientError:
            _send(clients, settings, observed, step.when_refused)
            raise
    return observed, step


def _send(
    clients: Clients, settings: Settings, observed: Observed, requests: tuple[Request, ...]
) -> None:
    """In order, up to one that the account has moved on from."""
    for request in requests:
        done = apply(clients, settings, observed, request)
        logger.info("sent" if done else "overtaken", operation=request.operation)
        if not done:
            break


def _verified(surroundings: Surroundings, observed: Observed, step: Plan) -> Plan:
    """The plan, or its refusal where what it would serve is not what it is said to be."""
    if step.rollout is None:
        return step
    try:
        for package in (step.rollout.package, step.rollout.shadow):
            if package is not None:
                verify(surroundings.clients("s3"), package)
    except ArtifactError as error:
        logger.error("refused", version=package.version if package else None, reason=str(error))
        return refuse(observed, step.rollout, str(error), surroundings.now())
    return step


def _outcome(settings: Settings, observed: Observed, step: Plan, asked_for: str | None) -> Outcome:
    status, arn, message = step.status, step.model_package_arn, step.message
    if asked_for is not None:
        package = observed.package(asked_for)
        if package is None:
            raise EventError(
                f"model_package_arn: not in the group {settings.model_package_group_name}"
            )
        if package.approval_status == PENDING:
            if arn != asked_for:
                status, arn = "awaiting_approval", asked_for
                message = f"version {package.version} awaits approval; {message}"
        elif package.approval_status != APPROVED:
            message = f"version {package.version} is {package.approval_status}; {message}"
    return Outcome(
        endpoint_name=settings.endpoint_name,
        status=status,
        model_package_arn=arn or "",
        message=message,
    )


@cache
def _client(service: str) -> Any:
    return boto3.client(
        service,  # type: ignore[call-overload]  # the stubs want the name itself
        config=Config(
            connect_timeout=2,
            read_timeout=10,
            retries={"mode": "standard", "total_max_attempts": 4},
        ),
    )
