"""Every request of a deployment as a value: pure functions, checked by tests, sent later."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

# https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/cloudformation-limits.html
TEMPLATE_BYTES = 51_200
# Long enough at the edge, and looked at anew by a browser each time: a deployment shows at once.
CACHE_CONTROL = "public, max-age=0, s-maxage=86400, must-revalidate"
PUBLISHING = "source/website/publishing"
CONTENT_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".json": "application/json; charset=utf-8",
    ".svg": "image/svg+xml",
}


@dataclass(frozen=True)
class Request:
    """One call: boto3's service, operation, parameters."""

    service: str
    operation: str
    parameters: Mapping[str, Any] = field(hash=False)

    def as_json(self) -> dict[str, Any]:
        """The request for a reader: bytes are told by their number."""
        shown = {
            key: f"<{len(value)} bytes>" if isinstance(value, bytes) else value
            for key, value in self.parameters.items()
        }
        if "TemplateBody" in shown:
            shown["TemplateBody"] = f"<{len(shown['TemplateBody'])} characters>"
        return {"service": self.service, "operation": self.operation, "parameters": shown}


def create_change_set(
    name: str,
    template: str,
    parameters: Mapping[str, str],
    *,
    tags: Mapping[str, str],
    exists: bool,
    kept: Sequence[str] = (),
) -> Request:
    """A change set of the stack; `kept` parameters have the value that they had."""
    given = [{"ParameterKey": key, "ParameterValue": parameters[key]} for key in sorted(parameters)]
    previous = [
        {"ParameterKey": key, "UsePreviousValue": True}
        for key in sorted(kept)
        if key not in parameters
    ]
    content = {
        "StackName": name,
        "ChangeSetType": "UPDATE" if exists else "CREATE",
        "TemplateBody": template,
        "Parameters": [*given, *previous],
        "Capabilities": ["CAPABILITY_NAMED_IAM"],
        "Tags": [{"Key": key, "Value": tags[key]} for key in sorted(tags)],
    }
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    change_set = {"ChangeSetName": f"sentiment-{digest[:16]}", **content}
    return Request("cloudformation", "CreateChangeSet", change_set)


def execute_change_set(stack: str, change_set: str) -> Request:
    parameters = {"StackName": stack, "ChangeSetName": change_set}
    return Request("cloudformation", "ExecuteChangeSet", parameters)


def delete_change_set(stack: str, change_set: str) -> Request:
    parameters = {"StackName": stack, "ChangeSetName": change_set}
    return Request("cloudformation", "DeleteChangeSet", parameters)


def delete_stack(name: str) -> Request:
    return Request("cloudformation", "DeleteStack", {"StackName": name})


def put_package(bucket: str, key: str, content: bytes) -> Request:
    return Request("s3", "PutObject", {"Bucket": bucket, "Key": key, "Body": content})


def start_build(project: str, bucket: str, source_key: str, tag: str) -> Request:
    """Build and push the serving image under a tag that says what it is built from."""
    return Request(
        "codebuild",
        "StartBuild",
        {
            "projectName": project,
            "sourceLocationOverride": f"{bucket}/{source_key}",
            "environmentVariablesOverride": [{"name": "IMAGE_TAG", "value": tag}],
        },
    )


def resume_deploying(function: str, executions: int | None) -> Request:
    """Let the deploy function run again, where an interrupted removal has stopped it.

    `executions` are reserved for it; None reserves none.
    """
    if executions is None:
        return Request("lambda", "DeleteFunctionConcurrency", {"FunctionName": function})
    parameters = {"FunctionName": function, "ReservedConcurrentExecutions": executions}
    return Request("lambda", "PutFunctionConcurrency", parameters)


def begin_publishing(bucket: str) -> Request:
    """Note that the site's files change: the edge has not been told until the note is gone."""
    return put_package(bucket, PUBLISHING, b"")


def end_publishing(bucket: str) -> Request:
    return Request("s3", "DeleteObject", {"Bucket": bucket, "Key": PUBLISHING})


def website_files(bucket: str, files: Mapping[str, bytes]) -> tuple[Request, ...]:
    """The site's files; the page comes last, so that what it asks for is there before it."""
    names = sorted(files, key=lambda name: (name == "index.html", name))
    return tuple(
        Request(
            "s3",
            "PutObject",
            {
                "Bucket": bucket,
                "Key": name,
                "Body": files[name],
                "ContentType": CONTENT_TYPES[name[name.rindex(".") :]],
                "CacheControl": CACHE_CONTROL,
            },
        )
        for name in names
    )


def invalidate(distribution: str, reference: str) -> Request:
    """Have the edge ask for the site anew; the same reference asks once."""
    batch = {"Paths": {"Quantity": 1, "Items": ["/*"]}, "CallerReference": reference}
    parameters = {"DistributionId": distribution, "InvalidationBatch": batch}
    return Request("cloudfront", "CreateInvalidation", parameters)


def compact(template: str) -> str:
    """The template without comment lines and what only scanners read.

    Both count towards the limit of a request, and CloudFormation does nothing with them.
    """
    without_comments = re.sub(r"^ *#.*\n", "", template, flags=re.MULTILINE)
    return re.sub(r"^    Metadata:.*\n(?: {6,}.*\n)*", "", without_comments, flags=re.MULTILINE)
