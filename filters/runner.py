"""Runs map filters on rows: in worker processes that can be killed, and what they defer in the calling process.

A row that kills its worker costs only itself: the other rows are done again, and it gets the columns that its filter
gives for such a case. So no row is lost, whatever it holds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from functools import cache, cached_property, partial
from importlib import import_module
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import pyarrow as pa

from proofmill.data.errors import RecipeError, VerifierError
from proofmill.data.rows_io import batched
from proofmill.data.sections import Section
from proofmill.data.tables import from_rows
from proofmill.data.tasks import TaskMap
from proofmill.filters.agreement import clusters
from proofmill.filters.base import Deferred, Filter, MapFilter, Row
from proofmill.filters.verdicts import Problem
from proofmill.filters.verification import Judge, VerifyOptions
from proofmill.filters.workers import TASK_LIMITS, Fault, PoolTasks, WorkerPool, call

if TYPE_CHECKING:
    from proofmill.filters.sandbox.jail import Jail

CHUNK_ROWS, CHUNK_CHARACTERS = 256, 1 << 20
_CHUNK_SECONDS, _CHUNK_MEMORY_MB = 600.0, 4096
Pool = TypeVar("Pool", Judge, WorkerPool)
_SHOWN = 200  # characters of a value in an error


@cache
def filter_at(place: str) -> Filter[Any]:
    """Return the filter of this name, or a user's own at `package.module:NAME`.

    Raises:
        RecipeError: it can't be imported, or is not a filter.
    """
    from proofmill.filters.catalog import FILTERS  # workers import it at their first row

    if ":" not in place:
        return next(filter_ for filter_ in FILTERS if filter_.name == place)
    module, _, name = place.partition(":")
    try:
        result = getattr(import_module(module), name)
    except Exception as error:  # whatever a user's module raises is told, not shown as a fault of ours
        raise RecipeError(
            f"The filter {place!r} can't be imported: {type(error).__name__}: {error}",
            where="recipe key filters",
            remedy="write it as package.module:NAME, importable from where proofmill runs",
        ) from error
    if not isinstance(result, Filter):
        raise RecipeError(
            f"{place!r} is a {type(result).__name__}, not a filter.",
            where="recipe key filters",
            remedy="make it a proofmill.filters.base.MapFilter; see filters/README.md",
        )
    return result


class Annotated(NamedTuple):
    """The result of a filter on some rows.

    Attributes:
        table: the filter's columns, row by row.
        faults: numbers of rows that killed a worker, by kind of fault.
        shown: the first of these faults in words.
        seconds: time that verifiers took, where the filter measures it.
    """

    table: pa.Table
    faults: dict[str, int]
    shown: str | None = None
    seconds: float = 0.0


class FilterWorkers:
    """The worker processes of a run, each kind started at first use, and the services of the calling process.

    Args:
        limits: CPU time and memory of a row, and the number of processes.
        stack: what ends the processes.
    """

    def __init__(self, limits: VerifyOptions, stack: ExitStack) -> None:
        self._limits = limits
        self._lock = Lock()
        self._started: dict[str, Any] = {}
        self._ends = ExitStack()
        self._closed = False
        self.jail_fault: str | None = None  # why stated outputs of code are not run
        self.tasks: TaskMap = PoolTasks(lambda: self._once("tasks", self._task_pool))  # over files
        stack.callback(self.close)

    def close(self) -> None:
        """End the processes; whatever still uses them, or wants others, fails."""
        with self._lock:
            self._closed = True
        self._ends.close()

    def _once(self, name: str, start: Callable[[], Pool]) -> Pool:
        """Return what is started at first use; threads that want it at once share it.

        Raises:
            VerifierError: the run has ended.
        """
        with self._lock:
            if self._closed:
                raise VerifierError("The run has ended.", remedy="run the same command again")
            if name not in self._started:
                self._started[name] = self._ends.enter_context(start())
            result: Pool = self._started[name]
        return result

    @property
    def judge(self) -> Judge:
        """The verifiers."""
        return self._once("judge", lambda: Judge(self._limits))

    @property
    def jail(self) -> Jail:
        """The jail for programs, as the verifiers' options say."""
        from proofmill.filters.domains.code import default_jail

        _ = self.judge  # which sets it up
        return default_jail()

    @property
    def evaluate(self) -> Callable[[str, str, str], bool | None] | None:
        """Whether an expression has a stated value behind some code, as the jail finds; None where there is no jail."""
        return None if self.jail_fault else self._evaluate

    def _evaluate(self, code: str, expression: str, literal: str) -> bool | None:
        if self.jail_fault:
            return None
        try:
            return self._jail(code, expression, literal)
        except VerifierError as error:  # said once by the caller; the claims stay unchecked
            self.jail_fault = f"{error.what} {error.where}"
            return None

    @cached_property
    def _jail(self) -> Callable[[str, str, str], bool | None]:
        from proofmill.filters.claims.whole_trace import jail_evaluator

        return jail_evaluator()

    def _task_pool(self) -> WorkerPool:
        return WorkerPool(f"{call.__module__}:{call.__name__}", workers=self._limits.workers, **TASK_LIMITS)

    def clusters(self, items: Sequence[tuple[Problem, Sequence[str]]]) -> list[list[int]]:
        """Return which answers to each problem are the same; those too costly to compare are compared as they stand."""
        custom = self._limits.verifiers
        pool = self._pool("cluster_answers", 10 * self._limits.cpu_seconds, self._limits.memory_mb)
        results = pool.map([(problem, answers, custom) for problem, answers in items])
        return [
            [answers.index(answer) for answer in answers] if isinstance(result, Fault) else result
            for (_, answers), result in zip(items, results, strict=True)
        ]

    def _pool(self, function: str, cpu_seconds: float, memory_mb: int) -> WorkerPool:
        """Return the worker processes that call a function of this module."""
        start = partial(
            WorkerPool,
            f"{__name__}:{function}",
            workers=self._limits.workers,
            cpu_seconds=cpu_seconds,
            memory_mb=memory_mb,
            preload=("proofmill.filters.catalog",),
        )
        return self._once(function, start)

    def annotate(self, place: str, options: Section, rows: Sequence[Row], shared: Path | None = None) -> Annotated:
        """Return the columns that a map filter adds to some rows.

        Args:
            place: the filter's name, or `package.module:NAME`.
            options: its options.
            rows: with the columns that it reads.
            shared: its shared file.

        Raises:
            RecipeError: a user's filter gives what does not fit its columns.
            VerifierError: workers or the jail can't start, or the verdicts are not to be trusted.
        """
        filter_ = filter_at(place)
        if not isinstance(filter_, MapFilter):
            raise TypeError(f"{filter_.name} is not a map filter")
        if filter_.runs == "chunks":
            return self._in_chunks(filter_, place, options, rows, shared)
        if filter_.runs == "here":
            results: list[Any] = list(_call(filter_, rows, options, shared))
        else:
            pool = self._pool("annotate_row", self._limits.cpu_seconds, self._limits.memory_mb)
            results = pool.map([(place, options, row, shared) for row in rows])
        return self._resolved(filter_, place, results)

    def _resolved(self, filter_: MapFilter[Any], place: str, results: list[Any]) -> Annotated:
        """Return the table of all rows: what was deferred is resolved, and faults get their filter's columns."""
        faults = {index: item for index, item in enumerate(results) if isinstance(item, Fault)}
        waiting = {index: item.job for index, item in enumerate(results) if isinstance(item, Deferred)}
        for index, fault in faults.items():
            results[index] = filter_.fault(fault.kind, fault.detail)
        if waiting and filter_.resolve is not None:
            for index, row in zip(waiting, filter_.resolve(list(waiting.values()), self), strict=True):
                results[index] = row
        shown = next((f"{fault.kind}: {fault.detail}" for fault in faults.values()), None)
        table = as_table(filter_, place, results)
        seconds = sum(row.get("verify_seconds", 0.0) for row in results)
        return Annotated(table, dict(Counter(fault.kind for fault in faults.values())), shown, seconds)

    def _in_chunks(
        self, filter_: MapFilter[Any], place: str, options: Section, rows: Sequence[Row], shared: Path | None
    ) -> Annotated:
        """Return the table of all rows, chunk by chunk. A chunk that kills its worker is done again row by row."""
        pool = self._pool("annotate_chunk", _CHUNK_SECONDS, _CHUNK_MEMORY_MB)
        chunks = list(batched(rows, CHUNK_ROWS, CHUNK_CHARACTERS)) or [[]]
        tables: list[pa.Table] = []
        faults: Counter[str] = Counter()
        shown = None
        for chunk, result in zip(chunks, pool.map([(place, options, part, shared) for part in chunks]), strict=True):
            if not isinstance(result, Fault):
                tables.append(result)
                continue
            for row, alone in zip(chunk, pool.map([(place, options, [row], shared) for row in chunk]), strict=True):
                if isinstance(alone, Fault):
                    faults[alone.kind] += 1
                    shown = shown or f"{alone.kind}: {alone.detail}"
                    alone = _fault_columns(filter_, place, row, alone)
                tables.append(alone)
        return Annotated(pa.concat_tables(tables), dict(faults), shown)


