"""The columns that `proofmill decontaminate` adds to a row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from proofmill.data.errors import InputError
from proofmill.data.rows_io import Row
from proofmill.data.schemas import TRACES
from proofmill.filters.contamination.decontamination import Match, opened
from proofmill.flows.rows.reading import View

TEXTS = ("prompt", "response", "steps", "text")
CLEAN, NOT_CHECKED = "clean", "not checked"
ADDED = pa.schema(
    [
        TRACES.field("contaminated_by"),  # benchmark/item
        pa.field("contaminated_span", pa.string()),
        pa.field("contaminated_detail", pa.string()),  # why it was not checked
    ]
)
_EMPTY: Row = dict.fromkeys(ADDED.names)


def annotate(rows: Sequence[View], options: Path) -> Iterator[Row]:
    """The longest overlap of each row's prompt or trace with a benchmark. `options` is the index."""
    index = opened(options)
    texts: list[str] = []
    owners: list[int] = []
    for number, view in enumerate(rows):
        found = texts_of(view.row)
        texts += found
        owners += [number] * len(found)
    best: dict[int, Match] = {}
    for number, match in zip(owners, index.find_many(texts), strict=True):
        if match is not None and (number not in best or match.words > best[number].words):
            best[number] = match
    checked = set(owners)
    for number, view in enumerate(rows):
        if number in best:
            yield columns(best[number])
        else:
            yield _EMPTY if number in checked else fault(view.fault or "no_text", "row")


def tally(added: Row) -> tuple[str]:
    """Counts by benchmark."""
    if added["contaminated_detail"] is not None:
        return (NOT_CHECKED,)
    name = added["contaminated_by"]
    return (CLEAN if name is None else name.partition("/")[0],)


def why(added: Row) -> str | None:
    """Why a row was not checked."""
    detail: str | None = added["contaminated_detail"]
    return detail


def fault(detail: str, kind: str) -> Row:  # noqa: ARG001 (every stage's has both)
    """A row that can't be checked."""
    return _EMPTY | {"contaminated_detail": detail}


def columns(match: Match) -> Row:
    """The added columns of a row that overlaps with a benchmark."""
    return _EMPTY | {"contaminated_by": match.label, "contaminated_span": match.span}


def texts_of(row: Mapping[str, Any]) -> list[str]:
    """Prompt and trace of a row."""
    found = (whole_text(row.get(field)) for field in TEXTS)
    return [text for text in found if text]


def whole_text(value: Any) -> str | None:
    """All text of a string, a message list or a list of strings."""
    if value is None or isinstance(value, str):
        return value
    if not isinstance(value, list):
        return None
    parts = [part.get("content") if isinstance(part, dict) else part for part in value]
    return "\n".join(part for part in parts if isinstance(part, str)) or None


def check_first(where: str, row: Mapping[str, Any]) -> None:
    """Refuses a file whose first row has no text.

    Raises:
        InputError: names the fields that are there.
    """
    if not any(field in row for field in TEXTS):
        raise InputError(
            "There is no prompt and no response.",
            where=where,
            remedy=f"this row has: {', '.join(map(str, row)) or 'no fields'}; "
            "say which is which: --map prompt=FIELD,response=FIELD",
        )
