import pytest
from hypothesis import given
from hypothesis import strategies as st

from model import text as module
from model.errors import DataError
from model.text import PRESETS, TextSettings, is_word, strip_markup, tokenize_modern


@pytest.mark.parametrize(
    ("review", "tokens"),
    [
        ("A GREAT film", ["a", "great", "film"]),
        ("Really?! Great!", ["really", "?", "!", "great", "!"]),
        ("I don't, can't, won't", ["i", "do", "n't", "ca", "n't", "wo", "n't"]),
        ("It\u2019s over, isn\u2019t it", ["it", "s", "over", "is", "n't", "it"]),
        ("not bad, no, never", ["not", "bad", "no", "never"]),
        ("8/10 -- <b>well</b> made", ["8", "10", "well", "made"]),
        ("one<br /><br />two", ["one", "two"]),
        ("rock &amp; roll &eacute;t&eacute;", ["rock", "roll", "été"]),
        ("\uff26\uff55\uff4c\uff4c width", ["full", "width"]),
        ("snake_case", ["snake", "case"]),
        ("... --- ,,,", []),
        ("", []),
        ("\x00 nul \ud800 surrogate", ["nul", "surrogate"]),
    ],
)
def test_modern_tokens(review: str, tokens: list[str]) -> None:
    assert tokenize_modern(review) == tokens


def test_stop_words_stay() -> None:
    assert tokenize_modern("this is not what it was") == "this is not what it was".split()


@pytest.mark.parametrize(
    ("review", "words"),
    [
        ("a <3 b < c > d", "a <3 b < c > d"),
        ("<script>alert('x')</script>fine", "fine"),
        ("before <!-- hidden --> after", "before after"),
        ("before <!-- never closed", "before"),
        ('<a href="x">link</a>', "link"),
    ],
)
def test_only_markup_is_stripped(review: str, words: str) -> None:
    assert strip_markup(review).split() == words.split()


@pytest.mark.parametrize("piece", ["<!--", "<script>", "<", "</", "<a ", "n't", "&", "&#", "!-"])
def test_hostile_repetition_takes_one_pass(piece: str) -> None:
    tokenize_modern(piece * 100_000)


@given(st.text(alphabet=st.characters(max_codepoint=127)))
def test_ascii_takes_the_fast_way_to_the_same_tokens(review: str) -> None:
    lowered = strip_markup(review).lower()
    assert tokenize_modern(review) == module._TOKEN.findall(lowered.replace("n't", " n't "))


# what tokens are easily lost in: markup, references, letters that join or grow in lower case
AWKWARD = st.sampled_from(
    "<br />|<b>|</|<!--|<script>|&amp;|&eacute|&#39;|&notit|don't| |good|3.5".split("|")
) | st.sampled_from(["\u0130", "e\u0301", "\ufb01", "\u2019t", "\u1100\u1161", "\uff9e"])
REVIEWS = st.lists(AWKWARD | st.text(max_size=5), max_size=25).map("".join)


@pytest.mark.parametrize("preset", PRESETS)
@given(review=REVIEWS)
def test_located_tokens_are_the_tokens_and_lie_in_order(preset: str, review: str) -> None:
    located = PRESETS[preset].locate(review)
    assert [token.text for token in located] == PRESETS[preset].tokenize(review)
    assert all(0 <= token.start < token.end <= len(review) for token in located)
    starts = [token.start for token in located]
    assert starts == sorted(starts)


@pytest.mark.parametrize("preset", PRESETS)
@given(words=st.lists(st.sampled_from(["Film", "WONDERFUL", "plot", "2001", "acting"])))
def test_a_plain_word_is_located_letter_by_letter(preset: str, words: list[str]) -> None:
    review = "<br />, &amp; ".join(words)
    located = PRESETS[preset].locate(review)
    assert [review[token.start : token.end] for token in located] == words


def test_located_negation_spans_its_entity() -> None:
    review = "<b>Don&rsquo;t</b> go"
    located = PRESETS["modern"].locate(review)
    assert [review[token.start : token.end] for token in located] == ["Do", "n&rsquo;t", "go"]


@given(st.text())
def test_tokens_are_lower_case_and_without_space(review: str) -> None:
    for token in tokenize_modern(review):
        assert token.split() == [token]


def test_a_word_has_a_letter_or_a_digit() -> None:
    assert [is_word(token) for token in ("n't", "10", "é", "!", "?")] == [True] * 3 + [False] * 2


def test_an_unknown_preset_is_refused_with_the_valid_ones() -> None:
    with pytest.raises(DataError, match="'fancy'; valid are: classic, modern"):
        TextSettings("fancy")


@pytest.mark.parametrize("value", [None, [], {}, {"preset": "modern", "more": 1}])
def test_text_settings_have_one_form(value: object) -> None:
    with pytest.raises(DataError, match="must be of the form"):
        TextSettings.from_json(value)
