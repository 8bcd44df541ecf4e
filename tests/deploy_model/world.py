"""An AWS account that lives in memory, behind real boto3 clients.

boto3 builds and checks each request as it would for AWS; the answer comes from here. Time passes
only when something is asked, and an endpoint's change ends only when a test says so.
"""

from __future__ import annotations

import hashlib
import io
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from threading import RLock, local
from typing import Any

import boto3
from botocore.awsrequest import AWSResponse
from botocore.config import Config
from botocore.model import ListShape, MapShape, OperationModel, Shape, StringShape, StructureShape
from deploy_model.app import Surroundings

from tests.deploy_model.artifacts import archive

ROLE = "arn:aws:iam::000000000000:role/sentiment-execution"
ARN = "arn:aws:sagemaker:us-east-1:000000000000"
BUCKET = "sentiment-artifacts"
TOPIC = "arn:aws:sns:us-east-1:000000000000:sentiment-alarms"
LEASE = "deployments/sentiment/lease.json"
IMAGE = f"000000000000.dkr.ecr.us-east-1.amazonaws.com/sentiment-inference@sha256:{'0' * 64}"
BROKEN = ("Failed", "OutOfService")
SERVING = ("InService", "UpdateRollbackFailed")
# Java's way in AWS's patterns → Python's; \w has the underscore beside letters and numbers.
JAVA = {
    r"\p{L}": r"\w",
    r"\p{N}": r"\w",
    r"\p{Z}": r" \u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000",
    r"\p{Print}": r"[ -~]",
    r"\uD800\uDC00-\uDBFF\uDFFF": r"\U00010000-\U0010FFFF",
}
READS = ("Describe", "List", "GetObject")
GOOD_ARCHIVE = archive()

# one for all tests: reading SageMaker's service model takes half a second
SESSION = boto3.session.Session(
    aws_access_key_id="testing",
    aws_secret_access_key="testing",  # noqa: S106
)

Answer = dict[str, Any]


class Refused(Exception):
    """The service's own refusal; the client sees a ClientError."""

    def __init__(self, message: str, code: str = "ValidationException") -> None:
        super().__init__(message)
        self.code = code


class Killed(BaseException):
    """The function died at this very point, as by kill -9."""


@dataclass
class Package:
    version: int
    status: str
    created_at: datetime
    modified_at: datetime | None = None
    notes: dict[str, str] = field(default_factory=dict)
    image: str = IMAGE

    @property
    def model_data_url(self) -> str:
        return f"s3://{BUCKET}/runs/{self.version}/model.tar.gz"

    @property
    def arn(self) -> str:
        return f"{ARN}:model-package/sentiment/{self.version}"


@dataclass
class Endpoint:
    status: str
    config: str
    modified_at: datetime
    wanted: str
    guards: tuple[str, ...] = ()
    """Alarms that roll back the update under way."""
    failure_reason: str = ""


