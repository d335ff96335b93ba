"""False claims that the trace itself takes back."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import islice

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
    again = {(link.kind, link.left_text): index for index, (_, link) in enumerate(placed) if link.status == VERIFIED}
    marked = []
    for index, (start, link) in enumerate(placed):
        reason = ""
        if link.status == REFUTED:
            is_again = bool(link.left_text) and again.get((link.kind, link.left_text), -1) > index
            reason = _reason(text, start, link, islice(placed, index + 1, None), is_again)
        marked.append(replace(link, status=RETRACTED, evidence=f"{link.evidence}; {reason}") if reason else link)
    return marked


def _uses(link: Link, value: Value | None) -> bool:
    """Whether a later calculation goes on from a value."""
    inputs = walk(link.inputs) if link.inputs is not None else ()
    return any(isinstance(part, Number) and part.value == value for part in inputs)


def _reason(text: str, start: int, link: Link, later: Iterable[tuple[int, Link]], is_again: bool) -> str:
    """Why a false link counts as taken back; empty where it stands. `is_again`: computed rightly later."""
    if is_again:
        later = list(later)
        if not any(_uses(other, link.stated) for _, other in later):
            return "computed again later"
    end = start + link.end - link.start
    cue = CORRECTION.search(text, end, min(len(text), end + _WINDOW))
    if cue is None:
        return ""
    if _PLAIN.search(cue.group()):
        return f"taken back: “{cue.group().strip()}”"
    reached = link.left is not None and any(other.stated == link.left for _, other in later if other.status == VERIFIED)
    return f"taken back: “{cue.group().strip()}”, then computed again" if reached else ""
