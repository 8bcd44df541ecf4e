"""The most that any role of the stack may ever do, whatever its own policy says.

An administrator makes this policy once. Every role of the stack carries it as its permissions
boundary, and the engineer's policy lets roles be made and changed only with it: who writes a
role's rights can give it no more than this.
https://docs.aws.amazon.com/IAM/latest/UserGuide/access_policies_boundaries.html
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from botocore.exceptions import ClientError

from pipeline.errors import StackError
from pipeline.settings import Account
from pipeline.stack.iam import (
    PARTITION,
    boundary_arn,
    boundary_name,
    own_key,
    passing,
    policy,
    sagemaker,
    statement,
)
from pipeline.target import Target

# AWS's own training images: https://docs.aws.amazon.com/sagemaker/latest/dg/ecr-us-east-1.html
TRAINING_IMAGES = "763104351884"
READ = ("s3:GetObject", "s3:ListBucket", "s3:GetBucketLocation")
PULL = ("ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer", "ecr:BatchCheckLayerAvailability")


def boundary(account: Account, data_bucket: str = "") -> dict[str, Any]:
    """What the roles may at most; `data_bucket` is another bucket that runs read reviews from."""
    elsewhere = [_reading(data_bucket)] if data_bucket else []
    return policy(
        *_files(account), *elsewhere, *_models(account), *_images(account), *_reporting(account)
    )


def refuse_unbounded(target: Target, data_bucket: str = "") -> None:
    """Raise StackError, with what to do, where the policy is not there or leaves out a right.

    Without it a role could not be made; with less in it a run or a roll-out would fail later.
    """
    name, iam = boundary_name(target.account), target.client("iam")
    arn = f"arn:{PARTITION}:{boundary_arn(target.account)}"
    more = f" --data-bucket {data_bucket}" if data_bucket else ""
    printed = (
        f"sentiment stack policies --role boundary --stage {target.settings.stage}{more} > "
        "boundary.json; aws iam"
    )
    try:
        version = iam.get_policy(PolicyArn=arn)["Policy"]["DefaultVersionId"]
        found = iam.get_policy_version(PolicyArn=arn, VersionId=version)["PolicyVersion"]
    except ClientError as error:
        if error.response["Error"]["Code"] != "NoSuchEntity":
            raise
        raise StackError(
            f"there is no policy {name}, which bounds what the stack's roles may do; an "
            f"administrator makes it once: {printed} create-policy --policy-name {name} "
            "--policy-document file://boundary.json"
        ) from error
    if lacking := _lacking(found["Document"], boundary(target.account, data_bucket)):
        raise StackError(
            f"policy {name} lacks {', '.join(lacking)}, which the stack's roles need; an "
            f"administrator brings it up to date: {printed} create-policy-version --policy-arn "
            f"{arn} --set-as-default --policy-document file://boundary.json"
        )


def _lacking(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """Names of the wanted statements that none of the found ones holds."""
    return [
        one["Sid"]
        for one in wanted["Statement"]
        if not any(_holds(other, one) for other in _listed(found["Statement"]))
    ]


def _holds(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Whether a statement allows all that another does, in the same words or in more of them."""
    return (
        found["Effect"] == "Allow"
        and found.get("Condition") == wanted.get("Condition")
        and all(
            {*_listed(wanted[part])} <= {*_listed(found.get(part, []))}
            for part in ("Action", "Resource")
        )
    )


def _listed(value: Any) -> list[Any]:
    """IAM takes one of something for a list of one."""
    return value if isinstance(value, list) else [value]


def _files(account: Account) -> list[dict[str, Any]]:
    bucket = f"s3:::{account.name}-{account.region}-{account.account_id}"
    actions = (*READ, "s3:GetObjectVersion", "s3:PutObject", "s3:AbortMultipartUpload")
    return [
        statement("Files", actions, bucket, f"{bucket}/*"),
        own_key(
            account,
            "Key",
            "kms:Decrypt",
            "kms:GenerateDataKey",
            "kms:DescribeKey",
            "kms:CreateGrant",
        ),
    ]


def _reading(bucket: str) -> dict[str, Any]:
    return statement("ReadReviewsElsewhere", READ, f"s3:::{bucket}", f"s3:::{bucket}/*")


def _models(account: Account) -> list[dict[str, Any]]:
    name, here = account.name, f"{account.region}:{account.account_id}"
    own = (
        f"model-package-group/{name}",
        f"model-package/{name}/*",
        f"model/{name}-v*",
        f"endpoint-config/{name}-v*",
        f"endpoint/{name}",
        "processing-job/pipelines-*",
        "training-job/pipelines-*",
    )
    scaling = "sagemaker.application-autoscaling"
    return [
        statement("Models", ["sagemaker:*"], *sagemaker(account, *own)),
        statement(
            "Deploy", ["lambda:InvokeFunction"], f"lambda:{here}:function:{name}-deploy-model"
        ),
        passing(account, "execution", services=["sagemaker"]),
        statement(
            "Scale",
            ["application-autoscaling:*"],
            f"application-autoscaling:{here}:scalable-target/*",
            condition={"StringEquals": {"application-autoscaling:service-namespace": "sagemaker"}},
        ),
        statement(
            "AlarmsOfScaling",
            ["cloudwatch:PutMetricAlarm", "cloudwatch:DeleteAlarms"],
            f"cloudwatch:{here}:alarm:TargetTracking-endpoint/{name}/*",
        ),
        statement(
            "ScalingHasARoleOfItsOwn",
            ["iam:CreateServiceLinkedRole"],
            f"iam::{account.account_id}:role/aws-service-role/{scaling}.amazonaws.com/*",
            condition={"StringEquals": {"iam:AWSServiceName": f"{scaling}.amazonaws.com"}},
        ),
    ]


def _images(account: Account) -> list[dict[str, Any]]:
    own = f"ecr:{account.region}:{account.account_id}:repository/{account.name}-inference"
    theirs = f"ecr:{account.region}:{TRAINING_IMAGES}:repository/pytorch*"
    push = ("InitiateLayerUpload", "UploadLayerPart", "CompleteLayerUpload", "PutImage")
    return [
        statement("PullImages", PULL, own, theirs),
        statement("PushImages", [f"ecr:{operation}" for operation in push], own),
    ]


def _reporting(account: Account) -> list[dict[str, Any]]:
    """Logs, metrics and messages; and what only looks, or knows no resources."""
    name, here = account.name, f"{account.region}:{account.account_id}"
    groups = (f"lambda/{name}-*", f"codebuild/{name}-*", "sagemaker/*")
    logging = ("CreateLogGroup", "CreateLogStream", "PutLogEvents", "DescribeLogStreams")
    return [
        statement(
            "Log",
            [f"logs:{operation}" for operation in logging],
            *(f"logs:{here}:log-group:/aws/{group}" for group in groups),
        ),
        statement("TellPeople", ["sns:Publish"], f"sns:{here}:{name}-alarms"),
        statement("KeepWhatFailed", ["sqs:SendMessage"], f"sqs:{here}:{name}-dead-letters"),
        statement(
            "Metrics",
            ["cloudwatch:PutMetricData"],
            condition={
                "StringLike": {"cloudwatch:namespace": ["/aws/sagemaker/*", "AWS/SageMaker"]}
            },
        ),
        statement(
            "Look",
            [
                "sagemaker:ListModels",
                "sagemaker:ListEndpointConfigs",
                "cloudwatch:DescribeAlarms",
                "application-autoscaling:Describe*",
                "ecr:GetAuthorizationToken",
                "xray:PutTraceSegments",
                "xray:PutTelemetryRecords",
            ],
        ),
    ]
