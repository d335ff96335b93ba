r"""A small grammar for the expressions that answers are made of: text to trees, with nothing evaluated.

Covers numbers (thousands separators, decimals, scientific notation, mixed numbers, a base as subscript),
`+ - * /`, implicit products, powers, fractions, roots, factorials, binomials, absolute values, logarithms,
the elementary functions, π, e, i and letters, in LaTeX and in plain text. Both the length and the depth are
bounded. What it does not cover (matrices, integrals, sums) is left to math-verify's parser.
"""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache

from proofmill.filters.symbolic.expressions import Binary, Call, Constant, Node, Number, Symbol, TooCostlyError, Unary
from proofmill.filters.symbolic.notation import CONSTANTS, FUNCTIONS, GREEK, PLAIN_NAMES, in_base

MAX_LENGTH = 2_000  # characters; longer "answers" are derivations


class NotCoveredError(ValueError):
    """The text is not an expression of this grammar."""


class TokenCursor:
    """A cursor over (kind, text) pairs; kinds are "number", "command", "word" and "sign"."""

    def __init__(self, tokens: list[tuple[str, str]]) -> None:
        self.tokens = tokens
        self.at = 0

    def peek(self, ahead: int = 0) -> tuple[str, str]:
        """Return the token that many places ahead; two empty strings past the end."""
        position = self.at + ahead
        return self.tokens[position] if position < len(self.tokens) else ("", "")

    def take(self, *texts: str) -> str:
        """Consume the next token if it is one of `texts` (any if none is given) and return its text."""
        kind, text = self.peek()
        if not kind or (texts and text not in texts):
            return ""
        self.at += 1
        return text

    def expect(self, text: str) -> None:
        """Consume the given token or raise `NotCoveredError`."""
        if not self.take(text):
            raise NotCoveredError(f"expected {text}")

    def numeral(self) -> Node:
        """Return a number with what belongs to it: its base, or the fraction that makes it a mixed one."""
        text = self.take()
        value = numeral_value(text)
        if self.peek()[1] == "_":
            return Number(self._in_base(text))
        if not text.isdigit():
            return Number(value)
        fraction = self._mixed_part()
        return Number(value + fraction) if fraction is not None else Number(value)

    def _mixed_part(self) -> Fraction | None:
        r"""Return the fraction of a mixed number: `1/2` after `1 `, or `\frac{1}{2}` after `1`; else None."""
        texts = [self.peek(ahead) for ahead in range(7)]
        if texts[0][0] == texts[2][0] == "number" and texts[1][1] == "/":
            upper, lower, length = texts[0][1], texts[2][1], 3
        elif texts[0][1] == "\\frac" and [texts[k][1] for k in (1, 3, 4, 6)] == ["{", "}", "{", "}"]:
            upper, lower, length = texts[2][1], texts[5][1], 7
        else:
            return None
        if not (upper.isdigit() and lower.isdigit()) or not 0 < int(upper) < int(lower):
            return None
        self.at += length
        return Fraction(int(upper), int(lower))

    def _in_base(self, digits: str) -> int:
        """Return the value of decimal-looking digits whose subscript states their base."""
        value = in_base(digits, self.subscript()) if digits.isdigit() else None
        if value is None:
            raise NotCoveredError("base")
        return value

    def subscript(self) -> str:
        """Return the text of a subscript, braces and fonts removed."""
        self.expect("_")
        if not self.take("{"):
            return self.take()
        parts: list[str] = []
        while (text := self.take()) != "}":
            if not text:
                raise NotCoveredError("subscript")
            parts.append(text)
        return "".join(part for part in parts if part not in ("\\text", "{", "(", ")", "base"))


def numeral_value(text: str) -> int | Fraction:
    """Return the exact value of a number token."""
    digits = text.replace(",", "").replace(" ", "")
    if digits.isdecimal():
        return int(digits)
    mantissa, _, exponent = digits.lower().partition("e")
    if len(exponent.lstrip("+-")) > 4:
        raise TooCostlyError("exponent")
    value = Fraction(mantissa + ("0" if mantissa.endswith(".") else "")) * Fraction(10) ** int(exponent or 0)
    return value.numerator if value.denominator == 1 else value


_MAX_DEPTH = 60

