"""Read LaTeX commands that stand for a value."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proofmill.filters.claims.names import function, subscripted
from proofmill.filters.claims.nodes import Binary, Call, Node, Number, Opaque, Symbol
from proofmill.filters.claims.tokens import NUMBER, Token
from proofmill.filters.claims.wording import words

if TYPE_CHECKING:
    from proofmill.filters.claims.grammar import Parser

GREEK = words(
    "alpha beta gamma delta epsilon varepsilon zeta eta theta iota kappa lambda lamda mu nu xi rho sigma tau phi "
    "varphi chi psi omega ell Delta"
)
LATEX_FUNCTIONS = words("log ln sin cos tan gcd max min")


def command(parser: Parser, token: Token) -> Node | None:
    """The value that a command and its arguments stand for, None where it is no operand."""
    name = token.text[1:]
    parser.position += 1
    if name in ("frac", "dfrac", "tfrac", "cfrac", "binom", "dbinom", "tbinom"):
        return two_groups(parser, name)
    if name == "sqrt":
        return root(parser)
    if name in ("boxed", "text", "mathbf", "textbf", "mathrm", "fbox"):
        return parser.group()
    if name == "pi":
        return Symbol("pi")
    if name in GREEK:
        return subscripted(parser, name)
    if name in LATEX_FUNCTIONS:
        return function(parser, name)
    parser.position -= 1
    return None


def two_groups(parser: Parser, name: str) -> Node | None:
    """A fraction or binomial coefficient from its two arguments."""
    if parser.token.kind == NUMBER and len(parser.token.text) == 2 and parser.token.text.isdecimal():
        digits = parser.token.text  # \frac12
        parser.position += 1
        return Binary("/", Number(int(digits[0])), Number(int(digits[1])))
    first = parser.group()
    second = parser.group() if first is not None else None
    if first is None or second is None:
        return Opaque()
    return Call("binom", (first, second)) if name.endswith("binom") else Binary("/", first, second)


def root(parser: Parser) -> Node | None:
    """A square root, or the root whose index stands in square brackets."""
    if parser.token.text == "[":
        index = parser.bracket(parser.token)
        body = parser.group()
        if index is None or body is None:
            return Opaque()
        return Binary("^", body, Binary("/", Number(1), index))
    body = parser.group()
    return Opaque() if body is None else Call("sqrt", (body,))
