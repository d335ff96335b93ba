"""What a problem gives its trace: other meanings of arithmetic, functions, and the values that may be used.

Signs of arithmetic mean something else among residues, in other bases and in operations that the problem defines. A
relation that is false in ordinary arithmetic may be right there, so it is not called refuted. That is read only once
a link has failed, since most traces hold none.

A value comes from the problem, from an earlier claim, is a common constant, or comes from nowhere.
"""

from __future__ import annotations

import math
import operator
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache, partial
from math import gcd

from proofmill.filters.claims.algebra import is_identity
from proofmill.filters.claims.relations import Scanner
from proofmill.filters.symbolic.expressions import (
    Binary,
    Call,
    Node,
    NoValueError,
    Number,
    Opaque,
    Quantity,
    Symbol,
    Unary,
    UndefinedError,
    Value,
    evaluate,
    rebuilt,
    show,
    unknowns_of,
    walk,
)
from proofmill.filters.symbolic.notation import (
    FRACTION_WORDS,
    MULTIPLE_WORDS,
    NUMBER_WORDS,
    SCALE_WORDS,
    tokenize,
    words,
)
from proofmill.filters.symbolic.prose_operands import literal

_MODULUS = re.compile(
    r"(?:\b(?:mod(?:ulo|ulus|ular)?)|\\[pb]?mod)\b[\s{($=is]{0,6}(\d{1,7})"
    r"|\bmod-(\d{1,7})"
    r"|\b(?:divi\w{2,6}|multiples?)\s(?:it\s)?(?:by|of)\s[$\\(]{0,3}(\d{1,7})"
)
_RESIDUES = re.compile(
    r"\b(?:remainders?\s(?:when|upon|on|is|of\s\$?\d)|residues?|congruen\w+|mod(?:ulo|ulus|ular)?)\b|\\[pb]?mod|\\equiv|≡"
)
_COUNTED = (
    (re.compile(r"\b(?:units?|ones|last|final|rightmost)[\s-]digits?\b"), (10,)),
    (re.compile(r"\b(?:last|final|rightmost)\s(?:two|2)\sdigits\b|\btens[\s-]digits?\b"), (10, 100)),
    (re.compile(r"\b(?:last|final|rightmost)\s(?:three|3)\sdigits\b|\bhundreds[\s-]digits?\b"), (10, 100, 1000)),
    (re.compile(r"\bclock|\bhour hand|\bo['’]clock"), (12, 24)),
    (re.compile(r"\b(?:days? of the week|weekdays?|mondays?|sundays?|saturdays?|fridays?)\b"), (7,)),
    (re.compile(r"\bdigit(?:al)? (?:sum|root)|\bcasting out|\bsum of (?:its|the|their) digits"), (9, 3)),
)
_BASE = re.compile(r"\bbase[\s-](?:of\s)?[$]?(\d{1,2}|two|three|four|five|six|seven|eight|nine|twelve|sixteen)\b")
_LEAST_BASE = 2
_NAMED_BASES = {"binary": 2, "ternary": 3, "octal": 8, "hexadecimal": 16, " hex": 16}
_OTHER_ALGEBRA = re.compile(
    r"\b(?:boolean|xor|nand|logic gates?|truth tables?|modular arithmetic|clock arithmetic|finite field|"
    r"tropical|nimbers?|nim-?sum|decibels?|version numbers?)\b|\\mathbb\{?[zf]\}?_|\bgf\(|\d\s?db\b|\bversions?\s\d"
)
_STATED_SUM = re.compile(r"(?<![\d.+*×/-])(\d{1,6})\s?(\+|\*|×|-|/|÷)\s?(\d{1,6})\s?=\s?(\d{1,9})(?![\d.])")
_ORDINARY: dict[str, Callable[[int, int], int | None]] = {
    "+": operator.add, "-": operator.sub, "*": operator.mul,
    "/": lambda left, right: left // right if right and left % right == 0 else None,
}  # fmt: skip
_FALSE_SUMS = 2  # of a problem, from which on its sign means something else: "If 2+3=10 and 7+2=63, what is 9+7?"
_TURN = 2 * math.pi
_OWN_OPERATION = re.compile(
    r"(?<![A-Za-z])([a-z])\s?(\*|\\ast|×|\\times|\\cdot|·|-|\+|/|\\div|÷|\^)\s?([a-z])[\s$\\)]{0,4}(?:=|is defined)"
    r"([^=.;\n]{1,80})",
    re.IGNORECASE,
)
_DEFINES = re.compile(r"\b(?:operat\w+|defin\w+|denotes?|means?|such that|for all|symbol)\b", re.IGNORECASE)
_SIGNS = {"\\ast": "*", "×": "*", "\\times": "*", "\\cdot": "*", "·": "*", "\\div": "/", "÷": "/"}
_MAX_READ = 50_000  # characters of a trace in which its setting is looked for
_MAX_MODULI = 20


