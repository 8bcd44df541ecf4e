"""The deploy function: whatever woke it up, it makes the endpoint serve what the registry says.

It is called by the pipeline's Deploy step, by an approval or rejection in the registry, by the end
of an endpoint update, and by a schedule. Events come twice, late, in the wrong order or not at all,
so none is believed: each only means "look now".
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from functools import cache
from typing import Any, TypedDict

import boto3
from botocore.config import Config

from deploy_model.apply import apply
from deploy_model.errors import EventError
from deploy_model.logs import logger
from deploy_model.observe import SageMakerClient, observe
from deploy_model.observed import APPROVED, PENDING, Observed
from deploy_model.plan import Plan, Status, plan
from deploy_model.settings import Settings

DETAIL_TYPES = ("SageMaker Model Package State Change", "SageMaker Endpoint State Change")
# Each round ends with an account nearer to the wanted one; a delete, a create and the tidying up
# are three. More are needed only when someone else is at work, and they will be called for it too.
MAX_ROUNDS = 6


class Outcome(TypedDict):
    """What the caller is told; the pipeline's Deploy step shows it."""

    endpoint_name: str
    status: Status
    model_package_arn: str
    message: str


def handler(event: Mapping[str, Any], context: Any) -> Outcome:
    """Converge, and say how things stand. Raises EventError for an event it does not know."""
    started = time.monotonic()
    settings = Settings.from_env(os.environ)
    asked_for = requested_package(event)
    outcome = converge(_sagemaker(), settings, asked_for)
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
        f"EventBridge's {' and '.join(DETAIL_TYPES)}"
    )


def converge(
    sagemaker: SageMakerClient, settings: Settings, asked_for: str | None = None
) -> Outcome:
    """Observe, plan and apply until there is nothing left to do but to wait."""
    for _ in range(MAX_ROUNDS):
        observed = observe(sagemaker, settings)
        step = plan(settings, observed)
        for request in step.requests:
            done = apply(sagemaker, settings, observed, request)
            logger.info("sent" if done else "overtaken", operation=request.operation)
            if not done:
                break
        if not step.requests:
            break
    return _outcome(settings, observed, step, asked_for)


def _outcome(settings: Settings, observed: Observed, step: Plan, asked_for: str | None) -> Outcome:
    status, arn, message = step.status, step.model_package_arn, step.message
    if asked_for is not None:
        package = observed.package(asked_for)
        if package is None:
            raise EventError(
                f"model_package_arn: not in the group {settings.model_package_group_name}"
            )
        if package.approval_status == PENDING and arn != asked_for:
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
def _sagemaker() -> SageMakerClient:
    return boto3.client(
        "sagemaker",
        config=Config(
            connect_timeout=2,
            read_timeout=10,
            retries={"mode": "standard", "total_max_attempts": 4},
        ),
    )
