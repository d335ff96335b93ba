"""Identities: whether two expressions agree for all values of their unknowns.

They are tried at fixed rational points; a polynomial of bounded degree that vanishes at all of them by chance
would be needed to mislead the test.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction

from proofmill.filters.claims.judge import show, walk
from proofmill.filters.claims.nodes import Node, NotNumericError, Opaque, Symbol, Value, binary, evaluate

_POINTS = ((17, 7), (29, 11), (53, 13), (89, 19))
_WHOLE = (2, 3, 5, 8)  # where fractions have no value, as in n!
_LARGE, _ALIKE = 10**6, 1e-3
_TRIALS = (2, 5, -4, -9, Fraction(1, 3), Fraction(-2, 7))  # what depends on signs or on whole numbers shows here


def unknowns_of(node: Node) -> frozenset[str]:
    """The names of the unknowns in a tree."""
    return frozenset(part.name for part in walk(node) if isinstance(part, Symbol) and part.name != "pi")


def is_symbolic(node: Node) -> bool:
    """Whether a tree is fully inside the grammar, unknowns allowed."""
    return not any(isinstance(part, Opaque) for part in walk(node))


def is_identity(left: Node, right: Node, unknowns: frozenset[str]) -> bool:
    """Whether both sides agree at every point tried, and have a value at two of them at least."""
    points = (_point(unknowns, shift) for shift in range(len(_POINTS)))
    found = [agrees for point in points if (agrees := _agree_at(left, right, point)) is not None]
    if not found:
        found = [agrees for start in _WHOLE if (agrees := _agree_at(left, right, _row(unknowns, start))) is not None]
    return len(found) >= 2 and all(found)


def is_never_equal(left: Node, right: Node, unknowns: frozenset[str]) -> bool:
    """Whether both sides differ wherever they were tried, at whole, negative and small values too.

    Sides that agree for some of these, such as |x| and −x, may be meant for those only.
    """
    points = [_row(unknowns, start) for start in _TRIALS]
    found = [agrees for point in points if (agrees := _agree_at(left, right, point)) is not None]
    return len(found) >= 2 and not any(found)


def is_alike_at_infinity(left: Node, right: Node, unknowns: frozenset[str]) -> bool:
    """Whether the sides come close to one another, in proportion, where all unknowns are large."""
    try:
        sides = [float(evaluate(side, env=_row(unknowns, _LARGE))) for side in (left, right)]
    except (NotNumericError, OverflowError):
        return False
    return abs(sides[0] - sides[1]) <= _ALIKE * abs(sides[0])


def _agree_at(left: Node, right: Node, point: Mapping[str, Value]) -> bool | None:
    """Whether two sides agree at a point; None where one of them has no value there."""
    try:
        return same(evaluate(left, env=point), evaluate(right, env=point))
    except NotNumericError:
        return None


def _row(unknowns: frozenset[str], start: int | Fraction) -> dict[str, Value]:
    """Neighbouring values from `start` on."""
    return {name: start + index * (1 if start > 0 else -1) for index, name in enumerate(sorted(unknowns))}


def constant_difference(left: Node, right: Node, unknowns: frozenset[str]) -> Value | None:
    """What the left side has more than the right for all values tried, None where that varies."""
    if unknowns_of(left) != unknowns_of(right):
        return None
    found: set[Value] = set()
    for shift in range(len(_POINTS)):
        try:
            sides = [evaluate(side, env=_point(unknowns, shift)) for side in (left, right)]
        except NotNumericError:
            return None
        if any(isinstance(side, float) for side in sides):
            return None
        found.add(binary("-", *sides))
    return found.pop() if len(found) == 1 else None


def _point(unknowns: frozenset[str], shift: int) -> dict[str, Value]:
    return {
        name: Fraction(_POINTS[shift][0] + 31 * index * (shift + 1), _POINTS[shift][1])
        for index, name in enumerate(sorted(unknowns))
    }


def same(first: Value, second: Value) -> bool:
    """Whether two values are equal, floats to nine digits."""
    if isinstance(first, float) or isinstance(second, float):
        first, second = float(first), float(second)
        return abs(first - second) <= 1e-9 * max(1.0, abs(first))
    return first == second


def counterexample(left: Node, right: Node, unknowns: frozenset[str]) -> str:
    """Values at which two sides differ, for a reader."""
    for whole in (2, 3, 5):
        env: dict[str, Value] = {name: whole + index for index, name in enumerate(sorted(unknowns))}
        try:
            first, second = evaluate(left, env=env), evaluate(right, env=env)
        except NotNumericError:
            continue
        if not same(first, second):
            return f"for {listed(env)} the sides are {show(first)} and {show(second)}"
    return "the sides are not equal for all values"


def listed(env: Mapping[str, Value]) -> str:
    """`x = 3, y = 4`."""
    return ", ".join(f"{name} = {show(value)}" for name, value in sorted(env.items()))
