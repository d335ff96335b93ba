"""When a stated value agrees with the exact one: the rounding policy.

- A stated decimal is right if it is the exact value rounded at the last decimal that it shows (either way at
  a tie); this covers money rounded to cents.
- A whole number beside a value that is not whole is a floor, a ceiling or a rounding: right where the words
  say so ("about", `≈`, "rounded"), undecided otherwise.
- A decimal cut instead of rounded (2/3 = 0.66) is undecided.
- With `≈`, one unit of the last place shown or 1 % is right, up to 5 % undecided.
"""

from __future__ import annotations

from fractions import Fraction

from proofmill.filters.claims.nodes import PLAIN, Node, Number, Quantity, Reading, Unary, Value, unit_factor

AGREES, DIFFERS, UNDECIDED = "agrees", "differs", "undecided"
_FLOAT_PLACES = Fraction(
    1, 10**9
)  # finer than this, a decimal was printed by a machine in binary floating point


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


def agree(value: Value, stated: Value, place: Fraction | None, about: bool) -> str:
    """Whether `stated` is a correct way to write `value`.

    Args:
        value: the computed value.
        stated: the value written down.
        place: unit of the last digit of the written value, None if it is an expression itself.
        about: the text says that the value is rounded or approximate.
    """
    difference = abs(value - stated)
    if difference == 0:
        return AGREES
    if not isinstance(value, int | Fraction) or not isinstance(stated, int | Fraction):
        return _agree_irrational(value, stated, place, about)
    if place is not None and place <= _FLOAT_PLACES and difference * 10**9 <= max(abs(value), 1):
        return AGREES
    if place is not None and place < 1 and not _terminates_at(value, place):
        if difference <= place / 2:
            return AGREES
        if difference < place and abs(stated) < abs(value):
            return AGREES if about else UNDECIDED
    if place is not None and place >= 1 and Fraction(value).denominator != 1 and difference < 1:
        return AGREES if about else UNDECIDED
    return _agree_about(difference, value, stated) if about else DIFFERS


def _terminates_at(value: int | Fraction, place: Fraction) -> bool:
    return (Fraction(value) / place).denominator == 1


def _agree_irrational(value: Value, stated: Value, place: Fraction | None, about: bool) -> str:
    difference = abs(value - stated)
    scale = abs(value) if abs(value) > 1 else 1
    if difference <= scale * 10**-25:
        return AGREES
    if place is not None and difference <= float(place):
        return AGREES if about or (place < 1 and difference <= float(place) / 2) else UNDECIDED
    if difference <= scale * 0.01:
        return AGREES if about else UNDECIDED
    if about and difference <= scale * 0.05:
        return UNDECIDED
    return DIFFERS


def _agree_about(difference: Value, value: Value, stated: Value) -> str:
    scale = abs(value)
    if difference * 100 <= scale or difference < _trailing_unit(stated):
        return AGREES
    return UNDECIDED if difference * 20 <= scale else DIFFERS


def _trailing_unit(stated: Value) -> int:
    """The size of the last digit that isn't a trailing zero: 100 for 1,300."""
    unit = 1
    if isinstance(stated, int) and stated:
        while unit < 10**9 and stated % (unit * 10) == 0:
            unit *= 10
    return unit if unit > 1 else 0
