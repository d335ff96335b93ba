"""Bytes on disk: exact JSON, digests, atomic writes, locks."""

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
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import orjson
import psutil

from proofmill.data.errors import StoreError, UsageError
from proofmill.data.objects import mirror, mirror_name, object_store

DIGEST_CHARS = 24  # 96 bits: among 10^9 ids a collision has a chance of 10^-11
REMEMBERED_BYTES = 16 << 20  # reading a smaller file is faster than looking its digest up
_SETTLED_SECONDS = 2.0  # the coarsest resolution of a file system's time stamps
_LONG_INTEGER = re.compile(rb"[:,\[]\s{0,9}-?[1-9]\d{18}")
_LOOK_SECONDS = 0.2
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


def mirror_folder(home: str) -> Path:
    """Return the folder that mirrors a HOME in an object store: under `$PROOFMILL_SCRATCH`, else in the user's cache.

    Raises:
        UsageError: this is no address of an object store.
    """
    scratch = os.environ.get("PROOFMILL_SCRATCH")
    return (Path(scratch).expanduser() if scratch else cache_folder() / "homes").absolute() / mirror_name(home)


@cache
def mirrored_home(home: str) -> Path:
    """Make the folder that mirrors a HOME in an object store, and return it.

    Raises:
        UsageError: the address is wrong, or a package is not installed.
        StoreError: there is no such bucket, this user may not read it, or nobody answers.
    """
    folder = mirror_folder(home)
    with writing(folder):
        mirror(home, folder)
    return folder


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


def temporary_path(path: Path) -> Path:
    """Return a name beside `path` that nobody else uses, since two threads or two hosts may write the same file.

    It ends in host and process id, by which `sweep` knows whether the writer is still at work.
    """
    return path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.{_host()}.{os.getpid()}.tmp")


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Provide a temporary path; on leaving, it is flushed to disk and renamed to `path`, or removed after an error.

    Where HOME is in an object store, the object is written before the file has its name.

    Raises:
        StoreError: the disk is full or the place can't be written.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            yield temporary
            sync(temporary)
            if store := object_store(path):
                store.put(temporary, path)
        sync(path.parent)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Provide a temporary path; on leaving, it is renamed to `path`, or removed after an error.

    Nothing is flushed to disk: for files that a task makes again after a crash, maybe on two nodes at once.
    """
    temporary = temporary_path(path)
    try:
        yield temporary
        temporary.rename(path)
    finally:
        temporary.unlink(missing_ok=True)


def remove_folder(path: Path, *, keep: Iterable[Path] = ()) -> None:
    """Remove a folder with all that it holds, in one go: a crash leaves either all of it or nothing under its name.

    In an object store, a crash may leave some of it.

    Args:
        path: the folder; one that is not there is no error.
        keep: files whose objects stay: they tell a process that it was replaced, as a folder that is gone does.
    """
    if store := object_store(path):
        store.remove(store.list(path).keys() - set(keep))
    temporary = temporary_path(path)
    with suppress(FileNotFoundError):
        path.rename(temporary)
    shutil.rmtree(temporary, ignore_errors=True)


def move(path: Path, target: Path) -> None:
    """Give a file another name, in a folder that exists; in an object store a crash may leave it under both names."""
    if store := object_store(path):
        store.move(path, target)
    path.rename(target)


def put_folder(source: Path, folder: Path, *, last: str, ready: Callable[[], None]) -> None:
    """Write all objects of a folder that will be `folder`, if HOME is in an object store.

    Args:
        source: holds the files.
        folder: nobody has written anything into it.
        last: the file without which the others do not count.
        ready: is called before that one.

    Raises:
        StoreError: another process writes this folder.
    """
    if store := object_store(folder):
        try:
            store.put_folder(source, folder, last, ready)
        except FileExistsError as error:
            raise replaced(folder.name, folder) from error
    else:
        ready()


def current(path: Path) -> Path:
    """Return the path of a file that may be written again, on another machine too: as it is now, or not there."""
    if store := object_store(path):
        store.refresh(path)
    return path


def address(path: Path) -> str:
    """Return where users find a file or folder of HOME: its path, or its address in an object store."""
    store = object_store(path)
    return store.where(path) if store else str(path)


@contextmanager
def scratch_folder(folder: Path) -> Iterator[Path]:
    """Provide a new folder inside `folder` for what is only needed until the block ends; `sweep` removes it too."""
    path = temporary_path(folder / "scratch")
    try:
        with writing(path):
            path.mkdir(parents=True)
            yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Provide a temporary folder, renamed like `atomic` on leaving; `path` must not exist yet.

    What the mirror of an object store has of `path` is of objects that somebody has removed, and is replaced.
    """
    temporary = temporary_path(path)
    try:
        with writing(path):
            temporary.mkdir(parents=True)
            yield temporary
            for child in sorted(temporary.rglob("*")):
                sync(child)
            sync(temporary)
            if object_store(path):
                shutil.rmtree(path, ignore_errors=True)
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


SEEN_SECONDS = 60.0  # until a shared folder shows on one node what another has written


def existing(path: Path) -> Path:
    """Return a path; where it is not there yet, wait until a shared folder shows what another node has written."""
    deadline = time.monotonic() + SEEN_SECONDS
    while not path.exists() and time.monotonic() < deadline:
        time.sleep(_LOOK_SECONDS)
    return path


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file atomically, keys in the order given, indented."""
    with atomic(path) as temporary:
        temporary.write_bytes(orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))


@contextmanager
def locked(path: Path, *, what: str, remedy: str) -> Iterator[None]:
    """Hold a lock that dies with its process, so neither a crash nor a copied folder leaves one behind.

    A file system without locks is no error: runs and samples are also protected by files that only one can create.

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
    except NotImplementedError:  # filelock's name for ENOSYS, as on Lustre without -o flock
        yield
        return
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


def replaced(what: str, path: Path) -> StoreError:
    """Return the error of a process that finds another one in its place."""
    return StoreError(
        f"Another process has taken over {what}; this one has stopped.",
        where=address(path),
        remedy="let the other one finish: it goes on from what both have committed",
    )
