"""Read one operand: a numeral, an unknown, a LaTeX command, or words such as `half of 48` and `the sum of 3 and 4`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from fractions import Fraction

from proofmill.filters.symbolic.expressions import Binary, Call, Constant, Node, Number, Opaque, Symbol, Unary, is_leaf
from proofmill.filters.symbolic.notation import (
    COMMAND,
    END,
    FRACTION_WORDS,
    GREEK,
    LOWERED,
    MULTIPLE_WORDS,
    NAMED_FUNCTIONS,
    NUMBER,
    NUMBER_WORDS,
    OPERATOR,
    PUNCTUATION,
    RELATION,
    SCALE_WORDS,
    SPACED,
    SUBSCRIPTS,
    TIGHT,
    WORD,
    Token,
    in_base,
    match_brackets,
    words,
)

SUM = 10
PRODUCT = 20
IMPLIED = PRODUCT  # 2(3 + 4)
NEGATION = 25
TIGHT_IMPLIED = 27  # the loose reading of 1/2(3)
POWER = 40


class ExpressionReader(ABC):
    """A place among a step's tokens, and what every reader of operands needs there.

    The grammar is this class's only heir; it stands apart so that operands, which hold expressions, can be read
    without knowing it.

    Args:
        tokens: the step's tokens, `END` last.
        loose: read what is ambiguous the other way: `half of 3 + 5` as half of 8, `1/2(3)` as 1/(2·3),
            `6 / 1/2` as 12, `4 million` as 4, `-2^2` as 4, `4 more than 2` as 4, a bracket apart from its number
            as a remark or as a factor.
        closing: the closing bracket of each opening one, where that is known already.
    """

    def __init__(self, tokens: list[Token], loose: bool = False, closing: dict[int, int] | None = None) -> None:
        self.tokens = tokens
        self.loose = loose
        self.position = 0
        self.start = 0
        self.depth = 0
        self.in_argument = False
        self.has_calls = False  # whether a call to a function of the text's own has been read
        self.closing = match_brackets(tokens) if closing is None else closing

    @abstractmethod
    def expression(self, minimum: int) -> Node | None:
        """Return the longest expression here whose operations bind at least as tightly as `minimum`."""

    @abstractmethod
    def bracket(self, token: Token) -> Node | None:
        """Return a bracketed expression; one that isn't an expression is opaque inside another, else no match."""

    @property
    def token(self) -> Token:
        """The token at this position."""
        return self.tokens[self.position]

    def peek(self, ahead: int = 1) -> Token:
        """Return the token `ahead` places further."""
        return self.tokens[min(self.position + ahead, len(self.tokens) - 1)]

    def take(self, *texts: str) -> bool:
        """Step over the next token if it is one of `texts`, whatever its case."""
        if self.token.text.lower() in texts and self.token.kind != END:
            self.position += 1
            return True
        return False

    def is_first(self) -> bool:
        """Return whether one token of the expression has been read."""
        return self.position == self.start + 1

    def is_result(self) -> bool:
        """Return whether the expression at hand stands behind a relation sign."""
        return self.start > 0 and self.tokens[self.start - 1].kind == RELATION

    def argument(self) -> Node | None:
        """Return what a function without brackets is taken of; a sign of multiplication ends it: `\\ln 2 \\cdot 3`."""
        outside, self.in_argument = self.in_argument, True
        body = self.expression(IMPLIED)
        self.in_argument = outside
        return body

    def operand(self) -> Node | None:
        """Return a single number or letter, as the base of a logarithm."""
        token = self.token
        if token.kind not in (NUMBER, WORD) or (token.kind == WORD and len(token.text) > 1):
            return None
        self.position += 1
        return literal(token.text) if token.kind == NUMBER else Symbol(token.text)

    def group(self) -> Node | None:
        """Return one argument of a LaTeX command: `{…}` or a single digit or letter."""
        token = self.token
        if token.text == "{":
            return self.bracket(token)
        if token.kind == NUMBER and len(token.text) == 1:
            self.position += 1
            return Number(int(token.text))
        return None

    def list_of(self, separators: tuple[str, ...]) -> tuple[Node, ...]:
        """Return expressions with separators between them; the one behind `and` is the last."""
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


_CALLED = frozenset("fghFGHPQRST")  # letters that name functions rather than unknowns


