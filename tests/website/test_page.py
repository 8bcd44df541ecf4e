from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from predict_api import clients

from tests.website.conftest import Visit

PHONE = {"viewport": {"width": 360, "height": 740}, "has_touch": True, "is_mobile": True}
Go = Callable[..., Visit]


def test_a_review_is_typed_sent_and_judged(visit: Go) -> None:
    visitor = visit()
    visitor.read("A good, good film.")
    visitor.wait_for("verdict")
    assert visitor.text("phrase") == "Mostly positive"
    assert visitor.text("detail") == "83 % likely to be positive"
    assert visitor.text("version") == "Judged by model version 3"
    assert visitor.served.model.reviews == ["A good, good film."]
    assert visitor.console == []


WORDS = [
    (1.0, "Clearly positive", "more than 99 % likely to be positive"),
    (0.95, "Clearly positive", "95 % likely to be positive"),
    (0.81, "Mostly positive", "81 % likely to be positive"),
    (0.7, "Leans positive", "70 % likely to be positive"),
    (0.5, "Torn, but leans positive", "50 % likely to be positive"),
    (0.45, "Torn, but leans negative", "55 % likely to be negative"),
    (0.3, "Leans negative", "70 % likely to be negative"),
    (0.0, "Clearly negative", "more than 99 % likely to be negative"),
]


def test_how_sure_it_is_is_said_in_words_and_shown_by_the_bar(visit: Go) -> None:
    visitor = visit()
    for probability, phrase, detail in WORDS:
        visitor.served.model.probability = probability
        visitor.read("whatever")
        visitor.page.get_by_text(detail, exact=True).wait_for()
        assert visitor.text("phrase") == phrase
        track, fill, mark = (
            visitor.page.locator(name).bounding_box() for name in (".track", ".fill", ".mark")
        )
        assert track and mark
        width = fill["width"] if fill else 0
        assert width == pytest.approx(abs(probability - 0.5) * track["width"], abs=2)
        assert track["x"] - 1 <= mark["x"]
        assert mark["x"] + mark["width"] <= track["x"] + track["width"] + 1


def test_an_example_is_one_press_away(visit: Go) -> None:
    visitor = visit()
    examples = visitor.page.locator("#examples button")
    assert examples.count() >= 4
    examples.first.click()
    visitor.wait_for("verdict")
    assert visitor.page.get_by_label("Your review").input_value() in visitor.served.model.reviews


def test_every_example_fits_within_the_limits(visit: Go) -> None:
    visitor = visit()
    for number in range(visitor.page.locator("#examples button").count()):
        visitor.page.locator("#examples button").nth(number).click()
        visitor.wait_for("verdict")
        assert visitor.text("problem") == ""
    assert len(visitor.served.model.reviews) == number + 1


def test_the_words_that_decided_are_marked_where_they_stand(visit: Go) -> None:
    visitor = visit()
    visitor.read("\U0001f3ac A good film,\na bad end.\n")
    visitor.wait_for("verdict")
    marks = visitor.page.locator("#marks mark")
    assert [(mark.inner_text(), mark.get_attribute("data-label")) for mark in marks.all()] == [
        ("good", "positive"),
        ("bad", "negative"),
    ]
    assert [mark.get_attribute("data-strength") for mark in marks.all()] == ["3", "2"]
    assert visitor.text("words-positive") == "good"
    assert visitor.text("words-negative") == "bad"


def test_words_that_weigh_next_to_nothing_are_left_out(visit: Go) -> None:
    visitor = visit()
    visitor.read("good " * 5 + "wonderful " + "bad")  # each a little lighter than the one before
    visitor.wait_for("verdict")
    marks = visitor.page.locator("#marks mark")
    assert marks.all_inner_texts() == ["good"] * 5
    assert (visitor.text("words-positive"), visitor.text("words-negative")) == ("good", "none")


