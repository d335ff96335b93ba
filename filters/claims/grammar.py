"""A Pratt parser for arithmetic as people and models write it: signs, LaTeX, units and plain English.

It reads the longest expression at a place and never fails loudly: what it doesn't know becomes `Opaque`,
which has no value, so no claim that holds it is ever called false. Nesting and length are capped.
"""

from __future__ import annotations

from collections.abc import Callable

from proofmill.filters.claims.infixes import infix
from proofmill.filters.claims.latex import command
from proofmill.filters.claims.nodes import Binary, Call, Node, Number, Opaque, Quantity, Symbol, Unary
from proofmill.filters.claims.numerals import literal as number_of
from proofmill.filters.claims.numerals import number
from proofmill.filters.claims.phrases import combine, word_operand
from proofmill.filters.claims.postfixes import postfix
from proofmill.filters.claims.precedence import IMPLIED, NEGATION, POWER, SUM
from proofmill.filters.claims.tokens import (
    CLOSING,
    COMMAND,
    END,
    NUMBER,
    OPERATOR,
    PUNCTUATION,
    RELATION,
    SPACED,
    TIGHT,
    WORD,
    Token,
    match_brackets,
)
from proofmill.filters.claims.units import read_unit

_MAX_DEPTH = 24
_MAX_OPERANDS = 150
_MAX_POSTFIXES = 3
_MAX_PREFIXES = 20_000  # operands read in one step, attempts included; a page of text needs a few hundred


