"""Expressions as trees, the names that occur in them, and why a text may be none."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

MAX_LENGTH = 2_000  # characters; longer "answers" are derivations

FUNCTIONS = frozenset(
    re.findall(
        r"\w+",
        "sin cos tan cot sec csc arcsin arccos arctan sinh cosh tanh coth exp ln log lg floor ceil Re Im arg",
    )
)
PLAIN_NAMES = {"asin": "arcsin", "acos": "arccos", "atan": "arctan", "abs": "abs", "sqrt": "sqrt", "pi": "pi"}
CONSTANTS = {
    "pi": "pi",
    "infty": "infty",
    "e": "e",
    "i": "i",
    "infinity": "infty",
    "inf": "infty",
    "oo": "infty",
}
GREEK = frozenset(
    re.findall(
        r"\w+",
        "alpha beta gamma delta epsilon varepsilon zeta eta theta vartheta iota kappa lambda mu "
        "nu xi rho sigma tau upsilon phi varphi chi psi omega Gamma Delta Theta Lambda Xi Pi "
        "Sigma Phi Psi Omega ell hbar",
    )
)


class NotCoveredError(ValueError):
    """The text is no expression of this grammar."""


class TooCostlyError(ValueError):
    """Judging the text would cost more than an answer may: too long, too deep, too big a number."""


@dataclass(frozen=True, slots=True)
class Node:
    """One node of an expression.

    Attributes:
        op: "number", "symbol", "constant", or the operation.
        args: the operands.
        value: a number's value, a symbol's, constant's or function's name.
    """

    op: str
    args: tuple[Node, ...] = ()
    value: Fraction | str = ""


def number(value: int | Fraction) -> Node:
    """A number as a node."""
    return Node("number", (), Fraction(value))
