"""The warm interpreter: builds the jail's root once, then forks one locked-up child a run.

Two processes of trusted code: the *launcher*, which leaves the user's namespaces and watches, and the
*zygote*, process 1 of its own pid namespace, which takes jobs from descriptor 0. When the program
that started them dies, however hard, the launcher kills the zygote, and the kernel kills every
process of the zygote's pid namespace with it.
"""

from __future__ import annotations

import array
import contextlib
import gc
import importlib
import json
import os
import random
import select
import signal
import site
import socket
import sys
import time
from dataclasses import dataclass, replace
from typing import Any

from proofmill.filters.sandbox import (
    extract,
    in_process,
    kernel,
    proxies,
    solution_host,
    test_runner,
    vetting,
    walls,
    wire,
)

# Imported once, before the first fork: what solutions import most. Every module more makes every fork
# dearer, so that what few solutions need is left for them to import.
_WARM = (
    "bisect", "collections", "copy", "functools", "heapq", "itertools", "math", "operator", "random", "re",
    "string", "threading", "typing", "ast", "unittest",
)  # fmt: skip


def warm_up() -> None:
    """Import the usual modules, and keep the C library from reserving address space for every thread."""
    kernel.one_arena()
    for name in _WARM:
        importlib.import_module(name)
    site.setquit()  # `exit()` is part of the language for those who write scripts; -S leaves it out
    os.environ.update(HOME="/tmp", PATH="/usr/bin:/bin", OPENBLAS_NUM_THREADS="1")  # noqa: S108
    sys.set_int_max_str_digits(0)  # time is bounded anyway, and contests have numbers beyond 4,300 digits


def _report_fault(fd: int, fault: dict[str, str]) -> None:
    """Report that the walls could not be built."""
    wire.Link(fd).send(wire.FAULT, fault)


def run_job(fd: int) -> None:
    """Take the job from the channel and do it; the caller ends the process afterwards."""
    channel = wire.Link(fd)
    channel.send(wire.READY, None)
    _, job = channel.receive()
    roles = {
        "serve": solution_host.serve,
        "program": solution_host.run_program,
        "compile": solution_host.compile_program,
        "execute": solution_host.execute_program,
        "apart": proxies.run_apart,
        "beside": in_process.read,
        "join": extract.join,
        "outline": extract.send_outlines,
    }
    roles[job["role"]](channel, job)


_REHEARSALS = 12  # the interpreter adapts code after eight calls
_SOLUTION = """
from typing import List
class Box:
    def __init__(self, x): self.x = x
    def get(self) -> int: return self.x if self.x > 0 else -self.x
def f(xs: List[int], text="a"):
    found = {}
    for i, x in enumerate(sorted(xs)):
        if x % 2 == 0 and x not in found: found[x] = [Box(x).get() + i, f"{text}{x:>3}", (x / 2, None)]
    return [found, {str(y) for y in xs}, [y * y for y in xs if y]]
"""
_CALLS = ["f([3, 2, -4, 0])", "f([])", "f([1, 'a'])", "len(f([2, 2], text='b c'))"]
_TESTS = "def check(candidate):\n    assert candidate([1, 2]) == 2, 'two'\n    assert not candidate('')\n"


def rehearse() -> None:
    """Do what a run does a few times, with a solution of our own.

    Code that has run is adapted by the interpreter, and attributes and symbols are looked up: what is written for
    that here, once, no child writes, each time into a page that the kernel first has to copy.
    """
    job = {"role": "serve", "setup": "from typing import List", "code": _SOLUTION, "entry_point": "f", "prelude": {}}
    order = wire.frame(wire.JOB, wire.dumps(job)) + wire.frame(wire.EVALUATE, wire.dumps(_CALLS))
    for _ in range(_REHEARSALS):
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.sendall(order)
            run_job(theirs.fileno())
        vetting.look_at(_SOLUTION, frozenset({"f"}), frozenset(), frozenset({"f"}))
        test_runner.Tests({"f": len}, test_runner.TestCounts(False), lambda: len, "f").run(
            ["assert f([1]) == 1"], _TESTS
        )
    del sys.modules[solution_host.MODULE]


MAX_JOB = 1 << 16
_CORES = os.cpu_count() or 1
_PROBE = wire.Bounds(5, 256, 1 << 20, 1, 16, subprocesses=False, one_exec=False)


