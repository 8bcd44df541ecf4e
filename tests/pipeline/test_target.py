from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import NoCredentialsError
from moto import mock_aws

from pipeline import target as targets
from pipeline.errors import SettingsError
from pipeline.local import Function, Image, session
from pipeline.local.account import open_account
from pipeline.settings import ROOT, Account, Settings
from pipeline.target import Target, open_target
from tests.pipeline.test_definition import step


def test_the_local_account_stands_for_every_image_of_the_definition(
    definition: dict[str, Any], account: Account
) -> None:
    (training,) = (
        one["DefaultValue"] for one in definition["Parameters"] if one["Name"] == "TrainingImageUri"
    )
    uris = [
        training,
        training.replace("-cpu-", "-cu133-"),
        step(definition, "Evaluate")["Arguments"]["AppSpecification"]["ImageUri"],
        account.inference_image,
    ]
    patterns = list(targets._images())
    assert all(any(fnmatchcase(uri, pattern) for pattern in patterns) for uri in uris)


def test_the_functions_of_the_local_account_are_in_the_clone(account: Account) -> None:
    for function in targets._functions(account).values():
        package, module, _ = function.handler.split(".")
        assert (function.path / package / f"{module}.py").is_file()


def test_opening_the_local_account_and_preparing_it_twice_is_safe(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "a home")
    for _ in range(2):
        target = open_target(settings)
        target.prepare()
    buckets = target.client("s3").list_buckets()["Buckets"]
    assert [bucket["Name"] for bucket in buckets] == ["sentiment-us-east-1-000000000000"]
    groups = target.client("sagemaker").list_model_package_groups()
    assert len(groups["ModelPackageGroupSummaryList"]) == 1
    assert target.log_place("/aws/x", "job/algo-1") == str(
        tmp_path / "a home/logs/aws/x/job/algo-1.log"
    )


def test_a_home_of_others_gets_nothing_of_ours_until_a_run_needs_it(tmp_path: Path) -> None:
    session(tmp_path, images={"job:*": Image()})
    target = open_target(Settings(home=tmp_path))
    assert list(open_account(tmp_path).configuration["images"]) == ["job:*"]
    target.prepare()
    kept = open_account(tmp_path).configuration
    assert kept["images"].keys() == {"job:*", *targets._images()}
    assert target.account.deploy_function in kept["functions"]


def test_a_home_of_ours_is_kept_up_to_date(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home")
    name = open_target(settings).account.deploy_function
    session(settings.home, functions={name: Function("old.handler", tmp_path)})
    open_target(settings)
    handler = open_account(settings.home).configuration["functions"][name]["handler"]
    assert handler == "deploy_model.app.handler"


def test_the_account_of_aws_is_asked_of_aws(monkeypatch: pytest.MonkeyPatch) -> None:
    for key in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(key, "test")
    with mock_aws():
        image = f"repository@sha256:{'0' * 64}"
        target = open_target(Settings(target="aws", region="us-east-1", inference_image=image))
        assert target.account.bucket == "sentiment-dev-us-east-1-123456789012"
        target.prepare()
        target.prepare()
        groups = target.client("sagemaker").list_model_package_groups()
    assert len(groups["ModelPackageGroupSummaryList"]) == 1
    assert target.log_place("/aws/x", "s") == "CloudWatch /aws/x s"
    # no other signature opens what lies under a KMS key
    assert "X-Amz-Signature=" in target.file_place("bucket", "runs/1/report.html")


def test_without_a_stack_on_aws_there_is_no_serving_image(monkeypatch: pytest.MonkeyPatch) -> None:
    for key in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(key, "test")
    with mock_aws():
        target = open_target(Settings(target="aws", region="us-east-1"))
        with pytest.raises(SettingsError, match="sentiment stack deploy --stage dev"):
            target.prepare()


def test_a_bucket_outside_us_east_1_names_its_region(account: Account) -> None:
    from dataclasses import replace

    from botocore.exceptions import ClientError

    class S3:
        def head_bucket(self, **_: Any) -> None:
            raise ClientError({"Error": {"Code": "404", "Message": ""}}, "HeadBucket")

        def create_bucket(self, **request: Any) -> None:
            self.request = request

    s3 = S3()
    targets._ensure_bucket(s3, replace(account, region="eu-west-1", bucket="b"))
    assert s3.request == {
        "Bucket": "b",
        "CreateBucketConfiguration": {"LocationConstraint": "eu-west-1"},
    }


def test_without_credentials_one_is_told_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    class Session:
        def __init__(self, **_: Any) -> None:
            pass

        def client(self, _: str) -> Any:
            raise NoCredentialsError

    monkeypatch.setattr(boto3, "Session", Session)
    with pytest.raises(SettingsError, match=r"no AWS account can be reached: .*--target local"):
        open_target(Settings(target="aws"))


def test_the_scratch_folder_lies_in_the_home(target: Target) -> None:
    assert target.scratch == target.settings.home / "data"


def test_the_clone_is_where_this_package_lies() -> None:
    assert (ROOT / "pyproject.toml").is_file()
