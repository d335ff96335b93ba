"""Chunks of rows through worker processes and back in order, with a bounded number of them under way."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any, TypeVar

from proofmill.data.rows_io import RowWriter
from proofmill.filters.workers import Fault, WorkerPool
from proofmill.flows.commands.filter_command import Command
from proofmill.flows.rows.reading import Chunk, chunks
from proofmill.flows.rows.work import Done, Task, fallen

In = TypeVar("In")
Out = TypeVar("Out")

_CHUNK_SECONDS = 10.0  # CPU time of a chunk, then of each of its rows alone


def in_order(function: Callable[[In], Out], items: Iterable[In], workers: int) -> Iterator[Out]:
    """Results of a function that mostly waits for worker processes, in the order of the items.

    Items are read ahead by twice the number of workers, so that these never wait and memory stays bounded.
    """
    ahead = 2 * workers
    window: deque[Future[Out]] = deque()
    threads = ThreadPoolExecutor(ahead, thread_name_prefix="rows")
    try:
        for item in items:
            window.append(threads.submit(function, item))
            if len(window) > ahead:
                yield window.popleft().result()
        while window:
            yield window.popleft().result()
    finally:  # not waiting: what is still at work ends when its worker processes are killed
        threads.shutdown(wait=False, cancel_futures=True)


class RowStream:
    """A command's rows through its stage, in worker processes that can be killed.

    Args:
        command: whose rows they are.
        stage: the module of its `Stage`.
        options: gives the stage's own options; asked for every chunk.
        workers: processes; None: one a core.
        settle: finishes a chunk's open rows, called from several threads.
    """

    def __init__(
        self,
        command: Command,
        stage: str,
        options: Callable[[], Any],
        workers: int | None,
        settle: Callable[[Done], None] | None = None,
    ) -> None:
        self.tally: Counter[str] = Counter()
        self.rows = 0
        self._command, self._stage, self._options, self._settle = command, stage, options, settle
        self._pool = WorkerPool("proofmill.flows.rows.work:work", workers=workers, cpu_seconds=_CHUNK_SECONDS)

    def __enter__(self) -> RowStream:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.close()

    def run(self, writer: RowWriter) -> None:
        """All rows, in order."""
        as_lines = writer.takes_lines
        for parts in in_order(
            lambda chunk: self._chunk(chunk, as_lines), chunks(self._command.source), self._pool.workers
        ):
            for done in parts:
                if as_lines:
                    writer.write_lines(b"".join(done.rows))
                else:
                    writer.write_rows(done.rows)
                self._count(done)

    def _chunk(self, chunk: Chunk, as_lines: bool) -> list[Done]:
        """One chunk; where it takes a worker down, row by row."""
        task = Task(self._stage, chunk, self._command.source.fields, self._options(), as_lines)
        (result,) = self._pool.map([task])
        if not isinstance(result, Fault):
            self._finish(result)
            return [result]
        tasks = [replace(task, chunk=part) for part in chunk.parts()]
        parts = []
        for one, result in zip(tasks, self._pool.map(tasks), strict=True):
            done = fallen(one, result.kind, f"{result.kind}: {result.detail}") if isinstance(result, Fault) else result
            self._finish(done)
            parts.append(done)
        return parts

    def _finish(self, done: Done) -> None:
        if self._settle is not None and done.pending:
            self._settle(done)

    def _count(self, done: Done) -> None:
        self.rows += len(done.rows)
        self.tally += done.tally
        self._command.faults.add(done.faults, done.shown)
        self._command.progress.advance("rows", len(done.rows))
        for name, count in done.tally.items():
            self._command.progress.advance(name, count)
