"""Evaluates a version on any labelled file, as a processing job in the account."""

from __future__ import annotations

import json
import secrets
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from pipeline.errors import ExecutionError
from pipeline.registry import Version
from pipeline.settings import PROJECT
from pipeline.source import REQUIREMENTS, stage, upload
from pipeline.tables import check_table, upload_table
from pipeline.target import Target

ML = "/opt/ml/processing"
INSTANCE_TYPE = "ml.m5.xlarge"
GROUP = "/aws/sagemaker/ProcessingJobs"
# The image has Python and torch; the job installs the few packages that it lacks.
SCRIPT = (
    f"set -e; cd {ML}/input/code;"
    f" if [ -s {REQUIREMENTS} ]; then python3 -m pip install --quiet -r {REQUIREMENTS}; fi;"
    ' exec python3 evaluate.py "$@"'
)


@dataclass(frozen=True)
class Evaluation:
    """The metrics in the form of evaluation.json, and the predictions row by row as CSV."""

    version: int
    metrics: dict[str, Any]
    predictions_csv: bytes


def evaluate(target: Target, version: Version, labelled: Path, root: Path) -> Evaluation:
    """Run the evaluate job on `labelled` with the artifact of `version` and wait for it.

    Raises DataError for a file that cannot be used, ExecutionError when the job fails.
    """
    check_table(labelled)
    s3, bucket = target.client("s3"), target.account.bucket
    tree = stage("evaluate", root)
    code = upload(s3, bucket, tree.prefix, tree.files)
    data = upload_table(labelled, s3, bucket)
    job = f"{PROJECT}-evaluate-v{version.number}-{secrets.token_hex(5)}"
    output = f"evaluations/{job}"
    target.client("sagemaker").create_processing_job(
        **job_request(
            target,
            job,
            inputs={"code": code, "model": version.model_data_url, "labelled": data},
            output=f"s3://{bucket}/{output}",
        )
    )
    _wait(target, job)
    return Evaluation(
        version=version.number,
        metrics=json.loads(_get(s3, bucket, f"{output}/evaluation.json")),
        predictions_csv=_get(s3, bucket, f"{output}/predictions.csv"),
    )


def job_request(target: Target, job: str, *, inputs: dict[str, str], output: str) -> dict[str, Any]:
    """The arguments of CreateProcessingJob."""
    return {
        "ProcessingJobName": job,
        "RoleArn": target.account.role_arn,
        "AppSpecification": {
            "ImageUri": _image(target),
            "ContainerEntrypoint": ["/bin/bash", "-c", SCRIPT, "evaluate.py"],
            "ContainerArguments": [
                *("--model", f"{ML}/input/model"),
                *("--labelled", f"{ML}/input/labelled"),
                *("--output", f"{ML}/output/evaluation"),
            ],
        },
        "ProcessingInputs": [
            {
                "InputName": name,
                "S3Input": {
                    "S3Uri": uri,
                    "LocalPath": f"{ML}/input/{name}",
                    "S3DataType": "S3Prefix",
                    "S3InputMode": "File",
                },
            }
            for name, uri in inputs.items()
        ],
        "ProcessingOutputConfig": {
            "Outputs": [
                {
                    "OutputName": "evaluation",
                    "S3Output": {
                        "S3Uri": output,
                        "LocalPath": f"{ML}/output/evaluation",
                        "S3UploadMode": "EndOfJob",
                    },
                }
            ]
        },
        "ProcessingResources": {
            "ClusterConfig": {
                "InstanceType": INSTANCE_TYPE,
                "InstanceCount": 1,
                "VolumeSizeInGB": 30,
            }
        },
        "StoppingCondition": {"MaxRuntimeInSeconds": 3600},
    }


def _image(target: Target) -> str:
    """The image in which the pipeline evaluates; asking the SDK instead would take seconds."""
    name = target.account.pipeline_name
    pipeline = target.client("sagemaker").describe_pipeline(PipelineName=name)
    steps = json.loads(pipeline["PipelineDefinition"])["Steps"]
    (step,) = (one for one in steps if one["Name"] == "Evaluate")
    image: str = step["Arguments"]["AppSpecification"]["ImageUri"]
    return image


def _wait(target: Target, job: str) -> None:
    sagemaker = target.client("sagemaker")
    while True:
        description = sagemaker.describe_processing_job(ProcessingJobName=job)
        status = description["ProcessingJobStatus"]
        if status == "Completed":
            return
        if status in {"Failed", "Stopped"}:
            reason = description.get("FailureReason") or status
            log = target.log_place(GROUP, f"{job}/algo-1")
            raise ExecutionError(f"evaluation failed: {reason} (log: {log})")
        time.sleep(target.poll_s)


def _get(s3: Any, bucket: str, key: str) -> bytes:
    try:
        body: bytes = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
    except ClientError as error:
        raise ExecutionError(f"the job left no s3://{bucket}/{key}") from error
    return body