class ProblemContext:
    """Other meanings that a problem and the trace so far give to arithmetic.

    Args:
        problem: the problem's statement.
        trace: the whole trace.
    """

    def __init__(self, problem: str, trace: str) -> None:
        self._problem, self._trace = problem.lower()[:_MAX_READ], trace.lower()[:_MAX_READ]
        self._step: tuple[str, bool] = ("", False)  # the last step asked about, and whether it names another algebra
        self._read: tuple[frozenset[int], frozenset[int], frozenset[str]] | None = None

    def other_meaning(self, step: str, left: Node, right: Node) -> str:
        """Return why a false relation between two sides may be meant otherwise; empty where nothing speaks for it."""
        moduli, bases, own = self._known()
        if step != self._step[0]:  # once a step: a long one may hold thousands of false links
            text = f"{self._problem}\n{step.lower()}"
            self._step = step, _OTHER_ALGEBRA.search(text) is not None
        if self._step[1]:
            return "another algebra than that of numbers"
        if any(isinstance(part, Binary) and part.operator in own for side in (left, right) for part in walk(side)):
            return "an operation that the problem defines"
        try:
            if _whole_turns(left, right):
                return "angles of one direction"
            if moduli and (_has_inverse(left) or _has_inverse(right)):
                return "an inverse among residues"
            return _in_residues(evaluate(left), evaluate(right), moduli) or _in_base(left, right, bases)
        except NoValueError:
            return ""

    def _known(self) -> tuple[frozenset[int], frozenset[int], frozenset[str]]:
        if self._read is None:
            both = f"{self._problem}\n{self._trace}"
            self._read = frozenset(_moduli(both)), frozenset(_bases(both)), frozenset(_own_operations(self._problem))
        return self._read


def _moduli(text: str) -> Iterator[int]:
    if _RESIDUES.search(text):
        for count, match in enumerate(_MODULUS.finditer(text)):
            yield int(next(group for group in match.groups() if group))
            if count >= _MAX_MODULI:
                break
    for cue, moduli in _COUNTED:
        if cue.search(text):
            yield from moduli


def _bases(text: str) -> Iterator[int]:
    for match in _BASE.finditer(text):
        if (base := NUMBER_WORDS.get(match[1]) or int(match[1])) >= _LEAST_BASE:
            yield base
    yield from (base for word, base in _NAMED_BASES.items() if word in text)


def _own_operations(problem: str) -> Iterator[str]:
    """Yield the signs that a text defines for itself, between two letters (`a * b = a^2 + b`) or by its examples."""
    found = [(_SIGNS.get(sign, sign), int(a), int(b), int(c)) for a, sign, b, c in _STATED_SUM.findall(problem)]
    false = Counter(sign for sign, a, b, c in found if _ORDINARY[sign](a, b) not in (None, c))
    yield from (sign for sign, count in false.items() if count >= _FALSE_SUMS)
    if not _DEFINES.search(problem) and "if " not in problem:
        return
    for first, sign, second, meaning in _OWN_OPERATION.findall(problem):
        if first != second and any(re.search(rf"(?<![a-z\\]){letter}(?![a-z])", meaning) for letter in (first, second)):
            yield _SIGNS.get(sign, sign)


