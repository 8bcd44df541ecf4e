"""Removes everything: what runs and costs first, then what the stack holds, then the stack.

Only what the stack made, and what was made under its name by the deploy function and by runs.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import IO, Any

from botocore import xform_name
from botocore.exceptions import ClientError

from pipeline.errors import StackError
from pipeline.stack.cloudformation import Stack
from pipeline.stack.requests import Request
from pipeline.target import Target

BATCH = 1000  # https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteObjects.html
MAX_WAIT_S = 1800.0
IN_FLIGHT = ("Creating", "Updating", "SystemUpdating", "RollingBack", "Deleting")
MISSING = ("could not find", "does not exist", "no scalable target found")
GONE = (
    "ResourceNotFound",
    "ResourceNotFoundException",
    "ObjectNotFoundException",
    "NoSuchBucket",
)


@dataclass(frozen=True)
class Item:
    """One thing that goes, and the request that removes it; None where the stack's end does."""

    kind: str
    name: str
    request: Request | None


@dataclass(frozen=True)
class Removal:
    """Everything that goes, in the order in which it does."""

    stack: str
    items: tuple[Item, ...]


def sagemaker(operation: str, **parameters: str) -> Request:
    """A request to SageMaker."""
    return Request("sagemaker", operation, parameters)


def stop_deploying(function: str) -> Request:
    """Let the deploy function run no more: it would make anew what is being removed."""
    parameters = {"FunctionName": function, "ReservedConcurrentExecutions": 0}
    return Request("lambda", "PutFunctionConcurrency", parameters)


def stop_scaling(endpoint: str) -> Request:
    """Take the endpoint out of autoscaling's hands."""
    parameters = {
        "ServiceNamespace": "sagemaker",
        "ResourceId": f"endpoint/{endpoint}/variant/AllTraffic",
        "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
    }
    return Request("application-autoscaling", "DeregisterScalableTarget", parameters)


def delete_objects(bucket: str, versions: list[dict[str, str]]) -> Request:
    """Delete up to 1,000 versions of objects."""
    parameters = {"Bucket": bucket, "Delete": {"Objects": versions, "Quiet": True}}
    return Request("s3", "DeleteObjects", parameters)


