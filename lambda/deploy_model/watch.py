"""Takes a version out of service again that sets an alarm off soon after it came.

On machines SageMaker does that itself; for a serverless endpoint it has no guardrails:
https://docs.aws.amazon.com/sagemaker/latest/dg/deployment-guardrails.html
What is served instead follows from the registry: the version is rejected there, with the reason.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from deploy_model.observed import Endpoint, ModelPackage, Observed
from deploy_model.rollout import record, reject, tell
from deploy_model.settings import Settings
from deploy_model.variants import Request

# From when the endpoint was asked for it: the update takes minutes, the alarm looks at two.
WATCH = timedelta(minutes=30)


def culprit(observed: Observed, endpoint: Endpoint, package: ModelPackage) -> str | None:
    """The alarm that this version, just approved and just served, has set off.

    None where there is no other version to go back to, and for one that came by going back:
    an alarm that rings whatever is served must not take one version after the other away.
    """
    since = observed.created_at(endpoint.config_name)
    following = observed.desired(without=package)
    if endpoint.on_machines or following is None or following.failed_model is not None:
        return None
    if since is None or since - package.approved_at > WATCH:
        return None
    # not while the version before still answered; and the endpoint's maintenance makes nothing new
    began, until = endpoint.last_modified_at, since + WATCH
    rang = [name for name, at in observed.ringing_alarms.items() if began <= at <= until]
    return rang[0] if rang else None


def withdraw(
    settings: Settings, endpoint: Endpoint, package: ModelPackage, alarm: str, now: datetime
) -> tuple[Request, ...]:
    """Say so, record it, and reject the version, in this order: once it is, none is said again."""
    reason = f"alarm {alarm} rang after version {package.version} came into service"
    subject = f"{settings.endpoint_name}: version {package.version} is rolled back"
    facts = {"outcome": "failed", "version": package.version, "at": now.isoformat()}
    return (
        *(
            (tell(settings, subject, f"{reason}; it is rejected"),)
            if settings.alarm_topic_arn
            else ()
        ),
        record(settings, f"{endpoint.config_name}-failed", {**facts, "reason": reason}),
        reject(package, f"rolled back: {reason}"),
    )
