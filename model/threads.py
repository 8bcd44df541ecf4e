"""Work over tensors in threads, each with torch's own threads switched off.

An LSTM is thousands of small multiplications, one after the other. Two threads that wait for
each other after each of them gain little on two idle cores, and crawl on busy ones; two threads
with a batch each do not wait.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import torch

Map = Callable[[Callable[[Any], Any], Iterable[Any]], Iterator[Any]]


@contextmanager
def thread_map(threads: int | None = None) -> Iterator[Map]:
    """A `map` whose calls run beside each other, by default a thread a core; order is kept."""
    count = threads or os.cpu_count() or 1
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with ThreadPoolExecutor(count, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        try:
            yield pool.map
        finally:
            torch.set_num_threads(before)
