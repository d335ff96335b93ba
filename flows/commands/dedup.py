"""`proofmill dedup`: mark near-duplicates in any file of traces, in two passes over the input.

The first pass signs the texts into scratch files beside the output, the join reads these in worker processes, the
second pass writes the rows with their marks. Memory: 15 bytes a row in this process beside its mark (see
`near_duplicates`); scratch space: about 1.4 KB a text of 100 words.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import orjson
import pyarrow as pa
from rich.console import Console

from proofmill.data.errors import InputError, UsageError
from proofmill.data.rows_io import HUB, Located, Row, RowWriter, encode, open_rows
from proofmill.data.rows_io import walked_lists as walked
from proofmill.data.tasks import TaskMap
from proofmill.filters.near_duplicates.duplicates import mark
from proofmill.filters.near_duplicates.minhash import DedupOptions
from proofmill.filters.near_duplicates.shared_index import SharedIndex
from proofmill.filters.near_duplicates.signed_parts import Reader, count_rows, load_table
from proofmill.filters.rolling_hash import U64, strings_to_arrow
from proofmill.filters.workers import TASK_LIMITS, Fault, PoolTasks, WorkerPool
from proofmill.flows.commands.filters import FilterCommand, tally_table
from proofmill.flows.filter_rows import SHOWN_FAULTS
from proofmill.flows.row_chunks import Chunk, Source, View, chunks, columns, in_order, joined, views
from proofmill.flows.sign_rows import Signed, SignTask, failed_chunk, merged, text_field

ADDED = pa.schema([("duplicate_of", pa.string()), ("dedup_detail", pa.string())])
_KEPT = b',"duplicate_of":null,"dedup_detail":null}\n'
_DIGITS = 12  # of a row's number while rows are ranked
_CHUNK_BYTES = 2 << 20  # the join takes them one by one, and prefers them large
_CHUNK_SECONDS = 60.0  # CPU time of a chunk


def run(
    source: Source,
    out: Path,
    options: DedupOptions,
    text: str | None,
    workers: int | None,
    console: Console,
    index: SharedIndex | None = None,
) -> None:
    """Sign, join and write the rows, then print how many repeat another one.

    With `index`, the rows kept are also compared with those of other machines, which read and write the same index.

    Raises:
        UsageError: there is an index, and not every row has an id of its own.
    """
    command = FilterCommand("dedup", source, out, console)
    known = columns(source)
    started = time.monotonic()
    with command.shown(), tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as folder:
        if source.name.startswith(HUB):
            command.source = source = _spooled(source, Path(folder))
        dedup = _Dedup(command, options, _text_field(command, text), Path(folder))
        with (
            WorkerPool("proofmill.flows.sign_rows:sign_chunk", workers=workers, cpu_seconds=_CHUNK_SECONDS) as pool,
            WorkerPool("proofmill.filters.workers:call", workers=workers, **TASK_LIMITS) as tasks,
        ):
            marks = dedup.marks(pool, PoolTasks(lambda: tasks))
        if index is not None:
            command.progress.note("comparing with other machines")
            marks = dedup.claimed(marks, index)
        command.progress.note("writing")
        with open_rows(out, ADDED, known) as writer:
            repeats = dedup.write(marks, writer)
    _report(command, dedup, repeats, time.monotonic() - started)


def _spooled(source: Source, folder: Path) -> Source:
    """Return a hub data set as a file, since it is read twice."""
    path = folder / "rows.jsonl"
    with path.open("wb") as file:
        for chunk in chunks(source):
            for _, item in chunk.read():
                file.write((encode(item.row) if isinstance(item, Located) else b"unreadable") + b"\n")
    return replace(source, name=str(path), limit=None)


def _text_field(command: FilterCommand, wanted: str | None) -> str:
    """Return the field to compare.

    Raises:
        InputError: the first row doesn't have it.
    """
    first = command.first()
    if first is None:
        return wanted or "response"
    where, row = first
    field = text_field(command.source, row, wanted)
    if field is None:
        raise InputError(
            f"There is no field {wanted or 'response'!r} to compare.",
            where=where,
            remedy=f"this row has: {', '.join(map(str, row)) or 'no fields'}; name one with --text",
        )
    return field


class _RepeatedIdsError(Exception):
    """The rows' own ids don't tell them apart."""


class _Dedup:
    """The two passes over one source."""

    def __init__(self, command: FilterCommand, options: DedupOptions, text: str, folder: Path) -> None:
        self.rows = 0
        self._command, self._options, self._text, self._folder = command, options, text, folder
        self._signed: list[Signed] = []
        first = command.first()
        self.numbered = bool(walked(command.source.fields)) or first is None or first[1].get("id") is None

    def marks(self, pool: WorkerPool, tasks: TaskMap) -> pa.ChunkedArray:
        """Return `duplicate_of` of every row that has a text, in order."""
        sources = self._numbers(self._sign(pool)) if self.numbered else self._own_ids(pool)
        try:
            table = mark(sources, self._options, scratch=self._folder, tasks=tasks)
        except _RepeatedIdsError:
            self.numbered = True
            table = mark(self._numbers(iter(self._signed)), self._options, scratch=self._folder, tasks=tasks)
        return table.column("duplicate_of")

    def claimed(self, marks: pa.ChunkedArray, index: SharedIndex) -> pa.ChunkedArray:
        """Return the marks, with those of rows that repeat one which another machine has kept."""
        if self.numbered:
            raise UsageError(
                "Rows that several machines share need an `id` of their own, each its own.",
                where=self._command.source.name,
                remedy="add one, unique over all files, or name it with --map id=FIELD",
            )
        found: list[str | None] = []
        for path in (path for signed in self._signed for path in signed.paths):
            with pa.memory_map(str(path)) as file:
                table = pa.ipc.open_file(file).read_all()
                mine = marks.slice(len(found), table.num_rows)
                kept = table.filter(mine.is_null())
                theirs = iter(index.claim(kept.column("id").to_pylist(), kept))
                found += [next(theirs) if mark is None else mark for mark in mine.to_pylist()]
        return pa.chunked_array([found], pa.string())

    def _own_ids(self, pool: WorkerPool) -> Iterator[Path]:
        """Yield signature files as they come while all rows have ids, which must differ."""
        hashes: list[U64] = []
        usable = True
        for signed in self._sign(pool):
            usable = usable and signed.ids is not None
            if usable and signed.ids is not None:
                hashes.append(signed.ids)
                yield from signed.paths
        every = np.concatenate([np.empty(0, np.uint64), *hashes])
        if not usable or len(np.unique(every)) < len(every):
            raise _RepeatedIdsError

    def _numbers(self, parts: Iterator[Signed]) -> Iterator[Reader]:
        """Yield signatures under the numbers of their rows, padded so that they sort like the rows."""
        start = 0
        for signed in parts:
            for path in signed.paths:
                yield Reader(partial(_numbered, path, start), count_rows(path))
            start += signed.rows

    def _sign(self, pool: WorkerPool) -> Iterator[Signed]:
        """Sign all chunks, several at a time."""
        fields = self._command.source.fields

        def sign(chunk: Chunk) -> Signed:
            task = SignTask(chunk, fields, self._text, self._options, self._folder / f"{chunk.number}.arrow")
            (result,) = pool.map([task])
            return _one_by_one(task, pool) if isinstance(result, Fault) else result

        for signed in in_order(sign, chunks(self._command.source, _CHUNK_BYTES), pool.workers):
            self._signed.append(signed._replace(ids=None))
            self.rows += signed.rows
            self._command.progress.advance("rows", signed.rows)
            self._command.faults.add(len(signed.unsigned), [*signed.unsigned.values()][:SHOWN_FAULTS])
            yield signed

    def write(self, marks: pa.ChunkedArray, writer: RowWriter) -> int:
        """Write all rows with their marks; return how many repeat another."""
        start = repeats = 0
        for chunk, signed in zip(chunks(self._command.source, _CHUNK_BYTES), self._signed, strict=True):
            count = signed.rows - len(signed.unsigned)
            found = [self._name(value) for value in marks.slice(start, count).to_pylist()]
            start += count
            repeats += count - found.count(None)
            if writer.takes_lines and (lines := self._plain_lines(chunk, signed)) is not None:
                writer.write_lines(_spliced(lines, found))
                continue
            rows = self._marked(chunk, signed, found, as_lines=writer.takes_lines)
            if writer.takes_lines:
                writer.write_lines(b"".join(joined(view, added) for view, added in rows))
            else:
                writer.write_rows([view.kept | added for view, added in rows])
        return repeats

    def _plain_lines(self, chunk: Chunk, signed: Signed) -> list[bytes] | None:
        """Return the lines of a chunk without their last brace, if every row can be written as it stands; else None."""
        data = chunk.data
        if isinstance(data, list) or signed.unsigned or walked(self._command.source.fields):
            return None
        if any(f'"{name}"'.encode() in data for name in ADDED.names):
            return None
        # No string of JSON holds a newline, so that a brace before one ends a row.
        *lines, rest = (data if data.endswith(b"\n") else data + b"\n").split(b"}\n")
        whole = not rest and len(lines) == signed.rows and all(line.startswith(b"{") for line in lines)
        return lines if whole else None

    def _marked(
        self, chunk: Chunk, signed: Signed, marks: list[str | None], *, as_lines: bool
    ) -> Iterator[tuple[View, Row]]:
        found = iter(marks)
        rows = views(chunk, self._command.source.fields, frozenset(ADDED.names), as_lines=as_lines)
        for place, view in enumerate(rows):
            why = signed.unsigned.get(place)
            yield view, {"duplicate_of": next(found) if why is None else None, "dedup_detail": why}

    def _name(self, mark: str | None) -> str | None:
        return str(int(mark)) if self.numbered and mark is not None else mark


def _numbered(path: Path, start: int, names: Sequence[str]) -> pa.Table:
    """Return columns of a signature file; the id of a row is its number, from `start` at the file's first row."""
    table = load_table(path)
    if "id" in names:
        numbers = [f"{start + place:0{_DIGITS}}" for place in table.column("place").to_pylist()]
        table = table.set_column(table.schema.get_field_index("id"), "id", strings_to_arrow(numbers))
    return table.select([name for name in names if name in table.column_names])


