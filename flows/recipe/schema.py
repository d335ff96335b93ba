"""The typed recipe: what a run does. Strict, and every section has defaults that work.

The sections of filters stand beside the filters (`Filter.section`, `Filter.options`) and are read off the catalog, so
a new filter's section is known here without a line.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import polars as pl
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model, field_validator, model_validator

from proofmill.data.errors import RecipeError
from proofmill.data.files import digest
from proofmill.data.schemas import PROBLEMS, SHARD_TRACES, SPLIT_COLUMNS
from proofmill.data.sections import (
    Engine,
    FieldMap,
    ModelSection,
    Name,
    Needs,
    ReplayEngine,
    Section,
    Share,
    VllmEngine,
)
from proofmill.filters.base import Filter, GatherFilter, MapFilter, ProblemFilter
from proofmill.filters.caps import CapOptions
from proofmill.filters.catalog import FILTERS, reasons, trace_schema
from proofmill.filters.contamination import CONTAMINATION
from proofmill.filters.curriculum import REWRITTEN, CurriculumOptions, LongToShort
from proofmill.filters.domains import DOMAINS
from proofmill.filters.learning_potential import NLL
from proofmill.filters.pairs import PairOptions
from proofmill.filters.reliability import RELIABILITY
from proofmill.filters.rewriting import Rewriting
from proofmill.filters.routing import RouteOptions
from proofmill.filters.runner import filter_at
from proofmill.filters.selection import RULE_COLUMNS, SelectOptions
from proofmill.filters.step_labels import StepLabelOptions
from proofmill.filters.topics import NO_TOPIC, TopicOptions
from proofmill.filters.verification import VERDICTS
from proofmill.flows.recipe.faults import explained
from proofmill.flows.recipe.improving import ImproveOptions
from proofmill.flows.recipe.training import TrainOptions
from proofmill.generators.problems.operators import ExpandOptions
from proofmill.generators.problems.untidy import Untidiness
from proofmill.generators.rounds import Rounds

Options = TypeVar("Options", bound=Section)


class _Source(Section):
    """What all sources have."""

    label: str | None = Field(None, description="what rows call the source; None: its own name")
    untidy: Untidiness | None = Field(None, description="ask every problem in this untidy way; its answer stays")


class ProceduralSource(_Source):
    """Problems made by a reasoning-gym task, each with a scorer."""

    kind: Literal["procedural"]
    task: str = Field(description="name of the task in reasoning-gym")
    args: dict[str, Any] = Field({}, description="parameters of the task")
    count: int = Field(100, ge=1, description="problems to make; held-out ones among them are left out")
    seed: int | None = Field(None, description="None: derived from the recipe's seed")
    held_out: bool = Field(
        False, description="for evaluation: only the questions that other runs leave out, one of eight"
    )
    domain: str = Field("logic", description="`math` judges numeric answers by value, `logic` by the scorer")
    license: str = Field("apache-2.0", description="licence of the problems")


class FileSource(_Source):
    """Problems from a JSONL (`.gz`, `.zst`) or Parquet file."""

    kind: Literal["file"]
    path: str = Field(description="the file")
    map: FieldMap = Field({}, description="our field: theirs; `prompt` and `answer` by default")
    domain: str = Field("math", description="of rows that name none")
    count: int | None = Field(None, ge=1, description="problems to take at most; null: all")
    license: str | None = Field(None, description="of rows that name none; unknown ones are not published")


class HuggingFaceSource(_Source):
    """Problems from a data set on the hub (or a folder that `load_dataset` reads), streamed."""

    kind: Literal["huggingface"]
    name: str = Field(description="hub id, user/name, or a folder")
    config: str | None = Field(None, description="config of the data set; null: its default")
    split: str = Field("train", description="split of the data set")
    revision: str | None = Field(None, description="commit, tag or branch; null: the newest")
    map: FieldMap = Field({}, description="our field: theirs; `prompt` and `answer` by default")
    domain: str = Field("math", description="of rows that name none")
    count: int | None = Field(None, ge=1, description="problems to take at most; null: all")
    license: str | None = Field(None, description="of rows that name none; unknown ones are not published")


Source = Annotated[ProceduralSource | FileSource | HuggingFaceSource, Field(discriminator="kind")]


class PseudoLabels(Section):
    """Answers of problems without gold, by what their samples agree on; such a problem is never called gold."""

    by: Literal["majority", "clr"] = Field("majority", description="clr: votes weighed by the model's reliability")
    min_share: Share = Field(0.5, description="majority: of all samples; clr: of the sum of reliabilities")
    min_votes: int = Field(3, ge=1, description="samples that agree")
    rl: bool = Field(False, description="whether `rl` may hold such problems")


class Problems(Section):
    """Where problems come from."""

    sources: tuple[Source, ...] = Field((), description="none where recorded samples bring their problems")
    pseudo_labels: PseudoLabels | None = Field(
        None, description="take `math` and `choice` problems without an answer; with `expand`, its defaults"
    )
    expand: ExpandOptions | None = Field(None, description="make new problems of these; null: none")
    topics: TopicOptions | None = Field(None, description="let a model name each problem's topic; null: none")

    @model_validator(mode="before")
    @classmethod
    def _labelled(cls, value: Any) -> Any:
        # New problems have no gold answer, so without pseudo-labels none of them could ever be kept.
        if isinstance(value, dict) and value.get("expand") and "pseudo_labels" not in value:
            return value | {"pseudo_labels": {}}
        return value


class Prompt(Section):
    """How a problem becomes the text that the model sees."""

    system: str | None = Field(None, description="system message, where the problem brings none of its own")
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
    max_samples: Annotated[int | None, Needs("accept_target")] = Field(
        None, ge=1, description="samples a problem at most; None: four times n"
    )
    round: Annotated[int | None, Needs("accept_target")] = Field(
        None, ge=1, description="samples of one later round at most; None: n"
    )
    max_total_tokens: int | None = Field(
        None,
        ge=1,
        description="completion tokens of the whole run at most, recorded ones included; problems that don't fit any "
        "more are not sampled",
    )
    temperature: float = Field(1.0, ge=0.0, description="0: the likeliest token each time")
    top_p: float = Field(0.95, gt=0.0, le=1.0, description="the likeliest tokens with this share together; 1: all")
    top_k: int = Field(-1, ge=-1, description="so many of the likeliest tokens; -1: all")
    max_tokens: int = Field(1024, ge=1, description="completion tokens of one sample; a longer one is `truncated`")
    stop: tuple[str, ...] = Field((), description="texts that end a sample")
    extra: dict[str, Any] = Field({}, description="passed through to the engine, and recorded")

    @model_validator(mode="after")
    def _rounds(self) -> Sampling:
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
        """Return the decoding parameters that decide a sample, as the engine takes them."""
        return self.model_dump(mode="json", exclude={"extra", *AMOUNTS}) | self.extra


AMOUNTS = ("n", "accept_target", "max_samples", "round", "max_total_tokens")
"""Keys of `sampling` that decide how many samples there are, and not what one is."""


_LIVE = Needs("an engine that runs a model", lambda sampler: not isinstance(sampler.engine, ReplayEngine))


class Sampler(Section):
    """One writer of traces."""

    name: Name = Field("self", description="how rows, pass rates and other sections name it; unique")
    engine: Engine = Field(VllmEngine(), description="what draws the samples; a bare string is its kind")
    model: Annotated[str, _LIVE] = Field("bundled", description="hub id, local folder, or `bundled`")
    sampling: Annotated[Sampling, _LIVE] = Sampling()
    domains: Annotated[tuple[str, ...] | None, _LIVE] = Field(None, description="None: all")
    templates: dict[str, str] = Field({}, description="how this one is asked, by domain; else as in prompt.templates")


class Publish(Section):
    """How the version is written."""

    student: str | None = Field(None, description="model whose tokenizer counts; None: the first vllm sampler's")
    render: Literal["messages", "text"] = Field(
        "messages", description="prompt and completion as messages, or as text in the student's chat template"
    )
    allow_licenses: tuple[str, ...] = Field((), description="restrictive ones to let through; `unknown` too")
    messages: bool = Field(False, description="also write a `messages` config")
    pairs: PairOptions | None = Field(None, description="also write preference pairs; true: with the defaults")
    step_labels: StepLabelOptions | None = Field(None, description="also write labels of steps; true: the defaults")

    @field_validator("pairs", "step_labels", mode="before")
    @classmethod
    def _switched(cls, value: Any) -> Any:
        return ({} if value else None) if isinstance(value, bool) else value


class OwnFilter(BaseModel):
    """A filter from the user's own package; the other keys are its options."""

    model_config = ConfigDict(extra="allow", frozen=True)

    use: str = Field(description="package.module:NAME of a filter object")

    @property
    def given(self) -> dict[str, Any]:
        """Its options as the recipe has them."""
        return dict(self.model_extra or {})


