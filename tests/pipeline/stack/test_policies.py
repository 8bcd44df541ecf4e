"""What the printed policies allow, and what they keep even an engineer of bad will from."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from itertools import chain, product
from typing import Any

import pytest

from pipeline.errors import StackError
from pipeline.settings import Account, Settings
from pipeline.stack import iam, policies
from pipeline.stack.boundary import boundary, refuse_unbounded
from tests.infrastructure.template import listed, resolved, resources, template
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


# What the template's conditions ask, each off and on
OPTIONS = {
    "AlarmEmail": ("", "a@example.org"),
    "AlarmOnSilence": ("false", "true"),
    "DataBucket": ("", "my-reviews"),
    "DeployCodeKey": ("", "deploy.zip"),
    "EncryptWithKmsKey": ("false", "true"),
    "EndpointMode": ("Serverless", "RealTime"),
    "KeepFeedback": ("false", "true"),
    "MonthlyBudgetUsd": ("0", "10"),
    "PredictCodeKey": ("", "predict.zip"),
    "PredictConcurrency": ("0", "50"),
    "WafRequestsPer5Minutes": ("0", "500"),
}
Right = tuple[str, str, tuple[tuple[str, str], ...]]


def asked_for(role: str, given: Mapping[str, str]) -> set[Right]:
    """Each action of a role's policies, on what, and in which circumstances."""
    policies_of_role = resolved(TEMPLATE_ROLES[role]["Policies"], {"Name": ACCOUNT.name, **given})
    return {
        (action, arn, tuple((key, listed(value)[0]) for key, value in conditions.items()))
        for policy in policies_of_role
        for statement in policy["PolicyDocument"]["Statement"]
        for conditions in [dict(chain(*map(dict.items, statement.get("Condition", {}).values())))]
        for action in listed(statement["Action"])
        for arn in listed(statement["Resource"])
    }


def every_set_of_options(role: str) -> Iterator[dict[str, str]]:
    """Of those that make a difference to a role, whether all the others are off or on."""
    makes_one = {}
    for which, name in product((0, 1), OPTIONS):
        others = {other: values[which] for other, values in OPTIONS.items()}
        off, on = ({**others, name: value} for value in OPTIONS[name])
        if asked_for(role, off) != asked_for(role, on):
            makes_one[name] = OPTIONS[name]
    for values in product(*makes_one.values()):
        yield dict(zip(makes_one, values, strict=True))


def referred_to(value: Any) -> set[str]:
    """The parameters in a condition."""
    if isinstance(value, dict) and "Ref" in value:
        return {value["Ref"]}
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return set().union(*map(referred_to, parts))


def refused(bound: dict[str, Any], rights: set[Right]) -> list[Right]:
    """What a boundary takes away; the stack's key is known by its tag."""
    return [
        (action, arn, context)
        for action, arn, context in sorted(rights)
        if not allows(bound, action, arn, {**dict(context), **OWN_KEY})
    ]


@pytest.mark.parametrize("role", TEMPLATE_ROLES)
def test_every_role_of_the_stack_carries_the_boundary(role: str) -> None:
    properties = resolved(TEMPLATE_ROLES[role], {"Name": ACCOUNT.name})
    assert properties["PermissionsBoundary"] == BOUND
    assert f"arn:aws:iam::123456789012:role/{properties['RoleName']}" in ROLES


@pytest.mark.parametrize("role", TEMPLATE_ROLES)
def test_the_boundary_leaves_a_role_all_that_the_template_gives_it_by_any_set_of_options(
    role: str,
) -> None:
    assert referred_to(template()["Conditions"]) == {*OPTIONS}
    asked: defaultdict[str, set[Right]] = defaultdict(set)
    for given in every_set_of_options(role):
        asked[given.get("DataBucket", "")] |= asked_for(role, given)
    for bucket, rights in asked.items():
        assert any(action.startswith("kms:") for action, _, _ in rights)
        assert refused(boundary(ACCOUNT, bucket), rights) == []


def test_a_boundary_without_the_other_bucket_takes_it_from_runs() -> None:
    rights = asked_for("ExecutionRole", {"DataBucket": "my-reviews"})
    taken = {arn for _, arn, _ in refused(boundary(ACCOUNT), rights)}
    assert taken == {"arn:aws:s3:::my-reviews", "arn:aws:s3:::my-reviews/*"}


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


def remake_boundary(cloud: Cloud, document: dict[str, Any]) -> None:
    client = cloud.target.client("iam")
    for version in client.list_policy_versions(PolicyArn=BOUND)["Versions"]:
        if not version["IsDefaultVersion"]:  # IAM keeps five
            client.delete_policy_version(PolicyArn=BOUND, VersionId=version["VersionId"])
    client.create_policy_version(
        PolicyArn=BOUND, PolicyDocument=json.dumps(document), SetAsDefault=True
    )


def test_a_boundary_that_lacks_one_right_is_refused_with_what_to_do(cloud: Cloud) -> None:
    whole = boundary(cloud.target.account)["Statement"]
    for place, statement in enumerate(whole):
        less = {**statement, "Action": statement["Action"][1:] or ["none:Such"]}
        rest = [*whole[:place], less, *whole[place + 1 :]]
        remake_boundary(cloud, {"Version": "2012-10-17", "Statement": rest})
        with pytest.raises(StackError, match=rf"lacks {less['Sid']}, .*create-policy-version"):
            refuse_unbounded(cloud.target)


@pytest.mark.filterwarnings("ignore:Tried to parse .* not supported by moto")
def test_another_bucket_that_the_boundary_lacks_is_refused_before_anything_is_made(
    cloud: Cloud,
) -> None:
    cloud.changes()
    with pytest.raises(StackError, match=r"lacks ReadReviewsElsewhere, .*--data-bucket my-reviews"):
        cloud.deployment(DataBucket="my-reviews").deploy()
    assert cloud.changes() == []


def test_a_boundary_in_other_words_is_taken_where_it_holds_all_that_is_needed(
    cloud: Cloud,
) -> None:
    both, one = boundary(cloud.target.account, "my-reviews"), "arn:aws:s3:::their-reviews"
    for statement in both["Statement"]:
        statement["Sid"] = f"Our{statement['Sid']}"
        if statement["Sid"] == "OurReadReviewsElsewhere":
            statement["Resource"] += [one, f"{one}/*"]
        elif len(statement["Action"]) == 1:
            (statement["Action"],) = statement["Action"]
    remake_boundary(cloud, both)
    for bucket in ("", "my-reviews", "their-reviews"):
        refuse_unbounded(cloud.target, bucket)


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