def _one_by_one(task: SignTask, pool: WorkerPool) -> Signed:
    """Return a chunk that took its worker down, row by row."""
    parts: list[Signed] = []
    start = 0
    for number, chunk in enumerate(task.chunk.parts()):
        path = task.path.with_name(f"{task.path.stem}-{number}.arrow")
        part = replace(task, chunk=chunk, path=path, start=start)
        (result,) = pool.map([part])
        parts.append(failed_chunk(part, f"{result.kind}: {result.detail}") if isinstance(result, Fault) else result)
        start += parts[-1].rows
    return merged(parts)


def _spliced(lines: list[bytes], marks: list[str | None]) -> bytes:
    """Return rows without their last brace, each with its mark."""
    parts = [_KEPT] * (2 * len(lines))
    parts[::2] = lines
    parts[1::2] = [
        _KEPT if mark is None else b',"duplicate_of":%b,"dedup_detail":null}\n' % orjson.dumps(mark) for mark in marks
    ]
    return b"".join(parts)


def _report(command: FilterCommand, dedup: _Dedup, repeats: int, seconds: float) -> None:
    usable = dedup.rows - command.faults.count
    counts = [("kept", usable - repeats), ("near-duplicates", repeats), ("not compared", command.faults.count)]
    command.console.print(f"`duplicate_of` names {'the row by its number, from 0' if dedup.numbered else 'its id'}")
    table = tally_table("near-duplicates", "row", counts, dedup.rows, seconds)
    command.finish(table, "decontaminate", "--against", "BENCHMARK.jsonl")
