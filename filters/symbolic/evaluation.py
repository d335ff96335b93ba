r"""Values of expressions at a bounded cost: exactly where they are rational, else to many digits.

Two expressions are taken as equal when they agree to far more digits than their size could hide a difference in,
at every one of several points for their letters. That is a probabilistic identity test in the manner of Schwartz
and Zippel; no simplification is needed, so its cost is bounded.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from itertools import pairwise
from typing import Any

import mpmath  # type: ignore[import-untyped]

from proofmill.filters.symbolic.grammar import Node, NotCoveredError, TooCostlyError

MAX_BITS = 400_000  # of a numerator or denominator
_MAX_ROOT_BITS = 20_000  # of what a root other than the square one is taken of, which is done by trial
MAX_FACTORIAL = 3_000
_MAX_FIVES_BITS = 20_000
_DECIMAL = re.compile(r"-?\d*\.(\d+)\Z")
_ROUNDED_DIGITS = 6  # significant digits by which a decimal may stand for what it rounds


def rational(node: Node, max_bits: int = MAX_BITS) -> Fraction | None:
    """The exact value, or None where it is irrational, infinite, undefined or has letters.

    Args:
        node: the expression.
        max_bits: of the numerator and denominator of every value in it.

    Raises:
        TooCostlyError: the value has too many digits.
    """
    rule = _RATIONAL.get(node.op)
    if isinstance(node.value, Fraction):
        return _bounded(node.value, max_bits)
    if rule is None:
        return None
    values: list[Fraction] = []
    for argument in node.args:
        value = rational(argument, max_bits)
        if value is None:
            return None
        values.append(value)
    if node.op == "pow":
        _check_power(values[0], values[1], max_bits)
    result = rule(*values)
    return None if result is None else _bounded(result, max_bits)


def _bounded(value: Fraction, max_bits: int) -> Fraction:
    if max(_bits(value)) > max_bits:
        raise TooCostlyError("too many digits")
    return value


def _bits(value: Fraction) -> tuple[int, int]:
    return value.numerator.bit_length(), value.denominator.bit_length()


def _divide(upper: Fraction, lower: Fraction) -> Fraction | None:
    return upper / lower if lower else None


def _check_power(base: Fraction, exponent: Fraction, max_bits: int) -> None:
    if base not in (0, 1, -1) and abs(exponent.numerator) * max(_bits(base)) > max_bits:
        raise TooCostlyError("too big a power")


def _power(base: Fraction, exponent: Fraction) -> Fraction | None:
    if base == 0 and exponent <= 0:
        return None
    if exponent.denominator != 1:
        return _root(_power(base, Fraction(exponent.numerator)), Fraction(exponent.denominator), real=False)
    return base ** (exponent.numerator % 2 if base in (1, -1) else exponent.numerator)


def _root(value: Fraction | None, degree: Fraction, *, real: bool = True) -> Fraction | None:
    """The exact root where it is rational; of a negative value only odd roots asked for as real ones."""
    if value is None or degree.denominator != 1 or not 0 < degree < 100:
        return None
    if value < 0:
        positive = _root(-value, degree) if real and degree.numerator % 2 else None
        return None if positive is None else -positive
    upper, lower = (_integer_root(part, degree.numerator) for part in (value.numerator, value.denominator))
    return None if upper is None or lower is None else Fraction(upper, lower)


def _integer_root(value: int, degree: int) -> int | None:
    if degree == 2:
        root = math.isqrt(value)
        return root if root * root == value else None
    if value.bit_length() > _MAX_ROOT_BITS:
        raise TooCostlyError("too big a root")
    low, high = 0, 1 << (value.bit_length() // degree + 1)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if middle**degree <= value else (low, middle - 1)
    return low if low**degree == value else None


def _factorial(value: Fraction) -> Fraction | None:
    if value.denominator != 1 or value < 0:
        return None
    if value > MAX_FACTORIAL:
        raise TooCostlyError("too big a factorial")
    return Fraction(math.factorial(value.numerator))


def _binomial(upper: Fraction, lower: Fraction) -> Fraction | None:
    if upper.denominator != 1 or lower.denominator != 1 or not 0 <= lower <= upper:
        return None
    if upper > MAX_FACTORIAL:
        raise TooCostlyError("too big a binomial")
    return Fraction(math.comb(upper.numerator, lower.numerator))


_RATIONAL: Mapping[str, Callable[..., Fraction | None]] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "neg": lambda a: -a,
    "div": _divide,
    "pow": _power,
    "root": _root,
    "factorial": _factorial,
    "binomial": _binomial,
}


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


class UndefinedError(ArithmeticError):
    """The expression has no finite value here."""


def symbols(node: Node) -> frozenset[str]:
    """The letters of an expression."""
    if node.op == "symbol":
        return frozenset([str(node.value)])
    return frozenset().union(*map(symbols, node.args))


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
    if compared < min(2, _POINTS if symbols(left) or symbols(right) else 1):
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
    if symbols(left) != {left_letter} or symbols(right) != {right_letter}:
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
    names = symbols(left) | symbols(right)
    fold = all(len({name.lower() for name in side}) == len(side) for side in (symbols(left), symbols(right)))
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
        if node.op in ("number", "symbol"):
            fraction = node.value if isinstance(node.value, Fraction) else self._point[node.value]
            result = mpmath.mpf(fraction.numerator) / fraction.denominator
        elif node.op == "constant":
            result = self._constant(str(node.value))
        else:
            result = self._apply(node, [self.value(argument) for argument in node.args])
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

    def _apply(self, node: Node, args: list[Any]) -> Any:
        name = str(node.value) if node.op == "function" else node.op
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


_NUMERIC: Mapping[str, Callable[..., Any]] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "div": lambda a, b: a / b,
    "neg": lambda a: -a,
    "pow": _numeric_power,
    "root": _numeric_root,
    "factorial": _numeric_factorial,
    "binomial": lambda a, b: _numeric_factorial(a) / _numeric_factorial(b) / _numeric_factorial(a - b),
    "logarithm": lambda a, b: mpmath.log(a) / mpmath.log(b),
    "abs": abs,
    "exp": lambda a: _numeric_power(+mpmath.e, a),
    "ln": mpmath.log,
    "log": mpmath.log10,  # as math-verify reads it
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
