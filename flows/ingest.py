"""The first step of a run: read the recipe's sources and replays into shards of problems and recorded samples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import orjson
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from proofmill.data import rows_io
from proofmill.data.card import check_licenses
from proofmill.data.errors import InputError
from proofmill.data.files import digest, scratch_folder
from proofmill.data.run import Shard, ShardStats, Step
from proofmill.data.schemas import PROBLEMS as PROBLEM_COLUMNS
from proofmill.data.schemas import SHARD_TRACES
from proofmill.data.sections import ReplayEngine, portable_name
from proofmill.data.versions import recorded
from proofmill.filters.contamination import CONTAMINATED_PROBLEMS
from proofmill.filters.verification import VERDICTS
from proofmill.flows import run_inputs
from proofmill.flows.context import RunContext
from proofmill.flows.display import listed, log
from proofmill.flows.pipeline import shared_file
from proofmill.flows.recipe.schema import FileSource, ProceduralSource, Recipe, Sampler, Source
from proofmill.generators.problems import ingest, procedural
from proofmill.generators.problems.problem import IngestStats, SourceDefaults
from proofmill.generators.problems.untidy import untidied
from proofmill.generators.sample_plan import SamplePlan

PROBLEMS = Step("problems", 4, ("reasoning-gym",), PROBLEM_COLUMNS)
LEFT = Step("problems_left", 1, schema=PROBLEM_COLUMNS)
LEAKED = "contaminated"  # why a problem that overlaps with a benchmark is no problem of a run
HELD_OUT_QUESTION = "held_out"  # why a question that is kept for evaluation is no problem of a run
RECORDED = Step("recorded", 3, ("reasoning-gym",), SHARD_TRACES)
_TOKEN_BYTES = 4  # bytes of an English token, about

Rows = Iterator[dict[str, Any]]


@dataclass(frozen=True)
class ProblemShard:
    """Problems of one shard, and the samples that came with them (often none)."""

    problems: Shard
    recorded: Shard

    def problems_sampled_by(self, plan: SamplePlan) -> int:
        """Return how many of its problems a plan samples."""
        return sum(count for name, count in self.problems.stats["domains"].items() if plan.takes(name))

    def first_round_samples(self, plan: SamplePlan) -> int:
        """Return how many samples a plan's first rounds have."""
        return plan.n * self.problems_sampled_by(plan)


@dataclass(frozen=True)
class RunProblems:
    """All problems of a run.

    Attributes:
        shards: in the order of their names.
        stats: ledgers of what was read, licences, sources.
        candidates: what expansion made, by shard of the seeds, left-out problems too; none without expansion.
        called_items: problems that a model called a benchmark's item, so that they are left out.
    """

    shards: tuple[ProblemShard, ...]
    stats: ShardStats
    candidates: tuple[Shard, ...] = ()
    called_items: int = 0

    def first_round_samples(self, plans: Iterable[SamplePlan]) -> int:
        """Return how many samples the first rounds of these plans have."""
        return sum(shard.first_round_samples(plan) for shard in self.shards for plan in plans)


def problems_key(run: RunContext) -> str:
    """Return the key of this step's output."""
    options, shared = run.recipe.options(CONTAMINATED_PROBLEMS), CONTAMINATED_PROBLEMS.shared
    assert shared is not None  # noqa: S101 (narrowing for the type checker)
    skips = options.skip_problems and options.against
    compared = [CONTAMINATED_PROBLEMS.key(options, shared.identity(options))] if skips else []
    return PROBLEMS.key(run.request.inputs, samples_per_problem(run.recipe), *compared)


def samples_per_problem(recipe: Recipe) -> tuple[int, int]:
    """Return the live samples a problem and half of their greatest size in bytes, which set the size of shards."""
    asked = [sampler.sampling for sampler in recipe.live]
    tokens = sum(sampling.most * sampling.max_tokens for sampling in asked)
    return max(1, sum(sampling.most for sampling in asked)), tokens * _TOKEN_BYTES // 2


def ingest_problems(run: RunContext, *, published: bool = True) -> RunProblems:
    """Return all problems of the run; read their sources unless an earlier run did.

    Args:
        run: the run.
        published: whether they will be, so that their licences must allow it.

    Raises:
        InputError: nothing to work on, a licence that must be allowed first, a file that can't be read.
    """
    key = problems_key(run)
    index = run.store.find(PROBLEMS, key) or _ingest(run, key)
    names = run.store.read(index)["name"].to_pylist()
    if not all(_shard(run, key, name) for name in names):
        _ingest(run, key)  # a file was lost: what is still whole is found, the rest made again
    shards = [shard for name in names if (shard := _shard(run, key, name))]
    _warn(index)
    if not shards:
        ledger = index.stats["problems"]
        raise InputError(
            "There is not one problem that can be checked.",
            where=f"{ledger['in']:,} rows were read; left out: {listed(ledger['dropped']) or 'none'}",
            remedy="see the reasons above, and correct the field map or the source",
        )
    if published:
        check_licenses(index.stats["licenses"], run.recipe.publish.allow_licenses)
    return RunProblems(tuple(shards), index.stats)


