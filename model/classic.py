"""The `classic` preset: text without markup, stop words or endings, as it was long done.

HTML to text as BeautifulSoup's `get_text()` over Python's own parser gives it, lower case,
everything but ASCII letters and digits to blanks, English stop words dropped, Porter stems. It is
here to be compared with: it drops "not", and joins words that only a tag keeps apart.
"""

import re
from html.entities import html5
from html.parser import HTMLParser

from model.offsets import Edit, Token, TracedText
from model.porter import stem
from model.stop_words import STOP_WORDS

_LINE_BREAK = re.compile(r"<br\s?/?>", re.IGNORECASE)
_WORD = re.compile(r"[a-z0-9]+")
# Their text is none of the document's (HTML Living Standard; rt and rp annotate other text).
_UNREAD = frozenset({"script", "style", "template", "rt", "rp"})
_VOID = frozenset(
    "area base br col embed hr img input keygen link menuitem meta param source track wbr"
    " basefont bgsound command frame image isindex nextid spacer".split()
)
_DIGITS = {10: re.compile(r"[0-9]+"), 16: re.compile(r"[0-9a-fA-F]+")}


def tokenize_classic(review: str) -> list[str]:
    """Stems of the words that are no stop words.

    >>> tokenize_classic("The <b>movies</b> weren&#39;t boring")
    ['movi', 'bore']
    """
    text = review
    if "<" in text or "&" in text:
        text = _LINE_BREAK.sub("", text)  # nearly all markup there is
        if "<" in text or "&" in text:
            text = "".join(piece for _, _, piece in _text_pieces(review))
    words = _WORD.findall(text.lower())
    return [stem(word) for word in words if word not in STOP_WORDS]


def locate_classic(review: str) -> list[Token]:
    """What `tokenize_classic` gives, with the place of each token's word in `review`."""
    text = TracedText.of(review).edited(_edits(review)).lowered()
    return [
        Token(stem(token.text), token.start, token.end)
        for token in text.tokens(_WORD)
        if token.text not in STOP_WORDS
    ]


def _edits(review: str) -> list[Edit]:
    """What turns a review into its text: all that is no text goes, references are resolved."""
    edits: list[Edit] = []
    done = 0
    for start, end, piece in _text_pieces(review):
        if done < start:
            edits.append((done, start, ""))
        if review[start:end] != piece:
            edits.append((start, end, piece))
        done = end
    return edits if done == len(review) else [*edits, (done, len(review), "")]


def _text_pieces(review: str) -> list[Edit]:
    parser = _TextParser(review)
    try:
        parser.feed(review)
        parser.close()
    except AssertionError:  # the parser's answer to a declaration that is none
        return [(0, len(review), review)]
    return parser.pieces


class _TextParser(HTMLParser):
    """Collects the text outside of scripts and the like, and where it stands."""

    def __init__(self, review: str) -> None:
        super().__init__(convert_charrefs=False)
        self.pieces: list[Edit] = []
        self._review = review
        self._line_starts = [0, *(match.end() for match in re.finditer("\n", review))]
        self._open: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag not in _VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: object) -> None:
        """`<tag/>` opens nothing."""

    def handle_endtag(self, tag: str) -> None:
        """Closes the innermost such tag and what is open within; one that is not open is let be."""
        if tag in self._open:
            while self._open.pop() != tag:
                pass

    def handle_data(self, data: str) -> None:
        start = self._position()
        self._add(start, start + len(data), data)

    def handle_charref(self, name: str) -> None:
        """`name` may be longer than the number: what follows its digits is text."""
        prefix = "&#" + name[:1] if name[0] in "xX" else "&#"
        base = 16 if name[0] in "xX" else 10
        start = self._position()
        end = start + len("&#") + len(name)
        digits = _DIGITS[base].match(self._review, start + len(prefix), end)
        if digits:
            after = digits.end() + self._semicolon(digits.end())
            self._add(start, after, _character(digits[0], base))
        if not digits or digits.end() < end:
            rest = digits.end() if digits else start + len(prefix)
            self._add(rest, end, self._review[rest:end])

    def handle_entityref(self, name: str) -> None:
        start = self._position()
        end = start + 1 + len(name)
        character = html5.get(f"{name};", f"&{name}")
        self._add(start, end + self._semicolon(end), character)

    def unknown_decl(self, data: str) -> None:
        """A CDATA section is text, wherever it stands."""
        if data.upper().startswith("CDATA["):
            start = self._position() + len("<![CDATA[")
            text = data[len("CDATA[") :]
            self.pieces.append((start, start + len(text), text))

    def _semicolon(self, at: int) -> int:
        return int(self._review.startswith(";", at))

    def _position(self) -> int:
        line, column = self.getpos()
        return self._line_starts[line - 1] + column

    def _add(self, start: int, end: int, text: str) -> None:
        if not _UNREAD.intersection(self._open):
            self.pieces.append((start, end, text))


def _character(digits: str, base: int) -> str:
    """The character of a numeric reference; those below 256 are meant as windows-1252 has them."""
    try:
        value = int(digits, base)
        return bytes([value]).decode("windows-1252") if value < 256 else chr(value)
    except (ValueError, OverflowError):  # a gap in that code page, no character, or no end of it
        return "\N{REPLACEMENT CHARACTER}"
