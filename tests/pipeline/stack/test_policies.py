"""What the printed policies allow, and what they keep even an engineer of bad will from."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from pipeline.errors import StackError
from pipeline.settings import Account, Settings
from pipeline.stack import iam, policies
from pipeline.stack.boundary import boundary
from tests.infrastructure.template import listed, resolved, resources, statements
from tests.pipeline.stack.conftest import Cloud
from tests.pipeline.stack.evaluation import allows

ACCOUNT = Settings(target="aws").account("123456789012")
HERE = "us-east-1:123456789012"
BOUND = f"arn:aws:{iam.boundary_arn(ACCOUNT)}"
ROLES = [f"arn:aws:{iam.role(ACCOUNT, which)}" for which in iam.ROLES]
ENGINEER, BOUNDARY = policies.engineer(ACCOUNT), boundary(ACCOUNT, "my-reviews")
EVERYTHING = {"Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
OWN_KEY = {"aws:ResourceTag/sagemaker:project-name": "sentiment-dev"}
TEMPLATE_ROLES = resources("AWS::IAM::Role")
# What IAM lets a boundary make a condition of:
# https://docs.aws.amazon.com/service-authorization/latest/reference/list_awsidentityandaccessmanagementiam.html
BOUNDED = ("iam:CreateRole", "iam:PutRolePolicy", "iam:PutRolePermissionsBoundary")


def asked_for(role: str) -> list[tuple[str, str, dict[str, str]]]:
    """Each action of a role's policies with all options, on what, and in which circumstances."""
    given = {
        "Name": ACCOUNT.name,
        "DataBucket": "my-reviews",
        "EncryptWithKmsKey": "true",
        "KeepFeedback": "true",
    }
    return [
        (action, arn, {key: listed(value)[0] for one in conditions for key, value in one.items()})
        for policy in TEMPLATE_ROLES[role]["Policies"]
        for statement in statements(policy["PolicyDocument"])
        for conditions in [statement.get("Condition", {}).values()]
        for action in listed(statement["Action"])
        for arn in listed(resolved(statement["Resource"], given))
    ]


@pytest.mark.parametrize("role", TEMPLATE_ROLES)
def test_every_role_of_the_stack_carries_the_boundary(role: str) -> None:
    properties = resolved(TEMPLATE_ROLES[role], {"Name": ACCOUNT.name})
    assert properties["PermissionsBoundary"] == BOUND
    assert f"arn:aws:iam::123456789012:role/{properties['RoleName']}" in ROLES


@pytest.mark.parametrize("role", TEMPLATE_ROLES)
def test_the_boundary_leaves_a_role_all_that_the_template_gives_it(role: str) -> None:
    asked = asked_for(role)
    assert len(asked) > 3
    assert any(action.startswith("kms:") for action, _, _ in asked)
    refused = [
        (action, arn)
        for action, arn, context in asked
        if not allows(BOUNDARY, action, arn, {**context, **OWN_KEY})
    ]
    assert refused == []


@pytest.mark.parametrize("action", BOUNDED)
@pytest.mark.parametrize("role", ROLES)
def test_an_engineer_writes_roles_with_the_boundary_only(role: str, action: str) -> None:
    elsewhere = "arn:aws:iam::123456789012:policy/of-my-own"
    assert allows(ENGINEER, action, role, {"iam:PermissionsBoundary": BOUND})
    assert not allows(ENGINEER, action, role)
    assert not allows(ENGINEER, action, role, {"iam:PermissionsBoundary": elsewhere})
    another = "arn:aws:iam::123456789012:role/sentiment-dev-admin"
    assert not allows(ENGINEER, action, another, {"iam:PermissionsBoundary": BOUND})


@pytest.mark.parametrize(
    ("action", "arn"),
    [
        *(("iam:DeleteRolePermissionsBoundary", role) for role in ROLES),
        ("iam:CreatePolicyVersion", BOUND),
        ("iam:SetDefaultPolicyVersion", BOUND),
        ("iam:DeletePolicyVersion", BOUND),
        ("iam:DeletePolicy", BOUND),
    ],
)
def test_an_engineer_can_neither_take_the_boundary_away_nor_change_it(
    action: str, arn: str
) -> None:
    assert not allows(ENGINEER, action, arn, {"iam:PermissionsBoundary": BOUND})
    whatever_else = {"Statement": [*ENGINEER["Statement"], *EVERYTHING["Statement"]]}
    assert not allows(whatever_else, action, arn)
    assert allows(EVERYTHING, action, arn)


