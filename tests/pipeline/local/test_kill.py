"""`kill -9` at any moment: the next look tells the truth, no process lives on, retry ends the work.

At random moments over the run and before every write of the runner's, for each kind of job and for
the registration of a version. LOCAL_ACCOUNT_SOAK=N (`make soak`) takes N moments,
LOCAL_ACCOUNT_SEED the seed that an earlier run has printed.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import boto3
import pytest

from pipeline.local import processes
from pipeline.local.http_api import HOST
from pipeline.local.services import pipelines
from tests.pipeline.local.steps import CLUSTER, SCRIPT, gate, lambda_step, processing

MOMENTS = int(os.environ.get("LOCAL_ACCOUNT_SOAK", "30"))
SEED = int(os.environ.get("LOCAL_ACCOUNT_SEED") or random.SystemRandom().randrange(1 << 32))
KILLED = ("runner", "others", "all")
LASTS_S = 2.0
AT_ONCE = 4
# A job that lasts, so that it can be hit; told so, until its execution has been struck.
LASTING = f"""{SCRIPT}
import time
time.sleep(0.5)
struck = pathlib.Path(sys.argv[4], os.environ["PROCESSING_JOB_NAME"].split("-")[1])
while sys.argv[3] == "waits" and not struck.exists():
    time.sleep(0.02)
"""
ROLE = "arn:aws:iam::000000000000:role/r"
SOURCE = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://b/in"}}
# The least job of each kind.
JOBS: dict[str, Any] = {
    "Processing": {
        "AppSpecification": {"ImageUri": "job:1", "ContainerEntrypoint": ["true"]},
        "ProcessingResources": CLUSTER,
        "RoleArn": ROLE,
    },
    "Training": {
        "AlgorithmSpecification": {
            "TrainingImage": "job:1",
            "TrainingInputMode": "File",
            "ContainerEntrypoint": ["true"],
        },
        "OutputDataConfig": {"S3OutputPath": "s3://b/models"},
        "ResourceConfig": CLUSTER["ClusterConfig"],
        "StoppingCondition": {"MaxRuntimeInSeconds": 60},
        "RoleArn": ROLE,
    },
    "Transform": {
        "ModelName": "m",
        "TransformInput": {"DataSource": SOURCE},
        "TransformOutput": {"S3OutputPath": "s3://b/out"},
        "TransformResources": {"InstanceType": "ml.m5.large", "InstanceCount": 1},
    },
}
# The runner, killed before its N-th write to the store.
KILLED_RUNNER = """
import itertools, os, signal, sys
from pipeline.local import runner, store
writes, put = itertools.count(1), store.Store.put
def killing(self, *arguments, **named):
    if next(writes) == int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)
    put(self, *arguments, **named)
