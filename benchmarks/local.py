"""What the local account itself costs, everything but the steps' own work: `make bench-local`.

- `run_s`: a pipeline of six steps (four jobs that end at once, a condition, a registration), from
  StartPipelineExecution to its end, less the wall time of the jobs' processes.
- `cached_run_s`: the same run again with every job taken from the cache.
- `schedule_1000_s`: 1,000 steps, each after the one before, from CreatePipeline to the end of their
  execution. They are conditions: a step costs all that it ever does, but for a job of its own.
- `list_10000_s`: 10,000 model packages listed through boto3's paginator.
- `describe_p50_ms`: the median DescribeModelPackage among those 10,000.
Each is the median of REPEATS, on a fresh account in a temporary folder.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pipeline.local
from benchmarks.record import record
from pipeline.local.account import open_account

REPEATS = 5
PACKAGES = 10_000
STEPS = 1_000
DESCRIBES = 500
POLL_S = 0.005
LEAVES_WITHIN_S = 0.2  # the runner leaves a moment after it has said how it ended
LIMITS = {"run_s": 1.0, "cached_run_s": 3.0, "schedule_1000_s": 5.0, "list_10000_s": 0.5,
          "describe_p50_ms": 2.0}  # fmt: skip
ROLE = "arn:aws:iam::000000000000:role/r"
CONTAINERS = [{"Image": "job:1", "ModelDataUrl": "s3://b/model.tar.gz"}]
SPECIFICATION = {"Containers": CONTAINERS, "SupportedContentTypes": ["text/csv"],
                 "SupportedResponseMIMETypes": ["text/csv"]}  # fmt: skip


def _job(name: str, after: list[str]) -> dict[str, Any]:
    resources = {"InstanceCount": 1, "InstanceType": "ml.m5.large", "VolumeSizeInGB": 1}
    source = {"S3Uri": "s3://b/code", "S3DataType": "S3Prefix",
              "LocalPath": "/opt/ml/processing/input/code"}  # fmt: skip
    return {
        "Name": name,
        "Type": "Processing",
        "DependsOn": after,
        "CacheConfig": {"Enabled": True},
        "Arguments": {
            "ProcessingResources": {"ClusterConfig": resources},
            "AppSpecification": {"ImageUri": "job:1", "ContainerEntrypoint": ["true", name]},
            "ProcessingInputs": [{"InputName": "code", "S3Input": source}],
        },
    }


def definition() -> str:
    """Two chains of two jobs, a condition, and a registration in its branch."""
    register = {
        "Name": "Register",
        "Type": "RegisterModel",
        "Arguments": {"ModelPackageGroupName": "g", "InferenceSpecification": SPECIFICATION},
    }
    holds = {"Type": "Equals", "LeftValue": 1, "RightValue": 1}
    gate = {
        "Name": "Gate",
        "Type": "Condition",
        "DependsOn": ["B", "D"],
        "Arguments": {"Conditions": [holds], "IfSteps": [register], "ElseSteps": []},
    }
    jobs = [_job("A", []), _job("B", ["A"]), _job("C", []), _job("D", ["C"])]
    return json.dumps({"Version": "2020-12-01", "Steps": [*jobs, gate]})


def create_pipeline(sagemaker: Any, text: str) -> None:
    sagemaker.create_pipeline(
        PipelineName="p", PipelineDefinition=text, RoleArn=ROLE, ClientRequestToken="t" * 32
    )


def run_to_end(sagemaker: Any) -> str:
    """Start an execution and wait until it has succeeded; its ARN."""
    arn: str = sagemaker.start_pipeline_execution(PipelineName="p")["PipelineExecutionArn"]
    while True:
        status = sagemaker.describe_pipeline_execution(PipelineExecutionArn=arn)
        if status["PipelineExecutionStatus"] != "Executing":
            break
        time.sleep(POLL_S)
    if status["PipelineExecutionStatus"] != "Succeeded":
        sys.exit(f"the benchmark's pipeline ended {status}")
    return arn


def run_pipeline(sagemaker: Any, home: Path) -> float:
    """Seconds of one execution, less those of its jobs' own processes."""
    started = time.perf_counter()
    arn = run_to_end(sagemaker)
    seconds = time.perf_counter() - started
    account = open_account(home)
    jobs = (
        job
        for job in account.store.every("processing-job")
        if arn.rpartition("/")[2] in job["ProcessingJobName"]
    )
    # The two chains run side by side: half of the jobs' time is on the way.
    return seconds - float(sum(job["Usage"][0]["WallSeconds"] for job in jobs)) / 2