class Remover:
    """Lists and removes what belongs to one stack."""

    def __init__(
        self,
        target: Target,
        stack: Stack,
        talk: IO[str],
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._target = target
        self._stack = stack
        self._talk = talk
        self._sleep = sleep

    def plan(self) -> Removal | None:
        """What goes; None where there is nothing. Changes nothing.

        Without a stack, too, something may be left: what was made while the stack went.
        """
        held = self._held()
        items = (
            *self._function(held),
            *self._served(),
            *self._registered(),
            *(Item("objects in bucket", bucket, None) for bucket in _buckets(held)),
            *(Item(kind, name, None) for kind, name in held),
        )
        return Removal(self._stack.name, items) if items else None

    def remove(self) -> None:
        """Remove all of it; may be repeated after an interruption.

        Lists anew once the deploy function is still: an approval may have come since `plan`.
        """
        held = self._held()
        for item in self._function(held):
            self._delete(item)
            self._wait_for_calls(item.name)
        for item in (*self._served(), *self._registered()):
            self._delete(item)
        for bucket in _buckets(held):
            self._empty(bucket)
        if self._stack.look() is not None:
            print(f"deleting the stack {self._stack.name}", file=self._talk, flush=True)
            self._stack.delete()

    def _held(self) -> list[tuple[str, str]]:
        return [] if self._stack.wait_until_idle() is None else self._stack.resources()

    def _delete(self, item: Item) -> None:
        if item.kind == "endpoint":
            self._wait_until_settled(item.name)
        print(f"deleting {item.kind} {item.name}", file=self._talk, flush=True)
        if item.request is not None:
            self._send(item.request)
        if item.kind == "endpoint":
            self._wait_until_gone(item.name)

    def _function(self, held: list[tuple[str, str]]) -> Iterator[Item]:
        function = self._target.account.deploy_function
        if ("AWS::Lambda::Function", function) in held:
            yield Item("calls of", function, stop_deploying(function))

    def _wait_for_calls(self, function: str) -> None:
        """Stopping lets no call begin; one that has begun may go on for the function's timeout."""
        client = self._target.client("lambda")
        timeout_s = client.get_function_configuration(FunctionName=function)["Timeout"]
        print(f"waiting {timeout_s} s for calls under way", file=self._talk, flush=True)
        self._sleep(timeout_s)

    def _served(self) -> Iterator[Item]:
        """The endpoint, and the models and configs that the deploy function made for it."""
        client, name = self._target.client("sagemaker"), self._target.account.endpoint_name
        own = re.compile(rf"{re.escape(name)}-v\d+-[0-9a-f]{{10}}(-shadow|-[0-9a-f]{{8}})?")
        endpoints = _names(client, "list_endpoints", "Endpoints", "EndpointName", name)
        if name in endpoints:
            if self._is_scaled(name):
                yield Item("scaling of", name, stop_scaling(name))
            yield Item("endpoint", name, sagemaker("DeleteEndpoint", EndpointName=name))
        for kind, listing, member, key in (
            ("endpoint config", "list_endpoint_configs", "EndpointConfigs", "EndpointConfigName"),
            ("model", "list_models", "Models", "ModelName"),
        ):
            for one in _names(client, listing, member, key, name):
                if own.fullmatch(one):
                    operation = f"Delete{key.removesuffix('Name')}"
                    yield Item(kind, one, sagemaker(operation, **{key: one}))

    def _is_scaled(self, endpoint: str) -> bool:
        what = dict(stop_scaling(endpoint).parameters)
        ids = [what.pop("ResourceId")]
        scaling = self._target.client("application-autoscaling")
        return bool(scaling.describe_scalable_targets(ResourceIds=ids, **what)["ScalableTargets"])

    def _registered(self) -> Iterator[Item]:
        """The pipeline, and the versions in the registry, which keep their group from going."""
        client, account = self._target.client("sagemaker"), self._target.account
        pipelines = client.list_pipelines(PipelineNamePrefix=account.pipeline_name)
        for one in pipelines["PipelineSummaries"]:
            if one["PipelineName"] == account.pipeline_name:
                name = account.pipeline_name
                self._refuse_while_running(name)
                yield Item("pipeline", name, sagemaker("DeletePipeline", PipelineName=name))
        try:
            pages = client.get_paginator("list_model_packages").paginate(
                ModelPackageGroupName=account.model_package_group
            )
            for page in pages:
                for package in page["ModelPackageSummaryList"]:
                    arn = package["ModelPackageArn"]
                    request = sagemaker("DeleteModelPackage", ModelPackageName=arn)
                    yield Item("version", arn.rpartition("/")[2], request)
        except ClientError as error:
            if "does not exist" not in str(error):
                raise

    def _refuse_while_running(self, pipeline: str) -> None:
        pages = self._target.client("sagemaker").get_paginator("list_pipeline_executions")
        for page in pages.paginate(PipelineName=pipeline):
            for one in page["PipelineExecutionSummaries"]:
                if one["PipelineExecutionStatus"] in ("Executing", "Stopping"):
                    execution = one["PipelineExecutionArn"].rpartition("/")[2]
                    raise StackError(
                        f"execution {execution} is {one['PipelineExecutionStatus']}: wait for its "
                        "end, or stop it, and destroy then"
                    )

    def _wait_until_settled(self, endpoint: str) -> None:
        """SageMaker deletes no endpoint that it is changing.

        https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_DeleteEndpoint.html
        """
        deadline = time.monotonic() + MAX_WAIT_S
        while (status := self._status(endpoint)) in IN_FLIGHT:
            if time.monotonic() > deadline:
                raise StackError(f"endpoint {endpoint} is {status} after half an hour")
            self._sleep(self._target.poll_s)

    def _status(self, endpoint: str) -> str | None:
        request = sagemaker("DescribeEndpoint", EndpointName=endpoint)
        answer = self._send(request)
        return answer["EndpointStatus"] if answer else None

    def _wait_until_gone(self, endpoint: str) -> None:
        deadline = time.monotonic() + MAX_WAIT_S
        client = self._target.client("sagemaker")
        while endpoint in _names(client, "list_endpoints", "Endpoints", "EndpointName", endpoint):
            if time.monotonic() > deadline:
                raise StackError(f"endpoint {endpoint} is not gone after half an hour")
            self._sleep(self._target.poll_s)

    def _empty(self, bucket: str) -> None:
        s3, count = self._target.client("s3"), 0
        try:
            for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket):
                versions = [
                    {"Key": one["Key"], "VersionId": one["VersionId"]}
                    for kind in ("Versions", "DeleteMarkers")
                    for one in page.get(kind, [])
                ]
                for start in range(0, len(versions), BATCH):
                    answer = self._send(delete_objects(bucket, versions[start : start + BATCH]))
                    if answer and answer.get("Errors"):
                        first = answer["Errors"][0]
                        raise StackError(f"{first['Key']} in {bucket}: {first['Message']}")
                count += len(versions)
        except ClientError as error:
            if error.response["Error"]["Code"] != "NoSuchBucket":
                raise
        print(f"emptied {bucket}: {count} versions of objects", file=self._talk, flush=True)

    def _send(self, request: Request) -> Any:
        client = self._target.client(request.service)
        try:
            return getattr(client, xform_name(request.operation))(**request.parameters)
        except ClientError as error:
            message = str(error).lower()
            if (
                any(words in message for words in MISSING)
                or error.response["Error"]["Code"] in GONE
            ):
                return None
            raise


def _buckets(held: list[tuple[str, str]]) -> list[str]:
    return [name for kind, name in held if kind == "AWS::S3::Bucket" and name]


def _names(client: Any, listing: str, member: str, key: str, contained: str) -> list[str]:
    pages = client.get_paginator(listing).paginate(NameContains=contained)
    return [one[key] for page in pages for one in page[member]]