store.Store.put = killing
runner.main(*sys.argv[1:3])
"""
# `sentiment account serve`, saying only its port.
SERVER = """
import pathlib, sys
from pipeline.local.account import open_account
from pipeline.local.http_api import bind
server = bind(open_account(pathlib.Path(sys.argv[1])), 0)
print(server.port, flush=True)
server.serve_forever()
"""


def create(box: Any, *steps: Any) -> None:
    """The pipeline `p`: the steps, then the registration of a version."""
    specification = {
        "Containers": [{"Image": "server:1", "ModelDataUrl": "s3://b/model"}],
        "SupportedContentTypes": ["text/plain"],
        "SupportedResponseMIMETypes": ["text/plain"],
    }
    register = {
        "Name": "Register",
        "Type": "RegisterModel",
        "Arguments": {"ModelPackageGroupName": "g", "InferenceSpecification": specification},
    }
    define(box, *steps, *([gate("Second", 0.5, [register])] if steps else [register]))


def define(box: Any, *steps: Any) -> None:
    """The pipeline `p` of these steps, and of a parameter `Kind`."""
    kind = {"Name": "Kind", "Type": "String", "DefaultValue": "ends"}
    definition = {"Version": "2020-12-01", "Parameters": [kind], "Steps": steps}
    box.client("sagemaker").create_pipeline(
        PipelineName="p",
        PipelineDefinition=json.dumps(definition),
        RoleArn=ROLE,
        ClientRequestToken="t" * 32,
    )


def start(box: Any, kind: str = "ends") -> str:
    answer = box.client("sagemaker").start_pipeline_execution(
        PipelineName="p", PipelineParameters=[{"Name": "Kind", "Value": kind}]
    )
    return str(answer["PipelineExecutionArn"])


def descendants(box: Any, execution: str) -> list[int]:
    """Every process of an execution: its runner, launchers, and what those started."""
    parents: dict[int, int] = {}
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(folder.name)] = int(
                (folder / "stat").read_text().rpartition(")")[2].split()[1]
            )
            if execution.encode() in (folder / "cmdline").read_bytes():
                found.add(int(folder.name))
        except (OSError, ValueError):
            continue
    for _ in range(5):
        found |= {child for child, parent in parents.items() if parent in found}
    return sorted(found - {os.getpid()})


def kill(box: Any, execution: str, what: str) -> tuple[list[int], int]:
    """`kill -9` the runner, the others, or all; every process it had, and how many were hit."""
    all_ = descendants(box, execution)
    hit = 0
    for process in all_:
        with suppress(ProcessLookupError, FileNotFoundError):
            command = Path(f"/proc/{process}/cmdline").read_bytes()
            chosen = what == "all" or (b"pipeline.local.runner" in command) == (what == "runner")
            if chosen and not is_gone(process):
                os.kill(process, signal.SIGKILL)
                hit += 1
    return all_, hit


def strike(box: Any, sagemaker: Any, arn: str, what: str) -> tuple[list[int], int]:
    """Kill what there is of an execution; where there is nothing yet, as soon as there is."""
    while True:
        were, hit = kill(box, arn.rpartition("/")[2], what)
        execution = sagemaker.describe_pipeline_execution(PipelineExecutionArn=arn)
        if hit or execution["PipelineExecutionStatus"] != "Executing":
            return were, hit


def is_gone(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def check(box: Any, arn: str, were: list[int]) -> None:
    """After a kill nothing is said to run that does not, and a retry ends as an unbroken run."""
    sagemaker = box.client("sagemaker")
    status = box.wait_for_execution(arn)["PipelineExecutionStatus"]
    states = {name: step["StepStatus"] for name, step in box.steps(arn).items()}
    assert not {"Starting", "Executing", "Stopping"} & set(states.values()), states
    box.wait_until(lambda: all(map(is_gone, were)))
    if status != "Succeeded":
        sagemaker.retry_pipeline_execution(PipelineExecutionArn=arn)
        ended = box.wait_for_execution(arn)
        assert ended["PipelineExecutionStatus"] == "Succeeded", ended.get("FailureReason")
    assert {step["StepStatus"] for step in box.steps(arn).values()} == {"Succeeded"}


def versions(box: Any) -> list[int]:
    pages = (
        box.client("sagemaker")
        .get_paginator("list_model_packages")
        .paginate(ModelPackageGroupName="g", SortOrder="Ascending")
    )
    return [
        item["ModelPackageVersion"] for page in pages for item in page["ModelPackageSummaryList"]
    ]


def test_a_kill_at_any_moment_is_survived(box: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_ACCOUNT_GRACE_S", "1")
    marks = box.tmp / "struck"
    marks.mkdir()
    more = ({"Get": "Parameters.Kind"}, str(marks))
    first = processing(box, "First", LASTING, "0.8", "ends", str(marks))
    create(box, first, processing(box, "Second", LASTING, "0.9", *more, DependsOn=["First"]))
    print(f"LOCAL_ACCOUNT_SEED={SEED}")  # pytest shows it when the test fails
    dice = random.Random(SEED)  # noqa: S311 - moments, not secrets
    moments = [(dice.uniform(0, LASTS_S), dice.choice(KILLED)) for _ in range(MOMENTS)]
    sagemaker = box.client("sagemaker")  # to make one takes longer than a job

    def survive(moment: tuple[float, str]) -> tuple[list[str], int]:
        """Its executions, the last of them killed, and how many processes the kill hit."""
        after_s, what = moment
        ids, hit = [], 0
        for kind in ("ends", "waits"):  # where one has ended by then, another waits for the kill
            arn = start(box, kind)
            ids.append(arn.rpartition("/")[2])
            time.sleep(after_s)
            were, hit = strike(box, sagemaker, arn, what)
            (marks / ids[-1]).touch()
            check(box, arn, were)
            if hit:
                break
        return ids, hit

    with ThreadPoolExecutor(AT_ONCE) as pool:
        survived = list(pool.map(survive, moments))
    assert sum(hit > 0 for _, hit in survived) == MOMENTS, "every kill has hit a process"
    executions = [execution for ids, _ in survived for execution in ids]
    for execution in executions:
        for step, score in (("First", 0.8), ("Second", 0.9)):
            report = json.loads(box.get(f"runs/{execution}/{step}/report.json"))
            assert report == {"score": score}
    wanted = list(range(1, len(executions) + 1))
    assert versions(box) == wanted, "one version each, none lost or doubled"
    jobs = box.client("sagemaker").list_processing_jobs(StatusEquals="InProgress")
    assert jobs["ProcessingJobSummaries"] == []


@pytest.mark.parametrize(
    ("kind", "writes"),
    [("RegisterModel", 8), ("Processing", 10), ("Training", 10), ("Transform", 9)],
)
def test_a_kill_before_any_write_of_the_runner_is_survived(
    box: Any, monkeypatch: pytest.MonkeyPatch, kind: str, writes: int
) -> None:
    monkeypatch.setenv("LOCAL_ACCOUNT_GRACE_S", "1")
    if kind == "RegisterModel":
        create(box)
        box.client("sagemaker").create_model_package_group(ModelPackageGroupName="g")
    else:
        box.put("in/a", b"x")
        box.create_config("m", box.register("hi"))
        define(box, {"Name": "Job", "Type": kind, "Arguments": JOBS[kind]})
    numbers, started = itertools.count(1), dict[str, subprocess.Popen[bytes]]()
    start_alive = pipelines.start

    def start_killed(module: str, arguments: list[str], *, descriptor: int, log: Path) -> None:
        """Start an execution's first runner so that it is killed, a second one as always."""
        arn = arguments[1]
        if arn in started:
            start_alive(module, arguments, descriptor=descriptor, log=log)
            return
        variables = {**processes.own_environment(), processes.LOCK_VARIABLE: str(descriptor)}
        started[arn] = subprocess.Popen(  # noqa: S603 - the runner itself
            [sys.executable, "-c", KILLED_RUNNER, *arguments, str(next(numbers))],
            pass_fds=(descriptor,),
            env=variables,
        )

    monkeypatch.setattr(pipelines, "start", start_killed)

    def survive(_: int) -> bool:
        arn = start(box)
        killed = started[arn].wait(30) == -signal.SIGKILL
        check(box, arn, [])
        return killed

    with ThreadPoolExecutor(AT_ONCE) as pool:
        killed = list(pool.map(survive, range(writes)))
    assert 5 < sum(killed) < writes, "every write of the runner is one that this test kills it at"
    made = writes if kind == "RegisterModel" else 1
    assert versions(box) == list(range(1, made + 1))


