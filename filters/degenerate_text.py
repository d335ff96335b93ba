"""Loops in a text, recognised by their period, and changes of its alphabet or language.

A loop may stand at the end, break off inside the text, or hold counters that run on.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
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
    """Return whether words make up at least half of the visible characters of a line."""
    visible = len(line) - line.count(" ")
    return sum(map(len, _LETTERS.findall(line))) >= _MIN_LETTERS * visible


def find_loop(text: str) -> Loop | None:
    """Return the loop that a text ends in, wherever it was cut, or else holds; None if there is none.

    Takes time linear in the last 20,000 characters. Code blocks and table rows count at the end of a text only.
    """
    tail = text[-_TAIL:].rstrip()
    if len(tail) < MIN_CHARS:
        return None
    if loop := _loop_at_end(tail, MIN_TURNS):
        return loop
    prose = _prose(tail)
    if loop := _inner_loop(prose):
        return loop
    counting = _loop_at_end(_NUMBER.sub("#", prose), COUNTER_TURNS)
    return counting if counting and is_prose(counting.unit) else None


def _loop_at_end(tail: str, turns: Turns) -> Loop | None:
    """Return the loop at the end. Its last characters recur one period earlier, so only such periods are tried."""
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
    """Return the first loop in a text, found by probes at regular places."""
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
    """Return how many characters behind (or before) the place `first` equal those behind (or before) `second`."""
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
    """Return the text with a sign of its own for each code block and table row, so that none repeats another."""
    signs = count(_PRIVATE_USE)
    lines = FENCE.sub(lambda _: chr(next(signs)), text).split("\n")
    return "\n".join(chr(next(signs)) if line.count("|") > 1 or "&" in line else line for line in lines)


# --- A change of alphabet or language in the middle of a text ---

_RANGES: Mapping[str, str] = {
    "latin": "A-Za-z\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u024f",
    "cyrillic": "\u0400-\u052f",
    "hebrew": "\u0590-\u05ff",
    "arabic": "\u0600-\u06ff\u0750-\u077f",
    "devanagari": "\u0900-\u097f",
    "bengali": "\u0980-\u09ff",
    "tamil": "\u0b80-\u0bff",
    "thai": "\u0e00-\u0e7f",
    "hangul": "\uac00-\ud7af\u1100-\u11ff",
    "cjk": "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff",  # Japanese mixes its scripts, so they count as one
}
"""Greek is missing on purpose: it is notation."""

_MIN_RUN: Mapping[str, int] = {"cjk": 4, "hangul": 6, "latin": 60}  # terms are Latin in any text
_MIN_RUN_LETTERS = 15
"""Letters in a row (spaces aside) that make a switch: a word or two, not a name or a symbol."""

_MIN_MAIN = 2.0  # the main script has at least so many times the letters of the other
_RUN = re.compile(
    "|".join(f"(?P<{name}>[{range_}]+(?:[^\\w\n]{{1,2}}[{range_}]+)*)" for name, range_ in _RANGES.items())
)
_BEYOND_LATIN = re.compile("[" + "".join(ranges for name, ranges in _RANGES.items() if name != "latin") + "]")
_QUOTED = re.compile(
    r"`[^`\n]{0,300}`|\"[^\"\n]{0,300}\"|'[^'\n]{1,300}'|“[^”\n]{0,300}”|«[^»\n]{0,300}»|「[^」\n]{0,300}」"
)

_COMMON: Mapping[str, frozenset[str]] = {
    language: frozenset(words.split())
    for language, words in {
        "English": "the of and that this with which have from they there what when you we will would",
        "German": "der die das und nicht ist wir eine einen dass auch mit für sich wird sind haben",
        "French": "le les des une est que nous pour dans avec donc cette sont qui vous pas aussi",
        "Spanish": "el los las una que por para con como entonces tenemos pero más esta donde cada",
        "Italian": "il gli della che per con sono quindi abbiamo nel questo come ogni anche più",
        "Portuguese": "o os uma não que para com são então temos mas mais cada isso está então dos",
        "Dutch": "het een van niet dat wij zijn voor met ook deze wordt naar dus hebben",
    }.items()
}
_KNOWN = frozenset().union(*_COMMON.values())
_WORD = re.compile(r"[^\W\d_]+")
_MIN_LANGUAGE_WORDS = 12  # words of a paragraph below which its language can't be told
_MIN_COMMON = 4  # common words of the other language in it


def switches(text: str, prompt: str = "") -> str | None:
    """Return the words at which a text changes its alphabet or language, or None.

    Quoted words, and alphabets and languages of the prompt, are no switch: a text may speak about them.
    Languages are told by their commonest words, for a handful of European ones.
    """
    plain = _QUOTED.sub(" ", text)
    return _script_switch(plain, prompt) or _language_switch(plain, prompt)


def _script_switch(text: str, prompt: str) -> str | None:
    if text.isascii() or not _BEYOND_LATIN.search(text):
        return None  # one alphabet alone
    letters: Counter[str] = Counter()
    longest: dict[str, str] = {}
    for match in _RUN.finditer(text):
        script, run = match.lastgroup or "", match[0]
        letters[script] += len(run)
        if len(run) > len(longest.get(script, "")):
            longest[script] = run
    asked = {match.lastgroup for match in _RUN.finditer(prompt)}
    main, most = letters.most_common(1)[0] if letters else ("", 0)
    for script, run in longest.items():
        long_enough = len(run) >= _MIN_RUN.get(script, _MIN_RUN_LETTERS)
        if script != main and script not in asked and long_enough and most >= _MIN_MAIN * letters[script]:
            return run
    return None


def _language_switch(text: str, prompt: str) -> str | None:
    counts = [(paragraph, _languages(paragraph)) for paragraph in text.split("\n")]
    total: Counter[str] = Counter()
    for _, found in counts:
        total.update(found)
    if len(total) < 2:
        return None
    main, asked = total.most_common(1)[0][0], _languages(prompt)
    for paragraph, found in counts:
        if not found:
            continue
        language, hits = found.most_common(1)[0]
        if language != main and hits >= max(_MIN_COMMON, 3 * found[main]) and asked[language] < _MIN_COMMON:
            return paragraph.strip()
    return None


def _languages(text: str) -> Counter[str]:
    """Return common words of each language in a paragraph; empty where it is too short to tell."""
    words = _WORD.findall(text.lower())
    if len(words) < _MIN_LANGUAGE_WORDS:
        return Counter()
    known = [word for word in words if word in _KNOWN]  # few of a long text's words, asked for each language
    hits = {language: sum(word in common for word in known) for language, common in _COMMON.items()}
    return Counter({language: number for language, number in hits.items() if number})
