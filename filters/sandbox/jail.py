"""The jail: a pool of warm interpreters, each of which forks one locked-up process a run.

What comes out of a process is capped in size and time, read as hostile bytes and never evaluated. Its CPU
time decides a time-out; wall time is only a generous backstop.
"""

from __future__ import annotations

import array
import contextlib
import importlib.metadata
import json
import os
import re
import select
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from proofmill.data.errors import VerifierError
from proofmill.data.scratch import scratch_file
from proofmill.filters.sandbox import wire

_NAMESPACES = (
    "allow unprivileged user namespaces: sysctl kernel.unprivileged_userns_clone=1 and "
    "kernel.apparmor_restrict_unprivileged_userns=0; in a container, a seccomp profile that "
    "lets unshare through"
)
_KERNEL = "needs a kernel of 5.13 or later on x86_64 or aarch64"
REMEDIES: Mapping[str, str] = {
    "user namespace": _NAMESPACES,
    "pid namespace": _NAMESPACES,
    "mount namespace": _NAMESPACES,
    "net namespace": _NAMESPACES,
    "ipc namespace": _NAMESPACES,
    "uts namespace": _NAMESPACES,
    "cgroup namespace": _NAMESPACES,
    "namespaces": _NAMESPACES,
    "root": "the jail's own root folder needs mount rights inside a user namespace, and kernel 5.12 or later",
    "scratch": "the jail's private /tmp needs tmpfs in a user namespace (kernel 4.18 or later)",
    "rlimits": "raise the hard limits of the calling shell (ulimit -H)",
    "capabilities": _KERNEL,
    "landlock": _KERNEL + " with landlock among its security modules (boot option lsm=landlock,…)",
    "process cap": "root has no process cap: map a second user id, start as an ordinary user, or forbid subprocesses",
    "seccomp": _KERNEL + " built with CONFIG_SECCOMP_FILTER",
}


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer of the jail on this machine.

    Attributes:
        name: its name.
        ok: whether it was built and, where that can be tried, holds.
        why: the kernel's answer where it is not ok.
        remedy: what would make it ok.
    """

    name: str
    ok: bool
    why: str = ""
    remedy: str = ""


def layers_from(failed: Mapping[str, str]) -> list[Layer]:
    """Return all layers; those in `failed` (name to reason) are not ok."""
    names = [*REMEDIES, *(name for name in failed if name not in REMEDIES)]
    return [
        Layer(name, name not in failed, failed.get(name, ""), REMEDIES.get(name, "") if name in failed else "")
        for name in names
    ]


def missing_error(missing: Sequence[Layer]) -> VerifierError:
    """Return the error that names every missing layer."""
    return VerifierError(
        "model-written code can't be run safely here: the jail lacks " + ", ".join(m.name for m in missing),
        where="; ".join(f"{layer.name}: {layer.why}" for layer in missing),
        remedy=f"{missing[0].remedy}; or ask for the weaker jail, which is stamped on every verdict",
    )


_BOOT = """
import sys, types
for name in ("proofmill", "proofmill.filters", "proofmill.filters.sandbox"):
    sys.modules[name] = module = types.ModuleType(name)
    module.__path__ = [sys.argv[1]] if name.endswith("sandbox") else []
