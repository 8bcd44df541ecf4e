"""Porter's stemmer, with the extensions that NLTK's has by default.

M. F. Porter, An algorithm for suffix stripping, Program 14(3), 1980. NLTK adds words that the
rules spoil, "ied" beside "ies", and a few milder endings:
https://www.nltk.org/api/nltk.stem.porter.html
"""

from collections.abc import Callable
from functools import lru_cache
from itertools import pairwise

_IRREGULAR = {
    "skies": "sky",
    "sky": "sky",
    "dying": "die",
    "lying": "lie",
    "tying": "tie",
    "news": "news",
    "innings": "inning",
    "inning": "inning",
    "outings": "outing",
    "outing": "outing",
    "cannings": "canning",
    "canning": "canning",
    "howe": "howe",
    "proceed": "proceed",
    "exceed": "exceed",
    "succeed": "succeed",
}
_KNOWN_WORDS = 500_000  # some 60 MB in the worst of cases

Rule = tuple[str, str, Callable[[str], bool]]  # ending, what replaces it, condition on the stem


@lru_cache(_KNOWN_WORDS)
def stem(word: str) -> str:
    """The stem of a lower-case word.

    >>> [stem(word) for word in ("movies", "boring", "happily", "relational")]
    ['movi', 'bore', 'happili', 'relat']
    """
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    if len(word) <= 2:
        return word
    word = _past(_plural(word))
    word = _first_match(word, _Y)
    word = _double_suffix(word)
    word = _first_match(word, _STEP_3)
    word = _first_match(word, _STEP_4)
    return _final(word)


def _consonants(word: str) -> list[bool]:
    """Of each letter; a y is one at the start and after a vowel."""
    kinds: list[bool] = []
    for letter in word:
        kinds.append(not kinds or not kinds[-1] if letter == "y" else letter not in "aeiou")
    return kinds


def _measure(word: str) -> int:
    """How often a consonant follows a vowel: Porter's m."""
    kinds = _consonants(word)
    return sum(after and not before for before, after in pairwise(kinds))


def _has_measure(word: str) -> bool:
    return _measure(word) > 0


def _is_long(word: str) -> bool:
    return _measure(word) > 1


def _has_vowel(word: str) -> bool:
    return not all(_consonants(word))


def _ends_double(word: str) -> bool:
    return len(word) > 1 and word[-1] == word[-2] and _consonants(word)[-1]


def _ends_short(word: str) -> bool:
    """Consonant, vowel, consonant other than w, x and y: Porter's *o."""
    kinds = _consonants(word)
    if len(word) == 2:
        return kinds == [False, True]
    return kinds[-3:] == [True, False, True] and word[-1] not in "wxy"


def _first_match(word: str, rules: tuple[Rule, ...]) -> str:
    """The first rule whose ending fits decides, whether its condition holds or not."""
    for ending, new, holds in rules:
        if word.endswith(ending):
            rest = word[: len(word) - len(ending)]
            return rest + new if holds(rest) else word
    return word


def _plural(word: str) -> str:
    if word.endswith("ies"):
        return word[:-1] if len(word) == 4 else word[:-2]
    if word.endswith("sses"):
        return word[:-2]
    return word[:-1] if word.endswith("s") and not word.endswith("ss") else word


def _past(word: str) -> str:
    if word.endswith("ied"):
        return word[:-1] if len(word) == 4 else word[:-2]
    if word.endswith("eed"):
        return word[:-1] if _has_measure(word[:-3]) else word
    for ending in ("ed", "ing"):
        rest = word.removesuffix(ending)
        if rest != word and _has_vowel(rest):
            return _mended(rest)
    return word


def _mended(rest: str) -> str:
    """What "ed" or "ing" leaves, with the e or the single letter that the verb has."""
    if rest.endswith(("at", "bl", "iz")):
        return rest + "e"
    if _ends_double(rest):
        return rest if rest[-1] in "lsz" else rest[:-1]
    return rest + "e" if _measure(rest) == 1 and _ends_short(rest) else rest


def _double_suffix(word: str) -> str:
    if word.endswith("alli") and _has_measure(word[:-4]):
        return _double_suffix(word[:-2])
    if word.endswith("logi") and not word.endswith(_STEP_2_ENDINGS):
        return word[:-1] if _has_measure(word[:-3]) else word
    return _first_match(word, _STEP_2)


def _final(word: str) -> str:
    if word.endswith("e"):
        rest, measure = word[:-1], _measure(word[:-1])
        if measure > 1 or (measure == 1 and not _ends_short(rest)):
            word = rest
    return word[:-1] if word.endswith("ll") and _is_long(word[:-1]) else word


_Y: tuple[Rule, ...] = (("y", "i", lambda rest: len(rest) > 1 and _consonants(rest)[-1]),)
_STEP_2: tuple[Rule, ...] = tuple(
    (ending, new, _has_measure)
    for ending, new in (
        ("ational", "ate"),
        ("tional", "tion"),
        ("enci", "ence"),
        ("anci", "ance"),
        ("izer", "ize"),
        ("bli", "ble"),
        ("alli", "al"),
        ("entli", "ent"),
        ("eli", "e"),
        ("ousli", "ous"),
        ("ization", "ize"),
        ("ation", "ate"),
        ("ator", "ate"),
        ("alism", "al"),
        ("iveness", "ive"),
        ("fulness", "ful"),
        ("ousness", "ous"),
        ("aliti", "al"),
        ("iviti", "ive"),
        ("biliti", "ble"),
        ("fulli", "ful"),
    )
)
_STEP_2_ENDINGS = tuple(ending for ending, _, _ in _STEP_2)
_STEP_3: tuple[Rule, ...] = tuple(
    (ending, new, _has_measure)
    for ending, new in (
        ("icate", "ic"),
        ("ative", ""),
        ("alize", "al"),
        ("iciti", "ic"),
        ("ical", "ic"),
        ("ful", ""),
        ("ness", ""),
    )
)
_STEP_4: tuple[Rule, ...] = (
    *((ending, "", _is_long) for ending in "al ance ence er ic able ible ant".split()),
    *((ending, "", _is_long) for ending in ("ement", "ment", "ent")),
    ("ion", "", lambda rest: _is_long(rest) and rest[-1] in "st"),
    *((ending, "", _is_long) for ending in "ou ism ate iti ous ive ize".split()),
)
