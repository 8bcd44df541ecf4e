"""Beyond one straight run: conditions in conditions, parallelism, selection, explanations."""

from __future__ import annotations

import json
from typing import Any

import pytest
from botocore.exceptions import ClientError

from pipeline.local.definition import parse
from pipeline.local.schedule import Schedule
from pipeline.local.transform import payloads
from tests.pipeline.local.steps import SCRIPT, gate, lambda_step, processing

ROLE = "arn:aws:iam::000000000000:role/r"


def fail(name: str, message: Any = "no") -> dict[str, Any]:
    return {"Name": name, "Type": "Fail", "Arguments": {"ErrorMessage": message}}


def condition(name: str, conditions: Any, then: Any = (), otherwise: Any = ()) -> dict[str, Any]:
    arguments = {"Conditions": conditions, "IfSteps": list(then), "ElseSteps": list(otherwise)}
    return {"Name": name, "Type": "Condition", "Arguments": arguments}


def test_a_branch_in_a_branch_is_taken_and_a_step_after_it_waits_for_it(box: Any) -> None:
    known = {"Type": "In", "QueryValue": "b", "Values": ["a", "b"]}
    inner = condition("Inner", [{"Type": "Not", "Expression": known}],
                      [fail("No")], [lambda_step("Yes", "echo", {}, "variable")])  # fmt: skip
    either = {"Type": "Or", "Conditions": [
        {"Type": "Equals", "LeftValue": 1, "RightValue": 2},
        {"Type": "LessThan", "LeftValue": 1, "RightValue": {"Get": "Parameters.Many"}},
    ]}  # fmt: skip
    last = fail("Last", {"Get": "Steps.Yes.OutputParameters['variable']"})
    many = {"Name": "Many", "Type": "Integer", "DefaultValue": 2}
    outer = condition("Outer", [either], [inner])
    execution = box.run({"Parameters": [many], "Steps": [outer, last]})
    assert execution["FailureReason"] == "step Last: value"
    assert set(box.steps(execution["PipelineExecutionArn"])) == {"Outer", "Inner", "Yes", "Last"}


def test_a_step_of_a_branch_waits_for_one_outside_that_waits_for_the_branch(box: Any) -> None:
    equal = {"Type": "Equals", "LeftValue": 1, "RightValue": 1}
    last = {**lambda_step("Last", "echo", {}), "DependsOn": ["Outside"]}
    chosen = condition("C", [equal], [lambda_step("First", "echo", {}), last])
    outside = {**lambda_step("Outside", "echo", {}), "DependsOn": ["First"]}
    execution = box.run({"Steps": [chosen, outside]})
    assert execution["PipelineExecutionStatus"] == "Succeeded", execution.get("FailureReason")
    steps = box.steps(execution["PipelineExecutionArn"])
    assert sorted(steps, key=lambda name: steps[name]["StartTime"]) == [
        "C", "First", "Outside", "Last",
    ]  # fmt: skip


def test_json_get_reads_an_s3_uri_that_is_joined(box: Any) -> None:
    box.put("report.json", json.dumps({"a": [{"b": 7}]}))
    uri = {"Std:Join": {"On": "/", "Values": ["s3://b", "report.json"]}}
    step = fail("F", {"Std:JsonGet": {"S3Uri": uri, "Path": "a[0].b"}})
    assert box.run({"Steps": [step]})["FailureReason"] == "step F: 7"


def test_no_more_steps_run_at_once_than_the_execution_allows(box: Any) -> None:
    script = (
        "import os, pathlib, sys, time\n"
        "here = pathlib.Path(sys.argv[2]); here.mkdir(exist_ok=True)\n"
        "mine = here / str(os.getpid()); mine.touch()\n"
        "together = len(list(here.iterdir())); time.sleep(0.2); mine.unlink()\n"
        "sys.exit('together') if together > 1 else None\n"
    )
    steps = [processing(box, name, script, str(box.tmp / "running")) for name in ("A", "B", "C")]
    box.run({"Steps": [fail("X")]})
    sagemaker = box.client("sagemaker")
    sagemaker.update_pipeline(
        PipelineName="p",
        PipelineDefinition=json.dumps({"Version": "2020-12-01", "Steps": steps}),
        ParallelismConfiguration={"MaxParallelExecutionSteps": 1},
    )
    arn = sagemaker.start_pipeline_execution(PipelineName="p")["PipelineExecutionArn"]
    assert box.wait_for_execution(arn)["PipelineExecutionStatus"] == "Succeeded"


