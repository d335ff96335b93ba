"""The one worker pool: processes that run one function on hostile items and can be killed.

Workers are never forks of the caller, which may hold threads, locks and a GPU. They are forks of one fresh interpreter
that has imported what they need and does nothing else, so that a worker starts in milliseconds and shares its modules'
memory; all of them die with the caller. What it protects from: items that burn CPU time, eat memory, recurse too deep
or kill the process. What it does not protect from: code that is *meant* to run arbitrary programs; that needs the
sandbox.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import gc
import importlib
import json
import mmap
import os
import pickle
import resource
import signal
import struct
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from multiprocessing.reduction import recv_handle, send_handle
from pathlib import Path
from typing import Any, Literal

import psutil  # type: ignore[import-untyped, unused-ignore]

from proofmill.data.errors import ProofmillError, VerifierError
from proofmill.data.scratch import scratch_file
from proofmill.data.tasks import R, T, run_here

__all__ = ["TASK_LIMITS", "Fault", "PoolTasks", "WorkerPool", "call"]


_POLL_SECONDS = 0.05
_BATCH_SECONDS = (0.05, 0.2)  # a batch that takes less is doubled, one that takes more is halved
_MAX_BATCH = 256
_START_SECONDS = 300.0
_STARTS = 3  # of a worker, where something kills it before it is ready
_BOOT = (
    "import json, sys; orders, sys.path[:] = json.loads(sys.argv[1]); "
    "from proofmill.filters.workers import fork_workers; fork_workers(orders)"
)
_OWN = "proofmill."


class WorkerPool:
    """Runs a function of one argument over many items in killable processes.

    An item that kills its worker or runs out of memory is tried once more alone in a fresh one, since an
    earlier item may be to blame; CPU time is counted by item, so a time-out needs no second trial. The
    other items of its batch are redone, and nothing is lost.

    Args:
        function: "package.module:name", imported inside the workers; takes one picklable item and
            returns one picklable result.
        workers: number of processes, started at first use; default one for each core.
        cpu_seconds: CPU time an item may use.
        memory_mb: address space an item may add to that of the fresh worker.
        preload: further modules of proofmill that the function will need, imported once for all workers.

    Raises:
        VerifierError: by `map`, when a worker can't start or import the function, or the pool is closed.
    """

    def __init__(
        self,
        function: str,
        *,
        workers: int | None = None,
        cpu_seconds: float = 5.0,
        memory_mb: int = 1024,
        preload: Sequence[str] = (),
    ) -> None:
        self.workers = workers or _cores()
        self._setup: dict[str, Any] = {"function": function, "memory_mb": memory_mb, "preload": [*preload]}
        self._cpu_seconds = cpu_seconds
        self._batch_size = 1
        self._threads = ThreadPoolExecutor(self.workers, thread_name_prefix="proofmill-pool")
        self._own = threading.local()
        self._lock = threading.Lock()
        self._started: set[_WorkerProcess] = set()
        self._closed = False

    def map(self, items: Sequence[Any]) -> list[Any | Fault]:
        """Return the results in the order of `items`; safe to call from many threads at once."""
        results: list[Any | Fault] = []
        window: deque[Future[list[Any | Fault]]] = deque()
        start = 0
        try:
            while window or start < len(items):
                while start < len(items) and len(window) < 2 * self.workers:
                    batch = items[start : start + self._batch_size]
                    start += len(batch)
                    window.append(self._submit(batch))
                results.extend(window.popleft().result())
        finally:
            for future in window:
                future.cancel()
        return results

    def close(self) -> None:
        """Kill the workers and wait until they are gone; a `map` still running raises."""
        with self._lock:
            self._closed = True
            for worker in self._started:
                worker.kill()
        self._threads.shutdown(cancel_futures=True)
        for worker in self._started:
            worker.stop()
        self._started.clear()

    def __enter__(self) -> WorkerPool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _submit(self, batch: Sequence[Any]) -> Future[list[Any | Fault]]:
        try:
            return self._threads.submit(self._run, batch)
        except RuntimeError as error:  # the executor's way to say that it was shut down
            raise _closed() from error

    def _run(self, batch: Sequence[Any]) -> list[Any | Fault]:
        """Return the results of one batch, whatever its items do to the workers."""
        began = time.monotonic()
        results: list[Any | Fault] = []
        suspects: dict[int, Fault] = {}
        while (done := len(results)) < len(batch):
            if done in suspects:
                results.append(self._alone(batch[done], suspects.pop(done)))
                continue
            stop = min(suspects, default=len(batch))
            fall = self._worker().run(batch[done:stop], results, self._cpu_seconds)
            if fall is not None:
                suspects[done + fall[0]] = fall[1]
        self._adapt(len(batch), time.monotonic() - began)
        return results

    def _alone(self, item: Any, fault: Fault) -> Any | Fault:
        if fault.kind == "timeout":
            return fault
        results: list[Any | Fault] = []
        fall = self._worker().run([item], results, self._cpu_seconds)
        return results[0] if fall is None else fall[1]

    def _adapt(self, size: int, seconds: float) -> None:
        """Steer the batch size, so that the pipe costs little and a slow batch keeps no core idle."""
        low, high = _BATCH_SECONDS
        if seconds > high:
            self._batch_size = max(1, size // 2)
        elif seconds < low and size >= self._batch_size:
            self._batch_size = min(_MAX_BATCH, 2 * size)

    def _worker(self) -> _WorkerProcess:
        """Return the calling thread's worker, started or replaced where it is not alive."""
        worker: _WorkerProcess | None = getattr(self._own, "worker", None)
        if worker is not None and worker.still_runs():
            return worker
        for trial in range(_STARTS):
            with self._lock:
                if worker is not None:
                    self._started.discard(worker)
                if self._closed:
                    raise _closed()
                self._own.worker = worker = _WorkerProcess(self._setup)
                self._started.add(worker)
            if worker.ready(last=trial == _STARTS - 1):
                break
        assert worker is not None  # noqa: S101 (narrowing for the type checker)
        return worker


