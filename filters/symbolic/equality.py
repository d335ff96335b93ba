r"""Whether two answers are the same: exact rules by form, math-verify's parser and grader for the rest.

What math-verify's grader takes for equal by rounding (`10^{-20}` and `10^{-21}`), by ignoring brackets, units
or bases, or by solving equations one letter at a time never reaches it: values are compared exactly or to
many digits, other forms part by part. Two equations are the same where one is a multiple of the other.

A decimal is exact. While verifying, one of at least six significant digits may also stand for a value that
no decimal can state (`0.333333` for `1/3`); `equivalent` has no such rule, so that it can cluster.

Nothing here evaluates text: what this package's own grammar does not cover goes through math-verify's
LaTeX grammar, never through `sympify` or `parse_expr`. Its alarms are off; the caller's pool kills instead.
"""

from __future__ import annotations

import re
from functools import lru_cache

from proofmill.filters.symbolic.answer_forms import AnswerKey, UnreadableError
from proofmill.filters.symbolic.answer_parser import parse_answer
from proofmill.filters.symbolic.expressions import MAX_BITS, Binary, Node, TooCostlyError, unknowns_of
from proofmill.filters.symbolic.grammar import NotCoveredError, parse
from proofmill.filters.symbolic.units import based_value, colon_form, plain_text
from proofmill.filters.symbolic.values import (
    Context,
    is_value,
    proportional,
    rational_value,
    same_progression,
    same_value,
    strip_spaces,
    value_of,
)

_DIGIT = re.compile(r"[0-9]")
_MAX_QUICK = 200  # characters of an answer that is judged in the caller's process
QUICK_BITS = 4_000  # of every number in such an answer
_MAX_MATCHED = 24  # items of collections whose order must be found
_MAX_KEY_BITS = 10_000  # Python writes no more than 4300 decimal digits, and slowly


def equivalent(a: str, b: str) -> bool:
    """Return whether two answers to one question are the same, exactly.

    Raises:
        TooCostlyError: an answer is too long, too deep or too big to judge.
    """
    try:
        return same(parse_answer(a), parse_answer(b), Context())
    except UnreadableError:
        return False


def canonical(answer: str) -> str | None:
    """Return a key that equal answers share, where one can be had exactly and cheaply; else None.

    Rational values, words and the collections, tuples and intervals of these have one.
    """
    try:
        return _key(parse_answer(answer), MAX_BITS)
    except (UnreadableError, TooCostlyError):
        return None


@lru_cache(maxsize=8192)
def named_number(answer: str) -> tuple[str, str] | None:
    """Return the name that a short answer gives one rational number (or ""), and its key; costs microseconds."""
    if len(answer) > _MAX_QUICK or _DIGIT.search(answer) is None:
        return None
    try:
        form = parse_answer(answer)
        key = _key(form, QUICK_BITS) if form.kind in ("value", "relation") else None
    except (UnreadableError, TooCostlyError):
        return None
    return None if key is None else (form.name, key)


def is_rational(answer: AnswerKey, max_bits: int = MAX_BITS) -> bool:
    """Return whether the answer is one number with an exact rational value, with or without a unit.

    Raises:
        TooCostlyError: the number is too big to judge.
    """
    return answer.kind == "value" and rational_value(value_of(answer.text).text, max_bits) is not None


_WORDS = re.compile(r"(?<![\\A-Za-z])[A-Za-z']{2,}")
_HALF_DAY = re.compile(r"(?<!12:[0-5]\d)(?<=:[0-5]\d)\s?[AaPp][Mm]\b")  # 6:15 am
_GROUP = re.compile(r"(?<!text)(?<!text )[({][^(){}]*[)}]")
_SPAN = re.compile(r"(?:\$\$?[^$]+\$\$?|\\\((?:(?!\\\)).)+\\\)|\\\[(?:(?!\\\]).)+\\\])\Z", re.DOTALL)
NOT_LABELS = frozenset(
    re.findall(
        r"\w+",
        "too below in to that who which for on at by and left more as than with from is are was were be but or not if "
        "when about it so he plus minus times over divided twice i am she they we you us me his her its their "
        "nicht nein pas non nie niet anzi sino sondern rather "
        "oder ou oppure lub eller mil mille millones milhões milioni millionen milliarden tausend hundert mehr weniger "
        "them has have had do does did can will would each every all into the get gets got",
    )
)


def is_answer(text: str) -> bool:
    """Return whether a text is an answer as it stands: all its values can be read, or it is one formula.

    Raises:
        UnreadableError: its brackets do not match.
        TooCostlyError: it is too long or too deep.
    """
    form = parse_answer(text)
    return _whole(form) or (_SPAN.match(text) is not None and "\\text" not in text)