@dataclass
class _Run:
    """A child at work: what it may use and what it has used."""

    number: int
    pid: int
    status_fd: int
    cpu_s: float
    out_of_time: bool = False
    unwanted: bool = False  # the parent has asked to kill it

    def late(self, code: int, cpu_s: float) -> bool:
        """Return whether a limit of CPU time has ended it: ours, or the kernel's, whose clock is coarse.

        Nobody else sends SIGKILL: process 1 of a pid namespace can't kill itself.
        """
        return self.out_of_time or (cpu_s > self.cpu_s / 2 and code == -signal.SIGKILL and not self.unwanted)

    def left(self) -> float:
        """Return the CPU seconds that it may still use."""
        try:  # the CPU clock of a process: bits as in CPUCLOCK_SCHED of the kernel's posix-timers.h
            return self.cpu_s - time.clock_gettime((~self.pid << 3) | 2)
        except OSError:  # it has ended, and is about to be reaped
            return self.cpu_s


class Zygote:
    """Takes jobs, forks, reaps and reports; knows nothing of what the jobs compute."""

    def __init__(self, control: socket.socket, template: walls.Template) -> None:
        self._control = control
        self._template = template
        self._null = os.open("/dev/null", os.O_RDWR)
        self._own = os.pidfd_open(os.getpid())
        self._poll = select.poll()
        self._poll.register(control.fileno(), select.POLLIN)
        self._runs: dict[int, _Run] = {}
        self._by_number: dict[int, int] = {}

    def serve(self) -> None:
        """Work until the other end of the control socket is closed."""
        while True:
            for fd, _ in self._poll.poll(self._next_check()):
                if fd == self._control.fileno():
                    if not self._message():
                        return
                elif fd in self._runs:
                    self._reap(fd)
            for pidfd, run in self._runs.items():
                if run.left() <= 0 and not run.out_of_time:
                    run.out_of_time = True
                    signal.pidfd_send_signal(pidfd, signal.SIGKILL)

    def _next_check(self) -> float | None:
        """Return the milliseconds in which the first run could use up its CPU time, were all cores its own."""
        left = [run.left() for run in self._runs.values() if not run.out_of_time]
        return max(10.0, 1000 * min(left) / _CORES + 1) if left else None

    def _message(self) -> bool:
        raw, ancillary, _, _ = self._control.recvmsg(MAX_JOB, socket.CMSG_SPACE(5 * 4))
        if not raw:
            return False
        fds = array.array("i")
        for _, _, data in ancillary:
            fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
        number, *bounds = wire.ORDER.unpack(raw)
        if not fds:
            self._kill(number)
            return True
        self._start(number, wire.Bounds(*bounds), list(fds))
        for fd in fds:
            if fd != fds[1]:  # which reports the end
                os.close(fd)
        return True

    def _kill(self, number: int) -> None:
        pidfd = self._by_number.get(number)
        if pidfd is not None:
            self._runs[pidfd].unwanted = True
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)

    def _start(self, number: int, bounds: wire.Bounds, fds: list[int]) -> None:
        """Fork the child of one run; `fds` are its channel, its status pipe and maybe stdin, stdout, a program."""
        channel, status, *streams = fds
        stdin, stdout, *program = streams or (self._null, self._null)
        try:
            self._fresh_pid_namespace()
            pid = kernel.fork()
        except OSError as error:
            self._report(status, wire.RECORD.pack(0, 0.0, 0.0, False) + f"fork: {error}".encode())
            return
        if pid == 0:
            self._child(bounds, channel, [stdin, stdout, *program])
        pidfd = os.pidfd_open(pid)
        self._runs[pidfd] = _Run(number, pid, status, bounds.cpu_s)
        self._by_number[number] = pidfd
        self._poll.register(pidfd, select.POLLIN)

    def _fresh_pid_namespace(self) -> None:
        if "pid namespace" not in self._template.missing:
            kernel.setns(self._own, kernel.CLONE_NEWPID)  # back to our own, so that unshare may be called again
            kernel.unshare(kernel.CLONE_NEWPID)

    def _child(self, bounds: wire.Bounds, channel: int, streams: list[int]) -> None:
        """Run the job and never return. The first message says whether the walls stand; no foreign code has run yet."""
        try:
            os.dup2(self._null, 2)
            try:
                walls.lock_down(self._template, bounds, channel, *streams)
            except OSError as error:
                _report_fault(walls.CHANNEL_FD, {"fault": f"jail: {error}"})
                os._exit(1)
            run_job(walls.CHANNEL_FD)
        finally:
            os._exit(1)

    def _reap(self, pidfd: int) -> None:
        run = self._runs.pop(pidfd)
        self._poll.unregister(pidfd)
        del self._by_number[run.number]
        os.close(pidfd)
        _, status, usage = os.wait4(run.pid, 0)
        code = os.waitstatus_to_exitcode(status)
        cpu = usage.ru_utime + usage.ru_stime
        self._report(run.status_fd, wire.RECORD.pack(code, cpu, usage.ru_maxrss / 1024, run.late(code, cpu)))

    def _report(self, status: int, record: bytes) -> None:
        with contextlib.suppress(OSError):  # the parent may have lost interest in this run
            os.write(status, record)
        os.close(status)


