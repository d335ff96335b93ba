"""The interface of engines that sample or score: requests in, completions out, any number in flight."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Protocol

from proofmill.data.errors import EngineError

_POLL_SECONDS = 0.5

LOST = "lost"
"""Finish reason of a request whose part of the engine died; `RestartingEngine` sends it again."""


@dataclass(frozen=True, slots=True)
class Request:
    """One sample to draw, or one text to score.

    Attributes:
        id: chosen by the caller, unique among the requests in flight.
        tokens: the rendered prompt.
        seed: of this sample alone.
        params: decoding parameters of this request. Besides vLLM's own, `json_schema`: the answer is JSON of this
            schema.
        score_from: None to draw a sample; else score the tokens from this position on, and draw nothing.
        messages: the prompt before it was rendered, for servers that don't take tokens.
    """

    id: str
    tokens: tuple[int, ...]
    seed: int
    params: Mapping[str, Any] = field(default_factory=dict)
    score_from: int | None = None
    messages: Sequence[Mapping[str, str]] | None = None


@dataclass(frozen=True, slots=True)
class Completion:
    """The result of a request.

    Attributes:
        id: the request's.
        text: what the model wrote, special tokens left out.
        finish_reason: `stop`, `length`, or why there is no answer: `prompt_too_long`, `quarantined` (the prompt kills
            the engine), `failed` (the engine refused the request, or every attempt failed; the next run may ask again),
            `content_filter` (the server cut it off), `refused_by_server` (it rejects the request, and would again).
        completion_tokens: how many tokens the model wrote.
        logprob: of a scored text, the sum of ln p(token | all before it) from `score_from` on; else None.
    """

    id: str
    text: str
    finish_reason: str
    completion_tokens: int
    logprob: float | None = None


@dataclass(frozen=True, slots=True)
class EngineFacts:
    """Properties of a loaded engine.

    Attributes:
        name, version: of the engine's software.
        dtype: number format of the weights.
        max_model_len: tokens of prompt and completion.
        window: requests to keep in flight.
        load_seconds: how long loading took.
        details: everything else that is worth recording in the manifest.
    """

    name: str
    version: str
    dtype: str
    max_model_len: int
    window: int
    load_seconds: float
    details: dict[str, Any]


class Engine(Protocol):
    """Draws samples and scores texts. `start` may be called early and in another thread; `poll` waits for it."""

    def start(self) -> None:
        """Begin loading; return at once."""

    def ready(self) -> EngineFacts:
        """Wait until the model is loaded.

        Raises:
            EngineError: it can't be.
        """

    def submit(self, requests: Sequence[Request]) -> None:
        """Queue requests; never wait for their completion."""

    def poll(self, timeout: float) -> list[Completion]:
        """Return completions since the last call, waiting up to `timeout` seconds for the first one.

        Raises:
            EngineDiedError: the engine ended; what had finished was given out before.
        """

    def close(self) -> None:
        """End the engine and everything it started."""


class EngineDiedError(EngineError):
    """The engine ended in the middle of its work; a new one may finish it."""


class Watcher(Protocol):
    """Is notified of what happens to an engine; a run's progress display is one."""

    def warn(self, message: str) -> None:
        """Show a message that deserves a look."""

    def retried(self, requests: int) -> None:
        """Note how many requests are sent again."""

    def restarted(self) -> None:
        """Note that the engine was started again."""


def stream_completions(engine: Engine, requests: Iterable[Request]) -> Iterator[Completion]:
    """Yield the completions of any number of requests from one engine, keeping its window full.

    Completions come in any order; requests are taken from the iterator as places become free.

    Args:
        engine: started at the first request; stays open.
        requests: with unique ids.

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
