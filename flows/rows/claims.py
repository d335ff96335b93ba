"""The claim columns that `proofmill claims` adds to a row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import pyarrow as pa

from proofmill.data.errors import InputError
from proofmill.data.rows_io import Row
from proofmill.data.schemas import TRACES
from proofmill.filters.claims import Claim, check, split_steps, summarise
from proofmill.filters.claims.stated_outputs import Evaluator, stated_outputs
from proofmill.filters.reasoning import split_think
from proofmill.filters.verdicts import Problem
from proofmill.flows.rows.judging import Options, problem_of
from proofmill.flows.rows.reading import View
from proofmill.flows.rows.work import Open
from proofmill.generators.problems.ingest import response_text

CLAIM = pa.struct(
    [
        ("step", pa.int32()),
        ("kind", pa.string()),
        ("text", pa.string()),
        ("status", pa.string()),
        ("evidence", pa.string()),
    ]
)
ADDED = pa.schema(
    [
        *(TRACES.field(n) for n in ("claims_checked", "claims_refuted", "first_refuted_step", "claim_score")),
        pa.field("claim_coverage", pa.float32()),
        pa.field("claims", pa.list_(CLAIM)),
        pa.field("claims_detail", pa.string()),  # why there are none
    ]
)
ROWS = ("rows with a refuted claim", "rows without one", "rows not checked")
_EMPTY: Row = dict.fromkeys(ADDED.names)


@dataclass(frozen=True, slots=True)
class Trace:
    """What is checked of a row.

    Attributes:
        problem: the problem that it answers.
        text: the trace, or None where
        steps: its steps are given.
        final_start: offset of what follows the reasoning block, if there is one.
    """

    problem: Problem
    text: str | None
    steps: list[str] | None
    final_start: int | None

    def checked(self, evaluate: Evaluator | None = None) -> Row:
        """The claim columns."""
        claims = check(self.problem, self.text, steps=self.steps, final_start=self.final_start, evaluate=evaluate)
        count = len(self.steps) if self.steps is not None else len(split_steps(self.text or ""))
        return columns(claims, count)

    def has_outputs(self) -> bool:
        """Whether it states outputs of code, which only the jail can check."""
        return any(True for _ in stated_outputs(self.text if self.text is not None else "\n".join(self.steps or ())))


class Outputs(NamedTuple):
    """A trace whose stated outputs are still to be run, and its columns without them."""

    trace: Trace
    unrun: Row


def annotate(rows: Sequence[View], options: str | None) -> Iterator[Row | Open]:
    """The claims of each row; traces that state outputs of code are left open. `options` is the domain."""
    for view in rows:
        if view.fault is not None:
            yield fault(view.fault, "row")
            continue
        trace = trace_of(view.row, options)
        if isinstance(trace, str):
            yield fault(trace, "row")
            continue
        added = trace.checked()
        yield Open(Outputs(trace, added)) if trace.has_outputs() else added


def tally(added: Row) -> Iterator[str]:
    """Counts rows by whether they hold a refuted claim, and claims by status."""
    if added["claims"] is None:
        yield ROWS[2]
        return
    yield ROWS[0] if added["claims_refuted"] else ROWS[1]
    for claim in added["claims"]:
        yield claim["status"]


def why(added: Row) -> str | None:
    """Why a row was not checked."""
    detail: str | None = added["claims_detail"]
    return detail


def fault(detail: str, kind: str) -> Row:
    """A row without claims, and why; a kill is told by its kind."""
    return _EMPTY | {"claims_detail": detail if kind == "row" else kind}


def columns(claims: Sequence[Claim], steps: int) -> Row:
    """The added columns of one row."""
    listed = [
        {"step": c.step, "kind": c.kind, "text": c.text, "status": c.status, "evidence": c.evidence} for c in claims
    ]
    return {
        **summarise(claims, steps).columns(),
        "claims": listed,
        "claims_detail": None,
    }


def trace_of(row: Row, domain: str | None) -> Trace | str:
    """What to check of a row, or why there is nothing."""
    problem = problem_of({"verifier": "any"} | row, Options(domain or "math", {}))
    if isinstance(problem, str):
        return problem
    steps = row.get("steps")
    if steps is not None:
        if not isinstance(steps, list) or not all(isinstance(step, str) for step in steps):
            return "steps is no list of texts"
        return Trace(problem, None, steps, None)
    text = response_text(row.get("response"))
    if text is None:
        return "no_response"
    start = split_think(text).rest_start
    return Trace(problem, text, None, start or None)


def check_first(where: str, row: dict[str, Any]) -> None:
    """Refuses a file whose first row has no trace.

    Raises:
        InputError: names the fields that are there.
    """
    if "response" not in row and "steps" not in row:
        raise InputError(
            "The field 'response' is missing, and so is 'steps'.",
            where=where,
            remedy=f"this row has: {', '.join(map(str, row)) or 'no fields'}; say which is which: --map response=FIELD",
        )