def _whole(answer: AnswerKey) -> bool:
    if answer.name.isalpha() and len(answer.name) > 12:
        return False  # half a sentence before the equals sign
    if answer.kind == "words":
        return len(answer.text.split()) <= 6
    if answer.kind == "value":
        if (" to " in answer.text and colon_form(answer.text)) or " mod " in answer.text or based_value(answer.text):
            return is_value(answer.text, library=False)  # 3 to 5, a ratio; 2 mod 7; C in base 16
        stated = _GROUP.sub(" ", answer.text) if "\\" in answer.text else answer.text  # e^{-at} holds no words
        words = [word.lower() for word in _WORDS.findall(_HALF_DAY.sub("", plain_text(stated)))]
        return len(words) <= 4 and NOT_LABELS.isdisjoint(words) and is_value(answer.text, library=False)
    if answer.kind == "relation" and set(answer.text.split()) == {"="}:
        first = answer.items[0]
        if first.kind != "value" or rational_value(value_of(first.text).text, QUICK_BITS) is not None:
            return False  # a computation, whose last side is meant
    kinds = {item.kind for item in answer.items}
    return ("words" not in kinds or kinds == {"words"}) and all(map(_whole, answer.items))


def readable(answer: AnswerKey) -> bool:
    """Return whether every value in the answer can be parsed by some grammar here (a gold answer must)."""
    if answer.kind == "value":
        return is_value(answer.text)
    return all(readable(item) for item in answer.items)


def same(a: AnswerKey, b: AnswerKey, context: Context) -> bool:
    """Return whether two forms are the same answer; symmetric.

    Raises:
        TooCostlyError: a value is too big to judge.
    """
    a, b = _settled(a), _settled(b)
    if a == b:
        return True
    if "progression" in (a.kind, b.kind):
        return _same_progression(a, b, context)
    if "family" in (a.kind, b.kind):
        return _same_family(a, b, context)
    renamed = a.name != b.name and len(a.name) == len(b.name) == 1
    if renamed or a.kind == "relation" or b.kind == "relation":
        return _same_relation(a, b)
    if a.kind != b.kind:
        return False
    return _same_kind(a, b, context)


def _same_kind(a: AnswerKey, b: AnswerKey, context: Context) -> bool:
    if a.kind == "value":
        return same_value(a.text, b.text, context)
    if a.kind == "words":
        return a.text == b.text or _run_together(a.text, b.text)
    if len(a.items) != len(b.items) or not all(map(_same_name, a.items, b.items)):
        return False
    if a.kind in ("group", "matrix") or (context.ordered and a.kind == "collection"):
        alike = a.text == b.text or (a.kind == "group" and len(a.items) > 2 and {a.text, b.text} == {"()", "[]"})
        return alike and all(map(lambda x, y: same(x, y, context), a.items, b.items))
    return not _counts_differ(a.items, b.items) and _same_unordered(a.items, b.items, context)


_COUNT = re.compile(r"(-?[\d.,]*\d) ?([A-Za-z][A-Za-z -]{2,60})\Z")


def _counts_differ(a: tuple[AnswerKey, ...], b: tuple[AnswerKey, ...]) -> bool:
    """Return whether two lists count one thing differently: 5 two-euro coins of 9, beside one-euro coins."""
    counts: list[dict[frozenset[str], str]] = []
    for items in (a, b):
        found = [_COUNT.match(plain_text(item.text)) for item in items if item.kind == "value"]
        words = [frozenset(match[2].lower().split()) for match in found if match is not None]
        if len(words) < len(items) or len(set(words)) < len(words):
            return False
        common = frozenset.intersection(*words) if words else frozenset()
        counts.append(
            {label - common: match[1] for label, match in zip(words, found, strict=True) if match is not None}
        )
    return any(label and counts[1].get(label, number) != number for label, number in counts[0].items())


def _same_name(a: AnswerKey, b: AnswerKey) -> bool:
    """Return whether the words that name two parts, if both have some, share one: radius, the radius."""
    if len(a.name) < 3 or len(b.name) < 3 or not (a.name[:3].isalpha() and b.name[:3].isalpha()):
        return True
    return not {word[:3] for word in a.name.split()}.isdisjoint(word[:3] for word in b.name.split())


def _settled(answer: AnswerKey, max_bits: int = MAX_BITS) -> AnswerKey:
    """Return the value of a true chain of numbers (`2 + 3 = 5`); any other answer as it is."""
    if answer.kind != "relation" or set(answer.text.split()) != {"="}:
        return answer
    last = answer.items[-1]
    if all(item.kind == "value" for item in answer.items):
        values = [rational_value(item.text, max_bits) for item in answer.items]
        if values[0] is not None and all(value == values[0] for value in values):
            return last
    return answer


