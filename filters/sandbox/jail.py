"""The jail: a pool of warm interpreters, each of which forks one locked-up child a run."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator, Sequence

from proofmill.data.errors import VerifierError
from proofmill.filters.sandbox.layers import Layer, layers_from, missing_error
from proofmill.filters.sandbox.worker import Cell, Limits, Worker


class Jail:
    """Runs model-written Python behind every wall the kernel offers. Thread-safe.

    Args:
        workers: warm interpreters and runs at a time; default one a core.
        allow_subprocess: show the interpreter and a shell inside, for runs whose limits allow them.
        packages: folders of more importable packages, shown read-only; by default the standard library only.
        weaker: run although layers are missing; `stamp` then says which.
    """

    def __init__(
        self,
        workers: int | None = None,
        *,
        allow_subprocess: bool = False,
        packages: Sequence[str] = (),
        weaker: bool = False,
    ) -> None:
        self._count = workers or len(os.sched_getaffinity(0))
        self._options = {"packages": list(packages), "subprocesses": allow_subprocess}
        self._weaker = weaker
        self._workers: list[Worker] = []
        self._lock = threading.Lock()
        self._slots = threading.BoundedSemaphore(self._count)
        self._closed = False

    def __enter__(self) -> Jail:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def probe(self) -> list[Layer]:
        """Every layer of the jail, and whether it stands on this machine."""
        return layers_from(self._worker().failed)

    @property
    def stamp(self) -> str | None:
        """What every verdict must carry: the layers that were missing; None for the full jail."""
        gone = [layer.name for layer in self.probe() if not layer.ok]
        return "weaker jail, without " + ", ".join(gone) if gone else None

    @contextlib.contextmanager
    def slot(self) -> Iterator[None]:
        """Hold one of `workers` places; a run of one solution holds one, however many cells it opens.

        Raises:
            VerifierError: a layer is missing and `weaker` was not asked for.
        """
        with self._slots:
            if not self._weaker:
                missing = [layer for layer in self.probe() if not layer.ok]
                if missing:
                    raise missing_error(missing)
            yield

    @contextlib.contextmanager
    def cell(self, limits: Limits, streams: Sequence[int] = ()) -> Iterator[Cell]:
        """One locked-up child for the length of the block; call inside `slot`."""
        cell = self._worker().open(limits, streams)
        try:
            yield cell
        finally:
            cell.close()

    def _worker(self) -> Worker:
        """The least busy living worker; started on first need."""
        with self._lock:
            if self._closed:
                raise VerifierError("the jail has been closed", remedy="open a new one")
            for dead in [worker for worker in self._workers if not worker.alive()]:
                self._workers.remove(dead)
                dead.stop()
            idle = min(self._workers, key=lambda worker: worker.running, default=None)
            if idle is None or (idle.running and len(self._workers) < self._count):
                idle = Worker(self._options)
                self._workers.append(idle)
            return idle

    def close(self) -> None:
        """End every interpreter; whatever still ran in them is killed."""
        with self._lock:
            self._closed = True
            workers, self._workers = self._workers, []
        for worker in workers:
            worker.stop()
