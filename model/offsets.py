"""Text that is rewritten step by step and still knows where each character came from."""

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from typing import NamedTuple

Edit = tuple[int, int, str]  # start, end, what stands there instead


class Token(NamedTuple):
    """A token and the characters `start` to `end` of the review that it was read from."""

    text: str
    start: int
    end: int


class TracedText:
    """`text[i]` came from the characters `starts[i]` to `ends[i]` of the original."""

    def __init__(self, text: str, starts: list[int], ends: list[int]) -> None:
        self.text = text
        self._starts = starts
        self._ends = ends

    @classmethod
    def of(cls, original: str) -> "TracedText":
        return cls(original, list(range(len(original))), list(range(1, len(original) + 1)))

    def replaced(
        self, pattern: re.Pattern[str], new: Callable[[re.Match[str]], str]
    ) -> "TracedText":
        """As `pattern.sub(new, text)`."""
        return self.edited(
            (match.start(), match.end(), new(match)) for match in pattern.finditer(self.text)
        )

    def lowered(self) -> "TracedText":
        """As `text.lower()`, which makes two characters of some, and a sigma what its word asks."""
        lower = self.text.lower()
        if len(lower) == len(self.text):
            return TracedText(lower, self._starts, self._ends)
        widths = [len(character.lower()) for character in self.text]
        starts = [at for at, width in zip(self._starts, widths, strict=True) for _ in range(width)]
        ends = [at for at, width in zip(self._ends, widths, strict=True) for _ in range(width)]
        return TracedText(lower, starts, ends)

    def normalised(self) -> "TracedText":
        """As `unicodedata.normalize("NFKC", text)`."""
        wanted = unicodedata.normalize("NFKC", self.text)
        if wanted == self.text:
            return self
        # a starter with its marks is normalised by itself, but for scripts whose letters join
        for begins_piece in (_is_starter, _is_ascii_or_after_it, _is_ascii):
            normal = self.edited(_normal_pieces(self.text, begins_piece))
            if normal.text == wanted:
                break
        return normal

    def tokens(self, pattern: re.Pattern[str]) -> Iterator[Token]:
        """As `pattern.findall(text)`."""
        for match in pattern.finditer(self.text):
            yield Token(match[0], self._starts[match.start()], self._ends[match.end() - 1])

    def edited(self, edits: Iterable[Edit]) -> "TracedText":
        """The text with `edits`, which are in order and apart, made.

        What old and new have in common at their end keeps its place, character by character;
        each new character before that came from all of the rest.
        """
        pieces: list[str] = []
        starts: list[int] = []
        ends: list[int] = []
        done = 0
        for start, end, new in edits:
            kept = _common_end(self.text[start:end], new)
            pieces += self.text[done:start], new
            changed = len(new) - kept
            last = max(start, end - kept - 1)
            starts += self._starts[done:start] + [self._starts[start]] * changed
            ends += self._ends[done:start] + [self._ends[last]] * changed
            starts += self._starts[end - kept : end]
            ends += self._ends[end - kept : end]
            done = end
        pieces.append(self.text[done:])
        return TracedText("".join(pieces), starts + self._starts[done:], ends + self._ends[done:])


def _common_end(old: str, new: str) -> int:
    limit = min(len(old), len(new))
    if old[len(old) - limit :] == new[len(new) - limit :]:
        return limit
    return next(
        length
        for length in range(limit)
        if old[len(old) - 1 - length] != new[len(new) - 1 - length]
    )


def _is_starter(text: str, at: int) -> bool:
    return unicodedata.combining(text[at]) == 0


def _is_ascii(text: str, at: int) -> bool:
    """An ASCII character never joins what is before it."""
    return text[at].isascii()


def _is_ascii_or_after_it(text: str, at: int) -> bool:
    return text[at].isascii() or (text[at - 1].isascii() and _is_starter(text, at))


def _normal_pieces(text: str, begins_piece: Callable[[str, int], bool]) -> Iterator[Edit]:
    bounds = [0, *(at for at in range(1, len(text)) if begins_piece(text, at)), len(text)]
    for start, end in pairwise(bounds):
        if not (piece := text[start:end]).isascii():
            yield start, end, unicodedata.normalize("NFKC", piece)
