"""The names and requests of one roll-out: pure functions of a package and the settings.

A model's name holds a digest of everything it is made with, so the same name always means the
same thing and asking twice is harmless. An endpoint config's name is the model's plus a digest of
the attempt: which approval asked for it, and which config it was to replace. A version that is
approved again, or rolled back to, is thereby a new attempt, while a repeated or late event is not.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from deploy_model.observed import Endpoint, ModelPackage
from deploy_model.settings import Settings
from deploy_model.variants import (
    SHADOW_VARIANT_NAME,
    Request,
    data_capture,
    deployment,
    variant,
)

__all__ = ["Request", "Rollout"]

SHADOW_SUFFIX = "-shadow"
# 34 + len("-v1234567-0123456789-01234567") = 63, the longest name SageMaker takes
STEM_LENGTH = 34
# instance families with disks of their own (AWS: CreateEndpointConfig, KmsKeyId)
_LOCAL_DISKS = re.compile(r"ml\.(?:[cmr]\d[a-z]*d[a-z]*|g4dn|g[56]\w*|p3dn|p4d\w*|p5\w*|trn\w+)\.")


@dataclass(frozen=True)
class Rollout:
    """The wish to serve one package, in place of whatever the endpoint serves now."""

    settings: Settings
    package: ModelPackage
    replaces: str | None
    """Endpoint config in service now; None where there is no endpoint."""
    shadow: ModelPackage | None = None
    """Package that gets a copy of the traffic and answers nobody."""

    @property
    def model_name(self) -> str:
        recipe = {
            "model": self._model_parameters(self.package),
            "variant": variant(self.settings),
            "capture": data_capture(self.settings),
            "endpoint": self.settings.endpoint_name,
            "key": self.settings.kms_key_arn,
            "shadow": self.shadow.arn if self.shadow else None,
        }
        return f"{stem(self.settings)}-v{self.package.version}-{_digest(recipe, 10)}"

    @property
    def config_name(self) -> str:
        attempt = [self.package.approved_at.isoformat(), self.replaces]
        return f"{self.model_name}-{_digest(attempt, 8)}"

    def is_served_by(self, config_name: str) -> bool:
        """Whether that config serves this package with these settings, from whichever attempt."""
        return model_of(config_name) == self.model_name

    def create_models(self) -> tuple[Request, ...]:
        """The model, and the shadow's under a name that shows whose it is."""
        served = self._create_model(self.model_name, self.package)
        if self.shadow is None:
            return (served,)
        return served, self._create_model(shadow_of(self.model_name), self.shadow)

    def create_endpoint_config(self) -> Request:
        parameters: dict[str, Any] = {
            "EndpointConfigName": self.config_name,
            "ProductionVariants": [{"ModelName": self.model_name, **variant(self.settings)}],
            "Tags": self._tags(),
        }
        if self.shadow is not None:
            copy = variant(self.settings) | {"VariantName": SHADOW_VARIANT_NAME}
            copy |= {"ModelName": shadow_of(self.model_name), "InitialInstanceCount": 1}
            parameters["ShadowProductionVariants"] = [copy]
        if capture := data_capture(self.settings):
            parameters["DataCaptureConfig"] = capture
        # the disks of a serverless endpoint are not ours to encrypt, and those that are built into
        # a machine encrypt themselves: SageMaker takes a key for neither
        has_volume = self.settings.on_machines and not _LOCAL_DISKS.match(
            self.settings.instance_type
        )
        if self.settings.kms_key_arn and has_volume:
            parameters["KmsKeyId"] = self.settings.kms_key_arn
        return Request("sagemaker", "CreateEndpointConfig", parameters)

    def create_endpoint(self) -> Request:
        return Request(
            "sagemaker",
            "CreateEndpoint",
            {
                "EndpointName": self.settings.endpoint_name,
                "EndpointConfigName": self.config_name,
                "Tags": self._tags(),
            },
        )

    def update_endpoint(self, endpoint: Endpoint, is_guarded: bool = True) -> Request:
        """An update; one away from serverless cannot be rolled back, so nothing guards it.

        Unguarded is also the way out of a version that must not go on serving.
        """
        parameters: dict[str, Any] = {
            "EndpointName": self.settings.endpoint_name,
            "EndpointConfigName": self.config_name,
        }
        if self.settings.on_machines and endpoint.on_machines:
            parameters["DeploymentConfig"] = deployment(self.settings, is_guarded)
            # as many machines as the traffic has asked for, not the fewest:
            # https://docs.aws.amazon.com/sagemaker/latest/dg/endpoint-scaling-update.html
            # what else is kept with a shadow or captured requests, no page says
            is_plain = self.shadow is None and data_capture(self.settings) is None
            parameters["RetainAllVariantProperties"] = is_plain and endpoint.is_plain
        return Request("sagemaker", "UpdateEndpoint", parameters)

    def attempt(self) -> Request:
        """The note that the endpoint was asked for this config: the last one, and no other."""
        return Request(
            "s3",
            "PutObject",
            {
                "Bucket": self.settings.artifact_bucket,
                "Key": attempt_key(self.settings),
                "Body": json.dumps({"config_name": self.config_name}).encode(),
                "ContentType": "application/json",
            },
        )

    def _create_model(self, name: str, package: ModelPackage) -> Request:
        parameters = {"ModelName": name, **self._model_parameters(package), "Tags": self._tags()}
        return Request("sagemaker", "CreateModel", parameters)

    def _model_parameters(self, package: ModelPackage) -> dict[str, Any]:
        parameters: dict[str, Any] = {
            "PrimaryContainer": {
                "ModelPackageName": package.arn,
                # what the predictions say they came from; the rest of the container's
                # environment was fixed when the package was registered
                "Environment": {"MODEL_VERSION": str(package.version)},
            },
            "ExecutionRoleArn": self.settings.execution_role_arn,
        }
        # the model reads its artifact and nothing else; a serverless endpoint refuses isolation:
        # https://docs.aws.amazon.com/sagemaker/latest/dg/serverless-endpoints.html
        if self.settings.on_machines:
            parameters["EnableNetworkIsolation"] = True
        return parameters

    def _tags(self) -> list[dict[str, str]]:
        return [
            {"Key": "sagemaker:project-name", "Value": self.settings.model_package_group_name},
            {"Key": "endpoint-name", "Value": self.settings.endpoint_name},
        ]


