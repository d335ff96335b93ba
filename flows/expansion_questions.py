"""What expansion asks a model, and how: questions about seeds, shard by shard, within a budget of tokens.

A job is made anew whenever it is read, so no question waits in memory. Answers are recorded as those of every phase
(`model_calls`), under keys that the questions themselves decide.
"""

from __future__ import annotations

import heapq
from collections import Counter, deque
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import polars as pl
import pyarrow as pa

from proofmill.data.errors import RecipeError
from proofmill.data.files import digest
from proofmill.data.run import Shard, ShardStats, Step
from proofmill.data.schemas import STRING
from proofmill.data.tables import from_rows
from proofmill.data.versions import Version, find
from proofmill.filters import new_problems, new_tests
from proofmill.filters.domains import DOMAINS, find_domain, is_known
from proofmill.filters.new_tests import MIN_PROGRAMS
from proofmill.flows.context import RunContext
from proofmill.flows.ingest import ProblemShard
from proofmill.flows.model_calls import (
    Answers,
    RequestBatch,
    answered_before,
    chat_request,
    question,
    run_batches,
    who_answers,
)
from proofmill.flows.new_tests import CODE, ProvenPrograms, testable
from proofmill.generators.engines.base import Request
from proofmill.generators.problems import operators
from proofmill.generators.problems.operators import ExpandOptions, ExpandStep
from proofmill.generators.problems.problem import Row
from proofmill.generators.sample_plan import SamplePlan

REPLIES = pa.schema(
    {
        "about": pa.list_(STRING),  # the seeds of a new problem; or the problem that is judged
        "number": pa.int32(),
        "question": STRING,  # digest of what was asked, and with which seed and parameters
        "text": STRING,
        "finish_reason": STRING,
        "completion_tokens": pa.int32(),
    }
)
_CONCEPTS_EACH = 2  # of each seed
_PARTNERS = 512  # seeds of the run that may be second parents


@dataclass
class Budget:
    """Completion tokens that all questions may take together; None: any number.

    Attributes:
        limit: tokens.
        spent: by questions that are answered.
        left_out: questions that did not fit.
    """

    limit: int | None
    spent: int = 0
    left_out: int = 0

    def room(self, each: int) -> int | None:
        """Return how many questions of at most `each` tokens fit; None: any number."""
        return None if self.limit is None else max(0, self.limit - self.spent) // each


@dataclass(frozen=True)
class Task:
    """One question.

    Attributes:
        about: the ids of what it is about.
        number: among the questions about the same.
        prompt: its text.
        params: decoding parameters of its own, such as the schema of its answer.
    """

    about: tuple[str, ...]
    number: int
    prompt: str
    params: Mapping[str, Any]


@dataclass(frozen=True)
class Job:
    """The questions of one shard and operator, made anew whenever they are read."""

    name: str
    tasks: Callable[[], Sequence[Task]]


@dataclass(frozen=True)
class Asker:
    """Asks one model, as one section of the recipe says."""

    run: RunContext
    plan: SamplePlan
    params: Mapping[str, Any]

    def ask(self, step: Step, jobs: Iterable[Job], budget: Budget, counter: str) -> dict[str, list[Shard]]:
        """Return the recorded answers of each job.

        With a budget, questions are asked in rounds: as many as fit if each takes all that it may, then as many as
        fit into what they left. So the budget is never exceeded, and a resumed run asks the same questions.
        """
        sizes = [(job, len(job.tasks())) for job in jobs]
        answers: dict[str, list[Shard]] = {job.name: [] for job, _ in sizes}
        waiting = deque((job, 0, size) for job, size in sizes if size)
        while waiting:
            room = budget.room(int(self.params["max_tokens"]))
            parts = list(_taken(waiting, room))
            if not parts:
                budget.left_out += sum(stop - start for _, start, stop in waiting)
                break
            shards = run_batches(self.run, step, self.plan, [self._batch(step, *part) for part in parts], counter)
            for (job, _, _), shard in zip(parts, shards, strict=True):
                answers[job.name].append(shard)
                budget.spent += shard.stats["completion_tokens"]
        return answers

    def _batch(self, step: Step, job: Job, start: int, stop: int) -> RequestBatch:
        by = digest("expansion", {**who_answers(self.plan), "params": dict(self.params)})
        key = step.key(
            by,
            job.name,
            [(task.about, task.number, task.prompt, dict(task.params)) for task in job.tasks()[start:stop]],
        )
        stream = _Stream(self, job, start, stop, by)
        name = f"{job.name}.{start}"

        def is_own(shard: Shard) -> bool:  # in other numbers, or with another budget
            return shard.name.rpartition(".")[0] == job.name and shard.stats.get("by") == by

        before = partial(answered_before, self.run.store, step, is_own)
        return RequestBatch(name, key, stream.requests, stream.table, before)


