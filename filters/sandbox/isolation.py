"""Leaving the machine behind: the jail's own namespaces, and a root folder that holds what Python needs and no more."""

# ruff: noqa: PTH103, PTH110, PTH112, PTH114, PTH115, PTH120, PTH211, S108
# paths here are arguments of system calls, of the root outside as well as of the one inside

from __future__ import annotations

import os
import socket
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path

from proofmill.filters.sandbox import kernel
from proofmill.filters.sandbox.sandbox_process import NOBODY, SANDBOX_ID

_LIBRARY_ROOTS = ("/lib", "/lib32", "/lib64", "/usr/lib", "/usr/lib32", "/usr/lib64", "/usr/local/lib")
_LOADERS = ("/lib64/ld-linux-x86-64.so.2", "/lib/ld-linux-aarch64.so.1")  # the kernel starts programs with it
_DEVICES = ("/dev/null", "/dev/zero", "/dev/urandom")
_ZONES = "/usr/share/zoneinfo"
_MOUNT_POINTS = ("/tmp", "/var/tmp", "/mnt", "/sys")  # any folder that surely exists
_PRIVATE = ("site-packages", "dist-packages")  # what else is installed is none of the jail's business


def write_file(path: str, text: str) -> None:
    """Write a file of /proc in one go."""
    fd = os.open(path, os.O_WRONLY)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


class AddressSpace:
    """Tells how much address space this process holds, also once /proc is out of sight."""

    def __init__(self) -> None:
        self._fd = os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)

    def size(self) -> int:
        """Bytes; can be asked once."""
        try:
            return int(os.pread(self._fd, 200, 0).split()[0]) * os.sysconf("SC_PAGE_SIZE")
        finally:
            os.close(self._fd)


