"""A model condenses proven traces into short solutions, which are proven in their turn.

It is asked when all filters have judged: of each problem about its shortest right trace, whatever thresholds make of
that one. Its words are recorded like all answers of models; judging them is a step of its own without a model. So no
change of a threshold, of the selection or of a length asks anything again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from proofmill.data.run import Shard, ShardStats, Step
from proofmill.data.schemas import ANSWERS, F32, I32, STRING
from proofmill.data.tables import from_rows
from proofmill.filters import rewriting
from proofmill.filters.claim_checks import CLAIM_CHECKS, ClaimOptions
from proofmill.filters.curriculum import LongToShort
from proofmill.filters.reasoning import parts_of
from proofmill.filters.repetition import QUALITY
from proofmill.filters.verdicts import ERROR, Verdict
from proofmill.filters.verification import VERDICTS, problem_of
from proofmill.flows.context import RunContext
from proofmill.flows.model_calls import RequestBatch, run_batches
from proofmill.flows.model_filters import ModelQuestions, Questions, QuestionStream, spent_on
from proofmill.flows.recipe.schema import rewriting_of
from proofmill.flows.shard_records import ShardRecord
from proofmill.generators.prompts import messages

Row = dict[str, Any]
_TRIES = pa.schema(
    {
        "row": I32,  # of the shard's samples
        "number": I32,  # of the try
        "text": STRING,
        "reason": STRING,  # why it is not used; null: it is right, short and sound
        "used": pa.bool_(),  # whether it is the shortest of these
        "tokens": I32,
        "claim_score": F32,
    }
)
TO_REWRITE = Step("to_rewrite", 2, ("polars",), pa.schema({"row": I32}))
REWRITE_ASKED = Step("rewrite_asked", schema=ANSWERS)
SHORT_SOLUTIONS = Step("short_solutions", 1, schema=_TRIES)


def rewritten(run: RunContext, records: Sequence[ShardRecord], sources: Sequence[Shard]) -> list[ShardRecord]:
    """Return the records with what a model made of some of their traces; unchanged where none is asked.

    Args:
        run: the run.
        records: the shards.
        sources: of each the places of these traces (TO_REWRITE).
    """
    plan, options = run.models.rewriter, rewriting_of(run.recipe)
    if plan is None or options is None:
        return list(records)
    shards = [_Rewriting(run, plan, options, record, source) for record, source in zip(records, sources, strict=True)]
    answers = run_batches(run, REWRITE_ASKED, plan, [shard.batch() for shard in shards], "traces condensed")
    return [
        shard.record.with_output(SHORT_SOLUTIONS.name, shard.judged(replies))
        for shard, replies in zip(shards, answers, strict=True)
    ]


def short_solutions(run: RunContext, record: ShardRecord) -> dict[str, Row]:
    """Return the short solution of each problem of a shard that has a sound one, by the problem's id."""
    if (shard := record.outputs.get(SHORT_SOLUTIONS.name)) is None:
        return {}
    owners = run.store.read(record.samples, ["problem_id"])["problem_id"].to_pylist()
    return {owners[row["row"]]: row for row in run.store.read(shard).to_pylist() if row["used"]}


