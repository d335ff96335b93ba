"""One thin task a stage: references in, a reference out. Prefect sees no data, the store decides what is done."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
from prefect import task
from prefect.cache_policies import NO_CACHE

from proofmill.data.files import digest
from proofmill.data.run import Shard
from proofmill.data.schemas import CLAIM_COLUMNS
from proofmill.data.schemas import CONTAMINATION as CONTAMINATION_SCHEMA
from proofmill.data.schemas import QUALITY as QUALITY_SCHEMA
from proofmill.data.tables import from_rows
from proofmill.filters import selection
from proofmill.filters.audit import Judged as Sample
from proofmill.filters.audit import audit as audit_of
from proofmill.filters.audit import weak_problems
from proofmill.filters.claim_ledger import by_length
from proofmill.filters.contamination.decontamination import build_index
from proofmill.filters.duplicates.near_duplicates import mark
from proofmill.filters.verdicts import CORRECT, NO_GOLD, UNPARSED, WRONG
from proofmill.filters.workers import Fault
from proofmill.flows.recipe.options import dedup_options, select_options
from proofmill.flows.run import previous
from proofmill.flows.run.session import Session
from proofmill.flows.stages import intake, learning, reliability, work
from proofmill.flows.stages.benchmarks import items
from proofmill.flows.stages.drawing import Drawing
from proofmill.flows.stages.keys import (
    AUDIT,
    BENCHMARKS,
    CLAIMS,
    CONTAMINATION,
    DUPLICATES,
    QUALITY,
    SELECTION,
    SIGNATURES,
    VERDICTS,
)
from proofmill.flows.stages.publishing import Gathered, publish_version
from proofmill.flows.stages.signing import signed


@dataclass(frozen=True)
class Judged:
    """The references that belong to one shard."""

    problems: Shard
    samples: Shard
    verdicts: Shard
    claims: Shard
    audit: Shard
    quality: Shard
    contamination: Shard
    signatures: Shard
    clr: Shard | None = None
    votes: Shard | None = None
    nll: Shard | None = None  # of the proven traces, where the recipe asks a student


@task(cache_policy=NO_CACHE)
def problems(session: Session) -> list[intake.ProblemShard]:
    """Problems from all sources, and recorded samples with theirs, cut into shards."""
    shards = intake.problem_shards(session)
    session.progress.expect("shards judged", len(shards))
    return shards


@task(cache_policy=NO_CACHE)
def samples(session: Session, shards: Sequence[intake.ProblemShard]) -> Iterator[tuple[Shard, Shard]]:
    """Yields (problems, traces) of each shard as soon as its last sample is recorded."""
    yield from Drawing(session, shards).run()


@task(cache_policy=NO_CACHE, task_run_name="verdicts-{samples.name}")
def verdicts(session: Session, problems: Shard, samples: Shard) -> Shard:
    """The verdict on each trace of a shard."""
    key = VERDICTS.key(problems.content, samples.content, *session.verifier())

    def make() -> tuple[pa.Table, dict[str, Any]]:
        traces = session.run.read(samples, ["problem_id", "response", "finish_reason"])
        table = session.pools.judge.verdicts(traces, session.run.read(problems))
        return table, {
            "verdicts": _counts(table["verdict"]),
            "seconds": pc.sum(table["verify_seconds"]).as_py(),
        }

    shard = session.run.once(VERDICTS, samples.name, key, make)
    counts = shard.facts["verdicts"]
    session.progress.verdicts(counts.get(CORRECT, 0), shard.rows)
    if shard.rows and max(counts.get(WRONG, 0), counts.get(UNPARSED, 0)) == shard.rows:
        session.progress.warn(f"shard {samples.name}: all {shard.rows} verdicts are {next(iter(counts))}")
    session.progress.advance("shards judged")
    return shard


@task(cache_policy=NO_CACHE, task_run_name="claims-{samples.name}")
def claims(session: Session, problems: Shard, samples: Shard, verdicts: Shard) -> Shard:
    """What exact checks say of every intermediate claim of a shard's traces."""
    scope = session.recipe.claims.scope

    def make() -> tuple[pa.Table, dict[str, Any]]:
        by_id = {row["id"]: row for row in session.run.read(problems).to_pylist()}
        traces = session.run.read(samples, ["problem_id", "response"])
        judged = session.run.read(verdicts, ["verdict", "verdict_detail", "final_start"])
        columns = [column.to_pylist() for column in (*traces.columns, *judged.columns)]
        rows: list[dict[str, Any]] = [{} for _ in range(traces.num_rows)]
        wanted = {
            place: (by_id[problem], response, start)
            for place, (problem, response, verdict, detail, start) in enumerate(zip(*columns, strict=True))
            if scope == "all" or (scope == "accepted" and (verdict == CORRECT or detail == NO_GOLD))
        }
        found = session.pools.claims.map(list(wanted.values()))
        for place, result in zip(wanted, found, strict=True):
            rows[place] = {} if isinstance(result, Fault) else result
        return from_rows(rows, CLAIM_COLUMNS), {}

    return session.run.once(
        CLAIMS, samples.name, CLAIMS.key(problems.content, samples.content, verdicts.key, scope), make
    )


