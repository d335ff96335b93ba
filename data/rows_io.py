"""Read and write users' rows: JSONL (`.gz`, `.zst`), Parquet, or hub data sets, with a field map.

Nothing is skipped silently: a line that can't be read comes back as `Unreadable`, with its position. A written file
appears under its name only when it is complete.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias, TypeVar

import orjson
import pyarrow as pa

from proofmill.data.errors import InputError, UsageError
from proofmill.data.files import atomic, check_writable, loads_exact

if TYPE_CHECKING:
    import pyarrow.parquet as pq

Row: TypeAlias = dict[str, Any]
Item = TypeVar("Item")

HUB = "hf://"
_COMPRESSION = {".gz": "gzip", ".zst": "zstd", ".bz2": "bz2"}
KINDS = (".jsonl", ".jsonl.gz", ".jsonl.zst", ".parquet")
"""The extensions that a written file may have."""
_INFER_ROWS = 4096  # this many rows decide the types of a Parquet file; they also bound its row groups
_INFER_CHARACTERS = 32 << 20  # or rows with this much text
_INFER_CALLS = 64  # or the rows of this many calls of `write_rows`

# --- reading ------------------------------------------------------------------------------------------


class Located(NamedTuple):
    """A row and its position for messages, such as `file.jsonl:12`."""

    where: str
    row: Row


class Unreadable(NamedTuple):
    """A row that could not be read."""

    where: str
    why: str


def read(source: str, *, split: str = "train", config: str | None = None) -> Iterator[Located | Unreadable]:
    """Stream the rows of a file or of a hub data set (`hf://user/name`).

    Raises:
        InputError: the file is not there, or of a kind that can't be read.
    """
    if source.startswith(HUB):
        return _read_hub(source.removeprefix(HUB), config, split, None)
    path = local_file(source)
    return _read_parquet(path) if path.suffix == ".parquet" else _read_jsonl(path)


def local_file(source: str) -> Path:
    """Return the path of a file that can be read.

    Raises:
        InputError: the file is not there, or of a kind that can't be read.
    """
    path = Path(source).expanduser()
    if not path.is_file():
        raise InputError(f"There is no file {source!r}.", where=str(path.absolute()), remedy="check the path")
    inner = path.with_suffix("") if path.suffix in _COMPRESSION else path
    if path.suffix == ".parquet" or inner.suffix in (".jsonl", ".json", ".ndjson"):
        return path
    raise InputError(
        f"{path.name} is of a kind that can't be read.",
        where=str(path),
        remedy="give .jsonl, .jsonl.gz, .jsonl.zst or .parquet",
    )


def read_hub(
    name: str, *, config: str | None = None, split: str = "train", revision: str | None = None
) -> Iterator[Located | Unreadable]:
    """Stream a data set by hub id, or from a folder that `load_dataset` understands."""
    return _read_hub(name, config, split, revision)


class Block(NamedTuple):
    """Consecutive whole lines of a file.

    Attributes:
        first: number of the first line, from 1.
        data: the lines as they stand, each with its newline (the last line of a file may have none).
    """

    first: int
    data: bytes


def line_blocks(path: Path, size: int = 1 << 20) -> Iterator[Block]:
    """Yield a JSONL file, decompressed, in blocks of whole lines of about `size` bytes.

    Raises:
        InputError: the file is damaged.
    """
    try:
        with pa.OSFile(str(path)) as raw:
            kind = _COMPRESSION.get(path.suffix)
            yield from _whole_lines(pa.CompressedInputStream(raw, kind) if kind else raw, size)
    except OSError as error:
        raise InputError(
            f"{path.name} is damaged: {error}", where=str(path), remedy="fetch or write the file again"
        ) from error


def _whole_lines(stream: Any, size: int) -> Iterator[Block]:
    number = 1
    parts: list[bytes] = []
    while block := stream.read(size):
        if number == 1 and not parts:  # some editors begin a file with a byte-order mark
            block = block.removeprefix(codecs.BOM_UTF8)
        cut = block.rfind(b"\n") + 1
        if cut:
            data = b"".join([*parts, block[:cut]])
            yield Block(number, data)
            number += data.count(b"\n")
            parts = []
        parts.append(block[cut:])
    if rest := b"".join(parts):
        yield Block(number, rest)


def parse_line(line: bytes, where: str) -> Located | Unreadable:
    """Return one line of a JSONL file as a row."""
    try:
        row = loads_exact(line)
    except ValueError as error:
        return _with_missing(line, where) or Unreadable(where, str(error))
    return Located(where, row) if isinstance(row, dict) else Unreadable(where, "the line is not a JSON object")


class Rewritten(Located):
    """A row whose line is not valid JSON, so that it can't be copied to the output as it is."""


