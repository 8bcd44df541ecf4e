"""STS and IAM: who is asking, and roles that exist by being named."""

from __future__ import annotations

from pipeline.local.account import Account, answers
from pipeline.local.store import Document


@answers("sts:GetCallerIdentity")
def get_caller_identity(account: Account, request: Document) -> Document:
    return {
        "Account": account.id,
        "Arn": f"arn:aws:iam::{account.id}:user/local",
        "UserId": "local",
    }


@answers("iam:GetRole")
def get_role(account: Account, request: Document) -> Document:
    name = request["RoleName"]
    return {
        "Role": {
            "RoleName": name,
            "Arn": f"arn:aws:iam::{account.id}:role/{name}",
            "Path": "/",
            "RoleId": "local",
            "CreateDate": 0,
        }
    }


@answers("iam:SimulatePrincipalPolicy")
def simulate_principal_policy(account: Account, request: Document) -> Document:
    """Everything is allowed: policies have no effect here."""
    resources = request.get("ResourceArns", ["*"])
    return {
        "EvaluationResults": [
            {"EvalActionName": action, "EvalResourceName": resource, "EvalDecision": "allowed"}
            for action in request["ActionNames"]
            for resource in resources
        ],
        "IsTruncated": False,
    }
