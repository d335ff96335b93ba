"""One Prefect server for all test processes: starting one takes fourteen seconds of a processor."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock

from proofmill.flows.prefect_server import configure, server


@contextmanager
def shared_server(folder: Path) -> Iterator[str]:
    """Give the address of a real server to every process that names the same folder.

    The first process starts it, and ends it when no other uses it any more.
    """
    lock, place = FileLock(folder / "prefect.lock"), folder / "prefect.json"
    configure(folder / "prefect", debug=False)
    with ExitStack() as stack:
        with lock:
            state = _read(place)
            starts = not state
            if starts:
                stack.enter_context(server(folder / "prefect"))
                state = {"url": os.environ["PREFECT_API_URL"], "users": []}
            _write(place, state | {"users": [*state["users"], os.getpid()]})
        os.environ["PREFECT_API_URL"] = state["url"]
        try:
            yield state["url"]
        finally:
            _leave(lock, place, waits=starts)
            os.environ.pop("PREFECT_API_URL", None)


def _leave(lock: FileLock, place: Path, *, waits: bool) -> None:
    """Use the server no more; whoever started it waits until nobody does, and withdraws its address."""
    gone = False
    while not gone:
        with lock:
            state = _read(place)
            users = [user for user in state["users"] if user != os.getpid()]
            _write(place, state | {"users": users})
            gone = not (waits and users)
            if waits and gone:
                place.unlink()
        time.sleep(0 if gone else 0.2)


def _read(place: Path) -> dict[str, Any]:
    return dict(json.loads(place.read_text())) if place.exists() else {}


def _write(place: Path, state: dict[str, Any]) -> None:
    place.write_text(json.dumps(state))
