"""Exact rational values of expressions, at a bounded cost."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from fractions import Fraction

from proofmill.filters.mathematics.expressions import Node, TooCostlyError

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
        if places and not terminates(exact) and abs(decimal - exact) < Fraction(1, 10**places):
            return True
    return False
