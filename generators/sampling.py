"""Self-distillation: draws the missing samples of a stream of shards with one engine.

Requests of the next shards are admitted while stragglers of earlier ones finish, so the engine's window stays
full from the first shard to the last. A finished sample is in its shard's journal before anyone counts it.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from proofmill.data.files import digest
from proofmill.data.samples import Journal, SampleStore
from proofmill.data.schemas import SHARD_TRACES
from proofmill.data.shards import from_rows
from proofmill.generators.engine import Completion, Engine, Request
from proofmill.generators.intake import trace_id
from proofmill.generators.models import Model
from proofmill.generators.prompts import PromptStyle, Renderer, messages, opened_reasoning

_FLUSH_SECONDS = 1.0
_POLL_SECONDS = 0.5

OnSample = Callable[[int], None]


@dataclass(frozen=True)
class SamplePlan:
    """One sampler of the recipe, ready to run.

    Attributes:
        name: the sampler's name.
        model: what samples.
        renderer: its chat template.
        style: the recipe's `prompt` section.
        sampling: decoding parameters as the engine takes them.
        engine: the engine's options, as the recipe gives them.
        n: samples a problem.
        seed: the recipe's seed.
        domains: domains it samples; None: all.
    """

    name: str
    model: Model
    renderer: Renderer
    style: PromptStyle
    sampling: Mapping[str, Any]
    engine: Mapping[str, Any]
    n: int
    seed: int
    domains: tuple[str, ...] | None

    def identity(self) -> dict[str, Any]:
        """All that decides what a recorded sample is, besides its prompt and index."""
        return {
            "weights": self.model.digest,
            "model": self.model.name,
            "chat_template": self.renderer.template_digest,
            "prompt": self.style.identity(),
            "sampling": dict(self.sampling),
            "engine": {key: value for key, value in self.engine.items() if key not in ("window", "kind")},
            "seed": self.seed,
        }

    def key(self) -> str:
        """Names the folder of recorded samples."""
        identity = self.identity()
        identity.pop("model")  # for the reader: a folder's name doesn't change what its weights write
        return digest("samples", identity)

    def takes(self, domain: str) -> bool:
        """Whether this sampler samples a domain."""
        return self.domains is None or domain in self.domains

    def store(self, home: Path) -> SampleStore:
        """Its recorded samples."""
        return SampleStore(home / "samples" / self.key(), self.identity())


@dataclass
class _Open:
    """A shard in flight."""

    name: str
    opened: dict[str, str]  # by prompt: the reasoning tag its template has already opened
    tokens: dict[str, tuple[int, ...]]
    missing: deque[tuple[str, int]]
    journal: Journal
    left: int = field(init=False)

    def __post_init__(self) -> None:
        self.left = len(self.missing)


class Sampler:
    """Runs one plan over shards of problems.

    Args:
        plan: what to sample.
        store: where recorded samples are; open.
        engine: draws samples; it is started at the first missing one, or earlier by the caller.
        on_sample: told the tokens of each finished sample.
    """

    def __init__(self, plan: SamplePlan, store: SampleStore, engine: Engine, on_sample: OnSample) -> None:
        self.plan = plan
        self.store = store
        self.engine = engine
        self._on_sample = on_sample
        self._open: dict[str, _Open] = {}
        self._in_flight = 0
        self._flushed = 0.0

    def run(self, shards: Iterable[tuple[str, pa.Table]]) -> Iterator[str]:
        """Yields the name of each shard once all its samples are recorded.

        Args:
            shards: name and problems (schema SHARD_PROBLEMS) of each.

        Raises:
            EngineError: the engine died; what had finished is recorded.
        """
        source = iter(shards)
        more = True
        try:
            while more or self._open:
                while more and self._room() > 0:
                    item = next(source, None)
                    more = item is not None
                    if item is not None and not self._admit(*item):
                        yield item[0]
                self._submit()
                yield from self._collect()
        finally:
            self._interrupt()

    def _admit(self, name: str, problems: pa.Table) -> bool:
        prompts = dict(_prompts(self.plan, problems).values())
        missing = _missing(self.plan, self.store, prompts)
        if missing:
            self.engine.start()
            needed = {prompt: prompts[prompt] for prompt, _ in missing}
            tokens = {prompt: tuple(self.plan.renderer.tokens(text)) for prompt, text in needed.items()}
            opened = {prompt: opened_reasoning(text) for prompt, text in needed.items()}
            self._open[name] = _Open(name, opened, tokens, deque(missing), self.store.journal(name))
        return bool(missing)

    def _room(self) -> int:
        """Free places in the engine's window, those already promised to open shards left out."""
        promised = sum(len(shard.missing) for shard in self._open.values())
        if not self._open:
            return 1
        return self.engine.ready().window - self._in_flight - promised

    def _submit(self) -> None:
        requests = []
        window = self.engine.ready().window if self._open else 0
        for shard in self._open.values():
            while shard.missing and self._in_flight < window:
                prompt, index = shard.missing.popleft()
                seed = sample_seed(self.plan.seed, prompt, index)
                name = f"{shard.name}/{prompt}/{index}"
                requests.append(Request(name, shard.tokens[prompt], seed, self.plan.sampling))
                self._in_flight += 1
        if requests:
            self.engine.submit(requests)

    def _collect(self) -> Iterator[str]:
        if not self._open:
            return
        finished = []
        for completion in self.engine.poll(_POLL_SECONDS):
            self._in_flight -= 1
            name, prompt, index = completion.id.rsplit("/", 2)
            shard = self._open[name]
            self._record(shard, prompt, int(index), completion)
            if shard.left == 0:
                self.store.seal(self._open.pop(name).journal)
                finished.append(name)
        if time.monotonic() - self._flushed > _FLUSH_SECONDS:
            self._flush()
        yield from finished  # only now: whoever reads them may stop here, and all that was polled is recorded

    def _record(self, shard: _Open, prompt: str, index: int, completion: Completion) -> None:
        shard.journal.append(
            {
                "prompt_digest": prompt,
                "sample_index": index,
                "seed": sample_seed(self.plan.seed, prompt, index),
                "response": shard.opened[prompt] + completion.text,
                "finish_reason": completion.finish_reason,
                "prompt_tokens": len(shard.tokens[prompt]),
                "completion_tokens": completion.completion_tokens,
            }
        )
        shard.left -= 1
        self._on_sample(completion.completion_tokens)

    def _flush(self) -> None:
        self._flushed = time.monotonic()
        for shard in self._open.values():
            shard.journal.flush()

    def _interrupt(self) -> None:
        """Keeps what had finished when the run is stopped between two samples."""
        for shard in self._open.values():
            self.store.seal(shard.journal)
        self._open.clear()


