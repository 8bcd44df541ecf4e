"""From a review as it was written to the tokens a model reads.

A preset is named in every dictionary and every artifact, so that a version keeps the text
processing it was trained with. A preset never changes its tokens; a better one gets a new name.
"""

import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from html import unescape
from typing import Any

from model.errors import DataError

Tokenizer = Callable[[str], list[str]]

# Each alternative consumes what it matched or stops at the next "<", so no input, however
# hostile, takes longer than one pass. An unclosed comment or script runs to the end, as in HTML.
_MARKUP = re.compile(
    r"<!--(?:[^-]|-(?!->))*(?:-->|\Z)"
    r"|<(script|style)\b(?:[^<]|<(?!/\1\b))*(?:</\1\s*>?|\Z)"
    r"|</?[a-z!?][^<>]*>",
    re.IGNORECASE,
)
_TOKEN = re.compile(r"n't|[^\W_]+|[!?]")
_APOSTROPHES = "\u2018\u2019\u02bc"


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
    text = unicodedata.normalize("NFKC", text)
    for apostrophe in _APOSTROPHES:
        text = text.replace(apostrophe, "'")
    return _TOKEN.findall(text.lower().replace("n't", " n't "))


def _split_ascii(text: str) -> list[str]:
    """What `_TOKEN` finds, six times as fast. `text` is lower case, so `T` is free to stand for
    the one apostrophe that stays.
    """
    text = text.replace("n't", " nTt ").translate(_ASCII_TABLE)
    return text.replace("!", " ! ").replace("?", " ? ").split()


PRESETS: Mapping[str, Tokenizer] = {"modern": tokenize_modern}


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
        return PRESETS[self.preset]

    @classmethod
    def from_json(cls, value: Any) -> "TextSettings":
        if not isinstance(value, dict) or set(value) != {"preset"}:
            raise DataError('text settings must be of the form {"preset": "modern"}')
        return cls(preset=str(value["preset"]))


def is_word(token: str) -> bool:
    """Whether a token holds a letter or a digit, that is, says something by itself."""
    return any(map(str.isalnum, token))
