"""The Parquet files of a version: rows put on disk where they are made, then one task a file.

Rows come in order, shard by shard, from any process (`RowWriter`). Their sizes alone decide which rows share a row
group, so the bytes of a version depend neither on the cut into shards nor on who wrote which file.
"""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from proofmill.data.files import existing, replacing, temporary_path, writing
from proofmill.data.manifest import FileEntry
from proofmill.data.tables import write_groups, writer
from proofmill.data.tasks import TaskMap, run_here

MAX_FILE_BYTES = 480 << 20  # the hub asks for at most 500 MB a file
GROUP_BYTES = 16 << 20  # rows are written in groups of this size: in small groups, one new row shifts every page
ROWS_FOLDER = ".rows"
_CHECK_ROWS = 1024
_MAGIC = b"PAR1"  # the first bytes of a Parquet file

Terms = Counter[tuple[str, str, str | None]]
"""Rows by config, source and licence."""


@dataclass(frozen=True, slots=True)
class Contents:
    """What one split of a config holds.

    Attributes:
        schema: its columns.
        rows: their number.
        memory: bytes as Arrow tables, which is what `datasets` writes into its cache.
    """

    schema: pa.Schema
    rows: int
    memory: int


@dataclass(frozen=True)
class RowFile:
    """Rows of one split of a config in Arrow's own format.

    Attributes:
        path: of the file.
        pieces: rows and bytes in memory of each batch, int64 (batches, 2).
    """

    path: Path
    pieces: NDArray[np.int64]

    @property
    def rows(self) -> int:
        """Number of rows."""
        return int(self.pieces[:, 0].sum())


@dataclass(frozen=True)
class Rows:
    """What a `RowWriter` has written.

    Attributes:
        files: by config and split (`sft_stage1/train`).
        terms: rows by config, source and licence.
    """

    files: Mapping[str, RowFile]
    terms: Terms


class RowWriter:
    """Puts rows of a version on disk as they are made.

    Args:
        prefix: path with which its files begin.
        schemas: by config and split.
        compressed: False where single rows will be read.
    """

    def __init__(self, prefix: Path, schemas: Mapping[str, pa.Schema], *, compressed: bool = True) -> None:
        self._prefix, self._schemas = prefix, schemas
        self._options = pa.ipc.IpcWriteOptions(compression="lz4" if compressed else None)
        self._open: dict[str, tuple[Path, pa.OSFile, pa.ipc.RecordBatchFileWriter]] = {}
        self._pieces: dict[str, list[tuple[int, int]]] = {}
        self._terms: Terms = Counter()

    def append(self, config: str, table: pa.Table) -> None:
        """Add rows to a split of a config; a table without rows opens no file."""
        if not table.num_rows:
            return
        table = table.select(self._schemas[config].names).cast(self._schemas[config])
        with writing(self._prefix):
            if config not in self._open:
                self._open[config] = self._opened(config)
                self._pieces[config] = []
            for piece in _pieces(table):
                self._pieces[config].append((piece.num_rows, piece.nbytes))
                self._open[config][2].write_batch(piece.combine_chunks().to_batches()[0])
        if "license" in table.column_names:
            terms = table.group_by(["source", "license"]).aggregate([([], "count_all")])
            for source, name, count in zip(*(terms[n].to_pylist() for n in terms.column_names), strict=True):
                self._terms[config.partition("/")[0], source, name] += count

    def close(self) -> Rows:
        """End the files, give them their names, and return what they hold."""
        files = {}
        with writing(self._prefix):
            for config, (temporary, raw, file) in self._open.items():
                file.close()
                raw.close()
                path = self._path(config)
                temporary.replace(path)
                files[config] = RowFile(path, np.array(self._pieces[config], np.int64))
        return Rows(files, self._terms)

    def _path(self, config: str) -> Path:
        return self._prefix.with_name(f"{self._prefix.name}-{config.replace('/', '-')}.arrow")

    def _opened(self, config: str) -> tuple[Path, pa.OSFile, pa.ipc.RecordBatchFileWriter]:
        temporary = temporary_path(self._path(config))  # since two nodes may be given the same shard
        raw = pa.OSFile(str(temporary), "wb")
        return temporary, raw, pa.ipc.new_file(raw, self._schemas[config], options=self._options)


