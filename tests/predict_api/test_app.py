from __future__ import annotations

import base64
import io
import json
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from moto import mock_aws
from predict_api import app, clients, routes
from predict_api.feedback import sign
from predict_api.logs import logger

from tests.naughty import NAUGHTY
from tests.predict_api.endpoint_in_memory import EndpointInMemory, verdict

Ask = Callable[..., dict[str, Any]]
SIGNED = sign("k" * 32, "JKJaXmPLvHcESHA=")
KEYS = {"code", "message", "request_id"}


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What is logged."""
    stream = io.StringIO()
    monkeypatch.setattr(logger.registered_handler, "stream", stream)
    return stream


def test_a_review_gets_its_verdict(ask: Ask) -> None:
    answer = ask("predict_json")
    assert answer["statusCode"] == 200
    assert answer["json"] == {
        "label": "positive",
        "probability": 0.75,
        "model_version": "3",
        "request_id": SIGNED,
    }


def test_the_words_that_decided_come_where_they_are_asked_for(ask: Ask) -> None:
    answer = ask(body=json.dumps({"review": "\U0001f3ac a good film, a bad end", "explain": True}))
    assert answer["json"]["words"] == [
        {"text": "good", "start": 4, "end": 8, "weight": 2.0},
        {"text": "bad", "start": 17, "end": 20, "weight": -1.0},
    ]
    assert "words" not in ask(body='{"review": "good", "explain": false}')["json"]


def test_a_version_that_cannot_explain_still_judges(ask: Ask, model: EndpointInMemory) -> None:
    model.can_explain = False
    answer = ask(body='{"review": "good", "explain": true}')
    assert (answer["statusCode"], "words" in answer["json"]) == (200, False)


@pytest.mark.parametrize(("review", "verdict"), [("good", "1.0"), ("bad", "0.0")])
def test_plain_text_gets_the_answer_of_old(ask: Ask, review: str, verdict: str) -> None:
    answer = ask("predict_text", body=review)
    assert (answer["statusCode"], answer["body"]) == (200, verdict)
    assert answer["headers"]["Content-Type"] == "text/plain; charset=utf-8"


def test_every_answer_names_its_request_and_the_model_that_judged(ask: Ask) -> None:
    headers = ask("predict_text")["headers"]
    assert headers["X-Request-Id"] == SIGNED
    assert headers["X-Model-Version"] == "3"
    assert headers["Cache-Control"] == "no-store"


def test_the_api_is_the_same_under_the_path_it_has_beside_the_website(ask: Ask) -> None:
    assert ask(path="/api/predict")["body"] == ask(path="/predict")["body"]


def test_a_batch_gets_its_verdicts_in_order(ask: Ask) -> None:
    answer = ask("predict_batch", body=json.dumps({"reviews": ["bad", "<br />", "good"]}))
    assert answer["statusCode"] == 200
    first, second, third = answer["json"]["predictions"]
    assert (first["label"], third["label"]) == ("negative", "positive")
    assert second == {
        "code": "nothing_to_judge",
        "message": "there are no words to judge in this review",
    }


@pytest.mark.parametrize(
    ("reviews", "status"),
    [
        ([], 400),
        (["good"] * 25, 200),
        (["good"] * 26, 400),
        ("good", 400),
        ([1], 400),
        (["x" * 16385], 413),
        (["x" * 16000] * 25, 200),
    ],
)
def test_a_batch_has_its_limits(ask: Ask, reviews: Any, status: int) -> None:
    answer = ask("predict_batch", body=json.dumps({"reviews": reviews}))
    assert answer["statusCode"] == status


@pytest.mark.parametrize("letter", ["x", "\u00e9", "\u2014", "\U0001f3ac", '"', "\n", "\x01"])
def test_as_many_of_the_longest_reviews_as_a_batch_holds_fit_in_it_and_in_the_endpoints_payload(
    ask: Ask, model: EndpointInMemory, letter: str
) -> None:
    def written(value: Any) -> str:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))

    room = 16384 - len(written({"review": ""}))
    longest = "".join([letter] * (room // (len(written(letter).encode()) - 2)))
    assert ask(body=written({"review": longest + letter}))["statusCode"] == 413
    assert ask(body=written({"review": longest}))["statusCode"] in (200, 422)
    batch = written({"reviews": [longest] * 25})
    assert ask("predict_batch", body=batch)["statusCode"] == 200
    assert model.longest_bytes < 4 << 20  # a serverless endpoint's


def test_a_batch_of_a_few_letters_too_many_is_told_what_its_body_may_have(ask: Ask) -> None:
    answer = ask("predict_batch", body=json.dumps({"reviews": ["x" * 16384] * 25}))
    assert answer["statusCode"] == 413
    assert answer["json"]["message"] == "the body must be at most 409600 bytes"


@pytest.mark.parametrize(
    "body",
    [
        "",
        "{",
        "null",
        "[]",
        '"good"',
        "{}",
        '{"review": 1}',
        '{"review": null}',
        '{"review": ["good"]}',
        '{"text": "good"}',
        '{"review": "good", "other": 1}',
        '{"review": "good", "explain": 1}',
        '{"explain": true}',
        '{"review": "good", "review": "bad"}',
        '{"review": NaN}',
        '{"review": Infinity}',
        '{"review": 1e999}',
        '{"review": ' + "9" * 5000 + "}",
        '{"review": "\\ud800"}',
        "[" * 16000,
        '{"a":' * 3000,
        "<html><body>good</body></html>",
        "review=good",
    ],
)
def test_what_is_not_the_json_asked_for_is_malformed(
    ask: Ask, model: EndpointInMemory, body: str
) -> None:
    answer = ask(body=body)
    assert answer["statusCode"] == 400
    assert answer["json"].keys() == KEYS
    assert answer["json"]["code"] == "malformed_request"
    assert "review" in answer["json"]["message"]
    assert model.calls == 0


@pytest.mark.parametrize("body", [b"\xff\xfe", b"good \xe9", b"\xed\xa0\x80", b"\x80"])
@pytest.mark.parametrize("name", ["predict_json", "predict_text", "predict_batch", "feedback"])
def test_what_is_not_utf_8_is_malformed(ask: Ask, name: str, body: bytes) -> None:
    answer = ask(name, body=base64.b64encode(body).decode(), isBase64Encoded=True)
    assert (answer["statusCode"], answer["json"]["code"]) == (400, "malformed_request")


@pytest.mark.parametrize("body", ["not base64!", "YQ", "\ud800"])
def test_what_is_not_the_base64_it_is_said_to_be_is_malformed(ask: Ask, body: str) -> None:
    assert ask(body=body, isBase64Encoded=True)["statusCode"] == 400


def test_half_of_a_surrogate_pair_in_a_body_is_malformed(ask: Ask) -> None:
    assert ask("predict_text", body="good \ud800")["statusCode"] == 400


def test_a_body_in_base64_is_read_like_any_other(ask: Ask) -> None:
    encoded = base64.b64encode(b'{"review": "good"}').decode()
    assert ask(body=encoded, isBase64Encoded=True)["body"] == ask(body='{"review": "good"}')["body"]


@pytest.mark.parametrize(
    "body", ["", " \n\t", "<br /><br />", "!?...", "\u200b", "&nbsp;".replace("nbsp", "")]
)
def test_a_review_without_words_is_nothing_to_judge(ask: Ask, body: str) -> None:
    for answer in (ask("predict_text", body=body), ask(body=json.dumps({"review": body}))):
        assert answer["statusCode"] == 422
        assert answer["json"].keys() == KEYS
        assert answer["json"]["code"] == "nothing_to_judge"


@pytest.mark.parametrize(
    "review",
    [
        "good\x00film",
        "<p>good <b>film</b></p>",
        "<script>alert(1)</script> good",
        "good \U0001f3ac\U0001f44d\U0001f3fd",
        "\u202egood \u0641\u064a\u0644\u0645 \u05d8\u05d5\u05d1",
        "e\u0301" * 500 + " good",
        "\ufeffgood",
        "good " * 3000,
        "%s%n{0}${jndi:ldap://x}' OR 1=1; --",
    ],
)
def test_an_odd_review_is_judged_like_any_other(ask: Ask, review: str) -> None:
    for answer in (
        ask("predict_text", body=review),
        ask(body=json.dumps({"review": review}, ensure_ascii=False)),
    ):
        assert answer["statusCode"] == 200


def test_a_byte_order_mark_is_not_part_of_the_review(ask: Ask, model: EndpointInMemory) -> None:
    ask("predict_text", body="\ufeffgood")
    assert model.reviews == ["good"]


@pytest.mark.parametrize(
    ("body", "status"), [("x" * 16384, 200), ("x" * 16385, 413), ("x" * 10**6, 413)]
)
def test_a_body_is_at_most_16_kilobytes(ask: Ask, body: str, status: int) -> None:
    assert ask("predict_text", body=body)["statusCode"] == status
    encoded = base64.b64encode(body.encode()).decode()
    assert ask("predict_text", body=encoded, isBase64Encoded=True)["statusCode"] == status


def test_the_limit_is_in_bytes_not_in_letters(ask: Ask) -> None:
    assert ask("predict_text", body="\u00e9" * 8192)["statusCode"] == 200
    assert ask("predict_text", body="\u00e9" * 8193)["statusCode"] == 413


@pytest.mark.parametrize(
    "content_type",
    [
        "",
        "text/html",
        "multipart/form-data",
        "application/x-www-form-urlencoded",
        "application/json; charset=utf-16",
        "text/plain;charset=latin-1",
        "application/jsonp",
        "\ud800",
    ],
)
def test_a_type_that_is_not_taken_is_named_with_those_that_are(ask: Ask, content_type: str) -> None:
    answer = ask(content_type=content_type)
    assert answer["statusCode"] == 415
    assert answer["json"]["code"] == "unsupported_media_type"
    assert "application/json or text/plain" in answer["json"]["message"]


@pytest.mark.parametrize(
    "content_type",
    ["application/json", "Application/JSON; charset=UTF-8", 'application/json;charset="utf-8"'],
)
def test_the_spelling_of_a_type_does_not_matter(ask: Ask, content_type: str) -> None:
    assert ask(content_type=content_type)["statusCode"] == 200


@pytest.mark.parametrize("name", ["predict_batch", "feedback"])
def test_plain_text_is_only_for_one_review(ask: Ask, name: str) -> None:
    assert ask(name, content_type="text/plain")["statusCode"] == 415


@pytest.mark.parametrize("path", ["/", "/predict/", "/predicts", "/../predict", "/\x00", "/%"])
def test_an_unknown_path_is_not_found(ask: Ask, path: str) -> None:
    answer = ask(path=path)
    assert (answer["statusCode"], answer["json"]["code"]) == (404, "not_found")
    assert "/predict" in answer["json"]["message"]


@pytest.mark.parametrize(
    ("path", "method", "allowed"),
    [
        ("/predict", "GET", "POST"),
        ("/api/predict", "DELETE", "POST"),
        ("/predict", "OPTIONS", "POST"),
        ("/health", "POST", "GET"),
    ],
)
def test_a_method_that_a_path_does_not_know_is_named_with_the_one_it_does(
    ask: Ask, path: str, method: str, allowed: str
) -> None:
    answer = ask(path=path, method=method)
    assert (answer["statusCode"], answer["json"]["code"]) == (405, "method_not_allowed")
    assert answer["headers"]["Allow"] == allowed


@pytest.mark.parametrize(
    ("status", "failure"),
    [("InService", None), ("Missing", ("ValidationError", "not found")), ("Failed", b"nonsense")],
)
def test_health_tells_the_api_and_the_endpoint_apart(
    ask: Ask, model: EndpointInMemory, status: str, failure: Any
) -> None:
    model.failures = [failure] if failure else []
    answer = ask("health")
    assert answer["statusCode"] == 200
    assert answer["json"]["api"] == "ok"
    assert answer["json"]["endpoint"] == status
    assert answer["json"]["model_version"] == ("3" if failure is None else None)
    assert model.calls == 1


def test_feedback_is_kept_in_the_bucket_and_replaced_by_second_thoughts(
    ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with mock_aws():
        s3 = boto3.client("s3")
        s3.create_bucket(Bucket="sentiment-us-east-1-000000000000")
        clients.s3.cache_clear()
        for label in ("positive", "negative"):
            body = json.dumps({"request_id": SIGNED, "label": label})
            assert ask("feedback", body=body)["statusCode"] == 201
        listed = s3.list_objects_v2(Bucket="sentiment-us-east-1-000000000000")["Contents"]
        assert [item["Key"] for item in listed] == [f"feedback/{SIGNED}.json"]
        record = json.load(
            s3.get_object(Bucket="sentiment-us-east-1-000000000000", Key=listed[0]["Key"])["Body"]
        )
        assert (record["request_id"], record["label"]) == (SIGNED, "negative")
    clients.s3.cache_clear()


def test_what_the_verdict_was_and_the_review_are_kept_where_they_are_given(
    ask: Ask, monkeypatch: pytest.MonkeyPatch, lines: io.StringIO
) -> None:
    kept: dict[str, Any] = {}
    bucket = type("Bucket", (), {"put_object": staticmethod(kept.update)})
    monkeypatch.setattr(routes, "s3", lambda: bucket)
    said = {"request_id": SIGNED, "label": "negative", "model_version": "3", "probability": 0}
    said["review"] = "a canary in a coal mine"
    assert ask("feedback", body=json.dumps(said))["statusCode"] == 201
    record = json.loads(kept["Body"])
    assert record.pop("received_at")
    assert record == said
    assert "canary" not in lines.getvalue()


def test_the_log_says_how_each_verdict_was_reached_for_its_feedback_to_be_joined(
    ask: Ask, lines: io.StringIO
) -> None:
    verdict = ask(body='{"review": "good"}')["json"]
    (line,) = map(json.loads, lines.getvalue().splitlines())
    for key in ("request_id", "model_version", "probability"):
        assert line[key] == verdict[key]


def test_feedback_that_cannot_be_kept_can_be_sent_again(
    ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with mock_aws():  # where there is no such bucket
        clients.s3.cache_clear()
        answer = ask("feedback", body=json.dumps({"request_id": SIGNED, "label": "positive"}))
    clients.s3.cache_clear()
    assert (answer["statusCode"], answer["json"]["code"]) == (503, "feedback_not_kept")
    assert "Retry-After" in answer["headers"]


@pytest.mark.parametrize(
    "request_id",
    [
        "JKJaXmPLvHcESHA=",
        SIGNED[:-1],
        f"{SIGNED[:-1]}g",
        f"a{SIGNED}",
        sign("another key", "JKJaXmPLvHcESHA="),
        SIGNED.partition("-")[2],
    ],
)
def test_feedback_for_a_verdict_that_was_never_given_is_not_kept(ask: Ask, request_id: str) -> None:
    answer = ask("feedback", body=json.dumps({"request_id": request_id, "label": "positive"}))
    assert (answer["statusCode"], answer["json"]["code"]) == (404, "not_found")


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("predict_json", '{"review": "!"}'),
        ("predict_json", "{"),
        ("predict_batch", '{"reviews": ["good"]}'),
        ("health", None),
    ],
)
def test_an_answer_that_is_no_verdict_on_one_review_gives_no_id_for_feedback(
    ask: Ask, name: str, body: str | None
) -> None:
    answer = ask(name) if body is None else ask(name, body=body)
    assert answer["json"]["request_id"] == "JKJaXmPLvHcESHA="


def test_feedback_is_not_found_where_it_is_not_kept(
    ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FEEDBACK_BUCKET")
    clients.settings.cache_clear()
    assert ask("feedback")["statusCode"] == 404


@pytest.mark.parametrize(
    "body",
    [
        {"request_id": "../../etc", "label": "negative"},
        {"request_id": "", "label": "negative"},
        {"request_id": "x" * 65, "label": "negative"},
        {"request_id": 1, "label": "negative"},
        {"request_id": "abc", "label": "neutral"},
        {"request_id": "abc", "label": ["negative"]},
        {"request_id": "abc\n", "label": "negative"},
        {"label": "negative"},
        {"request_id": "abc", "label": "negative", "model_version": 3},
        {"request_id": "abc", "label": "negative", "model_version": "a b"},
        {"request_id": "abc", "label": "negative", "probability": 1.5},
        {"request_id": "abc", "label": "negative", "probability": True},
        {"request_id": "abc", "label": "negative", "probability": "0.5"},
        {"request_id": "abc", "label": "negative", "review": None},
        {"request_id": "abc", "label": "negative", "review": "\ud83c"},
        {"request_id": "abc", "label": "negative", "stars": 5},
    ],
)
def test_feedback_of_another_form_is_malformed(ask: Ask, body: dict[str, Any]) -> None:
    assert ask("feedback", body=json.dumps(body))["statusCode"] == 400


def test_an_error_of_ours_tells_the_caller_nothing_and_the_log_where(
    ask: Ask, monkeypatch: pytest.MonkeyPatch, lines: io.StringIO
) -> None:
    def crash() -> None:
        raise RuntimeError("canary: a secret at arn:aws:sagemaker:::x")

    monkeypatch.setattr(routes, "endpoint", crash)
    answer = ask()
    assert answer["statusCode"] == 500
    assert answer["json"] == {
        "code": "internal_error",
        "message": "something went wrong on our side",
        "request_id": "JKJaXmPLvHcESHA=",
    }
    crashed = json.loads(lines.getvalue().splitlines()[0])
    assert (crashed["event"], crashed["error"]) == ("crashed", "RuntimeError")
    assert "test_app.py:" in crashed["place"]
    assert "canary" not in lines.getvalue()


def test_each_request_logs_one_line_with_what_an_operator_needs(
    ask: Ask, lines: io.StringIO
) -> None:
    ask()
    (line,) = map(json.loads, lines.getvalue().splitlines())
    assert line["event"] == "answered"
    assert (line["request_id"], line["status"]) == (SIGNED, 200)
    assert line["model_version"] == "3"
    assert 0 <= line["duration_ms"] < 10_000


CANARY = "xylocarp"


def test_a_thousand_requests_leave_no_review_in_the_log(
    ask: Ask,
    model: EndpointInMemory,
    lines: io.StringIO,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("POWERTOOLS_DEV", "1")
    monkeypatch.setenv("POWERTOOLS_DEBUG", "1")
    bodies = [
        json.dumps({"review": f"a good {CANARY}"}),
        json.dumps({"review": f"a good {CANARY}", "explain": True}),
        json.dumps({"reviews": [f"a good {CANARY}", CANARY]}),
        json.dumps({"review": CANARY, CANARY: 1}),
        json.dumps({CANARY: "good"}),
        f'{{"review": "{CANARY}',
        f'{{"review": "{CANARY} \\ud800"}}',
        CANARY * 3000,
    ]
    names = ("predict_json", "predict_text", "predict_batch", "feedback")
    failures = (None, ("ModelError", f"could not read {CANARY}"), CANARY.encode())
    met: Counter[object] = Counter()
    for _, name, body, failure in product(range(6), names, bodies, failures):
        calls = model.calls
        for path in ({}, {"path": f"/{name.replace('_', '/')}"}):
            model.failures = [failure] if failure else []
            ask(name, body=body, **path)
        met[failure] += model.calls - calls
    assert all(met[failure] >= 30 for failure in failures)
    assert len(lines.getvalue().splitlines()) >= 1000
    captured = capfd.readouterr()
    for written in (lines.getvalue(), caplog.text, captured.out, captured.err):
        assert CANARY not in written


def test_many_threads_do_not_see_each_others_requests(
    model: EndpointInMemory, event: Callable[..., dict[str, Any]]
) -> None:
    def send(number: int) -> tuple[dict[str, Any], str]:
        review = "good " * (number % 7) + "bad " * (number % 5) + "film"
        request = event(body=json.dumps({"review": review}))
        request["requestContext"]["requestId"] = f"request-{number}"
        return json.loads(app.handler(request, None)["body"]), review

    with ThreadPoolExecutor(16) as threads:
        for number, (answer, review) in enumerate(threads.map(send, range(600))):
            assert answer["request_id"] == sign("k" * 32, f"request-{number}")
            assert answer["probability"] == verdict(review)["probability"]


def test_without_an_id_from_api_gateway_lambdas_own_is_used(
    model: EndpointInMemory, event: Callable[..., dict[str, Any]]
) -> None:
    request = event()
    del request["requestContext"]["requestId"]
    answer = app.handler(request, SimpleNamespace(aws_request_id="lambda-1"))
    assert json.loads(answer["body"])["request_id"] == sign("k" * 32, "lambda-1")


@pytest.mark.parametrize("name", ["predict_json", "predict_text", "predict_batch"])
def test_no_naughty_string_is_an_error_of_ours(ask: Ask, name: str) -> None:
    for review in NAUGHTY:
        body = {
            "predict_json": json.dumps({"review": review, "explain": True}, ensure_ascii=False),
            "predict_text": review,
            "predict_batch": json.dumps({"reviews": [review, "good"]}),
        }[name]
        answer = ask(name, body=body)
        assert answer["statusCode"] in (200, 413, 422), review[:50]


HOSTILE = st.one_of(
    st.text(st.characters(), max_size=300),
    st.text(st.sampled_from('{}[]":,\\u0review \ud800\x00<>&'), max_size=200),
    st.builds(json.dumps, st.dictionaries(st.just("review"), st.text(max_size=100))),
)


@settings(
    max_examples=500, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    body=HOSTILE | st.none(),
    is_base64=st.booleans(),
    name=st.sampled_from(["predict_json", "predict_text", "predict_batch", "feedback", "health"]),
    content_type=st.sampled_from(["application/json", "text/plain"]) | st.text(max_size=40),
)
def test_whatever_comes_the_api_answers_in_its_own_form(
    ask: Ask, body: str | None, is_base64: bool, name: str, content_type: str
) -> None:
    answer = ask(name, body=body, isBase64Encoded=is_base64, content_type=content_type)
    if name == "feedback":  # there is no bucket here, so what is well-formed is not kept
        assert answer["statusCode"] in (400, 413, 415)
        return
    assert answer["statusCode"] in (200, 400, 413, 415, 422)
    if answer["statusCode"] != 200:
        assert answer["json"].keys() == KEYS
    elif name == "predict_json" and "json" in answer:
        assert 0 <= answer["json"]["probability"] <= 1


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(review=st.text(max_size=300))
def test_the_same_review_gets_the_same_verdict_in_both_forms(ask: Ask, review: str) -> None:
    as_json = ask(body=json.dumps({"review": review}))
    as_text = ask("predict_text", body=review)
    assert as_json["statusCode"] == as_text["statusCode"]
    if as_json["statusCode"] == 200:
        assert as_text["body"] == {"positive": "1.0", "negative": "0.0"}[as_json["json"]["label"]]
        assert ask(body=json.dumps({"review": review}))["body"] == as_json["body"]