def _taken(waiting: deque[tuple[Job, int, int]], room: int | None) -> Iterator[tuple[Job, int, int]]:
    """Take jobs from the front, or the beginning of one, until `room` questions are taken; None: all."""
    left = room
    while waiting and (left is None or left > 0):
        job, start, stop = waiting.popleft()
        end = stop if left is None else min(stop, start + left)
        if end < stop:
            waiting.appendleft((job, end, stop))
        if left is not None:
            left -= end - start
        yield job, start, end


@dataclass
class _Stream:
    """A part of a job's questions as requests, and their answers as a table."""

    asker: Asker
    job: Job
    start: int
    stop: int
    by: str
    asked: dict[str, tuple[Task, str]] = field(default_factory=dict)

    def requests(self) -> Iterator[Request]:
        for place, task in enumerate(self.job.tasks()[self.start : self.stop]):
            params = {**self.asker.params, **task.params}
            request = chat_request(self.asker.plan, str(place), task.prompt, task.number, params, "expansion")
            self.asked[request.id] = task, question(request)
            yield request

    def table(self, answers: Answers) -> tuple[pa.Table, ShardStats]:
        rows: list[Row] = []
        for name in sorted(answers, key=int):
            task, asked = self.asked[name]
            rows.append(
                {
                    "about": list(task.about),
                    "number": task.number,
                    "question": asked,
                    "text": answers[name].text,
                    "finish_reason": answers[name].finish_reason,
                    "completion_tokens": answers[name].completion_tokens,
                }
            )
        tokens = sum(row["completion_tokens"] for row in rows)
        return from_rows(rows, REPLIES), {"calls": len(rows), "by": self.by, "completion_tokens": tokens}


# --- what a model writes -------------------------------------------------------------------------------------------