class _ForkServer:
    """The caller's side of the process whose forks are its workers; one for all pools.

    It ends when the caller's end of the socket is closed, which no death of the caller can prevent.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._orders, theirs = Pipe()
        # -P: a file named like a standard module in the working folder must not shadow it.
        self._process = subprocess.Popen(  # noqa: S603 (own interpreter, own arguments)
            [sys.executable, "-P", "-c", _BOOT, json.dumps([theirs.fileno(), _search_path()])],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
        )
        theirs.close()

    def runs(self) -> bool:
        return self._process.poll() is None

    def fork(self, setup: dict[str, Any], *fds: int) -> int:
        """Return the process id of a new worker, which gets the file descriptors."""
        with self._lock:
            self._orders.send(setup)
            for fd in fds:
                send_handle(self._orders, fd, self._process.pid)
            return int(self._orders.recv())

    def wait(self, pid: int) -> int:
        """Return the exit status of a worker that is ending; till then its process id is not given to another."""
        try:
            with self._lock:
                self._orders.send(pid)
                return int(self._orders.recv())
        except (EOFError, OSError):  # all workers died with the server
            return -signal.SIGKILL

    def forget(self) -> None:
        """Forget the server in a fork of the caller: it is the caller's alone."""
        self._orders.close()

    def close(self) -> None:
        """End it, and with it the workers that are left."""
        self._orders.close()
        self._process.wait()


_servers: list[_ForkServer] = []  # one, or none yet
_servers_lock = threading.Lock()


def _fork(setup: dict[str, Any], *fds: int) -> tuple[_ForkServer, int]:
    """Return a worker's server, started or replaced where it is not alive, and the worker's process id.

    Raises:
        VerifierError: the server ends whenever it starts.
    """
    for _ in range(_STARTS):
        with _servers_lock:
            if not _servers or not _servers[0].runs():
                _servers[:] = [_ForkServer()]
            server = _servers[0]
        try:
            return server, server.fork(setup, *fds)
        except (EOFError, OSError):  # it may have been killed and still be there for a moment
            with _servers_lock:
                if _servers == [server]:
                    _servers.clear()
    raise VerifierError(
        "A worker process can't start: the process that forks it ends at once.",
        remedy="look for what kills it; `dmesg` shows whether memory ran out",
    )


def _forget_server() -> None:
    global _servers_lock
    _servers_lock = threading.Lock()
    while _servers:
        _servers.pop().forget()


def _close_server() -> None:
    while _servers:
        _servers.pop().close()


os.register_at_fork(after_in_child=_forget_server)
atexit.register(_close_server)


def _search_path() -> list[str]:
    return [entry or str(Path.cwd()) for entry in sys.path]


