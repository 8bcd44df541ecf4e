"""What the deploy function is told by its environment, checked once."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from deploy_model.errors import SettingsError

ENTITY_NAME = re.compile(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}")
ROLE_ARN = re.compile(r"arn:aws[a-z\-]*:iam::\d{12}:role/?[a-zA-Z_0-9+=,.@\-_/]+")
ENDPOINT_MODES = ("Serverless",)
SERVERLESS_MEMORY_MB = (1024, 2048, 3072, 4096, 5120, 6144)
SERVERLESS_MAX_CONCURRENCY = range(1, 201)

REQUIRED = ("MODEL_PACKAGE_GROUP_NAME", "ENDPOINT_NAME", "EXECUTION_ROLE_ARN")
OPTIONAL = ("ENDPOINT_MODE", "SERVERLESS_MEMORY_MB", "SERVERLESS_MAX_CONCURRENCY")
# The rest of the environment belongs to Lambda; a key of one of these families that is not
# listed above is a typing error that would otherwise silently leave a default in place.
FAMILIES = ("MODEL_PACKAGE_GROUP", "ENDPOINT_", "EXECUTION_ROLE", "SERVERLESS_")


@dataclass(frozen=True)
class Settings:
    """Which registry group is deployed to which endpoint, under which role and in which size."""

    model_package_group_name: str
    endpoint_name: str
    execution_role_arn: str
    endpoint_mode: str = "Serverless"
    serverless_memory_mb: int = 3072
    serverless_max_concurrency: int = 5

    def __post_init__(self) -> None:
        for key, value in (
            ("MODEL_PACKAGE_GROUP_NAME", self.model_package_group_name),
            ("ENDPOINT_NAME", self.endpoint_name),
        ):
            if len(value) > 63 or not ENTITY_NAME.fullmatch(value):
                raise SettingsError(
                    f"{key}: not a name; 1 to 63 letters, digits and inner hyphens are"
                )
        if not ROLE_ARN.fullmatch(self.execution_role_arn):
            raise SettingsError(
                "EXECUTION_ROLE_ARN: not a role; arn:aws:iam::<12 digits>:role/<name> is"
            )
        if self.endpoint_mode not in ENDPOINT_MODES:
            raise SettingsError(f"ENDPOINT_MODE: must be one of {', '.join(ENDPOINT_MODES)}")
        if self.serverless_memory_mb not in SERVERLESS_MEMORY_MB:
            raise SettingsError(
                f"SERVERLESS_MEMORY_MB: must be one of {', '.join(map(str, SERVERLESS_MEMORY_MB))}"
            )
        if self.serverless_max_concurrency not in SERVERLESS_MAX_CONCURRENCY:
            raise SettingsError("SERVERLESS_MAX_CONCURRENCY: must be from 1 to 200")

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Settings:
        """Read the settings, or raise SettingsError naming the key and its valid form."""
        for key in environ:
            if key.startswith(FAMILIES) and key not in REQUIRED + OPTIONAL:
                raise SettingsError(
                    f"{key}: unknown setting; known are {', '.join(REQUIRED + OPTIONAL)}"
                )
        for key in REQUIRED:
            if not environ.get(key):
                raise SettingsError(f"{key}: missing")
        return cls(
            model_package_group_name=environ["MODEL_PACKAGE_GROUP_NAME"],
            endpoint_name=environ["ENDPOINT_NAME"],
            execution_role_arn=environ["EXECUTION_ROLE_ARN"],
            endpoint_mode=environ.get("ENDPOINT_MODE", cls.endpoint_mode),
            serverless_memory_mb=_integer(
                environ, "SERVERLESS_MEMORY_MB", cls.serverless_memory_mb
            ),
            serverless_max_concurrency=_integer(
                environ, "SERVERLESS_MAX_CONCURRENCY", cls.serverless_max_concurrency
            ),
        )


def _integer(environ: Mapping[str, str], key: str, default: int) -> int:
    text = environ.get(key)
    if text is None:
        return default
    if not re.fullmatch(r"[0-9]{1,6}", text):
        raise SettingsError(f"{key}: must be a whole number")
    return int(text)
