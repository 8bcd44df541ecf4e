"""Processing and training jobs: SageMaker's container contract around processes on this machine.

An instance count of n starts n processes, `algo-1` … `algo-n`, each with a folder of its own,
`<home>/jobs/<name>/<host>/ml`, which it sees as /opt/ml (containers.py).

`python -m pipeline.local.jobs HOME KIND NAME` runs a job that was created through the API.
"""

from __future__ import annotations

import json
import shutil
import sys
import tarfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.local.checkpoints import Checkpoints
from pipeline.local.clients import aws_clients
from pipeline.local.containers import (
    INTERFACE,
    ML,
    Container,
    Document,
    Stopped,
    container_environment,
    end_orphans,
    remap,
    run_containers,
    short_link,
)
from pipeline.local.errors import LocalAccountError, StepError, StepStoppedError
from pipeline.local.inputs import inside, place
from pipeline.local.metrics import definitions_of, final_metrics
from pipeline.local.objects import split_uri
from pipeline.local.sandbox import is_strict
from pipeline.local.transform import run_transform

if TYPE_CHECKING:
    from pipeline.local.account import Account

HOSTS_LIMIT = 8
GROUP = "homogeneousCluster"


def job_folder(account: Account, name: str) -> Path:
    """Where everything of one job lies."""
    return account.home / "jobs" / name


def job_lock(account: Account, name: str) -> Path:
    """Held by the process that runs the job."""
    return account.home / "locks" / f"job-{name}"


def clear(account: Account, name: str) -> None:
    """End what a job left running whose owner was killed, and free its folder."""
    end_orphans(job_folder(account, name))
    shutil.rmtree(job_folder(account, name), ignore_errors=True)


def write_json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=1))


def hosts_of(cluster: Document) -> list[str]:
    """The names of a cluster's hosts."""
    count = int(cluster.get("InstanceCount", 1))
    if not 1 <= count <= HOSTS_LIMIT:
        raise StepError(f"a job has 1 to {HOSTS_LIMIT} hosts here, not {count}")
    return [f"algo-{number}" for number in range(1, count + 1)]


def _resources(cluster: Document, hosts: Sequence[str], current: str) -> Document:
    kind = cluster["InstanceType"]
    return {
        "current_host": current,
        "current_instance_type": kind,
        "current_group_name": GROUP,
        "hosts": list(hosts),
        "instance_groups": [
            {"instance_group_name": GROUP, "instance_type": kind, "hosts": list(hosts)}
        ],
        "network_interface_name": INTERFACE,
    }


@contextmanager
def _links(folders: Sequence[Path]) -> Iterator[list[Path]]:
    """What stands for /opt/ml in each folder's process: a short link, or itself in strict mode."""
    from contextlib import ExitStack

    with ExitStack() as stack:
        if is_strict():
            yield [Path(ML) for _ in folders]
        else:
            yield [stack.enter_context(short_link(folder / "ml")) for folder in folders]


def _command(account: Account, image_uri: str, application: Document) -> tuple[list[str], Any]:
    image = account.image(image_uri)
    command = [
        *application.get("ContainerEntrypoint", image.entrypoint),
        *application.get("ContainerArguments", []),
    ]
    if not command:
        raise StepError(f"image {image_uri} has no command of its own and the job names none")
    return command, image.environment


def _containers(
    account: Account,
    kind: str,
    name: str,
    folders: Sequence[Path],
    links: Sequence[Path],
    command: list[str],
    environment: dict[str, str],
) -> list[Container]:
    """One container a host; a host's folder has its name."""
    group = f"/aws/sagemaker/{kind}Jobs"
    return [
        Container(folder.name, folder, command, environment,
                  account.log_file(group, f"{name}/{folder.name}"), link)
        for folder, link in zip(folders, links, strict=True)
    ]  # fmt: skip


def _max_runtime_s(job: Document) -> float | None:
    limit = job.get("StoppingCondition", {}).get("MaxRuntimeInSeconds")
    return float(limit) if limit else None


