"""Whether two single values are the same: exactly, with their units, or to many digits.

What is rational is compared exactly. Else two expressions are taken as equal when they agree to far more digits than
their size could hide a difference in, at every one of several points for their letters. That is a probabilistic
identity test in the manner of Schwartz and Zippel; no simplification is needed, so its cost is bounded.

What this package's own grammar does not cover (integrals, sums, limits) is left to math-verify: its LaTeX grammar
only, never its plain-expression one, which evaluates text. Its alarms are off: they need the main thread and miss
what hangs in C; the caller's worker pool kills instead.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from itertools import pairwise
from math import gcd
from typing import Any

import mpmath  # type: ignore[import-untyped]

from proofmill.filters.symbolic.expressions import (
    MAX_BITS,
    MAX_FACTORIAL,
    Binary,
    Call,
    Constant,
    Node,
    Number,
    Symbol,
    TooCostlyError,
    Unary,
    UndefinedError,
    rational,
    unknowns_of,
)
from proofmill.filters.symbolic.grammar import NotCoveredError, parse
from proofmill.filters.symbolic.notation import MODULO, NEEDLESS_SPACE
from proofmill.filters.symbolic.units import (
    Unit,
    based_value,
    colon_form,
    contradicts,
    of_other_kind,
    scale_left_out,
    scaled,
    split_percent,
    split_unit,
)

RESIDUE = re.compile(rf"(-?\d{{1,30}}){MODULO}(\d{{1,30}}) ?\}}? ?\)?\Z")
_ASKS_RATIO = re.compile(r"\b(?:ratio|proportion|odds)\b|比", re.IGNORECASE)
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
        dollars, whole_dollars: it counts in dollars; its prices are whole dollars, so that a bare number is no cents.
        asked: the unit in which it asks for the answer.
    """

    percent: bool = False
    scale: bool = False
    rounding: bool = False
    question: str = ""
    ordered: bool = False
    dollars: bool = False
    whole_dollars: bool = False
    asked: Unit | None = None


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
    """Return the value that a text states, taken apart."""
    if _base_value(text) is not None:
        return Value(text, _NUMERAL, False)
    bare, percent = split_percent(text if scale_is_unit else scaled(text))
    bare, unit = split_unit(bare)
    if unit is None and not scale_is_unit and "dozen" in text:
        unit = _COUNT
    return Value(bare, unit, percent)


def same_value(a: str, b: str, context: Context) -> bool:
    """Return whether two texts, cleaned, state the same value.

    Raises:
        TooCostlyError: a value is too big to judge.
    """
    if strip_spaces(a) == strip_spaces(b):
        return True
    if ":" in a or ":" in b:
        return _same_colon(a, b, context)
    left, right = _in_radians(value_of(a), b), _in_radians(value_of(b), a)
    if _same_quantity(left, right, context) or _same_amount(left, right, context):
        return True
    bare = context.scale and scale_left_out(a, b, context.question)
    return bare and _same_quantity(value_of(a, scale_is_unit=True), value_of(b, scale_is_unit=True), context)


def _same_quantity(left: Value, right: Value, context: Context) -> bool:
    scale = Fraction(1)
    if (left.unit is None) != (right.unit is None) and context.asked is not None:
        unit = left.unit or right.unit or _COUNT
        if unit.measures and contradicts(unit, context.asked, context.question):
            return False
        if unit.measures and unit.dimensions == context.asked.dimensions:
            scale = (unit.factor / context.asked.factor) ** (1 if left.unit is not None else -1)
    elif (left.unit is None) != (right.unit is None):
        unit = left.unit or right.unit or _COUNT
        if of_other_kind(unit, context.question):
            return False
        if context.whole_dollars and unit.dimensions == _MONEY:
            scale = unit.factor if left.unit is not None else 1 / unit.factor
    elif left.unit is not None and right.unit is not None:
        if not left.unit.agrees(right.unit):
            return False
        scale = left.unit.factor / right.unit.factor
    if left.percent != right.percent and not context.percent:
        scale *= Fraction(1, 100) if left.percent else 100
    return _same_number(left.text, right.text, scale, context)


_MONEY = (("dollar", 1),)


def _same_amount(left: Value, right: Value, context: Context) -> bool:
    """Return whether 46 cents are the 0.46 of a question that counts in dollars."""
    if (left.unit is None) == (right.unit is None) or not context.dollars:
        return False
    unit = left.unit or right.unit
    if unit is None or unit.dimensions != _MONEY or unit.factor == 1:
        return False
    scale = unit.factor if left.unit is not None else 1 / unit.factor
    return _same_number(left.text, right.text, scale, context)


