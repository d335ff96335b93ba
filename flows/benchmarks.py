"""Benchmarks that training data must not overlap with, as items of the overlap index."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from proofmill.data.errors import InputError
from proofmill.data.inputs import HUB, Row, Unreadable, read
from proofmill.filters.contamination.overlap_index import Item
from proofmill.flows.rows.overlaps import whole_text

QUESTION_FIELDS = ("question", "problem", "prompt", "text", "input", "query")
ID_FIELDS = ("id", "task_id", "unique_id", "problem_id", "question_id")


def items(sources: Sequence[str], fields: Sequence[str], split: str) -> Iterator[Item]:
    """Benchmark, item's id and text of every item of some files or hub data sets.

    Args:
        sources: files or `hf://user/name`. The benchmark is called by the row's `benchmark`, else by the source.
        fields: fields whose text is looked for; none: the first of `QUESTION_FIELDS` that the first row has.
        split: of hub data sets.

    Raises:
        InputError: a source can't be read, has no items, or lacks a field. A benchmark is never taken in part.
    """
    for source in sources:
        yield from _items(source, fields, split)


def _items(source: str, fields: Sequence[str], split: str) -> Iterator[Item]:
    name = source.removeprefix(HUB) if source.startswith(HUB) else Path(source).name.partition(".")[0]
    wanted = list(fields)
    number = -1
    for number, found in enumerate(read(source, split=split)):
        if isinstance(found, Unreadable):
            raise InputError(
                f"An item can't be read: {found.why}.", where=found.where, remedy="mend or remove the line"
            )
        row = found.row
        wanted = wanted or [field for field in QUESTION_FIELDS if field in row][:1]
        missing = [field for field in wanted if field not in row]
        if missing or not wanted:
            raise InputError(
                f"The benchmark has no field {(missing or QUESTION_FIELDS)[0]!r}.",
                where=found.where,
                remedy=f"this item has: {', '.join(map(str, row))}; name its question with --against-field",
            )
        for field in wanted:
            if text := whole_text(row[field]):
                yield str(row.get("benchmark") or name), _item_id(row, number), text
    if number < 0:
        raise InputError("The benchmark has no items.", where=source, remedy="check the file, or its split")


def _item_id(row: Row, number: int) -> str:
    return next((str(row[field]) for field in ID_FIELDS if row.get(field) is not None), str(number))
