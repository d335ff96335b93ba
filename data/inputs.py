"""Rows that a user brings: JSONL (`.gz`, `.zst`), Parquet, or hub data sets, with a field map.

Nothing is skipped in silence: a line that can't be read comes back as `Unreadable`, with its place.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from proofmill.data import exact_json
from proofmill.data.errors import InputError

Row = dict[str, Any]
HUB = "hf://"
_COMPRESSION = {".gz": "gzip", ".zst": "zstd", ".bz2": "bz2"}


@dataclass(frozen=True, slots=True)
class Located:
    """A row and where it stands, for messages: `file.jsonl:12`."""

    where: str
    row: Row


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A row that could not be read."""

    where: str
    why: str


def read(source: str, *, split: str = "train", config: str | None = None) -> Iterator[Located | Unreadable]:
    """Streams the rows of a file or of a hub data set (`hf://user/name`).

    Raises:
        InputError: the file is not there, or of a kind that can't be read.
    """
    if source.startswith(HUB):
        return _read_hub(source.removeprefix(HUB), config, split, None)
    path = local_file(source)
    return _read_parquet(path) if path.suffix == ".parquet" else _read_jsonl(path)


def local_file(source: str) -> Path:
    """The path of a file that can be read.

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
    """Streams a data set by hub id, or from a folder that `load_dataset` understands."""
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
    """A JSONL file in blocks of whole lines of about `size` bytes, decompressed.

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
        if number == 1 and not parts:
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
    """One line of a JSONL file as a row."""
    try:
        row = exact_json.loads(line)
    except ValueError as error:
        return _with_missing(line, where) or Unreadable(where, str(error))
    return Located(where, row) if isinstance(row, dict) else Unreadable(where, "the line is not a JSON object")


class Rewritten(Located):
    """A row whose line is no JSON as it stands."""


def _with_missing(line: bytes, where: str) -> Rewritten | None:
    """The row of a line that is JSON but for NaN and infinities, as many tools write what is missing."""
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
    from proofmill.data.shards import batches  # slow to import, and most files are JSONL

    number = 0
    try:
        for table in batches(path, rows=1024):
            for row in table.to_pylist():
                number += 1
                yield Located(f"{path}: row {number}", row)
    except (OSError, pa.ArrowException) as error:
        raise InputError(
            f"{path.name} is not a readable Parquet file: {error}", where=str(path), remedy="write it again"
        ) from error


def _read_hub(name: str, config: str | None, split: str, revision: str | None) -> Iterator[Located | Unreadable]:
    import datasets
    from huggingface_hub.errors import HfHubHTTPError

    try:
        rows = datasets.load_dataset(name, config, split=split, revision=revision, streaming=True)
        for number, row in enumerate(rows, 1):
            yield Located(f"{name} {split} row {number}", dict(row))
    except (OSError, ValueError, HfHubHTTPError, datasets.exceptions.DatasetsError) as error:
        raise InputError(
            f"The data set {name!r} can't be read: {str(error).splitlines()[0]}",
            where=f"config {config or 'default'}, split {split}",
            remedy="check name, config and split, `hf auth login` for a gated one, and the network",
        ) from error


def apply_map(located: Located, fields: Mapping[str, str]) -> Iterator[Row]:
    """Renames a row's fields: `{"prompt": "question", "response": "solutions[]"}`.

    Fields without a mapping keep their name. A field that ends in `[]` is a list: the row becomes one row an
    item, and other fields mapped with `[]` are walked alongside; the lists themselves don't stay in the rows.
    Dots reach into objects: `meta.answer`.

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
    """Names of the list columns that a map unrolls; one inside an object has its object's name left alone."""
    return {theirs.removesuffix("[]") for theirs in fields.values() if theirs.endswith("[]")}


def _reach(located: Located, path: str) -> Any:
    value: Any = located.row
    if path in located.row:
        return located.row[path]
    for part in path.split("."):
        if not isinstance(value, dict) or part not in value:
            have = ", ".join(sorted(map(str, located.row))) or "no fields"
            raise InputError(
                f"The field '{path}' is missing.",
                where=located.where,
                remedy=f"this row has: {have}; mend the map",
            )
        value = value[part]
    return value