def test_a_word_that_overlaps_a_marked_one_is_left_out(visit: Go) -> None:
    visitor = visit()
    words = [
        {"text": text, "start": start, "end": start + len(text), "weight": 1.0}
        for text, start in (("!!", 0), ("!!", 0), ("fun", 3))
    ]
    answer = {"label": "positive", "probability": 0.6, "model_version": "3", "request_id": "a"}
    visitor.page.route("**/predict", lambda route: route.fulfill(json=answer | {"words": words}))
    visitor.read("!! fun")
    visitor.wait_for("verdict")
    assert visitor.page.locator("#marks mark").all_inner_texts() == ["!!", "fun"]
    assert visitor.text("marks").strip("\u200b") == "!! fun"


def test_a_word_on_both_sides_is_listed_where_it_weighs_more(visit: Go) -> None:
    visitor = visit()
    words = [
        {"text": text, "start": start, "end": start + 3, "weight": weight}
        for text, start, weight in (("And", 0, 1.0), ("and", 4, -3.0), ("fun", 8, 2.5))
    ]
    answer = {"label": "negative", "probability": 0.4, "model_version": "3", "request_id": "a"}
    visitor.page.route("**/predict", lambda route: route.fulfill(json=answer | {"words": words}))
    visitor.read("And and fun")
    visitor.wait_for("verdict")
    assert (visitor.text("words-positive"), visitor.text("words-negative")) == ("fun", "and")


def test_a_mark_lies_right_under_its_word(visit: Go) -> None:
    visitor = visit()
    visitor.read("some words before it " * 60 + "good" + " and some behind" * 40)
    visitor.wait_for("verdict")
    review = visitor.page.get_by_label("Your review")
    sizes = [
        visitor.page.evaluate(f"(({{clientWidth, scrollHeight}}) => [clientWidth, scrollHeight])"
                              f"(document.getElementById('{name}'))")
        for name in ("review", "marks")
    ]  # fmt: skip
    assert sizes[0] == sizes[1]  # so the lines break alike
    review.evaluate("box => { box.scrollTop = 40; }")
    visitor.page.wait_for_selector("#marks mark")
    assert visitor.page.locator("#marks").evaluate("sheet => sheet.scrollTop") == review.evaluate(
        "box => box.scrollTop"
    )


def test_no_mark_stays_under_words_that_were_changed(visit: Go) -> None:
    visitor = visit()
    visitor.read("A good film")
    visitor.wait_for("verdict")
    visitor.page.get_by_label("Your review").press_sequentially("!")
    assert visitor.page.locator("#marks mark").count() == 0


def test_a_verdict_without_words_is_a_verdict(visit: Go) -> None:
    visitor = visit()
    visitor.served.model.can_explain = False
    visitor.read("A good film")
    visitor.wait_for("verdict")
    assert not visitor.page.locator("#words").is_visible()


@pytest.mark.parametrize(
    ("probability", "says"),
    [(0.9, "Meant to be negative: the model was fooled."), (0.1, "the model got it.")],
)
def test_of_a_hard_example_the_page_says_whether_the_model_was_fooled(
    visit: Go, probability: float, says: str
) -> None:
    visitor = visit()
    visitor.served.model.probability = probability
    visitor.page.get_by_role("button", name="Sarcasm").click()
    visitor.wait_for("verdict")
    assert says in visitor.text("meant")
    visitor.read("something of one's own")
    visitor.page.locator("#earlier button").wait_for()
    visitor.wait_for("verdict")
    assert visitor.text("meant") == ""


def test_what_was_judged_before_is_listed_and_can_be_taken_up_again(visit: Go) -> None:
    visitor = visit()
    for review in ("A good film", "A bad film", "Another good film"):
        visitor.read(review)
        visitor.wait_for("verdict")
    earlier = visitor.page.locator("#earlier button")
    assert [text.split("\n")[0] for text in earlier.all_inner_texts()] == [
        "Leans negative, 75 %",
        "Leans positive, 75 %",
    ]
    earlier.first.click()
    assert visitor.page.get_by_label("Your review").input_value() == "A bad film"
    assert visitor.text("phrase") == "Leans negative"
    assert visitor.page.locator("#marks mark").inner_text() == "bad"
    assert [text.split("\n")[1] for text in earlier.all_inner_texts()] == [
        "Another good film",
        "A good film",
    ]
    assert len(visitor.served.model.reviews) == 3


