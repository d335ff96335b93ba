"""Whether an equality is announced as one expression written anew: "expanding, (x + 2)^2 = x^2 + 4x + 4".

An equation may be announced in the same words, so the answer is yes only where no solution and no further equation
follows and both sides go together where the unknowns are large, as the two forms of an expression do.
"""

from __future__ import annotations

import re

from proofmill.filters.claims.identities import is_alike_at_infinity, unknowns_of
from proofmill.filters.claims.nodes import Node, Symbol

_ANNOUNCES = re.compile(
    r"\b(?:expand(?:ing)?|factor(?:ing)?|simplify(?:ing)?|distribut(?:e|ing)|multiply(?:ing)? out|foil(?:ing)?)\b"
    r"(?:\s(?:the|this|out|it|expression|product|square|brackets|parentheses|quadratic|polynomial|trinomial|binomial)){0,4}"
    r"[\s,:]{0,3}(?:we (?:get|have|obtain|find)|gives)?[\s,:$\\(\[]{0,6}\Z",
    re.IGNORECASE,
)
_ENDS = re.compile(r"[\s$)\]\\*]{0,6}(?:[.;\n=]|\Z)")
_SOLVES = re.compile(r"\b(?:solv\w+|equations?|both sides|roots?|solutions?)\b", re.IGNORECASE)
_WITHIN = 200  # characters behind the link in which an equation would be gone on with


def announces(before: str, after: str, left: Node, right: Node) -> bool:
    """Whether `left = right`, between the texts given, can only be meant as an identity."""
    after = after[:_WITHIN]
    if not _ANNOUNCES.search(before) or not _ENDS.match(after) or _SOLVES.search(before + after):
        return False
    unknowns = unknowns_of(right)
    if isinstance(left, Symbol) or not unknowns or unknowns != unknowns_of(left):
        return False
    has_value = any(re.search(rf"(?<![A-Za-z]){re.escape(name)}\s?=", after) for name in unknowns)
    return not has_value and is_alike_at_infinity(left, right, unknowns)
