"""The models of a run: the one that each sampler and each model filter asks, and the engine that is loaded."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import orjson

from proofmill.data.errors import EngineError, UsageError
from proofmill.data.files import digest, write_json
from proofmill.data.model_versions import find_model
from proofmill.data.samples import SampleStore
from proofmill.data.sections import LiveEngine, ModelSection, OpenAIEngine, VllmEngine
from proofmill.filters.contamination import CONTAMINATION
from proofmill.filters.learning_potential import NLL
from proofmill.filters.reliability import RELIABILITY
from proofmill.filters.verification import VERDICTS
from proofmill.flows.cluster_engines import NodeEngines, hosted
from proofmill.flows.display import Progress
from proofmill.flows.recipe.schema import ClusterOptions, NodeEngineOptions, Recipe, Sampler, rewriting_of
from proofmill.generators import models
from proofmill.generators.engines.base import Engine, EngineFacts, Request
from proofmill.generators.engines.kept import KEPT, KeptEngine
from proofmill.generators.engines.openai import ServerEngine, check_access
from proofmill.generators.engines.openai_client import ServerOptions
from proofmill.generators.engines.restarting import RestartingEngine
from proofmill.generators.engines.vllm import VllmProcess
from proofmill.generators.models import Model, Notice
from proofmill.generators.prompts import PromptStyle, Renderer, check_templates
from proofmill.generators.rounds import MoneyCap
from proofmill.generators.sample_plan import SamplePlan

JSON_TRIAL = Request("json", (0,), 0, {"json_schema": {"type": "object"}}, None, ({"role": "user", "content": "1"},))
SCORE_TRIAL = Request("score", (0, 1), 0, {}, 1)


class ModelPool:
    """Plans of all models that a run asks, their recorded samples, and at most one loaded engine.

    Two models never share a GPU: another plan's engine ends before one is started.

    Args:
        recipe: names the models.
        home: HOME.
        folder: of the run, for logs and the engines' facts.
        progress: is notified of deaths and retries.
        generation: how often this run was told to sample anew; part of the keys of its samples.
        resampling: whether recorded samples are being replaced.
        stack: closes the engines when it ends.
    """

    def __init__(
        self,
        recipe: Recipe,
        home: Path,
        folder: Path,
        progress: Progress,
        *,
        generation: int,
        resampling: bool,
        stack: ExitStack,
    ) -> None:
        self.generation = generation
        self.stores: dict[str, SampleStore] = {}
        self.engines: dict[str, Engine] = {}
        self._recipe, self._home, self._folder, self._progress = recipe, home, folder, progress
        self._resampling, self._stack = resampling, stack
        self._kept = KEPT.get()  # here, since engines are asked for in other threads

    @cached_property
    def styles(self) -> Callable[[str | None], PromptStyle]:
        """How prompts are rendered for a trace's sampler, as `prompt_styles` returns it."""
        return prompt_styles(self._recipe)

    @property
    def style(self) -> PromptStyle:
        """How a prompt is rendered that is no one sampler's."""
        return self.styles(None)

    @cached_property
    def plans(self) -> list[SamplePlan]:
        """The live samplers, with their models on this machine."""
        return [self._plan(sampler) for sampler in self._recipe.live]

    def _plan(self, sampler: Sampler) -> SamplePlan:
        model = model_of(sampler, self._progress.note)
        sampling, route = sampler.sampling, self._recipe.route
        teacher = next((t for t in route.teachers if t.sampler == sampler.name), None) if route else None
        limits = [sampling.max_total_tokens, teacher.max_tokens if teacher else None]
        return SamplePlan(
            name=sampler.name,
            model=model,
            renderer=Renderer(model.path),
            style=prompt_style(self._recipe, sampler),
            sampling=sampling.decoding(),
            engine=sampler.engine.model_dump(mode="json"),
            n=sampling.n,
            seed=self._recipe.seed,
            domains=sampler.domains,
            never=route.large_only if route and sampler.name == self._recipe.small else (),
            rounds=sampling.rule,
            max_total_tokens=min((limit for limit in limits if limit is not None), default=None),
            max_cost=MoneyCap(teacher.max_cost, teacher.price, teacher.prompt_price)
            if teacher and teacher.max_cost is not None
            else None,
        )

    @cached_property
    def claim_judge(self) -> SamplePlan | None:
        """The model that judges claims; None where none does."""
        section = self._recipe.options(RELIABILITY).model
        return self._filter_plan(section, "claims", None) if section else None

    @cached_property
    def answer_judge(self) -> SamplePlan | None:
        """The model that judges answers which rules could not decide; None where none does."""
        section = self._recipe.options(VERDICTS).judge
        return self._filter_plan(section, "judge", None) if section else None

    @cached_property
    def near_judge(self) -> SamplePlan | None:
        """The model that compares problems with benchmark items near them; None where none does."""
        meaning = self._recipe.options(CONTAMINATION).meaning
        return self._filter_plan(meaning.judge, "near", None) if meaning and meaning.judge else None

    @cached_property
    def topic_namer(self) -> SamplePlan | None:
        """The model that names topics of problems; None where none does."""
        section = self._recipe.problems.topics
        return self._filter_plan(section, "topics", None) if section else None

    @cached_property
    def rewriter(self) -> SamplePlan | None:
        """The model that condenses proven traces; None where none does."""
        section = rewriting_of(self._recipe)
        return self._filter_plan(section, "rewriting", None) if section else None

    @cached_property
    def scorer(self) -> SamplePlan | None:
        """The student that scores how likely a trace is; None where none is asked for."""
        section = self._recipe.options(NLL)
        if section is None:
            return None
        default = None if self._recipe.live else models.BUNDLED
        return self._filter_plan(section, "learning", self._recipe.publish.student or default)

    @cached_property
    def expander(self) -> SamplePlan | None:
        """The model that writes new problems; None where none does."""
        section = self._recipe.problems.expand
        return self._filter_plan(section, "expand", None) if section and section.by_model else None

    @cached_property
    def problem_judge(self) -> SamplePlan | None:
        """The model that judges new problems: its own, or the one that writes them; None where none judges."""
        section, judge = (
            self._recipe.problems.expand,
            self._recipe.problems.expand and self._recipe.problems.expand.judge,
        )
        if section is None or judge is None or not section.by_model:
            return None
        named = judge.sampler is not None or judge.model is not None
        return self._filter_plan(judge, "problem_judge", None) if named else self.expander

    @cached_property
    def _own_plans(self) -> dict[tuple[str, str], SamplePlan]:
        return {}

    def _filter_plan(self, section: ModelSection, purpose: str, model: str | None) -> SamplePlan:
        """Return the plan that a model filter's section names.

        Two sections that name the same model and engine get the same plan. Of several samplers with the model the
        last one is taken, since its engine may still be loaded.

        Args:
            section: of the recipe.
            purpose: names a plan that belongs to no sampler: `PURPOSE:model`, which no sampler can be called.
            model: for a section that names none; None: the first live sampler's.
        """
        if section.sampler is not None:
            return next(plan for plan in self.plans if plan.name == section.sampler)
        live = self._recipe.live
        name = section.model or model or live[0].model
        for sampler in reversed(live):
            if _spelled(sampler.model) == _spelled(name) and section.engine in (None, sampler.engine):
                return next(plan for plan in self.plans if plan.name == sampler.name)
        return self._own_plan(purpose, name, section.engine or VllmEngine())

    def _own_plan(self, purpose: str, model: str, engine: LiveEngine) -> SamplePlan:
        key = _spelled(model), engine.model_dump_json()
        if key not in self._own_plans:
            plan = self._plan(Sampler(name=purpose, model=model, engine=engine))
            self._own_plans[key] = replace(plan, name=f"{purpose}:model", sampling={}, n=1)
        return self._own_plans[key]

    @cached_property
    def student(self) -> Renderer | None:
        """The tokenizer that published rows are counted and rendered with; None in a replay that names none."""
        name = self._recipe.publish.student
        if name is None:
            return self.plans[0].renderer if self.plans else None
        return Renderer(models.resolve(name, notice=self._progress.note, weights=False).path)

    # --- engines ---------------------------------------------------------------------------------------

    def engine(self, plan: SamplePlan) -> Engine:
        """Return the engine of a plan; another plan's engine is ended first, the last one with the run."""
        if plan.name not in self.engines:
            self.end_engines()
            log_file = self._folder / "engine.log"
            trials = self._trials(plan)
            cluster = self._recipe.cluster if node_engines(self._recipe) else None
            self.engines[plan.name] = engine_of(plan, self._home, log_file, self._progress, trials, self._kept, cluster)
            self._stack.callback(self.engines[plan.name].close)
        return self.engines[plan.name]

    def _trials(self, plan: SamplePlan) -> list[Request]:
        """Return requests like those that model filters will send to a plan's engine."""
        judges = (self.answer_judge, self.near_judge, self.claim_judge, self.topic_namer)
        asked = [*((judge, JSON_TRIAL) for judge in judges), (self.scorer, SCORE_TRIAL)]
        if (expand := self._recipe.problems.expand) and expand.structured:
            asked += [(self.expander, JSON_TRIAL), (self.problem_judge, JSON_TRIAL)]
        return [trial for other, trial in asked if other and other.name == plan.name]

    def unavailable(self, plan: SamplePlan) -> str | None:
        """Return why no server of a plan answers now; None where one does, or its engine is none of servers.

        Raises:
            EngineError: all of them refuse the run, or the variable with the key is not set.
        """
        if plan.engine["kind"] != "openai":
            return None
        return check_access(servers_of(plan.name, plan.engine, plan.style.chat_template_args))

    def discard(self, plan: SamplePlan) -> None:
        """End a plan's engine; whoever asks the model next gets a new one."""
        if plan.name in self.engines:
            self.engines.pop(plan.name).close()

    def release(self, plan: SamplePlan) -> None:
        """End a plan's engine unless a model filter still needs it."""
        asked = (self.answer_judge, self.near_judge, self.claim_judge, self.scorer, self.topic_namer, self.rewriter)
        later = {other.name for other in asked if other}
        if plan.name not in later:
            self.discard(plan)

    def end_engines(self) -> None:
        """End every engine."""
        for name in list(self.engines):
            self.engines.pop(name).close()

    def loaded(self, plan: SamplePlan, engine: Engine) -> EngineFacts:
        """Wait for a plan's engine and record its facts."""
        facts = engine.ready()
        write_json(self._folder / f"engine-{plan.name}.json", asdict(facts))
        return facts

    def engine_facts(self) -> dict[str, Any]:
        """Return the recorded facts of each sampler's engine, as of when it last ran for this run."""
        facts = {}
        for plan in self.plans:
            path = self._folder / f"engine-{plan.name}.json"
            facts[plan.name] = orjson.loads(path.read_bytes()) if path.exists() else None
        return facts

    # --- recorded samples --------------------------------------------------------------------------------

    @contextmanager
    def store(self, plan: SamplePlan) -> Iterator[SampleStore]:
        """Open a plan's recorded samples: locked while the block runs, readable afterwards."""
        with plan.store(self._home) as store:
            if self._resampling and plan.name not in self.stores:
                store.set_aside(f"{self._recipe.name}-{self.generation}")
            self.stores[plan.name] = store
            yield store


