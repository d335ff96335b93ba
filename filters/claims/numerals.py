"""Read numerals: literals, bases, scale words and mixed numbers."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

from proofmill.filters.claims.latex import two_groups
from proofmill.filters.claims.nodes import Binary, Node, Number, Opaque
from proofmill.filters.claims.tokens import COMMAND, LOWERED, LOWERED_DIGITS, NUMBER, SPACED, TIGHT, Token
from proofmill.filters.claims.wording import SCALE_WORDS

if TYPE_CHECKING:
    from proofmill.filters.claims.grammar import Parser

_MAX_DIGITS = 40


def number(parser: Parser, token: Token) -> Node | None:
    """A literal with what belongs to it: a base, a word such as `million`, a fraction behind it."""
    parser.position += 1
    if len(token.text) > _MAX_DIGITS:
        return Opaque("too long")
    if token.text[0] == "0" and token.text[1:2].isdecimal():
        return Opaque("a code or a time of day")
    node = literal(token.text)
    if parser.token.text == "_" and parser.token.gap == TIGHT:
        return _in_base(parser, token.text)
    if parser.token.text[:1] in LOWERED and parser.token.gap == TIGHT:
        base = parser.token.text.translate(LOWERED_DIGITS)
        parser.position += 1
        return _read_in_base(token.text, base)
    if parser.token.text.lower() in SCALE_WORDS:
        return scaled(parser, node)
    return _divisor(parser, node) if parser.loose else _mixed(parser, node)


def scaled(parser: Parser, node: Number) -> Node:
    """`node` times the scale word at this position."""
    factor = 1 if parser.loose else SCALE_WORDS[parser.token.text.lower()]
    parser.position += 1
    return Number(node.value * factor, max(0, node.places - len(str(factor)) + 1))


def _in_base(parser: Parser, digits: str) -> Node:
    parser.position += 1
    braced = parser.take("{")
    base = parser.token.text
    parser.position += 1
    if braced and not parser.take("}"):
        return Opaque()
    return _read_in_base(digits, base)


def _read_in_base(digits: str, base: str) -> Node:
    if not base.isdecimal() or len(base) > 2 or not 2 <= int(base) <= 36 or not digits.isdecimal():
        return Opaque()
    if any(int(digit) >= int(base) for digit in digits):
        return Opaque()
    return Number(int(digits, int(base)))


def _mixed(parser: Parser, node: Number) -> Node:
    """`2 1/2`, `2½` and `2\\frac{1}{2}`: a whole number and its fraction."""
    following = parser.token
    if following.kind not in (NUMBER, COMMAND) or not isinstance(node.value, int) or node.value == 0:
        return node
    begin, depth = parser.position, parser.depth
    share = _proper_fraction(parser)
    parser.depth = depth
    if share is None:
        parser.position = begin
        return node
    return Number(node.value + share)


def _divisor(parser: Parser, node: Number) -> Node:
    """The loose reading of `2000 / 2/3`: a fraction without blanks is one divisor."""
    before = parser.tokens[parser.position - 2].text if parser.position > 1 else ""
    if before == "-" and parser.position > 2:
        before = parser.tokens[parser.position - 3].text
    slash, under = parser.token, parser.peek()
    if before != "/" or slash.text != "/" or slash.gap != TIGHT or not (under.text.isdecimal() and under.gap == TIGHT):
        return node
    if len(under.text) > _MAX_DIGITS or int(under.text) == 0:
        return node
    parser.position += 2
    return Number(Fraction(node.value) / int(under.text))


def _proper_fraction(parser: Parser) -> Fraction | None:
    token, slash, under = parser.token, parser.peek(), parser.peek(2)
    if token.kind == NUMBER and "/" in token.text:
        parser.position += 1
        return Fraction(token.text)
    if token.text in ("\\frac", "\\dfrac", "\\tfrac"):
        parser.position += 1
        match two_groups(parser, "frac"):
            case Binary("/", Number(value=int(top)), Number(value=int(bottom))) if 0 < top < bottom:
                return Fraction(top, bottom)
        return None
    tight = slash.text == "/" and slash.gap == TIGHT and under.gap == TIGHT
    if not (token.gap == SPACED and token.text.isdecimal() and tight and under.text.isdecimal()):
        return None
    if len(token.text) > 3 or len(under.text) > 3 or not 0 < int(token.text) < int(under.text):
        return None
    parser.position += 3
    return Fraction(int(token.text), int(under.text))


def literal(text: str) -> Number:
    """The number that digits stand for: `12`, `.5`, `3/4`."""
    if "/" in text:
        return Number(Fraction(text))
    if text.isdecimal():
        return Number(int(text))
    whole, _, decimals = text.partition(".")
    value = Fraction(int(whole + decimals), 10 ** len(decimals))
    return Number(value.numerator if value.denominator == 1 else value, len(decimals))
