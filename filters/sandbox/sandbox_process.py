"""The walls around one run: what a freshly forked child does to itself before hostile code starts.

Runs inside the zygote's child. Every wall is one function; a wall that can't be built raises OSError
and the child ends before it has seen any code, unless the parent has accepted to run without it.
"""

from __future__ import annotations

import ctypes
import os
import resource
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from proofmill.filters.sandbox import kernel

CHANNEL_FD, PROGRAM_FD = 3, 4
SANDBOX_ID = 1  # user and group inside the jail, mapped to nobody where the jail was started by root
NOBODY = 65534
SCRATCH_INODES = 4096
MAX_FILES = 128


@dataclass(frozen=True)
class Template:
    """What the zygote found out once and every child needs: open read-only paths, ids, baselines.

    Attributes:
        readable: paths inside the jail's root that may be read.
        switch_user: whether `SANDBOX_ID` is mapped and can be switched to.
        landlock_abi: version of Landlock, 0 where there is none.
        base_bytes: address space that the warm interpreter holds before any solution.
        filters: the system-call programs by what they allow: `""`, `subprocesses`, `one_exec`.
        missing: layers that could not be built when the zygote started.
    """

    readable: tuple[str, ...]
    switch_user: bool
    landlock_abi: int
    base_bytes: int
    filters: Mapping[str, bytes]
    missing: frozenset[str] = frozenset()


def _namespaces(template: Template, job: Mapping[str, Any]) -> None:
    """Its own mounts, ipc objects and names. The net namespace is the zygote's, empty and cut off.

    A fresh one costs more than all else together, and without `socket` nothing can be left in it; where
    that does not hold, the child gets its own.
    """
    flags = kernel.CLONE_NEWNS | kernel.CLONE_NEWIPC | kernel.CLONE_NEWUTS | kernel.CLONE_NEWCGROUP
    if job["subprocesses"] or "seccomp" in template.missing:
        flags |= kernel.CLONE_NEWNET
    kernel.unshare(flags)


def _scratch(template: Template, job: Mapping[str, Any]) -> None:
    """A private, empty /tmp of bounded size; programs may be started from it only with subprocesses."""
    if "root" in template.missing:  # it would cover the machine's own folder
        raise OSError("needs the jail's own root")
    flags = kernel.MS_NOSUID | kernel.MS_NODEV | (0 if job["subprocesses"] else kernel.MS_NOEXEC)
    size = f"size={job['scratch_mb']}m,nr_inodes={SCRATCH_INODES},mode=1777"
    kernel.mount("tmpfs", "/tmp", "tmpfs", flags, size)  # noqa: S108 - the jail's own root
    os.chdir("/tmp")  # noqa: S108


