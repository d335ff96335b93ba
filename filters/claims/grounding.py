"""Where values come from: the problem, an earlier claim, a common constant, or nowhere."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache

from proofmill.filters.claims.judge import show, walk
from proofmill.filters.claims.nodes import Node, Number, Value
from proofmill.filters.claims.numerals import literal
from proofmill.filters.claims.wording import FRACTION_WORDS, MULTIPLE_WORDS, NUMBER_WORDS, SCALE_WORDS, words

# Small numbers, calendar and clock, the circle, powers of ten and what English measures hold of each other.
_COMMON: frozenset[Value] = frozenset(
    Fraction(number) if "/" in number else int(number)
    for number in words(
        """0 1 2 3 4 5 6 7 8 9 10 11 12 14 15 16 20 24 25 28 30 31 36 48 50 52 60 90 100 120 144 180 360
        365 366 1000 1440 1760 3600 5280 10000 100000 1000000 1000000000 1/2 1/3 2/3 1/4 3/4 1/5 1/10 1/100
        3/2 5/2 22/7"""
    )
) | {Fraction(314, 100)}
_VALUE = re.compile(r"(\d{1,3}(?:,\d{3})+(?!\d)(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+)(\s?%|\s?percent)?|([A-Za-z]+)")
_MAX_KNOWN = 200
_CONCLUSION = re.compile(
    r"(?:\\boxed\{|####|\b[Aa]nswer(?: is)?:?|\bANSWER(?: IS)?:?|^A:)[ ]{0,3}(?:\\text\{)?\\?[$€£]?[ ]{0,2}"
    r"(-?\d{1,30}(?:,\d{3}){0,8}(?:\.\d{1,12})?)(?![\d/^.,]*\d)(?=[\s}.,%]|\Z)",
    re.MULTILINE,
)


@dataclass(slots=True)
class Sources:
    """The values that a trace may use.

    Attributes:
        given: values of the problem; grounding is not judged where it has none.
        derived: values that claims have established, in order.
    """

    given: frozenset[Value]
    derived: dict[Value, None] = field(default_factory=dict)

    def learn(self, node: Node) -> None:
        """Take the literals of an established expression as known from now on."""
        for part in walk(node):
            if isinstance(part, Number):
                self.add(part.value)

    def add(self, value: Value) -> None:
        """Take a value as known from now on."""
        self.derived[value] = None
        if len(self.derived) > _MAX_KNOWN:
            del self.derived[next(iter(self.derived))]

    def is_supported(self, value: Value) -> bool:
        """Whether a value is known, or one operation away from two known values."""
        if not self.given or isinstance(value, float) or self._is_known(value):
            return True
        return any(self._one_step(value, known) for known in (*self.given, *self.derived))

    def _is_known(self, value: Value) -> bool:
        return value in self.given or value in self.derived or value in _COMMON

    def _one_step(self, value: int | Fraction, known: Value) -> bool:
        """Whether two known values add, subtract, multiply or divide to `value`."""
        if isinstance(known, float):
            return False
        if any(other in self.given or other in self.derived for other in (value - known, known - value)):
            return True
        return known != 0 != value and (self._is_known(_ratio(value, known)) or self._is_known(_ratio(known, value)))

    def unsupported(self, node: Node) -> Iterator[Number]:
        """The literals of an expression that come from nowhere."""
        for part in walk(node):
            if isinstance(part, Number) and not self.is_supported(part.value):
                yield part


def sources_of(prompt: str) -> Sources:
    """The sources that a trace begins with: the values that its problem states."""
    return Sources(_given(prompt[:20_000]))


@lru_cache(maxsize=256)  # the samples of one problem come one after the other
def _given(prompt: str) -> frozenset[Value]:
    """The values in a prompt, in digits or words, and what percentages of them mean."""
    given: set[Value] = set()
    for match in _VALUE.finditer(prompt):
        number, percent, word = match.groups()
        if number is None:
            if word.lower() in _WORDS:
                given.add(_WORDS[word.lower()])
        elif len(number) <= 40:
            value = literal(number.replace(",", "")).value
            given.add(value)
            if percent:
                given.update(_meanings(value))
    return frozenset(given)


def _meanings(percent: int | Fraction) -> tuple[Value, ...]:
    """What 20 % may be written as: 0.2, 0.8, 1.2, 80, 120."""
    share = Fraction(percent) / 100
    return _ratio(percent, 100), _ratio(1 - share, 1), _ratio(1 + share, 1), 100 - percent, 100 + percent


_WORDS: dict[str, int | Fraction] = {**NUMBER_WORDS, **FRACTION_WORDS, **MULTIPLE_WORDS, **SCALE_WORDS}


def _ratio(top: int | Fraction, bottom: int | Fraction) -> Value:
    value = Fraction(top) / bottom
    return value.numerator if value.denominator == 1 else value


def conclusions(text: str) -> Iterator[tuple[int, int, Value]]:
    """The answers that a text states: start, end and value."""
    if not any(cue in text for cue in ("boxed", "####", "nswer", "NSWER", "A:")):
        return
    for match in _CONCLUSION.finditer(text):
        digits = match.group(1).replace(",", "")
        value = literal(digits.lstrip("-")).value
        yield match.start(1), match.end(1), -value if digits.startswith("-") else value


def explain(value: Value) -> str:
    """Evidence for a value that comes from nowhere."""
    return f"{show(value)} is neither in the problem, nor derived before, nor a common constant"