@dataclass
class _Rewriting(ModelQuestions):
    """What is asked about a shard's traces, and what comes of it."""

    source: Shard

    prompts = staticmethod(rewriting.prompts_digest)

    def batch(self) -> RequestBatch:
        """Return the questions, some about each trace."""
        key = REWRITE_ASKED.key(self._identity, list(self._prompts()), self.options.tries)
        return self._batch(REWRITE_ASKED, key, QuestionStream(self, None, self._questions))

    def _prompts(self) -> Iterator[tuple[int, str]]:
        """Yield row and prompt of each trace."""
        problems = self._problems()
        for row, trace in self._traces().items():
            problem = problems[trace["problem_id"]]
            turns = messages(self.run.models.styles(trace["sampler"]), problem)
            yield row, rewriting.prompt(turns[-1]["content"], trace["response"])

    def _traces(self) -> Mapping[int, Row]:
        rows = self.run.store.read(self.source)["row"]
        table = self.run.store.read(self.record.samples, ["problem_id", "sampler", "response"]).take(rows)
        return dict(zip(rows.to_pylist(), table.to_pylist(), strict=True))

    def _questions(self) -> Questions:
        for row, prompt in self._prompts():
            yield from ((row, number, prompt) for number in range(self.options.tries))

    def judged(self, answers: Shard) -> Shard:
        """Return each try, with the reason why it is not used."""
        recipe, quality = self.run.recipe, self.run.recipe.options(QUALITY)
        assert isinstance(recipe.curriculum, LongToShort)  # noqa: S101 (narrowing for the type checker)
        ratio = recipe.curriculum.max_short_ratio
        checks = VERDICTS.key(recipe.options(VERDICTS)), CLAIM_CHECKS.key(ClaimOptions()), QUALITY.key(quality)
        inputs = answers.content, self.record.samples.content, self.record.problems.content
        key = SHORT_SOLUTIONS.key(*inputs, checks, ratio)
        return self.run.store.once(SHORT_SOLUTIONS, self.record.name, key, lambda: self._judge(answers, ratio))

    def _judge(self, answers: Shard, ratio: float) -> tuple[pa.Table, ShardStats]:
        traces, problems = self._traces(), self._problems()
        tags = self.run.recipe.options(VERDICTS).reasoning_tags
        lengths = self._lengths([trace["response"] for trace in traces.values()])
        longest = {row: ratio * length for row, length in zip(traces, lengths, strict=True)}
        rows: list[Row] = []
        for reply in self.run.store.read(answers).to_pylist():
            text, reason = rewriting.solution(reply["text"], reply["finish_reason"], tags)
            rows.append({"row": reply["row"], "number": reply["number"], "text": text, "reason": reason})
        readable = [row for row in rows if row["reason"] is None]
        tries = self._checked([(problems[traces[row["row"]]["problem_id"]], row["text"]) for row in readable])
        for row, tried in zip(readable, tries, strict=True):
            row |= {"reason": tried.fault(longest[row["row"]]), "tokens": tried.tokens}
            row["claim_score"] = tried.claims["claim_score"]
        best: dict[int, Row] = {}
        sound = [row for row in readable if not row["reason"]]
        for row in sorted(sound, key=lambda row: (row["tokens"], row["number"])):
            best.setdefault(row["row"], row)
        for row in rows:
            row["used"] = best.get(row["row"]) is row
        counts = Counter(row["reason"] or "kept" for row in rows)
        counts |= Counter({"traces": len(traces), "used": len(best)})
        return from_rows(rows, _TRIES), {"counts": dict(counts), "asked": spent_on(answers)}

    def _checked(self, tries: Sequence[tuple[Row, str]]) -> list[rewriting.CheckedTry]:
        """Return what verifier, claims and quality say of short solutions, each with its problem."""
        workers = self.run.workers
        verdicts = [
            verdict or Verdict(ERROR) for verdict in workers.judge.verdicts_of([(*pair, "stop") for pair in tries])
        ]
        rows: list[Row] = []
        for (problem, text), verdict in zip(tries, verdicts, strict=True):
            parts = parts_of(text, verdict.final_start)
            row = dict.fromkeys((*CLAIM_CHECKS.optional, *QUALITY.optional))
            row |= {"problem": problem_of(problem), "prompt": problem["prompt"], "response": text}
            row |= {"reasoning": parts.reasoning, "final": parts.final, "reasoning_closed": parts.closed}
            rows.append(row | {"final_start": verdict.final_start, "verdict": verdict.verdict})
        claims = workers.annotate(CLAIM_CHECKS.name, ClaimOptions(), rows).table.to_pylist()
        quality = workers.annotate(QUALITY.name, self.run.recipe.options(QUALITY), rows).table.to_pylist()
        lengths = self._lengths([text for _, text in tries])
        columns = zip([verdict.verdict for verdict in verdicts], lengths, claims, quality, strict=True)
        return [rewriting.CheckedTry(*values) for values in columns]

    def _lengths(self, texts: list[str]) -> list[int]:
        return [len(tokens) for tokens in self.plan.renderer.tokens_of(texts)]
