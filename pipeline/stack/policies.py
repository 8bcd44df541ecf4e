"""What an engineer and a reviewer need to be allowed, and nothing else: IAM policies as values."""

from __future__ import annotations

from itertools import chain
from typing import Any

from pipeline.settings import PROJECT, Account
from pipeline.stack.iam import (
    PARTITION,
    ROLES,
    boundary_arn,
    own_key,
    passing,
    policy,
    role,
    sagemaker,
    statement,
)

# What CloudFormation asks of a key that has just been made: its tags may count minutes later.
# https://docs.aws.amazon.com/kms/latest/developerguide/tag-authorization.html
NEW_KEY = (
    "CreateKey",
    "TagResource",
    "DescribeKey",
    "EnableKeyRotation",
    "GetKeyPolicy",
    "GetKeyRotationStatus",
    "ListResourceTags",
)
OWN_KEY = (
    "Decrypt",
    "Encrypt",
    "GenerateDataKey",
    "CreateGrant",
    "DescribeKey",
    "PutKeyPolicy",
    "UntagResource",
    "UpdateKeyDescription",
    "ScheduleKeyDeletion",
)
# What SageMaker makes for a stack and its runs, by name
KINDS = ("pipeline", "model-package-group", "model-package", "model", "endpoint-config", "endpoint")
# What knows no names that a template could choose
NAMELESS = (
    "cloudformation:ValidateTemplate",
    "cloudformation:GetTemplateSummary",
    "cloudfront:*Distribution*",
    "cloudfront:*OriginAccessControl*",
    "cloudfront:*ResponseHeadersPolic*",
    "cloudfront:*Invalidation*",
    "cloudfront:TagResource",
    "cloudfront:UntagResource",
    "cloudfront:ListTagsForResource",
    # AWS knows a subscription by no name of ours:
    # https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonsns.html
    "sns:GetSubscriptionAttributes",
    "sns:SetSubscriptionAttributes",
    "sns:Unsubscribe",
    # What whoever has an HTTP API write its access log must be allowed
    # https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-logging.html
    "logs:CreateLogDelivery",
    "logs:GetLogDelivery",
    "logs:UpdateLogDelivery",
    "logs:DeleteLogDelivery",
    "logs:ListLogDeliveries",
    "logs:PutResourcePolicy",
    "logs:DescribeResourcePolicies",
    "application-autoscaling:DescribeScalableTargets",
    "application-autoscaling:DeregisterScalableTarget",
    "sagemaker:List*",
    "cloudwatch:DescribeAlarms",
    "logs:DescribeLogGroups",
)


def reviewer(account: Account) -> dict[str, Any]:
    """See the registry, decide on its versions, read their reports."""
    group, packages, *served = sagemaker(
        account,
        f"model-package-group/{account.model_package_group}",
        f"model-package/{account.model_package_group}/*",
        f"endpoint/{account.endpoint_name}",
        f"endpoint-config/{account.endpoint_name}-v*",
        f"model/{account.endpoint_name}-v*",
    )
    pipeline = f"pipeline/{account.pipeline_name}"
    bucket = f"s3:::{account.bucket}"
    return policy(
        statement(
            "SeeTheRegistry",
            [
                "sagemaker:ListModelPackages",
                "sagemaker:DescribeModelPackage",
                "sagemaker:DescribeModelPackageGroup",
            ],
            group,
            packages,
        ),
        statement("Decide", ["sagemaker:UpdateModelPackage"], packages),
        statement(
            "SeeWhatIsServed",
            [
                "sagemaker:DescribeEndpoint",
                "sagemaker:DescribeEndpointConfig",
                "sagemaker:DescribeModel",
            ],
            *served,
        ),
        statement(
            "SeeWhatARunWasGiven",
            ["sagemaker:ListPipelineExecutions", "sagemaker:ListPipelineParametersForExecution"],
            *sagemaker(account, pipeline, f"{pipeline}/execution/*"),
        ),
        statement(
            "ReadReportsAndHistory",
            ["s3:GetObject"],
            f"{bucket}/runs/*/Evaluate/*",
            f"{bucket}/deployments/{account.endpoint_name}/history/*",
        ),
        # without s3:prefix, which GetObject does not name: a missing report is 404, not 403
        statement("FindTheHistory", ["s3:ListBucket"], bucket),
        own_key(account, "ReadWhatIsEncrypted", "kms:Decrypt"),
    )


