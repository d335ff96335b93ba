"""Expressions as trees, and their values: exact rationals wherever that is possible, in bounded size.

Ordinary writing is ambiguous ("20%" may be 1/5 or 20 percent points, "50 + 20%" 60 or 50.2). A `Reading`
fixes one meaning; a caller tries the plain one first and the others where the tree holds what they change.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import NamedTuple

from proofmill.filters.claims.lexicon import UNITS

Value = int | Fraction | float
"""Exact wherever that is possible; a float for roots, logarithms and π."""

MAX_BITS = 2048  # of a numerator or denominator
_MAX_EXPONENT = 1024
_MAX_FACTORIAL = 170


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


def rebuilt(node: Node, change: Callable[[Node], Node]) -> Node:
    """The node with `change` made to each of its direct parts; a leaf as it is."""
    match node:
        case Binary(operator, left, right):
            return Binary(operator, change(left), change(right))
        case Unary(operator, body):
            return Unary(operator, change(body))
        case Quantity(body, unit, per):
            return Quantity(change(body), unit, per)
        case Call(name, arguments):
            return Call(name, tuple(map(change, arguments)))
    return node


class Reading(NamedTuple):
    """One way to understand what is ambiguous."""

    percent: str = "hundredth"  # or "unit" (the sign is a unit), "addon" (50 + 20% = 60)
    units: Mapping[str, tuple[str, int]] | None = None  # scale quantities to their smallest unit
    degree: str = "angle"  # or "unit": 180° - 50 = 130


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
    if isinstance(node, Number):
        return node.value
    if isinstance(node, Binary):
        return _binary_node(node, reading, env)
    if isinstance(node, Quantity):
        return bounded(evaluate(node.body, reading, env) * unit_factor(node.unit, reading))
    if isinstance(node, Unary):
        return _unary(node.operator, evaluate(node.body, reading, env), reading)
    if isinstance(node, Call):
        return call(node.name, [evaluate(argument, reading, env) for argument in node.arguments])
    if isinstance(node, Symbol):
        return _lookup(node.name, env or {})
    raise NotNumericError


def _lookup(name: str, env: Mapping[str, Value]) -> Value:
    if name in env:
        return env[name]
    if name == "pi":
        return math.pi
    raise NotNumericError


def unit_factor(unit: tuple[str, ...], reading: Reading) -> int:
    """How many of the smallest unit of its kind one `unit` is, 1 unless the reading scales units."""
    if reading.units is None:
        return 1
    known = [reading.units[word] for word in unit if word in reading.units]
    if len(known) > 1 and known[0][0] == "count":
        return known[0][1] * known[1][1]  # two dozen cups
    return known[0][1] if known else 1


def _unary(operator: str, value: Value, reading: Reading) -> Value:
    if operator == "-":
        return -value
    if operator == "%":
        return value if reading.percent == "unit" else binary("/", value, 100)
    if operator == "°":
        return value if reading.degree == "unit" else value * math.pi / 180
    if operator == "!" and isinstance(value, int) and 0 <= value <= _MAX_FACTORIAL:
        return math.factorial(value)
    raise NotNumericError


def _binary_node(node: Binary, reading: Reading, env: Mapping[str, Value] | None) -> Value:
    left = evaluate(node.left, reading, env)
    right = evaluate(node.right, reading, env)
    operator = node.operator
    if operator == "/" and reading.units is not None and isinstance(node.right, Quantity) and is_leaf(node.left):
        factor = unit_factor(node.right.unit, reading)
        return binary("*", binary("/", left, right), factor * factor)  # `1/2 hour` is half an hour
    if operator in "+-" and reading.percent == "addon" and is_percent(node.right):
        return binary("*", left, 1 + right if operator == "+" else 1 - right)
    return binary(operator, left, right)


def is_leaf(node: Node) -> bool:
    """Whether a tree is one literal, with or without sign, percent sign and unit."""
    while isinstance(node, Quantity | Unary):
        if isinstance(node, Unary) and node.operator not in "-%":
            return False
        node = node.body
    return isinstance(node, Number)


def is_percent(node: Node) -> bool:
    """Whether the tree is a percentage as written, `20%` with or without a unit."""
    while isinstance(node, Quantity):
        node = node.body
    return isinstance(node, Unary) and node.operator == "%"


def binary(operator: str, left: Value, right: Value) -> Value:
    """One operation, its result bounded. Raises NotNumericError where it has none."""
    try:
        return bounded(_operate(operator, left, right))
    except (OverflowError, ZeroDivisionError) as error:
        raise NotNumericError from error


def _operate(operator: str, left: Value, right: Value) -> Value:
    match operator:
        case "+":
            return left + right
        case "-":
            return left - right
        case "*":
            return left * right
        case "/":
            return Fraction(left) / right if isinstance(left, int) else left / right
        case "^":
            return _power(left, right)
        case "mod" if isinstance(left, int) and isinstance(right, int) and right > 0:
            return left % right
    raise NotNumericError


def _power(base: Value, exponent: Value) -> Value:
    if isinstance(exponent, Fraction) and exponent.denominator == 2:
        return _power(_square_root(base), exponent.numerator)
    if isinstance(exponent, int) and not isinstance(base, float):
        exact = Fraction(base)
        bits = max(exact.numerator.bit_length(), exact.denominator.bit_length())
        if abs(exponent) > _MAX_EXPONENT or bits * abs(exponent) > MAX_BITS or (base == 0 and exponent <= 0):
            raise NotNumericError
        return exact**exponent
    if base <= 0 or not -_MAX_EXPONENT <= exponent <= _MAX_EXPONENT:
        raise NotNumericError
    return math.pow(base, exponent)


def call(name: str, arguments: list[Value]) -> Value:
    """The value of a named function. Raises NotNumericError outside its domain."""
    try:
        return bounded(_call(name, arguments))
    except (OverflowError, ValueError) as error:
        raise NotNumericError from error


def _call(name: str, arguments: list[Value]) -> Value:
    if name in ("gcd", "lcm", "binom"):
        return _integer_call(name, arguments)
    if name in ("max", "min") and arguments:
        return max(arguments) if name == "max" else min(arguments)
    if name == "mean" and arguments:
        return binary("/", sum(arguments), len(arguments))
    if name == "sqrt":
        return _square_root(*arguments)
    if name == "log" and len(arguments) == 2:
        return _logarithm(*arguments)
    function = _UNARY_FUNCTIONS.get(name)
    if function is None or len(arguments) != 1:
        raise NotNumericError
    return function(arguments[0])


def _square_root(value: Value) -> Value:
    if value < 0:
        raise NotNumericError
    if not isinstance(value, float):
        exact = Fraction(value)
        root = Fraction(math.isqrt(exact.numerator), math.isqrt(exact.denominator))
        if root * root == exact:
            return bounded(root)
    return math.sqrt(value)


def _logarithm(value: Value, base: Value) -> Value:
    """Exact where it is a whole number or half of one."""
    if value <= 0 or base <= 0 or base == 1:
        raise NotNumericError
    found = math.log(value) / math.log(base)
    near = Fraction(round(2 * found), 2)
    exact = not isinstance(value, float) and not isinstance(base, float) and abs(near) <= _MAX_EXPONENT
    return near if exact and Fraction(value) ** 2 == Fraction(base) ** int(2 * near) else found


def _absolute(value: Value) -> Value:
    return -value if value < 0 else value


_UNARY_FUNCTIONS: dict[str, Callable[[Value], Value]] = {
    "abs": _absolute, "floor": math.floor, "ceil": math.ceil, "ln": math.log, "log": math.log10,
    "sin": math.sin, "cos": math.cos, "tan": math.tan,
}  # fmt: skip


def _integer_call(name: str, arguments: list[Value]) -> Value:
    whole = [value for value in arguments if isinstance(value, int)]
    if len(whole) != len(arguments) or not 2 <= len(whole) <= 50:
        raise NotNumericError
    if name in ("gcd", "lcm"):
        return math.gcd(*whole) if name == "gcd" else math.lcm(*whole)
    top, chosen = whole[0], whole[1]
    if len(whole) > 2 or not 0 <= chosen <= top <= _MAX_EXPONENT:
        raise NotNumericError
    return math.comb(top, chosen)


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
    if not math.isfinite(value):
        raise NotNumericError
    return value


def walk(node: Node) -> list[Node]:
    """Every node of a tree, each before its parts."""
    if type(node) is Number or type(node) is Symbol:  # most trees are leaves, and this is asked of each several times
        return [node]
    found: list[Node] = []
    pending: list[Node] = [node]
    while pending:
        part = pending.pop()
        found.append(part)
        if type(part) is Binary:
            pending.append(part.right)
            pending.append(part.left)
        elif type(part) is Unary or type(part) is Quantity:
            pending.append(part.body)
        elif type(part) is Call:
            pending.extend(part.arguments)
    return found


def known_units(node: Node) -> list[str]:
    """The units of the table that the tree's quantities carry."""
    return [
        word
        for part in walk(node)
        if isinstance(part, Quantity)
        for word in part.unit[:1] + part.unit[1:]
        if word in UNITS
    ]


