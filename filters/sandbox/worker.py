"""The parent's end of one warm interpreter and of one run in it; what arrives is read as hostile bytes.

Everything that comes out of a cell is capped in size and time and never evaluated. A cell's CPU time
decides a time-out; wall time is only a generous backstop.
"""

from __future__ import annotations

import array
import contextlib
import json
import os
import select
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from proofmill.data.errors import VerifierError
from proofmill.filters.sandbox import link, wire

_BOOT = """
import sys, types
for name in ("proofmill", "proofmill.filters", "proofmill.filters.sandbox"):
    sys.modules[name] = module = types.ModuleType(name)
    module.__path__ = [sys.argv[1]] if name.endswith("sandbox") else []
from proofmill.filters.sandbox import zygote
zygote.main(int(sys.argv[2]))
"""
_START_SECONDS = 60.0
MAX_ANSWER = 4 << 20  # bytes of one message from a cell; as parsed it takes up to 25 times as much
_KILL_SECONDS = 30.0  # a killed process group that is not gone by then means a broken machine
_RECORD_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Limits:
    """What one run may use.

    Attributes:
        cpu_s: CPU seconds of the solution's process, all its threads together.
        memory_mb: address space above that of the bare interpreter, in MiB, a process.
        output_bytes: largest file or standard output.
        scratch_mb: size of the private /tmp in MiB.
        processes: cap on processes and threads.
        subprocesses: allow fork and exec.
    """

    cpu_s: float = 5.0
    memory_mb: float = 512.0
    output_bytes: int = 4 << 20
    scratch_mb: int = 16
    processes: int = 32
    subprocesses: bool = False

    @property
    def wall_s(self) -> float:
        """The backstop: far more than `cpu_s`, for sleepers and stalled machines."""
        return 10.0 + 4.0 * self.cpu_s


@dataclass(frozen=True, slots=True)
class Exit:
    """How a cell ended.

    Attributes:
        code: exit code, negative the signal, None where the jail itself failed.
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


class CellEnded(Exception):  # noqa: N818 - an event, not a fault
    """The cell hung up, ran out of time, or sent what no message is."""


class Cell:
    """One run inside the jail, from fork to the death of its last process."""

    def __init__(self, worker: Worker, limits: Limits, channel: socket.socket, status: int, job: int) -> None:
        self._worker, self._limits, self._channel, self._status, self._job = (
            worker,
            limits,
            channel,
            status,
            job,
        )
        self._deadline = time.monotonic() + limits.wall_s
        self._wall_out = False
        self._exit: Exit | None = None
        self._fault: str | None = None
        self._ready = False

    def send(self, kind: bytes, body: bytes) -> None:
        """Send one message; raises `CellEnded`."""
        try:
            self._channel.settimeout(self._remaining())
            self._channel.sendall(link.frame(kind, body))
        except OSError as error:
            self._wall_out |= isinstance(error, TimeoutError)
            raise CellEnded from None

    def receive(self) -> tuple[bytes, bytes]:
        """The next message as kind and hostile body, at most `wire.MAX_FRAME`; raises `CellEnded`."""
        if not self._ready:
            self._ready = True
            kind, body = self._frame()
            if kind != link.READY:
                self._fault = body[:300].decode("ascii", "replace") if kind == link.FAULT else "no start"
                raise CellEnded
        return self._frame()

    def _frame(self) -> tuple[bytes, bytes]:
        size = wire.HEADER.unpack(self._exactly(wire.HEADER.size))[0]
        if not 1 <= size <= MAX_ANSWER:
            raise CellEnded
        raw = self._exactly(size)
        return raw[:1], raw[1:]

    def _exactly(self, size: int) -> bytes:
        parts = bytearray()
        while len(parts) < size:
            try:
                self._channel.settimeout(self._remaining())
                part = self._channel.recv(min(size - len(parts), 1 << 20))
            except OSError as error:
                self._wall_out |= isinstance(error, TimeoutError)
                raise CellEnded from None
            if not part:
                raise CellEnded
            parts += part
        return bytes(parts)

    def _remaining(self) -> float:
        left = self._deadline - time.monotonic()
        if left <= 0:
            self._wall_out = True
            raise CellEnded
        return left

    def wait(self) -> Exit:
        """Let the cell run to its own end, within its limits."""
        ready, _, _ = select.select([self._status], [], [], max(0.0, self._deadline - time.monotonic()))
        self._wall_out |= not ready
        return self.close()

    def close(self) -> Exit:
        """Kill what is left of the cell and say how it ended. Nothing of it lives on afterwards."""
        if self._exit is None:
            self._channel.close()
            self._worker.kill(self._job)
            record = self._record()
            os.close(self._status)
            self._exit = self._judge(record)
            self._worker.release()
        return self._exit

    def _record(self) -> dict[str, Any]:
        ready, _, _ = select.select([self._status], [], [], _KILL_SECONDS)
        raw = os.read(self._status, _RECORD_BYTES) if ready else b""
        return dict(json.loads(raw)) if raw else {"fault": "the jail's own process died"}

    def _judge(self, record: dict[str, Any]) -> Exit:
        fault = self._fault or record.get("fault")
        cpu = float(record.get("cpu_s", 0.0))
        late = self._wall_out or bool(record.get("late")) or cpu >= self._limits.cpu_s
        return Exit(record.get("exit"), cpu, float(record.get("peak_mb", 0.0)), late, fault)


class Worker:
    """One warm interpreter outside which nothing of a solution is ever loaded."""

    def __init__(self, options: dict[str, Any]) -> None:
        self.running = 0
        self._jobs = 0
        self._lock = threading.Lock()
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        flags = ["-s", "-S", "-P", "-B", "-X", "utf8"]
        folder = str(Path(__file__).resolve().parent)
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the worker
        self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and code
            [getattr(sys, "_base_executable", sys.executable), *flags, "-c", _BOOT, folder, str(os.getpid())],
            env={"PYTHONHASHSEED": "0"},  # the order of sets must not differ from run to run; wiped at start
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
        """Whether jobs can be sent."""
        return self._process.poll() is None

    def open(self, limits: Limits, streams: Sequence[int]) -> Cell:
        """Fork one child; `streams` is empty or the descriptors of its stdin and stdout."""
        ours, channel = socket.socketpair()
        status, status_end = os.pipe()
        with self._lock:
            self._jobs += 1
            job = self._jobs
            self.running += 1
        message = {
            "id": job, "cpu_s": limits.cpu_s, "memory_mb": limits.memory_mb,
            "file_bytes": limits.output_bytes, "scratch_mb": limits.scratch_mb,
            "processes": limits.processes, "subprocesses": limits.subprocesses,
        }  # fmt: skip
        fds = array.array("i", [channel.fileno(), status_end, *streams])
        with contextlib.suppress(OSError):  # a dead worker shows as a status without a record
            self._control.sendmsg(
                [json.dumps(message).encode()], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds.tobytes())]
            )
        channel.close()
        os.close(status_end)
        return Cell(self, limits, ours, status, job)

    def release(self) -> None:
        """Count one run less."""
        with self._lock:
            self.running -= 1

    def kill(self, job: int) -> None:
        """Kill every process of the job, if it still runs."""
        with contextlib.suppress(OSError):
            self._control.send(json.dumps({"kill": job}).encode())

    def stop(self) -> None:
        """End the interpreter and with it everything inside."""
        self._control.close()
        self._process.kill()
        self._process.wait()
        self._log.close()
