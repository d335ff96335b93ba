"""Rows a batch: cut by number and by size, since a trace may have 200 characters or 200,000."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar

Item = TypeVar("Item")


def characters(value: Any) -> int:
    """Characters of all text inside a value as JSON has it: about its bytes, where they matter."""
    if isinstance(value, (str, bytes)):
        return len(value)
    if isinstance(value, Mapping):
        return sum(map(characters, value.values()))
    if isinstance(value, (list, tuple)):
        return sum(map(characters, value))
    return 0


def batched(items: Iterable[Item], most: int, most_characters: int) -> Iterator[list[Item]]:
    """Items in their order, in lists that end once they hold `most` items or `most_characters` of text."""
    batch: list[Item] = []
    size = 0
    for item in items:
        batch.append(item)
        size += characters(item)
        if len(batch) >= most or size >= most_characters:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
