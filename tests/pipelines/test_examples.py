"""Pipelines that are not ours run unchanged: only the boto3 session is the account's."""

from __future__ import annotations

import gc
import importlib
import io
import json
import os
import random
import re
import subprocess
import sys
import tarfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import pipeline.local
from pipeline.compilation import SDK_CONFIG, _sdk_surroundings
from pipeline.local import Image, processes, sandbox
from pipeline.local.sandbox import STRICT_VARIABLE
from pipeline.settings import ROOT

ROLE = "arn:aws:iam::000000000000:role/r"
IMAGE = "000000000000.dkr.ecr.us-east-1.amazonaws.com/scikit-learn:1"
BUCKET = "examples"
WAIT_S = 90
FUNCTIONS_WAIT_S = 300  # each function's process imports the whole SDK


class Example:
    """An account with a bucket, in which an example is compiled by the SDK and run."""

    def __init__(self, home: Path) -> None:
        self.boto = pipeline.local.session(home, images={"*/scikit-learn:*": Image()})
        self.s3 = self.boto.client("s3")
        self.sagemaker = self.boto.client("sagemaker")
        self.s3.create_bucket(Bucket=BUCKET)

    def put(self, key: str, text: str) -> None:
        self.s3.put_object(Bucket=BUCKET, Key=key, Body=text.encode())

    def get(self, key: str) -> bytes:
        body: bytes = self.s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()
        return body

    def create(self, name: str) -> str:
        """Compile and create an example's pipeline; its name."""
        with _sdk_surroundings("us-east-1"):
            from sagemaker.core.workflow.pipeline_context import PipelineSession

            module = importlib.import_module(f"tests.pipelines.{name}.pipeline")
            session = PipelineSession(
                boto_session=self.boto, default_bucket=BUCKET, sagemaker_config=SDK_CONFIG
            )
            made = module.get_pipeline(session, ROLE, IMAGE)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                made.upsert(role_arn=ROLE)
                made_name = str(made.name)
                # The SDK leaves the folders it compiled in to the garbage collector.
                del made, session
                gc.collect()
        return made_name

    def run(self, name: str, within_s: float = WAIT_S, **parameters: str) -> dict[str, Any]:
        """Run a pipeline to its end; the execution with its steps by name under `Steps`."""
        arn = self.sagemaker.start_pipeline_execution(
            PipelineName=name,
            PipelineParameters=[{"Name": k, "Value": v} for k, v in parameters.items()],
        )["PipelineExecutionArn"]
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            document: dict[str, Any] = self.sagemaker.describe_pipeline_execution(
                PipelineExecutionArn=arn
            )
            if document["PipelineExecutionStatus"] != "Executing":
                break
            time.sleep(0.05)
        steps = self.sagemaker.list_pipeline_execution_steps(PipelineExecutionArn=arn)
        by_name = {step["StepName"]: step for step in steps["PipelineExecutionSteps"]}
        return {**document, "Steps": by_name}


@pytest.fixture
def example(tmp_path: Path) -> Iterator[Example]:
    yield Example(tmp_path / "home")
    for child in processes._CHILDREN:
        child.wait(WAIT_S)


def abalone() -> str:
    """A table like the abalone one: rings depend on size and sex, with noise."""
    dice = random.Random(1)  # noqa: S311 - data, not a secret
    lines = ["sex,length,diameter,height,rings"]
    for _ in range(400):
        sex, length = dice.choice("MFI"), dice.uniform(0.1, 0.8)
        rings = 3 + 12 * length + (sex != "I") + dice.gauss(0, 1)
        lines.append(f"{sex},{length:.3f},{0.8 * length:.3f},{0.3 * length:.3f},{rings:.1f}")
    return "\n".join(lines)


@pytest.mark.skipif(not sandbox.is_available(strict=True), reason="the kernel gives no namespaces")
def test_scripts_with_literal_paths_run_in_strict_mode(
    example: Example, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(STRICT_VARIABLE, "1")
    example.put("abalone/abalone.csv", abalone())
    name = example.create("abalone")
    execution = example.run(name)
    assert execution["PipelineExecutionStatus"] == "Succeeded", execution.get("FailureReason")
    group = {"ModelPackageGroupName": "Abalone"}
    (summary,) = example.sagemaker.list_model_packages(**group)["ModelPackageSummaryList"]
    package = example.sagemaker.describe_model_package(ModelPackageName=summary["ModelPackageArn"])
    uri = package["ModelMetrics"]["ModelQuality"]["Statistics"]["S3Uri"]
    report = json.loads(example.get(uri.removeprefix(f"s3://{BUCKET}/")))
    assert 0.5 < report["regression_metrics"]["mse"]["value"] < 2
    assert not Path("/opt/ml").exists()


def test_a_decision_within_a_decision_takes_its_branch(example: Example) -> None:
    example.put("branches/texts/a.txt", "one\ntwo\nthree\n")
    name = example.create("branches")
    published = example.run(name)
    assert set(published["Steps"]) == {"Measure", "IsWorthIt", "IsForSomebody", "Publish"}
    assert example.get("branches/published/published.txt") == b"3 lines for all"
    hidden = example.run(name, Audience="nobody")
    assert hidden["FailureReason"] == "step Hidden: hidden from nobody"
    short = example.run(name, MinLines="9")
    assert set(short["Steps"]) == {"Measure", "IsWorthIt", "TooShort"}


def test_training_on_two_hosts_goes_on_after_one_is_lost(example: Example) -> None:
    for number in range(8):
        example.put(f"resume/numbers/{number}.txt", str(number))
    execution = example.run(example.create("resume"))
    assert execution["PipelineExecutionStatus"] == "Succeeded", execution.get("FailureReason")
    step = execution["Steps"]["Sum"]
    assert step["AttemptCount"] == 2
    job = step["Metadata"]["TrainingJob"]["Arn"].rpartition("/")[2]
    archive = example.get(f"resume/models/{job}/output/model.tar.gz")
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        one, two = (json.load(tar.extractfile(f"algo-{n}.json")) for n in (1, 2))  # type: ignore[arg-type]
    assert one["hosts"] == two["hosts"] == ["algo-1", "algo-2"]
    assert (one["total"], two["total"]) == (0 + 2 + 4 + 6, 1 + 3 + 5 + 7)
    assert two["resumed"]


@pytest.mark.parametrize("strict", ["", "1"])
def test_functions_are_steps_and_their_results_travel(
    example: Example, monkeypatch: pytest.MonkeyPatch, strict: str
) -> None:
    if strict and not sandbox.is_available(strict=True):
        pytest.skip("the kernel gives no namespaces")
    monkeypatch.setenv(STRICT_VARIABLE, strict)
    name = example.create("decorated")
    execution = example.run(name, within_s=FUNCTIONS_WAIT_S)
    assert execution["PipelineExecutionStatus"] == "Succeeded", execution.get("FailureReason")
    assert set(execution["Steps"]) == {"Square", "IsEnough", "Keep"}
    assert example.get("decorated/kept.txt") == b"the square is 49"


def test_the_script_of_the_documentation_prints_what_it_says(tmp_path: Path) -> None:
    text = (ROOT / "docs/local-account.md").read_text()
    (script,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    printed = text.partition(script)[2].split("```\n")[2]
    done = subprocess.run(  # noqa: S603 - our own documentation
        [sys.executable, "-c", script],
        env={"PATH": os.defpath, "HOME": str(tmp_path), "PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == printed, done.stderr[-2000:]
