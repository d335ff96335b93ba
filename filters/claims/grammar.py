"""A Pratt parser for arithmetic as people and models write it: signs, LaTeX, units and plain English.

It reads the longest expression at a place and never fails loudly: what it doesn't know becomes `Opaque`, which
has no value, so no claim that holds it is ever called false. Nesting and length are capped.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

from proofmill.filters.claims.nodes import Binary, Call, Node, Number, Opaque, Quantity, Symbol, Unary
from proofmill.filters.claims.tokens import (
    COMMAND,
    END,
    NUMBER,
    OPERATOR,
    PUNCTUATION,
    SPACED,
    TIGHT,
    WORD,
    Token,
)
from proofmill.filters.claims.units import read_unit
from proofmill.filters.claims.wording import (
    FRACTION_WORDS,
    MULTIPLE_WORDS,
    NUMBER_WORDS,
    OPERATOR_WORDS,
    SCALE_WORDS,
)

_MAX_DEPTH = 24
_MAX_OPERANDS = 150
_MAX_DIGITS = 40
_SUM, _PRODUCT, _IMPLIED, _NEGATION, _TIGHT_IMPLIED, _POWER = 10, 20, 22, 25, 27, 40
_INFIX = {"+": _SUM, "-": _SUM, "*": _PRODUCT, "/": _PRODUCT, "mod": _PRODUCT, "^": _POWER}
_CLOSING = {"(": ")", "[": "]", "{": "}"}
_GREEK = frozenset("alpha beta gamma delta theta lambda mu rho sigma phi omega tau ell".split())
_LATEX_FUNCTIONS = frozenset("log ln sin cos tan gcd max min".split())
_NAMED_FUNCTIONS = frozenset("sqrt gcd lcm max min abs floor ceil log ln sin cos tan".split())
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


class Parser:
    """Reads expressions from one step's tokens.

    Args:
        tokens: the step's tokens, `END` last.
        loose: read what is ambiguous the other way: `half of 3 + 5` as half of 8, `1/2(3)` as 1/(2·3),
            `-2^2` as 4, a bracket apart from its number as a remark or as a factor.
    """

    def __init__(self, tokens: list[Token], loose: bool = False) -> None:
        self.tokens = tokens
        self.loose = loose
        self.position = 0
        self._start = 0
        self._depth = 0
        self._operands = 0
        self._closing = match_brackets(tokens)

    def parse(self, position: int) -> tuple[Node, int] | None:
        """The longest expression that starts at `position` and the position behind it, None if there is none."""
        self.position = self._start = position
        self._depth = self._operands = 0
        node = self._expression(0)
        return None if node is None else (node, self.position)

    @property
    def _token(self) -> Token:
        return self.tokens[self.position]

    def _peek(self, ahead: int = 1) -> Token:
        return self.tokens[min(self.position + ahead, len(self.tokens) - 1)]

    def _take(self, *texts: str) -> bool:
        """Step over the next token if it is one of `texts`, whatever its case."""
        if self._token.text.lower() in texts and self._token.kind != END:
            self.position += 1
            return True
        return False

    def _expression(self, minimum: int) -> Node | None:
        if self._depth >= _MAX_DEPTH:
            return None
        self._depth += 1
        left = self._prefix()
        while left is not None:
            grown = self._extend(left, minimum)
            if grown is None:
                break
            left = grown
        self._depth -= 1
        return left

    def _extend(self, left: Node, minimum: int) -> Node | None:
        """`left` with the next operation on it, None where the expression ends."""
        begin = self.position
        operator, power = self._infix(left)
        if operator is None or power < minimum:
            self.position = begin
            return None
        right = self._expression(power if operator == "^" else power + 1)
        if right is None:
            right = self._words_as_operand()
        if right is None:
            self.position = begin
            return None
        self._operands += 1
        if self._operands > _MAX_OPERANDS:  # keep the tree, and so all recursion over it, small
            return Opaque("too long")
        return _combine(operator, left, right)

    def _infix(self, left: Node) -> tuple[str | None, int]:
        """The operator at this position, stepped over, and its binding power."""
        token = self._token
        if token.kind == OPERATOR:
            return self._sign_infix(token)
        if token.kind == WORD:
            return self._word_infix(token, left)
        if token.kind == COMMAND and self._starts_factor(token):
            return "*", self._implied_power()
        if token.text == "(" and self._multiplies_bracket(left):
            return "*", self._implied_power()
        return None, 0

    def _sign_infix(self, token: Token) -> tuple[str | None, int]:
        operator = "mod" if token.text == "%" else token.text
        if operator not in _INFIX or (operator == "-" and self._is_dash(token)):
            return None, 0
        self.position += 1
        return operator, _INFIX[operator]

    def _is_dash(self, token: Token) -> bool:
        return token.kind == OPERATOR and self._peek().text in ("-", ">")

    def _implied_power(self) -> int:
        return _TIGHT_IMPLIED if self.loose else _IMPLIED

    def _word_infix(self, token: Token, left: Node) -> tuple[str | None, int]:
        word = token.text.lower()
        if word in OPERATOR_WORDS:
            self.position += 1
            return OPERATOR_WORDS[word], _INFIX[OPERATOR_WORDS[word]]
        if word == "of" and _is_share(left):
            self.position += 1
            return "*", _SUM - 5 if self.loose else _PRODUCT
        if word in ("multiplied", "divided") and self._peek().text == "by":
            self.position += 2
            return ("*" if word == "multiplied" else "/"), _PRODUCT
        if word in ("more", "less", "fewer") and self._peek().text == "than" and not isinstance(left, Binary):
            self.position += 2
            return word, _SUM
        return self._letter_infix(token)

    def _letter_infix(self, token: Token) -> tuple[str | None, int]:
        """`x` between numbers is a sign of multiplication; any letter on a number is a factor."""
        following = self._peek()
        if token.text in ("x", "X"):
            spaced = token.gap != TIGHT and following.gap != TIGHT
            if following.kind == NUMBER or (spaced and following.text in ("(", "\\frac")):
                self.position += 1
                return "*", _PRODUCT
        if len(token.text) == 1 and (token.gap == TIGHT or following.kind != WORD):
            return "*", self._implied_power()
        return None, 0

    def _starts_factor(self, token: Token) -> bool:
        return token.text in ("\\frac", "\\dfrac", "\\tfrac", "\\sqrt", "\\pi") or token.text[1:] in _GREEK

    def _multiplies_bracket(self, left: Node) -> bool:
        """Whether the bracket here is a factor rather than a remark on the number before it."""
        if isinstance(left, Opaque | Quantity):
            return False
        if self._token.gap == TIGHT:
            return True
        result = self._start > 0 and self.position == self._start + 1
        return result == self.loose

    def _words_as_operand(self) -> Opaque | None:
        """A quantity named in words, as in `5 * number of boxes`."""
        begin = self.position
        while self._token.kind == WORD and self.position - begin < 6:
            self.position += 1
        if self.position == begin and self._token.text in _CLOSING and self.position in self._closing:
            self.position = self._closing[self.position] + 1
        return Opaque() if self.position > begin else None

    def _prefix(self) -> Node | None:
        token = self._token
        handler = _PREFIX.get(token.kind)
        node = handler(self, token) if handler else None
        return None if node is None else self._postfix(node)

    def _postfix(self, node: Node) -> Node:
        while (grown := self._one_postfix(node)) is not None:
            node = grown
        if isinstance(node, Symbol | Opaque):
            return node
        unit = read_unit(self.tokens, self.position, self._closing)
        if unit.opaque:
            self.position = unit.position
            return Opaque()
        if unit.position == self.position:
            return node
        self.position = unit.position
        return Quantity(node, unit.words, unit.per)

    def _one_postfix(self, node: Node) -> Node | None:
        token = self._token
        if token.text == "!" and token.gap == TIGHT and self._peek().kind != WORD:
            self.position += 1
            return Unary("!", node)
        if token.text in ("²", "³") and token.gap == TIGHT:
            self.position += 1
            return Binary("^", node, Number(2 if token.text == "²" else 3))
        if token.text == "°":
            self.position += 1
            return Unary("°", node)
        if self._is_percent_sign(token):
            self.position += 1
            return Unary("%", node)
        if token.text == "^" and self._is_degree():
            return Unary("°", node)
        return None

    def _is_percent_sign(self, token: Token) -> bool:
        if token.kind == WORD:
            return token.text.lower() == "percent"
        is_modulo = token.gap != TIGHT and (self._peek().kind == NUMBER or self._peek().text == "(")
        return token.text == "%" and not is_modulo

    def _is_degree(self) -> bool:
        if self._peek().text == "\\circ":
            self.position += 2
            return True
        if self._peek().text == "{" and self._peek(2).text == "\\circ" and self._peek(3).text == "}":
            self.position += 4
            return True
        return False

    def _number(self, token: Token) -> Node | None:
        self.position += 1
        if len(token.text) > _MAX_DIGITS:
            return Opaque("too long")
        node = _literal(token.text)
        if self._token.text == "_" and self._token.gap == TIGHT:
            return self._in_base(token.text)
        if self._token.text.lower() in SCALE_WORDS:
            return self._scaled(node)
        return self._mixed(node)

    def _scaled(self, node: Number) -> Node:
        factor = SCALE_WORDS[self._token.text.lower()]
        self.position += 1
        return Number(node.value * factor, max(0, node.places - len(str(factor)) + 1))

    def _in_base(self, digits: str) -> Node:
        self.position += 1
        braced = self._take("{")
        base = self._token.text
        self.position += 1
        if braced and not self._take("}"):
            return Opaque()
        if not base.isdigit() or len(base) > 2 or not 2 <= int(base) <= 36 or not digits.isdigit():
            return Opaque()
        if any(int(digit) >= int(base) for digit in digits):
            return Opaque()
        return Number(int(digits, int(base)))

    def _mixed(self, node: Number) -> Node:
        """`2 1/2`, `2½` and `2\\frac{1}{2}`: a whole number and its fraction."""
        if not isinstance(node.value, int) or node.value == 0 or self.loose:
            return node
        begin, depth = self.position, self._depth
        share = self._proper_fraction()
        self._depth = depth
        if share is None:
            self.position = begin
            return node
        return Number(node.value + share)

    def _proper_fraction(self) -> Fraction | None:
        token, slash, under = self._token, self._peek(), self._peek(2)
        if token.kind == NUMBER and "/" in token.text:
            self.position += 1
            return Fraction(token.text)
        if token.text in ("\\frac", "\\dfrac", "\\tfrac"):
            node = self._command(token)
            match node:
                case Binary("/", Number(value=int(top)), Number(value=int(bottom))) if 0 < top < bottom:
                    return Fraction(top, bottom)
            return None
        tight = slash.text == "/" and slash.gap == TIGHT and under.gap == TIGHT
        if not (token.gap == SPACED and token.text.isdigit() and tight and under.text.isdigit()):
            return None
        if len(token.text) > 3 or len(under.text) > 3 or not 0 < int(token.text) < int(under.text):
            return None
        self.position += 3
        return Fraction(int(token.text), int(under.text))

    def _sign_prefix(self, token: Token) -> Node | None:
        if token.text in ("-", "+"):
            return self._negation(token)
        if token.text == "√":
            self.position += 1
            body = self._expression(_NEGATION)
            return None if body is None else Call("sqrt", (body,))
        if token.text == "±":
            self.position += 1
            return Opaque() if self._expression(_NEGATION) is not None else None
        return None

    def _negation(self, token: Token) -> Node | None:
        begin = self.position
        self.position += 1
        following = self._token
        if following.kind == WORD or following.text in ("-", "+"):
            self.position = begin
            return None
        body = self._expression(_POWER + 1 if self.loose else _NEGATION)
        if body is None:
            self.position = begin
            return None
        return Unary("-", body) if token.text == "-" else body

    def _bracket(self, token: Token) -> Node | None:
        """A bracketed expression; one that isn't an expression is opaque inside another, else no match."""
        if token.text not in _CLOSING:
            return None
        begin = self.position
        self.position += 1
        body = self._expression(0)
        if body is not None and self._take(_CLOSING[token.text]):
            return body
        self.position = begin
        if begin == self._start or begin not in self._closing:
            return None
        self.position = self._closing[begin] + 1
        return Opaque()

    def _group(self) -> Node | None:
        """One argument of a LaTeX command: `{…}` or a single digit or letter."""
        token = self._token
        if token.text == "{":
            return self._bracket(token)
        if token.kind == NUMBER and len(token.text) == 1:
            self.position += 1
            return Number(int(token.text))
        return None

    def _command(self, token: Token) -> Node | None:
        name = token.text[1:]
        self.position += 1
        if name in ("frac", "dfrac", "tfrac", "cfrac", "binom"):
            return self._two_groups(name)
        if name == "sqrt":
            return self._root()
        if name in ("boxed", "text", "mathbf", "textbf", "mathrm", "fbox"):
            return self._group()
        if name == "pi":
            return Symbol("pi")
        if name in _GREEK:
            return self._subscripted(name)
        if name in _LATEX_FUNCTIONS:
            return self._function(name)
        self.position -= 1
        return None

    def _two_groups(self, name: str) -> Node | None:
        if self._token.kind == NUMBER and len(self._token.text) == 2 and self._token.text.isdigit():
            top, bottom = self._token.text  # \frac12
            self.position += 1
            return _combine("/", Number(int(top)), Number(int(bottom)))
        first = self._group()
        second = self._group() if first is not None else None
        if first is None or second is None:
            return Opaque()
        return Call("binom", (first, second)) if name == "binom" else Binary("/", first, second)

    def _root(self) -> Node | None:
        if self._token.text == "[":
            index = self._bracket(self._token)
            body = self._group()
            if index is None or body is None:
                return Opaque()
            return Binary("^", body, Binary("/", Number(1), index))
        body = self._group()
        return Opaque() if body is None else Call("sqrt", (body,))

    def _function(self, name: str) -> Node:
        """A named function with bracketed arguments; `\\log_2`, powers of functions and the like are opaque."""
        if self._token.text != "(":
            body = self._expression(_IMPLIED) if self._token.text not in ("_", "^") else None
            return Opaque() if body is None or name in ("gcd", "max", "min") else Call(name, (body,))
        opening = self.position
        self.position += 1
        arguments = self._list((",",))
        if arguments and self._take(")"):
            return Call(name, arguments)
        self.position = self._closing.get(opening, opening) + 1
        return Opaque()

    def _list(self, separators: tuple[str, ...]) -> tuple[Node, ...]:
        arguments: list[Node] = []
        while len(arguments) < 30 and (node := self._expression(_SUM)) is not None:
            arguments.append(node)
            begin = self.position
            is_last = not self._take(*separators)
            is_last = self._take("and") and "and" in separators and is_last or is_last
            if is_last:
                break
            if self._token.kind not in (NUMBER, COMMAND, OPERATOR) and self._token.text != "(":
                self.position = begin
                break
        return tuple(arguments)

    def _subscripted(self, name: str) -> Node:
        """An unknown with its index, as in `x_1` or `x_{12}`; one that is called, `f(3)`, is opaque."""
        if self._token.text == "_" and self._token.gap == TIGHT:
            self.position += 1
            end = self._closing.get(self.position, self.position)
            name += "_" + "".join(token.text for token in self.tokens[self.position : end + 1][:8])
            self.position = min(end + 1, len(self.tokens) - 1)
        if self._token.text in ("'", "′", "’"):
            return Opaque()
        if self._token.text == "(" and self._token.gap == TIGHT and self.position in self._closing:
            inner = self._closing[self.position] - self.position
            if name in "fghFGHPQRST" or inner <= 2 or name == "C":
                self.position = self._closing[self.position] + 1
                return Opaque()
        return Symbol(name)

    def _word(self, token: Token) -> Node | None:
        word = token.text.lower()
        if len(word) == 1:
            return self._letter(token)
        if word in NUMBER_WORDS:
            return self._number_words()
        if word in FRACTION_WORDS and word[-1] != "s":
            return self._share(FRACTION_WORDS[word])
        if word in MULTIPLE_WORDS and self._peek().kind in (NUMBER, PUNCTUATION, COMMAND):
            self.position += 1
            body = self._expression(_PRODUCT)
            return None if body is None else Binary("*", Number(MULTIPLE_WORDS[word]), body)
        if word in _NAMED_FUNCTIONS and self._peek().text == "(":
            self.position += 1
            return self._function(word)
        return self._phrase(word)

    def _letter(self, token: Token) -> Node | None:
        """A single letter is an unknown where it stands in a formula, an article or initial elsewhere."""
        following = self._peek()
        if token.text in ("a", "A", "I", "s") and following.kind == WORD:
            return None
        self.position += 1
        return self._subscripted(token.text)

    def _number_words(self) -> Node | None:
        value = NUMBER_WORDS[self._token.text.lower()]
        self.position += 1
        begin = self.position
        self._take("-")
        ones = NUMBER_WORDS.get(self._token.text.lower(), 0)
        if value >= 20 and value % 10 == 0 and 0 < ones < 10:
            value += ones
            self.position += 1
        else:
            self.position = begin
        word = self._token.text.lower()
        if word in SCALE_WORDS:
            return self._scaled(Number(value))
        if word in FRACTION_WORDS and self._peek().text == "of":
            self.position += 1
            return Number(value * FRACTION_WORDS[word])
        return Number(value)

    def _share(self, share: Fraction) -> Node | None:
        """`half of 48`, `a third of 18`, `half 48`."""
        begin = self.position
        self.position += 1
        self._take("of")
        if self._token.kind in (NUMBER, COMMAND) or self._token.text == "(":
            body = self._expression(_SUM if self.loose else _PRODUCT)
            if body is not None:
                return Binary("*", Number(share), body)
        self.position = begin
        return None

    def _phrase(self, word: str) -> Node | None:
        begin = self.position
        node = None
        if word in AGGREGATES and self._peek().text in AGGREGATES[word]:
            self.position += 2
            node = _aggregate(word, self._list((",", "and")))
        elif word in _VERBS:
            node = self._verb(*_VERBS[word])
        elif word in _ROOTS:
            node = self._root_phrase(*_ROOTS[word])
        if node is None:
            self.position = begin
        return node

    def _verb(self, operator: str, prepositions: tuple[str, ...]) -> Node | None:
        """`subtract 3 from 10`, `adding 3 and 4`."""
        self.position += 1
        first = self._expression(_SUM)
        if first is None or not self._take(*prepositions):
            return None
        self._take("and")
        second = self._expression(_SUM)
        if second is None:
            return None
        node = Binary("-", second, first) if operator == "-" else Binary(operator, first, second)
        while operator == "+" and self._take(",", "and"):
            self._take("and")
            more = self._expression(_SUM)
            if more is None:
                self.position -= 1
                break
            node = Binary("+", node, more)
        return node

    def _root_phrase(self, operator: str, degree: int) -> Node | None:
        self.position += 1
        is_root = self._take("root")
        if not self._take("of"):
            return None
        body = self._expression(_PRODUCT)
        if body is None:
            return None
        if is_root:
            return Call("sqrt", (body,)) if degree == 2 else None
        return Binary(operator, body, Number(degree))


