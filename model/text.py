"""From a review as it was written to the tokens a model reads.

A preset is named in every dictionary and every artifact, so that a version keeps the text
processing it was trained with. A preset never changes its tokens; a better one gets a new name.
"""

import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from html import unescape
from typing import Any, NamedTuple

from model.classic import locate_classic, tokenize_classic
from model.errors import DataError
from model.offsets import Token, TracedText

Tokenizer = Callable[[str], list[str]]
Locator = Callable[[str], list[Token]]

# Each alternative consumes what it matched or stops at the next "<", so no input, however
# hostile, takes longer than one pass. An unclosed comment or script runs to the end, as in HTML.
_MARKUP = re.compile(
    r"<!--(?:[^-]|-(?!->))*(?:-->|\Z)"
    r"|<(script|style)\b(?:[^<]|<(?!/\1\b))*(?:</\1\s*>?|\Z)"
    r"|</?[a-z!?][^<>]*>",
    re.IGNORECASE,
)
# What `html.unescape` looks at.
_REFERENCE = re.compile(r"&(?:#[0-9]+;?|#[xX][0-9a-fA-F]+;?|[^\t\n\f <&#;]{1,32};?)")
_TOKEN = re.compile(r"n't|[^\W_]+|[!?]")
_NOT = re.compile("n't")
_APOSTROPHES = re.compile("[\u2018\u2019\u02bc]")


def _ascii_table() -> dict[int, str]:
    """One character for one, so that `str.translate` takes its fast path on ASCII."""
    kept = "abcdefghijklmnopqrstuvwxyz0123456789!?"
    table = {code: chr(code) if chr(code) in kept else " " for code in range(128)}
    table[ord("T")] = "'"  # see _split_ascii
    return table


_ASCII_TABLE = _ascii_table()


def strip_markup(text: str) -> str:
    """The text with tags, comments and scripts replaced by spaces and entities resolved."""
    if "<" in text:
        text = _MARKUP.sub(" ", text)
    return unescape(text) if "&" in text else text


def tokenize_modern(text: str) -> list[str]:
    """Lower-case words, numbers, `!` and `?`; `n't` apart from its verb; no word is left out.

    >>> tokenize_modern("<b>Don't</b> miss it!")
    ['do', "n't", 'miss', 'it', '!']
    """
    text = strip_markup(text)
    if text.isascii():
        return _split_ascii(text.lower())
    text = _APOSTROPHES.sub("'", unicodedata.normalize("NFKC", text))
    return _TOKEN.findall(text.lower().replace("n't", " n't "))


def _split_ascii(text: str) -> list[str]:
    """What `_TOKEN` finds, six times as fast. `text` is lower case, so `T` is free to stand for
    the one apostrophe that stays.
    """
    text = text.replace("n't", " nTt ").translate(_ASCII_TABLE)
    return text.replace("!", " ! ").replace("?", " ? ").split()


def locate_modern(review: str) -> list[Token]:
    """What `tokenize_modern` gives, with the place of each token in `review`."""
    text = TracedText.of(review).replaced(_MARKUP, lambda _: " ")
    text = text.replaced(_REFERENCE, lambda match: unescape(match[0])).normalised()
    text = text.replaced(_APOSTROPHES, lambda _: "'").lowered()
    return list(text.replaced(_NOT, lambda _: " n't ").tokens(_TOKEN))


class Preset(NamedTuple):
    """Tokens alone, fast, and the same tokens with their places, to explain a verdict by."""

    tokenize: Tokenizer
    locate: Locator


PRESETS: Mapping[str, Preset] = {
    "modern": Preset(tokenize_modern, locate_modern),
    "classic": Preset(tokenize_classic, locate_classic),
}


@dataclass(frozen=True)
class TextSettings:
    """Which text processing; kept in the dictionary and in the artifact."""

    preset: str = "modern"

    def __post_init__(self) -> None:
        if self.preset not in PRESETS:
            raise DataError(
                f"unknown text preset {self.preset!r}; valid are: {', '.join(sorted(PRESETS))}"
            )

    @property
    def tokenize(self) -> Tokenizer:
        return PRESETS[self.preset].tokenize

    @property
    def locate(self) -> Locator:
        return PRESETS[self.preset].locate

    @classmethod
    def from_json(cls, value: Any) -> "TextSettings":
        if not isinstance(value, dict) or set(value) != {"preset"}:
            raise DataError('text settings must be of the form {"preset": "modern"}')
        return cls(preset=str(value["preset"]))


def is_word(token: str) -> bool:
    """Whether a token holds a letter or a digit, that is, says something by itself."""
    return any(map(str.isalnum, token))
