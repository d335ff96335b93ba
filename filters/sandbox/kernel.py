"""The kernel calls of the jail, through ctypes: namespaces, mounts, Landlock, seccomp, capabilities.

Numbers are from the kernel's user-space headers (include/uapi). Only the standard library is used:
this module runs inside the jail's own interpreter, before it is locked.

The system-call filter (`filter_program`) is an allow-list as a classic BPF program, for x86_64 and aarch64. What is
not listed answers EPERM, and ENOSYS where a C library is known to fall back to an older call. No fork, no exec, no
ptrace, no io_uring, no mount, unshare, setns, bpf, keyctl, userfaultfd or perf_event_open; sockets are unnamed pairs
only (asyncio needs one). Threads are allowed, new namespaces and new processes are not. `subprocesses=True` adds fork,
exec and waiting; `one_exec=True` exec alone, of what Landlock leaves to be executed: nothing but the program handed in.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import struct
from collections.abc import Iterable

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
MACHINE = {"amd64": X86_64, "arm64": AARCH64}.get(os.uname().machine.lower(), os.uname().machine.lower())
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
    # The kernel would answer ENOSYS too, but nothing would say why.
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
    """Call fork(2) without Python's own after-fork work, which a process of one thread does not need.

    It would touch hundreds of pages, each of which the kernel then has to copy.
    """
    return _check(_interpreter.fork(), "fork")


def mount(source: str | None, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    """Call mount(2)."""
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
    # pivot_root(".", ".") stacks the old root on the new one, so that no folder for it is needed; see pivot_root(2).
    _check(_libc.umount2(b".", MNT_DETACH), "umount2")
    os.chdir("/")


def prctl(option: int, value: int = 0, third: int = 0) -> None:
    """Call prctl(2)."""
    _check(
        _libc.prctl(option, ctypes.c_ulong(value), ctypes.c_ulong(third), ctypes.c_ulong(0), ctypes.c_ulong(0)),
        f"prctl {option}",
    )


def drop_capabilities(*, bounding: bool) -> None:
    """Empty every capability set; the bounding set too, which only matters to what is exec'ed later."""
    # The numbers of capabilities grow with the kernel: all are tried up to the first that it does not know.
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
    """Return the kernel's Landlock version; raises OSError where there is none."""
    return _syscall("landlock_create_ruleset", NR_LANDLOCK_CREATE, None, ctypes.c_size_t(0), ctypes.c_uint(1))


def landlock_rule(abi: int, path: str, rights: int) -> bytes:
    """Return the rule that grants `rights` below `path`; it holds the path open."""
    place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    # Rights that only a folder can have are an error on a file.
    meant = rights if stat.S_ISDIR(os.fstat(place).st_mode) else rights & _LANDLOCK_OF_FILES
    return struct.pack("=Qi", meant & _landlock_handled(abi), place)


def _landlock_handled(abi: int) -> int:
    # A kernel refuses rights that it does not know, so each version gets those it has, and the shorter struct.
    return int((1 << _LANDLOCK_BITS.get(abi, 16)) - 1)


def landlock(abi: int, rules: Iterable[bytes]) -> None:
    """Forbid this process all files but those of `rules`, and TCP, and foreign signals.

    Args:
        abi: from `landlock_abi`.
        rules: from `landlock_rule`. Needs no_new_privs set before.
    """
    handled = _landlock_handled(abi)
    network = 3 if abi >= 4 else 0
    scope = 3 if abi >= 6 else 0
    raw = struct.pack("QQQ", handled, network, scope)[: 8 if abi < 4 else 16 if abi < 6 else 24]
    ruleset = _syscall("landlock_create_ruleset", NR_LANDLOCK_CREATE, raw, ctypes.c_size_t(len(raw)), ctypes.c_uint(0))
    for rule in rules:
        _syscall("landlock_add_rule", NR_LANDLOCK_ADD, ruleset, 1, rule, ctypes.c_uint(0))
    _syscall("landlock_restrict_self", NR_LANDLOCK_RESTRICT, ruleset, ctypes.c_uint(0))
    os.close(ruleset)


