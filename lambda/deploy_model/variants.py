"""On what a model runs: serverless or on machines, how those are scaled and exchanged.

Pure functions of the settings.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from deploy_model.observed import Scaling
from deploy_model.settings import Settings

# A blue/green roll-out needs the same name in the old config and the new one:
# https://docs.aws.amazon.com/sagemaker/latest/dg/deployment-guardrails-exclusions.html
VARIANT_NAME = "AllTraffic"
SHADOW_VARIANT_NAME = "Shadow"
SCALABLE_DIMENSION = "sagemaker:variant:DesiredInstanceCount"
CANARY_PERCENT = 25
# long enough for the alarms, which look at two and three minutes
BAKE_S = 300
TERMINATION_WAIT_S = 120
MAX_UPDATE_S = 3600
STARTUP_S = 300
SCALE_OUT_S, SCALE_IN_S = 60, 300


@dataclass(frozen=True)
class Request:
    """One call that changes the account, as a value: boto3's service, operation, parameters."""

    service: str
    operation: str
    parameters: Mapping[str, Any] = field(hash=False)


def variant(settings: Settings) -> dict[str, Any]:
    """The production variant, but for its model."""
    common = {"VariantName": VARIANT_NAME, "InitialVariantWeight": 1.0}
    if not settings.on_machines:
        return common | {
            "ServerlessConfig": {
                "MemorySizeInMB": settings.serverless_memory_mb,
                "MaxConcurrency": settings.serverless_max_concurrency,
            }
        }
    return common | {
        "InstanceType": settings.instance_type,
        "InitialInstanceCount": settings.instance_count,
        "ContainerStartupHealthCheckTimeoutInSeconds": STARTUP_S,
        "ModelDataDownloadTimeoutInSeconds": STARTUP_S,
    }


def data_capture(settings: Settings) -> dict[str, Any] | None:
    """What is kept of the traffic; nothing unless asked for, as it holds reviews.

    A serverless endpoint cannot capture.
    """
    if not settings.on_machines or not settings.data_capture_percent:
        return None
    capture: dict[str, Any] = {
        "EnableCapture": True,
        "InitialSamplingPercentage": settings.data_capture_percent,
        "DestinationS3Uri": f"s3://{settings.artifact_bucket}/data-capture/",
        "CaptureOptions": [{"CaptureMode": "Input"}, {"CaptureMode": "Output"}],
        "CaptureContentTypeHeader": {"JsonContentTypes": ["application/json"]},
    }
    if settings.kms_key_arn:
        capture["KmsKeyId"] = settings.kms_key_arn
    return capture


def deployment(settings: Settings, is_guarded: bool) -> dict[str, Any]:
    """Blue/green: some of the traffic first, and back at once where an alarm goes off.

    Unguarded, all of it goes over once the new machines are healthy, and no alarm brings it back.
    https://docs.aws.amazon.com/sagemaker/latest/dg/deployment-guardrails-blue-green-canary.html
    """
    if not is_guarded:
        at_once = {"Type": "ALL_AT_ONCE", "WaitIntervalInSeconds": 0}
        return {"BlueGreenUpdatePolicy": _blue_green(at_once)}
    alarms = [{"AlarmName": name} for name in settings.rollback_alarm_names]
    routing: dict[str, Any] = {"Type": "ALL_AT_ONCE", "WaitIntervalInSeconds": BAKE_S}
    if settings.instance_count > 1:  # of one machine there is no part
        size = {"Type": "CAPACITY_PERCENT", "Value": CANARY_PERCENT}
        routing = {"Type": "CANARY", "CanarySize": size, "WaitIntervalInSeconds": BAKE_S}
    return {
        "BlueGreenUpdatePolicy": _blue_green(routing),
        "AutoRollbackConfiguration": {"Alarms": alarms},
    }


def _blue_green(routing: dict[str, Any]) -> dict[str, Any]:
    return {
        "TrafficRoutingConfiguration": routing,
        "TerminationWaitInSeconds": TERMINATION_WAIT_S,
        "MaximumExecutionTimeoutInSeconds": MAX_UPDATE_S,
    }


def resource_id(settings: Settings) -> str:
    """What autoscaling calls the variant."""
    return f"endpoint/{settings.endpoint_name}/variant/{VARIANT_NAME}"


def wanted_scaling(settings: Settings) -> Scaling:
    return Scaling(
        settings.instance_count, settings.max_instance_count, settings.invocations_per_instance
    )


def scale(settings: Settings) -> tuple[Request, ...]:
    """Let the number of machines follow the traffic."""
    target = _scalable(settings)
    policy = {
        "PolicyName": f"{settings.endpoint_name}-invocations",
        "PolicyType": "TargetTrackingScaling",
        "TargetTrackingScalingPolicyConfiguration": {
            "TargetValue": float(settings.invocations_per_instance),
            "PredefinedMetricSpecification": {
                "PredefinedMetricType": "SageMakerVariantInvocationsPerInstance"
            },
            "ScaleOutCooldown": SCALE_OUT_S,
            "ScaleInCooldown": SCALE_IN_S,
        },
    }
    bounds = {"MinCapacity": settings.instance_count, "MaxCapacity": settings.max_instance_count}
    return (
        Request("application-autoscaling", "RegisterScalableTarget", target | bounds),
        Request("application-autoscaling", "PutScalingPolicy", target | policy),
    )


def stop_scaling(settings: Settings) -> Request:
    """Forget the machines of a variant, before it loses them."""
    return Request("application-autoscaling", "DeregisterScalableTarget", _scalable(settings))


def _scalable(settings: Settings) -> dict[str, Any]:
    return {
        "ServiceNamespace": "sagemaker",
        "ResourceId": resource_id(settings),
        "ScalableDimension": SCALABLE_DIMENSION,
    }
