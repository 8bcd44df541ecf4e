"""Which AWS account the commands talk to: a real one, or the local account with our images in it.

This is the only place that knows the difference. Everything else is handed a `Target`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from pipeline.errors import SettingsError
from pipeline.settings import (
    LOCAL_ACCOUNT_ID,
    PROJECT,
    ROOT,
    Account,
    Settings,
)

DEPLOY_TIMEOUT_S = 60

LogPlace = Callable[[str, str], str]
FilePlace = Callable[[str, str], str]
LINK_S = 3600


@dataclass(frozen=True)
class Target:
    """An account, the session that reaches it, and how closely to watch it."""

    settings: Settings
    account: Account
    session: Any
    poll_s: float
    deploy_timeout_s: float
    log_place: LogPlace
    file_place: FilePlace
    """Where a person finds an object of a bucket, given bucket and key."""
    furnish: Callable[[], object] = lambda: None
    """Brings what of ours a run needs into an account that has no stack to do it."""
    _clients: dict[str, Any] = field(default_factory=dict, repr=False)

    def client(self, service: str) -> Any:
        """The boto3 client of a service; one for the life of the target."""
        if service not in self._clients:
            self._clients[service] = self.session.client(service)
        return self._clients[service]

    @cached_property
    def scratch(self) -> Path:
        """Folder for what is made or downloaded on the way to the bucket."""
        return self.settings.home / "data"

    def prepare(self) -> None:
        """Make what a run needs: bucket and model package group, unless they are there.

        Raises SettingsError where no serving image is known, which a version could not do without.
        """
        if not self.account.inference_image:
            raise SettingsError(
                f"no serving image is known: there is no stack {self.account.name} "
                f"(sentiment stack deploy --stage {self.settings.stage}, or set "
                "SENTIMENT_INFERENCE_IMAGE to one named by its digest)"
            )
        self.furnish()
        _ensure_bucket(self.client("s3"), self.account)
        _ensure_group(self.client("sagemaker"), self.account)


def open_target(settings: Settings) -> Target:
    """Open the account that the settings name; makes no request that could change it."""
    return _open_aws(settings) if settings.target == "aws" else _open_local(settings)


def _open_aws(settings: Settings) -> Target:
    import boto3
    from botocore.exceptions import BotoCoreError

    session = boto3.Session(region_name=settings.region)
    try:
        account_id = session.client("sts").get_caller_identity()["Account"]
    except BotoCoreError as error:
        raise SettingsError(
            f"no AWS account can be reached: {error} (sign in first, or use --target local)"
        ) from error
    return Target(
        settings=settings,
        account=_deployed(settings, settings.account(account_id), session),
        session=session,
        poll_s=5.0,
        deploy_timeout_s=1800.0,
        log_place=lambda group, stream: f"CloudWatch {group} {stream}",
        file_place=_link(session),
    )


def _deployed(settings: Settings, account: Account, session: Any) -> Account:
    """The account with what its stack made; what the settings name comes first."""
    from botocore.exceptions import ClientError

    try:
        answer = session.client("cloudformation").describe_stacks(StackName=account.name)
    except ClientError:  # there is none, or a reviewer may not ask
        return account
    made = {one["OutputKey"]: one["OutputValue"] for one in answer["Stacks"][0].get("Outputs", [])}
    _refuse_foreign_bucket(settings, account.name, made.get("ArtifactBucket", ""))
    image = made.get("ImageUri", "none")
    read = [made[key] for key in ("ArtifactBucket", "DataBucket") if key in made]
    return replace(
        account,
        # of a role that is not the stack's, the stack does not know what it may do
        readable_buckets=() if settings.role_arn else tuple(read),
        bucket=settings.bucket or made.get("ArtifactBucket", account.bucket),
        role_arn=settings.role_arn or made.get("ExecutionRoleArn", account.role_arn),
        inference_image=settings.inference_image or ("" if image == "none" else image),
    )


def _refuse_foreign_bucket(settings: Settings, stack: str, bucket: str) -> None:
    """The stack's role may write to the stack's bucket alone, so a run would fail, and late."""
    if bucket and settings.bucket not in ("", bucket) and not settings.role_arn:
        raise SettingsError(
            f"the role of stack {stack} may not write to {settings.bucket}, only to {bucket}: "
            "unset SENTIMENT_BUCKET, or set SENTIMENT_ROLE_ARN to a role that may"
        )


def _link(session: Any) -> FilePlace:
    """A link to an object that works for an hour, whoever has it."""

    from botocore.config import Config

    # an object under a KMS key takes no other signature, and boto3 makes another in old regions:
    # https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingKMSEncryption.html
    s3 = session.client("s3", config=Config(signature_version="s3v4"))

    def link(bucket: str, key: str) -> str:
        url: str = s3.generate_presigned_url(
            "get_object", Params={"Bucket": bucket, "Key": key}, ExpiresIn=LINK_S
        )
        return url

    return link


def _open_local(settings: Settings) -> Target:
    from pipeline import local

    account = settings.account(LOCAL_ACCOUNT_ID)
    home = settings.home.absolute()
    strict = settings.strict == "1"
    furnish = partial(
        local.session,
        home,
        images=_images(),
        functions=_functions(account),
        rules=_rules(account),
        strict=strict,
    )
    return Target(
        settings=settings,
        account=account,
        session=furnish() if _is_ours(home, account) else local.session(home, strict=strict),
        poll_s=0.25,
        deploy_timeout_s=120.0,
        log_place=lambda group, stream: str(home / "logs" / group.strip("/") / f"{stream}.log"),
        file_place=lambda bucket, key: str(home / "s3" / bucket / key),
        furnish=furnish,
    )


def _is_ours(home: Path, account: Account) -> bool:
    """Whether a home is new or has our functions: another's is looked at, and left as it is."""
    from pipeline.local.account import open_account

    if not (home / "account.db").exists():
        return True
    return account.deploy_function in open_account(home).configuration["functions"]


