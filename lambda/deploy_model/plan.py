"""Decides what to do next. Pure: the same account always gets the same answer.

The endpoint is to serve the most recently approved package among those that are approved now.
When none is approved any more, a package that was served must not go on being served, so the
endpoint is deleted; one that serves something this registry group does not know is left alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from deploy_model import notes
from deploy_model.observed import APPROVED, SERVING, Endpoint, ModelPackage, Observed
from deploy_model.rollout import (
    Rollout,
    delete_endpoint,
    delete_endpoint_config,
    delete_model,
    model_of,
    note,
    record,
    record_end,
    shadow_of,
    tell,
)
from deploy_model.settings import Settings
from deploy_model.variants import Request, scale, stop_scaling, wanted_scaling
from deploy_model.watch import culprit, withdraw

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
    rollout: Rollout | None = None
    """What the requests bring into service; it has to be verified first."""
    when_refused: tuple[Request, ...] = ()
    """What is sent where one of them is refused: what serves on goes on following the traffic."""


def plan(settings: Settings, observed: Observed, now: datetime) -> Plan:
    """The next step from the account as it is to the account as it should be."""
    endpoint, desired = observed.endpoint, observed.desired()
    if endpoint is not None and endpoint.is_in_flight:
        return _wait(observed, endpoint, desired)
    if desired is None:
        return _without_approval(settings, observed, now)
    replaces = endpoint.config_name if endpoint and not endpoint.is_broken else None
    rollout = Rollout(settings, desired, replaces, observed.shadow(settings.shadow_version))
    if endpoint is not None and endpoint.status == "InService":
        if rollout.is_served_by(endpoint.config_name):
            return _keep(settings, observed, endpoint, desired, now)
    if desired.failed_model == rollout.model_name:
        message = _failure(observed, desired, desired.failed_reason)
        return Plan("failed", desired.arn, message, _follow_traffic(settings, endpoint))
    if settings.on_machines and observed.missing_alarms:
        return _refuse_unguarded(settings, observed, desired)
    return _bring_into_service(settings, observed, rollout, now)


def refuse(observed: Observed, rollout: Rollout, reason: str, now: datetime) -> Plan:
    """The plan for a version that must not be served: say so, and remember it."""
    message = _failure(observed, rollout.package, reason)
    settings, package = rollout.settings, rollout.package
    subject = f"{settings.endpoint_name}: version {package.version} is not served"
    facts = {"outcome": "failed", "version": package.version, "at": now.isoformat()}
    failure = notes.failure(rollout.model_name, reason, package.approved_at, now)
    return Plan(
        "failed",
        package.arn,
        message,
        (
            *((tell(settings, subject, message),) if settings.alarm_topic_arn else ()),
            record(settings, rollout.config_name, {**facts, "reason": reason}),
            # last: once it is written, none of this is said again
            note(package, failure),
        ),
    )


def _bring_into_service(
    settings: Settings, observed: Observed, rollout: Rollout, now: datetime
) -> Plan:
    endpoint = observed.endpoint
    if endpoint is None:
        return _create(observed, rollout)
    if endpoint.is_broken:
        return _replace_broken(settings, observed, rollout, now)
    if endpoint.attempted == rollout.config_name:  # and the endpoint came back without it
        return refuse(observed, rollout, endpoint.failure_reason or "no reason is known", now)
    if endpoint.on_machines and not settings.on_machines:
        return _replace_machines(settings, endpoint, rollout)
    return _update(settings, observed, endpoint, rollout)


def _refuse_unguarded(settings: Settings, observed: Observed, desired: ModelPackage) -> Plan:
    missing = ", ".join(observed.missing_alarms)
    return Plan(
        "failed",
        desired.arn,
        f"version {desired.version} waits: there is no alarm {missing}, and without it nothing "
        f"would roll back a bad version; {_consequence(observed)}",
        _follow_traffic(settings, observed.endpoint),
    )


def _wait(observed: Observed, endpoint: Endpoint, desired: ModelPackage | None) -> Plan:
    if desired is None and endpoint.status == "Deleting":
        return _nothing_approved(observed, "the endpoint is being deleted")
    return Plan(
        "deploying",
        desired.arn if desired else None,
        f"the endpoint is {endpoint.status}; its end is followed up",
    )


def _without_approval(settings: Settings, observed: Observed, now: datetime) -> Plan:
    endpoint = observed.endpoint
    if endpoint is None:
        return _nothing_approved(observed, "there is no endpoint")
    served = observed.package(endpoint.served_package_arn)
    if served is None:
        return _nothing_approved(
            observed, "the endpoint serves nothing this group knows and is left alone"
        )
    was_served = endpoint.status in SERVING
    ended = (record_end(settings, endpoint, served.version, now),) if was_served else ()
    return _nothing_approved(
        observed,
        f"version {served.version} is served but is {served.approval_status}: deleting the "
        "endpoint",
        (*ended, *_delete(settings, endpoint)),
        _scale_again(settings, endpoint),
    )


def _delete(settings: Settings, endpoint: Endpoint) -> tuple[Request, ...]:
    scaling = (stop_scaling(settings),) if endpoint.scaling else ()
    return (*scaling, delete_endpoint(settings))


def _nothing_approved(
    observed: Observed,
    rest: str,
    requests: tuple[Request, ...] = (),
    when_refused: tuple[Request, ...] = (),
) -> Plan:
    pending = observed.pending()
    if pending is None:
        message = f"no version is approved; {rest}"
        return Plan("nothing_approved", None, message, requests, when_refused=when_refused)
    return Plan(
        "awaiting_approval",
        pending.arn,
        f"version {pending.version} awaits approval; {rest}",
        requests,
        when_refused=when_refused,
    )


def _create(observed: Observed, rollout: Rollout) -> Plan:
    return Plan(
        "deploying",
        rollout.package.arn,
        f"creating the endpoint with version {rollout.package.version}",
        (*_missing(observed, rollout), rollout.create_endpoint()),
        rollout,
    )


def _update(settings: Settings, observed: Observed, endpoint: Endpoint, rollout: Rollout) -> Plan:
    # the machines of a variant cannot be of another type while they are scaled:
    # https://docs.aws.amazon.com/sagemaker/latest/dg/endpoint-scaling.html
    changes_type = endpoint.instance_type != settings.instance_type
    stop = (stop_scaling(settings),) if endpoint.scaling and changes_type else ()
    return Plan(
        "deploying",
        rollout.package.arn,
        f"updating the endpoint to version {rollout.package.version}",
        (
            *_missing(observed, rollout),
            *stop,
            rollout.update_endpoint(endpoint, is_guarded=observed.is_worth_going_back()),
            # only now: whoever dies before, or is refused, has not tried it
            rollout.attempt(),
        ),
        rollout,
        _scale_again(settings, endpoint),
    )


def _missing(observed: Observed, rollout: Rollout) -> tuple[Request, ...]:
    """What the endpoint needs and is not there yet."""
    models = {model.name for model in observed.models}
    requests = [r for r in rollout.create_models() if r.parameters["ModelName"] not in models]
    if rollout.config_name not in {config.name for config in observed.configs}:
        requests.append(rollout.create_endpoint_config())
    return tuple(requests)


def _replace_broken(
    settings: Settings, observed: Observed, rollout: Rollout, now: datetime
) -> Plan:
    endpoint = observed.endpoint
    assert endpoint is not None  # noqa: S101 - for the type checker: it is broken
    if endpoint.config_name == rollout.config_name:
        return refuse(observed, rollout, endpoint.failure_reason or "no reason is known", now)
    return Plan(
        "deploying",
        rollout.package.arn,
        f"the endpoint is {endpoint.status}: deleting it to create it anew",
        _delete(settings, endpoint),
        rollout,
    )


def _replace_machines(settings: Settings, endpoint: Endpoint, rollout: Rollout) -> Plan:
    """SageMaker moves a serverless endpoint to machines, but not the other way round.

    https://docs.aws.amazon.com/sagemaker/latest/dg/serverless-endpoints.html
    """
    return Plan(
        "deploying",
        rollout.package.arn,
        "an endpoint on machines cannot be made serverless: deleting it to create it anew, some "
        "minutes without service",
        _delete(settings, endpoint),
        rollout,
        _scale_again(settings, endpoint),
    )


def _failure(observed: Observed, desired: ModelPackage, reason: str) -> str:
    return (
        f"version {desired.version} did not come into service ({reason}); "
        f"{_consequence(observed)}; approve it again to retry, or reject it"
    )


def _consequence(observed: Observed) -> str:
    endpoint = observed.endpoint
    if endpoint is None or endpoint.is_broken:
        return "nothing is served"
    served = observed.package(endpoint.served_package_arn)
    if served is None:
        return "what was served before keeps serving"
    if served.approval_status == APPROVED:
        return f"version {served.version} keeps serving"
    return f"version {served.version} is {served.approval_status} but keeps serving"


def _keep(
    settings: Settings,
    observed: Observed,
    endpoint: Endpoint,
    desired: ModelPackage,
    now: datetime,
) -> Plan:
    requests = list(_prune(observed, endpoint))
    if not endpoint.is_recorded:
        since = endpoint.last_modified_at.isoformat()
        facts = {"outcome": "served", "version": desired.version, "at": since}
        requests.append(record(settings, endpoint.config_name, facts))
    if alarm := culprit(observed, endpoint, desired):
        requests += withdraw(settings, endpoint, desired, alarm, now)
        message = f"version {desired.version} set off alarm {alarm}: it is rejected"
        return Plan("failed", desired.arn, message, tuple(requests))
    # last: where it is refused, what came into service is in the history all the same
    requests += _follow_traffic(settings, endpoint)
    return Plan(
        "in_service", desired.arn, f"version {desired.version} is in service", tuple(requests)
    )


def _follow_traffic(settings: Settings, endpoint: Endpoint | None) -> tuple[Request, ...]:
    """Have the machines scaled that serve, whatever an update has or has not come to."""
    if endpoint is None or endpoint.scaling == wanted_scaling(settings):
        return ()
    return _scale_again(settings, endpoint)


def _scale_again(settings: Settings, endpoint: Endpoint) -> tuple[Request, ...]:
    return scale(settings) if endpoint.on_machines and endpoint.status in SERVING else ()


def _prune(observed: Observed, endpoint: Endpoint) -> tuple[Request, ...]:
    """Delete what earlier roll-outs left, but the newest few and whatever is in service."""
    newest = sorted(observed.configs, key=lambda config: config.created_at, reverse=True)
    kept = {config.name for config in newest[:KEPT_CONFIGS]} | {endpoint.config_name}
    kept_models = {model_of(name) for name in kept}
    kept_models |= {shadow_of(name) for name in kept_models}
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
