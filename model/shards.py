"""Encoded reviews in files of a bounded size: ragged arrays in safetensors."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model.errors import DataError
from model.files import write_file
from model.tensors import Array, read_tensors, tensor_bytes

FORMAT = "1"
_NAME = re.compile(r"([a-z]+)-(\d{5})-of-(\d{5})\.safetensors")


@dataclass(frozen=True)
class Reviews:
    """Encoded reviews of one split: review `i` is `tokens[offsets[i]:offsets[i + 1]]`."""

    tokens: NDArray[np.int32]  # (all tokens)
    offsets: NDArray[np.int64]  # (reviews + 1)
    labels: NDArray[np.int8]  # (reviews): 1 positive, 0 negative, -1 none

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> NDArray[np.int32]:
        return self.tokens[self.offsets[index] : self.offsets[index + 1]]

    @property
    def lengths(self) -> NDArray[np.int64]:
        return np.diff(self.offsets)


def shard_name(split: str, number: int, count: int) -> str:
    return f"{split}-{number:05d}-of-{count:05d}.safetensors"


def write_shard(path: Path, reviews: Reviews, vocabulary_sha256: str) -> None:
    tensors: dict[str, Array] = {
        "tokens": reviews.tokens,
        "offsets": reviews.offsets,
        "labels": reviews.labels,
    }
    metadata = {"format": FORMAT, "vocabulary_sha256": vocabulary_sha256}
    write_file(path, tensor_bytes(tensors, metadata))


def read_shards(folder: Path, vocabulary_sha256: str, vocabulary_size: int) -> Reviews:
    """All shards of the one split that a folder holds, in order.

    Raises DataError when one is missing or damaged, or was encoded with another dictionary.
    """
    parts = [_read_shard(path, vocabulary_sha256, vocabulary_size) for path in _shard_paths(folder)]
    return concatenate(parts)


def concatenate(parts: Sequence[Reviews]) -> Reviews:
    starts = np.cumsum([0, *(len(part.tokens) for part in parts)])
    offsets = [part.offsets[1:] + start for part, start in zip(parts, starts[:-1], strict=True)]
    return Reviews(
        np.concatenate([np.empty(0, np.int32), *(part.tokens for part in parts)]),
        np.concatenate([np.zeros(1, np.int64), *offsets]),
        np.concatenate([np.empty(0, np.int8), *(part.labels for part in parts)]),
    )


def select(reviews: Reviews, indices: NDArray[np.int64]) -> Reviews:
    """The reviews of those numbers, in that order."""
    lengths = reviews.lengths[indices]
    ends = np.cumsum(lengths)
    starts = np.repeat(reviews.offsets[:-1][indices] - (ends - lengths), lengths)
    places = starts + np.arange(len(starts))
    return Reviews(
        reviews.tokens[places],
        np.concatenate([np.zeros(1, np.int64), ends]),
        reviews.labels[indices],
    )


def _shard_paths(folder: Path) -> list[Path]:
    found = {path: _NAME.fullmatch(path.name) for path in sorted(folder.glob("*.safetensors"))}
    paths = [path for path, match in found.items() if match]
    if not paths:
        raise DataError(f"{folder}: holds no shards such as {shard_name('train', 0, 1)}")
    first = _NAME.fullmatch(paths[0].name)
    split, count = (first[1], int(first[3])) if first else ("", 0)
    wanted = [folder / shard_name(split, number, count) for number in range(count)]
    if paths != wanted:
        missing = sorted({path.name for path in wanted} - {path.name for path in paths})
        raise DataError(f"{folder}: shards do not belong together; missing: {missing[:3]}")
    return paths


def _read_shard(path: Path, vocabulary_sha256: str, vocabulary_size: int) -> Reviews:
    tensors, metadata = read_tensors(path)
    if metadata.get("format") != FORMAT or set(tensors) != {"tokens", "offsets", "labels"}:
        raise DataError(f"{path}: is not a shard of format {FORMAT}")
    if metadata.get("vocabulary_sha256") != vocabulary_sha256:
        raise DataError(f"{path}: was encoded with another dictionary")
    reviews = Reviews(tensors["tokens"], tensors["offsets"], tensors["labels"])
    _check(path, reviews, vocabulary_size)
    return reviews


def _check(path: Path, reviews: Reviews, vocabulary_size: int) -> None:
    tokens, offsets, labels = reviews.tokens, reviews.offsets, reviews.labels
    kinds = (tokens.dtype.name, offsets.dtype.name, labels.dtype.name)
    sound = (
        kinds == ("int32", "int64", "int8")
        and offsets.shape == (len(labels) + 1,)
        and tokens.shape == (offsets[-1],)
        and offsets[0] == 0
        and bool((np.diff(offsets) >= 0).all())
        and (not len(tokens) or (tokens.min() >= 0 and tokens.max() < vocabulary_size))
    )
    if not sound:
        raise DataError(f"{path}: holds numbers that no encoding gives")