@pytest.mark.parametrize(
    ("action", "arn"),
    [
        ("iam:AttachRolePolicy", ROLES[0]),
        ("iam:CreatePolicy", "arn:aws:iam::123456789012:policy/sentiment-dev-more"),
        ("iam:PutUserPolicy", "arn:aws:iam::123456789012:user/engineer"),
        ("iam:CreateAccessKey", "arn:aws:iam::123456789012:user/administrator"),
        ("iam:UpdateAssumeRolePolicy", "arn:aws:iam::123456789012:role/administrator"),
        ("iam:PassRole", "arn:aws:iam::123456789012:role/administrator"),
        ("sts:AssumeRole", "arn:aws:iam::123456789012:role/administrator"),
        ("lambda:UpdateFunctionCode", f"arn:aws:lambda:{HERE}:function:sentiment-dev-of-others"),
        ("kms:PutKeyPolicy", f"arn:aws:kms:{HERE}:key/of-others"),
        ("kms:TagResource", f"arn:aws:kms:{HERE}:key/of-others"),
        ("kms:Decrypt", f"arn:aws:kms:{HERE}:key/of-others"),
    ],
)
def test_an_engineer_has_no_other_way_to_more_rights(action: str, arn: str) -> None:
    to_lambda = {"iam:PassedToService": "lambda.amazonaws.com", "iam:PermissionsBoundary": BOUND}
    assert not allows(ENGINEER, action, arn, to_lambda)
    # nor by a function under a role that they have given all rights
    assert not allows(BOUNDARY, action, arn, to_lambda)


@pytest.mark.parametrize("service", ["lambda", "sagemaker", "codebuild"])
def test_an_engineer_hands_the_stacks_roles_to_the_services_that_take_them(service: str) -> None:
    for role in ROLES:
        assert allows(
            ENGINEER, "iam:PassRole", role, {"iam:PassedToService": f"{service}.amazonaws.com"}
        )
        assert not allows(
            ENGINEER, "iam:PassRole", role, {"iam:PassedToService": "ec2.amazonaws.com"}
        )


def test_a_role_with_all_rights_that_the_boundary_leaves_is_not_more_than_an_engineer() -> None:
    """But for what only a service's own role is asked for."""
    more = {
        (action, arn)
        for statement in BOUNDARY["Statement"]
        for action in statement["Action"]
        for arn in listed(statement["Resource"])
        if not allows(
            ENGINEER,
            action,
            arn,
            {**OWN_KEY, "iam:PassedToService": "sagemaker.amazonaws.com"},
        )
    }
    assert {action for action, _ in more} == {
        *(f"s3:{operation}" for operation in ("GetObject", "ListBucket", "GetBucketLocation")),
        "application-autoscaling:*",
        "application-autoscaling:Describe*",
        "cloudwatch:PutMetricData",
        "ecr:BatchCheckLayerAvailability",
        "ecr:BatchGetImage",
        "ecr:GetAuthorizationToken",
        "ecr:GetDownloadUrlForLayer",
        "iam:CreateServiceLinkedRole",
        "xray:PutTelemetryRecords",
        "xray:PutTraceSegments",
    }
    elsewhere = {arn for action, arn in more if action.startswith("s3:")}
    assert elsewhere == {"arn:aws:s3:::my-reviews", "arn:aws:s3:::my-reviews/*"}
    ecr = {arn.rpartition("/")[2] for action, arn in more if action.startswith("ecr:B")}
    assert ecr == {"pytorch*"}


def test_another_bucket_is_read_only_where_the_administrator_has_named_it() -> None:
    arn = "arn:aws:s3:::my-reviews/train.tsv"
    assert allows(BOUNDARY, "s3:GetObject", arn)
    assert not allows(BOUNDARY, "s3:PutObject", arn)
    assert not allows(boundary(ACCOUNT), "s3:GetObject", arn)


