"""Step caching: when a step need not run again, because one with the same key succeeded; and why.

The key holds the attributes that SageMaker documents ("Default cache key attributes by pipeline
step type") and, beyond them, a digest of the objects that each input gives a job: a file changed in
place is a miss here, though AWS would not see it. Outputs and instance types are not in the key.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import re
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from pipeline.local.errors import ServiceError
from pipeline.local.inputs import located
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
    "Transform": (
        "DataProcessing",
        "Environment",
        "ModelName",
        "TransformInput",
    ),
    # Not on that page: the SDK's LambdaStep takes a cache_config, whose key is the whole call.
    "Lambda": ("FunctionArn", "Arguments", "OutputParameters"),
}
DURATION = re.compile(
    r"(?:P|(?=T))(?:(?P<weeks>\d+)W)?(?:(?P<days>\d+)D)?"
    r"(?:T(?:(?P<hours>\d+)H)?(?:(?P<minutes>\d+)M)?(?:(?P<seconds>\d+)S)?)?",
    re.IGNORECASE,  # as the SDK's own examples are: p30d, T12H
)
EXPLANATION_CHARS = 256


@dataclass(frozen=True)
class Key:
    """What decides a step's result: the documented attributes and a digest of each input."""

    attributes: Document
    content: dict[str, str]

    @property
    def digest(self) -> str:
        text = json.dumps([self.attributes, self.content], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class Found:
    """What the cache has for a step: the step document of an earlier run, or why there is none."""

    step: Document | None
    explanation: str


def duration_s(text: str) -> float:
    """Seconds of an ISO 8601 duration of weeks, days and time, such as P30D or PT1H."""
    match = DURATION.fullmatch(text)
    if not match or not any(match.groups()):
        raise ServiceError("ValidationException", f"not an ISO 8601 duration: {text!r} (as P30D)")
    parts = {unit: int(value) for unit, value in match.groupdict().items() if value}
    return dt.timedelta(**parts).total_seconds()


def is_enabled(step: Document) -> bool:
    return step["Type"] in KEY_ATTRIBUTES and step.get("CacheConfig", {}).get("Enabled", False)


def cache_key(account: Account, step: Document, arguments: Document) -> Key:
    """The key of a step with its arguments evaluated."""
    call = {**step, "Arguments": arguments} if step["Type"] == "Lambda" else arguments
    attributes = {name: call.get(name) for name in KEY_ATTRIBUTES[step["Type"]]}
    if step["Type"] == "Lambda":
        function = step["FunctionArn"]
        return Key(attributes, {function: _function_digest(account, function)})
    sources = sorted(_sources(step["Type"], arguments), key=lambda source: str(source["S3Uri"]))
    return Key(
        attributes, {source["S3Uri"]: _content_digest(account, source) for source in sources}
    )


def _sources(kind: str, arguments: Document) -> list[Document]:
    if kind == "Processing":
        return [item["S3Input"] for item in arguments.get("ProcessingInputs", [])]
    if kind == "Transform":
        return [arguments["TransformInput"]["DataSource"]["S3DataSource"]]
    return [item["DataSource"]["S3DataSource"] for item in arguments.get("InputDataConfig", [])]


def _content_digest(account: Account, source: Document) -> str:
    digest = hashlib.sha256()
    for name, entry in located(account, source, f"input {source['S3Uri']}"):
        with entry.path.open("rb") as file:
            inner = hashlib.file_digest(file, "sha256").hexdigest()
        digest.update(f"{name}\0{inner}\n".encode())
    return digest.hexdigest()


def _function_digest(account: Account, arn: str) -> str:
    """A digest of a function: its settings and the Python files below its folder."""
    _, function = account.function(arn)
    settings = {**asdict(function), "path": str(function.path)}
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for path in sorted(function.path.rglob("*.py")):
        inner = hashlib.sha256(path.read_bytes()).hexdigest()
        digest.update(f"{path.relative_to(function.path)}\0{inner}\n".encode())
    return digest.hexdigest()


def look_up(account: Account, pipeline: str, step: Document, key: Key) -> Found:
    """What an earlier, unexpired, still complete run of the step left."""
    place = f"{pipeline}/{step['Name']}"
    kept = account.store.get("cache", f"{place}/{key.digest}")
    if kept is None:
        latest = account.store.get("cache", place)
        return Found(None, _difference(latest, key) if latest else "no earlier run of this step")
    execution = kept["Step"]["ExecutionArn"].rpartition("/")[2]
    expiry = step["CacheConfig"].get("ExpireAfter")
    if expiry and time.time() - kept["Time"] > duration_s(expiry):
        return Found(None, f"the run in {execution} is older than {expiry}")
    for uri in _output_uris(kept["Step"]["Properties"]):
        bucket, prefix = split_uri(uri)
        if not account.objects.list(bucket, prefix):
            return Found(None, f"the output {uri} of {execution} is gone")
    return Found(kept["Step"], f"same key as in {execution}")


def _difference(latest: Document, key: Key) -> str:
    """Which argument or input is not what it was when the step last succeeded."""
    before, execution = Key(latest["Attributes"], latest["Content"]), latest["Execution"]
    path = _first_difference(before.attributes, key.attributes, "")
    if path:
        return f"{path} is not what it was in {execution}"
    changed = [uri for uri in key.content if key.content[uri] != before.content.get(uri)]
    place = "URI" if changed[0].startswith("s3:") else "ARN"
    return (
        f"the content of {', '.join(changed)} changed since {execution} "
        f"(AWS would not see it: the {place} is the same)"
    )


def _first_difference(before: Any, now: Any, path: str) -> str:
    if before == now:
        return ""
    if isinstance(before, dict) and isinstance(now, dict):
        names = [name for name in {**before, **now} if before.get(name) != now.get(name)]
        return _first_difference(before.get(names[0]), now.get(names[0]), f"{path}.{names[0]}")
    if isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        index = next(
            i for i, pair in enumerate(zip(before, now, strict=True)) if pair[0] != pair[1]
        )
        name = _item_name(now[index]) or str(index)
        return _first_difference(before[index], now[index], f"{path}[{name}]")
    return path.lstrip(".")


def _item_name(item: Any) -> str:
    """The name of a named thing (`InputName`, `ChannelName`) in a list."""
    if not isinstance(item, dict):
        return ""
    return next((str(value) for key, value in item.items() if key.endswith("Name")), "")


def _output_uris(properties: Document) -> list[str]:
    outputs = properties.get("ProcessingOutputConfig", {}).get("Outputs", [])
    model = properties.get("ModelArtifacts", {}).get("S3ModelArtifacts")
    transformed = properties.get("TransformOutput", {}).get("S3OutputPath")
    single = [uri for uri in (model, transformed) if uri]
    return [item["S3Output"]["S3Uri"] for item in outputs] + single


def remember(account: Account, pipeline: str, key: Key, step: Document) -> None:
    """Keep a step that succeeded, and its key to explain the next miss."""
    place = f"{pipeline}/{step['StepName']}"
    with account.store.transaction():
        kept = {"Time": time.time(), "Step": step}
        account.store.put("cache", f"{place}/{key.digest}", kept, parent=pipeline)
        latest = {
            "Attributes": key.attributes,
            "Content": key.content,
            "Execution": step["ExecutionArn"].rpartition("/")[2],
        }
        account.store.put("cache", place, latest, parent=pipeline)
