"""Processing and training jobs: SageMaker's container contract around a process on this machine.

A job's folder `<home>/jobs/<name>/ml` is what the container would see as /opt/ml. Every literal
`/opt/ml` in arguments, environment, hyperparameters and the SDK's generated scripts is replaced by
a short link to it in the temporary folder (the generated scripts do not quote their paths, so a
home or an environment with a space in its path must not show through).

`python -m pipeline.local.jobs HOME KIND NAME` runs a job that was created through the API.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.local.errors import LocalAccountError, StepError, StepStoppedError
from pipeline.local.objects import split_uri

if TYPE_CHECKING:
    from pipeline.local.account import Account

ML = "/opt/ml"
HOST = "algo-1"
POLL_S = 0.05
FAILURE_BYTES = 1024
# Inputs that the SDK itself generates scripts into, which name /opt/ml literally.
GENERATED = ("sm_drivers", "entrypoint")
LAUNCHER = Path(__file__).with_name("launch.py")

Document = dict[str, Any]
Stopped = Callable[[], bool]


def job_folder(account: Account, name: str) -> Path:
    """Where everything of one job lies."""
    return account.home / "jobs" / name


def job_lock(account: Account, name: str) -> Path:
    """Held by the process that runs the job."""
    return account.home / "locks" / f"job-{name}"


@contextmanager
def short_link(target: Path) -> Iterator[Path]:
    """A path without spaces that leads to `target`, and `python` beside it to this environment.

    Both are in a temporary folder that launch.py removes; this makes sure.
    """
    folder = Path(tempfile.mkdtemp(prefix="ml-"))
    link = folder / "ml"
    link.symlink_to(target, target_is_directory=True)
    (folder / "python").symlink_to(sys.prefix, target_is_directory=True)
    try:
        yield link
    finally:
        for name in ("ml", "python"):
            (folder / name).unlink(missing_ok=True)
        if folder.exists():
            folder.rmdir()


def write_json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=1))


def container_environment(account: Account, *parts: Any) -> dict[str, str]:
    """What every container here starts with, overridden by each of the parts in turn."""
    environment = {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "HOME": tempfile.gettempdir(),
        "LANG": "C.UTF-8",
        "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        # A job may install what is missing only from what is already here: there is no network.
        "PIP_NO_INDEX": "1",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_ROOT_USER_ACTION": "ignore",
        "AWS_REGION": account.region,
        "AWS_DEFAULT_REGION": account.region,
    }
    for part in parts:
        environment |= {key: str(value) for key, value in part.items()}
    return environment


def run_container(
    folder: Path,
    link: Path,
    command: list[str],
    environment: dict[str, str],
    log: Path,
    stopped: Stopped,
) -> Document:
    """Run a command that sees `link` (which leads to `folder`/ml) as /opt/ml; its resource use.

    Raises StepError when it fails, StepStoppedError when `stopped()` turned true.
    """
    record = folder / "usage.json"
    # The SDK's scripts find Python on the path and call it unquoted.
    python = link.with_name("python") / "bin"
    environment = {**environment, "PATH": f"{python}{os.pathsep}{environment['PATH']}"}

    def remap(value: str) -> str:
        return value.replace(ML, str(link))

    for name in GENERATED:
        for parent in (folder / "ml/input/data" / name, folder / "ml/processing/input" / name):
            for path in (*parent.rglob("*.sh"), *parent.rglob("*.py")):
                path.write_text(remap(path.read_text()))
    with log.open("ab") as output:
        process = subprocess.Popen(  # noqa: S603 - the command is the container's own
            [
                sys.executable,
                "-S",
                str(LAUNCHER),
                str(record),
                str(link.parent),
                *map(remap, command),
            ],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            env={key: remap(value) for key, value in environment.items()},
            cwd=folder / "ml",
            start_new_session=True,
        )
        was_stopped = False
        while process.poll() is None:
            if not was_stopped and stopped():
                was_stopped = True
                process.stdin.close()  # type: ignore[union-attr]
            time.sleep(POLL_S)
        if process.stdin:
            process.stdin.close()
    if was_stopped:
        raise StepStoppedError(f"{folder.name} was stopped")
    if process.returncode:
        raise StepError(failure_reason(folder, log, process.returncode))
    usage: Document = json.loads(record.read_text())
    return usage


def failure_reason(folder: Path, log: Path, status: int) -> str:
    """Why a job failed: its failure file, else the last line it printed."""
    failure = folder / "ml/output/failure"
    text = failure.read_text(errors="replace") if failure.is_file() else ""
    if not text.strip():
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - FAILURE_BYTES))
            lines = file.read().decode(errors="replace").strip().splitlines()
        text = lines[-1] if lines else "it printed nothing"
    return f"exit code {status}: {text.strip()[:FAILURE_BYTES]}"


def _inside(folder: Path, local_path: str) -> Path:
    """The place in the job's folder of a path below /opt/ml."""
    if not local_path.startswith(f"{ML}/") or ".." in local_path.split("/"):
        raise StepError(f"LocalPath {local_path} is not below {ML}")
    return folder / "ml" / local_path.removeprefix(f"{ML}/")


