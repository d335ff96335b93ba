"""The loop: rounds of regenerate, train and eval, each round's sampler being the last student.

A round is nothing new: an ordinary data version NAME-rN, trained to an ordinary model NAME-rN, measured by ordinary
evaluations. Each of these finds its work done by content, so a loop that is run again, after a kill at any moment or
with more rounds, goes on with what is missing; nothing is sampled or trained twice. What the loop itself keeps is
HOME/loops/NAME/loop.json: the seconds that were spent, which no content tells, and what each round has come to.
"""

from __future__ import annotations

import datetime
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import orjson
import polars as pl
from prefect import flow

from proofmill.data.errors import InputError, NothingKeptError, RecipeError
from proofmill.data.files import atomic, locked, write_json
from proofmill.data.model_versions import ModelVersion
from proofmill.data.report import improvement as page
from proofmill.data.sections import ReplayEngine, VllmEngine
from proofmill.data.versions import Version, find
from proofmill.filters.evaluation import Difference, ProblemResult, by, difference, score
from proofmill.flows.ablation import train_arms
from proofmill.flows.checkpoints import checkpoint_chooser
from proofmill.flows.context import RunRequest, home_folder, open_run
from proofmill.flows.display import Progress
from proofmill.flows.evaluate import Evaluation, evaluate, model_named
from proofmill.flows.recipe import load as recipes
from proofmill.flows.recipe.improving import ImproveOptions, Measure
from proofmill.flows.recipe.schema import ProceduralSource, Recipe, Sampler, Source
from proofmill.flows.recipe.suite import AS_THEY_ARE, Suite, load_suite
from proofmill.flows.recipe.training import Stage
from proofmill.flows.regenerate import regenerate
from proofmill.flows.sampling import warm_up
from proofmill.flows.train import base_model, forget_stages, train
from proofmill.flows.up_to_date import up_to_date_version
from proofmill.generators.engines.kept import KeptEngine, kept_engine

Phase = Callable[[str], AbstractContextManager[Progress]]
"""Shows one phase while a block runs, by its title."""
Json = dict[str, Any]
_WORK = ("shards published", "steps of ")  # counters that nothing raises where all was done before
RETIRED = -1
"""The level of a source that is solved."""


def unseen(_: str) -> AbstractContextManager[Progress]:
    """A phase that nobody watches."""
    return nullcontext(Progress())


@flow(name="improve", validate_parameters=False)
def improve(
    recipe: Recipe | str = "improve-quickstart", home: str | None = None, overrides: list[str] | None = None
) -> dict[str, Any]:
    """Improve a model in rounds: sample, train, measure, and again with the student; only what is missing is done.

    Args:
        recipe: a bundled name, the path of a YAML file, or the recipe itself.
        home: HOME; `$PROOFMILL_HOME` or `./proofmill-home` without it.
        overrides: `a.b=value` each, as `--set`.

    Returns:
        What the loop came to: what HOME/loops/NAME/loop.json holds.

    Raises:
        ProofmillError: what went wrong, where, and what to do next; what is done stays done.
    """
    return run_loop(recipes.resolve(recipe, overrides or []), home_folder(home, "improve"), unseen)


def run_loop(recipe: Recipe, home: Path, phase: Phase) -> Json:
    """Run the loop of a recipe from each of its bases; return what it came to, which its files hold too.

    Raises:
        StoreError: another process is on this loop.
        ProofmillError: as `regenerate`, `train` and `evaluate`.
    """
    folder = home / "loops" / recipe.name
    lock = locked(
        folder / "lock",
        what=f"The loop '{recipe.name}' is already going on in another process.",
        remedy="wait for it or stop it; to run another one beside it, give its recipe another name",
    )
    with lock, kept_engine() as engine:
        book = Notebook(folder, recipe)
        for base in bases_of(recipe):
            _Loop(recipe, home, base, book, phase, engine).run()
        book.finish()
        return book.story


