"""What a claim is, the statuses it may have, and the columns drawn from a trace's claims."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from proofmill.filters.symbolic.expressions import Node, Value

VERIFIED = "verified"
REFUTED = "refuted"
UNSUPPORTED = "unsupported"  # a value that is neither given, nor derived before, nor a common constant
JUMP = "jump"  # a conclusion that follows from nothing said before it
RETRACTED = "retracted"  # false, and corrected later by the trace itself
NOT_CHECKABLE = "not_checkable"
STATUSES = (VERIFIED, REFUTED, UNSUPPORTED, JUMP, RETRACTED, NOT_CHECKABLE)

_CHECKED = frozenset({VERIFIED, REFUTED, RETRACTED})


@dataclass(frozen=True, slots=True)
class Claim:
    """One claim of a trace and what the exact checks say of it.

    Attributes:
        step: index of the step that holds it, from 0.
        kind: `arithmetic`, `restatement`, `comparison`, `identity`, `equation`, `solution`, `definition`,
            `congruence`, `function`, `calculator`, `value`, `conclusion`, `assignment`, `grid` or `output`.
        text: the claim as it stands in the trace.
        status: one of `STATUSES`.
        evidence: why it has this status, for a reader; may be empty for `not_checkable`.
        start: offset of `text` in the trace (of the steps joined by newlines, where steps were given).
        in_final: whether it stands in the final part, the statement of the answer.
    """

    step: int
    kind: str
    text: str
    status: str
    evidence: str
    start: int
    in_final: bool = False


@dataclass(frozen=True, slots=True)
class ClaimSummary:
    """A trace's claim columns.

    Attributes:
        claims_checked: claims that the exact checks decided: verified, refuted or retracted.
        claims_refuted: claims that are false and were not taken back.
        first_refuted_step: index of the first step with a refuted claim, None if there is none.
        claim_score: verified / (verified + refuted), None where that is 0 / 0.
        coverage: share of the steps that hold a claim which was decided, 0 for a trace without steps.
    """

    claims_checked: int
    claims_refuted: int
    first_refuted_step: int | None
    claim_score: float | None
    coverage: float

    def columns(self) -> dict[str, int | float | None]:
        """Return the summary as a mapping by column name."""
        return {
            "claims_checked": self.claims_checked,
            "claims_refuted": self.claims_refuted,
            "first_refuted_step": self.first_refuted_step,
            "claim_score": self.claim_score,
            "claim_coverage": self.coverage,
        }


def summarise(claims: Sequence[Claim], steps: int | None = None) -> ClaimSummary:
    """Return the columns of one trace.

    Args:
        claims: what `check` returned.
        steps: number of steps of the trace; by default the last step that holds a claim is taken as the last.
    """
    count = Counter(claim.status for claim in claims)
    decided = count[VERIFIED] + count[REFUTED]
    refuted_steps = [claim.step for claim in claims if claim.status == REFUTED]
    covered = {claim.step for claim in claims if claim.status in _CHECKED}
    total = steps if steps is not None else max((claim.step + 1 for claim in claims), default=0)
    return ClaimSummary(
        claims_checked=decided + count[RETRACTED],
        claims_refuted=count[REFUTED],
        first_refuted_step=min(refuted_steps, default=None),
        claim_score=count[VERIFIED] / decided if decided else None,
        coverage=len(covered) / total if total else 0.0,
    )


@dataclass(slots=True)
class ClaimCandidate:
    """A judged link: what a `Claim` needs, in offsets of the step.

    Attributes:
        kind: the claim's kind.
        status: its status.
        evidence: why.
        start: offset of its first character in the step.
        end: offset behind its last.
        left: the left side's value, by which a later recomputation is recognised.
        left_text: the left side as written, blanks and signs of multiplication made equal.
        stated: the right side's value.
        inputs: the expression whose literals must come from somewhere, None behind the first link.
        sides: both sides, whose literals are known from here on.
    """

    kind: str
    status: str
    evidence: str
    start: int
    end: int
    left: Value | None = None
    left_text: str = ""
    stated: Value | None = None
    inputs: Node | None = None
    sides: tuple[Node, ...] = ()


class Finding(NamedTuple):
    """A status and why."""

    status: str
    evidence: str
