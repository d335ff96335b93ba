"""`proofmill verify`: verdicts for anyone's traces, streamed."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console

from proofmill.data.outputs import RowWriter, open_rows
from proofmill.filters.verdicts import CORRECT, ERROR, TIMEOUT, VERDICTS, Verdict
from proofmill.filters.verification import TRUNCATED, Judge, VerifyOptions
from proofmill.filters.workers import Fault, WorkerPool
from proofmill.flows.filter_command import Command, tally_table
from proofmill.flows.row_judging import ADDED, Done, Task, check_first, columns, count
from proofmill.flows.row_stream import in_order
from proofmill.flows.rows import Chunk, Source, View, joined
from proofmill.flows.rows import columns as source_columns

_CHUNK_SECONDS = 10.0  # CPU time; quick verdicts on a chunk take a hundredth of it


def run(source: Source, out: Path, custom: Mapping[str, str], workers: int | None, console: Console) -> None:
    """Reads, judges and writes; then says how many verdicts there are of each kind."""
    command = Command("verify", source, out, console)
    if custom and "" not in sys.path:
        sys.path.insert(0, str(Path.cwd()))  # a console script doesn't see the modules of the folder it runs in
    if first := command.first():
        check_first(*first, source.domain, custom)
    started = time.monotonic()
    with (
        command.shown(),
        open_rows(out, ADDED, source_columns(source)) as writer,
        _Verification(command, custom, workers) as verification,
    ):
        verification.run(writer)
    _report(command, verification.tally, time.monotonic() - started)


class _Verification:
    """The processes that read and judge, and what they found so far."""

    def __init__(self, command: Command, custom: Mapping[str, str], workers: int | None) -> None:
        self.tally: Counter[str] = Counter()
        self._command, self._custom = command, custom
        self._trusted: set[str] = set()
        self._judge = Judge(VerifyOptions(workers=workers, verifiers=custom))
        self._pool = WorkerPool("proofmill.flows.row_judging:work", workers=workers, cpu_seconds=_CHUNK_SECONDS)

    def __enter__(self) -> _Verification:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.close()
        self._judge.close()

    def run(self, writer: RowWriter) -> None:
        """All rows, in order."""
        progress = self._command.progress
        as_lines = writer.takes_lines
        for parts in in_order(lambda chunk: self._chunk(chunk, as_lines), self._command.chunks(), self._pool):
            for done in parts:
                self._trust(done)
                if as_lines:
                    writer.write_lines(b"".join(done.lines))
                else:
                    writer.write_rows(done.rows)
                self.tally += done.tally
                self._command.faults.add(done.faults)
                progress.advance("rows", done.tally.total())
                progress.verdicts(done.tally[CORRECT], done.tally.total())

    def _chunk(self, chunk: Chunk, as_lines: bool) -> list[Done]:
        """One chunk; where it takes a worker down, row by row."""
        task = Task(chunk, self._command.source.fields, self._command.source.domain, self._custom, as_lines)
        (done,) = self._pool.map([task])
        if not isinstance(done, Fault):
            return [self._judged(done, as_lines)]
        tasks = [Task(part, task.fields, task.domain, task.custom, as_lines) for part in chunk.parts()]
        results = zip(tasks, self._pool.map(tasks), strict=True)
        return [
            _fallen(one, result) if isinstance(result, Fault) else self._judged(result, as_lines)
            for one, result in results
        ]

    def _judged(self, done: Done, as_lines: bool) -> Done:
        """The verdicts that are still open, given by workers that can be killed and by the jail."""
        if not done.pending:
            return done
        judged = self._judge.judge([pending.job for pending in done.pending])
        for (place, view, _), (verdict, seconds) in zip(done.pending, judged, strict=True):
            added = columns(verdict or Verdict(ERROR, detail="not_judged"), seconds)
            count(done, view, added)
            if as_lines:
                done.lines[place] = joined(view, added)
            else:
                done.rows[place] = view.kept | added
        self._trusted.update(pending.job.verifier for pending in done.pending)
        return done

    def _trust(self, done: Done) -> None:
        """Has each verifier judge its planted answers before its first verdict is written."""
        fresh = [job for name, job in done.jobs.items() if name not in self._trusted]
        if fresh:
            self._judge.judge(fresh)
            self._trusted.update(job.verifier for job in fresh)


def _fallen(task: Task, fault: Fault) -> Done:
    """A row that can't even be read within its limits."""
    detail = f"{fault.kind}: {fault.detail}"
    added = columns(Verdict(TIMEOUT if fault.kind in ("timeout", "memory") else ERROR, detail=detail), 0.0)
    done = Done()
    _, item = next(task.chunk.read())
    row = getattr(item, "row", {})
    view = View({}, None, {name: value for name, value in row.items() if name not in added})
    count(done, view, added)
    done.faults.append(f"{item.where}: {detail}")
    if task.as_lines:
        done.lines.append(joined(view, added))
    else:
        done.rows.append(view.kept | added)
    return done


def _report(command: Command, tally: Counter[str], seconds: float) -> None:
    total = tally.total()
    counts = [
        (name, tally[name]) for name in (*VERDICTS[:3], TRUNCATED, *VERDICTS[3:]) if name in VERDICTS or tally[name]
    ]
    rate = f"{total / max(seconds, 1e-9):,.0f} rows/s"
    console_table = tally_table(f"verdicts ({seconds:.1f} s, {rate})", "verdict", counts, total)
    out = command.path
    command.finish(
        console_table, f"proofmill claims {out} --out {out.parent / ('claims-' + out.name)}{command.next_map()}"
    )