def _download(account: Account, uri: str, target: Path, what: str) -> None:
    target.mkdir(parents=True, exist_ok=True)
    try:
        count = account.objects.download(uri, target)
    except LocalAccountError as error:
        raise StepError(f"{what}: {error}") from error
    if not count:
        raise StepError(f"{what}: there is no object at {uri}")


def _resources(cluster: Document) -> Document:
    kind = cluster["InstanceType"]
    return {
        "current_host": HOST,
        "current_instance_type": kind,
        "current_group_name": "homogeneousCluster",
        "hosts": [HOST],
        "instance_groups": [
            {"instance_group_name": "homogeneousCluster", "instance_type": kind, "hosts": [HOST]}
        ],
        "network_interface_name": "lo",
    }


def run_processing(account: Account, job: Document, stopped: Stopped) -> Document:
    """Run a processing job; what the finished job's description has in addition."""
    name = job["ProcessingJobName"]
    folder = job_folder(account, name)
    for item in job.get("ProcessingInputs", []):
        source = item["S3Input"]
        target = _inside(folder, source["LocalPath"])
        _download(account, source["S3Uri"], target, f"input {item['InputName']}")
    outputs = job.get("ProcessingOutputConfig", {}).get("Outputs", [])
    for item in outputs:
        _inside(folder, item["S3Output"]["LocalPath"]).mkdir(parents=True, exist_ok=True)
    cluster = job["ProcessingResources"]["ClusterConfig"]
    _one_host(cluster)
    write_json(folder / "ml/config/resourceconfig.json", _resources(cluster))
    write_json(folder / "ml/config/processingjobconfig.json", job)
    application = job["AppSpecification"]
    image = account.image(application["ImageUri"])
    command = [
        *application.get("ContainerEntrypoint", image.entrypoint),
        *application.get("ContainerArguments", []),
    ]
    environment = container_environment(
        account,
        image.environment,
        job.get("Environment", {}),
        {"PROCESSING_JOB_NAME": name, "PROCESSING_JOB_ARN": job["ProcessingJobArn"]},
    )
    log = account.log_file("/aws/sagemaker/ProcessingJobs", f"{name}/{HOST}")
    with short_link(folder / "ml") as link:
        usage = run_container(folder, link, command, environment, log, stopped)
    for item in outputs:
        target = item["S3Output"]
        account.objects.upload(_inside(folder, target["LocalPath"]), target["S3Uri"])
    return {"Usage": usage}


def _one_host(cluster: Document) -> None:
    if int(cluster.get("InstanceCount", 1)) != 1:
        raise StepError("the local account runs a job on one instance: set the instance count to 1")


