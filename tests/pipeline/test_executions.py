from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from pipeline.errors import ExecutionError
from pipeline.executions import Execution, Executions, Step
from pipeline.run import failure
from pipeline.target import Target

ROLE = "arn:aws:iam::000000000000:role/r"


def processing(name: str, script: str) -> dict[str, Any]:
    return {
        "Name": name,
        "Type": "Processing",
        "Arguments": {
            "ProcessingResources": {
                "ClusterConfig": {
                    "InstanceType": "ml.m5.large",
                    "InstanceCount": 1,
                    "VolumeSizeInGB": 1,
                }
            },
            "AppSpecification": {
                "ImageUri": "image:1",
                "ContainerEntrypoint": ["python3", "-c", script],
            },
            "RoleArn": ROLE,
        },
    }


def definition(*steps: dict[str, Any]) -> str:
    parameters = [{"Name": "Word", "Type": "String", "DefaultValue": "hello"}]
    return json.dumps({"Version": "2020-12-01", "Parameters": parameters, "Steps": list(steps)})


def fail(name: str) -> dict[str, Any]:
    message = {"Std:Join": {"On": " ", "Values": ["said", {"Get": "Parameters.Word"}]}}
    return {"Name": name, "Type": "Fail", "Arguments": {"ErrorMessage": message}}


def run(target: Target, text: str, **parameters: str) -> tuple[Execution, list[Step]]:
    executions = Executions(target)
    executions.upsert(text)
    (*_, last) = executions.follow(executions.start(parameters))
    return last


def test_a_run_is_followed_to_its_end(target: Target) -> None:
    execution, steps = run(target, definition(processing("Say", "print('one'); print('two')")))
    assert execution.status == "Succeeded"
    assert execution.seconds is not None and execution.seconds >= 0
    (step,) = steps
    assert (step.name, step.status, step.is_running) == ("Say", "Succeeded", False)
    assert step.log is not None
    assert step.log.group == "/aws/sagemaker/ProcessingJobs"
    assert list(Executions(target).log_lines(step.log)) == ["one", "two"]


def test_a_failed_run_says_which_step_why_and_where_its_log_is(target: Target) -> None:
    execution, steps = run(target, definition(processing("Break", "import sys; sys.exit('oh no')")))
    assert execution.status == "Failed"
    line = failure(execution, steps)
    assert line.startswith("step Break failed: ")
    assert "oh no" in line
    assert "(log: /aws/sagemaker/ProcessingJobs " in line
    assert "\n" not in line


def test_parameters_reach_the_run(target: Target) -> None:
    execution, steps = run(target, definition(fail("No")), Word="goodbye")
    assert failure(execution, steps) == "step No failed: said goodbye"
    assert Executions(target).parameters(execution.arn) == {"Word": "goodbye"}


def test_an_upsert_brings_the_definition_up_to_date(target: Target) -> None:
    executions = Executions(target)
    first = executions.upsert(definition(fail("One")))
    assert executions.upsert(definition(fail("Two"))) == first
    (*_, (_, steps)) = executions.follow(executions.start({}))
    assert [step.name for step in steps] == ["Two"]


def test_executions_are_found_by_id_and_arn_and_the_newest_without(target: Target) -> None:
    one, _ = run(target, definition(fail("No")))
    two, _ = run(target, definition(fail("No")))
    executions = Executions(target)
    assert [execution.id for execution in executions.all()] == [two.id, one.id]
    assert executions.find(None).id == two.id
    assert executions.find(one.id) == executions.find(one.arn)
    with pytest.raises(ExecutionError, match=rf"unknown execution 'x' \(the newest: {two.id}"):
        executions.find("x")


def test_before_the_first_run_there_is_nothing_to_find(target: Target) -> None:
    assert Executions(target).all() == []
    with pytest.raises(ExecutionError, match=r"nothing has run yet \(start with: sentiment run\)"):
        Executions(target).find(None)


def test_the_log_of_a_called_function_is_what_this_call_printed(target: Target) -> None:
    metadata = {"Lambda": {"Arn": "arn:aws:lambda:us-east-1:000000000000:function:f"}}
    started = datetime(2026, 1, 1, tzinfo=UTC)
    step = {
        "StepName": "Deploy",
        "StepStatus": "Succeeded",
        "StartTime": started,
        "EndTime": started + timedelta(seconds=2),
        "Metadata": metadata,
    }
    folder = target.settings.home / "logs/aws/lambda/f"
    folder.mkdir(parents=True)
    for stream, seconds in (("an earlier run", -60), ("this run", 1), ("an approval", 60)):
        (folder / f"{stream}.log").write_text(stream)
        at = started.timestamp() + seconds
        os.utime(folder / f"{stream}.log", (at, at))
    log = Executions(target)._step(step).log
    assert log is not None
    assert list(Executions(target).log_lines(log)) == ["this run"]


def test_a_log_that_was_never_written_is_empty(target: Target) -> None:
    from pipeline.executions import Log

    assert list(Executions(target).log_lines(Log("/aws/none", "x/", "nowhere"))) == []