@task(cache_policy=NO_CACHE, task_run_name="audit-{samples.name}")
def audit(session: Session, problems: Shard, samples: Shard, verdicts: Shard) -> Shard:
    """Which problems of a shard have a doubtful gold answer, or tests that can't fail."""

    def make() -> tuple[pa.Table, dict[str, Any]]:
        columns = session.run.read(verdicts, ["verdict", "verdict_detail", "extracted"]).to_pylist()
        judged: dict[str, list[Sample]] = {}
        for name, row in zip(session.run.read(samples, ["problem_id"])["problem_id"].to_pylist(), columns, strict=True):
            judged.setdefault(name, []).append(Sample(row["verdict"], row["verdict_detail"], row["extracted"]))
        rows = session.run.read(problems).to_pylist()
        table = audit_of(rows, judged, weak_problems(rows, judged))
        return table, {"gold_suspect": pc.sum(table["gold_suspect"]).as_py() or 0}

    return session.run.once(AUDIT, samples.name, AUDIT.key(problems.content, samples.content, verdicts.key), make)


@task(cache_policy=NO_CACHE, task_run_name="quality-{samples.name}")
def quality(session: Session, problems: Shard, samples: Shard, verdicts: Shard) -> Shard:
    """How repetitive or degenerate each trace of a shard is."""

    def make() -> tuple[pa.Table, dict[str, Any]]:
        traces = session.run.read(samples, ["problem_id", "response", "finish_reason"])
        starts = session.run.read(verdicts, ["final_start"])["final_start"]
        prompts = {row["id"]: row["prompt"] for row in session.run.read(problems, ["id", "prompt"]).to_pylist()}
        columns = [column.to_pylist() for column in (*traces.columns, starts)]
        rows = [(prompts[name], *rest) for name, *rest in zip(*columns, strict=True)]
        return pa.concat_tables(session.pools.spread(work.quality, work.chunks(rows))).cast(QUALITY_SCHEMA), {}

    return session.run.once(QUALITY, samples.name, QUALITY.key(problems.content, samples.content, verdicts.key), make)


@task(cache_policy=NO_CACHE)
def benchmarks(session: Session) -> Shard:
    """The index of all benchmark items, built once; read first, so that a missing benchmark costs no sampling."""
    section = session.recipe.decontaminate
    sources = [benchmark.identity() for benchmark in section.benchmarks]
    key = BENCHMARKS.key(sources, section.n)
    if found := session.run.find(BENCHMARKS, key):
        return found
    if section.benchmarks:
        session.progress.note("reading benchmarks")
    path = session.run.folder / BENCHMARKS.name / f"{key}.index"
    index = build_index(items(section.benchmarks), path, section.n)
    facts = {"digest": index.digest, "n": index.n, "items": dict(sorted(index.items().items())), "sources": sources}
    return session.run.commit(BENCHMARKS, "all", key, path, len(index), facts)


@task(cache_policy=NO_CACHE, task_run_name="contamination-{samples.name}")
def contamination(session: Session, problems: Shard, samples: Shard, index: Shard) -> Shard:
    """Which prompts and traces of a shard overlap with a benchmark, and where. Rows that don't have no mark."""

    def make() -> tuple[pa.Table, dict[str, Any]]:
        asked = session.run.read(problems, ["id", "system", "prompt"]).to_pylist()
        rows = [("prompt", row["id"], "\n".join(filter(None, (row["system"], row["prompt"])))) for row in asked]
        traces = session.run.read(samples, ["id", "response"]).to_pylist()
        rows += [("response", row["id"], row["response"]) for row in traces]
        parts = [(session.run.path(index), part) for part in work.chunks(rows if index.rows else [])]
        marks = pa.concat_tables(session.pools.spread(work.overlaps, parts)).cast(CONTAMINATION_SCHEMA)
        return marks, _counts(marks["found_in"])

    key = CONTAMINATION.key(problems.content, samples.content, index.facts["digest"])
    return session.run.once(CONTAMINATION, samples.name, key, make)


@task(cache_policy=NO_CACHE, task_run_name="signatures-{samples.name}")
def signatures(session: Session, samples: Shard) -> Shard:
    """MinHash signature and hashed shingles of each trace of a shard."""
    options = dedup_options(session.recipe)

    def make() -> tuple[pa.Table, dict[str, Any]]:
        return signed(session, samples, "response", ("id", "problem_id"), options), {}

    key = SIGNATURES.key(samples.content, options.signature_key().decode())
    return session.run.once(SIGNATURES, samples.name, key, make)


