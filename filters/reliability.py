"""Claim-level reliability (CLR): the model as its own verifier, after the VibeThinker-3B report (arXiv 2606.16140).

Of each trace the model names up to M claims that its answer hangs on; each is judged in a fresh context that sees
the problem and the claim alone and is asked to find an error. With v = 1 for a claim that stands and 0 for one that
falls, the trace's reliability is r = (mean v)^M. What exact checks decide overrules the model. Answers that are not
the JSON that was asked for judge nothing: a fault is never counted against a trace.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl
import pyarrow as pa

from proofmill.data.files import digest
from proofmill.data.schemas import CLAIM, column
from proofmill.filters.base import DropRule, ModelFilter
from proofmill.filters.claim_checks import ClaimOptions
from proofmill.filters.claims.model import REFUTED, VERIFIED
from proofmill.filters.model_judge import json_reply, quoted

MAX_CLAIM, MAX_REASON = 300, 400  # characters

UPHELD = "upheld"  # the model looked for an error and found none
DOUBTED = "doubted"  # the model holds that it is false
NOT_JUDGED = "not_judged"  # the answer was malformed or cut
CLAIM_STATUSES = (VERIFIED, UPHELD, REFUTED, DOUBTED, NOT_JUDGED)
_CLR_CLAIM = [CLAIM.field(name) for name in ("text", "status", "evidence")]
KIND = "clr"  # of these claims among others

_NAME_CLAIMS = """\
Below are a problem and a solution that somebody wrote. List up to {m} claims of the solution that its final answer \
hangs on: results of calculations, facts that it uses, conclusions that it draws. Take them from all of the solution, \
not from its end alone, and don't list the final answer itself. Write each claim as one full sentence or equation that \
can be checked by someone who sees the problem but not the solution. Repeat what the solution says even where it is \
wrong; don't correct it.

PROBLEM
{problem}
END OF PROBLEM

SOLUTION
{response}
END OF SOLUTION

Answer with a JSON object whose key "claims" holds the list of claims, each a string."""

_FALSIFY = """\
Someone who works on the problem below makes a claim about it. Try to prove the claim wrong: look for an error of \
calculation, for something that does not follow from the problem, for a case that it overlooks. First write what you \
checked and what came of it, then your verdict: false if you found an error, true if the claim withstands.

PROBLEM
{problem}
END OF PROBLEM

CLAIM
{claim}
END OF CLAIM

Answer with a JSON object: "check" holds what you checked, "claim_is_true" holds true or false."""

JUDGEMENT_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"check": {"type": "string", "maxLength": MAX_REASON}, "claim_is_true": {"type": "boolean"}},
    "required": ["check", "claim_is_true"],
    "additionalProperties": False,
}


def claims_schema(m: int) -> dict[str, Any]:
    """Return the JSON schema of the answer to `claims_prompt`."""
    claim = {"type": "string", "minLength": 1, "maxLength": MAX_CLAIM}
    claims = {"type": "array", "items": claim, "minItems": 1, "maxItems": m}
    return {
        "type": "object",
        "properties": {"claims": claims},
        "required": ["claims"],
        "additionalProperties": False,
    }


def prompts_digest() -> str:
    """Return a digest of what the recorded judgements depend on in this module."""
    return digest(_NAME_CLAIMS, _FALSIFY, claims_schema(1), JUDGEMENT_SCHEMA)


def claims_prompt(problem: str, response: str, m: int) -> str:
    """Return the prompt that asks for the claims on which a trace's answer depends."""
    return _NAME_CLAIMS.format(problem=quoted(problem), response=quoted(response), m=m)


def judgement_prompt(problem: str, claim: str) -> str:
    """Return the prompt that asks to falsify one claim; it shows neither the trace nor how sure it was."""
    return _FALSIFY.format(problem=quoted(problem), claim=quoted(claim))


@dataclass(frozen=True, slots=True)
class NamedClaims:
    """The claims of a trace.

    Attributes:
        claims: each once, in the model's order; empty where there are none.
        fault: None, or why there are none: `malformed`, `no_claims`, `cut`, or how the request ended.
    """

    claims: tuple[str, ...]
    fault: str | None = None


def read_claims(text: str, finish_reason: str, m: int) -> NamedClaims:
    """Return the claims in an answer to `claims_prompt`; none where the list was cut in the middle."""
    value = json_reply(text, finish_reason)
    if isinstance(value, str):
        return NamedClaims((), value)
    listed = value.get("claims")
    if not isinstance(listed, list):
        return NamedClaims((), "malformed")
    claims = dict.fromkeys(" ".join(claim.split())[:MAX_CLAIM] for claim in listed if isinstance(claim, str))
    stated = tuple(claim for claim in claims if _STATES.search(claim))[:m]
    return NamedClaims(stated) if stated else NamedClaims((), "no_claims")


_STATES = re.compile(r"\w.*(?:\s|[=<>≤≥≈≠]).*\w")  # a lone word or number, or dots, claim nothing


