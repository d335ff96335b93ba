"""Chunks of rows through worker processes and back in order, with a bounded number of them under way."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from proofmill.filters.workers import WorkerPool

In = TypeVar("In")
Out = TypeVar("Out")


def in_order(function: Callable[[In], Out], items: Iterable[In], pool: WorkerPool) -> Iterator[Out]:
    """Results of a function that mostly waits for `pool`, in the order of the items.

    Items are read ahead by twice the number of workers, so that these never wait and memory stays bounded.
    """
    ahead = 2 * pool.workers
    window: deque[Future[Out]] = deque()
    with ThreadPoolExecutor(ahead, thread_name_prefix="rows") as threads:
        try:
            for item in items:
                window.append(threads.submit(function, item))
                if len(window) > ahead:
                    yield window.popleft().result()
            while window:
                yield window.popleft().result()
        finally:
            for future in window:
                future.cancel()
