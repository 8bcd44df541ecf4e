"""Step caching: when a step need not run again, because one with the same key succeeded.

The key holds the attributes that SageMaker documents ("Default cache key attributes by pipeline
step type") and, beyond them, a digest of what lies at the input URIs: a file changed in place is a
miss here, though AWS would not see it. Outputs and instance types are not in the key.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import re
import time
from typing import TYPE_CHECKING, Any

from pipeline.local.errors import ServiceError
from pipeline.local.objects import split_uri

if TYPE_CHECKING:
    from pipeline.local.account import Account

Document = dict[str, Any]
KEY_ATTRIBUTES = {
    "Processing": ("AppSpecification", "Environment", "ProcessingInputs"),
    "Training": (
        "AlgorithmSpecification",
        "CheckpointConfig",
        "DebugHookConfig",
        "DebugRuleConfigurations",
        "Environment",
        "HyperParameters",
        "InputDataConfig",
    ),
}
DURATION = re.compile(
    r"P(?:(?P<weeks>\d+)W)?(?:(?P<days>\d+)D)?"
    r"(?:T(?:(?P<hours>\d+)H)?(?:(?P<minutes>\d+)M)?(?:(?P<seconds>\d+)S)?)?"
)


def duration_s(text: str) -> float:
    """Seconds of an ISO 8601 duration of weeks, days and time, such as P30D or PT1H."""
    match = DURATION.fullmatch(text)
    if not match or not any(match.groups()):
        raise ServiceError("ValidationException", f"not an ISO 8601 duration: {text!r} (as P30D)")
    parts = {unit: int(value) for unit, value in match.groupdict().items() if value}
    return dt.timedelta(**parts).total_seconds()


def is_enabled(step: Document) -> bool:
    return step["Type"] in KEY_ATTRIBUTES and step.get("CacheConfig", {}).get("Enabled", False)


def cache_key(account: Account, step: Document, arguments: Document) -> str:
    """Digest of everything that decides a step's result."""
    attributes = {name: arguments.get(name) for name in KEY_ATTRIBUTES[step["Type"]]}
    uris = sorted(_input_uris(step["Type"], arguments))
    content = {uri: _content_digest(account, uri) for uri in uris}
    text = json.dumps([step["Type"], attributes, content], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _input_uris(kind: str, arguments: Document) -> list[str]:
    if kind == "Processing":
        return [item["S3Input"]["S3Uri"] for item in arguments.get("ProcessingInputs", [])]
    return [
        item["DataSource"]["S3DataSource"]["S3Uri"] for item in arguments.get("InputDataConfig", [])
    ]


def _content_digest(account: Account, uri: str) -> str:
    digest = hashlib.sha256()
    bucket, prefix = split_uri(uri)
    for entry in account.objects.list(bucket, prefix):
        with entry.path.open("rb") as file:
            inner = hashlib.file_digest(file, "sha256").hexdigest()
        digest.update(f"{entry.key[len(prefix) :]}\0{inner}\n".encode())
    return digest.hexdigest()


def _name(pipeline: str, step: str, key: str) -> str:
    return f"{pipeline}/{step}/{key}"


def look_up(account: Account, pipeline: str, step: Document, key: str) -> Document | None:
    """What an earlier, unexpired, still complete run of the step left: its step document."""
    kept = account.store.get("cache", _name(pipeline, step["Name"], key))
    if kept is None:
        return None
    expiry = step["CacheConfig"].get("ExpireAfter")
    if expiry and time.time() - kept["Time"] > duration_s(expiry):
        return None
    for uri in _output_uris(kept["Step"]["Properties"]):
        bucket, prefix = split_uri(uri)
        if not account.objects.list(bucket, prefix):
            return None
    found: Document = kept["Step"]
    return found


def _output_uris(properties: Document) -> list[str]:
    outputs = properties.get("ProcessingOutputConfig", {}).get("Outputs", [])
    model = properties.get("ModelArtifacts", {}).get("S3ModelArtifacts")
    return [item["S3Output"]["S3Uri"] for item in outputs] + ([model] if model else [])


def remember(account: Account, pipeline: str, key: str, step: Document) -> None:
    """Keep a step that succeeded."""
    name = _name(pipeline, step["StepName"], key)
    account.store.put("cache", name, {"Time": time.time(), "Step": step})