class SystemCallFilter:
    """A BPF `program` (8 bytes an instruction), laid out once as the kernel takes it."""

    def __init__(self, program: bytes) -> None:
        self._code = ctypes.create_string_buffer(program, len(program))
        # struct sock_fprog: a count, the padding of a 64-bit machine, a pointer. The code must live as long.
        self._head = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(self._code))

    def install(self) -> None:
        """Install it for this process, for good."""
        _syscall("seccomp", NR_SECCOMP, SECCOMP_SET_MODE_FILTER, ctypes.c_uint(0), self._head)


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


# name: (x86_64, aarch64); -1 where the machine has no such call
_ALWAYS: dict[str, tuple[int, int]] = {
    "read": (0, 63), "write": (1, 64), "open": (2, -1), "close": (3, 57), "stat": (4, -1),
    "fstat": (5, 80), "lstat": (6, -1), "poll": (7, -1), "lseek": (8, 62), "mmap": (9, 222),
    "mprotect": (10, 226), "munmap": (11, 215), "brk": (12, 214), "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135), "rt_sigreturn": (15, 139), "pread64": (17, 67), "pwrite64": (18, 68),
    "readv": (19, 65), "writev": (20, 66), "access": (21, -1), "pipe": (22, -1), "select": (23, -1),
    "sched_yield": (24, 124), "mremap": (25, 216), "msync": (26, 227), "mincore": (27, 232),
    "madvise": (28, 233), "dup": (32, 23), "dup2": (33, -1), "pause": (34, -1), "nanosleep": (35, 101),
    "getitimer": (36, 102), "alarm": (37, -1), "setitimer": (38, 103), "getpid": (39, 172),
    "sendto": (44, 206), "recvfrom": (45, 207), "shutdown": (48, 210), "getsockname": (51, 204),
    "getpeername": (52, 205), "fadvise64": (221, 223), "setsockopt": (54, 208),
    "exit": (60, 93), "uname": (63, 160), "fcntl": (72, 25), "flock": (73, 32), "fsync": (74, 82),
    "fdatasync": (75, 83), "truncate": (76, 45), "ftruncate": (77, 46), "getdents": (78, -1),
    "getcwd": (79, 17), "chdir": (80, 49), "fchdir": (81, 50), "rename": (82, -1), "mkdir": (83, -1),
    "rmdir": (84, -1), "link": (86, -1), "unlink": (87, -1), "symlink": (88, -1), "readlink": (89, -1),
    "chmod": (90, -1), "fchmod": (91, 52), "umask": (95, 166), "gettimeofday": (96, 169),
    "getrlimit": (97, 163), "getrusage": (98, 165), "sysinfo": (99, 179), "times": (100, 153),
    "getuid": (102, 174), "getgid": (104, 176), "geteuid": (107, 175), "getegid": (108, 177),
    "getppid": (110, 173), "getpgrp": (111, -1), "getgroups": (115, 158), "getresuid": (118, 148),
    "getresgid": (120, 150), "getpgid": (121, 155), "getsid": (124, 156), "rt_sigpending": (127, 136),
    "rt_sigtimedwait": (128, 137), "rt_sigsuspend": (130, 133), "sigaltstack": (131, 132),
    "statfs": (137, 43), "fstatfs": (138, 44), "gettid": (186, 178), "time": (201, -1),
    "futex": (202, 98), "sched_getaffinity": (204, 123), "epoll_create": (213, -1),
    "getdents64": (217, 61), "set_tid_address": (218, 96), "restart_syscall": (219, 128),
    "timer_create": (222, 107), "timer_settime": (223, 110), "timer_gettime": (224, 108),
    "timer_delete": (226, 111), "clock_gettime": (228, 113), "clock_getres": (229, 114),
    "clock_nanosleep": (230, 115), "exit_group": (231, 94), "epoll_wait": (232, -1),
    "epoll_ctl": (233, 21), "tgkill": (234, 131), "utimes": (235, -1), "openat": (257, 56),
    "mkdirat": (258, 34), "newfstatat": (262, 79), "unlinkat": (263, 35), "renameat": (264, 38),
    "linkat": (265, 37), "symlinkat": (266, 36), "readlinkat": (267, 78), "fchmodat": (268, 53),
    "faccessat": (269, 48), "pselect6": (270, 72), "ppoll": (271, 73), "set_robust_list": (273, 99),
    "sync_file_range": (277, 84), "utimensat": (280, 88), "epoll_pwait": (281, 22),
    "timerfd_create": (283, 85), "eventfd": (284, -1), "fallocate": (285, 47),
    "timerfd_settime": (286, 86), "timerfd_gettime": (287, 87), "eventfd2": (290, 19),
    "epoll_create1": (291, 20), "dup3": (292, 24), "pipe2": (293, 59), "preadv": (295, 69),
    "pwritev": (296, 70), "getcpu": (309, 168), "renameat2": (316, 276), "getrandom": (318, 278),
    "membarrier": (324, 283), "copy_file_range": (326, 285), "statx": (332, 291), "rseq": (334, 293),
    "close_range": (436, 436), "faccessat2": (439, 439), "epoll_pwait2": (441, 441),
    "kill": (62, 129), "sendfile": (40, 71), "getxattr": (191, 8), "lgetxattr": (192, 9),
    "fgetxattr": (193, 10), "listxattr": (194, 11), "llistxattr": (195, 12), "flistxattr": (196, 13),
}  # fmt: skip
_SUBPROCESS: dict[str, tuple[int, int]] = {
    "fork": (57, -1), "vfork": (58, -1), "execve": (59, 221), "wait4": (61, 260), "waitid": (247, 95),
    "execveat": (322, 281), "setpgid": (109, 154), "setsid": (112, 157), "arch_prctl": (158, -1),
    "sendmsg": (46, 211), "recvmsg": (47, 212),
}  # fmt: skip
_ONE_EXEC: dict[str, tuple[int, int]] = {
    "execve": (59, 221), "execveat": (322, 281), "arch_prctl": (158, -1), "readlinkat": (267, 78),
}  # fmt: skip
_ARGUMENT_CHECKED = {
    "clone": (56, 220), "clone3": (435, 435), "ioctl": (16, 29), "prctl": (157, 167),
    "prlimit64": (302, 261), "socketpair": (53, 199), "getsockopt": (55, 209),
}  # fmt: skip
_AUDIT_ARCH = {X86_64: 0xC000003E, AARCH64: 0xC00000B7}

