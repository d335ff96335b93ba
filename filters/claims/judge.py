"""Judge one relation between two expressions that have values."""

from __future__ import annotations

import math
from collections.abc import Set
from fractions import Fraction
from typing import NamedTuple

from proofmill.filters.claims.model import NOT_CHECKABLE, REFUTED, VERIFIED
from proofmill.filters.claims.nodes import (
    PLAIN,
    Binary,
    Call,
    Node,
    NotNumericError,
    Number,
    Quantity,
    Reading,
    Symbol,
    Unary,
    Value,
    evaluate,
    is_leaf,
    rebuilt,
)
from proofmill.filters.claims.rounding import AGREES, DIFFERS, UNDECIDED, agree, last_place
from proofmill.filters.claims.wording import UNITS

_PERCENT_READINGS = (Reading("unit"), Reading("addon"))
_SCALED = Reading(units=UNITS)
_NOTES = {
    "unit": "the percent sign read as a unit: ",
    "addon": "the percentage taken of what stands before it: ",
    "units": "in the smallest unit of each kind: ",
    "hundredth": "",
}


class Finding(NamedTuple):
    """A status and why."""

    status: str
    evidence: str


def walk(node: Node) -> list[Node]:
    """Every node of a tree, each before its parts."""
    found, pending = [], [node]
    while pending:
        part = pending.pop()
        found.append(part)
        if isinstance(part, Binary):
            pending += (part.right, part.left)
        elif isinstance(part, Unary | Quantity):
            pending.append(part.body)
        elif isinstance(part, Call):
            pending += part.arguments
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


def readings(left: Node, right: Node) -> list[Reading]:
    """The readings under which two sides may be compared, the plain one first."""
    found = [PLAIN]
    parts = [*walk(left), *walk(right)]
    if any(isinstance(part, Unary) and part.operator == "%" for part in parts):
        found.extend(_PERCENT_READINGS)
    if any(isinstance(part, Quantity) and any(word in UNITS for word in part.unit) for part in parts):
        found.append(_SCALED)
    return found


class Comparison(NamedTuple):
    """How two sides compare, with their plain values."""

    outcome: str
    left: Value
    right: Value
    note: str = ""


def equate(left: Node, right: Node, about: str) -> Comparison:
    """Compare two sides under all readings. Raises NotNumericError where the plain one has no value."""
    plain = _equate_under(left, right, about, PLAIN)
    if plain.outcome == AGREES:
        return plain
    best = plain
    for reading in readings(left, right)[1:]:
        try:
            other = _equate_under(left, right, about, reading)
        except NotNumericError:
            continue
        if other.outcome == AGREES:
            return other._replace(note=_NOTES[reading.percent if reading.units is None else "units"])
        if other.outcome == UNDECIDED and best.outcome == DIFFERS:
            best = other
    if best.outcome == DIFFERS and _in_cents(left, right, plain):
        return plain._replace(outcome=AGREES, note="in cents: ")
    return best if best.outcome == UNDECIDED else plain


def _in_cents(left: Node, right: Node, comparison: Comparison) -> bool:
    """`$2.50 - $2.24 = 26 cents`: the sign of the currency is not part of the tree."""
    if not any(UNITS[word] == ("money", 1) for node in (left, right) for word in known_units(node)):
        return False
    first, second = Fraction(comparison.left), Fraction(comparison.right)
    return first * 100 == second or second * 100 == first


def _equate_under(left: Node, right: Node, about: str, reading: Reading) -> Comparison:
    left_value, right_value = evaluate(left, reading), evaluate(right, reading)
    right_place, left_place = last_place(right, reading), last_place(left, reading)
    if right_place is None and left_place is not None:
        outcome = agree(right_value, left_value, left_place, about)
    else:
        outcome = agree(left_value, right_value, right_place, about)
    return Comparison(outcome, left_value, right_value)


def compare(left: Node, sign: str, right: Node) -> Finding:
    """Judge `<`, `>`, `<=`, `>=`, `!=`. Raises NotNumericError where a side has no value."""
    outcomes = {}
    for reading in readings(left, right):
        first, second = evaluate(left, reading), evaluate(right, reading)
        outcomes[reading.percent, reading.units is None] = _holds(first, sign, second)
    first, second = evaluate(left), evaluate(right)
    sides = f"the left side is {show(first)}, the right side {show(second)}"
    if len(set(outcomes.values())) > 1:
        return Finding(NOT_CHECKABLE, f"depends on the units: {sides}")
    return Finding(VERIFIED if outcomes["hundredth", True] else REFUTED, sides)


def _holds(first: Value, sign: str, second: Value) -> bool:
    match sign:
        case "<":
            return bool(first < second)
        case ">":
            return bool(first > second)
        case "<=":
            return bool(first <= second)
        case ">=":
            return bool(first >= second)
    return bool(first != second)


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


def is_run_on(value: Value, right: Node) -> bool:
    """Whether a side goes on from the last result, as in `3 + 4 = 7 * 2 = 14`."""
    first = leading(right)
    return not is_leaf(right) and isinstance(first, Number) and first.value == value


def is_share_of_whole(left: Node, right_value: Value) -> bool:
    """`1/3 = 6`, meaning that a third of the whole is 6."""
    match left:
        case Binary("/", Number(value=top), Number(value=bottom)):
            return 0 < top < bottom and right_value >= 1
    return False


def within_input_rounding(left: Node, comparison: Comparison, place: Fraction | None, rounded: Set[Value]) -> bool:
    """Whether the difference comes from rounded inputs: 33.33 × 3 = 100."""
    suspects = [part for part in walk(left) if isinstance(part, Number) and _is_rounded(part, rounded)][:6]
    slack = float(place or 0) / 2
    for suspect in suspects:
        moved = suspect._replace(value=suspect.value + Fraction(1, 10**suspect.places))
        try:
            slack += abs(float(evaluate(_replace(left, suspect, moved))) - float(comparison.left))
        except (NotNumericError, OverflowError):
            return False
    return bool(suspects) and _distance(comparison) <= slack


def rounds_an_input(left: Node, right: Node, comparison: Comparison) -> bool:
    """Whether the right side holds a part of the left one rounded: `2.25 + 1/5.0625 = 2.25 + 0.1975`."""
    if is_leaf(right):
        return False
    given = {part.value for part in walk(left) if isinstance(part, Number)}
    slack = 0.0
    for part in [part for part in walk(right) if isinstance(part, Number)][:12]:
        if part.places and part.value not in given:
            moved = part._replace(value=part.value + Fraction(1, 2 * 10**part.places))
            try:
                slack += abs(float(evaluate(_replace(right, part, moved))) - float(comparison.right))
            except (NotNumericError, OverflowError):
                return False
    return slack > 0 and _distance(comparison) <= slack


def _distance(comparison: Comparison) -> float:
    """How far the sides are apart; infinite where that is beyond floating point."""
    try:
        return abs(float(comparison.left) - float(comparison.right))
    except OverflowError:
        return math.inf


def _is_rounded(number: Number, rounded: Set[Value]) -> bool:
    if number.places < 1:
        return False
    if number.value in rounded:
        return True
    if number.places < 2:
        return False
    cut = Fraction(1, 10**number.places)
    return any(_near_whole(Fraction(number.value * factor), factor * cut) for factor in (3, 6))


def _near_whole(value: Fraction, slack: Fraction) -> bool:
    return value.denominator != 1 and round(value) != 0 and abs(value - round(value)) <= slack


def _replace(node: Node, old: Node, new: Node) -> Node:
    return new if node is old else rebuilt(node, lambda part: _replace(part, old, new))


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
