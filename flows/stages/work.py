"""What a run's worker processes do for the stages that need no killing: rows in, a table out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa

from proofmill.data.rows_io import batched
from proofmill.data.schemas import CLAIM, CONTAMINATION, QUALITY
from proofmill.data.tables import from_rows
from proofmill.filters.agreement import clusters
from proofmill.filters.claims import REFUTED, check, split_steps, summarise
from proofmill.filters.contamination.decontamination import opened
from proofmill.filters.degeneration.repetition import measure
from proofmill.filters.duplicates.minhash import DedupOptions, signatures
from proofmill.filters.reasoning import split_final
from proofmill.filters.verification import problem_of

CHUNK_ROWS, CHUNK_CHARACTERS = 256, 1 << 20
Item = TypeVar("Item")


def chunks(rows: Sequence[Item]) -> list[list[Item]]:
    """Rows cut into what one worker takes at a time; always at least one chunk, so that a table comes back."""
    return list(batched(rows, CHUNK_ROWS, CHUNK_CHARACTERS)) or [[]]


def run(item: tuple[str, Any]) -> pa.Table:
    """One chunk of work: the name of a function below, and what it takes."""
    name, chunk = item
    return {work.__name__: work for work in (quality, signed, overlaps)}[name](chunk)


def quality(rows: Sequence[tuple[str, str, str | None, int | None]]) -> pa.Table:
    """How repetitive each trace is: of rows (prompt, response, finish reason, offset of the final part)."""
    measured = []
    for prompt, response, finish_reason, final_start in rows:
        reasoning, final = split_final(response, final_start)
        found = measure(response, reasoning=reasoning, final=final, finish_reason=finish_reason, prompt=prompt)
        detail = found.reason and (f"{found.reason}: {found.evidence}" if found.evidence else found.reason)
        measured.append({"repetition": found.repetition, "quality_detail": detail})
    return from_rows(measured, QUALITY)


def claims(item: tuple[Mapping[str, Any], str, int | None]) -> dict[str, Any]:
    """The claim columns of one trace: (problem, response, offset of its final part)."""
    problem, response, final_start = item
    found = check(problem_of(problem), response, final_start=final_start)
    return {
        **summarise(found, len(split_steps(response))).columns(),
        "refuted_final": any(claim.in_final and claim.status == REFUTED for claim in found),
        "claims": [{name: getattr(claim, name) for name in _CLAIM} for claim in found],
    }


def agreement(item: tuple[Mapping[str, Any], Sequence[str], Mapping[str, str]]) -> list[int]:
    """Which answers to a problem are the same: (problem, answers, custom verifiers)."""
    problem, answers, custom = item
    return clusters(problem_of(problem), answers, custom)


_CLAIM = [field.name for field in CLAIM]


def signed(payload: tuple[Sequence[str], DedupOptions]) -> pa.Table:
    """MinHash signatures of texts."""
    return signatures(*payload)


def overlaps(payload: tuple[Path, Sequence[tuple[str, str, str]]]) -> pa.Table:
    """The rows (found_in, id, text) that overlap with an item of the index, each with its longest overlap."""
    path, rows = payload
    found = zip(rows, opened(path).find_many([text for _, _, text in rows]), strict=True)
    marks = [
        {"found_in": where, "id": name, "contaminated_by": match.label, "contaminated_span": match.span}
        for (where, name, _), match in found
        if match is not None
    ]
    return from_rows(marks, CONTAMINATION)
