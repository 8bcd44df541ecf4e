"""What can be asked of the API, and how each question is answered."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from aws_lambda_powertools.event_handler import Response
from aws_lambda_powertools.event_handler.api_gateway import Router

from predict_api.body import (
    Review,
    json_only,
    media_type,
    read_bytes,
    read_feedback,
    read_review,
    read_reviews,
    read_text,
)
from predict_api.clients import endpoint, s3, settings
from predict_api.endpoint import Prediction
from predict_api.errors import NotFound, NothingToJudge
from predict_api.feedback import is_signed, keep, sign
from predict_api.replies import JSON, TEXT, dump, reply

router = Router()  # type: ignore[no-untyped-call]


@router.post("/predict")
def predict() -> Response[str]:
    kind = media_type(_content_type())
    content = read_bytes(_event(), settings().max_body_bytes)
    review = Review(read_text(content)) if kind == "text/plain" else read_review(content)
    if not review.text.strip():  # what else holds no words is for the model's own rules to say
        raise _nothing_to_judge()
    asked = endpoint()
    answer = asked.explain(review.text) if review.explain else asked.predict([review.text])
    router.context["model_version"] = answer.model_version
    (prediction,) = answer.items
    if prediction.token_count == 0:
        raise _nothing_to_judge()
    router.context["probability"] = prediction.probability
    if key := settings().feedback_key:  # from here on, also in the header and in the log
        router.context["request_id"] = sign(key, router.context["request_id"])
    if kind == "text/plain":  # for callers of old, who know nothing but 1.0 and 0.0
        return reply(200, str(float(prediction.label == "positive")), TEXT)
    return reply(
        200, dump(_verdict(prediction) | {"model_version": answer.model_version} | _request_id())
    )


@router.post("/predict/batch")
def predict_batch() -> Response[str]:
    json_only(_content_type())
    content = read_bytes(_event(), settings().max_batch_body_bytes)
    reviews = read_reviews(content, settings().max_batch_reviews, settings().max_body_bytes)
    answer = endpoint().predict(reviews)
    router.context["model_version"] = answer.model_version
    verdicts = [_verdict(item) if item.token_count else _not_judged() for item in answer.items]
    return reply(
        200,
        dump({"predictions": verdicts, "model_version": answer.model_version} | _request_id()),
    )


@router.post("/feedback")
def feedback() -> Response[str]:
    bucket, key = settings().feedback_bucket, settings().feedback_key
    if bucket is None or key is None:
        raise NotFound("feedback is not kept here")
    json_only(_content_type())
    given = read_feedback(read_bytes(_event(), settings().max_body_bytes))
    if not is_signed(key, given.request_id):
        raise NotFound("no verdict that was given on a single review has this request_id")
    keep(s3, bucket, given, datetime.now(UTC))
    return reply(201, dump({"kept": True} | _request_id()))


@router.get("/health")
def health() -> Response[str]:
    status, version = endpoint().status()
    return reply(
        200, dump({"api": "ok", "endpoint": status, "model_version": version} | _request_id())
    )


@router.get("/openapi.json")
def openapi() -> Response[str]:
    return reply(200, _openapi(), JSON, Cache_Control="max-age=300")


@cache
def _openapi() -> str:
    return (Path(__file__).parent / "openapi.json").read_text("utf-8")


def _event() -> Any:
    return router.current_event.raw_event


def _content_type() -> str:
    return str(router.current_event.headers.get("content-type") or "")


def _request_id() -> dict[str, str]:
    return {"request_id": router.context["request_id"]}


def _nothing_to_judge() -> NothingToJudge:
    return NothingToJudge("there are no words to judge in this review")


def _verdict(prediction: Prediction) -> dict[str, Any]:
    verdict: dict[str, Any] = {
        "label": prediction.label,
        "probability": prediction.probability,
    }
    if prediction.words is not None:
        verdict["words"] = [asdict(word) for word in prediction.words]
    return verdict


def _not_judged() -> dict[str, Any]:
    error = _nothing_to_judge()
    return {"code": error.code, "message": error.message}