def _in_radians(value: Value, other: str) -> Value:
    """Return an angle in degrees as a multiple of π, where the other side is one (30° and π/6)."""
    if value.unit is None or value.unit.dimensions != (("degree", 1),) or "\\pi" not in other:
        return value
    return Value(f"({value.text})\\pi/180", None, value.percent)


def strip_spaces(text: str) -> str:
    """Return the text without spaces that carry no meaning."""
    return NEEDLESS_SPACE.sub("", text)


def _same_colon(a: str, b: str, context: Context) -> bool:
    left, right = colon_form(a), colon_form(b)
    if left is not None and right is not None and left[1] == right[1]:
        return True
    asks_ratio = _ASKS_RATIO.search(context.question) is not None
    if not asks_ratio and (_may_be_clock(a) or _may_be_clock(b)):
        return False
    if left is None or right is None:
        ratio, other = (left, b) if left else (right, a)
        if ratio is None or ratio[0] != "ratio" or len(ratio[1]) != 2 or not ratio[1][1]:
            return False
        value = rational_value(other)
        return value is not None and value == Fraction(*ratio[1]) and (asks_ratio or value.denominator > 1)
    if "clock" in (left[0], right[0]) or len(left[1]) != len(right[1]) or not left[1][0] or not right[1][0]:
        return False
    return all(x * right[1][0] == y * left[1][0] for x, y in zip(left[1], right[1], strict=True))


def _may_be_clock(text: str) -> bool:
    """Return whether it is written like a time of day, and not like a ratio in its lowest terms: `10:30`."""
    found = _CLOCK.fullmatch(strip_spaces(text))
    return found is not None and int(found[1]) <= 24 and gcd(int(found[1]), int(found[2])) > 1


def _same_number(a: str, b: str, scale: Fraction, context: Context) -> bool:
    """Return whether a · scale = b."""
    x, y = rational_value(a), rational_value(b)
    if x is not None and y is not None:
        return x * scale == y or (context.rounding and scale == 1 and is_rounded(a, x, b, y))
    if "\\infty" in a or "\\infty" in b:
        return strip_spaces(a).lstrip("+") == strip_spaces(b).lstrip("+")
    try:
        left, right = parse(a), parse(b)
        if scale != 1:
            left = Binary("*", left, Number(scale))
        return identical(left, right) or (context.rounding and _approximates(a, b, left, right))
    except NotCoveredError:
        return scale == 1 and library_equal(_in_lowest_terms(a, x), _in_lowest_terms(b, y))


def _in_lowest_terms(text: str, value: Fraction | None) -> str:
    """Return a rational number as no other grammar can misread it (`1 1/2`); any other text as it is."""
    if value is None or max(value.numerator.bit_length(), value.denominator.bit_length()) > 1000:
        return text
    return f"\\frac{{{value.numerator}}}{{{value.denominator}}}" if value.denominator > 1 else str(value.numerator)


def rational_value(text: str, max_bits: int = MAX_BITS) -> Fraction | None:
    """Return the exact value of a cleaned text; None where it is no rational number.

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
            return distance_below(decimal, exact, Fraction(1, 10**places))
    return False


def is_value(text: str, *, library: bool = True) -> bool:
    """Return whether a cleaned text can be read as a value by this package's grammar or, if asked, by math-verify's."""
    if colon_form(text) is not None or "\\infty" in text or RESIDUE.match(text):
        return True
    bare = value_of(text).text
    try:
        return rational_value(bare) is not None or parse(bare) is not None
    except TooCostlyError:
        return True
    except NotCoveredError:
        return library and library_parse(bare) is not None


# What it leaves out may change what is said: `\text{…}`, a number's subscript, all behind a dollar sign.
_LEFT_OUT = re.compile(
    r"\\text\s?\{[^{}\d]{0,300}?(?:\d|[A-Za-z]{3}|\b(?:or|is)\b|\?)|[\d)]\s?_|\$|\\ldots|\d\s+\d|'|\\?(?:gcd"
    r"|lcm)\b|\\quad|\\prime"
)


def library_equal(a: str, b: str) -> bool:
    """Return math-verify's verdict on what only its grammar covers, unless the numbers differ plainly."""
    if _LEFT_OUT.search(a) or _LEFT_OUT.search(b):
        return False
    gold, answer = library_parse(a), library_parse(b)
    if gold is None or answer is None:
        return False
    return not _library_differ(gold, answer) and bool(_library().verify(gold, answer, timeout_seconds=None))