def _limits(template: Template, job: Mapping[str, Any]) -> None:
    memory = template.base_bytes + int(job["memory_mb"] * (1 << 20))
    seconds = int(-(-job["cpu_s"] // 1)) + 1  # in whole seconds; the zygote, which is exact, kills before
    bounds = {
        resource.RLIMIT_AS: memory,
        resource.RLIMIT_CPU: seconds,
        resource.RLIMIT_FSIZE: job["file_bytes"],
        resource.RLIMIT_NOFILE: MAX_FILES,
        resource.RLIMIT_NPROC: job["processes"],
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_MEMLOCK: 0,
        resource.RLIMIT_MSGQUEUE: 0,
    }
    for kind, bound in bounds.items():
        resource.setrlimit(kind, (bound, bound))


def _user(template: Template, _job: Mapping[str, Any]) -> None:
    """Another user than the zygote's where one is mapped, then a user namespace with no mapping at all."""
    if template.switch_user:
        os.setresgid(SANDBOX_ID, SANDBOX_ID, SANDBOX_ID)
        os.setresuid(SANDBOX_ID, SANDBOX_ID, SANDBOX_ID)
    kernel.unshare(kernel.CLONE_NEWUSER)


def _capabilities(template: Template, job: Mapping[str, Any]) -> None:
    if "user namespace" in template.missing and os.getuid() == 0:  # a weaker jail, but not as root
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
    kernel.drop_capabilities(bounding=bool(job["subprocesses"]))
    kernel.prctl(kernel.PR_SET_DUMPABLE, 0)
    kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)


def _landlock(template: Template, job: Mapping[str, Any]) -> None:
    read = kernel.LANDLOCK_READ | (kernel.LANDLOCK_EXECUTE if job["subprocesses"] else 0)
    rules = [(path, read) for path in template.readable]
    rules += [("/dev/null", read | kernel.LANDLOCK_WRITE)]
    rules += [("/tmp", read | kernel.LANDLOCK_WRITE)]  # noqa: S108
    kernel.landlock(template.landlock_abi, rules)


def _seccomp(template: Template, job: Mapping[str, Any]) -> None:
    allowed = "subprocesses" if job["subprocesses"] else "one_exec" if job.get("one_exec") else ""
    kernel.seccomp(template.filters[allowed])


WALLS: tuple[tuple[str, Callable[[Template, Mapping[str, Any]], None]], ...] = (
    ("namespaces", _namespaces),
    ("scratch", _scratch),
    ("user namespace", _user),
    ("rlimits", _limits),  # after it: processes are then counted for this run alone, not for its siblings too
    ("capabilities", _capabilities),
    ("landlock", _landlock),
    ("seccomp", _seccomp),
)


def lock_down(
    template: Template, job: Mapping[str, Any], channel: int, stdin: int, stdout: int, program: int | None = None
) -> None:
    """Build every wall around the calling process, in the order in which each still may be built.

    Args:
        template: from the zygote.
        job: limits of this run.
        channel, stdin, stdout: descriptors that stay open, moved to 3, 0 and 1.
        program: one more, moved to 4: what may be executed.

    Raises:
        OSError: a wall can't be built and is not among `template.missing`.
    """
    os.setsid()  # else kill(0, …) would reach the zygote's process group
    os.dup2(channel, CHANNEL_FD, inheritable=False)
    os.dup2(stdin, 0)
    os.dup2(stdout, 1)
    if program is not None:
        os.dup2(program, PROGRAM_FD, inheritable=False)
    os.closerange(CHANNEL_FD + 1 + (program is not None), 1 << 16)
    for name, build in WALLS:
        if name not in template.missing:
            build(template, job)


def probe_walls(template: Template, job: Mapping[str, Any]) -> dict[str, str]:
    """Build the walls one by one around the calling process; what failed, by name, with the reason."""
    failed: dict[str, str] = {}
    os.setsid()
    for name, build in WALLS:
        try:
            build(template, job)
        except OSError as error:
            failed[name] = str(error)
    return failed | _holes(job)


def _holes(job: Mapping[str, Any]) -> dict[str, str]:
    """Try what the walls forbid; a wall that was built but does not hold is as good as missing."""
    holes: dict[str, str] = {}
    if job["subprocesses"]:
        if _can_exceed(job["processes"]):
            holes["process cap"] = "more processes could be started than allowed"
    elif _can_fork():
        holes["seccomp"] = "was built, but fork still works"
    for name, attempt in (
        ("landlock", _can_write_outside),
        ("root", _can_see_passwd),
        ("user namespace", _can_unshare),
    ):
        if attempt():
            holes[name] = "was built, but what it forbids still works"
    return holes


def _can_fork() -> bool:
    try:
        child = os.fork()
    except OSError:
        return False
    if child == 0:
        os._exit(0)
    return True


def _can_exceed(processes: int) -> bool:
    """Fork more children than the cap allows; they wait for a pipe that closes with this process."""
    reader, writer = os.pipe()
    for _ in range(processes + 1):
        try:
            child = os.fork()
        except OSError:
            return False
        if child == 0:
            os.close(writer)
            os.read(reader, 1)
            os._exit(0)
    return True


def _can_write_outside() -> bool:
    try:
        os.close(os.open("/jail-probe", os.O_CREAT | os.O_WRONLY))
    except OSError:
        return False
    return True


def _can_see_passwd() -> bool:
    return os.path.lexists("/etc/passwd") or os.path.lexists("/proc/self")


def _can_unshare() -> bool:
    return bool(ctypes.CDLL(None).unshare(kernel.CLONE_NEWUSER) == 0)
