"""Some traces of every fate in a version, the same ones each time, read as a stream."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl

from proofmill.data.tables import batches
from proofmill.data.versions import Version

ROWS_A_FATE = 40
MAX_ROWS = 300
MAX_BYTES = 3_000_000
_HEAD, _TAIL = 4_000, 1_500
_CLAIMS = 3  # of a trace
_FATE = ["verdict", "drop_reason"]
_SAMPLED = ("id", "problem_id", "domain", "sampler", "model", "response")
_FATES = ("stage", "drop_reason", "completion_tokens", "finish_reason")


def sampled_rows(version: Version, a_fate: int = ROWS_A_FATE) -> list[dict[str, Any]]:
    """Up to `a_fate` traces of each verdict and drop reason, with their problem and their refuted claims.

    Which ones is decided by a hash of the id. Long texts keep their beginning and end; at most `MAX_ROWS` rows and
    about `MAX_BYTES` bytes, taken in turn from every fate.
    """
    chosen = _chosen(version, a_fate)
    if chosen.is_empty():
        return []
    wanted = chosen["id"].to_list()[:MAX_ROWS]
    refuted = refuted_claims(version, wanted)
    found, size = [], 0
    for row in traces_of(version, wanted):
        claims = [f"{claim['text']} ({claim['evidence']})" for claim in refuted.get(row["id"], ())]
        full = row | {"evidence": "\n".join(claims[:_CLAIMS]) or None}
        short = {name: _cut(value) for name, value in full.items() if value is not None}
        size += sum(len(value.encode()) for value in short.values() if isinstance(value, str))
        if size > MAX_BYTES:
            break
        found.append(short)
    return found


def _chosen(version: Version, a_fate: int) -> pl.DataFrame:
    """Ids, every fate's first row before any fate's second one."""
    best = pl.DataFrame(schema={"id": pl.String, "verdict": pl.String, "drop_reason": pl.String, "rank": pl.UInt64})
    for path in version.files("traces"):
        for table in batches(path, ["id", *_FATE], rows=65_536):
            frame = pl.DataFrame(table).with_columns(pl.col("id").hash(seed=0).alias("rank"))
            best = pl.concat([best, frame]).sort("rank", "id").group_by(_FATE, maintain_order=True).head(a_fate)
            best = best.select("id", *_FATE, "rank")
    turn = pl.int_range(pl.len()).over(_FATE).alias("turn")
    return best.sort("rank", "id").with_columns(turn).sort("turn", *_FATE)


def traces_of(version: Version, wanted: Sequence[str]) -> list[dict[str, Any]]:
    """The traces with these ids in their order, as far as they are there, with their problem's prompt and answer."""
    traces = version.scan("traces")
    if traces is None or not wanted:
        return []
    known = traces.collect_schema().names()
    columns = [name for name in _columns(version) if name in known]
    rows = traces.filter(pl.col("id").is_in(list(wanted))).select(columns).collect(engine="streaming")
    found = {row["id"]: row for row in rows.iter_rows(named=True)}
    problems = _problems(version, rows["problem_id"].unique().to_list())
    return [found[name] | problems.get(found[name]["problem_id"], {}) for name in wanted if name in found]


def _columns(version: Version) -> list[str]:
    """What is shown of a trace: who wrote it, and what each filter found."""
    judged = [
        name
        for record in version.manifest.filters
        for name in (*record.adds, *(column for columns in record.reasons.values() for column in columns))
    ]
    return list(dict.fromkeys((*_SAMPLED, *judged, *_FATES)))


def _problems(version: Version, wanted: list[str]) -> dict[str, dict[str, Any]]:
    scan = pl.scan_parquet(version.files("problems")).filter(pl.col("id").is_in(wanted))
    rows = scan.select("id", "prompt", "answer").collect(engine="streaming")
    return {name: {"prompt": prompt, "answer": answer} for name, prompt, answer in rows.iter_rows()}


def refuted_claims(version: Version, wanted: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    """Refuted claims of the traces with these ids, as schema `CLAIMS` has them."""
    claims = version.scan("claims")
    if claims is None:
        return {}
    mine = claims.filter((pl.col("status") == "refuted") & pl.col("trace_id").is_in(list(wanted)))
    found: dict[str, list[dict[str, Any]]] = {}
    for row in mine.collect(engine="streaming").iter_rows(named=True):
        found.setdefault(row["trace_id"], []).append(row)
    return found


def _cut(value: Any) -> Any:
    if not isinstance(value, str) or len(value) <= _HEAD + _TAIL:
        return value
    return f"{value[:_HEAD]}\n\n[… {len(value) - _HEAD - _TAIL:,} characters …]\n\n{value[-_TAIL:]}"
