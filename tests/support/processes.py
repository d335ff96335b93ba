"""In which order several test processes take the files of tests: the longest must not come last."""

from __future__ import annotations

from pathlib import Path

import pytest

_MARKS = ("model", "slow")


def marks_of(file: Path) -> set[str]:
    """Return the marks `model` and `slow` that a file of tests sets somewhere."""
    text = file.read_text(encoding="utf-8")
    return {mark for mark in _MARKS if f"pytest.mark.{mark}" in text}


def longest_first(items: list[pytest.Item]) -> None:
    """Sort tests: files that load the model, then slow ones, then the others, since the longest must not come last."""
    marks = {file: marks_of(file) for file in {item.path for item in items}}
    items.sort(key=lambda item: [mark not in marks[item.path] for mark in _MARKS])