def _fault_columns(filter_: MapFilter[Any], place: str, row: Row, fault: Fault) -> pa.Table:
    """Return the columns of a row that brought its worker down.

    Raises:
        VerifierError: they can't be null, so that the shard can't be written.
    """
    if all(field.nullable for field in filter_.schema):
        return as_table(filter_, place, [filter_.fault(fault.kind, fault.detail)])
    raise VerifierError(
        f"The filter '{filter_.name}' failed: {fault.kind}: {fault.detail}",
        where=str(row.get("id") or row)[:_SHOWN],
        remedy="run the same command again; if it fails again, report this with the run's log",
    )


def annotate_row(item: tuple[str, Section, Row, Path | None]) -> Row | Deferred:
    """Return what a filter adds to one row. Runs inside a worker."""
    place, options, row, shared = item
    filter_ = filter_at(place)
    assert isinstance(filter_, MapFilter)  # noqa: S101 (narrowing for the type checker)
    results: list[Row | Deferred] = list(_call(filter_, [row], options, shared))
    return results[0]


def annotate_chunk(item: tuple[str, Section, Sequence[Row], Path | None]) -> pa.Table:
    """Return what a filter adds to some hundred rows. Runs inside a worker."""
    place, options, rows, shared = item
    filter_ = filter_at(place)
    assert isinstance(filter_, MapFilter)  # noqa: S101 (as above)
    return as_table(filter_, place, _call(filter_, rows, options, shared))