@dataclass
class World:
    """The account. `bad` versions never become healthy."""

    packages: dict[int, Package] = field(default_factory=dict)
    models: dict[str, Answer] = field(default_factory=dict)
    configs: dict[str, Answer] = field(default_factory=dict)
    endpoint: Endpoint | None = None
    objects: dict[str, bytes] = field(default_factory=dict)
    alarms: set[str] = field(default_factory=set)
    scaling: Answer | None = None
    messages: list[str] = field(default_factory=list)
    bad: set[int] = field(default_factory=set)
    why: str = "did not pass the ping health check"
    """What SageMaker says of a version that never becomes healthy."""
    sets_off: dict[int, str] = field(default_factory=dict)
    """Version → the alarm that rings while it has traffic."""
    rang_at: dict[str, datetime] = field(default_factory=dict)
    """Since when an alarm rings, as far as anybody has looked."""
    bad_machines: set[str] = field(default_factory=set)
    """Instance types on which nothing becomes healthy."""
    lacking: set[str] = field(default_factory=set)
    """Instance types for which the account has no quota."""
    updates: int = 0
    sent: list[tuple[str, Mapping[str, Any]]] = field(default_factory=list)
    """Requests that change something, but for the lease."""
    calls: int = 0
    """Every request, those that only look included."""
    kill_before: int | None = None
    kill_after: int | None = None
    interfere: Callable[[str], None] = lambda operation: None
    clock: datetime = datetime(2026, 3, 1, tzinfo=UTC)
    lock: Any = field(default_factory=RLock)

    # what people and SageMaker do

    def register(self, status: str = "PendingManualApproval") -> int:
        version = len(self.packages) + 1
        self.packages[version] = Package(version, status, self.tick())
        self.objects[f"runs/{version}/model.tar.gz"] = GOOD_ARCHIVE
        return version

    def review(self, version: int, status: str) -> None:
        """People take their time: a minute at least."""
        self.clock += timedelta(minutes=1)
        self.packages[version].status = status
        self.packages[version].modified_at = self.tick()

    def forget_lease(self) -> None:
        """As when its holder was stopped and it has run out."""
        self.objects.pop(LEASE, None)

    def settle(self) -> None:
        """Let whatever the endpoint is doing come to its end, well or badly."""
        endpoint = self.endpoint
        if endpoint is None:
            return
        if endpoint.status == "Deleting":
            self.endpoint = None
        elif endpoint.status in ("SystemUpdating", "RollingBack"):
            endpoint.status, endpoint.modified_at = "InService", self.tick()
        elif endpoint.status in ("Creating", "Updating"):
            machines = self.variant(endpoint.wanted).get("InstanceType")
            bad = self.version_of(endpoint.wanted) in self.bad or machines in self.bad_machines
            ringing = self.ringing() & set(endpoint.guards)
            healthy = not bad and not ringing
            if healthy:
                endpoint.config = endpoint.wanted
            tripped = f"alarm {', '.join(sorted(ringing))} tripped"
            endpoint.failure_reason = self.why if bad else tripped if ringing else ""
            failed = endpoint.status == "Creating" and not healthy
            endpoint.status = "Failed" if failed else "InService"
            endpoint.modified_at = self.tick()

    def maintain(self) -> None:
        """SageMaker changes the endpoint for reasons of its own."""
        if self.endpoint is not None and self.endpoint.status == "InService":
            self.endpoint.status, self.endpoint.modified_at = "SystemUpdating", self.tick()

    def in_flight(self) -> bool:
        return self.endpoint is not None and self.endpoint.status not in (*SERVING, *BROKEN)

    def served(self) -> int | None:
        if self.endpoint is None or self.endpoint.status in (*BROKEN, "Creating", "Deleting"):
            return None
        return self.version_of(self.endpoint.config)

    def ringing(self) -> set[str]:
        """Alarms set off by what has traffic: what serves, and what an update shifts it to."""
        if self.endpoint is None:
            return set()
        configs = {self.endpoint.config}
        # a serverless endpoint moves all of it at once, at the end
        if self.endpoint.status == "Updating" and "InstanceType" in self.variant(
            self.endpoint.wanted
        ):
            configs.add(self.endpoint.wanted)
        versions = {self.version_of(config) for config in configs}
        return {alarm for version, alarm in self.sets_off.items() if version in versions}

    def variant(self, config: str) -> Answer:
        variant: Answer = self.configs[config]["ProductionVariants"][0]
        return variant

    def version_of(self, config: str) -> int:
        model = self.models[self.variant(config)["ModelName"]]
        return int(model["PrimaryContainer"]["ModelPackageName"].rpartition("/")[2])

    def tick(self) -> datetime:
        self.clock += timedelta(milliseconds=1)
        return self.clock

    def changes(self) -> list[str]:
        return [operation for operation, _ in self.sent]

    # the wire

    @property
    def surroundings(self) -> Surroundings:
        """What the function is given in place of AWS and the time of day."""
        return Surroundings(self.client, now=lambda: self.clock, sleep=lambda _: time.sleep(0))

    def client(self, service: str) -> Any:
        ACTIVE.world = self
        return _client(service)

    def answer(self, model: OperationModel, context: dict[str, Any]) -> tuple[AWSResponse, Answer]:
        parameters = context["parameters"]
        breaches = violations(model.input_shape, parameters) if model.input_shape else []
        assert not breaches, breaches
        self.interfere(model.name)
        with self.lock:
            return self._perform(model.name, parameters)

    def _perform(self, operation: str, parameters: Any) -> tuple[AWSResponse, Answer]:
        call, self.calls = self.calls, self.calls + 1
        if self.kill_before == call:
            self.kill_before = None
            raise Killed
        if not operation.startswith(READS) and parameters.get("Key") != LEASE:
            self.sent.append((operation, parameters))
        try:
            answer = getattr(self, f"_{operation}")(**parameters)
            status = 200
        except Refused as refusal:
            answer = {"Error": {"Code": refusal.code, "Message": str(refusal)}}
            status = 400
        if self.kill_after == call:
            self.kill_after = None
            raise Killed
        return AWSResponse("https://aws", status, {}, None), answer

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
            CustomerMetadataProperties=dict(package.notes),
            InferenceSpecification={
                "Containers": [{"Image": package.image, "ModelDataUrl": package.model_data_url}]
            },
        )

    def _UpdateModelPackage(
        self,
        ModelPackageArn: str,
        CustomerMetadataProperties: dict[str, str] | None = None,
        ModelApprovalStatus: str = "",
        ApprovalDescription: str = "",
    ) -> Answer:
        package = self.packages[int(ModelPackageArn.rpartition("/")[2])]
        package.notes |= CustomerMetadataProperties or {}
        package.status = ModelApprovalStatus or package.status
        package.modified_at = self.tick()
        return {"ModelPackageArn": ModelPackageArn}

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
        variant = parameters["ProductionVariants"][0]
        model = self._DescribeModel(variant["ModelName"])
        if "ServerlessConfig" in variant and model.get("EnableNetworkIsolation"):
            raise Refused("Network isolation is not supported for serverless endpoints.")
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

    def _UpdateEndpoint(
        self,
        EndpointName: str,
        EndpointConfigName: str,
        DeploymentConfig: Answer | None = None,
        RetainAllVariantProperties: bool = False,
    ) -> Answer:
        self._DescribeEndpoint(EndpointName)
        self._DescribeEndpointConfig(EndpointConfigName)
        assert self.endpoint is not None
        if self.endpoint.status not in SERVING:
            raise Refused("Cannot update in-progress endpoint.")
        before, after = self.variant(self.endpoint.config), self.variant(EndpointConfigName)
        if "ServerlessConfig" in after and "ServerlessConfig" not in before:
            raise Refused("An endpoint on machines cannot be made serverless.")
        if "ServerlessConfig" in before and DeploymentConfig is not None:
            raise Refused("There is no rolling back to serverless.")
        if before.get("InstanceType") != after.get("InstanceType") and self.scaling is not None:
            raise Refused("The variant is still scaled.")
        if after.get("InstanceType") in self.lacking:
            raise Refused("The account-level service limit is 0.", "ResourceLimitExceeded")
        self.updates += 1
        self.endpoint.status = "Updating"
        self.endpoint.wanted = EndpointConfigName
        guards = (DeploymentConfig or {}).get("AutoRollbackConfiguration", {}).get("Alarms", [])
        self.endpoint.guards = tuple(alarm["AlarmName"] for alarm in guards)
        self.endpoint.modified_at = self.tick()
        return {"EndpointArn": f"{ARN}:endpoint/{EndpointName}"}

    def _DeleteEndpoint(self, EndpointName: str) -> Answer:
        self._DescribeEndpoint(EndpointName)
        assert self.endpoint is not None
        if self.in_flight():
            raise Refused("Cannot delete in-progress endpoint.")
        self.endpoint.status = "Deleting"
        self.endpoint.modified_at = self.tick()
        return {}

    # the bucket

    def _PutObject(
        self, Bucket: str, Key: str, Body: Any, IfNoneMatch: str = "", IfMatch: str = "", **_: Any
    ) -> Answer:
        there = self.objects.get(Key)
        if (IfNoneMatch and there is not None) or (
            IfMatch and (there is None or IfMatch != _etag(there))
        ):
            raise Refused("At least one of the pre-conditions did not hold", "PreconditionFailed")
        content = Body.read()
        self.objects[Key] = content
        return {"ETag": _etag(content)}

    def _GetObject(self, Bucket: str, Key: str, **_: Any) -> Answer:
        if Key not in self.objects:
            raise Refused("The specified key does not exist.", "NoSuchKey")
        return {"Body": io.BytesIO(self.objects[Key]), "ETag": _etag(self.objects[Key])}

    def _ListObjectsV2(self, Bucket: str, Prefix: str, MaxKeys: int, **_: Any) -> Answer:
        keys = [key for key in sorted(self.objects) if key.startswith(Prefix)]
        return {"Contents": [{"Key": key} for key in keys[:MaxKeys]]}

    # alarms, scaling, messages

    def _DescribeAlarms(self, AlarmNames: list[str]) -> Answer:
        ringing = self.ringing()
        self.rang_at = {name: self.rang_at.get(name) or self.tick() for name in ringing}
        return {
            "MetricAlarms": [
                {
                    "AlarmName": name,
                    "StateValue": "ALARM" if name in ringing else "OK",
                    "StateTransitionedTimestamp": self.rang_at.get(name, self.clock),
                }
                for name in AlarmNames
                if name in self.alarms
            ]
        }

    def _RegisterScalableTarget(self, MinCapacity: int, MaxCapacity: int, **_: Any) -> Answer:
        policy = (self.scaling or {}).get("policy")
        self.scaling = {"MinCapacity": MinCapacity, "MaxCapacity": MaxCapacity, "policy": policy}
        return {}

    def _PutScalingPolicy(self, **parameters: Any) -> Answer:
        assert self.scaling is not None
        self.scaling["policy"] = parameters
        return {"PolicyARN": "arn"}

    def _DeregisterScalableTarget(self, **_: Any) -> Answer:
        if self.scaling is None:
            raise Refused("No such target.", "ObjectNotFoundException")
        self.scaling = None
        return {}

    def _DescribeScalableTargets(self, **_: Any) -> Answer:
        return {"ScalableTargets": [self.scaling] if self.scaling else []}

    def _DescribeScalingPolicies(self, **_: Any) -> Answer:
        policy = self.scaling["policy"] if self.scaling else None
        return {"ScalingPolicies": [policy] if policy else []}

    def _Publish(self, TopicArn: str, Subject: str, Message: str) -> Answer:
        self.messages.append(Message)
        return {"MessageId": str(len(self.messages))}


