"""The reviewer's commands on a local account: the real parser, registry and bucket."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from deploy_model import notes as other_half
from hypothesis import given
from hypothesis import strategies as st

from pipeline import notes
from pipeline import target as targets
from pipeline.cli import main
from pipeline.comparison import p_value
from pipeline.registry import APPROVED, REJECTED, Registry
from pipeline.stack.policies import reviewer
from pipeline.target import Target
from tests.pipeline.asking import asked
from tests.pipeline.stack.evaluation import allows

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture(autouse=True)
def here(target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(targets, "open_target", lambda settings: target)


def measured(accuracy: float, deviation: Any = 0.002) -> bytes:
    metric = {"value": accuracy, "standard_deviation": deviation}
    return json.dumps({"binary_classification_metrics": {"accuracy": metric}}).encode()


def register(target: Target, evaluation: bytes = b"{}", report: bool = False, **more: str) -> int:
    """A version with its evaluation, and its report if wanted, in the bucket."""
    number = len(Registry(target).versions()) + 1
    s3, bucket = target.client("s3"), target.account.bucket
    folder = f"runs/{number}/Evaluate/evaluation"
    s3.put_object(Bucket=bucket, Key=f"{folder}/evaluation.json", Body=evaluation)
    if report:
        s3.put_object(Bucket=bucket, Key=f"{folder}/report.html", Body=b"<p>")
    target.client("sagemaker").create_model_package(
        ModelPackageGroupName=target.account.model_package_group,
        CustomerMetadataProperties={"accuracy": "0.9", **more},
        ModelMetrics={
            "ModelQuality": {
                "Statistics": {
                    "ContentType": "application/json",
                    "S3Uri": f"s3://{bucket}/{folder}/evaluation.json",
                }
            }
        },
        InferenceSpecification={
            "Containers": [{"Image": "image", "ModelDataUrl": "s3://bucket/model.tar.gz"}],
            "SupportedContentTypes": ["application/json"],
            "SupportedResponseMIMETypes": ["application/json"],
        },
    )
    return number


def register_approved(target: Target) -> None:
    """Versions 1 and 2, approved in this order."""
    for _ in range(2):
        Registry(target).decide(register(target), APPROVED, "good")


def fail(target: Target, number: int, reason: str) -> None:
    """The deploy function's note that a version did not come into service."""
    version = Registry(target).find(number)
    noted = other_half.failure("model", reason, version.approved_at, datetime.now(UTC))
    target.client("sagemaker").update_model_package(
        ModelPackageArn=version.arn, CustomerMetadataProperties=noted
    )


def serve(target: Target, version: int) -> None:
    """An endpoint whose model is that version's, named as the deploy function names them."""
    sagemaker, arn = target.client("sagemaker"), Registry(target).find(version).arn
    model = f"{target.account.endpoint_name}-v{version}-0123456789"
    config = f"{model}-01234567"
    sagemaker.create_model(
        ModelName=model,
        ExecutionRoleArn=target.account.role_arn,
        PrimaryContainer={"ModelPackageName": arn},
    )
    variant = {"VariantName": "AllTraffic", "ModelName": model, "InitialVariantWeight": 1.0}
    sizes = {"ServerlessConfig": {"MemorySizeInMB": 1024, "MaxConcurrency": 1}}
    sagemaker.create_endpoint_config(
        EndpointConfigName=config, ProductionVariants=[{**variant, **sizes}]
    )
    sagemaker.create_endpoint(EndpointName=target.account.endpoint_name, EndpointConfigName=config)


def test_two_versions_are_compared_by_metric_data_and_code(
    target: Target, capsys: pytest.CaptureFixture[str]
) -> None:
    register(target, measured(0.90), source_commit="aaa", data_sha256="x", code_digest="1")
    register(target, measured(0.92), source_commit="bbb-modified", data_sha256="x", code_digest="2")
    assert main(["registry", "compare", "1", "2"]) == 0
    shown = capsys.readouterr().out
    assert "accuracy  0.9000     0.9200     +0.0200     0.000  better" in shown
    assert "code_digest" in shown
    assert "data_sha256" not in shown
    assert "git log aaa..bbb" in shown


def test_a_difference_within_chance_is_called_so(
    target: Target, capsys: pytest.CaptureFixture[str]
) -> None:
    register(target, measured(0.900))
    register(target, measured(0.902))
    assert main(["--json", "registry", "compare", "1", "2"]) == 0
    found = json.loads(capsys.readouterr().out)["metrics"]["accuracy"]
    assert found["verdict"] == "within chance"
    assert found["p_value"] == pytest.approx(0.4795, abs=1e-3)


