"""Cut the rows of all sources into shards: every problem, with any recorded samples that it came with, in one shard.

Rows are spooled to disk as they are read, then cut by the digest of their problem: a shard is a range of ids.
So all samples of a problem meet in one shard whatever the order of the input, shards hold a random mix of
sources, and memory holds a few batches, not the whole set.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
import pyarrow as pa

from proofmill.data.errors import InputError
from proofmill.data.files import digest, writing
from proofmill.data.rows_io import Located, Unreadable, apply_map, batched
from proofmill.data.schemas import PROBLEMS, SHARD_TRACES
from proofmill.data.tables import from_rows
from proofmill.generators.problems.problem import IngestStats, Row, SourceDefaults, mistyped, problem_row, response_text

MAX_SHARD_ROWS = 4096
MAX_SHARD_BYTES = 32 << 20  # a few shards are in memory at once, several times over
MIN_SHARDS, MIN_SHARD_ROWS = 8, 16  # small runs still show progress shard by shard
_BATCH_ROWS, _BATCH_CHARACTERS = 2048, 16 << 20

_TEXT_FIELDS = ("sampler", "finish_reason", "model", "model_revision")
_PROBLEM = [
    PROBLEMS.field(n) for n in ("domain", "system", "prompt", "answer", "info", "verifier", "source", "license")
]
_SAMPLE = [
    SHARD_TRACES.field(n)
    for n in (
        "sampler",
        "first_round",
        "response",
        "finish_reason",
        "prompt_tokens",
        "completion_tokens",
        "model",
        "model_revision",
        "seed",
    )
]
SPOOL = pa.schema([pa.field("problem_id", pa.string()), *_PROBLEM, *_SAMPLE])
SHARD_PROBLEMS = pa.schema([pa.field("id", pa.string()), *_PROBLEM])


def problems_of(
    rows: Iterable[Located | Unreadable],
    stats: IngestStats,
    defaults: SourceDefaults,
    *,
    fields: Mapping[str, str],
    count: int | None = None,
    prepare: Callable[[Row], Row | str] | None = None,
) -> Iterator[Row]:
    """Yield rows of schema SPOOL for a source of problems; unusable rows are counted in `stats`.

    Args:
        rows: as the source has them.
        stats: the ledger.
        defaults: for what a row doesn't state.
        fields: the map from our columns to the source's.
        count: problems to take, at most.
        prepare: what is made of a row once its columns have our names, or the reason why it is left out.

    Raises:
        InputError: the map names a column that the first row lacks.
    """
    kept = 0
    for where, row in _mapped(rows, fields, stats):
        if count is not None and kept >= count:
            return
        stats.read += 1
        prepared = prepare(row) if prepare else row
        if isinstance(prepared, str):
            stats.drop_many(prepared, 1)  # as intended: no example of it is worth a look
            continue
        problem = problem_row(prepared, defaults)
        if isinstance(problem, str):
            stats.drop(problem, where, _named(problem, row))
            continue
        kept += 1
        problem["problem_id"] = problem.pop("id")
        yield problem


def samples_of(
    rows: Iterable[Located | Unreadable],
    stats: IngestStats,
    defaults: SourceDefaults,
    *,
    fields: Mapping[str, str],
    sampler: str,
    model: str | None,
    limit: int | None = None,
    taken: Container[str] = (),
) -> Iterator[Row]:
    """Yield rows of schema SPOOL for recorded samples, each with the problem it answers.

    Args:
        rows: as the source has them.
        stats: the ledger.
        defaults: for what a row doesn't state.
        fields: the map from our columns to the source's.
        sampler: for rows that name no sampler, or one that is `taken`.
        model: for rows that name none.
        limit: rows to read, at most.
        taken: names of samplers that draw in this run; recorded samples must not pass for theirs.

    Raises:
        InputError: the map names a column that the first row lacks.
    """
    for number, (where, row) in enumerate(_mapped(rows, fields, stats)):
        if limit is not None and number >= limit:
            return
        stats.read += 1
        problem = problem_row(row, defaults)
        response = response_text(row.get("response"))
        bad = "no_response" if response is None else mistyped(row, _TEXT_FIELDS)
        if isinstance(problem, str) or bad:
            reason = problem if isinstance(problem, str) else str(bad)
            stats.drop(reason, where, _named(reason, row))
            continue
        problem["problem_id"] = problem.pop("id")
        yield problem | {
            "sampler": sampler if row.get("sampler") in taken else row.get("sampler") or sampler,
            "first_round": row.get("first_round") if isinstance(row.get("first_round"), bool) else None,
            "response": response,
            "finish_reason": row.get("finish_reason") or "stop",
            "prompt_tokens": _integer(row.get("prompt_tokens"), 31),
            "completion_tokens": _integer(row.get("completion_tokens"), 31),
            "model": row.get("model") or model,
            "model_revision": row.get("model_revision"),
            "seed": _integer(row.get("seed"), 63),
        }


def _named(reason: str, row: Row) -> str:
    """Return the unknown name that a row gives, to help find a typing error."""
    field = {"unknown_domain": "domain", "unknown_verifier": "verifier"}.get(reason)
    return repr(row.get(field)) if field else ""


def _integer(value: Any, bits: int) -> int | None:
    """Return a whole number that fits its column; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value // 1:
        return None
    return int(value) if abs(value) < 1 << bits else None


