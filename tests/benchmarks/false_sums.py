"""Which steps hold a false equality, told without the claim checks: by our own reading, and by a small detector.

`false_equalities.json` was made by reading every labelled step of a file before any checker was run on it, and
writing down those in which a false equality shows from the step's own text alone: a sum in signs or words, a
chain, an identity, or a solution that doesn't solve the step's equation. An equation rewritten wrongly is listed
apart, since as an equation it says nothing false. A step whose sum needs numbers of other steps is not listed.

The detector serves files that nobody has read. It shares nothing with the package: it drops units and LaTeX, cuts
at equal signs and has Python's own parser read what is left of digits, + - * / and brackets. It is generous, so
some of what it finds may be no error (a remark in brackets, units of two kinds), and its list is made to be read.
"""

from __future__ import annotations

import ast
import json
import operator
import re
from collections.abc import Callable, Iterator
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

_TABLE = Path(__file__).with_name("false_equalities.json")
_REPLACED = (
    (r"\\text\s*\{([^{}]*)\}", r" \1 "),
    (r"\\left|\\right|\\[$,;!()\[\]]|[$€£]", " "),
    (r"\\[dt]?frac\s*\{([^{}]*)\}\s*\{([^{}]*)\}", r"((\1)/(\2))"),
    (r"\\times|\\cdot|[×·]", "*"),
    (r"\\div|÷", "/"),
    ("[−–]", "-"),
    (r"(?<=\d),(?=\d{3})", ""),
    (r"(\d+(?:\.\d+)?)\s*\\?%", r"(\1/100)"),
    (r"(?m)^\s*[-*]\s", " "),  # bullets
    (r"\bof\b(?=\s*\d)", "*"),
    (r"\bof\b", "?"),  # a share of what is named in words: no sum
    (r"\([^()\d]*[A-Za-z][^()]*\)|/?\s*(?:[A-Za-z]+-)*[A-Za-z]{2,}(?:\s*/\s*[A-Za-z]{2,})?", " "),
)
_LAST, _FIRST = re.compile(r"[\d.+*/() -]+\Z"), re.compile(r"[\d.+*/() -]+")
_SIGNS: dict[type[ast.operator], Callable[[Fraction, Fraction], Fraction]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
}  # fmt: skip


def read_tables(name: str) -> dict[str, dict[str, str]] | None:
    """`equalities` and `rewritings` of a data file: what is false, by the solution's id; None if nobody read it."""
    tables: dict[str, dict[str, dict[str, str]]] = json.loads(_TABLE.read_text())
    return tables.get(name)


def false_sums(text: str) -> Iterator[str]:
    """The equalities between two sums in a text that do not hold, beyond the rounding of the last digit given."""
    for pattern, replacement in _REPLACED:
        text = re.sub(pattern, replacement, text)
    for line in re.split(r"[\n;:,]|\.(?!\d)", text):
        for left, right in pairwise(line.split("=")):
            first, second = _LAST.search(left), _FIRST.match(right)
            if first and second and _differ(first[0].strip(), second[0].strip()):
                yield f"{first[0].strip()} = {second[0].strip()}"


def _differ(left: str, right: str) -> bool:
    values = _value(left), _value(right)
    if values[0] is None or values[1] is None or not re.search(r"\d[\s)]*[-+*/]", left):
        return False
    places = len(right.partition(".")[2]) if re.fullmatch(r"\d+\.?\d*", right) else 0
    return abs(values[0] - values[1]) > (Fraction(1, 10**places) if values[0].denominator > 1 else 0)


def _value(text: str) -> Fraction | None:
    """The exact value of digits, signs and brackets; None for all else. Nothing is evaluated by Python itself."""
    try:
        return _evaluate(ast.parse(text, mode="eval").body) if len(text) < 500 else None
    except (SyntaxError, ValueError, ZeroDivisionError, RecursionError, MemoryError):
        return None


def _evaluate(node: ast.expr) -> Fraction:
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        return Fraction(str(node.value))
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_evaluate(node.operand)
    if isinstance(node, ast.BinOp) and type(node.op) in _SIGNS:
        return _SIGNS[type(node.op)](_evaluate(node.left), _evaluate(node.right))
    raise ValueError