class Parser:
    """Reads expressions from one step's tokens.

    Args:
        tokens: the step's tokens, `END` last.
        loose: read what is ambiguous the other way: `half of 3 + 5` as half of 8, `1/2(3)` as 1/(2·3),
            `6 / 1/2` as 12, `4 million` as 4,
            `-2^2` as 4, `4 more than 2` as 4, a bracket apart from its number as a remark or as a factor.
    """

    def __init__(self, tokens: list[Token], loose: bool = False) -> None:
        self.tokens = tokens
        self.loose = loose
        self.position = 0
        self.start = 0
        self.depth = 0
        self.in_argument = False
        self._operands = 0
        self._fuel = _MAX_PREFIXES
        self.closing = match_brackets(tokens)

    def parse(self, position: int) -> tuple[Node, int] | None:
        """The longest expression that starts at `position`, and the position behind it."""
        self.position = self.start = position
        self.depth = self._operands = 0
        self.in_argument = False
        node = self.expression(0)
        return None if node is None else (node, self.position)

    @property
    def token(self) -> Token:
        """The token at this position."""
        return self.tokens[self.position]

    def peek(self, ahead: int = 1) -> Token:
        """The token `ahead` places further."""
        return self.tokens[min(self.position + ahead, len(self.tokens) - 1)]

    def take(self, *texts: str) -> bool:
        """Step over the next token if it is one of `texts`, whatever its case."""
        if self.token.text.lower() in texts and self.token.kind != END:
            self.position += 1
            return True
        return False

    def expression(self, minimum: int) -> Node | None:
        """The longest expression here whose operations bind at least as tightly as `minimum`."""
        self._fuel -= 1
        if self.depth >= _MAX_DEPTH or self._fuel < 0:
            return None
        self.depth += 1
        left = self._prefix()
        while left is not None:
            grown = self._extend(left, minimum)
            if grown is None:
                break
            left = grown
        self.depth -= 1
        return left

    def _extend(self, left: Node, minimum: int) -> Node | None:
        """`left` with the next operation on it, None where the expression ends."""
        begin = self.position
        operator, power = infix(self, left)
        stops = self.in_argument and not self.loose and operator == "*" and self.tokens[begin].kind == OPERATOR
        if operator is None or power < minimum or stops:
            self.position = begin
            return None
        right = self._exponent() if operator == "^" else self.expression(power + 1)
        if right is None and self.tokens[begin].kind == OPERATOR:
            right = self._words_as_operand()
        if right is None:
            self.position = begin
            return None
        self._operands += 1
        if self._operands > _MAX_OPERANDS:  # keep the tree, and so all recursion over it, small
            return Opaque("too long")
        return combine(operator, left, right)

    def _exponent(self) -> Node | None:
        """What stands behind `^`; read loosely, `a^2m` is a^(2m) and `10^4^2` is (10^4)^2."""
        if not self.loose:
            return self.expression(POWER)
        exponent = self.expression(POWER + 1)
        letter = self.token
        if exponent is not None and letter.kind == WORD and letter.gap == TIGHT and len(letter.text) == 1:
            exponent = Binary("*", exponent, Symbol(letter.text))
            self.position += 1
        return exponent

    def is_first(self) -> bool:
        """Whether one token of the expression has been read."""
        return self.position == self.start + 1

    def is_result(self) -> bool:
        """Whether the expression at hand stands behind a relation sign."""
        return self.start > 0 and self.tokens[self.start - 1].kind == RELATION

    def _words_as_operand(self) -> Opaque | None:
        """A quantity named in words, as in `5 * number of boxes`."""
        begin = self.position
        while self.token.kind == WORD and self.position - begin < 6:
            self.position += 1
        if self.position == begin and self.token.text in CLOSING and self.position in self.closing:
            self.position = self.closing[self.position] + 1
        return Opaque() if self.position > begin else None

    def _prefix(self) -> Node | None:
        token = self.token
        handler = _PREFIX.get(token.kind)
        node = handler(self, token) if handler else None
        return None if node is None else self._postfix(node)

    def _postfix(self, node: Node) -> Node:
        for _ in range(_MAX_POSTFIXES):
            grown = postfix(self, node)
            if grown is None:
                break
            node = grown
        if self.loose:
            self._pass_remark()
        if isinstance(node, Symbol | Opaque):
            return node
        unit = read_unit(self.tokens, self.position, self.closing)
        if unit.opaque:
            self.position = unit.position
            return Opaque()
        if unit.position == self.position:
            return node
        self.position = unit.position
        return Quantity(node, unit.words, unit.per)

    def _pass_remark(self) -> None:
        """Step over a number in brackets that stands apart, `6 (2) + 5`, where it is read as a remark."""
        apart = self.token.text == "(" and self.token.gap == SPACED and not (self.is_result() and self.is_first())
        if apart and self.peek().kind == NUMBER and self.peek(2).text == ")":
            self.position += 3

    def _sign_prefix(self, token: Token) -> Node | None:
        if token.text in ("-", "+"):
            return self._negation(token)
        if token.text == "√":
            self.position += 1
            body = self.expression(NEGATION)
            return None if body is None else Call("sqrt", (body,))
        if token.text == "±":
            self.position += 1
            return Opaque() if self.expression(NEGATION) is not None else None
        return None

    def _negation(self, token: Token) -> Node | None:
        begin = self.position
        self.position += 1
        following = self.token
        if following.kind == WORD or following.text in ("-", "+"):
            self.position = begin
            return None
        body = self.expression(POWER + 1 if self.loose and following.kind == NUMBER else NEGATION)
        if body is None:
            self.position = begin
            return None
        return Unary("-", body) if token.text == "-" else body

    def bracket(self, token: Token) -> Node | None:
        """A bracketed expression; one that isn't an expression is opaque inside another, else no match."""
        if token.text == "|":
            return self._absolute()
        if token.text not in CLOSING:
            return None
        begin, outside = self.position, self.in_argument
        self.position += 1
        self.in_argument = False
        body = self.expression(0)
        self.in_argument = outside
        if body is not None and self.take(CLOSING[token.text]):
            return body
        self.position = begin
        if begin == self.start or begin not in self.closing:
            return None
        self.position = self.closing[begin] + 1
        return Opaque()

    def _absolute(self) -> Node | None:
        """`|2 - 7|`; bars around a name count a set, and those of a table stand apart from what they hold."""
        begin = self.position
        self.position += 1
        if self.token.gap == TIGHT and self.token.kind in (NUMBER, OPERATOR, COMMAND):
            body = self.expression(0)
            if body is not None and self.token.gap == TIGHT and self.take("|"):
                return Call("abs", (body,))
        self.position = begin
        return None

    def argument(self) -> Node | None:
        """What a function without brackets is taken of; a sign of multiplication ends it: `\\ln 2 \\cdot 3`."""
        outside, self.in_argument = self.in_argument, True
        body = self.expression(IMPLIED)
        self.in_argument = outside
        return body

    def operand(self) -> Node | None:
        """A single number or letter, as the base of a logarithm."""
        token = self.token
        if token.kind not in (NUMBER, WORD) or (token.kind == WORD and len(token.text) > 1):
            return None
        self.position += 1
        return number_of(token.text) if token.kind == NUMBER else Symbol(token.text)

    def group(self) -> Node | None:
        """One argument of a LaTeX command: `{…}` or a single digit or letter."""
        token = self.token
        if token.text == "{":
            return self.bracket(token)
        if token.kind == NUMBER and len(token.text) == 1:
            self.position += 1
            return Number(int(token.text))
        return None

    def list_of(self, separators: tuple[str, ...]) -> tuple[Node, ...]:
        """Expressions with separators between them; the one behind `and` is the last."""
        arguments: list[Node] = []
        while len(arguments) < 30 and (node := self.expression(SUM)) is not None:
            arguments.append(node)
            begin = self.position
            is_last = not self.take(*separators)
            is_last = (self.take("and") and "and" in separators and is_last) or is_last
            if is_last:
                break
            if self.token.kind not in (NUMBER, COMMAND, OPERATOR) and self.token.text != "(":
                self.position = begin
                break
        return tuple(arguments)


_PREFIX: dict[int, Callable[[Parser, Token], Node | None]] = {
    NUMBER: number,
    OPERATOR: Parser._sign_prefix,
    PUNCTUATION: Parser.bracket,
    COMMAND: command,
    WORD: word_operand,
}
