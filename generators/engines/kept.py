"""An engine that outlives the run that started it, for the next run of the same model: loading takes a minute."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar

from proofmill.generators.engines.base import Completion, Engine, EngineFacts, Request

Make = Callable[[], Engine]


class KeptEngine:
    """At most one engine, loaded and idle; given to whoever wants the same one, ended when another is wanted.

    Args:
        starter: starts engines, since one dies with the thread that started it.
    """

    def __init__(self, starter: ThreadPoolExecutor) -> None:
        self.starter = starter
        self._idle: tuple[str, Engine] | None = None

    def lent(self, key: str, make: Make) -> Engine:
        """Return the idle engine if it has this key, else a new one, not started; closing it gives it back."""
        if self._idle and self._idle[0] == key:
            (_, engine), self._idle = self._idle, None
            return _Lent(self, key, engine)
        self.end()
        return _Lent(self, key, make())

    def take_back(self, key: str, engine: Engine) -> None:
        """Keep an engine that nobody uses."""
        self.end()
        self._idle = key, engine

    def end(self) -> None:
        """End the idle engine: its memory is wanted for something else."""
        if self._idle:
            (_, engine), self._idle = self._idle, None
            engine.close()


class _Lent:
    """An engine on loan: what has answered all it was asked goes back, anything else is closed."""

    def __init__(self, keeper: KeptEngine, key: str, engine: Engine) -> None:
        self._keeper, self._key, self._engine = keeper, key, engine
        self._sound, self._in_flight, self._returned = False, 0, False

    def start(self) -> None:
        """Begin loading, in the keeper's thread."""
        self._keeper.starter.submit(self._engine.start).result()

    def ready(self) -> EngineFacts:
        """Wait until the model is loaded."""
        self.start()
        facts = self._engine.ready()
        self._sound = True
        return facts

    def submit(self, requests: Sequence[Request]) -> None:
        """Queue requests."""
        self._in_flight += len(requests)
        self._engine.submit(requests)

    def poll(self, timeout: float) -> list[Completion]:
        """Return completions since the last call."""
        self._sound, sound = False, self._sound  # unless it answers
        done = self._engine.poll(timeout)
        self._sound, self._in_flight = sound, self._in_flight - len(done)
        return done

    def close(self) -> None:
        """Give the engine back, or end it where it is not known to be idle and well."""
        if self._returned:  # it may be somebody else's by now
            return
        self._returned = self._sound and not self._in_flight
        if self._returned:
            self._keeper.take_back(self._key, self._engine)
        else:
            self._engine.close()


KEPT: ContextVar[KeptEngine | None] = ContextVar("kept engine", default=None)


@contextmanager
def kept_engine() -> Iterator[KeptEngine]:
    """Keep an engine between the runs of a block; end it with the block."""
    with ThreadPoolExecutor(1, thread_name_prefix="engine") as starter:
        keeper = KeptEngine(starter)
        token = KEPT.set(keeper)
        try:
            yield keeper
        finally:
            KEPT.reset(token)
            keeper.end()
