"""The typed recipe: what a run does. Strict, and every section has defaults that work."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from proofmill.data.files import digest
from proofmill.filters.domains import DOMAINS
from proofmill.flows.recipe.engines import Asked, Engine, ReplayEngine, VllmEngine
from proofmill.flows.recipe.sections import Decontaminate, FieldMap, Name, PinnedVersion, Section, Select, Share
from proofmill.generators.rounds import Rounds


class ProceduralSource(Section):
    """Problems made by a reasoning-gym task, each with a scorer."""

    kind: Literal["procedural"]
    task: str
    args: dict[str, Any] = Field({}, description="parameters of the task")
    count: int = Field(100, ge=1)
    seed: int | None = Field(None, description="None: derived from the recipe's seed")
    domain: str = Field("logic", description="`math` judges numeric answers by value, `logic` by the scorer")
    license: str = "apache-2.0"


class FileSource(Section):
    """Problems from a JSONL (`.gz`, `.zst`) or Parquet file."""

    kind: Literal["file"]
    path: str
    map: FieldMap = Field({}, description="our field: theirs; `prompt` and `answer` by default")
    domain: str = "math"
    count: int | None = Field(None, ge=1)
    license: str | None = None


class HuggingFaceSource(Section):
    """Problems from a data set on the hub (or a folder that `load_dataset` reads), streamed."""

    kind: Literal["huggingface"]
    name: str
    config: str | None = None
    split: str = "train"
    revision: str | None = None
    map: FieldMap = Field({}, description="our field: theirs; `prompt` and `answer` by default")
    domain: str = "math"
    count: int | None = Field(None, ge=1)
    license: str | None = None


Source = Annotated[ProceduralSource | FileSource | HuggingFaceSource, Field(discriminator="kind")]


class PseudoLabels(Section):
    """Answers of problems without gold, by what their samples agree on; such a problem is never called gold."""

    by: Literal["majority", "clr"] = Field("majority", description="clr: votes weighed by the model's reliability")
    min_share: Share = Field(0.5, description="majority: of all samples; clr: of the sum of reliabilities")
    min_votes: int = Field(3, ge=1, description="samples that agree")
    rl: bool = Field(False, description="whether `rl` may hold such problems")


class Problems(Section):
    """Where problems come from."""

    sources: tuple[Source, ...] = ()
    pseudo_labels: PseudoLabels | None = Field(None, description="take `math` and `choice` problems without an answer")


class Prompt(Section):
    """How a problem becomes the text that the model sees."""

    system: str | None = None
    templates: dict[str, str] = Field({}, description="by domain, with {problem}; else the domain's own ask")
    chat_template_args: dict[str, Any] = Field({}, description="for example enable_thinking")
    train_as: Literal["sampled", "bare"] = Field(
        "sampled", description="whether training sees the prompt as sampled, or the bare problem"
    )


class Sampling(Section):
    """How many samples are drawn, and how: a recorded sample depends on the decoding parameters alone.

    With `accept_target` a problem is sampled in rounds: the first one of `n` gives the pass rate, later ones go on
    until enough traces are verified, by the rule in `generators/rounds.py`.
    """

    n: int = Field(8, ge=1, description="samples a problem; raising it samples only the difference")
    accept_target: int | None = Field(
        None, ge=1, description="verified traces wanted of each problem; None: n samples, however many are right"
    )
    max_samples: int | None = Field(
        None, ge=1, description="samples a problem at most, with accept_target; None: four times n"
    )
    round: int | None = Field(None, ge=1, description="samples of one later round at most; None: n")
    max_total_tokens: int | None = Field(
        None,
        ge=1,
        description="completion tokens of the whole run at most, recorded ones included; problems that don't fit any "
        "more are not sampled",
    )
    temperature: float = Field(1.0, ge=0.0)
    top_p: float = Field(0.95, gt=0.0, le=1.0)
    top_k: int = Field(-1, ge=-1)
    max_tokens: int = Field(1024, ge=1)
    stop: tuple[str, ...] = ()
    extra: dict[str, Any] = Field({}, description="passed through to the engine, and recorded")

    @model_validator(mode="after")
    def _rounds(self) -> Sampling:
        for name in ("max_samples", "round"):
            if self.accept_target is None and getattr(self, name) is not None:
                raise ValueError(f"{name}: only used together with accept_target")
        if self.max_samples is not None and self.max_samples < self.n:
            raise ValueError(f"max_samples: {self.max_samples} is less than the first round, n = {self.n}")
        return self

    @property
    def most(self) -> int:
        """Samples that a problem may come to."""
        return self.n if self.accept_target is None else self.max_samples or 4 * self.n

    @property
    def rule(self) -> Rounds | None:
        """When a problem gets more than n samples; None: never."""
        if self.accept_target is None:
            return None
        return Rounds(self.n, self.accept_target, self.most, self.round or self.n)

    def decoding(self) -> dict[str, Any]:
        """What decides a sample, as the engine takes it."""
        return self.model_dump(mode="json", exclude={"extra", *AMOUNTS}) | self.extra


AMOUNTS = ("n", "accept_target", "max_samples", "round", "max_total_tokens")
"""Keys of `sampling` that decide how many samples there are, and not what one is."""


class Sampler(Section):
    """One writer of traces."""

    name: Name = "self"
    engine: Engine = VllmEngine()
    model: str = Field("bundled", description="hub id, local folder, or `bundled`")
    sampling: Sampling = Sampling()
    domains: tuple[str, ...] | None = Field(None, description="None: all")


class Jail(Section):
    """What model-written code may do. The defaults are the strongest."""

    allow_subprocess: bool = False
    packages: tuple[str, ...] = Field((), description="installed packages that a solution may import")
    weaker: bool = Field(False, description="run with missing layers; every verdict then says so")


class Verify(Section):
    """How answers are judged."""

    cpu_seconds: float = Field(5.0, gt=0, description="a row's CPU time before it is a `timeout`")
    memory_mb: int = Field(1024, ge=128)
    workers: int | None = Field(None, ge=1)
    verifiers: dict[str, str] = Field({}, description="custom ones: domain: package.module:name")
    max_error_rate: Share = Field(0.2, description="share of `error` in a shard that stops the run")
    jail: Jail = Jail()


class ModelVerifier(Asked):
    """The model as its own verifier: claim-level reliability, r = (mean v)^M (arXiv 2606.16140).

    Where neither `sampler` nor `model` is given, the first live sampler's model judges.
    """

    scope: Literal["all", "accepted"] = Field("all", description="accepted: no `clr@k`, and a fraction of the cost")
    k: int | None = Field(32, ge=1, description="samples a problem and sampler that are judged; None: all")
    m: int = Field(5, ge=1, le=32, description="claims a trace, and the exponent of its reliability")
    temperature: float = Field(0.0, ge=0.0)
    top_p: float = Field(1.0, gt=0.0, le=1.0)
    max_tokens: int = Field(512, ge=16, description="of an answer of the verifier")
    extra: dict[str, Any] = Field({}, description="passed through to the engine, and recorded")


class Claims(Section):
    """Intermediate claims, checked exactly and by a model; the policy is decided in the selection."""

    scope: Literal["all", "accepted", "none"] = Field("all", description="accepted: traces judged `correct` alone")
    drop: Literal["final", "any", "none"] = Field(
        "final", description="a refuted claim there drops a trace; elsewhere it lowers score and weight"
    )
    model: ModelVerifier | None = Field(None, description="the model as its own verifier; {} with the defaults")
    min_reliability: Share | None = Field(None, description="a lower reliability r by the model drops a trace")


class Learning(Asked):
    """Length-normalised NLL of every proven trace under a student, compared inside domain and length.

    The measure and its use are the VibeThinker-3B report's (arXiv 2606.16140), which gives no numbers: these are
    our own. Where neither `sampler` nor `model` names the student, it is `publish.student`, else the first live
    sampler's model, else `bundled`.
    """

    min_tokens: int = Field(32, ge=0, description="shorter traces are left out: `too_short`")
    buckets: int = Field(4, ge=1, description="of equally many traces by length, in each domain")
    outlier_quantile: Share = Field(0.99, description="of a bucket's NLL; above it: `nll_outlier`")
    prefer: tuple[Share, Share] = Field(
        (0.4, 0.99), description="quantiles of a bucket's NLL that are taken first where a cap must choose"
    )
    only_preferred: bool = Field(False, description="whether the others are left out: `low_potential`")


class Quality(Section):
    """What counts as degenerate; measured once, decided in the selection."""

    max_repetition: Share = Field(0.5, description="repetition above it drops a trace")
    learning: Learning | None = Field(None, description="learning potential under a student; null: not measured")


class Dedup(Section):
    """MinHash near-duplicates: Jaccard thresholds within a problem and across problems."""

    threshold_within: Share = 0.8
    threshold_across: Share = 0.9
    permutations: int = Field(128, ge=16, le=1024)
    shingle: Literal["words", "chars", "tokens"] = "words"
    shingle_size: int = Field(5, ge=1, le=64)
    against: tuple[PinnedVersion, ...] = Field(
        (),
        description="published versions, NAME@vN: traces that repeat one they kept are dropped as `in_previous`; "
        "a trace with the same id is the same trace, and stays",
    )


class LongToShort(Section):
    """Stage 1: long chain of thought, several correct paths. Stage 2: short answers."""

    strategy: Literal["long_to_short"] = "long_to_short"
    short_forms: tuple[Literal["sample", "final", "answer"], ...] = Field(
        ("sample", "final", "answer"), description="what may stand in stage 2, best first"
    )
    max_short_ratio: Share = Field(0.5, description="a short sample's length over stage 1's")


class BroadToHard(Section):
    """Stage 1: everything that passed. Stage 2: long traces of hard problems.

    Defaults from the VibeThinker-3B report (arXiv 2606.16140): at least 5,000 tokens and an error rate of
    at least 0.75 over 8 rollouts of a reference model.
    """

    strategy: Literal["broad_to_hard"]
    min_tokens: int = Field(5000, ge=0)
    min_error_rate: Share = 0.75
    reference: str | None = Field(None, description="the sampler whose error rate decides; None: all")


def _strategy(value: Any) -> Any:
    return {"strategy": "long_to_short", **value} if isinstance(value, dict) else value


Curriculum = Annotated[
    Annotated[LongToShort | BroadToHard, Field(discriminator="strategy")], BeforeValidator(_strategy)
]


class Publish(Section):
    """How the version is written."""

    student: str | None = Field(None, description="model whose tokenizer counts; None: the first vllm sampler's")
    render: Literal["messages", "text"] = "messages"
    allow_licenses: tuple[str, ...] = Field((), description="restrictive ones to let through; `unknown` too")
    messages: bool = Field(False, description="also write a `messages` config")


class Recipe(Section):
    """A whole run."""

    name: Name
    seed: int = 0
    problems: Problems = Problems()
    prompt: Prompt = Prompt()
    samplers: tuple[Sampler, ...] = (Sampler(),)
    verify: Verify = Verify()
    claims: Claims = Claims()
    quality: Quality = Quality()
    decontaminate: Decontaminate = Decontaminate()
    dedup: Dedup = Dedup()
    curriculum: Curriculum = LongToShort()
    select: Select = Select()
    publish: Publish = Publish()

    @model_validator(mode="after")
    def _consistent(self) -> Recipe:
        names = [sampler.name for sampler in self.samplers]
        if len(set(names)) < len(names):
            raise ValueError("samplers: two samplers have the same name")
        live = any(not isinstance(sampler.engine, ReplayEngine) for sampler in self.samplers)
        if live and not self.problems.sources:
            raise ValueError("problems.sources: a sampling engine needs at least one source of problems")
        for domain in self._domains():
            if domain not in DOMAINS and domain not in self.verify.verifiers:
                near = difflib.get_close_matches(domain, DOMAINS, 1)
                hint = f"did you mean '{near[0]}'? " if near else ""
                raise ValueError(f"no verifier for domain '{domain}'; {hint}name one under verify.verifiers")
        return self

    @model_validator(mode="after")
    def _whom_to_ask(self) -> Recipe:
        section, labels = self.claims.model, self.problems.pseudo_labels
        if labels and labels.by == "clr" and (section is None or section.scope != "all"):
            raise ValueError("problems.pseudo_labels.by: clr needs claims.model, with scope all")
        live = [sampler.name for sampler in self.samplers if not isinstance(sampler.engine, ReplayEngine)]
        if section and section.model is None and not live:
            raise ValueError("claims.model.model: no sampler here has a model to judge with, so name one")
        for place, asked in (("claims.model", section), ("quality.learning", self.quality.learning)):
            if asked and asked.sampler is not None and asked.sampler not in live:
                raise ValueError(f"{place}.sampler: no sampler '{asked.sampler}' with a model; there are: {live}")
        return self

    def _domains(self) -> Iterator[str]:
        for source in self.problems.sources:
            yield source.domain
        for sampler in self.samplers:
            if isinstance(sampler.engine, ReplayEngine):
                yield sampler.engine.domain
        yield from self.select.mix

    def resolved(self) -> dict[str, Any]:
        """Every value spelled out, as JSON-like data."""
        return self.model_dump(mode="json")

    def digest(self) -> str:
        """Digest of the resolved recipe, wherever its engines are."""
        return digest(self.published())

    def published(self) -> dict[str, Any]:
        """The resolved recipe without the addresses of servers, which decide nothing and concern nobody."""
        recipe = self.resolved()
        asked = filter(None, (recipe["claims"]["model"], recipe["quality"]["learning"]))
        for section in (*recipe["samplers"], *asked):
            (section["engine"] or {}).pop("endpoints", None)
        return recipe
