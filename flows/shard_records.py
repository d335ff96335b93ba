"""The references of one shard: its problems, its samples and the outputs of filters, and how to read their columns.

Steps pass references only, never tables. A column is read from whichever output has it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from proofmill.data.files import existing
from proofmill.data.run import Shard
from proofmill.data.schemas import PROBLEMS, SHARD_TRACES, SPLIT_COLUMNS
from proofmill.data.tables import conform, read_table
from proofmill.filters.base import Filter, ProblemFilter, Row
from proofmill.filters.reasoning import parts_of
from proofmill.filters.verification import VERDICTS, problem_of
from proofmill.flows.context import RunContext
from proofmill.generators.problems.operators import OPERATORS

PROBLEM = "problem"  # all of a trace's problem, as its verifier wants it
_SPLIT = frozenset(SPLIT_COLUMNS)  # made of the response where a filter reads them
_OF_PROBLEM = frozenset({PROBLEM, *PROBLEMS.names} - {*SHARD_TRACES.names})


@dataclass(frozen=True)
class ShardRecord:
    """The references that belong to one shard.

    Attributes:
        problems: its problems.
        samples: its traces as they were sampled.
        outputs: by filter (or step).
        replaced: outputs that a later one replaced, such as the verdicts before a model judged the undecided ones.
    """

    problems: Shard
    samples: Shard
    outputs: Mapping[str, Shard] = field(default_factory=dict)
    replaced: tuple[Shard, ...] = ()

    @property
    def name(self) -> str:
        """The shard's name."""
        return self.samples.name

    def with_output(self, name: str, output: Shard) -> ShardRecord:
        """Return the record with one more output, or with one replaced."""
        earlier = (self.outputs[name],) if name in self.outputs else ()
        return replace(self, outputs={**self.outputs, name: output}, replaced=self.replaced + earlier)


def provider(run: RunContext, column: str) -> str | None:
    """Return which output has a column: `samples`, `problems`, or a filter's name; None where none has it."""
    if column in SHARD_TRACES.names:
        return "samples"
    if column in _OF_PROBLEM:
        return "problems"
    filters = (item.filter for item in run.filters if not isinstance(item.filter, ProblemFilter))
    return next((filter_.name for filter_ in filters if column in filter_.schema.names), None)


def contents(run: RunContext, record: ShardRecord, columns: Sequence[str]) -> dict[str, str]:
    """Return the content digests of the outputs that have these columns, by name, for a key."""
    names = dict.fromkeys(filter(None, (provider(run, column) for column in columns)))
    if not _SPLIT.isdisjoint(columns):
        names |= dict.fromkeys(("samples", "verdicts"))
    own = {"samples": record.samples, "problems": record.problems, **record.outputs}
    return {name: own[name].content for name in names if name in own}


@dataclass(frozen=True)
class ShardColumns:
    """Columns of a shard's traces: in which file each stands. Picklable, so that tasks elsewhere can read them.

    Attributes:
        outputs: the output that has a column, by the column's name, in order.
        paths: files of outputs; a column whose output has none is null.
        types: of columns without a file.
        rows: number of traces.
    """

    outputs: Mapping[str, str]
    paths: Mapping[str, Path]
    types: Mapping[str, pa.DataType]
    rows: int

    def __call__(self, names: Sequence[str] = ()) -> pa.Table:
        """Return these columns, or all, in order.

        The metadata of all tables that they come from is kept: it says how signatures were made.
        """
        names = list(names or self.outputs)
        by_output: dict[str, list[str]] = {}
        for name in names:
            by_output.setdefault(self.outputs[name], []).append(name)
        arrays: dict[str, pa.ChunkedArray] = {}
        metadata: dict[bytes, bytes] = {}
        for output, wanted in by_output.items():
            table = self._of_output(output, wanted)
            arrays |= {name: table[name] for name in wanted}
            metadata |= table.schema.metadata or {}
        table = pa.table([arrays[name] for name in names], names=names)
        return table.replace_schema_metadata(metadata or None)

    def _of_output(self, output: str, wanted: list[str]) -> pa.Table:
        if output not in self.paths:
            nothing = pa.table({"row": pa.nulls(self.rows)})
            return conform(nothing, pa.schema([(name, self.types.get(name, pa.null())) for name in wanted]))
        if output != "problems":
            return self._read(output, wanted)
        problems, owners = self._read(output, ["id", *wanted]), self._read("samples", ["problem_id"])["problem_id"]
        return problems.take(pc.index_in(owners, value_set=problems["id"].combine_chunks())).select(wanted)

    def _read(self, output: str, wanted: list[str]) -> pa.Table:
        return read_table(existing(self.paths[output]), wanted)


