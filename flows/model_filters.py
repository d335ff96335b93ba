"""The filters that ask a model: verdicts on undecided answers, reliability, and the NLL under a student.

The answer judge is first tested on planted pairs, then asked twice about each undecided answer. For reliability the
model first names the claims of each trace, then judges each of them in a fresh context. Its words are recorded as they
are; parsing them, and letting exact checks overrule them, is a step of its own without a model. A student's scores are
recorded in the same way: a trace that it has scored is not scored again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any, ClassVar

import polars as pl
import pyarrow as pa

from proofmill.data.files import digest
from proofmill.data.run import Shard, ShardStats, Step
from proofmill.data.schemas import ANSWERS, STRING
from proofmill.data.sections import ModelSection
from proofmill.data.tables import from_rows
from proofmill.filters import model_judge
from proofmill.filters import reliability as clr
from proofmill.filters.claim_checks import CLAIM_CHECKS, ClaimOptions, ModelVerifier
from proofmill.filters.learning_potential import NLL
from proofmill.filters.model_judge import JudgeOptions
from proofmill.filters.reliability import RELIABILITY
from proofmill.filters.verdicts import CORRECT
from proofmill.filters.verification import VERDICTS, problem_of
from proofmill.flows.context import RunContext
from proofmill.flows.model_calls import (
    Answers,
    RequestBatch,
    answered_before,
    chat_request,
    completed,
    question,
    run_batches,
    who_answers,
)
from proofmill.flows.shard_records import ShardRecord
from proofmill.generators import prompts
from proofmill.generators.engines.base import Request
from proofmill.generators.prompts import answer_tokens, score_requests
from proofmill.generators.sample_plan import SamplePlan

CLR_NAMED, CLR_JUDGED = Step("clr_named", schema=ANSWERS), Step("clr_judged", schema=ANSWERS)
JUDGE_ASKED = Step("judge_asked", schema=ANSWERS)
MODEL_JUDGED = Step("model_judged", 1, schema=VERDICTS.schema)
SCORES_SCHEMA = pa.schema({"id": STRING, "domain": STRING, "tokens": pa.int32(), "nll": pa.float32()})
SCORES = Step("learning", schema=SCORES_SCHEMA)
"""What a student said of a shard's proven traces, as it is recorded."""
# Options that decide about what a model is asked, and not the answer.
_WHAT_IS_ASKED = ("scope", "k", "nearness", "tries")
Questions = Iterator[tuple[int, int, str]]  # row of the shard's samples, number of the question, prompt
Row = dict[str, Any]


def spent_on(*answers: Shard) -> dict[str, int]:
    """Return the calls and tokens of a model's answers, as a step that reads them records it (`asked`)."""
    return {
        "calls": sum(shard.stats["calls"] for shard in answers),
        "prompt_tokens": sum(shard.stats["prompt_tokens"] for shard in answers),
        "completion_tokens": sum(shard.stats["completion_tokens"] for shard in answers),
    }


def add_reliability(run: RunContext, records: Sequence[ShardRecord]) -> list[ShardRecord]:
    """Return the records with the reliability of their traces; unchanged where no model judges claims."""
    plan, options = run.models.claim_judge, run.recipe.options(RELIABILITY).model
    if plan is None or options is None:
        return list(records)
    shards = [_ClaimQuestions(run, plan, options, record) for record in records]
    named = run_batches(run, CLR_NAMED, plan, [shard.naming() for shard in shards], "claims named")
    pairs = list(zip(shards, named, strict=True))
    batches = [shard.judging(names) for shard, names in pairs]
    answers = run_batches(run, CLR_JUDGED, plan, batches, "claims judged")
    scored = zip(pairs, answers, strict=True)
    return [shard.record.with_output(RELIABILITY.name, shard.scored(names, said)) for (shard, names), said in scored]


