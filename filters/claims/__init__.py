"""Exact checks of a trace's intermediate claims: read by an own grammar, never evaluated as code."""

from proofmill.filters.claims.check import TraceCheck, check, check_trace
from proofmill.filters.claims.model import (
    JUMP,
    NOT_CHECKABLE,
    REFUTED,
    RETRACTED,
    STATUSES,
    UNSUPPORTED,
    VERIFIED,
    Claim,
    ClaimSummary,
    summarise,
)
from proofmill.filters.claims.tokens import split_steps

__all__ = [
    "JUMP",
    "NOT_CHECKABLE",
    "REFUTED",
    "RETRACTED",
    "STATUSES",
    "UNSUPPORTED",
    "VERIFIED",
    "Claim",
    "ClaimSummary",
    "TraceCheck",
    "check",
    "check_trace",
    "split_steps",
    "summarise",
]
