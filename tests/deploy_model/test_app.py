from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from io import StringIO
from threading import Thread
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError
from deploy_model import app
from deploy_model.app import Outcome, converge, requested_package
from deploy_model.errors import EventError, LeaseHeldError, SettingsError
from deploy_model.logs import logger
from deploy_model.settings import Settings

from tests.deploy_model.world import ARN, BUCKET, ROLE, Refused, World

Call = Callable[..., Outcome]
Event = Callable[[str], dict[str, Any]]


def serve(world: World, call: Call, version: int | None = None) -> int:
    """Approve a version, newly registered if none is named, and wait until it is in service."""
    version = version or world.register()
    world.review(version, "Approved")
    call()
    world.settle()
    call()
    world.sent.clear()
    return version


def test_nothing_registered_is_nothing_to_do(world: World, call: Call) -> None:
    assert call()["status"] == "nothing_approved"
    assert world.sent == []


def test_a_pending_package_is_left_alone(world: World, call: Call) -> None:
    version = world.register()
    outcome = call(world.packages[version].arn)
    assert outcome["status"] == "awaiting_approval"
    assert outcome["model_package_arn"] == world.packages[version].arn
    assert outcome["message"] == "version 1 awaits approval; there is no endpoint"
    assert world.sent == []


def test_an_approved_package_is_brought_into_service(world: World, call: Call) -> None:
    version = world.register("Approved")
    assert call()["status"] == "deploying"
    assert world.changes() == ["CreateModel", "CreateEndpointConfig", "CreateEndpoint"]
    world.settle()
    assert call()["status"] == "in_service"
    assert world.served() == version


def test_a_repeated_event_changes_nothing(world: World, call: Call) -> None:
    serve(world, call)
    for _ in range(3):
        assert call()["status"] == "in_service"
    assert world.sent == []


def test_the_version_approved_last_is_served_not_the_highest(world: World, call: Call) -> None:
    first, second = world.register(), world.register()
    serve(world, call, second)
    serve(world, call, first)
    assert world.served() == first


def test_the_pipeline_is_told_that_its_version_waits_while_another_serves(
    world: World, call: Call
) -> None:
    served = serve(world, call)
    waiting = world.packages[world.register()]
    outcome = call(waiting.arn)
    assert outcome["status"] == "awaiting_approval"
    assert outcome["model_package_arn"] == waiting.arn
    assert f"version {served} is in service" in outcome["message"]


def test_the_pipeline_is_told_when_its_version_was_rejected(world: World, call: Call) -> None:
    serve(world, call)
    rejected = world.register("Rejected")
    outcome = call(world.packages[rejected].arn)
    assert outcome["status"] == "in_service"
    assert outcome["message"].startswith(f"version {rejected} is Rejected")


def test_a_package_of_another_group_is_refused(world: World, call: Call) -> None:
    with pytest.raises(EventError, match="not in the group sentiment"):
        call(f"{ARN}:model-package/other/1")


def test_rejecting_the_served_version_rolls_back_and_approving_it_again_returns(
    world: World, call: Call
) -> None:
    first, second = serve(world, call), serve(world, call)
    world.review(second, "Rejected")
    call()
    world.settle()
    assert world.served() == first
    serve(world, call, second)
    assert world.served() == second


def test_an_update_in_flight_is_waited_for(world: World, call: Call) -> None:
    serve(world, call)
    world.register("Approved")
    call()
    world.register("Approved")
    world.sent.clear()
    outcome = call()
    assert (outcome["status"], world.sent) == ("deploying", [])
    world.settle()
    call()
    world.settle()
    assert world.served() == 3


def test_a_failed_update_is_reported_and_not_tried_again(world: World, call: Call) -> None:
    good = serve(world, call)
    world.bad.add(good + 1)
    bad = serve(world, call)
    outcome = call()
    assert outcome["status"] == "failed"
    assert outcome["message"] == (
        f"version {bad} did not come into service (did not pass the ping health check); "
        f"version {good} keeps serving; approve it again to retry, or reject it"
    )
    assert world.served() == good
    assert world.sent == []


def test_a_failed_version_is_tried_again_once_approved_again(world: World, call: Call) -> None:
    serve(world, call)
    world.bad.add(2)
    bad = serve(world, call)
    world.bad.clear()
    serve(world, call, bad)
    assert world.served() == bad


def test_a_failed_version_is_tried_again_with_other_settings(
    world: World, call: Call, settings: Settings
) -> None:
    serve(world, call)
    world.bad.add(2)
    serve(world, call)
    world.bad.clear()
    converge(world.surroundings, replace(settings, serverless_memory_mb=6144))
    world.settle()
    assert world.served() == 2


def test_rejecting_a_failed_version_leaves_the_old_one_serving(world: World, call: Call) -> None:
    good = serve(world, call)
    world.bad.add(2)
    bad = serve(world, call)
    world.review(bad, "Rejected")
    assert call()["status"] == "in_service"
    assert (world.served(), world.sent) == (good, [])


