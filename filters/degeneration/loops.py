"""Loops in a text, told by their period: at its end, broken off inside of it, or with counters that run on."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import count
from typing import NamedTuple, TypeAlias

Turns: TypeAlias = Sequence[tuple[int, float]]
"""Turns that make a loop, by the least length of the unit; the longest first."""

FENCE = re.compile(r"^```.*?(?:^```|\Z)", re.MULTILINE | re.DOTALL)

MIN_CHARS = 60
"""Characters of a loop; anything shorter may be emphasis."""

MIN_TURNS: Turns = ((100, 3), (20, 4), (0, 8))
"""At the end of a text: a paragraph said three times, a sentence four times, a word eight times. Own choice: sound
traces were not seen to end so."""

INNER_TURNS: Turns = ((100, 6), (20, 8), (0, 16))
"""The same twice as often where the text goes on: a refrain or a quotation ends by itself."""

COUNTER_TURNS: Turns = ((200, 12), (100, 20), (20, 40), (0, 80))
"""The same at the end of a text where the turns differ in their numbers: cases are enumerated in such sentences, but
not by the dozen up to the last word. Own choice."""

MIN_BARE: Turns = ((2_000, 16),)
"""Characters and turns of a unit without words, since rows of zeros, rules and digits of a fraction are no loop."""

_TAIL = 20_000  # characters looked at
_PROBE = 12  # characters whose other occurrences give the candidate periods
_CANDIDATES = 24
_INNER_CANDIDATES = 6
_STEP = 120  # between probes: less than any inner loop goes on
_MAX_INNER_PERIOD = 3_400  # characters: six turns are then the whole tail
_MIN_INNER_CHARS = 200
_PRIVATE_USE = 0xF0000  # first of 65,534 characters that no text has
_UNFINISHED = 0.1  # of the last turn: the white space or full stop between two turns

COMMAND = re.compile(r"\\[A-Za-z]+\*?(?:\{[A-Za-z]{1,20}\*?\})?")
_WORDS_OR_EQUATION = re.compile(r"[^\W\d_]{2}|[^\W\d_]\W{0,3}=")
_LETTERS = re.compile(r"[^\W\d_]{2,}")
_MIN_LETTERS = 0.5  # share of letters in words among the visible characters of a line of prose
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")


class Loop(NamedTuple):
    """A unit that stands in a text again and again.

    Attributes:
        unit: the first turn; `#` stands for numbers that differ.
        chars: characters in all turns, a last unfinished one included.
    """

    unit: str
    chars: int

    @property
    def repeated(self) -> int:
        """Characters after the first turn."""
        return self.chars - len(self.unit)


def is_prose(line: str) -> bool:
    """Whether words make up at least half of the visible characters of a line."""
    visible = len(line) - line.count(" ")
    return sum(map(len, _LETTERS.findall(line))) >= _MIN_LETTERS * visible


def find_loop(text: str) -> Loop | None:
    """The loop that a text ends in, whatever the point at which it was cut, or else holds; None if there is none.

    Takes time linear in the last 20,000 characters. Code blocks and table rows count at the end of a text only.
    """
    tail = text[-_TAIL:].rstrip()
    if len(tail) < MIN_CHARS:
        return None
    if found := _loop_at_end(tail, MIN_TURNS):
        return found
    prose = _prose(tail)
    if found := _inner_loop(prose):
        return found
    counting = _loop_at_end(_NUMBER.sub("#", prose), COUNTER_TURNS)
    return counting if counting and is_prose(counting.unit) else None


def _loop_at_end(tail: str, turns: Turns) -> Loop | None:
    """The last characters of a periodic text recur one period earlier: only these distances are tried."""
    probe = tail[-_PROBE:]
    start = len(tail) - len(probe)
    for _ in range(_CANDIDATES):
        start = tail.rfind(probe, 0, start + len(probe) - 1)
        if start < 0:
            return None
        period = len(tail) - len(probe) - start
        chars = period + _common(tail, len(tail) - period, len(tail), backwards=True)
        unit = tail[-chars:][:period]
        if _is_loop(unit, chars, turns):
            return Loop(unit, chars)
    return None


def _inner_loop(text: str) -> Loop | None:
    """The first loop in a text, found by probes at regular places."""
    at = 0
    while at + _PROBE < len(text):
        probe, start = text[at : at + _PROBE], at
        following = at + _STEP
        for _ in range(_INNER_CANDIDATES):
            start = text.find(probe, start + 1, at + _MAX_INNER_PERIOD)
            if start < 0:
                break
            period = start - at
            ahead = _common(text, at, start)
            begin = at - _common(text, at, start, backwards=True)
            unit, chars = text[begin : begin + period], at - begin + ahead + period
            if chars >= _MIN_INNER_CHARS and _is_loop(unit, chars, INNER_TURNS):
                return Loop(unit, chars)
            if chars > 3 * period:  # periodic, and none
                following = max(following, begin + chars - _PROBE)
        at = following
    return None


def _is_loop(unit: str, chars: int, turns: Turns) -> bool:
    if not _WORDS_OR_EQUATION.search(COMMAND.sub(" ", 2 * unit)):
        least, needed = MIN_BARE[0]
        return chars >= least and chars / len(unit) >= needed
    needed = next(turns for length, turns in turns if len(unit) >= length)
    return chars >= MIN_CHARS and chars / len(unit) >= needed - _UNFINISHED


def _common(text: str, first: int, second: int, *, backwards: bool = False) -> int:
    """How many characters behind (or before) the place `first` equal those behind (or before) `second`."""
    low, high = 0, first if backwards else len(text) - second
    while low < high:
        middle = (low + high + 1) // 2
        one, two = (first - middle, second - middle) if backwards else (first, second)
        if text[one : one + middle] == text[two : two + middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _prose(text: str) -> str:
    """A text with a sign of its own in the place of each code block and table row, so that none repeats another."""
    signs = count(_PRIVATE_USE)
    lines = FENCE.sub(lambda _: chr(next(signs)), text).split("\n")
    return "\n".join(chr(next(signs)) if line.count("|") > 1 or "&" in line else line for line in lines)
