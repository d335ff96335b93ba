"""What the commands over a user's rows share: options, the first row, progress, and how they end."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from proofmill.data.errors import InputError, UsageError
from proofmill.data.rows_io import HUB, Row, check_out, local_file
from proofmill.flows.rows.reading import Source, chunks, first_row
from proofmill.flows.run.progress import Progress, shown
from proofmill.flows.wording import typed

_SHOWN_FAULTS = 5
_MADE = {"claims": "claims", "dedup": "dedup", "decontaminate": "clean"}  # how the next command's file is called


def parse_map(maps: Sequence[str]) -> dict[str, str]:
    """`["prompt=question,response=r[]", "answer=a"]` as a mapping of our names to theirs.

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
        """Counts some faults."""
        self.count += count
        self.shown.extend(shown[: _SHOWN_FAULTS - len(self.shown)])


@dataclass
class Command:
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
        """Shows the progress while it is open."""
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

    def finish(self, table: Table, following: str, *options: str) -> None:
        """Says what came of it, and what to type next.

        Args:
            table: the counts.
            following: the command that takes the written file.
            options: of that command; the map it needs is added.
        """
        self.console.print(table)
        if self.faults.count:
            self.console.print(f"[yellow]rows that could not be used: {self.faults.count:,}[/], the first of them:")
            for fault in self.faults.shown:
                self.console.print(f"  {fault}", markup=False, soft_wrap=True)
        self.console.print(f"written: {self.path}", markup=False, soft_wrap=True)
        out = self.path.with_name(f"{_MADE[following]}-{self.path.name}")
        typing = typed(following, str(self.path), *options, "--out", str(out), *self._map())
        self.console.print(f"next: [bold]{escape(typing)}[/]", soft_wrap=True)

    def _map(self) -> list[str]:
        """The map that the written file asks for, as an option; lists have become plain fields there."""
        kept = [f"{ours}={theirs}" for ours, theirs in self.source.fields.items() if not theirs.endswith("[]")]
        return ["--map", ",".join(kept)] if kept else []


def _row_count(source: Source) -> int | None:
    """Rows that will be read, where the file says so."""
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
    """Counts and shares of all rows, with the time they took."""
    table = Table(title=title, title_justify="left")
    table.add_column(unit, no_wrap=True)
    table.add_column("rows", justify="right", no_wrap=True)
    table.add_column("share", justify="right", no_wrap=True)
    for name, count in counts:
        table.add_row(name, f"{count:,}", f"{count / max(total, 1):.1%}")
    table.add_row("all", f"{total:,}", f"{seconds:.1f} s")
    return table
