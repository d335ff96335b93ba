"""Problems that a model calls a benchmark's item in other words are not sampled.

What overlaps by its words, or is near enough, is left out where problems are read. A model may decide below that; it is
asked here, before anything is drawn, about the few problems near an item. What it said is recorded, so those that stay
are not asked about again when all samples are judged.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pyarrow as pa
import pyarrow.compute as pc

from proofmill.data.errors import InputError
from proofmill.data.run import Shard, ShardStats, Step
from proofmill.data.schemas import PROBLEMS
from proofmill.filters.contamination import CONTAMINATED_PROBLEMS
from proofmill.flows.context import RunContext
from proofmill.flows.ingest import LEAKED, ProblemShard, RunProblems
from proofmill.flows.near_items import NEAR_ASKED, NearQuestions, compare
from proofmill.flows.pipeline import filter_output
from proofmill.flows.shard_records import ShardRecord

SCREENED = Step("screened_problems", 1, schema=PROBLEMS)
STEPS = (CONTAMINATED_PROBLEMS.step, NEAR_ASKED, SCREENED)


def screen_problems(run: RunContext, problems: RunProblems) -> RunProblems:
    """Return the problems without those that a model calls an item; unchanged where none is asked.

    What comes with recorded samples stays: it costs nothing more, and its traces are marked.

    Raises:
        VerifierError: the model calls planted different problems the same.
        InputError: no problem is left.
    """
    if run.models.near_judge is None or not run.recipe.options(CONTAMINATED_PROBLEMS).skip_problems:
        return problems
    records = [_compared(run, shard) for shard in problems.shards]
    compared = compare(run, records)
    if not compared:
        return problems
    pairs = zip(problems.shards, compared, strict=True)
    screened = [_without(run, shard, questions, said) for shard, (questions, said) in pairs]
    left_out = sum(shard.problems.rows for shard in problems.shards) - sum(shard.problems.rows for shard in screened)
    shards = tuple(shard for shard in screened if shard.problems.rows)
    if not shards:
        raise InputError(
            "A model calls every problem the same as a benchmark's item, so there is nothing to sample.",
            where="recipe key decontaminate.meaning.judge",
            remedy="compare problems and items; leave the judge out, or set decontaminate.skip_problems: false",
        )
    ledger = problems.stats["problems"]
    dropped = ledger["dropped"] | ({LEAKED: ledger["dropped"].get(LEAKED, 0) + left_out} if left_out else {})
    stats: ShardStats = {
        **problems.stats,
        "problems": {**ledger, "kept": ledger["kept"] - left_out, "dropped": dropped},
    }
    return replace(problems, shards=shards, stats=stats, called_items=left_out)


def _compared(run: RunContext, shard: ProblemShard) -> ShardRecord:
    """Return a record of a shard that has no samples yet, with the items near its problems."""
    record = ShardRecord(shard.problems, shard.problems)
    active = next(active for active in run.filters if active.filter is CONTAMINATED_PROBLEMS)
    return record.with_output(CONTAMINATED_PROBLEMS.name, filter_output(run, record, active))


def _without(run: RunContext, shard: ProblemShard, questions: NearQuestions, said: Shard) -> ProblemShard:
    """Return a shard without the problems that are called the same as an item."""
    same = questions.called_same(said)
    if not same:
        return shard

    def make() -> tuple[pa.Table, ShardStats]:
        table = run.store.read(shard.problems)
        recorded = set(run.store.read(shard.recorded, ["problem_id"])["problem_id"].to_pylist())
        gone = [name for row, name in enumerate(table["id"].to_pylist()) if row in same and name not in recorded]
        left = table.filter(pc.invert(pc.is_in(table["id"], pa.array(gone, pa.string()))))
        return left, {**shard.problems.stats, "domains": dict(Counter(left["domain"].to_pylist()))}

    key = SCREENED.key(shard.problems.content, shard.recorded.content, sorted(same))
    return replace(shard, problems=run.store.once(SCREENED, shard.problems.name, key, make))
