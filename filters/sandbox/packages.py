"""Which folders make a package importable inside the jail: its own, and those of what it depends on."""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from proofmill.data.errors import VerifierError

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
    """What has to be shown for `packages`: names of modules or distributions, or folders of modules.

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
    """Those of `STANDARD` that are installed."""
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
    """Distributions with what they require and is installed; requirements of extras don't count."""
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
    """Top-level files and folders that a distribution has installed."""
    tops = {str(file).split("/")[0] for file in distribution.files or ()}
    return {top for top in tops if top not in ("..", "__pycache__", "bin") and not top.endswith(".pth")}