def open_judgements(run: RunContext, plan: SamplePlan, options: JudgeOptions, record: ShardRecord) -> int:
    """Return how many questions about a shard's undecided answers are still open; all samples count before the
    verdicts.

    Args:
        run: the run.
        plan: whose model judges.
        options: how.
        record: with samples; maybe without a file of verdicts.
    """
    if not record.outputs["verdicts"].file:
        return 2 * record.samples.rows
    batch = _AnswerQuestions(run, plan, options, record).batch()
    return 0 if completed(run, JUDGE_ASKED, batch) else batch.open()


def open_questions(run: RunContext, plan: SamplePlan, options: ModelVerifier, record: ShardRecord) -> tuple[int, int]:
    """Return the numbers of traces with claims still to name, and of named claims still to judge; at most.

    Args:
        run: the run.
        plan: whose model judges.
        options: how.
        record: with samples; without a file of verdicts every sample that may be asked about counts.
    """
    if not record.outputs["verdicts"].file:
        indices = run.store.read(record.samples, ["sample_index"])["sample_index"].to_pylist()
        return sum(options.k is None or index < options.k for index in indices), 0
    asked = _ClaimQuestions(run, plan, options, record)
    named = completed(run, CLR_NAMED, asked.naming())
    if named is None:
        return asked.naming().open(), 0
    if completed(run, CLR_JUDGED, asked.judging(named)):
        return 0, 0
    return 0, sum(len(found.claims) for found in asked.named(named).values())


@dataclass
class ModelQuestions:
    """One shard, and what a model is asked about its traces."""

    run: RunContext
    plan: SamplePlan
    options: Any
    record: ShardRecord

    prompts: ClassVar[Callable[[], str]]
    """Digest of the wording of all questions."""

    @property
    def name(self) -> str:
        """Of the batch."""
        return self.record.name

    def _batch(self, step: Step, key: str, stream: QuestionStream) -> RequestBatch:
        before = partial(answered_before, self.run.store, step, self._is_own)
        return RequestBatch(self.name, key, stream.requests, stream.table, before)

    def _is_own(self, shard: Shard) -> bool:
        """Return whether these are this model's answers about the shard, under other options or verdicts."""
        return shard.name == self.name and shard.stats.get("by") == self.by

    @property
    def by(self) -> str:
        """Digest of who answers and how."""
        return digest("asked", self._identity)

    @property
    def _identity(self) -> dict[str, Any]:
        """All that decides an answer besides its question."""
        return {
            **who_answers(self.plan),
            "options": self.options.model_dump(mode="json", exclude={*ModelSection.model_fields, *_WHAT_IS_ASKED}),
            "prompts": type(self).prompts(),
        }

    def _problems(self) -> dict[str, dict[str, Any]]:
        return {row["id"]: row for row in self.run.store.read(self.record.problems).to_pylist()}