def _images() -> dict[str, Any]:
    """What stands for our container images on this machine: its own Python and our packages."""
    from pipeline.local import Image

    return {
        "*/pytorch:*-sagemaker": Image(),
        f"*/{PROJECT}-inference@sha256:*": Image(
            entrypoint=("python3", "-m", "inference.server", "--model-dir", "/opt/ml/model"),
            environment={"PYTHONPATH": str(ROOT)},
        ),
    }


def _functions(account: Account) -> dict[str, Any]:
    from pipeline.local import Function

    path = ROOT / "lambda"
    return {
        account.predict_function: Function(
            handler="predict_api.app.handler",
            path=path,
            environment={"ENDPOINT_NAME": account.endpoint_name},
            timeout_s=30,
        ),
        account.deploy_function: Function(
            handler="deploy_model.app.handler",
            path=path,
            environment={
                "MODEL_PACKAGE_GROUP_NAME": account.model_package_group,
                "ENDPOINT_NAME": account.endpoint_name,
                "EXECUTION_ROLE_ARN": account.role_arn,
                "ARTIFACT_BUCKET": account.bucket,
                "LEASE_S": str(DEPLOY_TIMEOUT_S),
            },
            timeout_s=DEPLOY_TIMEOUT_S,
        ),
    }


def _rules(account: Account) -> list[Any]:
    """The events that make the deploy function look: an approval, an update that has ended."""
    from pipeline.local import Rule

    wanted = {
        "SageMaker Model Package State Change": {
            "ModelPackageGroupName": [account.model_package_group]
        },
        "SageMaker Endpoint State Change": {"EndpointName": [account.endpoint_name]},
    }
    return [
        Rule(
            name=f"{PROJECT}-{detail_type.split()[1].lower()}-state-change",
            pattern={
                "source": ["aws.sagemaker"],
                "detail-type": [detail_type],
                "detail": detail,
            },
            function=account.deploy_function,
        )
        for detail_type, detail in wanted.items()
    ]


def _ensure_bucket(s3: Any, account: Account) -> None:
    from botocore.exceptions import ClientError

    try:
        s3.head_bucket(Bucket=account.bucket)
        return
    except ClientError as error:
        if error.response["Error"]["Code"] not in {"404", "NoSuchBucket"}:
            raise
    # us-east-1 is the one region that must not be named:
    # https://docs.aws.amazon.com/AmazonS3/latest/API/API_CreateBucket.html
    elsewhere = account.region != "us-east-1"
    where = {"CreateBucketConfiguration": {"LocationConstraint": account.region}}
    try:
        s3.create_bucket(Bucket=account.bucket, **(where if elsewhere else {}))
    except ClientError as error:
        if error.response["Error"]["Code"] != "BucketAlreadyOwnedByYou":  # another run was faster
            raise


def _ensure_group(sagemaker: Any, account: Account) -> None:
    from botocore.exceptions import ClientError

    pages = sagemaker.get_paginator("list_model_package_groups").paginate(
        NameContains=account.model_package_group
    )
    names = {
        group["ModelPackageGroupName"]
        for page in pages
        for group in page["ModelPackageGroupSummaryList"]
    }
    if account.model_package_group in names:
        return
    try:
        sagemaker.create_model_package_group(
            ModelPackageGroupName=account.model_package_group,
            ModelPackageGroupDescription="Sentiment of movie reviews; approval deploys",
        )
    except ClientError as error:
        if "already exists" not in str(error):  # another run was faster
            raise