def _with_missing(line: bytes, where: str) -> Rewritten | None:
    """Return the row of a line that is JSON except for NaN and infinities, which many tools write for missing
    values.
    """
    if b"NaN" not in line and b"Infinity" not in line:
        return None
    try:
        row = json.loads(line, parse_constant=lambda _: None)
        json.dumps(row, ensure_ascii=False).encode()  # half a surrogate pair can't be written anywhere
    except ValueError:
        return None
    return Rewritten(where, row) if isinstance(row, dict) else None


def _read_jsonl(path: Path) -> Iterator[Located | Unreadable]:
    for block in line_blocks(path):
        for number, line in enumerate(block.data.split(b"\n"), block.first):
            if line.strip():
                yield parse_line(line, f"{path}:{number}")


def _read_parquet(path: Path) -> Iterator[Located | Unreadable]:
    from proofmill.data.tables import batches  # slow to import, and most files are JSONL

    number = 0
    try:
        for table in batches(path, rows=1024):
            for row in table.to_pylist():
                number += 1
                yield Located(f"{path}: row {number}", without_absent(row))
    except (OSError, pa.ArrowException) as error:
        raise InputError(
            f"{path.name} is not a readable Parquet file: {error}", where=str(path), remedy="write it again"
        ) from error


def without_absent(row: Row) -> Row:
    """Return the row of a typed file without the null keys that typing added to its nested objects.

    In Parquet every object of a nested column has the keys of all objects, null where it had none itself.
    """
    return {key: _without_nulls(value) if isinstance(value, dict | list) else value for key, value in row.items()}


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value


def _read_hub(name: str, config: str | None, split: str, revision: str | None) -> Iterator[Located | Unreadable]:
    import datasets
    from huggingface_hub.errors import HfHubHTTPError

    try:
        rows = datasets.load_dataset(name, config, split=split, revision=revision, streaming=True)
        for number, row in enumerate(rows, 1):
            yield Located(f"{name} {split} row {number}", without_absent(dict(row)))
    except (OSError, ValueError, HfHubHTTPError, datasets.exceptions.DatasetsError) as error:
        raise InputError(
            f"The data set {name!r} can't be read: {str(error).splitlines()[0]}",
            where=f"config {config or 'default'}, split {split}",
            remedy="check name, config and split, `hf auth login` for a gated one, and the network",
        ) from error


def apply_map(located: Located, fields: Mapping[str, str]) -> Iterator[Row]:
    """Yield the rows that a field map makes of one row: `{"prompt": "question", "response": "solutions[]"}`.

    Fields without a mapping keep their name. A field that ends in `[]` is a list: each item becomes a row of its own,
    other lists mapped with `[]` are unrolled alongside, and the lists themselves are left out of the rows. Dots reach
    into objects: `meta.answer`.

    Raises:
        InputError: a mapped field is not in the row.
    """
    walked = walked_lists(fields)
    row = {key: value for key, value in located.row.items() if key not in fields and key not in walked}
    lists: dict[str, list[Any]] = {}
    for ours, theirs in fields.items():
        value = _reach(located, theirs.removesuffix("[]"))
        if theirs.endswith("[]"):
            lists[ours] = value if isinstance(value, list) else [value]
        else:
            row[ours] = value
    if not lists:
        yield row
        return
    for index in range(max(map(len, lists.values()))):
        yield row | {ours: items[index] if index < len(items) else None for ours, items in lists.items()}


def walked_lists(fields: Mapping[str, str]) -> set[str]:
    """Return the list columns that a map unrolls; a list in an object is named by its path, and the object stays."""
    return {theirs.removesuffix("[]") for theirs in fields.values() if theirs.endswith("[]")}


def _reach(located: Located, path: str) -> Any:
    value: Any = located.row
    if path in located.row:
        return located.row[path]
    for part in path.split("."):
        if not isinstance(value, dict) or part not in value:
            present = ", ".join(sorted(map(str, located.row))) or "no fields"
            raise InputError(
                f"The field '{path}' is missing.",
                where=located.where,
                remedy=f"this row has: {present}; correct the field map",
            )
        value = value[part]
    return value


# --- batches ------------------------------------------------------------------------------------------


def characters(value: Any) -> int:
    """Return the number of characters of all text inside a JSON value, roughly its size in memory."""
    if isinstance(value, (str, bytes)):
        return len(value)
    if isinstance(value, Mapping):
        return sum(map(characters, value.values()))
    if isinstance(value, (list, tuple)):
        return sum(map(characters, value))
    return 0


