"""What an engine is to the sampler: requests in, completions out, any number in flight."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Request:
    """One sample to draw, or one text to score.

    Attributes:
        id: chosen by the caller, unique among the requests in flight.
        tokens: the rendered prompt.
        seed: of this sample alone.
        params: decoding parameters of this request, over those the engine was loaded with. Besides vLLM's own,
            `json_schema`: the answer is JSON of this schema.
        score_from: None, or: draw nothing, and say how likely the tokens from this position on are.
    """

    id: str
    tokens: tuple[int, ...]
    seed: int
    params: Mapping[str, Any] = field(default_factory=dict)
    score_from: int | None = None


@dataclass(frozen=True, slots=True)
class Completion:
    """What came of a request.

    Attributes:
        id: the request's.
        text: what the model wrote, special tokens left out.
        finish_reason: `stop`, `length`, `prompt_too_long`, or `failed` where the engine refused the request.
        completion_tokens: how many tokens the model wrote.
        logprob: of a text that was scored: the sum of ln p(token | all before it) from `score_from` on; else None.
    """

    id: str
    text: str
    finish_reason: str
    completion_tokens: int
    logprob: float | None = None


@dataclass(frozen=True, slots=True)
class EngineFacts:
    """What the engine says of itself once it is loaded."""

    name: str
    version: str
    dtype: str
    max_model_len: int
    window: int
    load_seconds: float
    details: dict[str, Any]


class Engine(Protocol):
    """Draws samples. `start` may be called early and in another thread; `poll` waits for it."""

    def start(self) -> None:
        """Begins loading; returns at once."""

    def ready(self) -> EngineFacts:
        """Waits until the model is loaded. Raises EngineError when it can't be."""

    def submit(self, requests: Sequence[Request]) -> None:
        """Queues requests; never blocks on their completion."""

    def poll(self, timeout: float) -> list[Completion]:
        """Completions since the last call, waiting up to `timeout` seconds for the first one."""

    def close(self) -> None:
        """Ends the engine and everything it started."""
