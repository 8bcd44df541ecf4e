"""A SageMaker that lives in memory, behind a real boto3 client.

boto3 builds and checks each request as it would for AWS; the answer comes from here. Time passes
only when something is asked, and an endpoint's change ends only when a test says so.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from threading import RLock
from typing import Any

import boto3
from botocore.awsrequest import AWSResponse
from botocore.model import ListShape, MapShape, OperationModel, Shape, StringShape, StructureShape

ROLE = "arn:aws:iam::000000000000:role/sentiment-execution"
ARN = "arn:aws:sagemaker:us-east-1:000000000000"
BROKEN = ("Failed", "OutOfService")

# one for all tests: reading SageMaker's service model takes half a second
SESSION = boto3.session.Session(
    aws_access_key_id="testing",
    aws_secret_access_key="testing",  # noqa: S106
)

Answer = dict[str, Any]


class Refused(Exception):
    """The service's own refusal; the client sees a ClientError."""


class Killed(BaseException):
    """The function died at this very point, as by kill -9."""


@dataclass
class Package:
    version: int
    status: str
    created_at: datetime
    modified_at: datetime | None = None

    @property
    def arn(self) -> str:
        return f"{ARN}:model-package/sentiment/{self.version}"


@dataclass
class Endpoint:
    status: str
    config: str
    modified_at: datetime
    wanted: str
    failure_reason: str = ""


