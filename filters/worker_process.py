"""The inside of a pool's worker process: apply one function to the items of each batch."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import mmap
import os
import pickle
import resource
import signal
import struct
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, Literal

import psutil  # type: ignore[import-untyped, unused-ignore]

FaultKind = Literal["timeout", "memory", "crash", "exception"]

PROGRESS = struct.Struct("<qd")  # item at work in the batch (-1: none), CPU seconds when it began
OUT_OF_MEMORY = 77  # exit status
_FLUSH_SECONDS = 0.05  # finished results wait at most this long in a process that may be killed
_MAX_DETAIL = 300


_NICE = 10  # on a machine without a GPU the engine needs every core; judges take what it leaves


@dataclass(frozen=True, slots=True)
class Fault:
    """What stands in the place of an item's result.

    Attributes:
        kind: "timeout" (CPU time, or the wall-clock backstop), "memory" (memory or recursion limit),
            "crash" (the process died), "exception" (the function raised).
        detail: the cause in one line.
    """

    kind: FaultKind
    detail: str


def serve(setup: dict[str, Any]) -> None:
    """The whole life of a worker process: import the function, then answer batches until the pipe ends."""
    _die_with_parent(setup["parent"])
    os.nice(_NICE)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    pipe = Connection(setup["pipe"])
    progress = mmap.mmap(setup["progress"], PROGRESS.size)
    try:
        module, _, name = setup["function"].partition(":")
        function = getattr(importlib.import_module(module), name)
    except Exception as error:  # noqa: BLE001 (whatever the import raises is told to the parent)
        pipe.send(_line(error))
        return
    _limit_memory(setup["memory_mb"])
    gc.freeze()  # what was imported stays: collections look at the items' own objects alone
    pipe.send("")
    with contextlib.suppress(EOFError, OSError):
        while True:
            _answer(function, pipe.recv(), pipe, progress)


def _answer(function: Callable[[Any], Any], batch: Sequence[Any], pipe: Connection, progress: mmap.mmap) -> None:
    """Send the results of a batch, in parts where it takes long."""
    results: list[Any | Fault] = []
    flushed = time.monotonic()
    for position, item in enumerate(batch):
        progress[:] = PROGRESS.pack(position, time.process_time())
        try:
            results.append(function(item))
        except MemoryError:
            os._exit(OUT_OF_MEMORY)  # what is left may not even suffice to say so through the pipe
        except RecursionError:
            results.append(Fault("memory", "RecursionError"))
        except Exception as error:  # noqa: BLE001 (the fault boundary)
            results.append(Fault("exception", _line(error)))
        if time.monotonic() - flushed > _FLUSH_SECONDS:
            _send(pipe, results)
            results, flushed = [], time.monotonic()
    progress[:] = PROGRESS.pack(-1, 0.0)
    _send(pipe, results)


def _send(pipe: Connection, results: list[Any | Fault]) -> None:
    try:
        pipe.send(results)
    except (pickle.PicklingError, TypeError, AttributeError, RecursionError):
        pipe.send([_picklable(result) for result in results])


def _picklable(result: Any) -> Any | Fault:
    try:
        pickle.dumps(result)
    except (pickle.PicklingError, TypeError, AttributeError, RecursionError) as error:
        return Fault("exception", f"the result can't be sent: {_line(error)}")
    return result


def _line(error: Exception) -> str:
    """An exception as one short line, even where its own text fails."""
    try:
        text = " ".join(str(error)[:_MAX_DETAIL].split())
    except Exception:  # noqa: BLE001 (hostile values make hostile messages)
        text = "(no text)"
    return f"{type(error).__name__}: {text}"


def _die_with_parent(parent: int) -> None:
    """Ask the kernel for a kill when the parent dies; elsewhere the end of the pipe must do."""
    if sys.platform == "linux":
        death_signal = 1  # PR_SET_PDEATHSIG
        ctypes.CDLL(None).prctl(death_signal, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it died before the request
        sys.exit(1)


def _limit_memory(extra_mb: int) -> None:
    """Cap the address space at what the process has now and `extra_mb` more; no core files."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    limit = psutil.Process().memory_info().vms + extra_mb * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