from proofmill.filters.sandbox import zygote
zygote.main(int(sys.argv[2]))
"""
_START_SECONDS = 60.0
WAIT_S = 5.0  # what a run may sleep, or wait for a busy machine, whatever its CPU time
MAX_ANSWER = 4 << 20  # bytes of one message from a process; as parsed it takes up to 25 times as much
_KILL_SECONDS = 30.0  # a killed process group that is not gone by then means a broken machine
_RECORD_BYTES = 4096
_READ_BYTES = 1 << 16
_BURST_S = 0.02  # the first failure ends a run, but is seen so much later
_GRACE_S = 0.005  # what a process that has said all may take to end by itself


@dataclass(frozen=True, slots=True)
class Limits:
    """What one run may use.

    Attributes:
        cpu_s: CPU seconds of the solution's process, all its threads together.
        memory_mb: address space of each process above that of the bare interpreter, in MiB.
        output_bytes: largest size of a file or of standard output.
        scratch_mb: size of the private /tmp in MiB.
        processes: cap on processes and threads.
        subprocesses: allow fork and exec.
        one_exec: allow exec of the program that was handed in as a third stream.
    """

    cpu_s: float = 5.0
    memory_mb: float = 512.0
    output_bytes: int = 4 << 20
    scratch_mb: int = 16
    processes: int = 32
    subprocesses: bool = False
    one_exec: bool = False

    @property
    def wall_s(self) -> float:
        """The backstop: far more than `cpu_s`, for sleepers and stalled machines."""
        return WAIT_S + 3.0 * self.cpu_s


@dataclass(frozen=True, slots=True)
class Exit:
    """How a process ended, and what it used.

    Attributes:
        code: exit code; −n for signal n; None where the jail itself failed.
        cpu_s: CPU seconds used.
        peak_mb: peak resident memory in MiB.
        timed_out: CPU time used up, or the wall backstop reached.
        fault: what went wrong with the jail itself, None where it worked.
    """

    code: int | None
    cpu_s: float
    peak_mb: float
    timed_out: bool
    fault: str | None = None


class ProcessEnded(Exception):  # noqa: N818 - an event, not a fault
    """The process hung up, ran out of time, or sent something that is not a message."""


class SandboxProcess:
    """One run inside the jail, from fork to the death of its last process."""

    def __init__(
        self, worker: WarmInterpreter, limits: Limits, channel: socket.socket, status: int, job: int, *, dialogue: bool
    ) -> None:
        self._worker, self._limits, self._channel = worker, limits, channel
        self._status, self._job = status, job
        self._deadline = time.monotonic() + limits.wall_s
        self._burst = not dialogue
        self._wall_out = False
        self._exit: Exit | None = None
        self._fault: str | None = None
        self._ready = self._reported = False
        self._received = bytearray()  # read ahead: a run's answers are small, and come in a burst

    def send(self, kind: bytes, body: bytes, *more: tuple[bytes, bytes]) -> None:
        """Send one message, and `more` behind it in one go; raises `ProcessEnded`."""
        try:
            self._time_out(socket.SO_SNDTIMEO, self._remaining())
            self._channel.sendall(b"".join(wire.frame(*message) for message in ((kind, body), *more)))
        except OSError as error:
            self._wall_out |= isinstance(error, BlockingIOError)
            raise ProcessEnded from None

    def receive(self) -> tuple[bytes, bytes]:
        """Return the next message as kind and hostile body, at most `wire.MAX_FRAME`; raises `ProcessEnded`."""
        # The first message is the child's own, sent before any code of the solution has run: the walls stand, or not.
        if not self._ready:
            self._ready = True
            kind, body = self._frame()
            if kind != wire.READY:
                self._fault = body[:300].decode("ascii", "replace") if kind == wire.FAULT else "no start"
                raise ProcessEnded
        return self._frame()

    def _frame(self) -> tuple[bytes, bytes]:
        size = wire.HEADER.unpack(self._exactly(wire.HEADER.size))[0]
        # A hostile length: nothing may be allocated before it has been checked.
        if not 1 <= size <= MAX_ANSWER:
            raise ProcessEnded
        raw = self._exactly(size)
        return raw[:1], raw[1:]

    def _exactly(self, size: int) -> bytes:
        while len(self._received) < size:
            self._received += self._part()
        taken = bytes(self._received[:size])
        del self._received[:size]
        return taken

    def _part(self) -> bytes:
        """Return what the process writes next: all that a quick run has written; of a slow one, as it comes.

        A thread that is woken for every message takes the core from another run, and the interpreter's lock, as often.
        """
        if self._burst:
            self._burst = False
            self._ended(_BURST_S)
        try:
            self._time_out(socket.SO_RCVTIMEO, self._remaining())
            part = self._channel.recv(_READ_BYTES)
        except OSError as error:
            self._wall_out |= isinstance(error, BlockingIOError)
            raise ProcessEnded from None
        if not part:
            raise ProcessEnded
        return part

    def _time_out(self, option: int, seconds: float) -> None:
        """By the socket's own clock: Python's makes every call three, each of which lets go of the interpreter."""
        micros = max(1, int(seconds * 1e6))
        self._channel.setsockopt(socket.SOL_SOCKET, option, struct.pack("@ll", *divmod(micros, 1_000_000)))

    def _remaining(self) -> float:
        left = self._deadline - time.monotonic()
        if left <= 0:
            self._wall_out = True
            raise ProcessEnded
        return left

    def wait(self) -> Exit:
        """Let the process run to its own end, within its limits."""
        self._wall_out |= not self._ended(max(0.0, self._deadline - time.monotonic()))
        return self.close()

    def close(self) -> Exit:
        """Kill what is left of the process and return how it ended. Nothing of it lives on afterwards."""
        if self._exit is None:
            # First the channel: a child that waits for an answer sees the end even if the kill is late.
            self._channel.close()
            if self._wall_out or not self._ended(_GRACE_S):  # most end by themselves
                self._worker.kill(self._job)
            record = self._record()
            os.close(self._status)
            self._exit = self._judge(record)
            self._worker.release()
        return self._exit

    def _ended(self, seconds: float) -> bool:
        """Return whether the zygote reports the end within that time."""
        if not self._reported:
            poll = select.poll()
            poll.register(self._status, select.POLLIN)
            self._reported = bool(poll.poll(1000 * seconds))
        return self._reported

    def _record(self) -> bytes:
        # The record comes from the zygote, over a pipe that the solution never holds, so it can be believed.
        raw = os.read(self._status, _RECORD_BYTES) if self._ended(_KILL_SECONDS) else b""
        return raw or wire.RECORD.pack(0, 0.0, 0.0, False) + b"the jail's own process died"

    def _judge(self, record: bytes) -> Exit:
        code, cpu, peak, late = wire.RECORD.unpack_from(record)
        unreported = record[wire.RECORD.size :].decode("utf-8", "replace") or None
        late = self._wall_out or late or cpu >= self._limits.cpu_s
        return Exit(None if unreported else code, cpu, peak, late, self._fault or unreported)


class WarmInterpreter:
    """One warm interpreter outside which nothing of a solution is ever loaded."""

    def __init__(self, options: dict[str, Any]) -> None:
        self.running = 0
        self._jobs = 0
        self._lock = threading.Lock()
        # SEQPACKET keeps the borders of messages, and a message may carry descriptors.
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        # No site-packages, no folder of the script on the path, no .pyc files, UTF-8 whatever the locale.
        flags = ["-s", "-S", "-P", "-B", "-X", "utf8"]
        folder = str(Path(__file__).resolve().parent)
        self._log = scratch_file()
        self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and code
            # Not a virtual environment's interpreter: the jail shows the standard library alone.
            [getattr(sys, "_base_executable", sys.executable), *flags, "-c", _BOOT, folder, str(os.getpid())],
            # the order of sets must not differ from run to run; symbols are bound once, not in every child; both
            # are wiped at start
            env={"PYTHONHASHSEED": "0", "LD_BIND_NOW": "1"},
            stdin=theirs.fileno(),
            stdout=subprocess.DEVNULL,
            stderr=self._log,
            cwd="/",
            start_new_session=True,
        )
        theirs.close()
        self._control.send(json.dumps(options).encode())
        self.failed = self._hello()

    def _hello(self) -> dict[str, str]:
        self._control.settimeout(_START_SECONDS)
        try:
            raw = self._control.recv(1 << 16)
        except OSError:
            raw = b""
        self._control.settimeout(None)
        if not raw:
            self._log.seek(0)
            last = self._log.read()[-400:].decode("utf-8", "replace").strip()
            self.stop()
            raise VerifierError("the jail's interpreter did not start", where=last, remedy="proofmill doctor")
        return dict(json.loads(raw)["failed"])

    def alive(self) -> bool:
        """Return whether jobs can be sent."""
        return self._process.poll() is None

    def open(self, limits: Limits, streams: Sequence[int], *, dialogue: bool) -> SandboxProcess:
        """Fork one child; `streams` is empty or the descriptors of its stdin, its stdout and a program."""
        ours, channel = socket.socketpair()
        status, status_end = os.pipe()
        with self._lock:
            self._jobs += 1
            job = self._jobs
            self.running += 1
        bounds = wire.Bounds(
            limits.cpu_s, limits.memory_mb, limits.output_bytes, limits.scratch_mb, limits.processes,
            limits.subprocesses, limits.one_exec,
        )  # fmt: skip
        fds = array.array("i", [channel.fileno(), status_end, *streams])
        with contextlib.suppress(OSError):  # a dead worker shows as a status without a record
            self._control.sendmsg(
                [wire.ORDER.pack(job, *bounds)],
                [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds.tobytes())],
            )
        # Our copies: while they are open, the end of the child's would not be seen.
        channel.close()
        os.close(status_end)
        return SandboxProcess(self, limits, ours, status, job, dialogue=dialogue)

    def release(self) -> None:
        """Count one run less."""
        with self._lock:
            self.running -= 1

    def kill(self, job: int) -> None:
        """Kill every process of the job, if it still runs."""
        with contextlib.suppress(OSError):
            self._control.send(wire.ORDER.pack(job, *wire.NOTHING))

    def stop(self) -> None:
        """End the interpreter and with it everything inside."""
        self._control.close()
        self._process.kill()
        self._process.wait()
        self._log.close()


class Jail:
    """Runs model-written Python behind every wall the kernel offers. Thread-safe.

    Args:
        workers: warm interpreters and runs at a time; default one for each core.
        allow_subprocess: show the interpreter and a shell inside, for runs whose limits allow them.
        packages: more importable packages, shown read-only with what they depend on: names, or folders of modules.
            Without any, the standard library and those of `STANDARD` that are installed.
        weaker: run although layers are missing; `stamp` then says which.
    """

    def __init__(
        self,
        workers: int | None = None,
        *,
        allow_subprocess: bool = False,
        packages: Sequence[str] = (),
        weaker: bool = False,
    ) -> None:
        self._count = workers or len(os.sched_getaffinity(0))
        shown = find([*standard(), *packages])
        self._options = {
            "packages": list(shown.paths), "search": list(shown.search), "warm": list(shown.warm),
            "subprocesses": allow_subprocess,
        }  # fmt: skip
        self._weaker = weaker
        self._layers: tuple[Layer, ...] | None = None
        self._workers: list[WarmInterpreter] = []
        self._lock = threading.Lock()
        self._slots = threading.BoundedSemaphore(self._count)
        self._closed = False

    def __enter__(self) -> Jail:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def probe(self) -> list[Layer]:
        """Return every layer of the jail, and whether it stands on this machine."""
        if self._layers is None:
            self._layers = tuple(layers_from(self._worker().failed))
        return list(self._layers)

    @property
    def stamp(self) -> str | None:
        """What every verdict must carry: the layers that were missing; None for the full jail."""
        gone = [layer.name for layer in self.probe() if not layer.ok]
        return "weaker jail, without " + ", ".join(gone) if gone else None

    @property
    def workers(self) -> int:
        """How many runs there are at a time."""
        return self._count

    @contextlib.contextmanager
    def slot(self) -> Iterator[None]:
        """Hold one of `workers` places; a run of one solution holds one, however many processes it opens.

        Raises:
            VerifierError: a layer is missing and `weaker` was not asked for.
        """
        # Asked at every run: a worker that was started again may have found the machine changed.
        with self._slots:
            if not self._weaker:
                missing = [layer for layer in self.probe() if not layer.ok]
                if missing:
                    raise missing_error(missing)
            yield

    @contextlib.contextmanager
    def process(
        self, limits: Limits, streams: Sequence[int] = (), *, dialogue: bool = False
    ) -> Iterator[SandboxProcess]:
        """One locked-up child for the length of the block; call inside `slot`.

        Args:
            limits: what it may use.
            streams: of a program: descriptors of its stdin, its stdout and maybe itself.
            dialogue: it is asked one thing after another; else it answers one order and ends.
        """
        process = self._worker().open(limits, streams, dialogue=dialogue)
        try:
            yield process
        finally:
            process.close()

    def _worker(self) -> WarmInterpreter:
        """Return the least busy living worker; it is started when first needed."""
        with self._lock:
            if self._closed:
                raise VerifierError("the jail has been closed", remedy="open a new one")
            for dead in [worker for worker in self._workers if not worker.alive()]:
                self._workers.remove(dead)
                dead.stop()
            idle = min(self._workers, key=lambda worker: worker.running, default=None)
            # A new interpreter costs a second, so one is started only if all others are at work.
            if idle is None or (idle.running and len(self._workers) < self._count):
                idle = WarmInterpreter(self._options)
                self._workers.append(idle)
            return idle

    def close(self) -> None:
        """End every interpreter; whatever still ran in them is killed."""
        with self._lock:
            self._closed = True
            workers, self._workers = self._workers, []
        for worker in workers:
            worker.stop()


STANDARD = ("sortedcontainers",)
"""Shown in every jail where installed: judges of LeetCode-like sets provide it, and it is pure Python."""
_WARM = frozenset({"numpy", "pandas", "scipy", "sympy", "networkx", "pytest", "sortedcontainers"})
_REQUIREMENT = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]{0,100})([^;]*)(;.*)?", re.DOTALL)


@dataclass(frozen=True)
class Shown:
    """What a jail shows beside the standard library.

    Attributes:
        paths: folders and files, shown read-only under their own names.
        search: folders to look for modules in.
        warm: modules imported once, before any run.
    """

    paths: tuple[str, ...] = ()
    search: tuple[str, ...] = ()
    warm: tuple[str, ...] = ()


def find(packages: Sequence[str]) -> Shown:
    """Return what has to be shown for `packages`: names of modules or distributions, or folders of modules.

    Raises:
        VerifierError: one is not installed.
    """
    paths, search, warm = dict[str, None](), dict[str, None](), list[str]()
    for name in packages:
        if "/" in name:
            paths[name] = search[name] = None
            continue
        for distribution in _closure(_distributions_of(name)):
            folder = str(Path(str(distribution.locate_file(""))).resolve())
            search[folder] = None
            paths |= {f"{folder}/{top}": None for top in _tops(distribution) if Path(folder, top).exists()}
        if name in _WARM:
            warm.append(name)
    return Shown(tuple(paths), tuple(search), tuple(warm))


def standard() -> list[str]:
    """Return those of `STANDARD` that are installed."""
    return [name for name in STANDARD if _found(name) is not None]


@cache
def _modules() -> dict[str, list[str]]:
    return {name: list(found) for name, found in importlib.metadata.packages_distributions().items()}


def _found(name: str) -> importlib.metadata.Distribution | None:
    try:
        return importlib.metadata.distribution(name)
    except (importlib.metadata.PackageNotFoundError, ValueError):
        return None


def _distributions_of(name: str) -> list[importlib.metadata.Distribution]:
    direct = _found(name)
    found = [direct] if direct else [d for other in _modules().get(name, []) if (d := _found(other))]
    if not found:
        raise VerifierError(
            f"the jail can't show the package {name}: it is not installed",
            where="verify.jail.packages",
            remedy=f"pip install {name}, or take it off the list",
        )
    return found


def _closure(roots: Iterable[importlib.metadata.Distribution]) -> list[importlib.metadata.Distribution]:
    """Return the distributions with all they require that is installed; requirements of extras don't count."""
    seen: dict[str, importlib.metadata.Distribution] = {}
    todo = list(roots)
    while todo:
        distribution = todo.pop()
        key = distribution.metadata["Name"].lower().replace("_", "-")
        if key in seen:
            continue
        seen[key] = distribution
        for requirement in distribution.requires or ():
            match = _REQUIREMENT.match(requirement)
            if match and "extra" not in (match[3] or "") and (more := _found(match[1])):
                todo.append(more)
    return list(seen.values())


def _tops(distribution: importlib.metadata.Distribution) -> set[str]:
    """Return the top-level files and folders that a distribution has installed."""
    tops = {str(file).split("/")[0] for file in distribution.files or ()}
    return {top for top in tops if top not in ("..", "__pycache__", "bin") and not top.endswith(".pth")}