def shard_columns(run: RunContext, record: ShardRecord, names: Sequence[str]) -> ShardColumns:
    """Return where these columns of a shard's traces stand."""
    outputs = {name: provider(run, name) or "" for name in names}
    shards = {"samples": record.samples, "problems": record.problems, **record.outputs}
    needed = {*outputs.values(), *(("samples",) if "problems" in outputs.values() else ())}
    paths = {name: run.store.path(shard).absolute() for name, shard in shards.items() if name in needed}
    types = {field.name: field.type for item in run.filters for field in item.filter.schema if field.name in outputs}
    return ShardColumns(outputs, paths, types, record.samples.rows)


def columns(run: RunContext, record: ShardRecord, names: Sequence[str]) -> pa.Table:
    """Return these columns of a shard's traces, in order; null where their filter has no output."""
    return shard_columns(run, record, names)()


def rows(run: RunContext, record: ShardRecord, filter_: Filter[Any]) -> list[Row]:
    """Return a shard's traces with the columns that a filter reads; rows of one problem share one object of it."""
    wanted = [*filter_.reads, *filter_.optional]
    split = not _SPLIT.isdisjoint(wanted)
    names = [name for name in wanted if name != PROBLEM and name not in _SPLIT]
    names += [name for name in ("response", "final_start") if split and name not in names]
    traces = columns(run, record, names).to_pylist() if names else [{} for _ in range(record.samples.rows)]
    tags = run.recipe.options(VERDICTS).reasoning_tags
    for row in traces if split else ():
        row.update(zip(SPLIT_COLUMNS, parts_of(row["response"], row["final_start"], tags), strict=True))
    if PROBLEM in wanted:
        problems = {row["id"]: problem_of(row) for row in problem_rows(run, record)}
        for row, name in zip(traces, _owners(run, record), strict=True):
            row[PROBLEM] = problems[name]
    return traces


def problem_rows(run: RunContext, record: ShardRecord) -> list[Row]:
    """Return a shard's problems."""
    return list(run.store.read(record.problems).to_pylist())


def rows_by_problem(run: RunContext, record: ShardRecord, filter_: Filter[Any]) -> dict[str, list[Row]]:
    """Return traces by problem id, with the columns that a filter reads; empty where it reads none of traces."""
    names = [name for name in filter_.reads if name != PROBLEM]
    traces: dict[str, list[Row]] = {}
    for name, row in zip(_owners(run, record), columns(run, record, names).to_pylist(), strict=True) if names else ():
        traces.setdefault(name, []).append(row)
    return traces


def of_expansion(run: RunContext, record: ShardRecord) -> bool:
    """Return whether expansion made a shard's problems."""
    return "operator" in pq.read_schema(run.store.path(record.problems)).names


def is_banded(run: RunContext, record: ShardRecord) -> bool:
    """Return whether a shard's problems are new ones, whose pass rate must lie in a band; not those with new tests."""
    if not of_expansion(run, record):
        return False
    made_by = run.store.read(record.problems, ["operator"])["operator"].to_pylist()
    return not all(name is not None and OPERATORS[name].tests for name in made_by)


def _owners(run: RunContext, record: ShardRecord) -> Iterator[str]:
    return iter(run.store.read(record.samples, ["problem_id"])["problem_id"].to_pylist())
