"""What the stack costs: a month in which nobody uses it, and a million predictions.

Prices are those of prices.json, which says as of when and from where. Pure functions.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

HOURS_A_MONTH = 730
PREDICT_MEMORY_GB = 0.5
# Assumed, for a warm request of some hundred words: in the function, and of that in the model
PREDICT_S, MODEL_S = 0.06, 0.05
REQUEST_GB = 4e-6  # 2 kB in, 2 kB out
IMAGE_GB, ARTIFACTS_GB = 0.9, 0.5
# of machines: that of latency, and the two that autoscaling makes for a tracked target
ALWAYS_ON_ALARMS, MACHINE_ALARMS = 6, 3
# the template's defaults, and the one machine that a shadow gets (deploy_model.rollout)
MACHINES = {"InstanceType": "ml.m5.large", "InstanceCount": "2", "MaxInstanceCount": "4"}
SHADOW_MACHINES = 1
TRACED_SHARE = 0.05  # X-Ray's own default


@dataclass(frozen=True)
class Line:
    """One line of a bill: what for, and how much in USD; None where that is not known."""

    what: str
    usd: float | None
    how: str


@cache
def price_table() -> Mapping[str, Any]:
    """prices.json."""
    text = Path(__file__).with_name("prices.json").read_text("utf-8")
    table: Mapping[str, Any] = json.loads(text)
    return table


def monthly(parameters: Mapping[str, str]) -> list[Line]:
    """A month without a single request, with these parameters of the template."""
    lines = [
        Line("artifacts in S3", ARTIFACTS_GB * _usd("s3_gb_month"), f"{ARTIFACTS_GB} GB"),
        Line("serving image in ECR", IMAGE_GB * _usd("ecr_gb_month"), f"{IMAGE_GB} GB"),
        _alarms(parameters),
        # 4 calls an hour of the schedule, about a second each, 0.5 GB, within what is always free
        Line("reconcile schedule", 0.0, "2,920 calls a month, of a million that are always free"),
    ]
    if parameters.get("EncryptWithKmsKey") == "true":
        lines.append(Line("KMS key", _usd("kms_key_month"), "1 key"))
    if int(parameters.get("WafRequestsPer5Minutes", "0")):
        lines.append(Line("firewall", _usd("waf_acl_month") + _usd("waf_rule_month"), "1 rule"))
    if parameters.get("EndpointMode") == "RealTime":
        lines.append(_machines("endpoint", int(_value(parameters, "InstanceCount")), parameters))
        if parameters.get("ShadowVersion"):
            lines.append(_machines("shadow", SHADOW_MACHINES, parameters))
    return lines


def scaled_out(parameters: Mapping[str, str]) -> list[Line]:
    """What a month costs on top in which autoscaling runs as many machines as it may."""
    least, most = (int(_value(parameters, name)) for name in ("InstanceCount", "MaxInstanceCount"))
    if parameters.get("EndpointMode") != "RealTime" or most <= least:
        return []
    return [_machines("endpoint", most - least, parameters)]


def per_million(parameters: Mapping[str, str]) -> list[Line]:
    """A million predictions through website and API."""
    architecture = parameters.get("Architecture", "arm64")
    compute = 1e6 * PREDICT_S * PREDICT_MEMORY_GB * _usd(f"lambda_gb_second_{architecture}")
    lines = [
        Line("CloudFront", _usd("cloudfront_million_https_requests"), "HTTPS requests"),
        Line("data out", 1e6 * REQUEST_GB / 2 * _usd("cloudfront_gb"), "2 kB an answer"),
        Line("data in", 1e6 * REQUEST_GB / 2 * _usd("cloudfront_gb_to_origin"), "2 kB a review"),
        Line("HTTP API", _usd("http_api_million_requests"), "requests"),
        Line("Lambda", _usd("lambda_million_requests") + compute, f"{PREDICT_S} s of 0.5 GB each"),
        Line("logs", 1e6 * 1e-6 * _usd("cloudwatch_logs_gb"), "1 kB a request"),
        Line("traces", TRACED_SHARE * _usd("xray_million_traces"), "5 % of the requests"),
    ]
    if parameters.get("EndpointMode", "Serverless") == "Serverless":
        lines.append(_serverless(parameters))
    elif share := int(parameters.get("DataCapturePercent", "0")):
        kept = share / 100 * 1e6 * REQUEST_GB * _usd("s3_gb_month")
        lines.append(Line("captured requests", kept, f"{share} % of them, 4 kB, 30 days in S3"))
    if int(parameters.get("WafRequestsPer5Minutes", "0")):
        lines.append(Line("firewall", _usd("waf_million_requests"), "requests"))
    return lines


def total(lines: list[Line]) -> float | None:
    """USD of all lines; None where one of them is not known."""
    known = [line.usd for line in lines if line.usd is not None]
    return sum(known) if len(known) == len(lines) else None


def _alarms(parameters: Mapping[str, str]) -> Line:
    number = ALWAYS_ON_ALARMS + (parameters.get("AlarmOnSilence") == "true")
    if parameters.get("EndpointMode") == "RealTime":
        number += MACHINE_ALARMS
    price = price_table()["prices"]["cloudwatch_alarm_month"]
    paid = max(0, number - price["always_free"])
    return Line("alarms", paid * price["usd"], f"{number}, of 10 that are always free")


def _machines(what: str, count: int, parameters: Mapping[str, str]) -> Line:
    kind = _value(parameters, "InstanceType")
    hourly = price_table()["prices"]["sagemaker_hour"]["usd"]
    if kind not in hourly:
        return Line(what, None, f"{count} {kind}: not in the price table")
    how = f"{count} {kind}, {HOURS_A_MONTH} h, {hourly[kind]} USD an hour"
    return Line(what, count * HOURS_A_MONTH * hourly[kind], how)


def _value(parameters: Mapping[str, str], name: str) -> str:
    return parameters.get(name) or MACHINES[name]


def _serverless(parameters: Mapping[str, str]) -> Line:
    memory_gb = int(parameters.get("ServerlessMemoryMb", "3072")) / 1024
    compute = 1e6 * MODEL_S * memory_gb * _usd("sagemaker_serverless_gb_second")
    data = 1e6 * REQUEST_GB * _usd("sagemaker_serverless_gb_data")
    return Line("endpoint", compute + data, f"{MODEL_S} s of {memory_gb:g} GB each, 4 kB")


def _usd(name: str) -> float:
    price: float = price_table()["prices"][name]["usd"]
    return price