def tags_of(box: Any, arn: str, step: str) -> dict[str, str]:
    """The tags of a step's job."""
    job = box.steps(arn)[step]["Metadata"]["ProcessingJob"]["Arn"]
    tags = box.client("sagemaker").list_tags(ResourceArn=job)["Tags"]
    return {tag["Key"]: tag["Value"] for tag in tags}


def explanation(box: Any, arn: str, step: str) -> str:
    """What a step's job says of the cache."""
    job = box.steps(arn)[step]["Metadata"]["ProcessingJob"]["Arn"]
    tags = {
        tag["Key"]: tag["Value"]
        for tag in box.client("sagemaker").list_tags(ResourceArn=job)["Tags"]
    }
    return str(tags["local-account:cache"])


def test_a_miss_names_the_argument_or_the_input_that_changed(box: Any) -> None:
    step = processing(box, "P", SCRIPT, "0.9", cached=True)
    first = box.run({"Steps": [step]})["PipelineExecutionArn"]
    assert explanation(box, first, "P") == "no earlier run of this step"
    box.put("code/P/main.py", SCRIPT + "# changed in place\n")
    second = box.run({"Steps": [step]})["PipelineExecutionArn"]
    name = first.rpartition("/")[2]
    assert explanation(box, second, "P") == (
        f"the content of s3://b/code/P changed since {name} "
        "(AWS would not see it: the URI is the same)"
    )
    step["Arguments"]["Environment"] = {"FROM_STEP": "no"}
    third = box.run({"Steps": [step]})["PipelineExecutionArn"]
    name = second.rpartition("/")[2]
    assert explanation(box, third, "P") == f"Environment.FROM_STEP is not what it was in {name}"


def test_a_lambda_step_is_reused_until_its_call_or_its_function_changes(box: Any) -> None:
    def run(argument: str) -> tuple[str, str]:
        """The execution's name, and what the cache said."""
        step = lambda_step("L", "echo", {"a": argument}, "variable")
        steps = [{**step, "CacheConfig": {"Enabled": True}}]
        arn = box.run({"Steps": steps})["PipelineExecutionArn"]
        return arn.rpartition("/")[2], box.account.store.get("step", f"{arn}/L")["CacheExplanation"]

    first, _ = run("1")
    again, told = run("1")
    assert told == f"same key as in {first}"
    step = box.steps(f"arn:aws:sagemaker:us-east-1:000000000000:pipeline/p/execution/{again}")["L"]
    outputs = [{"Name": "variable", "Value": "value"}]
    assert step["Metadata"]["Lambda"]["OutputParameters"] == outputs
    second, told = run("2")
    assert told == f"Arguments.a is not what it was in {first}"
    handlers = box.tmp / "functions" / "handlers.py"
    handlers.write_text(handlers.read_text() + "# changed\n")
    _, told = run("2")
    assert f"function:echo changed since {second}" in told


def test_the_name_of_a_steps_own_job_keeps_it_from_no_reuse(box: Any) -> None:
    script = "import os\nassert os.environ['NAME'] == os.environ['PROCESSING_JOB_NAME']\n"
    step = processing(box, "P", script, cached=True)
    del step["PropertyFiles"], step["Arguments"]["ProcessingOutputConfig"]
    step["Arguments"]["Environment"] = {"NAME": {"Get": "Execution.ProcessingJobName"}}
    first = box.run({"Steps": [step]})
    assert first["PipelineExecutionStatus"] == "Succeeded", first["FailureReason"]
    again = box.run({"Steps": [step]})["PipelineExecutionArn"]
    source = box.steps(again)["P"]["CacheHitResult"]["SourcePipelineExecutionArn"]
    assert source == first["PipelineExecutionArn"]


