"""An append-only file of finished rows: what an engine said is safe before its shard is complete.

A crash may tear the last line. Rows up to it were promised, and are read; the rest is cut off and done again.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import orjson

from proofmill.data.files import sync, writing

Row = dict[str, Any]


class Journal:
    """Append-only JSON lines; `append` returns before the bytes are safe, `flush` makes them so."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("ab")

    def append(self, row: Row) -> None:
        """Adds a row."""
        with writing(self.path):
            self._file.write(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE))

    def flush(self) -> None:
        """Forces what was appended to disk."""
        with writing(self.path):
            self._file.flush()
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Flushes and closes; may be called again."""
        if not self._file.closed:
            try:
                self.flush()
            finally:
                with writing(self.path):
                    self._file.close()
            sync(self.path.parent)


def read_journal(path: Path, names: Iterable[str]) -> Iterator[Row]:
    """Yields the complete rows of a journal; what follows the first torn line was never promised to anyone.

    Args:
        path: the journal.
        names: the keys that each row has.
    """
    yield from (row for row, _ in _complete_rows(path, names))


def reopened(path: Path, names: Iterable[str]) -> tuple[Journal, list[Row]]:
    """Return a journal to append to, its torn tail cut off, and the rows that are already in it."""
    rows, end = [], 0
    if path.exists():
        for row, end in _complete_rows(path, names):  # noqa: B007 (the last one counts)
            rows.append(row)
        with writing(path):
            os.truncate(path, end)
    return Journal(path), rows


def _complete_rows(path: Path, names: Iterable[str]) -> Iterator[tuple[Row, int]]:
    """Each complete row, and the byte at which it ends."""
    keys, end = set(names), 0
    with path.open("rb") as file:
        for line in file:
            try:
                row = orjson.loads(line) if line.endswith(b"\n") else None
            except orjson.JSONDecodeError:
                row = None
            if not isinstance(row, dict) or set(row) != keys:
                return
            end += len(line)
            yield row, end