def bases_of(recipe: Recipe) -> tuple[str, ...]:
    """Return the models that the loop begins from.

    Raises:
        RecipeError: no sampler here could draw a student's samples.
    """
    return recipe.improve.bases or (recipe.train.base or student_samplers(recipe)[0].model,)


def student_samplers(recipe: Recipe) -> list[Sampler]:
    """Return the samplers that the student takes over: those of the first model that runs here; others are teachers.

    Raises:
        RecipeError: there is none.
    """
    here = [sampler for sampler in recipe.live if isinstance(sampler.engine, VllmEngine)]
    if not here:
        raise RecipeError(
            "No sampler here can draw a student's samples.",
            where="samplers",
            remedy="add one with engine vllm: what a server serves, a loop can't replace",
        )
    return [sampler for sampler in here if sampler.model == here[0].model]


def loop_name(recipe: Recipe, base: str) -> str:
    """Return the name of one base's loop: the recipe's, where there is no other base."""
    if len(recipe.improve.bases) < 2:
        return recipe.name
    return f"{recipe.name}-{re.sub(r'[^A-Za-z0-9.]+', '-', base.rstrip('/').rpartition('/')[2]).strip('-.')}"


# --- what the loop keeps -----------------------------------------------------------------------------------


class Notebook:
    """HOME/loops/NAME: seconds of each phase, the story so far, and its page; written whole after each phase.

    Args:
        folder: where.
        recipe: of the loop.
    """

    def __init__(self, folder: Path, recipe: Recipe) -> None:
        self._path = folder / "loop.json"
        kept: Json = orjson.loads(self._path.read_bytes()) if self._path.exists() else {}
        self.seconds: dict[str, float] = dict(kept.get("seconds", {}))
        self.story: Json = {"name": recipe.name, "recipe": recipe.published(), "loops": [], "seconds": self.seconds}

    @contextmanager
    def timed(self, phase: str, progress: Progress) -> Iterator[None]:
        """Add the time of a block to its phase, also where it is interrupted; not where all was done before."""
        started = time.monotonic()
        try:
            yield
        finally:
            if progress.tokens or any(name.startswith(_WORK) for name in progress.counters):
                self.seconds[phase] = round(self.seconds.get(phase, 0.0) + time.monotonic() - started, 1)
                self.write()

    def write(self) -> None:
        """Write the story as it is now."""
        self.story["updated"] = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        write_json(self._path, self.story)

    def finish(self) -> None:
        """Write the page too."""
        self.write()
        with atomic(self._path.with_suffix(".html")) as temporary:
            temporary.write_text(page.render(self.story), encoding="utf-8")


# --- the recipe of a round -----------------------------------------------------------------------------------


def round_recipe(
    recipe: Recipe, name: str, number: int, model: str, levels: Mapping[str, int], earlier: Sequence[str] = ()
) -> Recipe:
    """Return the ordinary recipe of one round.

    Args:
        recipe: of the loop.
        name: of the base's loop.
        number: of the round, from 1.
        model: whose samples are drawn.
        levels: by label, the level of each source that has a ladder.
        earlier: labels of the versions of earlier rounds, to select among their traces too.
    """
    options = recipe.improve
    student = {sampler.name for sampler in student_samplers(recipe)}
    samplers = [
        sampler.model_copy(update={"model": model}) if sampler.name in student else sampler
        for sampler in recipe.samplers
    ]
    samplers += [
        Sampler(name=f"round{before}", engine=ReplayEngine(files=(label,))) for before, label in enumerate(earlier, 1)
    ]
    fresh = number - 1 if options.problems == "fresh" else 0
    low, high = recipe.select.pass_rate
    changed = {
        "name": f"{name}-r{number}",
        "seed": recipe.seed + number - 1,
        "problems": {"sources": [s.model_dump(mode="json") for s in _levelled(recipe, levels, fresh)]},
        "samplers": [sampler.model_dump(mode="json") for sampler in samplers],
        "select": recipe.select.model_dump(mode="json") | {"pass_rate": [low, min(high, options.retire)]},
        "improve": {},  # what comes of other rounds decides nothing here
    }
    resolved = recipe.resolved()
    changed["problems"] = resolved["problems"] | changed["problems"]
    where = {"cluster": recipe.cluster.model_dump(mode="json")}  # it decides nothing, so it is not among the resolved
    return recipes.parse(resolved | changed | where)


