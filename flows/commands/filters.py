"""`proofmill verify`, `claims`, `decontaminate` and `filter`: one map filter on a user's rows, streamed.

A command and a run call the same `annotate`, so they can't differ.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from proofmill.data.errors import InputError, UsageError
from proofmill.data.rows_io import HUB, Row, check_out, local_file, open_rows
from proofmill.data.sections import Section
from proofmill.filters.base import MapFilter
from proofmill.filters.catalog import FILTERS
from proofmill.filters.claim_checks import CLAIM_CHECKS, ROW_LABELS
from proofmill.filters.claims.model import STATUSES
from proofmill.filters.contamination import CLEAN, CONTAMINATION, NOT_CHECKED, opened
from proofmill.filters.near_prompts import DecidedPrompts
from proofmill.filters.runner import FilterWorkers, filter_at
from proofmill.filters.verdicts import VERDICTS as NAMES
from proofmill.filters.verification import TRUNCATED, VERDICTS, VerifyOptions
from proofmill.flows.display import Progress, shown, typed
from proofmill.flows.filter_rows import (
    SHOWN_FAULTS,
    ChunkResult,
    RowOptions,
    RowStream,
    RowTask,
    added_columns,
    check_first,
)
from proofmill.flows.recipe.faults import explained
from proofmill.flows.recipe.load import override
from proofmill.flows.recipe.schema import ActiveFilter
from proofmill.flows.row_chunks import Chunk, Source, chunks, columns, first_row

Options = TypeVar("Options", bound=Section)
_MADE = {"claims": "claims", "dedup": "dedup", "decontaminate": "clean"}  # how the next command's file is called
_FOLLOWING = {"verify": "claims", "claims": "dedup", "decontaminate": "dedup"}


def parse_map(maps: Sequence[str]) -> dict[str, str]:
    """Return `["prompt=question,response=r[]", "answer=a"]` as a mapping of our names to theirs.

    Raises:
        UsageError: a part is not of the form ours=theirs, or a name of ours is given twice.
    """
    fields: dict[str, str] = {}
    for part in (part.strip() for text in maps for part in text.split(",")):
        ours, equals, theirs = part.partition("=")
        if not part:
            continue
        if not (ours and equals and theirs) or ours.endswith("[]"):
            raise UsageError(
                f"{part!r} is no part of a map.", where="--map", remedy="write OURS=THEIRS or OURS=THEIRS[]"
            )
        if ours in fields:
            raise UsageError(f"{ours!r} is mapped twice.", where="--map", remedy="map each of our names once")
        fields[ours] = theirs
    return fields


@dataclass
class Faults:
    """Rows that could not be used, counted, the first few by name."""

    count: int = 0
    shown: list[str] = field(default_factory=list)

    def add(self, count: int, shown: Sequence[str]) -> None:
        """Count some faults."""
        self.count += count
        self.shown.extend(shown[: SHOWN_FAULTS - len(self.shown)])


@dataclass
class FilterCommand:
    """One command at work on one source.

    Attributes:
        name: of the command.
        source: where rows come from.
        path: where they go.
        console: what the user sees.
        progress: its counters.
        faults: rows that could not be used.
    """

    name: str
    source: Source
    path: Path
    console: Console
    progress: Progress = field(default_factory=Progress)
    faults: Faults = field(default_factory=Faults)

    def __post_init__(self) -> None:
        check_out(self.path)
        if not self.source.name.startswith(HUB):
            local_file(self.source.name)

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Show the progress while the block runs."""
        if (rows := _row_count(self.source)) is not None:
            self.progress.expect("rows", rows)
        with shown(self.progress, f"proofmill {self.name}", self.console):
            yield

    def first(self) -> tuple[str, Row] | None:
        """Place and fields of the first row that can be read; None where there is none.

        Raises:
            InputError: the map asks for a field that it hasn't.
        """
        for chunk in chunks(self.source):
            if found := first_row(chunk, self.source.fields):
                return found
        return None

    def count(self, result: ChunkResult) -> None:
        """Count a finished chunk."""
        self.faults.add(result.faults, result.shown)
        self.progress.advance("rows", len(result.rows))
        for name, count in result.counts.items():
            self.progress.advance(name, count)

    def finish(self, table: Table, following: str | None, *options: str) -> None:
        """Print the result, and what to type next.

        Args:
            table: the counts.
            following: the command that takes the written file; None: none is named.
            options: of that command; the map it needs is added.
        """
        self.console.print(table)
        if self.faults.count:
            self.console.print(f"[yellow]rows that could not be used: {self.faults.count:,}[/], the first of them:")
            for fault in self.faults.shown:
                self.console.print(f"  {fault}", markup=False, soft_wrap=True)
        self.console.print(f"written: {self.path}", markup=False, soft_wrap=True)
        if following is None:
            return
        out = self.path.with_name(f"{_MADE[following]}-{self.path.name}")
        typing = typed(following, str(self.path), *options, "--out", str(out), *self._map())
        self.console.print(f"next: [bold]{escape(typing)}[/]", soft_wrap=True)

    def _map(self) -> list[str]:
        """Return the map that the written file asks for, as an option; lists have become plain fields there."""
        kept = [f"{ours}={theirs}" for ours, theirs in self.source.fields.items() if not theirs.endswith("[]")]
        return ["--map", ",".join(kept)] if kept else []


