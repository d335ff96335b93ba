r"""Whether an answer is the gold one, in forms too that only a known gold answer makes plain.

- The gold is a number and the answer an equation whose left side is an expression: `x + y = 12` states 12. With one
  letter only (`3x = 12`) the equation could be one to solve; then the question must ask for that very expression, or
  the answer puts a number for the letter (`3x = 3 · 4 = 12`).
- The gold is a collection and the answer numbers its items (`x_1 = 2, x_2 = 3`), or the other way round, in order.
- The gold states a base that the question asks for, and the answer gives the digits alone.
- The gold is a list of pairs and the answer joins them by "or", as one joins intervals. Not the other way round:
  "x < 1 and x > 2" is no union.
- The gold is an expression and the answer an equation whose sides are that same expression: `(x + 1)^2 = x^2 + 2x + 1`.
- The gold is a value, and the answer gives it twice: "6:10, or 3:5".
- The question asks for a fraction or a probability, and the answer is "3 out of 4".
- The gold has a constant of integration, for which the answer has another letter; what they differ by may be in it.
- The gold is a vector, and the answer writes it by its axes: `i - 2j + 3k`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import pairwise

from proofmill.filters.symbolic.answer_forms import TOKEN, AnswerKey, UnreadableError, hedged
from proofmill.filters.symbolic.answer_parser import parse_answer
from proofmill.filters.symbolic.equality import NOT_LABELS, same
from proofmill.filters.symbolic.expressions import unknowns_of
from proofmill.filters.symbolic.grammar import NotCoveredError, parse
from proofmill.filters.symbolic.notation import NUMBER_WORDS
from proofmill.filters.symbolic.number_words import in_figures, spelled_number
from proofmill.filters.symbolic.units import colon_form, stated_base
from proofmill.filters.symbolic.values import RESIDUE, Context, rational_value, same_value, value_of


def answers_gold(gold: AnswerKey, answer: AnswerKey, context: Context) -> bool:
    """Return whether an answer is the gold one, as it stands or in a form that only a known gold answer makes plain.

    Raises:
        TooCostlyError: a value is too big to judge.
    """
    if (renamed := _with_gold_variable(gold, answer, context.question)) is not None:
        return same(gold, renamed, context)
    if (gold.kind == "words") != (answer.kind == "words"):
        gold, answer = _in_figures(gold), _in_figures(answer)
    stated = gold_relative_form(gold, answer, context)
    if stated is not None and gold.kind == "value" and stated_base(gold.text):
        return same(gold, stated, context)  # digits in the base that is asked for are not read in another
    return same(gold, answer, context) or (stated is not None and same(gold, stated, context))


_OF_VARIABLE = re.compile(r"([A-Za-z])\(([a-z])\)\Z")


def _with_gold_variable(gold: AnswerKey, answer: AnswerKey, question: str) -> AnswerKey | None:
    """Return a function in the variable that gold or the question has for it: f(t) = 3t + 2 of f(x) = 3x + 2.

    None where it has that variable, or is no function of one.
    """
    stated = _OF_VARIABLE.match(answer.name)
    if stated is None or gold.kind != "value" or answer.kind != "value":
        return None
    wanted = _OF_VARIABLE.match(gold.name)
    if gold.name and (wanted is None or wanted[1] != stated[1]):
        return None
    variable = wanted[2] if wanted else "".join(set(re.findall(rf"(?<![A-Za-z]){stated[1]}\(([a-z])\)", question)))
    if len(variable) != 1 or variable == stated[2]:
        return None
    swap = {variable: stated[2], stated[2]: variable}
    text = re.sub(r"(?<![A-Za-z\\])[a-z](?![A-Za-z])", lambda match: swap.get(match[0], match[0]), answer.text)
    return AnswerKey("value", text, (), gold.name)


def _in_figures(form: AnswerKey) -> AnswerKey:
    """Return a number in words, with its unit or label, as a value: `twelve apples`; any other form as it is."""
    spelled = spelled_number(form.text) if form.kind == "words" else None
    if spelled is None:
        return form
    if " over " in form.text:  # three over four
        return parse_answer(in_figures(form.text))
    number, label = spelled
    words = label.split()
    if len(words) > 3 or not all(word.isalpha() and word not in NOT_LABELS for word in words):
        return form
    return AnswerKey("value", f"{number} {label}".strip() if number.denominator == 1 or label else str(number))


_BARE_DIGITS = re.compile(r"-?[\dA-F]{1,60}\Z")
_NUMBERED = re.compile(r"([A-Za-z]|\\[a-z]{2,7})_\{?\d{1,2}\}?\Z")
_ASKS = r"(?:[Ff]ind|[Vv]alue of|[Ww]hat is|[Cc]ompute|[Ee]valuate|[Dd]etermine|[Cc]alculate)(?: the value of)?\s*"
_ENDS = r"(?!\w|\s*[-+*/^(!_\\])"
_FIGURE = re.compile(r"\\angle(?![A-Za-z])")
_MAX_ASKED = 100  # characters of an expression that a question asks for
_SHARE = re.compile(r"(\d{1,9}) ?(?:out of|in|over) ?(\d{1,9})\Z")
_ASKS_SHARE = re.compile(
    r"\b(?:probabilit\w+|fraction|chances?|likel\w+|proportion|ratio|share|portion|odds)\b", re.IGNORECASE
)
_INTEGRATES = re.compile(r"\\int(?![a-z])|\bintegra\w+|antideriv|differential", re.IGNORECASE)
_CONSTANT = re.compile(r"(?<![A-Za-z\\])(?:[KkD]|[cC]_\{?[01]\}?)(?![A-Za-z(])")
_INTEGRAL = re.compile(r"\\int(?![a-z_]| ?\\limits)")
_COMPUTED = re.compile(r"\\(?:i{1,3}nt|oint|sum|prod|lim)(?![a-z])")
_ASKS_RESIDUE = re.compile(r"\bremainder|\bmod\b|\\[pb]?mod|congruent|\bmodulo\b|\bresidue")
_AXES = re.compile(r"(?<![A-Za-z\\{])[ijk](?![A-Za-z(}])")


def gold_relative_form(gold: AnswerKey, answer: AnswerKey, context: Context) -> AnswerKey | None:
    """Return what the answer states in the gold's form; None where it has no such form."""
    for rule in _RULES.get((gold.kind, answer.kind), ()):
        if (form := rule(gold, answer, context)) is not None:
            return form
    return None


