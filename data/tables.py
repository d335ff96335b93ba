"""Read and write tables as Parquet files."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from proofmill.data.errors import StoreError
from proofmill.data.files import atomic, writing

ROW_GROUP_BYTES = 64 << 20  # well under the 100 MB that the hub's viewer reads at once
BATCH_ROWS, BATCH_BYTES = 4096, 16 << 20
_OPTIONS: dict[str, Any] = {
    "compression": "zstd",
    "write_page_index": True,
    # Pages whose rows did not change have the same bytes in the next version, so the hub stores them once. With half of
    # Arrow's default sizes files grow by 4 %, and a push after a few changed rows sends a third less
    # (tests/benchmarks/bench_pages.py).
    "use_content_defined_chunking": {"min_chunk_size": 128 << 10, "max_chunk_size": 512 << 10},
    # One new value changes a whole dictionary page, so only columns of few values get one, not ids and texts.
    "dictionary_pagesize_limit": 64 << 10,
    "store_schema": True,
}


def write_table(path: Path, table: pa.Table) -> None:
    """Write one table atomically, in row groups of bounded size."""
    with atomic(path) as temporary, writer(temporary, table.schema) as file:
        write_groups(file, table)


def write_groups(writer: pq.ParquetWriter, table: pa.Table) -> None:
    """Append a table in row groups of at most `ROW_GROUP_BYTES`."""
    if not table.num_rows:
        return
    rows = max(1, int(table.num_rows * ROW_GROUP_BYTES / max(table.nbytes, 1)))
    writer.write_table(table, row_group_size=rows)


class _Sink(io.RawIOBase):
    """A file that raises write errors late, since with content-defined chunking Arrow aborts the process on them."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("wb")
        self._error: OSError | None = None

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        if self._error is None:
            try:
                self._file.write(data)
            except OSError as error:
                self._error = error
        return memoryview(data).nbytes

    def flush(self) -> None:
        """Do nothing: `close` flushes, and may raise."""

    def check(self) -> None:
        """Raise the error of an earlier write, if there was one."""
        if self._error is not None:
            with writing(self._path):
                raise self._error

    def close(self) -> None:
        if not self.closed:
            super().close()
            with writing(self._path):
                self._file.close()
        self.check()


class _Writer(pq.ParquetWriter):  # type: ignore[misc]
    def __init__(self, path: Path, schema: pa.Schema) -> None:
        with writing(path):
            self._sink = _Sink(path)
        # Column descriptions stay out of the files: rewording one must not change the bytes of equal rows.
        plain = pa.schema([field.remove_metadata() for field in schema], metadata=schema.metadata)
        super().__init__(self._sink, plain, **_OPTIONS)

    def write_table(self, table: pa.Table, row_group_size: int | None = None) -> None:
        super().write_table(table, row_group_size)
        self._sink.check()

    def close(self) -> None:
        super().close()
        self._sink.close()


def writer(path: Path, schema: pa.Schema) -> pq.ParquetWriter:
    """Return an open Parquet writer with the project's options; the caller renames the file.

    Raises:
        StoreError: by `write_table` and `close`, when the disk is full or the folder can't be written.
    """
    return _Writer(path, schema)


def read_table(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """Return the table of one file.

    Raises:
        StoreError: the file is missing or damaged.
    """
    try:
        return pq.read_table(path, columns=list(columns) if columns is not None else None, partitioning=None)
    except (OSError, pa.ArrowException) as error:
        raise StoreError(
            "A stored file can't be read.",
            where=f"{path}: {error}",
            remedy="delete this file and run the same command again, which makes a new one",
        ) from error


def batches(path: Path, columns: Sequence[str] | None = None, rows: int = BATCH_ROWS) -> Iterator[pa.Table]:
    """Yield a file in tables of at most `rows` rows and about `BATCH_BYTES`."""
    with pq.ParquetFile(path) as file:
        names = None if columns is None else list(columns)
        for batch in file.iter_batches(min(rows, _fitting(file.metadata, names)), columns=names):
            yield pa.Table.from_batches([batch]).replace_schema_metadata(file.schema_arrow.metadata)


def _fitting(file: pq.FileMetaData, names: list[str] | None) -> int:
    """Return how many rows of these columns take about `BATCH_BYTES`, by their mean size in the file."""
    groups = [file.row_group(number) for number in range(file.num_row_groups)]
    chunks = [group.column(number) for group in groups for number in range(group.num_columns)]
    selected = [chunk for chunk in chunks if names is None or chunk.path_in_schema.partition(".")[0] in names]
    rows: int = file.num_rows * BATCH_BYTES // max(1, sum(chunk.total_uncompressed_size for chunk in selected))
    return max(1, rows)


def from_rows(rows: Iterable[dict[str, Any]], schema: pa.Schema) -> pa.Table:
    """Return a table of row mappings in a schema; missing keys are null, keys that the schema lacks are left out."""
    rows = list(rows)
    columns = [pa.array([row.get(field.name) for row in rows], field.type) for field in schema]
    return pa.Table.from_arrays(columns, schema=schema)


def conform(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Return the table in another schema: columns in its order and cast, absent ones null."""
    columns = [
        table[field.name].cast(field.type) if field.name in table.column_names else pa.nulls(table.num_rows, field.type)
        for field in schema
    ]
    return pa.Table.from_arrays(columns, schema=schema)
