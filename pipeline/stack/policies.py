"""What an engineer and a reviewer need to be allowed, and nothing else: IAM policies as values."""

from __future__ import annotations

from typing import Any

from pipeline.settings import PROJECT, Account

PARTITION = "aws"
TAGGING = ("TagResource", "UntagResource", "ListTagsForResource")
OWN_KEY = (
    "Decrypt",
    "Encrypt",
    "GenerateDataKey",
    "CreateGrant",
    "EnableKeyRotation",
    "GetKeyPolicy",
    "GetKeyRotationStatus",
    "ListResourceTags",
    "UntagResource",
    "UpdateKeyDescription",
    "ScheduleKeyDeletion",
)
# What whoever has an HTTP API write its access log must be allowed; these know no resources.
# https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-logging.html
ACCESS_LOGS = (
    "CreateLogDelivery",
    "GetLogDelivery",
    "UpdateLogDelivery",
    "DeleteLogDelivery",
    "ListLogDeliveries",
    "PutResourcePolicy",
    "DescribeResourcePolicies",
)
SUBSCRIPTION = ("GetSubscriptionAttributes", "SetSubscriptionAttributes", "Unsubscribe")


def reviewer(account: Account) -> dict[str, Any]:
    """See the registry, decide on its versions, read their reports."""
    group = _sagemaker(account, f"model-package-group/{account.model_package_group}")
    packages = _sagemaker(account, f"model-package/{account.model_package_group}/*")
    bucket = f"arn:{PARTITION}:s3:::{account.bucket}"
    endpoint = account.endpoint_name
    return _policy(
        _allow(
            "SeeTheRegistry",
            ["ListModelPackages", "DescribeModelPackage", "DescribeModelPackageGroup"],
            [group, packages],
        ),
        _allow("Decide", ["UpdateModelPackage"], [packages]),
        _allow(
            "SeeWhatIsServed",
            ["DescribeEndpoint", "DescribeEndpointConfig", "DescribeModel"],
            [
                _sagemaker(account, f"endpoint/{endpoint}"),
                _sagemaker(account, f"endpoint-config/{endpoint}-v*"),
                _sagemaker(account, f"model/{endpoint}-v*"),
            ],
        ),
        _allow(
            "SeeWhatARunWasGiven",
            ["ListPipelineExecutions", "ListPipelineParametersForExecution"],
            [
                _sagemaker(account, f"pipeline/{account.pipeline_name}"),
                _sagemaker(account, f"pipeline/{account.pipeline_name}/execution/*"),
            ],
        ),
        {
            "Sid": "ReadReportsAndHistory",
            "Effect": "Allow",
            "Action": "s3:GetObject",
            "Resource": [
                f"{bucket}/runs/*/Evaluate/*",
                f"{bucket}/deployments/{endpoint}/history/*",
            ],
        },
        {
            "Sid": "FindTheHistory",
            "Effect": "Allow",
            "Action": "s3:ListBucket",
            # without s3:prefix, which GetObject does not name: a missing report is 404, not 403
            "Resource": bucket,
        },
        _own_key(account, "ReadWhatIsEncrypted", ["kms:Decrypt"]),
    )


