"""`proofmill claims`: every checkable claim of anyone's traces, with its status and evidence."""

from __future__ import annotations

import threading
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from proofmill.data.errors import VerifierError
from proofmill.data.rows_io import open_rows
from proofmill.filters.claims import STATUSES
from proofmill.filters.claims.stated_outputs import jail_evaluator
from proofmill.flows.commands.filter_command import Command
from proofmill.flows.rows.claims import ADDED, ROWS, check_first
from proofmill.flows.rows.reading import Source
from proofmill.flows.rows.reading import columns as source_columns
from proofmill.flows.rows.stream import RowStream
from proofmill.flows.rows.work import Done


def run(source: Source, out: Path, workers: int | None, console: Console) -> None:
    """Reads, checks and writes; then says how many claims there are of each status."""
    command = Command("claims", source, out, console)
    if first := command.first():
        check_first(*first)
    started = time.monotonic()
    outputs = _Outputs()
    with (
        command.shown(),
        open_rows(out, ADDED, source_columns(source)) as writer,
        RowStream(command, "proofmill.flows.rows.claims", lambda: source.domain, workers, outputs.settle) as stream,
    ):
        stream.run(writer)
    if outputs.missing:
        console.print(f"[yellow]stated outputs of code were not run:[/] {outputs.missing}", soft_wrap=True)
    command.finish(_table(stream, time.monotonic() - started), "dedup")


class _Outputs:
    """Runs stated outputs in the jail; without a jail they stay unchecked, and that is said once."""

    def __init__(self) -> None:
        self.missing = ""
        self._evaluate = jail_evaluator()
        self._lock = threading.Lock()

    def settle(self, done: Done) -> None:
        """The claims of a chunk's traces that state outputs. A worker has shown that the rest of them is harmless."""
        for place, view, (trace, unrun) in done.pending:
            added = unrun
            if not self.missing:
                try:
                    added = trace.checked(self._evaluate)
                except VerifierError as error:
                    with self._lock:
                        self.missing = f"{error.what} {error.where}"
            done.settle(place, view, added)


def _table(stream: RowStream, seconds: float) -> Table:
    """Claims by status, and rows by what they hold."""
    table = Table(title="claims", title_justify="left")
    table.add_column("status", no_wrap=True)
    table.add_column("claims", justify="right", no_wrap=True)
    table.add_column("share", justify="right", no_wrap=True)
    total = sum(stream.tally[status] for status in STATUSES)
    for status in STATUSES:
        table.add_row(status, f"{stream.tally[status]:,}", f"{stream.tally[status] / max(total, 1):.1%}")
    table.add_section()
    for name in ROWS:
        if stream.tally[name]:
            table.add_row(name, f"{stream.tally[name]:,}", f"{stream.tally[name] / max(stream.rows, 1):.1%}")
    table.add_row("all rows", f"{stream.rows:,}", f"{seconds:.1f} s")
    return table