_PREFIX: dict[int, Callable[[Parser, Token], Node | None]] = {
    NUMBER: Parser._number,
    OPERATOR: Parser._sign_prefix,
    PUNCTUATION: Parser._bracket,
    COMMAND: Parser._command,
    WORD: Parser._word,
}


def match_brackets(tokens: list[Token]) -> dict[int, int]:
    """The position of the closing bracket of every opening one that has it."""
    closing: dict[int, int] = {}
    open_positions: list[int] = []
    for position, token in enumerate(tokens):
        if token.kind != PUNCTUATION:
            continue
        if token.text in _CLOSING:
            open_positions.append(position)
        elif token.text in ")]}" and open_positions:
            if _CLOSING[tokens[open_positions[-1]].text] == token.text:
                closing[open_positions.pop()] = position
    return closing


def _literal(text: str) -> Number:
    if "/" in text:
        return Number(Fraction(text))
    whole, _, decimals = text.partition(".")
    if not decimals:
        return Number(int(whole))
    value = Fraction(int(whole + decimals), 10 ** len(decimals))
    return Number(value.numerator if value.denominator == 1 else value, len(decimals))


def _is_share(node: Node) -> bool:
    """Whether `of` behind it multiplies: a percentage or a fraction, not `5 of them`."""
    match node:
        case Unary("%", _) | Binary("/", Number(), Number()) | Number(value=Fraction()):
            return True
    return False


def _combine(operator: str, left: Node, right: Node) -> Node:
    if operator not in ("more", "less", "fewer"):
        return Binary(operator, left, right)
    sign = "+" if operator == "more" else "-"
    if isinstance(left, Unary) and left.operator == "%":
        return Binary("*", right, Binary(sign, Number(1), left))
    return Binary(sign, right, left)


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
