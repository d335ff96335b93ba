"""Read the signs behind an operand."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proofmill.filters.claims.nodes import Binary, Node, Number, Opaque, Unary
from proofmill.filters.claims.tokens import END, NEWLINE, NUMBER, TIGHT, WORD, Token

if TYPE_CHECKING:
    from proofmill.filters.claims.grammar import Parser

_MAX_DIGITS = 9  # of a raised exponent
_RAISED = frozenset("⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_DIGITS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹", "0123456789")


def postfix(parser: Parser, node: Node) -> Node | None:
    """`node` with the sign behind it, as in `5!`, `20%`, `3²` or `30°`; None where there is none."""
    token = parser.token
    if token.text == "!" and token.gap == parser.peek().gap == TIGHT and parser.peek().text == "!":
        parser.position += 2
        return Opaque("double factorial")
    if token.text == "!" and token.gap == TIGHT and not _is_exclamation(parser):
        parser.position += 1
        return Unary("!", node)
    if token.text[:1] in _RAISED and token.gap == TIGHT:
        parser.position += 1
        digits = token.text.lstrip("⁻").translate(_DIGITS)
        if len(digits) > _MAX_DIGITS:
            return Opaque("too long")
        power = Number(int(digits))
        return Binary("^", node, Unary("-", power) if token.text[0] == "⁻" else power)
    if token.text == "°":
        parser.position += 1
        return Unary("°", node)
    if _is_percent_sign(parser, token):
        parser.position += 1
        return Unary("%", node)
    if token.text == "^" and _is_degree(parser):
        return Unary("°", node)
    return None


def _is_exclamation(parser: Parser) -> bool:
    """`= 7! Then` ends a sentence, `= 3! ways` and `= 3!` are factorials; loosely it is the other way round."""
    following = parser.peek()
    if following.kind == WORD:
        return following.gap == TIGHT or (following.text[0].isupper() and not parser.loose)
    return parser.loose and following.kind in (END, NEWLINE)


def _is_percent_sign(parser: Parser, token: Token) -> bool:
    if token.kind == WORD:
        return token.text.lower() == "percent"
    is_modulo = token.gap != TIGHT and (parser.peek().kind == NUMBER or parser.peek().text == "(")
    return token.text == "%" and not is_modulo


def _is_degree(parser: Parser) -> bool:
    if parser.peek().text == "\\circ":
        parser.position += 2
        return True
    if parser.peek().text == "{" and parser.peek(2).text == "\\circ" and parser.peek(3).text == "}":
        parser.position += 4
        return True
    return False
