"""Decides what to do next. Pure: the same account always gets the same answer.

The endpoint is to serve the most recently approved package among those that are approved now.
When none is approved any more, a package that was served must not go on being served, so the
endpoint is deleted; one that serves something this registry group does not know is left alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from deploy_model.observed import APPROVED, Endpoint, ModelPackage, Observed
from deploy_model.rollout import (
    Request,
    Rollout,
    delete_endpoint,
    delete_endpoint_config,
    delete_model,
    model_of,
)
from deploy_model.settings import Settings

Status = Literal["in_service", "deploying", "awaiting_approval", "nothing_approved", "failed"]

KEPT_CONFIGS = 3


@dataclass(frozen=True)
class Plan:
    """The next requests, in order, and how things stand before they are sent.

    No requests means that there is nothing to do until something else happens.
    """

    status: Status
    model_package_arn: str | None
    message: str
    requests: tuple[Request, ...] = ()


def plan(settings: Settings, observed: Observed) -> Plan:
    """The next step from the account as it is to the account as it should be."""
    endpoint, desired = observed.endpoint, observed.desired()
    if endpoint is not None and endpoint.is_in_flight:
        return _wait(observed, endpoint, desired)
    if desired is None:
        return _without_approval(settings, observed)
    if endpoint is None:
        return _create(observed, Rollout(settings, desired, replaces=None))
    if endpoint.is_broken:
        return _replace_broken(settings, endpoint, desired)
    rollout = Rollout(settings, desired, replaces=endpoint.config_name)
    if endpoint.status == "InService" and rollout.is_served_by(endpoint.config_name):
        return _keep(settings, observed, endpoint, desired)
    if _was_tried(rollout, observed, endpoint):
        return _report_failure(observed, endpoint, desired)
    return _update(observed, rollout)


def _wait(observed: Observed, endpoint: Endpoint, desired: ModelPackage | None) -> Plan:
    if desired is None and endpoint.status == "Deleting":
        return _nothing_approved(observed, "the endpoint is being deleted")
    return Plan(
        "deploying",
        desired.arn if desired else None,
        f"the endpoint is {endpoint.status}; its end is followed up",
    )


def _without_approval(settings: Settings, observed: Observed) -> Plan:
    endpoint = observed.endpoint
    if endpoint is None:
        return _nothing_approved(observed, "there is no endpoint")
    served = observed.package(endpoint.served_package_arn)
    if served is None:
        return _nothing_approved(
            observed, "the endpoint serves nothing this group knows and is left alone"
        )
    return _nothing_approved(
        observed,
        f"version {served.version} is served but is {served.approval_status}: deleting the "
        "endpoint",
        (delete_endpoint(settings),),
    )


def _nothing_approved(observed: Observed, rest: str, requests: tuple[Request, ...] = ()) -> Plan:
    pending = observed.pending()
    if pending is None:
        return Plan("nothing_approved", None, f"no version is approved; {rest}", requests)
    return Plan(
        "awaiting_approval", pending.arn, f"version {pending.version} awaits; {rest}", requests
    )


def _create(observed: Observed, rollout: Rollout) -> Plan:
    return Plan(
        "deploying",
        rollout.package.arn,
        f"creating the endpoint with version {rollout.package.version}",
        (*_missing(observed, rollout), rollout.create_endpoint()),
    )


def _update(observed: Observed, rollout: Rollout) -> Plan:
    return Plan(
        "deploying",
        rollout.package.arn,
        f"updating the endpoint to version {rollout.package.version}",
        (*_missing(observed, rollout), rollout.update_endpoint()),
    )


def _missing(observed: Observed, rollout: Rollout) -> tuple[Request, ...]:
    """What the endpoint needs and is not there yet."""
    requests = []
    if rollout.model_name not in {model.name for model in observed.models}:
        requests.append(rollout.create_model())
    if rollout.config_name not in {config.name for config in observed.configs}:
        requests.append(rollout.create_endpoint_config())
    return tuple(requests)


def _replace_broken(settings: Settings, endpoint: Endpoint, desired: ModelPackage) -> Plan:
    if endpoint.config_name == Rollout(settings, desired, replaces=None).config_name:
        return Plan("failed", desired.arn, _failure(desired, endpoint, "nothing is served"))
    return Plan(
        "deploying",
        desired.arn,
        f"the endpoint is {endpoint.status}: deleting it to create it anew",
        (delete_endpoint(settings),),
    )


def _was_tried(rollout: Rollout, observed: Observed, endpoint: Endpoint) -> bool:
    """Whether this very attempt was made and the endpoint came back without it.

    The attempt's config alone is no proof: whoever made it may have died before asking for the
    update. Only an endpoint that has changed since then has tried it.
    https://docs.aws.amazon.com/sagemaker/latest/dg/deployment-guardrails-blue-green.html
    """
    return any(
        config.name == rollout.config_name and config.created_at <= endpoint.last_modified_at
        for config in observed.configs
    )


def _report_failure(observed: Observed, endpoint: Endpoint, desired: ModelPackage) -> Plan:
    served = observed.package(endpoint.served_package_arn)
    if served is None:
        consequence = "what was served before keeps serving"
    elif served.approval_status == APPROVED:
        consequence = f"version {served.version} keeps serving"
    else:
        consequence = f"version {served.version} is {served.approval_status} but keeps serving"
    return Plan("failed", desired.arn, _failure(desired, endpoint, consequence))


def _failure(desired: ModelPackage, endpoint: Endpoint, consequence: str) -> str:
    reason = f" ({endpoint.failure_reason})" if endpoint.failure_reason else ""
    return (
        f"version {desired.version} did not come into service{reason}; {consequence}; "
        "approve it again to retry, or reject it"
    )


def _keep(
    settings: Settings, observed: Observed, endpoint: Endpoint, desired: ModelPackage
) -> Plan:
    return Plan(
        "in_service",
        desired.arn,
        f"version {desired.version} is in service",
        _prune(observed, endpoint),
    )


def _prune(observed: Observed, endpoint: Endpoint) -> tuple[Request, ...]:
    """Delete what earlier roll-outs left, but the newest few and whatever is in service."""
    newest = sorted(observed.configs, key=lambda config: config.created_at, reverse=True)
    kept = {config.name for config in newest[:KEPT_CONFIGS]} | {endpoint.config_name}
    kept_models = {model_of(name) for name in kept}
    served_since = next((c.created_at for c in newest if c.name == endpoint.config_name), None)
    return (
        *(delete_endpoint_config(c.name) for c in newest if c.name not in kept),
        # a model younger than the config in service may belong to a roll-out that has just begun
        *(
            delete_model(m.name)
            for m in observed.models
            if m.name not in kept_models and served_since and m.created_at < served_since
        ),
    )
