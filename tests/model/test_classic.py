"""Against what it stands for: BeautifulSoup's text, NLTK's stemmer and its list of stop words."""

import os
import random
import re
import warnings
from itertools import islice
from pathlib import Path

import pytest
from bs4 import BeautifulSoup, MarkupResemblesLocatorWarning
from bs4.exceptions import ParserRejectedMarkup
from hypothesis import given
from hypothesis import strategies as st
from nltk.stem.porter import PorterStemmer

from model.classic import locate_classic, tokenize_classic
from model.porter import stem
from model.reviews import find_source
from model.stop_words import STOP_WORDS
from pipeline.sample import Size, sample_files

MARKUP = (
    "<br />|<br><br />|<BR/>|<b>|</b>|<i>bold|</i>|<p class='x'>|</p>|<script>bad()</script>"
    "|<style>|</style>|<!-- note -->|<!--|-->|<rt>|</rt>|<template>|</template>|<![CDATA[inner]]>"
    "|<?pi?>|<|>|a<3 b|</|<img src=x>|<div/>|&amp;|&eacute;|&eacute|&nosuch;|&|&#233;|&#x41;|&#65"
    "|&#12x|&#x|&lt;b&gt;|&quot;|&nbsp;|<!DOCTYPE html>|B&B|R&D;|&copy2"
).split("|")
WORDS = (
    "The movies weren't boring, running happily relational skies DYING ties tied dies conditional"
    " rationally hopefulness callousness electricity electrical agreed feed plastered motoring"
    " conflated troubled sized hopping tanned falling hissing fizzed failing filing happy sky"
    " valenci digitizer radically apology psychologist 1980s 10/10 it's café naïve II ﬁlm İstanbul"
).split()
_STEMMER = PorterStemmer()


def expected(review: str) -> list[str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MarkupResemblesLocatorWarning)
        text = BeautifulSoup(review, "html.parser").get_text()
    words = re.sub(r"[^a-zA-Z0-9]", " ", text.lower()).split()
    return [_STEMMER.stem(word) for word in words if word not in STOP_WORDS]


def generated(count: int) -> list[str]:
    """Reviews of the sample's grammar with markup, references and hard words thrown in."""
    chance = random.Random(5)  # noqa: S311
    plain = [text for name, text in sample_files(Size(count // 2, 1, 1), 5) if "train/" in name]
    reviews = []
    for text in plain[:count]:
        words = text.split(" ")
        for _ in range(chance.randrange(8)):
            words.insert(
                chance.randrange(len(words)), chance.choice(chance.choice((MARKUP, WORDS)))
            )
        reviews.append(
            chance.choice((" ", "")).join(words) if chance.random() < 0.2 else " ".join(words)
        )
    return reviews


def test_tokens_are_those_of_bs4_and_nltk_on_1000_generated_reviews() -> None:
    reviews = generated(1000)
    assert len(reviews) == 1000
    for review in reviews:
        tokens = expected(review)
        assert tokenize_classic(review) == tokens
        assert [token.text for token in locate_classic(review)] == tokens


@pytest.mark.skipif("IMDB_ARCHIVE" not in os.environ, reason="IMDB_ARCHIVE names no archive")
def test_tokens_are_those_of_bs4_and_nltk_on_1000_real_reviews() -> None:
    reviews = find_source(Path(os.environ["IMDB_ARCHIVE"])).reviews()
    for review in islice(reviews, 0, 25_000, 25):
        text = review.data.decode()
        assert tokenize_classic(text) == expected(text), review.name


@given(st.lists(st.sampled_from(MARKUP) | st.sampled_from(WORDS) | st.just(" "), max_size=12))
def test_markup_is_read_as_bs4_reads_it(pieces: list[str]) -> None:
    review = "".join(pieces)
    try:
        tokens = expected(review)
    except ParserRejectedMarkup:  # read as it stands instead
        return
    assert tokenize_classic(review) == tokens
    assert [token.text for token in locate_classic(review)] == tokens


ENDINGS = "s ies sses ied eed ed ing ly y e ll alli logi ational fulli iveness ion ement er".split()


@given(
    st.text("abcdefghijklmnopqrstuvwxyz0123456789", max_size=6),
    st.lists(st.sampled_from(ENDINGS), max_size=3),
)
def test_stems_are_nltks(start: str, endings: list[str]) -> None:
    word = start + "".join(endings)
    assert stem(word) == _STEMMER.stem(word)


def test_it_drops_negation_and_joins_what_a_break_keeps_apart() -> None:
    assert tokenize_classic("not good<br />at all") == ["goodat"]


def test_a_declaration_that_is_none_is_read_as_it_stands() -> None:
    review = "fine <![if broken"
    assert tokenize_classic(review) == [token.text for token in locate_classic(review)]


def test_a_reference_of_5000_digits_is_no_character() -> None:
    review = f"bad&#{'9' * 5000};film"
    assert tokenize_classic(review) == ["bad", "film"]
    assert [token.text for token in locate_classic(review)] == ["bad", "film"]


def test_there_are_179_stop_words() -> None:
    assert len(STOP_WORDS) == 179


def test_a_stem_lies_where_its_word_does() -> None:
    review = "<i>The</i> caf&eacute;s were <b>LOVELY</b>"
    places = [(token.text, review[token.start : token.end]) for token in locate_classic(review)]
    assert places == [("caf", "caf"), ("love", "LOVELY")]