def node_engines(recipe: Recipe) -> NodeEngineOptions | None:
    """Return what an engine on a cluster's node takes; None where no engine of a run is hosted there."""
    cluster = recipe.cluster
    if cluster.address is None or cluster.engines.count == 0:
        return None
    asked = [section for _, section, _ in recipe.asked() if section and section.sampler is None]
    engines = [sampler.engine for sampler in recipe.live] + [section.engine or VllmEngine() for section in asked]
    return cluster.engines if any(isinstance(engine, VllmEngine) for engine in engines) else None


def model_of(sampler: Sampler, notice: Notice) -> Model:
    """Return the model of a sampler; for a served one, the local tokenizer and the stated weights.

    Raises:
        InputError, EngineError: it can't be found or fetched.
    """
    engine = sampler.engine
    if not isinstance(engine, OpenAIEngine):
        return models.resolve(sampler.model, notice=notice)
    model = models.resolve(sampler.model, notice=notice, weights=False)
    name = engine.served.rstrip("/").rpartition("/")[2] if engine.served and engine.served[0] == "/" else engine.served
    name = name or model.name
    stated = digest("served", name, engine.revision, model.digest)
    return replace(model, name=name, revision=engine.revision or "as served", digest=stated)


def prompt_style(recipe: Recipe, sampler: Sampler | None = None) -> PromptStyle:
    """Return how prompts are rendered for a sampler; None: where the prompt is no one sampler's.

    Raises:
        RecipeError: a template has no place for the problem.
    """
    section, templates = recipe.prompt, recipe.prompt.templates
    check_templates(templates, "prompt")
    if sampler is not None:
        check_templates(sampler.templates, f"samplers.{sampler.name}")
        templates = {**templates, **sampler.templates}
    return PromptStyle(section.system, templates, section.chat_template_args, recipe.options(VERDICTS).verifiers)


