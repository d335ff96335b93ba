"""Bytes on disk: exact JSON, digests, atomic writes, locks, journals. All files that proofmill keeps are made here."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import platform
import re
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import orjson
import psutil

from proofmill.data.errors import StoreError, UsageError

DIGEST_CHARS = 24  # 96 bits: among 10^9 ids a collision has a chance of 10^-11
REMEMBERED_BYTES = 16 << 20  # reading a smaller file is faster than looking its digest up
_SETTLED_SECONDS = 2.0  # the coarsest resolution of a file system's time stamps
_LONG_INTEGER = re.compile(rb"[:,\[]\s{0,9}-?[1-9]\d{18}")
_PLAIN = frozenset({str, int, bool, type(None)})


def loads_exact(text: bytes | str) -> Any:
    """Return the value of a JSON text; integers of more than 64 bits stay integers, which orjson turns into floats.

    Raises:
        ValueError: the text is not JSON.
    """
    value = orjson.loads(text)
    if _may_be_rounded(value) and _LONG_INTEGER.search(text.encode() if isinstance(text, str) else text):
        value = json.loads(text)
    return value


def dumps_canonical(value: Any) -> bytes:
    """Return a value as JSON in its shortest form, keys in order, the same on every machine.

    Raises:
        TypeError, ValueError: the value has no such form, nor has text with half a surrogate pair.
    """
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS | orjson.OPT_SERIALIZE_NUMPY)
    except TypeError:
        return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def _may_be_rounded(row: Any) -> bool:
    """Return whether a row may hold a number of more than 64 bits: as orjson's float, or inside a nested value."""
    return not isinstance(row, dict) or not _PLAIN.issuperset(map(type, row.values()))


def digest(*parts: Any) -> str:
    """Return the digest of JSON-like values, the same on every machine.

    Returns:
        `DIGEST_CHARS` hexadecimal characters of a BLAKE2b hash.
    """
    return hashlib.blake2b(dumps_canonical(parts), digest_size=DIGEST_CHARS // 2).hexdigest()


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def cache_folder() -> Path:
    """Return the user's cache folder, for what can be made again at a cost of time; `$XDG_CACHE_HOME` moves it."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "proofmill"


def cached_sha256(path: Path) -> str:
    """Return the SHA-256 of a file; that of a large file is cached until the file is written again.

    A file counts as unchanged while its device, inode, size and both times are the same: a program can set `mtime`
    back, but not `ctime`. The digest of a file that was written a moment ago is not cached, since a further write
    might show the same time. Where the cache can't be written, nothing is cached.

    Raises:
        OSError: the file can't be read.
    """
    state = _file_state(path)
    if state["bytes"] < REMEMBERED_BYTES:
        return sha256(path)
    entry = cache_folder() / "sha256" / f"{digest(str(path.resolve()))}.json"
    cached = _cached(entry)
    if cached.get("state") == state:
        return str(cached["sha256"])
    result = sha256(path)
    if _file_state(path) == state and time.time() - max(state["mtime_ns"], state["ctime_ns"]) / 1e9 > _SETTLED_SECONDS:
        with suppress(StoreError, OSError):
            write_json(entry, {"path": str(path.resolve()), "state": state, "sha256": result})
    return result


def _file_state(path: Path) -> dict[str, int]:
    stat = path.stat()
    return {
        "device": stat.st_dev,
        "file": stat.st_ino,
        "bytes": stat.st_size,
        "mtime_ns": stat.st_mtime_ns,
        "ctime_ns": stat.st_ctime_ns,
    }


def _cached(entry: Path) -> dict[str, object]:
    """Return a cache entry; a torn or foreign file counts as empty."""
    try:
        value = orjson.loads(entry.read_bytes())
    except (OSError, orjson.JSONDecodeError):
        return {}
    return value if isinstance(value, dict) and isinstance(value.get("sha256"), str) else {}


_FOREIGN_SECONDS = 24 * 3600.0  # whether another host's process is alive can't be seen: its files live this long


@cache
def _host() -> str:
    """Return a name for the processes that see each other's ids: those of this machine and of its PID namespace."""
    parts = [platform.node()]
    with suppress(OSError):
        parts.append(Path("/etc/machine-id").read_text())
    with suppress(OSError):
        parts.append(str(Path("/proc/self/ns/pid").readlink()))
    return digest(parts)[:8]


def _temporary(path: Path) -> Path:
    """Return a name beside `path` that nobody else uses, since two threads or two hosts may write the same file.

    It ends in host and process id, by which `sweep` knows whether the writer is still at work.
    """
    return path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.{_host()}.{os.getpid()}.tmp")


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Provide a temporary path; on leaving, it is flushed to disk and renamed to `path`, or removed after an error.

    Raises:
        StoreError: the disk is full or the place can't be written.
    """
    temporary = _temporary(path)
    try:
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            sync(temporary)
            temporary.rename(path)
            sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Provide a temporary folder, renamed like `atomic` on leaving; `path` must not exist yet."""
    temporary = _temporary(path)
    try:
        with writing(path):
            temporary.mkdir(parents=True)
            yield temporary
            for child in sorted(temporary.rglob("*")):
                sync(child)
            sync(temporary)
            temporary.rename(path)
            sync(path.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def sweep(folder: Path) -> None:
    """Remove temporary files and folders under `folder` whose process has ended.

    Those of a living process are left alone: it may be at work. So are those of another host, or of another PID
    namespace, for a day.
    """
    for path in sorted(folder.rglob(".*.tmp")):
        *_, host, pid = ["", *(part.removeprefix(".") for part in path.suffixes[:-1])]
        if not pid.isdigit():
            continue
        if _HOST_NAME.fullmatch(host) and host != _host():
            abandoned = time.time() - _last_written(path) > _FOREIGN_SECONDS
        else:
            # Our own id can only stem from an earlier process: a folder is swept before anything is written into it.
            abandoned = int(pid) == os.getpid() or not psutil.pid_exists(int(pid))
        if abandoned:
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)


_HOST_NAME = re.compile(r"[0-9a-f]{8}")


def _last_written(path: Path) -> float:
    """Return when a file, or anything in a folder, was last written, in seconds since the epoch; now if it is gone."""
    times = [time.time()]
    with suppress(OSError):
        times = [each.stat().st_mtime for each in (path, *path.rglob("*"))]
    return max(times)


def check_writable(folder: Path, remedy: str) -> None:
    """Refuse a folder in which nothing can be written.

    Raises:
        UsageError: with the operating system's reason.
    """
    try:
        with tempfile.TemporaryFile(dir=folder):
            return
    except OSError as error:
        what = f"Nothing can be written here: {error.strerror or error}."
        raise UsageError(what, where=str(folder), remedy=remedy) from error


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn a full disk or a forbidden place into a StoreError with a remedy."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise StoreError(
                "The disk is full.",
                where=str(path),
                remedy="free some space, or move the home folder and pass --home; then run the same command "
                "again: what is done stays done",
            ) from error
        if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
            raise StoreError(
                "This place can't be written.", where=str(path), remedy="choose another one with --home"
            ) from error
        raise


