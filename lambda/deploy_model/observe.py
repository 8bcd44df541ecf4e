"""Reads the account. Nothing here changes anything."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from botocore.exceptions import ClientError

from deploy_model import notes
from deploy_model.observed import (
    APPROVED,
    Endpoint,
    ModelPackage,
    Named,
    Observed,
    Scaling,
)
from deploy_model.rollout import attempt_key, is_config_of, is_model_of, record_key, stem
from deploy_model.settings import Settings
from deploy_model.variants import SCALABLE_DIMENSION, resource_id

# boto3 makes the methods of its clients at run time, so there is no class to name
SageMakerClient = Any
# service → its boto3 client
Clients = Callable[[str], Any]


def observe(clients: Clients, settings: Settings) -> Observed:
    """The registry group, what was made for the endpoint, and last, to be freshest, itself."""
    sagemaker = clients("sagemaker")
    packages = _packages(sagemaker, settings)
    models = _models(sagemaker, settings)
    configs = _configs(sagemaker, settings)
    alarms = _alarms(clients, settings) if settings.rollback_alarm_names else {}
    return Observed(
        packages,
        _endpoint(clients, settings),
        models,
        configs,
        missing_alarms=tuple(n for n in settings.rollback_alarm_names if n not in alarms),
        ringing_alarms={
            name: alarm["StateTransitionedTimestamp"]
            for name, alarm in alarms.items()
            if alarm["StateValue"] == "ALARM"
        },
    )


def describe_endpoint(sagemaker: SageMakerClient, settings: Settings) -> Mapping[str, Any] | None:
    """The endpoint as SageMaker tells it, or None where there is none."""
    try:
        answer: Mapping[str, Any] = sagemaker.describe_endpoint(EndpointName=settings.endpoint_name)
    except ClientError as error:
        if is_missing(error):
            return None
        raise
    return answer


def is_missing(error: ClientError) -> bool:
    """Whether SageMaker said that there is no such thing.

    It says so with ValidationException and words for most resources, and with ResourceNotFound
    for the newer ones.
    """
    code, message = error.response["Error"]["Code"], error.response["Error"]["Message"].lower()
    if code in ("ResourceNotFound", "ResourceNotFoundException"):
        return True
    return code == "ValidationException" and (
        "could not find" in message or "does not exist" in message
    )


def _endpoint(clients: Clients, settings: Settings) -> Endpoint | None:
    sagemaker = clients("sagemaker")
    answer = describe_endpoint(sagemaker, settings)
    if answer is None:
        return None
    status, config_name = answer["EndpointStatus"], answer["EndpointConfigName"]
    config = _config(sagemaker, config_name)
    variant = config.get("ProductionVariants", [{}])[0]
    instance_type = variant.get("InstanceType", "")
    return Endpoint(
        status=status,
        config_name=config_name,
        last_modified_at=answer["LastModifiedTime"],
        failure_reason=answer.get("FailureReason") or None,
        served_package_arn=_package_arn(sagemaker, variant),
        instance_type=instance_type,
        scaling=_scaling(clients, settings) if instance_type else None,
        is_plain=not {"ShadowProductionVariants", "DataCaptureConfig"} & config.keys(),
        attempted=_attempted(clients, settings),
        is_recorded=status != "InService" or _is_recorded(clients, settings, config_name),
    )


def _attempted(clients: Clients, settings: Settings) -> str:
    try:
        answer = clients("s3").get_object(
            Bucket=settings.artifact_bucket, Key=attempt_key(settings)
        )
    except ClientError as error:
        if error.response["Error"]["Code"] == "NoSuchKey":
            return ""
        raise
    return str(json.loads(answer["Body"].read())["config_name"])


def _is_recorded(clients: Clients, settings: Settings, config_name: str) -> bool:
    listing = clients("s3").list_objects_v2(
        Bucket=settings.artifact_bucket, Prefix=record_key(settings, config_name), MaxKeys=1
    )
    return bool(listing.get("Contents"))


def _scaling(clients: Clients, settings: Settings) -> Scaling | None:
    scaling = clients("application-autoscaling")
    what = {"ServiceNamespace": "sagemaker", "ScalableDimension": SCALABLE_DIMENSION}
    targets = scaling.describe_scalable_targets(ResourceIds=[resource_id(settings)], **what)
    if not targets["ScalableTargets"]:
        return None
    policies = scaling.describe_scaling_policies(ResourceId=resource_id(settings), **what)
    wanted = [
        policy["TargetTrackingScalingPolicyConfiguration"]["TargetValue"]
        for policy in policies["ScalingPolicies"]
        if "TargetTrackingScalingPolicyConfiguration" in policy
    ]
    (target,) = targets["ScalableTargets"]
    return Scaling(target["MinCapacity"], target["MaxCapacity"], int(wanted[0]) if wanted else 0)


def _alarms(clients: Clients, settings: Settings) -> dict[str, Mapping[str, Any]]:
    """The alarms that guard a roll-out, as far as they exist."""
    answer = clients("cloudwatch").describe_alarms(AlarmNames=list(settings.rollback_alarm_names))
    return {
        alarm["AlarmName"]: alarm
        for kind in ("MetricAlarms", "CompositeAlarms")
        for alarm in answer.get(kind, [])
    }


def _packages(sagemaker: SageMakerClient, settings: Settings) -> tuple[ModelPackage, ...]:
    pages = sagemaker.get_paginator("list_model_packages").paginate(
        ModelPackageGroupName=settings.model_package_group_name
    )
    try:
        summaries = [summary for page in pages for summary in page["ModelPackageSummaryList"]]
    except ClientError as error:
        if is_missing(error):  # no group yet: nothing was ever registered
            return ()
        raise
    packages = (_package(sagemaker, summary, settings.shadow_version) for summary in summaries)
    return tuple(package for package in packages if package is not None)


def _package(sagemaker: SageMakerClient, summary: Any, shadow_version: int) -> ModelPackage | None:
    facts = summary
    is_shadow = summary["ModelPackageVersion"] == shadow_version
    if summary.get("ModelApprovalStatus") == APPROVED or is_shadow:
        # the list says neither when a package was approved nor what it is made of
        try:
            facts = sagemaker.describe_model_package(ModelPackageName=summary["ModelPackageArn"])
        except ClientError as error:
            if is_missing(error):  # deleted since it was listed
                return None
            raise
    noted = notes.read(
        facts.get("CustomerMetadataProperties", {}),
        facts.get("LastModifiedTime") or facts["CreationTime"],
    )
    containers = facts.get("InferenceSpecification", {}).get("Containers") or [{}]
    return ModelPackage(
        arn=facts["ModelPackageArn"],
        version=facts["ModelPackageVersion"],
        approval_status=facts.get("ModelApprovalStatus", ""),
        approved_at=noted.approved_at,
        is_complete=facts.get("ModelPackageStatus", "Completed") == "Completed",
        image=containers[0].get("Image", ""),
        model_data_url=containers[0].get("ModelDataUrl", ""),
        failed_model=noted.failed_model,
        failed_reason=noted.failed_reason,
        pinned_at=noted.pinned_at,
    )


def _models(sagemaker: SageMakerClient, settings: Settings) -> tuple[Named, ...]:
    pages = sagemaker.get_paginator("list_models").paginate(NameContains=stem(settings))
    return tuple(
        Named(model["ModelName"], model["CreationTime"])
        for page in pages
        for model in page["Models"]
        if is_model_of(settings, model["ModelName"])
    )


def _configs(sagemaker: SageMakerClient, settings: Settings) -> tuple[Named, ...]:
    pages = sagemaker.get_paginator("list_endpoint_configs").paginate(NameContains=stem(settings))
    return tuple(
        Named(config["EndpointConfigName"], config["CreationTime"])
        for page in pages
        for config in page["EndpointConfigs"]
        if is_config_of(settings, config["EndpointConfigName"])
    )


def _config(sagemaker: SageMakerClient, config_name: str) -> Mapping[str, Any]:
    """What an endpoint is made of; nothing where the config is gone."""
    try:
        config: Mapping[str, Any] = sagemaker.describe_endpoint_config(
            EndpointConfigName=config_name
        )
    except ClientError as error:
        if is_missing(error):
            return {}
        raise
    return config


def _package_arn(sagemaker: SageMakerClient, variant: Mapping[str, Any]) -> str | None:
    if "ModelName" not in variant:
        return None
    try:
        model = sagemaker.describe_model(ModelName=variant["ModelName"])
    except ClientError as error:
        if is_missing(error):
            return None
        raise
    containers = [model.get("PrimaryContainer"), *model.get("Containers", [])]
    return next((c["ModelPackageName"] for c in containers if c and "ModelPackageName" in c), None)
