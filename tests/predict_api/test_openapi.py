"""The description, the routes and the answers say the same."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from predict_api import app, body, errors
from predict_api.routes import _openapi
from predict_api.settings import Settings

Ask = Callable[..., dict[str, Any]]
DOCUMENT = json.loads(_openapi())


def resolve(node: Any) -> Any:
    """The node with every reference replaced by what it refers to."""
    if isinstance(node, list):
        return [resolve(item) for item in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        target = DOCUMENT
        for part in node["$ref"].removeprefix("#/").split("/"):
            target = target[part]
        return resolve(target)
    return {key: resolve(value) for key, value in node.items()}


PATHS = resolve(DOCUMENT["paths"])


def media() -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in PATHS.items():
        for operation in methods.values():
            for kind, content in operation.get("requestBody", {}).get("content", {}).items():
                yield f"{path} {kind}", content
            for status, response in operation["responses"].items():
                for kind, content in response["content"].items():
                    yield f"{path} {status} {kind}", content


def check(path: str, method: str, answer: dict[str, Any]) -> None:
    """Raise unless the answer is one that the document promises."""
    response = PATHS[path][method]["responses"][str(answer["statusCode"])]
    kind = answer["headers"]["Content-Type"].partition(";")[0]
    content = answer["json"] if kind == "application/json" else answer["body"]
    Draft202012Validator(response["content"][kind]["schema"]).validate(content)


def test_the_document_describes_every_route_and_no_other() -> None:
    described = {(path, m.upper()) for path, methods in PATHS.items() for m in methods}
    assert described == {(route.path, route.method) for route in app.api.routes}


def test_it_is_version_3_1_and_its_schemas_are_valid() -> None:
    assert DOCUMENT["openapi"].startswith("3.1.")
    for schema in resolve(DOCUMENT["components"]["schemas"]).values():
        Draft202012Validator.check_schema(schema)


@pytest.mark.parametrize(("where", "content"), list(media()))
def test_every_example_keeps_to_its_schema(where: str, content: dict[str, Any]) -> None:
    for example in content.get("examples", {}).values():
        Draft202012Validator(content["schema"]).validate(example["value"])


def test_every_kind_of_body_has_an_example() -> None:
    for methods in PATHS.values():
        for operation in methods.values():
            for content in operation.get("requestBody", {}).get("content", {}).values():
                assert content["examples"]


def test_what_the_document_says_of_limits_is_what_the_code_says() -> None:
    schemas = DOCUMENT["components"]["schemas"]
    assert (
        schemas["Reviews"]["properties"]["reviews"]["maxItems"] == Settings("a").max_batch_reviews
    )
    assert f"{Settings('a').max_body_bytes:,} bytes" in DOCUMENT["info"]["description"]
    assert (
        schemas["Feedback"]["properties"]["request_id"]["pattern"].strip("^$").replace("=-", "=\\-")
        == body.REQUEST_ID.pattern
    )
    endpoint_errors = [e for e in errors.Unavailable.__subclasses__() if "endpoint" in e.code]
    statuses = {e.code.removeprefix("endpoint_").capitalize() for e in endpoint_errors}
    assert set(schemas["Health"]["properties"]["endpoint"]["enum"]) == statuses | {"InService"}


@pytest.mark.parametrize(
    ("name", "path", "method"),
    [
        ("predict_json", "/predict", "post"),
        ("predict_text", "/predict", "post"),
        ("predict_batch", "/predict/batch", "post"),
        ("health", "/health", "get"),
    ],
)
def test_answers_keep_to_the_document(ask: Ask, name: str, path: str, method: str) -> None:
    check(path, method, ask(name))
    if method == "post":
        for changes in (
            {"body": "{"},
            {"body": " "},
            {"body": "x" * 10**6},
            {"content_type": "text/html"},
        ):
            check(path, method, ask(name, **changes))


def test_examples_that_are_sent_are_answered_well(ask: Ask) -> None:
    for name, path in (("predict_json", "/predict"), ("predict_batch", "/predict/batch")):
        content = PATHS[path]["post"]["requestBody"]["content"]["application/json"]
        for example in content["examples"].values():
            assert ask(name, body=json.dumps(example["value"]))["statusCode"] == 200


def test_the_document_can_be_asked_for(ask: Ask) -> None:
    answer = ask("health", path="/openapi.json")
    assert answer["statusCode"] == 200
    assert answer["json"] == DOCUMENT