def _of_equation(gold: AnswerKey, answer: AnswerKey, context: Context) -> AnswerKey | None:
    if (stated := _identity(answer)) is not None:
        return stated
    if _INTEGRAL.match(answer.items[0].text) and len(answer.items) > 1 and set(answer.text.split()) == {"="}:
        return _integral(gold, answer.items[-1], context) or answer.items[-1]
    if _letters(gold.text):
        return None
    return _evaluated(answer) or _expressed(answer, context.question)


_TIMES = r"(?:\\(?:cdot|times)|[*×·])?"


def _evaluated(equation: AnswerKey) -> AnswerKey | None:
    r"""Return the last side of an equation that puts a number for a letter: `3k = 3 \cdot \frac{\pi}{6} = 0.5\pi`."""
    first, *others = [item.text.replace(" ", "") for item in equation.items]
    if len(others) < 2 or set(equation.text.split()) != {"="} or any(map(_letters, others)) or _letters(first) != 1:
        return None
    before, letter, behind = re.split(r"(?<![A-Za-z\\])([a-zA-Z])(?![A-Za-z])", first, maxsplit=1)
    with_number = rf"{re.escape(before)}{_TIMES}\(?\S+\)?{_TIMES}{re.escape(behind)}"
    return equation.items[-1] if letter and before + behind and re.fullmatch(with_number, others[0]) else None