def _whole_turns(left: Node, right: Node) -> bool:
    """Return whether two angles in degrees are whole turns apart: 750° and 30°."""
    sides = [[isinstance(part, Unary) and part.operator == "°" for part in walk(side)] for side in (left, right)]
    if not all(map(any, sides)):
        return False
    turns = (float(evaluate(left)) - float(evaluate(right))) / _TURN
    return abs(turns - round(turns)) < _CLOSE


_CLOSE = 1e-9


def _has_inverse(node: Node) -> bool:
    """Return whether a tree holds an inverse: `3^{-1}`, which is 11 modulo 16."""
    return any(
        isinstance(part, Binary) and part.operator == "^" and isinstance(part.right, Unary) for part in walk(node)
    )


def _in_residues(left: Value, right: Value, moduli: frozenset[int]) -> str:
    if isinstance(left, int) and isinstance(right, int):
        for modulus in sorted(moduli):
            if modulus > 1 and (left - right) % modulus == 0:
                return f"holds modulo {modulus}"
    return ""


def _in_base(left: Node, right: Node, bases: frozenset[int]) -> str:
    for base in sorted(bases):
        read = _readable(left, base), _readable(right, base)
        for first, second in (read, (read[0], right), (left, read[1])):
            if first is not None and second is not None and evaluate(first) == evaluate(second):
                return f"holds in base {base}"
    return ""


def _readable(node: Node, base: int) -> Node | None:
    """Return the tree with its literals read in another base; None where that can't be done."""
    try:
        return _read_in(node, base)
    except ValueError:
        return None


def _read_in(node: Node, base: int) -> Node:
    match node:
        case Number(value=int(value), places=0) if value >= 0:
            return Number(int(str(value), base))
        case Binary() | Unary() | Quantity():
            return rebuilt(node, lambda part: _read_in(part, base))
    raise ValueError


CALLED = "()"  # ends the name of a call to a function of the text's own
_CALL = re.compile(r"(?<![A-Za-z\\])([fghPQRSTFGH])\s?(?:\\left)?\(")
_PIECEWISE = re.compile(
    r"\\begin\{cases|\bif\b[^.]{0,40}[<>≤≥=]|\botherwise\b|\\text\{\s*if|\bfor all\b|\bsatisf\w+", re.IGNORECASE
)
_MAX_DEPTH = 6
_MAX_PROMPT = 10_000


@dataclass(slots=True)
class Functions:
    """The functions in one variable that are known, by name; None where a name was defined twice.

    A piecewise or functional equation is no definition, so nothing is learnt from a problem that has one. What a
    trace says of a function that its problem speaks of without defining it (`undefined`) is a part of its answer, a
    trial or a case, and no definition.
    """

    known: dict[str, tuple[str, Node] | None] = field(default_factory=dict)
    trusted: bool = True
    undefined: frozenset[str] = frozenset()

    def read(self, prompt: str) -> None:
        """Learn what a problem's statement defines."""
        called = {f"{name}{CALLED}" for name in _CALL.findall(prompt, 0, _MAX_PROMPT)}
        if not called:
            return
        self.trusted = not _PIECEWISE.search(prompt)
        for left, right in equalities(prompt):
            self.learn(left, right)
        self.undefined = frozenset(called - self.known.keys())

    def learn_from(self, text: str, left: Node, right: Node) -> None:
        """Take a definition from a step of the trace, unless that is for a case only."""
        if not _is_piecewise(text):
            self.learn(left, right)

    def learn(self, left: Node, right: Node) -> None:
        """Take `f(x) = …` as the definition of f, unless the right side doesn't depend on x alone."""
        match left:
            case Call(name, (Symbol(name=variable),)) if name.endswith(CALLED) and unknowns_of(right) == {variable}:
                if name in self.undefined or any(isinstance(part, Opaque) or is_call(part) for part in walk(right)):
                    return
                before = self.known.get(name, (variable, right))
                same = before is not None and is_identity(
                    before[1], _substituted(right, variable, Symbol(before[0])), frozenset({before[0]})
                )
                self.known[name] = before if same else None

    def resolved(self, node: Node, depth: int = 0) -> Node:
        """Return the tree with every call replaced by what it stands for.

        Raises:
            NoValueError: a function is not known, or calls are nested too deep.
        """
        if depth > _MAX_DEPTH:
            raise UndefinedError
        change = partial(self.resolved, depth=depth + 1)
        match node:
            case Call(name, (argument,)) if name.endswith(CALLED):
                return self._value(name, change(argument))
        return rebuilt(node, change)

    def _value(self, name: str, argument: Node) -> Node:
        definition = self.known.get(name) if self.trusted else None
        if definition is None:
            raise UndefinedError
        return _substituted(definition[1], definition[0], argument)


