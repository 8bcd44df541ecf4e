from __future__ import annotations

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
    assert account.inference_image.startswith("123456789012.dkr.ecr.eu-west-1.amazonaws.com/")


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
