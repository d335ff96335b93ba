"""Read unknowns and named functions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proofmill.filters.claims.nodes import Call, Node, Opaque, Symbol
from proofmill.filters.claims.precedence import IMPLIED
from proofmill.filters.claims.tokens import TIGHT

if TYPE_CHECKING:
    from proofmill.filters.claims.grammar import Parser

_CALLED = frozenset("fghFGHPQRST")  # letters that name functions rather than unknowns


def subscripted(parser: Parser, name: str) -> Node:
    """An unknown with its index, as in `x_1` or `x_{12}`; one that is called, `f(3)`, is opaque."""
    if parser.token.text == "_" and parser.token.gap == TIGHT:
        parser.position += 1
        end = parser.closing.get(parser.position, parser.position)
        name += "_" + "".join(token.text for token in parser.tokens[parser.position : end + 1][:8])
        parser.position = min(end + 1, len(parser.tokens) - 1)
    if parser.token.text in ("'", "′", "’"):
        return Opaque()
    if parser.token.text == "(" and parser.token.gap == TIGHT and parser.position in parser.closing:
        inner = parser.closing[parser.position] - parser.position
        if name in _CALLED or inner <= 2 or name == "C":
            parser.position = parser.closing[parser.position] + 1
            return Opaque()
    return Symbol(name)


def function(parser: Parser, name: str) -> Node:
    """A named function with bracketed arguments; `\\log_2`, powers of functions and the like are opaque."""
    if parser.token.text != "(":
        body = parser.expression(IMPLIED) if parser.token.text not in ("_", "^") else None
        return Opaque() if body is None or name in ("gcd", "max", "min") else Call(name, (body,))
    opening = parser.position
    parser.position += 1
    arguments = parser.list_of((",",))
    if arguments and parser.take(")"):
        return Call(name, arguments)
    parser.position = parser.closing.get(opening, opening) + 1
    return Opaque()