KILL, ALLOW = 0x80000000, 0x7FFF0000
DENY = 0x00050000 | errno.EPERM
UNKNOWN = 0x00050000 | errno.ENOSYS
_CLONE_VM, _CLONE_THREAD = 0x100, 0x10000
_CLONE_NAMESPACES = 0x7E020080  # every CLONE_NEW* bit, time namespaces too
_NEWEST = 450  # calls younger than this filter answer ENOSYS, so that C libraries fall back
_IOCTLS = (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)  # is a terminal, its size, FIONREAD, flags
_SOCKET_OPTIONS = (3, 4, 7, 8, 38, 39)  # type, error, buffers, domain; not the peer: that is the parent
_PRCTLS = (15, 16, 0x53564D41)  # thread names and the names of memory areas
_LOAD, _JEQ, _JSET, _JGE, _JUMP, _RETURN, _AND = 0x20, 0x15, 0x45, 0x35, 0x05, 0x06, 0x54
_LONGEST_JUMP = 255


def _op(code: int, value: int, yes: int = 0, no: int = 0) -> bytes:
    return struct.pack("HBBI", code, yes, no, value)


def _argument(index: int, high: bool = False) -> bytes:
    # Arguments are 64 bits wide and lie behind number, architecture and instruction pointer in struct seccomp_data.
    return _op(_LOAD, 16 + 8 * index + (4 if high else 0))


def _ranges(numbers: Iterable[int]) -> list[tuple[int, int]]:
    """Return the numbers as runs without gaps, (first, last); a short program is compiled faster at every run."""
    runs: list[tuple[int, int]] = []
    for number in sorted(number for number in numbers if number >= 0):
        if runs and number == runs[-1][1] + 1:
            runs[-1] = runs[-1][0], number
        else:
            runs.append((number, number))
    return runs


