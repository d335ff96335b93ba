"""Expressions as trees, and their values: exact rationals wherever that is possible, in bounded size.

Ordinary writing is ambiguous ("20%" may be 1/5 or 20 percent points, "50 + 20%" 60 or 50.2). A `Reading`
fixes one meaning; a caller tries the plain one first and the others where the tree holds what they change.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction
from typing import NamedTuple

import mpmath

Value = int | Fraction | mpmath.mpf

MAX_BITS = 2048  # of a numerator or denominator
_MAX_EXPONENT = 1024
_MAX_FACTORIAL = 170
_DIGITS = 40
_CONTEXT = mpmath.MPContext()
_CONTEXT.dps = _DIGITS


class NotNumericError(ValueError):
    """The expression has no value: an unknown, a division by zero, or a number too large to hold."""


class Number(NamedTuple):
    """A literal; `places` counts its decimals."""

    value: int | Fraction
    places: int = 0


class Symbol(NamedTuple):
    """An unknown or named constant."""

    name: str


class Opaque(NamedTuple):
    """A quantity in words, or notation outside the grammar: it has no value."""

    text: str = ""


class Quantity(NamedTuple):
    """A value with its unit: the words behind it and, apart, those behind a slash or `per`."""

    body: Node
    unit: tuple[str, ...]
    per: tuple[str, ...] = ()


class Unary(NamedTuple):
    """`-`, `%`, `!` or `°` on one operand."""

    operator: str
    body: Node


class Binary(NamedTuple):
    """An operation."""

    operator: str
    left: Node
    right: Node


class Call(NamedTuple):
    """A named function of one or more arguments."""

    name: str
    arguments: tuple[Node, ...]


Node = Number | Symbol | Opaque | Quantity | Unary | Binary | Call


class Reading(NamedTuple):
    """One way to understand what is ambiguous."""

    percent: str = "hundredth"  # or "unit" (the sign is a unit), "addon" (50 + 20% = 60)
    units: Mapping[str, tuple[str, int]] | None = None  # scale quantities to their smallest unit


PLAIN = Reading()


def evaluate(node: Node, reading: Reading = PLAIN, env: Mapping[str, Value] | None = None) -> Value:
    """The value of a tree.

    Args:
        node: the expression.
        reading: how to understand ambiguous parts.
        env: values of the unknowns.

    Raises:
        NotNumericError: the tree has no value in bounded size.
    """
    match node:
        case Number(value=value):
            return value
        case Symbol(name=name):
            return _lookup(name, env or {})
        case Opaque():
            raise NotNumericError
        case Quantity(body=body, unit=unit):
            return evaluate(body, reading, env) * unit_factor(unit, reading)
        case Unary(operator=operator, body=body):
            return _unary(operator, evaluate(body, reading, env), reading)
        case Call(name=name, arguments=arguments):
            return call(name, [evaluate(argument, reading, env) for argument in arguments])
        case Binary():
            return _binary_node(node, reading, env)


def _lookup(name: str, env: Mapping[str, Value]) -> Value:
    if name in env:
        return env[name]
    if name == "pi":
        return +_CONTEXT.pi
    raise NotNumericError


def unit_factor(unit: tuple[str, ...], reading: Reading) -> int:
    """How many of the smallest unit of its kind one `unit` is, 1 unless the reading scales units."""
    if reading.units is None:
        return 1
    return next((reading.units[word][1] for word in unit if word in reading.units), 1)


def _unary(operator: str, value: Value, reading: Reading) -> Value:
    if operator == "-":
        return -value
    if operator == "%":
        return value if reading.percent == "unit" else _exact(value) / 100
    if operator == "°":
        return value * _CONTEXT.pi / 180
    if operator == "!" and isinstance(value, int) and 0 <= value <= _MAX_FACTORIAL:
        return math.factorial(value)
    raise NotNumericError


def _binary_node(node: Binary, reading: Reading, env: Mapping[str, Value] | None) -> Value:
    left = evaluate(node.left, reading, env)
    right = evaluate(node.right, reading, env)
    operator = node.operator
    if operator in "+-" and reading.percent == "addon" and is_percent(node.right):
        return bounded(left * (1 + right if operator == "+" else 1 - right))
    return binary(operator, left, right)


def is_percent(node: Node) -> bool:
    """Whether the tree is a percentage as written, `20%` with or without a unit."""
    while isinstance(node, Quantity):
        node = node.body
    return isinstance(node, Unary) and node.operator == "%"


def binary(operator: str, left: Value, right: Value) -> Value:
    """One operation, its result bounded. Raises NotNumericError where it has none."""
    if isinstance(left, Fraction) and not isinstance(right, int | Fraction):
        left = _real(left)
    elif isinstance(right, Fraction) and not isinstance(left, int | Fraction):
        right = _real(right)
    if operator == "+":
        return bounded(left + right)
    if operator == "-":
        return bounded(left - right)
    if operator == "*":
        return bounded(left * right)
    if operator == "/":
        return _divide(left, right)
    if operator == "^":
        return _power(left, right)
    if operator == "mod" and isinstance(left, int) and isinstance(right, int) and right > 0:
        return left % right
    raise NotNumericError


def _divide(left: Value, right: Value) -> Value:
    if right == 0:
        raise NotNumericError
    if isinstance(left, int | Fraction) and isinstance(right, int | Fraction):
        return bounded(Fraction(left) / right)
    return bounded(left / right)


def _power(base: Value, exponent: Value) -> Value:
    if isinstance(exponent, Fraction) and exponent.denominator == 2 and isinstance(base, int | Fraction):
        return _power(call("sqrt", [base]), exponent.numerator)
    if isinstance(exponent, int) and isinstance(base, int | Fraction):
        bits = max(int(Fraction(base).numerator).bit_length(), Fraction(base).denominator.bit_length())
        if abs(exponent) > _MAX_EXPONENT or bits * abs(exponent) > MAX_BITS or (base == 0 and exponent <= 0):
            raise NotNumericError
        return Fraction(base) ** exponent if exponent < 0 else base**exponent
    if base <= 0 or abs(exponent) > _MAX_EXPONENT:
        raise NotNumericError
    return bounded(_CONTEXT.power(_real(base), _real(exponent)))


def call(name: str, arguments: list[Value]) -> Value:
    """The value of a named function. Raises NotNumericError outside its domain."""
    if name in _INTEGER_FUNCTIONS:
        return _integer_call(name, arguments)
    if name in ("max", "min") and arguments:
        return max(arguments) if name == "max" else min(arguments)
    if name == "mean" and arguments:
        return _divide(sum(arguments), len(arguments))
    if len(arguments) != 1:
        raise NotNumericError
    return _unary_call(name, arguments[0])


def _unary_call(name: str, value: Value) -> Value:
    if name == "abs":
        return abs(value)
    if name in ("floor", "ceil"):
        return math.floor(value) if name == "floor" else math.ceil(value)
    if name == "sqrt" and value >= 0:
        return _square_root(value)
    if name in ("ln", "log") and value > 0:
        return +(_CONTEXT.log(_real(value)) if name == "ln" else _CONTEXT.log10(_real(value)))
    if name in ("sin", "cos", "tan") and abs(value) < MAX_BITS:
        return +getattr(_CONTEXT, name)(_real(value))
    raise NotNumericError


def _square_root(value: Value) -> Value:
    if isinstance(value, int | Fraction):
        exact = Fraction(value)
        root = Fraction(math.isqrt(exact.numerator), math.isqrt(exact.denominator))
        if root * root == exact:
            return bounded(root)
    return +_CONTEXT.sqrt(_real(value))


def _integer_call(name: str, arguments: list[Value]) -> Value:
    whole = [int(value) for value in arguments if isinstance(value, int) or value == int(value)]
    if len(whole) != len(arguments) or not 2 <= len(whole) <= 50:
        raise NotNumericError
    if name in ("gcd", "lcm"):
        return bounded(math.gcd(*whole) if name == "gcd" else math.lcm(*whole))
    top, chosen = whole[0], whole[1]
    if len(whole) > 2 or not 0 <= chosen <= top <= _MAX_EXPONENT:
        raise NotNumericError
    return bounded(math.comb(top, chosen) if name == "binom" else math.perm(top, chosen))


_INTEGER_FUNCTIONS = frozenset({"gcd", "lcm", "binom", "perm"})
FUNCTIONS = _INTEGER_FUNCTIONS | {
    "max", "min", "mean", "abs", "floor", "ceil", "sqrt", "ln", "log", "sin", "cos", "tan",
}  # fmt: skip


def _real(value: Value) -> mpmath.mpf:
    if isinstance(value, Fraction):
        return _CONTEXT.mpf(value.numerator) / value.denominator
    return _CONTEXT.mpf(value)


def _exact(value: Value) -> Value:
    return Fraction(value) if isinstance(value, int) else value


def bounded(value: Value) -> Value:
    """`value`, as an int where it is whole. Raises NotNumericError where it is too large to go on with."""
    if isinstance(value, int):
        if value.bit_length() > MAX_BITS:
            raise NotNumericError
        return value
    if isinstance(value, Fraction):
        if max(value.numerator.bit_length(), value.denominator.bit_length()) > MAX_BITS:
            raise NotNumericError
        return value.numerator if value.denominator == 1 else value
    if not _CONTEXT.isfinite(value) or abs(value) > _CONTEXT.mpf(10) ** 300:
        raise NotNumericError
    return value
