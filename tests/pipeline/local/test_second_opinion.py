"""The same calls to moto and to the account: where moto has the operation, the answers agree.

Left out of the comparison: ids, times, tokens and wording, and members that moto invents.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

OURS, MOTOS = "000000000000", "123456789012"
ROLE = f"arn:aws:iam::{OURS}:role/r"
SAGEMAKER = f"arn:aws:sagemaker:us-east-1:{OURS}"
FIRST = f"{SAGEMAKER}:model-package/ga/1"
FAIL = {"Name": "F", "Type": "Fail", "Arguments": {"ErrorMessage": "x"}}
DEFINITION = json.dumps({"Version": "2020-12-01", "Steps": [FAIL]})
PIPELINE = {"PipelineName": "p", "PipelineDefinition": DEFINITION, "RoleArn": ROLE,
            "ClientRequestToken": "t" * 32}  # fmt: skip
VARIANT = {"VariantName": "v", "ModelName": "m", "InitialInstanceCount": 1,
           "InstanceType": "ml.m5.large", "InitialVariantWeight": 1.0}  # fmt: skip
MODEL = {"ModelName": "m", "ExecutionRoleArn": ROLE, "PrimaryContainer": {"Image": "i"}}
PENDING = {"ModelPackageGroupName": "ga", "ModelApprovalStatus": "PendingManualApproval"}
PART = {"Bucket": "bucket", "Key": "parts"}

CALLS: list[tuple[str, str, dict[str, Any]]] = [
    # before anything is approved: the rule's function makes a bucket of its own, when it likes
    ("s3", "create_bucket", {"Bucket": "bucket"}),
    ("s3", "list_buckets", {}),
    *(("sagemaker", "create_model_package_group", {"ModelPackageGroupName": name})
      for name in ("ga", "gb", "gc")),
    ("sagemaker", "list_model_package_groups", {"SortBy": "Name", "SortOrder": "Ascending"}),
    ("sagemaker", "list_model_package_groups", {"SortBy": "Name", "SortOrder": "Descending",
                                                "MaxResults": 2}),
    ("sagemaker", "list_model_package_groups", {"NameContains": "b"}),
    ("sagemaker", "describe_model_package_group", {"ModelPackageGroupName": "ga"}),
    ("sagemaker", "describe_model_package_group", {"ModelPackageGroupName": "nope"}),
    *(("sagemaker", "create_model_package", PENDING) for _ in range(3)),
    ("sagemaker", "describe_model_package", {"ModelPackageName": FIRST}),
    ("sagemaker", "describe_model_package", {"ModelPackageName": "nope"}),
    ("sagemaker", "list_model_packages", {"ModelPackageGroupName": "ga", "SortOrder": "Ascending"}),
    ("sagemaker", "list_model_packages", {"ModelPackageGroupName": "ga", "SortOrder": "Ascending",
                                          "MaxResults": 2}),
    ("sagemaker", "update_model_package", {"ModelPackageArn": FIRST,
                                           "ModelApprovalStatus": "Approved"}),
    ("sagemaker", "list_model_packages", {"ModelPackageGroupName": "ga",
                                          "ModelApprovalStatus": "Approved"}),
    ("sagemaker", "create_model", MODEL),
    ("sagemaker", "describe_model", {"ModelName": "m"}),
    ("sagemaker", "describe_model", {"ModelName": "nope"}),
    ("sagemaker", "list_models", {}),
    ("sagemaker", "delete_model", {"ModelName": "nope"}),
    ("sagemaker", "create_endpoint_config", {"EndpointConfigName": "c",
                                             "ProductionVariants": [VARIANT]}),
    ("sagemaker", "create_endpoint_config", {"EndpointConfigName": "d", "ProductionVariants": [
        {**VARIANT, "ModelName": "nope"}]}),
    ("sagemaker", "describe_endpoint_config", {"EndpointConfigName": "c"}),
    ("sagemaker", "describe_endpoint_config", {"EndpointConfigName": "nope"}),
    ("sagemaker", "delete_endpoint_config", {"EndpointConfigName": "nope"}),
    ("sagemaker", "describe_endpoint", {"EndpointName": "nope"}),
    ("sagemaker", "create_endpoint", {"EndpointName": "e", "EndpointConfigName": "nope"}),
    ("sagemaker", "add_tags", {"ResourceArn": f"{SAGEMAKER}:model/m",
                               "Tags": [{"Key": "a", "Value": "b"}]}),
    ("sagemaker", "list_tags", {"ResourceArn": f"{SAGEMAKER}:model/m"}),
    ("sagemaker", "create_pipeline", PIPELINE),
    ("sagemaker", "create_pipeline", PIPELINE),
    ("sagemaker", "describe_pipeline", {"PipelineName": "p"}),
    ("sagemaker", "list_pipelines", {"PipelineNamePrefix": "p"}),
    ("sagemaker", "list_training_jobs", {}),
    ("s3", "put_object", {"Bucket": "bucket", "Key": "a/1", "Body": b"x", "Metadata": {"k": "v"},
                          "ContentType": "text/plain"}),
    ("s3", "put_object", {"Bucket": "bucket", "Key": "a/2", "Body": b"yy"}),
    ("s3", "put_object", {"Bucket": "bucket", "Key": "b", "Body": b""}),
    ("s3", "list_objects_v2", {"Bucket": "bucket"}),
    ("s3", "list_objects_v2", {"Bucket": "bucket", "Delimiter": "/"}),
    ("s3", "list_objects_v2", {"Bucket": "bucket", "Prefix": "a/", "MaxKeys": 1}),
    ("s3", "list_objects_v2", {"Bucket": "bucket", "StartAfter": "a/1"}),
    ("s3", "list_objects", {"Bucket": "bucket", "Prefix": "a/"}),
    ("s3", "head_object", {"Bucket": "bucket", "Key": "a/1"}),
    ("s3", "head_object", {"Bucket": "bucket", "Key": "nope"}),
    ("s3", "get_object", {"Bucket": "bucket", "Key": "a/2", "Range": "bytes=1-"}),
    ("s3", "get_object", {"Bucket": "bucket", "Key": "a/2", "Range": "bytes=9-"}),
    ("s3", "get_object", {"Bucket": "bucket", "Key": "nope"}),
    ("s3", "get_object", {"Bucket": "no-bucket", "Key": "nope"}),
    ("s3", "head_bucket", {"Bucket": "no-bucket"}),
    ("s3", "delete_bucket", {"Bucket": "bucket"}),
    ("s3", "copy_object", {"Bucket": "bucket", "Key": "c",
                           "CopySource": {"Bucket": "bucket", "Key": "a/1"}}),
    ("s3", "head_object", {"Bucket": "bucket", "Key": "c"}),
    ("s3", "put_object_tagging", {"Bucket": "bucket", "Key": "c", "Tagging": {
        "TagSet": [{"Key": "k", "Value": "v"}]}}),
    ("s3", "get_object_tagging", {"Bucket": "bucket", "Key": "c"}),
    ("s3", "delete_objects", {"Bucket": "bucket", "Delete": {"Objects": [
        {"Key": "c"}, {"Key": "nope"}]}}),
    ("s3", "abort_multipart_upload", {**PART, "UploadId": "nope"}),
    ("s3", "create_multipart_upload", {**PART, "ContentType": "text/csv"}),
    ("s3", "upload_part", {**PART, "PartNumber": 1, "Body": b"one", "UploadId": "ID"}),
    ("s3", "upload_part_copy", {**PART, "PartNumber": 2, "UploadId": "ID",
                                "CopySource": {"Bucket": "bucket", "Key": "a/1"}}),
    ("s3", "list_parts", {**PART, "UploadId": "ID"}),
    ("s3", "list_multipart_uploads", {"Bucket": "bucket"}),
]  # fmt: skip
# Made up by the service: an ETag of a part is a digest there and a time here.
MADE_UP = {"UploadId", "NextToken", "NextContinuationToken", "ETag", "CreationDate", "Owner",
           "Initiator", "BucketArn", "BucketRegion", "CreatedBy", "LastModifiedBy", "Message",
           "ServerSideEncryption", "ChecksumCRC32", "ChecksumType", "Condition", "EncodingType",
           "Resource", "BucketName", "RangeRequested",
           "ChecksumAlgorithm", "ModelPackageStatusDetails", "ActualObjectSize",
           "VersionId"}  # fmt: skip
# Members that moto fills with defaults, which AWS's answers do not have unless they were asked for.
DEFAULTS = {"CertifyForMarketplace", "Containers", "EnableNetworkIsolation", "VpcConfig",
            "DataCaptureConfig", "ModelPackageDescription", "Marker",
            "PartNumberMarker", "NextPartNumberMarker", "MaxParts", "StorageClass", "KeyMarker",
            "UploadIdMarker", "MaxUploads", "Location"}  # fmt: skip


def renamed(value: Any, account: str) -> Any:
    """With our account id replaced by another."""
    if isinstance(value, dict):
        return {key: renamed(item, account) for key, item in value.items()}
    return value.replace(OURS, account) if isinstance(value, str) else value


def answers(session: Any, account: str) -> Iterator[tuple[str, Any]]:
    """What each call gives: the parsed answer, or the error's code."""
    clients = {name: session.client(name) for name in ("sagemaker", "s3")}
    upload = ""
    for service, call, given in CALLS:
        arguments = renamed(given, account)
        if given.get("UploadId") == "ID":
            arguments["UploadId"] = upload
        try:
            answer = getattr(clients[service], call)(**arguments)
        except ClientError as error:
            yield f"{call}({given})", error.response["Error"]["Code"]
            continue
        upload = answer.get("UploadId", upload)
        if "Body" in answer:
            answer["Body"] = answer["Body"].read()
        del answer["ResponseMetadata"]
        yield f"{call}({given})", answer