@task(cache_policy=NO_CACHE)
def near_duplicates(session: Session, judged: Sequence[Judged]) -> list[Shard]:
    """For each trace of the run the better one that it repeats, shard by shard, found by looking at all of them."""
    options = dedup_options(session.recipe)
    key = DUPLICATES.key(
        [(s.signatures.key, s.verdicts.key, s.claims.key, s.contamination.key) for s in judged],
        options.threshold_within,
        options.threshold_across,
        previous.digests(session.previous),
    )

    def make() -> Iterator[tuple[pa.Table, dict[str, Any]]]:
        session.progress.note("looking for near-duplicates")
        scratch = session.run.folder / "scratch"
        scratch.mkdir(exist_ok=True)
        known = previous.rows(session.previous, _ids(session, judged)) if session.previous else ()
        marks = mark((_signed(session, shard) for shard in judged), options, previous=known, scratch=scratch)
        starts = accumulate((shard.samples.rows for shard in judged), initial=0)
        for shard, start in zip(judged, starts, strict=False):
            mine = marks.slice(start, shard.samples.rows)
            found = mine.num_rows - mine["duplicate_of"].null_count
            said = digest(*(column.to_pylist() for column in mine.columns))
            yield mine, {"duplicates": found, "content": said}

    return session.run.once_each(DUPLICATES, [shard.samples.name for shard in judged], key, make)


def _ids(session: Session, judged: Sequence[Judged]) -> pa.ChunkedArray:
    """The ids of all traces of the run."""
    columns = (session.run.read(shard.signatures, ["id"])["id"] for shard in judged)
    return pa.chunked_array((chunk for column in columns for chunk in column.chunks), "string")


def _signed(session: Session, shard: Judged) -> pa.Table:
    """A shard's signatures with the columns that decide which row of a cluster is kept."""
    rows = session.run.read(shard.signatures)
    verdict = session.run.read(shard.verdicts, ["verdict"])["verdict"]
    length = pc.utf8_length(session.run.read(shard.samples, ["response"])["response"])
    score = session.run.read(shard.claims, ["claim_score"])["claim_score"]
    overlapping = session.run.read(shard.contamination, ["id"])["id"].combine_chunks()  # of prompts and of traces
    dropped = pc.or_(pc.is_in(rows["id"], overlapping), pc.is_in(rows["problem_id"], overlapping))
    sound = pc.and_not(pc.equal(verdict, CORRECT), dropped)  # what is dropped must not take a clean row with it
    ordered = rows.append_column("verified", sound).append_column("length", length)
    return ordered.append_column("claim_score", score)


def in_order(judging: Sequence[tuple[Any, ...]]) -> list[Judged]:
    """Waits for all judgements; shards come in the order of their names, whichever was finished first."""
    judged = [Judged(p, s, *(future.result() for future in futures)) for p, s, *futures in judging]
    return sorted(judged, key=lambda shard: shard.samples.name)


@task(cache_policy=NO_CACHE, task_run_name="selection-{shard.samples.name}")
def selected(session: Session, shard: Judged, marks: Shard, usual: Shard | None) -> Shard:
    """Which traces of a shard are kept, for which stage, and why the others are not, but for caps of the whole run."""
    options = select_options(session.recipe)
    key = SELECTION.key(
        [shard.samples.content, shard.verdicts.key, shard.claims.key, shard.quality.key, marks.content],
        shard.contamination.key,
        shard.clr and shard.clr.key,
        [part and part.content for part in (shard.nll, usual)],
        repr(options),
    )

    def make() -> tuple[pa.Table, dict[str, Any]]:
        rows = _columns(session, shard, marks, usual)
        table = selection.select(rows, options).to_arrow().cast(selection.SELECTION)
        reasons = table["drop_reason"].to_pylist()
        return table, {"ledger": selection.ledger(reasons), "claims": by_length(rows, reasons)}

    return session.run.once(SELECTION, shard.samples.name, key, make)


def _columns(session: Session, shard: Judged, marks: Shard, usual: Shard | None) -> pl.DataFrame:
    """All columns that the selection decides by, for one shard."""
    traces = session.run.read(
        shard.samples, ["id", "problem_id", "sampler", "domain", "first_round", "response", "completion_tokens"]
    )
    verdicts = session.run.read(shard.verdicts)
    quality = session.run.read(shard.quality)
    mine = session.run.read(marks, ["duplicate_of", "in_previous"])
    characters = pc.cast(pc.utf8_length(traces["response"]), pa.int32())
    length = pc.coalesce(traces["completion_tokens"], characters)
    frame = pl.DataFrame(traces.drop_columns("response"))
    claimed = session.run.read(shard.claims, ["claims_refuted", "refuted_final", "claim_score", "claim_coverage"])
    for table in (verdicts, claimed, reliability.columns(session, shard).select(["clr_score"]), quality, mine):
        frame = frame.hstack(pl.DataFrame(table))
    frame = selection.with_contamination(frame, session.run.read(shard.contamination))
    frame = frame.join(learning.columns(session, shard, usual), on="id", how="left", maintain_order="left")
    return frame.with_columns(pl.Series("length", length.to_numpy(zero_copy_only=False)))


@task(cache_policy=NO_CACHE)
def published(
    session: Session, judged: Sequence[Judged], chosen: Sequence[Shard], gathered: Gathered
) -> dict[str, Any]:
    """Writes the version, unless the last one already says the same."""
    return publish_version(session, judged, chosen, gathered)


def _counts(column: pa.ChunkedArray) -> dict[str, int]:
    return {item["values"]: item["counts"] for item in pc.value_counts(column).to_pylist()}