@lru_cache(maxsize=256)  # the samples of one problem come one after the other
def equalities(prompt: str) -> tuple[tuple[Node, Node], ...]:
    """Return the two sides of every equality that a problem states and that the grammar reads whole."""
    return tuple(
        (chain.members[index].node, chain.members[index + 1].node)
        for chain in Scanner(tokenize(prompt[:_MAX_PROMPT])).scan()
        if not chain.trailing
        for index, relation in enumerate(chain.relations)
        if relation.sign in ("=", "≡") and not (index == 0 and chain.joined)
    )


def tied_unknowns(prompt: str) -> set[frozenset[str]]:
    """Return the sets of unknowns that an equation of the problem ties, definitions of functions left out."""
    pairs = ((left, right) for left, right in equalities(prompt) if not (has_call(left) or has_call(right)))
    return {names for left, right in pairs if (names := unknowns_of(left) | unknowns_of(right))}


@lru_cache(maxsize=2)  # asked for each function value of a step, one step after the other
def _is_piecewise(text: str) -> bool:
    return _PIECEWISE.search(text) is not None


def is_call(node: Node) -> bool:
    """Return whether a tree is a call to a function of the text's own."""
    return isinstance(node, Call) and node.name.endswith(CALLED)


def has_call(node: Node) -> bool:
    """Return whether a tree holds such a call."""
    return any(map(is_call, walk(node)))


def _substituted(node: Node, variable: str, value: Node) -> Node:
    if isinstance(node, Symbol):
        return value if node.name == variable else node
    return rebuilt(node, lambda part: _substituted(part, variable, value))


# Small numbers, calendar and clock, the circle, powers of ten and what English measures hold of each other.
_COMMON: frozenset[Value] = frozenset(
    Fraction(number) if "/" in number else int(number)
    for number in words(
        """0 1 2 3 4 5 6 7 8 9 10 11 12 14 15 16 20 24 25 28 30 31 36 48 50 52 60 90 100 120 144 180 360
        365 366 1000 1440 1760 3600 5280 10000 100000 1000000 1000000000 1/2 1/3 2/3 1/4 3/4 1/5 1/10 1/100
        3/2 5/2 22/7"""
    )
) | {Fraction(314, 100)}
_VALUE = re.compile(r"(\d{1,3}(?:,\d{3})+(?!\d)(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+)(\s?%|\s?percent)?|([A-Za-z]+)")
_MAX_KNOWN = 200
_CONCLUSION = re.compile(
    r"(?:\\boxed\{|####|\b[Aa]nswer(?: is)?:?|\bANSWER(?: IS)?:?|^A:)[ ]{0,3}(?:\\text\{)?\\?[$€£]?[ ]{0,2}"
    r"(-?\d{1,30}(?:,\d{3}){0,8}(?:\.\d{1,12})?)(?![\d/^.,]*\d)(?=[\s}.,%]|\Z)",
    re.MULTILINE,
)