def plain(value: Any) -> Any:
    """Without times, account ids and what is made up."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items() if key not in MADE_UP}
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, dt.datetime):
        return "a time"
    return value.replace(MOTOS, OURS) if isinstance(value, str) else value


def differences(ours: Any, motos: Any, path: str) -> Iterator[str]:
    """Where two answers differ; a member that only ours has is no difference: moto is not whole."""
    if isinstance(ours, dict) and isinstance(motos, dict):
        for key in motos:
            if key in ours:
                yield from differences(ours[key], motos[key], f"{path}.{key}")
            elif key not in DEFAULTS:
                yield f"{path}.{key} is missing (moto: {motos[key]})"
    elif isinstance(ours, list) and isinstance(motos, list) and len(ours) == len(motos):
        for index, pair in enumerate(zip(ours, motos, strict=True)):
            yield from differences(*pair, f"{path}[{index}]")
    elif ours != motos:
        yield f"{path}: {ours} (moto: {motos})"


def test_moto_and_the_account_give_the_same_answers(
    box: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = list(answers(box.session, OURS))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "any")
    with mock_aws():
        motos = list(answers(boto3.Session(region_name="us-east-1"), MOTOS))
    found = [
        text
        for (call, mine), (_, other) in zip(ours, motos, strict=True)
        for text in differences(plain(mine), plain(other), call)
    ]
    assert not found, "\n".join(found)


def search(box: Any, *filters: tuple[str, str, str], **more: Any) -> list[int]:
    """The versions that a search for model packages finds."""
    items = [
        {"Name": name, "Operator": operator} | ({"Value": value} if value else {})
        for name, operator, value in filters
    ]
    found = box.client("sagemaker").search(
        Resource="ModelPackage",
        SearchExpression={"Filters": items, **more},
        SortBy="ModelPackageVersion",
        SortOrder="Ascending",
    )
    return [item["ModelPackage"]["ModelPackageVersion"] for item in found["Results"]]


def test_packages_are_found_by_metadata_status_and_number(box: Any) -> None:
    sagemaker = box.client("sagemaker")
    for number, status in enumerate(("Approved", "Rejected", "Approved"), 1):
        sagemaker.update_model_package(
            ModelPackageArn=box.register("word", status),
            CustomerMetadataProperties={"accuracy": f"0.{number}", "commit": "abc"},
        )
    approved = ("ModelApprovalStatus", "Equals", "Approved")
    good = ("CustomerMetadataProperties.accuracy", "GreaterThan", "0.15")
    assert search(box, approved) == [1, 3]
    assert search(box, approved, good) == [3]
    assert search(box, approved, good, Operator="Or") == [1, 2, 3]
    assert search(box, ("CustomerMetadataProperties.commit", "Contains", "b")) == [1, 2, 3]
    assert search(box, ("CustomerMetadataProperties.none", "NotExists", "")) == [1, 2, 3]
    assert search(box, ("ModelPackageGroupName", "In", "x,y")) == []
    with pytest.raises(ClientError, match="takes a number"):
        search(box, ("ModelPackageGroupName", "LessThan", "g"))
    with pytest.raises(ClientError, match="of a time one as 2026-01-31T12:00:00"):
        search(box, ("CreationTime", "LessThan", "yesterday"))
    assert search(box, ("CreationTime", "GreaterThan", "2020-01-01T00:00:00Z")) == [1, 2, 3]
    assert search(box, ("CreationTime", "LessThan", "2020-01-01T00:00:00")) == []
    with pytest.raises(ClientError, match="Project is not searched here"):
        sagemaker.search(Resource="Project")
    arns = [f"{SAGEMAKER}:model-package/g/1", f"{SAGEMAKER}:model-package/g/9"]
    both = sagemaker.batch_describe_model_package(ModelPackageArnList=arns)
    assert list(both["ModelPackageSummaries"]) == arns[:1]
    assert list(both["BatchDescribeModelPackageErrorMap"]) == arns[1:]


def test_tags_go_with_the_resource_they_belong_to(box: Any) -> None:
    sagemaker, tags = box.client("sagemaker"), [{"Key": "k", "Value": "old"}]
    config = box.create_config("c", box.register("word"))
    sagemaker.delete_model_package(ModelPackageName=f"{SAGEMAKER}:model-package/g/1")
    for kind, delete, name in (
        ("model-package-group/g", "delete_model_package_group", {"ModelPackageGroupName": "g"}),
        ("endpoint-config/c", "delete_endpoint_config", {"EndpointConfigName": config}),
        ("model/c", "delete_model", {"ModelName": config}),
    ):
        sagemaker.add_tags(ResourceArn=f"{SAGEMAKER}:{kind}", Tags=tags)
        getattr(sagemaker, delete)(**name)
        assert sagemaker.list_tags(ResourceArn=f"{SAGEMAKER}:{kind}")["Tags"] == []


def test_lists_page_to_the_end_in_every_order(box: Any) -> None:
    sagemaker = box.client("sagemaker")
    for name in ("b", "d", "a", "c"):
        sagemaker.create_model(**{**MODEL, "ModelName": name})

    def names(**order: str) -> str:
        pages = sagemaker.get_paginator("list_models").paginate(
            **order, PaginationConfig={"PageSize": 3}
        )
        return "".join(model["ModelName"] for page in pages for model in page["Models"])

    assert names() == "cadb"
    assert names(SortOrder="Ascending") == "bdac"
    assert names(SortBy="Name", SortOrder="Ascending") == "abcd"
    assert names(SortBy="Name", SortOrder="Descending", NameContains="c") == "c"
    tomorrow = dt.datetime.now(dt.UTC) + dt.timedelta(days=1)
    assert sagemaker.list_models(CreationTimeAfter=tomorrow)["Models"] == []
    with pytest.raises(ClientError, match="Invalid NextToken"):
        sagemaker.list_models(NextToken="x")


def test_the_weights_of_an_endpoint_are_changed_and_executions_renamed(box: Any) -> None:
    sagemaker = box.client("sagemaker")
    config = box.create_config("c", box.register("one"))
    sagemaker.create_endpoint(EndpointName="e", EndpointConfigName=config)
    change = {"VariantName": "AllTraffic", "DesiredWeight": 0.5}
    sagemaker.update_endpoint_weights_and_capacities(
        EndpointName="e", DesiredWeightsAndCapacities=[change]
    )
    (variant,) = sagemaker.describe_endpoint(EndpointName="e")["ProductionVariants"]
    assert variant["DesiredWeight"] == variant["CurrentWeight"] == 0.5
    with pytest.raises(ClientError, match='Variant "x" is not in the endpoint'):
        sagemaker.update_endpoint_weights_and_capacities(
            EndpointName="e", DesiredWeightsAndCapacities=[{"VariantName": "x"}]
        )
    arn = box.run({"Steps": [FAIL]})["PipelineExecutionArn"]
    sagemaker.update_pipeline_execution(
        PipelineExecutionArn=arn, PipelineExecutionDisplayName="mine"
    )
    described = sagemaker.describe_pipeline_execution(PipelineExecutionArn=arn)
    assert described["PipelineExecutionDisplayName"] == "mine"


def test_an_upload_in_parts_keeps_what_was_said_of_it(box: Any) -> None:
    s3 = box.client("s3")
    s3.create_bucket(Bucket="b")
    about = {"Bucket": "b", "Key": "k"}
    upload = s3.create_multipart_upload(**about, ContentType="text/csv", Metadata={"a": "b"})
    part = s3.upload_part(**about, UploadId=upload["UploadId"], PartNumber=1, Body=b"1,2")
    s3.complete_multipart_upload(
        **about,
        UploadId=upload["UploadId"],
        MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]},
    )
    head = s3.head_object(**about)
    assert (head["ContentType"], head["Metadata"]) == ("text/csv", {"a": "b"})
    s3.delete_object_tagging(**about)
    assert s3.get_object_tagging(**about)["TagSet"] == []
