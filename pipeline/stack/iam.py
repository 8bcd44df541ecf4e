"""IAM's forms as values, and the ARNs that more than one policy names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.settings import Account

PARTITION = "aws"
ROLES = ("predict-api", "deploy-model", "execution", "image-build")
"""The roles of the template, by what is between the stack's name and the region."""


def policy(*statements: dict[str, Any]) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": list(statements)}


def statement(
    sid: str,
    actions: Sequence[str],
    *resources: str,
    condition: Mapping[str, Any] | None = None,
    effect: str = "Allow",
) -> dict[str, Any]:
    """A statement about resources, given without `arn:aws:`; without one, about all there are."""
    arns = [f"arn:{PARTITION}:{resource}" for resource in resources] or "*"
    stated = {"Sid": sid, "Effect": effect, "Action": list(actions), "Resource": arns}
    return stated if condition is None else {**stated, "Condition": dict(condition)}


def own_key(account: Account, sid: str, *actions: str) -> dict[str, Any]:
    """The stack's key, where it has one: known by its tag, as the ARN of a key holds no name."""
    return statement(
        sid,
        actions,
        f"kms:{account.region}:{account.account_id}:key/*",
        condition={"StringEquals": {"aws:ResourceTag/sagemaker:project-name": account.name}},
    )


def passing(account: Account, *roles: str, services: Sequence[str]) -> dict[str, Any]:
    """Handing roles of the stack to those services alone."""
    to = [f"{service}.amazonaws.com" for service in services]
    return statement(
        "HandThemOut",
        ["iam:PassRole"],
        *(role(account, one) for one in roles),
        condition={"StringEquals": {"iam:PassedToService": to}},
    )


def role(account: Account, which: str) -> str:
    """A role of the stack."""
    return f"iam::{account.account_id}:role/{account.name}-{which}-{account.region}"


def boundary_arn(account: Account) -> str:
    """The managed policy that bounds the stack's roles; boundary.py says what is in it."""
    return f"iam::{account.account_id}:policy/{boundary_name(account)}"


def boundary_name(account: Account) -> str:
    return f"{account.name}-boundary-{account.region}"


def sagemaker(account: Account, *resources: str) -> list[str]:
    return [f"sagemaker:{account.region}:{account.account_id}:{one}" for one in resources]
