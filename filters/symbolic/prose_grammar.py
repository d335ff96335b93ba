"""A Pratt parser for arithmetic as people and models write it: signs, LaTeX, units and plain English.

It reads the longest expression at a place and never fails loudly: what it doesn't know becomes `Opaque`,
which has no value, so no claim that holds it is ever called false. Nesting and length are capped.

Here stand the signs between operands and behind them; the operands themselves are read in `prose_operands`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from proofmill.filters.symbolic.expressions import Binary, Call, Constant, Node, Number, Opaque, Quantity, Symbol, Unary
from proofmill.filters.symbolic.notation import (
    CLOSING,
    COMMAND,
    END,
    FENCED,
    GREEK,
    NAMED_FUNCTIONS,
    NEWLINE,
    NUMBER,
    NUMBER_WORDS,
    OPERATOR,
    OPERATOR_WORDS,
    PUNCTUATION,
    RELATION,
    SPACED,
    STOP_WORDS,
    SUPERSCRIPTS,
    TIGHT,
    WORD,
    Token,
)
from proofmill.filters.symbolic.prose_operands import (
    COMPARED,
    IMPLIED,
    LATEX_FUNCTIONS,
    NEGATION,
    POWER,
    PRODUCT,
    SUM,
    TIGHT_IMPLIED,
    ExpressionReader,
    combine,
    command,
    is_share,
    number,
    word_operand,
)
from proofmill.filters.symbolic.units import ATTACHED_UNITS, EVERYDAY_UNITS, is_other_unit

_INFIX = {"+": SUM, "-": SUM, "*": PRODUCT, "/": PRODUCT, "mod": PRODUCT, "^": POWER}


def infix(parser: Parser, left: Node) -> tuple[str | None, int]:
    """Return the operator at this position, stepped over, and its binding power."""
    token = parser.token
    if token.kind == OPERATOR:
        return _sign_infix(parser, token)
    if token.kind == WORD:
        if token.text in NAMED_FUNCTIONS and parser.peek().text == "(" and not isinstance(left, Quantity):
            return "*", _implied_power(parser)  # 2sqrt(3), 1/2 ln(2)
        return _word_infix(parser, token, left)
    # Nothing is multiplied without a sign across the border of a formula, nor behind a unit.
    if token.gap == FENCED or isinstance(left, Quantity):
        return None, 0
    if token.kind == NUMBER and token.gap == TIGHT and isinstance(left, Unary) and left.operator == "!":
        return "*", _implied_power(parser)  # 3!4!
    if token.kind == COMMAND and _starts_factor(parser, token):
        return "*", _implied_power(parser)
    if token.text == "(" and parser.in_argument and token.gap != TIGHT and not parser.loose:
        return None, 0  # \\cos 72^\\circ (-\\cos 36^\\circ)
    if token.text == "(" and _multiplies_bracket(parser, left):
        return "*", _implied_power(parser)
    return None, 0


def _sign_infix(parser: Parser, token: Token) -> tuple[str | None, int]:
    # `2√3`; the root itself is read as the next operand, so it is not stepped over.
    if token.text == "√" and token.gap == TIGHT:
        return "*", _implied_power(parser)
    if parser.loose and token.text == "*" and parser.peek().text == "10" and parser.peek(2).text == "^":
        parser.position += 1
        return "*", TIGHT_IMPLIED  # 3 × 10^8 / 6 × 10^14
    if token.text == "-" and token.gap == FENCED == parser.peek().gap:
        return None, 0  # a list of formulas: \\(x = 1\\) - \\(x = 3\\)
    # A `%` that gets here is no percent sign: `_is_percent_sign` has left it, as in `17 % 5`.
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
        # Loosely `half of 3 + 5` is half of 8, so `of` binds less tightly than the sum behind it.
        return "*", SUM - 5 if parser.loose else PRODUCT
    if word in ("multiplied", "divided") and parser.peek().text == "by":
        parser.position += 2
        return ("*" if word == "multiplied" else "/"), PRODUCT
    if word in COMPARED and parser.peek().text == "than" and not isinstance(left, Binary) and not parser.loose:
        parser.position += 2
        return word, SUM
    return (None, 0) if token.gap == FENCED else _letter_infix(parser, token)


def _letter_infix(parser: Parser, token: Token) -> tuple[str | None, int]:
    """Return the operator of a letter: `x` between numbers is a multiplication, any letter on a number is a factor."""
    following = parser.peek()
    if token.text in ("x", "X"):
        # `3 x 4` and `3 x (1 + 2)` multiply; in `3x(1 + 2)` the letter is an unknown.
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
    """Return whether the bracket here is a factor rather than a remark on the number before it."""
    if isinstance(left, Opaque | Quantity):
        return False
    if parser.token.gap == TIGHT:
        return True
    # `= 6 (2)` most often restates the result, `6 (2) + 5` multiplies; loosely each is read the other way.
    return (parser.is_result() and parser.is_first()) == parser.loose


_MAX_DIGITS = 9  # of a raised exponent
_POSTFIX_SIGNS = frozenset("!°%^⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_SCALES = frozenset({"C", "F"})  # Celsius, Fahrenheit
_RAISED = frozenset("⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def postfix(parser: Parser, node: Node) -> Node | None:
    """Return `node` with the sign behind it, as in `5!`, `20%`, `3²` or `30°`; None where there is none."""
    token = parser.token
    # `5!!` is the product of every second number, not the factorial of a factorial.
    if token.text == "!" and token.gap == parser.peek().gap == TIGHT and parser.peek().text == "!":
        parser.position += 2
        return Opaque("double factorial")
    if token.text == "!" and token.gap == TIGHT and not _is_exclamation(parser):
        parser.position += 1
        return Unary("!", node)
    if token.text[:1] in _RAISED and token.gap == TIGHT:
        parser.position += 1
        digits = token.text.lstrip("⁻").translate(SUPERSCRIPTS)
        if not 0 < len(digits) <= _MAX_DIGITS:
            return Opaque("a charge, or too long")  # Cl⁻
        power = Number(int(digits))
        return Binary("^", node, Unary("-", power) if token.text[0] == "⁻" else power)
    if token.text == "°":
        parser.position += 1
        return _degrees(parser, node)
    if _is_percent_sign(parser, token):
        parser.position += 1
        return Unary("%", node)
    if token.text == "^" and _is_degree(parser):
        return _degrees(parser, node)
    return None


def _degrees(parser: Parser, node: Node) -> Node:
    """Return an angle, or a temperature where the letter of its scale follows: `30 °C`, `86^\\circ \\text{F}`."""
    token, following = parser.token, parser.peek()
    if token.kind == WORD and token.text in _SCALES and following.text not in ("(", "_", "^"):
        parser.position += 1
        return Quantity(node, ("degrees",))
    if token.text in ("\\text", "\\mathrm") and parser.peek(2).text in _SCALES and parser.peek(3).text == "}":
        parser.position += 4
        return Quantity(node, ("degrees",))
    return Unary("°", node)


def _is_exclamation(parser: Parser) -> bool:
    """Return whether `!` ends a sentence: in `= 7! Then`, not in `= 3! ways` or `= 3!`. Loosely it is reversed."""
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


_NEVER_INFIX = frozenset("=,.)}:;<>≈\n") | {"<=", ">="}  # most often what ends an expression
_MAX_DEPTH = 24
_MAX_OPERANDS = 150
_MAX_POSTFIXES = 3
_MAX_PREFIXES = 20_000  # operands read in one step, attempts included; a page of text needs a few hundred


class Parser(ExpressionReader):
    """Reads expressions from one step's tokens."""

    def __init__(self, tokens: list[Token], loose: bool = False, closing: dict[int, int] | None = None) -> None:
        super().__init__(tokens, loose, closing)
        self._operands = 0
        # For the whole step: nested attempts that fail could otherwise take exponential time.
        self._fuel = _MAX_PREFIXES
        self._in_exponent = False

    def parse(self, position: int) -> tuple[Node, int] | None:
        """Return the longest expression that starts at `position`, and the position behind it."""
        self.position = self.start = position
        self.depth = self._operands = 0
        self.in_argument = self._in_exponent = False
        node = self.expression(0)
        return None if node is None else (node, self.position)

    def expression(self, minimum: int) -> Node | None:
        """Return the longest expression here whose operations bind at least as tightly as `minimum`."""
        self._fuel -= 1
        if self.depth >= _MAX_DEPTH or self._fuel < 0:
            return None
        self.depth += 1
        left = self._prefix()
        while left is not None and self.tokens[self.position].text not in _NEVER_INFIX:
            grown = self._extend(left, minimum)
            if grown is None:
                break
            left = grown
        self.depth -= 1
        return left

    def _extend(self, left: Node, minimum: int) -> Node | None:
        """Return `left` with the next operation on it, None where the expression ends."""
        begin = self.position
        operator, power = infix(self, left)
        stops = self.in_argument and not self.loose and operator == "*" and self.tokens[begin].kind == OPERATOR
        if operator is None or power < minimum or stops:
            self.position = begin
            return None
        # `power + 1` makes operations of one kind group from the left; exponents group from the right.
        right = self._exponent() if operator == "^" else self.expression(power + 1)
        # A sign asks for an operand. With words in its place the whole has no value, but it is known where it ends.
        if right is None and self.tokens[begin].kind == OPERATOR:
            right = self._words_as_operand()
        if right is None:
            self.position = begin
            return None
        self._operands += 1
        if self._operands > _MAX_OPERANDS:  # keep the tree, and so all recursion over it, small
            return Opaque("too long")
        node = combine(operator, left, right)
        return self._with_unit(node) if operator == "^" and not self._in_exponent else node

    def _exponent(self) -> Node | None:
        """Return what stands behind `^`; read loosely, `a^2m` is a^(2m) and `10^4^2` is (10^4)^2."""
        outside, self._in_exponent = self._in_exponent, True  # the unit of `10^-5 cm` is not the exponent's
        exponent = self.expression(POWER + 1 if self.loose else POWER)
        self._in_exponent = outside
        if not self.loose:
            return exponent
        letter = self.token
        if exponent is not None and letter.kind == WORD and letter.gap == TIGHT and len(letter.text) == 1:
            exponent = Binary("*", exponent, Symbol(letter.text))
            self.position += 1
        return exponent

    def _words_as_operand(self) -> Opaque | None:
        """Return a quantity named in words, as in `5 * number of boxes`."""
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
        following = self.tokens[self.position]
        if node is None or following.kind in NEVER_UNITS or following.text in NOT_BEFORE_UNITS:
            return node  # most often a number before a sign
        return self._postfix(node)

    def _postfix(self, node: Node) -> Node:
        for _ in range(_MAX_POSTFIXES):
            text = self.tokens[self.position].text
            if text[:1] not in _POSTFIX_SIGNS and text.lower() != "percent":
                break
            grown = postfix(self, node)
            if grown is None:
                break
            node = grown
        # Read strictly, such a number is a factor, which `_multiplies_bracket` sees.
        if self.loose:
            self._pass_remark()
        return node if self._in_exponent else self._with_unit(node)

    def _with_unit(self, node: Node) -> Node:
        """Return `node` with the unit behind it, if there is one."""
        token = self.tokens[self.position]
        if token.kind in NEVER_UNITS or token.text in NOT_BEFORE_UNITS or isinstance(node, Symbol | Constant | Opaque):
            return node
        unit = unit_behind(self.tokens, self.position, self.closing)
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
        # A dash before a word, or a second sign, is more often punctuation than a minus.
        if following.kind == WORD or following.text in ("-", "+"):
            self.position = begin
            return None
        # -2^2 is -4; loosely it is (-2)^2, as many people write it.
        body = self.expression(POWER + 1 if self.loose and following.kind == NUMBER else NEGATION)
        if body is None:
            self.position = begin
            return None
        return Unary("-", body) if token.text == "-" else body

    def bracket(self, token: Token) -> Node | None:
        """Return a bracketed expression; one that isn't an expression is opaque inside another, else no match."""
        if token.text == "|":
            return self._absolute()
        if token.text not in CLOSING:
            return None
        begin, outside = self.position, (self.in_argument, self._in_exponent)
        self.position += 1
        self.in_argument = self._in_exponent = False
        body = self.expression(0)
        self.in_argument, self._in_exponent = outside
        if body is not None and self.take(CLOSING[token.text]):
            return body
        self.position = begin
        # At the start an unread bracket is a remark; inside an expression it may be a factor, of no known value.
        if begin == self.start or begin not in self.closing:
            return None
        self.position = self.closing[begin] + 1
        return Opaque()

    def _absolute(self) -> Node | None:
        """Return the absolute value `|2 - 7|`; bars around a name count a set, and those of a table stand apart."""
        begin = self.position
        self.position += 1
        if self.token.gap == TIGHT and self.token.kind in (NUMBER, OPERATOR, COMMAND):
            body = self.expression(0)
            if body is not None and self.token.gap == TIGHT and self.take("|"):
                return Call("abs", (body,))
        self.position = begin
        return None


