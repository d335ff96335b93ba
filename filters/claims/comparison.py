"""Judge one relation between two expressions that have values: the rounding policy, and second readings.

- A stated decimal is right if it is the exact value rounded at the last decimal that it shows (either way at
  a tie); this covers money rounded to cents.
- A whole number beside a value that is not whole is a floor, a ceiling or a rounding: right where the words
  say so ("about", `≈`, "rounded"), undecided otherwise.
- A decimal cut instead of rounded (2/3 = 0.66) is undecided.
- A root, a logarithm or π is compared to nine digits.
- With `≈`, one unit of the last place shown or 1 % is right, up to 5 % undecided.

What does not hold as it was read first is read in other ways before it counts as false: percent signs and units in
their other meanings, loose precedence, a dash at the start of a line as a minus.
"""

from __future__ import annotations

import math
from collections.abc import Set
from fractions import Fraction
from typing import NamedTuple

from proofmill.filters.claims.model import NOT_CHECKABLE, REFUTED, VERIFIED, Finding
from proofmill.filters.claims.relations import Member
from proofmill.filters.symbolic.expressions import (
    PLAIN,
    Binary,
    Interpretation,
    Node,
    NoValueError,
    Number,
    Quantity,
    Unary,
    Value,
    evaluate,
    is_leaf,
    is_numeric,
    is_percent,
    known_units,
    leading,
    rebuilt,
    show,
    unit_factor,
    walk,
)
from proofmill.filters.symbolic.notation import TIGHT
from proofmill.filters.symbolic.prose_grammar import Parser
from proofmill.filters.symbolic.units import EVERYDAY_UNITS

AGREES, DIFFERS, UNDECIDED = "agrees", "differs", "undecided"
ABOUT, ROUNDED = "about", "rounded"
_IRRATIONAL_TOLERANCE = 1e-9
_FLOAT_PLACES = Fraction(1, 10**9)  # finer than this, a decimal was printed by a machine in binary floating point


def last_place(node: Node, reading: Interpretation = PLAIN) -> Fraction | None:
    """Return the unit of the last digit that a literal shows, None for anything but a literal."""
    match node:
        case Number(places=places, value=value):
            # A fraction without decimals, such as `half` or `½`, shows no last digit.
            written_out = isinstance(value, Fraction) and places == 0
            return None if written_out else Fraction(1, 10**places)
        case Quantity(body=body, unit=unit):
            inner = last_place(body, reading)
            return None if inner is None else inner * unit_factor(unit, reading)
        case Unary("-", body):
            return last_place(body, reading)
        case Unary("%", body):
            inner = last_place(body, reading)
            return inner if inner is None or reading.percent == "unit" else inner / 100
    return None


def agree(value: Value, stated: Value, place: Fraction | None, about: str) -> str:
    """Return how well `stated` writes `value`: `AGREES`, `DIFFERS` or `UNDECIDED`.

    Args:
        value: the computed value.
        stated: the value written down.
        place: unit of the last digit of the written value, None if it is an expression itself.
        about: `ABOUT` where the text says that the value is approximate, `ROUNDED` where it says that it is
            rounded, else empty.
    """
    if value == stated:
        return AGREES
    if isinstance(value, float) or isinstance(stated, float):
        return _agree_irrational(float(value), float(stated), place, about)
    exact, written = Fraction(value), Fraction(stated)
    if place is not None and _is_rounding(exact, written, place):
        return AGREES
    if place is not None and _may_be_rounding(exact, written, place):
        return AGREES if about else UNDECIDED
    return _agree_about(exact, written) if about == ABOUT else DIFFERS


def _is_rounding(value: Fraction, stated: Fraction, place: Fraction) -> bool:
    difference = abs(value - stated)
    # Many digits are a printed float: they are exact to a relative 1e-9, not to their last digit.
    if place <= _FLOAT_PLACES:
        return difference * 10**9 <= abs(value) or difference * 10**9 <= 1
    # A value that the shown decimals could state exactly was not rounded: 0.5 written as 0.6 is wrong.
    return place < 1 and not _terminates_at(value, place) and difference <= place / 2


def _may_be_rounding(value: Fraction, stated: Fraction, place: Fraction) -> bool:
    """Return whether a stated value may be a rounding: a decimal cut short, a whole number beside a fraction."""
    difference = abs(value - stated)
    if place < 1:
        return not _terminates_at(value, place) and difference < place and abs(stated) < abs(value)
    return value.denominator != 1 and difference < 1


def _terminates_at(value: Fraction, place: Fraction) -> bool:
    return (value / place).denominator == 1


def _agree_irrational(value: float, stated: float, place: Fraction | None, about: str) -> str:
    difference, scale = abs(value - stated), max(abs(value), 1.0)
    if difference <= scale * _IRRATIONAL_TOLERANCE:
        return AGREES
    if place is not None and difference <= place:
        return AGREES if about or (place < 1 and difference <= place / 2) else UNDECIDED
    if difference <= scale * 0.01:
        return AGREES if about == ABOUT else UNDECIDED
    return UNDECIDED if about and difference <= scale * 0.05 else DIFFERS


