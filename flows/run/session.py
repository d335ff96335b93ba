"""One run's open resources: its folder and lock, the worker processes, the models, the engine."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from threading import Event
from typing import Any

import orjson

from proofmill.data.errors import UsageError
from proofmill.data.files import digest, sha256, write_json
from proofmill.data.run import Run, library_version, source_digest
from proofmill.data.samples import SampleStore
from proofmill.data.versions import Version, versions
from proofmill.flows.recipe.engines import ReplayEngine
from proofmill.flows.recipe.options import dedup_options, verify_options
from proofmill.flows.recipe.schema import Recipe, Sampler
from proofmill.flows.run import origin, previous, resampling
from proofmill.flows.run.asked import AskedPlans
from proofmill.flows.run.engines import engine_of, model_of
from proofmill.flows.run.log_file import logged
from proofmill.flows.run.pools import Pools
from proofmill.flows.run.progress import Progress, current
from proofmill.flows.stages.keys import PROBLEMS, STAGES
from proofmill.generators import models
from proofmill.generators.engines.base import Engine, EngineFacts
from proofmill.generators.prompts import PromptStyle, Renderer, check_templates
from proofmill.generators.sample_plan import SamplePlan

_TOKEN_BYTES = 4  # of English, about
OPENED: ContextVar[Session | None] = ContextVar("session", default=None)
"""The session of whoever calls the flow, so that an engine can load before Prefect is there."""


@dataclass
class Session:
    """Everything a stage may use. One process holds one session on a run at a time.

    Attributes:
        recipe: the resolved recipe.
        home: HOME.
        limit: the first so many problems only; None: all.
        resample: set recorded samples aside and draw new ones.
        sample: draw what is missing; False: go on with what is recorded.
        looking: say what would be done and change nothing.
        progress: told what happens.
        stores, engines, facts: by sampler, as they are opened.
        problem_facts: ledgers of the problem stage.
        requested: samples that live samplers were asked for.
        unanswered: whether some samples have no answer yet and may be asked again, so that the run is never done.
        stopping: set where sampling is to end before its time.
    """

    recipe: Recipe
    home: Path
    limit: int | None = None
    resample: bool = False
    sample: bool = True
    looking: bool = False
    progress: Progress = field(default_factory=current)
    stores: dict[str, SampleStore] = field(default_factory=dict)
    engines: dict[str, Engine] = field(default_factory=dict)
    facts: dict[str, EngineFacts] = field(default_factory=dict)
    problem_facts: dict[str, Any] = field(default_factory=dict)
    requested: int = 0
    unanswered: bool = False
    stopping: Event = field(default_factory=Event)
    _stack: ExitStack = field(default_factory=ExitStack)

    @contextmanager
    def opened(self) -> Iterator[Session]:
        """Holds the run's lock until all is done, then ends every process that was started."""
        if self.resample and self.limit is not None:
            raise UsageError(
                "A part of the problems can't be sampled anew: recorded samples are set aside all together.",
                where="--resample with --limit",
                remedy="leave one of them out; another seed draws other samples and keeps the recorded ones",
            )
        _ = self.previous  # an index that can't be used is an error now, not after hours of sampling
        with self._stack:
            self._stack.enter_context(self.run.opened())
            self._stack.enter_context(logged(self.run.folder / "run.log"))
            self._stack.enter_context(resampling.ended_in_vain(self.run.folder))
            yield self

    @cached_property
    def run(self) -> Run:
        """The run's folder."""
        return Run(self.home, self.recipe.name, self.recipe.resolved() | {"limit": self.limit})

    @cached_property
    def background(self) -> ThreadPoolExecutor:
        """The sampler's thread; it lives as long as the session, as an engine dies with the thread that started it."""
        return self._stack.enter_context(ThreadPoolExecutor(1, thread_name_prefix="sampler"))

    @cached_property
    def pools(self) -> Pools:
        """The worker processes."""
        return Pools(verify_options(self.recipe), self.run.folder, self._stack)

    def verifier(self) -> tuple[Any, ...]:
        """What a verdict depends on besides problem, trace and code: custom verifiers by their source, and limits."""
        section = self.recipe.verify
        custom = {name: source_digest(place.partition(":")[0]) for name, place in section.verifiers.items()}
        return custom, (section.cpu_seconds, section.memory_mb, section.jail.model_dump())

    @property
    def live(self) -> list[Sampler]:
        """The samplers that have a model."""
        return [sampler for sampler in self.recipe.samplers if not isinstance(sampler.engine, ReplayEngine)]

    @cached_property
    def plans(self) -> list[SamplePlan]:
        """The live samplers, with their models on this machine."""
        return [self.plan(sampler) for sampler in self.live]

    def plan(self, sampler: Sampler) -> SamplePlan:
        """What a sampler is to draw, and by what."""
        style = self.style
        model = model_of(sampler, self.progress.note)
        sampling = sampler.sampling
        return SamplePlan(
            name=sampler.name,
            model=model,
            renderer=Renderer(model.path),
            style=style,
            sampling=sampling.decoding(),
            engine=sampler.engine.model_dump(mode="json"),
            n=sampling.n,
            seed=self.recipe.seed,
            domains=sampler.domains,
            rounds=sampling.rule,
            max_total_tokens=sampling.max_total_tokens,
        )

    @cached_property
    def _asked(self) -> AskedPlans:
        return AskedPlans(self)

    @property
    def claim_judge(self) -> SamplePlan | None:
        """The model that judges claims; None where none does."""
        section = self.recipe.claims.model
        return self._asked.of(section, "claims", None) if section else None

    @property
    def scorer(self) -> SamplePlan | None:
        """The student that says how likely a trace is; None where none is asked."""
        section = self.recipe.quality.learning
        if section is None:
            return None
        known = None if self.live else models.BUNDLED
        return self._asked.of(section, "learning", self.recipe.publish.student or known)

    @cached_property
    def style(self) -> PromptStyle:
        """How prompts are rendered."""
        section = self.recipe.prompt
        check_templates(section.templates)
        return PromptStyle(section.system, section.templates, section.chat_template_args, self.recipe.verify.verifiers)

    @cached_property
    def student(self) -> Renderer | None:
        """The tokenizer that published rows are counted and rendered with; None in a replay that names none."""
        name = self.recipe.publish.student
        if name is None:
            return self.plans[0].renderer if self.plans else None
        return Renderer(models.resolve(name, notice=self.progress.note, weights=False).path)

    def engine(self, plan: SamplePlan) -> Engine:
        """The engine of a plan; another plan's ends first, since two never share a GPU, the last with the session."""
        if plan.name not in self.engines:
            self.end_engines()
            log_file, trials = self.run.folder / "engine.log", self._asked.trials(plan)
            self.engines[plan.name] = engine_of(plan, self.home, log_file, self.progress, trials)
            self._stack.callback(self.engines[plan.name].close)
        return self.engines[plan.name]

    def release(self, plan: SamplePlan) -> None:
        """Ends a plan's engine where no later phase goes on with it."""
        if plan.name not in self.asked_later and plan.name in self.engines:
            self.engines.pop(plan.name).close()

    def end_engines(self) -> None:
        """Ends every engine: no phase asks a model any more."""
        for name in list(self.engines):
            self.engines.pop(name).close()

    @property
    def asked_later(self) -> set[str]:
        """Names of the plans whose engine is asked again after the judges."""
        return {plan.name for plan in (self.claim_judge, self.scorer) if plan}

    def loaded(self, plan: SamplePlan, engine: Engine) -> EngineFacts:
        """Waits for a plan's engine and remembers what it says of itself."""
        self.facts[plan.name] = engine.ready()
        write_json(self.run.folder / f"engine-{plan.name}.json", asdict(self.facts[plan.name]))
        return self.facts[plan.name]

    @property
    def problems_key(self) -> str:
        """Key of the problem stage."""
        return PROBLEMS.key(self.inputs, self.drawn_each)

    @property
    def drawn_each(self) -> tuple[int, int]:
        """Live samples a problem and their bytes, half of what they may have: how many problems make a shard."""
        asked = [sampler.sampling for sampler in self.live]
        tokens = sum(sampling.most * sampling.max_tokens for sampling in asked)
        return max(1, sum(sampling.most for sampling in asked)), tokens * _TOKEN_BYTES // 2

    def finished(self, version: dict[str, Any]) -> None:
        """Remembers that nothing is left to do for this recipe, these inputs and this code."""
        if not self.sample:
            return
        resampling.end(self.run.folder)
        if self.unanswered:
            return
        path = self.run.folder / "finished.json"
        known = orjson.loads(path.read_bytes()) if path.exists() else {}
        write_json(path, known | {digest(self.fingerprint): _said(version["version"], Path(version["folder"]))})

    def already(self) -> Version | None:
        """The version that a finished run with the same recipe, inputs and code has published."""
        path = self.run.folder / "finished.json"
        if self.anew or not path.exists():
            return None
        said = orjson.loads(path.read_bytes()).get(digest(self.fingerprint))
        found = (v for v in versions(self.home, self.recipe.name) if _said(v.label, v.folder) == said)
        return next(found, None) if said else None

    @property
    def anew(self) -> bool:
        """Whether recorded samples are not used: by `--resample`, or by an earlier one that was interrupted."""
        return self.resample or resampling.read(self.run.folder).open

    @contextmanager
    def store(self, plan: SamplePlan) -> Iterator[SampleStore]:
        """A plan's recorded samples, locked while it samples and readable afterwards."""
        with plan.store(self.home) as store:
            if self._resampling.open and plan.name not in self.stores:
                store.set_aside(f"{self.recipe.name}-{self.generation}")
            self.stores[plan.name] = store
            yield store

    def engine_facts(self) -> dict[str, Any]:
        """What each sampler's engine said of itself when it last ran for this run."""
        found = {}
        for plan in self.plans:
            path = self.run.folder / f"engine-{plan.name}.json"
            found[plan.name] = orjson.loads(path.read_bytes()) if path.exists() else None
        return found

    @cached_property
    def generation(self) -> int:
        """How often this run was told to sample anew; it belongs to the keys of its samples."""
        return self._resampling.count

    @cached_property
    def _resampling(self) -> resampling.Resampling:
        return resampling.begun(self.run.folder, asked=self.resample, keep=not self.looking)

    @cached_property
    def previous(self) -> list[Version]:
        """The published versions whose rows this run doesn't repeat."""
        return previous.indexed(self.home, self.recipe.dedup.against, dedup_options(self.recipe))

    @cached_property
    def inputs(self) -> dict[str, Any]:
        """What the problems and recorded samples come from, files by their digest."""
        return {**origin.identity(self.recipe, self.home), "limit": self.limit, **self._unlabelled}

    @property
    def _unlabelled(self) -> dict[str, bool]:
        return {"unlabelled": True} if self.recipe.problems.pseudo_labels else {}

    @cached_property
    def fingerprint(self) -> dict[str, Any]:
        """All that decides what this run publishes: if nothing of it changed, there is nothing to do."""
        return {
            "recipe": self.recipe.published(),
            "inputs": self.inputs,
            "models": [models.stamp(name) for name in self._named],
            "verifiers": self.verifier()[0],
            "previous": previous.digests(self.previous),
            "benchmarks": [benchmark.identity() for benchmark in self.recipe.decontaminate.benchmarks],
            "code": {stage.name: [source_digest(name) for name in stage.code] for stage in STAGES},
            "libraries": {name: library_version(name) for stage in STAGES for name in stage.libraries},
        }

    @property
    def _named(self) -> list[str]:
        """All models that the recipe names."""
        sections = [section for section in (self.recipe.claims.model, self.recipe.quality.learning) if section]
        named = [asked.model for asked in (*self.live, *sections)] + [self.recipe.publish.student]
        return [name for name in named if name is not None]


def _said(label: str, folder: Path) -> dict[str, str]:
    """What a version is known by again: a label alone may be given anew, after its folder was removed."""
    return {"version": label, "manifest": sha256(folder / "manifest.json")}


@contextmanager
def session_for(recipe: Recipe, home: Path, limit: int | None, resample: bool, sample: bool) -> Iterator[Session]:
    """The session that the caller has opened for this very run, else a new one."""
    wanted = (recipe, home, limit, resample, sample)
    mine = OPENED.get()
    if mine is not None and (mine.recipe, mine.home, mine.limit, mine.resample, mine.sample) == wanted:
        yield mine
        return
    with Session(*wanted).opened() as session:
        yield session


def home_folder(given: str | None) -> Path:
    """HOME: `--home`, else `$PROOFMILL_HOME`, else `./proofmill-home`.

    Raises:
        UsageError: the place exists and is a file.
    """
    home = Path(given or os.environ.get("PROOFMILL_HOME") or "proofmill-home").expanduser()
    if home.exists() and not home.is_dir():
        raise UsageError(f"{home} is a file, not a folder.", remedy="choose another place with --home")
    return home