def record(settings: Settings, config_name: str, facts: Mapping[str, Any]) -> Request:
    """What became of an attempt, for the history; the first account of it stays."""
    return Request(
        "s3",
        "PutObject",
        {
            "Bucket": settings.artifact_bucket,
            "Key": record_key(settings, config_name),
            "Body": json.dumps(facts, sort_keys=True).encode(),
            "ContentType": "application/json",
            "IfNoneMatch": "*",
        },
    )


def record_end(settings: Settings, endpoint: Endpoint, version: int, now: datetime) -> Request:
    """That a version is served no more, and none in its place."""
    facts = {"outcome": "ended", "version": version, "at": now.isoformat()}
    return record(settings, f"{endpoint.config_name}-ended", facts)


def record_key(settings: Settings, config_name: str) -> str:
    return f"deployments/{settings.endpoint_name}/history/{config_name}.json"


def attempt_key(settings: Settings) -> str:
    return f"deployments/{settings.endpoint_name}/attempt.json"


def note(package: ModelPackage, properties: Mapping[str, str]) -> Request:
    """Write beside the package in the registry, leaving what was decided on it alone."""
    parameters = {"ModelPackageArn": package.arn, "CustomerMetadataProperties": dict(properties)}
    return Request("sagemaker", "UpdateModelPackage", parameters)


def reject(package: ModelPackage, reason: str) -> Request:
    """Reject a version, as a reviewer would."""
    return Request(
        "sagemaker",
        "UpdateModelPackage",
        {
            "ModelPackageArn": package.arn,
            "ModelApprovalStatus": "Rejected",
            "ApprovalDescription": reason,
        },
    )


def tell(settings: Settings, subject: str, message: str) -> Request:
    """Tell whoever has subscribed to the alarms."""
    parameters = {"TopicArn": settings.alarm_topic_arn, "Subject": subject[:100]}
    return Request("sns", "Publish", {**parameters, "Message": message})


def delete_endpoint(settings: Settings) -> Request:
    return Request("sagemaker", "DeleteEndpoint", {"EndpointName": settings.endpoint_name})


def delete_endpoint_config(name: str) -> Request:
    return Request("sagemaker", "DeleteEndpointConfig", {"EndpointConfigName": name})


def delete_model(name: str) -> Request:
    return Request("sagemaker", "DeleteModel", {"ModelName": name})


def stem(settings: Settings) -> str:
    """What the names of everything made for this endpoint begin with."""
    name = settings.endpoint_name
    if len(name) <= STEM_LENGTH:
        return name
    return f"{name[: STEM_LENGTH - 9].rstrip('-')}-{_digest(name, 8)}"


def model_of(config_name: str) -> str:
    """The model that a config of ours serves, by its name."""
    return config_name.rpartition("-")[0]


def shadow_of(model_name: str) -> str:
    """Name of the model that is compared with that one."""
    return f"{model_name}{SHADOW_SUFFIX}"


def is_model_of(settings: Settings, name: str) -> bool:
    """Whether this function made that model, for this endpoint."""
    form = rf"{re.escape(stem(settings))}-v\d+-[0-9a-f]{{10}}({SHADOW_SUFFIX})?"
    return re.fullmatch(form, name) is not None


def is_config_of(settings: Settings, name: str) -> bool:
    """Whether this function made that endpoint config, for this endpoint."""
    return (
        is_model_of(settings, model_of(name))
        and not model_of(name).endswith(SHADOW_SUFFIX)
        and re.fullmatch(r"[0-9a-f]{8}", name.rpartition("-")[2]) is not None
    )


def _digest(value: object, length: int) -> str:
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:length]
