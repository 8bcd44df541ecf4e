"""What a request to AWS needs to be allowed: each action, and on which resource."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

# the head of a file is read by the right to read it, a bucket's list by the right to that
OTHER_NAMES = {
    "s3:HeadObject": "s3:GetObject",
    "s3:HeadBucket": "s3:ListBucket",
    "s3:ListObjectsV2": "s3:ListBucket",
    "s3:ListObjectVersions": "s3:ListBucketVersions",
    "s3:DeleteObjects": "s3:DeleteObject",
}
# parameter of a request → ARN of what it names, without `arn:aws:`; {here} is region and account
ARNS: dict[str, Callable[[Any], str]] = {
    "StackName": "cloudformation:{{here}}:stack/{}/0".format,
    "FunctionName": "lambda:{{here}}:function:{}".format,
    "repositoryName": "ecr:{{here}}:repository/{}".format,
    "projectName": "codebuild:{{here}}:project/{}".format,
    "ids": lambda ids: f"codebuild:{{here}}:project/{ids[0].partition(':')[0]}",
    "EndpointName": "sagemaker:{{here}}:endpoint/{}".format,
    "EndpointConfigName": "sagemaker:{{here}}:endpoint-config/{}".format,
    "ModelName": "sagemaker:{{here}}:model/{}".format,
    "PipelineName": "sagemaker:{{here}}:pipeline/{}".format,
    "ModelPackageGroupName": "sagemaker:{{here}}:model-package-group/{}".format,
    **dict.fromkeys(
        ("ModelPackageName", "ModelPackageArn", "PipelineExecutionArn", "PolicyArn"),
        lambda arn: str(arn).removeprefix("arn:aws:"),
    ),
}


def asked(
    service: str, operation: str, parameters: Mapping[str, Any], here: str
) -> set[tuple[str, str]]:
    """The action of a request with each ARN that it names; "*" where it names nothing."""
    action = f"{service}:{operation}"
    action = OTHER_NAMES.get(action, action)
    named = [arn(parameters[name]) for name, arn in ARNS.items() if parameters.get(name)]
    if "Bucket" in parameters:
        key = f"/{parameters['Key']}" if "Key" in parameters else ""
        named.append(f"s3:::{parameters['Bucket']}{key}")
    arns = [f"arn:aws:{one.replace('{here}', here)}" for one in named]
    return {(action, arn) for arn in arns or ["*"]}
