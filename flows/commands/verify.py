"""`proofmill verify`: verdicts for anyone's traces, streamed."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from proofmill.data.rows_io import open_rows
from proofmill.filters.verdicts import ERROR, VERDICTS, Verdict
from proofmill.filters.verification import TRUNCATED, Judge, VerifyOptions
from proofmill.flows.commands.filter_command import Command, tally_table
from proofmill.flows.rows.judging import ADDED, Options, check_first, columns
from proofmill.flows.rows.reading import Source
from proofmill.flows.rows.reading import columns as source_columns
from proofmill.flows.rows.stream import RowStream
from proofmill.flows.rows.work import Done

_STAGE = "proofmill.flows.rows.judging"


def run(source: Source, out: Path, custom: Mapping[str, str], workers: int | None, console: Console) -> None:
    """Reads, judges and writes; then says how many verdicts there are of each kind."""
    command = Command("verify", source, out, console)
    if custom and "" not in sys.path:
        sys.path.insert(0, str(Path.cwd()))  # a console script doesn't see the modules of the folder it runs in
    if first := command.first():
        check_first(*first, source.domain, custom)
    started = time.monotonic()
    with (
        Judge(VerifyOptions(workers=workers, verifiers=custom)) as judge,
        command.shown(),
        open_rows(out, ADDED, source_columns(source)) as writer,
    ):
        verification = _Verification(judge, Options(source.domain, custom))
        with RowStream(command, _STAGE, lambda: verification.options, workers, verification.settle) as stream:
            stream.run(writer)
    _report(command, stream, time.monotonic() - started)


class _Verification:
    """The verdicts that take the main process: slow ones, and the first ones of each verifier.

    A verifier is trusted with quick verdicts in the workers once it has judged its planted answers here.
    """

    def __init__(self, judge: Judge, options: Options) -> None:
        self.options = options
        self._judge = judge

    def settle(self, done: Done) -> None:
        """Judges what is still open of a chunk, in workers that can be killed and in the jail."""
        jobs = [pending.job for pending in done.pending]
        for (place, view, _), (verdict, seconds) in zip(done.pending, self._judge.judge(jobs), strict=True):
            done.settle(place, view, columns(verdict or Verdict(ERROR, detail="not_judged"), seconds))
        self.options = replace(self.options, trusted=self.options.trusted.union(job.verifier for job in jobs))


def _report(command: Command, stream: RowStream, seconds: float) -> None:
    names = [name for name in (*VERDICTS[:3], TRUNCATED, *VERDICTS[3:]) if name in VERDICTS or stream.tally[name]]
    table = tally_table("verdicts", "verdict", [(name, stream.tally[name]) for name in names], stream.rows, seconds)
    command.finish(table, "claims")
