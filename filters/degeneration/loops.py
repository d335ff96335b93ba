"""A loop at the end of a text, told by its period."""

from __future__ import annotations

import re
from typing import NamedTuple

_TAIL = 20_000  # characters looked at
_PROBE = 12  # characters at the end whose earlier occurrences give the candidate periods
_CANDIDATES = 24
_LETTERS = re.compile(r"[^\W\d_]{2}")

MIN_CHARS = 60
"""Characters of a loop; anything shorter may be emphasis."""

MIN_TURNS = ((100, 3), (20, 4), (0, 8))
"""Turns that make a loop, by the least length of the unit: a paragraph said three times, a sentence four
times, a word eight times. Own choice: sound traces were not seen to end so."""

_UNFINISHED = 0.1  # of the last turn: the white space or full stop between two turns

MIN_BARE_CHARS, MIN_BARE_TURNS = 2_000, 16
"""The same for a unit without words, since rows of zeros, rules and digits of a fraction are no loop."""


class Loop(NamedTuple):
    """A unit that a text ends in, again and again.

    Attributes:
        unit: one turn of the loop.
        chars: characters in all turns, a last unfinished one included.
    """

    unit: str
    chars: int

    @property
    def repeated(self) -> int:
        """Characters after the first turn."""
        return self.chars - len(self.unit)


def tail_loop(text: str) -> Loop | None:
    """The loop that a text ends in, whatever the point at which it was cut; None if there is none.

    Takes time linear in the tail: the last characters of a periodic text recur one period earlier, so only
    the distances to their last few occurrences are tried.
    """
    tail = text[-_TAIL:].rstrip()
    if len(tail) < MIN_CHARS:
        return None
    probe = tail[-_PROBE:]
    start = len(tail) - len(probe)
    for _ in range(_CANDIDATES):
        start = tail.rfind(probe, 0, start + len(probe) - 1)
        if start < 0:
            return None
        period = len(tail) - len(probe) - start
        chars = period + _common_suffix(tail, period)
        if _is_loop(tail[-period:], chars):
            return Loop(tail[-period:], chars)
    return None


def _is_loop(unit: str, chars: int) -> bool:
    turns = chars / len(unit)
    if not _LETTERS.search(2 * unit):
        return chars >= MIN_BARE_CHARS and turns >= MIN_BARE_TURNS
    needed = next(turns for length, turns in MIN_TURNS if len(unit) >= length)
    return chars >= MIN_CHARS and turns >= needed - _UNFINISHED


def _common_suffix(text: str, shift: int) -> int:
    """How many characters at the end of `text` equal those `shift` places before."""
    low, high = 0, len(text) - shift
    while low < high:
        middle = (low + high + 1) // 2
        end = len(text) - shift
        if text[end - middle : end] == text[len(text) - middle :]:
            low = middle
        else:
            high = middle - 1
    return low