def test_a_roll_back_that_fails_says_that_a_rejected_version_keeps_serving(
    world: World, call: Call
) -> None:
    first, second = serve(world, call), serve(world, call)
    world.bad.add(first)
    world.review(second, "Rejected")
    call()
    world.settle()
    outcome = call()
    assert outcome["status"] == "failed"
    assert f"version {second} is Rejected but keeps serving" in outcome["message"]


def test_an_endpoint_that_never_came_up_is_reported_and_not_made_again(
    world: World, call: Call
) -> None:
    world.bad.add(1)
    serve(world, call)
    outcome = call()
    assert outcome["status"] == "failed"
    assert "nothing is served" in outcome["message"]
    assert world.sent == []


def test_an_endpoint_that_never_came_up_is_replaced_by_the_next_version(
    world: World, call: Call
) -> None:
    world.bad.add(1)
    serve(world, call)
    world.register("Approved")
    call()
    assert world.changes() == ["DeleteEndpoint"]
    world.settle()
    call()
    world.settle()
    assert world.served() == 2


def test_rejecting_the_only_version_deletes_the_endpoint(world: World, call: Call) -> None:
    only = serve(world, call)
    world.review(only, "Rejected")
    assert call()["status"] == "nothing_approved"
    assert world.changes() == ["PutObject", "DeleteEndpoint"]
    world.settle()
    assert world.endpoint is None
    assert call()["status"] == "nothing_approved"


def test_withdrawing_the_only_approval_deletes_the_endpoint(world: World, call: Call) -> None:
    only = serve(world, call)
    world.review(only, "PendingManualApproval")
    assert call()["status"] == "awaiting_approval"
    assert world.changes() == ["PutObject", "DeleteEndpoint"]


def test_approving_again_after_the_endpoint_was_deleted_brings_it_back(
    world: World, call: Call
) -> None:
    only = serve(world, call)
    world.review(only, "Rejected")
    call()
    world.settle()
    serve(world, call, only)
    assert world.served() == only


def test_an_endpoint_that_serves_nothing_of_this_group_is_not_deleted(
    world: World, call: Call
) -> None:
    serve(world, call)
    world.packages.clear()
    outcome = call()
    assert outcome["status"] == "nothing_approved"
    assert "left alone" in outcome["message"]
    assert world.sent == []


def test_changed_settings_are_rolled_out(world: World, call: Call, settings: Settings) -> None:
    serve(world, call)
    larger = replace(settings, serverless_memory_mb=6144)
    converge(world.surroundings, larger)
    world.settle()
    assert converge(world.surroundings, larger)["status"] == "in_service"
    assert world.endpoint is not None
    variant = world.configs[world.endpoint.config]["ProductionVariants"][0]
    assert variant["ServerlessConfig"]["MemorySizeInMB"] == 6144


def test_only_the_last_three_configs_and_their_models_are_kept(world: World, call: Call) -> None:
    world.models["someone-elses-sentiment"] = {"CreationTime": world.tick()}
    for _ in range(6):
        serve(world, call)
    assert len(world.configs) == 3
    assert sorted(world.version_of(config) for config in world.configs) == [4, 5, 6]
    assert len(world.models) == 4
    assert "someone-elses-sentiment" in world.models


def test_a_model_that_a_roll_out_has_just_made_is_not_tidied_away(world: World, call: Call) -> None:
    serve(world, call)
    begun = "sentiment-v2-0123456789"
    world.models[begun] = {"CreationTime": world.tick()}
    call()
    assert begun in world.models


def test_a_package_that_is_still_being_made_is_not_deployed(world: World, call: Call) -> None:
    world.register("Approved")
    describe = world._DescribeModelPackage
    world._DescribeModelPackage = lambda ModelPackageName: {  # type: ignore[method-assign]
        **describe(ModelPackageName),
        "ModelPackageStatus": "InProgress",
    }
    assert call()["status"] == "nothing_approved"


def test_a_package_deleted_while_it_is_looked_at_is_not_deployed(world: World, call: Call) -> None:
    world.register("Approved")

    def describe(ModelPackageName: str) -> dict[str, Any]:
        raise Refused(f"ModelPackage {ModelPackageName} does not exist.")

    world._DescribeModelPackage = describe  # type: ignore[method-assign]
    assert call()["status"] == "nothing_approved"


def test_without_a_registry_group_nothing_is_approved(world: World, call: Call) -> None:
    def refuse(ModelPackageGroupName: str) -> dict[str, Any]:
        raise Refused(f"Model package group {ModelPackageGroupName} does not exist.")

    world._ListModelPackages = refuse  # type: ignore[method-assign]
    assert call()["status"] == "nothing_approved"


def test_an_endpoint_whose_model_is_gone_is_left_alone_when_nothing_is_approved(
    world: World, call: Call
) -> None:
    only = serve(world, call)
    world.models.clear()
    world.review(only, "Rejected")
    assert call()["status"] == "nothing_approved"
    assert world.sent == []


@pytest.mark.parametrize(
    "operation",
    ["ListModelPackages", "DescribeModelPackage", "DescribeEndpoint", "DescribeEndpointConfig"],
)
def test_what_cannot_be_read_is_raised_and_nothing_is_changed(
    world: World, call: Call, operation: str
) -> None:
    def refuse(**_: Any) -> dict[str, Any]:
        raise Refused("You are not allowed to do this.")

    serve(world, call)
    world.register("Approved")
    setattr(world, f"_{operation}", refuse)
    with pytest.raises(ClientError, match="not allowed"):
        call()
    assert world.sent == []


