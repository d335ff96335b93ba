r"""Expressions as trees, and their values: exact wherever that is possible, at a bounded cost.

One tree serves answers, which are read strictly, and claims, which stand in prose. Ordinary writing is ambiguous
("20%" may be 1/5 or 20 percent points, "50 + 20%" 60 or 50.2): an `Interpretation` fixes one meaning. The judge
of prose tries the plain one first, and the others where the tree holds what they change.

A value is an int or a Fraction as long as it is rational. A float says that it is not, or that it can't be told:
whether two such values are the same number is then for `identity` to say, to many digits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import NamedTuple

from proofmill.filters.symbolic.units import EVERYDAY_UNITS

Value = int | Fraction | float
"""Exact wherever that is possible; a float for irrational roots, logarithms and π."""

MAX_BITS = 400_000  # of a numerator or denominator in an answer
_PROSE_BITS = 2048  # of those in a claim
_MAX_EXPONENT = 1024  # of a float
MAX_FACTORIAL = 3_000
_MAX_ROOT_BITS = 20_000  # of what a root other than the square one is taken of, which is done by trial
_MAX_DEGREE = 100  # of a root that is looked for exactly
_FLOAT_ROOT_BITS = 45  # of a root that floating point finds


class NoValueError(ValueError):
    """The expression has no value that could be had; says why."""


class UndefinedError(NoValueError):
    """An unknown, a division by zero, a function outside its domain, words."""


class TooCostlyError(NoValueError):
    """Judging the text would cost more than it may: too long, too deep, too big a number."""


class Number(NamedTuple):
    """A literal; `places` counts its decimals."""

    value: int | Fraction
    places: int = 0


class Symbol(NamedTuple):
    """An unknown."""

    name: str


class Constant(NamedTuple):
    r"""`pi`, `e`, `i` or `infty`."""

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


Node = Number | Symbol | Constant | Opaque | Quantity | Unary | Binary | Call


def rebuilt(node: Node, change: Callable[[Node], Node]) -> Node:
    """Return the node with `change` made to each of its direct parts; a leaf as it is."""
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


class Interpretation(NamedTuple):
    """One way to understand what is ambiguous, and how large a number may get."""

    percent: str = "hundredth"  # or "unit" (the sign is a unit), "addon" (50 + 20% = 60)
    units: Mapping[str, tuple[str, int]] | None = None  # scale quantities to their smallest unit
    degree: str = "angle"  # or "unit": 180° - 50 = 130
    max_bits: int = _PROSE_BITS  # of every numerator and denominator


PLAIN = Interpretation()
_STRICT = Interpretation(max_bits=MAX_BITS)


def evaluate(node: Node, reading: Interpretation = PLAIN, env: Mapping[str, Value] | None = None) -> Value:
    """Return the value of a tree.

    Args:
        node: the expression.
        reading: how to understand ambiguous parts.
        env: values of the unknowns.

    Raises:
        UndefinedError: it has none.
        TooCostlyError: a value in it is too large to go on with.
    """
    if isinstance(node, Number):
        return node.value
    if isinstance(node, Binary):
        operations = [node]  # a long sum is deep on its left
        while isinstance(left := operations[-1].left, Binary):
            operations.append(left)
        value = evaluate(left, reading, env)
        for operation in reversed(operations):
            value = _operation(operation, value, evaluate(operation.right, reading, env), reading)
        return value
    if isinstance(node, Quantity):
        return bounded(evaluate(node.body, reading, env) * unit_factor(node.unit, reading), reading.max_bits)
    if isinstance(node, Unary):
        return _unary(node.operator, evaluate(node.body, reading, env), reading)
    if isinstance(node, Call):
        return call(node.name, [evaluate(argument, reading, env) for argument in node.arguments], reading.max_bits)
    value_of = (env or {}) if isinstance(node, Symbol) else _CONSTANTS if isinstance(node, Constant) else {}
    if not isinstance(node, Opaque) and node.name in value_of:
        return value_of[node.name]
    raise UndefinedError


_CONSTANTS = {"pi": math.pi, "e": math.e}


def rational(node: Node, max_bits: int = MAX_BITS) -> Fraction | None:
    """Return the exact value, or None where it is irrational, infinite, undefined or has letters.

    Args:
        node: the expression.
        max_bits: of the numerator and denominator of every value in it.

    Raises:
        TooCostlyError: the value has too many digits.
    """
    try:
        value = evaluate(node, _STRICT if max_bits == MAX_BITS else Interpretation(max_bits=max_bits))
    except UndefinedError:
        return None
    return None if isinstance(value, float) else Fraction(bounded(value, max_bits))


def unit_factor(unit: tuple[str, ...], reading: Interpretation) -> int:
    """Return how many of the smallest unit of its kind one `unit` is, 1 unless the reading scales units."""
    if reading.units is None:
        return 1
    known = [reading.units[word] for word in unit if word in reading.units]
    if len(known) > 1 and known[0][0] == "count":
        return known[0][1] * known[1][1]  # two dozen cups
    return known[0][1] if known else 1


def _unary(operator: str, value: Value, reading: Interpretation) -> Value:
    if operator == "-":
        return -value
    if operator == "%":
        return value if reading.percent == "unit" else binary("/", value, 100, reading.max_bits)
    if operator == "°":
        return value if reading.degree == "unit" else value * math.pi / 180
    if operator == "!" and isinstance(value, int) and value >= 0:
        return _factorial(value, reading.max_bits)
    raise UndefinedError


def _factorial(value: int, max_bits: int) -> int:
    if value > MAX_FACTORIAL or (value > 2 and value * math.log2(value / math.e) > max_bits):
        raise TooCostlyError("too big a factorial")
    return math.factorial(value)


def _operation(node: Binary, left: Value, right: Value, reading: Interpretation) -> Value:
    operator = node.operator
    if operator == "/" and reading.units is not None and isinstance(node.right, Quantity) and is_leaf(node.left):
        factor = unit_factor(node.right.unit, reading)
        return binary("*", binary("/", left, right), factor * factor)  # `1/2 hour` is half an hour
    if operator in "+-" and reading.percent == "addon" and is_percent(node.right):
        return binary("*", left, 1 + right if operator == "+" else 1 - right)
    return binary(operator, left, right, reading.max_bits)


def is_leaf(node: Node) -> bool:
    """Return whether a tree is one literal, with or without sign, percent sign and unit."""
    while isinstance(node, Quantity | Unary):
        if isinstance(node, Unary) and node.operator not in "-%":
            return False
        node = node.body
    return isinstance(node, Number)


def is_percent(node: Node) -> bool:
    """Return whether the tree is a percentage as written, `20%` with or without a unit."""
    while isinstance(node, Quantity):
        node = node.body
    return isinstance(node, Unary) and node.operator == "%"


def binary(operator: str, left: Value, right: Value, max_bits: int = _PROSE_BITS) -> Value:
    """Return the value of one operation, bounded. Raises NoValueError where it has none."""
    try:
        return bounded(_operate(operator, left, right, max_bits), max_bits)
    except (OverflowError, ZeroDivisionError) as error:
        raise UndefinedError from error


def _operate(operator: str, left: Value, right: Value, max_bits: int) -> Value:
    match operator:
        case "+":
            return left + right
        case "-":
            return left - right
        case "*":
            return left * right
        case "/":
            if isinstance(left, int) and isinstance(right, int):
                return left // right if not left % right else Fraction(left, right)
            return left / right
        case "^":
            return _power(left, right, max_bits)
        case "mod" if isinstance(left, int) and isinstance(right, int) and right > 0:
            return left % right
    raise UndefinedError


def _power(base: Value, exponent: Value, max_bits: int) -> Value:
    if isinstance(base, float) or isinstance(exponent, float):
        return _float_power(base, exponent)
    if base == 0 and exponent <= 0:
        raise UndefinedError
    if base in (1, -1):
        return base ** (exponent % 2) if exponent.denominator == 1 else _root(base, exponent.denominator, real=False)
    size = abs(exponent.numerator) * max(base.numerator.bit_length(), base.denominator.bit_length())
    if exponent.denominator != 1:
        if size > max_bits or exponent.denominator >= _MAX_DEGREE:
            return _float_power(base, exponent)
        return _root(Fraction(base) ** exponent.numerator, exponent.denominator, real=False)
    if size > max_bits:
        raise TooCostlyError("too big a power")
    return Fraction(base) ** exponent.numerator if exponent < 0 else base**exponent.numerator


def _float_power(base: Value, exponent: Value) -> float:
    if base <= 0 or not -_MAX_EXPONENT <= exponent <= _MAX_EXPONENT:
        raise UndefinedError
    return math.pow(base, exponent)


def _root(value: Value, degree: Value, *, real: bool = True) -> Value:
    """Return a root, exact where it is rational; of a negative value only odd roots asked for as real ones."""
    if value < 0:
        if not (real and isinstance(degree, int) and degree % 2):
            raise UndefinedError
        return -_root(-value, degree)
    if isinstance(value, float) or not isinstance(degree, int) or not 0 < degree < _MAX_DEGREE:
        if not degree:
            raise UndefinedError
        return _float_power(value, 1 / degree) if value else 0
    upper, lower = (_integer_root(part, degree) for part in (value.numerator, value.denominator))
    if upper is not None and lower is not None:
        return Fraction(upper, lower)
    return math.sqrt(value) if degree == 2 else math.pow(value, 1 / degree)


def _integer_root(value: int, degree: int) -> int | None:
    if degree == 2:
        root = math.isqrt(value)
        return root if root * root == value else None
    bits = value.bit_length()
    if bits < min(_FLOAT_ROOT_BITS * degree, _MAX_EXPONENT):
        near = round(value ** (1 / degree))
        return near if near**degree == value else None
    if bits > _MAX_ROOT_BITS:
        raise TooCostlyError("too big a root")
    low, high = 0, 1 << (bits // degree + 1)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if middle**degree <= value else (low, middle - 1)
    return low if low**degree == value else None


def call(name: str, arguments: list[Value], max_bits: int = _PROSE_BITS) -> Value:
    """Return the value of a named function. Raises NoValueError outside its domain."""
    try:
        return bounded(_call(name, arguments), max_bits)
    except (OverflowError, ZeroDivisionError) as error:
        raise UndefinedError from error
    except ValueError as error:
        if isinstance(error, TooCostlyError):
            raise
        raise UndefinedError from error


def _call(name: str, arguments: list[Value]) -> Value:
    if name in ("gcd", "lcm", "binom"):
        return _integer_call(name, arguments)
    if name in ("max", "min") and arguments:
        return max(arguments) if name == "max" else min(arguments)
    if name == "mean" and arguments:
        return binary("/", sum(arguments), len(arguments))
    function = _FUNCTIONS.get((name, len(arguments)))
    if function is None:
        raise UndefinedError
    return function(*arguments)


def _logarithm(value: Value, base: Value) -> Value:
    """Return a logarithm, exact where it is a whole number or half of one."""
    if value <= 0 or base <= 0 or base == 1:
        raise UndefinedError
    found = math.log(value) / math.log(base)
    near = Fraction(round(2 * found), 2)
    exact = not isinstance(value, float) and not isinstance(base, float) and abs(near) <= _MAX_EXPONENT
    return near if exact and Fraction(value) ** 2 == Fraction(base) ** int(2 * near) else found


def _absolute(value: Value) -> Value:
    return -value if value < 0 else value


def _whole(rounded: Callable[[Value], int]) -> Callable[[Value], Value]:
    """Return the rounding as a function that leaves a float a float, so that its value still counts as inexact."""
    return lambda value: float(rounded(value)) if isinstance(value, float) else rounded(value)


_FUNCTIONS: dict[tuple[str, int], Callable[..., Value]] = {
    ("sqrt", 1): lambda value: _root(value, 2), ("root", 2): _root, ("abs", 1): _absolute,
    ("floor", 1): _whole(math.floor), ("ceil", 1): _whole(math.ceil), ("exp", 1): math.exp, ("ln", 1): math.log,
    ("log", 1): lambda value: _logarithm(value, 10), ("lg", 1): lambda value: _logarithm(value, 10),
    ("log", 2): _logarithm, ("sin", 1): math.sin, ("cos", 1): math.cos, ("tan", 1): math.tan,
}  # fmt: skip


def _integer_call(name: str, arguments: list[Value]) -> Value:
    whole = [value for value in arguments if isinstance(value, int)]
    if len(whole) != len(arguments) or not 2 <= len(whole) <= 50:
        raise UndefinedError
    if name in ("gcd", "lcm"):
        return math.gcd(*whole) if name == "gcd" else math.lcm(*whole)
    top, chosen = whole[0], whole[1]
    if len(whole) > 2 or not 0 <= chosen <= top:
        raise UndefinedError
    if top > MAX_FACTORIAL:
        raise TooCostlyError("too big a binomial")
    return math.comb(top, chosen)


def bounded(value: Value, max_bits: int = _PROSE_BITS) -> Value:
    """Return `value`, as an int where it is whole. Raises TooCostlyError where it is too large to go on with."""
    if isinstance(value, int):
        if value.bit_length() > max_bits:
            raise TooCostlyError("too many digits")
        return value
    if isinstance(value, Fraction):
        if max(value.numerator.bit_length(), value.denominator.bit_length()) > max_bits:
            raise TooCostlyError("too many digits")
        return value.numerator if value.denominator == 1 else value
    if not math.isfinite(value):
        raise UndefinedError
    return value


def walk(node: Node) -> list[Node]:
    """Return every node of a tree, each before its parts."""
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
    """Return the units of the table that the tree's quantities carry."""
    return [
        word
        for part in walk(node)
        if isinstance(part, Quantity)
        for word in part.unit[:1] + part.unit[1:]
        if word in EVERYDAY_UNITS
    ]