def subscripted(parser: ExpressionReader, name: str) -> Node:
    """Return an unknown with its index, as in `x_1` or `x_{12}`; one that is called, `f(3)`, is opaque."""
    if parser.token.text == "_" and parser.token.gap == TIGHT:
        parser.position += 1
        end = parser.closing.get(parser.position, parser.position)
        name += "_" + "".join(token.text for token in parser.tokens[parser.position : end + 1][:8])
        parser.position = min(end + 1, len(parser.tokens) - 1)
    if parser.token.text[:1] in LOWERED and parser.token.gap == TIGHT:
        name += "_" + parser.token.text.translate(SUBSCRIPTS)
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


def _takes_prime(parser: ExpressionReader) -> bool:
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


def _call(parser: ExpressionReader, name: str, closing: int) -> Node:
    """Return a call to a function of the text's own, `f(3)`, its name marked; opaque with more than one argument."""
    parser.position += 1
    argument = parser.expression(0)
    whole = argument is not None and parser.position == closing
    parser.position = closing + 1
    if not whole or argument is None:
        return Opaque()
    parser.has_calls = True
    return Call(f"{name}()", (argument,))


def _logarithm(parser: ExpressionReader) -> Node:
    """Return a logarithm, `\\log_2 8` or `log_{10}(x)`: the base, then the argument."""
    parser.position += 1
    base = parser.group() or parser.operand()
    argument = parser.argument()
    return Opaque() if base is None or argument is None else Call("log", (argument, base))


def function(parser: ExpressionReader, name: str) -> Node:
    """Return a named function with bracketed arguments; powers of functions and the like are opaque."""
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


LATEX_FUNCTIONS = words("log ln sin cos tan gcd max min")


def command(parser: ExpressionReader, token: Token) -> Node | None:
    """Return the value that a command and its arguments stand for, None where it is no operand."""
    name = token.text[1:]
    parser.position += 1
    if name in ("frac", "dfrac", "tfrac", "cfrac", "binom", "dbinom", "tbinom"):
        return two_groups(parser, name)
    if name == "sqrt":
        return root(parser)
    if name in ("boxed", "text", "textbf", "mathrm", "fbox"):
        return parser.group()
    if name == "mathbf":
        body = parser.group()
        return body if body is None or is_leaf(body) else Opaque("a vector")
    if name == "pi":
        return Constant("pi")
    if name in GREEK:
        return subscripted(parser, name)
    if name in LATEX_FUNCTIONS:
        return function(parser, name)
    parser.position -= 1
    return None


def two_groups(parser: ExpressionReader, name: str) -> Node | None:
    """Return a fraction or binomial coefficient from its two arguments."""
    if parser.token.kind == NUMBER and len(parser.token.text) == 2 and parser.token.text.isdecimal():
        digits = parser.token.text  # \frac12
        parser.position += 1
        return Binary("/", Number(int(digits[0])), Number(int(digits[1])))
    first = parser.group()
    second = parser.group() if first is not None else None
    if first is None or second is None:
        return Opaque()
    return Call("binom", (first, second)) if name.endswith("binom") else Binary("/", first, second)


def root(parser: ExpressionReader) -> Node | None:
    """Return a square root, or the root whose index stands in square brackets."""
    if parser.token.text == "[":
        index = parser.bracket(parser.token)
        body = parser.group()
        if index is None or body is None:
            return Opaque()
        return Call("root", (body, index))
    body = parser.group()
    return Opaque() if body is None else Call("sqrt", (body,))


_MAX_DIGITS = 40
_ENDS_A_NUMBER = frozenset("=+*,.)")  # by far the most common, so that nothing else is asked


def number(parser: ExpressionReader, token: Token) -> Node | None:
    """Return a literal with what belongs to it: a base, a word such as `million`, a fraction behind it."""
    parser.position += 1
    if len(token.text) > _MAX_DIGITS:
        return Opaque("too long")
    if token.text[0] == "0" and token.text[1:2].isdecimal():
        return Opaque("a code or a time of day")
    node = literal(token.text)
    if parser.tokens[parser.position].text in _ENDS_A_NUMBER:
        return node
    if parser.token.text == "_" and parser.token.gap == TIGHT:
        return _in_base(parser, token.text)
    if parser.token.text[:1] in LOWERED and parser.token.gap == TIGHT:
        base = parser.token.text.translate(SUBSCRIPTS)
        parser.position += 1
        return _read_in_base(token.text, base)
    if parser.token.text.lower() in SCALE_WORDS:
        return scaled(parser, node)
    return _divisor(parser, node) if parser.loose else _mixed(parser, node)


def scaled(parser: ExpressionReader, node: Number) -> Node:
    """Return `node` times the scale word at this position."""
    factor = 1 if parser.loose else SCALE_WORDS[parser.token.text.lower()]
    parser.position += 1
    return Number(node.value * factor, max(0, node.places - len(str(factor)) + 1))


