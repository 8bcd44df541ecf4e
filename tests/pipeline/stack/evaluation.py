"""What IAM makes of policies, as far as ours go: an allow that no deny takes back.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html
"""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

from tests.infrastructure.template import listed

Context = Mapping[str, str]


def allows(
    policy: Mapping[str, Any], action: str, arn: str, context: Context | None = None
) -> bool:
    """Whether a policy by itself allows an action on one resource."""
    effects = {
        statement["Effect"]
        for statement in policy["Statement"]
        if _is_about(statement, action, arn) and _holds(statement, context or {})
    }
    return effects == {"Allow"}


def _is_about(statement: Mapping[str, Any], action: str, arn: str) -> bool:
    actions, resources = listed(statement["Action"]), listed(statement["Resource"])
    return any(fnmatchcase(action.lower(), one.lower()) for one in actions) and any(
        fnmatchcase(arn, one) for one in resources
    )


def _holds(statement: Mapping[str, Any], context: Context) -> bool:
    """Whether its conditions do; a key that the request has not got fails each of these."""
    for operator, conditions in statement.get("Condition", {}).items():
        assert operator in ("StringEquals", "StringLike", "ForAnyValue:StringEquals"), operator
        for key, values in conditions.items():
            matches = fnmatchcase if operator == "StringLike" else str.__eq__
            if not any(matches(context.get(key, ""), value) for value in listed(values)):
                return False
    return True
