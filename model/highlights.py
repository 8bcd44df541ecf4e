"""Reviews whose deciding words are marked, as HTML."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from model.explain import WordWeight

_LINE_BREAKS = re.compile(r"(?:\s*<br\s*/?>\s*)+", re.IGNORECASE)
_SHOWN = 0.08  # of the heaviest weight; less is not marked
_LEVELS = ((0.66, 3), (0.33, 2), (0.0, 1))


@dataclass(frozen=True)
class Mistake:
    """A review that was judged wrongly; `probability` is of being positive."""

    text: str
    label: int
    probability: float
    words: Sequence[WordWeight]

    @property
    def confidence(self) -> float:
        """Probability of the verdict that was given."""
        return max(self.probability, 1 - self.probability)


def mistake_html(mistake: Mistake) -> str:
    """One review, closed until it is asked for: the verdict, the heaviest words, the text."""
    truth, verdict = ("positive", "negative") if mistake.label else ("negative", "positive")
    heaviest = sorted(mistake.words, key=lambda word: -abs(word.weight))[:6]
    words = " ".join(_mark(word, heaviest[0].weight) for word in heaviest)
    return (
        f"<details><summary><b>{truth}</b>, taken for {verdict} with"
        f' {100 * mistake.confidence:.1f}&nbsp;% <span class="soft">·</span> {words}</summary>'
        f'<p class="review">{marked(mistake.text, mistake.words)}</p></details>'
    )


def marked(text: str, words: Sequence[WordWeight]) -> str:
    """The text, escaped, with its weighty words in `mark` elements."""
    heaviest = max((abs(word.weight) for word in words), default=0.0)
    parts: list[str] = []
    done = 0
    for word in words:
        if heaviest and abs(word.weight) >= _SHOWN * heaviest and word.start >= done:
            parts += _plain(text[done : word.start]), _mark(word, heaviest)
            done = word.end
    return "".join([*parts, _plain(text[done:])])


def _mark(word: WordWeight, heaviest: float) -> str:
    share = abs(word.weight / heaviest) if heaviest else 0.0
    level = next(level for bound, level in _LEVELS if share >= bound)
    side = "p" if word.weight > 0 else "n"
    return f'<mark class="{side}{level}" title="{word.weight:+.2f}">{escape(word.text)}</mark>'


def _plain(text: str) -> str:
    return escape(_LINE_BREAKS.sub("\n\n", text))
