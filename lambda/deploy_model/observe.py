"""Reads the account. Nothing here changes anything."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from botocore.exceptions import ClientError

from deploy_model.observed import APPROVED, Endpoint, ModelPackage, Named, Observed
from deploy_model.rollout import is_config_of, is_model_of, stem
from deploy_model.settings import Settings

# boto3 makes the methods of its clients at run time, so there is no class to name
SageMakerClient = Any


def observe(sagemaker: SageMakerClient, settings: Settings) -> Observed:
    """The registry group, what was made for the endpoint, and last, to be freshest, itself."""
    packages = _packages(sagemaker, settings)
    models = _models(sagemaker, settings)
    configs = _configs(sagemaker, settings)
    return Observed(packages, _endpoint(sagemaker, settings), models, configs)


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


def _endpoint(sagemaker: SageMakerClient, settings: Settings) -> Endpoint | None:
    answer = describe_endpoint(sagemaker, settings)
    if answer is None:
        return None
    return Endpoint(
        status=answer["EndpointStatus"],
        config_name=answer["EndpointConfigName"],
        last_modified_at=answer["LastModifiedTime"],
        failure_reason=answer.get("FailureReason") or None,
        served_package_arn=_served_package_arn(sagemaker, answer["EndpointConfigName"]),
    )


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
    packages = (_package(sagemaker, summary) for summary in summaries)
    return tuple(package for package in packages if package is not None)


def _package(sagemaker: SageMakerClient, summary: Any) -> ModelPackage | None:
    facts = summary
    if summary.get("ModelApprovalStatus") == APPROVED:
        # the list does not say when a package was approved
        try:
            facts = sagemaker.describe_model_package(ModelPackageName=summary["ModelPackageArn"])
        except ClientError as error:
            if is_missing(error):  # deleted since it was listed
                return None
            raise
    return ModelPackage(
        arn=facts["ModelPackageArn"],
        version=facts["ModelPackageVersion"],
        approval_status=facts.get("ModelApprovalStatus", ""),
        approved_at=facts.get("LastModifiedTime") or facts["CreationTime"],
        is_complete=facts.get("ModelPackageStatus", "Completed") == "Completed",
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


def _served_package_arn(sagemaker: SageMakerClient, config_name: str) -> str | None:
    try:
        config = sagemaker.describe_endpoint_config(EndpointConfigName=config_name)
        model = sagemaker.describe_model(ModelName=config["ProductionVariants"][0]["ModelName"])
    except ClientError as error:
        if is_missing(error):
            return None
        raise
    containers = [model.get("PrimaryContainer"), *model.get("Containers", [])]
    return next((c["ModelPackageName"] for c in containers if c and "ModelPackageName" in c), None)
