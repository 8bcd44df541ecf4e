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
from dataclasses import dataclass, field
from typing import Any

from deploy_model.observed import ModelPackage
from deploy_model.settings import Settings

VARIANT_NAME = "AllTraffic"
# 34 + len("-v1234567-0123456789-01234567") = 63, the longest name SageMaker takes
STEM_LENGTH = 34


@dataclass(frozen=True)
class Request:
    """One call that changes the account, as a value: boto3's service, operation, parameters."""

    service: str
    operation: str
    parameters: Mapping[str, Any] = field(hash=False)


@dataclass(frozen=True)
class Rollout:
    """The wish to serve one package, in place of whatever the endpoint serves now."""

    settings: Settings
    package: ModelPackage
    replaces: str | None
    """Endpoint config in service now; None where there is no endpoint."""

    @property
    def model_name(self) -> str:
        recipe = {
            "model": self._model_parameters(),
            "variant": self._variant(),
            "endpoint": self.settings.endpoint_name,
        }
        return f"{stem(self.settings)}-v{self.package.version}-{_digest(recipe, 10)}"

    @property
    def config_name(self) -> str:
        attempt = [self.package.approved_at.isoformat(), self.replaces]
        return f"{self.model_name}-{_digest(attempt, 8)}"

    def is_served_by(self, config_name: str) -> bool:
        """Whether that config serves this package with these settings, from whichever attempt."""
        return model_of(config_name) == self.model_name

    def create_model(self) -> Request:
        return Request(
            "sagemaker",
            "CreateModel",
            {"ModelName": self.model_name, **self._model_parameters(), "Tags": self._tags()},
        )

    def create_endpoint_config(self) -> Request:
        return Request(
            "sagemaker",
            "CreateEndpointConfig",
            {
                "EndpointConfigName": self.config_name,
                "ProductionVariants": [{"ModelName": self.model_name, **self._variant()}],
                "Tags": self._tags(),
            },
        )

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

    def update_endpoint(self) -> Request:
        return Request(
            "sagemaker",
            "UpdateEndpoint",
            {
                "EndpointName": self.settings.endpoint_name,
                "EndpointConfigName": self.config_name,
            },
        )

    def _model_parameters(self) -> dict[str, Any]:
        return {
            "PrimaryContainer": {
                "ModelPackageName": self.package.arn,
                # what the predictions say they came from; the rest of the container's
                # environment was fixed when the package was registered
                "Environment": {"MODEL_VERSION": str(self.package.version)},
            },
            "ExecutionRoleArn": self.settings.execution_role_arn,
            # the model reads its artifact and nothing else
            "EnableNetworkIsolation": True,
        }

    def _variant(self) -> dict[str, Any]:
        return {
            "VariantName": VARIANT_NAME,
            "InitialVariantWeight": 1.0,
            "ServerlessConfig": {
                "MemorySizeInMB": self.settings.serverless_memory_mb,
                "MaxConcurrency": self.settings.serverless_max_concurrency,
            },
        }

    def _tags(self) -> list[dict[str, str]]:
        return [
            {"Key": "sagemaker:project-name", "Value": self.settings.model_package_group_name},
            {"Key": "endpoint-name", "Value": self.settings.endpoint_name},
        ]


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


def is_model_of(settings: Settings, name: str) -> bool:
    """Whether this function made that model, for this endpoint."""
    return re.fullmatch(rf"{re.escape(stem(settings))}-v\d+-[0-9a-f]{{10}}", name) is not None


def is_config_of(settings: Settings, name: str) -> bool:
    """Whether this function made that endpoint config, for this endpoint."""
    return (
        is_model_of(settings, model_of(name))
        and re.fullmatch(r"[0-9a-f]{8}", name.rpartition("-")[2]) is not None
    )


def _digest(value: object, length: int) -> str:
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:length]