def test_what_was_written_and_not_read_is_never_lost(visit: Go) -> None:
    visitor = visit()
    box, earlier = visitor.page.get_by_label("Your review"), visitor.page.locator("#earlier button")
    box.fill("A draft of one's own")
    visitor.page.get_by_role("button", name="Warm praise").click()
    visitor.wait_for("verdict")
    assert earlier.all_inner_texts() == ["Not read yet\nA draft of one's own"]
    box.fill("Another draft")
    visitor.page.get_by_role("button", name="Clear", exact=True).click()
    assert earlier.first.inner_text() == "Not read yet\nAnother draft"
    earlier.last.click()
    assert box.input_value() == "A draft of one's own"
    assert visitor.text("phrase") == "Not read yet"
    assert visitor.text("version") == ""
    assert [text.split("\n")[0] for text in earlier.all_inner_texts()] == [
        "Torn, but leans positive, 50 %",
        "Not read yet",
    ]


def test_a_text_is_listed_once_and_not_while_it_is_on_show(visit: Go) -> None:
    visitor = visit()
    box, earlier = visitor.page.get_by_label("Your review"), visitor.page.locator("#earlier button")
    box.fill("A good film")
    visitor.page.get_by_role("button", name="Clear", exact=True).click()
    assert earlier.count() == 1
    for version in "45":
        visitor.served.model.model_version = version
        visitor.read("A good film")
        visitor.page.get_by_text(f"model version {version}").wait_for()
        assert earlier.count() == 0
    assert not visitor.page.locator("#history").is_visible()


def test_which_version_is_in_service_can_be_told_before_anything_is_read(visit: Go) -> None:
    visitor = visit(model_version="7")
    assert visitor.text("version") == "Model version 7 is in service"


def test_the_counter_follows_and_says_what_is_too_long(visit: Go) -> None:
    visitor = visit()
    box = visitor.page.get_by_label("Your review")
    assert visitor.text("counter") == "0 of 16,000 characters"
    box.fill("good" * 10)
    assert visitor.text("counter") == "40 of 16,000 characters"
    box.fill("\u00e9\u2014")  # two bytes and three
    assert visitor.text("counter") == "2 of about 6,400 characters"
    box.fill("\U0001f3ac" * 4_001)  # four bytes each
    assert visitor.text("counter") == "4,001 of about 4,000 characters"
    assert visitor.text("problem") == "That is too long. Please shorten it a little."
    box.fill("x" * 16_001)
    assert visitor.text("counter") == "16,001 of 16,000 characters"
    assert visitor.text("problem") == "That is too long. Please shorten it a little."
    assert box.get_attribute("aria-invalid") == "true"
    visitor.page.get_by_role("button", name="Read it").click()
    assert visitor.served.asked == []
    box.fill("x" * 16_000)
    assert visitor.text("problem") == ""


