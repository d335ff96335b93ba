r"""Whether two expressions are the same number, or the same for all values of their letters, to many digits.

What is rational is compared exactly (`expressions.rational`). Else two expressions are taken as equal when they agree
to far more digits than their size could hide a difference in, at every one of several points for their letters. That
is a probabilistic identity test in the manner of Schwartz and Zippel; no simplification is needed, so its cost is
bounded.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from itertools import pairwise
from typing import Any

import mpmath  # type: ignore[import-untyped]

from proofmill.filters.symbolic.expressions import (
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
    unknowns_of,
)
from proofmill.filters.symbolic.grammar import NotCoveredError

_MAX_FIVES_BITS = 20_000
_DECIMAL = re.compile(r"-?\d*\.(\d+)\Z")
_ROUNDED_DIGITS = 6  # significant digits by which a decimal may stand for what it rounds


def terminates(value: Fraction) -> bool:
    """Whether a finite decimal states the value exactly."""
    denominator = value.denominator
    denominator >>= (denominator & -denominator).bit_length() - 1
    if denominator.bit_length() > _MAX_FIVES_BITS:
        return True  # no decimal that someone writes stands for it, exactly or rounded
    while denominator % 5 == 0:
        denominator //= 5
    return denominator == 1


def decimal_places(text: str) -> int:
    """Places of a plain decimal that states enough digits, else 0."""
    match = _DECIMAL.match(text)
    digits = text.lstrip("-0.").replace(".", "") if match else ""
    return len(match[1]) if match and len(digits) >= _ROUNDED_DIGITS else 0


def is_rounded(a: str, x: Fraction, b: str, y: Fraction) -> bool:
    """Whether one is a decimal of enough digits and the other a fraction that no decimal states."""
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
    """How far a decimal of as many digits as a float has may be from what it stands for."""
    return abs(decimal) * Fraction(1, 10**_FLOAT_DIGITS)


def _truncated(a: str, x: Fraction, b: str, y: Fraction) -> bool:
    """Whether the longer of two long decimals is the shorter one gone on: 0.3333333333 and 0.3333333333333333."""
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
    """Whether two expressions have the same value wherever both are defined.

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
    """The constant c with left = c · right, where there is a real one that is not 0."""
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
    """Whether two expressions, each linear in its letter, take the same values over all integers."""
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
    """Whether two closed forms lie less than `bound` apart."""
    values = _values(left, right, {}, _DIGITS)
    if values is None:
        return False
    return bool(abs(values[0] - values[1]) * bound.denominator < bound.numerator)


def _points(left: Node, right: Node) -> Iterator[dict[str, Fraction]]:
    """Fixed points that no answer singles out: the sign of a letter differs between them.

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
    """Whether the values agree at a point; None where they can't be told apart for lack of a value."""
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
    """Whether two values, right to `digits` of their largest intermediate value, may be the same."""
    return bool(abs(a - b) <= mpmath.mpf(10) ** -digits * mpmath.mpf(2) ** magnitude)


class _Numeric:
    """Evaluation at one point with mpmath, at its current precision."""

    def __init__(self, point: Mapping[str, Fraction]) -> None:
        self._point = point
        self.magnitude = 0  # of the largest intermediate value, in bits

    def value(self, node: Node) -> Any:
        """The value, an mpf or mpc.

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
    """Hyperbolic functions grow as powers do, and circular ones lose their argument's digits."""

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
