"""The endpoint: which version it serves, and its predictions."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeGuard

from botocore.exceptions import ClientError

from pipeline import notes
from pipeline.errors import EndpointError
from pipeline.target import Target

BATCH_REVIEWS = 32
# A serverless endpoint takes 4 MB; a character is at most twelve bytes of JSON (two escapes).
BATCH_CHARACTERS = 4_000_000 // 12
CHANGING = frozenset({"Creating", "Updating", "SystemUpdating", "RollingBack"})


@dataclass(frozen=True)
class Served:
    """What the endpoint serves."""

    status: str
    version: int | None
    model_package_arn: str
    since: datetime
    config: str
    reason: str
    endpoint: str

    def as_json(self) -> dict[str, Any]:
        """What is served, for a script."""
        return {
            "endpoint": self.endpoint,
            "status": self.status,
            "version": self.version,
            "model_package_arn": self.model_package_arn,
            "since": self.since.isoformat(),
            "endpoint_config": self.config,
            "reason": self.reason,
        }


@dataclass(frozen=True)
class Prediction:
    """The verdict on one review; `probability` is that of positive."""

    label: str
    probability: float
    token_count: int
    model_version: str


class Endpoint:
    """The project's endpoint in one account."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._sagemaker = target.client("sagemaker")
        self._name = target.account.endpoint_name

    def served(self) -> Served | None:
        """What the endpoint serves now; None if there is no endpoint."""
        try:
            endpoint = self._sagemaker.describe_endpoint(EndpointName=self._name)
        except ClientError as error:
            if "Could not find" in str(error) or "does not exist" in str(error):
                return None
            raise
        config = endpoint.get("EndpointConfigName", "")
        arn = self._package_of(config) if config else ""
        return Served(
            status=endpoint["EndpointStatus"],
            version=int(arn.rpartition("/")[2]) if arn else None,
            model_package_arn=arn,
            since=endpoint["LastModifiedTime"],
            config=config,
            reason=endpoint.get("FailureReason") or "",
            endpoint=self._name,
        )

    def wait_for(self, model_package_arn: str, timeout_s: float) -> Served:
        """Wait until the endpoint serves this version, or one that came before it in the meantime.

        That is one approved later, or pinned. Raises EndpointError when the endpoint settles on
        something else or time runs out.
        """
        version = model_package_arn.rpartition("/")[2]
        deadline = time.monotonic() + timeout_s
        before = served = self.served()
        while not _serves(served, model_package_arn):
            if served and self._overtook(served, model_package_arn):
                return served
            if served and _has_settled(before, served):
                reason = served.reason or "no reason is known"
                raise EndpointError(f"version {version} could not be served: {reason}")
            if time.monotonic() > deadline:
                status = served.status if served else "missing"
                raise EndpointError(
                    f"version {version} is not served after {timeout_s:.0f} s (endpoint: {status};"
                    f" the deploy function's log says more)"
                )
            time.sleep(self._target.poll_s)
            served = self.served()
        return served

    def predict(self, reviews: Iterable[str]) -> Iterator[Prediction]:
        """Judge reviews, a request for a few dozen of them; in the order given."""
        for batch in _batches(reviews):
            yield from self._invoke(batch)

    def _invoke(self, reviews: Sequence[str]) -> list[Prediction]:
        try:
            response = self._target.client("sagemaker-runtime").invoke_endpoint(
                EndpointName=self._name,
                ContentType="application/json",
                Accept="application/json",
                Body=json.dumps({"reviews": list(reviews)}).encode(),
            )
        except ClientError as error:
            if self.served() is None:
                raise EndpointError(
                    "nothing is served yet (approve a version: sentiment registry approve V"
                    " --reason '…')"
                ) from error
            raise
        answer = json.loads(response["Body"].read())
        return [
            Prediction(
                label=one["label"],
                probability=one["probability"],
                token_count=one["token_count"],
                model_version=answer["model_version"],
            )
            for one in answer["predictions"]
        ]

    def _overtook(self, served: Served, model_package_arn: str) -> bool:
        """Whether another version is served because it was decided on later, or pinned."""
        if served.status != "InService" or not served.model_package_arn:
            return False
        theirs, ours = map(self._rank, (served.model_package_arn, model_package_arn))
        return theirs > ours

    def _rank(self, model_package_arn: str) -> tuple[str, datetime]:
        """When a version was pinned and approved, which is what the deploy function goes by."""
        package = self._sagemaker.describe_model_package(ModelPackageName=model_package_arn)
        metadata = package.get("CustomerMetadataProperties", {})
        changed = package.get("LastModifiedTime") or package["CreationTime"]
        return notes.pinned_at(metadata, changed), notes.approved_at(metadata, changed)

    def _package_of(self, config_name: str) -> str:
        config = self._sagemaker.describe_endpoint_config(EndpointConfigName=config_name)
        (variant, *_) = config["ProductionVariants"]
        model = self._sagemaker.describe_model(ModelName=variant["ModelName"])
        container = model.get("PrimaryContainer") or (model.get("Containers") or [{}])[0]
        name: str = container.get("ModelPackageName", "")
        return name


def _batches(reviews: Iterable[str]) -> Iterator[list[str]]:
    """As many reviews as a request may hold; a longer one is alone in its request."""
    batch: list[str] = []
    for review in reviews:
        characters = sum(map(len, batch)) + len(review)
        if batch and (len(batch) == BATCH_REVIEWS or characters > BATCH_CHARACTERS):
            yield batch
            batch = []
        batch.append(review)
    if batch:
        yield batch


def _serves(served: Served | None, model_package_arn: str) -> TypeGuard[Served]:
    return (
        served is not None
        and served.status == "InService"
        and served.model_package_arn == model_package_arn
    )


def _has_settled(before: Served | None, now: Served) -> bool:
    """Whether the endpoint has come to rest since `before` was seen, with or without success."""
    at_rest = now.status not in CHANGING
    touched = before is None or before.status in CHANGING or before.since != now.since
    return at_rest and touched


def predict_through_api(target: Target, review: str) -> dict[str, Any]:
    """Send `POST /predict` to the API's function, as API Gateway would, and return its answer.

    Raises EndpointError when the answer is not 200.
    """
    function = target.account.predict_function
    response = target.client("lambda").invoke(
        FunctionName=function, Payload=json.dumps(http_event(review)).encode()
    )
    answer = json.loads(response["Payload"].read())
    if response.get("FunctionError"):
        raise EndpointError(f"{function} failed: {answer.get('errorMessage', answer)}")
    if answer["statusCode"] != 200:
        raise EndpointError(f"POST /predict answered {answer['statusCode']}: {answer['body']}")
    body: dict[str, Any] = json.loads(answer["body"])
    return body


def http_event(review: str) -> dict[str, Any]:
    """The event of an HTTP API's request, payload format 2.0.

    https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html
    """
    return {
        "version": "2.0",
        "routeKey": "POST /predict",
        "rawPath": "/predict",
        "rawQueryString": "",
        "headers": {"content-type": "application/json", "accept": "application/json"},
        "requestContext": {
            "accountId": "anonymous",
            "apiId": "command-line",
            "domainName": "localhost",
            "http": {
                "method": "POST",
                "path": "/predict",
                "protocol": "HTTP/1.1",
                "sourceIp": "127.0.0.1",
                "userAgent": "sentiment",
            },
            "requestId": f"run-{time.time_ns():x}",
            "routeKey": "POST /predict",
            "stage": "$default",
            "timeEpoch": int(time.time() * 1000),
        },
        "body": json.dumps({"review": review}),
        "isBase64Encoded": False,
    }