ACTIVE = local()


@cache
def _client(service: str) -> Any:
    """One for all worlds, as making one takes longer than most tests."""
    # a name of its own: botocore puts its long one together anew for each request, at a third of
    # the time that a request takes here
    config = Config(user_agent="world")
    client = SESSION.client(service, region_name="us-east-1", config=config)
    client.meta.events.register("before-parameter-build", _keep_parameters)
    client.meta.events.register("before-call", _answer)
    return client


def _answer(model: OperationModel, context: dict[str, Any], **_: Any) -> tuple[AWSResponse, Answer]:
    world: World = ACTIVE.world
    return world.answer(model, context)


def _etag(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


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
        pairs = [(shape.key, key) for key in value] + [(shape.value, one) for one in value.values()]
        return [b for member, item in pairs for b in violations(member, item, f"{where}{{}}")]
    if isinstance(shape, StringShape):
        pattern = shape.metadata.get("pattern", "")
        compiled = _compiled(pattern)
        if pattern and compiled and not compiled.fullmatch(value):
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


@cache
def _compiled(pattern: str) -> re.Pattern[str] | None:
    """A pattern that is written for Java in Python's way; None where it has none."""
    for theirs, ours in JAVA.items():
        pattern = pattern.replace(theirs, ours)
    try:
        return re.compile(re.sub(r"\$\{\d+,\d+\}$", "$", pattern))  # an end that is repeated
    except re.error:
        return None


def _keep_parameters(params: Any, context: dict[str, Any], **_: Any) -> None:
    context["parameters"] = params


def _without_none(**facts: Any) -> Answer:
    return {name: fact for name, fact in facts.items() if fact is not None}