def _mapped(
    rows: Iterable[Located | Unreadable], fields: Mapping[str, str], stats: IngestStats
) -> Iterator[tuple[str, Row]]:
    """Yield mapped rows with their position.

    A field that is missing in the first row means a wrong map, in a later row a bad row.
    """
    seen = False
    for item in rows:
        if isinstance(item, Unreadable):
            stats.read += 1
            stats.drop("unreadable", item.where, item.why)
            continue
        try:
            mapped = list(apply_map(item, dict(fields)))
        except InputError as error:
            if not seen:
                raise
            stats.read += 1
            stats.drop("missing_field", item.where, error.what)
        else:
            if not mapped:
                stats.read += 1
                stats.drop("empty_list", item.where)
            for row in mapped:
                yield item.where, row
        seen = True


def round_robin(
    sources: list[Iterator[Row]], limit: int | None, over_limit: Callable[[Row], None] = lambda _: None
) -> Iterator[Row]:
    """Yield one row of each source in turn.

    With a limit, a source ends at its first row that would add one problem too many: samples of a problem are expected
    to be adjacent. `over_limit` is called with each such row.
    """
    admitted: set[str] = set()
    while sources:
        for source in list(sources):
            row = next(source, None)
            if row is None:
                sources.remove(source)
                continue
            if limit is not None and len(admitted) >= limit and row["problem_id"] not in admitted:
                over_limit(row)
                sources.remove(source)
                continue
            if limit is not None:
                admitted.add(row["problem_id"])
            yield row


def spool(rows: Iterable[Row], path: Path) -> tuple[int, int]:
    """Write rows to one file as they come; return their number and their bytes in memory.

    Raises:
        StoreError: the disk is full or the folder can't be written.
    """
    count = size = 0
    with writing(path), _stream(path, "wb") as stream:
        for batch in batched(rows, _BATCH_ROWS, _BATCH_CHARACTERS):
            table = from_rows(batch, SPOOL)
            count, size = count + table.num_rows, size + table.nbytes
            stream.write_table(table)
    return count, size


@contextmanager
def _stream(path: Path, mode: Literal["wb", "ab"]) -> Iterator[pa.RecordBatchStreamWriter]:
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with pa.OSFile(str(path), mode) as file, pa.ipc.new_stream(file, SPOOL, options=options) as stream:
        yield stream