def has_unit(node: Node) -> bool:
    """Whether any quantity in the tree has a unit."""
    return any(isinstance(part, Quantity) and (part.unit or part.per) for part in walk(node))


def is_numeric(node: Node) -> bool:
    """Whether the tree holds neither unknowns nor words."""
    if isinstance(node, Number):
        return True
    if isinstance(node, Binary):
        return is_numeric(node.left) and is_numeric(node.right)
    if isinstance(node, Unary | Quantity):
        return is_numeric(node.body)
    if isinstance(node, Call):
        return all(map(is_numeric, node.arguments))
    return isinstance(node, Symbol) and node.name == "pi"


def leading(node: Node) -> Node:
    """The operand that a side begins with, `13` of `13 * 2`."""
    while True:
        match node:
            case Binary(left=left):
                node = left
            case Quantity(body=body):
                node = body
            case _:
                return node


def show(value: Value) -> str:
    """A value as a reader writes it: 12, 0.25, 1/3, 1.4142135624."""
    if isinstance(value, int):
        text = str(value)
        return text if len(text) <= 40 else f"a number of {len(text)} digits"
    if isinstance(value, Fraction):
        return _show_fraction(value)
    return f"{float(value):.10g}"


def _show_fraction(value: Fraction) -> str:
    for places in range(1, 13):
        if 10**places % value.denominator == 0:
            scaled = value * 10**places
            digits = str(abs(scaled.numerator)).rjust(places + 1, "0")
            return f"{'-' if value < 0 else ''}{digits[:-places]}.{digits[-places:]}"
    if max(value.numerator.bit_length(), value.denominator.bit_length()) > 60:
        return "a long fraction"
    return f"{value.numerator}/{value.denominator} ≈ {float(value):.6g}"


def unknowns_of(node: Node) -> frozenset[str]:
    """The names of the unknowns in a tree."""
    return frozenset(part.name for part in walk(node) if isinstance(part, Symbol) and part.name != "pi")


def is_symbolic(node: Node) -> bool:
    """Whether a tree is fully inside the grammar, unknowns allowed."""
    return not any(isinstance(part, Opaque) for part in walk(node))