def run_processing(
    account: Account, job: Document, stopped: Stopped, clients: dict[str, str]
) -> Document:
    """Run a processing job; what the finished job's description has in addition."""
    name = job["ProcessingJobName"]
    cluster = job["ProcessingResources"]["ClusterConfig"]
    hosts = hosts_of(cluster)
    folders = [job_folder(account, name) / host for host in hosts]
    for item in job.get("ProcessingInputs", []):
        source = item["S3Input"]
        targets = [inside(folder, source["LocalPath"]) for folder in folders]
        what = f"input {item['InputName']}"
        place(account, source, targets, what, source.get("S3CompressionType"))
    outputs = job.get("ProcessingOutputConfig", {}).get("Outputs", [])
    for folder, host in zip(folders, hosts, strict=True):
        for item in outputs:
            inside(folder, item["S3Output"]["LocalPath"]).mkdir(parents=True, exist_ok=True)
        write_json(folder / "ml/config/resourceconfig.json", _resources(cluster, hosts, host))
        write_json(folder / "ml/config/processingjobconfig.json", job)
    application = job["AppSpecification"]
    command, brought = _command(account, application["ImageUri"], application)
    environment = container_environment(
        account,
        clients,
        brought,
        job.get("Environment", {}),
        {"PROCESSING_JOB_NAME": name, "PROCESSING_JOB_ARN": job["ProcessingJobArn"]},
    )
    with _links(folders) as links:
        usage = run_containers(
            _containers(account, "Processing", name, folders, links, command, environment),
            stopped,
            max_runtime_s=_max_runtime_s(job),
        )
    for item in outputs:
        target = item["S3Output"]
        for folder in folders:
            account.objects.upload(inside(folder, target["LocalPath"]), target["S3Uri"])
    return {"Usage": usage}


def run_training(
    account: Account, job: Document, stopped: Stopped, clients: dict[str, str]
) -> Document:
    """Run a training job; what the finished job's description has in addition."""
    name = job["TrainingJobName"]
    cluster = job["ResourceConfig"]
    hosts = hosts_of(cluster)
    folders = [job_folder(account, name) / host for host in hosts]
    for folder, host in zip(folders, hosts, strict=True):
        for part in ("model", "output/data", "checkpoints", "input/config", "input/data"):
            (folder / "ml" / part).mkdir(parents=True, exist_ok=True)
        config = folder / "ml/input/config"
        write_json(config / "resourceconfig.json", _resources(cluster, hosts, host))
        write_json(config / "inputdataconfig.json", _place_channels(account, job, folders, host))
    checkpoints = Checkpoints(account, job, folders)
    checkpoints.restore()
    algorithm = job["AlgorithmSpecification"]
    command, brought = _command(account, algorithm["TrainingImage"], algorithm)
    environment = container_environment(
        account,
        clients,
        brought,
        job.get("Environment", {}),
        {"TRAINING_JOB_NAME": name, "TRAINING_JOB_ARN": job["TrainingJobArn"]},
    )
    with _links(folders) as links:
        _write_hyperparameters(job, folders, links)
        try:
            usage = run_containers(
                _containers(account, "Training", name, folders, links, command, environment),
                stopped,
                max_runtime_s=_max_runtime_s(job),
                tick=checkpoints.sync,
            )
        finally:
            checkpoints.sync(final=True)
    return {"Usage": usage, **_training_outputs(account, job, folders)}


def _write_hyperparameters(job: Document, folders: Sequence[Path], links: Sequence[Path]) -> None:
    """They become arguments inside the container: remapped like them."""
    values = {key: str(value) for key, value in job.get("HyperParameters", {}).items()}
    for folder, link in zip(folders, links, strict=True):
        write_json(
            folder / "ml/input/config/hyperparameters.json",
            {key: remap(value, link) for key, value in values.items()},
        )