@dataclass
class _ClaimQuestions(ModelQuestions):
    """What is asked about the claims of a shard's traces."""

    prompts = staticmethod(clr.prompts_digest)

    def naming(self) -> RequestBatch:
        """Return the questions that name the claims of each trace."""
        key = CLR_NAMED.key(self._identity, self.record.samples.content, self.wanted())
        return self._batch(CLR_NAMED, key, QuestionStream(self, clr.claims_schema(self.options.m), self._traces))

    def judging(self, named: Shard) -> RequestBatch:
        """Return the questions whether each named claim is false."""
        claims = [(row, found.claims) for row, found in self.named(named).items()]
        key = CLR_JUDGED.key(self._identity, self.record.samples.content, claims)
        return self._batch(CLR_JUDGED, key, QuestionStream(self, clr.JUDGEMENT_SCHEMA, lambda: self._claims(named)))

    def scored(self, named: Shard, said: Shard) -> Shard:
        """Return the reliability of each trace."""
        exact = CLAIM_CHECKS.key(ClaimOptions(), self.record.outputs["claims"].content, self.record.problems.content)
        key = RELIABILITY.key(self.run.recipe.options(RELIABILITY), named.content, said.content, exact, self.options.m)
        return self.run.store.once(RELIABILITY.step, self.record.name, key, lambda: self._score(named, said))

    def wanted(self) -> list[int]:
        """Return the rows of traces with an answer; one without can neither be kept nor vote."""
        read = self.run.store.read
        indices = read(self.record.samples, ["sample_index"])["sample_index"].to_pylist()
        verdicts = read(self.record.outputs["verdicts"], ["verdict", "extracted"]).to_pylist()
        k, accepted = self.options.k, self.options.scope == "accepted"
        return [
            row
            for row, (index, found) in enumerate(zip(indices, verdicts, strict=True))
            if (k is None or index < k)
            and (found["verdict"] == CORRECT or (not accepted and found["extracted"] is not None))
        ]

    def _traces(self) -> Questions:
        problems = self._problems()
        wanted = self.wanted()
        traces = self.run.store.read(self.record.samples, ["problem_id", "response"]).take(wanted)
        for row, trace in zip(wanted, traces.to_pylist(), strict=True):
            problem = problems[trace["problem_id"]]
            yield row, 0, clr.claims_prompt(problem["prompt"], trace["response"], self.options.m)

    def _claims(self, named: Shard) -> Questions:
        problems = self._problems()
        owners = self.run.store.read(self.record.samples, ["problem_id"])["problem_id"].to_pylist()
        for row, found in self.named(named).items():
            prompt = problems[owners[row]]["prompt"]
            for number, claim in enumerate(found.claims):
                yield row, number, clr.judgement_prompt(prompt, claim)

    def named(self, named: Shard) -> dict[int, clr.NamedClaims]:
        return {
            row["row"]: clr.read_claims(row["text"], row["finish_reason"], self.options.m)
            for row in self.run.store.read(named).to_pylist()
        }

    def _score(self, named: Shard, said: Shard) -> tuple[pa.Table, ShardStats]:
        claims = self.named(named)
        verdicts = {
            (row["row"], row["number"]): clr.read_judgement(row["text"], row["finish_reason"])
            for row in self.run.store.read(said).to_pylist()
        }
        exact = self._exact(claims)
        rows: list[dict[str, Any]] = [{} for _ in range(self.record.samples.rows)]
        counts: Counter[str] = Counter()
        for row, found in claims.items():
            judged = [
                clr.overruled(claim, exact.get((row, number), ())) or verdicts[row, number]
                for number, claim in enumerate(found.claims)
            ]
            listed = [
                {"text": claim, "status": item.status, "evidence": item.evidence}
                for claim, item in zip(found.claims, judged, strict=True)
            ]
            score = clr.reliability(judged, self.options.m)
            rows[row] = {"clr_score": score, "clr_fault": found.fault, "clr_claims": listed}
            counts.update(item.status for item in judged)
            counts[found.fault or "named"] += 1
            counts["scored"] += score is not None
        stats: ShardStats = {"counts": dict(sorted(counts.items())), "asked": spent_on(named, said)}
        return from_rows(rows, RELIABILITY.schema), stats

    def _exact(self, claims: Mapping[int, clr.NamedClaims]) -> dict[tuple[int, int], list[dict[str, Any]]]:
        """Return what exact checks say of each claim that the model named: in its trace, and by itself."""
        problems = self._problems()
        owners = self.run.store.read(self.record.samples, ["problem_id"])["problem_id"].to_pylist()
        in_trace = self.run.store.read(self.record.outputs["claims"], ["claims"])["claims"].to_pylist()
        places = [(row, number) for row, found in claims.items() for number in range(len(found.claims))]
        known = {name: problem_of(problem) for name, problem in problems.items()}
        alone = dict.fromkeys((*CLAIM_CHECKS.reads, *CLAIM_CHECKS.optional))
        rows = [
            alone | {"problem": known[owners[row]], "response": claims[row].claims[number]} for row, number in places
        ]
        checked = self.run.workers.annotate(CLAIM_CHECKS.name, ClaimOptions(), rows).table["claims"].to_pylist()
        return {
            (row, number): [*(in_trace[row] or ()), *(own or ())]
            for (row, number), own in zip(places, checked, strict=True)
        }


