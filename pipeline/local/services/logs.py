"""CloudWatch Logs: streams are text files, one line an event, in `<home>/logs/<group>/`."""

from __future__ import annotations

import math
from pathlib import Path

from pipeline.local.account import Account, answers
from pipeline.local.errors import ServiceError
from pipeline.local.store import Document

DEFAULT_LIMIT = 10_000


def _group(account: Account, request: Document) -> tuple[str, Path]:
    name = request.get("logGroupName") or request.get("logGroupIdentifier", "")
    folder = account.home / "logs" / name.strip("/")
    inside = folder.resolve().is_relative_to((account.home / "logs").resolve())
    if not inside or not folder.is_dir():
        raise ServiceError(
            "ResourceNotFoundException", f"The specified log group does not exist: {name}"
        )
    return name, folder


def _streams(folder: Path, prefix: str = "") -> list[tuple[str, Path]]:
    found = (
        (path.relative_to(folder).with_suffix("").as_posix(), path)
        for path in folder.rglob("*.log")
    )
    return sorted((name, path) for name, path in found if name.startswith(prefix))


def _lines(path: Path, request: Document) -> list[Document]:
    # A line has no time of its own in the file: it carries that of the file's last change.
    stamp = int(path.stat().st_mtime * 1000)
    if not request.get("startTime", 0) <= stamp < request.get("endTime", math.inf):
        return []
    text = path.read_text(errors="replace")
    return [
        {"timestamp": stamp, "ingestionTime": stamp, "message": line} for line in text.splitlines()
    ]


@answers("logs:DescribeLogGroups")
def describe_log_groups(account: Account, request: Document) -> Document:
    root = account.home / "logs"
    prefix = request.get("logGroupNamePrefix", "")
    # /aws/lambda/NAME, /aws/sagemaker/TrainingJobs: three parts; an endpoint's group has its name
    depth = {"Endpoints": 4}
    parts = (path.relative_to(root).parts for path in root.glob("aws/*/*/**/*.log"))
    names = {"/" + "/".join(item[: depth.get(item[2], 3)]) for item in parts}
    return {
        "logGroups": [{"logGroupName": name} for name in sorted(names) if name.startswith(prefix)]
    }


@answers("logs:DescribeLogStreams")
def describe_log_streams(account: Account, request: Document) -> Document:
    name, folder = _group(account, request)
    prefix = request.get("logStreamNamePrefix", "")
    return {
        "logStreams": [
            {
                "logStreamName": stream,
                "arn": account.arn("logs", f"log-group:{name}:log-stream:{stream}"),
                "lastEventTimestamp": int(path.stat().st_mtime * 1000),
                "storedBytes": path.stat().st_size,
            }
            for stream, path in _streams(folder, prefix)
        ]
    }


@answers("logs:GetLogEvents")
def get_log_events(account: Account, request: Document) -> Document:
    _, folder = _group(account, request)
    wanted = request["logStreamName"]
    path = dict(_streams(folder, wanted)).get(wanted)
    if path is None:
        raise ServiceError(
            "ResourceNotFoundException", f"The specified log stream does not exist: {wanted}"
        )
    events, limit = _lines(path, request), request.get("limit", DEFAULT_LIMIT)
    token = request.get("nextToken")
    if token:
        start = min(int(token.partition("/")[2]), len(events))
    else:
        start = 0 if request.get("startFromHead") else max(0, len(events) - limit)
    page = events[start : start + limit]
    return {
        "events": page,
        "nextForwardToken": f"f/{start + len(page)}",
        "nextBackwardToken": f"b/{max(0, start - limit)}",
    }


@answers("logs:FilterLogEvents")
def filter_log_events(account: Account, request: Document) -> Document:
    _, folder = _group(account, request)
    wanted = request.get("filterPattern", "").strip('"')
    events = [
        {**event, "logStreamName": name}
        for name, path in _streams(folder, request.get("logStreamNamePrefix", ""))
        for event in _lines(path, request)
        if wanted in event["message"]
    ]
    start, limit = int(request.get("nextToken", "0")), request.get("limit", DEFAULT_LIMIT)
    answer: Document = {"events": events[start : start + limit]}
    if start + limit < len(events):
        answer["nextToken"] = str(start + limit)
    return answer