def missing_samples(plan: SamplePlan, store: SampleStore, problems: pa.Table) -> int:
    """How many samples of these problems (schema SHARD_PROBLEMS) are not recorded yet."""
    return len(_missing(plan, store, dict(_prompts(plan, problems).values())))


def _missing(plan: SamplePlan, store: SampleStore, prompts: Mapping[str, str]) -> list[tuple[str, int]]:
    have = store.have(prompts)
    wanted = ((name, index) for name in sorted(prompts) for index in range(plan.n))
    return [item for item in wanted if item not in have]


def traces(plan: SamplePlan, store: SampleStore, problems: pa.Table) -> pa.Table:
    """The recorded samples of a shard's problems, as traces (schema SHARD_TRACES), sorted by problem and index."""
    prompts = _prompts(plan, problems)
    samples: dict[str, list[dict[str, Any]]] = {}
    for sample in store.read({prompt for prompt, _ in prompts.values()}, plan.n).to_pylist():
        samples.setdefault(sample["prompt_digest"], []).append(sample)
    rows = []
    for problem in problems.to_pylist():
        if problem["id"] in prompts:
            rows += [_trace(plan, problem, sample) for sample in samples.get(prompts[problem["id"]][0], [])]
    return from_rows(rows, SHARD_TRACES)


def _trace(plan: SamplePlan, problem: Mapping[str, Any], sample: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **sample,
        "id": trace_id(problem["id"], plan.name, sample["sample_index"], sample["response"]),
        "problem_id": problem["id"],
        "sampler": plan.name,
        "domain": problem["domain"],
        "system": problem["system"] or plan.style.system,
        "model": plan.model.name,
        "model_revision": plan.model.revision,
    }


def _prompts(plan: SamplePlan, problems: pa.Table) -> dict[str, tuple[str, str]]:
    """By problem id: digest and text of the rendered prompt."""
    rendered = {}
    for problem in problems.to_pylist():
        if plan.takes(problem["domain"]):
            text = plan.renderer.text(messages(plan.style, problem), plan.style.chat_template_args)
            rendered[problem["id"]] = (digest("prompt", text), text)
    return rendered


def prompt_seeds(plan: SamplePlan, problems: pa.Table) -> Iterator[tuple[dict[str, Any], int]]:
    """(problem, seed) of every sample that a plan asks for."""
    prompts = _prompts(plan, problems)
    for problem in problems.to_pylist():
        if problem["id"] in prompts:
            yield from ((problem, sample_seed(plan.seed, prompts[problem["id"]][0], i)) for i in range(plan.n))


def sample_seed(seed: int, prompt: str, index: int) -> int:
    """The seed of one sample: the same on every machine, different for every prompt and index."""
    return int(digest("seed", seed, prompt, index)[:12], 16)
