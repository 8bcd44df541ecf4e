from __future__ import annotations

import pytest
from deploy_model.errors import SettingsError
from deploy_model.settings import Settings

from tests.deploy_model.world import BUCKET, ROLE

ENVIRONMENT = {
    "MODEL_PACKAGE_GROUP_NAME": "sentiment",
    "ENDPOINT_NAME": "sentiment",
    "EXECUTION_ROLE_ARN": ROLE,
    "ARTIFACT_BUCKET": BUCKET,
}


def test_four_settings_are_enough() -> None:
    settings = Settings.from_env(ENVIRONMENT)
    assert settings == Settings("sentiment", "sentiment", ROLE, BUCKET)


def test_the_rest_of_the_environment_is_none_of_its_business() -> None:
    environment = ENVIRONMENT | {"PATH": "/bin", "AWS_REGION": "eu-west-1"}
    assert Settings.from_env(environment) == Settings.from_env(ENVIRONMENT)


@pytest.mark.parametrize("key", ENVIRONMENT)
def test_a_missing_setting_is_named(key: str) -> None:
    with pytest.raises(SettingsError, match=f"^{key}: missing$"):
        Settings.from_env({k: v for k, v in ENVIRONMENT.items() if k != key})


@pytest.mark.parametrize("key", ["SERVERLESS_MEMORY", "ENDPOINT_NAMES", "EXECUTION_ROLE"])
def test_a_misspelt_setting_is_named_with_those_that_exist(key: str) -> None:
    with pytest.raises(SettingsError, match=f"^{key}: unknown setting; known are .*ENDPOINT_MODE"):
        Settings.from_env(ENVIRONMENT | {key: "1"})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("MODEL_PACKAGE_GROUP_NAME", "no spaces"),
        ("ENDPOINT_NAME", "-leading"),
        ("ENDPOINT_NAME", "x" * 64),
        ("ENDPOINT_NAME", "sentiment\n"),
        ("EXECUTION_ROLE_ARN", "sentiment-execution"),
        ("ENDPOINT_MODE", "serverless"),
        ("SERVERLESS_MEMORY_MB", "3000"),
        ("SERVERLESS_MEMORY_MB", "3 GB"),
        ("SERVERLESS_MAX_CONCURRENCY", "0"),
        ("SERVERLESS_MAX_CONCURRENCY", "201"),
        ("SERVERLESS_MAX_CONCURRENCY", "\uff19"),
        ("SERVERLESS_MAX_CONCURRENCY", "9" * 5000),
    ],
)
def test_an_illegal_value_is_refused_by_key_without_repeating_it(key: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f"^{key}: ") as refusal:
        Settings.from_env(ENVIRONMENT | {key: value})
    assert len(str(refusal.value)) < 120
