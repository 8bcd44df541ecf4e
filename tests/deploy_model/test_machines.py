"""Roll-outs on machines: canary with alarms, scaling, shadow, and the way there and back."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime
from itertools import product
from typing import Any

import botocore.session
import pytest
from botocore.exceptions import ClientError
from botocore.validate import ParamValidator
from deploy_model.app import Outcome, converge
from deploy_model.errors import SettingsError
from deploy_model.notes import FAILED_REASON, failure
from deploy_model.observed import Endpoint, ModelPackage
from deploy_model.rollout import Rollout, delete_endpoint, note, record, reject, tell
from deploy_model.settings import Settings
from deploy_model.variants import Request, scale, stop_scaling

from pipeline.notes import plain
from tests.deploy_model.world import ARN, BUCKET, ROLE, TOPIC, World, violations

ALARMS = ("sentiment-endpoint-5xx", "sentiment-endpoint-latency")
KEY = "arn:aws:kms:us-east-1:000000000000:key/1"
SERVERLESS = Settings("sentiment", "sentiment", ROLE, BUCKET)
MACHINES = replace(SERVERLESS, endpoint_mode="RealTime", rollback_alarm_names=ALARMS)
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
COMBINATIONS = [
    (mode, key, shadow, capture)
    for mode, key, shadow, capture in product(
        ("Serverless", "RealTime"), ("", KEY), (0, 2), (0, 50)
    )
    if mode == "RealTime" or not shadow
]


@pytest.fixture
def world() -> World:
    made = World()
    made.alarms = set(ALARMS)
    return made


def wake(world: World, settings: Settings = MACHINES) -> Outcome:
    return converge(world.surroundings, settings)


def serve(world: World, settings: Settings = MACHINES) -> int:
    version = world.register("Approved")
    for _ in range(2):
        wake(world, settings)
        world.settle()
    wake(world, settings)
    world.sent.clear()
    return version


def sent(world: World, operation: str) -> dict[str, Any]:
    (parameters,) = [dict(p) for name, p in world.sent if name == operation]
    return parameters


def a_package(version: int) -> ModelPackage:
    return ModelPackage(f"{ARN}:model-package/sentiment/{version}", version, "Approved", NOON)


def requests(settings: Settings) -> list[Request]:
    """Every request that a plan can hold."""
    shadow = a_package(2) if settings.shadow_version else None
    rollout = Rollout(settings, a_package(1), "before", shadow)
    on_machines = Endpoint("InService", "before", NOON, instance_type="ml.m5.large")
    return [
        *rollout.create_models(),
        rollout.create_endpoint_config(),
        rollout.create_endpoint(),
        rollout.update_endpoint(Endpoint("InService", "before", NOON)),
        rollout.update_endpoint(on_machines),
        rollout.update_endpoint(on_machines, is_guarded=False),
        delete_endpoint(settings),
        record(settings, rollout.config_name, {"outcome": "served"}),
        reject(a_package(1), "rolled back"),
        note(a_package(1), {"noted_at": NOON.isoformat()}),
        tell(settings, "subject", "message"),
        *scale(settings),
        stop_scaling(settings),
    ]


@pytest.mark.parametrize(("mode", "key", "shadow", "capture"), COMBINATIONS)
def test_every_request_in_every_mode_is_one_that_aws_takes(
    mode: str, key: str, shadow: int, capture: int
) -> None:
    settings = replace(
        MACHINES,
        endpoint_mode=mode,
        kms_key_arn=key,
        shadow_version=shadow,
        data_capture_percent=capture,
        alarm_topic_arn=TOPIC,
    )
    session = botocore.session.get_session()
    for request in requests(settings):
        model = session.get_service_model(request.service)
        shape = model.operation_model(request.operation).input_shape
        assert shape is not None
        report = ParamValidator().validate(dict(request.parameters), shape)
        assert not report.has_errors(), report.generate_report()
        if request.service == "sagemaker":
            assert violations(shape, request.parameters) == []


def test_an_update_shifts_a_part_first_and_watches_the_alarms(world: World) -> None:
    serve(world)
    world.register("Approved")
    wake(world)
    deployment = sent(world, "UpdateEndpoint")["DeploymentConfig"]
    routing = deployment["BlueGreenUpdatePolicy"]["TrafficRoutingConfiguration"]
    assert routing["Type"] == "CANARY"
    assert routing["CanarySize"] == {"Type": "CAPACITY_PERCENT", "Value": 25}
    alarms = deployment["AutoRollbackConfiguration"]["Alarms"]
    assert [one["AlarmName"] for one in alarms] == list(ALARMS)


def test_of_one_machine_there_is_no_part_to_shift(world: World) -> None:
    one = replace(MACHINES, instance_count=1)
    serve(world, one)
    world.register("Approved")
    wake(world, one)
    deployment = sent(world, "UpdateEndpoint")["DeploymentConfig"]
    routing = deployment["BlueGreenUpdatePolicy"]["TrafficRoutingConfiguration"]
    assert routing["Type"] == "ALL_AT_ONCE"
    assert deployment["AutoRollbackConfiguration"]["Alarms"]


def test_a_missing_alarm_refuses_the_canary(world: World) -> None:
    serve(world)
    world.alarms.discard(ALARMS[0])
    version = world.register("Approved")
    outcome = wake(world)
    assert outcome["status"] == "failed"
    assert f"there is no alarm {ALARMS[0]}" in outcome["message"]
    assert world.sent == []
    world.alarms.add(ALARMS[0])
    wake(world)
    world.settle()
    assert world.served() == version


def test_machines_without_an_alarm_are_no_setting() -> None:
    with pytest.raises(SettingsError, match=r"^ROLLBACK_ALARM_NAMES: RealTime needs 1 to 10"):
        replace(MACHINES, rollback_alarm_names=())


def test_machines_follow_the_traffic_once_they_serve(world: World) -> None:
    serve(world)
    assert world.scaling is not None
    assert (world.scaling["MinCapacity"], world.scaling["MaxCapacity"]) == (2, 4)
    wake(world)
    assert world.sent == []
    wake(world, replace(MACHINES, max_instance_count=9, invocations_per_instance=100))
    assert world.changes() == ["RegisterScalableTarget", "PutScalingPolicy"]


def test_what_came_into_service_is_recorded_though_scaling_is_refused(world: World) -> None:
    def refuse(operation: str) -> None:
        if operation == "RegisterScalableTarget":
            raise PermissionError(operation)

    world.interfere = refuse
    with pytest.raises(PermissionError):
        serve(world)
    assert any("/history/" in key for key in world.objects)


def test_machines_of_another_type_are_out_of_autoscalings_hands_meanwhile(world: World) -> None:
    version = serve(world)
    larger = replace(MACHINES, instance_type="ml.c5.xlarge")
    wake(world, larger)
    operations = world.changes()
    assert operations.index("DeregisterScalableTarget") < operations.index("UpdateEndpoint")
    world.settle()
    wake(world, larger)
    assert world.served() == version
    assert world.scaling is not None


LARGER = replace(MACHINES, instance_type="ml.c5.xlarge")


def test_machines_that_serve_on_are_scaled_again_where_a_change_of_their_type_is_rolled_back(
    world: World,
) -> None:
    version = serve(world)
    world.bad_machines.add("ml.c5.xlarge")
    wake(world, LARGER)
    assert world.scaling is None
    world.settle()
    assert wake(world, LARGER)["status"] == "failed"
    assert world.served() == version
    assert world.scaling is not None
    world.sent.clear()
    wake(world, LARGER)
    assert world.sent == []


def test_machines_that_serve_on_are_scaled_again_where_a_change_of_their_type_is_refused(
    world: World,
) -> None:
    version = serve(world)
    world.lacking.add("ml.c5.xlarge")
    for _ in range(2):
        with pytest.raises(ClientError, match="ResourceLimitExceeded"):
            wake(world, LARGER)
        assert world.scaling is not None
        assert world.endpoint is not None
        world.endpoint.modified_at = world.tick()  # scaled, which is no attempt
    world.lacking.clear()
    wake(world, LARGER)
    world.settle()
    assert (wake(world, LARGER)["status"], world.served()) == ("in_service", version)


def test_a_new_version_starts_on_as_many_machines_as_the_traffic_has_asked_for(
    world: World,
) -> None:
    serve(world)
    world.register("Approved")
    wake(world)
    assert sent(world, "UpdateEndpoint")["RetainAllVariantProperties"] is True


def test_with_a_shadow_the_machines_are_as_many_as_are_set(world: World) -> None:
    serve(world)
    wake(world, replace(MACHINES, shadow_version=world.register()))
    assert sent(world, "UpdateEndpoint")["RetainAllVariantProperties"] is False


def test_a_new_version_on_the_same_machines_stays_in_autoscalings_hands(world: World) -> None:
    serve(world)
    world.register("Approved")
    wake(world)
    assert "UpdateEndpoint" in world.changes()
    assert "DeregisterScalableTarget" not in world.changes()


def test_moving_to_serverless_makes_the_endpoint_anew(world: World) -> None:
    version = serve(world)
    wake(world, SERVERLESS)
    assert world.changes() == ["DeregisterScalableTarget", "DeleteEndpoint"]
    for _ in range(3):
        world.settle()
        wake(world, SERVERLESS)
    assert wake(world, SERVERLESS)["status"] == "in_service"
    assert (world.served(), world.scaling) == (version, None)


def test_moving_to_machines_updates_the_endpoint(world: World) -> None:
    version = serve(world, SERVERLESS)
    wake(world)
    # SageMaker does not roll back to serverless
    assert "DeploymentConfig" not in sent(world, "UpdateEndpoint")
    world.settle()
    wake(world)
    assert world.served() == version
    assert "DeleteEndpoint" not in world.changes()
    assert world.endpoint is not None
    variant = world.configs[world.endpoint.config]["ProductionVariants"][0]
    assert variant["InstanceType"] == "ml.m5.large"


def test_rejecting_the_last_version_stops_the_scaling_and_deletes_the_endpoint(
    world: World,
) -> None:
    version = serve(world)
    world.review(version, "Rejected")
    wake(world)
    assert world.changes() == ["PutObject", "DeregisterScalableTarget", "DeleteEndpoint"]


def test_a_shadow_gets_a_copy_of_the_traffic_and_goes_with_its_setting(world: World) -> None:
    served = serve(world)
    candidate = world.register()
    compared = replace(MACHINES, shadow_version=candidate)
    wake(world, compared)
    config = sent(world, "CreateEndpointConfig")
    (shadow,) = config["ShadowProductionVariants"]
    assert shadow["VariantName"] == "Shadow"
    package = world.models[shadow["ModelName"]]["PrimaryContainer"]["ModelPackageName"]
    assert package == world.packages[candidate].arn
    world.settle()
    assert (wake(world, compared)["status"], world.served()) == ("in_service", served)
    wake(world)
    world.settle()
    assert world.served() == served
    assert world.endpoint is not None
    assert "ShadowProductionVariants" not in world.configs[world.endpoint.config]


@pytest.mark.parametrize(
    ("sets_off", "why"),
    [
        ("", "did not pass the ping health check"),
        (ALARMS[0], "alarm sentiment-endpoint-5xx tripped"),
        (ALARMS[1], "alarm sentiment-endpoint-latency tripped"),
    ],
    ids=["never healthy", "5xx", "slow"],
)
def test_a_bad_version_is_rolled_back_told_noted_and_not_tried_again(
    world: World, sets_off: str, why: str
) -> None:
    told = replace(MACHINES, alarm_topic_arn=TOPIC)
    good = serve(world, told)
    if sets_off:
        world.sets_off[good + 1] = sets_off
    else:
        world.bad.add(good + 1)
    bad = serve(world, told)
    assert world.served() == good
    assert len(world.messages) == 1
    assert f"version {bad} did not come into service" in world.messages[0]
    assert world.packages[bad].notes["deploy_failed_reason"] == why
    for _ in range(3):
        assert wake(world, told)["status"] == "failed"
    assert (world.sent, len(world.messages)) == ([], 1)
    world.bad.clear()
    world.sets_off.clear()
    world.review(bad, "Approved")
    wake(world, told)
    world.settle()
    assert world.served() == bad


def test_a_rejected_version_goes_though_its_alarm_rings(world: World) -> None:
    good, bad = serve(world), serve(world)
    world.sets_off[bad] = ALARMS[0]
    world.review(bad, "Rejected")
    wake(world)
    world.settle()
    assert wake(world)["status"] == "in_service"
    assert world.served() == good


def test_a_rejected_version_goes_though_its_alarm_begins_to_ring_meanwhile(world: World) -> None:
    good, bad = serve(world), serve(world)
    world.review(bad, "Rejected")
    wake(world)
    world.sets_off[bad] = ALARMS[0]
    world.settle()
    assert world.served() == good


def test_a_version_that_mends_an_alarm_is_not_rolled_back_by_it(world: World) -> None:
    world.sets_off[serve(world)] = ALARMS[1]
    mended = serve(world)
    assert world.served() == mended
    assert world.ringing() == set()


def test_what_is_captured_lies_in_the_bucket_under_the_key() -> None:
    settings = replace(MACHINES, data_capture_percent=10, kms_key_arn=KEY)
    parameters = Rollout(settings, a_package(1), None).create_endpoint_config().parameters
    capture = parameters["DataCaptureConfig"]
    assert capture["DestinationS3Uri"] == f"s3://{BUCKET}/data-capture/"
    assert capture["KmsKeyId"] == parameters["KmsKeyId"] == KEY


@pytest.mark.parametrize(
    ("machine", "given"),
    [
        ("ml.c5.large", True),
        ("ml.m6g.large", True),
        ("ml.m5d.large", False),
        ("ml.g5.xlarge", False),
    ],
)
def test_disks_built_into_a_machine_are_given_no_key(machine: str, given: bool) -> None:
    settings = replace(MACHINES, kms_key_arn=KEY, instance_type=machine)
    parameters = Rollout(settings, a_package(1), None).create_endpoint_config().parameters
    assert ("KmsKeyId" in parameters) == given


def test_a_note_of_several_lines_is_one_that_the_registry_takes() -> None:
    reason = "no capacity\n\tin any zone;\r retry"
    for noted in (failure("m", reason, NOON, NOON)[FAILED_REASON], plain(reason)):
        assert re.fullmatch(r"[\w .:/=+\-@]{1,256}", noted)


@pytest.mark.parametrize(
    ("note", "taken"),
    [("no capacity - é 3", True), ("no\ncapacity", False), ("no; capacity", False)],
)
def test_a_note_is_held_to_the_pattern_of_the_registry(note: str, taken: bool) -> None:
    sagemaker = botocore.session.get_session().get_service_model("sagemaker")
    shape = sagemaker.operation_model("UpdateModelPackage").input_shape
    assert shape is not None
    assert (violations(shape, {"CustomerMetadataProperties": {"k": note}}) == []) == taken
