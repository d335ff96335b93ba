"""The engine phase that scores proven traces under a student, and the gather that says what scores are usual."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any

import polars as pl
import pyarrow as pa
from prefect import task
from prefect.cache_policies import NO_CACHE

from proofmill.data.files import digest
from proofmill.data.run import Facts, Shard
from proofmill.data.samples import FAILED
from proofmill.data.schemas import NLL
from proofmill.data.tables import from_rows
from proofmill.filters import potential
from proofmill.filters.verdicts import CORRECT
from proofmill.flows.recipe.options import potential_options
from proofmill.flows.run.session import Session
from proofmill.flows.stages.keys import LEARNING, POTENTIAL
from proofmill.flows.stages.phases import Answers, Part, ask
from proofmill.generators import prompts
from proofmill.generators.engines.base import Request
from proofmill.generators.rendering import answer_tokens, score_requests
from proofmill.generators.sample_plan import SamplePlan

if TYPE_CHECKING:
    from proofmill.flows.stages.tasks import Judged

Row = dict[str, Any]


@task(cache_policy=NO_CACHE)
def scored(session: Session, judged: Sequence[Judged]) -> list[Judged]:
    """The shards with the student's NLL of each proven trace, where the recipe asks for it.

    A trace that the student scored before is not scored again, whatever else has changed in the run.
    """
    plan = session.scorer
    if plan is None:
        return list(judged)
    student = _student(session, plan)
    before = cache(lambda: _scored_before(session, student))  # read only where a shard is not scored to its end
    parts = [_Scoring(session, plan, shard, student, before).part() for shard in judged]
    found = ask(session, LEARNING, plan, parts, "traces scored")
    if lost := sum(shard.facts["unscored"] for shard in found):
        session.progress.warn(f"{lost:,} proven traces are too long for the student and have no NLL")
    return [replace(shard, nll=nll) for shard, nll in zip(judged, found, strict=True)]


def known(session: Session, plan: SamplePlan) -> set[str]:
    """Ids of the traces that a student has scored in any run of this name."""
    return set(_scored_before(session, _student(session, plan))["id"])


def _scored_before(session: Session, student: str) -> pl.DataFrame:
    """What this student has said in any run of this name: schema NLL, about 50 bytes a trace."""
    shards = [shard for shard in session.run.earlier(LEARNING) if shard.facts.get("student") == student]
    tables = [_answered(session, shard) for shard in shards if session.run.find(LEARNING, shard.key)]
    return pl.DataFrame(pa.concat_tables([NLL.empty_table(), *tables]))


def _answered(session: Session, shard: Shard) -> pa.Table:
    table = session.run.read(shard)
    return table.filter(table["nll"].is_valid()) if shard.facts.get(FAILED) else table


def _student(session: Session, plan: SamplePlan) -> str:
    """Digest of all that decides a score, besides problem and trace."""
    engine = plan.engine_identity()
    asked = [session.style.identity(), session.recipe.prompt.train_as]
    return digest("student", plan.model.digest, plan.renderer.template_digest, engine, asked)


class _Scoring:
    """What the student is asked about one shard."""

    def __init__(
        self,
        session: Session,
        plan: SamplePlan,
        shard: Judged,
        student: str,
        known: Callable[[], pl.DataFrame],
    ) -> None:
        self.session = session
        self.plan = plan
        self.shard = shard
        self.student = student
        self.known = known
        self.tokens: dict[str, int] = {}

    def part(self) -> Part:
        traces = self.traces(["id"])
        key = LEARNING.key(self.shard.problems.content, digest(traces["id"].to_pylist()), self.student)
        return Part(self.shard.samples.name, key, self.requests, self.table)

    def traces(self, columns: list[str]) -> pa.Table:
        """The proven traces of the shard."""
        verdicts = self.session.run.read(self.shard.verdicts, ["verdict"])["verdict"]
        proven = pl.Series(verdicts).eq_missing(CORRECT).to_arrow()
        return self.session.run.read(self.shard.samples, columns).filter(proven)

    def before(self) -> dict[str, Row]:
        """By trace id: what is known of this shard's traces."""
        mine = pl.Series(self.traces(["id"])["id"])
        found = self.known().filter(pl.col("id").is_in(mine.implode()))
        return {row["id"]: row for row in found.iter_rows(named=True)}

    def requests(self) -> Iterator[Request]:
        session, known = self.session, self.before()
        problems = {row["id"]: row for row in session.run.read(self.shard.problems).to_pylist()}
        train_as = session.recipe.prompt.train_as
        rows = [
            (row["id"], prompts.as_trained(session.style, problem, train_as), row["response"])
            for row in self.traces(["id", "problem_id", "response"]).to_pylist()
            if row["id"] not in known and (problem := problems[row["problem_id"]])
        ]
        for request in score_requests(rows, self.plan.renderer, session.style.chat_template_args):
            self.tokens[request.id] = answer_tokens(request)
            yield request

    def table(self, answers: Answers) -> tuple[pa.Table, Facts]:
        known = self.before()
        rows = [
            known.get(row["id"]) or row | self.score(row["id"], answers)
            for row in self.traces(["id", "domain"]).to_pylist()
        ]
        self.tokens.clear()
        unscored = sum(row["nll"] is None for row in rows)
        return from_rows(rows, NLL), {"student": self.student, "unscored": unscored}

    def score(self, name: str, answers: Answers) -> Row:
        tokens = self.tokens.get(name, 0)
        logprob = answers[name].logprob if name in answers else None
        return {"tokens": tokens, "nll": None if logprob is None else -logprob / tokens}


@task(cache_policy=NO_CACHE)
def buckets(session: Session, judged: Sequence[Judged]) -> Shard | None:
    """What NLL is usual in each domain and length, over all shards; None where nothing was scored."""
    options = potential_options(session.recipe)
    scores = [shard.nll for shard in judged if shard.nll]
    if options is None or not scores:
        return None

    def make() -> tuple[pa.Table, Facts]:
        columns = potential.SCORED.names
        table = pa.concat_tables([session.run.read(shard, columns) for shard in scores])
        found = potential.buckets(pl.DataFrame(table.cast(potential.SCORED)), options)
        return found.to_arrow().cast(potential.BUCKETS), {}

    key = POTENTIAL.key([shard.content for shard in scores], repr(options))
    return session.run.once(POTENTIAL, "all", key, make)


def columns(session: Session, shard: Judged, found: Shard | None) -> pl.DataFrame:
    """By trace id: `nll`, `potential_reason` and `preferred` of the scored traces of a shard."""
    options = potential_options(session.recipe)
    if options is None or shard.nll is None or found is None:
        schema = {"id": pl.String, "nll": pl.Float32, "potential_reason": pl.String, "preferred": pl.Boolean}
        return pl.DataFrame(schema=schema)
    scores = pl.DataFrame(session.run.read(shard.nll))
    judged = potential.judge(scores, pl.DataFrame(session.run.read(found)), options)
    return scores.select("id", "nll").hstack(judged)