def _letter(answer: AnswerKey) -> str:
    """Return the letter that stands for every integer, "" where none is said to."""
    return answer.text if answer.kind == "progression" else ""


def _same_progression(a: AnswerKey, b: AnswerKey, context: Context) -> bool:
    """Return whether both state the same values for every integer; one may leave out that its letter is an integer."""
    left, right = (answer.items[0] if answer.kind == "progression" else answer for answer in (a, b))
    if left.kind == right.kind == "collection":
        if len(left.items) != len(right.items):
            return False
        sides = [
            tuple(
                AnswerKey("progression", answer.text if answer.kind == "progression" else "", (item,))
                for item in side.items
            )
            for answer, side in ((a, left), (b, right))
        ]
        return _same_unordered(sides[0], sides[1], context)
    if left.kind != "value" or right.kind != "value":
        return False
    try:
        nodes = parse(left.text), parse(right.text)
        letters = [
            {_letter(answer)} if _letter(answer) else set(unknowns_of(node))
            for answer, node in zip((a, b), nodes, strict=True)
        ]
        return all(len(names) == 1 for names in letters) and same_progression(
            nodes[0], letters[0].pop(), nodes[1], letters[1].pop()
        )
    except NotCoveredError:
        return False


_LETTER = re.compile("[a-zA-Z]")


def _same_family(a: AnswerKey, b: AnswerKey, context: Context) -> bool:
    """Return whether two answers are the same but for the letter of their constant; one may not say that it is one."""
    left, right = (answer.items[0] if answer.kind == "family" else answer for answer in (a, b))
    if left.kind != "value" or right.kind != "value":
        return False
    if a.kind != "family":
        a, b, left, right = b, a, right, left
    if re.search(r"[A-Za-z]{3}|\\", f"{left.text} {right.text}"):
        return same_value(left.text, right.text, context)
    extra = (
        b.text
        if b.kind == "family"
        else "".join(set(_LETTER.findall(right.text)) - set(_LETTER.findall(left.text))) or a.text
    )
    return len(extra) == 1 and same_value(left.text, right.text.replace(extra, a.text), context)


def _run_together(one: str, other: str) -> bool:
    """Return whether one of two texts is the other as a data set writes it that has lost its spaces."""
    if " " in one:
        one, other = other, one
    return " " not in one and len(one) > 3 and one.replace("the", "") == re.sub(r"[ '-]", "", other).replace("the", "")


def _same_unordered(a: tuple[AnswerKey, ...], b: tuple[AnswerKey, ...], context: Context) -> bool:
    if len(a) > _MAX_MATCHED:
        return all(map(lambda x, y: same(x, y, context), a, b))
    rest = list(b)
    for item in a:
        match = next((index for index, other in enumerate(rest) if same(item, other, context)), None)
        if match is None:
            return False
        del rest[match]
    return True


def _same_relation(a: AnswerKey, b: AnswerKey) -> bool:
    """Return whether two relations in several letters agree: one side's difference is a multiple of the other's."""
    left, right = _difference(a), _difference(b)
    if left is None or right is None or left[0].strip("<>") != right[0].strip("<>"):
        return False
    try:
        factor = proportional(left[1], right[1])
    except NotCoveredError:
        return False
    if factor is None or left[0] in ("=", "!="):
        return factor is not None
    return (factor > 0) == (left[0] == right[0])


def _difference(relation: AnswerKey) -> tuple[str, Node] | None:
    r"""Return the sign and left − right; `y = 2x + 1` counts as a relation too."""
    if relation.kind == "relation" and len(relation.items) == 2:
        sign, sides = relation.text, [item.text if item.kind == "value" else "" for item in relation.items]
    elif relation.kind == "value" and relation.name:
        sign, sides = "=", [relation.name, relation.text]
    else:
        return None
    try:
        return sign, Binary("-", parse(sides[0]), parse(sides[1]))
    except NotCoveredError:
        return None


def _key(answer: AnswerKey, max_bits: int) -> str | None:
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
    if ":" in text or (value.unit is not None and value.unit.measures):
        return None
    if "\\infty" in text:
        return strip_spaces(text).lstrip("+")
    number = rational_value(value.text, max_bits)
    if number is None or max(number.numerator.bit_length(), number.denominator.bit_length()) > _MAX_KEY_BITS:
        return None
    return str(number / 100 if value.percent else number)
