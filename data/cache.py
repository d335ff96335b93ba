"""The user's cache outside HOME: what can be computed again, and would cost time."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

import orjson

from proofmill.data.errors import StoreError
from proofmill.data.files import digest, sha256, write_json

REMEMBERED_BYTES = 16 << 20  # a smaller file is read faster than it is looked up
_SETTLED_SECONDS = 2.0  # the coarsest clock by which file systems say when a file was written


def folder() -> Path:
    """The user's cache; `$XDG_CACHE_HOME` moves it."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "proofmill"


def known_sha256(path: Path) -> str:
    """SHA-256 of a file; that of a large one is remembered for as long as the file is not written again.

    A file is the same where device, number, size and both times are, of which a program can't set back the time of
    its last change (`ctime`). A digest isn't kept of a file that was written so recently that a further write might
    show the same time. Where the cache can't be written, nothing is remembered.

    Raises:
        OSError: the file can't be read.
    """
    state = _state(path)
    if state["bytes"] < REMEMBERED_BYTES:
        return sha256(path)
    place = folder() / "sha256" / f"{digest(str(path.resolve()))}.json"
    known = _read(place)
    if known.get("state") == state:
        return str(known["sha256"])
    found = sha256(path)
    if _state(path) == state and time.time() - max(state["mtime_ns"], state["ctime_ns"]) / 1e9 > _SETTLED_SECONDS:
        with suppress(StoreError, OSError):
            write_json(place, {"path": str(path.resolve()), "state": state, "sha256": found})
    return found


def _state(path: Path) -> dict[str, int]:
    found = path.stat()
    return {
        "device": found.st_dev,
        "file": found.st_ino,
        "bytes": found.st_size,
        "mtime_ns": found.st_mtime_ns,
        "ctime_ns": found.st_ctime_ns,
    }


def _read(place: Path) -> dict[str, object]:
    """What is remembered; a torn or foreign file says nothing."""
    try:
        known = orjson.loads(place.read_bytes())
    except (OSError, orjson.JSONDecodeError):
        return {}
    return known if isinstance(known, dict) and isinstance(known.get("sha256"), str) else {}
