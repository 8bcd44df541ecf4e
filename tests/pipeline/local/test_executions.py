"""Executions of pipelines: order, jobs, branches, cache, retry, stop, and `kill -9`."""

from __future__ import annotations

import json
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from pipeline.local.services import pipelines
from tests.pipeline.local.steps import SCRIPT, gate, lambda_step, processing

MINIMUM = {"Name": "Minimum", "Type": "Float", "DefaultValue": 0.5}


def test_a_job_sees_its_container_and_its_output_is_kept(box: Any) -> None:
    execution = box.run({"Steps": [processing(box, "P", SCRIPT, "0.9")]})
    assert execution["PipelineExecutionStatus"] == "Succeeded"
    identifier = execution["PipelineExecutionArn"].rpartition("/")[2]
    assert json.loads(box.get(f"runs/{identifier}/P/report.json")) == {"score": 0.9}
    job = box.steps(execution["PipelineExecutionArn"])["P"]["Metadata"]["ProcessingJob"]["Arn"]
    stream = f"{job.rpartition('/')[2]}/algo-1"
    events = box.client("logs").get_log_events(
        logGroupName="/aws/sagemaker/ProcessingJobs", logStreamName=stream, startFromHead=True
    )["events"]
    lines = [event["message"] for event in events]
    assert lines[0].endswith("'0.9'] yes yes")
    assert lines[1] == "algo-1"
    assert " home" not in lines[0], "a path with a space would break the SDK's scripts"


def test_no_temporary_folder_is_left_behind(box: Any, monkeypatch: Any, tmp_path: Path) -> None:
    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    box.run({"Steps": [processing(box, "P", SCRIPT, "0.9")]})
    assert list((tmp_path / "temporary").iterdir()) == []


def test_a_gate_that_does_not_hold_fails_with_both_numbers(box: Any) -> None:
    steps = [processing(box, "P", SCRIPT, "0.4"), gate("P", {"Get": "Parameters.Minimum"})]
    execution = box.run({"Parameters": [MINIMUM], "Steps": steps}, Minimum="0.75")
    assert execution["PipelineExecutionStatus"] == "Failed"
    assert execution["FailureReason"] == "step TooLow: score 0.4 < 0.75"
    states = {k: v["StepStatus"] for k, v in box.steps(execution["PipelineExecutionArn"]).items()}
    assert states == {"P": "Succeeded", "Gate": "Succeeded", "TooLow": "Failed"}


def test_independent_steps_run_side_by_side(box: Any) -> None:
    meet = (
        "import pathlib, sys, time\n"
        "mine, other = pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3])\n"
        "mine.touch()\n"
        "end = time.time() + 20\n"
        "while not other.exists():\n"
        "    assert time.time() < end, 'alone'\n"
        "    time.sleep(0.01)\n"
    )
    a, b = str(box.tmp / "a"), str(box.tmp / "b")
    steps = [processing(box, "A", meet, a, b), processing(box, "B", meet, b, a)]
    assert box.run({"Steps": steps})["PipelineExecutionStatus"] == "Succeeded"


def test_a_failing_script_gives_its_last_line_and_stops_what_depends_on_it(box: Any) -> None:
    bad = processing(box, "Bad", "import sys; print('x'); sys.exit('disk is full: /data')")
    after = processing(box, "After", SCRIPT, "1", DependsOn=["Bad"])
    execution = box.run({"Steps": [bad, after]})
    assert execution["FailureReason"] == "step Bad: exit code 1: disk is full: /data"
    assert set(box.steps(execution["PipelineExecutionArn"])) == {"Bad"}


def test_a_step_is_reused_until_its_input_changes(box: Any) -> None:
    step = processing(box, "P", SCRIPT, "0.9", cached=True)
    first = box.run({"Steps": [step]})["PipelineExecutionArn"]
    second = box.run({"Steps": [step, gate("P", 0.5)]})["PipelineExecutionArn"]
    assert box.steps(second)["P"]["CacheHitResult"] == {"SourcePipelineExecutionArn": first}
    box.put("code/P/main.py", SCRIPT + "# changed in place\n")
    third = box.run({"Steps": [step]})["PipelineExecutionArn"]
    assert "CacheHitResult" not in box.steps(third)["P"]