@dataclass
class QuestionStream:
    """The questions of one shard as requests, and the answers as a table.

    Attributes:
        asked: the shard.
        schema: JSON schema of an answer; None: it is plain text.
        questions: makes the questions.
        about: digest and number of tokens of each question that was made, by request id.
    """

    asked: ModelQuestions
    schema: dict[str, Any] | None
    questions: Callable[[], Questions]
    about: dict[str, tuple[str, int]] = field(default_factory=dict)

    def requests(self) -> Iterator[Request]:
        """Yield the questions in order."""
        options, plan = self.asked.options, self.asked.plan
        params = {
            "temperature": options.temperature,
            "top_p": options.top_p,
            "max_tokens": options.max_tokens,
            **options.extra,
            **({"json_schema": self.schema} if self.schema else {}),
        }
        for row, number, prompt in self.questions():
            name = f"{row}/{number}"
            request = chat_request(plan, name, prompt, number, params, "asked")
            self.about[name] = question(request), len(request.tokens)
            yield request

    def table(self, answers: Answers) -> tuple[pa.Table, ShardStats]:
        """Return the answers as a table (ANSWERS), and what they cost."""
        rows: list[dict[str, Any]] = []
        for name, answer in answers.items():
            row, _, number = name.partition("/")
            asked, length = self.about[name]
            rows.append(
                {
                    "row": int(row),
                    "number": int(number),
                    "question": asked,
                    "text": answer.text,
                    "finish_reason": answer.finish_reason,
                    "prompt_tokens": length,
                    "completion_tokens": answer.completion_tokens,
                }
            )
        rows.sort(key=lambda item: (item["row"], item["number"]))
        stats: ShardStats = {
            "calls": len(rows),
            "by": self.asked.by,
            "prompt_tokens": sum(item["prompt_tokens"] for item in rows),
            "completion_tokens": sum(item["completion_tokens"] for item in rows),
        }
        return from_rows(rows, ANSWERS), stats


# --- a model's verdicts on undecided answers -------------------------------------------------------------------


def add_judgements(run: RunContext, records: Sequence[ShardRecord]) -> list[ShardRecord]:
    """Return the records with a model's verdicts on undecided answers; unchanged where no model judges.

    Raises:
        VerifierError: the model calls planted wrong answers right.
    """
    plan, options = run.models.answer_judge, run.recipe.options(VERDICTS).judge
    if plan is None or options is None or not records:
        return list(records)
    shards = [_AnswerQuestions(run, plan, options, record) for record in records]
    planted = _CanaryQuestions(run, plan, options, records[0])
    said = run_batches(run, JUDGE_ASKED, plan, [planted.batch()], "planted answers judged")
    model_judge.check_canaries(plan.model.name, planted.replies(said[0], len(model_judge.CANARIES)))
    answers = run_batches(run, JUDGE_ASKED, plan, [shard.batch() for shard in shards], "answers judged")
    judged = [(shard.record, shard.judged(said)) for shard, said in zip(shards, answers, strict=True)]
    # Under its own name too, which stays when pseudo-labels are the next to replace verdicts.
    return [record.with_output("verdicts", found).with_output(MODEL_JUDGED.name, found) for record, found in judged]