def test_the_longest_review_that_the_page_lets_through_is_one_that_the_api_takes(
    visit: Go,
) -> None:
    visitor = visit(feedback=True)
    for version, letter in enumerate(("x", '"', "\u2014", "\U0001f3ac")):
        visitor.served.model.model_version = str(version)
        size = len(json.dumps(letter, ensure_ascii=False).encode()) - 2
        review = "good" + letter * (15_996 // size)
        visitor.read(review)
        visitor.page.get_by_text(f"model version {version}").wait_for()
        visitor.page.get_by_label("Keep my review").check()
        visitor.page.get_by_role("button", name="Yes", exact=True).click()
        visitor.page.wait_for_selector("#feedback-answer:not(:empty)")
        assert list(visitor.served.kept.values())[version]["review"] == review


def test_nothing_written_is_said_and_not_sent(visit: Go) -> None:
    visitor = visit()
    visitor.read("  \n ")
    assert visitor.text("problem") == "Write or paste a review first."
    assert visitor.served.asked == []
    assert visitor.page.evaluate("document.activeElement.id") == "review"


def test_nothing_to_judge_is_said_beside_the_review(visit: Go) -> None:
    visitor = visit()
    visitor.read("<br /> ... !")
    visitor.page.wait_for_selector("#problem:not(:empty)")
    assert visitor.text("problem") == "There are no words to judge in this."
    visitor.wait_for("idle")


def test_while_it_reads_it_says_so_and_sends_nothing_twice(visit: Go) -> None:
    visitor = visit(slow_after_ms=60_000)
    visitor.served.model.is_open.clear()
    visitor.read("A good film")
    visitor.wait_for("reading")
    visitor.page.get_by_role("button", name="Reading").click(force=True)
    visitor.page.keyboard.press("Control+Enter")
    visitor.page.locator("#examples button").first.click()
    visitor.shoot("reading")
    visitor.served.model.is_open.set()
    visitor.wait_for("verdict")
    assert visitor.served.model.reviews == ["A good film"]


def test_a_slow_answer_is_explained_while_it_is_waited_for(visit: Go) -> None:
    visitor = visit(slow_after_ms=1)
    visitor.served.model.is_open.clear()
    visitor.read("A good film")
    visitor.page.locator("#detail", has_text="waking up").wait_for()
    visitor.served.model.is_open.set()
    visitor.wait_for("verdict")
    assert "waking" not in visitor.text("detail")


def test_an_answer_that_never_comes_ends_in_words_and_can_be_tried_again(visit: Go) -> None:
    visitor = visit(timeout_ms=50)
    visitor.served.model.is_open.clear()
    visitor.read("A good film")
    visitor.wait_for("error")
    assert visitor.text("phrase") == "That took too long"
    visitor.served.model.is_open.set()


def test_an_answer_that_stops_midway_ends_in_words(visit: Go) -> None:
    visitor = visit(timeout_ms=50)
    visitor.page.evaluate(
        """() => { window.fetch = async (url, { signal }) => new Response(new ReadableStream({
            start: (body) => signal.addEventListener("abort", () => body.error(signal.reason)),
        })); }"""
    )
    visitor.read("A good film")
    visitor.wait_for("error")
    assert visitor.text("phrase") == "That took too long"


@pytest.mark.parametrize("left_out", ["label", "probability", "model_version"])
def test_an_answer_without_all_of_a_verdict_is_not_shown_as_one(visit: Go, left_out: str) -> None:
    visitor = visit()
    answer = {"label": "positive", "probability": 0.9, "model_version": "3"}
    del answer[left_out]
    visitor.page.route("**/predict", lambda route: route.fulfill(json=answer))
    visitor.read("A good film")
    visitor.wait_for("error")
    assert visitor.text("phrase") == "Something went wrong"


def test_half_a_surrogate_pair_is_no_obstacle(visit: Go) -> None:
    visitor = visit()
    visitor.page.get_by_label("Your review").evaluate("box => { box.value = 'good \\ud83c film'; }")
    visitor.page.get_by_role("button", name="Read it").click()
    visitor.wait_for("verdict")
    assert visitor.served.model.reviews == ["good \ufffd film"]
    assert visitor.page.locator("#marks mark").all_inner_texts() == ["good"]


def test_a_text_that_the_api_cannot_read_is_said_to_be_the_problem(visit: Go) -> None:
    visitor = visit()
    visitor.page.route("**/predict", lambda route: route.fulfill(status=400, json={}))
    visitor.read("A good film")
    visitor.page.wait_for_selector("#problem:not(:empty)")
    assert visitor.text("problem").startswith("This text could not be read.")


def test_that_a_review_is_too_long_is_said_once_and_not_with_every_key(visit: Go) -> None:
    visitor = visit()
    box = visitor.page.get_by_label("Your review")
    visitor.page.evaluate(
        """() => { window.said = 0; new MutationObserver(() => { said += 1; })
            .observe(document.getElementById("problem"), { childList: true }); }"""
    )
    for length in (16_001, 16_002, 16_003):
        box.fill("x" * length)
    assert visitor.page.evaluate("said") == 1


def test_an_endpoint_that_does_not_answer_is_told_in_plain_words(visit: Go) -> None:
    visitor = visit()
    for code in ("ValidationError", "ThrottlingException", "ModelError"):
        visitor.served.model.failures = [(code, "arn:aws:sagemaker Traceback")] * 2
        visitor.read("A good film")
        visitor.wait_for("error")
        assert visitor.text("phrase") == "The model is not ready"
        assert "arn:" not in visitor.page.content()
        assert visitor.page.get_by_label("Your review").input_value() == "A good film"
        visitor.served.model.failures = []
        visitor.read("A good film")
        visitor.wait_for("verdict")


def test_after_an_error_trying_again_works(visit: Go) -> None:
    visitor = visit()
    visitor.served.model.failures = [("ThrottlingException", "")] * 2
    visitor.read("A good film")
    visitor.wait_for("error")
    assert visitor.text("again").startswith("Try again in ")
    visitor.page.get_by_role("button", name="Try again", exact=True).click()
    visitor.wait_for("verdict")
    assert visitor.text("phrase") == "Leans positive"


def test_offline_is_told_and_the_review_is_kept(visit: Go) -> None:
    visitor = visit()
    visitor.page.context.set_offline(True)
    visitor.read("A good film")
    visitor.wait_for("error")
    assert visitor.text("phrase") == "You seem to be offline"
    assert visitor.page.get_by_label("Your review").input_value() == "A good film"


def test_a_page_without_its_configuration_says_so(visit: Go) -> None:
    visitor = visit()
    visitor.page.route("**/config.json", lambda route: route.fulfill(status=404, body="nothing"))
    visitor.page.reload()
    visitor.wait_for("error")
    assert visitor.text("phrase") == "The page could not be set up"


def test_the_address_of_the_api_comes_from_the_configuration(visit: Go) -> None:
    visitor = visit(api="api/")
    visitor.read("A good film")
    visitor.wait_for("verdict")
    assert visitor.served.asked == ["/api/predict"]


def test_what_the_verdict_should_have_been_is_sent(visit: Go) -> None:
    visitor = visit(feedback=True)
    for review, answer in (("good", "Yes"), ("good", "No"), ("bad", "No")):
        visitor.read(review)
        visitor.page.get_by_role("button", name=answer, exact=True).click()
        visitor.page.wait_for_selector("#feedback-answer:not(:empty)")
        assert visitor.text("feedback-answer").startswith("Thank you")
    records = list(visitor.served.kept.values())
    assert [record["label"] for record in records] == ["positive", "negative", "positive"]
    for record in records:
        assert record.keys() == {
            "request_id", "label", "model_version", "probability", "received_at",
        }  # fmt: skip
        assert record["model_version"] == "3"
    assert [record["probability"] for record in records] == [0.75, 0.75, 0.25]


def test_the_review_is_kept_only_where_its_writer_says_so(visit: Go) -> None:
    visitor = visit(feedback=True)
    keep = visitor.page.get_by_label("Keep my review")
    visitor.read("A good film")
    visitor.wait_for("verdict")
    keep.check()
    visitor.page.get_by_role("button", name="Yes", exact=True).click()
    visitor.page.wait_for_selector("#feedback-answer:not(:empty)")
    assert not keep.is_visible()
    visitor.read("A bad film")
    visitor.wait_for("verdict")
    assert not keep.is_checked()
    visitor.page.get_by_role("button", name="Yes", exact=True).click()
    visitor.page.wait_for_selector("#feedback-answer:not(:empty)")
    assert [record.get("review") for record in visitor.served.kept.values()] == [
        "A good film", None,
    ]  # fmt: skip


def test_feedback_that_could_not_be_kept_can_be_given_again(visit: Go) -> None:
    visitor = visit(feedback=True)
    visitor.read("A good film")
    visitor.wait_for("verdict")
    visitor.page.route("**/feedback", lambda route: route.fulfill(status=503, json={}))
    visitor.page.get_by_role("button", name="No", exact=True).click()
    visitor.page.locator("#feedback-answer", has_text="Please try again").wait_for()
    visitor.page.unroute_all()
    visitor.page.get_by_role("button", name="No", exact=True).click()
    visitor.page.locator("#feedback-answer", has_text="Thank you").wait_for()
    assert [record["label"] for record in visitor.served.kept.values()] == ["negative"]


def test_thanks_that_come_late_are_not_said_about_another_verdict(visit: Go) -> None:
    visitor = visit(feedback=True)
    held: list[Any] = []
    visitor.page.route("**/feedback", lambda route: held.append(route))
    visitor.read("A good film")
    with visitor.page.expect_request("**/feedback"):
        visitor.page.get_by_role("button", name="Yes", exact=True).click()
    visitor.read("A bad film")
    visitor.page.locator("#phrase", has_text="negative").wait_for()
    with visitor.page.expect_response("**/feedback"):
        held[0].fulfill(json={})
    visitor.page.evaluate("fetch('config.json').then((answer) => answer.text())")
    assert visitor.text("feedback-answer") == ""


def test_feedback_on_a_verdict_that_is_no_longer_known_is_not_asked_for_again(
    visit: Go, monkeypatch: pytest.MonkeyPatch
) -> None:
    visitor = visit(feedback=True)
    visitor.read("A good film")
    visitor.wait_for("verdict")
    monkeypatch.setenv("FEEDBACK_KEY", "x" * 32)  # as after a new start of the server
    clients.settings.cache_clear()
    visitor.page.get_by_role("button", name="Yes", exact=True).click()
    visitor.page.locator("#feedback-answer", has_text="no longer known").wait_for()
    assert not visitor.page.get_by_role("button", name="Yes", exact=True).is_visible()
    assert visitor.served.kept == {}


def test_no_feedback_is_asked_for_where_none_is_kept(visit: Go) -> None:
    visitor = visit(feedback=False)
    visitor.read("A good film")
    visitor.wait_for("verdict")
    assert not visitor.page.locator("#feedback").is_visible()


def test_everything_can_be_done_with_the_keyboard_alone(visit: Go) -> None:
    visitor = visit(feedback=True)
    press, active = visitor.page.keyboard.press, "document.activeElement.id"
    press("Tab")
    assert visitor.page.evaluate("document.activeElement.className") == "skip"
    press("Enter")
    press("Tab")
    if visitor.page.evaluate(active) != "review":  # the skip link may have focused it already
        visitor.page.keyboard.press("Shift+Tab")
    assert visitor.page.evaluate(active) == "review"
    visitor.page.keyboard.type("A bad film")
    press("Tab")
    assert visitor.page.evaluate(active) == "clear"
    press("Tab")
    assert visitor.page.evaluate(active) == "submit"
    press("Enter")
    visitor.wait_for("verdict")
    assert visitor.page.evaluate(active) == "submit"
    for _ in range(20):
        press("Tab")
        if visitor.page.evaluate(active) == "wrong":
            break
    press("Enter")
    visitor.page.wait_for_selector("#feedback-answer:not(:empty)")
    assert next(iter(visitor.served.kept.values()))["label"] == "positive"
    assert visitor.page.evaluate(active) == "feedback-answer"


def test_control_and_enter_sends_from_within_the_review(visit: Go) -> None:
    visitor = visit()
    visitor.page.get_by_label("Your review").fill("A good film")
    visitor.page.keyboard.press("Control+Enter")
    visitor.wait_for("verdict")


def test_what_has_the_focus_is_outlined(visit: Go) -> None:
    visitor = visit()
    for _ in range(8):
        visitor.page.keyboard.press("Tab")
        outline = visitor.page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline == "solid"


def test_a_screen_reader_is_told_the_verdict_and_the_problem(visit: Go) -> None:
    visitor = visit()
    result = visitor.page.locator("[aria-live=polite]")
    visitor.read("A good film")
    visitor.wait_for("verdict")
    assert result.inner_text().split() == "Leans positive 75 % likely to be positive".split()
    assert visitor.page.locator("#problem").get_attribute("role") == "alert"


def test_nothing_runs_out_of_the_screen_sideways(visit: Go) -> None:
    visitor = visit()
    for review in ("good" * 300, "bad " * 300):
        visitor.read(review)
        visitor.wait_for("verdict")
    for width in (320, 360, 768, 1280):
        visitor.page.set_viewport_size({"width": width, "height": 740})
        assert visitor.page.evaluate("document.documentElement.scrollWidth") <= width


def test_on_a_phone_what_is_pressed_is_large_enough_and_the_verdict_is_in_view(visit: Go) -> None:
    visitor = visit(PHONE)
    for button in visitor.page.locator("button:visible").all():
        box = button.bounding_box()
        assert box and box["height"] >= 44
    visitor.read("A good film")
    visitor.wait_for("verdict")
    box = visitor.page.locator("#phrase").bounding_box()
    assert box and 0 <= box["y"] <= 740 - box["height"]


def test_who_wants_no_motion_gets_none(visit: Go) -> None:
    visitor = visit({"reduced_motion": "reduce"}, slow_after_ms=60_000)
    visitor.served.model.is_open.clear()
    visitor.read("A good film")
    visitor.wait_for("reading")
    assert visitor.page.evaluate("document.getAnimations().length") == 0
    visitor.served.model.is_open.set()
    visitor.wait_for("verdict")


def judged(visitor: Visit, example: int, probability: float) -> None:
    visitor.served.model.probability = probability
    visitor.page.locator("#examples button").nth(example).click()
    visitor.wait_for("verdict")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("device", ["phone", "desktop"])
def test_every_state_is_kept_as_a_picture(visit: Go, scheme: str, device: str) -> None:
    screen = (PHONE if device == "phone" else {}) | {"color_scheme": scheme}
    visitor = visit(screen, feedback=True, slow_after_ms=1, model_version="7")
    model, page = visitor.served.model, visitor.page
    name = f"{device}-{scheme}"
    visitor.shoot(f"{name}-1-empty")
    judged(visitor, 0, 0.97)
    visitor.shoot(f"{name}-2-positive")
    judged(visitor, 1, 0.02)
    visitor.shoot(f"{name}-3-negative")
    judged(visitor, 2, 0.56)
    page.get_by_role("button", name="No", exact=True).click()
    page.wait_for_selector("#feedback-answer:not(:empty)")
    visitor.shoot(f"{name}-4-fooled-thanked-history")
    model.is_open.clear()
    page.get_by_role("button", name="Read it").click()
    page.locator("#detail", has_text="waking up").wait_for()
    visitor.shoot(f"{name}-5-slow")
    model.failures = [("ValidationError", "")]
    model.is_open.set()
    visitor.wait_for("error")
    visitor.shoot(f"{name}-6-not-ready")
    page.route("**/predict", lambda route: route.fulfill(status=429, body="{}"))
    page.get_by_role("button", name="Read it").click()
    page.locator("#phrase", has_text="Too many").wait_for()
    visitor.shoot(f"{name}-7-busy")
    page.unroute_all()
    page.context.set_offline(True)
    page.get_by_role("button", name="Read it").click()
    page.locator("#phrase", has_text="offline").wait_for()
    visitor.shoot(f"{name}-8-offline")
    page.get_by_label("Your review").fill("much too long " * 1200)
    visitor.shoot(f"{name}-9-too-long")


def test_the_apis_own_description_can_be_read_as_a_page(visit: Go) -> None:
    visitor = visit()
    visitor.page.get_by_role("link", name="the API").click()
    visitor.page.wait_for_selector("html[data-ready]")
    headings = visitor.page.locator("h2").all_inner_texts()
    assert "POST /predict" in headings and "GET /health" in headings
    assert '"explain": true' in visitor.page.locator("#operations").inner_text()
    visitor.shoot("api")
    for width in (320, 1280):
        visitor.page.set_viewport_size({"width": width, "height": 740})
        assert visitor.page.evaluate("document.documentElement.scrollWidth") <= width
    assert visitor.console == []


def test_without_the_description_the_page_says_so(visit: Go) -> None:
    visitor = visit()
    visitor.page.route("**/openapi.json", lambda route: route.fulfill(status=503, body="{}"))
    visitor.page.goto(f"{visitor.served.url}api.html")
    visitor.page.locator("#description", has_text="could not be read").wait_for()
