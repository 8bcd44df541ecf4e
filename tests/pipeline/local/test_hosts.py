"""Jobs on several hosts, and the forms in which inputs come: shards, manifests, gzip."""

from __future__ import annotations

import gzip
import io
import json
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest

import pipeline.local
from pipeline.local import LocalAccountError, sandbox

ROLE = "arn:aws:iam::000000000000:role/r"
REPORT = """
import json, pathlib
ml = pathlib.Path("/opt/ml") if pathlib.Path("/opt/ml/config").exists() else pathlib.Path()
me = json.loads((ml / "config/resourceconfig.json").read_text())
seen = {folder.name: sorted(p.name for p in folder.iterdir())
        for folder in (ml / "processing/input").iterdir() if folder.name != "code"}
text = {p.name: p.read_text() for p in (ml / "processing/input").glob("*/*.txt")}
out = ml / "processing/output" / f"{me['current_host']}.json"
out.write_text(json.dumps({"hosts": me["hosts"], "seen": seen, "text": text}))
"""


def source(name: str, uri: str, **more: str) -> dict[str, Any]:
    path = f"/opt/ml/processing/input/{name}"
    kind = {"S3DataType": "S3Prefix", "S3InputMode": "File"}
    return {"InputName": name, "S3Input": {"S3Uri": uri, "LocalPath": path, **kind, **more}}


def run(box: Any, script: str, *inputs: Any, count: int = 2, **more: Any) -> dict[str, Any]:
    """Run a processing job to its end; its description."""
    box.put("code/main.py", script)
    sagemaker = box.client("sagemaker")
    sagemaker.create_processing_job(
        ProcessingJobName="j",
        RoleArn=ROLE,
        AppSpecification={
            "ImageUri": "job:1",
            "ContainerEntrypoint": ["python3", "/opt/ml/processing/input/code/main.py"],
        },
        ProcessingInputs=[source("code", "s3://b/code"), *inputs],
        ProcessingOutputConfig={
            "Outputs": [
                {
                    "OutputName": "out",
                    "S3Output": {
                        "S3Uri": "s3://b/out",
                        "LocalPath": "/opt/ml/processing/output",
                        "S3UploadMode": "EndOfJob",
                    },
                }
            ]
        },
        ProcessingResources={
            "ClusterConfig": {
                "InstanceCount": count,
                "InstanceType": "ml.m5.large",
                "VolumeSizeInGB": 1,
            }
        },
        **more,
    )

    def ended() -> dict[str, Any] | None:
        job: dict[str, Any] = sagemaker.describe_processing_job(ProcessingJobName="j")
        return None if job["ProcessingJobStatus"] == "InProgress" else job

    found: dict[str, Any] = box.wait_until(ended)
    return found


def test_each_host_gets_its_name_its_shard_and_what_is_replicated(box: Any) -> None:
    for number in range(5):
        box.put(f"data/{number}.txt", str(number))
    box.put("all/x.txt", "x")
    job = run(
        box,
        REPORT,
        source("part", "s3://b/data/", S3DataDistributionType="ShardedByS3Key"),
        source("whole", "s3://b/all/"),
    )
    assert job["ProcessingJobStatus"] == "Completed", job.get("FailureReason")
    one, two = (json.loads(box.get(f"out/algo-{n}.json")) for n in (1, 2))
    assert one["hosts"] == two["hosts"] == ["algo-1", "algo-2"]
    assert one["seen"] == {"part": ["0.txt", "2.txt", "4.txt"], "whole": ["x.txt"]}
    assert two["seen"] == {"part": ["1.txt", "3.txt"], "whole": ["x.txt"]}


def test_a_failing_host_ends_the_others_and_is_named(box: Any) -> None:
    script = (
        "import json, pathlib, sys, time\n"
        "me = json.loads(pathlib.Path('config/resourceconfig.json').read_text())\n"
        "sys.exit('no luck') if me['current_host'] == 'algo-2' else time.sleep(300)\n"
    )
    assert run(box, script)["FailureReason"] == "algo-2: exit code 1: no luck"
    box.wait_until(lambda: not box.processes())