class Writer:
    """What a model is asked to write from the seeds of each shard, step by step."""

    def __init__(self, run: RunContext, options: ExpandOptions, shards: Sequence[ProblemShard]) -> None:
        self.run, self.options = run, options
        self.seeds = [shard.problems for shard in shards]
        self._recorded = {shard.problems.name: shard.recorded for shard in shards}
        counts: Counter[str] = Counter()
        self.steps: dict[str, ExpandStep] = {}
        for step in options.steps:
            if not step.chosen.levels:
                counts[step.operator] += 1  # an operator may come twice; its place among all says nothing
                self.steps[f"{step.operator}{counts[step.operator]}"] = step
        self.programs = {
            name: ProvenPrograms(find(run.home, step.solved_in)) for name, step in self.steps.items() if step.solved_in
        }
        self._drawn = {name: self._draw(name, step) for name, step in self.steps.items()}
        self._partners = {name: self._pool(name, step) for name, step in self.steps.items()}

    def _draw(self, name: str, step: ExpandStep) -> frozenset[str] | None:
        """Return the ids of the seeds of a step; None: all of them."""
        if step.seeds is None and not step.chosen.from_failures:
            return None
        rates = _failure_rates(find(self.run.home, step.failed_in)) if step.failed_in else None
        ids = (row for shard in self.seeds for row in self._able(shard, name, step))
        known = (row for row in ids if rates is None or rates.get(row))

        def place(row: str) -> float:
            # Efraimidis and Spirakis (2006): the largest u^(1/weight) are a weighted draw without repeats.
            return -float(_chance(self.run.recipe.seed, name, row) ** (1 / (rates[row] if rates else 1)))

        return frozenset(heapq.nsmallest(step.seeds, known, key=place) if step.seeds else known)

    def _pool(self, name: str, step: ExpandStep) -> dict[str, Row]:
        """Return the seeds that may be the second parent of a step's problems, by id.

        They come from all shards, but only so many: what is in memory must not grow with the seeds.
        """
        if step.chosen.parents == 1:
            return {}
        rows = (row for shard in self.seeds for row in self.usable(shard).values())
        drawn = self._drawn[name] if step.chosen.from_failures else None
        known = rows if drawn is None else (row for row in rows if row["id"] in drawn)
        chosen = heapq.nsmallest(_PARTNERS, known, key=lambda row: _chance(self.run.recipe.seed, "partner", row["id"]))
        return {row["id"]: row for row in chosen}

    def parents(self, shard: Shard) -> dict[str, Row]:
        """Return every problem that may be a parent of what is made of a shard's seeds, by id."""
        pools = {row: seed for pool in self._partners.values() for row, seed in pool.items()}
        tested = [self.testable(shard, name) for name in self.programs]
        return {**pools, **self.usable(shard), **{row: seed for rows in tested for row, seed in rows.items()}}

    def testable(self, shard: Shard, step_name: str) -> dict[str, Row]:
        """Return the problems of a shard that a step can make more tests for, by id.

        Not those with recorded samples: these stay with the tests that they have, so the problem would be there twice.
        """
        recorded = set(self.run.store.read(self._recorded[shard.name], ["problem_id"])["problem_id"].to_pylist())
        rows = (row for row in self.run.store.read(shard).to_pylist() if row["id"] not in recorded)
        return testable(rows, self.programs[step_name])

    def _able(self, shard: Shard, step_name: str, step: ExpandStep) -> dict[str, Row]:
        return self.testable(shard, step_name) if step.chosen.tests else self.usable(shard)

    def usable(self, shard: Shard) -> dict[str, Row]:
        """Return the problems of a shard that new ones can be made of, by id: those that votes can label."""
        rows = self.run.store.read(shard).to_pylist()
        return {row["id"]: row for row in rows if is_known(row["domain"]) and _labelled_by_votes(row["domain"])}

    def groups(self, shard: Shard, step: ExpandStep) -> list[tuple[tuple[str, ...], int]]:
        """Return the parents and number of each new problem of a step."""
        name = next(name for name, other in self.steps.items() if other is step)
        rows = self._able(shard, name, step)
        drawn = self._drawn[name]
        firsts = [row for row in rows.values() if drawn is None or row["id"] in drawn]
        groups = []
        for row in firsts:
            # Parents share a licence, so that there is never a doubt which one a new problem has.
            pool = self._partners[name]
            others = [other for other, seed in pool.items() if other != row["id"] and _alike(seed, row)]
            if step.chosen.parents > 1 and not others:
                continue
            for number in range(step.each):
                place = int(_chance(self.run.recipe.seed, name, row["id"], number) * len(others))
                partner = (others[place],) if step.chosen.parents > 1 else ()
                groups.append(((row["id"], *partner), number))
        return groups

    def naming(self) -> Iterator[Job]:
        """Yield the questions for the concepts of seeds, by shard; none where no step needs them."""
        steps = [step for step in self.steps.values() if step.chosen.from_concepts]
        for shard in self.seeds if steps else ():
            yield Job(shard.name, partial(self._naming, shard, steps))

    def _naming(self, shard: Shard, steps: Sequence[ExpandStep]) -> list[Task]:
        """Return a question for each seed of a shard that may be a parent, here or in another shard."""
        text, schema = operators.prompt_text("name_concepts"), self._schema(operators.CONCEPTS_SCHEMA)
        rows = self.usable(shard)
        firsts = {group[0] for step in steps for group, _ in self.groups(shard, step)}
        needed = firsts | {row for pool in self._partners.values() for row in pool if row in rows}
        return [
            Task((row,), 0, operators.filled(text, problems=[rows[row]["prompt"]]), schema) for row in sorted(needed)
        ]

    def warn_of_unnamed(self, concepts: Mapping[str, Sequence[Shard]]) -> None:
        """Warn of seeds in whose replies no concept could be read: nothing is written of them, so no row says it.

        Args:
            concepts: answers to `naming`, by shard.
        """
        named = [names for shards in concepts.values() for names in self._concepts(shards).values()]
        if empty := sum(not names for names in named):
            steps = ", ".join(dict.fromkeys(s.operator for s in self.steps.values() if s.chosen.from_concepts))
            self.run.progress.warn(
                f"problems.expand: the model named no concept that can be read for {empty:,} of {len(named):,} seeds; "
                f"{steps} can't make problems of these. Try `structured: true`, or a stronger model"
            )

    def warn_of_untested(self) -> None:
        """Warn of programming seeds that get no new tests: few proven programs, or recorded samples of their own."""
        seeds = sum(shard.stats["domains"].get(CODE, 0) for shard in self.seeds)
        for name, programs in self.programs.items():
            able = sum(len(self.testable(shard, name)) for shard in self.seeds)
            if able < seeds:
                self.run.progress.warn(
                    f"problems.expand: {able:,} of {seeds:,} programming seeds may get new tests: those without "
                    f"recorded samples, in Python, of which {programs.version.label} has {MIN_PROGRAMS} different "
                    f"proven programs"
                )

    def writing(self, step_name: str, concepts: Mapping[str, Sequence[Shard]]) -> Iterator[Job]:
        """Yield the questions of one step, by shard.

        Args:
            step_name: a key of `steps`.
            concepts: answers to `naming`, by shard.
        """
        step = self.steps[step_name]
        pool = self._partners[step_name]
        of_pool = self._concepts([shard for shards in concepts.values() for shard in shards], pool)
        for shard in self.seeds:
            tasks = partial(self._writing, shard, step, concepts.get(shard.name, ()), of_pool)
            yield Job(f"{shard.name}.{step_name}", tasks)

    def _writing(
        self, shard: Shard, step: ExpandStep, named: Sequence[Shard], of_pool: Mapping[str, Sequence[str]]
    ) -> list[Task]:
        operator, rows = step.chosen, self.parents(shard)
        text = operators.prompt_text(step.operator, step.prompt)
        own = {} if step.temperature is None else {"temperature": step.temperature}
        concepts = {**of_pool, **self._concepts(named)} if operator.from_concepts else {}
        tasks = []
        for group, number in self.groups(shard, step):
            chosen = [name for row in group for name in self._some(concepts.get(row, ()), group, number)]
            if operator.from_concepts and not chosen:
                continue
            asked, schema = operators.for_domain(text, operators.PROBLEM_SCHEMA, rows[group[0]]["domain"])
            kind = operator.kinds[number % len(operator.kinds)]
            if operator.tests and (form := new_tests.form_of(rows[group[0]])):
                asked, schema, kind = text, new_tests.SCHEMA, form.in_words
            prompt = operators.filled(
                asked,
                problems=[rows[row]["prompt"] for row in group],
                concepts=list(dict.fromkeys(chosen)),
                kind=kind,
            )
            tasks.append(Task(group, number, prompt, self._schema(schema) | own))
        return tasks

    def _concepts(self, named: Sequence[Shard], among: Container[str] | None = None) -> dict[str, list[str]]:
        """Return the concepts that a model named, by seed; None: of all seeds."""
        replies = (row for shard in named for row in self.run.store.read(shard).to_pylist())
        return {
            row["about"][0]: new_problems.read_concepts(row["text"], row["finish_reason"])
            for row in replies
            if among is None or row["about"][0] in among
        }

    def _some(self, names: Sequence[str], group: Sequence[str], number: int) -> list[str]:
        """Return the concepts of one seed that a new problem is to use, drawn by chance."""
        return heapq.nsmallest(
            _CONCEPTS_EACH, names, key=lambda name: _chance(self.run.recipe.seed, name, group, number)
        )

    def _schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        return {"json_schema": schema} if self.options.structured else {}