def sync(path: Path) -> None:
    """Flush a file or a folder's entries to disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file atomically, keys in the order given, indented."""
    with atomic(path) as temporary:
        temporary.write_bytes(orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))


@contextmanager
def locked(path: Path, *, what: str, remedy: str) -> Iterator[None]:
    """Hold a lock that dies with its process, so neither a crash nor a copied folder leaves one behind.

    Raises:
        StoreError: another process holds it.
    """
    from filelock import FileLock, Timeout  # imports asyncio, which commands without a home don't need

    lock = FileLock(path, timeout=0)
    try:
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            lock.acquire()
    except Timeout as error:
        raise StoreError(what, where=str(path), remedy=remedy) from error
    try:
        yield
    finally:
        lock.release()


def human_size(count: float) -> str:
    """Return a number of bytes in words: `1.5 MB`."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            break
        count /= 1000
    return f"{count:.0f} {unit}" if unit in ("bytes", "kB") else f"{count:.1f} {unit}"


Row = dict[str, Any]


class Journal:
    """Append-only JSON lines; `append` returns before the bytes are safe, `flush` makes them so."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("ab")

    def append(self, row: Row) -> None:
        """Add a row."""
        with writing(self.path):
            self._file.write(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE))

    def flush(self) -> None:
        """Force what was appended to disk."""
        with writing(self.path):
            self._file.flush()
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Flush and close the file; may be called again."""
        if not self._file.closed:
            try:
                self.flush()
            finally:
                with writing(self.path):
                    self._file.close()
            sync(self.path.parent)


def read_journal(path: Path, names: Iterable[str]) -> Iterator[Row]:
    """Yield the complete rows of a journal up to the first torn line; nobody was promised what follows it.

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
    """Yield each complete row, and the byte at which it ends."""
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
