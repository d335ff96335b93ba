"""What a sampler of the recipe must draw, and what it has drawn: plans, prompts, seeds, recorded samples as traces."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from proofmill.data.files import digest
from proofmill.data.samples import QUARANTINE, SampleStore
from proofmill.data.schemas import SHARD_TRACES
from proofmill.data.tables import from_rows
from proofmill.generators.models import Model
from proofmill.generators.problems.ingest import trace_id
from proofmill.generators.prompts import PromptStyle, Renderer, messages
from proofmill.generators.rounds import MoneyCap, Rounds, Spending

# Engine options that change how a run proceeds but no sample. What a server serves is part of the model's digest.
_RUNS_ONLY = {
    *("kind", "window", "restarts", "endpoints", "endpoints_from", "served"),
    *("api_key_env", "timeout_s", "retries", "wait_s"),
}
RESOURCE_ARGS = frozenset(
    {
        *("gpu_memory_utilization", "kv_cache_memory_bytes", "cpu_offload_gb", "block_size", "enable_prefix_caching"),
        *("max_num_seqs", "max_num_batched_tokens", "enable_chunked_prefill", "async_scheduling"),
        *("tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size", "distributed_executor_backend"),
        *("enforce_eager", "compilation_config", "download_dir", "disable_log_stats", "max_parallel_loading_workers"),
    }
)
"""vLLM's EngineArgs that say which resources are used: like moving to another machine, they don't change the key."""


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
        never: domains that it leaves to others.
        rounds: when a problem gets more than n; None: never.
        max_total_tokens: completion tokens of the whole run, at most; None: no limit.
        max_cost: money for the whole run, at most; None: no limit.
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
    never: tuple[str, ...] = ()
    rounds: Rounds | None = None
    max_total_tokens: int | None = None
    max_cost: MoneyCap | None = None

    @property
    def capped(self) -> bool:
        """Whether tokens or money may end its sampling."""
        return self.max_total_tokens is not None or self.max_cost is not None

    def spending(self, tokens: int, prompt_tokens: int) -> Spending:
        """Return what a sample of so many tokens takes of its caps."""
        return Spending(tokens, self.max_cost.of(tokens, prompt_tokens) if self.max_cost else 0)

    @property
    def rule(self) -> Rounds:
        """How many samples its problems get."""
        return self.rounds or Rounds(self.n)

    @property
    def most_tokens(self) -> int:
        """Completion tokens that one sample may have."""
        return int(self.sampling.get("max_tokens") or 0)

    def identity(self) -> dict[str, Any]:
        """Return all that decides a recorded sample, besides its prompt and index."""
        return {
            "weights": self.model.digest,
            "model": self.model.name,
            "chat_template": self.renderer.template_digest,
            "prompt": self.style.identity(),
            "sampling": dict(self.sampling),
            "engine": self.engine_identity(),
            "seed": self.seed,
        }

    def engine_identity(self) -> dict[str, Any]:
        """Return the engine's options that decide what it writes."""
        options = {key: value for key, value in self.engine.items() if key not in _RUNS_ONLY}
        if args := options.get("args"):
            options["args"] = {key: value for key, value in args.items() if key not in RESOURCE_ARGS}
        return options

    def key(self) -> str:
        """Return the name of the folder of recorded samples."""
        identity = self.identity()
        identity.pop("model")  # the name is for human readers only: the weights decide what is written
        return digest("samples", identity)

    def takes(self, domain: str) -> bool:
        """Return whether this sampler samples a domain."""
        return domain not in self.never and (self.domains is None or domain in self.domains)

    def quarantine(self, home: Path) -> Path:
        """Return the file of its prompts that kill the engine; it does not exist while none does."""
        return home / "samples" / self.key() / QUARANTINE

    def store(self, home: Path) -> SampleStore:
        """Return the store of its recorded samples, not opened."""
        return SampleStore(home / "samples" / self.key(), self.identity())


def missing_samples(plan: SamplePlan, store: SampleStore, problems: pa.Table) -> int:
    """Return how many samples of these problems' first round (schema SHARD_PROBLEMS) are not recorded yet."""
    prompts = {prompt for prompt, _ in rendered(plan, problems).values()}
    return plan.n * len(prompts) - sum(index < plan.n for _, index in store.have(prompts))


def unsampled(plan: SamplePlan, store: SampleStore, problems: pa.Table) -> set[str]:
    """Return the ids of the problems that a plan takes and whose first round is not recorded as a whole."""
    prompts = {name: prompt for name, (prompt, _) in rendered(plan, problems).items()}
    recorded = Counter(prompt for prompt, index in store.have(set(prompts.values())) if index < plan.n)
    return {name for name, prompt in prompts.items() if recorded[prompt] < plan.n}


def traces(
    plan: SamplePlan, store: SampleStore, problems: pa.Table, counts: Mapping[str, int] | None = None
) -> pa.Table:
    """Return the recorded samples of a shard's problems, as traces (schema SHARD_TRACES), sorted by problem and index.

    Args:
        plan: whose samples.
        store: where they are recorded.
        problems: schema SHARD_PROBLEMS.
        counts: samples of each problem that belong to the run; None: as many as the rounds allow.
    """
    prompts = rendered(plan, problems)
    counts = dict.fromkeys(prompts, plan.rule.ceiling) if counts is None else counts
    samples: dict[str, list[dict[str, Any]]] = {}
    most = max(counts.values(), default=0)
    for sample in store.read({prompt for prompt, _ in prompts.values()}, most).to_pylist():
        samples.setdefault(sample["prompt_digest"], []).append(sample)
    rows = []
    for problem in problems.to_pylist():
        if problem["id"] in prompts:
            prompt, _ = prompts[problem["id"]]
            count = counts.get(problem["id"], 0)
            rows += [_trace(plan, problem, row) for row in samples.get(prompt, []) if row["sample_index"] < count]
    return from_rows(rows, SHARD_TRACES)


def _trace(plan: SamplePlan, problem: Mapping[str, Any], sample: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **sample,
        "id": trace_id(problem["id"], plan.name, sample["sample_index"], sample["response"]),
        "problem_id": problem["id"],
        "sampler": plan.name,
        "first_round": sample["sample_index"] < plan.n,
        "domain": problem["domain"],
        "system": problem["system"] or plan.style.system,
        "model": plan.model.name,
        "model_revision": plan.model.revision,
    }


def rendered(plan: SamplePlan, problems: pa.Table) -> dict[str, tuple[str, str]]:
    """Return digest and text of the rendered prompt, by problem id."""
    prompts = {}
    for problem in problems.to_pylist():
        if plan.takes(problem["domain"]):
            text = plan.renderer.text(messages(plan.style, problem), plan.style.chat_template_args)
            prompts[problem["id"]] = (digest("prompt", text), text)
    return prompts


def sample_seed(seed: int, prompt: str, index: int) -> int:
    """Return the seed of one sample: the same on every machine, different for every prompt and index."""
    return int(digest("seed", seed, prompt, index)[:12], 16)
