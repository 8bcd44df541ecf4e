import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.offsets import Token, TracedText

JOINING = st.sampled_from("e\u0301\u0323\ufb01\u1100\u1161\u11a8\uff9e\uff76\u0130\u03a3 aZ\u00e9")


@given(st.text(JOINING | st.characters(), max_size=40))
def test_each_step_gives_the_text_that_the_plain_operation_gives(text: str) -> None:
    traced = TracedText.of(text)
    assert traced.lowered().text == text.lower()
    assert traced.normalised().text == unicodedata.normalize("NFKC", text)
    pattern = re.compile(r"[a-z]+|\W")
    replaced = traced.replaced(pattern, lambda match: match[0] * 2)
    assert replaced.text == pattern.sub(lambda match: match[0] * 2, text)


@pytest.mark.parametrize(
    ("text", "places"),
    [
        ("ab \ufb01n", ["ab", "\ufb01n"]),
        ("e\u0301a\u0323b x", ["e\u0301a\u0323b", "x"]),
        ("\u1100\u1161\u11a8 \u1100\u1161", ["\u1100\u1161\u11a8", "\u1100\u1161"]),
        ("\uff21\uff22 \uff23", ["\uff21\uff22", "\uff23"]),
    ],
)
def test_a_normalised_word_lies_where_the_original_one_does(text: str, places: list[str]) -> None:
    tokens = TracedText.of(text).normalised().tokens(re.compile(r"\w+"))
    assert [text[token.start : token.end] for token in tokens] == places


def test_what_stays_at_the_end_of_a_replacement_keeps_its_own_place() -> None:
    traced = TracedText.of("x&ampyz").replaced(re.compile("&ampyz"), lambda _: "& yz")
    assert list(traced.tokens(re.compile("yz|&"))) == [Token("&", 1, 5), Token("yz", 5, 7)]


def test_edits_follow_one_another() -> None:
    traced = TracedText.of("abcdef").edited([(1, 2, "XY")]).edited([(2, 4, "")])
    assert traced.text == "aXdef"
    assert list(traced.tokens(re.compile("X|d"))) == [Token("X", 1, 2), Token("d", 3, 4)]