def _identity(equation: AnswerKey) -> AnswerKey | None:
    """Return the last side of an equation whose sides are the same expression."""
    if set(equation.text.split()) != {"="} or any(item.kind != "value" for item in equation.items):
        return None
    *others, last = equation.items
    return last if all(same_value(last.text, other.text, Context()) for other in others) else None


def _share(_: AnswerKey, answer: AnswerKey, context: Context) -> AnswerKey | None:
    share = _SHARE.match(answer.text)
    if share is None or _ASKS_SHARE.search(context.question) is None:
        return None
    return AnswerKey("value", f"{share[1]}/{share[2]}")


def _remainder(_: AnswerKey, answer: AnswerKey, context: Context) -> AnswerKey | None:
    residue = RESIDUE.match(answer.text)
    if residue is None or _ASKS_RESIDUE.search(context.question) is None or residue[2] not in context.question:
        return None
    return AnswerKey("value", residue[1])


def _integral(gold: AnswerKey, answer: AnswerKey, context: Context) -> AnswerKey | None:
    if not gold.text.endswith("C") or _INTEGRATES.search(context.question) is None:
        return None
    stated = _CONSTANT.sub("C", answer.text)
    return gold if stated.endswith("C") and _apart_by_constant(gold.text, stated) else AnswerKey("value", stated)


_PLUS_C = re.compile(r"[+-] ?C\Z")


def _apart_by_constant(one: str, other: str) -> bool:
    """Return whether two functions of one letter, each with a constant added, differ in nothing but that constant."""
    difference = f"({_PLUS_C.sub('', one).strip()})-({_PLUS_C.sub('', other).strip()})"
    try:
        letters = unknowns_of(parse(value_of(difference).text))
    except NotCoveredError:
        return False
    if len(letters) != 1 or len(difference) > _MAX_DIFFERENCE:
        return False
    (letter,) = letters
    elsewhere = re.sub(rf"(?<![A-Za-z\\]){re.escape(letter)}(?![A-Za-z])", "u" if letter != "u" else "v", difference)
    return same_value(difference, elsewhere, Context())


_MAX_DIFFERENCE = 300  # characters


def _in_asked_base(gold: AnswerKey, answer: AnswerKey, context: Context) -> AnswerKey | None:
    for stated, bare in ((gold, answer), (answer, gold)):
        base = stated_base(stated.text)
        digits = bare.text.upper()
        if not base or not _BARE_DIGITS.match(digits) or not _asks_base(base, context.question):
            continue
        in_base = AnswerKey("value", f"{digits}_{{{base}}}")  # the question asks for that base, so they are in it
        if bare is answer:
            return in_base
        return gold if same(in_base, answer, context) else None
    return None


_BASE_NAMES = {2: "binary", 8: "octal", 16: "hexadecimal|hex"}


def _asks_base(base: int, question: str) -> bool:
    word = next((word for word, value in NUMBER_WORDS.items() if value == base), str(base))
    named = rf"\b(?:{_BASE_NAMES[base]})\b|" if base in _BASE_NAMES else ""
    return re.search(rf"{named}base[- ]?\$?\{{?(?:{base}|{word})\b", question, re.IGNORECASE) is not None


def _along_axes(_: AnswerKey, answer: AnswerKey, context: Context) -> AnswerKey | None:  # noqa: ARG001
    if "j" not in answer.text or _AXES.search(answer.text) is None:
        return None
    try:
        vector = parse_answer(_AXES.sub(lambda match: f"\\hat{{{match[0]}}}", answer.text))
    except UnreadableError:
        return None
    return vector if vector.kind == "group" else None


def _numbered_gold(gold: AnswerKey, answer: AnswerKey, context: Context) -> AnswerKey | None:  # noqa: ARG001
    names = [_NUMBERED.match(item.name) for item in gold.items]
    numbered = all(names) and len({name[1] for name in names if name}) == 1
    return AnswerKey("group", gold.text, answer.items) if numbered else None


