"""Tags of SageMaker resources, by ARN."""

from __future__ import annotations

from pipeline.local.account import Account, answers
from pipeline.local.store import Document


@answers("sagemaker:AddTags")
def add_tags(account: Account, request: Document) -> Document:
    arn = request["ResourceArn"]
    with account.store.transaction():
        kept = (account.store.get("tags", arn) or {}).get("Tags", {})
        kept |= {tag["Key"]: tag["Value"] for tag in request["Tags"]}
        account.store.put("tags", arn, {"Tags": kept})
    return list_tags(account, request)


@answers("sagemaker:ListTags")
def list_tags(account: Account, request: Document) -> Document:
    kept = (account.store.get("tags", request["ResourceArn"]) or {}).get("Tags", {})
    return {"Tags": [{"Key": key, "Value": value} for key, value in kept.items()]}


@answers("sagemaker:DeleteTags")
def delete_tags(account: Account, request: Document) -> Document:
    def remove(document: Document) -> Document:
        return {"Tags": {k: v for k, v in document["Tags"].items() if k not in request["TagKeys"]}}

    account.store.change("tags", request["ResourceArn"], remove)
    return {}


def tag(account: Account, arn: str, request: Document) -> None:
    """Keep the tags that a Create request carries."""
    if request.get("Tags"):
        add_tags(account, {"ResourceArn": arn, "Tags": request["Tags"]})


def untag(account: Account, arn: str) -> None:
    """Forget the tags of a resource that is deleted: another of its name begins without."""
    account.store.delete("tags", arn)