def test_a_metric_without_a_spread_is_compared_without_a_verdict(
    target: Target, capsys: pytest.CaptureFixture[str]
) -> None:
    register(target, measured(0.9, "NaN"))
    register(target, measured(0.8))
    assert main(["registry", "compare", "1", "2"]) == 0
    assert "spread unknown" in capsys.readouterr().out


def test_a_version_without_an_evaluation_is_one_line(
    target: Target, capsys: pytest.CaptureFixture[str]
) -> None:
    register(target)
    register(target)
    assert main(["registry", "compare", "1", "2"]) == 1
    assert "version 1: its evaluation cannot be read" in capsys.readouterr().err


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_a_chance_is_from_none_to_certain(before: float, after: float, spread: float) -> None:
    assert 0 <= p_value(before, after, spread) <= 1
    assert p_value(before, after, spread) == p_value(after, before, spread)


def test_the_chance_is_that_of_a_normal_difference() -> None:
    assert p_value(0.0, 1.959964, 1.0) == pytest.approx(0.05, abs=1e-6)
    assert math.isclose(p_value(0.5, 0.5, 0.0), 1.0)


def test_the_history_tells_decisions_and_what_was_served(
    target: Target, capsys: pytest.CaptureFixture[str]
) -> None:
    register(target)
    registry = Registry(target)
    registry.decide(1, APPROVED, "good")
    registry.decide(1, REJECTED, "blind to irony")
    served = {"outcome": "served", "version": 1, "at": "2026-03-01T12:00:00+00:00"}
    target.client("s3").put_object(
        Bucket=target.account.bucket,
        Key=f"deployments/{target.account.endpoint_name}/history/c.json",
        Body=json.dumps(served).encode(),
    )
    assert main(["--json", "registry", "history"]) == 0
    events = json.loads(capsys.readouterr().out)
    assert {(one["what"], one["reason"]) for one in events[:2]} == {
        ("Approved", "good"),
        ("Rejected", "blind to irony"),
    }
    assert "arn:aws:iam" in events[0]["by"]
    assert (events[2]["what"], events[2]["at"]) == ("Served", "2026-03-01T12:00:00Z")


def test_the_history_tells_when_a_version_was_served_no_more(
    target: Target, capsys: pytest.CaptureFixture[str]
) -> None:
    account, s3 = target.account, target.client("s3")
    records = [  # the second a change of settings, the fifth the endpoint's end
        ("served", 1, 1),
        ("served", 1, 2),
        ("served", 2, 3),
        ("failed", 3, 4),
        ("ended", 2, 5),
        ("served", 1, 6),
    ]
    for outcome, version, hour in records:
        facts = {"outcome": outcome, "version": version, "at": f"2026-03-01T0{hour}:00:00+00:00"}
        s3.put_object(
            Bucket=account.bucket,
            Key=f"deployments/{account.endpoint_name}/history/{9 - hour}.json",
            Body=json.dumps(facts).encode(),
        )
    assert main(["--json", "registry", "history"]) == 0
    events = json.loads(capsys.readouterr().out)
    ended = {(one["version"], one["at"]): one["reason"] for one in events if one["what"] == "Ended"}
    assert ended == {
        (1, "2026-03-01T03:00:00Z"): "version 2 is served",
        (2, "2026-03-01T05:00:00Z"): "",
    }


def test_only_the_last_decisions_are_kept(target: Target) -> None:
    register(target)
    registry = Registry(target)
    for turn in range(notes.KEPT_DECISIONS + 3):
        registry.decide(1, REJECTED if turn % 2 else APPROVED, f"turn {turn}")
    kept = notes.decisions(registry.find(1).metadata)
    assert len(kept) == notes.KEPT_DECISIONS
    assert kept[-1].endswith(f": turn {notes.KEPT_DECISIONS + 2}")


def test_rolling_back_says_what_is_served_then_and_rejects_what_is_served(
    target: Target, capsys: pytest.CaptureFixture[str]
) -> None:
    register_approved(target)
    serve(target, 2)
    assert main(["registry", "rollback", "--reason", "too sure", "--yes"]) == 0
    said = capsys.readouterr()
    assert "version 2 is served; once it is rejected, version 1 is served" in said.err
    assert "version 2 is now Rejected: too sure" in said.out
    assert [one.status for one in Registry(target).versions()] == [REJECTED, APPROVED]


