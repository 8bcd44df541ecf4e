"""From raw reviews to a dictionary, encoded shards and a report on the data.

One pass over the source; the dictionary is chosen from the training chunks alone; then every
chunk is encoded with it. Memory hardly grows with the reviews (some 45 bytes of each),
and nothing is written before all of the source has been read and found good.
"""

import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from model.chunks import (
    CHUNKS_PER_SHARD,
    TEXTS_SUFFIX,
    Chunk,
    Host,
    default_processes,
    encode_chunk,
    tokenize,
)
from model.errors import DataError
from model.files import sha256_of, write_file, write_json
from model.labelled import find_table, read_labelled
from model.reviews import LABELS, Review, check_counts, find_source, limited
from model.shards import concatenate, shard_name, write_shard
from model.text import TextSettings
from model.vocabulary import INFREQUENT_WORD, Vocabulary, build_vocabulary, merge_counts

SPLITS = ("train", "test", "unlabelled", "counterfactual")
_PERCENTILES = (5, 25, 50, 75, 95, 99)


@dataclass(frozen=True)
class PreprocessSettings:
    """`max_reviews` bounds each split, 0 is all; `expected_sha256` is that of the archive."""

    vocabulary_size: int = 40_000
    text: TextSettings = field(default_factory=TextSettings)
    max_reviews: int = 0
    expected_sha256: str = ""

    def __post_init__(self) -> None:
        # of each class one review to learn from and one to be held out
        if self.max_reviews < 0 or 0 < self.max_reviews < 4:
            raise DataError(f"max reviews is {self.max_reviews}; it must be 0 (all) or at least 4")


@dataclass(frozen=True)
class PreprocessOutputs:
    """Folders; shards of each split, `vocabulary.json` and `data_report.json`."""

    train: Path
    test: Path
    unlabelled: Path
    counterfactual: Path
    vocabulary: Path
    report: Path

    def of(self, split: str) -> Path:
        folder: Path = getattr(self, split)
        return folder


def preprocess(
    folder: Path,
    outputs: PreprocessOutputs,
    settings: PreprocessSettings,
    processes: int | None = None,
    counterfactual: Path | None = None,
    host: Host | None = None,
) -> dict[str, Any]:
    """Read `folder`, write `outputs`, return the data report.

    The folder `counterfactual` may hold a table of reviews that people rewrote until the label
    flipped; they are training text of their own split. Of several hosts each writes its share of
    the shards, and the first one dictionary and report; together they write what one would.

    Raises DataError or ArchiveError, before anything is written, for data that cannot be used.
    """
    started = time.perf_counter()
    source = find_source(folder)
    sha256 = source.sha256()
    if settings.expected_sha256 and sha256 != settings.expected_sha256.lower():
        raise DataError(
            f"{source.path.name}: SHA-256 is {sha256 or 'not defined for a folder'}, expected"
            f" {settings.expected_sha256}"
        )
    table = find_table(counterfactual) if counterfactual else None
    counts = Counter[tuple[str, int]]()
    with tempfile.TemporaryDirectory(prefix="preprocess-") as scratch:
        original = limited(source.reviews(), settings.max_reviews)
        reviews = _counted(chain(original, _rewritten(table)), counts)
        workers = default_processes(source.size_bytes()) if processes is None else processes
        host = host or Host()
        chunks, words = _collect(tokenize(reviews, settings.text, Path(scratch), workers, host))
        check_counts(counts, source.path.name)
        vocabulary = build_vocabulary(words, settings.vocabulary_size, settings.text)
        report = {
            "format": 1,
            # kept with the version, where values are strings; a folder has no digest of its own
            "input": {"name": source.path.name, "sha256": sha256 or "folder"},
            "counterfactual": {"sha256": sha256_of(table) if table else "none"},
            "text": {"preset": settings.text.preset},
            "vocabulary": {"words": len(vocabulary.words), "sha256": vocabulary.sha256},
            "hosts": host.count,
        }
        with _nothing_half_written() as written:
            splits = _write_splits(outputs, chunks, vocabulary, counts, host, written)
            seconds = time.perf_counter() - started
            speed = counts.total() / seconds
            timing = {"seconds": round(seconds, 2), "reviews_per_second": round(speed, 1)}
            report |= {"splits": splits, **timing}
            if host.number == 0:
                _write_summary(outputs, vocabulary, report, written)
        return report


def _rewritten(table: Path | None) -> Iterator[Review]:
    """The rows of a table as reviews of the split `counterfactual`."""
    if table is not None:
        texts, labels = read_labelled(table)
        for row, (text, label) in enumerate(zip(texts, labels, strict=True), 1):
            yield Review(f"{table.name} row {row}", "counterfactual", label, text.encode())


