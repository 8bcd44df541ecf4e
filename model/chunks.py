"""Reviews to tokens, a chunk at a time, in as many processes as there are cores.

A chunk lies in a temporary file under its own small dictionary until the real one is chosen.
Hosts that share the work each read all of it, and tokenise what is trained on and their own share
of the rest: so each knows the whole dictionary, and none waits for another.
"""

import json
import multiprocessing
import os
from array import array
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model.errors import DataError
from model.reviews import Review
from model.shards import Reviews
from model.tensors import Array, read_tensors, tensor_bytes
from model.text import TextSettings
from model.vocabulary import INFREQUENT_WORD, Vocabulary

CHUNK_REVIEWS = 1024
CHUNKS_PER_SHARD = 8
TEXTS_SUFFIX = ".jsonl"
# Splits whose words may enter the dictionary: what is trained on, nothing else.
TRAINED_ON = ("train", "counterfactual")


@dataclass(frozen=True)
class Chunk:
    """Where a tokenised chunk lies; its words and how often each occurs (trained on only).

    `path` is None for a chunk that is left to another host.
    """

    path: Path | None
    split: str
    reviews: int
    words: tuple[str, ...] = ()
    counts: tuple[int, ...] = ()


@dataclass(frozen=True)
class Host:
    """Which one this is of the hosts that share the work; shards go to them in turn."""

    number: int = 0
    count: int = 1

    def owns(self, shard: int) -> bool:
        return shard % self.count == self.number


def tokenize(
    reviews: Iterable[Review],
    text: TextSettings,
    scratch: Path,
    processes: int,
    host: Host,
) -> Iterator[Chunk]:
    """Tokenised chunks in a fixed order, each of one split.

    Raises DataError for the first review that is not UTF-8, and whatever `reviews` raises.
    """
    tasks = _tasks(reviews, host)
    if processes <= 1:
        for name, split, chunk, mine in tasks:
            work = tokenize_chunk if mine else leave_chunk
            yield work(scratch / name, split, chunk, text)
        return
    # not fork: numpy has started threads by now
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context) as pool:
        waiting: deque[Future[Chunk]] = deque()
        try:
            for name, split, chunk, mine in tasks:
                if mine:
                    done = pool.submit(tokenize_chunk, scratch / name, split, chunk, text)
                else:
                    done = Future()
                    done.set_result(leave_chunk(scratch / name, split, chunk, text))
                waiting.append(done)
                if len(waiting) > 2 * processes:  # so that reading does not run ahead
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


def _tasks(reviews: Iterable[Review], host: Host) -> Iterator[tuple[str, str, list[Review], bool]]:
    """File name, split and reviews of each chunk, and whether this host tokenises it."""
    made = Counter[str]()
    for split, chunk in _by_split(reviews):
        number = made[split]
        made[split] += 1
        mine = split in TRAINED_ON or host.owns(number // CHUNKS_PER_SHARD)
        yield f"{split}-{number:06d}.safetensors", split, chunk, mine


def leave_chunk(_: Path, split: str, reviews: Sequence[Review], __: TextSettings) -> Chunk:
    """Only count; another host does it."""
    return Chunk(None, split, len(reviews))


def tokenize_chunk(path: Path, split: str, reviews: Sequence[Review], text: TextSettings) -> Chunk:
    """Write one chunk to `path`; runs in a worker process.

    Test reviews are also written as they are, a line of JSON each, for the report on errors.
    """
    # a word met for the first time gets the next number
    numbers: defaultdict[str, int] = defaultdict()
    numbers.default_factory = numbers.__len__
    number_of = numbers.__getitem__
    tokenize_review = text.tokenize
    ids = array("i")
    offsets = [0]
    for review in reviews:
        ids.extend(map(number_of, tokenize_review(_decode(review))))
        offsets.append(len(ids))
    tokens = np.frombuffer(ids, dtype=np.int32)
    tensors: dict[str, Array] = {
        "tokens": tokens,
        "offsets": np.array(offsets, dtype=np.int64),
        "labels": np.array([review.label for review in reviews], dtype=np.int8),
        "words": np.frombuffer("\n".join(numbers).encode(), dtype=np.uint8),
    }
    # neither flushed nor renamed: it does not outlive this run
    path.write_bytes(tensor_bytes(tensors, {}))
    if split == "test":
        lines = "".join(f"{json.dumps(_decode(review))}\n" for review in reviews)
        path.with_suffix(TEXTS_SUFFIX).write_text(lines)
    if split not in TRAINED_ON:
        return Chunk(path, split, len(reviews))
    counts = np.bincount(tokens, minlength=len(numbers))
    return Chunk(path, split, len(reviews), tuple(numbers), tuple(counts.tolist()))


def encode_chunk(chunk: Chunk, vocabulary: Vocabulary) -> Reviews:
    """The chunk's reviews under the real dictionary."""
    if chunk.path is None:
        raise DataError(f"a chunk of {chunk.split} is another host's")
    tensors, _ = read_tensors(chunk.path)
    words = tensors["words"].tobytes().decode().split("\n")
    ids = vocabulary.ids
    table: NDArray[np.int32] = np.array(
        [ids.get(word, INFREQUENT_WORD) for word in words], dtype=np.int32
    )
    return Reviews(table[tensors["tokens"]], tensors["offsets"], tensors["labels"])


def _by_split(reviews: Iterable[Review]) -> Iterator[tuple[str, list[Review]]]:
    open_chunks: dict[str, list[Review]] = {}
    for review in reviews:
        chunk = open_chunks.setdefault(review.split, [])
        chunk.append(review)
        if len(chunk) == CHUNK_REVIEWS:
            yield review.split, open_chunks.pop(review.split)
    yield from sorted(open_chunks.items())


def _decode(review: Review) -> str:
    try:
        return review.data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{review.name}: is not UTF-8 text (byte {error.start}); convert it to UTF-8"
        ) from None


def default_processes(source_bytes: int) -> int:
    """A process a core, but none beside this one where starting them costs more than it saves."""
    return (os.cpu_count() or 1) if source_bytes > 4 << 20 else 1