def _place_channels(
    account: Account, job: Document, folders: Sequence[Path], host: str
) -> Document:
    """Copy the channels when the first host is prepared; what inputdataconfig.json says."""
    channels = {}
    for channel in job.get("InputDataConfig", []):
        source = channel["DataSource"]["S3DataSource"]
        label = channel["ChannelName"]
        if host == "algo-1":
            targets = [folder / "ml/input/data" / label for folder in folders]
            place(account, source, targets, f"channel {label}", channel.get("CompressionType"))
        channels[label] = {
            "TrainingInputMode": channel.get("InputMode", "File"),
            "S3DistributionType": source.get("S3DataDistributionType", "FullyReplicated"),
            "RecordWrapperType": channel.get("RecordWrapperType", "None"),
        }
    return channels


def _training_outputs(account: Account, job: Document, folders: Sequence[Path]) -> Document:
    """Archive what the hosts left; where two left a file of one name, the first host's is kept."""
    prefix = f"{job['OutputDataConfig']['S3OutputPath'].rstrip('/')}/{job['TrainingJobName']}"
    for source, archive in (("model", "model.tar.gz"), ("output/data", "output.tar.gz")):
        found: dict[str, Path] = {}
        for folder in folders:
            root = folder / "ml" / source
            for path in sorted(root.rglob("*")):
                found.setdefault(path.relative_to(root).as_posix(), path)
        draft = folders[0].parent / archive
        with tarfile.open(draft, "w:gz", compresslevel=1) as tar:
            for name, path in found.items():
                tar.add(path, name, recursive=False)
        bucket, key = split_uri(f"{prefix}/output/{archive}")
        account.objects.put_file(bucket, key, draft)
        draft.unlink()
    return {"ModelArtifacts": {"S3ModelArtifacts": f"{prefix}/output/model.tar.gz"}}


def _metrics(account: Account, job: Document) -> Document:
    """What the job's log says of its metrics, the first host's before the others'."""
    if not (definitions := definitions_of(job)):
        return {}
    log = account.log_file("/aws/sagemaker/TrainingJobs", f"{job['TrainingJobName']}/algo-1")
    logs = sorted(log.parent.glob("*.log"), reverse=True)
    return {"FinalMetricDataList": final_metrics(definitions, logs)}


# A job's description, whether it is to stop, and what its AWS clients need → what it adds.
RUNNERS: dict[str, Callable[[Account, Document, Stopped, dict[str, str]], Document]] = {
    "Processing": run_processing,
    "Training": run_training,
    "Transform": run_transform,
}


def run_job(account: Account, kind: str, name: str, stopped: Stopped) -> Document:
    """Run a job that was created, keep its state, return its final description."""
    resource = f"{kind.lower()}-job"
    status, seconds = f"{kind}JobStatus", f"{kind}StartTime"
    ended = f"{kind}EndTime"

    def change(**fields: Any) -> Document:
        document = account.store.change(resource, name, lambda job: {**job, **fields})
        if document is None:
            raise StepError(f"job {name} was deleted while it ran")
        return document

    def end(state: str, secondary: str, **fields: Any) -> Document:
        told = _metrics(account, job) if kind == "Training" else {}
        return change(**{status: state, ended: time.time(), "SecondaryStatus": secondary,
                         **told, **fields})  # fmt: skip

    job = change(**{seconds: time.time(), "SecondaryStatus": kind})
    try:
        with aws_clients(account) as clients:
            result = RUNNERS[kind](account, job, stopped, clients)
    except StepStoppedError:
        end("Stopped", "Stopped")
        raise
    except Exception as error:
        known = isinstance(error, LocalAccountError | OSError)
        reason = str(error) if known else f"{type(error).__name__}: {error}"
        exception_type = getattr(error, "kind", "AlgorithmError")
        late = exception_type == "MaxRuntimeExceeded"  # AWS: such a job is Stopped, not Failed
        state, secondary = ("Stopped", exception_type) if late else ("Failed", "Failed")
        end(state, secondary, FailureReason=reason)
        raise StepError(reason, exception_type) from error
    finally:
        shutil.rmtree(job_folder(account, name), ignore_errors=True)
    ran_s = max(1, round(time.time() - job[seconds]))
    if kind == "Training":
        result |= {"TrainingTimeInSeconds": ran_s, "BillableTimeInSeconds": ran_s}
    return end("Completed", "Completed", **result)


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