class JudgeOptions(Section):
    """What one judge of a cluster takes; a node gets as many as it has room for."""

    cpus: int = Field(1, ge=1, description="processors of a judge, and its worker processes")
    memory_gb: float = Field(4.0, gt=0, description="memory of a judge")


class NodeEngineOptions(Section):
    """The engines `vllm` of a cluster; each hosts the whole model on one node."""

    count: int | None = Field(
        None, ge=0, description="engines at most; null: as many as fit, following the cluster; 0: one, on the driver's"
    )
    gpus: float = Field(
        1.0, ge=0, description="GPUs of an engine (tensor parallel), or a part of one; 0: processors, one engine a node"
    )
    cpus: int = Field(2, ge=1, description="processors of an engine; judges leave them alone")

    @field_validator("gpus")
    @classmethod
    def _whole(cls, gpus: float) -> float:
        if gpus > 1 and gpus != int(gpus):
            raise ValueError("more than one must be a whole number")
        return gpus


class ClusterOptions(Section):
    """The Ray cluster that samples and judges. It decides nothing: every key and every byte is the same without."""

    address: str | None = Field(
        None,
        pattern=r"^(auto|[^/\s]+:\d+)$",
        description="`auto`, or HOST:PORT of the cluster to join, which is never started; null: this machine",
    )
    engines: NodeEngineOptions = NodeEngineOptions()
    judges: JudgeOptions = JudgeOptions()
    silence_s: float = Field(
        60.0,
        gt=0,
        description="an engine that says nothing for so long is replaced; a shard is sent to a second node no sooner",
    )
    overdue: float = Field(4.0, ge=1, description="... and when it takes this many times what shards usually take")
    scratch: str | None = Field(None, description="folder for temporary files on each node; null: the system's")