def test_a_changed_file_that_a_manifest_lists_is_no_reuse(box: Any) -> None:
    box.put("data/a.txt", "one")
    uri = box.put("my.manifest", json.dumps([{"prefix": "s3://b/data/"}, "a.txt"]))
    step = processing(box, "P", SCRIPT, "0.9", cached=True)
    listed = {"S3Uri": uri, "S3DataType": "ManifestFile", "LocalPath": "/opt/ml/processing/input/m"}
    step["Arguments"]["ProcessingInputs"].append({"InputName": "m", "S3Input": listed})
    box.run({"Steps": [step]})
    box.put("data/a.txt", "two")
    second = box.run({"Steps": [step]})["PipelineExecutionArn"]
    assert "CacheHitResult" not in box.steps(second)["P"]


def test_a_reuse_needs_the_outputs_to_be_there_still(box: Any) -> None:
    step = processing(box, "P", SCRIPT, "0.9", cached=True)
    first = box.run({"Steps": [step]})["PipelineExecutionArn"].rpartition("/")[2]
    box.client("s3").delete_object(Bucket="b", Key=f"runs/{first}/P/report.json")
    second = box.run({"Steps": [step]})["PipelineExecutionArn"]
    assert "CacheHitResult" not in box.steps(second)["P"]


def test_a_retry_policy_runs_a_failed_step_again(box: Any) -> None:
    flaky = (
        "import os, pathlib, sys\n"
        "mark = pathlib.Path(sys.argv[2])\n"
        "if not mark.exists():\n"
        "    mark.touch()\n"
        "    os.kill(os.getpid(), 9)  # as when the instance is lost\n"
    )
    policy = {
        "ExceptionType": ["SageMaker.JOB_INTERNAL_ERROR"],
        "IntervalSeconds": 0.01,
        "BackoffRate": 1,
        "MaxAttempts": 3,
    }
    step = processing(box, "P", flaky, str(box.tmp / "mark"), RetryPolicies=[policy])
    execution = box.run({"Steps": [step]})
    assert execution["PipelineExecutionStatus"] == "Succeeded"
    assert box.steps(execution["PipelineExecutionArn"])["P"]["AttemptCount"] == 2


@pytest.mark.parametrize("status", [200, 255])
def test_a_high_exit_code_is_the_scripts_own_and_is_not_retried(box: Any, status: int) -> None:
    policy = {
        "ExceptionType": ["SageMaker.JOB_INTERNAL_ERROR"],
        "IntervalSeconds": 0.01,
        "BackoffRate": 1,
        "MaxAttempts": 3,
    }
    step = processing(box, "P", f"raise SystemExit({status})", RetryPolicies=[policy])
    execution = box.run({"Steps": [step]})
    assert f"exit code {status}" in execution["FailureReason"]
    assert box.steps(execution["PipelineExecutionArn"])["P"]["AttemptCount"] == 1


def test_a_lambda_step_hands_on_its_outputs(box: Any) -> None:
    steps = [
        lambda_step("L", "echo", {"a": {"Get": "Execution.PipelineName"}}, "variable"),
        {
            "Name": "F",
            "Type": "Fail",
            "Arguments": {"ErrorMessage": {"Get": "Steps.L.OutputParameters['variable']"}},
        },
    ]
    execution = box.run({"Steps": steps})
    assert execution["FailureReason"] == "step F: value"
    metadata = box.steps(execution["PipelineExecutionArn"])["L"]["Metadata"]["Lambda"]
    assert metadata["OutputParameters"] == [{"Name": "variable", "Value": "value"}]


@pytest.mark.parametrize(
    ("function", "outputs", "reason"),
    [
        ("fail", (), "step L: function fail failed: no good"),
        ("echo", ("missing",), "step L: function echo returned no 'missing'"),
        ("nobody", (), "Function not found"),
        ("sleep", (), "step L: function sleep failed: Task timed out after 1 s"),
    ],
)
def test_a_lambda_step_fails_with_the_functions_reason(
    box: Any, function: str, outputs: Any, reason: str
) -> None:
    execution = box.run({"Steps": [lambda_step("L", function, {}, *outputs)]})
    assert reason in execution["FailureReason"]