def cluster_answers(item: tuple[Problem, Sequence[str], Mapping[str, str]]) -> list[int]:
    """Return which answers to a problem are the same. Runs inside a worker."""
    return clusters(*item)


def _call(filter_: MapFilter[Any], rows: Sequence[Row], options: Section, shared: Path | None) -> Any:
    return filter_.annotate(rows, options, shared) if filter_.shared is not None else filter_.annotate(rows, options)


def as_table(filter_: Filter[Any], place: str, result: Iterable[Row] | pa.Table) -> pa.Table:
    """Return a filter's rows as a table of its columns; a table is taken as it is.

    Raises:
        RecipeError: a user's filter gives a value that does not fit its column, or a column that it does not declare.
    """
    if isinstance(result, pa.Table):
        return result
    rows = list(result)
    try:
        table = from_rows(rows, filter_.schema)
    except (pa.ArrowException, TypeError, AttributeError, OverflowError) as error:
        raise _misfit(filter_, place, rows, error) from error
    if ":" in place and (unknown := {name for row in rows for name in row} - {*filter_.schema.names}):
        raise RecipeError(
            f"The filter '{filter_.name}' gives a column {min(unknown)!r}, which it does not declare.",
            where=place,
            remedy=f"add the column to its `adds`; it has: {', '.join(filter_.schema.names) or 'none'}",
        )
    return table


def _misfit(filter_: Filter[Any], place: str, rows: Sequence[Any], error: Exception) -> RecipeError:
    """Return the error that names the column and row that do not fit."""
    for number, row in enumerate(rows):
        if not isinstance(row, Mapping):
            return RecipeError(
                f"The filter '{filter_.name}' gave {row!r} for a row, not a mapping of its columns."[:_SHOWN],
                where=f"{place}, row {number}",
                remedy="yield one mapping for each row, {column: value}",
            )
        for field in filter_.schema:
            try:
                pa.array([row.get(field.name)], field.type)
            except (pa.ArrowException, TypeError, OverflowError):
                value = repr(row[field.name])[:_SHOWN]
                return RecipeError(
                    f"The filter '{filter_.name}' gives {value} for {field.name}, which is of type {field.type}.",
                    where=f"{place}, row {number}",
                    remedy="correct its `annotate`, or the type in its `adds`",
                )
    return RecipeError(
        f"The filter '{filter_.name}' made no table: {error}", where=place, remedy="correct its `annotate`"
    )
