"""A model names the topic of each problem that was solved; its answers are recorded as those of all models."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from proofmill.data.run import Shard, ShardStats, Step
from proofmill.data.schemas import ANSWERS, STRING
from proofmill.data.tables import from_rows
from proofmill.filters import topics
from proofmill.filters.verdicts import CORRECT
from proofmill.flows.context import RunContext
from proofmill.flows.model_calls import RequestBatch, completed, run_batches
from proofmill.flows.model_filters import ModelQuestions, Questions, QuestionStream, spent_on
from proofmill.flows.shard_records import ShardRecord

TOPIC_ASKED = Step("topic_asked", schema=ANSWERS)
_NAMED = pa.schema({"topic": STRING})  # a row for each problem of the shard
TOPICS = Step("topics", 1, schema=_NAMED)
UNNAMED = "not_named"


def add_topics(run: RunContext, records: Sequence[ShardRecord]) -> list[ShardRecord]:
    """Return the records with the topics of their problems; unchanged where no model is asked."""
    plan, options = run.models.topic_namer, run.recipe.problems.topics
    if plan is None or options is None:
        return list(records)
    shards = [_Topics(run, plan, options, record) for record in records]
    answers = run_batches(run, TOPIC_ASKED, plan, [shard.batch() for shard in shards], "topics named")
    return [
        shard.record.with_output(TOPICS.name, shard.named(said)) for shard, said in zip(shards, answers, strict=True)
    ]


def topics_of(run: RunContext, record: ShardRecord) -> dict[str, str]:
    """Return the topics of a shard's problems by their ids; problems without one are left out."""
    if (shard := record.outputs.get(TOPICS.name)) is None:
        return {}
    names = run.store.read(record.problems, ["id"])["id"].to_pylist()
    found = zip(names, run.store.read(shard)["topic"].to_pylist(), strict=True)
    return {name: topic for name, topic in found if topic is not None}


def open_topics(run: RunContext, records: Sequence[ShardRecord]) -> int:
    """Return how many questions about problems that are known to be solved are still open."""
    plan, options = run.models.topic_namer, run.recipe.problems.topics
    if plan is None or options is None:
        return 0
    judged = [record for record in records if record.outputs["verdicts"].file]
    batches = [_Topics(run, plan, options, record).batch() for record in judged]
    return sum(0 if completed(run, TOPIC_ASKED, batch) else batch.open() for batch in batches)


@dataclass
class _Topics(ModelQuestions):
    """What is asked about a shard's problems."""

    prompts = staticmethod(topics.prompts_digest)

    def batch(self) -> RequestBatch:
        """Return a question about each problem with a right answer."""
        key = TOPIC_ASKED.key(self._identity, list(self._questions()))
        return self._batch(TOPIC_ASKED, key, QuestionStream(self, topics.schema(self.options.labels), self._questions))

    def _questions(self) -> Questions:
        read = self.run.store.read
        owners = read(self.record.samples, ["problem_id"])["problem_id"].to_pylist()
        verdicts = read(self.record.outputs["verdicts"], ["verdict"])["verdict"].to_pylist()
        solved = {owner for owner, verdict in zip(owners, verdicts, strict=True) if verdict == CORRECT}
        for row, problem in enumerate(read(self.record.problems, ["id", "prompt"]).to_pylist()):
            if problem["id"] in solved:
                yield row, 0, topics.prompt(problem["prompt"], self.options.labels)

    def named(self, said: Shard) -> Shard:
        """Return the topic of each problem."""

        def make() -> tuple[pa.Table, ShardStats]:
            rows: list[dict[str, Any]] = [{} for _ in range(self.record.problems.rows)]
            for reply in self.run.store.read(said).to_pylist():
                topic = topics.read(reply["text"], reply["finish_reason"], self.options.labels)
                rows[reply["row"]] = {"topic": topic, "asked": True}
            counts = Counter(row["topic"] or UNNAMED for row in rows if row)
            stats: ShardStats = {"counts": dict(sorted(counts.items())), "asked": spent_on(said)}
            return from_rows(rows, _NAMED), stats

        key = TOPICS.key(said.content, self.record.problems.content, self.options.labels)
        return self.run.store.once(TOPICS, self.record.name, key, make)