def _in_base(parser: ExpressionReader, digits: str) -> Node:
    parser.position += 1
    braced = parser.take("{")
    base = parser.token.text
    parser.position += 1
    if braced and not parser.take("}"):
        return Opaque()
    return _read_in_base(digits, base)


def _read_in_base(digits: str, base: str) -> Node:
    value = in_base(digits, base) if digits.isdecimal() and base.isdecimal() else None
    return Opaque() if value is None else Number(value)


def _mixed(parser: ExpressionReader, node: Number) -> Node:
    """Return a mixed number, a whole number and its fraction: `2 1/2`, `2½` and `2\\frac{1}{2}`."""
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


def _divisor(parser: ExpressionReader, node: Number) -> Node:
    """Return the loose reading of `2000 / 2/3`: a fraction without blanks is one divisor."""
    before = parser.tokens[parser.position - 2].text if parser.position > 1 else ""
    if before == "by" and parser.tokens[parser.position - 3].text == "divided":
        before = "/"
    if before == "-" and parser.position > 2:
        before = parser.tokens[parser.position - 3].text
    slash, under = parser.token, parser.peek()
    if before != "/" or slash.text != "/" or slash.gap != TIGHT or not (under.text.isdecimal() and under.gap == TIGHT):
        return node
    if len(under.text) > _MAX_DIGITS or int(under.text) == 0:
        return node
    parser.position += 2
    return Number(Fraction(node.value) / int(under.text))


def _proper_fraction(parser: ExpressionReader) -> Fraction | None:
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
    """Return the number that digits stand for: `12`, `.5`, `3/4`."""
    if "/" in text:
        return Number(Fraction(text))
    if text.isdecimal():
        return Number(int(text))
    whole, _, decimals = text.partition(".")
    value = Fraction(int(whole + decimals), 10 ** len(decimals))
    return Number(value.numerator if value.denominator == 1 else value, len(decimals))


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
OPENING_WORDS = frozenset().union(
    NUMBER_WORDS, FRACTION_WORDS, MULTIPLE_WORDS, NAMED_FUNCTIONS, AGGREGATES, _VERBS, _ROOTS
)  # every word of more than one letter that may begin an expression


def word_operand(parser: ExpressionReader, token: Token) -> Node | None:
    """Return the operand that begins with a word, None where the word begins none."""
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


def _letter(parser: ExpressionReader, token: Token) -> Node | None:
    """Return a single letter as an unknown where it stands in a formula; elsewhere it is an article or an initial."""
    following = parser.peek()
    if token.text in ("a", "A", "I", "s") and following.kind == WORD and token.gap != TIGHT:
        return None
    parser.position += 1
    node = subscripted(parser, token.text)
    return Opaque() if node in _CONSTANTS else node


def _number_words(parser: ExpressionReader) -> Node | None:
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


def _share(parser: ExpressionReader, share: Fraction) -> Node | None:
    """Return a share: `half of 48`, `a third of 18`, `half 48`."""
    begin = parser.position
    parser.position += 1
    parser.take("of")
    if parser.token.kind in (NUMBER, COMMAND) or parser.token.text == "(":
        body = parser.expression(SUM if parser.loose else PRODUCT)
        if body is not None:
            return Binary("*", Number(share), body)
    parser.position = begin
    return None


def _phrase(parser: ExpressionReader, word: str) -> Node | None:
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


def _verb(parser: ExpressionReader, operator: str, prepositions: tuple[str, ...]) -> Node | None:
    """Return an operation named by a verb: `subtract 3 from 10`, `adding 3 and 4`."""
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


def _root_phrase(parser: ExpressionReader, operator: str, degree: int) -> Node | None:
    parser.position += 1
    is_root = parser.take("root")
    if not parser.take("of"):
        return None
    body = parser.expression(SUM if parser.loose else PRODUCT)
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
    """Return whether `of` behind it multiplies: a percentage or a fraction, not `5 of them`."""
    match node:
        case Unary("%", _) | Binary("/", Number(), Number()) | Number(value=Fraction()):
            return True
    return False


def combine(operator: str, left: Node, right: Node) -> Node:
    """Return an operation as a tree; `5 more than 3` is 3 + 5, `20% less than 50` is 50 · (1 − 20%)."""
    if operator not in COMPARED:
        return Binary(operator, left, right)
    sign = "+" if operator == "more" else "-"
    if isinstance(left, Unary) and left.operator == "%":
        return Binary("*", right, Binary(sign, Number(1), left))
    return Binary(sign, right, left)