def test_a_killed_server_takes_no_execution_with_it(box: Any) -> None:
    create(box, processing(box, "Second", SCRIPT, "0.9"))
    with subprocess.Popen(  # noqa: S603 - our own interpreter
        [sys.executable, "-c", SERVER, str(box.home)],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=processes.own_environment(),
    ) as server:
        port = int(server.stdout.readline())  # type: ignore[union-attr]
        remote = boto3.Session(*box.account.credentials, region_name="us-east-1").client(
            "sagemaker", endpoint_url=f"http://{HOST}:{port}"
        )
        arn = remote.start_pipeline_execution(PipelineName="p")["PipelineExecutionArn"]
        os.killpg(server.pid, signal.SIGKILL)
    assert box.wait_for_execution(arn)["PipelineExecutionStatus"] == "Succeeded"


def written(mark: Path) -> list[int]:
    """The process numbers in the file, once its line is whole."""
    text = mark.read_text() if mark.exists() else ""
    return [int(number) for number in text.split()] if text.endswith("\n") else []


def test_a_function_ends_with_the_runner_that_invoked_it(box: Any) -> None:
    mark = box.tmp / "mark"
    define(box, lambda_step("L", "hang", {"mark": str(mark)}))
    execution = start(box).rpartition("/")[2]
    hanging = box.wait_until(lambda: written(mark))
    kill(box, execution, "runner")
    box.wait_until(lambda: all(map(is_gone, hanging)))


