"""Collect the manifest of a version: recipe, models, libraries, and a balanced ledger of every step."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

from proofmill.data.run import Shard, library_version
from proofmill.data.schemas import SCHEMA_VERSION
from proofmill.data.sections import portable_name
from proofmill.data.version_files import VersionWriter
from proofmill.filters import meaning, model_judge, rewriting, topics
from proofmill.filters.base import Filter, ProblemFilter
from proofmill.filters.claim_checks import add_buckets
from proofmill.filters.contamination import CONTAMINATED_PROBLEMS, CONTAMINATION
from proofmill.filters.guessing import LUCK
from proofmill.filters.near_duplicates.duplicates import NEAR_DUPLICATES
from proofmill.filters.reliability import RELIABILITY, prompts_digest
from proofmill.filters.selection import add_ledgers
from proofmill.filters.verification import VERDICTS
from proofmill.flows import run_inputs
from proofmill.flows.context import RunContext
from proofmill.flows.ingest import RunProblems
from proofmill.flows.model_filters import MODEL_JUDGED
from proofmill.flows.near_items import NEAR_PROBLEMS
from proofmill.flows.pipeline import SELECTION, reasons_of, shared_file
from proofmill.flows.rewriting import SHORT_SOLUTIONS
from proofmill.flows.routing import UNAVAILABLE
from proofmill.flows.run_inputs import INDEX
from proofmill.flows.sampling import rounds_of
from proofmill.flows.shard_records import ShardRecord
from proofmill.flows.topics import TOPICS
from proofmill.flows.up_to_date import libraries, source_identities, step_versions
from proofmill.flows.voting import at_k
from proofmill.generators.sample_plan import SamplePlan

N = TypeVar("N", int, float)


def manifest_of(
    run: RunContext, problems: RunProblems, records: Sequence[ShardRecord], out: VersionWriter, longest: int
) -> dict[str, Any]:
    """Return the manifest of a version as JSON-like data, without its number, its parent and its files.

    Args:
        run: the run.
        problems: its problems.
        records: its shards.
        out: what was written.
        longest: tokens of the longest row.
    """
    traces = sum(record.samples.rows for record in records)
    selections = [record.outputs[SELECTION.name] for record in records]
    funnel = add_ledgers([shard.stats["ledger"] for shard in selections], reasons_of(run))
    verdicts = _sums(record.outputs["verdicts"].stats["verdicts"] for record in records)
    rows: Counter[str] = Counter()
    for config, count in sorted(out.rows.items()):
        if (name := config.partition("/")[0]) != INDEX:  # the index of signatures is no config of the data set
            rows[name] += count
    rounds = rounds_of([record.samples for record in records])
    recorded = problems.stats["recorded"]
    requested = problems.first_round_samples(run.models.plans) + recorded["in"]
    requested += sum(counts["later"] for counts in rounds.values())
    claims = [bucket for shard in selections for bucket in shard.stats["claims"]]
    reliabilities = [record.outputs[RELIABILITY.name] for record in records if RELIABILITY.name in record.outputs]
    marks = [record.outputs[NEAR_DUPLICATES.name] for record in records]
    return {
        "name": run.recipe.name,
        "version": None,
        "parent": None,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "schema_version": SCHEMA_VERSION,
        "recipe": run.recipe.published(),
        "recipe_digest": run.recipe.digest(),
        "limit": run.request.limit,
        "code_version": {"proofmill": library_version("proofmill"), "steps": step_versions(run.filters)},
        "inputs": _inputs(run),
        "seconds": seconds_of(records),
        "models": [model_facts(plan) for plan in run.models.plans],
        "engines": run.models.engine_facts(),
        "libraries": libraries(run.filters),
        "stages": {
            "problems": problems.stats["problems"],
            "samples": {"in": requested, "kept": traces, "dropped": _less(recorded, requested - traces, records)},
            "verdicts": {
                "in": traces,
                "kept": verdicts.get("correct", 0),
                "dropped": {name: count for name, count in verdicts.items() if name != "correct"},
            },
            "selection": funnel,
            "publish": {"in": funnel["kept"], "kept": funnel["kept"], "dropped": {}, "rows": dict(rows)},
        },
        "licenses": problems.stats["licenses"],
        "sources": problems.stats["sources"],
        "terms": [[*key, count] for key, count in sorted(out.terms.items(), key=repr)],
        "recorded_models": problems.stats["recorded_models"],
        "tokens": {
            "sampled": sum(record.samples.stats["tokens"] for record in records),
            "longest_row": longest,
            "verifier": _sums(shard.stats["asked"] for shard in reliabilities),
        },
        "rounds": rounds,
        "duplicates": _sums(shard.stats["counts"] for shard in marks).get("duplicates", 0),
        "luck": _sums(record.outputs[LUCK.name].stats["counts"] for record in records),
        "claims_by_length": add_buckets(shard.stats["claims"] for shard in selections),
        "clr": _verifier(run, reliabilities),
        "answer_judge": _answer_judge(run, records),
        "near_judge": _near_judge(run, records, problems.called_items),
        "rewritings": _rewritings(run, records),
        "topics": _topics(run, records),
        "at_k": at_k(records),
        "right_answer_refuted_step": sum(bucket["refuted"] for bucket in claims),
        "benchmarks": _benchmarks(run),
        "filters": [_filter_record(active.filter) for active in run.filters],
    }


def _filter_record(filter_: Filter[Any]) -> dict[str, Any]:
    """Return what a version records of a filter, so that it can be read without this program."""
    published = [] if isinstance(filter_, ProblemFilter) else filter_.adds.names
    reasons = {rule.reason: list(rule.evidence) for rule in filter_.rules}
    return {
        "name": filter_.name,
        "version": filter_.version,
        "adds": published,
        "reasons": reasons,
        "shown_as": filter_.shown_as,
    }


def _benchmarks(run: RunContext) -> dict[str, Any]:
    """Return the index that prompts and traces were compared with."""
    assert CONTAMINATION.shared is not None  # noqa: S101 (narrowing for the type checker)
    stats = dict(shared_file(run, CONTAMINATION.shared, run.recipe.options(CONTAMINATION)).stats)
    return {"digest": stats.pop("content"), **stats}


def _inputs(run: RunContext) -> dict[str, Any]:
    """Return the run's inputs: files by name and digest, hub folders, the source of custom verifiers and filters."""
    named = [portable_name(str(path)) for path in run_inputs.files(run.recipe, run.home)]
    return {
        "files": list(zip(named, run.request.inputs["files"], strict=True)),
        "hubs": run.request.inputs["hubs"],
        "verifiers": source_identities(run.recipe.options(VERDICTS).verifiers),
        "filters": source_identities({own.use: own.use for own in run.recipe.filters}),
        "resampled": run.models.generation,
    }