@dataclass
class _AnswerQuestions(ModelQuestions):
    """What is asked about a shard's undecided rows: is this answer the gold answer?"""

    prompts = staticmethod(model_judge.prompts_digest)

    def batch(self) -> RequestBatch:
        """Return both questions about each undecided row."""
        asked = [(row, *pair) for row, pair in self.pairs()]
        key = JUDGE_ASKED.key(self._identity, self.record.samples.content, asked)
        return self._batch(JUDGE_ASKED, key, QuestionStream(self, model_judge.SCHEMA, self._questions))

    def pairs(self) -> list[tuple[int, model_judge.Pair]]:
        """Return row, question, gold and answer of each undecided row that has both answers."""
        problems = self._problems()
        owners = self.run.store.read(self.record.samples, ["problem_id"])["problem_id"].to_pylist()
        judged = self.run.store.read(self.record.outputs["verdicts"], ["undecided", "extracted"]).to_pylist()
        undecided = []
        for row, (owner, verdict) in enumerate(zip(owners, judged, strict=True)):
            problem = problems[owner]
            if verdict["undecided"] and verdict["extracted"] and problem["answer"]:
                pair = model_judge.Pair(problem["prompt"], problem["answer"], verdict["extracted"])
                undecided += [(row, pair)] * pair.can_be_asked
        return undecided

    def _questions(self) -> Questions:
        for row, pair in self.pairs():
            for number, prompt in enumerate(model_judge.prompts(pair)):
                yield row, number, prompt

    def replies(self, said: Shard, rows: int) -> list[list[bool | None]]:
        """Return the model's replies about each row; empty for rows that were not asked about."""
        by_row: list[list[bool | None]] = [[] for _ in range(rows)]
        for reply in self.run.store.read(said).to_pylist():
            by_row[reply["row"]].append(model_judge.read(reply["text"], reply["finish_reason"]))
        return by_row

    def judged(self, said: Shard) -> Shard:
        """Return the shard's verdicts, with the model's on undecided rows."""
        before = self.record.outputs["verdicts"]

        def make() -> tuple[pa.Table, ShardStats]:
            rows = self.run.store.read(before).to_pylist()
            for row, replies in zip(rows, self.replies(said, len(rows)), strict=True):
                if replies:
                    row["verdict"], row["verdict_detail"] = model_judge.verdict_of(replies)
            counts = dict(Counter(row["verdict"] for row in rows))
            judged = Counter(row["verdict"] for row in rows if row["verdict_detail"] == model_judge.DETAIL)
            stats: ShardStats = {"verdicts": counts, "counts": dict(judged), "asked": spent_on(said)}
            return from_rows(rows, VERDICTS.schema), stats | {"seconds": before.stats.get("seconds", 0.0)}

        key = MODEL_JUDGED.key(before.content, said.content)
        return self.run.store.once(MODEL_JUDGED, self.record.name, key, make)


@dataclass
class _CanaryQuestions(_AnswerQuestions):
    """The planted pairs, asked like rows."""

    def pairs(self) -> list[tuple[int, model_judge.Pair]]:
        """Return the planted pairs, numbered."""
        return [(number, pair) for number, (pair, _) in enumerate(model_judge.CANARIES)]

    @property
    def name(self) -> str:
        """Of the batch, beside the shards."""
        return "planted"


# --- the NLL under a student -------------------------------------------------------------------------------


def add_scores(run: RunContext, records: Sequence[ShardRecord]) -> list[ShardRecord]:
    """Return the records with the student's NLL of each proven trace, where the recipe asks for it.

    A trace that the student scored before is not scored again, whatever else has changed in the run.
    """
    plan = run.models.scorer
    if plan is None:
        return list(records)
    student = _student(run, plan)
    before = cache(lambda: _scored_before(run, student))  # read only where a shard is not scored to its end
    batches = [_Scoring(run, plan, record, student, before).batch() for record in records]
    scored = run_batches(run, SCORES, plan, batches, "traces scored")
    if lost := sum(shard.stats["unscored"] - shard.stats.get("failed", 0) for shard in scored):
        run.progress.warn(f"{lost:,} proven traces are too long for the student and have no NLL")
    return [
        record.with_output(NLL.name, _by_row(run, record, scores))
        for record, scores in zip(records, scored, strict=True)
    ]


def _by_row(run: RunContext, record: ShardRecord, scores: Shard) -> Shard:
    """Return the scores in the order of their shard's traces."""

    def make() -> tuple[pa.Table, ShardStats]:
        ids = pl.DataFrame(run.store.read(record.samples, ["id"]))
        nlls = pl.DataFrame(run.store.read(scores, ["id", "tokens", "nll"])).rename({"tokens": "nll_tokens"})
        joined = ids.join(nlls, on="id", how="left", maintain_order="left")
        return joined.select(NLL.schema.names).to_arrow().cast(NLL.schema), {}

    key = NLL.key(run.recipe.options(NLL), record.samples.content, scores.content)
    return run.store.once(NLL.step, record.name, key, make)


