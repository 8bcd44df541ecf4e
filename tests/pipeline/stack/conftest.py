"""An AWS account by moto, and by hand what moto's CloudFormation has no answer for.

moto makes buckets, functions, roles, rules, queue, topic, repository and log groups from the
template. It knows no outputs of resources that it skips, no CodeBuild project, no distribution and
no model package group: those are made through their own APIs, which moto has.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from io import StringIO
from typing import Any

import pytest
from botocore.awsrequest import AWSResponse
from moto import mock_aws

from pipeline.packages import image_tag
from pipeline.settings import ROOT, Settings
from pipeline.stack.boundary import boundary
from pipeline.stack.deployment import Deployment, wish
from pipeline.stack.iam import boundary_name
from pipeline.target import Target, open_target
from tests.infrastructure.template import template
from tests.pipeline.asking import asked

NAME = "sentiment-dev"
DIGEST = f"sha256:{'a' * 64}"
SERVICES = (
    "cloudformation",
    "codebuild",
    "ecr",
    "s3",
    "cloudfront",
    "cloudwatch",
    "sagemaker",
    "lambda",
    "application-autoscaling",
    "iam",
)
OUTPUTS = {
    "ArtifactBucket": f"{NAME}-us-east-1-123456789012",
    "WebsiteBucket": f"{NAME}-website-us-east-1-123456789012",
    "ImageRepository": f"123456789012.dkr.ecr.us-east-1.amazonaws.com/{NAME}-inference",
    "ImageBuild": f"{NAME}-inference",
    "Url": "https://d111111abcdef8.cloudfront.net",
}
HERE = "us-east-1:123456789012"


class Cloud:
    """The account, and what happened in it."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.talk = StringIO()
        self.sent: list[str] = []
        self.distribution = self._make_distribution()
        target.client("iam").create_policy(  # as an administrator does, once
            PolicyName=boundary_name(target.account),
            PolicyDocument=json.dumps(boundary(target.account)),
        )
        target.client("codebuild").create_project(
            name=f"{NAME}-inference",
            source={"type": "S3", "location": "bucket/none.zip"},
            artifacts={"type": "NO_ARTIFACTS"},
            environment={
                "type": "LINUX_CONTAINER",
                "image": "i",
                "computeType": "BUILD_GENERAL1_MEDIUM",
            },
            serviceRole=f"arn:aws:iam::123456789012:role/{NAME}-image-build",
        )
        events = target.client("cloudformation").meta.events
        events.register("after-call.cloudformation.DescribeStacks", self._add_outputs)
        target.client("codebuild").meta.events.register(
            "after-call.codebuild.StartBuild", self._push
        )
        events.register("before-call.cloudformation.DeleteStack", self._empty_repository)
        self.deleted_versions: list[str] = []
        target.client("sagemaker").meta.events.register(
            "before-call.sagemaker.DeleteModelPackage", self._delete_version
        )
        self.asked: set[tuple[str, str]] = set()
        """Each action, and the ARN it was asked for; "*" where it names nothing."""
        for service in SERVICES:
            events = target.client(service).meta.events
            events.register("before-call", self._note)
            events.register("provide-client-params", partial(self._ask, service))

    def deployment(self, **parameters: str) -> Deployment:
        wanted = wish(ROOT, NAME, "dev", "abc123", parameters)
        return Deployment(self.target, wanted, ROOT, self.talk, sleep=lambda _: None)

    def changes(self) -> list[str]:
        """What was sent since this was asked last, but for what only looks."""
        looks = ("Describe", "List", "Get", "Head", "BatchGet")
        found = [operation for operation in self.sent if not operation.startswith(looks)]
        self.sent.clear()
        return found

    def _note(self, model: Any, **_: Any) -> None:
        self.sent.append(model.name)

    def _ask(self, service: str, params: dict[str, Any], model: Any, **_: Any) -> None:
        self.asked |= asked(service, model.name, params, HERE)

    def _make_distribution(self) -> str:
        made = self.target.client("cloudfront").create_distribution(
            DistributionConfig={
                "CallerReference": "1",
                "Comment": NAME,
                "Enabled": True,
                "Origins": {
                    "Quantity": 1,
                    "Items": [
                        {
                            "Id": "o",
                            "DomainName": "b.s3.amazonaws.com",
                            "S3OriginConfig": {"OriginAccessIdentity": ""},
                        }
                    ],
                },
                "DefaultCacheBehavior": {
                    "TargetOriginId": "o",
                    "ViewerProtocolPolicy": "https-only",
                },
            }
        )
        found: str = made["Distribution"]["Id"]
        return found

    def _add_outputs(self, parsed: dict[str, Any], **_: Any) -> None:
        outputs = {**OUTPUTS, "DistributionId": self.distribution}
        assert {*outputs, "ImageUri"} <= {*template()["Outputs"]}, "an output the template lacks"
        for stack in parsed.get("Stacks", []):
            image = [p for p in stack.get("Parameters", []) if p["ParameterKey"] == "ImageUri"]
            outputs["ImageUri"] = (image[0].get("ParameterValue") if image else "") or "none"
            stack["Outputs"] = [
                {"OutputKey": key, "OutputValue": value} for key, value in outputs.items()
            ]

    def _delete_version(self, params: dict[str, Any], **_: Any) -> tuple[AWSResponse, Any]:
        """moto has no DeleteModelPackage."""
        self.deleted_versions.append(json.loads(params["body"])["ModelPackageName"])
        return AWSResponse("https://sagemaker", 200, {}, None), {}

    def _empty_repository(self, **_: Any) -> None:
        """EmptyOnDelete of the template, which moto does not know."""
        ecr, name = self.target.client("ecr"), f"{NAME}-inference"
        with suppress(ecr.exceptions.RepositoryNotFoundException):
            images = ecr.list_images(repositoryName=name)["imageIds"]
            ecr.batch_delete_image(repositoryName=name, imageIds=images)

    def _push(self, **_: Any) -> None:
        """What the build does in the end."""
        docker = "application/vnd.docker"
        part = {"mediaType": f"{docker}.container.image.v1+json", "size": 1, "digest": DIGEST}
        manifest = {
            "schemaVersion": 2,
            "mediaType": f"{docker}.distribution.manifest.v2+json",
            "config": part,
            "layers": [{**part, "mediaType": f"{docker}.image.rootfs.diff.tar.gzip"}],
        }
        self.target.client("ecr").put_image(
            repositoryName=f"{NAME}-inference",
            imageManifest=json.dumps(manifest),
            imageTag=image_tag(ROOT),
        )


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    for key in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(key, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with mock_aws():
        target = open_target(Settings(target="aws", region="us-east-1"))
        yield Cloud(replace(target, poll_s=0.0))
