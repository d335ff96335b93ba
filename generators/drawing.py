"""Any number of requests through one engine, its window always full."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

from proofmill.generators.engine import Completion, Engine, Request

_POLL_SECONDS = 0.5


def draw(engine: Engine, requests: Iterable[Request]) -> Iterator[Completion]:
    """Yields completions as they come, in no order; requests are taken from the iterator as places become free.

    Args:
        engine: started at the first request; stays open.
        requests: ids unique among them.

    Raises:
        EngineError: the engine died.
    """
    source = iter(requests)
    in_flight = 0
    while True:
        fresh = list(islice(source, max(0, engine.ready().window - in_flight)))
        if fresh:
            engine.submit(fresh)
            in_flight += len(fresh)
        if not in_flight:
            return
        for completion in engine.poll(_POLL_SECONDS):
            in_flight -= 1
            yield completion