def kill_at_once(box: Any, execution: str, *, but: int) -> None:
    """`kill -9` every process of an execution but one; none sees another's end."""
    for number in (signal.SIGSTOP, signal.SIGKILL):
        for process in set(descendants(box, execution)) - {but}:
            with suppress(ProcessLookupError):
                os.kill(process, number)


def test_what_a_killed_function_left_is_ended_and_removed_by_the_next_look_at_the_execution(
    box: Any,
) -> None:
    mark = box.tmp / "mark"
    define(box, lambda_step("L", "hang", {"mark": str(mark)}))
    arn = start(box)
    function, child = box.wait_until(lambda: written(mark))
    kill_at_once(box, arn.rpartition("/")[2], but=child)
    box.wait_until(lambda: is_gone(function))
    assert not is_gone(child), "nobody is left to end it"
    assert box.wait_for_execution(arn)["PipelineExecutionStatus"] == "Failed"
    box.wait_until(lambda: is_gone(child))
    assert list((box.home / "tmp").iterdir()) == []
    assert not list((box.home / "locks").glob("function-*"))


def test_what_a_function_started_ends_when_only_its_launcher_is_killed(box: Any) -> None:
    mark = box.tmp / "mark"
    define(box, lambda_step("L", "hang", {"mark": str(mark)}))
    arn = start(box)
    hanging = box.wait_until(lambda: written(mark))
    (launcher,) = [
        process
        for process in descendants(box, arn.rpartition("/")[2])
        if b"launch.py" in Path(f"/proc/{process}/cmdline").read_bytes()
    ]
    os.kill(launcher, signal.SIGKILL)
    assert box.wait_for_execution(arn)["PipelineExecutionStatus"] == "Failed"
    box.wait_until(lambda: all(map(is_gone, hanging)))


def test_what_a_killed_job_left_is_ended_and_removed_by_the_next_look_at_the_execution(
    box: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (box.tmp / "temporary").mkdir()
    monkeypatch.setenv("TMPDIR", str(box.tmp / "temporary"))
    mark = box.tmp / "mark"
    script = (
        "import os, pathlib, subprocess, sys\n"
        "child = subprocess.Popen(['sleep', '300'])\n"
        "pathlib.Path(sys.argv[2]).write_text(f'{os.getpid()} {child.pid}\\n')\n"
        "child.wait()\n"
    )
    create(box, processing(box, "Second", script, str(mark)))
    arn = start(box)
    job, child = box.wait_until(lambda: written(mark))
    kill_at_once(box, arn.rpartition("/")[2], but=child)
    box.wait_until(lambda: is_gone(job))
    assert not is_gone(child), "nobody is left to end it"
    assert box.wait_for_execution(arn)["PipelineExecutionStatus"] == "Failed"
    box.wait_until(lambda: is_gone(child))
    assert list((box.tmp / "temporary").iterdir()) == []