def seconds_of(records: Sequence[ShardRecord]) -> dict[str, float]:
    """Return the seconds that each step's shards took when they were made, in this run or an earlier one.

    Steps overlap, so the sum is more than the time that went by.
    """
    shards = [
        shard
        for record in records
        for shard in (record.problems, record.samples, *record.outputs.values(), *record.replaced)
    ]
    seconds: dict[str, float] = {}
    # One output may have two names in the records (a model's verdicts do), so count each key once.
    for shard in {(shard.step, shard.key): shard for shard in shards}.values():
        seconds[shard.step] = seconds.get(shard.step, 0.0) + shard.stats.get("took", 0.0)
    return {name: round(took, 1) for name, took in seconds.items()}


def model_facts(plan: SamplePlan) -> dict[str, Any]:
    """Return what the manifest records of a model."""
    return {"sampler": plan.name, **_weights(plan), "license": plan.model.license, "samples": plan.key()}


def _weights(plan: SamplePlan) -> dict[str, Any]:
    """Return which model a plan asks."""
    return {"model": plan.model.name, "revision": plan.model.revision, "weights": plan.model.digest}


def _verifier(run: RunContext, reliabilities: Sequence[Shard]) -> dict[str, Any] | None:
    """Return the model that judged the claims, how, and the counts of its answers; None where none did."""
    plan, options = run.models.claim_judge, run.recipe.options(RELIABILITY).model
    if plan is None or options is None:
        return None
    return {
        **_weights(plan),
        "k": options.k,
        "m": options.m,
        "scope": options.scope,
        "prompts": prompts_digest(),
        "counts": _sums(shard.stats["counts"] for shard in reliabilities),
    }


