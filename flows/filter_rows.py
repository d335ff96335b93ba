"""A user's rows through a map filter, in worker processes that can be killed: what the filter commands do."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, NamedTuple, TypeAlias

import pyarrow as pa

from proofmill.data.errors import InputError, RecipeError
from proofmill.data.rows_io import Row, RowWriter
from proofmill.data.sections import Section
from proofmill.filters.base import Deferred, MapFilter
from proofmill.filters.contamination import whole_text
from proofmill.filters.domains import find_domain, info_fields, is_known
from proofmill.filters.reasoning import parts_of, split_think
from proofmill.filters.runner import filter_at
from proofmill.filters.verdicts import Problem
from proofmill.filters.workers import Fault, WorkerPool
from proofmill.flows.row_chunks import Chunk, Source, View, chunks, in_order, joined, views
from proofmill.generators.problems.problem import info_of, last_text, response_text, split_prompt

# --- a row as a filter reads it ----------------------------------------------------------------------------------

_NO_COLUMN = object()
_Read: TypeAlias = Callable[["Row", MapFilter[Any], "RowOptions"], Any]


@dataclass(frozen=True, slots=True)
class RowOptions:
    """How rows are read for a filter.

    Attributes:
        domain: of rows that name none.
        custom: custom verifiers as `package.module:name`.
    """

    domain: str | None = None
    custom: Mapping[str, str] = field(default_factory=dict)


def prepared(row: Row, filter_: MapFilter[Any], options: RowOptions) -> Row | str:
    """Return the columns that a filter reads of a user's row, or why it can't be read."""
    values: Row = {}
    for name, read, needed in _readers(filter_):
        value = read(row, filter_, options) if read else row.get(name, _NO_COLUMN)
        if value is _NO_COLUMN:
            if needed:
                return f"no column {name!r}"
            value = None
        elif isinstance(value, _Fault):
            return value.why
        values[name] = value
    return values


@cache
def _readers(filter_: MapFilter[Any]) -> list[tuple[str, _Read | None, bool]]:
    """Return each column that a filter reads, what reads it where that is not simply there, and whether it must be."""
    return [(name, _READERS.get(name), name in filter_.reads) for name in (*filter_.reads, *filter_.optional)]


class _Fault(NamedTuple):
    why: str


def _verifier(row: Row, _: MapFilter[Any], options: RowOptions) -> str | _Fault:
    name = row.get("verifier") or row.get("domain") or options.domain
    if not isinstance(name, str):
        return _Fault("no_domain")
    try:
        find_domain(name, options.custom)
    except RecipeError as error:  # one row's domain is that row's fault
        return _Fault(error.what)
    return name


def _response(row: Row, filter_: MapFilter[Any], _: RowOptions) -> str | _Fault | None:
    text = last_text(row.get("response"))
    if text is not None or ("steps" in filter_.optional and row.get("steps") is not None):
        return text
    text = whole_text(row.get("steps")) or whole_text(row.get("text"))
    if text is None and "problem" not in filter_.reads and whole_text(row.get("prompt")):
        return ""  # a row that is a prompt alone
    return text if text is not None else _Fault("no_response" if "problem" in filter_.reads else "no_text")


def _steps(row: Row, _: MapFilter[Any], __: RowOptions) -> Any:
    steps = row.get("steps")
    if steps is None or (isinstance(steps, list) and all(isinstance(step, str) for step in steps)):
        return steps
    return _Fault("steps is no list of texts")


def _prompt(row: Row, _: MapFilter[Any], __: RowOptions) -> str:
    return whole_text(row.get("prompt")) or ""


def _final_start(row: Row, _: MapFilter[Any], __: RowOptions) -> int | None:
    if "final_start" in row:  # as `verify` writes it, null where no answer was found
        return row["final_start"] if isinstance(row["final_start"], int) else None
    text = response_text(row.get("response"))
    return (split_think(text).rest_start or None) if text else None


def _part(place: int) -> Callable[[Row, MapFilter[Any], RowOptions], str | bool]:
    def read_part(row: Row, filter_: MapFilter[Any], options: RowOptions) -> str | bool:
        return parts_of(response_text(row.get("response")) or "", _final_start(row, filter_, options))[place]

    return read_part


def _problem(row: Row, filter_: MapFilter[Any], options: RowOptions) -> Problem | _Fault:
    """Return the problem of a row, or the reason why it can't be judged; a missing prompt is no reason."""
    judged = "verifier" in filter_.reads
    domain = row.get("domain") or options.domain or row.get("verifier") or (None if judged else "math")
    prompt: tuple[str | None, str] | str = (None, "")
    if row.get("prompt"):
        prompt = split_prompt(row["prompt"])
    if isinstance(prompt, str):
        return _Fault(prompt)
    if domain is None:
        return _Fault("no_domain")
    info = {} if _info_columns().isdisjoint(row) else info_of(row)
    answer = row.get("answer")
    if answer is not None and not isinstance(answer, str):
        answer = _answer_text(answer)
    by_domain = judged and not row.get("verifier") and is_known(domain, options.custom)
    if by_domain and find_domain(domain, options.custom).lacks(answer, info):
        return _Fault("no_gold")
    return Problem(domain, prompt[1], answer, info)


