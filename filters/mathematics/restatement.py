r"""Forms of an answer that only a known gold answer makes plain.

- The gold is a number and the answer an equation whose left side is an expression: `x + y = 12` states 12. With one
  letter only (`3x = 12`) the equation could be one to solve; then the question must ask for that very expression.
- The gold is a collection and the answer numbers its items: `x_1 = 2, x_2 = 3`.
- The gold is a list of pairs and the answer joins them by "or", as one joins intervals. Not the other way round:
  "x < 1 and x > 2" is no union.
"""

from __future__ import annotations

import re

from proofmill.filters.mathematics import evaluation
from proofmill.filters.mathematics.expressions import NotCoveredError
from proofmill.filters.mathematics.grammar import parse
from proofmill.filters.mathematics.names import hedged
from proofmill.filters.mathematics.shapes import TOKEN, Shape
from proofmill.filters.mathematics.values import Context, rational_value, value_of

_NUMBERED = re.compile(r"([A-Za-z])_\{?\d{1,2}\}?\Z")
_ASKS = r"(?:[Ff]ind|[Vv]alue of|[Ww]hat is|[Cc]ompute|[Ee]valuate|[Dd]etermine|[Cc]alculate)(?: the value of)?\s*"
_ENDS = r"(?!\w|\s*[-+*/^(!_\\])"
_FIGURE = re.compile(r"\\angle(?![A-Za-z])")
_MAX_ASKED = 100  # characters of an expression that a question asks for


def restated(gold: Shape, answer: Shape, context: Context) -> Shape | None:
    """What the answer states in the gold's form; None where it has no such form."""
    if answer.kind == "relation" and gold.kind == "value":
        return _expressed(answer, context.question) if _letters(gold.text) == 0 else None
    if gold.kind == "collection" and answer.kind == "group":
        names = [_NUMBERED.match(item.name) for item in answer.items]
        letters = {name[1] if name else "" for name in names}
        return Shape("collection", "", answer.items) if len(letters) == 1 and all(letters) else None
    if (gold.kind, answer.kind) == ("collection", "union") and all(
        item.kind == "group" for item in gold.items + answer.items
    ):
        return Shape(gold.kind, gold.text, answer.items)
    return None


def _expressed(equation: Shape, question: str) -> Shape | None:
    """The number that an equation states an expression to be; None where it might be one to solve."""
    left, *others = equation.items
    if set(equation.text.split()) != {"="} or any(item.kind != "value" for item in equation.items):
        return None
    numbers = [rational_value(item.text) for item in others]
    if len(others) > 1 and (numbers[0] is None or any(number != numbers[0] for number in numbers)):
        return None
    letters = 0 if hedged(left.text) else _letters(left.text) or 0
    stated = _letters(others[-1].text) == 0 and (letters > 1 or (letters == 1 and _asked(left.text, question)))
    return others[-1] if stated else None


def _letters(text: str) -> int | None:
    """How many letters stand in an expression; None where it is none."""
    try:
        return len(evaluation.symbols(parse(_FIGURE.sub("", value_of(text).text).strip())))
    except NotCoveredError:
        return None


def _asked(expression: str, question: str) -> bool:
    if len(expression) > _MAX_ASKED:
        return False
    spelled = r"\s*".join(re.escape(piece) for piece in TOKEN.findall(expression) if piece.strip())
    return re.search(_ASKS + spelled + _ENDS, question) is not None