@dataclass
class World:
    """The account. `bad` versions never become healthy."""

    packages: dict[int, Package] = field(default_factory=dict)
    models: dict[str, Answer] = field(default_factory=dict)
    configs: dict[str, Answer] = field(default_factory=dict)
    endpoint: Endpoint | None = None
    bad: set[int] = field(default_factory=set)
    updates: int = 0
    sent: list[tuple[str, Mapping[str, Any]]] = field(default_factory=list)
    kill_before: int | None = None
    kill_after: int | None = None
    interfere: Callable[[str], None] = lambda operation: None
    clock: datetime = datetime(2026, 3, 1, tzinfo=UTC)
    lock: Any = field(default_factory=RLock)

    # what people and SageMaker do

    def register(self, status: str = "PendingManualApproval") -> int:
        version = len(self.packages) + 1
        self.packages[version] = Package(version, status, self.tick())
        return version

    def review(self, version: int, status: str) -> None:
        self.packages[version].status = status
        self.packages[version].modified_at = self.tick()

    def settle(self) -> None:
        """Let whatever the endpoint is doing come to its end, well or badly."""
        endpoint = self.endpoint
        if endpoint is None:
            return
        if endpoint.status == "Deleting":
            self.endpoint = None
        elif endpoint.status in ("Creating", "Updating"):
            healthy = self.version_of(endpoint.wanted) not in self.bad
            if healthy:
                endpoint.config = endpoint.wanted
            endpoint.failure_reason = "" if healthy else "did not pass the ping health check"
            failed = endpoint.status == "Creating" and not healthy
            endpoint.status = "Failed" if failed else "InService"
            endpoint.modified_at = self.tick()

    def in_flight(self) -> bool:
        return self.endpoint is not None and self.endpoint.status not in ("InService", *BROKEN)

    def served(self) -> int | None:
        if self.endpoint is None or self.endpoint.status in (*BROKEN, "Creating", "Deleting"):
            return None
        return self.version_of(self.endpoint.config)

    def version_of(self, config: str) -> int:
        model = self.models[self.configs[config]["ProductionVariants"][0]["ModelName"]]
        return int(model["PrimaryContainer"]["ModelPackageName"].rpartition("/")[2])

    def tick(self) -> datetime:
        self.clock += timedelta(milliseconds=1)
        return self.clock

    def changes(self) -> list[str]:
        return [operation for operation, _ in self.sent]

    # the wire

    def client(self) -> Any:
        client = SESSION.client("sagemaker", region_name="us-east-1")
        client.meta.events.register("before-parameter-build.sagemaker", _keep_parameters)
        client.meta.events.register("before-call.sagemaker", self._answer)
        return client

    def _answer(
        self, model: OperationModel, context: dict[str, Any], **_: Any
    ) -> tuple[AWSResponse, Answer]:
        parameters = context["parameters"]
        breaches = violations(model.input_shape, parameters) if model.input_shape else []
        assert not breaches, breaches
        self.interfere(model.name)
        with self.lock:
            return self._perform(model.name, parameters)

    def _perform(self, operation: str, parameters: Any) -> tuple[AWSResponse, Answer]:
        changes = not operation.startswith(("Describe", "List"))
        if changes:
            if self.kill_before == len(self.sent):
                self.kill_before = None
                raise Killed
            self.sent.append((operation, parameters))
        try:
            answer = getattr(self, f"_{operation}")(**parameters)
            status = 200
        except Refused as refusal:
            answer = {"Error": {"Code": "ValidationException", "Message": str(refusal)}}
            status = 400
        if changes and self.kill_after == len(self.sent) - 1:
            self.kill_after = None
            raise Killed
        return AWSResponse("https://sagemaker", status, {}, None), answer

    # the service

    def _ListModelPackages(self, ModelPackageGroupName: str) -> Answer:
        return {
            "ModelPackageSummaryList": [
                _without_none(
                    ModelPackageArn=p.arn,
                    ModelPackageVersion=p.version,
                    ModelApprovalStatus=p.status,
                    CreationTime=p.created_at,
                )
                for p in self.packages.values()
            ]
        }

    def _DescribeModelPackage(self, ModelPackageName: str) -> Answer:
        package = self.packages[int(ModelPackageName.rpartition("/")[2])]
        return _without_none(
            ModelPackageArn=package.arn,
            ModelPackageVersion=package.version,
            ModelApprovalStatus=package.status,
            ModelPackageStatus="Completed",
            CreationTime=package.created_at,
            LastModifiedTime=package.modified_at,
        )

    def _CreateModel(self, ModelName: str, **parameters: Any) -> Answer:
        if ModelName in self.models:
            raise Refused(f'Cannot create already existing model "{ModelName}".')
        self.models[ModelName] = {"CreationTime": self.tick(), **parameters}
        return {"ModelArn": f"{ARN}:model/{ModelName}"}

    def _DescribeModel(self, ModelName: str) -> Answer:
        if ModelName not in self.models:
            raise Refused(f'Could not find model "{ModelName}".')
        return {"ModelName": ModelName, **self.models[ModelName]}

    def _ListModels(self, NameContains: str) -> Answer:
        return {
            "Models": [
                {"ModelName": name, "CreationTime": model["CreationTime"]}
                for name, model in self.models.items()
                if NameContains in name
            ]
        }

    def _DeleteModel(self, ModelName: str) -> Answer:
        if ModelName not in self.models:
            raise Refused(f'Could not find model "{ModelName}".')
        del self.models[ModelName]
        return {}

    def _CreateEndpointConfig(self, EndpointConfigName: str, **parameters: Any) -> Answer:
        if EndpointConfigName in self.configs:
            raise Refused("Cannot create already existing endpoint configuration.")
        self._DescribeModel(parameters["ProductionVariants"][0]["ModelName"])
        self.configs[EndpointConfigName] = {"CreationTime": self.tick(), **parameters}
        return {"EndpointConfigArn": f"{ARN}:endpoint-config/{EndpointConfigName}"}

    def _DescribeEndpointConfig(self, EndpointConfigName: str) -> Answer:
        if EndpointConfigName not in self.configs:
            raise Refused(f'Could not find endpoint configuration "{EndpointConfigName}".')
        return {"EndpointConfigName": EndpointConfigName, **self.configs[EndpointConfigName]}

    def _ListEndpointConfigs(self, NameContains: str) -> Answer:
        return {
            "EndpointConfigs": [
                {"EndpointConfigName": name, "CreationTime": config["CreationTime"]}
                for name, config in self.configs.items()
                if NameContains in name
            ]
        }

    def _DeleteEndpointConfig(self, EndpointConfigName: str) -> Answer:
        self._DescribeEndpointConfig(EndpointConfigName)
        if self.endpoint is not None:
            assert EndpointConfigName not in (self.endpoint.config, self.endpoint.wanted)
        del self.configs[EndpointConfigName]
        return {}

    def _CreateEndpoint(self, EndpointName: str, EndpointConfigName: str, Tags: Any) -> Answer:
        if self.endpoint is not None:
            raise Refused("Cannot create already existing endpoint.")
        self._DescribeEndpointConfig(EndpointConfigName)
        self.endpoint = Endpoint("Creating", EndpointConfigName, self.tick(), EndpointConfigName)
        return {"EndpointArn": f"{ARN}:endpoint/{EndpointName}"}

    def _DescribeEndpoint(self, EndpointName: str) -> Answer:
        if self.endpoint is None:
            raise Refused(f'Could not find endpoint "{EndpointName}".')
        return _without_none(
            EndpointName=EndpointName,
            EndpointStatus=self.endpoint.status,
            EndpointConfigName=self.endpoint.config,
            LastModifiedTime=self.endpoint.modified_at,
            FailureReason=self.endpoint.failure_reason or None,
        )

    def _UpdateEndpoint(self, EndpointName: str, EndpointConfigName: str) -> Answer:
        self._DescribeEndpoint(EndpointName)
        self._DescribeEndpointConfig(EndpointConfigName)
        assert self.endpoint is not None
        if self.endpoint.status != "InService":
            raise Refused("Cannot update in-progress endpoint.")
        self.updates += 1
        self.endpoint.status = "Updating"
        self.endpoint.wanted = EndpointConfigName
        self.endpoint.modified_at = self.tick()
        return {"EndpointArn": f"{ARN}:endpoint/{EndpointName}"}

    def _DeleteEndpoint(self, EndpointName: str) -> Answer:
        self._DescribeEndpoint(EndpointName)
        assert self.endpoint is not None
        if self.endpoint.status in ("Creating", "Updating", "Deleting"):
            raise Refused("Cannot delete in-progress endpoint.")
        self.endpoint.status = "Deleting"
        self.endpoint.modified_at = self.tick()
        return {}