def test_what_a_job_used_is_told_in_its_tags(box: Any) -> None:
    arn = box.run({"Steps": [processing(box, "P", SCRIPT, "0.9")]})["PipelineExecutionArn"]
    job = box.steps(arn)["P"]["Metadata"]["ProcessingJob"]["Arn"]
    tags = {
        tag["Key"]: float(tag["Value"])
        for tag in box.client("sagemaker").list_tags(ResourceArn=job)["Tags"]
    }
    assert 0 < tags["local-account:cpu-seconds"] < 10
    assert 1 < tags["local-account:peak-memory-mib"] < 1000


def test_selected_steps_run_on_the_results_of_a_reference_execution(box: Any) -> None:
    before = processing(box, "Before", SCRIPT, "0.9")
    after = gate("Before", 0.5, [lambda_step("In", "echo", {}), lambda_step("Out", "echo", {})])
    first = box.run({"Steps": [before, after]})["PipelineExecutionArn"]
    sagemaker = box.client("sagemaker")
    arn = sagemaker.start_pipeline_execution(
        PipelineName="p",
        SelectiveExecutionConfig={
            "SourcePipelineExecutionArn": first,
            "SelectedSteps": [{"StepName": "In"}],
        },
    )["PipelineExecutionArn"]
    assert box.wait_for_execution(arn)["PipelineExecutionStatus"] == "Succeeded"
    steps = box.steps(arn)
    assert set(steps) == {"Before", "Gate", "In"}
    assert steps["Before"]["SelectiveExecutionResult"] == {"SourcePipelineExecutionArn": first}
    assert "SelectiveExecutionResult" not in steps["In"]
    assert "ProcessingJob" in steps["Before"]["Metadata"]


@pytest.mark.parametrize(
    ("chosen", "source", "reason"),
    [
        ("Nobody", None, "selected step Nobody is not in the pipeline definition"),
        ("B", None, "step A is not selected and did not succeed"),
        ("B", "arn:aws:sagemaker:us-east-1:000000000000:pipeline/p/execution/abcdefghijkl",
         "does not exist"),
    ],
)  # fmt: skip
def test_a_selection_that_cannot_run_is_refused(
    box: Any, chosen: str, source: str | None, reason: str
) -> None:
    box.run(
        {
            "Steps": [
                lambda_step("A", "fail", {}),
                {**lambda_step("B", "echo", {}), "DependsOn": ["A"]},
            ]
        }
    )
    config: dict[str, Any] = {"SelectedSteps": [{"StepName": chosen}]}
    if source:
        config["SourcePipelineExecutionArn"] = source
    with pytest.raises(ClientError, match=reason):
        box.client("sagemaker").start_pipeline_execution(
            PipelineName="p", SelectiveExecutionConfig=config
        )


def test_a_selected_step_in_a_branch_that_the_reference_did_not_take_is_refused(box: Any) -> None:
    differs = {"Type": "Equals", "LeftValue": 1, "RightValue": 2}
    inner = condition("Inner", [differs], [fail("X")])
    box.run({"Steps": [condition("Outer", [differs], [fail("Y")], [inner])]})
    with pytest.raises(ClientError, match="X is in the IfSteps of Inner, which the ref"):
        box.client("sagemaker").start_pipeline_execution(
            PipelineName="p", SelectiveExecutionConfig={"SelectedSteps": [{"StepName": "X"}]}
        )


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"Type": "Tuning"}, "type Tuning does not run here"),
        ({"QualityCheckConfig": {}}, "step P: QualityCheckConfig does not run"),
        ({"Arguments": {"ProcessingInputs": [{"DatasetDefinition": {}}]}},
         r"step P: ProcessingInputs.\*.DatasetDefinition does not run"),
        ({"Arguments": {"ProcessingInputs": [{"S3Input": {"S3InputMode": "Pipe"}}]}},
         "S3InputMode Pipe does not run"),
        ({"RetryPolicies": [{"ExceptionType": ["Bad"]}]}, "no exception type Bad"),
        ({"Arguments": {"Environment": {"N": {"Get": "Execution.TrainingJobName"}}}},
         "TrainingJobName: only a Training step has it"),
        ({"Arguments": {"Environment": {"N": {"Get": "Execution.Name"}}}},
         "refers to execution variable Name, which does not run here"),
    ],
)  # fmt: skip
def test_what_does_not_run_here_is_refused_before_the_run_by_name(
    box: Any, change: Any, reason: str
) -> None:
    steps = [{"Name": "P", "Type": "Processing", "Arguments": {}, **change}]
    text = json.dumps({"Version": "2020-12-01", "Steps": steps})
    with pytest.raises(ClientError, match=reason):
        box.client("sagemaker").create_pipeline(
            PipelineName="p", PipelineDefinition=text, RoleArn=ROLE, ClientRequestToken="t" * 32
        )


