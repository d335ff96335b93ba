"""The problem stage of a run: sources and replays of the recipe in, shards of problems and recorded samples out."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import orjson
import pyarrow as pa

from proofmill.data import rows_io
from proofmill.data.errors import InputError
from proofmill.data.files import digest
from proofmill.data.licenses import check_licenses
from proofmill.data.run import Facts, Shard
from proofmill.data.versions import recorded
from proofmill.flows.recipe.engines import ReplayEngine
from proofmill.flows.recipe.schema import FileSource, ProceduralSource, Sampler
from proofmill.flows.run import origin
from proofmill.flows.run.log_file import log
from proofmill.flows.run.session import Session
from proofmill.flows.stages.keys import PROBLEMS, RECORDED, called
from proofmill.generators.problems import ingest, procedural
from proofmill.generators.problems.problem import IngestStats
from proofmill.generators.sample_plan import SamplePlan

Rows = Iterator[dict[str, Any]]


@dataclass(frozen=True)
class ProblemShard:
    """Problems of one shard, and the samples that came with them (often none)."""

    problems: Shard
    recorded: Shard

    def asked(self, plan: SamplePlan) -> int:
        """How many of its problems a plan samples."""
        domains: dict[str, int] = self.problems.facts["domains"]
        return sum(count for name, count in domains.items() if plan.takes(name))

    def requested(self, plan: SamplePlan) -> int:
        """How many samples a plan's first rounds have."""
        return plan.n * self.asked(plan)


def problem_shards(session: Session) -> list[ProblemShard]:
    """All shards of the run, read from their sources unless that was done before.

    Raises:
        InputError: nothing to work on, a licence that must be allowed first, a file that can't be read.
    """
    key = session.problems_key
    index = session.run.find(PROBLEMS, key) or _ingest(session, key)
    names = session.run.read(index)["name"].to_pylist()
    if not all(_shard(session, key, name) for name in names):
        _ingest(session, key)  # a file was lost: what is still whole is found, the rest made again
    shards = [shard for name in names if (shard := _shard(session, key, name))]
    session.problem_facts = index.facts
    session.requested = sum(shard.requested(plan) for shard in shards for plan in session.plans)
    _warn(index)
    if not shards:
        raise InputError(
            "There is not one problem that can be checked.",
            where=f"{index.facts['problems']['in']} rows were read; {index.facts['problems']['dropped']}",
            remedy="see the reasons above and mend the map or the source",
        )
    check_licenses(index.facts["licenses"], session.recipe.publish.allow_licenses)
    return shards


def _shard(session: Session, key: str, name: str) -> ProblemShard | None:
    problems = session.run.find(PROBLEMS, digest(key, name))
    recorded = session.run.find(RECORDED, digest(key, name))
    return ProblemShard(problems, recorded) if problems and recorded else None


def _ingest(session: Session, key: str) -> Shard:
    """Reads all sources once, and commits the shards, their index last."""
    session.progress.note("reading problems")
    scratch = session.run.folder / "scratch"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    sources, samples = IngestStats(), IngestStats()
    streams = list(_streams(session, sources, samples))

    def over_limit(row: dict[str, Any]) -> None:
        (samples if "response" in row else sources).drop_many("over_limit", 1)

    rows, size = ingest.spool(ingest.round_robin(streams, session.limit, over_limit), scratch / "spool.arrows")
    bits = ingest.shard_bits(rows, size, *session.drawn_each)
    parts = ingest.partition(scratch / "spool.arrows", scratch / "parts", bits)
    names, total, from_sources = [], 0, 0
    sets: dict[str, set[Any]] = {"sources": set(), "recorded_models": set()}
    for part in parts:
        shard = _commit(session, key, f"{part.stem}-of-{1 << bits:05d}", ingest.read_part(part))
        names.append(shard.name)
        for kind, found in sets.items():
            found.update(map(_hashable, shard.facts[kind]))
        total += shard.rows
        from_sources += shard.facts["from_sources"]
    shutil.rmtree(scratch)
    accepted = sources.read - sum(sources.dropped.values())
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
    facts = {
        "problems": ledger,
        "recorded": replayed,
        "licenses": sorted({terms for _, terms in sets["sources"]}, key=str),
        **{kind: sorted(found, key=str) for kind, found in sets.items()},
        "examples": sources.examples + samples.examples,
    }
    table = pa.table({"name": pa.array(names, pa.string())})
    return session.run.once(PROBLEMS, "all", key, lambda: (table, facts))


def _commit(session: Session, key: str, name: str, part: pa.Table) -> Shard:
    problems, samples, from_sources = ingest.shard_tables(part)
    replayed: Facts = {}
    facts: Facts = {
        "from_sources": from_sources,
        "sources": sorted(set(zip(*(problems[n].to_pylist() for n in ("source", "license")), strict=True)), key=str),
        "recorded_models": sorted({name for name in samples["model"].to_pylist() if name}),
        "domains": dict(Counter(problems["domain"].to_pylist())),
    }
    for rows, mine in ((problems, facts), (samples, replayed)):  # read again and equal, they change no later key
        mine["content"] = digest([column.to_pylist() for column in rows.columns])
    session.run.once(RECORDED, name, digest(key, name), lambda: (samples, replayed))
    return session.run.once(PROBLEMS, name, digest(key, name), lambda: (problems, facts))


def _hashable(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _streams(session: Session, sources: IngestStats, samples: IngestStats) -> Iterator[Rows]:
    for number, source in enumerate(session.recipe.problems.sources):
        if isinstance(source, ProceduralSource):
            seed = source.seed if source.seed is not None else int(digest(session.recipe.seed, number)[:7], 16)
            rows: Any = procedural.generate(source.task, source.args, source.count, seed, source.domain)
            fields, count, name = {}, None, f"reasoning-gym/{source.task}"
        elif isinstance(source, FileSource):
            rows, fields, count, name = rows_io.read(source.path), source.map, source.count, called(source.path)
        else:
            rows = rows_io.read_hub(source.name, config=source.config, split=source.split, revision=source.revision)
            fields, count, name = source.map, source.count, called(source.name)
        yield ingest.problems_of(
            rows,
            sources,
            fields=fields,
            domain=source.domain,
            source=name,
            license=source.license,
            count=count,
            unlabelled=session.recipe.problems.pseudo_labels is not None,
        )
    for sampler in session.recipe.samplers:
        if isinstance(sampler.engine, ReplayEngine):
            yield from _replays(session, sampler, sampler.engine, samples)


def _replays(session: Session, sampler: Sampler, engine: ReplayEngine, samples: IngestStats) -> Iterator[Rows]:
    for item in engine.files:
        version = origin.replayed(session.home, item)
        yield ingest.samples_of(
            recorded(version) if version else rows_io.read(item, split=engine.split),
            samples,
            fields={} if version else engine.map,
            domain=engine.domain,
            source=called(item),
            license=engine.license,
            sampler=sampler.name,
            model=engine.model,
            limit=engine.limit,
            unlabelled=session.recipe.problems.pseudo_labels is not None,
            taken={live.name for live in session.live},
        )


def _warn(index: Shard) -> None:
    for example in index.facts["examples"]:
        log.warning("left out %s", example)
    for name in ("problems", "recorded"):
        if dropped := index.facts[name]["dropped"]:
            log.warning("%s left out: %s", name, orjson.dumps(dropped).decode())