def shard_bits(rows: int, size: int, samples_each: int = 1, drawn: int = 0) -> int:
    """Return log2 of the number of shards.

    Args:
        rows: spooled rows.
        size: their bytes.
        samples_each: traces that each row becomes.
        drawn: expected bytes of the samples of one row.
    """
    traces = rows * samples_each
    by_rows = traces / MAX_SHARD_ROWS
    by_bytes = (size * samples_each + rows * drawn) / MAX_SHARD_BYTES
    small = min(MIN_SHARDS, traces / MIN_SHARD_ROWS)
    return max(0, int(max(by_rows, by_bytes, small) - 1e-9).bit_length())


def partition(source: Path, folder: Path, bits: int) -> list[Path]:
    """Cut a spooled file by the leading bits of `problem_id`; rows keep their order inside a shard.

    Returns:
        One file for each shard that has rows, for `read_part`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{number:05d}.arrows" for number in range(1 << bits)]
    waiting: list[pa.Table] = []
    with pa.OSFile(str(source)) as file, pa.ipc.open_stream(file) as stream:
        for batch in stream:
            waiting.append(pa.Table.from_batches([batch]))
            if sum(table.nbytes for table in waiting) > MAX_SHARD_BYTES:
                _append(waiting, bits, paths)
                waiting = []
    _append(waiting, bits, paths)
    return [path for path in paths if path.exists()]


def _append(tables: list[pa.Table], bits: int, paths: list[Path]) -> None:
    """Append rows to the files of their shards. No file stays open, so the number of shards is not limited by it."""
    table = pa.concat_tables([SPOOL.empty_table(), *tables])
    numbers = np.array([int(value[:8], 16) >> (32 - bits) for value in table["problem_id"].to_pylist()], np.int64)
    order = np.argsort(numbers, kind="stable")
    table = table.take(pa.array(order))
    for number, start, rows in zip(*np.unique(numbers[order], return_index=True, return_counts=True), strict=True):
        path = paths[number]
        with writing(path), _stream(path, "ab") as stream:
            stream.write_table(table.slice(start, rows))


def read_part(path: Path) -> pa.Table:
    """Return the rows of one shard that `partition` wrote."""
    tables = []
    with pa.OSFile(str(path)) as file:
        while file.tell() < file.size():
            with pa.ipc.open_stream(file) as stream:
                tables.append(stream.read_all())
    return pa.concat_tables(tables)


def shard_tables(part: pa.Table) -> tuple[pa.Table, pa.Table, int]:
    """Return one shard of the spool as (problems, recorded samples, how many of the problems came from a source).

    Problems are sorted by id, each once. Samples are sorted by problem, sampler and index; the index numbers the
    samples of one problem and sampler in the order of the input.
    """
    frame = pl.DataFrame(part)
    problems = frame.filter(pl.col("prompt").is_not_null()).unique("problem_id", keep="first").sort("problem_id")
    without_sample = frame.filter(pl.col("response").is_null())
    samples = (
        frame.filter(pl.col("response").is_not_null())
        .with_columns(pl.int_range(pl.len(), dtype=pl.Int32).over("problem_id", "sampler").alias("sample_index"))
        .sort("problem_id", "sampler", "sample_index")
    )
    ids = [trace_id(*row) for row in samples.select("problem_id", "sampler", "sample_index", "response").iter_rows()]
    samples = samples.with_columns(
        pl.Series("id", ids, dtype=pl.String), pl.lit(None, pl.String).alias("prompt_digest")
    )
    from_sources = without_sample["problem_id"].n_unique()
    problem_table = problems.rename({"problem_id": "id"}).select(SHARD_PROBLEMS.names).to_arrow().cast(SHARD_PROBLEMS)
    return problem_table, samples.select(SHARD_TRACES.names).to_arrow().cast(SHARD_TRACES), from_sources


def trace_id(problem_id: str, sampler: str, sample_index: int, response: str) -> str:
    """Return the id of a trace; the same text by the same sampler has the same id in every version."""
    return digest("trace", problem_id, sampler, sample_index, response)
