"""The system-call filter: an allow-list as a classic BPF program, for x86_64 and aarch64.

What is not listed answers EPERM, and ENOSYS where a C library is known to fall back to an older
call. No fork, no exec, no ptrace, no io_uring, no mount, unshare, setns, bpf, keyctl, userfaultfd or
perf_event_open; sockets are unnamed pairs only (asyncio needs one). Threads are allowed, new
namespaces and new processes are not. `subprocesses=True` adds fork, exec and waiting; `one_exec=True` exec alone, of
what Landlock leaves to be executed: nothing but the program handed in.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterable

from proofmill.filters.sandbox import kernel

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
_AUDIT_ARCH = {kernel.X86_64: 0xC000003E, kernel.AARCH64: 0xC00000B7}

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
    return _op(_LOAD, 16 + 8 * index + (4 if high else 0))


def _ranges(numbers: Iterable[int]) -> list[tuple[int, int]]:
    """The numbers as runs without gaps, first and last; a short program is compiled faster at every run."""
    runs: list[tuple[int, int]] = []
    for number in sorted(number for number in numbers if number >= 0):
        if runs and number == runs[-1][1] + 1:
            runs[-1] = runs[-1][0], number
        else:
            runs.append((number, number))
    return runs


def _clone_rule(subprocesses: bool) -> list[bytes]:
    """Threads always; other processes only where asked for; namespaces never."""
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


def program(*, subprocesses: bool = False, one_exec: bool = False, machine: str = kernel.MACHINE) -> bytes:
    """The filter as bytes for `kernel.seccomp`.

    Args:
        subprocesses: allow fork, exec and waiting for children.
        one_exec: allow exec alone.
        machine: `x86_64` or `aarch64`.

    Raises:
        OSError: no call numbers are known for the machine.
    """
    if machine not in _AUDIT_ARCH:
        raise OSError(errno.ENOSYS, f"no system call filter for {machine}")
    column = 0 if machine == kernel.X86_64 else 1
    code = [_op(_LOAD, 4), _op(_JEQ, _AUDIT_ARCH[machine], 1, 0), _op(_RETURN, KILL), _op(_LOAD, 0)]
    names = _ALWAYS | (_SUBPROCESS if subprocesses else {}) | (_ONE_EXEC if one_exec else {})
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
    """Sorted, one leaf a number: where a refusal and another leaf start at one number, the other counts."""
    refusal = [_op(_RETURN, DENY)]
    return list(dict(sorted(leaves, key=lambda leaf: (leaf[0], leaf[1] != refusal))).items())


def _tree(leaves: list[tuple[int, list[bytes]]]) -> list[bytes]:
    """A binary search for the leaf of a call's number.

    A plain list would do, but the kernel tries a new filter on every number there is, at every run.
    """
    if len(leaves) == 1:
        return leaves[0][1]
    middle = len(leaves) // 2
    left, right = _tree(leaves[:middle]), _tree(leaves[middle:])
    if len(left) <= _LONGEST_JUMP:
        return [_op(_JGE, leaves[middle][0], len(left), 0), *left, *right]
    return [_op(_JGE, leaves[middle][0], 0, 1), _op(_JUMP, len(left)), *left, *right]
