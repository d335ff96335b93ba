"""The kernel calls of the jail, through ctypes: namespaces, mounts, Landlock, seccomp, capabilities.

Numbers are from the kernel's user-space headers (include/uapi). Only the standard library is used:
this module runs inside the jail's own interpreter, before it is locked.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import stat
import struct

CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC = 1, 2, 4, 8
MS_BIND, MS_REC, MS_PRIVATE = 0x1000, 0x4000, 0x40000
MNT_DETACH = 2
AT_FDCWD, AT_EMPTY_PATH, AT_RECURSIVE = -100, 0x1000, 0x8000
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 1, 4, 24, 38
PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL = 47, 4
CAPABILITY_VERSION_3 = 0x20080522
SECCOMP_SET_MODE_FILTER = 1
M_ARENA_MAX = -8

X86_64 = "x86_64"
AARCH64 = "aarch64"
MACHINE = {"amd64": X86_64, "arm64": AARCH64}.get(platform.machine().lower(), platform.machine().lower())
# pivot_root, seccomp, capset; the newer calls have one number everywhere
_NUMBERS = {X86_64: (155, 317, 126), AARCH64: (41, 277, 91)}
NR_PIVOT_ROOT, NR_SECCOMP, NR_CAPSET = _NUMBERS.get(MACHINE, (-1, -1, -1))
NR_MOUNT_SETATTR = 442
NR_LANDLOCK_CREATE, NR_LANDLOCK_ADD, NR_LANDLOCK_RESTRICT = 444, 445, 446

_libc = ctypes.CDLL(None, use_errno=True)
_interpreter = ctypes.PyDLL(None, use_errno=True)  # calls that keep the interpreter's lock


def _check(result: int, call: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{call}: {os.strerror(number)}")
    return result


def _syscall(call: str, number: int, *arguments: object) -> int:
    if number < 0:
        raise OSError(errno.ENOSYS, f"{call}: no system call number known for {MACHINE}")
    return _check(_libc.syscall(ctypes.c_long(number), *arguments), call)


def unshare(flags: int) -> None:
    """Leave the namespaces named by `flags` for new ones."""
    _check(_libc.unshare(ctypes.c_int(flags)), "unshare")


def setns(fd: int, flags: int) -> None:
    """Enter the namespaces that `fd` refers to."""
    _check(_libc.setns(fd, ctypes.c_int(flags)), "setns")


def fork() -> int:
    """fork(2) without Python's own after-fork work, which a process of one thread does not need.

    It would touch hundreds of pages, each of which the kernel then has to copy.
    """
    return _check(_interpreter.fork(), "fork")


def mount(source: str | None, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    """mount(2)."""
    encoded = [None if text is None else os.fsencode(text) for text in (source, target, kind, data)]
    _check(_libc.mount(encoded[0], encoded[1], encoded[2], ctypes.c_ulong(flags), encoded[3]), f"mount {target}")


def lock_mount(target: str, flags: int, *, recursive: bool = True) -> None:
    """Add read-only, no-setuid and such to a mount; never takes a flag away, unlike a remount."""
    attributes = struct.pack("QQQQ", flags, 0, 0, 0)
    _syscall(
        f"mount_setattr {target}",
        NR_MOUNT_SETATTR,
        AT_FDCWD,
        os.fsencode(target),
        ctypes.c_uint(AT_RECURSIVE if recursive else 0),
        attributes,
        ctypes.c_size_t(len(attributes)),
    )


def pivot_root_here() -> None:
    """Make the current folder the root and let go of the old root."""
    _syscall("pivot_root", NR_PIVOT_ROOT, b".", b".")
    _check(_libc.umount2(b".", MNT_DETACH), "umount2")
    os.chdir("/")


def prctl(option: int, value: int = 0, third: int = 0) -> None:
    """prctl(2)."""
    _check(
        _libc.prctl(option, ctypes.c_ulong(value), ctypes.c_ulong(third), ctypes.c_ulong(0), ctypes.c_ulong(0)),
        f"prctl {option}",
    )


def drop_capabilities(*, bounding: bool) -> None:
    """Empty every capability set; the bounding set too, which only matters to what is exec'ed later."""
    for capability in range(64 if bounding else 0):
        try:
            prctl(PR_CAPBSET_DROP, capability)
        except OSError as error:
            if error.errno == errno.EINVAL:  # past the last capability of this kernel
                break
            raise
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)
    _syscall("capset", NR_CAPSET, struct.pack("Ii", CAPABILITY_VERSION_3, 0), bytes(24))


# rights over files, by bit: execute, write, read, list, and 9 more ways to change a folder
LANDLOCK_EXECUTE, LANDLOCK_READ = 1 << 0, (1 << 2) | (1 << 3)
LANDLOCK_WRITE = sum(1 << bit for bit in (1, 2, 3, 4, 5, 7, 8, 12, 13, 14))  # no devices, sockets, pipes
_LANDLOCK_OF_FILES = 0b111 | 1 << 14
_LANDLOCK_BITS = {1: 13, 2: 14, 3: 15, 4: 15}


def landlock_abi() -> int:
    """The kernel's Landlock version; raises OSError where there is none."""
    return _syscall("landlock_create_ruleset", NR_LANDLOCK_CREATE, None, ctypes.c_size_t(0), ctypes.c_uint(1))


def landlock(abi: int, rules: list[tuple[str, int]]) -> None:
    """Forbid this process all files but those below the paths of `rules`, and TCP, and foreign signals.

    Args:
        abi: from `landlock_abi`.
        rules: path and the rights granted below it. Needs no_new_privs set before.
    """
    handled = (1 << _LANDLOCK_BITS.get(abi, 16)) - 1
    network = 3 if abi >= 4 else 0
    scope = 3 if abi >= 6 else 0
    raw = struct.pack("QQQ", handled, network, scope)[: 8 if abi < 4 else 16 if abi < 6 else 24]
    ruleset = _syscall("landlock_create_ruleset", NR_LANDLOCK_CREATE, raw, ctypes.c_size_t(len(raw)), ctypes.c_uint(0))
    for path, rights in rules:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
        meant = rights if stat.S_ISDIR(os.fstat(place).st_mode) else rights & _LANDLOCK_OF_FILES
        rule = struct.pack("=Qi", meant & handled, place)
        _syscall("landlock_add_rule", NR_LANDLOCK_ADD, ruleset, 1, rule, ctypes.c_uint(0))
        os.close(place)
    _syscall("landlock_restrict_self", NR_LANDLOCK_RESTRICT, ruleset, ctypes.c_uint(0))
    os.close(ruleset)


def seccomp(program: bytes) -> None:
    """Install the BPF `program` (8 bytes an instruction) for this process, for good."""
    code = ctypes.create_string_buffer(program, len(program))
    head = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(code))
    _syscall("seccomp", NR_SECCOMP, SECCOMP_SET_MODE_FILTER, ctypes.c_uint(0), head)


def one_arena() -> None:
    """Keep malloc to one arena: it reserves 64 MiB of address space for each, which is what is limited."""
    if hasattr(_libc, "mallopt"):  # glibc only
        _libc.mallopt(M_ARENA_MAX, 1)


def wipe_environment() -> None:
    """Overwrite the environment block that /proc/PID/environ shows, and empty `os.environ`."""
    block = ctypes.POINTER(ctypes.c_void_p).in_dll(_libc, "environ")
    index = 0
    while block and block[index]:
        text = ctypes.cast(block[index], ctypes.c_char_p).value or b""
        ctypes.memset(block[index], 0, len(text))
        index += 1
    os.environ.clear()