def _clone_rule(subprocesses: bool) -> list[bytes]:
    """Return the rule for clone(2): threads always, other processes only where asked for, namespaces never."""
    # Jumps count the instructions to pass over: `yes` where the test holds, `no` where it doesn't.
    rule = [_argument(0), _op(_JSET, _CLONE_NAMESPACES, 0, 1), _op(_RETURN, DENY)]
    if subprocesses:
        return [*rule, _op(_RETURN, ALLOW)]
    thread = _CLONE_VM | _CLONE_THREAD
    return [*rule, _op(_AND, thread), _op(_JEQ, thread, 0, 1), _op(_RETURN, ALLOW), _op(_RETURN, DENY)]


def _one_of(argument: int, allowed: tuple[int, ...]) -> list[bytes]:
    rule = [_argument(argument)]
    for value in allowed:
        rule += [_op(_JEQ, value, 0, 1), _op(_RETURN, ALLOW)]
    return [*rule, _op(_RETURN, DENY)]


def filter_program(*, subprocesses: bool = False, one_exec: bool = False, machine: str = MACHINE) -> bytes:
    """Return the filter as bytes for `SystemCallFilter`.

    Args:
        subprocesses: allow fork, exec and waiting for children.
        one_exec: allow exec alone.
        machine: `x86_64` or `aarch64`.

    Raises:
        OSError: no call numbers are known for the machine.
    """
    if machine not in _AUDIT_ARCH:
        raise OSError(errno.ENOSYS, f"no system call filter for {machine}")
    column = 0 if machine == X86_64 else 1
    # Numbers mean other calls under another architecture (32-bit code on x86_64), so that is checked first. Calls of
    # the x32 ABI have the architecture of x86_64 and numbers above 2^30: they end at `_NEWEST`.
    code = [_op(_LOAD, 4), _op(_JEQ, _AUDIT_ARCH[machine], 1, 0), _op(_RETURN, KILL), _op(_LOAD, 0)]
    names = _ALWAYS | (_SUBPROCESS if subprocesses else {}) | (_ONE_EXEC if one_exec else {})
    # A leaf holds from its number up to that of the next leaf, so every gap is refused.
    leaves: list[tuple[int, list[bytes]]] = [(0, [_op(_RETURN, DENY)])]
    for first, last in _ranges(numbers[column] for numbers in names.values()):
        leaves += [(first, [_op(_RETURN, ALLOW)]), (last + 1, [_op(_RETURN, DENY)])]
    rules = {
        "clone": _clone_rule(subprocesses),
        "clone3": [_op(_RETURN, UNKNOWN)],  # its flags are out of a filter's sight
        "ioctl": _one_of(1, _IOCTLS),
        "prctl": _one_of(0, _PRCTLS),
        "prlimit64": _one_of(0, (0,)),
        "socketpair": _one_of(0, (1,)),
        "getsockopt": _one_of(2, _SOCKET_OPTIONS),
    }
    for name, rule in rules.items():
        number = _ARGUMENT_CHECKED[name][column]
        leaves += [(number, rule), (number + 1, [_op(_RETURN, DENY)])]
    leaves.append((_NEWEST, [_op(_RETURN, UNKNOWN)]))
    return b"".join(code + _tree(_merge(leaves)))


def _merge(leaves: list[tuple[int, list[bytes]]]) -> list[tuple[int, list[bytes]]]:
    """Return the leaves sorted, one for each number; a refusal gives way to any other leaf at its number."""
    refusal = [_op(_RETURN, DENY)]
    return list(dict(sorted(leaves, key=lambda leaf: (leaf[0], leaf[1] != refusal))).items())


def _tree(leaves: list[tuple[int, list[bytes]]]) -> list[bytes]:
    """Return a binary search for the leaf of a call's number.

    A plain list would do, but the kernel tries a new filter on every number there is, at every run.
    """
    if len(leaves) == 1:
        return leaves[0][1]
    middle = len(leaves) // 2
    left, right = _tree(leaves[:middle]), _tree(leaves[middle:])
    # A conditional jump has one byte for its distance; a longer way needs an unconditional one.
    if len(left) <= _LONGEST_JUMP:
        return [_op(_JGE, leaves[middle][0], len(left), 0), *left, *right]
    return [_op(_JGE, leaves[middle][0], 0, 1), _op(_JUMP, len(left)), *left, *right]
