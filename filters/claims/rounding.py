"""When a stated value agrees with the exact one: the rounding policy.

- A stated decimal is right if it is the exact value rounded at the last decimal that it shows (either way at
  a tie); this covers money rounded to cents.
- A whole number beside a value that is not whole is a floor, a ceiling or a rounding: right where the words
  say so ("about", `≈`, "rounded"), undecided otherwise.
- A decimal cut instead of rounded (2/3 = 0.66) is undecided.
- A root, a logarithm or π is compared to nine digits.
- With `≈`, one unit of the last place shown or 1 % is right, up to 5 % undecided.
"""

from __future__ import annotations

from fractions import Fraction

from proofmill.filters.claims.nodes import PLAIN, Node, Number, Quantity, Reading, Unary, Value, unit_factor

AGREES, DIFFERS, UNDECIDED = "agrees", "differs", "undecided"
ABOUT, ROUNDED = "about", "rounded"
_IRRATIONAL_TOLERANCE = 1e-9
_FLOAT_PLACES = Fraction(1, 10**9)  # finer than this, a decimal was printed by a machine in binary floating point


def last_place(node: Node, reading: Reading = PLAIN) -> Fraction | None:
    """The unit of the last digit that a literal shows, None for anything but a literal."""
    match node:
        case Number(places=places, value=value):
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
    """Whether `stated` is a correct way to write `value`.

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
    if place <= _FLOAT_PLACES:
        return difference * 10**9 <= abs(value) or difference * 10**9 <= 1
    return place < 1 and not _terminates_at(value, place) and difference <= place / 2


def _may_be_rounding(value: Fraction, stated: Fraction, place: Fraction) -> bool:
    """A decimal cut short, or a whole number beside a value that isn't whole."""
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
    """The size of the last digit that isn't a trailing zero: 100 for 1,300; 0 without trailing zeros."""
    unit = 1
    if stated:
        while unit < 10**9 and stated % (unit * 10) == 0:
            unit *= 10
    return unit if unit > 1 else 0
