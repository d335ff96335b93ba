"""Linear equations over the rationals: coefficients from an expression tree, and elimination."""

from __future__ import annotations

from fractions import Fraction

from proofmill.filters.claims.nodes import Node, NotNumericError, Value, evaluate

Row = tuple[Fraction, ...]
"""Coefficients of the unknowns, then the constant they add up to."""


def linear_row(left: Node, right: Node, names: tuple[str, ...]) -> Row | None:
    """The row of `left = right`, None if it isn't linear in `names` with rational coefficients."""
    try:
        at_zero = _difference(left, right, dict.fromkeys(names, 0))
        units = [_difference(left, right, {n: int(n == name) for n in names}) for name in names]
        coefficients = [value - at_zero for value in units]
        point = {name: 3 + 2 * index for index, name in enumerate(names)}
        expected = at_zero + sum(c * point[name] for c, name in zip(coefficients, names, strict=True))
        if _difference(left, right, dict(point)) != expected or not any(coefficients):
            return None
    except NotNumericError:
        return None
    return (*coefficients, -at_zero)


def _difference(left: Node, right: Node, env: dict[str, Value] | dict[str, int]) -> Fraction:
    values = [evaluate(side, env=env) for side in (left, right)]
    if any(isinstance(value, float) for value in values):
        raise NotNumericError
    return Fraction(values[0]) - Fraction(values[1])


def solve_for(name: str, rows: list[Row], names: tuple[str, ...]) -> Value | None:
    """The value that the rows force on `name`, None if they leave it open or contradict each other."""
    column = names.index(name)
    order = [index for index in range(len(names)) if index != column]
    remaining = list(rows)
    for other in order:  # eliminate every other unknown
        pivot = next((row for row in remaining if row[other]), None)
        if pivot is None:
            continue
        remaining = [_eliminate(row, pivot, other) for row in remaining if row is not pivot]
    values = {row[-1] / row[column] for row in remaining if row[column]}
    if len(values) != 1 or any(row[-1] for row in remaining if not row[column]):
        return None
    value = values.pop()
    return value.numerator if value.denominator == 1 else value


def _eliminate(row: Row, pivot: Row, column: int) -> Row:
    factor = row[column] / pivot[column]
    return tuple(a - factor * b for a, b in zip(row, pivot, strict=True))
