"""A run's worker processes: judges, claims, agreement, and chunks of everything else, each started at first use."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa

from proofmill.data.errors import VerifierError
from proofmill.filters.verification import Judge, VerifyOptions
from proofmill.filters.workers import Fault, WorkerPool

_WORK = "proofmill.flows.stages.work"


class Pools:
    """Worker processes that end with `stack`.

    Args:
        limits: of the verifiers; claims and agreement have the same ones.
        folder: of the run, for what an error says.
        stack: what ends the processes.
    """

    def __init__(self, limits: VerifyOptions, folder: Path, stack: ExitStack) -> None:
        self._limits, self._folder, self._stack = limits, folder, stack

    @cached_property
    def judge(self) -> Judge:
        """The verifiers."""
        return self._stack.enter_context(Judge(self._limits))

    @cached_property
    def claims(self) -> WorkerPool:
        """Claims, one trace an item, so that a hostile one costs only itself."""
        return self._pool("claims", self._limits.cpu_seconds)

    @cached_property
    def agreement(self) -> WorkerPool:
        """Compares answers, one problem an item."""
        return self._pool("agreement", 10 * self._limits.cpu_seconds)

    @cached_property
    def _chunks(self) -> WorkerPool:
        return self._pool("run", 600.0, memory_mb=4096)

    def _pool(self, function: str, cpu_seconds: float, memory_mb: int = 1024) -> WorkerPool:
        workers = self._limits.workers
        pool = WorkerPool(f"{_WORK}:{function}", workers=workers, cpu_seconds=cpu_seconds, memory_mb=memory_mb)
        return self._stack.enter_context(pool)

    def spread(self, work: Callable[[Any], pa.Table], parts: Sequence[Any]) -> list[pa.Table]:
        """Tables of chunks of work, done by a function of `flows.stages.work`.

        Raises:
            VerifierError: a chunk could not be worked on; nothing of its shard is written.
        """
        results = self._chunks.map([(work.__name__, part) for part in parts])
        for result in results:
            if isinstance(result, Fault):
                raise VerifierError(
                    f"The stage '{work.__name__}' failed: {result.kind}: {result.detail}",
                    where=str(self._folder),
                    remedy="run the same command again; if it fails again, report this with the run's log",
                )
        return results
