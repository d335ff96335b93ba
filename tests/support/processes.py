"""Which tests one of several test processes runs: files stay whole, and all that loads the model stays together."""

from __future__ import annotations

from pathlib import Path

import pytest
from xdist.scheduler import LoadScopeScheduling

_MARKS = ("model", "slow")


def marks_of(file: Path) -> set[str]:
    """Return the marks `model` and `slow` that a file of tests sets somewhere."""
    text = file.read_text(encoding="utf-8")
    return {mark for mark in _MARKS if f"pytest.mark.{mark}" in text}


def longest_first(items: list[pytest.Item]) -> None:
    """Sort tests: files that load the model, then slow ones, then the others, since the longest must not come last."""
    marks = {file: marks_of(file) for file in {item.path for item in items}}
    items.sort(key=lambda item: [mark not in marks[item.path] for mark in _MARKS])


class WholeFiles(LoadScopeScheduling):  # type: ignore[misc]  # the package ships no types
    """Hands out whole files, whose tests share what their fixtures made; those that load the model go as one.

    Memory holds one real engine beside the rest.
    """

    def _split_scope(self, nodeid: str) -> str:
        """Return the unit of work that a test belongs to."""
        file = nodeid.partition("::")[0]
        return "model" if "model" in marks_of(Path(self.config.rootpath, file)) else file
