"""What a trace is about, where the signs of arithmetic mean something else: residues, bases, operations of its own.

A relation that is false in ordinary arithmetic may be right there, so it is not called refuted. Read only once a
link has failed, since most traces hold none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from proofmill.filters.claims.judge import walk
from proofmill.filters.claims.nodes import (
    Binary,
    Node,
    NotNumericError,
    Number,
    Quantity,
    Unary,
    Value,
    evaluate,
    rebuilt,
)
from proofmill.filters.claims.wording import NUMBER_WORDS

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
_NAMED_BASES = {"binary": 2, "ternary": 3, "octal": 8, "hexadecimal": 16}
_OTHER_ALGEBRA = re.compile(
    r"\b(?:boolean|xor|nand|logic gates?|truth tables?|modular arithmetic|clock arithmetic|finite field|"
    r"tropical|nimbers?|nim-?sum)\b|\\mathbb\{?[zf]\}?_|\bgf\("
)
_OWN_OPERATION = re.compile(
    r"(?<![A-Za-z])([a-z])\s?(\*|\\ast|×|\\times|\\cdot|·|-|\+|/|\\div|÷|\^)\s?([a-z])[\s$\\)]{0,4}(?:=|is defined)"
    r"([^=.;\n]{1,80})",
    re.IGNORECASE,
)
_DEFINES = re.compile(r"\b(?:operat\w+|defin\w+|denotes?|means?|such that|for all|symbol)\b", re.IGNORECASE)
_SIGNS = {"\\ast": "*", "×": "*", "\\times": "*", "\\cdot": "*", "·": "*", "\\div": "/", "÷": "/"}
_MAX_READ = 50_000  # characters of a trace in which its setting is looked for
_MAX_MODULI = 20


class Setting:
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
        """Why a false relation between two sides may be meant otherwise; empty where nothing speaks for it."""
        moduli, bases, own = self._known()
        if step != self._step[0]:  # once a step: a long one may hold thousands of false links
            text = f"{self._problem}\n{step.lower()}"
            self._step = step, _OTHER_ALGEBRA.search(text) is not None
        if self._step[1]:
            return "another algebra than that of numbers"
        if any(isinstance(part, Binary) and part.operator in own for side in (left, right) for part in walk(side)):
            return "an operation that the problem defines"
        try:
            return _in_residues(evaluate(left), evaluate(right), moduli) or _in_base(left, right, bases)
        except NotNumericError:
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
    """`a * b = a^2 + b`: a sign between two letters whose meaning is spelled out with these letters."""
    if not _DEFINES.search(problem) and "if " not in problem:
        return
    for first, sign, second, meaning in _OWN_OPERATION.findall(problem):
        if first != second and any(re.search(rf"(?<![a-z\\]){letter}(?![a-z])", meaning) for letter in (first, second)):
            yield _SIGNS.get(sign, sign)


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
    """The tree with its literals read in another base; None where it holds anything else, or too large a digit."""
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
