"""Jobs created through the API, and the training container's contract."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from pipeline.local.containers import remap
from pipeline.local.errors import StepError
from pipeline.local.inputs import inside
from tests.pipeline.local import steps

ROLE = "arn:aws:iam::000000000000:role/r"
TRAIN = """
import json, os, pathlib, sys
ml = pathlib.Path(sys.argv[1])
config = ml / "input" / "config"
seen = {
    "hyperparameters": json.loads((config / "hyperparameters.json").read_text()),
    "channels": sorted(json.loads((config / "inputdataconfig.json").read_text())),
    "data": sorted(str(p.relative_to(ml)) for p in (ml / "input/data/train").rglob("*.txt")),
    "checkpoints": sorted(p.name for p in (ml / "checkpoints").iterdir()),
    "job": os.environ["TRAINING_JOB_NAME"],
    "home": os.environ["HOME"],
}
(ml / "model" / "seen.json").write_text(json.dumps(seen))
(ml / "output" / "data" / "history.json").write_text("[]")
(ml / "checkpoints" / "epoch-1").write_text("x")
if seen["hyperparameters"].get("fail"):
    (ml / "output" / "failure").write_text("loss is NaN in step 7")
    sys.exit(3)
"""


def train(box: Any, name: str, **hyperparameters: str) -> dict[str, Any]:
    """Create a training job, wait for its end; its description."""
    box.put("data/pos/1.txt", "good")
    box.put("train.py", TRAIN)
    channels = [
        {
            "ChannelName": label,
            "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": uri}},
        }
        for label, uri in (("train", "s3://b/data"), ("code", "s3://b/train.py"))
    ]
    sagemaker = box.client("sagemaker")
    sagemaker.create_training_job(
        TrainingJobName=name,
        RoleArn=ROLE,
        AlgorithmSpecification={
            "TrainingImage": "job:1",
            "TrainingInputMode": "File",
            "ContainerEntrypoint": ["python3", "/opt/ml/input/data/code/train.py", "/opt/ml"],
        },
        HyperParameters=hyperparameters,
        InputDataConfig=channels,
        OutputDataConfig={"S3OutputPath": "s3://b/models/"},
        ResourceConfig={"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1},
        CheckpointConfig={"S3Uri": "s3://b/checkpoints"},
        StoppingCondition={"MaxRuntimeInSeconds": 60},
    )
    sagemaker.get_waiter("training_job_completed_or_stopped").wait(
        TrainingJobName=name, WaiterConfig={"Delay": 0.05, "MaxAttempts": 600}
    )
    answer: dict[str, Any] = sagemaker.describe_training_job(TrainingJobName=name)
    return answer


def test_a_training_job_gets_the_contract_and_gives_a_model(box: Any) -> None:
    box.put("checkpoints/epoch-0", "x")
    job = train(box, "t1", epochs="3", folder="/opt/ml/checkpoints")
    assert job["TrainingJobStatus"] == "Completed", job.get("FailureReason")
    assert (job["SecondaryStatus"], job["TrainingTimeInSeconds"]) == (
        "Completed",
        job["BillableTimeInSeconds"],
    )
    uri = job["ModelArtifacts"]["S3ModelArtifacts"]
    assert uri == "s3://b/models/t1/output/model.tar.gz"
    with tarfile.open(fileobj=io.BytesIO(box.get("models/t1/output/model.tar.gz"))) as tar:
        file = tar.extractfile("seen.json")
        assert file is not None
        seen = json.load(file)
    assert seen["hyperparameters"]["epochs"] == "3"
    assert seen["hyperparameters"]["folder"].endswith("/ml/checkpoints")
    assert seen["hyperparameters"]["folder"] != "/opt/ml/checkpoints"
    assert seen["channels"] == ["code", "train"]
    assert seen["data"] == ["input/data/train/pos/1.txt"]
    assert seen["checkpoints"] == ["epoch-0"]
    assert seen["job"] == "t1"
    assert box.get("checkpoints/epoch-1") == b"x"


def test_the_failure_file_is_the_failure_reason(box: Any) -> None:
    box.put("data/pos/1.txt", "good")
    with pytest.raises(Exception, match="TrainingJobCompletedOrStopped"):
        train(box, "t2", fail="1")
    job = box.client("sagemaker").describe_training_job(TrainingJobName="t2")
    assert job["FailureReason"] == "exit code 3: loss is NaN in step 7"
    assert box.get("checkpoints/epoch-1") == b"x", "a failed job keeps its checkpoints too"


def processing(box: Any, name: str, code: str, uri: str = "s3://b/code.py", count: int = 1) -> None:
    box.put("code.py", code)
    box.client("sagemaker").create_processing_job(
        ProcessingJobName=name,
        RoleArn=ROLE,
        AppSpecification={
            "ImageUri": "job:1",
            "ContainerEntrypoint": ["python3", "/opt/ml/processing/input/code/code.py"],
        },
        ProcessingInputs=[
            {
                "InputName": "code",
                "S3Input": {
                    "S3Uri": uri,
                    "LocalPath": "/opt/ml/processing/input/code",
                    "S3DataType": "S3Prefix",
                    "S3InputMode": "File",
                },
            }
        ],
        ProcessingResources={
            "ClusterConfig": {
                "InstanceCount": count,
                "InstanceType": "ml.m5.large",
                "VolumeSizeInGB": 1,
            }
        },
    )


def ended(box: Any, name: str) -> dict[str, Any]:
    def description() -> dict[str, Any] | None:
        job: dict[str, Any] = box.client("sagemaker").describe_processing_job(
            ProcessingJobName=name
        )
        return None if job["ProcessingJobStatus"] in ("InProgress", "Stopping") else job

    found: dict[str, Any] = box.wait_until(description)
    return found


def test_a_missing_input_is_named(box: Any) -> None:
    processing(box, "j", "", uri="s3://b/absent")
    assert ended(box, "j")["FailureReason"] == "input code: there is no object at s3://b/absent"


def test_an_instance_count_that_cannot_be_had_is_refused(box: Any) -> None:
    processing(box, "j", "", count=9)
    assert "1 to 8 hosts here, not 9" in ended(box, "j")["FailureReason"]


def test_a_job_can_be_stopped_and_listed(box: Any) -> None:
    mark = box.tmp / "mark"
    processing(
        box, "j", f"import pathlib, time\npathlib.Path({str(mark)!r}).touch()\ntime.sleep(99)"
    )
    box.wait_until(mark.exists)
    sagemaker = box.client("sagemaker")
    sagemaker.stop_processing_job(ProcessingJobName="j")
    assert ended(box, "j")["ProcessingJobStatus"] == "Stopped"
    summaries = sagemaker.list_processing_jobs(StatusEquals="Stopped")["ProcessingJobSummaries"]
    assert [item["ProcessingJobName"] for item in summaries] == ["j"]


def test_a_job_name_is_used_once(box: Any) -> None:
    processing(box, "j", "")
    ended(box, "j")
    with pytest.raises(ClientError, match="ResourceInUse"):
        processing(box, "j", "")


@pytest.mark.parametrize("path", ["/etc/passwd", "/opt/ml/../../etc", "/opt/mlx"])
def test_a_local_path_outside_the_container_is_refused(box: Any, path: str) -> None:
    with pytest.raises(StepError, match="is not below /opt/ml"):
        inside(box.home, path)


@pytest.mark.parametrize("name", ["../../outside", "../s3", "a/b", ".", "a" * 64])
def test_a_job_name_that_is_not_one_is_refused_and_nothing_is_deleted(box: Any, name: str) -> None:
    kept = box.put("k", "x")
    (box.tmp / "outside").mkdir()
    with pytest.raises(ClientError) as caught:
        box.client("sagemaker").create_processing_job(
            ProcessingJobName=name,
            RoleArn=ROLE,
            AppSpecification={"ImageUri": "job:1", "ContainerEntrypoint": ["true"]},
            ProcessingResources={
                "ClusterConfig": {
                    "InstanceCount": 1,
                    "InstanceType": "ml.m5.large",
                    "VolumeSizeInGB": 1,
                }
            },
        )
    assert caught.value.response["Error"]["Code"] == "ValidationException"
    assert "ProcessingJobName" in str(caught.value)
    assert (box.tmp / "outside").is_dir()
    assert box.get(kept.removeprefix("s3://b/")) == b"x"


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("/opt/ml", "/l/ml"),
        ("--out=/opt/ml/model:/opt/ml/code", "--out=/l/ml/model:/l/ml/code"),
        ("file:///opt/ml/input", "file:///l/ml/input"),
        ('"/opt/ml".', '"/l/ml".'),
        ("/opt/mlflow", "/opt/mlflow"),
        ("/opt/ml-data", "/opt/ml-data"),
        ("s3://b/opt/ml/x", "s3://b/opt/ml/x"),
        ("s3://b/opt/mlops/x", "s3://b/opt/mlops/x"),
    ],
)
def test_the_container_folder_is_replaced_where_it_is_meant(text: str, seen: str) -> None:
    assert remap(text, Path("/l/ml")) == seen


def test_the_name_of_a_job_that_runs_is_in_use(box: Any) -> None:
    request = {
        "ProcessingJobName": "j",
        "RoleArn": ROLE,
        "AppSpecification": {"ImageUri": "job:1", "ContainerEntrypoint": ["sleep", "300"]},
        "ProcessingResources": {
            "ClusterConfig": {
                "InstanceCount": 1,
                "InstanceType": "ml.m5.large",
                "VolumeSizeInGB": 1,
            }
        },
    }
    sagemaker = box.client("sagemaker")
    sagemaker.create_processing_job(**request)
    with pytest.raises(sagemaker.exceptions.ResourceInUse, match="already exists"):
        sagemaker.create_processing_job(**request)
    sagemaker.stop_processing_job(ProcessingJobName="j")


def test_a_model_package_without_a_group_is_refused_by_name(box: Any) -> None:
    with pytest.raises(ClientError, match="give a ModelPackageGroupName"):
        box.client("sagemaker").create_model_package(ModelPackageName="alone")


def test_an_aws_client_in_a_job_is_answered_by_the_account(box: Any) -> None:
    script = (
        "import boto3\n"
        "boto3.client('s3').put_object(Bucket='b', Key='from-the-job', Body=b'hello')\n"
        "print(boto3.client('sts').get_caller_identity()['Account'])\n"
    )
    execution = box.run({"Steps": [steps.processing(box, "P", script)]})
    assert execution["PipelineExecutionStatus"] == "Succeeded", execution["FailureReason"]
    assert box.get("from-the-job") == b"hello"


def test_a_role_may_do_whatever_is_asked(box: Any) -> None:
    answer = box.client("iam").simulate_principal_policy(
        PolicySourceArn=ROLE, ActionNames=["s3:GetObject", "sagemaker:CreateTrainingJob"]
    )
    assert {item["EvalDecision"] for item in answer["EvaluationResults"]} == {"allowed"}
