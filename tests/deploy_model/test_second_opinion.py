"""The same function against moto, which was written by others.

moto has no UpdateEndpoint and finishes every endpoint at once, so only the first roll-out and the
removal can be shown with it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from deploy_model.app import converge
from deploy_model.settings import Settings
from moto import mock_aws

from tests.deploy_model.world import ROLE

SETTINGS = Settings("sentiment", "sentiment", ROLE)


@pytest.fixture
def sagemaker(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    with mock_aws():
        yield boto3.client("sagemaker", region_name="us-east-1")


def register(sagemaker: Any, status: str) -> str:
    arn: str = sagemaker.create_model_package(
        ModelPackageGroupName="sentiment", ModelApprovalStatus=status
    )["ModelPackageArn"]
    return arn


def test_without_a_group_there_is_nothing_to_do(sagemaker: Any) -> None:
    assert converge(sagemaker, SETTINGS)["status"] == "nothing_approved"


def test_a_version_is_approved_served_repeated_and_rejected(sagemaker: Any) -> None:
    sagemaker.create_model_package_group(ModelPackageGroupName="sentiment")
    arn = register(sagemaker, "PendingManualApproval")
    assert converge(sagemaker, SETTINGS, arn)["status"] == "awaiting_approval"
    assert sagemaker.list_endpoints()["Endpoints"] == []

    sagemaker.update_model_package(ModelPackageArn=arn, ModelApprovalStatus="Approved")
    outcome = converge(sagemaker, SETTINGS, arn)
    assert (outcome["status"], outcome["model_package_arn"]) == ("in_service", arn)
    endpoint = sagemaker.describe_endpoint(EndpointName="sentiment")
    config = sagemaker.describe_endpoint_config(EndpointConfigName=endpoint["EndpointConfigName"])
    model = sagemaker.describe_model(ModelName=config["ProductionVariants"][0]["ModelName"])
    assert model["PrimaryContainer"]["ModelPackageName"] == arn
    assert model["PrimaryContainer"]["Environment"] == {"MODEL_VERSION": "1"}

    assert converge(sagemaker, SETTINGS)["status"] == "in_service"
    assert len(sagemaker.list_models()["Models"]) == 1
    assert len(sagemaker.list_endpoint_configs()["EndpointConfigs"]) == 1

    sagemaker.update_model_package(ModelPackageArn=arn, ModelApprovalStatus="Rejected")
    assert converge(sagemaker, SETTINGS)["status"] == "nothing_approved"
    assert sagemaker.list_endpoints()["Endpoints"] == []
