"""The layers of the jail, by name: what each one is for, and what to do where it is missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from proofmill.data.errors import VerifierError

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
    """All layers; those in `failed` (name to reason) are not ok."""
    names = [*REMEDIES, *(name for name in failed if name not in REMEDIES)]
    return [
        Layer(name, name not in failed, failed.get(name, ""), REMEDIES.get(name, "") if name in failed else "")
        for name in names
    ]


def missing_error(missing: Sequence[Layer]) -> VerifierError:
    """The error that names every missing layer."""
    return VerifierError(
        "model-written code can't be run safely here: the jail lacks " + ", ".join(m.name for m in missing),
        where="; ".join(f"{layer.name}: {layer.why}" for layer in missing),
        remedy=f"{missing[0].remedy}; or ask for the weaker jail, which is stamped on every verdict",
    )