def test_register_and_model_steps_make_their_resources(box: Any) -> None:
    specification = {
        "Containers": [{"Image": "server:1", "ModelDataUrl": box.model_data("word")}],
        "SupportedContentTypes": ["text/plain"],
        "SupportedResponseMIMETypes": ["text/plain"],
    }
    register = {
        "Name": "R",
        "Type": "RegisterModel",
        "Arguments": {"ModelPackageGroupName": "made", "InferenceSpecification": specification},
    }
    model = {
        "Name": "M",
        "Type": "Model",
        "Arguments": {
            "ExecutionRoleArn": "arn:aws:iam::000000000000:role/r",
            "PrimaryContainer": {"ModelPackageName": {"Get": "Steps.R.ModelPackageArn"}},
        },
    }
    execution = box.run({"Steps": [register, model]})
    assert execution["PipelineExecutionStatus"] == "Succeeded", execution.get("FailureReason")
    packages = box.client("sagemaker").list_model_packages(ModelPackageGroupName="made")
    arn = packages["ModelPackageSummaryList"][0]["ModelPackageArn"]
    steps = box.steps(execution["PipelineExecutionArn"])
    assert steps["R"]["Metadata"]["RegisterModel"]["Arn"] == arn
    assert len(box.client("sagemaker").list_models()["Models"]) == 1


def test_an_argument_that_aws_would_refuse_is_refused_before_the_run(box: Any) -> None:
    step = {"Name": "R", "Type": "RegisterModel", "Arguments": {"ModelPackageGroupName": 7}}
    with pytest.raises(ClientError, match="step R: Invalid type for parameter ModelPackageGroup"):
        box.run({"Steps": [step]})
    assert box.client("sagemaker").list_pipelines()["PipelineSummaries"] == []


def test_an_argument_that_only_the_run_gives_is_checked_in_it(box: Any) -> None:
    count = {"Name": "Name", "Type": "Integer", "DefaultValue": 7}
    arguments = {"ModelPackageGroupName": {"Get": "Parameters.Name"}}
    step = {"Name": "R", "Type": "RegisterModel", "Arguments": arguments}
    execution = box.run({"Parameters": [count], "Steps": [step]})
    assert "Parameter validation failed" in execution["FailureReason"]


WAITING = "import pathlib, sys, time\npathlib.Path(sys.argv[2]).touch()\ntime.sleep(300)\n"


def start_waiting(box: Any, *more: Any) -> str:
    """Start an execution whose step waits for ever; returns when the step runs."""
    sagemaker = box.client("sagemaker")
    mark = box.tmp / "mark"
    definition = {
        "Version": "2020-12-01",
        "Steps": [*more, processing(box, "Wait", WAITING, str(mark), DependsOn=[
            step["Name"] for step in more])],
    }  # fmt: skip
    sagemaker.create_pipeline(
        PipelineName="p",
        PipelineDefinition=json.dumps(definition),
        RoleArn="arn:aws:iam::000000000000:role/r",
        ClientRequestToken="t" * 32,
    )
    arn: str = sagemaker.start_pipeline_execution(PipelineName="p")["PipelineExecutionArn"]
    box.wait_until(mark.exists)
    return arn


def test_a_stopped_execution_ends_its_jobs(box: Any) -> None:
    arn = start_waiting(box)
    box.client("sagemaker").stop_pipeline_execution(PipelineExecutionArn=arn)
    assert box.wait_for_execution(arn)["PipelineExecutionStatus"] == "Stopped"
    assert box.steps(arn)["Wait"]["StepStatus"] == "Stopped"
    box.wait_until(lambda: not box.processes())
    with pytest.raises(ClientError, match="must be Executing to be stopped"):
        box.client("sagemaker").stop_pipeline_execution(PipelineExecutionArn=arn)


def found_executing(box: Any) -> list[Any]:
    status = {"Name": "PipelineExecutionStatus", "Operator": "Equals", "Value": "Executing"}
    found = box.client("sagemaker").search(
        Resource="PipelineExecution", SearchExpression={"Filters": [status]}
    )
    return list(found["Results"])


def test_a_killed_runner_is_seen_its_job_ends_and_a_retry_reuses_what_succeeded(box: Any) -> None:
    arn = start_waiting(box, processing(box, "Before", SCRIPT, "0.9"))
    runner = next(
        pid
        for pid in box.processes()
        if b"pipeline.local.runner" in Path(f"/proc/{pid}/cmdline").read_bytes()
    )
    os.kill(runner, signal.SIGKILL)
    box.wait_until(lambda: not found_executing(box))  # before anybody describes the execution
    execution = box.wait_for_execution(arn)
    assert execution["PipelineExecutionStatus"] == "Failed"
    assert "was killed" in execution["FailureReason"]
    steps = box.steps(arn)
    assert steps["Wait"]["StepStatus"] == "Failed"
    assert steps["Before"]["StepStatus"] == "Succeeded"
    box.wait_until(lambda: not box.processes())
    job = steps["Wait"]["Metadata"]["ProcessingJob"]["Arn"].rpartition("/")[2]
    described = box.client("sagemaker").describe_processing_job(ProcessingJobName=job)
    assert described["ProcessingJobStatus"] == "Failed"

    box.put("code/Wait/main.py", SCRIPT.replace("sys.argv[2]", "'1'"))
    box.client("sagemaker").retry_pipeline_execution(PipelineExecutionArn=arn)
    assert box.wait_for_execution(arn)["PipelineExecutionStatus"] == "Succeeded"
    assert box.steps(arn)["Before"]["StartTime"] == steps["Before"]["StartTime"]