def _counted(reviews: Iterable[Review], counts: Counter[tuple[str, int]]) -> Iterator[Review]:
    for review in reviews:
        counts[review.split, review.label] += 1
        yield review


def _collect(chunks: Iterable[Chunk]) -> tuple[dict[str, list[Chunk]], Counter[str]]:
    """Chunks by split, and word counts of those that are trained on: no others carry any."""
    by_split: dict[str, list[Chunk]] = {split: [] for split in SPLITS}
    words = Counter[str]()
    done = 0
    for chunk in chunks:
        merge_counts(words, chunk.words, chunk.counts)
        by_split[chunk.split].append(Chunk(chunk.path, chunk.split, chunk.reviews))
        if (done + chunk.reviews) // 10_000 > done // 10_000:
            print(f"tokenised {done + chunk.reviews} reviews", file=sys.stderr, flush=True)
        done += chunk.reviews
    return by_split, words


@contextmanager
def _nothing_half_written() -> Iterator[list[Path]]:
    """A list for the files that are written; they are deleted should something go wrong."""
    written: list[Path] = []
    try:
        yield written
    except BaseException:
        for path in written:
            path.unlink(missing_ok=True)
        raise


def _write_summary(
    outputs: PreprocessOutputs, vocabulary: Vocabulary, report: dict[str, Any], written: list[Path]
) -> None:
    for folder, name in ((outputs.vocabulary, "vocabulary"), (outputs.report, "data_report")):
        folder.mkdir(parents=True, exist_ok=True)
        written.append(folder / f"{name}.json")
    vocabulary.save(outputs.vocabulary / "vocabulary.json")
    write_json(outputs.report / "data_report.json", report)


def _write_splits(
    outputs: PreprocessOutputs,
    chunks: dict[str, list[Chunk]],
    vocabulary: Vocabulary,
    counts: Counter[tuple[str, int]],
    host: Host,
    written: list[Path],
) -> dict[str, Any]:
    """Write this host's shards; what the report says of each split."""
    splits: dict[str, Any] = {}
    for split in SPLITS:
        outputs.of(split).mkdir(parents=True, exist_ok=True)
        measured = _write_split(outputs.of(split), split, chunks[split], vocabulary, host, written)
        classes = {name: counts[split, label] for name, label in LABELS.items()}
        splits[split] = {
            "reviews": sum(chunk.reviews for chunk in chunks[split]),
            **({} if split == "unlabelled" else {"classes": classes}),
            **measured,
        }
    return splits


def _write_split(
    folder: Path,
    split: str,
    chunks: list[Chunk],
    vocabulary: Vocabulary,
    host: Host,
    written: list[Path],
) -> dict[str, Any]:
    lengths: list[Any] = []
    infrequent = 0
    # a split without reviews has one empty shard: SageMaker refuses a channel with nothing in it
    shards = [
        chunks[start : start + CHUNKS_PER_SHARD]
        for start in range(0, max(1, len(chunks)), CHUNKS_PER_SHARD)
    ]
    for number, shard in enumerate(shards):
        if not host.owns(number):
            continue
        reviews = concatenate([encode_chunk(chunk, vocabulary) for chunk in shard])
        path = folder / shard_name(split, number, len(shards))
        written += path, path.with_suffix(TEXTS_SUFFIX)
        write_shard(path, reviews, vocabulary.sha256)
        if split == "test":
            _write_texts(path.with_suffix(TEXTS_SUFFIX), shard)
        lengths.append(reviews.lengths)
        infrequent += int((reviews.tokens == INFREQUENT_WORD).sum())
    return _statistics(np.concatenate([np.empty(0, np.int64), *lengths]), infrequent)


def _write_texts(path: Path, chunks: list[Chunk]) -> None:
    """The reviews of a shard as they were written, a JSON string a line."""
    texts = (chunk.path.with_suffix(TEXTS_SUFFIX).read_bytes() for chunk in chunks if chunk.path)
    write_file(path, b"".join(texts))


def _statistics(lengths: Any, infrequent: int) -> dict[str, Any]:
    """`measured` is the number of reviews that the figures are of: this host's."""
    tokens = int(lengths.sum())
    statistics: dict[str, Any] = {
        "measured": len(lengths),
        "tokens": tokens,
        "out_of_vocabulary_rate": round(infrequent / tokens, 6) if tokens else 0.0,
    }
    if len(lengths):
        marks = np.percentile(lengths, _PERCENTILES)
        statistics["length"] = {
            "mean": round(float(lengths.mean()), 2),
            "max": int(lengths.max()),
            **{
                f"p{mark}": round(float(at), 1)
                for mark, at in zip(_PERCENTILES, marks, strict=True)
            },
        }
    return statistics