def _library_differ(gold: Any, answer: Any) -> bool:
    """Return whether two closed forms differ beyond rounding, which math-verify's six places would hide."""
    try:
        x, y = complex(gold.evalf(30)), complex(answer.evalf(30))
    except (TypeError, ValueError, AttributeError, ArithmeticError):
        return False
    return abs(x - y) > 1e-9 * max(abs(x), abs(y))


@lru_cache(maxsize=4096)
def library_parse(text: str) -> Any | None:
    """Return what math-verify reads in LaTeX, a sympy object; None where it reads nothing."""
    library = _library()
    config = [library.LatexExtractionConfig(boxed_match_priority=-1)]
    found = library.parse(f"${text}$", config, fallback_mode="no_fallback", parsing_timeout=None)
    return found[0] if found else None


@lru_cache(maxsize=1)
def _library() -> Any:
    """Return math-verify, imported late: most answers never need it, and it brings sympy."""
    import math_verify  # type: ignore[import-untyped]

    for name in ("math_verify.parser", "math_verify.grader"):
        logging.getLogger(name).setLevel(logging.ERROR)  # it warns that its alarms are off, which is meant
    return math_verify


_MAX_FIVES_BITS = 20_000
_DECIMAL = re.compile(r"-?\d*\.(\d+)\Z")
_ROUNDED_DIGITS = 6  # significant digits by which a decimal may stand for what it rounds


def terminates(value: Fraction) -> bool:
    """Return whether a finite decimal states the value exactly."""
    denominator = value.denominator
    denominator >>= (denominator & -denominator).bit_length() - 1
    if denominator.bit_length() > _MAX_FIVES_BITS:
        return True  # no decimal that someone writes stands for it, exactly or rounded
    while denominator % 5 == 0:
        denominator //= 5
    return denominator == 1


def decimal_places(text: str) -> int:
    """Return places of a plain decimal that states enough digits, else 0."""
    match = _DECIMAL.match(text)
    digits = text.lstrip("-0.").replace(".", "") if match else ""
    return len(match[1]) if match and len(digits) >= _ROUNDED_DIGITS else 0


def is_rounded(a: str, x: Fraction, b: str, y: Fraction) -> bool:
    """Return whether one is a decimal of enough digits and the other a fraction that no decimal states."""
    for text, decimal, exact in ((a, x, y), (b, y, x)):
        places = decimal_places(text)
        if (
            places
            and not terminates(exact)
            and abs(decimal - exact) < max(Fraction(1, 10**places), _float_error(decimal))
        ):
            return True
    return _truncated(a, x, b, y)


_FLOAT_DIGITS = 15  # a float states so many digits exactly
_LONG_DIGITS = 9


def _float_error(decimal: Fraction) -> Fraction:
    """Return how far a decimal of as many digits as a float has may be from what it stands for."""
    return abs(decimal) * Fraction(1, 10**_FLOAT_DIGITS)


def _truncated(a: str, x: Fraction, b: str, y: Fraction) -> bool:
    """Return whether the longer of two long decimals continues the shorter: 0.3333333333, 0.3333333333333333."""
    digits = [sum(sign.isdigit() for sign in text.lstrip("-0.")) if _DECIMAL.match(text) else 0 for text in (a, b)]
    if min(digits) < _LONG_DIGITS or max(digits) < _FLOAT_DIGITS:
        return False
    places = min(decimal_places(a), decimal_places(b))
    return abs(x - y) < Fraction(1, 10**places)


_MAX_MAGNITUDE = 100_000  # bits of the largest or smallest power that is computed
_MAX_DIGITS = 4_000
_DIGITS = 50
_POINTS = 5


def identical(left: Node, right: Node) -> bool:
    """Return whether two expressions have the same value wherever both are defined.

    Raises:
        NotCoveredError: they can't be evaluated at enough points.
        TooCostlyError: a value is too big.
    """
    compared = 0
    for point in _points(left, right):
        equal = _agree(left, right, point)
        if equal is False:
            return False
        compared += equal is True
    if compared < min(2, _POINTS if unknowns_of(left) or unknowns_of(right) else 1):
        raise NotCoveredError("no point at which both are defined")
    return True