def _agree_about(value: Fraction, stated: Fraction) -> str:
    difference = abs(value - stated)
    if difference * 100 <= abs(value) or difference < _trailing_unit(stated):
        return AGREES
    return UNDECIDED if difference * 20 <= abs(value) else DIFFERS


def _trailing_unit(stated: Fraction) -> int:
    """Return the size of the last digit that isn't a trailing zero: 100 for 1,300; 0 without trailing zeros."""
    unit = 1
    if stated:
        while unit < 10**9 and stated % (unit * 10) == 0:
            unit *= 10
    return unit if unit > 1 else 0


_PERCENT_READINGS = (Interpretation("unit"), Interpretation("addon"))
_SCALED = Interpretation(units=EVERYDAY_UNITS)
_NOTES = {
    "unit": "the percent sign read as a unit: ",
    "addon": "the percentage taken of what stands before it: ",
    "units": "in the smallest unit of each kind: ",
    "hundredth": "",
}


def readings(left: Node, right: Node) -> list[Interpretation]:
    """Return the interpretations under which two sides may be compared, the plain one first."""
    found = [PLAIN]
    parts = [*walk(left), *walk(right)]
    if any(isinstance(part, Unary) and part.operator == "%" for part in parts):
        found.extend(_PERCENT_READINGS)
    if any(isinstance(part, Quantity) and any(word in EVERYDAY_UNITS for word in part.unit) for part in parts):
        found.append(_SCALED)
    if any(isinstance(part, Unary) and part.operator == "°" for part in parts):
        found.append(Interpretation(degree="unit"))
    return found


class Comparison(NamedTuple):
    """How two sides compare, with their plain values."""

    outcome: str
    left: Value
    right: Value
    note: str = ""


def equate(left: Node, right: Node, about: str) -> Comparison:
    """Compare two sides under all readings. Raises NoValueError where the plain one has no value."""
    plain = _equate_under(left, right, about, PLAIN)
    if plain.outcome == AGREES:
        return plain
    best = plain
    # Any reading that agrees saves the claim: a false alarm costs more than an error that is missed.
    for reading in readings(left, right)[1:]:
        try:
            other = _equate_under(left, right, about, reading)
        except NoValueError:
            continue
        if other.outcome == AGREES:
            return other._replace(note=_NOTES[reading.percent if reading.units is None else "units"])
        if other.outcome == UNDECIDED and best.outcome == DIFFERS:
            best = other
    if best.outcome == DIFFERS and _in_cents(left, right, plain):
        return plain._replace(outcome=AGREES, note="in cents: ")
    return best if best.outcome == UNDECIDED else plain


def _in_cents(left: Node, right: Node, comparison: Comparison) -> bool:
    """Return whether one side is in cents: `$2.50 - $2.24 = 26 cents` (the tree holds no sign of a currency)."""
    if not any(EVERYDAY_UNITS[word] == ("money", 1) for node in (left, right) for word in known_units(node)):
        return False
    first, second = Fraction(comparison.left), Fraction(comparison.right)
    return first * 100 == second or second * 100 == first


def _equate_under(left: Node, right: Node, about: str, reading: Interpretation) -> Comparison:
    left_value, right_value = evaluate(left, reading), evaluate(right, reading)
    if left_value == right_value:
        return Comparison(AGREES, left_value, right_value)
    right_place, left_place = last_place(right, reading), last_place(left, reading)
    # The literal is the stated side, even where it stands on the left: `0.33 = 1/3`.
    if right_place is None and left_place is not None:
        outcome = agree(right_value, left_value, left_place, about)
    else:
        outcome = agree(left_value, right_value, right_place, about)
    return Comparison(outcome, left_value, right_value)


def compare(left: Node, sign: str, right: Node) -> Finding:
    """Judge `<`, `>`, `<=`, `>=`, `!=`. Raises NoValueError where a side has no value."""
    outcomes = []  # of the plain reading first
    for reading in readings(left, right):
        first, second = evaluate(left, reading), evaluate(right, reading)
        outcomes.append(_holds(first, sign, second))
    first, second = evaluate(left), evaluate(right)
    sides = f"the left side is {show(first)}, the right side {show(second)}"
    # Equal as written: rounding may hide a difference, so nothing is refuted.
    if first == second and (is_leaf(left) or last_place(right) not in (None, 1)):
        return Finding(VERIFIED if outcomes[0] else NOT_CHECKABLE, f"as rounded, equal: {sides}")
    if len(set(outcomes)) > 1:
        return Finding(NOT_CHECKABLE, f"depends on the units: {sides}")
    return Finding(VERIFIED if outcomes[0] else REFUTED, sides)


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