def _numbered_answer(gold: AnswerKey, answer: AnswerKey, context: Context) -> AnswerKey | None:
    if _in_asked_order(gold, answer, context):
        return gold
    names = [_NUMBERED.match(item.name) for item in answer.items]
    letters = {name[1] if name else "" for name in names}
    return AnswerKey("collection", "", answer.items) if len(letters) == 1 and all(letters) else None


def _alternatives(gold: AnswerKey, answer: AnswerKey, context: Context) -> AnswerKey | None:
    """Return the gold where an answer gives it several times over, in different forms."""
    return gold if all(same(gold, item, context) for item in answer.items) else None


def _joined_pairs(gold: AnswerKey, answer: AnswerKey, context: Context) -> AnswerKey | None:  # noqa: ARG001
    pairs = all(item.kind == "group" for item in gold.items + answer.items)
    return AnswerKey(gold.kind, gold.text, answer.items) if pairs else None


def _added_up(gold: AnswerKey, answer: AnswerKey, context: Context) -> AnswerKey | None:
    """Return the sum of one quantity in several units, each smaller than the one before: 1 hour and 30 minutes."""
    values = [value_of(item.text) for item in answer.items if item.kind == "value" and not item.name]
    units = [value.unit for value in values if value.unit is not None and value.unit.measures]
    if not 2 <= len(units) <= 3 or len(units) < len(answer.items):
        return None
    asked = value_of(gold.text).unit or context.asked or units[0]
    numbers = [rational_value(value.text) for value in values]
    falling = all(left.factor > right.factor for left, right in pairwise(units))
    if not falling or any(unit.dimensions != asked.dimensions for unit in units) or None in numbers:
        return None
    total = sum((number or 0) * unit.factor / asked.factor for number, unit in zip(numbers, units, strict=True))
    stated = value_of(gold.text)
    bare = rational_value(stated.text)
    return gold if bare is not None and bare == total else None


def _split_up(gold: AnswerKey, answer: AnswerKey, context: Context) -> AnswerKey | None:
    """Return the gold where it is a quantity in several units, and an answer gives it in one: 2.5 hours."""
    stated = value_of(answer.text).unit is not None or context.asked is not None
    return gold if stated and _added_up(answer, gold, context) is not None else None


def _clock_of(gold: AnswerKey, answer: AnswerKey, context: Context) -> AnswerKey | None:
    return None if _on_the_clock(answer, gold, context) is None else gold


def _decimal_comma(gold: AnswerKey, answer: AnswerKey, context: Context) -> AnswerKey | None:  # noqa: ARG001
    """Return the gold, a decimal, where an answer writes it with a comma: 0,75."""
    digits = [item.text for item in answer.items if item.kind == "value" and not item.name and item.text.isdecimal()]
    if len(digits) != len(answer.items) or len(digits) != 2:
        return None
    value = rational_value(value_of(gold.text).text)
    stated = rational_value(".".join(digits))
    return gold if value is not None and value.denominator > 1 and value == stated else None


def _on_the_clock(gold: AnswerKey, answer: AnswerKey, context: Context) -> AnswerKey | None:  # noqa: ARG001
    """Return the gold where it is a time of day or a duration, 12:15, and an answer gives it as 12 h and 15 min."""
    clock = colon_form(gold.text) if ":" in gold.text else None
    values = [value_of(item.text) for item in answer.items if item.kind == "value" and not item.name]
    if clock is None or len(values) != len(answer.items) or len(values) != 2:
        return None
    sizes = [value.unit.factor if value.unit is not None and value.unit.dimensions == _TIME else 0 for value in values]
    parts = tuple(rational_value(value.text) for value in values)
    return gold if sizes == [3600, 60] and parts == clock[1] else None