def proportional(left: Node, right: Node) -> float | None:
    """Return the constant c with left = c · right, where there is a real one that is not 0."""
    ratio = None
    for point in _points(left, right):
        with mpmath.workdps(_DIGITS):
            try:
                upper, lower = _Numeric(point).value(left), _Numeric(point).value(right)
            except UndefinedError:
                continue
            if not upper or not lower:
                return None
            here = upper / lower
            if ratio is not None and abs(here - ratio) > abs(ratio) * mpmath.mpf(10) ** -30:
                return None
            ratio = here
    return None if ratio is None or mpmath.im(ratio) else float(mpmath.re(ratio))


def same_progression(left: Node, left_letter: str, right: Node, right_letter: str) -> bool:
    """Return whether two expressions, each linear in its letter, take the same values over all integers."""
    if unknowns_of(left) != {left_letter} or unknowns_of(right) != {right_letter}:
        return False
    with mpmath.workdps(_DIGITS):
        tolerance = mpmath.mpf(10) ** -30
        ends = []
        for node, letter in ((left, left_letter), (right, right_letter)):
            try:
                values = [_Numeric({letter: Fraction(index)}).value(node) for index in range(4)]
            except UndefinedError:
                return False
            steps = [after - before for before, after in pairwise(values)]
            if any(abs(step - steps[0]) > tolerance for step in steps) or abs(steps[0]) < tolerance:
                return False
            ends.append((values[0], steps[0]))
        (first, step), (second, other) = ends
        apart = (first - second) / step
        return bool(abs(abs(step) - abs(other)) < tolerance and abs(apart - mpmath.nint(mpmath.re(apart))) < tolerance)


def distance_below(left: Node, right: Node, bound: Fraction) -> bool:
    """Return whether two closed forms lie less than `bound` apart."""
    values = _values(left, right, {}, _DIGITS)
    if values is None:
        return False
    return bool(abs(values[0] - values[1]) * bound.denominator < bound.numerator)


def _points(left: Node, right: Node) -> Iterator[dict[str, Fraction]]:
    """Yield fixed points that no answer singles out: the sign of a letter differs between them.

    `X` counts as `x` unless one side uses both, as in math-verify.
    """
    names = unknowns_of(left) | unknowns_of(right)
    fold = all(len({name.lower() for name in side}) == len(side) for side in (unknowns_of(left), unknowns_of(right)))
    for index in range(_POINTS if names else 1):
        point = {}
        for name in names:
            key = f"{index}:{name.lower() if fold else name}"
            digest = hashlib.blake2b(key.encode(), digest_size=8).digest()
            size = Fraction(int.from_bytes(digest[:6], "big") % 999_983 + 20_011, 333_667)
            negative = index == 1 or (index == 2 and digest[6] % 2)
            point[name] = -size if negative else size
        yield point


def _agree(left: Node, right: Node, point: Mapping[str, Fraction]) -> bool | None:
    """Return whether the values agree at a point; None where they can't be told apart for lack of a value."""
    coarse = _values(left, right, point, 15)
    if coarse is None:
        return None
    a, b, magnitude = coarse
    if point and bool(mpmath.im(a)) != bool(mpmath.im(b)):
        return None  # principal and real branches of a root part here
    if not _close(a, b, 12, magnitude):
        return False
    digits = _DIGITS + int(0.7 * magnitude)  # a difference may hide behind the largest intermediate value
    if digits > _MAX_DIGITS:
        raise TooCostlyError("too many digits to tell apart")
    fine = _values(left, right, point, digits)
    return fine is not None and _close(fine[0], fine[1], digits - 10, magnitude)


def _values(left: Node, right: Node, point: Mapping[str, Fraction], digits: int) -> tuple[Any, Any, int] | None:
    with mpmath.workdps(digits):
        numeric = _Numeric(point)
        try:
            return numeric.value(left), numeric.value(right), numeric.magnitude
        except UndefinedError:
            return None


def _close(a: Any, b: Any, digits: int, magnitude: int) -> bool:
    """Return whether two values, right to `digits` of their largest intermediate value, may be the same."""
    return bool(abs(a - b) <= mpmath.mpf(10) ** -digits * mpmath.mpf(2) ** magnitude)