@pytest.mark.skipif(not sandbox.is_available(), reason="the kernel gives no mount namespaces")
def test_hosts_find_each_other_by_name(box: Any) -> None:
    script = (
        "import json, pathlib, socket\n"
        "me = json.loads(pathlib.Path('config/resourceconfig.json').read_text())\n"
        "addresses = [socket.gethostbyname(host) for host in me['hosts']]\n"
        "pathlib.Path('processing/output', me['current_host']).write_text(str(addresses))\n"
    )
    assert run(box, script)["ProcessingJobStatus"] == "Completed"
    assert box.get("out/algo-2") == b"['127.0.0.1', '127.0.0.1']"


def test_a_manifest_names_the_objects_and_gzip_is_unpacked(box: Any) -> None:
    box.put("data/a.txt.gz", gzip.compress(b"packed"))
    box.put("data/b.txt", "plain")
    box.put("data/not-wanted.txt", "x")
    listing = json.dumps([{"prefix": "s3://b/data/"}, "a.txt.gz", "b.txt"])
    box.put("my.manifest", listing)
    run(
        box,
        REPORT,
        source("m", "s3://b/my.manifest", S3DataType="ManifestFile", S3CompressionType="Gzip"),
        count=1,
    )
    assert json.loads(box.get("out/algo-1.json"))["text"] == {"a.txt": "packed", "b.txt": "plain"}


@pytest.mark.parametrize(
    ("body", "more", "reason"),
    [
        ("{}", {"S3DataType": "ManifestFile"}, "input m: not a manifest (form: [{"),
        ('[{"prefix": "s3://b/"}]', {"S3DataType": "ManifestFile"}, "names no object"),
        ('[{"prefix": "s3://b/"}, "../x"]', {"S3DataType": "ManifestFile"}, "a name with '..'"),
        ('[{"prefix": "s3://b/"}, "gone"]', {"S3DataType": "ManifestFile"}, "does not exist: gone"),
        ("text", {"S3CompressionType": "Gzip"}, "input m: not readable as gzip"),
    ],
)
def test_an_input_that_cannot_be_read_is_named(box: Any, body: str, more: Any, reason: str) -> None:
    box.put("input.gz", body)
    assert reason in run(box, REPORT, source("m", "s3://b/input.gz", **more))["FailureReason"]


def test_a_job_that_runs_too_long_is_stopped_and_says_so(box: Any) -> None:
    script = "import time\ntime.sleep(300)"
    job = run(box, script, count=1, StoppingCondition={"MaxRuntimeInSeconds": 1})
    assert job["ProcessingJobStatus"] == "Stopped"
    assert job["FailureReason"] == "it ran longer than MaxRuntimeInSeconds (1 s)"
    box.wait_until(lambda: not box.processes())