def _probe_child(template: walls.Template, *, subprocesses: bool) -> dict[str, str]:
    """Build every wall in a child of its own and try it; layer to reason for what does not hold."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            found = walls.probe_walls(template, _PROBE._replace(subprocesses=subprocesses))
            os.write(writer, json.dumps(found).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as stream:
        raw = stream.read()
    with contextlib.suppress(ChildProcessError):
        while True:  # the probe, and what it left: they end with it, and this is their new parent
            os.waitpid(-1, 0)
    return dict(json.loads(raw)) if raw else {"jail": "the probing process died"}


def _template(failed: dict[str, str], readable: tuple[str, ...], second_user: bool, base_bytes: int) -> walls.Template:
    abi = 0
    rules: dict[bool, tuple[bytes, ...]] = {}
    filters: dict[str, kernel.SystemCallFilter] = {}
    try:
        abi = kernel.landlock_abi()
        rules = walls.landlock_rules(abi, readable)
    except OSError as error:
        failed["landlock"] = str(error)
    try:
        filters = {
            "": kernel.SystemCallFilter(kernel.filter_program()),
            "subprocesses": kernel.SystemCallFilter(kernel.filter_program(subprocesses=True)),
            "one_exec": kernel.SystemCallFilter(kernel.filter_program(one_exec=True)),
        }
    except OSError as error:
        failed["seccomp"] = str(error)
    return walls.Template(rules, second_user, abi, base_bytes, filters)


def _zygote(control: socket.socket, failed: dict[str, str], options: dict[str, Any], second: bool) -> None:
    kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
    held, paths = walls.AddressSpace(), list[str]()
    programs = bool(options["subprocesses"])
    if "mount namespace" in failed:  # else it would be the machine's own root that is changed
        failed["root"] = "needs the mount namespace"
        readable = tuple(walls.needed_paths())
    else:
        walls.attempt(failed, "root", lambda: paths.extend(walls.build(options["packages"], programs=programs)))
        readable = tuple(paths or walls.needed_paths())
    sys.argv = [""]
    sys.path.extend(options["search"])
    for name in options["warm"]:
        with contextlib.suppress(Exception):  # a broken package: who imports it inside is told
            importlib.import_module(name)
    rehearse()
    template = _template(failed, readable, second, held.size())
    in_process.remember_modules()
    random.seed(0)  # a verdict must not depend on luck; children inherit this state
    gc.collect()
    gc.freeze()  # else every collection in a child copies the pages of all modules
    template = replace(template, missing=frozenset(failed))
    failed |= _probe_child(template, subprocesses=False)
    if programs:
        failed |= _probe_child(template, subprocesses=True)
    control.send(json.dumps({"failed": failed, "second_user": second}).encode())
    Zygote(control, replace(template, missing=frozenset(failed))).serve()


def _watch(parent: int, zygote: int) -> None:
    """Wait until the program that started us or the zygote is gone, then leave neither behind."""
    poll = select.poll()
    for fd in (parent, zygote):
        poll.register(fd, select.POLLIN)
    poll.poll()
    signal.pidfd_send_signal(zygote, signal.SIGKILL)


def main(parent_pid: int) -> None:
    """Run as the process that `Jail` starts; descriptor 0 is the control socket."""
    kernel.wipe_environment()
    while os.open("/dev/null", os.O_RDWR) <= walls.PROGRAM_FD:
        pass  # taken, so that no descriptor of ours or of a job lands where a child puts its own
    parent = os.pidfd_open(parent_pid)
    if os.getppid() != parent_pid:
        sys.exit(1)
    control = socket.socket(fileno=os.dup(0))
    options = json.loads(control.recv(MAX_JOB))
    warm_up()
    failed: dict[str, str] = {}
    second = walls.enter(failed)
    pid = os.fork()
    if pid == 0:
        _zygote(control, failed, options, second)
        os._exit(0)
    control.close()
    os.close(0)
    _watch(parent, os.pidfd_open(pid))
    os.waitpid(pid, 0)