def _answer_judge(run: RunContext, records: Sequence[ShardRecord]) -> dict[str, Any] | None:
    """Return the model that judged undecided answers, and the counts of its verdicts; None where none did."""
    plan = run.models.answer_judge
    judged = [record.outputs[MODEL_JUDGED.name] for record in records if MODEL_JUDGED.name in record.outputs]
    if plan is None:
        return None
    counts = _sums(shard.stats["counts"] for shard in judged)
    return {
        **_weights(plan),
        "prompts": model_judge.prompts_digest(),
        "counts": counts,
        "calls": sum(shard.stats["asked"]["calls"] for shard in judged),
        "share": round(sum(counts.values()) / max(1, sum(record.samples.rows for record in records)), 6),
    }


def _near_judge(run: RunContext, records: Sequence[ShardRecord], called_items: int) -> dict[str, Any] | None:
    """Return the model that compared problems with items near them, and what it said; None where none did.

    Problems that it called an item before they were sampled stand in no shard any more.
    """
    plan = run.models.near_judge
    if plan is None:
        return None
    compared = [record.outputs[CONTAMINATED_PROBLEMS.name] for record in records]
    judged = [shard for shard in compared if shard.step == NEAR_PROBLEMS.name]
    before = [{"same": called_items}] if called_items else []
    return {
        **_weights(plan),
        "prompts": meaning.pair_prompts_digest(),
        "counts": _sums([*(shard.stats["counts"] for shard in judged), *before]),
        "calls": sum(shard.stats["asked"]["calls"] for shard in judged) + 2 * called_items,
    }


def _rewritings(run: RunContext, records: Sequence[ShardRecord]) -> dict[str, Any] | None:
    """Return the model that condensed proven traces, and where its tries went; None where none did."""
    plan = run.models.rewriter
    shards = [record.outputs[SHORT_SOLUTIONS.name] for record in records if SHORT_SOLUTIONS.name in record.outputs]
    if plan is None:
        return None
    counts = _sums(shard.stats["counts"] for shard in shards)
    facts = {name: counts.pop(name, 0) for name in ("traces", "used")}
    kept = counts.pop("kept", 0)
    return {
        **_weights(plan),
        "prompts": rewriting.prompts_digest(),
        **facts,
        "tries": {"in": kept + sum(counts.values()), "kept": kept, "dropped": counts},
        "completion_tokens": sum(shard.stats["asked"]["completion_tokens"] for shard in shards),
    }


def _topics(run: RunContext, records: Sequence[ShardRecord]) -> dict[str, Any] | None:
    """Return the model that named topics, and how many problems have each; None where none did."""
    plan = run.models.topic_namer
    shards = [record.outputs[TOPICS.name] for record in records if TOPICS.name in record.outputs]
    if plan is None:
        return None
    return {
        **_weights(plan),
        "prompts": topics.prompts_digest(),
        "counts": _sums(shard.stats["counts"] for shard in shards),
        "calls": sum(shard.stats["asked"]["calls"] for shard in shards),
    }


def _sums(parts: Iterable[Mapping[str, N]]) -> dict[str, N]:
    total: dict[str, N] = {}
    for part in parts:
        for name, count in part.items():
            total[name] = total[name] + count if name in total else count
    return dict(sorted(total.items()))


def _less(ledger: Mapping[str, Any], missing: int, records: Sequence[ShardRecord]) -> dict[str, int]:
    """Return the dropped recorded rows by reason, and a teacher's samples of problems that were not routed to it, or
    that it could not be asked about; all other missing samples were never drawn.
    """
    dropped = dict(ledger["dropped"])
    if not_routed := sum(record.samples.stats.get("not_routed", 0) for record in records):
        dropped["not_routed"] = not_routed
    lacking = [lacks for record in records for lacks in record.samples.stats.get("unanswered", {}).values()]
    if unavailable := sum(lacks.get(UNAVAILABLE, 0) for lacks in lacking):
        dropped[UNAVAILABLE] = unavailable
    rest = missing - sum(dropped.values())
    return dropped | ({"not_sampled": rest} if rest else {})