@cache
def _info_columns() -> frozenset[str]:
    return frozenset((*info_fields(), "info"))


def _answer_text(answer: Any) -> str:
    return str(answer) if isinstance(answer, int) and not isinstance(answer, bool) else json.dumps(answer, default=str)


_READERS: Mapping[str, _Read] = {
    "verifier": _verifier,
    "response": _response,
    "steps": _steps,
    "prompt": _prompt,
    "final_start": _final_start,
    "reasoning": _part(0),
    "final": _part(1),
    "reasoning_closed": _part(2),
    "problem": _problem,
}


def check_first(where: str, row: Row, filter_: MapFilter[Any], options: RowOptions) -> None:
    """Refuse a file whose first row lacks what a filter needs: the field map must be wrong.

    Raises:
        InputError: names the fields that are missing and those that are there.
        RecipeError: there is no such verifier.
    """
    have = f"this row has: {', '.join(map(str, row)) or 'no fields'}"
    missing = list(_missing(row, filter_, options, where, have))
    if missing:
        several = len(missing) > 1
        raise InputError(
            f"The field{'s' * several} {', '.join(map(repr, missing))} {'are' if several else 'is'} missing.",
            where=where,
            remedy=f"{have}; say which is which: --map {','.join(f'{key}=FIELD' for key in missing)}",
        )


def _missing(row: Row, filter_: MapFilter[Any], options: RowOptions, where: str, have: str) -> Iterator[str]:
    texts = ("response", *(("steps",) if "verifier" not in filter_.reads else ()))
    if "problem" not in filter_.reads:
        texts = (*texts, "prompt", "text")
    if "response" in filter_.reads and not any(name in row for name in texts):
        yield "response"
    if "verifier" in filter_.reads:
        name = row.get("verifier") or row.get("domain") or options.domain
        if not name:
            raise InputError("No domain is given.", where=where, remedy=f"pass --domain, for example math; {have}")
        needs = find_domain(str(name), options.custom).needs
        for need in () if row.get("verifier") else needs:
            if not _has(row, need):
                yield need if isinstance(need, str) else need[0]
    yield from (name for name in filter_.reads if name not in _READERS and name not in row)


def _has(row: Row, need: str | tuple[str, ...]) -> bool:
    """Return whether a row has a needed field, or `info`, which may hold all but the answer."""
    names = (need,) if isinstance(need, str) else need
    return any(name in row for name in names) or ("info" in row and not {"response", "answer"} & set(names))


# --- inside a worker ---------------------------------------------------------------------------------------------

SHOWN_FAULTS = 5


@dataclass(frozen=True, slots=True)
class RowTask:
    """A chunk and what to do with it.

    Attributes:
        place: the filter's name, or `package.module:NAME`.
        options: the filter's.
        rows: how rows are read.
        chunk: the rows.
        fields: our names to theirs.
        as_lines: whether rows come back as lines of JSON, else as mappings.
        extra: what `annotate` takes beside rows and options: the path of a shared file, or trusted verifiers.
    """

    place: str
    options: Section
    rows: RowOptions
    chunk: Chunk
    fields: Mapping[str, str]
    as_lines: bool
    extra: Any = None


class DeferredRow(NamedTuple):
    """A row that the main process finishes."""

    place: int
    view: View
    job: Any


@dataclass
class ChunkResult:
    """A chunk's rows with their added columns.

    Attributes:
        place: the filter's.
        as_lines: whether rows are lines of JSON, else mappings.
        rows: the rows; None at the places in `deferred`.
        deferred: rows that the main process finishes.
        counts: rows by what is said of them.
        faults: how many rows can't be used.
        shown: what is wrong with the first of them.
    """

    place: str
    as_lines: bool
    rows: list[Any] = field(default_factory=list)
    deferred: list[DeferredRow] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    faults: int = 0
    shown: list[str] = field(default_factory=list)

    def add(self, view: View, found: Row | Deferred) -> None:
        """Append one row."""
        self.rows.append(None)
        if isinstance(found, Deferred):
            self.deferred.append(DeferredRow(len(self.rows) - 1, view, found.job))
        else:
            self.resolve(len(self.rows) - 1, view, found)

    def resolve(self, place: int, view: View, found: Row, why: str | None = None) -> None:
        """Fill in one row; `why` says what is wrong with it."""
        filter_ = filter_at(self.place)
        added = {name: found.get(name) for name in added_names(filter_)}
        self.rows[place] = joined(view, added) if self.as_lines else view.kept | added
        assert isinstance(filter_, MapFilter)  # noqa: S101 (narrowing for the type checker)
        for label in filter_.labels(added):
            self.counts[label] += 1
        why = why or filter_.why(added)
        if why is not None:
            self.faults += 1
            if len(self.shown) < SHOWN_FAULTS:
                self.shown.append(why if view.where in why else f"{view.where}: {why}")


