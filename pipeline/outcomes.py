"""What a finished step has produced, in a few words: the figure a person wants to see."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable, Mapping
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from pipeline.executions import Step
from pipeline.target import Target

_MAX_HISTORY_BYTES = 10_000_000


def outcome(target: Target, step: Step) -> str:
    """A few words on what a succeeded step made; empty when there is nothing to say.

    It is an extra: a file that cannot be read must not fail a run that has succeeded.
    """
    tell = _TELLERS.get(step.name)
    if tell is None or step.status != "Succeeded":
        return ""
    try:
        return tell(target, step.metadata)
    except (ClientError, BotoCoreError, KeyError, ValueError, tarfile.TarError, OSError):
        return ""


def _preprocess(target: Target, metadata: Mapping[str, Any]) -> str:
    report = json.loads(_processing_output(target, metadata, "report", "data_report.json"))
    splits = {name: split["reviews"] for name, split in report["splits"].items()}
    counts = [f"{reviews:,} {name}" for name, reviews in splits.items() if reviews]
    return f"{', '.join(counts)} reviews; {report['vocabulary']['words']:,} words"


def _train(target: Target, metadata: Mapping[str, Any]) -> str:
    name = metadata["TrainingJob"]["Arn"].rpartition("/")[2]
    job = target.client("sagemaker").describe_training_job(TrainingJobName=name)
    folder = job["ModelArtifacts"]["S3ModelArtifacts"].rpartition("/")[0]
    content = _read(target, f"{folder}/output.tar.gz")
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        file = tar.extractfile("training_history.json")
        history = json.loads(file.read(_MAX_HISTORY_BYTES) if file else b"{}")
    best = min(history["epochs"], key=lambda epoch: epoch["validation_loss"])
    both, alone = history["mix"]["validation_accuracy"], best["validation_accuracy"]
    return f"validation accuracy {both:.4f}; of the LSTM {alone:.4f} in epoch {best['epoch']}"


def _evaluate(target: Target, metadata: Mapping[str, Any]) -> str:
    report = json.loads(_processing_output(target, metadata, "evaluation", "evaluation.json"))
    metrics = report["binary_classification_metrics"]
    figures = f"test accuracy {metrics['accuracy']['value']:.4f}, AUC {metrics['auc']['value']:.4f}"
    if baseline := report.get("baseline"):
        figures += f"; {baseline['name']} {baseline['accuracy']['value']:.4f}"
    return figures


def _gate(passed: str, failed: str) -> Callable[[Target, Mapping[str, Any]], str]:
    def tell(_: Target, metadata: Mapping[str, Any]) -> str:
        return passed if str(metadata["Condition"]["Outcome"]).lower() == "true" else failed

    return tell


def _register(_: Target, metadata: Mapping[str, Any]) -> str:
    return f"version {metadata['RegisterModel']['Arn'].rpartition('/')[2]}"


def _deploy(_: Target, metadata: Mapping[str, Any]) -> str:
    outputs = {one["Name"]: one["Value"] for one in metadata["Lambda"]["OutputParameters"]}
    return str(outputs["message"] or outputs["status"])


_TELLERS: Mapping[str, Callable[[Target, Mapping[str, Any]], str]] = {
    "Preprocess": _preprocess,
    "Train": _train,
    "Evaluate": _evaluate,
    "AccuracyGate": _gate("accurate enough", "not accurate enough"),
    "BaselineGate": _gate("far enough above the baseline", "not far enough above the baseline"),
    "ProductionGate": _gate("not worse than production", "worse than production"),
    "Register": _register,
    "Deploy": _deploy,
}


def _processing_output(target: Target, metadata: Mapping[str, Any], name: str, file: str) -> bytes:
    job_name = metadata["ProcessingJob"]["Arn"].rpartition("/")[2]
    job = target.client("sagemaker").describe_processing_job(ProcessingJobName=job_name)
    outputs = job["ProcessingOutputConfig"]["Outputs"]
    (uri,) = (one["S3Output"]["S3Uri"] for one in outputs if one["OutputName"] == name)
    return _read(target, f"{uri}/{file}")


def _read(target: Target, uri: str) -> bytes:
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    content: bytes = target.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read()
    return content