_TOKEN = re.compile(
    r"(?P<number>\d{1,3}(?:[, ]\d{3})+(?:\.\d+)?(?![\d,])"
    r"|(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d{1,7}(?![\d.]))?)"
    r"|(?P<command>\\(?:[A-Za-z]+|[{}%|]))|(?P<word>[A-Za-z]+)|(?P<sign>\S)"
)
_CLOSERS = {"(": ")", "[": "]", "{": "}", "\\{": "\\}", "\\lfloor": "\\rfloor", "\\lceil": "\\rceil"}


@lru_cache(maxsize=8192)
def parse(text: str) -> Node:
    """Return the expression that `text`, already cleaned, spells.

    Raises:
        NotCoveredError: it is not of this grammar.
        TooCostlyError: it is too long or nested too deep.
    """
    if len(text) > MAX_LENGTH:
        raise TooCostlyError("too long")
    parser = _AnswerExpressionParser([(match.lastgroup or "", match[0]) for match in _TOKEN.finditer(text)])
    node = parser.stacked()
    if parser.peek() != ("", ""):
        raise NotCoveredError(text)
    return node


class _AnswerExpressionParser(TokenCursor):
    """Recursive descent over the tokens of one text."""

    def __init__(self, tokens: list[tuple[str, str]]) -> None:
        super().__init__(tokens)
        self._depth = 0
        self._bars = 0

    def stacked(self) -> Node:
        r"""Return a sum, or two of them one above the other as plain TeX sets a fraction or a binomial."""
        node = self.sum()
        sign = self.take("\\over", "\\choose")
        if not sign:
            return node
        lower = self.sum()
        return Binary("/", node, lower) if sign == "\\over" else Call("binom", (node, lower))

    def sum(self) -> Node:
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise TooCostlyError("nested too deep")
        node = self._product()
        while sign := self.take("+", "-"):
            node = Binary(sign, node, self._product())
        self._depth -= 1
        return node

    def _product(self) -> Node:
        node = self._signed()
        while True:
            if self.take("*", "\\cdot", "\\times"):
                node = Binary("*", node, self._signed())
            elif self.take("/"):
                node = Binary("/", node, self._signed())
            # `2x`, `2(3 + 4)`: a product without a sign binds as tightly as one with a sign, so 1/2x is x/2.
            elif self._starts_factor():
                node = Binary("*", node, self._power())
            else:
                return node

    def _signed(self) -> Node:
        negative = False
        while sign := self.take("+", "-"):
            negative ^= sign == "-"
        node = self._power()
        return Unary("-", node) if negative else node

    def _starts_factor(self) -> bool:
        kind, text = self.peek()
        if kind == "number":  # "2 3" is no product
            return self.tokens[self.at - 1][0] != "number"
        if kind == "sign":
            return text in "([{" or (text == "|" and not self._bars)
        return kind == "word" or (kind == "command" and text not in _ENDS)

    def _power(self) -> Node:
        node = self._postfix(self._atom())
        if not self.take("^"):
            return node
        if self._is_degree():
            return Unary("°", node)
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise TooCostlyError("nested too deep")
        exponent = self._exponent()
        self._depth -= 1
        return self._postfix(Binary("^", node, exponent))

    def _is_degree(self) -> bool:
        if self.take("\\circ"):
            return True
        if self.peek()[1] == "{" and self.peek(1)[1] == "\\circ" and self.peek(2)[1] == "}":
            self.at += 3
            return True
        return False

    def _exponent(self) -> Node:
        # 2^-3^2 is 2^(-(3^2)): the sign of an exponent covers all of it.
        if self.take("-"):
            return Unary("-", self._exponent())
        # What follows braces applies to the power: x^{2}! is (x^2)!, and x^{2}^3 is no exponent's own.
        return self._group() if self.peek()[1] == "{" else self._power()

    def _postfix(self, node: Node) -> Node:
        while True:
            if self.take("!"):
                node = Unary("!", node)
            elif self.take("%", "\\%"):
                node = Unary("%", node)
            elif self.peek()[1] == "'" and isinstance(node, Symbol):
                self.take()
                node = Symbol(f"{node.name}'")
            else:
                return node

    def _atom(self) -> Node:
        kind, text = self.peek()
        if kind == "number":
            return self.numeral()
        if kind == "word":
            return self._word()
        if text in _CLOSERS and text != "\\{":
            return self._group()
        if text == "|":
            return self._absolute()
        if kind == "command":
            self.at += 1
            return self._command(text[1:])
        raise NotCoveredError(text or "the end")

    def _group(self) -> Node:
        opener = self.take()
        # Inside a bracket a bar opens an absolute value again, whatever stands open outside.
        bars, self._bars = self._bars, 0
        node = self.stacked() if opener == "{" else self.sum()
        self._bars = bars
        self.expect(_CLOSERS[opener])
        if opener in ("\\lfloor", "\\lceil"):
            return Call(opener[2:], (node,))
        return node

    def _absolute(self) -> Node:
        self.take("|")
        self._bars += 1
        node = self.sum()
        self._bars -= 1
        self.expect("|")
        return Call("abs", (node,))

    def _word(self) -> Node:
        """Return a plain word: a function or constant by name, else its letters as a product."""
        word = self.take()
        name = PLAIN_NAMES.get(word.lower(), word)
        if name in ("sqrt", "abs") or name in FUNCTIONS:
            return self._command(name)
        if name in CONSTANTS:
            return Constant(CONSTANTS[name])
        if len(word) > 3:
            raise NotCoveredError(word)
        self.tokens[self.at - 1 : self.at] = [("word", letter) for letter in word]
        return self._letter(word[0])

    def _letter(self, name: str) -> Node:
        if name in CONSTANTS:
            return Constant(CONSTANTS[name])
        if self.peek()[1] == "_":
            name = f"{name}_{self.subscript()}"
        return Symbol(name)

    def _command(self, name: str) -> Node:
        if name in CONSTANTS:
            return Constant(CONSTANTS[name])
        if name in GREEK:
            return self._letter(name)
        if name == "frac":
            return Binary("/", self._argument(digit=True), self._argument(digit=True))
        if name == "binom":
            return Call("binom", (self._argument(digit=True), self._argument(digit=True)))
        if name == "sqrt":
            return self._root()
        if name == "text":
            return self._named()
        if name == "abs" or name in FUNCTIONS:
            return self._function(name)
        raise NotCoveredError(name)

    def _root(self) -> Node:
        degree = None
        if self.take("["):
            degree = self.sum()
            self.expect("]")
        body = self._argument()
        return Call("sqrt", (body,)) if degree is None else Call("root", (body, degree))

    def _named(self) -> Node:
        """Return a name in upright letters: a function that LaTeX lacks, a constant or one symbol."""
        self.expect("{")
        word = self.take()
        self.expect("}")
        if word in FUNCTIONS or word in PLAIN_NAMES:
            return self._command(PLAIN_NAMES.get(word, word))
        if not word.isalpha() or len(word) > 1:
            raise NotCoveredError(word)
        return self._letter(word)

    def _function(self, name: str) -> Node:
        base = self._log_base() if name == "log" and self.peek()[1] == "_" else None
        exponent = self._exponent() if self.take("^") else None
        argument = self._function_argument()
        if exponent == Unary("-", Number(1)) and name in ("sin", "cos", "tan"):
            name, exponent = f"arc{name}", None
        node = Call(name, (argument,) if base is None else (argument, base))
        return node if exponent is None else Binary("^", node, exponent)

    def _log_base(self) -> Node:
        self.expect("_")
        return self._argument(digit=True)

    def _function_argument(self) -> Node:
        r"""Return a group, or as in `\sin 2x` the factors up to the next sign."""
        if self.peek()[1] in ("(", "{", "["):
            return self._power()
        node = self._power()
        while (
            self._starts_factor() and self.peek()[1] not in ("(", "[") and self.peek()[1].lstrip("\\") not in FUNCTIONS
        ):
            node = Binary("*", node, self._power())
        return node

    def _argument(self, *, digit: bool = False) -> Node:
        r"""Return a command's argument: a group, or one token (of `\frac12` one digit)."""
        kind, text = self.peek()
        if digit and kind == "number" and text.isdigit() and len(text) > 1:
            self.tokens[self.at] = (kind, text[1:])
            return Number(int(text[0]))
        if kind == "number":
            self.at += 1
            return Number(numeral_value(text))
        return self._atom()


_ENDS = frozenset(["\\}", "\\rfloor", "\\rceil", "\\%", "\\cdot", "\\times", "\\circ", "\\|", "\\over", "\\choose"])
