import json
import subprocess
import sys
from pathlib import Path

import pytest

from inference import inference
from inference.inference import (
    MAX_REVIEW_CHARACTERS,
    Question,
    input_fn,
    model_fn,
    output_fn,
    predict_fn,
)
from model.errors import ArtifactError
from tests.model.factory import ROOT

JSON, LINES, TEXT = "application/json", "application/jsonlines", "text/plain"

PREDICTION = {
    "predictions": [
        {"label": "positive", "probability": 0.97, "token_count": 41},
        {"label": "negative", "probability": 0.2, "token_count": 3},
    ],
    "model_version": "3",
}


@pytest.mark.parametrize(
    ("body", "content_type", "reviews"),
    [
        ('{"review": "fine"}', JSON, ["fine"]),
        (b'{"review": "d\\u00e9j\\u00e0"}', "Application/JSON; charset=utf-8", ["déjà"]),
        ('{"reviews": ["a", "b"]}', JSON, ["a", "b"]),
        ('{"review": "fine", "explain": false}', JSON, ["fine"]),
        ('{"review": ""}', JSON, [""]),
        ('{"review": "\\ud800"}', JSON, ["\ud800"]),
        ('{"review": "a"}\n\n{"review": "b"}\n', LINES, ["a", "b"]),
        ("two\nlines", TEXT, ["two\nlines"]),
        (b"", TEXT, [""]),
    ],
)
def test_every_documented_form_is_read(
    body: bytes | str, content_type: str, reviews: list[str]
) -> None:
    assert input_fn(body, content_type) == Question(reviews)


def test_the_words_that_decided_can_be_asked_for() -> None:
    asked = input_fn('{"review": "fine", "explain": true}', JSON)
    assert asked == Question(["fine"], explain=True)


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        ("", JSON),
        ('{"review": "canary"', JSON),
        ('"canary"', JSON),
        ('["canary"]', JSON),
        ('{"review": 5}', JSON),
        ('{"review": NaN}', JSON),
        ('{"review": "canary", "other": 1}', JSON),
        ('{"review": "canary", "explain": "yes"}', JSON),
        ('{"reviews": ["canary"], "explain": true}', JSON),
        ('{"review": "a", "reviews": ["canary"]}', JSON),
        ('{"reviews": "canary"}', JSON),
        ('{"reviews": ["canary", 1]}', JSON),
        ('{"reviews": []}', JSON),
        (json.dumps({"reviews": ["canary"] * 1001}), JSON),
        ("[" * 100_000, JSON),
        ('{"review": ' + "9" * 5_000 + "}", JSON),
        (b'{"review": "canary \xff"}', JSON),
        (b"canary \xff", TEXT),
        ("", LINES),
        ('{"review": "a"}\ncanary', LINES),
        ('{"reviews": ["a", "canary"]}', LINES),
        ('{"review": "canary", "explain": true}', LINES),
        ("canary", "image/png"),
    ],
)
def test_a_malformed_request_is_a_value_error_without_its_text(
    body: bytes | str, content_type: str
) -> None:
    with pytest.raises(ValueError) as caught:
        input_fn(body, content_type)
    assert type(caught.value) is ValueError
    assert str(caught.value)
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize(
    ("form", "content_type"),
    [
        ('{"review": "%s"}', JSON),
        ('{"review": "%s", "explain": true}', JSON),
        ('{"reviews": ["a", "%s"]}', JSON),
        ('{"review": "a"}\n{"review": "%s"}', LINES),
        ("%s", TEXT),
    ],
)
def test_a_review_longer_than_is_read_is_refused(form: str, content_type: str) -> None:
    longest = "é" * MAX_REVIEW_CHARACTERS
    assert input_fn(form % longest, content_type).reviews[-1] == longest
    with pytest.raises(ValueError, match=f"may have {MAX_REVIEW_CHARACTERS} characters"):
        input_fn(form % (longest + "é"), content_type)


def test_json_answers_have_label_probability_and_count() -> None:
    body, content_type = output_fn(PREDICTION, JSON)
    assert (json.loads(body), content_type) == (PREDICTION, JSON)


def test_json_lines_answer_one_line_a_review() -> None:
    body, content_type = output_fn(PREDICTION, LINES)
    assert content_type == LINES
    assert [json.loads(line)["probability"] for line in str(body).splitlines()] == [0.97, 0.2]
    assert json.loads(str(body).splitlines()[0])["model_version"] == "3"


def test_plain_text_answers_as_the_ancestor_did() -> None:
    assert output_fn(PREDICTION, TEXT) == ("1.0\n0.0", TEXT)


def test_a_version_judges(pristine_artifact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_fn(str(pristine_artifact))
    monkeypatch.setenv("MODEL_VERSION", "7")
    answer = predict_fn(Question(["good film", "!!!"]), model)
    first, second = answer["predictions"]
    assert answer["model_version"] == "7"
    assert first["token_count"] == 2
    assert (first["label"] == "positive") == (first["probability"] >= 0.5)
    assert second == {"label": "positive", "probability": 0.5, "token_count": 0}
    monkeypatch.delenv("MODEL_VERSION")
    assert predict_fn(Question(["good"]), model)["model_version"] == "unknown"


def test_a_version_explains_where_it_is_asked_to(pristine_artifact: Path) -> None:
    model = model_fn(str(pristine_artifact))
    (judged,) = predict_fn(Question(["good film"], explain=True), model)["predictions"]
    first, second = judged["words"]
    assert (first["text"], first["start"], first["end"]) == ("good", 0, 4)
    assert (second["text"], second["start"], second["end"]) == ("film", 5, 9)
    assert first["weight"] != 0
    (judged,) = predict_fn(Question(["good film " * 40], explain=True), model)["predictions"]
    assert len(judged["words"]) == 20
    (nothing,) = predict_fn(Question(["!!!"], explain=True), model)["predictions"]
    assert nothing["words"] == []


def test_what_nobody_vouches_for_is_not_loaded(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"manifest\.json"):
        model_fn(str(tmp_path))


def test_the_hooks_need_nothing_of_the_server() -> None:
    source = Path(inference.__file__).read_text()
    assert "from inference" not in source
    assert "starlette" not in source


def test_no_compiler_is_imported_to_serve(pristine_artifact: Path) -> None:
    """It would take half of a server's start."""
    program = (
        "import sys; from inference.inference import model_fn;"
        f"model_fn({str(pristine_artifact)!r}); print('torch._dynamo' in sys.modules)"
    )
    found = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert found.stdout == "False\n"
