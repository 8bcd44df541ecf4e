"""Whatever happens and in whichever order, the endpoint ends up serving what the registry says."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta

import botocore.session
import pytest
from botocore.exceptions import ClientError
from deploy_model.app import Outcome, converge
from deploy_model.settings import Settings
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests.deploy_model.world import BUCKET, ROLE, Killed, World

SETTINGS = Settings("sentiment", "sentiment", ROLE, BUCKET)
ALARM = "sentiment-endpoint-5xx"
MACHINES = replace(SETTINGS, endpoint_mode="RealTime", rollback_alarm_names=(ALARM,))
OTHER_MACHINES = replace(MACHINES, instance_type="ml.c5.xlarge", max_instance_count=9)
BAD_MACHINES = replace(MACHINES, instance_type="ml.t2.medium")
# `make soak` asks for more
RUNS = int(os.environ.get("SOAK_RUNS", "200"))
STEPS = int(os.environ.get("SOAK_STEPS", "50"))
STATUSES = ("Approved", "Rejected", "PendingManualApproval")
STATUSES_OF_ENDPOINTS = (
    botocore.session.get_session().get_service_model("sagemaker").shape_for("EndpointStatus").enum
)


class Operators(RuleBasedStateMachine):
    """People review, events come as they please, functions die, endpoints take their time."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World(alarms={ALARM}, bad_machines={BAD_MACHINES.instance_type})
        self.settings = SETTINGS

    @rule(status=st.sampled_from(STATUSES), healthy=st.integers(0, 3))
    def register(self, status: str, healthy: int) -> None:
        version = self.world.register(status)
        if not healthy:
            self.world.bad.add(version)

    @precondition(lambda self: self.world.packages)
    @rule(data=st.data(), status=st.sampled_from(STATUSES))
    def review(self, data: st.DataObject, status: str) -> None:
        """The event that follows may be lost: `wake` is a rule of its own."""
        self.world.review(data.draw(st.sampled_from(sorted(self.world.packages))), status)

    @rule(settings=st.sampled_from((SETTINGS, MACHINES, OTHER_MACHINES, BAD_MACHINES)))
    def reconfigure(self, settings: Settings) -> None:
        self.settings = settings

    @rule(alarms=st.booleans(), quota=st.booleans())
    def have_trouble(self, alarms: bool, quota: bool) -> None:
        self.world.alarms = {ALARM} if alarms else set()
        self.world.lacking = set() if quota else {OTHER_MACHINES.instance_type}

    @rule(times=st.integers(1, 3))
    def wake(self, times: int) -> None:
        for _ in range(times):
            with suppress(ClientError):  # for want of quota
                converge(self.world.surroundings, self.settings)

    @rule(requests_later=st.integers(0, 40), after=st.booleans())
    def wake_and_die(self, requests_later: int, after: bool) -> None:
        cut = self.world.calls + requests_later
        self.world.kill_before, self.world.kill_after = (None, cut) if after else (cut, None)
        with suppress(Killed, ClientError):
            converge(self.world.surroundings, self.settings)
        self.world.kill_before = self.world.kill_after = None

    @rule()
    def maintain(self) -> None:
        """SageMaker sees to its own machines, which changes nothing that is served."""
        self.world.maintain()

    @rule()
    def settle(self) -> None:
        self.world.settle()

    @rule()
    def rest(self) -> None:
        """Nobody does anything until there is nothing left to do."""
        with suppress(ClientError):
            self.come_to_rest()

    @invariant()
    def what_is_in_service_is_never_tidied_away(self) -> None:
        if self.world.endpoint is not None and self.world.endpoint.status == "InService":
            assert self.world.endpoint.config in self.world.configs

    def teardown(self) -> None:
        self.world.lacking = set()
        self.come_to_rest()

    def come_to_rest(self) -> None:
        outcome = run_to_the_end(
            self.world, lambda: converge(self.world.surroundings, self.settings)
        )
        self.assert_that_machines_follow_the_traffic()
        approved = [p for p in self.world.packages.values() if p.status == "Approved"]
        if not approved:
            assert self.world.endpoint is None
            assert outcome["status"] in ("nothing_approved", "awaiting_approval")
            return
        wanted = max(approved, key=lambda p: (p.modified_at or p.created_at, p.version))
        assert outcome["model_package_arn"] == wanted.arn
        if outcome["status"] == "in_service":
            assert self.world.served() == wanted.version
            assert len(self.world.configs) <= 4
            return
        assert outcome["status"] == "failed"
        unguarded = self.settings.on_machines and not self.world.alarms
        assert wanted.version in self.world.bad or self.settings == BAD_MACHINES or unguarded

    def assert_that_machines_follow_the_traffic(self) -> None:
        if self.world.endpoint is None or self.world.endpoint.status != "InService":
            return
        scaling = self.world.scaling
        if "InstanceType" not in self.world.variant(self.world.endpoint.config):
            assert scaling is None
            return
        assert scaling is not None and scaling["policy"] is not None
        assert scaling["MaxCapacity"] == self.settings.max_instance_count


def run_to_the_end(world: World, wake: Callable[[], Outcome]) -> Outcome:
    """What the schedule does: wake until there is nothing left to do, which must come soon."""
    for _ in range(8):
        world.clock += timedelta(minutes=15)
        before = len(world.sent)
        outcome = wake()
        if len(world.sent) == before and not world.in_flight():
            return outcome
        world.settle()
    raise AssertionError("does not come to rest")


Operators.TestCase.settings = hypothesis_settings(
    max_examples=RUNS, stateful_step_count=STEPS, deadline=None
)
TestOperators = Operators.TestCase


