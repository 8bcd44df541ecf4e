"""Registry, functions, events and their delivery."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from typing import Any

import pytest
from botocore.exceptions import ClientError

from pipeline.local.services.events import matches
from pipeline.settings import ROOT


def kept_events(box: Any) -> list[dict[str, Any]]:
    objects = box.account.objects
    if not (objects.root / "events").is_dir():
        return []
    return [json.loads(entry.path.read_text()) for entry in objects.list("events")]


def delivered(box: Any, count: int) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = box.wait_until(
        lambda: kept_events(box) if len(kept_events(box)) >= count else None
    )
    return events


def test_versions_count_up_and_are_listed_newest_first(box: Any) -> None:
    for word in ("one", "two", "three"):
        box.register(word)
    sagemaker = box.client("sagemaker")
    listed = sagemaker.list_model_packages(ModelPackageGroupName="g")["ModelPackageSummaryList"]
    assert [item["ModelPackageVersion"] for item in listed] == [3, 2, 1]
    assert "InferenceSpecification" not in listed[0], "a summary is not the whole description"
    sagemaker.delete_model_package(ModelPackageName=listed[0]["ModelPackageArn"])
    assert box.register("four").endswith("/4"), "a deleted version's number is not given again"


def test_an_approval_is_kept_with_its_reason_and_filters_the_list(box: Any) -> None:
    arn = box.register("one")
    box.register("two")
    sagemaker = box.client("sagemaker")
    sagemaker.update_model_package(
        ModelPackageArn=arn,
        ModelApprovalStatus="Approved",
        ApprovalDescription="good on long reviews",
        CustomerMetadataProperties={"approved_by": "me"},
    )
    package = sagemaker.describe_model_package(ModelPackageName=arn)
    assert package["ApprovalDescription"] == "good on long reviews"
    assert package["CustomerMetadataProperties"] == {"approved_by": "me"}
    assert package["LastModifiedTime"] > package["CreationTime"]
    approved = sagemaker.list_model_packages(
        ModelPackageGroupName="g", ModelApprovalStatus="Approved"
    )
    assert [item["ModelPackageArn"] for item in approved["ModelPackageSummaryList"]] == [arn]


def test_an_approval_calls_the_function_of_the_rule_that_matches(box: Any) -> None:
    arn = box.register("one", status="Approved")
    (event,) = delivered(box, 1)
    assert event["detail-type"] == "SageMaker Model Package State Change"
    assert event["resources"] == [arn]
    assert event["detail"]["ModelApprovalStatus"] == "Approved"


def test_an_event_queued_before_a_kill_is_delivered_by_whoever_comes_next(box: Any) -> None:
    box.account.store.enqueue("keep", {"id": "left-behind"})
    box.session = None
    box.__post_init__()
    assert delivered(box, 1) == [{"id": "left-behind"}]


def test_many_approvals_at_once_lose_no_event_and_no_version(box: Any) -> None:
    box.register("zero")
    threads = [threading.Thread(target=box.register, args=(f"w{n}",)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({e["detail"]["ModelPackageVersion"] for e in delivered(box, 7)}) == 7


def test_an_event_that_no_attempt_can_deliver_is_kept_as_a_dead_letter(
    box: Any, monkeypatch: Any
) -> None:
    monkeypatch.setenv("LOCAL_ACCOUNT_BACKOFF_S", "0.01")
    box.client("events").put_events(
        Entries=[{"Source": "mine", "DetailType": "d", "Detail": '{"kind": "good"}'}]
    )
    letters = box.wait_until(lambda: box.account.store.dead_letters())
    assert letters[0]["Function"] == "fail"
    assert letters[0]["Attempts"] == 4


def test_a_dead_letter_is_tried_once_more_when_the_account_is_opened_but_not_at_once(
    box: Any,
) -> None:
    store = box.account.store
    for name, delay_s in (("long-dead", -1), ("just-dead", 60)):
        store.enqueue("keep", {"id": name})
        event_id, *_ = store.due()
        store.settle(event_id, "dead", attempts=4, delay_s=delay_s)
    box.session = None
    box.__post_init__()
    assert delivered(box, 1) == [{"id": "long-dead"}]
    assert [letter["Event"] for letter in store.dead_letters()] == [{"id": "just-dead"}]


@pytest.mark.parametrize(
    ("pattern", "holds"),
    [
        ({"source": ["mine"]}, True),
        ({"source": ["other"]}, False),
        ({"detail": {"kind": ["a", "b"]}}, True),
        ({"detail": {"kind": [{"prefix": "a"}]}}, True),
        ({"detail": {"kind": [{"anything-but": ["a"]}]}}, False),
        ({"detail": {"absent": [{"exists": False}]}}, True),
        ({"detail": {"deep": {"er": ["x"]}}}, False),
        ({"detail": {"kind": [{"numeric": [">", 1]}]}}, False),
    ],
)
def test_event_patterns(pattern: Any, holds: bool) -> None:
    assert matches(pattern, {"source": "mine", "detail": {"kind": "a"}}) is holds


def test_groups_are_made_once_listed_and_deleted_when_empty(box: Any) -> None:
    arn = box.register("one")
    sagemaker = box.client("sagemaker")
    with pytest.raises(ClientError, match="already exists"):
        sagemaker.create_model_package_group(ModelPackageGroupName="g")
    with pytest.raises(ClientError, match="ConflictException"):
        sagemaker.delete_model_package_group(ModelPackageGroupName="g")
    sagemaker.delete_model_package(ModelPackageName=arn)
    sagemaker.delete_model_package_group(ModelPackageGroupName="g")
    assert sagemaker.list_model_package_groups()["ModelPackageGroupSummaryList"] == []
    with pytest.raises(ClientError, match="does not exist"):
        sagemaker.describe_model_package_group(ModelPackageGroupName="g")
    with pytest.raises(ClientError, match="does not exist"):
        sagemaker.describe_model_package(ModelPackageName=arn)


def test_a_function_gets_its_event_environment_and_the_account(box: Any) -> None:
    client = box.client("lambda")
    answer = client.invoke(FunctionName="echo", Payload=b'{"a": 1}', LogType="Tail")
    assert json.loads(answer["Payload"].read()) == {
        "event": {"a": 1},
        "variable": "value",
        "account": "000000000000",
    }
    logs = box.client("logs")
    events = logs.filter_log_events(logGroupName="/aws/lambda/echo", filterPattern="hello")
    assert [event["message"] for event in events["events"]] == ["hello from echo"]
    groups = {group["logGroupName"] for group in logs.describe_log_groups()["logGroups"]}
    assert groups == {"/aws/lambda/echo"}


def test_an_error_of_a_function_is_its_answer(box: Any) -> None:
    answer = box.client("lambda").invoke(FunctionName="fail", Payload=b"{}")
    assert answer["FunctionError"] == "Unhandled"
    error = json.loads(answer["Payload"].read())
    assert (error["errorType"], error["errorMessage"]) == ("ValueError", "no good")


def test_an_asynchronous_invocation_is_delivered_later(box: Any) -> None:
    answer = box.client("lambda").invoke(
        FunctionName="keep", InvocationType="Event", Payload=b'{"id": "x"}'
    )
    assert answer["StatusCode"] == 202
    assert delivered(box, 1) == [{"id": "x"}]


def test_functions_are_described_by_name_or_arn(box: Any) -> None:
    client = box.client("lambda")
    arn = client.get_function(FunctionName="echo")["Configuration"]["FunctionArn"]
    assert client.get_function_configuration(FunctionName=arn)["Handler"] == "handlers.echo"
    assert len(client.list_functions()["Functions"]) == 6
    with pytest.raises(ClientError, match="ResourceNotFoundException"):
        client.get_function(FunctionName="nobody")


def test_logs_are_read_forward_in_pages_and_from_the_end(box: Any) -> None:
    path = box.account.log_file("/aws/lambda/f", "s")
    path.write_text("".join(f"line {n}\n" for n in range(5)))
    logs = box.client("logs")
    stream = {"logGroupName": "/aws/lambda/f", "logStreamName": "s"}
    page = logs.get_log_events(**stream, startFromHead=True, limit=2)
    assert [event["message"] for event in page["events"]] == ["line 0", "line 1"]
    page = logs.get_log_events(**stream, nextToken=page["nextForwardToken"], limit=2)
    assert [event["message"] for event in page["events"]] == ["line 2", "line 3"]
    last = logs.get_log_events(**stream, limit=1)
    assert [event["message"] for event in last["events"]] == ["line 4"]
    for wrong in ({"logGroupName": "/none"}, {"logGroupName": "../.."}):
        with pytest.raises(ClientError, match="log group does not exist"):
            logs.get_log_events(**{**stream, **wrong})
    with pytest.raises(ClientError, match="log stream does not exist"):
        logs.get_log_events(logGroupName="/aws/lambda/f", logStreamName="none")


def test_logs_of_a_span_of_time_leave_out_what_was_printed_before_and_after(box: Any) -> None:
    for seconds, stream in ((100, "before"), (200, "within"), (300, "after")):
        path = box.account.log_file("/aws/lambda/f", stream)
        path.write_text(f"{stream}\n")
        os.utime(path, (seconds, seconds))
    logs, span = box.client("logs"), {"startTime": 150_000, "endTime": 300_000}
    found = logs.filter_log_events(logGroupName="/aws/lambda/f", **span)
    assert [event["message"] for event in found["events"]] == ["within"]
    for stream, lines in (("before", []), ("within", ["within"]), ("after", [])):
        page = logs.get_log_events(logGroupName="/aws/lambda/f", logStreamName=stream, **span)
        assert [event["message"] for event in page["events"]] == lines


def test_who_is_asking_and_with_which_role(box: Any) -> None:
    assert box.client("sts").get_caller_identity()["Account"] == "000000000000"
    arn = box.client("iam").get_role(RoleName="r")["Role"]["Arn"]
    assert arn == "arn:aws:iam::000000000000:role/r"


WRITER = """
import sys
from pathlib import Path
from pipeline.local import session
home = session(Path(sys.argv[1]))
sagemaker, s3 = home.client("sagemaker"), home.client("s3")
for number in range(40):
    sagemaker.create_model_package(ModelPackageGroupName="g")
    s3.put_object(Bucket="b", Key="shared", Body=sys.argv[2].encode() * 100_000)