def has_unit(node: Node) -> bool:
    """Return whether any quantity in the tree has a unit."""
    return any(isinstance(part, Quantity) and (part.unit or part.per) for part in walk(node))


def is_numeric(node: Node) -> bool:
    """Return whether the tree holds neither unknowns nor words."""
    if isinstance(node, Number):
        return True
    if isinstance(node, Binary):
        return is_numeric(node.left) and is_numeric(node.right)
    if isinstance(node, Unary | Quantity):
        return is_numeric(node.body)
    if isinstance(node, Call):
        return all(map(is_numeric, node.arguments))
    return isinstance(node, Constant)


def leading(node: Node) -> Node:
    """Return the operand that a side begins with, `13` of `13 * 2`."""
    while True:
        match node:
            case Binary(left=left):
                node = left
            case Quantity(body=body):
                node = body
            case _:
                return node


def show(value: Value) -> str:
    """Return a value as a reader writes it: 12, 0.25, 1/3, 1.4142135624."""
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
    """Return the names of the unknowns in a tree."""
    return frozenset(part.name for part in walk(node) if isinstance(part, Symbol))


def is_symbolic(node: Node) -> bool:
    """Return whether a tree is fully inside the grammar, unknowns allowed."""
    return not any(isinstance(part, Opaque) for part in walk(node))