def _shard(run: RunContext, key: str, name: str) -> ProblemShard | None:
    problems = run.store.find(PROBLEMS, digest(key, name))
    recorded = run.store.find(RECORDED, digest(key, name))
    return ProblemShard(problems, recorded) if problems and recorded else None


def _ingest(run: RunContext, key: str) -> Shard:
    """Read all sources once, and commit the shards, their index last."""
    run.progress.note("reading problems")
    sources, samples = IngestStats(), IngestStats()
    streams = list(_streams(run, sources, samples))

    def over_limit(row: dict[str, Any]) -> None:
        (samples if "response" in row else sources).drop_many("over_limit", 1)

    names, total, from_sources = [], 0, 0
    terms: set[tuple[str, str | None]] = set()
    models: set[str] = set()
    with scratch_folder(run.store.folder) as scratch:
        # All rows are read before the first shard is cut, since a shard is a range of problem ids.
        rows, size = ingest.spool(ingest.round_robin(streams, run.request.limit, over_limit), scratch / "spool.arrows")
        bits = ingest.shard_bits(rows, size, *samples_per_problem(run.recipe))
        parts = ingest.partition(scratch / "spool.arrows", scratch / "parts", bits)
        for part in parts:
            table, leaked = _without_leaks(run, ingest.read_part(part))
            for problem, item in leaked.items():
                sources.drop(LEAKED, f"problem {problem}", item)
            if not table.num_rows:
                continue
            shard = _commit(run, key, f"{part.stem}-of-{1 << bits:05d}", table)
            names.append(shard.name)
            terms.update((source, licence) for source, licence in shard.stats["sources"])
            models.update(shard.stats["recorded_models"])
            total += shard.rows
            from_sources += shard.stats["from_sources"]
    accepted = sources.read - sum(sources.dropped.values())
    # Equal problems have the same id, so accepted rows that are missing from the shards were repeats.
    sources.drop_many("repeated", accepted - from_sources)
    ledger = {
        "in": sources.read + total - from_sources,
        "kept": total,
        "dropped": dict(sources.dropped),
    }
    replayed = {
        "in": samples.read,
        "kept": samples.read - sum(samples.dropped.values()),
        "dropped": dict(samples.dropped),
    }
    stats: ShardStats = {
        "problems": ledger,
        "recorded": replayed,
        "licenses": sorted({licence for _, licence in terms}, key=str),
        "sources": sorted(terms, key=str),
        "recorded_models": sorted(models),
        "examples": sources.examples + samples.examples,
    }
    table = pa.table({"name": pa.array(names, pa.string())})
    run.progress.message = ""  # what is waited for next has a counter
    return run.store.once(PROBLEMS, "all", key, lambda: (table, stats))


def _without_leaks(run: RunContext, part: pa.Table) -> tuple[pa.Table, dict[str, str]]:
    """Return a shard's rows without problems that stand in a benchmark, and the item of each, by problem.

    What comes with recorded samples stays: it costs nothing more, and its traces are marked.
    """
    options, shared = run.recipe.options(CONTAMINATED_PROBLEMS), CONTAMINATED_PROBLEMS.shared
    if not (options.against and options.skip_problems) or shared is None:
        return part, {}
    frame = pl.DataFrame(part)
    sampled = frame.filter(pl.col("response").is_not_null())["problem_id"].implode()
    rows = frame.filter(~pl.col("problem_id").is_in(sampled)).unique("problem_id", maintain_order=True).to_dicts()
    path = run.store.path(shared_file(run, shared, options))
    marks = CONTAMINATED_PROBLEMS.annotate(rows, {}, options, path)
    found = zip(rows, marks, strict=True)
    leaked = {row["problem_id"]: mark["contaminated_by"] for row, mark in found if mark.get("contaminated_by")}
    return part.filter(pc.invert(pc.is_in(part["problem_id"], pa.array(leaked, pa.string())))), leaked


def leave_out(run: RunContext, problems: RunProblems, ids: Collection[str], reason: str) -> RunProblems:
    """Return the problems without some, which their ledger then counts as dropped.

    What comes with recorded samples stays: it costs nothing more, and its traces are marked.
    """
    shards = [_without(run, shard, ids) for shard in problems.shards]
    count = sum(shard.problems.rows for shard in problems.shards) - sum(shard.problems.rows for shard in shards)
    ledger = problems.stats["problems"]
    dropped = ledger["dropped"] | ({reason: ledger["dropped"].get(reason, 0) + count} if count else {})
    stats: ShardStats = {
        **problems.stats,
        "problems": {**ledger, "kept": ledger["kept"] - count, "dropped": dropped},
    }
    left = tuple(shard for shard in shards if shard.problems.rows)
    return replace(problems, shards=left, stats=stats)


