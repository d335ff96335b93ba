"""A model decides about problems that are near a benchmark's item, and not near enough to be marked by that alone.

It is asked about the few problems whose nearness lies between its own bound and the threshold: before anything is
sampled (`screening.py`), and about new problems and those of recorded samples when all samples are judged. The traces
of those that it calls the same are dropped as `contaminated`, like all that overlap. A reply that can't be read, or two
that contradict each other, mark nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import pyarrow as pa

from proofmill.data.files import digest
from proofmill.data.run import Shard, ShardStats, Step
from proofmill.data.schemas import ANSWERS
from proofmill.data.tables import from_rows
from proofmill.filters import meaning, model_judge
from proofmill.filters.contamination import CONTAMINATED_PROBLEMS, CONTAMINATION
from proofmill.filters.meaning import Pair
from proofmill.filters.model_judge import Planted
from proofmill.filters.near_prompts import NearPrompt
from proofmill.filters.verdicts import CORRECT, WRONG
from proofmill.flows.context import RunContext
from proofmill.flows.model_calls import RequestBatch, completed, run_batches
from proofmill.flows.model_filters import ModelQuestions, Questions, QuestionStream, spent_on
from proofmill.flows.shard_records import ShardRecord

NEAR_ASKED = Step("near_asked", schema=ANSWERS)
NEAR_PROBLEMS = Step("near_problems", 1, schema=CONTAMINATED_PROBLEMS.schema)
NEAR_TRACES = Step("near_traces", 1, schema=CONTAMINATION.schema)
NEAR_PROMPTS_READ = Step("near_prompts_read", schema=pa.schema({"id": pa.string(), "prompt": pa.string()}))
NEAR_PROMPTS_COMPARED = Step("near_prompts_compared", schema=CONTAMINATED_PROBLEMS.schema)
_PROMPTS_TOGETHER = 512  # of a file, in one batch of questions
_PLANTED = Planted(
    "decontaminate.meaning.judge",
    [(f"{pair.prompt!r} and {pair.item!r}", same) for pair, same in meaning.CANARIES],
    "two planted different problems the same",
    "no two planted equal problems the same",
)
SAME, NOT_JUDGED = "same", "not_judged"
_SAID = {CORRECT: SAME, WRONG: "other"}
Row = dict[str, Any]


def add_near_judgements(run: RunContext, records: Sequence[ShardRecord]) -> list[ShardRecord]:
    """Return the records with what a model says of problems near an item; unchanged where none is asked.

    Raises:
        VerifierError: the model calls planted different problems the same.
    """
    if not (compared := compare(run, records)):
        return list(records)
    return [questions.marked(answers) for questions, answers in compared]


def compare(run: RunContext, records: Sequence[ShardRecord]) -> list[tuple[NearQuestions, Shard]]:
    """Return what is asked about each shard's problems, and what the model says; nothing where none is near an item.

    Raises:
        VerifierError: the model calls planted different problems the same.
    """
    plan, options = run.models.near_judge, _options(run)
    if plan is None or options is None:
        return []
    shards = [NearQuestions(run, plan, options, record) for record in records]
    if not any(shard.pairs for shard in shards):
        return []
    planted = _PlantedQuestions(run, plan, options, records[0])
    (answers_to_planted,) = run_batches(run, NEAR_ASKED, plan, [planted.batch()], "planted problems compared")
    replies = planted.replies(answers_to_planted)
    model_judge.check_canaries(
        plan.model.name, [replies.get(row, []) for row in range(len(meaning.CANARIES))], _PLANTED
    )
    answers = run_batches(run, NEAR_ASKED, plan, [shard.batch() for shard in shards], "problems compared")
    return list(zip(shards, answers, strict=True))


def prompt_records(run: RunContext, near: Sequence[NearPrompt]) -> list[ShardRecord]:
    """Return records of prompts that are near an item and belong to no problem of a run, each once, in parts.

    Args:
        run: keeps them.
        near: the prompts.
    """
    records = []
    for start in range(0, len(near), _PROMPTS_TOGETHER):
        part = near[start : start + _PROMPTS_TOGETHER]
        name, key = f"{start // _PROMPTS_TOGETHER:05d}", digest(part)
        prompts = [{"id": digest(near_one.question), "prompt": near_one.question} for near_one in part]
        items = [{"near_item": n.item, "near_text": n.text, "near_span": n.span} for n in part]
        problems, compared = (
            run.store.once(step, name, step.key(key), partial(_table, rows, step.schema))
            for step, rows in ((NEAR_PROMPTS_READ, prompts), (NEAR_PROMPTS_COMPARED, items))
        )
        records.append(ShardRecord(problems, problems).with_output(CONTAMINATED_PROBLEMS.name, compared))
    return records


def _table(rows: Sequence[Row], schema: pa.Schema) -> tuple[pa.Table, ShardStats]:
    return from_rows(rows, schema), {}


def _options(run: RunContext) -> meaning.NearJudge | None:
    section = run.recipe.options(CONTAMINATION).meaning
    return section.judge if section else None


def open_comparisons(run: RunContext, records: Sequence[ShardRecord]) -> int:
    """Return how many questions about problems near an item are still open, as far as the problems are compared."""
    plan, options = run.models.near_judge, _options(run)
    if plan is None or options is None:
        return 0
    compared = [record for record in records if record.outputs[CONTAMINATED_PROBLEMS.name].file]
    batches = [NearQuestions(run, plan, options, record).batch() for record in compared]
    return sum(0 if completed(run, NEAR_ASKED, batch) else batch.open() for batch in batches)


@dataclass
class NearQuestions(ModelQuestions):
    """What is asked about a shard's problems that are near an item."""

    prompts = staticmethod(meaning.pair_prompts_digest)

    def batch(self) -> RequestBatch:
        """Return both questions about each such problem."""
        key = NEAR_ASKED.key(self._identity, [(row, *pair) for row, pair in self.pairs])
        return self._batch(NEAR_ASKED, key, QuestionStream(self, model_judge.SCHEMA, self._questions))

    @cached_property
    def pairs(self) -> list[tuple[int, Pair]]:
        """Row, prompt and item of each such problem."""
        items = self.run.store.read(self._compared, ["near_text"])["near_text"].to_pylist()
        prompts = self.run.store.read(self.record.problems, ["prompt"])["prompt"].to_pylist()
        pairs = [(row, Pair(prompts[row], item)) for row, item in enumerate(items) if item]
        return [(row, pair) for row, pair in pairs if pair.can_be_asked]

    @property
    def _compared(self) -> Shard:
        return self.record.outputs[CONTAMINATED_PROBLEMS.name]

    def _questions(self) -> Questions:
        for row, pair in self.pairs:
            for number, prompt in enumerate(meaning.pair_prompts(pair)):
                yield row, number, prompt

    def replies(self, answers: Shard) -> dict[int, list[bool | None]]:
        """Return the model's replies about each row that it was asked about."""
        by_row: dict[int, list[bool | None]] = {}
        for reply in self.run.store.read(answers).to_pylist():
            by_row.setdefault(reply["row"], []).append(model_judge.read(reply["text"], reply["finish_reason"]))
        return by_row

    def called_same(self, answers: Shard) -> set[str]:
        """Return the ids of the problems that the model calls the same as an item."""
        return {name for name, verdict in self.verdicts(answers).items() if verdict == SAME}

    def verdicts(self, answers: Shard) -> dict[str, str]:
        """Return what the model says of each problem that it was asked about, by id: `same`, `other`, `not_judged`."""
        names = self.run.store.read(self.record.problems, ["id"])["id"].to_pylist()
        return {names[row]: _verdict(replies) for row, replies in self.replies(answers).items()}

    def marked(self, answers: Shard) -> ShardRecord:
        """Return the record with marks on the problems that are called the same as an item, and on their traces."""
        once = self.run.store.once
        key = NEAR_PROBLEMS.key(self._compared.content, answers.content)
        problems = once(NEAR_PROBLEMS, self.record.name, key, lambda: self._problems_marked(answers))
        traces = self.record.outputs[CONTAMINATION.name]
        key = NEAR_TRACES.key(traces.content, problems.content, self.record.problems.content)
        marked = once(NEAR_TRACES, self.record.name, key, lambda: self._traces_marked(traces, problems))
        record = self.record.with_output(CONTAMINATED_PROBLEMS.name, problems)
        return record.with_output(CONTAMINATION.name, marked)

    def _problems_marked(self, answers: Shard) -> tuple[pa.Table, ShardStats]:
        rows = self.run.store.read(self._compared).to_pylist()
        counts: Counter[str] = Counter()
        for number, replies in self.replies(answers).items():
            verdict = _verdict(replies)
            counts[verdict] += 1
            if verdict == SAME:
                row = rows[number]
                row["contaminated_by"], row["contaminated_span"] = row["near_item"], f"by a model, {row['near_span']}"
        return from_rows(rows, NEAR_PROBLEMS.schema), {"counts": dict(counts), "asked": spent_on(answers)}

    def _traces_marked(self, traces: Shard, problems: Shard) -> tuple[pa.Table, ShardStats]:
        read = self.run.store.read
        names = read(self.record.problems, ["id"])["id"].to_pylist()
        marks = dict(zip(names, read(problems, CONTAMINATION.schema.names).to_pylist(), strict=True))
        rows = read(traces).to_pylist()
        for owner, row in zip(read(self.record.samples, ["problem_id"])["problem_id"].to_pylist(), rows, strict=True):
            row |= marks[owner] if not row["contaminated_by"] and marks[owner]["contaminated_by"] else {}
        return from_rows(rows, NEAR_TRACES.schema), {}


def _verdict(replies: Sequence[bool | None]) -> str:
    return _SAID.get(model_judge.verdict_of(replies)[0], NOT_JUDGED)


@dataclass
class _PlantedQuestions(NearQuestions):
    """The planted pairs, asked like problems."""

    @cached_property
    def pairs(self) -> list[tuple[int, Pair]]:
        """The planted pairs, numbered."""
        return [(row, pair) for row, (pair, _) in enumerate(meaning.CANARIES)]

    @property
    def name(self) -> str:
        """Of the batch, beside the shards."""
        return "planted"