def test_only_what_failed_can_be_retried(box: Any) -> None:
    arn = box.run({"Steps": [lambda_step("L", "echo", {})]})["PipelineExecutionArn"]
    with pytest.raises(ClientError, match="must be Failed or Stopped"):
        box.client("sagemaker").retry_pipeline_execution(PipelineExecutionArn=arn)


@pytest.mark.parametrize("call", ["stop_pipeline_execution", "retry_pipeline_execution"])
def test_an_execution_that_ended_meanwhile_is_left_as_it_ended(
    box: Any, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    arn = box.run({"Steps": [lambda_step("L", "echo", {})]})["PipelineExecutionArn"]
    ended = box.client("sagemaker").describe_pipeline_execution
    status = {"stop_pipeline_execution": "Executing", "retry_pipeline_execution": "Failed"}[call]
    seen = {"PipelineExecutionArn": arn, "PipelineExecutionStatus": status}
    with monkeypatch.context() as patch:
        patch.setattr(pipelines, "_execution", lambda *_: seen)  # as it was a moment ago
        with pytest.raises(ClientError, match="status Succeeded"):
            getattr(box.client("sagemaker"), call)(PipelineExecutionArn=arn)
    assert ended(PipelineExecutionArn=arn)["PipelineExecutionStatus"] == "Succeeded"


def test_what_ran_can_be_looked_up(box: Any) -> None:
    steps = [lambda_step("L", "echo", {})]
    box.run({"Parameters": [MINIMUM], "Steps": steps})
    arn = box.run({"Parameters": [MINIMUM], "Steps": steps}, Minimum="0.1")["PipelineExecutionArn"]
    sagemaker = box.client("sagemaker")
    listed = sagemaker.list_pipeline_executions(PipelineName="p", MaxResults=1)
    assert listed["PipelineExecutionSummaries"][0]["PipelineExecutionArn"] == arn
    pages = sagemaker.get_paginator("list_pipeline_executions").paginate(
        PipelineName="p", PaginationConfig={"PageSize": 1}
    )
    assert sum(len(page["PipelineExecutionSummaries"]) for page in pages) == 2
    assert sagemaker.list_pipeline_parameters_for_execution(PipelineExecutionArn=arn)[
        "PipelineParameters"
    ] == [{"Name": "Minimum", "Value": "0.1"}]
    definition = sagemaker.describe_pipeline_definition_for_execution(PipelineExecutionArn=arn)
    assert json.loads(definition["PipelineDefinition"])["Steps"] == steps


def test_starting_with_the_same_token_even_at_once_starts_once(box: Any) -> None:
    box.run({"Steps": [lambda_step("L", "echo", {})]})
    sagemaker = box.client("sagemaker")

    def start(_: int) -> str:
        request = {"PipelineName": "p", "ClientRequestToken": "u" * 32}
        return str(sagemaker.start_pipeline_execution(**request)["PipelineExecutionArn"])

    with ThreadPoolExecutor(4) as pool:
        arns = set(pool.map(start, range(8)))
    assert len(arns) == 1
    box.wait_for_execution(arns.pop())


@pytest.mark.parametrize(
    ("call", "arguments", "code"),
    [
        ("describe_pipeline", {"PipelineName": "none"}, "ResourceNotFound"),
        ("start_pipeline_execution", {"PipelineName": "none"}, "ResourceNotFound"),
        ("describe_pipeline_execution", {"PipelineExecutionArn": "arn:none"}, "ResourceNotFound"),
        ("describe_processing_job", {"ProcessingJobName": "none"}, "ResourceNotFound"),
        ("describe_training_job", {"TrainingJobName": "none"}, "ResourceNotFound"),
        ("list_trials", {}, "NotImplemented"),
    ],
)
def test_errors_have_their_aws_codes(box: Any, call: str, arguments: Any, code: str) -> None:
    with pytest.raises(ClientError) as caught:
        getattr(box.client("sagemaker"), call)(**arguments)
    assert caught.value.response["Error"]["Code"] == code


def test_a_pipeline_can_be_updated_from_s3_tagged_and_deleted(box: Any) -> None:
    sagemaker = box.client("sagemaker")
    text = json.dumps({"Version": "2020-12-01", "Steps": [lambda_step("L", "echo", {})]})
    made = sagemaker.create_pipeline(
        PipelineName="p",
        PipelineDefinition=text,
        RoleArn="arn:aws:iam::000000000000:role/r",
        ClientRequestToken="t" * 32,
        Tags=[{"Key": "stage", "Value": "dev"}],
    )
    with pytest.raises(ClientError, match="must be unique within"):
        sagemaker.create_pipeline(
            PipelineName="p",
            PipelineDefinition=text,
            RoleArn="arn:aws:iam::000000000000:role/r",
            ClientRequestToken="t" * 32,
        )
    s3 = box.client("s3")
    s3.create_bucket(Bucket="definitions")
    s3.put_object(Bucket="definitions", Key="new.json", Body=text.replace('"L"', '"M"'))
    sagemaker.update_pipeline(
        PipelineName="p",
        PipelineDefinitionS3Location={"Bucket": "definitions", "ObjectKey": "new.json"},
    )
    assert '"M"' in sagemaker.describe_pipeline(PipelineName="p")["PipelineDefinition"]
    arn = made["PipelineArn"]
    sagemaker.add_tags(ResourceArn=arn, Tags=[{"Key": "owner", "Value": "me"}])
    sagemaker.delete_tags(ResourceArn=arn, TagKeys=["stage"])
    assert sagemaker.list_tags(ResourceArn=arn)["Tags"] == [{"Key": "owner", "Value": "me"}]
    sagemaker.delete_pipeline(PipelineName="p")
    assert sagemaker.list_pipelines()["PipelineSummaries"] == []


def test_a_deleted_pipeline_takes_its_executions_with_it_unless_one_runs(box: Any) -> None:
    arn = start_waiting(box)
    sagemaker = box.client("sagemaker")
    with pytest.raises(sagemaker.exceptions.ConflictException, match="stop them first"):
        sagemaker.delete_pipeline(PipelineName="p")
    sagemaker.stop_pipeline_execution(PipelineExecutionArn=arn)
    box.wait_for_execution(arn)
    sagemaker.delete_pipeline(PipelineName="p")
    with pytest.raises(sagemaker.exceptions.ResourceNotFound):
        sagemaker.describe_pipeline_execution(PipelineExecutionArn=arn)
    assert box.account.store.every("step", parent=arn) == []


def test_a_pipeline_made_again_reuses_nothing_of_the_one_deleted(box: Any) -> None:
    steps = {"Steps": [processing(box, "P", SCRIPT, "0.9", cached=True)]}
    arn = box.run(steps)["PipelineExecutionArn"]
    sagemaker, pipeline = box.client("sagemaker"), arn.partition("/execution/")[0]
    for resource in (pipeline, arn):
        sagemaker.add_tags(ResourceArn=resource, Tags=[{"Key": "k", "Value": "old"}])
    sagemaker.delete_pipeline(PipelineName="p")
    for resource in (pipeline, arn):
        assert sagemaker.list_tags(ResourceArn=resource)["Tags"] == []
    again = box.steps(box.run(steps)["PipelineExecutionArn"])["P"]
    assert "CacheHitResult" not in again


def test_a_retry_or_a_stop_that_comes_twice_is_carried_out_once(box: Any) -> None:
    arn = start_waiting(box)
    sagemaker = box.client("sagemaker")
    stop = {"PipelineExecutionArn": arn, "ClientRequestToken": "s" * 32}
    sagemaker.stop_pipeline_execution(**stop)
    box.wait_for_execution(arn)
    assert sagemaker.stop_pipeline_execution(**stop)["PipelineExecutionArn"] == arn
    box.put("code/Wait/main.py", "")
    retry = {"PipelineExecutionArn": arn, "ClientRequestToken": "r" * 32}
    sagemaker.retry_pipeline_execution(**retry)
    assert box.wait_for_execution(arn)["PipelineExecutionStatus"] == "Succeeded"
    assert sagemaker.retry_pipeline_execution(**retry)["PipelineExecutionArn"] == arn
    ended = sagemaker.describe_pipeline_execution(PipelineExecutionArn=arn)
    assert ended["PipelineExecutionStatus"] == "Succeeded"