@dataclass(frozen=True)
class ActiveFilter:
    """A filter of a run with its options.

    Attributes:
        filter: the filter.
        options: its section of the recipe.
        place: its name, or `package.module:NAME` of a user's own; by this a worker finds it.
    """

    filter: Filter[Any]
    options: Any
    place: str


class _Core(Section):
    """The sections that belong to no filter."""

    name: Name = Field(description="name of the run and of the data set")
    seed: int = Field(0, description="of everything that is chosen at random")
    problems: Problems = Problems()
    prompt: Prompt = Prompt()
    samplers: tuple[Sampler, ...] = (Sampler(),)
    curriculum: CurriculumOptions = Field(LongToShort(), description="what stands in stage 1 and in stage 2")
    select: SelectOptions = SelectOptions()
    route: RouteOptions | None = Field(None, description="teachers for what the small model can't prove; null: none")
    publish: Publish = Publish()
    train: TrainOptions = Field(TrainOptions(), description="how `proofmill train` trains on the version")
    improve: ImproveOptions = Field(
        ImproveOptions(), description="how `proofmill improve` goes on: rounds, measures, levels, budget, ablation"
    )
    filters: tuple[OwnFilter, ...] = Field((), description="filters of your own: {use: package.module:NAME, …options}")
    cluster: ClusterOptions = Field(ClusterOptions(), description="the nodes for engines and filters; part of no key")

    def options(self, filter_: Filter[Options]) -> Options:
        """Return a filter's options; None where its section is null."""
        found: Any = self
        for part in filter_.section.split(".") if filter_.section else ():
            found = getattr(found, part)
        return found if filter_.section else filter_.options()

    @property
    def live(self) -> tuple[Sampler, ...]:
        """The samplers that have a model."""
        return tuple(sampler for sampler in self.samplers if not isinstance(sampler.engine, ReplayEngine))

    def active_filters(self) -> tuple[ActiveFilter, ...]:
        """Return the filters that this recipe asks for, in order, with their options.

        Raises:
            RecipeError: a filter of the user's own can't be used.
        """
        named = [ActiveFilter(filter_, self.options(filter_), filter_.name) for filter_ in FILTERS]
        built_in = [item for item in named if item.filter.enabled(item.options)]
        return (*built_in, *_own_filters(self.filters))

    @model_validator(mode="after")
    def _consistent(self) -> _Core:
        names = [sampler.name for sampler in self.samplers]
        if len(set(names)) < len(names):
            raise ValueError("samplers: two samplers have the same name")
        if self.live and not self.problems.sources:
            raise ValueError("problems.sources: a sampling engine needs at least one source of problems")
        custom = self.options(VERDICTS).verifiers
        for domain in self._domains():
            if domain not in DOMAINS and domain not in custom:
                near = difflib.get_close_matches(domain, DOMAINS, 1)
                hint = f"did you mean '{near[0]}'? " if near else ""
                raise ValueError(f"no verifier for domain '{domain}'; {hint}name one under verify.verifiers")
        if self.select.mix_by == "topic":
            known = (*self.problems.topics.labels, NO_TOPIC) if self.problems.topics else ()
            if unknown := sorted(set(self.select.mix) - set(known)):
                named = f"there are: {', '.join(known)}" if known else "name them under problems.topics.labels"
                raise ValueError(f"select.mix: there is no topic '{unknown[0]}'; {named}")
        reference = getattr(self.curriculum, "reference", None)
        if reference is not None and reference not in names and len(self.live) == len(names):
            raise ValueError(f"curriculum.reference: no sampler '{reference}'; there are: {names}")
        labels = {source.label for source in self.problems.sources if isinstance(source, ProceduralSource)}
        if unknown := sorted(set(self.improve.ladders) - labels):
            raise ValueError(f"improve.ladders: no procedural source has the label '{unknown[0]}'")
        if self.improve.ablate.arms and set(self.train.stages) <= {"rl"}:
            raise ValueError("improve.ablate.arms: arms are trained in supervised stages, and train.stages has none")
        return self

    @model_validator(mode="after")
    def _no_idle_option_of_sections(self) -> _Core:
        for fault in self.idle_options(self):
            raise ValueError(fault)
        return self

    @model_validator(mode="after")
    def _whom_to_ask(self) -> _Core:
        section, labels = self.options(RELIABILITY).model, self.problems.pseudo_labels
        if labels and labels.by == "clr" and (section is None or section.scope != "all"):
            raise ValueError("problems.pseudo_labels.by: clr needs claims.model, with scope all")
        expand = self.problems.expand
        if expand and expand.by_model and labels is None:
            raise ValueError("problems.pseudo_labels: new problems have no other answer, so expand needs them")
        live = [sampler.name for sampler in self.live]
        for place, asked, has_default in self.asked():
            if asked and asked.model is None and not live and not has_default:
                raise ValueError(f"{place}.model: no sampler here has a model to ask, so name one")
            if asked and asked.sampler is not None and asked.sampler not in live:
                raise ValueError(f"{place}.sampler: no sampler '{asked.sampler}' with a model; there are: {live}")
        return self

    def asked(self) -> Iterator[tuple[str, ModelSection | None, bool]]:
        """Yield the sections that name a model to ask, and whether it has a default where no sampler has a model."""
        meaning, expand = self.options(CONTAMINATION).meaning, self.problems.expand
        yield "claims.model", self.options(RELIABILITY).model, False
        yield "verify.judge", self.options(VERDICTS).judge, False
        yield "decontaminate.meaning.judge", meaning.judge if meaning else None, False
        yield "problems.expand", expand if expand and expand.by_model else None, False
        yield "problems.expand.judge", expand and expand.judge, True
        yield "problems.topics", self.problems.topics, False
        yield "curriculum.rewriting", rewriting_of(self), False
        yield "quality.learning", self.options(NLL), True

    def sections_asked(self, resolved: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Return the sections that `asked` names, as the resolved recipe has them; null ones are left out."""
        return [section for place, *_ in self.asked() if (section := _at(resolved, place))]

    @model_validator(mode="after")
    def _whom_to_route_to(self) -> _Core:
        if self.route is None:
            return self
        engines = {sampler.name: sampler.engine.kind for sampler in self.samplers}
        places = (("route.small", self.small), *(("route.teachers", t.sampler) for t in self.route.teachers))
        for place, name in places:
            if name not in engines:
                near = difflib.get_close_matches(str(name), engines, 1)
                hint = f"did you mean '{near[0]}'? " if near else ""
                raise ValueError(f"{place}: no sampler '{name}'; {hint}add it under samplers, there are: {[*engines]}")
        for teacher in self.route.teachers:
            if teacher.sampler == self.small:
                raise ValueError(
                    f"route.teachers: '{teacher.sampler}' is the small model; name it under route.small only"
                )
            if engines[teacher.sampler] == "replay" and (teacher.max_tokens, teacher.max_cost) != (None, None):
                raise ValueError(
                    f"route.teachers: the samples of '{teacher.sampler}' are recorded, so a cap would save nothing; "
                    "leave max_tokens and max_cost out, or set engine.limit"
                )
            if teacher.max_cost is not None and not teacher.price + teacher.prompt_price:
                raise ValueError(
                    f"route.teachers: '{teacher.sampler}' costs nothing, so its max_cost caps nothing; give its price, "
                    "or cap it with max_tokens"
                )
        return self

    @property
    def small(self) -> str | None:
        """The sampler that routing begins with, whose pass rates are those of the starting model; None without."""
        return None if self.route is None else self.route.small or self.samplers[0].name

    @property
    def run_caps(self) -> CapOptions:
        """The limits of the selection that no shard can decide alone."""
        share = self.route.max_teacher_share if self.route else None
        return replace(self.select.run_caps, max_teacher_share=share)

    def _domains(self) -> Iterator[str]:
        for source in self.problems.sources:
            yield source.domain
        for sampler in self.samplers:
            if isinstance(sampler.engine, ReplayEngine):
                yield sampler.engine.domain
        if self.select.mix_by == "domain":
            yield from self.select.mix

    def resolved(self) -> dict[str, Any]:
        """Return the recipe with every value written out, as JSON-like data; the cluster decides nothing: left out."""
        return self.model_dump(mode="json", exclude={"cluster"})

    def digest(self) -> str:
        """Return the digest of the resolved recipe, without addresses and without what trains on its result."""
        later = ("train", "improve")
        return digest({name: section for name, section in self.published().items() if name not in later})

    def published(self) -> dict[str, Any]:
        """Return the resolved recipe without the addresses of servers, which decide nothing and may be private."""
        recipe = self.resolved()
        for section in (*recipe["samplers"], *self.sections_asked(recipe)):
            for name in ("endpoints", "endpoints_from"):
                (section["engine"] or {}).pop(name, None)
        return recipe


def rewriting_of(recipe: _Core) -> Rewriting | None:
    """Return how proven traces are condensed; None where they are not."""
    section = recipe.curriculum
    return section.rewriting if isinstance(section, LongToShort) and REWRITTEN in section.short_forms else None


def _at(recipe: Mapping[str, Any], place: str) -> Any:
    """Return what stands at a dotted key of a resolved recipe; None where a section on the way is null or absent."""
    found: Any = recipe
    for part in place.split("."):
        found = (found or {}).get(part)
    return found


def _own_filters(named: tuple[OwnFilter, ...]) -> Iterator[ActiveFilter]:
    """Yield the user's own filters, checked against all others.

    Raises:
        RecipeError: one can't be imported, says what another says, or has other options.
    """
    known = FILTERS
    for number, own in enumerate(named):
        where = f"recipe key filters.{number}"
        filter_ = filter_at(own.use)
        if not isinstance(filter_, (MapFilter, GatherFilter)):
            raise RecipeError(
                f"{own.use!r} is a {type(filter_).__name__}.",
                where=where,
                remedy="make it a MapFilter or a GatherFilter",
            )
        _check_own(filter_, known, where)
        known = (*known, filter_)
        try:
            options = filter_.options(**own.given)
        except ValidationError as error:
            raise RecipeError(
                f"The options of the filter '{filter_.name}' don't fit: {explained(error, filter_.options)}.",
                where=where,
                remedy=f"it has: {', '.join(filter_.options.model_fields) or 'no options'}",
            ) from error
        _check_rules(filter_, options, known, where)
        yield ActiveFilter(filter_, options, own.use)


def _check_own(filter_: Filter[Any], known: tuple[Filter[Any], ...], where: str) -> None:
    taken = {name for other in known for name in other.schema.names} | {*trace_schema(known).names}
    readable = _readable(filter_, known)
    clashes = [
        *(f"a filter is called {filter_.name!r} already" for other in known if other.name == filter_.name),
        *(f"there is a column {name!r} already" for name in filter_.schema.names if name in taken),
        *(f"there is a drop reason {rule.reason!r} already" for rule in filter_.rules if rule.reason in reasons(known)),
        *(
            f"it reads {name!r}, which is not there yet"
            for name in (*filter_.reads, *filter_.optional)
            if name not in readable
        ),
    ]
    if clashes:
        remedy = "choose other names; it can read: " + ", ".join(sorted(readable))
        raise RecipeError(
            f"The filter '{filter_.name}' can't be used: {'; '.join(clashes)}.", where=where, remedy=remedy
        )


def _check_rules(filter_: Filter[Any], options: Section, filters: tuple[Filter[Any], ...], where: str) -> None:
    """Try the drop rules on an empty table, so that a bad rule is an error now and not after sampling."""
    added = [field for other in filters if not isinstance(other, ProblemFilter) for field in other.schema]
    sampled = [SHARD_TRACES.field(name) for name in RULE_COLUMNS]
    frame = pl.DataFrame(pa.schema([*sampled, pa.field("length", pa.int32()), *added]).empty_table())
    for rule in filter_.rules:
        try:
            frame.select(rule.when(options))
        except pl.exceptions.PolarsError as error:
            raise RecipeError(
                f"The rule {rule.reason!r} of the filter '{filter_.name}' can't be used: {str(error).splitlines()[0]}.",
                where=where,
                remedy=f"let it look at columns of filters, or at {', '.join(RULE_COLUMNS)}, length",
            ) from error


def _readable(filter_: Filter[Any], known: tuple[Filter[Any], ...]) -> set[str]:
    """Return the columns that exist when a filter's turn comes."""
    names = {*SHARD_TRACES.names, *PROBLEMS.names}
    if isinstance(filter_, MapFilter):
        earlier = [other for other in known if isinstance(other, MapFilter)]
        return names | {"problem", *SPLIT_COLUMNS} | {name for other in earlier for name in other.schema.names}
    return names | {name for other in known if not isinstance(other, ProblemFilter) for name in other.schema.names}


def _filter_sections() -> dict[str, Any]:
    """Return the sections of all filters, each with its defaults."""
    tops = {filter_.section: filter_.options for filter_ in FILTERS if filter_.section and "." not in filter_.section}
    return {name: (options, options()) for name, options in tops.items()}


if TYPE_CHECKING:

    class Recipe(_Core):
        """A whole run."""

else:
    Recipe = create_model("Recipe", __base__=_Core, __module__=__name__, __doc__="A whole run.", **_filter_sections())
