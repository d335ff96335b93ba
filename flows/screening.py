"""Problems that a model calls a benchmark's item in other words are not sampled.

What overlaps by its words, or is near enough, is left out where problems are read. A model may decide below that; it is
asked here, before anything is drawn, about the few problems near an item. What it said is recorded, so those that stay
are not asked about again when all samples are judged.
"""

from __future__ import annotations

from dataclasses import replace

from proofmill.data.errors import InputError
from proofmill.filters.contamination import CONTAMINATED_PROBLEMS
from proofmill.flows.context import RunContext
from proofmill.flows.ingest import LEAKED, LEFT, ProblemShard, RunProblems, leave_out
from proofmill.flows.near_items import NEAR_ASKED, compare
from proofmill.flows.pipeline import filter_output
from proofmill.flows.shard_records import ShardRecord

STEPS = (CONTAMINATED_PROBLEMS.step, NEAR_ASKED, LEFT)


def screen_problems(run: RunContext, problems: RunProblems) -> RunProblems:
    """Return the problems without those that a model calls an item; unchanged where none is asked.

    Raises:
        VerifierError: the model calls planted different problems the same.
        InputError: no problem is left.
    """
    if run.models.near_judge is None or not run.recipe.options(CONTAMINATED_PROBLEMS).skip_problems:
        return problems
    records = [_with_near_items(run, shard) for shard in problems.shards]
    compared = compare(run, records)
    if not compared:
        return problems
    same = {name for questions, answers in compared for name in questions.called_same(answers)}
    screened = leave_out(run, problems, same, LEAKED)
    if not screened.shards:
        raise InputError(
            "A model calls every problem the same as a benchmark's item, so there is nothing to sample.",
            where="recipe key decontaminate.meaning.judge",
            remedy="compare problems and items; leave the judge out, or set decontaminate.skip_problems: false",
        )
    count = screened.stats["problems"]["dropped"].get(LEAKED, 0) - problems.stats["problems"]["dropped"].get(LEAKED, 0)
    return replace(screened, called_items=count)


def _with_near_items(run: RunContext, shard: ProblemShard) -> ShardRecord:
    """Return a record of a shard that has no samples yet, with the items near its problems."""
    record = ShardRecord(shard.problems, shard.problems)
    active = next(active for active in run.filters if active.filter is CONTAMINATED_PROBLEMS)
    return record.with_output(CONTAMINATED_PROBLEMS.name, filter_output(run, record, active))