def needed_paths() -> list[str]:
    """Folders and files of this interpreter: standard library, shared libraries, time zones."""
    paths = {sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib"), _ZONES}
    paths |= {str(Path(os.__file__).parent), *(p for p in sys.path if p.endswith("lib-dynload"))}
    for line in Path("/proc/self/maps").read_text().splitlines():
        name = line.split(maxsplit=5)[-1]
        if ".so" in name and name.startswith("/"):
            folder = str(Path(name).parent)
            system = folder.startswith(tuple(root + "/" for root in _LIBRARY_ROOTS)) or folder in _LIBRARY_ROOTS
            paths.add(folder if system else name)
    return _outermost(path for path in paths if os.path.exists(path))


def _programs() -> list[str]:
    shell = os.path.realpath("/bin/sh")
    return [os.path.realpath(sys.executable), "/bin/sh" if shell == "/bin/sh" else shell]


def _outermost(paths: object) -> list[str]:
    kept: list[str] = []
    for path in sorted({os.path.realpath(p) for p in paths}):  # type: ignore[attr-defined]
        if not any(path == other or path.startswith(other + "/") for other in kept):
            kept.append(path)
    return kept


def build(extra: list[str], *, programs: bool) -> tuple[str, ...]:
    """Make the jail's root the root of this mount namespace.

    Args:
        extra: more folders and files to show read-only.
        programs: show the interpreter and the shell too, so that a subprocess can be started.

    Returns:
        The readable paths, as they are called inside.

    Raises:
        OSError: a mount was refused; the namespace is then in no state to run anything.
    """
    own = _outermost([*needed_paths(), *(_programs() if programs else [])])
    hidden = _private_folders()
    more = [path for path in _outermost(extra) if _beneath(path, hidden) or not _beneath(path, own)]
    shown = [*own, *more]
    sources = {path: os.open(path, os.O_PATH | os.O_CLOEXEC) for path in [*shown, *_DEVICES]}
    kernel.mount(None, "/", None, kernel.MS_REC | kernel.MS_PRIVATE)
    root = next(place for place in _MOUNT_POINTS if os.path.isdir(place))
    kernel.mount("tmpfs", root, "tmpfs", kernel.MS_NOSUID, "size=1m,nr_inodes=4096,mode=0755")
    for path in [*own, *_DEVICES]:
        _bind(sources[path], path, root)
    _links(root)
    for path in hidden:
        kernel.mount(
            "tmpfs", root + path, "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, "nr_inodes=4096,size=1m,mode=0755"
        )
    for path in more:
        _bind(sources[path], path, root)
    for path in hidden:
        kernel.lock_mount(root + path, kernel.MS_RDONLY, recursive=False)
    os.makedirs(f"{root}/tmp")
    os.chdir(root)
    kernel.pivot_root_here()
    kernel.lock_mount("/", kernel.MS_RDONLY | kernel.MS_NOSUID | kernel.MS_NODEV, recursive=False)
    return tuple(shown) + tuple(device for device in _DEVICES if device != "/dev/null")


def _bind(fd: int, path: str, root: str) -> None:
    target = root + path
    if os.path.isdir(f"/proc/self/fd/{fd}"):
        os.makedirs(target, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        os.close(os.open(target, os.O_CREAT | os.O_WRONLY, 0o644))
    kernel.mount(f"/proc/self/fd/{fd}", target, None, kernel.MS_BIND | kernel.MS_REC)
    device = path in _DEVICES
    locks = kernel.MS_NOSUID | (0 if device else kernel.MS_RDONLY | kernel.MS_NODEV)
    kernel.lock_mount(target, locks)
    os.close(fd)


def _links(root: str) -> None:
    """The links that file names go through: /lib, /bin/sh and their like; and /dev/shm, for semaphores."""
    for path in (*_LIBRARY_ROOTS, "/bin", "/bin/sh", "/usr/bin/sh", sys.executable):
        inside = root + path
        if os.path.islink(path) and not os.path.lexists(inside) and os.path.exists(root + os.path.realpath(path)):
            os.makedirs(os.path.dirname(inside), exist_ok=True)
            os.symlink(os.readlink(path), inside)
    for path in _LOADERS:
        real = os.path.realpath(path)
        if os.path.exists(root + real) and not os.path.lexists(root + path):
            os.makedirs(os.path.dirname(root + path), exist_ok=True)
            os.symlink(real, root + path)
    os.symlink("/tmp", f"{root}/dev/shm")


def _private_folders() -> list[str]:
    """Folders of installed packages inside the standard library's: what is there is none of the jail's business."""
    stdlib = os.path.realpath(sysconfig.get_path("stdlib"))
    return [f"{stdlib}/{name}" for name in _PRIVATE if os.path.isdir(f"{stdlib}/{name}")]


def _beneath(path: str, folders: list[str]) -> bool:
    return any(path == folder or path.startswith(folder + "/") for folder in folders)


NAMESPACES = (
    ("pid namespace", kernel.CLONE_NEWPID),
    ("mount namespace", kernel.CLONE_NEWNS),
    ("net namespace", kernel.CLONE_NEWNET),
    ("ipc namespace", kernel.CLONE_NEWIPC),
    ("uts namespace", kernel.CLONE_NEWUTS),
    ("cgroup namespace", kernel.CLONE_NEWCGROUP),
)


def attempt(failed: dict[str, str], layer: str, act: Callable[[], object]) -> None:
    """Do `act`; where the kernel refuses, note its answer under the name of the layer."""
    try:
        act()
    except OSError as error:
        failed[layer] = str(error)


def _map_ids(pid: int, uid: int, gid: int, *, both: bool) -> None:
    second = f"\n{SANDBOX_ID} {NOBODY} 1" if both else ""
    if not both:
        write_file(f"/proc/{pid}/setgroups", "deny")
    write_file(f"/proc/{pid}/uid_map", f"0 {uid} 1{second}")
    write_file(f"/proc/{pid}/gid_map", f"0 {gid} 1{second}")


def _mapped_from_outside(pid: int) -> Callable[[], bool]:
    """A helper process that stays outside and maps two users for us, which only root may do.

    Returns:
        To be called inside the new namespace: whether the map was written.
    """
    ask, answer = os.pipe(), os.pipe()
    if os.fork() == 0:
        os.close(ask[1])
        done = b"1"
        if os.read(ask[0], 1):
            try:
                _map_ids(pid, 0, 0, both=True)
            except OSError:
                done = b"0"
            os.write(answer[1], done)
        os._exit(0)

    def map_now() -> bool:
        os.write(ask[1], b"1")
        result = os.read(answer[0], 1) == b"1"
        for end in (*ask, *answer):
            os.close(end)
        os.wait()
        return result

    return map_now


def enter(failed: dict[str, str]) -> bool:
    """Leave every namespace of the user; whether a second user is mapped inside."""
    uid, gid, second = os.geteuid(), os.getegid(), False
    if uid == 0:
        attempt({}, "groups", lambda: os.setgroups([]))
    mapper = _mapped_from_outside(os.getpid()) if uid == 0 else None
    attempt(failed, "user namespace", lambda: kernel.unshare(kernel.CLONE_NEWUSER))
    if "user namespace" not in failed:
        second = bool(mapper and mapper())
        if not second:
            attempt(failed, "user namespace", lambda: _map_ids(os.getpid(), uid, gid, both=False))
    for layer, flag in NAMESPACES:
        attempt(failed, layer, lambda flag=flag: kernel.unshare(flag))  # type: ignore[misc]
    if "uts namespace" not in failed:
        socket.sethostname("jail")
    return second