def _without(run: RunContext, shard: ProblemShard, ids: Collection[str]) -> ProblemShard:
    present = run.store.read(shard.problems, ["id"])["id"].to_pylist()
    recorded = set(run.store.read(shard.recorded, ["problem_id"])["problem_id"].to_pylist())
    gone = [name for name in present if name in ids and name not in recorded]
    if not gone:
        return shard

    def make() -> tuple[pa.Table, ShardStats]:
        table = run.store.read(shard.problems)
        left = table.filter(pc.invert(pc.is_in(table["id"], pa.array(gone, pa.string()))))
        domains = dict(Counter(left["domain"].to_pylist()))
        return left, {"from_sources": shard.problems.stats["from_sources"], "domains": domains}

    key = LEFT.key(shard.problems.content, gone)
    return replace(shard, problems=run.store.once(LEFT, shard.problems.name, key, make))


def _commit(run: RunContext, key: str, name: str, part: pa.Table) -> Shard:
    problems, samples, from_sources = ingest.shard_tables(part)
    stats: ShardStats = {
        "from_sources": from_sources,
        "sources": sorted(set(zip(*(problems[n].to_pylist() for n in ("source", "license")), strict=True)), key=str),
        "recorded_models": sorted({name for name in samples["model"].to_pylist() if name}),
        "domains": dict(Counter(problems["domain"].to_pylist())),
    }
    run.store.once(RECORDED, name, digest(key, name), lambda: (samples, {}))
    return run.store.once(PROBLEMS, name, digest(key, name), lambda: (problems, stats))


def _streams(run: RunContext, sources: IngestStats, samples: IngestStats) -> Iterator[Rows]:
    for number, source in enumerate(run.recipe.problems.sources):
        if isinstance(source, ProceduralSource):
            seed = source.seed if source.seed is not None else int(digest(run.recipe.seed, number)[:7], 16)
            rows: Any = procedural.generate(
                source.task, source.args, source.count, seed, source.domain, held_out=source.held_out
            )
            fields, count, name = {}, None, f"reasoning-gym/{source.task}"
        elif isinstance(source, FileSource):
            rows, fields, count, name = rows_io.read(source.path), source.map, source.count, portable_name(source.path)
        else:
            rows = rows_io.read_hub(source.name, config=source.config, split=source.split, revision=source.revision)
            fields, count, name = source.map, source.count, portable_name(source.name)
        yield ingest.problems_of(
            rows,
            sources,
            _defaults(run, source, name),
            fields=fields,
            count=count,
            prepare=partial(prepared_row, source),
        )
    for sampler in run.recipe.samplers:
        if isinstance(sampler.engine, ReplayEngine):
            yield from _replays(run, sampler, sampler.engine, samples)


def prepared_row(source: Source, row: dict[str, Any]) -> dict[str, Any] | str:
    """Return a mapped row under the source's label, its prompt as people type it where that is asked for.

    A question that is kept for evaluation is left out: then it is the reason.
    """
    if isinstance(source, ProceduralSource) and not source.held_out and procedural.is_held_out(row["prompt"]):
        return HELD_OUT_QUESTION
    if source.untidy and isinstance(prompt := row.get("prompt"), str):
        row = row | {"prompt": untidied(prompt, source.untidy)}
    return row | {"source": source.label} if source.label else row


def _replays(run: RunContext, sampler: Sampler, engine: ReplayEngine, samples: IngestStats) -> Iterator[Rows]:
    for item in engine.files:
        version = run_inputs.replayed(run.home, item)
        yield ingest.samples_of(
            recorded(version) if version else rows_io.read(item, split=engine.split),
            samples,
            _defaults(run, engine, portable_name(item)),
            fields={} if version else engine.map,
            sampler=sampler.name,
            model=engine.model,
            limit=engine.limit,
            taken={live.name for live in run.recipe.live},
        )


def _defaults(run: RunContext, source: Source | ReplayEngine, name: str) -> SourceDefaults:
    unlabelled = run.recipe.problems.pseudo_labels is not None
    return SourceDefaults(source.domain, name, source.license, unlabelled, run.recipe.options(VERDICTS).verifiers)


def _warn(index: Shard) -> None:
    for example in index.stats["examples"]:
        log.warning("left out %s", example)
    for name in ("problems", "recorded"):
        if dropped := index.stats[name]["dropped"]:
            log.warning("%s left out: %s", name, orjson.dumps(dropped).decode())
