"""Read operands in words: number words, unknowns, `half of 48`, `the sum of 3 and 4`."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

from proofmill.filters.claims.names import function, subscripted
from proofmill.filters.claims.nodes import Binary, Call, Node, Number, Opaque, Symbol, Unary
from proofmill.filters.claims.numerals import scaled
from proofmill.filters.claims.precedence import PRODUCT, SUM
from proofmill.filters.claims.tokens import COMMAND, NUMBER, PUNCTUATION, TIGHT, WORD, Token
from proofmill.filters.claims.wording import (
    FRACTION_WORDS,
    MULTIPLE_WORDS,
    NAMED_FUNCTIONS,
    NUMBER_WORDS,
    SCALE_WORDS,
)

if TYPE_CHECKING:
    from proofmill.filters.claims.grammar import Parser

AGGREGATES = {
    "sum": ("of",), "total": ("of",), "difference": ("between", "of"), "product": ("of",),
    "quotient": ("of",), "average": ("of",), "mean": ("of",), "gcd": ("of",), "lcm": ("of",),
}  # fmt: skip
_VERBS = {
    "add": ("+", ("to", "and", ",", "plus")), "subtract": ("-", ("from",)),
    "multiply": ("*", ("by", "with", "and", "times")), "divide": ("/", ("by",)),
    "multiplying": ("*", ("by", "with", "and", "times")), "dividing": ("/", ("by",)),
    "adding": ("+", ("to", "and", ",", "plus")), "subtracting": ("-", ("from",)),
}  # fmt: skip
_ROOTS = {"square": ("^", 2), "cube": ("^", 3)}

_CONSTANTS = (Symbol("i"), Symbol("e"))  # more often √-1 and Euler's number than unknowns
COMPARED = ("more", "less", "fewer")  # as in "5 more than 3"
OPENERS = frozenset().union(
    NUMBER_WORDS, FRACTION_WORDS, MULTIPLE_WORDS, NAMED_FUNCTIONS, AGGREGATES, _VERBS, _ROOTS
)  # every word of more than one letter that may begin an expression


def word_operand(parser: Parser, token: Token) -> Node | None:
    """The operand that begins with a word, None where the word begins none."""
    word = token.text.lower()
    if len(word) == 1:
        return _letter(parser, token)
    if word in NUMBER_WORDS:
        return _number_words(parser)
    if word in FRACTION_WORDS and word[-1] != "s":
        return _share(parser, FRACTION_WORDS[word])
    if word in MULTIPLE_WORDS and parser.peek().kind in (NUMBER, PUNCTUATION, COMMAND):
        parser.position += 1
        body = parser.expression(PRODUCT)
        return None if body is None else Binary("*", Number(MULTIPLE_WORDS[word]), body)
    if word in NAMED_FUNCTIONS and (parser.peek().text == "(" or (word == "log" and parser.peek().text == "_")):
        parser.position += 1
        return function(parser, word)
    return _phrase(parser, word)


def _letter(parser: Parser, token: Token) -> Node | None:
    """A single letter is an unknown where it stands in a formula, an article or initial elsewhere."""
    following = parser.peek()
    if token.text in ("a", "A", "I", "s") and following.kind == WORD and token.gap != TIGHT:
        return None
    parser.position += 1
    node = subscripted(parser, token.text)
    return Opaque() if node in _CONSTANTS else node


def _number_words(parser: Parser) -> Node | None:
    value = NUMBER_WORDS[parser.token.text.lower()]
    parser.position += 1
    begin = parser.position
    parser.take("-")
    fraction = FRACTION_WORDS.get(parser.token.text.lower())
    if fraction is not None and parser.tokens[parser.position - 1].text == "-" and value < 20:
        parser.position += 1
        return Number(value * fraction)
    ones = NUMBER_WORDS.get(parser.token.text.lower(), 0)
    if value >= 20 and value % 10 == 0 and 0 < ones < 10:
        value += ones
        parser.position += 1
    else:
        parser.position = begin
    word = parser.token.text.lower()
    if word in SCALE_WORDS:
        return scaled(parser, Number(value))
    if word in FRACTION_WORDS and parser.peek().text == "of":
        parser.position += 1
        return Number(value * FRACTION_WORDS[word])
    return Number(value)


def _share(parser: Parser, share: Fraction) -> Node | None:
    """`half of 48`, `a third of 18`, `half 48`."""
    begin = parser.position
    parser.position += 1
    parser.take("of")
    if parser.token.kind in (NUMBER, COMMAND) or parser.token.text == "(":
        body = parser.expression(SUM if parser.loose else PRODUCT)
        if body is not None:
            return Binary("*", Number(share), body)
    parser.position = begin
    return None


def _phrase(parser: Parser, word: str) -> Node | None:
    begin = parser.position
    node = None
    if word in AGGREGATES and parser.peek().text in AGGREGATES[word]:
        parser.position += 2
        arguments = parser.list_of((",", "and"))
        listed = parser.tokens[begin : parser.position]
        node = _aggregate(word, arguments) if any(token.text == "and" for token in listed) else None
    elif word in _VERBS:
        node = _verb(parser, *_VERBS[word])
    elif word in _ROOTS:
        node = _root_phrase(parser, *_ROOTS[word])
    if node is None:
        parser.position = begin
    return node


def _verb(parser: Parser, operator: str, prepositions: tuple[str, ...]) -> Node | None:
    """`subtract 3 from 10`, `adding 3 and 4`."""
    parser.position += 1
    first = parser.expression(SUM)
    if first is None or not parser.take(*prepositions):
        return None
    parser.take("and")
    second = parser.expression(SUM)
    if second is None:
        return None
    node = Binary("-", second, first) if operator == "-" else Binary(operator, first, second)
    while operator == "+" and parser.take(",", "and"):
        parser.take("and")
        more = parser.expression(SUM)
        if more is None:
            parser.position -= 1
            break
        node = Binary("+", node, more)
    return node


def _root_phrase(parser: Parser, operator: str, degree: int) -> Node | None:
    parser.position += 1
    is_root = parser.take("root")
    if not parser.take("of"):
        return None
    body = parser.expression(PRODUCT)
    if body is None:
        return None
    if is_root:
        return Call("sqrt", (body,)) if degree == 2 else None
    return Binary(operator, body, Number(degree))


def _aggregate(word: str, arguments: tuple[Node, ...]) -> Node | None:
    if len(arguments) < 2:
        return None
    if word in ("average", "mean"):
        return Call("mean", arguments)
    if word in ("gcd", "lcm"):
        return Call(word, arguments)
    operator = {"sum": "+", "total": "+", "difference": "-", "product": "*", "quotient": "/"}[word]
    if len(arguments) > 2 and operator in "-/":
        return None
    node = arguments[0]
    for argument in arguments[1:]:
        node = Binary(operator, node, argument)
    return Call("abs", (node,)) if word == "difference" else node


def is_share(node: Node) -> bool:
    """Whether `of` behind it multiplies: a percentage or a fraction, not `5 of them`."""
    match node:
        case Unary("%", _) | Binary("/", Number(), Number()) | Number(value=Fraction()):
            return True
    return False


def combine(operator: str, left: Node, right: Node) -> Node:
    """An operation as a tree; `5 more than 3` is 3 + 5, `20% less than 50` is 50 · (1 − 20%)."""
    if operator not in COMPARED:
        return Binary(operator, left, right)
    sign = "+" if operator == "more" else "-"
    if isinstance(left, Unary) and left.operator == "%":
        return Binary("*", right, Binary(sign, Number(1), left))
    return Binary(sign, right, left)
