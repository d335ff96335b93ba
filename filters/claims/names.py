"""Read unknowns and named functions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proofmill.filters.claims.nodes import Call, Node, Opaque, Symbol
from proofmill.filters.claims.tokens import LOWERED, LOWERED_DIGITS, TIGHT

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
    if parser.token.text[:1] in LOWERED and parser.token.gap == TIGHT:
        name += "_" + parser.token.text.translate(LOWERED_DIGITS)
        parser.position += 1
    if _takes_prime(parser):
        return Opaque()
    if parser.token.text == "(" and parser.token.gap == TIGHT and parser.position in parser.closing:
        closing = parser.closing[parser.position]
        if name in _CALLED:
            return _call(parser, name, closing)
        if closing - parser.position <= 2 or name == "C":
            parser.position = closing + 1
            return Opaque()
    return Symbol(name)


def _takes_prime(parser: Parser) -> bool:
    """Step over `'`, `''` or `^\\prime` and the bracket behind: a derivative, whose value isn't known here."""
    begin = parser.position
    while parser.token.text in ("'", "′", "’", "″") and parser.token.gap == TIGHT:
        parser.position += 1
    if parser.token.text == "^":
        ahead = [parser.peek(place).text for place in (1, 2)]
        parser.position += 2 if ahead[0] == "\\prime" else 4 if ahead == ["{", "\\prime"] else 0
    if parser.position == begin:
        return False
    if parser.token.text == "(" and parser.token.gap == TIGHT and parser.position in parser.closing:
        parser.position = parser.closing[parser.position] + 1
    return True


def _call(parser: Parser, name: str, closing: int) -> Node:
    """`f(3)`: a call to a function of the text's own, its name marked; opaque with more than one argument."""
    parser.position += 1
    argument = parser.expression(0)
    whole = argument is not None and parser.position == closing
    parser.position = closing + 1
    return Call(f"{name}()", (argument,)) if whole and argument is not None else Opaque()


def _logarithm(parser: Parser) -> Node:
    """`\\log_2 8`, `log_{10}(x)`: the base, then the argument."""
    parser.position += 1
    base = parser.group() or parser.operand()
    argument = parser.argument()
    return Opaque() if base is None or argument is None else Call("log", (argument, base))


def function(parser: Parser, name: str) -> Node:
    """A named function with bracketed arguments; powers of functions and the like are opaque."""
    if name == "log" and parser.token.text == "_":
        return _logarithm(parser)
    if parser.token.text != "(":
        body = parser.argument() if parser.token.text not in ("_", "^") else None
        return Opaque() if body is None or name in ("gcd", "max", "min") else Call(name, (body,))
    opening = parser.position
    parser.position += 1
    arguments = parser.list_of((",",))
    if arguments and parser.take(")"):
        return Call(name, arguments)
    parser.position = parser.closing.get(opening, opening) + 1
    return Opaque()