def _pieces(table: pa.Table) -> Iterator[pa.Table]:
    rows = max(1, min(_CHECK_ROWS, table.num_rows * GROUP_BYTES // max(table.nbytes, 1)))
    for start in range(0, table.num_rows, rows):
        yield table.slice(start, rows)


class Span(NamedTuple):
    """Batches `first` to before `last` of a file of rows."""

    path: Path
    first: int
    last: int


class Group(NamedTuple):
    """The rows of a row group, in order, and their bytes in memory."""

    spans: tuple[Span, ...]
    memory: int

    @property
    def single(self) -> bool:
        """Whether all rows came in one batch."""
        return sum(span.last - span.first for span in self.spans) == 1


def groups(files: Iterable[RowFile]) -> Iterator[Group]:
    """Yield the row groups of a config: as soon as `GROUP_BYTES` are together."""
    spans: list[Span] = []
    memory = 0
    for file in files:
        first = 0
        for place, (_, size) in enumerate(file.pieces.tolist(), 1):
            memory += size
            if memory >= GROUP_BYTES:
                yield Group((*spans, Span(file.path, first, place)), memory)
                spans, memory, first = [], 0, place
        if first < len(file.pieces):
            spans.append(Span(file.path, first, len(file.pieces)))
    if spans:
        yield Group(tuple(spans), memory)


@dataclass(frozen=True)
class FileTask:
    """A file to write.

    Attributes:
        path: of the file.
        schema: of its rows.
        groups: its row groups.
        folder: of the version.
    """

    path: Path
    schema: pa.Schema
    groups: tuple[Group, ...]
    folder: Path


class WrittenFile(NamedTuple):
    """A written file: its entry in the manifest, and the bytes of its rows as Arrow tables."""

    entry: FileEntry
    memory: int


def write_file(task: FileTask) -> WrittenFile:
    """Write a Parquet file of a version."""
    memory = rows = 0
    with replacing(task.path) as temporary, writer(temporary, task.schema) as file:
        for group in task.groups:
            table = _read(group, task.schema)
            # As they were made, which counts what a table of a single batch brought along.
            memory += group.memory if group.single else table.nbytes
            rows += table.num_rows
            write_groups(file, table)
    return WrittenFile(FileEntry.of(task.folder, task.path, rows), memory)


class GroupSize(NamedTuple):
    """The bytes that a row group takes in a file, and those of them that the file shows as soon as it is written."""

    bytes: int
    shown: int


def group_size(task: FileTask) -> GroupSize:
    """Return the size of a single row group."""
    with tempfile.TemporaryDirectory(dir=task.path.parent) as folder:
        path = Path(folder) / task.path.name
        with writer(path, task.schema) as file:
            for group in task.groups:
                write_groups(file, _read(group, task.schema))
            shown = path.stat().st_size - len(_MAGIC)
        metadata = pq.read_metadata(path)
    row_groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    chunks = [group.column(number) for group in row_groups for number in range(group.num_columns)]
    return GroupSize(sum(chunk.total_compressed_size for chunk in chunks), shown)


def _read(group: Group, schema: pa.Schema) -> pa.Table:
    batches: list[pa.RecordBatch] = []
    for span in group.spans:
        with pa.OSFile(str(existing(span.path)), "rb") as raw, pa.ipc.open_file(raw) as file:
            batches += [file.get_batch(place) for place in range(span.first, span.last)]
    return pa.Table.from_batches(batches, schema).combine_chunks()


@dataclass
class VersionWriter:
    """Writes the configs of a version, in files of bounded size, from rows that are on disk.

    Attributes:
        folder: the temporary folder.
        schemas: by config and split (`sft_stage1/train`).
        rows: by config and split.
        terms: rows by config, source and licence.
    """

    folder: Path
    schemas: Mapping[str, pa.Schema]
    rows: dict[str, int] = field(default_factory=dict)
    terms: Terms = field(default_factory=Counter)
    _memory: Counter[str] = field(default_factory=Counter)
    _files: dict[str, list[RowFile]] = field(default_factory=dict)
    _appended: int = 0

    def __post_init__(self) -> None:
        self.rows_folder.mkdir(parents=True)

    @property
    def rows_folder(self) -> Path:
        """Where rows wait until their files are written."""
        return self.folder / ROWS_FOLDER

    def add(self, rows: Rows) -> None:
        """Take rows that stand in `rows_folder`; those of a config come in the order of these calls."""
        for config, file in rows.files.items():
            self._files.setdefault(config, []).append(file)
            self.rows[config] = self.rows.get(config, 0) + file.rows
        self.terms += rows.terms

    def append(self, config: str, table: pa.Table) -> None:
        """Add rows that this process has made."""
        rows = RowWriter(self.rows_folder / f"own{self._appended}", self.schemas)
        self._appended += 1
        rows.append(config, table)
        self.add(rows.close())

    def contents(self) -> dict[str, Contents]:
        """Return what each config and split holds, once the files are written."""
        return {name: Contents(self.schemas[name], rows, self._memory[name]) for name, rows in self.rows.items()}

    def close(self, tasks: TaskMap = run_here) -> list[FileEntry]:
        """Write all files, a task each, and return the manifest's entry of each."""
        planned = [(config, files) for config in sorted(self._files) for files in self._planned(config, tasks)]
        written = tasks(write_file, [task for _, task in planned])
        listed = []
        for (config, _), (entry, memory) in zip(planned, written, strict=True):
            self._memory[config] += memory
            listed.append(entry)
        shutil.rmtree(self.rows_folder)
        for abandoned in self.folder.rglob(".*.parquet.*"):  # of a task that was given up and done again
            abandoned.unlink()
        return listed

    def _planned(self, config: str, tasks: TaskMap) -> list[FileTask]:
        """Return the files of a config: each ends with the row group that makes it larger than `MAX_FILE_BYTES`."""
        path = self.folder / config
        path.parent.mkdir(parents=True, exist_ok=True)
        found = tuple(groups(self._files[config]))
        files = [found]
        # Compressed rows are never larger: only where they may not fit into one file, sizes are measured.
        if sum(group.memory for group in found) > MAX_FILE_BYTES:
            trials = [
                FileTask(self.rows_folder / f"{path.name}-{place}", self.schemas[config], (group,), self.folder)
                for place, group in enumerate(found)
            ]
            files = _cut(found, tasks(group_size, trials))
        named = [f"{path.name}-{number:05d}-of-{len(files):05d}.parquet" for number in range(len(files))]
        return [
            FileTask(path.with_name(name), self.schemas[config], part, self.folder)
            for name, part in zip(named, files, strict=True)
        ]


def _cut(found: Sequence[Group], sizes: Iterable[GroupSize]) -> list[tuple[Group, ...]]:
    files: list[tuple[Group, ...]] = []
    part: list[Group] = []
    written = len(_MAGIC)
    for group, size in zip(found, sizes, strict=True):
        part.append(group)
        # What the file shows decides, as for one that is written in a single go.
        if written + size.shown > MAX_FILE_BYTES:
            files.append(tuple(part))
            part, written = [], len(_MAGIC)
        else:
            written += size.bytes
    return [*files, tuple(part)] if part else files