def _row_count(source: Source) -> int | None:
    """Return how many rows will be read, where the file states it; else None."""
    if (
        source.name.startswith(HUB)
        or not source.name.endswith(".parquet")
        or any("[]" in t for t in source.fields.values())
    ):
        return source.limit
    import pyarrow.parquet as pq  # slow to import, and most files are JSONL

    try:
        rows: int = pq.read_metadata(local_file(source.name)).num_rows
    except OSError as error:
        raise InputError(f"{source.name} can't be read: {error}", where=source.name, remedy="write it again") from error
    return rows if source.limit is None else min(rows, source.limit)


def tally_table(title: str, unit: str, counts: Iterable[tuple[str, int]], total: int, seconds: float) -> Table:
    """Return a table of counts and shares of all rows, with the time they took."""
    table = Table(title=title, title_justify="left")
    table.add_column(unit, no_wrap=True)
    table.add_column("rows", justify="right", no_wrap=True)
    table.add_column("share", justify="right", no_wrap=True)
    for name, count in counts:
        table.add_row(name, f"{count:,}", f"{count / max(total, 1):.1%}")
    table.add_row("all", f"{total:,}", f"{seconds:.1f} s")
    return table


def checked_options(kind: type[Options], given: Mapping[str, Any]) -> Options:
    """Return a filter's options from a command line.

    Raises:
        UsageError: one is unknown or doesn't fit; the error says which values do.
    """
    try:
        return kind(**given)
    except ValidationError as error:
        known = ", ".join(kind.model_fields) or "none"
        raise UsageError(
            f"An option doesn't fit: {explained(error, kind)}.", where="the command line", remedy=f"options: {known}"
        ) from error


def named_filter(use: str, overrides: Sequence[str] = (), **given: Any) -> ActiveFilter:
    """Return the filter that a command names, with its options.

    Args:
        use: a built-in filter's name, or `package.module:NAME`.
        overrides: `option=value` each, the value in YAML; dots reach into sections.
        given: options that the command has by name.

    Raises:
        UsageError: there is no such filter, it looks at more than rows, or an option decides nothing about a row.
        RecipeError: it can't be imported, or an override is none.
    """
    rows = {filter_.name: filter_ for filter_ in FILTERS if isinstance(filter_, MapFilter) and filter_.adds.names}
    if ":" not in use and use not in rows:
        raise UsageError(
            f"There is no filter {use!r}.",
            where="the command line",
            remedy=f"there are: {', '.join(rows)}, or your own",
        )
    filter_ = filter_at(use)
    if not isinstance(filter_, MapFilter):
        raise UsageError(
            f"The filter '{filter_.name}' looks at more than single rows.",
            where=use,
            remedy="name it in a recipe's section `filters`; this command takes a MapFilter",
        )
    for item in overrides:
        override(given, item)
        _check_used(filter_, item, own=":" in use)
    return ActiveFilter(filter_, checked_options(filter_.options, given), use)


def _check_used(filter_: MapFilter[Any], item: str, *, own: bool) -> None:
    """Raise if an option is known and decides no column: what is dropped, or asked of a model, is a run's business."""
    name = item.partition("=")[0].partition(".")[0]
    columns = {*filter_.keyed_by} if filter_.shared is None else {*filter_.options.model_fields}
    if not own and name in filter_.options.model_fields and name not in columns:
        raise UsageError(
            f"The option {name!r} of '{filter_.name}' does nothing here: it decides in a run what is dropped, or what "
            "a model is asked.",
            where="the command line",
            remedy=f"leave it out, or give it in a recipe's section `{filter_.section}` and use `proofmill regenerate`"
            + (f"; here count: {', '.join(sorted(columns))}" if columns else ""),
        )


# --- one filter on all rows ----------------------------------------------------------------------------------