_PREFIX: dict[int, Callable[[Parser, Token], Node | None]] = {
    NUMBER: number,
    OPERATOR: Parser._sign_prefix,
    PUNCTUATION: Parser.bracket,
    COMMAND: command,
    WORD: word_operand,
}


_MAX_WORDS = 5
_MAX_TOKENS = 20
_ORDINAL = re.compile(r"(?:st|nd|rd|th)\Z")
_NOT_NOUNS = STOP_WORDS | NUMBER_WORDS.keys()
NEVER_UNITS = frozenset({NUMBER, RELATION, NEWLINE, END})
NOT_BEFORE_UNITS = frozenset("+*.,)")
_LETTERS = frozenset("mglLsh")


class ProseUnit(NamedTuple):
    """The unit found and the position behind it; `opaque` for an ordinal such as `5th`."""

    position: int
    words: tuple[str, ...] = ()
    per: tuple[str, ...] = ()
    opaque: bool = False


def unit_behind(tokens: list[Token], position: int, closing: dict[int, int]) -> ProseUnit:
    """Return the unit at `position`, at most five words; the same position where there is none."""
    token = tokens[position]
    if token.kind in NEVER_UNITS or token.text in NOT_BEFORE_UNITS:
        return ProseUnit(position)
    if token.kind == WORD and token.gap == TIGHT and _ORDINAL.match(token.text):
        return ProseUnit(position + 1, opaque=True)
    return _ProseUnitReader(tokens, position, closing).read()


