from __future__ import annotations

import re
from pathlib import Path

import pytest

from pipeline.errors import SettingsError
from pipeline.settings import ROOT, Settings


def test_without_any_variable_the_local_account_in_the_clone_is_meant() -> None:
    settings = Settings.from_env({"PATH": "/bin"})
    assert settings.target == "local"
    assert settings.home == ROOT / ".sentiment"


def test_the_variables_are_read(tmp_path: Path) -> None:
    environ = {
        "SENTIMENT_HOME": str(tmp_path),
        "SENTIMENT_TARGET": "aws",
        "SENTIMENT_REGION": "eu-west-1",
        "SENTIMENT_BUCKET": "mine",
    }
    settings = Settings.from_env(environ)
    assert settings.home == tmp_path
    account = settings.account("123456789012")
    assert account.bucket == "mine"
    assert account.function_arn("f") == "arn:aws:lambda:eu-west-1:123456789012:function:f"
    assert account.name == "sentiment-dev"
    assert account.inference_image == ""  # the stack says which


def test_each_stage_on_aws_has_names_of_its_own() -> None:
    settings = Settings.from_env({"SENTIMENT_TARGET": "aws", "SENTIMENT_STAGE": "prod"})
    assert settings.account("123456789012").endpoint_name == "sentiment"
    assert Settings(target="aws").account("1").deploy_function == "sentiment-dev-deploy-model"
    assert Settings().account("1").name == "sentiment"


def test_an_unknown_stage_names_the_valid_ones() -> None:
    with pytest.raises(SettingsError, match="one of: dev, prod"):
        Settings.from_env({"SENTIMENT_STAGE": "test"})


def test_the_serving_image_of_this_machine_is_named_by_what_it_is_built_from() -> None:
    image = Settings().account("000000000000").inference_image
    assert re.fullmatch(r".+/sentiment-inference@sha256:[0-9a-f]{64}", image)


def test_an_unknown_variable_names_the_valid_ones() -> None:
    with pytest.raises(SettingsError, match=r"SENTIMENT_HOMME \(valid: .*SENTIMENT_HOME"):
        Settings.from_env({"SENTIMENT_HOMME": "/tmp"})  # noqa: S108


def test_an_unknown_target_names_the_valid_ones() -> None:
    with pytest.raises(SettingsError, match="one of: local, aws"):
        Settings.from_env({"SENTIMENT_TARGET": "azure"})


def test_the_local_account_lies_in_one_region_whatever_the_environment_says() -> None:
    assert Settings.from_env({"AWS_REGION": "eu-west-1"}).region == "us-east-1"
    aws = Settings.from_env({"AWS_REGION": "eu-west-1", "SENTIMENT_TARGET": "aws"})
    assert aws.region == "eu-west-1"


@pytest.mark.parametrize(
    "environ", [{"SENTIMENT_STRICT": "yes"}, {"SENTIMENT_STRICT": "1", "SENTIMENT_TARGET": "aws"}]
)
def test_strict_mode_is_the_local_accounts(environ: dict[str, str]) -> None:
    with pytest.raises(SettingsError, match="strict mode is the local account's"):
        Settings.from_env(environ)
    assert Settings.from_env({"SENTIMENT_STRICT": "1"}).strict == "1"
