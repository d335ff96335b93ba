"""Rows written for a user, as they come: JSONL (`.gz`, `.zst`) or Parquet, by the file's name.

A file appears under its name only when it is whole.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import orjson
import pyarrow as pa

from proofmill.data.errors import InputError, UsageError
from proofmill.data.files import atomic, check_writable
from proofmill.data.sizes import characters

if TYPE_CHECKING:
    import pyarrow.parquet as pq

Row: TypeAlias = dict[str, Any]

KINDS = (".jsonl", ".jsonl.gz", ".jsonl.zst", ".parquet")
_COMPRESSION = {".gz": "gzip", ".zst": "zstd"}
_INFER_ROWS = 4096  # rows whose values decide the types of a Parquet file, and rows of its groups
_INFER_CHARACTERS = 32 << 20  # the same by their text
_INFER_CALLS = 64  # calls of `write_rows` after which the rows so far must do


class RowWriter(Protocol):
    """An open file of rows."""

    takes_lines: bool
    """Whether `write_lines` works; then it is the fast way."""

    def write_lines(self, lines: bytes) -> None:
        """Appends rows that are JSON objects already, each with its newline."""

    def write_rows(self, rows: Sequence[Row]) -> None:
        """Appends rows.

        Raises:
            InputError: a row doesn't fit the columns of a Parquet file.
        """


def check_out(path: Path) -> None:
    """Refuses a file that could not be written, before any work is done.

    Raises:
        UsageError: its extension is of no known kind, or its folder is not there or can't be written.
    """
    if not path.name.endswith(KINDS):
        raise UsageError(
            f"{path.name!r} doesn't say in which format to write.",
            where="--out",
            remedy=f"end it in {', '.join(KINDS)}",
        )
    if not path.parent.is_dir():
        raise UsageError(
            f"There is no folder {str(path.parent)!r}.", where="--out", remedy="make it, or choose another"
        )
    if path.is_dir():
        raise UsageError(f"{str(path)!r} is a folder.", where="--out", remedy="name a file")
    check_writable(path.parent, "make the folder writable for you, or choose another one with --out")


@contextmanager
def open_rows(path: Path, added: pa.Schema, known: pa.Schema | None = None) -> Iterator[RowWriter]:
    """A writer for `path`, which is put in place at the end, or not at all on an error.

    Args:
        path: the file; its extension chooses the format.
        added: columns that a command adds; a Parquet file has them always and in these types.
        known: the other columns of a Parquet file; None: inferred from the first rows.
    """
    with atomic(path) as temporary:
        if path.suffix == ".parquet":
            table_writer = _TableWriter(temporary, added, known)
            yield table_writer
            table_writer.close()
            return
        with pa.OSFile(str(temporary), "wb") as raw:
            kind = _COMPRESSION.get(path.suffix)
            stream = pa.CompressedOutputStream(raw, kind) if kind else raw
            yield _LineWriter(stream)
            if kind:
                stream.close()


def encode(row: Row) -> bytes:
    """A row as a JSON object; values that JSON has no form for become text."""
    try:
        return orjson.dumps(row, default=_as_json, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS)
    except orjson.JSONEncodeError:  # an integer of more than 64 bits, or half a surrogate pair
        return json.dumps(row, default=_as_json, separators=(",", ":")).encode()


def _as_json(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, (set, tuple)):
        return list(value)
    return str(value)


class _LineWriter:
    takes_lines = True

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write_lines(self, lines: bytes) -> None:
        self._stream.write(lines)

    def write_rows(self, rows: Sequence[Row]) -> None:
        self._stream.write(b"".join(encode(row) + b"\n" for row in rows))


class _TableWriter:
    """Rows gathered into row groups; the first ones decide the types that nobody has stated."""

    takes_lines = False

    def __init__(self, path: Path, added: pa.Schema, known: pa.Schema | None) -> None:
        self._path, self._added = path, added
        self._schema = None if known is None else _with(known, added)
        self._file: pq.ParquetWriter | None = None
        self._waiting: list[Row] = []
        self._calls = self._size = 0
        self._written = 0

    def write_lines(self, lines: bytes) -> None:
        self.write_rows([orjson.loads(line) for line in lines.splitlines()])

    def write_rows(self, rows: Sequence[Row]) -> None:
        self._waiting.extend(rows)
        self._calls += 1
        self._size += characters(rows)
        if len(self._waiting) >= _INFER_ROWS or self._calls >= _INFER_CALLS or self._size >= _INFER_CHARACTERS:
            self._flush()

    def close(self) -> None:
        self._flush()
        if self._file is not None:
            self._file.close()

    def _flush(self) -> None:
        from proofmill.data.shards import write_groups, writer  # imports pyarrow.parquet, which lines don't need

        if self._schema is None:
            self._schema = _with(_inferred(self._waiting, self._added), self._added)
        if self._file is None:
            self._file = writer(self._path, self._schema)
        write_groups(self._file, self._table(self._schema))
        self._written += len(self._waiting)
        self._waiting, self._calls, self._size = [], 0, 0

    def _table(self, schema: pa.Schema) -> pa.Table:
        strange = {name for row in self._waiting for name in row} - set(schema.names)
        if strange:
            raise self._misfit(f"the columns {', '.join(sorted(map(str, strange)))} were not there before")
        columns = [self._column(field) for field in schema]
        return pa.Table.from_arrays(columns, schema=schema)

    def _column(self, field: pa.Field) -> pa.Array:
        values = [row.get(field.name) for row in self._waiting]
        try:
            if (pa.types.is_nested(field.type) and not pa.types.is_map(field.type)) or pa.types.is_integer(field.type):
                found = pa.array(values).type
                if not _covers(field.type, found):
                    raise self._misfit(f"the column {field.name!r} is of type {field.type}, its values of {found}")
            return pa.array(values, field.type)
        except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
            raise self._misfit(f"the column {field.name!r} is of type {field.type}: {error}") from error

    def _misfit(self, why: str) -> InputError:
        last = self._written + len(self._waiting)
        return InputError(
            f"A row doesn't fit the columns of the Parquet file: {why}.",
            where=f"rows {self._written + 1} to {last} of the output",
            remedy="write .jsonl (or .jsonl.zst), which takes rows of any shape",
        )


def _with(known: pa.Schema, added: pa.Schema) -> pa.Schema:
    """The known columns that are not written anew, then the added ones."""
    return pa.schema([*(field for field in known if field.name not in added.names), *added])


def _inferred(rows: Iterable[Row], added: pa.Schema) -> pa.Schema:
    """Types by the values; a column without any becomes text."""
    columns: dict[str, list[Any]] = {}
    rows = list(rows)
    for row in rows:
        for name in row:
            columns.setdefault(name, [])
    fields = []
    for name in columns:
        if name in added.names:
            continue
        try:
            kind = pa.array([row.get(name) for row in rows]).type
        except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
            raise InputError(
                f"The column {name!r} has values of several types: {error}.",
                where=f"the first {len(rows)} rows",
                remedy="write .jsonl (or .jsonl.zst), which takes rows of any shape",
            ) from error
        fields.append(pa.field(name, _stated(kind)))
    return pa.schema(fields)


def _stated(kind: pa.DataType) -> pa.DataType:
    """A type that a file can hold: what is known to be null only becomes text."""
    if pa.types.is_null(kind):
        return pa.string()
    if pa.types.is_list(kind):
        return pa.list_(_stated(kind.value_type))
    if pa.types.is_struct(kind):
        return pa.struct([(field.name, _stated(field.type)) for field in kind]) if kind.num_fields else pa.string()
    return kind


def _covers(wide: pa.DataType, narrow: pa.DataType) -> bool:
    """Whether `wide` takes all that `narrow` holds. Arrow itself leaves out unknown fields and cuts fractions off."""
    if pa.types.is_struct(wide) and pa.types.is_struct(narrow):
        names = {field.name for field in wide}
        return all(field.name in names and _covers(wide.field(field.name).type, field.type) for field in narrow)
    if hasattr(wide, "value_type") and hasattr(narrow, "value_type"):
        return _covers(wide.value_type, narrow.value_type)
    return not (pa.types.is_integer(wide) and (pa.types.is_floating(narrow) or pa.types.is_boolean(narrow)))