@dataclass(slots=True)
class KnownValues:
    """The values that a trace may use.

    Attributes:
        given: values of the problem; grounding is not judged where it has none.
        derived: values that claims have established, in order.
        denominators: those of all known values, so that most quotients need not be looked up.
    """

    given: frozenset[Value]
    derived: dict[Value, None] = field(default_factory=dict)
    denominators: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        """Note the denominators of what is given and of common constants."""
        known = (*self.given, *_COMMON)
        self.denominators |= {value.denominator for value in known if not isinstance(value, float)}

    def learn(self, node: Node) -> None:
        """Take the literals of an established expression as known from now on."""
        for part in walk(node):
            if isinstance(part, Number):
                self.add(part.value)

    def add(self, value: Value) -> None:
        """Take a value as known from now on."""
        self.derived[value] = None
        if isinstance(value, Fraction):
            self.denominators.add(value.denominator)
        if len(self.derived) > _MAX_KNOWN:
            del self.derived[next(iter(self.derived))]

    def is_supported(self, value: Value) -> bool:
        """Return whether a value is known, or one operation away from two known values."""
        if not self.given or isinstance(value, float) or self._is_known(value):
            return True
        return any(self._one_step(value, known) for known in (*self.given, *self.derived))

    def _is_known(self, value: Value) -> bool:
        return value in self.given or value in self.derived or value in _COMMON

    def _one_step(self, value: int | Fraction, known: Value) -> bool:
        """Return whether two known values add, subtract, multiply or divide to `value`."""
        if isinstance(known, float):
            return False
        if any(other in self.given or other in self.derived for other in (value - known, known - value)):
            return True
        if not known or not value:
            return False
        return self._is_known_quotient(value, known) or self._is_known_quotient(known, value)

    def _is_known_quotient(self, top: int | Fraction, bottom: int | Fraction) -> bool:
        # Most often both are whole, and then their quotient is seldom known.
        if (
            isinstance(top, int)
            and isinstance(bottom, int)
            and abs(bottom) // gcd(top, bottom) not in self.denominators
        ):
            return False
        return self._is_known(_ratio(top, bottom))

    def unsupported(self, node: Node) -> Iterator[Number]:
        """Yield the literals of an expression that come from nowhere."""
        for part in walk(node):
            if isinstance(part, Number) and not self.is_supported(part.value):
                yield part


def known_values_of(prompt: str) -> KnownValues:
    """Return the sources that a trace begins with: the values that its problem states."""
    return KnownValues(_given(prompt[:20_000]))


@lru_cache(maxsize=256)  # the samples of one problem come one after the other
def _given(prompt: str) -> frozenset[Value]:
    """Return the values in a prompt, in digits or words, and what percentages of them mean."""
    given: set[Value] = set()
    for match in _VALUE.finditer(prompt):
        number, percent, word = match.groups()
        if number is None:
            if word.lower() in _WORDS:
                given.add(_WORDS[word.lower()])
        elif len(number) <= 40:
            value = literal(number.replace(",", "")).value
            given.add(value)
            if percent:
                given.update(_meanings(value))
    return frozenset(given)


def _meanings(percent: int | Fraction) -> tuple[Value, ...]:
    """Return what 20 % may be written as: 0.2, 0.8, 1.2, 80, 120."""
    share = Fraction(percent) / 100
    return _ratio(percent, 100), _ratio(1 - share, 1), _ratio(1 + share, 1), 100 - percent, 100 + percent


_WORDS: dict[str, int | Fraction] = {**NUMBER_WORDS, **FRACTION_WORDS, **MULTIPLE_WORDS, **SCALE_WORDS}


def _ratio(top: int | Fraction, bottom: int | Fraction) -> Value:
    value = Fraction(top) / bottom
    return value.numerator if value.denominator == 1 else value


def conclusions(text: str) -> Iterator[tuple[int, int, Value]]:
    """Yield the answers that a text states: start, end and value."""
    if not ("nswer" in text or "boxed" in text or "####" in text or "NSWER" in text or "A:" in text):
        return
    for match in _CONCLUSION.finditer(text):
        digits = match.group(1).replace(",", "")
        value = literal(digits.lstrip("-")).value
        yield match.start(1), match.end(1), -value if digits.startswith("-") else value


def explain(value: Value) -> str:
    """Return evidence for a value that comes from nowhere."""
    return f"{show(value)} is neither in the problem, nor derived before, nor a common constant"
