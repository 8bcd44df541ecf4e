"""Metrics that training jobs print."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from pipeline.local.metrics import final_metrics

ROLE = "arn:aws:iam::000000000000:role/r"
LOSS = {"Name": "loss", "Regex": r"loss=([-+0-9.e]+|\w+)"}


def training(command: str, *metrics: Any, **environment: Any) -> dict[str, Any]:
    """A Training step that runs a shell command."""
    return {
        "Name": "T",
        "Type": "Training",
        "Arguments": {
            "AlgorithmSpecification": {
                "TrainingImage": "job:1",
                "TrainingInputMode": "File",
                "ContainerEntrypoint": ["sh", "-c", command],
                "MetricDefinitions": list(metrics),
            },
            "Environment": environment,
            "OutputDataConfig": {"S3OutputPath": "s3://b/out"},
            "ResourceConfig": {
                "InstanceCount": 1,
                "InstanceType": "ml.m5.large",
                "VolumeSizeInGB": 1,
            },
            "StoppingCondition": {"MaxRuntimeInSeconds": 60},
            "RoleArn": ROLE,
        },
    }


def values(tmp_path: Path, text: str, *definitions: Any) -> dict[str, float]:
    log = tmp_path / "algo-1.log"
    log.write_text(text)
    return {item["MetricName"]: item["Value"] for item in final_metrics(definitions, [log])}


def test_the_last_value_of_each_metric_counts(tmp_path: Path) -> None:
    accuracy = {"Name": "validation:accuracy", "Regex": "acc=(.*?);"}
    text = "loss=0.9 acc=0.5;\nloss=1e-3 loss=2e-3\nnothing\nacc=0.75; acc=none;\n"
    assert values(tmp_path, text, LOSS, accuracy) == {"loss": 2e-3, "validation:accuracy": 0.75}


@pytest.mark.parametrize("text", ["", "loss=", "loss=high", "loss=nan", "loss=inf"])
def test_what_is_no_number_is_no_metric(tmp_path: Path, text: str) -> None:
    assert values(tmp_path, text, LOSS) == {}


@pytest.mark.parametrize(
    ("regex", "reason"), [("loss=(", "no regular expression"), ("loss=.*", "has no group")]
)
def test_a_regex_that_gives_no_value_is_refused_before_the_run(
    box: Any, regex: str, reason: str
) -> None:
    step = training("true", {"Name": "loss", "Regex": regex})
    text = json.dumps({"Version": "2020-12-01", "Steps": [step]})
    with pytest.raises(ClientError, match=f"step T: the Regex of metric loss.*{reason}"):
        box.client("sagemaker").create_pipeline(
            PipelineName="p", PipelineDefinition=text, RoleArn=ROLE, ClientRequestToken="t" * 32
        )
    request = {**step["Arguments"], "TrainingJobName": "t"}
    with pytest.raises(ClientError, match=reason):
        box.client("sagemaker").create_training_job(**request)


def test_steps_refer_to_the_metrics_and_the_name_of_a_job(box: Any) -> None:
    box.put("x", "")
    command = 'echo "loss=0.25"; test "$NAME" = "$TRAINING_JOB_NAME"'
    message = ["Steps.T.TrainingJobName", "Steps.T.FinalMetricDataList['loss'].Value"]
    fail = {
        "Name": "F",
        "Type": "Fail",
        "Arguments": {
            "ErrorMessage": {"Std:Join": {"On": " ", "Values": [{"Get": one} for one in message]}}
        },
    }
    step = training(command, LOSS, NAME={"Get": "Execution.TrainingJobName"})
    execution = box.run({"Steps": [step, fail]})
    metadata = box.steps(execution["PipelineExecutionArn"])["T"]["Metadata"]["TrainingJob"]
    job = metadata["Arn"].rpartition("/")[2]
    assert execution["FailureReason"] == f"step F: {job} 0.25"
    described = box.client("sagemaker").describe_training_job(TrainingJobName=job)
    (metric,) = described["FinalMetricDataList"]
    assert (metric["MetricName"], metric["Value"]) == ("loss", 0.25)


def test_a_job_that_fails_tells_its_metrics_too(box: Any) -> None:
    box.put("x", "")
    execution = box.run({"Steps": [training("echo loss=7; exit 3", LOSS)]})
    assert execution["PipelineExecutionStatus"] == "Failed"
    (job,) = box.client("sagemaker").list_training_jobs()["TrainingJobSummaries"]
    described = box.client("sagemaker").describe_training_job(
        TrainingJobName=job["TrainingJobName"]
    )
    assert [item["Value"] for item in described["FinalMetricDataList"]] == [7.0]