def is_run_on(value: Value, right: Node) -> bool:
    """Return whether a side goes on from the last result, as in `3 + 4 = 7 * 2 = 14`."""
    first = leading(right)
    return not is_leaf(right) and isinstance(first, Number) and first.value == value


def is_share_of_whole(left: Node, right_value: Value) -> bool:
    """Return whether the right side is the share rather than its value: `1/3 = 6`, a third of the whole is 6."""
    match left:
        case Binary("/", Number(value=top), Number(value=bottom)):
            return 0 < top < bottom and right_value >= 1
    return False


def within_input_rounding(left: Node, comparison: Comparison, place: Fraction | None, rounded: Set[Value]) -> bool:
    """Return whether the difference comes from rounded inputs: 33.33 × 3 = 100."""
    suspects = [part for part in walk(left) if isinstance(part, Number) and _is_rounded(part, rounded)][:6]
    slack = float(place or 0) / 2
    for suspect in suspects:
        # The input moved by its last digit: how much the result changes is how much the rounding may explain.
        moved = suspect._replace(value=suspect.value + Fraction(1, 10**suspect.places))
        try:
            slack += abs(float(evaluate(_replace(left, suspect, moved))) - float(comparison.left))
        except (NoValueError, OverflowError):
            return False
    return bool(suspects) and _distance(comparison) <= slack


def rounds_an_input(left: Node, right: Node, comparison: Comparison) -> bool:
    """Return whether the right side holds a part of the left one rounded: `2.25 + 1/5.0625 = 2.25 + 0.1975`."""
    if is_leaf(right):
        return False
    given = {part.value for part in walk(left) if isinstance(part, Number)}
    slack = 0.0
    for part in [part for part in walk(right) if isinstance(part, Number)][:12]:
        if part.places and part.value not in given:
            moved = part._replace(value=part.value + Fraction(1, 2 * 10**part.places))
            try:
                slack += abs(float(evaluate(_replace(right, part, moved))) - float(comparison.right))
            except (NoValueError, OverflowError):
                return False
    return slack > 0 and _distance(comparison) <= slack


def _distance(comparison: Comparison) -> float:
    """Return how far the sides are apart; infinite where that is beyond floating point."""
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
    # 33.33 times 3 is nearly 100: such a decimal stands for thirds or sixths, whoever rounded it.
    return any(_near_whole(Fraction(number.value * factor), factor * cut) for factor in (3, 6))


def _near_whole(value: Fraction, slack: Fraction) -> bool:
    return value.denominator != 1 and round(value) != 0 and abs(value - round(value)) <= slack


def _replace(node: Node, old: Node, new: Node) -> Node:
    return new if node is old else rebuilt(node, lambda part: _replace(part, old, new))


class AlternativeParses:
    """Reads the members of one step's chains again.

    Args:
        parser: of the step's tokens, as they are read first.
    """

    def __init__(self, parser: Parser) -> None:
        self.tokens, self._closing = parser.tokens, parser.closing
        self._loose: Parser | None = None

    def negative(self, left: Member, right: Member, about: str) -> Comparison | None:
        """Return the comparison with a minus: `- 3 + 5 = 2`, where an opening dash was taken for a bullet."""
        if self.tokens[left.first].text == "-" and self.tokens[left.first + 1].gap != TIGHT:
            begin = left.first + 1  # and the other way: an item in the middle of a line
        elif left.first and self.tokens[left.first - 1].text == "-":
            begin = left.first - 1
        else:
            return None
        parsed = Parser(self.tokens, closing=self._closing).parse(begin)
        if parsed is None or parsed[1] != left.last or not is_numeric(parsed[0]):
            return None
        try:
            comparison = equate(parsed[0], right.node, about)
        except NoValueError:
            return None
        return comparison if comparison.outcome != DIFFERS else None

    def _loose_parser(self) -> Parser:
        if self._loose is None:
            self._loose = Parser(self.tokens, loose=True, closing=self._closing)
        return self._loose

    def is_ambiguous(self, member: Member) -> bool:
        """Return whether the loose reading differs, or a percentage stands where it may mean more than its value."""
        if any(is_percent(part) for part in walk(member.node)):
            return True
        parsed = self._loose_parser().parse(member.first)
        return parsed is not None and parsed[0] != member.node

    def loose(self, left: Member, right: Member, about: str) -> Comparison | None:
        """Return the comparison with one side or both as the loose parser reads them; None where that helps nothing."""
        sides = []
        for member in (left, right):
            parsed = self._loose_parser().parse(member.first)
            if parsed is None or not is_numeric(parsed[0]):
                return None
            sides.append(parsed[0])
        for pair in ((sides[0], sides[1]), (sides[0], right.node), (left.node, sides[1])):
            try:
                comparison = equate(*pair, about)
            except NoValueError:
                continue
            if comparison.outcome in (AGREES, UNDECIDED):
                return comparison
        return None