def transform_steps(box: Any, uri: str, **source: str) -> tuple[Any, Any]:
    """A Model step, and a Transform step that asks the model about each line of an input."""
    model = {
        "Name": "M",
        "Type": "Model",
        "Arguments": {
            "ExecutionRoleArn": ROLE,
            "PrimaryContainer": {
                "Image": "server:1",
                "ModelDataUrl": box.model_data("hi"),
                "Environment": {"COLOUR": "red"},
            },
        },
    }
    transform = {
        "Name": "T",
        "Type": "Transform",
        "CacheConfig": {"Enabled": True},
        "Arguments": {
            "ModelName": {"Get": "Steps.M.ModelName"},
            "BatchStrategy": "SingleRecord",
            "TransformInput": {
                "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": uri, **source}},
                "ContentType": "text/plain",
                "SplitType": "Line",
            },
            "TransformOutput": {"S3OutputPath": "s3://b/answers", "AssembleWith": "Line"},
            "TransformResources": {"InstanceType": "ml.m5.large", "InstanceCount": 1},
        },
    }
    return model, transform


def test_a_transform_step_asks_the_model_line_by_line(box: Any) -> None:
    box.put("in/a.txt", "one\ntwo\n")
    model, transform = transform_steps(box, "s3://b/in/")
    execution = box.run({"Steps": [model, transform]})
    assert execution["PipelineExecutionStatus"] == "Succeeded", execution.get("FailureReason")
    assert box.get("answers/a.txt.out") == b"hi:one\n:red\nhi:two\n:red\n"
    assert box.client("sagemaker").list_transform_jobs()["TransformJobSummaries"]
    box.wait_until(lambda: not box.processes())


def test_a_transform_step_sends_what_a_manifest_lists(box: Any) -> None:
    box.put("in/a.txt", "one")
    box.put("my.manifest", json.dumps([{"prefix": "s3://b/in/"}, "a.txt"]))
    model, transform = transform_steps(box, "s3://b/my.manifest", S3DataType="ManifestFile")
    execution = box.run({"Steps": [model, transform]})
    assert execution["PipelineExecutionStatus"] == "Succeeded", execution.get("FailureReason")
    assert box.get("answers/a.txt.out") == b"hi:one:red\n"


def test_lines_are_batched_up_to_the_payloads_limit() -> None:
    line = b"x" * (400 << 10) + b"\n"
    job = {"TransformInput": {"SplitType": "Line"}, "MaxPayloadInMB": 1}
    assert [payload.count(b"\n") for payload in payloads(job, line * 5)] == [2, 2, 1]
    assert list(payloads({"TransformInput": {}}, b"a\nb")) == [b"a\nb"]


def test_a_thousand_steps_are_scheduled_in_order() -> None:
    steps = [fail("s0")]
    steps += [{**fail(f"s{n}"), "DependsOn": [f"s{n - 1}"]} for n in range(1, 1000)]
    parse(json.dumps({"Version": "2020-12-01", "Steps": steps}))
    schedule, order = Schedule(), []
    schedule.add(reversed(steps))
    while step := schedule.take():
        order.append(step["Name"])
        schedule.finish(step["Name"])
    assert order == [f"s{n}" for n in range(1000)]
