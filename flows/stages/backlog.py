"""Between the sampler and the judges: the engine never waits for them, and they never pile up in memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import wait
from contextvars import copy_context
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from proofmill.data.run import Shard
from proofmill.flows.recipe.engines import VllmEngine
from proofmill.flows.run.session import Session

AHEAD = 4  # shards with the judges at once; the others wait as references to files
_STOP_SECONDS = 2.0
_TICK_SECONDS = 0.3  # Ctrl-C may reach another thread; the main one notices it between two waits, never inside one
_ACCELERATORS = ("/dev/nvidiactl", "/dev/kfd", "/dev/dri/renderD128", "/dev/accel0")

Pair = tuple[Shard, Shard]


def paced(session: Session, sampled: Iterator[Pair], judging: Sequence[Sequence[Any]]) -> Iterator[Pair]:
    """Hands on shards as the judges can take them, while they are sampled in a thread of their own.

    Where the engine has no device of its own, judges would take the cores that it computes on, so they begin
    when it has ended; the shards wait on disk.

    Args:
        session: the run.
        sampled: (problems, traces) of each shard as it is finished.
        judging: what the caller has made of each shard handed on so far, its futures among it.

    Raises:
        ProofmillError: what ends the sampler, or a judge: the sampler is then stopped, and keeps what it has.
    """
    feed = _Feed(session, sampled)
    try:
        if shares_cores(session):
            session.progress.judged_after = True
            feed.wait()
        for pair in feed.pairs():
            _wait(judging[-AHEAD] if len(judging) >= AHEAD else ())
            yield pair
    finally:
        feed.stop()


def shares_cores(session: Session) -> bool:
    """Whether an engine of this run computes on the cores that judges would use."""
    local = any(isinstance(sampler.engine, VllmEngine) for sampler in session.recipe.samplers)
    return local and not any(Path(device).exists() for device in _ACCELERATORS)


def _wait(shard: Sequence[Any]) -> None:
    for future in shard:
        if hasattr(future, "result"):
            future.result()


class _Feed:
    """The sampler's thread and what it has finished."""

    def __init__(self, session: Session, sampled: Iterator[Pair]) -> None:
        self._session = session
        self._sampled = sampled
        self._done: SimpleQueue[Pair | None] = SimpleQueue()
        self._future = session.background.submit(copy_context().run, self._run)

    def _run(self) -> None:
        try:
            for pair in self._sampled:
                self._done.put(pair)
                self._session.progress.queue("shards to judge", self._done.qsize())
        finally:
            self._done.put(None)

    def wait(self) -> None:
        """Waits for the sampler to end."""
        while wait([self._future], _TICK_SECONDS).not_done:
            pass

    def pairs(self) -> Iterator[Pair]:
        """What the sampler has finished, until it ends."""
        while (pair := self._next()) is not None:
            self._session.progress.queue("shards to judge", max(0, self._done.qsize() - 1))
            yield pair
        self._future.result()

    def _next(self) -> Pair | None:
        while True:
            try:
                return self._done.get(timeout=_TICK_SECONDS)
            except Empty:
                continue

    def stop(self) -> None:
        """Ends the sampler if it still goes on."""
        self._session.stopping.set()
        if wait([self._future], _STOP_SECONDS).not_done:
            self._session.end_engines()  # it waits for one that is loading
            wait([self._future])
        self._session.stopping.clear()