def test_rolling_back_to_a_version_that_failed_says_that_nothing_changes(
    target: Target, capsys: pytest.CaptureFixture[str]
) -> None:
    register_approved(target)
    fail(target, 1, "out of memory")
    serve(target, 2)
    assert main(["registry", "rollback", "--reason", "too sure", "--yes", "--json"]) == 0
    said = capsys.readouterr()
    assert "it goes on being served, as version 1, the next, did not come into" in said.err
    assert "out of memory" in said.err
    assert json.loads(said.out)["next"] is None


def test_rolling_back_needs_a_yes_where_nobody_can_be_asked(
    target: Target, capsys: pytest.CaptureFixture[str]
) -> None:
    register(target)
    Registry(target).decide(1, APPROVED, "good")
    serve(target, 1)
    assert main(["registry", "rollback", "--reason", "x"]) == 1
    said = capsys.readouterr().err
    assert "once it is rejected, nothing is served" in said
    assert "--yes" in said
    assert Registry(target).find(1).status == APPROVED


def test_there_is_nothing_to_roll_back_where_nothing_is_served(
    target: Target, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["registry", "rollback", "--reason", "x", "--yes"]) == 1
    assert "nothing is served" in capsys.readouterr().err


def test_the_report_lies_beside_the_evaluation(
    target: Target, capsys: pytest.CaptureFixture[str]
) -> None:
    register(target, report=True)
    assert main(["registry", "report", "1"]) == 0
    place = capsys.readouterr().out.strip()
    assert place.endswith("/runs/1/Evaluate/evaluation/report.html")


def test_a_version_without_a_report_says_so(
    target: Target, capsys: pytest.CaptureFixture[str]
) -> None:
    register(target)
    assert main(["registry", "report", "1"]) == 1
    assert "version 1 has no report" in capsys.readouterr().err


def test_a_pinned_version_is_wanted_until_it_is_unpinned(
    target: Target, capsys: pytest.CaptureFixture[str]
) -> None:
    registry = Registry(target)
    register_approved(target)
    assert main(["registry", "pin", "1"]) == 0
    assert registry.wanted() == registry.find(1)
    assert main(["registry", "unpin"]) == 0
    assert "version 1 is not pinned any more: version 2 is served" in capsys.readouterr().out
    assert registry.find(1).pinned_at == ""