class _WorkerProcess:
    """The parent's side of one process."""

    def __init__(self, setup: dict[str, Any]) -> None:
        self._pipe, child_pipe = Pipe()
        with scratch_file(PROGRESS.pack(-1, 0.0)) as progress:  # shared with the child until both are gone
            self._progress = mmap.mmap(progress.fileno(), PROGRESS.size)
            self._server, self._pid = _fork(setup | {"path": _search_path()}, child_pipe.fileno(), progress.fileno())
        child_pipe.close()
        self._cpu = psutil.Process(self._pid)
        self._status: int | None = None
        self._lock = threading.Lock()
        self.alive = True

    def ready(self, *, last: bool) -> bool:
        """Wait until the function is imported; False where a signal ended the process first and tries are left.

        Raises:
            VerifierError: the worker died, can't import the function, or is not ready in time.
        """
        try:
            problem = self._pipe.recv() if self._pipe.poll(_START_SECONDS) else "it is not ready in time"
        except (EOFError, OSError):
            if (status := self.stop()) < 0 and not last:
                return False
            problem = f"it ended at once (status {status})"
        if problem:
            self.stop()
            raise VerifierError(
                f"A worker process can't start: {problem}",
                remedy="Check that the function can be imported by a fresh interpreter.",
            )
        return True

    def still_runs(self) -> bool:
        """Return whether it can take a batch; one that was killed at no item is replaced, and no item is to blame."""
        if self.alive and self._pipe.poll():  # it says nothing unasked: this is its end
            self.stop()
        return self.alive

    def run(self, batch: Sequence[Any], results: list[Any | Fault], cpu_seconds: float) -> tuple[int, Fault] | None:
        """Append the results of `batch` to `results`, in order.

        Returns None when all are there; else the position in `batch` of the item at which the process
        fell, and why. Results that it had not sent yet are lost, so fewer may have been appended.
        """
        expected = len(results) + len(batch)
        try:
            self._pipe.send(batch)
            while len(results) < expected:
                fault = self._wait(cpu_seconds)
                if fault is not None:
                    return self._fall(fault)
                results.extend(self._pipe.recv())
        except (EOFError, OSError):
            return self._fall(_death(self.stop()))
        return None

    def _fall(self, fault: Fault) -> tuple[int, Fault]:
        self.stop()
        return max(0, PROGRESS.unpack(self._progress[:])[0]), fault

    def _wait(self, cpu_seconds: float) -> Fault | None:
        """Return None as soon as there is something to receive; a fault where an item goes over its limit."""
        wall_seconds = 60 + 20 * cpu_seconds  # for an item that sleeps: far beyond any stall of the machine
        watched, since = -1, time.monotonic()
        while not self._pipe.poll(_POLL_SECONDS):
            item, cpu_began = PROGRESS.unpack(self._progress[:])
            if item != watched:
                watched, since = item, time.monotonic()
            if item >= 0 and self._cpu_used() - cpu_began > cpu_seconds:
                return Fault("timeout", f"more than {cpu_seconds:g} s of CPU time")
            if time.monotonic() - since > wall_seconds:
                return Fault("timeout", f"no progress in {wall_seconds:g} s")
        return None

    def _cpu_used(self) -> float:
        try:
            times = self._cpu.cpu_times()
        except psutil.Error:  # it has just died, which the pipe will tell
            return 0.0
        return float(times.user + times.system)

    def kill(self) -> None:
        """End the process now; the thread that owns it notices and cleans up."""
        self.alive = False
        with self._lock, contextlib.suppress(ProcessLookupError):
            if self._status is None:  # else the process id may be another's by now
                os.kill(self._pid, signal.SIGKILL)

    def stop(self) -> int:
        """End the process and release what it held; its exit status (−9: killed here)."""
        self.kill()
        self._pipe.close()
        with self._lock:
            if self._status is None:
                self._status = self._server.wait(self._pid)
            return self._status


def _cores() -> int:
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _death(status: int) -> Fault:
    if status == OUT_OF_MEMORY:
        return Fault("memory", "MemoryError")
    return Fault("crash", f"the process ended with status {status}")


def _closed() -> VerifierError:
    return VerifierError("The worker pool is closed", remedy="Open a new one.")


# --- Inside the fork server, and inside a worker: apply one function to the items of each batch ---

FaultKind = Literal["timeout", "memory", "crash", "exception"]