def measure_runs(home: Path) -> tuple[float, float]:
    """Seconds of a fresh run, and of one that is all cached."""
    session = pipeline.local.session(home, images={"job:*": pipeline.local.Image()})
    session.client("s3").create_bucket(Bucket="b")
    session.client("s3").put_object(Bucket="b", Key="code/main.py", Body=b"")
    sagemaker = session.client("sagemaker")
    create_pipeline(sagemaker, definition())
    return run_pipeline(sagemaker, home), run_pipeline(sagemaker, home)


def measure_scheduling() -> float:
    """Seconds to check 1,000 steps, each after the one before, and to run them."""
    holds = {"Type": "Equals", "LeftValue": 1, "RightValue": 1}
    steps = [
        {
            "Name": f"s{n}",
            "Type": "Condition",
            "DependsOn": [f"s{n - 1}"] if n else [],
            "Arguments": {"Conditions": [holds], "IfSteps": [], "ElseSteps": []},
        }
        for n in range(STEPS)
    ]
    text = json.dumps({"Version": "2020-12-01", "Steps": steps})
    with tempfile.TemporaryDirectory() as folder:
        sagemaker = pipeline.local.session(Path(folder)).client("sagemaker")
        started = time.perf_counter()
        create_pipeline(sagemaker, text)
        run_to_end(sagemaker)
        seconds = time.perf_counter() - started
        time.sleep(LEAVES_WITHIN_S)
    return seconds


def fill(home: Path) -> Any:
    """An account with 10,000 model packages in a group; its client."""
    session = pipeline.local.session(home, images={})
    sagemaker = session.client("sagemaker")
    sagemaker.create_model_package_group(ModelPackageGroupName="g")
    account = open_account(home)
    request = {"ModelPackageGroupName": "g", "InferenceSpecification": SPECIFICATION,
               "CustomerMetadataProperties": {"accuracy": "0.91", "commit": "c" * 40}}  # fmt: skip
    with account.store.transaction():
        for _ in range(PACKAGES):
            account.call("sagemaker:CreateModelPackage", request)
    return sagemaker


def measure_listing(sagemaker: Any) -> float:
    started = time.perf_counter()
    pages = sagemaker.get_paginator("list_model_packages").paginate(ModelPackageGroupName="g")
    count = sum(len(page["ModelPackageSummaryList"]) for page in pages)
    seconds = time.perf_counter() - started
    if count != PACKAGES:
        sys.exit(f"{count} of {PACKAGES} packages were listed")
    return seconds


def measure_describing(sagemaker: Any) -> float:
    """The median of many, in milliseconds."""
    arn = "arn:aws:sagemaker:us-east-1:000000000000:model-package/g/"
    times = []
    for number in range(1, DESCRIBES + 1):
        started = time.perf_counter()
        sagemaker.describe_model_package(ModelPackageName=f"{arn}{number}")
        times.append(time.perf_counter() - started)
    return statistics.median(times) * 1000


def median(measure: Callable[[], float]) -> float:
    return round(statistics.median(measure() for _ in range(REPEATS)), 4)


def main() -> int:
    """Measure, print beside the limits, keep as JSON; 1 when a limit is not held."""
    runs = []
    for _ in range(REPEATS):
        with tempfile.TemporaryDirectory() as folder:
            runs.append(measure_runs(Path(folder)))
            time.sleep(LEAVES_WITHIN_S)
    figures = {
        "run_s": round(statistics.median(fresh for fresh, _ in runs), 4),
        "cached_run_s": round(statistics.median(cached for _, cached in runs), 4),
        "schedule_1000_s": median(measure_scheduling),
    }
    with tempfile.TemporaryDirectory() as folder:
        sagemaker = fill(Path(folder))
        figures["list_10000_s"] = median(lambda: measure_listing(sagemaker))
        figures["describe_p50_ms"] = median(lambda: measure_describing(sagemaker))
    for name, limit in LIMITS.items():
        held = "" if figures[name] <= limit else "  NOT HELD"
        print(f"{name:<18} {figures[name]:8.4f}   limit {limit:g}{held}")
    print(f"kept in {record('local', {'limits': LIMITS, **figures})}")
    return 0 if all(figures[name] <= limit for name, limit in LIMITS.items()) else 1


if __name__ == "__main__":
    sys.exit(main())
