"""What a training job says of itself in its log: the metrics that its MetricDefinitions name.

Source: SageMaker API, MetricDefinition ("searches the output of a training job and gets the value
of the metric") and FinalMetricDataList, which holds the last value of each.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from pipeline.local.errors import ServiceError

Document = dict[str, Any]


def definitions_of(request: Document) -> list[Document]:
    """The metrics that a request for a training job names."""
    found: list[Document] = request.get("AlgorithmSpecification", {}).get("MetricDefinitions", [])
    return found


def wrong_metrics(request: Document) -> str:
    """Why a metric of a request cannot be read from a log, "" where each can."""
    for definition in definitions_of(request):
        name, regex = definition["Name"], definition["Regex"]
        if isinstance(regex, str):  # else an expression, whose value is known only in the run
            try:
                groups = re.compile(regex).groups
            except re.error as error:
                return f"the Regex of metric {name} is no regular expression: {error}"
            if not groups:
                return f"the Regex of metric {name} has no group that is the value: (...)"
    return ""


def check_metrics(request: Document) -> None:
    """Refuse a training job with a metric that cannot be read from its log."""
    if wrong := wrong_metrics(request):
        raise ServiceError("ValidationException", wrong)


def final_metrics(definitions: Sequence[Document], logs: Iterable[Path]) -> list[Document]:
    """The last value of each metric that is in the logs; of several logs the last one decides."""
    regexes = {item["Name"]: re.compile(item["Regex"]) for item in definitions}
    found: dict[str, Document] = {}
    for log in logs:
        with log.open(errors="replace") as lines:
            for line in lines:
                for name, regex in regexes.items():
                    for match in regex.finditer(line):
                        found |= _metric(name, match[1], log)
    return list(found.values())


def _metric(name: str, text: str | None, log: Path) -> dict[str, Document]:
    """A metric by its name; none of a text that is no number."""
    try:
        value = float(text or "")
    except ValueError:
        return {}
    if not math.isfinite(value):
        return {}
    # A line has no time of its own in the file: it carries that of the file's last change.
    return {name: {"MetricName": name, "Value": value, "Timestamp": log.stat().st_mtime}}
