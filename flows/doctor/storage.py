"""The file system under HOME: room, and the promises that resuming rests on."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from proofmill.data.files import human_size, sync
from proofmill.flows.doctor.checks import FAIL, OK, WARN, Check, Place

_LITTLE, _TOO_LITTLE = 10 << 30, 1 << 30
_SLOW_SECONDS = 0.25
_PLACE = "choose a local disk with --home or PROOFMILL_HOME"


def look(place: Place) -> Iterator[Check]:
    """Free space, then writing, flushing, renaming and locking, in a folder that is removed again."""
    folder = _existing(place.home.absolute())
    free = shutil.disk_usage(folder).free
    status = FAIL if free < _TOO_LITTLE else WARN if free < _LITTLE else OK
    remedy = "" if status == OK else "free some space, or choose another place with --home"
    yield Check("disk space", status, f"{human_size(free)} free for {place.home}", remedy)
    try:
        with tempfile.TemporaryDirectory(prefix=".proofmill-doctor-", dir=folder) as scratch:
            yield _promises(Path(scratch))
    except OSError as error:
        yield Check("disk", FAIL, f"{folder} can't be written: {error.strerror}", _PLACE)


def _existing(path: Path) -> Path:
    while not path.exists():
        path = path.parent
    return path


def _promises(scratch: Path) -> Check:
    file = scratch / "half"
    started = time.monotonic()
    file.write_bytes(b"proofmill")
    sync(file)
    seconds = time.monotonic() - started
    file.rename(scratch / "whole")
    sync(scratch)
    if not _locks(scratch / "lock"):
        return Check("disk", FAIL, "locks don't hold here, so two runs could write one folder", _PLACE)
    found = f"writes, flushes ({seconds * 1000:.0f} ms), renames and locks"
    if seconds > _SLOW_SECONDS:
        return Check("disk", WARN, found, f"flushing is slow, as on a network file system: {_PLACE}")
    return Check("disk", OK, found)


def _locks(path: Path) -> bool:
    with FileLock(path):
        try:
            with FileLock(path, timeout=0):
                return False
        except Timeout:
            return True