def batched(items: Iterable[Item], most: int, most_characters: int) -> Iterator[list[Item]]:
    """Yield items in their order, in lists that end once they hold `most` items or `most_characters` of text.

    Cut by size too, since a trace may have 200 characters or 200,000.
    """
    batch: list[Item] = []
    size = 0
    for item in items:
        batch.append(item)
        size += characters(item)
        if len(batch) >= most or size >= most_characters:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


# --- writing ------------------------------------------------------------------------------------------


class RowWriter(Protocol):
    """An open file of rows."""

    takes_lines: bool
    """Whether `write_lines` works; then it is the fast way."""

    def write_lines(self, lines: bytes) -> None:
        """Append rows that are JSON objects already, each with its newline."""

    def write_rows(self, rows: Sequence[Row]) -> None:
        """Append rows.

        Raises:
            InputError: a row doesn't fit the columns of a Parquet file.
        """


def check_out(path: Path) -> None:
    """Refuse an output file that could not be written, before any work is done.

    Raises:
        UsageError: its extension is unknown, or its folder does not exist or can't be written.
    """
    if not path.name.endswith(KINDS):
        raise UsageError(
            f"The extension of {path.name!r} doesn't name a format to write.",
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
    """Open a writer for `path`; the file appears at the end, or not at all after an error.

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
    """Return a row as a JSON object; values that JSON has no form for become text."""
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
    """Writes rows to Parquet in row groups; the first rows decide the types that no schema states."""

    takes_lines = False

    def __init__(self, path: Path, added: pa.Schema, known: pa.Schema | None) -> None:
        self._path, self._added = path, added
        self._schema = None if known is None else _combined(known, added)
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
        from proofmill.data.tables import write_groups, writer  # imports pyarrow.parquet, which lines don't need

        if self._schema is None:
            self._schema = _combined(_inferred(self._waiting, self._added), self._added)
        if self._file is None:
            self._file = writer(self._path, self._schema)
        write_groups(self._file, self._table(self._schema))
        self._written += len(self._waiting)
        self._waiting, self._calls, self._size = [], 0, 0

    def _table(self, schema: pa.Schema) -> pa.Table:
        unknown = {name for row in self._waiting for name in row} - set(schema.names)
        if unknown:
            raise self._misfit(f"earlier rows don't have the columns {', '.join(sorted(map(str, unknown)))}")
        columns = [self._column(field) for field in schema]
        return pa.Table.from_arrays(columns, schema=schema)

    def _column(self, field: pa.Field) -> pa.Array:
        values = [row.get(field.name) for row in self._waiting]
        try:
            if (pa.types.is_nested(field.type) and not pa.types.is_map(field.type)) or pa.types.is_integer(field.type):
                actual = pa.array(values).type
                if not _covers(field.type, actual):
                    raise self._misfit(f"the column {field.name!r} is of type {field.type}, its values of {actual}")
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


def _combined(known: pa.Schema, added: pa.Schema) -> pa.Schema:
    """Return the known columns that are not written anew, then the added ones."""
    return pa.schema([*(field for field in known if field.name not in added.names), *added])


def _inferred(rows: Iterable[Row], added: pa.Schema) -> pa.Schema:
    """Return a schema inferred from the values; a column without values becomes text."""
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
        fields.append(pa.field(name, _storable(kind)))
    return pa.schema(fields)


def _storable(kind: pa.DataType) -> pa.DataType:
    """Return a type that a file can hold: a column of nulls alone becomes text."""
    if pa.types.is_null(kind):
        return pa.string()
    if pa.types.is_list(kind):
        return pa.list_(_storable(kind.value_type))
    if pa.types.is_struct(kind):
        return pa.struct([(field.name, _storable(field.type)) for field in kind]) if kind.num_fields else pa.string()
    return kind


def _covers(wide: pa.DataType, narrow: pa.DataType) -> bool:
    """Return whether `wide` holds every value of `narrow`; Arrow itself drops unknown fields and cuts off fractions."""
    if pa.types.is_struct(wide) and pa.types.is_struct(narrow):
        names = {field.name for field in wide}
        return all(field.name in names and _covers(wide.field(field.name).type, field.type) for field in narrow)
    if hasattr(wide, "value_type") and hasattr(narrow, "value_type"):
        return _covers(wide.value_type, narrow.value_type)
    return not (pa.types.is_integer(wide) and (pa.types.is_floating(narrow) or pa.types.is_boolean(narrow)))
