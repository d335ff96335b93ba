"""Verdicts on rounds while the engine goes on: one thread that judges whatever has come together meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from itertools import islice
from typing import Any

Answer = tuple[str, str]
"""Response and finish reason of a sample."""

Asked = tuple[Mapping[str, Any], str, str]
"""A problem (row of schema SHARD_PROBLEMS), a response to it, and its finish reason."""

Accepts = Callable[[Sequence[Asked]], list[bool]]
"""Says of each response whether it is accepted: verdict `correct`."""

Key = tuple[str, str]


class Judging:
    """Rounds that wait for their verdicts.

    Args:
        accepts: the judge; None where there is nothing to judge.

    Attributes:
        backlog: rounds without verdicts.
    """

    def __init__(self, accepts: Accepts | None) -> None:
        self._accepts = accepts
        self._waiting: list[tuple[Key, Sequence[Asked]]] = []
        self._running: Future[list[bool]] | None = None
        self._batch: list[tuple[Key, Sequence[Asked]]] = []
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="rounds")

    @property
    def backlog(self) -> int:
        """Rounds without verdicts."""
        return len(self._waiting) + len(self._batch)

    def put(self, key: Key, round_: Sequence[Asked]) -> None:
        """Adds a round."""
        if self._accepts is None:
            raise RuntimeError("a plan with more than one round needs a judge")
        self._waiting.append((key, round_))

    def results(self, timeout: float) -> Iterator[tuple[Key, list[bool]]]:
        """Rounds that have been judged, waiting up to `timeout` seconds for the next ones if there are any.

        Raises:
            VerifierError: what the judge raises.
        """
        self._start()
        if self._running is None:
            return
        if wait([self._running], timeout).not_done:
            return
        verdicts, batch = iter(self._running.result()), self._batch
        self._running, self._batch = None, []
        self._start()
        for key, asked in batch:
            yield key, list(islice(verdicts, len(asked)))

    def close(self) -> None:
        """Gives up what was not judged yet."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _start(self) -> None:
        if self._accepts is not None and self._running is None and self._waiting:
            self._batch, self._waiting = self._waiting, []
            self._running = self._thread.submit(self._accepts, [asked for _, part in self._batch for asked in part])