@pytest.mark.parametrize("status", STATUSES_OF_ENDPOINTS)
def test_from_whatever_status_an_endpoint_comes_to_serve_what_is_wanted(status: str) -> None:
    world = World()

    def wake() -> Outcome:
        return converge(world.surroundings, SETTINGS)

    world.register("Approved")
    run_to_the_end(world, wake)
    assert world.endpoint is not None
    world.endpoint.status = status
    world.register("Approved")
    assert run_to_the_end(world, wake)["status"] == "in_service"
    assert world.served() == 2
    assert world.endpoint.status == "InService"


def be_killed_at(operation: str, world: World, wake: Callable[[], Outcome]) -> None:
    """One version is served, and the function dies over the next when it asks for an operation."""

    def die(asked: str) -> None:
        if asked == operation:
            raise Killed

    world.register("Approved")
    run_to_the_end(world, wake)
    world.register("Approved")
    world.interfere = die
    with pytest.raises(Killed):
        wake()
    world.interfere = lambda _: None


def test_an_attempt_that_died_before_its_update_is_not_taken_for_one_that_failed() -> None:
    world = World()

    def wake() -> Outcome:
        return converge(world.surroundings, SETTINGS)

    be_killed_at("UpdateEndpoint", world, wake)
    world.bad.add(world.register("Approved"))
    assert run_to_the_end(world, wake)["status"] == "failed"
    world.review(3, "Rejected")
    assert run_to_the_end(world, wake)["status"] == "in_service"
    assert world.served() == 2


@pytest.mark.parametrize("operation", ["UpdateEndpoint", "CreateEndpointConfig"])
def test_an_attempt_that_died_is_not_taken_for_one_because_the_endpoint_was_changed_since(
    operation: str,
) -> None:
    world = World()

    def wake() -> Outcome:
        return converge(world.surroundings, SETTINGS)

    be_killed_at(operation, world, wake)
    world.maintain()
    world.settle()
    assert run_to_the_end(world, wake)["status"] == "in_service"
    assert world.served() == 2


def test_a_bad_version_is_tried_again_once_where_its_attempt_was_not_noted() -> None:
    world = World()

    def wake() -> Outcome:
        return converge(world.surroundings, SETTINGS)

    world.register("Approved")
    run_to_the_end(world, wake)
    world.bad.add(world.register("Approved"))
    world.interfere = lambda asked: kill_when(asked == "PutObject" and world.updates == 1)
    with pytest.raises(Killed):
        wake()
    world.interfere = lambda _: None
    world.settle()
    assert run_to_the_end(world, wake)["status"] == "failed"
    assert (world.served(), world.updates) == (1, 2)


def kill_when(it_is_time: bool) -> None:
    if it_is_time:
        raise Killed


def first_version(world: World) -> int | None:
    world.register("Approved")
    return 1


def next_version(world: World) -> int | None:
    world.register("Approved")
    return 2


def roll_back(world: World) -> int | None:
    world.review(2, "Rejected")
    return 1


def last_rejected(world: World) -> int | None:
    world.review(1, "Rejected")
    return None


def many_versions(world: World) -> int | None:
    return world.register("Approved")


def after_a_failure(world: World) -> int | None:
    world.bad.add(1)
    return world.register("Approved")


def reconfigured(world: World) -> int | None:
    return 1


SCENARIOS = {
    "first version": ([], first_version),
    "next version": ([first_version], next_version),
    "roll-back": ([first_version, next_version], roll_back),
    "last rejected": ([first_version], last_rejected),
    "pruning": ([many_versions] * 4, many_versions),
    "after a failure": ([first_version], after_a_failure),
    "other machines": ([first_version], reconfigured),
    "to serverless": ([first_version], reconfigured),
    "to machines": ([first_version], reconfigured),
}


# before the event, and from it on
RECONFIGURED = {
    "other machines": (MACHINES, OTHER_MACHINES),
    "to serverless": (MACHINES, SETTINGS),
    "to machines": (SETTINGS, MACHINES),
}


def play(scenario: str) -> tuple[World, Callable[[], Outcome], int | None]:
    earlier, event = SCENARIOS[scenario]
    before, since = RECONFIGURED.get(scenario, (SETTINGS, SETTINGS))
    world, settings = World(alarms={ALARM}), [before]

    def wake() -> Outcome:
        return converge(world.surroundings, settings[-1])

    if scenario == "after a failure":
        world.bad.add(1)
    for happened in earlier:
        happened(world)
        run_to_the_end(world, wake)
    world.sent.clear()
    settings.append(since)
    return world, wake, event(world)


def lives_until_it_dies(world: World, wake: Callable[[], Outcome]) -> None:
    """Wake as the schedule does, up to the cut."""
    for _ in range(8):
        world.clock += timedelta(minutes=15)
        try:
            wake()
        except Killed:
            return
        world.settle()


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_dying_at_any_request_is_made_good_by_the_next_call(scenario: str, after: bool) -> None:
    whole, wake, _ = play(scenario)
    begin = whole.calls
    run_to_the_end(whole, wake)
    assert whole.sent
    for cut in range(begin, whole.calls):
        world, wake, wanted = play(scenario)
        world.kill_before, world.kill_after = (None, cut) if after else (cut, None)
        lives_until_it_dies(world, wake)
        assert world.kill_before is None and world.kill_after is None, "the cut was never reached"
        run_to_the_end(world, wake)
        assert world.served() == wanted, f"cut {cut - begin}"
        assert (world.scaling is None) == (whole.scaling is None), f"cut {cut - begin}"
        assert len(world.configs) <= 3