class _ProseUnitReader:
    """Reads the words of a unit behind a number, step by step, and where they end."""

    def __init__(self, tokens: list[Token], position: int, closing: dict[int, int]) -> None:
        self.tokens, self.position, self.closing = tokens, position, closing
        self.begin = position
        self.words: list[str] = []
        self.per: list[str] = []
        self.behind_slash = False

    def read(self) -> ProseUnit:
        while self.position - self.begin < _MAX_TOKENS and self._step():
            pass
        if len(self.words) + len(self.per) > _MAX_WORDS:
            return ProseUnit(self.begin)
        return ProseUnit(self.position, tuple(self.words), tuple(self.per))

    def _step(self) -> bool:
        token = self.tokens[self.position]
        if token.kind == WORD:
            return self._word(token)
        if token.text == "\\text" or token.text == "\\mathrm" or token.text == "\\textrm":
            return self._group(self.position + 1)
        if token.text == "/":
            return self._slash(token)
        if token.text == "-":
            return self._hyphen(token)
        if token.text == "(":
            return self._remark()
        return bool(self.words) and self._power(token)

    def _add(self, words: list[str]) -> None:
        (self.per if self.behind_slash else self.words).extend(words)

    def _word(self, token: Token) -> bool:
        word, following = token.text, self.tokens[min(self.position + 1, len(self.tokens) - 1)]
        is_noun_next = following.kind == WORD and following.text.lower() not in _NOT_NOUNS
        if word.lower() == "per" or (word in ("a", "an") and self.position > self.begin):
            if is_noun_next:
                self.behind_slash = True
                self.position += 1
            return is_noun_next
        if word == "of" and self.words and is_noun_next:
            self.position += 1
            return True
        if word.lower() in _NOT_NOUNS or not self._is_noun(token, following):
            return False
        self._add([word])
        self.position += 1
        return True

    def _is_noun(self, token: Token, following: Token) -> bool:
        word = token.text
        if word in NAMED_FUNCTIONS and following.text == "(":
            return False
        if len(word) == 1:
            return token.gap != TIGHT and word in _LETTERS and following.text not in ("(", "^", "_")
        if token.gap == TIGHT and self.position == self.begin:
            return word in ATTACHED_UNITS or (len(word) > 3 and word.lower() in EVERYDAY_UNITS)
        return True

    def _group(self, opening: int) -> bool:
        """Read a unit in a group: `\\text{ cookies per day}`."""
        end = self.closing.get(opening)
        if end is None or self.tokens[opening].text != "{" or end - opening > 9:
            return False
        inside = [token.text for token in self.tokens[opening + 1 : end]]
        if any(token.kind == NUMBER for token in self.tokens[opening + 1 : end]):
            return False
        for text in inside:
            self.behind_slash = self.behind_slash or text in ("/", "per")
            self._add([text] if text.isalpha() and text != "per" else [])
        self.position = end + 1
        return True

    def _slash(self, token: Token) -> bool:
        following = self.tokens[self.position + 1]
        in_formula = following.text in ("\\text", "\\mathrm")
        is_word = following.kind == WORD and len(following.text) > 1 and following.gap == TIGHT
        if is_word and not (
            following.text.islower() or following.text in EVERYDAY_UNITS or is_other_unit(following.text)
        ):
            return False  # 1/VSWR
        if not (in_formula or (is_word and token.gap == TIGHT)):
            return False
        self.behind_slash = True
        self.position += 1
        return self._group(self.position + 1) if in_formula else self._word(following)

    def _hyphen(self, token: Token) -> bool:
        following = self.tokens[self.position + 1]
        if token.gap != TIGHT or following.gap != TIGHT or following.kind != WORD or len(following.text) == 1:
            return False
        self._add([following.text])
        self.position += 2
        return True

    def _remark(self) -> bool:
        """Step over a bracket in words behind a number, as in `70 (70%)` or `20 (the price)`."""
        end = self.closing.get(self.position)
        if end is None or end - self.position > _MAX_TOKENS or self.tokens[self.position].gap == TIGHT:
            return False
        inside = self.tokens[self.position + 1 : end]
        is_share = len(inside) == 2 and inside[-1].text == "%"
        has_word = any(token.kind == WORD and len(token.text) > 1 for token in inside)
        has_claim = any(token.text in ("=", "≈") for token in inside)
        if has_claim or not (is_share or (has_word and not any(t.kind == NUMBER for t in inside))):
            return False
        self.position = end + 1
        return True

    def _power(self, token: Token) -> bool:
        """Step over the power of a unit: `m²`, `\\text{cm}^2`, `\\text{m}^{-1}`, `s^-1`."""
        if token.text.lstrip("⁻") in ("¹", "²", "³"):
            self.position += 1
            return True
        if token.text != "^":
            return False
        after = [following.text for following in self.tokens[self.position + 1 : self.position + 5]]
        braced = after[:1] == ["{"]
        signed = after[braced : braced + 1] == ["-"]
        digit = after[braced + signed : braced + signed + 1]
        if digit not in (["1"], ["2"], ["3"]) or (braced and after[2 + signed : 3 + signed] != ["}"]):
            return False
        self.position += 2 + signed + 2 * braced
        return True