def prompt_styles(recipe: Recipe) -> Callable[[str | None], PromptStyle]:
    """Return what gives the style of a trace's sampler by its name.

    Recorded samples may name models that are no samplers of the recipe; they are rendered as where there is none.
    """
    plain, own = prompt_style(recipe), {sampler.name: prompt_style(recipe, sampler) for sampler in recipe.samplers}
    return lambda name: plain if name is None else own.get(name, plain)


def engine_of(
    plan: SamplePlan,
    home: Path,
    log_file: Path,
    progress: Progress,
    trials: Sequence[Request] = (),
    kept: KeptEngine | None = None,
    cluster: ClusterOptions | None = None,
) -> Engine:
    """Return the engine of a plan, not started.

    Args:
        plan: the sampler.
        home: HOME; prompts in quarantine are kept beside the plan's samples.
        log_file: receives what an engine on this machine prints.
        progress: is notified of deaths and retries.
        trials: examples of the requests that will come besides samples; a server that can't do them is refused at once.
        kept: keeps engines on this machine for the next run; None: they end with their run.
        cluster: whose nodes host it; None: this machine does.

    Raises:
        EngineError: the environment variable with the API key is not set.
    """
    options = dict(plan.engine)
    own: Callable[[], Engine] = lambda: VllmProcess(plan.model.path, options, log_file)  # noqa: E731
    same = digest(plan.model.digest, options)
    make = (lambda: kept.lent(same, own)) if kept else own
    if cluster:
        there = partial(hosted, plan.model, options, cluster.engines.gpus, log_file.absolute().parent)
        make = lambda: NodeEngines(cluster, there, options.get("restarts", 0), progress)  # noqa: E731
    if options["kind"] == "openai":
        servers = replace(servers_of(plan.name, options, plan.style.chat_template_args), trials=tuple(trials))
        make = lambda: ServerEngine(servers, plan.sampling, progress)  # noqa: E731
    quarantine = plan.quarantine(home)
    return RestartingEngine(make, progress, restarts=options.get("restarts", 0), quarantine=quarantine)


