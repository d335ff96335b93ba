"""Leaving the user's namespaces for the jail's own, as root or as an ordinary user."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable

from proofmill.filters.sandbox import cell, kernel, rootfs

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
    second = f"\n{cell.SANDBOX_ID} {cell.NOBODY} 1" if both else ""
    if not both:
        rootfs.write_file(f"/proc/{pid}/setgroups", "deny")
    rootfs.write_file(f"/proc/{pid}/uid_map", f"0 {uid} 1{second}")
    rootfs.write_file(f"/proc/{pid}/gid_map", f"0 {gid} 1{second}")


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
