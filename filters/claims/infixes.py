"""Read the sign, word or mere nearness that joins an operand to the next, and how tightly it binds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proofmill.filters.claims.latex import GREEK, LATEX_FUNCTIONS
from proofmill.filters.claims.nodes import Binary, Node, Opaque, Quantity, Unary
from proofmill.filters.claims.phrases import COMPARED, is_share
from proofmill.filters.claims.precedence import IMPLIED, POWER, PRODUCT, SUM, TIGHT_IMPLIED
from proofmill.filters.claims.tokens import COMMAND, FENCED, NUMBER, OPERATOR, TIGHT, WORD, Token
from proofmill.filters.claims.wording import NAMED_FUNCTIONS, OPERATOR_WORDS

if TYPE_CHECKING:
    from proofmill.filters.claims.grammar import Parser

_INFIX = {"+": SUM, "-": SUM, "*": PRODUCT, "/": PRODUCT, "mod": PRODUCT, "^": POWER}


def infix(parser: Parser, left: Node) -> tuple[str | None, int]:
    """The operator at this position, stepped over, and its binding power."""
    token = parser.token
    if token.kind == OPERATOR:
        return _sign_infix(parser, token)
    if token.kind == WORD:
        if token.text in NAMED_FUNCTIONS and parser.peek().text == "(" and not isinstance(left, Quantity):
            return "*", _implied_power(parser)  # 2sqrt(3), 1/2 ln(2)
        return _word_infix(parser, token, left)
    if token.gap == FENCED or isinstance(left, Quantity):
        return None, 0
    if token.kind == NUMBER and token.gap == TIGHT and isinstance(left, Unary) and left.operator == "!":
        return "*", _implied_power(parser)  # 3!4!
    if token.kind == COMMAND and _starts_factor(parser, token):
        return "*", _implied_power(parser)
    if token.text == "(" and _multiplies_bracket(parser, left):
        return "*", _implied_power(parser)
    return None, 0


def _sign_infix(parser: Parser, token: Token) -> tuple[str | None, int]:
    if token.text == "√" and token.gap == TIGHT:
        return "*", _implied_power(parser)
    if parser.loose and token.text == "*" and parser.peek().text == "10" and parser.peek(2).text == "^":
        parser.position += 1
        return "*", TIGHT_IMPLIED  # 3 × 10^8 / 6 × 10^14
    operator = "mod" if token.text == "%" else token.text
    if operator not in _INFIX or (operator == "-" and _is_dash(parser, token)):
        return None, 0
    parser.position += 1
    if operator == "mod" and parser.loose:
        return operator, SUM - 1  # 3 + 4 mod 5 = 2
    return operator, _INFIX[operator]


def _is_dash(parser: Parser, token: Token) -> bool:
    return token.kind == OPERATOR and parser.peek().text in ("-", ">")


def _implied_power(parser: Parser) -> int:
    return TIGHT_IMPLIED if parser.loose else IMPLIED


def _word_infix(parser: Parser, token: Token, left: Node) -> tuple[str | None, int]:
    word = token.text.lower()
    if word in OPERATOR_WORDS:
        parser.position += 1
        loosest = parser.loose and OPERATOR_WORDS[word] == "mod"
        return OPERATOR_WORDS[word], SUM - 1 if loosest else _INFIX[OPERATOR_WORDS[word]]
    if word == "of" and is_share(left) and not (parser.loose and parser.is_result()):
        parser.position += 1
        return "*", SUM - 5 if parser.loose else PRODUCT
    if word in ("multiplied", "divided") and parser.peek().text == "by":
        parser.position += 2
        return ("*" if word == "multiplied" else "/"), PRODUCT
    if word in COMPARED and parser.peek().text == "than" and not isinstance(left, Binary) and not parser.loose:
        parser.position += 2
        return word, SUM
    return (None, 0) if token.gap == FENCED else _letter_infix(parser, token)


def _letter_infix(parser: Parser, token: Token) -> tuple[str | None, int]:
    """`x` between numbers is a sign of multiplication; any letter on a number is a factor."""
    following = parser.peek()
    if token.text in ("x", "X"):
        spaced = token.gap != TIGHT and following.gap != TIGHT
        if following.kind == NUMBER or (spaced and following.text in ("(", "\\frac")):
            parser.position += 1
            return "*", PRODUCT
    if len(token.text) == 1 and (token.gap == TIGHT or following.kind != WORD):
        return "*", _implied_power(parser)
    return None, 0


def _starts_factor(parser: Parser, token: Token) -> bool:
    name = token.text[1:]
    if name in LATEX_FUNCTIONS:
        return not parser.in_argument  # \sin 30^\circ \cos 60^\circ
    return name in ("frac", "dfrac", "tfrac", "sqrt", "pi", "binom", "dbinom") or name in GREEK


def _multiplies_bracket(parser: Parser, left: Node) -> bool:
    """Whether the bracket here is a factor rather than a remark on the number before it."""
    if isinstance(left, Opaque | Quantity):
        return False
    if parser.token.gap == TIGHT:
        return True
    return (parser.is_result() and parser.is_first()) == parser.loose