def _levelled(recipe: Recipe, levels: Mapping[str, int], fresh: int) -> Iterator[Source]:
    """The sources at their levels, those of retired labels left out; with other seeds for fresh problems."""
    for number, source in enumerate(recipe.problems.sources):
        level = levels.get(source.label or "", 0)
        if level == RETIRED:
            continue
        if isinstance(source, ProceduralSource):
            harder = recipe.improve.ladders[source.label or ""][level - 1] if level else {}
            seed = source.seed if source.seed is not None else recipe.seed + 1000 * (number + 1)
            yield source.model_copy(update={"args": source.args | harder, "seed": seed + fresh})
        else:
            yield source


def next_levels(options: ImproveOptions, levels: Mapping[str, int], rates: Mapping[str, float]) -> dict[str, int]:
    """Return the level of each source with a ladder in the next round, by the pass rate that it had in this one."""
    low, high = options.band
    found = {}
    for label, ladder in options.ladders.items():
        level, rate = levels.get(label, 0), rates.get(label)
        if level != RETIRED and rate is not None and rate > high:
            level = level + 1 if level < len(ladder) else RETIRED
        elif level > 0 and rate is not None and rate < low:
            level -= 1
        found[label] = level
    return found


def pass_rates_by_source(data: Version, samplers: Sequence[str]) -> dict[str, float]:
    """Return the share of right samples among those that these samplers drew in the first round, by source."""
    rates, problems = data.scan("pass_rates"), data.scan("problems")
    if rates is None or problems is None:
        return {}
    sums = (
        rates.filter(pl.col("sampler").is_in(list(samplers)))
        .join(problems.select(pl.col("id").alias("problem_id"), "source"), on="problem_id")
        .group_by("source")
        .agg(pl.col("correct").sum(), pl.col("n").sum())
        .sort("source")
        .collect()
    )
    return {source: correct / n for source, correct, n in sums.iter_rows() if n}


# --- the loop of one base ------------------------------------------------------------------------------------


@dataclass
class _Measured:
    """The evaluations of one model on the deciding suite."""

    label: str
    round: int
    stage: str
    evaluation: Evaluation


