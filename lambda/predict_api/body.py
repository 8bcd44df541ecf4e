"""Reads what a caller sent, by hand.

pydantic would do it in fewer lines, but its core alone is larger than the whole function may be,
costs 70 ms of every cold start, and its errors repeat the input.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NoReturn

from predict_api.errors import BodyTooLarge, MalformedRequest, UnsupportedMediaType

MediaType = Literal["application/json", "text/plain"]

ENCODINGS = ("utf-8", "utf8", "us-ascii")
# API Gateway's and Powertools' ids; nothing that could be a path
REQUEST_ID = re.compile(r"[A-Za-z0-9_=\-]{1,64}")
VERSION = re.compile(r"[A-Za-z0-9._\-]{1,64}")
LABELS = ("positive", "negative")


@dataclass(frozen=True)
class Review:
    """A review to judge, and whether the words that decided are wanted too."""

    text: str
    explain: bool = False


@dataclass(frozen=True)
class Feedback:
    """What a reader says the verdict should have been.

    The rest is what the verdict was and the review it was about, where the reader gives them: this
    API keeps neither of its own accord.
    """

    request_id: str
    label: str
    model_version: str | None = None
    probability: float | None = None
    review: str | None = None


def media_type(content_type: str) -> MediaType:
    """Raises UnsupportedMediaType for anything but JSON and plain text in UTF-8."""
    kind, _, rest = content_type.partition(";")
    charset = re.search(r'charset\s*=\s*"?([^\s;"]+)', rest, re.IGNORECASE)
    if charset is None or charset[1].lower() in ENCODINGS:
        match kind.strip().lower():
            case "application/json":
                return "application/json"
            case "text/plain":
                return "text/plain"
    raise UnsupportedMediaType(
        "Content-Type must be application/json or text/plain, and the text UTF-8"
    )


def json_only(content_type: str) -> None:
    """Raises UnsupportedMediaType for anything but JSON."""
    if media_type(content_type) != "application/json":
        raise UnsupportedMediaType("Content-Type must be application/json")


def read_bytes(event: Mapping[str, Any], limit_bytes: int) -> bytes:
    """The body of an API Gateway event. Raises BodyTooLarge and MalformedRequest."""
    text = event.get("body") or ""
    # base64 makes a body a third longer, never twice: this need not be decoded to be refused
    if len(text) > 2 * limit_bytes:
        raise _too_large(limit_bytes)
    try:
        if event.get("isBase64Encoded"):
            content = base64.b64decode(text, validate=True)
        else:
            content = text.encode()
    except (UnicodeEncodeError, binascii.Error, ValueError) as error:
        raise MalformedRequest("the body must be UTF-8 text") from error
    if len(content) > limit_bytes:
        raise _too_large(limit_bytes)
    return content


def read_text(content: bytes) -> str:
    """Raises MalformedRequest for what is not UTF-8."""
    try:
        # the byte order mark that Windows programs put first says nothing about a film
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise MalformedRequest("the body must be UTF-8 text") from error


def read_review(content: bytes) -> Review:
    """The review in `{"review": "…"}`, to which `"explain": true` may be added."""
    values = _object(content, ("review",), optional=("explain",))
    explain = values.get("explain", False)
    if not isinstance(explain, bool):
        raise MalformedRequest("explain, beside review, must be true or false")
    return Review(_text(values["review"], "review"), explain)


def read_reviews(content: bytes, limit: int, limit_bytes: int) -> list[str]:
    """The reviews in `{"reviews": ["…", …]}`, at most `limit` of them."""
    reviews = _object(content, ("reviews",))["reviews"]
    if not isinstance(reviews, list) or not 1 <= len(reviews) <= limit:
        raise MalformedRequest(f"reviews must be a list of 1 to {limit} texts")
    texts = [_text(review, "each of reviews") for review in reviews]
    if any(len(text.encode()) > limit_bytes for text in texts):
        raise BodyTooLarge(f"each of reviews must be at most {limit_bytes} bytes")
    return texts


def read_feedback(content: bytes) -> Feedback:
    """The feedback in `{"request_id": "…", "label": "positive" | "negative"}`, to which the
    verdict's `model_version` and `probability` and the `review` may be added.
    """
    optional = ("model_version", "probability", "review")
    values = _object(content, ("request_id", "label"), optional)
    request_id, label = values["request_id"], values["label"]
    if not isinstance(request_id, str) or not REQUEST_ID.fullmatch(request_id):
        raise MalformedRequest("request_id must be one that a verdict came with")
    if label not in LABELS:
        raise MalformedRequest(f"label must be one of {', '.join(LABELS)}")
    if "model_version" in values:
        version = values["model_version"]
        if not isinstance(version, str) or not VERSION.fullmatch(version):
            raise MalformedRequest("model_version must be the one that a verdict came with")
    if "probability" in values:
        probability = values["probability"]
        if type(probability) not in (int, float) or not 0 <= probability <= 1:
            raise MalformedRequest("probability must be a number from 0 to 1")
    if "review" in values:
        _text(values["review"], "review")
    return Feedback(**values)


def _object(
    content: bytes, keys: tuple[str, ...], optional: tuple[str, ...] = ()
) -> dict[str, Any]:
    form = "{" + ", ".join(f'"{key}": ...' for key in keys) + "}"
    try:
        value = json.loads(
            read_text(content), object_pairs_hook=_unique, parse_constant=_no_constant
        )
    # deep nesting ends in RecursionError; thousands of digits in ValueError
    except (ValueError, RecursionError) as error:
        raise MalformedRequest(f"the body must be JSON of the form {form}") from error
    if not isinstance(value, dict) or set(value) - set(optional) != set(keys):
        others = f" than {', '.join(optional)}" if optional else ""
        raise MalformedRequest(f"the body must be of the form {form}, with no other keys{others}")
    return value


def _too_large(limit_bytes: int) -> BodyTooLarge:
    return BodyTooLarge(f"the body must be at most {limit_bytes} bytes")


def _text(value: object, key: str) -> str:
    if not isinstance(value, str):
        raise MalformedRequest(f"{key} must be a text")
    try:
        value.encode()
    except UnicodeEncodeError as error:  # half of a surrogate pair, written as an escape
        raise MalformedRequest(f"{key} must be valid Unicode") from error
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        # readers disagree on which of the two counts, so none is taken
        raise ValueError("a key comes twice")
    return values


def _no_constant(name: str) -> NoReturn:
    raise ValueError("NaN and Infinity are not JSON")
