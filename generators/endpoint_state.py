"""A pool's requests and endpoints as they stand now, and what is said where none can be used."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from proofmill.data.errors import EngineError
from proofmill.generators.endpoints import Server, Trouble
from proofmill.generators.engine import Request


@dataclass(eq=False)
class Job:
    """A request until its completion is given out."""

    request: Request
    faults: int = 0
    answers_before: int = 0  # of the engine, when its first fault came


@dataclass(eq=False)
class Endpoint:
    """An endpoint as it stands now."""

    url: str
    server: Server | None = None  # None: not usable
    why: str = "it has not answered yet"
    denied: bool = False
    rest_until: float = 0.0
    faults: int = 0  # since its last answer
    misses: int = 0
    running: dict[Job, asyncio.Task[None]] = field(default_factory=dict)


def unusable(endpoints: Sequence[Endpoint], what: str) -> EngineError:
    """The error of a pool that can't go on, with what each endpoint said last."""
    return EngineError(
        what,
        where="; ".join(f"{end.url}: {end.why if end.server is None else end.server.model}" for end in endpoints),
        remedy="start or mend the servers named in engine.endpoints (`vllm serve MODEL`), "
        "then run the same command again: it goes on where it stopped",
    )


def unable(endpoint: Endpoint, trouble: Trouble) -> EngineError:
    """The error of a server that lacks what every request needs."""
    return EngineError(
        f"The server can't do what the recipe asks of it: {trouble.why}.",
        where=endpoint.url,
        remedy="name the `vllm serve` itself and no gateway before it, or give quality.learning another engine",
    )


def refusing(endpoint: Endpoint, prompts: int, trouble: Trouble) -> EngineError:
    """The error of a server that has come to refuse whatever it is asked."""
    return EngineError(
        f"The server has refused {prompts} prompts in a row, which accuses the server itself: {trouble.why}.",
        where=endpoint.url,
        remedy="mend what it complains of, then run the same command again: it goes on where it stopped, "
        "and asks again for what was refused",
    )