PROGRESS = struct.Struct("<qd")  # item at work in the batch (-1: none), CPU seconds when it began
OUT_OF_MEMORY = 77  # exit status
_FLUSH_SECONDS = 0.05  # finished results wait at most this long in a process that may be killed
_MAX_DETAIL = 300
_PR_SET_PDEATHSIG, _PR_SET_NAME = 1, 15

_NICE = 10  # on a machine without a GPU the engine needs every core; judges take what it leaves


class PoolTasks:
    """Runs tasks in the workers of a pool of `call`; a single one here.

    Args:
        pool: returns the pool; asked when there are several tasks.

    Raises:
        VerifierError: by a call, when a task fails.
    """

    def __init__(self, pool: Callable[[], WorkerPool]) -> None:
        self._pool = pool

    def __call__(self, function: Callable[[T], R], tasks: Sequence[T]) -> Iterator[R]:
        """Return the results in order."""
        if len(tasks) < 2:
            yield from run_here(function, tasks)
            return
        for result in self._pool().map([(function, task) for task in tasks]):
            if isinstance(result, ProofmillError):
                raise result
            if isinstance(result, Fault):
                raise VerifierError(
                    f"A task failed ({function.__name__}): {result.kind}: {result.detail}",
                    remedy="run the same command again; if it fails again, report this with the run's log",
                )
            yield result


TASK_LIMITS: dict[str, Any] = {"cpu_seconds": 6 * 3600.0, "memory_mb": 1 << 20}
"""For a pool of `call`: what our own tasks map counts as address space, so hardly any limit."""


def call(item: tuple[Callable[[T], R], T]) -> R | ProofmillError:
    """Run one task; return an error for users in its place. Runs inside a worker."""
    function, task = item
    try:
        return function(task)
    except ProofmillError as error:
        return error


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


def fork_workers(orders_fd: int) -> None:
    """Run a fork server to its end: fork a worker for each mapping that comes, and wait for each process id."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the caller's to handle
    orders, server = Connection(orders_fd), os.getpid()
    with contextlib.suppress(EOFError, OSError):
        while True:
            order = orders.recv()
            if isinstance(order, int):
                orders.send(os.waitstatus_to_exitcode(os.waitpid(order, 0)[1]))
                continue
            fds = [recv_handle(orders) for _ in range(2)]
            _preload(order)
            if (pid := os.fork()) == 0:
                orders.close()
                try:
                    serve(order, server, *fds)
                finally:
                    os._exit(0)
            for fd in fds:
                os.close(fd)
            orders.send(pid)


def _preload(setup: dict[str, Any]) -> None:
    """Import what all workers of a kind share; a user's modules are each worker's own, as fresh as their files."""
    sys.path[:] = setup["path"]
    with contextlib.suppress(Exception):  # the worker meets it too, and tells the caller
        for name in (setup["function"].partition(":")[0], *setup["preload"]):
            if name.startswith(_OWN):
                importlib.import_module(name)
    gc.freeze()  # a collection in a worker must not copy these pages


def serve(setup: dict[str, Any], server: int, pipe_fd: int, progress_fd: int) -> None:
    """Run a worker process to its end: import the function, then answer batches until the pipe closes."""
    _die_with_parent(server)
    os.nice(_NICE)
    pipe = Connection(pipe_fd)
    progress = mmap.mmap(progress_fd, PROGRESS.size)
    module, _, name = setup["function"].partition(":")
    _set_process_name(name)
    try:
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
    if results:  # the caller takes anything sent behind the last result for the worker's end
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
    """Return an exception as one short line, even where its own text fails."""
    try:
        text = " ".join(str(error)[:_MAX_DETAIL].split())
    except Exception:  # noqa: BLE001 (hostile values make hostile messages)
        text = "(no text)"
    return f"{type(error).__name__}: {text}"


def _set_process_name(name: str) -> None:
    """Set what `ps` and `top` call a worker: its function."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_NAME, name.encode()[:15], 0, 0, 0)


def _die_with_parent(parent: int) -> None:
    """Ask the kernel for a kill when the parent dies; elsewhere the end of the pipe must do."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it died before the request
        sys.exit(1)


def _limit_memory(extra_mb: int) -> None:
    """Cap the address space at what the process has now and `extra_mb` more; no core files."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    limit = psutil.Process().memory_info().vms + extra_mb * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
