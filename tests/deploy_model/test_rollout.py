from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import botocore.session
import pytest
from botocore.validate import ParamValidator
from deploy_model.observed import Endpoint, ModelPackage
from deploy_model.rollout import (
    Rollout,
    delete_endpoint,
    delete_endpoint_config,
    delete_model,
    is_config_of,
    is_model_of,
    model_of,
)
from deploy_model.settings import Settings
from deploy_model.variants import Request
from hypothesis import given
from hypothesis import strategies as st

from tests.deploy_model.world import ARN, BUCKET, ROLE, violations

SAGEMAKER = botocore.session.get_session().get_service_model("sagemaker")
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
letters = st.text("aZ9", min_size=1, max_size=1)
entity_names = letters | st.builds(
    "".join, st.tuples(letters, st.text("aZ9-", max_size=61), letters)
)


def a_package(version: int = 1, approved_at: datetime = NOON) -> ModelPackage:
    arn = f"{ARN}:model-package/sentiment/{version}"
    return ModelPackage(arn, version, "Approved", approved_at)


def a_rollout(replaces: str | None = None, version: int = 1) -> Rollout:
    return Rollout(Settings("sentiment", "sentiment", ROLE, BUCKET), a_package(version), replaces)


def all_requests(rollout: Rollout) -> list[Request]:
    return [
        *rollout.create_models(),
        rollout.create_endpoint_config(),
        rollout.create_endpoint(),
        rollout.update_endpoint(Endpoint("InService", "before", NOON)),
        delete_endpoint(rollout.settings),
        delete_endpoint_config(rollout.config_name),
        delete_model(rollout.model_name),
    ]


@given(
    endpoint_name=entity_names,
    version=st.integers(1, 9_999_999),
    memory=st.sampled_from([1024, 6144]),
    replaces=st.none() | entity_names,
)
def test_every_request_is_one_that_sagemaker_takes(
    endpoint_name: str, version: int, memory: int, replaces: str | None
) -> None:
    settings = Settings("sentiment", endpoint_name, ROLE, BUCKET, serverless_memory_mb=memory)
    for request in all_requests(Rollout(settings, a_package(version), replaces)):
        shape = SAGEMAKER.operation_model(request.operation).input_shape
        assert shape is not None
        assert not ParamValidator().validate(dict(request.parameters), shape).has_errors()
        assert violations(shape, request.parameters) == []


@given(endpoint_name=entity_names, other_name=entity_names, version=st.integers(1, 9_999_999))
def test_a_name_tells_which_endpoint_it_was_made_for(
    endpoint_name: str, other_name: str, version: int
) -> None:
    settings = Settings("sentiment", endpoint_name, ROLE, BUCKET)
    rollout = Rollout(settings, a_package(version), None)
    assert is_model_of(settings, rollout.model_name)
    assert is_config_of(settings, rollout.config_name)
    assert model_of(rollout.config_name) == rollout.model_name
    if other_name != endpoint_name:
        assert not is_model_of(replace(settings, endpoint_name=other_name), rollout.model_name)
        assert not is_config_of(replace(settings, endpoint_name=other_name), rollout.config_name)


@pytest.mark.parametrize(
    "name",
    ["sentiment-v1", "sentiment-dev-v1-0123456789", "sentiment-v1-0123456789x", "other", ""],
)
def test_a_name_someone_else_gave_is_not_ours(name: str) -> None:
    assert not is_model_of(Settings("sentiment", "sentiment", ROLE, BUCKET), name)
    assert not is_config_of(Settings("sentiment", "sentiment", ROLE, BUCKET), name)


def test_asking_twice_gives_the_same_names() -> None:
    assert a_rollout("old") == a_rollout("old")
    assert a_rollout("old").config_name == a_rollout("old").config_name


def test_the_attempt_changes_the_config_but_not_the_model() -> None:
    first, later = a_rollout(), a_rollout(replaces="sentiment-v2-0123456789-01234567")
    assert first.model_name == later.model_name
    assert first.config_name != later.config_name
    assert later.is_served_by(first.config_name)


def test_approving_again_is_a_new_attempt() -> None:
    first = a_rollout()
    again = replace(first, package=a_package(approved_at=NOON + timedelta(seconds=1)))
    assert again.config_name != first.config_name


@pytest.mark.parametrize(
    "change",
    [
        {"serverless_memory_mb": 4096},
        {"serverless_max_concurrency": 9},
        {"execution_role_arn": f"{ROLE}-other"},
    ],
)
def test_other_settings_give_another_model_so_that_it_is_rolled_out(
    change: dict[str, object],
) -> None:
    first = a_rollout()
    other = replace(first, settings=replace(first.settings, **change))  # type: ignore[arg-type]
    assert not other.is_served_by(first.config_name)


def test_a_model_is_cut_off_from_the_network_only_where_its_endpoint_may_be() -> None:
    serverless = a_rollout()
    settings = replace(
        serverless.settings, endpoint_mode="RealTime", rollback_alarm_names=("errors",)
    )
    on_machines = replace(serverless, settings=settings)
    assert "EnableNetworkIsolation" not in serverless.create_models()[0].parameters
    assert on_machines.create_models()[0].parameters["EnableNetworkIsolation"] is True


def test_a_model_is_tagged_and_knows_its_version() -> None:
    parameters = a_rollout(version=7).create_models()[0].parameters
    assert parameters["PrimaryContainer"]["Environment"] == {"MODEL_VERSION": "7"}
    assert {"Key": "sagemaker:project-name", "Value": "sentiment"} in parameters["Tags"]