_TIME = (("second", 1),)


def _rows(_: AnswerKey, answer: AnswerKey, context: Context) -> AnswerKey | None:  # noqa: ARG001
    """Return a list of lists of one length as a matrix: [[1, 2], [3, 4]]."""
    rows = answer.items
    if answer.text != "[]" or any(row.kind != "group" or row.text != "[]" for row in rows):
        return None
    width = len(rows[0].items)
    if any(len(row.items) != width for row in rows):
        return None
    return AnswerKey("matrix", str(width), tuple(item for row in rows for item in row.items))


def _in_asked_order(gold: AnswerKey, answer: AnswerKey, context: Context) -> bool:
    """Return whether gold lists the values of letters in the order of both the alphabet and the question: a and b."""
    names = [item.name for item in answer.items]
    if not all(len(name) == 1 for name in names) or len(names) != len(gold.items):
        return False
    if any(item.name for item in gold.items) or re.search(_letters_asked(names), context.question) is None:
        return False
    return all(
        same(item, AnswerKey(other.kind, other.text, other.items), context)
        for item, other in zip(gold.items, answer.items, strict=True)
    )


def _letters_asked(names: list[str]) -> str:
    return r"(?<![A-Za-z])" + r"\s*(?:,|and|,\s*and|&)\s*".join(map(re.escape, names)) + r"(?![A-Za-z])"


def _expressed(equation: AnswerKey, question: str) -> AnswerKey | None:
    """Return the number that an equation states an expression to be; None where it might be one to solve."""
    left, *others = equation.items
    if set(equation.text.split()) != {"="} or any(item.kind != "value" for item in equation.items):
        return None
    numbers = [rational_value(item.text) for item in others]
    if len(others) > 1 and (numbers[0] is None or any(number != numbers[0] for number in numbers)):
        return None
    if _COMPUTED.search(left.text) and len(others) == 1:  # no equation to solve
        return others[0] if _letters(others[0].text) == 0 else None
    letters = 0 if hedged(left.text) else _letters(left.text) or 0
    stated = _letters(others[-1].text) == 0 and (letters > 1 or _asked(left.text, question))
    return others[-1] if stated else None


def _letters(text: str) -> int | None:
    """Return how many letters stand in an expression; None where it is none."""
    try:
        return len(unknowns_of(parse(_FIGURE.sub("", value_of(text).text).strip())))
    except NotCoveredError:
        return None


def _asked(expression: str, question: str) -> bool:
    if len(expression) > _MAX_ASKED:
        return False
    spelled = r"\s*".join(re.escape(piece) for piece in TOKEN.findall(expression) if piece.strip())
    if re.search(_ASKS + spelled + _ENDS, question) is not None:
        return True
    plain = re.sub(r"[\\\s(){}]", "", expression)  # sin 60° of \sin(60^\circ)
    return (
        len(plain) > 3
        and re.search(
            re.sub(r"\\s\*\Z", "", _ASKS) + r"\W*" + r"[\\\s(){}]*".join(map(re.escape, plain)) + r"[\s(){}]*" + _ENDS,
            question,
        )
        is not None
    )


_Rule = Callable[[AnswerKey, AnswerKey, Context], AnswerKey | None]
_RULES: dict[tuple[str, str], tuple[_Rule, ...]] = {
    ("value", "relation"): (_of_equation,),
    ("value", "value"): (_in_asked_base, _share, _remainder, _integral),
    ("words", "value"): (_in_asked_base,),
    ("value", "collection"): (_on_the_clock, _added_up, _decimal_comma, _alternatives),
    ("collection", "value"): (_split_up, _clock_of),
    ("group", "value"): (_along_axes,),
    ("group", "collection"): (_numbered_gold,),
    ("matrix", "group"): (_rows,),
    ("collection", "group"): (_numbered_answer,),
    ("collection", "union"): (_joined_pairs,),
}
