"""A serverless endpoint goes back by itself from a version that sets an alarm off."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta

import pytest
from deploy_model.app import Outcome, converge
from deploy_model.settings import Settings
from deploy_model.watch import WATCH

from tests.deploy_model.world import BUCKET, ROLE, TOPIC, World

ALARM = "sentiment-endpoint-5xx"
SETTINGS = Settings(
    "sentiment",
    "sentiment",
    ROLE,
    BUCKET,
    rollback_alarm_names=(ALARM,),
    alarm_topic_arn=TOPIC,
)


@pytest.fixture
def world() -> World:
    made = World(alarms={ALARM})
    for _ in range(2):
        approve(made)
        made.clock += timedelta(hours=2)
    made.sent.clear()
    return made


def wake(world: World) -> Outcome:
    return converge(world.surroundings, SETTINGS)


def approve(world: World) -> int:
    version = world.register("Approved")
    come_to_rest(world)
    return version


def come_to_rest(world: World) -> Outcome:
    for _ in range(4):
        outcome = wake(world)
        world.settle()
    return outcome


def test_a_new_version_that_sets_the_alarm_off_is_rejected_and_the_one_before_served(
    world: World,
) -> None:
    world.sets_off[3] = ALARM
    assert approve(world) == 3
    assert come_to_rest(world)["status"] == "in_service"
    assert (world.served(), world.packages[3].status) == (2, "Rejected")
    (message,) = world.messages
    assert message == f"alarm {ALARM} rang after version 3 came into service; it is rejected"
    history = [json.loads(body) for key, body in world.objects.items() if "/history/" in key]
    (failed,) = [one for one in history if one["outcome"] == "failed"]
    assert (failed["version"], failed["reason"]) == (3, message.removesuffix("; it is rejected"))


def test_a_version_that_was_rolled_back_is_served_once_it_is_approved_again(world: World) -> None:
    world.sets_off[3] = ALARM
    approve(world)
    world.sets_off.clear()
    wake(world)
    world.review(3, "Approved")
    come_to_rest(world)
    assert world.served() == 3


def test_an_alarm_that_rang_before_the_version_came_is_not_its_doing(world: World) -> None:
    world.sets_off[2] = ALARM
    wake(world)
    world.clock += timedelta(minutes=5)
    world.sets_off[3] = ALARM
    approve(world)
    assert (world.served(), world.packages[3].status) == (3, "Approved")


def test_an_alarm_that_the_version_before_sets_off_during_the_update_is_not_its_doing(
    world: World,
) -> None:
    world.register("Approved")
    wake(world)
    world.sets_off = {2: ALARM, 3: ALARM}
    wake(world)  # it rings, and has not stopped when the endpoint is done
    world.settle()
    come_to_rest(world)
    assert (world.served(), world.packages[3].status) == (3, "Approved")


def test_maintenance_of_the_endpoint_does_not_make_its_version_a_new_one(world: World) -> None:
    approve(world)
    world.clock += WATCH + timedelta(hours=1)
    world.maintain()
    world.settle()
    world.sets_off[3] = ALARM
    come_to_rest(world)
    assert (world.served(), world.packages[3].status) == (3, "Approved")


def test_what_is_gone_back_to_is_kept_though_the_alarm_rings_again(world: World) -> None:
    world.sets_off[3] = ALARM
    approve(world)
    wake(world)  # and it rings no more
    world.sets_off[2] = ALARM
    come_to_rest(world)
    assert (world.served(), world.packages[2].status) == (2, "Approved")


def test_an_alarm_later_than_the_watch_changes_nothing(world: World) -> None:
    approve(world)
    world.clock += WATCH + timedelta(minutes=1)
    world.sets_off[3] = ALARM
    come_to_rest(world)
    assert world.served() == 3


def test_the_only_version_is_not_taken_away() -> None:
    world = World(alarms={ALARM}, sets_off={1: ALARM})
    approve(world)
    assert (world.served(), world.packages[1].status) == (1, "Approved")


def test_a_version_without_its_alarm_is_served_all_the_same(world: World) -> None:
    world.alarms.clear()
    assert approve(world) == world.served() == 3


def test_on_machines_sagemaker_sees_to_it(world: World) -> None:
    machines = replace(SETTINGS, endpoint_mode="RealTime")
    version = world.register("Approved")
    for _ in range(4):
        converge(world.surroundings, machines)
        world.settle()
    world.sets_off[version] = ALARM
    converge(world.surroundings, machines)
    assert (world.served(), world.packages[version].status) == (version, "Approved")
