"""The work of a worker process for `proofmill dedup`: sign the texts of a chunk of rows into a file of their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import orjson
import pyarrow as pa
import xxhash

from proofmill.data.rows_io import Row
from proofmill.filters.near_duplicates.minhash import DedupOptions, signatures
from proofmill.filters.rolling_hash import U64, strings_to_arrow, to_arrow
from proofmill.flows.row_chunks import Chunk, Source, views
from proofmill.generators.problems.problem import last_text

TEXT_FIELDS = ("response", "prompt", "text")


@dataclass(frozen=True, slots=True)
class SignTask:
    """A chunk to sign.

    Attributes:
        chunk: the rows.
        fields: our names to theirs.
        text: the field whose texts are compared.
        options: thresholds, shingles, permutations.
        path: the signature file to write.
        start: place of its first row in the chunk that it is a part of.
    """

    chunk: Chunk
    fields: Mapping[str, str]
    text: str
    options: DedupOptions
    path: Path
    start: int = 0


class Signed(NamedTuple):
    """What became of a chunk.

    Attributes:
        paths: its signature files; rows without a text are not in them.
        rows: number of its rows.
        unsigned: why a row has no signature, by its place.
        ids: hashes of the rows' ids; None where a row has none.
    """

    paths: list[Path]
    rows: int
    unsigned: dict[int, str]
    ids: U64 | None


def sign_chunk(task: SignTask) -> Signed:
    """Sign the texts of a chunk into a file of their own."""
    usable = _plain(task) or _checked(task)
    ids = [_id(row.get("id")) for row in usable.rows]
    table = _table(task, usable.texts, usable.rows, [name or "" for name in ids])
    table = table.append_column("place", to_arrow(np.array(usable.places, np.int64)))
    with pa.OSFile(str(task.path), "wb") as raw, pa.ipc.new_file(raw, table.schema) as file:
        file.write_table(table.combine_chunks())
    hashes = (
        None if None in ids else np.array([xxhash.xxh3_64_intdigest(name.encode()) for name in ids if name], np.uint64)
    )
    return Signed([task.path], usable.total, usable.unsigned, hashes)


class _Texts(NamedTuple):
    """What there is to sign in a chunk: the rows that have a text, and their places; `total` is that of all rows."""

    places: Sequence[int]
    texts: list[str]
    rows: list[Row]
    unsigned: dict[int, str]
    total: int


def _plain(task: SignTask) -> _Texts | None:
    """Return the chunk's rows if all are lines with a text under names that need no map; else None."""
    data = task.chunk.data
    if task.fields or isinstance(data, list):
        return None
    try:
        rows = [orjson.loads(line) for line in data.removesuffix(b"\n").split(b"\n")]
        texts = [row[task.text] for row in rows]
        # A whole number of more than 64 bits has become a float here.
        rounded = any(isinstance(row.get(name), float) for row in rows for name in ("id", "problem_id"))
    except (ValueError, TypeError, LookupError, AttributeError):
        return None
    if rounded or not all(isinstance(text, str) for text in texts):
        return None
    return _Texts(range(task.start, task.start + len(rows)), texts, rows, {}, len(rows))


def _checked(task: SignTask) -> _Texts:
    """Return the chunk's rows, read one by one, so that those with a fault are left out and named."""
    found = _Texts([], [], [], {}, 0)
    places: list[int] = []
    stop = task.start
    for place, view in enumerate(views(task.chunk, task.fields, frozenset(), as_lines=True), task.start):
        stop = place + 1
        text = None if view.fault is not None else last_text(view.row.get(task.text))
        if text is None:
            found.unsigned[place] = view.fault or f"{view.where}: no text in {task.text!r}"
            continue
        places.append(place)
        found.texts.append(text)
        found.rows.append(view.row)
    return found._replace(places=places, total=stop - task.start)


def failed_chunk(task: SignTask, detail: str) -> Signed:
    """Return a chunk whose rows can't be signed within the limits."""
    rows = list(views(task.chunk, task.fields, frozenset(), as_lines=True))
    unsigned = {task.start + place: f"{view.where}: {detail}" for place, view in enumerate(rows)}
    return Signed([], len(rows), unsigned, np.empty(0, np.uint64))


def merged(parts: Sequence[Signed]) -> Signed:
    """Return the parts of a chunk as one."""
    ids = [part.ids for part in parts]
    return Signed(
        [path for part in parts for path in part.paths],
        sum(part.rows for part in parts),
        {place: why for part in parts for place, why in part.unsigned.items()},
        None if any(hashes is None for hashes in ids) else np.concatenate([h for h in ids if h is not None]),
    )


def _table(task: SignTask, texts: list[str], rows: list[Row], ids: list[str]) -> pa.Table:
    """Return signatures with what ranks a row and what problem it belongs to."""
    columns: dict[str, pa.Array] = {
        "id": strings_to_arrow(ids),
        "length": to_arrow(np.fromiter(map(len, texts), np.int64, len(texts))),
    }
    if task.options.threshold_within != task.options.threshold_across:
        columns["problem_id"] = pa.array([_problem(row, task.text) for row in rows], pa.string())
    if any("verdict" in row for row in rows):
        columns["verified"] = pa.array([_verified(row.get("verdict")) for row in rows], pa.bool_())
    if any("claim_score" in row for row in rows):
        columns["claim_score"] = pa.array([_number(row.get("claim_score")) for row in rows], pa.float32())
    table = signatures(texts, task.options)
    for name, column in columns.items():
        table = table.append_column(name, column)
    return table


def _id(value: Any) -> str | None:
    if isinstance(value, str) and value:
        return value
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else None


def _problem(row: Row, text: str) -> str | None:
    """Return the problem's id, or a digest of its prompt; None where the prompt itself is compared."""
    if row.get("problem_id") is not None:
        return str(row["problem_id"])
    if text == "prompt" or not row.get("prompt"):
        return None
    return xxhash.xxh3_128_hexdigest(str(row["prompt"]).encode("utf-8", "replace"))


def _verified(verdict: Any) -> bool | None:
    return verdict == "correct" if isinstance(verdict, str) else None


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) else None


def text_field(source: Source, row: Row, wanted: str | None) -> str | None:
    """Return the field whose texts are compared: the requested one, else the first that the row has, or None."""
    known = [wanted] if wanted else TEXT_FIELDS
    return next((name for name in known if name in row or name in source.fields), None)