@pytest.mark.filterwarnings("ignore:Tried to parse .* not supported by moto")
def test_a_deployment_without_the_boundary_says_who_makes_it_and_changes_nothing(
    cloud: Cloud,
) -> None:
    cloud.target.client("iam").delete_policy(PolicyArn=BOUND)
    cloud.changes()
    with pytest.raises(StackError, match=r"no policy sentiment-dev-boundary-us-east-1.*create-pol"):
        cloud.deployment().deploy()
    assert cloud.changes() == []
    assert cloud.deployment().plan()


# https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html
@pytest.mark.parametrize("stage", ["dev", "prod"])
@pytest.mark.parametrize("made", [policies.engineer, policies.reviewer, boundary])
def test_a_policy_is_no_longer_than_iam_takes(
    made: Callable[[Account], dict[str, Any]], stage: str
) -> None:
    account = Settings(target="aws", stage=stage, region="ap-southeast-2").account("123456789012")
    assert len(json.dumps(made(account), separators=(",", ":"))) <= 6144


def test_an_engineer_is_bound_to_the_stack_by_name() -> None:
    for one in ENGINEER["Statement"]:
        if any(action.endswith(":*") for action in one["Action"]):
            assert one["Resource"] != "*", one["Sid"]


def test_a_reviewer_may_change_versions_and_nothing_else() -> None:
    policy = policies.reviewer(ACCOUNT)
    actions = {action for one in policy["Statement"] for action in one["Action"]}
    changing = {a for a in actions if not a.split(":")[1].startswith(("List", "Describe", "Get"))}
    assert changing == {"sagemaker:UpdateModelPackage", "kms:Decrypt"}  # that changes nothing
    assert not [one for one in policy["Statement"] if one["Resource"] == "*"]


def test_a_reviewer_is_told_a_missing_report_from_a_forbidden_one() -> None:
    policy = policies.reviewer(ACCOUNT)
    (listing,) = [one for one in policy["Statement"] if "s3:ListBucket" in one["Action"]]
    assert "Condition" not in listing


@pytest.mark.parametrize("role", [policies.engineer, policies.reviewer])
def test_the_stacks_own_key_is_used_by_those_who_read_the_buckets_and_no_other_key(
    role: Callable[[Account], dict[str, Any]],
) -> None:
    key = f"arn:aws:kms:{HERE}:key/1"
    assert allows(role(ACCOUNT), "kms:Decrypt", key, OWN_KEY)
    assert not allows(role(ACCOUNT), "kms:Decrypt", key)


@pytest.mark.parametrize("action", ["CreateKey", "TagResource", "EnableKeyRotation"])
def test_a_key_is_made_by_cloudformation_alone(action: str) -> None:
    by_stack = {"aws:CalledVia": "cloudformation.amazonaws.com"}
    assert allows(ENGINEER, f"kms:{action}", "*", by_stack)
    assert not allows(ENGINEER, f"kms:{action}", "*")


def test_an_engineer_may_set_what_becomes_of_events_that_a_function_failed_on() -> None:
    latest = f"arn:aws:lambda:{HERE}:function:sentiment-dev-deploy-model:$LATEST"
    assert allows(ENGINEER, "lambda:PutFunctionEventInvokeConfig", latest)


def test_an_engineer_may_start_the_job_that_evaluates_a_version() -> None:
    job = f"arn:aws:sagemaker:{HERE}:processing-job/sentiment-evaluate-v1-0"
    assert allows(ENGINEER, "sagemaker:CreateProcessingJob", job)


@pytest.mark.parametrize(
    "action",
    [
        *(f"logs:{one}LogDelivery" for one in ("Create", "Get", "Update", "Delete")),
        "logs:ListLogDeliveries",
        "logs:PutResourcePolicy",
        "logs:DescribeResourcePolicies",
        "cloudfront:TagResource",
        "cloudfront:UntagResource",
        "cloudfront:ListTagsForResource",
        # CloudFormation reads, changes and ends a subscription, which has no name of ours
        "sns:GetSubscriptionAttributes",
        "sns:SetSubscriptionAttributes",
        "sns:Unsubscribe",
    ],
)
def test_an_engineer_may_make_what_the_services_ask_more_than_one_right_for(action: str) -> None:
    assert allows(ENGINEER, action, "*")
