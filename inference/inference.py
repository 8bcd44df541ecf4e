"""The four hooks of SageMaker's PyTorch serving contract; travels inside every artifact.

https://sagemaker.readthedocs.io/en/stable/frameworks/pytorch/using_pytorch.html#serve-a-pytorch-model

`input_fn` raises ValueError for a request that is malformed; its message may be shown to the
caller, so it never holds any of the review.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from model.artifact import load_artifact
from model.explain import explain
from model.predictor import Predictor

JSON, JSON_LINES, TEXT = "application/json", "application/jsonlines", "text/plain"
FORM = '{"review": "…"}, {"review": "…", "explain": true} or {"reviews": ["…", …]}'
MAX_REVIEWS = 1000
# Four times what the API takes: the time and the memory of a request grow with its longest review.
MAX_REVIEW_CHARACTERS = 1 << 16
MOST_WORDS = 20
WARM_UP = "Not a bad film at all, though it takes its time."


@dataclass(frozen=True)
class Question:
    """The reviews of a request, in order, and whether the words that decided are wanted too."""

    reviews: list[str]
    explain: bool = False

    def __len__(self) -> int:
        return len(self.reviews)


def model_fn(model_dir: str) -> Predictor:
    """The verified and loaded version, after one prediction: the first is many times slower."""
    predictor = Predictor(load_artifact(Path(model_dir)))
    predict_fn(Question([WARM_UP], explain=True), predictor)
    return predictor


def input_fn(body: bytes | str, content_type: str) -> Question:
    """What is asked. Raises ValueError with the valid form."""
    text = _decode(body)
    media_type = content_type.split(";")[0].strip().lower()
    if media_type == TEXT:
        question = Question([text])
    elif media_type == JSON_LINES:
        lines = [line for line in text.split("\n") if line.strip()]
        question = Question([_line_review(line, number) for number, line in enumerate(lines, 1)])
    elif media_type == JSON:
        question = _question(_parse(text))
    else:
        raise ValueError(f"content type must be {JSON}, {JSON_LINES} or {TEXT}")
    if not 1 <= len(question) <= MAX_REVIEWS:
        raise ValueError(f"a request holds 1 to {MAX_REVIEWS} reviews")
    if any(len(review) > MAX_REVIEW_CHARACTERS for review in question.reviews):
        raise ValueError(f"a review may have {MAX_REVIEW_CHARACTERS} characters")
    return question


def predict_fn(data: Question, model: Predictor) -> dict[str, Any]:
    """Label, probability of being positive and number of judged words for each review; `words`
    that decided, the heaviest of them, where they are wanted (see `explain.py`).
    """
    predictions: list[dict[str, Any]] = [
        {
            "label": "positive" if prediction.probability >= 0.5 else "negative",
            "probability": round(prediction.probability, 6),
            "token_count": prediction.token_count,
        }
        for prediction in model.predict(data.reviews)
    ]
    if data.explain:
        for prediction, review in zip(predictions, data.reviews, strict=True):
            words = explain(model, review, most=MOST_WORDS)
            prediction["words"] = [
                word._asdict() | {"weight": round(word.weight, 4)} for word in words
            ]
    return {
        "predictions": predictions,
        "model_version": os.environ.get("MODEL_VERSION", "unknown"),
    }


def output_fn(prediction: dict[str, Any], accept: str) -> tuple[str, str]:
    """Body and content type. `text/plain` has `1.0` for positive, `0.0` for negative a line."""
    predictions = prediction["predictions"]
    if accept == TEXT:
        verdicts = ("1.0" if one["label"] == "positive" else "0.0" for one in predictions)
        return "\n".join(verdicts), TEXT
    if accept == JSON_LINES:
        version = {"model_version": prediction["model_version"]}
        return "".join(json.dumps(one | version) + "\n" for one in predictions), JSON_LINES
    return json.dumps(prediction), JSON


def _decode(body: bytes | str) -> str:
    if isinstance(body, str):
        return body
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"the body is not UTF-8 (byte {error.start})") from None


def _parse(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        # json's own message is not passed on: it may hold what it could not read
        raise ValueError(f"the body must be valid JSON of the form {FORM}") from None


def _refuse_constant(constant: str) -> NoReturn:
    raise ValueError("NaN and Infinity are not JSON")


def _question(value: Any) -> Question:
    if isinstance(value, dict):
        review, reviews = value.get("review"), value.get("reviews")
        explained = value.get("explain", False)
        if set(value) - {"explain"} == {"review"} and isinstance(review, str):
            if isinstance(explained, bool):
                return Question([review], explained)
        if set(value) == {"reviews"} and isinstance(reviews, list):
            if all(isinstance(review, str) for review in reviews):
                return Question(reviews)
    raise ValueError(f"the body must be of the form {FORM}")


def _line_review(line: str, number: int) -> str:
    try:
        question = _question(_parse(line))
    except ValueError:
        question = Question([])
    if len(question) != 1 or question.explain:
        raise ValueError(f'line {number} must be of the form {{"review": "…"}}')
    return question.reviews[0]
