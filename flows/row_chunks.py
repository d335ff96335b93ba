"""A user's rows in chunks: cut in the main process, read and written back in workers.

The rows of a chunk keep their bytes where they can: a JSONL line is written back as it stood, with the added columns
behind, so that no number or unknown field changes on the way.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple, TypeVar

import orjson
import pyarrow as pa

from proofmill.data.errors import InputError
from proofmill.data.rows_io import (
    HUB,
    Located,
    Rewritten,
    Row,
    Unreadable,
    apply_map,
    batched,
    encode,
    line_blocks,
    local_file,
    parse_line,
    read,
)
from proofmill.data.rows_io import walked_lists as walked

In = TypeVar("In")
Out = TypeVar("Out")

CHUNK_BYTES = 256 << 10
_CHUNK_ROWS, _CHUNK_CHARACTERS = 512, 1 << 20  # of rows that don't come as lines


@dataclass(frozen=True, slots=True)
class Source:
    """Where rows come from and how their fields are called.

    Attributes:
        name: a file, or `hf://user/name`.
        fields: our names to theirs; `[]` behind a list that becomes one row an item.
        domain: of rows that name none.
        split: of a hub data set.
        limit: rows read at most.
    """

    name: str
    fields: Mapping[str, str]
    domain: str | None = None
    split: str = "train"
    limit: int | None = None


class Chunk(NamedTuple):
    """Some consecutive rows, cheap to send to another process.

    Attributes:
        number: of the chunk, from 0.
        place: the file or data set, for messages.
        first: number of the first line or row, from 1.
        data: whole lines of JSONL, or rows that have been read.
    """

    number: int
    place: str
    first: int
    data: bytes | list[Located | Unreadable]

    def read(self) -> Iterator[tuple[bytes | None, Located | Unreadable]]:
        """Yield the rows, each with the line that it came from, if any."""
        if isinstance(self.data, list):
            yield from ((None, item) for item in self.data)
            return
        for number, line in enumerate(self.data.split(b"\n"), self.first):
            line = line.strip()
            if line:
                item = parse_line(line, f"{self.place}:{number}")
                yield (None if isinstance(item, Rewritten) else line), item

    def parts(self) -> Iterator[Chunk]:
        """Yield the same rows, one a chunk."""
        if isinstance(self.data, list):
            for number, item in enumerate(self.data, self.first):
                yield Chunk(self.number, self.place, number, [item])
            return
        for number, line in enumerate(self.data.split(b"\n"), self.first):
            if line.strip():
                yield Chunk(self.number, self.place, number, line)


def chunks(source: Source, size: int = CHUNK_BYTES) -> Iterator[Chunk]:
    """Yield the rows of a source in order, in chunks of about `size` bytes where they are lines.

    Raises:
        InputError: it is not there, of an unknown kind, or damaged.
    """
    if source.name.startswith(HUB) or local_file(source.name).suffix == ".parquet":
        rows = islice(read(source.name, split=source.split), source.limit)
        first = 1
        for number, batch in enumerate(batched(rows, _CHUNK_ROWS, _CHUNK_CHARACTERS)):
            yield Chunk(number, source.name, first, batch)
            first += len(batch)
        return
    path = local_file(source.name)
    blocks = line_blocks(path, size)
    for number, (first, data) in enumerate(_limited(blocks, source.limit)):
        yield Chunk(number, str(path), first, data)


def _limited(blocks: Iterator[tuple[int, bytes]], limit: int | None) -> Iterator[tuple[int, bytes]]:
    """Yield the blocks up to the limit of non-empty lines."""
    if limit is None:
        yield from blocks
        return
    left = limit
    for first, data in blocks:
        lines = data.split(b"\n")
        held = [number for number, line in enumerate(lines, 1) if line.strip()][:left]
        left -= len(held)
        yield first, b"\n".join(lines[: held[-1]] if held else [])
        if left <= 0:
            return


def columns(source: Source) -> pa.Schema | None:
    """Return the columns of a Parquet source as rows of its chunks have them; None for other kinds."""
    if source.name.startswith(HUB) or local_file(source.name).suffix != ".parquet":
        return None
    import pyarrow.parquet as pq  # slow to import, and workers don't need it

    try:
        schema: pa.Schema = pq.read_schema(local_file(source.name))
    except (OSError, pa.ArrowException) as error:
        raise InputError(
            f"{source.name} is not a readable Parquet file: {error}", where=source.name, remedy="write it again"
        ) from error
    lists = walked(source.fields)
    if any("." in name and name not in schema.names for name in lists):
        return None  # a list inside an object: the rows tell
    items = [
        pa.field(ours, _item_type(schema, theirs[:-2])) for ours, theirs in source.fields.items() if theirs[-2:] == "[]"
    ]
    unrolled = {field.name for field in items}
    kept = [field for field in schema if field.name not in lists and field.name not in unrolled]
    return pa.schema([*kept, *items])


def _item_type(schema: pa.Schema, name: str) -> pa.DataType:
    if name not in schema.names:
        return pa.string()  # the first row says that the field is missing
    kind = schema.field(name).type
    return kind.value_type if pa.types.is_list(kind) or pa.types.is_large_list(kind) else kind


class View(NamedTuple):
    """One row as a command sees it.

    Attributes:
        row: the fields under our names; empty where `fault` is set.
        line: the line it came from, where it can be written back as it stands.
        kept: the row without our names, where `line` is None.
        where: its place, for messages.
        fault: why the row can't be used.
    """

    row: Row
    line: bytes | None
    kept: Row
    where: str
    fault: str | None = None


def views(chunk: Chunk, fields: Mapping[str, str], added: frozenset[str], *, as_lines: bool) -> Iterator[View]:
    """Yield the rows of a chunk under our names; one that can't be read or mapped is a row with a fault.

    Args:
        chunk: the rows.
        fields: the map.
        added: columns that will be written; a row's own of these names give way.
        as_lines: whether lines may be written back as they stand.
    """
    lists = walked(fields)
    for line, item in chunk.read():
        if isinstance(item, Unreadable):
            raw = {"line": line.decode(errors="replace")} if line and as_lines else {}
            yield View({}, None, raw, item.where, f"unreadable: {item.where} {item.why}")
            continue
        row = item.row
        whole = line if as_lines and not lists and added.isdisjoint(row) else None
        kept = row if whole is None else {}
        if added and not added.isdisjoint(row):
            kept = {name: value for name, value in row.items() if name not in added}
        if not fields:
            yield View(row, whole, kept, item.where)
            continue
        try:
            mapped = list(apply_map(item, fields))
        except InputError as error:
            yield View({}, whole, kept, item.where, error.what)
            continue
        if not lists:
            yield View(mapped[0], whole, kept, item.where)
            continue
        yield from _unrolled(mapped, View({}, None, kept, item.where), fields)


def _unrolled(mapped: list[Row], view: View, fields: Mapping[str, str]) -> Iterator[View]:
    lists = walked(fields)
    kept = {name: value for name, value in view.kept.items() if name not in lists}
    if not mapped:
        yield view._replace(kept=kept, fault=f"empty list: {', '.join(sorted(lists))}")
    items = [ours for ours, theirs in fields.items() if theirs.endswith("[]")]
    for row in mapped:
        yield view._replace(row=row, kept=kept | {ours: row[ours] for ours in items})


def joined(view: View, added: Row) -> bytes:
    """Return the row with its added columns as one line of JSON."""
    if view.line is None:
        return encode(view.kept | added) + b"\n"
    head = view.line[:-1].rstrip()
    return head + (b"" if head == b"{" else b",") + orjson.dumps(added)[1:] + b"\n"


def first_row(chunk: Chunk, fields: Mapping[str, str]) -> tuple[str, Row] | None:
    """Place and fields of the first row that can be read, under our names.

    Raises:
        InputError: a field of the map is not there.
    """
    for _, item in chunk.read():
        if isinstance(item, Located):
            rows = list(apply_map(item, fields))
            if rows:
                return item.where, rows[0]
    return None


def in_order(function: Callable[[In], Out], items: Iterable[In], workers: int) -> Iterator[Out]:
    """Yield the results of a function that mostly waits for worker processes, in the order of the items.

    Items are read ahead by twice the number of workers, so that these never wait and memory stays bounded.
    """
    ahead = 2 * workers
    window: deque[Future[Out]] = deque()
    threads = ThreadPoolExecutor(ahead, thread_name_prefix="rows")
    try:
        for item in items:
            window.append(threads.submit(function, item))
            if len(window) > ahead:
                yield window.popleft().result()
        while window:
            yield window.popleft().result()
    finally:  # not waiting: what is still at work ends when its worker processes are killed
        threads.shutdown(wait=False, cancel_futures=True)
