"""The word dictionary: which words a model knows, and under which number."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.errors import DataError
from model.files import read_json, write_file
from model.text import TextSettings

NO_WORD = 0
INFREQUENT_WORD = 1
FIRST_WORD = 2
FORMAT = 1


@dataclass(frozen=True)
class Vocabulary:
    """`words[i]` has the id `i + 2`; 0 is no word (padding), 1 an infrequent word."""

    words: tuple[str, ...]
    text: TextSettings = field(default_factory=TextSettings)

    def __post_init__(self) -> None:
        if len(self.ids) != len(self.words):
            raise DataError("the dictionary holds a word twice")

    def __len__(self) -> int:
        """How many ids there are, the two reserved ones included."""
        return len(self.words) + FIRST_WORD

    @cached_property
    def ids(self) -> Mapping[str, int]:
        return {word: number for number, word in enumerate(self.words, FIRST_WORD)}

    def encode(self, tokens: Iterable[str]) -> NDArray[np.int32]:
        """The ids of the tokens (time,), 1 for each that is not in the dictionary."""
        ids = self.ids
        return np.array([ids.get(token, INFREQUENT_WORD) for token in tokens], dtype=np.int32)

    def to_bytes(self) -> bytes:
        """vocabulary.json; equal dictionaries give equal bytes."""
        value = {"format": FORMAT, "text": {"preset": self.text.preset}, "words": self.words}
        return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()

    @cached_property
    def sha256(self) -> str:
        return hashlib.sha256(self.to_bytes()).hexdigest()

    def save(self, path: Path) -> None:
        write_file(path, self.to_bytes())

    @classmethod
    def load(cls, path: Path) -> "Vocabulary":
        return cls.from_json(read_json(path), where=path.name)

    @classmethod
    def from_json(cls, value: Any, *, where: str) -> "Vocabulary":
        words = value.get("words") if isinstance(value, dict) else None
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            raise DataError(f'{where}: must be of the form {{"format": 1, "words": ["the", …]}}')
        if value.get("format") != FORMAT:
            raise DataError(f"{where}: dictionary format must be {FORMAT}")
        return cls(tuple(words), TextSettings.from_json(value.get("text")))


def build_vocabulary(
    counts: Mapping[str, int], size: int, text: TextSettings, *, min_count: int = 2
) -> Vocabulary:
    """The `size` most frequent words, ties in the order of the alphabet.

    `counts` must come from training text only. A word seen fewer than `min_count` times is left
    out, so that the id of infrequent words is met in training too.
    """
    if size < 1:
        raise DataError(f"vocabulary size is {size}; it must be at least 1")
    frequent: Sequence[tuple[str, int]] = [
        (word, count) for word, count in counts.items() if count >= min_count
    ]
    chosen = sorted(frequent, key=lambda item: (-item[1], item[0]))[:size]
    if not chosen:
        raise DataError(f"no word occurs {min_count} times in the training reviews")
    return Vocabulary(tuple(word for word, _ in chosen), text)


def merge_counts(total: Counter[str], words: Iterable[str], counts: Iterable[int]) -> None:
    """Add one chunk's word counts to the total."""
    for word, count in zip(words, counts, strict=True):
        total[word] += count