@dataclass(frozen=True, slots=True)
class ClaimJudgement:
    """What is held of one claim.

    Attributes:
        status: `verified` or `refuted` by exact checks, `upheld`, `doubted` or `not_judged` by the model.
        evidence: why, for a reader.
    """

    status: str
    evidence: str

    @property
    def v(self) -> int | None:
        """The report's v; None where nothing judged the claim."""
        return {VERIFIED: 1, UPHELD: 1, REFUTED: 0, DOUBTED: 0}.get(self.status)


def read_judgement(text: str, finish_reason: str) -> ClaimJudgement:
    """Return the verdict in an answer to `judgement_prompt`."""
    value = json_reply(text, finish_reason)
    if isinstance(value, str):
        return ClaimJudgement(NOT_JUDGED, value)
    verdict, reason = value.get("claim_is_true"), value.get("check")
    if not isinstance(verdict, bool):
        return ClaimJudgement(NOT_JUDGED, "malformed")
    return ClaimJudgement(UPHELD if verdict else DOUBTED, str(reason or "")[:MAX_REASON])


def overruled(claim: str, exact: Iterable[Mapping[str, Any]]) -> ClaimJudgement | None:
    """Return what exact checks say of a claim that the model named, or None where they don't decide it.

    A refuted statement inside the claim refutes it; a verified one proves it only where it is all of the claim.

    Args:
        claim: the claim as the model wrote it.
        exact: checked claims (`text`, `status`, `evidence`): the trace's, and those found in `claim` itself.
            One that is both verified and refuted in its trace, where a name changed its value, decides nothing.
    """
    plain = _plain(claim)
    statements: dict[str, dict[str, str]] = {}
    for item in exact:
        if item["status"] in (VERIFIED, REFUTED) and (text := _plain(item["text"])):
            statements.setdefault(text, {})[item["status"]] = item["evidence"]
    decided = {text: dict(says) for text, says in statements.items() if len(says) == 1 and _stands_in(text, plain)}
    for says in decided.values():
        if REFUTED in says:
            return ClaimJudgement(REFUTED, says[REFUTED])
    if VERIFIED in decided.get(plain, {}):
        return ClaimJudgement(VERIFIED, decided[plain][VERIFIED])
    return None


def _plain(text: str) -> str:
    """Return a claim without the marks around it, so that it is found again where the model wrote it down."""
    plain = " ".join(re.sub(r"\\[()\[\]]|[$`]", " ", text).split()).strip(" .,;:*")
    return plain[opening.end() :] if (opening := _OPENING.match(plain)) else plain


_OPENING = re.compile(r"(?:(?:so|thus|therefore|hence|then|and|the|that|we|get|have|know|now)\b[\s,]*)+", re.IGNORECASE)
_JOINS = "+-−–*/×÷·^=<>≤≥≠%"


def _stands_in(text: str, claim: str) -> bool:
    """Return whether a checked statement is a whole one inside a claim: `3 + 4 = 7` is not in `2 * 3 + 4 = 75`."""
    start = claim.find(text)
    while start >= 0:
        before, after = claim[:start].rstrip(), claim[start + len(text) :]
        inside = claim[start - 1 : start].isalnum() or before.endswith((*_JOINS, "("))
        goes_on = re.match(r"\w|[.,]\d|!", after) or after.lstrip().startswith((*_JOINS, ")"))
        if not inside and not goes_on:
            return True
        start = claim.find(text, start + 1)
    return False


def reliability(judged: Sequence[ClaimJudgement], m: int) -> float | None:
    """Return r = (mean v)^M over the claims that were judged; None where none was (arXiv 2606.16140)."""
    values = [v for item in judged if (v := item.v) is not None]
    return float((sum(values) / len(values)) ** m) if values else None


def weight(claim_score: float | None, clr_score: float | None) -> float:
    """Return the training weight of a trace: each refuted claim, and each that the model doubts, lowers it."""
    return (1.0 if claim_score is None else claim_score) * (1.0 if clr_score is None else clr_score)


def _unreliable(options: ClaimOptions) -> pl.Expr:
    least = options.min_reliability
    return pl.lit(False) if least is None else pl.col("clr_score") < least


RELIABILITY = ModelFilter(
    name="clr",
    version=1,
    section="claims",
    options=ClaimOptions,
    reads=("problem", "response", "verdict", "extracted", "claims"),
    adds=pa.schema([column("clr_score", pa.float32(), "reliability r by the model; null where it was not asked")]),
    internal=pa.schema(
        [
            column("clr_fault", pa.string(), "why a trace that was asked about has no claims"),
            column("clr_claims", pa.list_(pa.struct(_CLR_CLAIM)), "the claims that the model named, judged"),
        ]
    ),
    enabled=lambda options: options.model is not None,
    rules=(
        DropRule(
            "unreliable",
            _unreliable,
            "the model's own reliability is below `claims.min_reliability`",
            hangs_on=("min_reliability",),
            evidence=("clr_score",),
        ),
    ),
)