@dataclass
class _Loop:
    """The rounds from one base model."""

    recipe: Recipe
    home: Path
    base: str
    book: Notebook
    phase: Phase
    engine: KeptEngine
    measured: list[_Measured] = field(default_factory=list)
    rounds: list[Json] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.name = loop_name(self.recipe, self.base)
        self.story: Json = {"base": self.base, "name": self.name, "models": [], "rounds": self.rounds, "controls": []}
        self.book.story["loops"].append(self.story)

    @property
    def options(self) -> ImproveOptions:
        """The section `improve`."""
        return self.recipe.improve

    def run(self) -> None:
        """All rounds, until something says stop; then what is measured of the best student alone."""
        label, levels = self.base, dict.fromkeys(self.options.ladders, 0)
        self._measure(label, 0, "base")
        for number in range(1, self.options.rounds + 1):
            if why := self._spent():
                self._stop(*why)
                break
            try:
                self._round(number, label, levels)
            except NothingKeptError:
                if number == 1:
                    raise
                self._stop("nothing kept", f"not one trace of round {number} survived")
                break
            label = self.rounds[-1]["model"]
            if self.options.gain != "none" and (why := self._no_gain()):
                self._stop(*why)
                break
            levels = next_levels(self.options, levels, self.rounds[-1]["pass_rates"])
            if self._solved(levels):
                self._stop("solved", "every source of problems is solved")
                break
        else:
            self._stop("rounds", f"all {self.options.rounds} rounds are done")
        self._end_stages()
        best = self.story["best"] = self._best()
        self._control(best)
        if self.options.ablate.arms and self.rounds:
            self._ablate()

    def _best(self) -> str:
        """The student with the highest pass@1 among what the rounds came to; the base where there is none."""
        rates = {one["model"]: one["overall"]["pass_1"]["value"] for one in self.story["models"] if one["overall"]}
        return max((one["model"] for one in self.rounds), key=lambda label: rates.get(label, 0.0), default=self.base)

    def _round(self, number: int, label: str, levels: Mapping[str, int]) -> None:
        data = self._data(number, label, levels)
        students = {sampler.name for sampler in student_samplers(self.recipe)}
        story: Json = {
            "round": number, "sampler": label, "levels": dict(levels), "data": data.label,
            "pass_rates": pass_rates_by_source(data, sorted(students)),
            "rows": {name: data.manifest.published_rows.get(name, 0) for name in ("sft_stage1", "sft_stage2", "rl")},
            "funnel": data.manifest.selection.model_dump(mode="json", by_alias=True),
            "sampled_tokens": data.manifest.tokens.sampled, "stages": [], "left_out": [],
        }  # fmt: skip
        stages = self.recipe.train.stages
        now = stages if self.options.later_stages == "each" else stages[:1]
        self._train(story, data, label if self.options.start == "last" else self.base, now)
        self.rounds.append(story)
        story["gain"] = _plain(self._gain(self._student_of(number - 1), self._student_of(number)))
        self._sum_up(story)

    def _end_stages(self) -> None:
        """The stages that are trained once, at the end: from the best student, on the version that it comes from."""
        rest = self.recipe.train.stages[1:] if self.options.later_stages == "end" else ()
        best = next((one for one in self.measured if one.label == self._best()), None)
        if rest and best and best.round:
            story = self.rounds[best.round - 1]
            self._train(story, find(self.home, story["data"]), best.label, rest)
            self._sum_up(story)

    def _train(self, story: Json, data: Version, start: str, stages: Sequence[Stage]) -> None:
        """Some stages of a round's training, each model measured."""
        for model, part in self._students(story, data, start, stages):
            trained = [one.model_dump(mode="json") for one in model.manifest.stages[-len(part) :]]
            story["stages"].append({"model": model.label, "stages": trained})
            story["model"] = model.label
            self._measure(model.label, story["round"], part[-1])

    def _sum_up(self, story: Json) -> None:
        number = story["round"]
        made = [one for one in self.measured if one.round == number]
        story["later_stages"] = _plain(self._gain(made[0], made[-1])) if len(made) > 1 else None
        story["gain_on_base"] = _plain(self._gain(self.measured[0], made[-1]))
        story["cost"] = self._cost(number)
        self.book.finish()

    def _data(self, number: int, label: str, levels: Mapping[str, int]) -> Version:
        """The version that a round trains on."""
        earlier = [one["data"] for one in self.rounds] if self.options.data == "all" else []
        with self._shown(number, "data", f"round {number}: samples of {label}") as progress:
            model = base_model(self.home, label, progress)
            place = str(model.trained.folder) if model.trained else label
            request = RunRequest(round_recipe(self.recipe, self.name, number, place, levels, earlier), self.home)
            if known := up_to_date_version(request):
                return known
            with open_run(request, progress) as opened:
                warm_up(opened)
                told = regenerate(recipe=request.recipe, home=str(self.home))
            return find(self.home, told["version"])

    def _students(
        self, story: Json, data: Version, start: str, stages: Sequence[Stage]
    ) -> Iterator[tuple[ModelVersion, tuple[Stage, ...]]]:
        """Each model that a round trains, with the stages it adds; a stage with too few rows is left out."""
        number, wanted = story["round"], self.recipe.train
        before: tuple[Stage, ...] = ()
        work = f"{self.name}-r{number}"
        for part in [(stage,) for stage in stages] if self.options.by_stage else [tuple(stages)]:
            last = part[-1] == wanted.stages[-1]
            name = work if last else f"{work}-{part[-1]}"
            options = wanted.model_copy(update={"stages": (*before, *part)})
            self.engine.end()  # training needs its memory
            try:
                with self._shown(number, "train", f"round {number}: {' and '.join(part)} from {start}") as progress:
                    base = base_model(self.home, start, progress)
                    chooser = checkpoint_chooser(self.home, options.choose, progress)
                    model, _ = train(self.home, name, base, data, options, progress, chooser, work)
            except InputError as error:
                if "model" not in story and part[-1] == stages[-1]:
                    raise
                story["left_out"].append(f"{' and '.join(part)}: {error.what}")
                continue
            before = (*before, *part)
            yield model, part
        forget_stages(self.home, work)

    # --- measures ---------------------------------------------------------------------------------------

    def _measure(self, label: str, number: int, stage: str) -> None:
        found = self._evaluated(self.options.measure, label, number)
        self.measured.append(_Measured(label, number, stage, found))
        self.story["models"].append({"model": label, "round": number, "stage": stage} | measures(found.results))
        self.story["suite"] = suite_of(self.options.measure)[0].model_dump(
            mode="json", include={"name", "about", "repeats", "sampling"}
        )
        self.book.write()

    def _evaluated(self, measure: Measure, label: str, number: int) -> Evaluation:
        suite, _ = suite_of(measure)
        with self._shown(number, "eval", f"{label} on {suite.name}") as progress:
            return evaluate(suite, model_named(label, self.home, suite), self.home, progress, limit=measure.limit)

    def _control(self, best: str) -> None:
        """What the base and the best model say of the controls; all of one model, then all of the other."""
        ends = ((self.base, 0), (best, len(self.rounds)))
        found = [[self._evaluated(control, *end) for control in self.options.controls] for end in ends]
        for control, before, after in zip(self.options.controls, *found, strict=True):
            seen = before.seen | after.seen
            self.story["controls"].append(
                {
                    "suite": suite_of(control)[0].name,
                    "before": measures(before.without(seen)),
                    "after": measures(after.without(seen)),
                    "difference": _plain(difference(before.without(seen), after.without(seen))),
                }
            )
        self.book.write()

    def _ablate(self) -> None:
        """Arms of the last round, each measured as its student was."""
        last = self.rounds[-1]
        start = last["sampler"] if self.options.start == "last" else self.base
        number = last["round"]
        arms: list[Json] = []
        self.story["arms"] = arms
        shown = partial(self._shown, number, "ablation")
        self.engine.end()
        for arm in train_arms(self.recipe, self.home, find(self.home, last["data"]), start, shown):
            found = self._evaluated(self.options.measure, arm.model.label, number)
            facts = {"arm": arm.arm, "seed": arm.seed, "rows": arm.rows, "tokens": arm.tokens, "steps": arm.steps}
            self.engine.end()
            gain = _plain(difference(self.measured[0].evaluation.results, found.results))
            arms.append(facts | {"model": arm.model.label, "gain": gain} | measures(found.results))
            self.book.finish()

    def _student_of(self, number: int) -> _Measured:
        """The last model of a round; of round 0 the base."""
        return [one for one in self.measured if one.round == number][-1]

    def _gain(self, before: _Measured, after: _Measured) -> Difference | None:
        seen = before.evaluation.seen | after.evaluation.seen
        return difference(before.evaluation.without(seen), after.evaluation.without(seen))

    # --- when to stop -----------------------------------------------------------------------------------

    def _stop(self, reason: str, why: str) -> None:
        self.story |= {"stopped": reason, "why": why}
        self.book.write()

    def _no_gain(self) -> tuple[str, str] | None:
        gain = self.rounds[-1]["gain"]
        if gain is None:
            return "gain", "no problem is left on which this round could be compared with the one before"
        bound = gain["pass_1"]["low"] if self.options.gain == "shown" else gain["pass_1"]["value"]
        if bound > 0:
            return None
        told = "{value:+.1%}, interval {low:+.1%} to {high:+.1%}".format(**gain["pass_1"])
        verb = "shows" if self.options.gain == "shown" else "brings"
        return "gain", f"round {len(self.rounds)} {verb} no gain over the one before: {told}"

    def _spent(self) -> tuple[str, str] | None:
        """Whether the budget is used up, before a round begins."""
        budget, cost = self.options.budget, total([one["cost"] for one in self.rounds])
        tokens, hours = sum(cost["tokens"].values()), sum(self._seconds().values()) / 3600
        if budget.tokens is not None and tokens >= budget.tokens:
            return "budget", f"{tokens:,} of {budget.tokens:,} tokens are used"
        if budget.hours is not None and hours >= budget.hours:
            return "budget", f"{hours:.2f} of {budget.hours:g} hours are used"
        return None

    def _solved(self, levels: Mapping[str, int]) -> bool:
        labels = [source.label for source in self.recipe.problems.sources]
        return all(levels.get(label or "", 0) == RETIRED for label in labels)

    # --- what it costs ----------------------------------------------------------------------------------

    @contextmanager
    def _shown(self, number: int, kind: str, title: str) -> Iterator[Progress]:
        with self.phase(title) as progress, self.book.timed(f"{self.name}: round {number}: {kind}", progress):
            yield progress

    def _seconds(self) -> dict[str, float]:
        return {name: spent for name, spent in self.book.seconds.items() if name.startswith(f"{self.name}: ")}

    def _cost(self, number: int) -> Json:
        spent = {kind: self.book.seconds.get(f"{self.name}: round {number}: {kind}", 0.0) for kind in KINDS}
        story = self.rounds[number - 1]
        learned = sum(stage["tokens"] for one in story["stages"] for stage in one["stages"])
        drawn = sum(r.tokens for one in self.measured if one.round == number for r in one.evaluation.results)
        tokens = {"sampled": story["sampled_tokens"], "learned": learned, "measured": drawn}
        return {"seconds": spent, "tokens": tokens}


