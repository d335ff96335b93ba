"""Append-only logs of JSON lines: manifests of runs, journals of samples and of a model's answers."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import orjson

from proofmill.data.errors import StoreError
from proofmill.data.files import remove_folder, replaced, sync, writing
from proofmill.data.objects import object_store

Row = dict[str, Any]


GROUP_SECONDS = 1.0  # what a crash may cost: rows wait at most this long for others to be written with
STORE_GROUP_SECONDS = 2.0  # the same in an object store, where each file is a request
FIRST_SEGMENT = "00000001.jsonl"


class Segments:
    """An append-only log of JSON lines in numbered files, each created once and never written again.

    A number is only created where it is free, which is one operation of the file system or object store. Locks need not
    hold between the hosts that share a folder; this does: of two processes that append to one log, the second to create
    a number finds it taken, and stops. Safe for use by threads.

    Args:
        folder: holds the files; the caller makes it. Where another process has removed it, this one is refused too.
        what: says in an error whose log it is.
    """

    def __init__(self, folder: Path, what: str) -> None:
        self.folder = folder
        self._what = what
        self._store = object_store(folder)
        self._next = 1
        self._waiting: list[bytes] = []
        self._failed: StoreError | None = None
        self._timer: threading.Timer | None = None
        self._guard = threading.Lock()  # of what waits
        self._writing = threading.Lock()  # of the files; rows may be added while a file is written

    def read(self, names: Iterable[str] = ()) -> Iterator[Row]:
        """Yield what the log holds, file by file up to its first torn line; from then on rows are added behind it.

        Read again, it yields what other processes have added.

        Args:
            names: the keys that each row has; none: any.
        """
        for path in sorted(self.folder.glob("*.jsonl")):
            if int(path.stem) >= self._next:
                self._next = int(path.stem) + 1
                yield from read_rows(path, names)

    def take_over(self, names: Iterable[str] = ()) -> Iterator[Row]:
        """Yield what the log holds; once all is read, a process that still adds to it is refused.

        Raises:
            StoreError: it can't be written, or another process has removed it.
        """
        while True:
            yield from self.read(names)
            with self._writing:
                if self._create(b""):
                    return
                self._check()
            if self._store:
                self._store.pull(self.folder)

    def append(self, row: Row) -> None:
        """Add a row; it is on disk within `GROUP_SECONDS`, in an object store within `STORE_GROUP_SECONDS`.

        Raises:
            StoreError: earlier rows could not be written, or another process goes on with this log.
        """
        with self._guard:
            self._check()
            self._waiting.append(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE))
            if self._timer is None:
                self._timer = threading.Timer(STORE_GROUP_SECONDS if self._store else GROUP_SECONDS, self._flush_late)
                self._timer.daemon = True
                self._timer.start()

    def flush(self, *, claim: bool = False) -> None:
        """Write what waits.

        Args:
            claim: write even where nothing waits, so that a process that was replaced learns of it.

        Raises:
            StoreError: it can't be written, or another process goes on with this log.
        """
        with self._writing:
            self._check()
            self._write(claim=claim)
            self._check()

    def rows(self) -> list[Row]:
        """Return all rows that this process has written, unless another one has taken them over.

        Raises:
            StoreError: another process has taken them over.
        """
        self.flush(claim=True)
        paths = [self._path(number) for number in range(1, self._next)]
        try:
            return [row for path in paths for row in read_rows(path)]
        except OSError as error:  # they were removed; NFS may call that a stale file handle
            raise replaced(self._what, self.folder) from error

    def last(self) -> Path:
        """Return the file that was read or written last."""
        return self._path(self._next - 1)

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:08}.jsonl"

    def _flush_late(self) -> None:
        with self._writing:
            self._write()

    def _write(self, *, claim: bool = False) -> None:
        """Write what waits as the next file; what goes wrong is kept for the next call, since a timer may be here."""
        with self._guard:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            rows, self._waiting = self._waiting, []
        if (rows or claim) and not self._failed and not self._create(b"".join(rows)):
            self._failed = self._failed or replaced(self._what, self._path(self._next))

    def _create(self, content: bytes) -> bool:
        """Create the next number, and return whether it is ours; what goes wrong is kept."""
        path = self._path(self._next)
        try:
            with writing(path):
                if self._store:
                    self._store.create(path, content)
                    path.write_bytes(content)  # the object is what counts, so nothing is flushed
                else:
                    with path.open("xb") as file:
                        file.write(content)
                        file.flush()
                        os.fsync(file.fileno())
                    sync(self.folder)
        except FileExistsError:
            return False
        except FileNotFoundError:
            self._failed = replaced(self._what, path)
        except StoreError as error:
            self._failed = error
        except OSError as error:
            self._failed = StoreError(
                f"A file can't be written: {error.strerror or error}.",
                where=str(path),
                remedy="run the same command again: what is done stays done",
            )
        else:
            self._next += 1
            return True
        return False

    def _check(self) -> None:
        if self._failed is not None:
            raise self._failed


def remove_logs(folder: Path, logs: Iterable[Segments]) -> None:
    """Remove a folder with logs that were taken over.

    In an object store what refuses their writers stays. The first file in the folder goes last: once it is gone, all
    is.
    """
    first = folder / FIRST_SEGMENT
    remove_folder(folder, keep=(first, *(log.last() for log in logs)))
    if store := object_store(folder):
        store.remove([first])


def read_rows(path: Path, names: Iterable[str] = ()) -> Iterator[Row]:
    """Yield the complete rows of JSON lines up to the first torn one; nobody was promised what follows it.

    Args:
        path: the file.
        names: the keys that each row has; none: any.
    """
    keys = set(names)
    with path.open("rb") as file:
        for line in file:
            try:
                row = orjson.loads(line) if line.endswith(b"\n") else None
            except orjson.JSONDecodeError:
                row = None
            if not isinstance(row, dict) or (keys and set(row) != keys):
                return
            yield row