def violations(shape: Shape, value: Any, where: str = "") -> list[str]:
    """What botocore knows of a shape but does not check: patterns, greatest lengths, enums."""
    if isinstance(shape, StructureShape):
        return [
            breach
            for name, item in value.items()
            for breach in violations(shape.members[name], item, f"{where}.{name}")
        ]
    if isinstance(shape, ListShape):
        return [b for item in value for b in violations(shape.member, item, f"{where}[]")]
    if isinstance(shape, MapShape):
        return [b for item in value.values() for b in violations(shape.value, item, f"{where}{{}}")]
    if isinstance(shape, StringShape):
        pattern = shape.metadata.get("pattern", "")
        if "\\p{" not in pattern and pattern and not re.fullmatch(pattern, value):
            return [f"{where}: {value!r} is not {pattern}"]
        if len(value) > shape.metadata.get("max", len(value)):
            return [f"{where}: {value!r} is too long"]
        if shape.enum and value not in shape.enum:
            return [f"{where}: {value!r} is not one of {shape.enum}"]
    elif shape.type_name in ("integer", "long"):
        least, most = shape.metadata.get("min", value), shape.metadata.get("max", value)
        if not least <= value <= most:
            return [f"{where}: {value} is not from {least} to {most}"]
    return []


def _keep_parameters(params: Any, context: dict[str, Any], **_: Any) -> None:
    context["parameters"] = params


def _without_none(**facts: Any) -> Answer:
    return {name: fact for name, fact in facts.items() if fact is not None}
