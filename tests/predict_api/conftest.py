from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from predict_api import app, clients
from predict_api.endpoint import Endpoint
from predict_api.settings import Settings

from tests.predict_api.endpoint_in_memory import EndpointInMemory

EVENTS = Path(__file__).parents[1] / "events"

Answer = dict[str, Any]


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Iterator[EndpointInMemory]:
    """The endpoint behind the API, at the end of a real boto3 client."""
    clients.settings.cache_clear()
    monkeypatch.setenv("ENDPOINT_NAME", "sentiment")
    monkeypatch.setenv("FEEDBACK_BUCKET", "sentiment-us-east-1-000000000000")
    monkeypatch.setenv("FEEDBACK_KEY", "k" * 32)
    model = EndpointInMemory()
    client = model.client()
    endpoint = Endpoint(Settings("sentiment"), lambda: client, sleep=model.slept.append)
    monkeypatch.setattr("predict_api.routes.endpoint", lambda: endpoint)
    yield model
    clients.settings.cache_clear()


@pytest.fixture
def event() -> Callable[..., Answer]:
    """A sample event, with another body, type, path or method if one is given."""

    def read(name: str = "predict_json", **changes: Any) -> Answer:
        content: Answer = json.loads((EVENTS / f"{name}.json").read_text("utf-8"))
        if "path" in changes:
            content["rawPath"] = content["requestContext"]["http"]["path"] = changes["path"]
        if "method" in changes:
            content["requestContext"]["http"]["method"] = changes["method"]
        if "content_type" in changes:
            content["headers"]["content-type"] = changes["content_type"]
        return content | {k: v for k, v in changes.items() if k in ("body", "isBase64Encoded")}

    return read


@pytest.fixture
def ask(model: EndpointInMemory, event: Callable[..., Answer]) -> Callable[..., Answer]:
    """Send a sample event to the handler and give its answer, the body parsed if it is JSON."""

    def send(name: str = "predict_json", **changes: Any) -> Answer:
        answer = dict(app.handler(event(name, **changes), None))
        if answer["headers"]["Content-Type"].startswith("application/json"):
            answer["json"] = json.loads(answer["body"])
        return answer

    return send
