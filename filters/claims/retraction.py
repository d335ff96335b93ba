"""False claims that the trace itself takes back."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from proofmill.filters.claims.judge import walk
from proofmill.filters.claims.links import Link
from proofmill.filters.claims.model import REFUTED, RETRACTED, VERIFIED
from proofmill.filters.claims.nodes import Number, Value
from proofmill.filters.claims.wording import CORRECTION

_WINDOW = 240  # characters behind a claim in which its correction begins
_PLAIN = re.compile(r"wrong|incorrect|mistake|error|not (?:right|correct)|oops|scratch|correction", re.IGNORECASE)


def retract(text: str, placed: Sequence[tuple[int, Link]]) -> list[Link]:
    """The links, the false ones that are corrected later marked as retracted.

    A claim is taken back where the same left side is computed again with a true result and nothing goes on
    from the false one, where words that
    call it wrong follow, or where the trace stops ("wait", "actually") and then reaches the true value.

    Args:
        text: the whole trace.
        placed: each link with its offset in the trace.
    """
    marked = []
    for index, (start, link) in enumerate(placed):
        reason = _reason(text, start, link, placed[index + 1 :]) if link.status == REFUTED else ""
        marked.append(replace(link, status=RETRACTED, evidence=f"{link.evidence}; {reason}") if reason else link)
    return marked


def _uses(link: Link, value: Value | None) -> bool:
    """Whether a later calculation goes on from a value."""
    inputs = walk(link.inputs) if link.inputs is not None else ()
    return any(isinstance(part, Number) and part.value == value for part in inputs)


def _reason(text: str, start: int, link: Link, later: Sequence[tuple[int, Link]]) -> str:
    verified = [other for _, other in later if other.status == VERIFIED]
    again = link.left_text and any(other.left_text == link.left_text and other.kind == link.kind for other in verified)
    if again and not any(_uses(other, link.stated) for _, other in later):
        return "computed again later"
    end = start + link.end - link.start
    cue = CORRECTION.search(text, end, min(len(text), end + _WINDOW))
    if cue is None:
        return ""
    if _PLAIN.search(cue.group()):
        return f"taken back: “{cue.group().strip()}”"
    reached = any(link.left is not None and other.stated == link.left for other in verified)
    return f"taken back: “{cue.group().strip()}”, then computed again" if reached else ""
