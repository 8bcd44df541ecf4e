"""Where things are and what they are called; everything else is handed these values."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.errors import SettingsError
from pipeline.packages import image_tag

ROOT = Path(__file__).resolve().parent.parent
TARGETS = ("local", "aws")
LOCAL_ACCOUNT_ID = "000000000000"
LOCAL_REGION = "us-east-1"

PROJECT = "sentiment"
STAGES = ("dev", "prod")

_PREFIX = "SENTIMENT_"


def expand(path: str) -> Path:
    """A path as the user wrote it, `~` and `~name` resolved."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise SettingsError(
            f"{path}: there is no such user (write the folder's whole path)"
        ) from None


@dataclass(frozen=True)
class Settings:
    """What a user may choose outside the command line; one value a `SENTIMENT_` variable."""

    home: Path = ROOT / ".sentiment"
    target: str = "local"
    region: str = LOCAL_REGION
    bucket: str = ""
    role_arn: str = ""
    inference_image: str = ""
    stage: str = "dev"
    """Which of the stacks in an AWS account; the local account has no stages."""
    strict: str = ""
    """"1": jobs of the local account see /opt/ml itself and a read-only rest."""

    def __post_init__(self) -> None:
        if self.target not in TARGETS:
            raise SettingsError(
                f"unknown target {self.target!r} (SENTIMENT_TARGET or --target is one of: "
                f"{', '.join(TARGETS)})"
            )
        if self.stage not in STAGES:
            raise SettingsError(
                f"unknown stage {self.stage!r} (SENTIMENT_STAGE or --stage is one of: "
                f"{', '.join(STAGES)})"
            )

        if self.strict not in ("", "1") or (self.strict and self.target != "local"):
            raise SettingsError(
                "strict mode is the local account's: SENTIMENT_STRICT=1 or --strict, --target local"
            )

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Settings:
        """Read `SENTIMENT_HOME`, `_TARGET`, `_STAGE`, `_REGION`, `_BUCKET`, `_ROLE_ARN`,
        `_INFERENCE_IMAGE` and `_STRICT`.

        Any other `SENTIMENT_` variable is an error, so that a typing mistake is not ignored.
        """
        known = set(cls.__dataclass_fields__)
        given = {
            key.removeprefix(_PREFIX).lower(): value
            for key, value in environ.items()
            if key.startswith(_PREFIX) and value
        }
        if unknown := sorted(set(given) - known):
            valid = ", ".join(_PREFIX + name.upper() for name in sorted(known))
            raise SettingsError(f"unknown setting {_PREFIX}{unknown[0].upper()} (valid: {valid})")
        home = expand(given.pop("home")) if "home" in given else cls.home
        region = given.pop("region", "") or (environ.get("AWS_REGION") or LOCAL_REGION)
        settings = cls(home=home, region=region, **given)
        return settings if settings.target == "aws" else replace(settings, region=LOCAL_REGION)

    def account(self, account_id: str) -> Account:
        """The names of this project's resources in one AWS account."""
        plain = self.target != "aws" or self.stage == "prod"
        name = PROJECT if plain else f"{PROJECT}-{self.stage}"
        role = f"arn:aws:iam::{account_id}:role/{name}-execution-{self.region}"
        registry = f"{account_id}.dkr.ecr.{self.region}.amazonaws.com"
        digest = hashlib.sha256(image_tag(ROOT).encode()).hexdigest()
        image = "" if self.target == "aws" else f"{registry}/{name}-inference@sha256:{digest}"
        return Account(
            account_id=account_id,
            region=self.region,
            bucket=self.bucket or f"{name}-{self.region}-{account_id}",
            role_arn=self.role_arn or role,
            inference_image=self.inference_image or image,
            name=name,
        )


@dataclass(frozen=True)
class Account:
    """The names of this project's resources in one AWS account and region."""

    account_id: str
    region: str
    bucket: str
    role_arn: str
    inference_image: str
    """By digest. On AWS the stack says which; on this machine it is what it would be built from."""
    name: str = PROJECT
    """Begins the name of everything; the stage is in it."""
    readable_buckets: tuple[str, ...] = ()
    """Where a run may read reviews; empty where the stack does not say, or has no say."""

    @property
    def pipeline_name(self) -> str:
        return self.name

    @property
    def model_package_group(self) -> str:
        return self.name

    @property
    def endpoint_name(self) -> str:
        return self.name

    @property
    def predict_function(self) -> str:
        return f"{self.name}-predict-api"

    @property
    def deploy_function(self) -> str:
        return f"{self.name}-deploy-model"

    def function_arn(self, name: str) -> str:
        """The ARN of one of the project's Lambda functions."""
        return f"arn:aws:lambda:{self.region}:{self.account_id}:function:{name}"