def _chance(*parts: Any) -> float:
    """Return a number in [0, 1) that the parts alone decide."""
    return float(int(digest("expansion", *parts)[:13], 16) / 16**13)


def _alike(a: Row, b: Row) -> bool:
    return bool(a["license"] == b["license"] and a["domain"] == b["domain"])


def check_domains(run: RunContext, options: ExpandOptions, seeds: Sequence[Shard]) -> None:
    """Warn of seeds that no model makes new problems of, since samples that agree can't stand in for what they need.

    Raises:
        RecipeError: there are no others.
    """
    counts: Counter[str] = Counter()
    for shard in seeds:
        counts.update(shard.stats["domains"])
    tested = {CODE} if any(step.chosen.tests for step in options.steps) else set()
    able = {domain for domain in counts if is_known(domain) and _labelled_by_votes(domain)} | tested
    left = {domain: n for domain, n in sorted(counts.items()) if domain not in able}
    if not left:
        return
    known = ", ".join(domain for domain in DOMAINS if _labelled_by_votes(domain))
    told = ", ".join(f"{n:,} of {domain}" for domain, n in left.items())
    if len(left) == len(counts):
        raise RecipeError(
            f"A model can't make new problems of these seeds: {told}. A new problem's only answer is what its samples "
            f"agree on, and these need more than an answer.",
            where="recipe key problems.expand.steps",
            remedy=f"add seeds of {known}; for procedural tasks use harder and easier, which ask no model",
        )
    run.progress.warn(f"problems.expand: no new problems are made of {told}; a model makes them of {known} only")


def _labelled_by_votes(domain: str) -> bool:
    return find_domain(domain).can_label(None, {})


def _failure_rates(version: Version) -> dict[str, float]:
    """Return the share of failed samples of each problem that failed at all, over all samplers of a version."""
    rates: dict[str, float] = {}
    for path in version.files("pass_rates"):
        sums = pl.read_parquet(path).group_by("problem_id").agg(pl.col("n", "correct").sum()).filter(pl.col("n") > 0)
        rates |= {row: 1 - correct / n for row, n, correct in sums.iter_rows() if correct < n}
    return rates
