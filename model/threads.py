"""Work over tensors in threads, each with torch's own threads switched off.

An LSTM is thousands of small multiplications, one after the other. Two threads that wait for
each other after each of them gain little on two idle cores, and crawl on busy ones; two threads
with a batch each do not wait.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Lock
from typing import Any

import torch
from torch import Tensor

Work = Callable[[], Tensor]
Both = Callable[[Work, Work], tuple[Tensor, Tensor]]
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


def one_then_the_other(first: Work, second: Work) -> tuple[Tensor, Tensor]:
    return first(), second()


class SideBySide:
    """Does two things at once, the second in a thread of its own, where nobody else does so.

    One review alone is read in half the time by two cores; of many, each core reads its own.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, initializer=torch.set_num_threads, initargs=(1,))
        self._lock = Lock()
        self._callers = 0

    def __call__(self, first: Work, second: Work) -> tuple[Tensor, Tensor]:
        with self._lock:
            self._callers += 1
            alone = self._callers == 1
        try:
            return self._at_once(first, second) if alone else one_then_the_other(first, second)
        finally:
            with self._lock:
                self._callers -= 1

    def _at_once(self, first: Work, second: Work) -> tuple[Tensor, Tensor]:
        inferring = torch.is_inference_mode_enabled()  # each thread has to say so anew

        def elsewhere() -> Tensor:
            with torch.inference_mode(inferring):
                return second()

        later = self._thread.submit(elsewhere)
        return first(), later.result()