"""


def test_two_processes_on_one_account_lose_nothing_and_mix_nothing(box: Any) -> None:
    box.client("s3").create_bucket(Bucket="b")
    sagemaker = box.client("sagemaker")
    sagemaker.create_model_package_group(ModelPackageGroupName="g")
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(box.home), letter], cwd=ROOT)  # noqa: S603
        for letter in "ab"
    ]
    assert [writer.wait(60) for writer in writers] == [0, 0]
    pages = sagemaker.get_paginator("list_model_packages").paginate(ModelPackageGroupName="g")
    packages = [item for page in pages for item in page["ModelPackageSummaryList"]]
    assert sorted(item["ModelPackageVersion"] for item in packages) == list(range(1, 81))
    assert box.get("shared") in (b"a" * 100_000, b"b" * 100_000)


def test_a_payload_that_is_no_json_is_refused(box: Any) -> None:
    for kind in ("RequestResponse", "Event"):
        with pytest.raises(ClientError, match="Could not parse request body into json"):
            box.client("lambda").invoke(FunctionName="echo", InvocationType=kind, Payload=b"{")


def test_a_session_of_a_functions_own_reaches_the_account(box: Any) -> None:
    answer = box.client("lambda").invoke(FunctionName="own-session", Payload=b"")
    assert json.loads(answer["Payload"].read()) == "000000000000"


def test_a_malformed_event_is_told_and_keeps_no_other_back(box: Any) -> None:
    entry = {"Source": "mine", "DetailType": "t"}
    answer = box.client("events").put_events(
        Entries=[{**entry, "Detail": "no json"}, {**entry, "Detail": "{}"}]
    )
    assert answer["FailedEntryCount"] == 1
    assert [item.get("ErrorCode") for item in answer["Entries"]] == ["MalformedDetail", None]
