from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from predict_api.errors import SettingsError
from predict_api.settings import API_TIMEOUT_S, Settings


def test_the_name_of_the_endpoint_is_enough() -> None:
    assert Settings.from_env({"ENDPOINT_NAME": "sentiment", "PATH": "/bin"}) == Settings(
        "sentiment"
    )


def test_every_setting_can_be_given() -> None:
    settings = Settings.from_env(
        {
            "ENDPOINT_NAME": "sentiment",
            "CONNECT_TIMEOUT_S": "0.5",
            "READ_TIMEOUT_S": "3",
            "MAX_ATTEMPTS": "3",
            "MAX_BODY_BYTES": "1000",
            "FEEDBACK_BUCKET": "some-bucket",
            "FEEDBACK_KEY": "a key of 32 characters at least !",
            "FUNCTION_TIMEOUT_S": "20",
        }
    )
    assert settings == Settings(
        "sentiment",
        connect_timeout_s=0.5,
        read_timeout_s=3.0,
        max_attempts=3,
        max_body_bytes=1000,
        feedback_bucket="some-bucket",
        feedback_key="a key of 32 characters at least !",
        function_timeout_s=20.0,
    )


@pytest.mark.parametrize("key", ["", "x" * 31])
def test_feedback_is_not_kept_without_a_key_that_nobody_guesses(key: str) -> None:
    environment = {"ENDPOINT_NAME": "a", "FEEDBACK_BUCKET": "some-bucket", "FEEDBACK_KEY": key}
    with pytest.raises(SettingsError, match=r"^FEEDBACK_KEY: must have at least 32 characters$"):
        Settings.from_env(environment)


def test_the_key_is_not_printed_with_the_settings() -> None:
    assert "secret" not in repr(Settings("a", feedback_key="secret" * 6))


def test_an_empty_variable_is_one_that_is_not_set() -> None:
    assert Settings.from_env({"ENDPOINT_NAME": "a", "FEEDBACK_BUCKET": ""}).feedback_bucket is None


def test_a_missing_endpoint_is_named() -> None:
    with pytest.raises(SettingsError, match=r"^ENDPOINT_NAME: missing$"):
        Settings.from_env({})


@pytest.mark.parametrize("key", ["ENDPOINT", "READ_TIMEOUT_MS", "MAX_ATTEMPT"])
def test_a_misspelt_setting_is_named_with_those_that_exist(key: str) -> None:
    environment = {"ENDPOINT_NAME": "sentiment", key: "1"}
    if key == "ENDPOINT":  # not of a family we own: it may well be someone else's
        assert Settings.from_env(environment)
        return
    with pytest.raises(SettingsError, match=rf"^{key}: unknown setting; known are ENDPOINT_NAME"):
        Settings.from_env(environment)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("ENDPOINT_NAME", "not a name"),
        ("ENDPOINT_NAME", "x" * 64),
        ("CONNECT_TIMEOUT_S", "soon"),
        ("CONNECT_TIMEOUT_S", "-1"),
        ("CONNECT_TIMEOUT_S", "nan"),
        ("READ_TIMEOUT_S", "0"),
        ("MAX_ATTEMPTS", "0"),
        ("MAX_ATTEMPTS", "6"),
        ("MAX_ATTEMPTS", "9" * 5000),
        ("MAX_BODY_BYTES", "16 KB"),
        ("MAX_BODY_BYTES", "0"),
        ("FEEDBACK_BUCKET", "Not_A_Bucket"),
    ],
)
def test_an_illegal_value_is_refused_by_key_without_repeating_it(key: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f"^{key}: ") as refusal:
        Settings.from_env({"ENDPOINT_NAME": "sentiment", key: value})
    assert len(str(refusal.value)) < 120


def test_the_slowest_answer_leaves_a_second_of_the_function_and_the_api_outlasts_both() -> None:
    settings = Settings("sentiment")
    assert settings.slowest_answer_s == 2 * (1 + 12) + 0.5
    assert settings.slowest_answer_s < settings.function_timeout_s - 1
    assert settings.function_timeout_s < API_TIMEOUT_S


@pytest.mark.parametrize(
    "slow",
    [
        {"MAX_ATTEMPTS": "3"},
        {"READ_TIMEOUT_S": "14"},
        {"FUNCTION_TIMEOUT_S": "27"},
        {"FUNCTION_TIMEOUT_S": "30"},
    ],
)
def test_settings_that_could_outlast_the_function_are_refused(slow: dict[str, str]) -> None:
    with pytest.raises(SettingsError, match="the slowest answer would take"):
        Settings.from_env({"ENDPOINT_NAME": "sentiment", **slow})


@given(
    attempts=st.integers(1, 5),
    connect=st.floats(0.1, 30),
    read=st.floats(0.1, 60),
    timeout=st.floats(1, 900),
)
def test_no_accepted_setting_breaks_the_time_budget(
    attempts: int, connect: float, read: float, timeout: float
) -> None:
    try:
        settings = Settings(
            "sentiment",
            max_attempts=attempts,
            connect_timeout_s=connect,
            read_timeout_s=read,
            function_timeout_s=timeout,
        )
    except SettingsError:
        return
    spent = attempts * (connect + read) + (attempts - 1) * settings.backoff_s
    assert spent < timeout - 1
    assert timeout < API_TIMEOUT_S
