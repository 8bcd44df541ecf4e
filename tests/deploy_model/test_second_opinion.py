"""The same function against moto, which was written by others.

moto has no UpdateEndpoint and finishes every endpoint at once, so only the first roll-out and the
removal can be shown with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import boto3
import pytest
from deploy_model.app import Outcome, Surroundings, converge
from deploy_model.settings import Settings
from moto import mock_aws

from tests.deploy_model.artifacts import archive
from tests.deploy_model.world import BUCKET, IMAGE, ROLE

SETTINGS = Settings("sentiment", "sentiment", ROLE, BUCKET)


@pytest.fixture
def clients(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Any]]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    with mock_aws():
        session = boto3.Session(region_name="us-east-1")
        made = cache(session.client)
        made("s3").create_bucket(Bucket=BUCKET)
        made("s3").put_object(Bucket=BUCKET, Key="runs/1/model.tar.gz", Body=archive())
        yield made


@pytest.fixture
def sagemaker(clients: Callable[[str], Any]) -> Any:
    return clients("sagemaker")


@pytest.fixture
def call(clients: Callable[[str], Any]) -> Callable[..., Outcome]:
    def wake(asked_for: str | None = None) -> Outcome:
        return converge(Surroundings(clients), SETTINGS, asked_for)

    return wake


def register(sagemaker: Any, status: str) -> str:
    arn: str = sagemaker.create_model_package(
        ModelPackageGroupName="sentiment",
        ModelApprovalStatus=status,
        InferenceSpecification={
            "Containers": [{"Image": IMAGE, "ModelDataUrl": f"s3://{BUCKET}/runs/1/model.tar.gz"}],
            "SupportedContentTypes": ["application/json"],
            "SupportedResponseMIMETypes": ["application/json"],
        },
    )["ModelPackageArn"]
    return arn


def test_without_a_group_there_is_nothing_to_do(call: Callable[..., Outcome]) -> None:
    assert call()["status"] == "nothing_approved"


def test_a_version_is_approved_served_repeated_and_rejected(
    sagemaker: Any, call: Callable[..., Outcome]
) -> None:
    sagemaker.create_model_package_group(ModelPackageGroupName="sentiment")
    arn = register(sagemaker, "PendingManualApproval")
    assert call(arn)["status"] == "awaiting_approval"
    assert sagemaker.list_endpoints()["Endpoints"] == []

    sagemaker.update_model_package(ModelPackageArn=arn, ModelApprovalStatus="Approved")
    outcome = call(arn)
    assert (outcome["status"], outcome["model_package_arn"]) == ("in_service", arn)
    endpoint = sagemaker.describe_endpoint(EndpointName="sentiment")
    config = sagemaker.describe_endpoint_config(EndpointConfigName=endpoint["EndpointConfigName"])
    model = sagemaker.describe_model(ModelName=config["ProductionVariants"][0]["ModelName"])
    assert model["PrimaryContainer"]["ModelPackageName"] == arn
    assert model["PrimaryContainer"]["Environment"] == {"MODEL_VERSION": "1"}

    assert call()["status"] == "in_service"
    assert len(sagemaker.list_models()["Models"]) == 1
    assert len(sagemaker.list_endpoint_configs()["EndpointConfigs"]) == 1

    sagemaker.update_model_package(ModelPackageArn=arn, ModelApprovalStatus="Rejected")
    assert call()["status"] == "nothing_approved"
    assert sagemaker.list_endpoints()["Endpoints"] == []
