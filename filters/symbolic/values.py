r"""Whether two single values are the same: exactly, with their units, or to many digits.

What this package's own grammar does not cover (integrals, sums, limits) is left to math-verify: its LaTeX grammar
only, never its plain-expression one, which evaluates text. Its alarms are off: they need the main thread and miss
what hangs in C; the caller's worker pool kills instead.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from math import gcd
from typing import Any

from proofmill.filters.symbolic import identity
from proofmill.filters.symbolic.expressions import (
    MAX_BITS,
    Binary,
    Node,
    Number,
    TooCostlyError,
    rational,
    unknowns_of,
)
from proofmill.filters.symbolic.grammar import NotCoveredError, parse
from proofmill.filters.symbolic.identity import decimal_places, is_rounded
from proofmill.filters.symbolic.notation import NEEDLESS_SPACE
from proofmill.filters.symbolic.units import Unit, based_value, colon_form, scaled, split_percent, split_unit

_CLOCK = re.compile(r"(\d{1,2}):([0-5]\d)")


@dataclass(frozen=True, slots=True)
class Context:
    """How the question asks.

    Attributes:
        percent: it asks for a percentage, so that a bare 50 is 50%.
        scale: it names a scale as its unit, so that 5 may be 5 million.
        rounding: a decimal of enough digits may stand for what it rounds.
        question: its last part, cleaned.
        ordered: it asks for a list in an order.
        dollars: it counts in dollars.
    """

    percent: bool = False
    scale: bool = False
    rounding: bool = False
    question: str = ""
    ordered: bool = False
    dollars: bool = False


@dataclass(frozen=True, slots=True)
class Value:
    """A value with what it carries: its text without them, its unit, whether it is a percentage."""

    text: str
    unit: Unit | None
    percent: bool


_NUMERAL = Unit(Fraction(1), (("numeral", 1),), frozenset())  # digits in a base measure nothing
_COUNT = Unit(Fraction(1), (("count", 1),), frozenset())  # a dozen is no measure


@lru_cache(maxsize=16_384)
def value_of(text: str, *, scale_is_unit: bool = False) -> Value:
    """The value that a text states, taken apart."""
    if _base_value(text) is not None:
        return Value(text, _NUMERAL, False)
    bare, percent = split_percent(text if scale_is_unit else scaled(text))
    bare, unit = split_unit(bare)
    if unit is None and not scale_is_unit and "dozen" in text:
        unit = _COUNT
    return Value(bare, unit, percent)


def same_value(a: str, b: str, context: Context) -> bool:
    """Whether two texts, cleaned, state the same value.

    Raises:
        TooCostlyError: a value is too big to judge.
    """
    if strip_spaces(a) == strip_spaces(b):
        return True
    if ":" in a or ":" in b:
        return _same_colon(a, b)
    left, right = _in_radians(value_of(a), b), _in_radians(value_of(b), a)
    if _same_quantity(left, right, context) or _same_amount(left, right, context):
        return True
    if not context.scale:
        return False
    return _same_quantity(value_of(a, scale_is_unit=True), value_of(b, scale_is_unit=True), context)


def _same_quantity(left: Value, right: Value, context: Context) -> bool:
    scale = Fraction(1)
    if left.unit is not None and right.unit is not None:
        if not left.unit.agrees(right.unit):
            return False
        scale = left.unit.factor / right.unit.factor
    if left.percent != right.percent and not context.percent:
        scale *= Fraction(1, 100) if left.percent else 100
    return _same_number(left.text, right.text, scale, context)


_MONEY = (("dollar", 1),)


def _same_amount(left: Value, right: Value, context: Context) -> bool:
    """Whether 46 cents are the 0.46 of a question that counts in dollars."""
    if (left.unit is None) == (right.unit is None) or not context.dollars:
        return False
    unit = left.unit or right.unit
    if unit is None or unit.dimensions != _MONEY or unit.factor == 1:
        return False
    scale = unit.factor if left.unit is not None else 1 / unit.factor
    return _same_number(left.text, right.text, scale, context)


def _in_radians(value: Value, other: str) -> Value:
    """An angle in degrees as a multiple of π, where the other side is one (30° and π/6)."""
    if value.unit is None or value.unit.dimensions != (("degree", 1),) or "\\pi" not in other:
        return value
    return Value(f"({value.text})\\pi/180", None, value.percent)


def strip_spaces(text: str) -> str:
    """The text without the spaces that no meaning hangs on."""
    return NEEDLESS_SPACE.sub("", text)


def _same_colon(a: str, b: str) -> bool:
    left, right = colon_form(a), colon_form(b)
    if left is not None and right is not None and left[1] == right[1]:
        return True
    if _may_be_clock(a) or _may_be_clock(b):
        return False
    if left is None or right is None:
        ratio, other = (left, b) if left else (right, a)
        if ratio is None or ratio[0] != "ratio" or len(ratio[1]) != 2 or not ratio[1][1]:
            return False
        return rational_value(other) == Fraction(*ratio[1])
    if "clock" in (left[0], right[0]) or len(left[1]) != len(right[1]) or not left[1][0] or not right[1][0]:
        return False
    return all(x * right[1][0] == y * left[1][0] for x, y in zip(left[1], right[1], strict=True))


def _may_be_clock(text: str) -> bool:
    """Whether it is written like a time of day, and not like a ratio in its lowest terms: `10:30`."""
    found = _CLOCK.fullmatch(strip_spaces(text))
    return found is not None and int(found[1]) <= 24 and gcd(int(found[1]), int(found[2])) > 1


def _same_number(a: str, b: str, scale: Fraction, context: Context) -> bool:
    """Whether a · scale = b."""
    x, y = rational_value(a), rational_value(b)
    if x is not None and y is not None:
        return x * scale == y or (context.rounding and scale == 1 and is_rounded(a, x, b, y))
    if "\\infty" in a or "\\infty" in b:
        return strip_spaces(a).lstrip("+") == strip_spaces(b).lstrip("+")
    try:
        left, right = parse(a), parse(b)
        if scale != 1:
            left = Binary("*", left, Number(scale))
        return identity.identical(left, right) or (context.rounding and _approximates(a, b, left, right))
    except NotCoveredError:
        return scale == 1 and library_equal(_in_lowest_terms(a, x), _in_lowest_terms(b, y))


def _in_lowest_terms(text: str, value: Fraction | None) -> str:
    """A rational number as no other grammar can misread it (`1 1/2`); any other text as it is."""
    if value is None or max(value.numerator.bit_length(), value.denominator.bit_length()) > 1000:
        return text
    return f"\\frac{{{value.numerator}}}{{{value.denominator}}}" if value.denominator > 1 else str(value.numerator)


def rational_value(text: str, max_bits: int = MAX_BITS) -> Fraction | None:
    """The exact value of a cleaned text; None where it is no rational number.

    Raises:
        TooCostlyError: the value has too many digits.
    """
    if (based := _base_value(text)) is not None:
        return Fraction(based)
    try:
        return rational(parse(text), max_bits)
    except NotCoveredError:
        return None


def _base_value(text: str) -> int | None:
    return based_value(text) if "_" in text or "base" in text else None


def _approximates(a: str, b: str, left: Node, right: Node) -> bool:
    for text, decimal, exact in ((a, left, right), (b, right, left)):
        places = decimal_places(text)
        if places and not unknowns_of(exact):
            return identity.distance_below(decimal, exact, Fraction(1, 10**places))
    return False


def is_value(text: str, *, library: bool = True) -> bool:
    """Whether a cleaned text can be read as a value by this package's grammar or, if asked, by math-verify's."""
    if colon_form(text) is not None or "\\infty" in text:
        return True
    bare = value_of(text).text
    try:
        return rational_value(bare) is not None or parse(bare) is not None
    except TooCostlyError:
        return True
    except NotCoveredError:
        return library and library_parse(bare) is not None


# What it leaves out may change what is said: `\text{…}` ("5 or maybe 6"), a number's subscript, all behind a
# dollar sign.
_LEFT_OUT = re.compile(
    r"\\text\s?\{[^{}\d]{0,300}?(?:\d|[A-Za-z]{3}|\b(?:or|is)\b|\?)|[\d)]\s?_|\$|\\ldots|\d\s+\d|'|\\?(?:gcd"
    r"|lcm)\b|\\quad|\\prime"
)


def library_equal(a: str, b: str) -> bool:
    """math-verify's verdict on what only its grammar covers, unless the numbers differ plainly."""
    if _LEFT_OUT.search(a) or _LEFT_OUT.search(b):
        return False
    gold, answer = library_parse(a), library_parse(b)
    if gold is None or answer is None:
        return False
    return not _library_differ(gold, answer) and bool(_library().verify(gold, answer, timeout_seconds=None))


def _library_differ(gold: Any, answer: Any) -> bool:
    """Whether two closed forms differ beyond rounding, which math-verify's six places would hide."""
    try:
        x, y = complex(gold.evalf(30)), complex(answer.evalf(30))
    except (TypeError, ValueError, AttributeError, ArithmeticError):
        return False
    return abs(x - y) > 1e-9 * max(abs(x), abs(y))


@lru_cache(maxsize=4096)
def library_parse(text: str) -> Any | None:
    """What math-verify reads in LaTeX, a sympy object; None where it reads nothing."""
    library = _library()
    config = [library.LatexExtractionConfig(boxed_match_priority=-1)]
    found = library.parse(f"${text}$", config, fallback_mode="no_fallback", parsing_timeout=None)
    return found[0] if found else None


@lru_cache(maxsize=1)
def _library() -> Any:
    """math-verify, loaded late: most answers never need it, and it brings sympy."""
    import math_verify  # type: ignore[import-untyped]

    for name in ("math_verify.parser", "math_verify.grader"):
        logging.getLogger(name).setLevel(logging.ERROR)  # it warns that its alarms are off, which is meant
    return math_verify
