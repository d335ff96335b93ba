"""Servers as an engine: one or many endpoints that speak the OpenAI protocol, as one window of requests."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from queue import Empty
from typing import Any

from proofmill.data.errors import EngineError
from proofmill.generators.endpoint_pool import Pool
from proofmill.generators.endpoints import ServerOptions
from proofmill.generators.engine import Completion, EngineFacts, Request, Watcher

_CLOSE_SECONDS = 10.0


class OpenAIEngine:
    """An `Engine` on servers.

    Args:
        options: how to reach them.
        sampling: decoding parameters of the run, tried once before anything is drawn.
        watcher: told of retries and of endpoints that go and come.
    """

    def __init__(self, options: ServerOptions, sampling: Mapping[str, Any], watcher: Watcher) -> None:
        self._pool = Pool(options, sampling, watcher)
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begins to look for endpoints."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._pool.serve, name="openai", daemon=True)
            self._thread.start()

    def ready(self) -> EngineFacts:
        """Waits for the first endpoint that answers."""
        self.start()
        return self._pool.facts.result()

    def submit(self, requests: Sequence[Request]) -> None:
        """Hands requests to the thread."""
        self.ready()
        self._pool.call(self._pool.add, list(requests))

    def poll(self, timeout: float) -> list[Completion]:
        """What has been answered; a whole loss of an endpoint comes at once."""
        done: list[Completion] = []
        while True:
            try:
                found = self._pool.outbox.get(timeout=timeout) if not done else self._pool.outbox.get_nowait()
            except Empty:
                return done
            if isinstance(found, EngineError):
                self._pool.outbox.put(found)
                if done:
                    return done
                raise found
            done += found

    def close(self) -> None:
        """Breaks off what is under way."""
        if self._thread is not None:
            self._pool.call(self._pool.stop)
            self._thread.join(_CLOSE_SECONDS)
            self._thread = None