def scored_ids(run: RunContext, plan: SamplePlan) -> set[str]:
    """Return the ids of the traces that a student has scored in any run of this name."""
    return set(_scored_before(run, _student(run, plan))["id"])


def _scored_before(run: RunContext, student: str) -> pl.DataFrame:
    """Return this student's scores of any run of this name (SCORES_SCHEMA), about 50 bytes a trace."""
    shards = [shard for shard in run.store.earlier(SCORES) if shard.stats.get("student") == student]
    tables = [_answered(run, shard) for shard in shards if run.store.find(SCORES, shard.key)]
    return pl.DataFrame(pa.concat_tables([SCORES_SCHEMA.empty_table(), *tables]))


def _answered(run: RunContext, shard: Shard) -> pa.Table:
    table = run.store.read(shard)
    return table.filter(table["nll"].is_valid()) if shard.stats.get("failed") else table


def _student(run: RunContext, plan: SamplePlan) -> str:
    """Return the digest of all that decides a score, besides problem and trace."""
    engine = plan.engine_identity()
    own = {sampler.name: dict(sampler.templates) for sampler in run.recipe.samplers if sampler.templates}
    asked = [run.models.style.identity(), run.recipe.prompt.train_as, *([own] if own else [])]
    return digest("student", plan.model.digest, plan.renderer.template_digest, engine, asked)


class _Scoring:
    """What the student is asked about one shard."""

    def __init__(
        self,
        run: RunContext,
        plan: SamplePlan,
        record: ShardRecord,
        student: str,
        known: Callable[[], pl.DataFrame],
    ) -> None:
        self.run = run
        self.plan = plan
        self.record = record
        self.student = student
        self.known = known
        self.tokens: dict[str, int] = {}

    def batch(self) -> RequestBatch:
        traces = self.traces(["id"])
        key = SCORES.key(self.record.problems.content, digest(traces["id"].to_pylist()), self.student)
        return RequestBatch(self.record.name, key, self.requests, self.table)

    def traces(self, columns: list[str]) -> pa.Table:
        """Return the proven traces of the shard."""
        verdicts = self.run.store.read(self.record.outputs["verdicts"], ["verdict"])["verdict"]
        proven = pl.Series(verdicts).eq_missing(CORRECT).to_arrow()
        return self.run.store.read(self.record.samples, columns).filter(proven)

    def before(self) -> dict[str, Row]:
        """Return the earlier scores of this shard's traces, by trace id."""
        ids = pl.Series(self.traces(["id"])["id"])
        rows = self.known().filter(pl.col("id").is_in(ids.implode()))
        return {row["id"]: row for row in rows.iter_rows(named=True)}

    def requests(self) -> Iterator[Request]:
        run, known = self.run, self.before()
        problems = {row["id"]: row for row in run.store.read(self.record.problems).to_pylist()}
        train_as = run.recipe.prompt.train_as
        rows = [
            (row["id"], prompts.as_trained(run.models.styles(row["sampler"]), problem, train_as), row["response"])
            for row in self.traces(["id", "problem_id", "sampler", "response"]).to_pylist()
            if row["id"] not in known and (problem := problems[row["problem_id"]])
        ]
        for request in score_requests(rows, self.plan.renderer, run.models.style.chat_template_args):
            self.tokens[request.id] = answer_tokens(request)
            yield request

    def table(self, answers: Answers) -> tuple[pa.Table, ShardStats]:
        known = self.before()
        rows = [
            known.get(row["id"]) or row | self.score(row["id"], answers)
            for row in self.traces(["id", "domain"]).to_pylist()
        ]
        self.tokens.clear()
        unscored = sum(row["nll"] is None for row in rows)
        return from_rows(rows, SCORES_SCHEMA), {"student": self.student, "unscored": unscored}

    def score(self, name: str, answers: Answers) -> Row:
        tokens = self.tokens.get(name, 0)
        logprob = answers[name].logprob if name in answers else None
        return {"tokens": tokens, "nll": None if logprob is None else -logprob / tokens}
