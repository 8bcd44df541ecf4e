"""From raw reviews to a dictionary, encoded shards and a report on the data.

One pass over the source; the dictionary is chosen from the training chunks alone; then every
chunk is encoded with it. Memory stays flat however many reviews there are, and nothing is
written before all of the source has been read and found good.
"""

import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from model.chunks import Chunk, default_processes, encode_chunk, tokenize
from model.errors import DataError
from model.files import sha256_of, write_json
from model.labelled import find_table, read_labelled
from model.reviews import LABELS, Review, check_counts, find_source, limited
from model.shards import REVIEWS_PER_SHARD, concatenate, shard_name, write_shard
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
        if self.max_reviews < 0 or self.max_reviews == 1:
            raise DataError(f"max reviews is {self.max_reviews}; it must be 0 (all) or at least 2")


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
) -> dict[str, Any]:
    """Read `folder`, write `outputs`, return the data report.

    The folder `counterfactual` may hold a table of reviews that people rewrote until the label
    flipped; they are training text of their own split.

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
        chunks, words = _collect(tokenize(reviews, settings.text, Path(scratch), workers))
        check_counts(counts, source.path.name)
        vocabulary = build_vocabulary(words, settings.vocabulary_size, settings.text)
        report = {
            "format": 1,
            # kept with the version, where values are strings; a folder has no digest of its own
            "input": {"name": source.path.name, "sha256": sha256 or "folder"},
            "counterfactual": {"sha256": sha256_of(table) if table else "none"},
            "text": {"preset": settings.text.preset},
            "vocabulary": {"words": len(vocabulary.words), "sha256": vocabulary.sha256},
        }
        return _write(outputs, chunks, vocabulary, counts, report, started)


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


def _write(
    outputs: PreprocessOutputs,
    chunks: dict[str, list[Chunk]],
    vocabulary: Vocabulary,
    counts: Counter[tuple[str, int]],
    report: dict[str, Any],
    started: float,
) -> dict[str, Any]:
    written: list[Path] = []
    try:
        splits: dict[str, Any] = {}
        for split in SPLITS:
            outputs.of(split).mkdir(parents=True, exist_ok=True)
            statistics = _write_split(outputs.of(split), split, chunks[split], vocabulary, written)
            classes = {name: counts[split, label] for name, label in LABELS.items()}
            splits[split] = statistics | ({} if split == "unlabelled" else {"classes": classes})
        for folder, name in ((outputs.vocabulary, "vocabulary"), (outputs.report, "data_report")):
            folder.mkdir(parents=True, exist_ok=True)
            written.append(folder / f"{name}.json")
        vocabulary.save(outputs.vocabulary / "vocabulary.json")
        total = sum(counts.values())
        seconds = time.perf_counter() - started
        timing = {"seconds": round(seconds, 2), "reviews_per_second": round(total / seconds, 1)}
        report |= {"splits": splits, **timing}
        write_json(outputs.report / "data_report.json", report)
    except BaseException:
        for path in written:
            path.unlink(missing_ok=True)
        raise
    return report


def _write_split(
    folder: Path, split: str, chunks: list[Chunk], vocabulary: Vocabulary, written: list[Path]
) -> dict[str, Any]:
    lengths: list[Any] = []
    infrequent = 0
    groups = _grouped(chunks)
    for number, group in enumerate(groups):
        reviews = concatenate([encode_chunk(chunk, vocabulary) for chunk in group])
        path = folder / shard_name(split, number, len(groups))
        written.append(path)
        write_shard(path, reviews, vocabulary.sha256)
        lengths.append(reviews.lengths)
        infrequent += int((reviews.tokens == INFREQUENT_WORD).sum())
    return _statistics(np.concatenate([np.empty(0, np.int64), *lengths]), infrequent)


def _grouped(chunks: list[Chunk]) -> list[list[Chunk]]:
    """Chunks of one shard each; a split without reviews has one shard without chunks.

    It must not leave an empty folder: SageMaker refuses a channel with nothing in it.
    """
    groups: list[list[Chunk]] = [[]]
    room = REVIEWS_PER_SHARD
    for chunk in chunks:
        if chunk.reviews > room:
            groups.append([])
            room = REVIEWS_PER_SHARD
        groups[-1].append(chunk)
        room -= chunk.reviews
    return groups


def _statistics(lengths: Any, infrequent: int) -> dict[str, Any]:
    tokens = int(lengths.sum())
    statistics: dict[str, Any] = {
        "reviews": len(lengths),
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
