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
    """Return up to `a_fate` traces of each verdict and drop reason, with their problem and their refuted claims.

    A hash of the id decides which ones, so that a version always shows the same. Long texts keep their beginning and
    end; at most `MAX_ROWS` rows and about `MAX_BYTES` bytes, taken in turn from every fate.
    """
    chosen = _chosen(version, a_fate)
    if chosen.is_empty():
        return []
    ids = chosen["id"].to_list()[:MAX_ROWS]
    refuted = refuted_claims(version, ids)
    rows, size = [], 0
    for row in traces_of(version, ids):
        claims = [f"{claim['text']} ({claim['evidence']})" for claim in refuted.get(row["id"], ())]
        full = row | {"evidence": "\n".join(claims[:_CLAIMS]) or None}
        short = {name: _cut(value) for name, value in full.items() if value is not None}
        size += sum(len(value.encode()) for value in short.values() if isinstance(value, str))
        if size > MAX_BYTES:
            break
        rows.append(short)
    return rows


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


def traces_of(version: Version, ids: Sequence[str]) -> list[dict[str, Any]]:
    """Return the traces with these ids, in that order, with the prompt and the answer of their problem.

    Ids that the version does not have are left out.
    """
    traces = version.scan("traces")
    if traces is None or not ids:
        return []
    present = traces.collect_schema().names()
    columns = [name for name in _columns(version) if name in present]
    table = traces.filter(pl.col("id").is_in(list(ids))).select(columns).collect(engine="streaming")
    rows = {row["id"]: row for row in table.iter_rows(named=True)}
    problems = _problems(version, table["problem_id"].unique().to_list())
    return [rows[name] | problems.get(rows[name]["problem_id"], {}) for name in ids if name in rows]


def _columns(version: Version) -> list[str]:
    """What is shown of a trace: who wrote it, and what each filter found."""
    judged = [
        name
        for record in version.manifest.filters
        for name in (*record.adds, *(column for columns in record.reasons.values() for column in columns))
    ]
    return list(dict.fromkeys((*_SAMPLED, *judged, *_FATES)))


def _problems(version: Version, ids: list[str]) -> dict[str, dict[str, Any]]:
    scan = pl.scan_parquet(version.files("problems")).filter(pl.col("id").is_in(ids))
    rows = scan.select("id", "prompt", "answer").collect(engine="streaming")
    return {name: {"prompt": prompt, "answer": answer} for name, prompt, answer in rows.iter_rows()}


def refuted_claims(version: Version, trace_ids: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    """Return the refuted claims of these traces by trace id, each with the columns of config `claims`."""
    claims = version.scan("claims")
    if claims is None:
        return {}
    refuted = claims.filter((pl.col("status") == "refuted") & pl.col("trace_id").is_in(list(trace_ids)))
    by_trace: dict[str, list[dict[str, Any]]] = {}
    for row in refuted.collect(engine="streaming").iter_rows(named=True):
        by_trace.setdefault(row["trace_id"], []).append(row)
    return by_trace


def _cut(value: Any) -> Any:
    if not isinstance(value, str) or len(value) <= _HEAD + _TAIL:
        return value
    return f"{value[:_HEAD]}\n\n[… {len(value) - _HEAD - _TAIL:,} characters …]\n\n{value[-_TAIL:]}"