_SERVER = re.compile(r"https?://")


def server_named(name: str) -> tuple[OpenAIEngine, str] | None:
    """Return the server and the model that `ADDRESS#MODEL` names; None where a text is no address.

    Raises:
        UsageError: it doesn't say which model is served.
    """
    if not _SERVER.match(name):
        return None
    address, _, served = name.partition("#")
    if not served:
        raise UsageError(
            f"{name!r} doesn't say which model it serves, whose chat template renders the problems.",
            remedy=f"write ADDRESS#MODEL with a hub id or a folder: {name}#org/model",
        )
    return OpenAIEngine(kind="openai", endpoints=(address,)), served


def judge_named(name: str, home: Path) -> dict[str, Any]:
    """Return the section of a model to ask that a command line names: a server, a trained model, or as in a recipe.

    Raises:
        UsageError: as `server_named`; NAME@vN that is not there.
    """
    if server := server_named(name):
        return {"engine": server[0].model_dump(mode="json"), "model": server[1]}
    trained = None if Path(name).expanduser().is_dir() else find_model(home, name)
    return {"model": str(trained.folder) if trained else name}


def with_count(error: EngineError, who: str, done: str) -> EngineError:
    """Return an engine's error that also says how much was done before it, all of which is kept."""
    told = f"{error.what.rstrip('.')}. {who}: {done} are done and kept."
    return EngineError(told, where=error.where, remedy=error.remedy)


def servers_of(name: str, options: Mapping[str, Any], chat_template_args: Mapping[str, Any]) -> ServerOptions:
    """Return the options of the servers of an engine `openai`.

    Raises:
        EngineError: the environment variable with the API key is not set.
    """
    variable = options["api_key_env"]
    key = os.environ.get(variable) if variable else None
    if variable and not key:
        raise EngineError(
            f"The environment variable {variable} is not set.",
            where=f"recipe key engine.api_key_env of {name}",
            remedy=f"export {variable}=... where proofmill runs, or leave api_key_env out",
        )
    return ServerOptions(
        endpoints=tuple(options["endpoints"]),
        folder=Path(options["endpoints_from"]).expanduser() if options["endpoints_from"] else None,
        served=options["served"],
        api=options["api"],
        key=key,
        key_env=variable,
        window=options["window"],
        timeout_s=options["timeout_s"],
        retries=options["retries"],
        wait_s=options["wait_s"],
        max_model_len=options["max_model_len"],
        chat_template_args=chat_template_args,
    )


def _spelled(model: str) -> str:
    """Return the same text for two spellings of one folder."""
    folder = Path(model).expanduser()
    return str(folder.resolve()) if folder.is_dir() else model