KINDS = ("data", "train", "eval")
"""The phases of a round, as the costs name them."""


def total(costs: Sequence[Json]) -> Json:
    """Return the sum of the costs of rounds."""
    return {
        kind: {name: sum(cost[kind].get(name, 0) for cost in costs) for name in names}
        for kind, names in (("seconds", KINDS), ("tokens", ("sampled", "learned", "measured")))
    }


def suite_of(measure: Measure) -> tuple[Suite, list[str]]:
    """Return the suite of a measure, and the optional sets of it that are not there."""
    suite, absent = load_suite(measure.suite).present()
    return (suite.model_copy(update={"repeats": measure.repeats}) if measure.repeats else suite), absent


def measures(results: Sequence[ProblemResult]) -> Json:
    """Return scores overall and by set; where problems are asked untidily too, those of each way."""
    whole = score(results)
    sets = {name: found for name, part in by(results, "group").items() if (found := score(part))}
    ways: dict[str, list[ProblemResult]] = {}
    for result in results:
        _, comma, way = result.group.rpartition(", ")
        if comma:
            ways.setdefault(way, []).append(result)
    scored = {way: found for way, part in ways.items() if AS_THEY_ARE in ways and (found := score(part))}
    return {
        "overall": whole.to_json() if whole else None,
        "sets": {name: found.to_json() for name, found in sets.items()},
        "ways": {way: found.to_json() for way, found in scored.items()},
    }


def _plain(found: Difference | None) -> Json | None:
    return found.to_json() if found else None