class _Work:
    """What the main process adds to the workers: deferred rows, and which verifiers are trusted.

    A verifier is trusted with quick verdicts in the workers once it has judged its planted answers here.
    """

    def __init__(self, active: ActiveFilter, rows: RowOptions, source: Source, services: FilterWorkers) -> None:
        self.filter = active.filter
        self.services = services
        self._active, self._rows, self._source = active, rows, source
        self.extra: Any = frozenset() if self.filter is VERDICTS else None

    def task(self, chunk: Chunk) -> RowTask:
        """Return what is done with a chunk."""
        active = self._active
        return RowTask(
            active.place, active.options, self._rows, chunk, self._source.fields, as_lines=True, extra=self.extra
        )

    def resolve(self, result: ChunkResult) -> None:
        """Finish the deferred rows of a chunk, in workers that can be killed and in the jail."""
        filter_ = self.filter
        assert isinstance(filter_, MapFilter) and filter_.resolve is not None  # noqa: S101 (only such a filter defers)
        jobs = [row.job for row in result.deferred]
        for row, found in zip(result.deferred, filter_.resolve(jobs, self.services), strict=True):
            result.resolve(row.place, row.view, found)
        if filter_ is VERDICTS:
            self.extra = self.extra.union(job.verifier for job, _ in jobs)


def run_filter(
    name: str,
    active: ActiveFilter,
    source: Source,
    out: Path,
    workers: int | None,
    console: Console,
    decided: DecidedPrompts | None = None,
) -> None:
    """Read, annotate and write all rows; then print the result, and what to type next.

    Args:
        name: of the command.
        active: the filter and its options.
        source: the rows.
        out: the file to write.
        workers: processes; None: one for each core.
        console: what the user sees.
        decided: what its workers read, where that is built already.
    """
    filter_ = active.filter
    assert isinstance(filter_, MapFilter)  # noqa: S101 (narrowing for the type checker)
    command = FilterCommand(name, source, out, console)
    limits = active.options if isinstance(active.options, VerifyOptions) else VerifyOptions()
    limits = limits.model_copy(update={"workers": workers})
    rows = RowOptions(source.domain, limits.verifiers)
    if first := command.first():
        check_first(*first, filter_, rows)
    started = time.monotonic()
    with ExitStack() as stack:
        work = _Work(active, rows, source, FilterWorkers(limits, stack))
        items = 0
        if decided is not None:
            work.extra, items = decided, len(opened(decided.index))
        elif filter_.shared is not None:
            path = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="proofmill-"))) / "shared"
            items = filter_.shared.build(active.options, path)["rows"]
            work.extra = path
        stack.enter_context(command.shown())
        writer = stack.enter_context(open_rows(out, added_columns(filter_), columns(source)))
        stream = stack.enter_context(RowStream(source, work.task, workers, work.resolve, command.count))
        stream.run(writer)
    if work.services.jail_fault:
        console.print(f"[yellow]stated outputs of code were not run:[/] {work.services.jail_fault}", soft_wrap=True)
    seconds = time.monotonic() - started
    command.finish(_table(filter_, stream, items, seconds), _FOLLOWING.get(name))


def _table(filter_: MapFilter[Any], stream: RowStream, items: int, seconds: float) -> Table:
    counts = stream.counts
    if filter_ is CLAIM_CHECKS:
        return _claims_table(stream, seconds)
    if filter_ is VERDICTS:
        names = [name for name in (*NAMES[:3], TRUNCATED, *NAMES[3:]) if name in NAMES or counts[name]]
        return tally_table("verdicts", "verdict", [(name, counts[name]) for name in names], stream.rows, seconds)
    if filter_.name == CONTAMINATION.name:
        found = sorted((name for name in counts if name not in (CLEAN, NOT_CHECKED)), key=lambda name: -counts[name])
        names = [CLEAN, *found, *([NOT_CHECKED] if counts[NOT_CHECKED] else ())]
        title, unit = f"overlap with {items:,} benchmark items", "contaminated by"
        return tally_table(title, unit, [(name, counts[name]) for name in names], stream.rows, seconds)
    return tally_table(filter_.name, "rows", counts.items(), stream.rows, seconds)


def _claims_table(stream: RowStream, seconds: float) -> Table:
    """Return a table of claims by status, and of rows by what they hold."""
    table = Table(title="claims", title_justify="left")
    table.add_column("status", no_wrap=True)
    table.add_column("claims", justify="right", no_wrap=True)
    table.add_column("share", justify="right", no_wrap=True)
    total = sum(stream.counts[status] for status in STATUSES)
    for status in STATUSES:
        table.add_row(status, f"{stream.counts[status]:,}", f"{stream.counts[status] / max(total, 1):.1%}")
    table.add_section()
    for name in ROW_LABELS:
        if stream.counts[name]:
            table.add_row(name, f"{stream.counts[name]:,}", f"{stream.counts[name] / max(stream.rows, 1):.1%}")
    table.add_row("all rows", f"{stream.rows:,}", f"{seconds:.1f} s")
    return table