def run_training(account: Account, job: Document, stopped: Stopped) -> Document:
    """Run a training job; what the finished job's description has in addition."""
    name = job["TrainingJobName"]
    folder = job_folder(account, name)
    ml = folder / "ml"
    for part in ("model", "output/data", "checkpoints", "input/config", "input/data"):
        (ml / part).mkdir(parents=True, exist_ok=True)
    channels = {}
    for channel in job.get("InputDataConfig", []):
        source = channel["DataSource"]["S3DataSource"]
        label = channel["ChannelName"]
        _download(account, source["S3Uri"], ml / "input/data" / label, f"channel {label}")
        channels[label] = {
            "TrainingInputMode": channel.get("InputMode", "File"),
            "S3DistributionType": source.get("S3DataDistributionType", "FullyReplicated"),
            "RecordWrapperType": channel.get("RecordWrapperType", "None"),
        }
    checkpoint_uri = job.get("CheckpointConfig", {}).get("S3Uri")
    if checkpoint_uri:
        account.objects.download(checkpoint_uri, ml / "checkpoints")
    _one_host(job["ResourceConfig"])
    config = ml / "input/config"
    write_json(config / "resourceconfig.json", _resources(job["ResourceConfig"]))
    write_json(config / "inputdataconfig.json", channels)
    algorithm = job["AlgorithmSpecification"]
    image = account.image(algorithm["TrainingImage"])
    command = [
        *algorithm.get("ContainerEntrypoint", image.entrypoint),
        *algorithm.get("ContainerArguments", []),
    ]
    environment = container_environment(
        account,
        image.environment,
        job.get("Environment", {}),
        {"TRAINING_JOB_NAME": name, "TRAINING_JOB_ARN": job["TrainingJobArn"]},
    )
    log = account.log_file("/aws/sagemaker/TrainingJobs", f"{name}/{HOST}")
    values = {key: str(value) for key, value in job.get("HyperParameters", {}).items()}
    with short_link(ml) as link:
        # Hyperparameters become arguments inside the container, so they are remapped like them.
        write_json(
            config / "hyperparameters.json",
            {key: value.replace(ML, str(link)) for key, value in values.items()},
        )
        try:
            usage = run_container(folder, link, command, environment, log, stopped)
        finally:
            if checkpoint_uri:
                account.objects.upload(ml / "checkpoints", checkpoint_uri)
    return {"Usage": usage, **_training_outputs(account, job, ml)}


def _training_outputs(account: Account, job: Document, ml: Path) -> Document:
    prefix = f"{job['OutputDataConfig']['S3OutputPath'].rstrip('/')}/{job['TrainingJobName']}"
    for source, archive in ((ml / "model", "model.tar.gz"), (ml / "output/data", "output.tar.gz")):
        draft = ml.parent / archive
        with tarfile.open(draft, "w:gz", compresslevel=1) as tar:
            for path in sorted(source.iterdir()):
                tar.add(path, path.name)
        bucket, key = split_uri(f"{prefix}/output/{archive}")
        account.objects.put_file(bucket, key, draft)
        draft.unlink()
    return {"ModelArtifacts": {"S3ModelArtifacts": f"{prefix}/output/model.tar.gz"}}


RUNNERS = {"Processing": run_processing, "Training": run_training}


def run_job(account: Account, kind: str, name: str, stopped: Stopped) -> Document:
    """Run a job that was created, keep its state, return its final description."""
    resource = f"{kind.lower()}-job"
    status, seconds = f"{kind}JobStatus", f"{kind}StartTime"

    def change(**fields: Any) -> Document:
        document = account.store.change(resource, name, lambda job: {**job, **fields})
        if document is None:
            raise StepError(f"job {name} was deleted while it ran")
        return document

    job = change(**{seconds: time.time()})
    try:
        result = RUNNERS[kind](account, job, stopped)
    except StepStoppedError:
        change(**{status: "Stopped", f"{kind}EndTime": time.time()})
        raise
    except Exception as error:
        known = isinstance(error, LocalAccountError | OSError)
        reason = str(error) if known else f"{type(error).__name__}: {error}"
        change(**{status: "Failed", f"{kind}EndTime": time.time(), "FailureReason": reason})
        raise StepError(reason, getattr(error, "kind", "AlgorithmError")) from error
    finally:
        shutil.rmtree(job_folder(account, name) / "ml", ignore_errors=True)
    return change(**{status: "Completed", f"{kind}EndTime": time.time(), **result})


def main(home: str, kind: str, name: str) -> None:
    from pipeline.local.account import open_account

    account = open_account(Path(home))
    resource = f"{kind.lower()}-job"

    def stopped() -> bool:
        job = account.store.get(resource, name)
        return job is None or job[f"{kind}JobStatus"] == "Stopping"

    try:
        run_job(account, kind, name, stopped)
    except (StepError, StepStoppedError) as error:
        print(error, file=sys.stderr)


if __name__ == "__main__":
    main(*sys.argv[1:])