def engineer(account: Account) -> dict[str, Any]:
    """Deploy and remove the stack, run the pipeline, read its logs.

    CloudFormation acts with the engineer's own rights, so the services of the template are in it,
    bounded to what bears the project's name where a service knows names. Who may write the stack's
    roles and hand them to a function is an administrator of the account in effect: docs/aws.md.
    """
    name, region, number = account.name, account.region, account.account_id
    here = f"{region}:{number}"
    return _policy(
        _services("Stack", ["cloudformation"], f"cloudformation:{here}:stack/{name}/*"),
        _whole(
            "CheckTheTemplate",
            ["cloudformation:ValidateTemplate", "cloudformation:GetTemplateSummary"],
        ),
        _services("Buckets", ["s3"], f"s3:::{name}-*"),
        _services("Functions", ["lambda"], f"lambda:{here}:function:{name}-*"),
        _services("Rules", ["events"], f"events:{here}:rule/{name}-*"),
        _services("Queue", ["sqs"], f"sqs:{here}:{name}-*"),
        _services("Topic", ["sns"], f"sns:{here}:{name}-*"),
        # AWS knows a subscription by no name of ours:
        # https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonsns.html
        _whole("Subscription", [f"sns:{operation}" for operation in SUBSCRIPTION]),
        _services(
            "Alarms",
            ["cloudwatch"],
            f"cloudwatch:{here}:alarm:{name}-*",
            # autoscaling's, which go with the endpoint
            f"cloudwatch:{here}:alarm:TargetTracking-endpoint/{name}/*",
        ),
        _services("Image", ["ecr"], f"ecr:{here}:repository/{name}-*"),
        _services("ImageBuild", ["codebuild"], f"codebuild:{here}:project/{name}-*"),
        _services("Logs", ["logs"], f"logs:{here}:log-group:*{name}*"),
        _services("JobLogs", ["logs"], f"logs:{here}:log-group:/aws/sagemaker/*"),
        _services(
            "Models",
            ["sagemaker"],
            *(
                f"sagemaker:{here}:{kind}/{name}*"
                for kind in (
                    "pipeline",
                    "model-package-group",
                    "model-package",
                    "model",
                    "endpoint-config",
                    "endpoint",
                )
            ),
            *(
                f"sagemaker:{here}:{kind}/pipelines-*"
                for kind in ("processing-job", "training-job")
            ),
            f"sagemaker:{here}:processing-job/{PROJECT}-evaluate-*",
        ),
        _services("Roles", ["iam"], f"iam::{number}:role/{name}-*"),
        {
            "Sid": "HandThemOut",
            "Effect": "Allow",
            "Action": "iam:PassRole",
            "Resource": f"arn:{PARTITION}:iam::{number}:role/{name}-*",
            "Condition": {
                "StringEquals": {
                    "iam:PassedToService": [
                        "lambda.amazonaws.com",
                        "sagemaker.amazonaws.com",
                        "codebuild.amazonaws.com",
                    ]
                }
            },
        },
        _services("Api", ["apigateway"], f"apigateway:{region}::/*"),
        _services("Budget", ["budgets"], f"budgets::{number}:budget/{name}-*"),
        _services("Firewall", ["wafv2"], f"wafv2:us-east-1:{number}:global/*"),
        # these know no names that a template could choose
        _whole(
            "Website",
            [
                "cloudfront:*Distribution*",
                "cloudfront:*OriginAccessControl*",
                "cloudfront:*ResponseHeadersPolic*",
                "cloudfront:*Invalidation*",
                *(f"cloudfront:{verb}" for verb in TAGGING),
            ],
        ),
        _whole("AccessLogs", [f"logs:{operation}" for operation in ACCESS_LOGS]),
        _whole(
            "StopScaling",
            [
                "application-autoscaling:DescribeScalableTargets",
                "application-autoscaling:DeregisterScalableTarget",
            ],
        ),
        _whole("Look", ["sagemaker:List*", "cloudwatch:DescribeAlarms", "logs:DescribeLogGroups"]),
        _whole("Key", ["kms:CreateKey", "kms:DescribeKey", "kms:PutKeyPolicy", "kms:TagResource"]),
        _own_key(account, "OwnKey", [f"kms:{operation}" for operation in OWN_KEY]),
    )


def _policy(*statements: dict[str, Any]) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": list(statements)}


def _allow(sid: str, operations: list[str], resources: list[str]) -> dict[str, Any]:
    actions = [f"sagemaker:{operation}" for operation in operations]
    return {"Sid": sid, "Effect": "Allow", "Action": actions, "Resource": resources}


def _services(sid: str, services: list[str], *resources: str) -> dict[str, Any]:
    """All of a service, but only of what bears the project's name."""
    arns = [f"arn:{PARTITION}:{resource}" for resource in resources]
    actions = [f"{service}:*" for service in services]
    if services == ["iam"]:
        actions = [
            *(f"iam:{verb}Role" for verb in ("Create", "Get", "Delete", "Tag", "Untag", "Update")),
            *(f"iam:{verb}RolePolicy" for verb in ("Put", "Get", "Delete")),
            "iam:UpdateAssumeRolePolicy",
            "iam:ListRolePolicies",
            "iam:ListAttachedRolePolicies",
        ]
    return {"Sid": sid, "Effect": "Allow", "Action": actions, "Resource": arns}


def _whole(sid: str, actions: list[str]) -> dict[str, Any]:
    return {"Sid": sid, "Effect": "Allow", "Action": actions, "Resource": "*"}


def _own_key(account: Account, sid: str, actions: list[str]) -> dict[str, Any]:
    """The stack's key, where it has one: known by its tag, as the ARN of a key holds no name."""
    return {
        "Sid": sid,
        "Effect": "Allow",
        "Action": actions,
        "Resource": f"arn:{PARTITION}:kms:{account.region}:{account.account_id}:key/*",
        "Condition": {"StringEquals": {"aws:ResourceTag/sagemaker:project-name": account.name}},
    }


def _sagemaker(account: Account, resource: str) -> str:
    return f"arn:{PARTITION}:sagemaker:{account.region}:{account.account_id}:{resource}"
