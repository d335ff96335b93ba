r"""Whether two answers are the same: exact rules by shape, math-verify's parser and grader for the rest.

What math-verify's grader takes for equal by rounding (`10^{-20}` and `10^{-21}`), by ignoring brackets, units
or bases, or by solving equations one letter at a time never reaches it: values are compared exactly or to
many digits, shapes part by part. Two equations are the same where one is a multiple of the other.

A decimal is exact. While verifying, one of at least six significant digits may also stand for a value that
no decimal can state (`0.333333` for `1/3`); `equivalent` has no such rule, so that it can cluster.

Nothing here evaluates text: what this package's own grammar does not cover goes through math-verify's
LaTeX grammar, never through `sympify` or `parse_expr`. Its alarms are off; the caller's pool kills instead.
"""

from __future__ import annotations

import re
from functools import lru_cache

from proofmill.filters.mathematics import evaluation
from proofmill.filters.mathematics.expressions import Node, NotCoveredError, TooCostlyError
from proofmill.filters.mathematics.grammar import parse
from proofmill.filters.mathematics.rationals import MAX_BITS
from proofmill.filters.mathematics.restatement import restated
from proofmill.filters.mathematics.shapes import Shape, UnreadableError
from proofmill.filters.mathematics.structures import shape
from proofmill.filters.mathematics.values import Context, is_value, rational_value, same_value, squeezed, value_of

_DIGIT = re.compile(r"[0-9]")
_MAX_QUICK = 200  # characters of an answer that is judged in the caller's process
QUICK_BITS = 4_000  # of every number in such an answer
_MAX_MATCHED = 24  # items of collections whose order must be found
_MAX_KEY_BITS = 10_000  # Python writes no more than 4300 decimal digits, and slowly


def equivalent(a: str, b: str) -> bool:
    """Whether two answers to one question are the same, exactly.

    Raises:
        TooCostlyError: an answer is too long, too deep or too big to judge.
    """
    try:
        return same(shape(a), shape(b), Context())
    except UnreadableError:
        return False


def canonical(answer: str) -> str | None:
    """A key that equal answers share, where one can be had exactly and cheaply; else None.

    Rational values, words and the collections, tuples and intervals of these have one.
    """
    try:
        return _key(shape(answer), MAX_BITS)
    except (UnreadableError, TooCostlyError):
        return None


@lru_cache(maxsize=8192)
def named_number(answer: str) -> tuple[str, str] | None:
    """The name that a short answer gives one rational number (or ""), and the number's key; costs microseconds."""
    if len(answer) > _MAX_QUICK or _DIGIT.search(answer) is None:
        return None
    try:
        form = shape(answer)
        key = _key(form, QUICK_BITS) if form.kind in ("value", "relation") else None
    except (UnreadableError, TooCostlyError):
        return None
    return None if key is None else (form.name, key)


def is_rational(answer: Shape, max_bits: int = MAX_BITS) -> bool:
    """Whether the answer is one number with an exact rational value, with or without a unit.

    Raises:
        TooCostlyError: the number is too big to judge.
    """
    return answer.kind == "value" and rational_value(value_of(answer.text).text, max_bits) is not None


def readable(answer: Shape) -> bool:
    """Whether every value in the answer can be parsed by some grammar here (a gold answer must)."""
    if answer.kind == "value":
        return is_value(answer.text)
    return all(readable(item) for item in answer.items)


def same(a: Shape, b: Shape, context: Context) -> bool:
    """Whether two shapes are the same answer; symmetric.

    Raises:
        TooCostlyError: a value is too big to judge.
    """
    a, b = _settled(a), _settled(b)
    if a == b:
        return True
    renamed = a.name != b.name and len(a.name) == len(b.name) == 1
    if renamed or a.kind == "relation" or b.kind == "relation":
        return _same_relation(a, b)
    if a.kind != b.kind:
        return False
    if a.kind == "value":
        return same_value(a.text, b.text, context)
    if a.kind in ("words", "empty"):
        return a.text == b.text
    if len(a.items) != len(b.items):
        return False
    if a.kind in ("group", "matrix"):
        return a.text == b.text and all(map(lambda x, y: same(x, y, context), a.items, b.items))
    return _same_unordered(a.items, b.items, context)


def answers_gold(gold: Shape, answer: Shape, context: Context) -> bool:
    """Whether an answer is the gold one, as it stands or in a form that only a known gold answer makes plain.

    Raises:
        TooCostlyError: a value is too big to judge.
    """
    stated = restated(gold, answer, context)
    return same(gold, answer, context) or (stated is not None and same(gold, stated, context))


def _settled(answer: Shape, max_bits: int = MAX_BITS) -> Shape:
    """A true chain of numbers (`2 + 3 = 5`) stands for its value."""
    if answer.kind != "relation" or set(answer.text.split()) != {"="}:
        return answer
    last = answer.items[-1]
    if all(item.kind == "value" for item in answer.items):
        values = [rational_value(item.text, max_bits) for item in answer.items]
        if values[0] is not None and all(value == values[0] for value in values):
            return last
    return answer


def _same_unordered(a: tuple[Shape, ...], b: tuple[Shape, ...], context: Context) -> bool:
    if len(a) > _MAX_MATCHED:
        return all(map(lambda x, y: same(x, y, context), a, b))
    rest = list(b)
    for item in a:
        match = next((index for index, other in enumerate(rest) if same(item, other, context)), None)
        if match is None:
            return False
        del rest[match]
    return True


def _same_relation(a: Shape, b: Shape) -> bool:
    """Equations and inequalities in several letters: one side's difference is a multiple of the other's."""
    left, right = _difference(a), _difference(b)
    if left is None or right is None or left[0].strip("<>") != right[0].strip("<>"):
        return False
    try:
        factor = evaluation.proportional(left[1], right[1])
    except NotCoveredError:
        return False
    if factor is None or left[0] in ("=", "!="):
        return factor is not None
    return (factor > 0) == (left[0] == right[0])


def _difference(relation: Shape) -> tuple[str, Node] | None:
    r"""The sign and left − right; `y = 2x + 1` counts as a relation too."""
    if relation.kind == "relation" and len(relation.items) == 2:
        sign, sides = relation.text, [item.text if item.kind == "value" else "" for item in relation.items]
    elif relation.kind == "value" and relation.name:
        sign, sides = "=", [relation.name, relation.text]
    else:
        return None
    try:
        return sign, Node("sub", (parse(sides[0]), parse(sides[1])))
    except NotCoveredError:
        return None


def _key(answer: Shape, max_bits: int) -> str | None:
    answer = _settled(answer, max_bits)
    if answer.kind in ("words", "empty"):
        return f"{answer.kind}:{answer.text}"
    if answer.kind == "value":
        return _value_key(answer.text, max_bits)
    keys = [_key(item, max_bits) for item in answer.items]
    known = [key for key in keys if key is not None]
    if len(known) < len(keys) or answer.kind == "relation":
        return None
    if answer.kind in ("collection", "union", "cases"):
        known.sort()
    return f"{answer.kind}{answer.text}:{';'.join(known)}"


def _value_key(text: str, max_bits: int) -> str | None:
    value = value_of(text)
    if ":" in text or (value.unit is not None and value.unit.dimensions):
        return None
    if "\\infty" in text:
        return squeezed(text).lstrip("+")
    number = rational_value(value.text, max_bits)
    if number is None or max(number.numerator.bit_length(), number.denominator.bit_length()) > _MAX_KEY_BITS:
        return None
    return str(number / 100 if value.percent else number)