@pytest.mark.skipif(not sandbox.is_available(), reason="the kernel gives no mount namespaces")
def test_in_strict_mode_a_job_writes_nowhere_but_below_opt_ml(
    box: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCAL_ACCOUNT_STRICT", "1")
    script = (
        "import json, pathlib\n"
        "where = ['/opt/ml/model.txt', '/tmp/x', '/dev/shm/a-job', '/etc/x', '/dev/x', {!r}]\n"
        "done = []\n"
        "for path in where:\n"
        "    try:\n"
        "        done.append(pathlib.Path(path).write_text('x'))\n"
        "    except OSError as error:\n"
        "        done.append(error.strerror)\n"
        "pathlib.Path('/opt' + '/ml/processing/output/done.json').write_text(json.dumps(done))\n"
    ).format(str(box.home / "x"))
    run(box, script, count=1)
    read_only = "Read-only file system"
    *written, outside, device, _ = json.loads(box.get("out/done.json"))
    assert (written, outside, device) == ([1, 1, 1], read_only, read_only)
    assert not Path("/dev/shm/a-job").exists()  # noqa: S108 - the job's own was another
    assert not Path("/opt/ml").exists()
    assert not (box.home / "x").exists(), "in the temporary folder it is the job's own that it sees"


DRIVEN = """
import os, pathlib, socket, sys
rank, hosts = int(os.environ["SM_CURRENT_HOST_RANK"]), int(os.environ["SM_HOST_COUNT"])
address = os.environ["SM_MASTER_ADDR"], int(os.environ["SM_MASTER_PORT"])
if rank == 0:
    with socket.create_server(address) as server:
        word = server.accept()[0].recv(99)
else:
    import time
    for attempt in range(200):
        try:
            socket.create_connection(address).sendall(b"hello from rank 1")
            break
        except ConnectionRefusedError:
            time.sleep(0.05)
    word = b"sent"
pathlib.Path(os.environ["SM_MODEL_DIR"], f"rank-{rank}").write_bytes(word)
pathlib.Path(os.environ["SM_MODEL_DIR"], "both").write_text(str(rank))
"""


def test_the_sdks_driver_finds_the_first_host_and_models_are_merged(box: Any) -> None:
    import importlib.util

    spec = importlib.util.find_spec("sagemaker")
    assert spec is not None
    assert spec.submodule_search_locations
    drivers = Path(spec.submodule_search_locations[0]) / "train/container_drivers"
    for path in sorted(drivers.rglob("*.py")):
        box.put(f"drivers/{path.relative_to(drivers).as_posix()}", path.read_bytes())
    box.put("drivers/sourcecode.json", json.dumps({"entry_script": "x.py"}))
    box.put("code/x.py", DRIVEN)
    sagemaker = box.client("sagemaker")
    command = (
        "python3 /opt/ml/input/data/sm_drivers/scripts/environment.py > /dev/null && "
        "set -a && . /opt/ml/input/sm_training.env && python3 /opt/ml/input/data/code/x.py"
    )
    channels = [
        {
            "ChannelName": label,
            "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": f"s3://b/{uri}/"}},
        }
        for label, uri in (("sm_drivers", "drivers"), ("code", "code"))
    ]
    sagemaker.create_training_job(
        TrainingJobName="t",
        RoleArn=ROLE,
        AlgorithmSpecification={
            "TrainingImage": "job:1",
            "TrainingInputMode": "File",
            "ContainerEntrypoint": ["/bin/sh", "-c"],
            "ContainerArguments": [command],
        },
        InputDataConfig=channels,
        OutputDataConfig={"S3OutputPath": "s3://b/models"},
        ResourceConfig={"InstanceType": "ml.m5.large", "InstanceCount": 2, "VolumeSizeInGB": 1},
        StoppingCondition={"MaxRuntimeInSeconds": 60},
    )
    sagemaker.get_waiter("training_job_completed_or_stopped").wait(
        TrainingJobName="t", WaiterConfig={"Delay": 0.05, "MaxAttempts": 600}
    )
    with tarfile.open(fileobj=io.BytesIO(box.get("models/t/output/model.tar.gz"))) as tar:
        model = {name: tar.extractfile(name).read() for name in tar.getnames()}  # type: ignore[union-attr]
    assert model == {"rank-0": b"hello from rank 1", "rank-1": b"sent", "both": b"0"}


def test_nothing_of_a_job_is_left_in_the_home(box: Any) -> None:
    run(box, "print('done')")
    assert not list((box.home / "jobs").iterdir())


def test_strict_mode_says_where_it_cannot_be_had(box: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_ACCOUNT_STRICT", "")
    monkeypatch.setattr(sandbox, "is_available", lambda **_: False)
    with pytest.raises(LocalAccountError, match="needs Linux with unprivileged user and mount"):
        pipeline.local.session(box.home, strict=True)
    monkeypatch.setattr(sandbox, "is_available", lambda **_: True)
    pipeline.local.session(box.home, strict=True)
    assert os.environ["LOCAL_ACCOUNT_STRICT"] == "1"