@cache
def added_columns(filter_: Any) -> pa.Schema:
    """Return the columns that a filter's command adds: the filter's, then those of the command alone."""
    return pa.schema([*filter_.adds, *filter_.internal, *filter_.command])


@cache
def added_names(filter_: Any) -> tuple[str, ...]:
    """Return the names of these columns; asking an Arrow schema for them costs more than judging a simple row."""
    return tuple(added_columns(filter_).names)


def work(task: RowTask) -> ChunkResult:
    """Return a chunk with the columns that its filter adds; runs inside a worker."""
    filter_ = filter_at(task.place)
    assert isinstance(filter_, MapFilter)  # noqa: S101 (narrowing for the type checker)
    added = frozenset(added_columns(filter_).names)
    seen = list(views(task.chunk, task.fields, added, as_lines=task.as_lines))
    rows = [view.fault if view.fault is not None else prepared(view.row, filter_, task.rows) for view in seen]
    usable = [row for row in rows if not isinstance(row, str)]
    annotated = filter_.annotate(usable, task.options, *(() if task.extra is None else (task.extra,)))
    answers = iter(annotated.to_pylist() if isinstance(annotated, pa.Table) else annotated)
    result = ChunkResult(task.place, task.as_lines)
    for view, row in zip(seen, rows, strict=True):
        if isinstance(row, str):
            result.rows.append(None)
            result.resolve(len(result.rows) - 1, view, filter_.fault("row", row), row)
        else:
            result.add(view, next(answers))
    return result


def failed_chunk(task: RowTask, kind: str, detail: str) -> ChunkResult:
    """Return the rows of a chunk that can't be worked on within the limits."""
    filter_ = filter_at(task.place)
    assert isinstance(filter_, MapFilter)  # noqa: S101 (as above)
    result = ChunkResult(task.place, task.as_lines)
    for view in views(task.chunk, task.fields, frozenset(added_columns(filter_).names), as_lines=task.as_lines):
        result.rows.append(None)
        result.resolve(len(result.rows) - 1, view, filter_.fault(kind, detail), f"{kind}: {detail}")
    return result


# --- chunks through workers and back in order ----------------------------------------------------------------------

_CHUNK_SECONDS = 10.0  # CPU time of a chunk, then of each of its rows alone


class RowStream:
    """Rows through a filter, in worker processes that can be killed.

    Args:
        source: the rows.
        task: what is done with each chunk (its `chunk` is replaced); asked for every chunk.
        workers: processes; None: one for each core.
        resolve: finishes a chunk's deferred rows, called from several threads.
        counted: told of every finished chunk.
    """

    def __init__(
        self,
        source: Source,
        task: Callable[[Chunk], RowTask],
        workers: int | None,
        resolve: Callable[[ChunkResult], None],
        counted: Callable[[ChunkResult], None],
    ) -> None:
        self.counts: Counter[str] = Counter()
        self.rows = 0
        self._source, self._task, self._resolve, self._counted = source, task, resolve, counted
        preload = ("proofmill.filters.catalog", "proofmill.filters.domains.math")
        self._pool = WorkerPool(f"{__name__}:work", workers=workers, cpu_seconds=_CHUNK_SECONDS, preload=preload)

    def __enter__(self) -> RowStream:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.close()

    def run(self, writer: RowWriter) -> None:
        """Write all rows, in order."""
        as_lines = writer.takes_lines
        for parts in in_order(lambda chunk: self._chunk(chunk, as_lines), chunks(self._source), self._pool.workers):
            for result in parts:
                if as_lines:
                    writer.write_lines(b"".join(result.rows))
                else:
                    writer.write_rows(result.rows)
                self.rows += len(result.rows)
                self.counts += result.counts
                self._counted(result)

    def _chunk(self, chunk: Chunk, as_lines: bool) -> list[ChunkResult]:
        """Annotate one chunk, or its rows one by one if it brings a worker down."""
        task = replace(self._task(chunk), as_lines=as_lines)
        (result,) = self._pool.map([task])
        if not isinstance(result, Fault):
            self._finish(result)
            return [result]
        tasks = [replace(task, chunk=part) for part in chunk.parts()]
        parts = []
        for one, alone in zip(tasks, self._pool.map(tasks), strict=True):
            finished = failed_chunk(one, alone.kind, alone.detail) if isinstance(alone, Fault) else alone
            self._finish(finished)
            parts.append(finished)
        return parts

    def _finish(self, result: ChunkResult) -> None:
        if result.deferred:
            self._resolve(result)