class _Numeric:
    """Evaluation at one point with mpmath, at its current precision."""

    def __init__(self, point: Mapping[str, Fraction]) -> None:
        self._point = point
        self.magnitude = 0  # of the largest intermediate value, in bits

    def value(self, node: Node) -> Any:
        """Return the value, an mpf or mpc.

        Raises:
            UndefinedError: a pole, an infinity, or not a number.
            TooCostlyError: a value is too big to go on.
            NotCoveredError: no rule for the operation.
        """
        match node:
            case Number(value=value):
                result = mpmath.mpf(value.numerator) / value.denominator
            case Symbol(name):
                result = mpmath.mpf(self._point[name].numerator) / self._point[name].denominator
            case Constant(name):
                result = self._constant(name)
            case Binary(operator, left, right):
                result = self._apply(operator, self.value(left), self.value(right))
            case Unary(operator, body):
                result = self._apply(_UNARY.get(operator, operator), self.value(body))
            case Call(name, arguments):
                result = self._apply(name, *map(self.value, arguments))
            case _:
                raise NotCoveredError("words")
        return self._checked(result)

    def _checked(self, result: Any) -> Any:
        if not mpmath.isfinite(result):
            raise UndefinedError("not finite")
        if result:
            self.magnitude = max(self.magnitude, abs(int(mpmath.mag(result))))
        if self.magnitude > _MAX_MAGNITUDE:
            raise TooCostlyError("too big a value")
        return result

    def _constant(self, name: str) -> Any:
        if name == "infty":
            raise UndefinedError(name)
        return {"pi": +mpmath.pi, "e": +mpmath.e, "i": mpmath.mpc(0, 1)}[name]

    def _apply(self, name: str, *args: Any) -> Any:
        rule = _NUMERIC.get(name)
        if rule is None:
            raise NotCoveredError(name)
        try:
            return rule(*args)
        except (ZeroDivisionError, ValueError, OverflowError, mpmath.libmp.NoConvergence) as error:
            if isinstance(error, TooCostlyError):
                raise
            raise UndefinedError(name) from error


def _numeric_power(base: Any, exponent: Any) -> Any:
    if not base and mpmath.re(exponent) <= 0:
        raise UndefinedError("0 to a power that is not positive")
    if base and abs(exponent) * max(1, abs(int(mpmath.mag(base)))) > _MAX_MAGNITUDE:
        raise TooCostlyError("too big a power")
    return mpmath.power(base, exponent)


def _numeric_root(value: Any, degree: Any) -> Any:
    if mpmath.isint(degree) and int(degree) % 2 and not mpmath.im(value) and mpmath.re(value) < 0:
        return -mpmath.power(-value, 1 / degree)
    return mpmath.sqrt(value) if degree == 2 else _numeric_power(value, 1 / degree)


def _numeric_factorial(value: Any) -> Any:
    if abs(value) > MAX_FACTORIAL:
        raise TooCostlyError("too big a factorial")
    return mpmath.factorial(value)


def _small(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return the function for small arguments only: hyperbolic ones grow as powers do, circular ones lose digits."""

    def bounded(value: Any) -> Any:
        if abs(value) > _MAX_MAGNITUDE:
            raise TooCostlyError("too big an argument")
        return function(value)

    return bounded


_UNARY = {"-": "negative"}
_NUMERIC: Mapping[str, Callable[..., Any]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": lambda a, b: a / b,
    "^": _numeric_power,
    "negative": lambda a: -a,
    "!": _numeric_factorial,
    "%": lambda a: a / 100,
    "°": lambda a: a * +mpmath.pi / 180,
    "sqrt": lambda a: _numeric_root(a, 2),
    "root": _numeric_root,
    "binom": lambda a, b: _numeric_factorial(a) / _numeric_factorial(b) / _numeric_factorial(a - b),
    "abs": abs,
    "exp": lambda a: _numeric_power(+mpmath.e, a),
    "ln": mpmath.log,
    "log": lambda a, b=10: mpmath.log(a) / mpmath.log(b),  # to ten, as math-verify reads it
    "lg": mpmath.log10,
    "floor": mpmath.floor,
    "ceil": mpmath.ceil,
    "Re": mpmath.re,
    "Im": mpmath.im,
    "arg": mpmath.arg,
    "arcsin": mpmath.asin,
    "arccos": mpmath.acos,
    "arctan": mpmath.atan,
} | {
    name: _small(getattr(mpmath, name))
    for name in ["sin", "cos", "tan", "cot", "sec", "csc", "sinh", "cosh", "tanh", "coth"]
}