def engineer(account: Account) -> dict[str, Any]:
    """Deploy and remove the stack, run the pipeline, read its logs.

    CloudFormation acts with the engineer's own rights, so the services of the template are in it,
    bounded to what bears the project's name where a service knows names.
    """
    named = _named(account)
    return policy(
        # an action counts for the resources of its own service alone
        statement("Named", [f"{service}:*" for service in named], *chain(*named.values())),
        statement("Nameless", NAMELESS),
        *_roles(account),
        # by CloudFormation alone: by hand it would be a way to the keys of others, by their tags
        statement(
            "NewKey",
            [f"kms:{operation}" for operation in NEW_KEY],
            condition={
                "ForAnyValue:StringEquals": {"aws:CalledVia": ["cloudformation.amazonaws.com"]}
            },
        ),
        own_key(account, "OwnKey", *(f"kms:{operation}" for operation in OWN_KEY)),
    )


def _named(account: Account) -> dict[str, list[str]]:
    """What bears the stack's name, where a service knows names, by service."""
    name, here = account.name, f"{account.region}:{account.account_id}"
    # with what follows the name of a version of one
    functions = [
        f"function:{one}{more}"
        for one in (account.predict_function, account.deploy_function)
        for more in ("", ":*")
    ]
    jobs = ("processing-job/pipelines-*", "training-job/pipelines-*")
    evaluations = f"processing-job/{PROJECT}-evaluate-*"
    return {
        "cloudformation": [f"cloudformation:{here}:stack/{name}/*"],
        "s3": [f"s3:::{name}-*"],
        "lambda": [f"lambda:{here}:{function}" for function in functions],
        "events": [f"events:{here}:rule/{name}-*"],
        "sqs": [f"sqs:{here}:{name}-*"],
        "sns": [f"sns:{here}:{name}-*"],
        "cloudwatch": [
            f"cloudwatch:{here}:alarm:{name}-*",
            # autoscaling's, which go with the endpoint
            f"cloudwatch:{here}:alarm:TargetTracking-endpoint/{name}/*",
        ],
        "ecr": [f"ecr:{here}:repository/{name}-inference"],
        "codebuild": [f"codebuild:{here}:project/{name}-inference"],
        "logs": [
            f"logs:{here}:log-group:*{name}*",
            f"logs:{here}:log-group:/aws/sagemaker/*",
        ],
        "sagemaker": sagemaker(account, *(f"{k}/{name}*" for k in KINDS), *jobs, evaluations),
        "apigateway": [f"apigateway:{account.region}::/*"],
        "budgets": [f"budgets::{account.account_id}:budget/{name}-*"],
        "wafv2": [f"wafv2:us-east-1:{account.account_id}:global/*"],
    }


def _roles(account: Account) -> list[dict[str, Any]]:
    """The stack's roles, within their boundary, which is the administrator's.

    What may be written into a role, and who may take it, is then no way to more rights.
    """
    roles, bound = [role(account, which) for which in ROLES], boundary_arn(account)
    written = ("CreateRole", "PutRolePolicy", "DeleteRolePolicy", "PutRolePermissionsBoundary")
    others = (
        *(f"{verb}Role" for verb in ("Get", "Delete", "Tag", "Untag", "Update")),
        "UpdateAssumeRolePolicy",
        "GetRolePolicy",
        "ListRolePolicies",
        "ListAttachedRolePolicies",
    )
    kept = ("CreatePolicyVersion", "DeletePolicyVersion", "SetDefaultPolicyVersion", "DeletePolicy")
    return [
        statement(
            "BoundRoles",
            [f"iam:{operation}" for operation in written],
            *roles,
            condition={"StringEquals": {"iam:PermissionsBoundary": f"arn:{PARTITION}:{bound}"}},
        ),
        statement("Roles", [f"iam:{operation}" for operation in others], *roles),
        passing(account, *ROLES, services=["lambda", "sagemaker", "codebuild"]),
        statement("SeeTheBoundary", ["iam:GetPolicy", "iam:GetPolicyVersion"], bound),
        # whatever else they are allowed
        statement(
            "KeepTheBoundary",
            ["iam:DeleteRolePermissionsBoundary", *(f"iam:{operation}" for operation in kept)],
            f"iam::{account.account_id}:role/{account.name}-*",
            bound,
            effect="Deny",
        ),
    ]