def test_unpinning_announces_no_version_that_did_not_come_into_service(
    target: Target, capsys: pytest.CaptureFixture[str]
) -> None:
    registry = Registry(target)
    register_approved(target)
    registry.pin(1)
    fail(target, 2, "out of memory")
    assert main(["registry", "unpin"]) == 0
    said = capsys.readouterr().out
    assert "it goes on being served, as version 2, the next, did not come into service" in said
    registry.pin(1)
    assert main(["registry", "unpin", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"unpinned": [1], "wanted": None}


def test_a_version_that_did_not_come_into_service_cannot_be_pinned(
    target: Target, capsys: pytest.CaptureFixture[str]
) -> None:
    register(target)
    Registry(target).decide(1, APPROVED, "good")
    fail(target, 1, "out of memory")
    assert main(["registry", "pin", "1"]) == 1
    said = capsys.readouterr().err
    assert "version 1 did not come into service (out of memory): approve it again" in said


def test_a_pin_does_not_bring_back_a_failure_from_before_the_approval(target: Target) -> None:
    register(target)
    registry = Registry(target)
    registry.decide(1, APPROVED, "good")
    version = registry.find(1)
    earlier = datetime.now(UTC) - timedelta(minutes=5)
    target.client("sagemaker").update_model_package(  # noted, and approved anew since
        ModelPackageArn=version.arn,
        CustomerMetadataProperties=other_half.failure("model", "slow", earlier, earlier),
    )
    assert registry.find(1).failure is None
    assert registry.pin(1).failure is None


def test_the_list_shows_what_is_pinned_and_what_failed(
    target: Target, capsys: pytest.CaptureFixture[str]
) -> None:
    registry = Registry(target)
    for number in (1, 2, 3):
        register(target)
        registry.decide(number, APPROVED, "good")
    registry.pin(1)
    fail(target, 2, "out of memory")
    assert main(["registry", "list"]) == 0
    third, second, first = capsys.readouterr().out.splitlines()[1:]
    assert "Approved, pinned  " in first
    assert "Approved, failed  " in second
    assert "Approved  " in third
    assert main(["registry", "show", "2"]) == 0
    assert "failure            out of memory" in capsys.readouterr().out


def test_the_history_tells_pins_and_what_was_decided_elsewhere(
    target: Target, capsys: pytest.CaptureFixture[str]
) -> None:
    register(target)
    registry = Registry(target)
    registry.decide(1, APPROVED, "good")
    for _ in range(2):  # the second changes nothing
        registry.pin(1)
    registry.unpin()
    target.client("sagemaker").update_model_package(
        ModelPackageArn=registry.find(1).arn,
        ModelApprovalStatus=REJECTED,
        ApprovalDescription="in Studio",
    )
    assert main(["--json", "registry", "history"]) == 0
    events = json.loads(capsys.readouterr().out)
    told = {one["what"]: one for one in events}
    assert len(events) == len(told) == 4
    assert "arn:aws:iam" in told["Pinned"]["by"] and "arn:aws:iam" in told["Unpinned"]["by"]
    assert told["Rejected"]["reason"] == "in Studio"


def test_pinning_a_version_takes_the_other_pins_away(target: Target) -> None:
    registry = Registry(target)
    for number in (1, 2):
        register(target)
        registry.decide(number, APPROVED, "good")
        registry.pin(number)
    assert [one.number for one in registry.versions() if one.pinned_at] == [2]


def test_a_reviewer_asks_for_nothing_that_their_policy_does_not_allow(
    target: Target, capsys: pytest.CaptureFixture[str]
) -> None:
    account = target.account
    needed: set[tuple[str, str]] = set()

    def note(params: dict[str, Any], model: Any, **_: Any) -> None:
        service = model.service_model.endpoint_prefix.split(".")[-1]
        needed.update(asked(service, model.name, params, f"{account.region}:{account.account_id}"))

    for number in (1, 2):
        register(target, measured(0.9), report=True, execution_id=str(number))
        Registry(target).decide(number, APPROVED, "good")
    serve(target, 2)
    for service in ("s3", "sagemaker"):
        target.client(service).meta.events.register("provide-client-params.*", note)
    for verb in ("list", "show 1", "compare 1 2", "history", "report 1", "pin 1", "unpin"):
        assert main(["registry", *verb.split()]) == 0, capsys.readouterr().err
    assert main(["registry", "reject", "1", "--reason", "dull"]) == 0
    assert main(["registry", "rollback", "--reason", "too sure", "--yes"]) == 0
    arns = {arn.rpartition(":")[2] for _, arn in needed}
    assert {f"endpoint/{account.endpoint_name}", f"model-package/{account.name}/2"} <= arns
    assert {f"model/{account.endpoint_name}-v2-0123456789"} <= arns
    assert {f"{account.bucket}/runs/1/Evaluate/evaluation/report.html"} <= arns
    policy = reviewer(account)
    assert {one for one in needed if not allows(policy, *one)} == set()


def test_only_an_approved_version_can_be_pinned(
    target: Target, capsys: pytest.CaptureFixture[str]
) -> None:
    register(target)
    assert main(["registry", "pin", "1"]) == 1
    assert "only an approved one can be pinned" in capsys.readouterr().err


def test_deciding_anew_takes_pin_and_failure_away(target: Target) -> None:
    register(target)
    registry = Registry(target)
    registry.decide(1, APPROVED, "good")
    registry.pin(1)
    fail(target, 1, "slow")
    assert registry.find(1).failure == "slow"
    again = registry.decide(1, APPROVED, "it was the network")
    assert again.changed
    assert (again.version.failure, again.version.pinned_at) == (None, "")


@given(
    approved=st.datetimes(timezones=st.just(UTC), min_value=datetime(2020, 1, 1)),
    later=st.timedeltas(timedelta(0), timedelta(minutes=1)),
)
def test_both_halves_read_a_note_the_same_way(approved: datetime, later: timedelta) -> None:
    written = other_half.failure("model", "slow: 5xx!", approved, NOON)
    theirs = other_half.read(written, NOON + later)
    assert notes.approved_at(written, NOON + later) == theirs.approved_at
    assert notes.failure(written, NOON + later) == (theirs.failed_reason or None)
    assert notes.KEYS == other_half.KEYS
    assert notes.SLACK == other_half.SLACK
