"""How one version differs from another: metrics, parameters, data, code."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from pipeline.errors import RegistryError
from pipeline.executions import Executions
from pipeline.registry import Version
from pipeline.target import Target

METRICS = ("accuracy", "precision", "recall", "f1", "auc")
SIGNIFICANT = 0.05
# What tells two versions apart beside their parameters
ORIGINS = ("data_url", "data_sha256", "code_digest", "source_commit")


@dataclass(frozen=True)
class MetricDifference:
    """One metric of two versions."""

    name: str
    before: float
    after: float
    p_value: float | None
    """Chance of a difference this large between two models that are equally good; None where the
    spread of the metric is not known."""

    @property
    def difference(self) -> float:
        return self.after - self.before

    @property
    def verdict(self) -> str:
        """The difference in words."""
        if self.p_value is None:
            return "spread unknown"
        if self.p_value >= SIGNIFICANT:
            return "within chance"
        return "better" if self.difference > 0 else "worse"


@dataclass(frozen=True)
class Comparison:
    """Everything that differs between two versions; pairs are (before, after)."""

    before: Version
    after: Version
    metrics: tuple[MetricDifference, ...]
    parameters: Mapping[str, tuple[str, str]]
    origins: Mapping[str, tuple[str, str]]

    @property
    def commits(self) -> str:
        """The commits between, as `git log` takes them; empty where both are the same."""
        if "source_commit" not in self.origins:
            return ""
        before, after = (one.removesuffix("-modified") for one in self.origins["source_commit"])
        return f"{before}..{after}"

    def as_json(self) -> dict[str, Any]:
        """The comparison for a script."""
        return {
            "before": self.before.number,
            "after": self.after.number,
            "metrics": {
                one.name: {
                    "before": one.before,
                    "after": one.after,
                    "difference": one.difference,
                    "p_value": one.p_value,
                    "verdict": one.verdict,
                }
                for one in self.metrics
            },
            "parameters": self.parameters,
            "origins": self.origins,
            "commits": self.commits,
        }


def compare(target: Target, before: Version, after: Version) -> Comparison:
    """Read what both versions recorded and set it side by side."""
    metrics = [_metrics(target, version) for version in (before, after)]
    parameters = [_parameters(target, version) for version in (before, after)]
    origins = [
        {name: version.metadata[name] for name in ORIGINS if name in version.metadata}
        for version in (before, after)
    ]
    return Comparison(
        before=before,
        after=after,
        metrics=tuple(
            _difference(name, *(one[name] for one in metrics))
            for name in METRICS
            if all(name in one for one in metrics)
        ),
        parameters=differences(*parameters),
        origins=differences(*origins),
    )


def differences(before: Mapping[str, str], after: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """What is not the same in both; a value that one lacks is empty."""
    names = [*before, *(name for name in after if name not in before)]
    pairs = {name: (before.get(name, ""), after.get(name, "")) for name in names}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def p_value(before: float, after: float, spread: float) -> float:
    """Two-sided, of a normal difference whose standard deviation is `spread`.

    The two versions are taken to be measured apart. On the same test reviews their errors go
    together, so the real value is smaller: what is called significant here is.
    """
    if spread == 0:
        return 1.0 if before == after else 0.0
    return math.erfc(abs(after - before) / spread / math.sqrt(2))


def _difference(name: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> MetricDifference:
    values = float(before["value"]), float(after["value"])
    deviations = [one.get("standard_deviation") for one in (before, after)]
    known = [float(one) for one in deviations if isinstance(one, int | float)]
    chance = p_value(*values, math.hypot(*known)) if len(known) == 2 else None
    return MetricDifference(name, *values, chance)


def _metrics(target: Target, version: Version) -> Mapping[str, Any]:
    bucket, key = split(version.evaluation_url, version.number)
    try:
        body = target.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read()
        document: Mapping[str, Any] = json.loads(body)["binary_classification_metrics"]
    except (ClientError, ValueError, KeyError) as error:
        raise RegistryError(
            f"version {version.number}: its evaluation cannot be read ({version.evaluation_url})"
        ) from error
    return document


def _parameters(target: Target, version: Version) -> Mapping[str, str]:
    """What its execution ran with; nothing where the execution is not known any more."""
    execution = version.metadata.get("execution_id")
    if not execution:
        return {}
    executions = Executions(target)
    return next(
        (executions.parameters(one.arn) for one in executions.all() if one.id == execution), {}
    )


def split(url: str, number: int) -> tuple[str, str]:
    """Bucket and key of an s3:// address."""
    bucket, _, key = url.removeprefix("s3://").partition("/")
    if not url.startswith("s3://") or not key:
        raise RegistryError(f"version {number} has no evaluation to look at")
    return bucket, key