def test_a_config_that_someone_else_has_tidied_away_is_gone_all_the_same(
    world: World, call: Call
) -> None:
    for _ in range(3):
        serve(world, call)
    world.register("Approved")
    call()
    world.settle()

    def vanish(operation: str) -> None:
        if operation == "DeleteEndpointConfig":
            world.interfere = lambda operation: None
            del world.configs[min(world.configs, key=lambda n: world.configs[n]["CreationTime"])]

    world.interfere = vanish
    assert call()["status"] == "in_service"
    assert len(world.configs) == 3


def test_an_update_that_is_refused_because_one_is_in_flight_is_left_to_it(
    world: World, call: Call
) -> None:
    serve(world, call)
    world.register("Approved")

    def begin(operation: str) -> None:
        if operation == "UpdateEndpoint":
            world.interfere = lambda operation: None
            world.forget_lease()
            call()

    world.interfere = begin
    assert call()["status"] == "deploying"
    assert world.updates == 1


def test_a_refusal_that_looking_again_would_not_mend_is_raised(world: World, call: Call) -> None:
    def refuse(**_: Any) -> dict[str, Any]:
        raise Refused("The execution role is not assumable.")

    world.register("Approved")
    world._CreateModel = refuse  # type: ignore[method-assign]
    with pytest.raises(ClientError, match="not assumable"):
        call()


def test_an_update_that_someone_else_began_meanwhile_is_not_sent_again(
    world: World, call: Call
) -> None:
    """Between our look and our update another invocation has sent the same update."""
    serve(world, call)
    world.register("Approved")

    def begin(operation: str) -> None:
        if operation == "CreateEndpointConfig":
            world.interfere = lambda operation: None
            world.forget_lease()
            call()

    world.interfere = begin
    assert call()["status"] == "deploying"
    assert world.changes().count("UpdateEndpoint") == 1


def test_an_endpoint_that_someone_else_made_meanwhile_is_looked_at_again(
    world: World, call: Call
) -> None:
    world.register("Approved")

    def begin(operation: str) -> None:
        if operation == "CreateEndpoint":
            world.interfere = lambda operation: None
            world.forget_lease()
            call()

    world.interfere = begin
    assert call()["status"] == "deploying"
    world.settle()
    assert world.served() == 1


def test_the_same_event_from_twenty_threads_makes_one_update(
    world: World, settings: Settings, call: Call
) -> None:
    serve(world, call)
    world.register("Approved")

    def wake_five_times() -> None:
        for _ in range(5):
            with suppress(LeaseHeldError):
                converge(world.surroundings, settings)

    threads = [Thread(target=wake_five_times) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert world.endpoint is not None and world.endpoint.status == "Updating"
    assert world.updates == 1


@pytest.mark.parametrize(
    ("name", "asked_for"),
    [
        ("package_approved", None),
        ("endpoint_in_service", None),
        ("reconcile", None),
        ("deploy_step", f"{ARN}:model-package/sentiment/1"),
    ],
)
def test_each_event_that_wakes_it_is_known(event: Event, name: str, asked_for: str | None) -> None:
    assert requested_package(event(name)) == asked_for


@pytest.mark.parametrize(
    "event",
    [{}, {"reconcile": False}, {"detail-type": "Object Created"}, {"model_package_arn": 1}],
)
def test_any_other_event_is_refused_with_the_known_ones(event: dict[str, Any]) -> None:
    with pytest.raises(EventError, match=r"known are .*reconcile.*SageMaker Endpoint State Change"):
        requested_package(event)


def test_the_handler_reads_its_environment_and_logs_one_line(
    world: World,
    event: Event,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world.register("Approved")
    monkeypatch.setenv("MODEL_PACKAGE_GROUP_NAME", "sentiment")
    monkeypatch.setenv("ENDPOINT_NAME", "sentiment")
    monkeypatch.setenv("EXECUTION_ROLE_ARN", ROLE)
    monkeypatch.setenv("ARTIFACT_BUCKET", BUCKET)
    monkeypatch.setattr(app, "_client", world.client)
    lines = StringIO()
    monkeypatch.setattr(logger.registered_handler, "stream", lines)
    outcome = app.handler(event("package_approved"), SimpleNamespace(aws_request_id="abc"))
    assert outcome["status"] == "deploying"
    assert outcome["endpoint_name"] == "sentiment"
    last = json.loads(lines.getvalue().splitlines()[-1])
    assert (last["event"], last["request_id"], last["status"]) == (
        "converged",
        "abc",
        "deploying",
    )


def test_the_handler_names_a_missing_setting(event: Event, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ENDPOINT_NAME", raising=False)
    monkeypatch.setenv("MODEL_PACKAGE_GROUP_NAME", "sentiment")
    with pytest.raises(SettingsError, match=r"^ENDPOINT_NAME: missing$"):
        app.handler(event("reconcile"), None)
