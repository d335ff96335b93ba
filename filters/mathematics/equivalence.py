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
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from proofmill.filters.mathematics import evaluation
from proofmill.filters.mathematics.expressions import Node, NotCoveredError, TooCostlyError
from proofmill.filters.mathematics.grammar import parse
from proofmill.filters.mathematics.mathverify import library_equal, library_parse
from proofmill.filters.mathematics.notation import NEEDLESS_SPACE
from proofmill.filters.mathematics.quantities import based_value, colon_form, scaled, split_percent, split_unit
from proofmill.filters.mathematics.rationals import MAX_BITS, decimal_places, is_rounded, rational
from proofmill.filters.mathematics.structures import Shape, UnreadableError, shape
from proofmill.filters.mathematics.units import Unit

_DIGIT = re.compile(r"[0-9]")
_MAX_QUICK = 200  # characters of an answer that is judged in the caller's process
QUICK_BITS = 4_000  # of every number in such an answer
_MAX_MATCHED = 24  # items of collections whose order must be found
_MAX_KEY_BITS = 10_000  # Python writes no more than 4300 decimal digits, and slowly


@dataclass(frozen=True, slots=True)
class Context:
    """How the question asks: what a bare number means, and whether rounded decimals may pass."""

    percent: bool = False
    scale: bool = False
    rounding: bool = False


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
    return answer.kind == "value" and _rational(_value(answer.text).text, max_bits) is not None


def readable(answer: Shape) -> bool:
    """Whether every value in the answer can be parsed by some grammar here (a gold answer must)."""
    if answer.kind == "value":
        return _is_value(answer.text)
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
        return _same_value(a.text, b.text, context)
    if a.kind in ("words", "empty"):
        return a.text == b.text
    if len(a.items) != len(b.items):
        return False
    if a.kind in ("group", "matrix"):
        return a.text == b.text and all(map(lambda x, y: same(x, y, context), a.items, b.items))
    return _same_unordered(a.items, b.items, context)


def _settled(answer: Shape, max_bits: int = MAX_BITS) -> Shape:
    """A true chain of numbers (`2 + 3 = 5`) stands for its value."""
    if answer.kind != "relation" or set(answer.text.split()) != {"="}:
        return answer
    last = answer.items[-1]
    if all(item.kind == "value" for item in answer.items):
        values = [_rational(item.text, max_bits) for item in answer.items]
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


@dataclass(frozen=True, slots=True)
class _Value:
    """A value with what it carries."""

    text: str
    unit: Unit | None
    percent: bool


@lru_cache(maxsize=16_384)
def _value(text: str, *, scale_is_unit: bool = False) -> _Value:
    if _base_value(text) is not None:
        return _Value(text, None, False)
    bare, percent = split_percent(text if scale_is_unit else scaled(text))
    bare, unit = split_unit(bare)
    return _Value(bare, unit, percent)


def _same_value(a: str, b: str, context: Context) -> bool:
    if _squeezed(a) == _squeezed(b):
        return True
    if ":" in a or ":" in b:
        return _same_colon(a, b)
    if _same_quantity(_in_radians(_value(a), b), _in_radians(_value(b), a), context):
        return True
    if not context.scale:
        return False
    return _same_quantity(_value(a, scale_is_unit=True), _value(b, scale_is_unit=True), context)


def _same_quantity(left: _Value, right: _Value, context: Context) -> bool:
    scale = Fraction(1)
    if left.unit is not None and right.unit is not None:
        if not left.unit.agrees(right.unit):
            return False
        scale = left.unit.factor / right.unit.factor
    if left.percent != right.percent and not context.percent:
        scale *= Fraction(1, 100) if left.percent else 100
    return _same_number(left.text, right.text, scale, context)


def _in_radians(value: _Value, other: str) -> _Value:
    """An angle in degrees as a multiple of π, where the other side is one (30° and π/6)."""
    if value.unit is None or value.unit.dimensions != (("degree", 1),) or "\\pi" not in other:
        return value
    return _Value(f"({value.text})\\pi/180", None, value.percent)


def _squeezed(text: str) -> str:
    return NEEDLESS_SPACE.sub("", text)


def _same_colon(a: str, b: str) -> bool:
    left, right = colon_form(a), colon_form(b)
    if left is None or right is None:
        ratio, other = (left, b) if left else (right, a)
        if ratio is None or ratio[0] != "ratio" or len(ratio[1]) != 2 or not ratio[1][1]:
            return False
        return _rational(other) == Fraction(*ratio[1])
    if left[1] == right[1]:
        return True
    if "clock" in (left[0], right[0]) or len(left[1]) != len(right[1]) or not left[1][0] or not right[1][0]:
        return False
    return all(x * right[1][0] == y * left[1][0] for x, y in zip(left[1], right[1], strict=True))


def _same_number(a: str, b: str, scale: Fraction, context: Context) -> bool:
    """Whether a · scale = b."""
    x, y = _rational(a), _rational(b)
    if x is not None and y is not None:
        return x * scale == y or (context.rounding and scale == 1 and is_rounded(a, x, b, y))
    if "\\infty" in a or "\\infty" in b:
        return _squeezed(a).lstrip("+") == _squeezed(b).lstrip("+")
    try:
        left, right = parse(a), parse(b)
        if scale != 1:
            left = Node("mul", (left, Node("number", (), scale)))
        return evaluation.identical(left, right) or (context.rounding and _approximates(a, b, left, right))
    except NotCoveredError:
        return scale == 1 and library_equal(a, b)


def _rational(text: str, max_bits: int = MAX_BITS) -> Fraction | None:
    if (based := _base_value(text)) is not None:
        return Fraction(based)
    try:
        return rational(parse(text), max_bits)
    except NotCoveredError:
        return None


def _base_value(text: str) -> int | None:
    return based_value(text) if "_" in text or "base" in text else None


def _approximates(a: str, b: str, left: Node, right: Node) -> bool:
    for text, decimal, exact in ((a, left, right), (b, right, left)):
        places = decimal_places(text)
        if places and not evaluation.symbols(exact):
            return evaluation.distance_below(decimal, exact, Fraction(1, 10**places))
    return False


def _is_value(text: str) -> bool:
    if colon_form(text) is not None or "\\infty" in text:
        return True
    bare = _value(text).text
    try:
        return _rational(bare) is not None or parse(bare) is not None
    except TooCostlyError:
        return True
    except NotCoveredError:
        return library_parse(bare) is not None


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
    if answer.kind in ("collection", "union"):
        known.sort()
    return f"{answer.kind}{answer.text}:{';'.join(known)}"


def _value_key(text: str, max_bits: int) -> str | None:
    value = _value(text)
    if ":" in text or (value.unit is not None and value.unit.dimensions):
        return None
    if "\\infty" in text:
        return _squeezed(text).lstrip("+")
    number = _rational(value.text, max_bits)
    if number is None or max(number.numerator.bit_length(), number.denominator.bit_length()) > _MAX_KEY_BITS:
        return None
    return str(number / 100 if value.percent else number)
