"""The model registry: package groups, versions, approval and the event that an approval makes."""

from __future__ import annotations

import time

from pipeline.local.account import Account, answers
from pipeline.local.delivery import deliver_in_background
from pipeline.local.errors import ServiceError, not_found
from pipeline.local.services.events import emit
from pipeline.local.services.listing import page
from pipeline.local.services.tags import tag, untag
from pipeline.local.store import Document

GROUP = "model-package-group"
PACKAGE = "model-package"


def _group_name(name: str) -> str:
    return name.rpartition("/")[2] if name.startswith("arn:") else name


def _package_arn(account: Account, name: str) -> str:
    return name if name.startswith("arn:") else account.arn("sagemaker", f"{PACKAGE}/{name}")


@answers("sagemaker:CreateModelPackageGroup")
def create_model_package_group(account: Account, request: Document) -> Document:
    name = request["ModelPackageGroupName"]
    arn = account.arn("sagemaker", f"{GROUP}/{name}")
    with account.store.transaction():
        if account.store.get(GROUP, name):
            raise ServiceError("ValidationException", f"Model Package Group already exists: {arn}")
        document = {
            **request,
            "ModelPackageGroupArn": arn,
            "ModelPackageGroupStatus": "Completed",
            "CreationTime": time.time(),
            "CreatedBy": {},
            "LatestVersion": 0,
        }
        account.store.put(GROUP, name, document)
        tag(account, arn, request)
    return {"ModelPackageGroupArn": arn}


@answers("sagemaker:DescribeModelPackageGroup")
def describe_model_package_group(account: Account, request: Document) -> Document:
    name = _group_name(request["ModelPackageGroupName"])
    group = account.store.get(GROUP, name)
    if group is None:
        arn = account.arn("sagemaker", f"{GROUP}/{name}")
        raise ServiceError("ValidationException", f"ModelPackageGroup {arn} does not exist.")
    return group


@answers("sagemaker:ListModelPackageGroups")
def list_model_package_groups(account: Account, request: Document) -> Document:
    return page(
        account.store.rows(GROUP),
        request,
        member="ModelPackageGroupSummaryList",
        name="ModelPackageGroupName",
    )


@answers("sagemaker:DeleteModelPackageGroup")
def delete_model_package_group(account: Account, request: Document) -> Document:
    group = describe_model_package_group(account, request)
    name = group["ModelPackageGroupName"]
    with account.store.transaction():
        if account.store.every(PACKAGE, parent=name):
            raise ServiceError(
                "ConflictException",
                f"Model Package Group {group['ModelPackageGroupArn']} still has model packages",
            )
        account.store.delete(GROUP, name)
        untag(account, group["ModelPackageGroupArn"])
    return {}


def _emit_state_change(account: Account, package: Document) -> None:
    detail = {
        key: package.get(key)
        for key in (
            "ModelPackageGroupName",
            "ModelPackageArn",
            "ModelPackageVersion",
            "ModelApprovalStatus",
            "ModelPackageStatus",
        )
    }
    emit(
        account,
        source="aws.sagemaker",
        detail_type="SageMaker Model Package State Change",
        detail=detail,
        arn=package["ModelPackageArn"],
    )


@answers("sagemaker:CreateModelPackage")
def create_model_package(account: Account, request: Document) -> Document:
    token = request.get("ClientToken")
    with account.store.transaction():
        if token and (known := account.store.get("client-token", token)):
            return {"ModelPackageArn": known["Arn"]}
        if "ModelPackageGroupName" not in request:
            raise ServiceError(
                "ValidationException",
                "a model package without versions is not kept here: give a ModelPackageGroupName",
            )
        group_name = _group_name(request["ModelPackageGroupName"])
        group = describe_model_package_group(account, {"ModelPackageGroupName": group_name})
        version = group["LatestVersion"] + 1
        account.store.put(GROUP, group_name, {**group, "LatestVersion": version})
        arn = account.arn("sagemaker", f"{PACKAGE}/{group_name}/{version}")
        package = {
            "ModelApprovalStatus": "PendingManualApproval",
            **request,
            "ModelPackageGroupName": group_name,
            "ModelPackageName": f"{group_name}/{version}",
            "ModelPackageArn": arn,
            "ModelPackageVersion": version,
            "ModelPackageStatus": "Completed",
            "ModelPackageStatusDetails": {"ValidationStatuses": []},
            "CreationTime": time.time(),
        }
        account.store.put(PACKAGE, arn, package, parent=group_name)
        if token:
            account.store.put("client-token", token, {"Arn": arn})
        tag(account, arn, request)
        _emit_state_change(account, package)
    deliver_in_background(account)
    return {"ModelPackageArn": arn}


@answers("sagemaker:DescribeModelPackage")
def describe_model_package(account: Account, request: Document) -> Document:
    arn = _package_arn(account, request["ModelPackageName"])
    package = account.store.get(PACKAGE, arn)
    if package is None:
        raise ServiceError("ValidationException", f"ModelPackage {arn} does not exist.")
    return package


@answers("sagemaker:ListModelPackages")
def list_model_packages(account: Account, request: Document) -> Document:
    group = request.get("ModelPackageGroupName")
    status = request.get("ModelApprovalStatus")
    return page(
        account.store.rows(PACKAGE, _group_name(group) if group else None),
        request,
        member="ModelPackageSummaryList",
        name="ModelPackageName",
        keep=lambda item: status in (None, item["ModelApprovalStatus"]),
    )


@answers("sagemaker:BatchDescribeModelPackage")
def batch_describe_model_package(account: Account, request: Document) -> Document:
    found: Document = {}
    errors: Document = {}
    for arn in request["ModelPackageArnList"]:
        try:
            found[arn] = describe_model_package(account, {"ModelPackageName": arn})
        except ServiceError as error:
            errors[arn] = {"ErrorCode": error.code, "ErrorResponse": error.message}
    return {"ModelPackageSummaries": found, "BatchDescribeModelPackageErrorMap": errors}


@answers("sagemaker:UpdateModelPackage")
def update_model_package(account: Account, request: Document) -> Document:
    arn = request["ModelPackageArn"]
    with account.store.transaction():
        package = describe_model_package(account, {"ModelPackageName": arn})
        properties = package.get("CustomerMetadataProperties", {})
        properties |= request.get("CustomerMetadataProperties", {})
        for key in request.get("CustomerMetadataPropertiesToRemove", []):
            properties.pop(key, None)
        changed = {
            **package,
            **{key: value for key, value in request.items() if not key.endswith("ToRemove")},
            "CustomerMetadataProperties": properties,
            "LastModifiedTime": time.time(),
        }
        account.store.put(PACKAGE, arn, changed)
        if "ModelApprovalStatus" in request:
            _emit_state_change(account, changed)
    deliver_in_background(account)
    return {"ModelPackageArn": arn}


@answers("sagemaker:DeleteModelPackage")
def delete_model_package(account: Account, request: Document) -> Document:
    package = describe_model_package(account, request)
    with account.store.transaction():
        account.store.delete(PACKAGE, package["ModelPackageArn"])
        untag(account, package["ModelPackageArn"])
        _emit_state_change(account, {**package, "ModelPackageStatus": "Deleting"})
    deliver_in_background(account)
    return {}


def package_container(account: Account, name: str) -> Document:
    """The container definition of a version: image, model data and environment."""
    package = describe_model_package(account, {"ModelPackageName": name})
    containers = package.get("InferenceSpecification", {}).get("Containers", [])
    if not containers:
        raise not_found("container of model package", name)
    container: Document = containers[0]
    return container
