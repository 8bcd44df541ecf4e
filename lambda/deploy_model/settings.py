"""What the deploy function is told by its environment, checked once."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any

from deploy_model.errors import SettingsError

NAME_LENGTH = 63
ENDPOINT_MODES = ("Serverless", "RealTime")
SERVERLESS_MEMORY_MB = (1024, 2048, 3072, 4096, 5120, 6144)
# setting → what it must look like, and how that is said
FORMS = {
    "model_package_group_name": (
        r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}",
        "not a name; 1 to 63 letters, digits and inner hyphens are",
    ),
    "endpoint_name": (
        r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}",
        "not a name; 1 to 63 letters, digits and inner hyphens are",
    ),
    "execution_role_arn": (
        r"arn:aws[a-z\-]*:iam::\d{12}:role/?[a-zA-Z_0-9+=,.@\-_/]+",
        "not a role; arn:aws:iam::<12 digits>:role/<name> is",
    ),
    "artifact_bucket": (r"[a-z0-9][a-z0-9.\-]{1,61}[a-z0-9]", "not the name of an S3 bucket"),
    "instance_type": (r"ml\.[a-z0-9\-]+\.[a-z0-9]+", "not an instance type; ml.m5.large is one"),
    "kms_key_arn": (r"|arn:aws[a-z\-]*:kms:.+", "not the ARN of a KMS key"),
    "alarm_topic_arn": (r"|arn:aws[a-z\-]*:sns:.+", "not the ARN of an SNS topic"),
}
RANGES = {
    "serverless_max_concurrency": (1, 200),
    "lease_s": (1, 900),
    "instance_count": (1, 1000),
    "max_instance_count": (1, 1000),
    "invocations_per_instance": (1, 1_000_000),
    "data_capture_percent": (0, 100),
    "shadow_version": (0, 9_999_999),
}
# The rest of the environment belongs to Lambda; a key of one of these families that is no setting
# is a typing error that would otherwise silently leave a default in place.
FAMILIES = (
    "MODEL_PACKAGE_GROUP",
    "ENDPOINT_",
    "EXECUTION_ROLE",
    "ARTIFACT_",
    "SERVERLESS_",
    "LEASE_",
    "INSTANCE_",
    "MAX_INSTANCE",
    "INVOCATIONS_",
    "DATA_CAPTURE",
    "SHADOW_",
    "ROLLBACK_",
    "KMS_",
    "ALARM_",
)


@dataclass(frozen=True)
class Settings:
    """Which registry group is deployed to which endpoint, under which role and in which size."""

    model_package_group_name: str
    endpoint_name: str
    execution_role_arn: str
    artifact_bucket: str
    """Holds the lease, the history and what a RealTime endpoint captures."""
    lease_s: int = 120
    """How long one call may keep the others out; not less than the function's timeout."""
    endpoint_mode: str = "Serverless"
    serverless_memory_mb: int = 3072
    serverless_max_concurrency: int = 5
    instance_type: str = "ml.m5.large"
    instance_count: int = 2
    max_instance_count: int = 4
    invocations_per_instance: int = 600
    """Requests a minute for which one instance is enough."""
    data_capture_percent: int = 0
    shadow_version: int = 0
    """Version that gets a copy of the traffic and answers nobody; 0 for none."""
    rollback_alarm_names: tuple[str, ...] = ()
    kms_key_arn: str = ""
    alarm_topic_arn: str = ""
    """Who is told of a failed roll-out; nobody where it is empty."""

    def __post_init__(self) -> None:
        for name, (form, complaint) in FORMS.items():
            value = getattr(self, name)
            if (name.endswith("_name") and len(value) > NAME_LENGTH) or not re.fullmatch(
                form, value
            ):
                raise SettingsError(f"{name.upper()}: {complaint}")
        for name, (least, most) in RANGES.items():
            if not least <= getattr(self, name) <= most:
                raise SettingsError(f"{name.upper()}: must be from {least} to {most}")
        if self.endpoint_mode not in ENDPOINT_MODES:
            raise SettingsError(f"ENDPOINT_MODE: must be one of {', '.join(ENDPOINT_MODES)}")
        if self.serverless_memory_mb not in SERVERLESS_MEMORY_MB:
            raise SettingsError(
                f"SERVERLESS_MEMORY_MB: must be one of {', '.join(map(str, SERVERLESS_MEMORY_MB))}"
            )
        self._check_machines()

    def _check_machines(self) -> None:
        if self.max_instance_count < self.instance_count:
            raise SettingsError("MAX_INSTANCE_COUNT: must not be below INSTANCE_COUNT")
        if self.on_machines and not 1 <= len(self.rollback_alarm_names) <= 10:
            # https://docs.aws.amazon.com/sagemaker/latest/dg/deployment-guardrails-configuration.html
            raise SettingsError(
                "ROLLBACK_ALARM_NAMES: RealTime needs 1 to 10 alarms, with commas between; without "
                "one nothing rolls a bad version back"
            )
        if self.shadow_version and not self.on_machines:
            raise SettingsError("SHADOW_VERSION: needs ENDPOINT_MODE=RealTime")

    @property
    def on_machines(self) -> bool:
        """Whether the endpoint runs on instances of its own."""
        return self.endpoint_mode == "RealTime"

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Settings:
        """Read the settings, or raise SettingsError naming the key and its valid form."""
        known = {field.name.upper(): field for field in fields(cls)}
        for key in environ:
            if key.startswith(FAMILIES) and key not in known:
                raise SettingsError(f"{key}: unknown setting; known are {', '.join(known)}")
        values = {}
        for key, field in known.items():
            # an empty variable is how a template says "not set"
            if environ.get(key):
                values[field.name] = READERS[str(field.type)](key, environ[key])
            elif field.default is MISSING:
                raise SettingsError(f"{key}: missing")
        return cls(**values)


def _integer(key: str, text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,7}", text):
        raise SettingsError(f"{key}: must be a whole number")
    return int(text)


READERS: dict[str, Callable[[str, str], Any]] = {
    "str": lambda key, text: text,
    "int": _integer,
    "tuple[str, ...]": lambda key, text: tuple(part.strip() for part in text.split(",")),
}
