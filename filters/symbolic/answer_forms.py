r"""An answer taken apart: `AnswerKey`, and the forms that are read off its text directly.

- What an answer may call its value: the left side of `x = 5`, `P(A) = 5`, `[ABC] = 5`, `\max f = 5`.
- Bounds: `1 < x \le 5`, `\le 5`, `-x > 3`, `|x| < 3`, `]1,5]`, `\{x \mid x > 1\}`.
- What LaTeX sets in rows: matrices, with a factor before them or not, functions and systems by cases.
- Forms that say the same in another way: conditions on a parameter, residues, vectors, ℝ without points.

Each reader takes a cleaned text and returns the answer that it spells, or None where the text is not of its form.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Literal

from proofmill.filters.symbolic.grammar import NotCoveredError, parse
from proofmill.filters.symbolic.notation import GREEK, MODULO
from proofmill.filters.symbolic.units import plain_text
from proofmill.filters.symbolic.values import rational_value

Kind = Literal[
    "value", "words", "collection", "group", "union", "relation", "matrix", "cases", "progression", "family", "empty"
]


class UnreadableError(ValueError):
    """The text is not an answer: empty, or its brackets do not match."""


@dataclass(frozen=True, slots=True)
class AnswerKey:
    """One answer, taken apart down to its values.

    Attributes:
        kind: what it is.
        text: a value's text, a word answer's key, a group's two brackets, a relation's sign, or the number
            of columns of a matrix.
        items: the parts; of a relation the two sides, of cases groups of a value and its condition, of a progression
            what is stated for every integer, whose letter is `text`; of a family what is stated for every value of a
        constant, whose letter is `text`.
        name: the name that the answer gives its value (`x` of `x = 5`), else "".
    """

    kind: Kind
    text: str = ""
    items: tuple[AnswerKey, ...] = ()
    name: str = ""


TOKEN = re.compile(r"\\(?:[A-Za-z]+|.)|\b(?:or|and)\b|.", re.DOTALL)
OPENERS = {"(": ")", "[": "]", "{": "}", "\\{": "\\}", "\\langle": "\\rangle"}
CLOSERS = frozenset([")", "]", "}", "\\}", "\\rangle"])


def split(pieces: list[str], signs: frozenset[str]) -> tuple[list[str], list[str]]:
    """Return the texts between the given pieces outside all brackets and environments, and those pieces."""
    depth, parts, found = 0, [[]], []  # type: tuple[int, list[list[str]], list[str]]
    for piece in pieces:
        if piece in OPENERS or piece == "\\begin":
            depth += 1
        elif piece in CLOSERS or piece == "\\end":
            depth -= 1
        if depth <= 0 and piece in signs:
            found.append(piece)
            parts.append([])
        else:
            parts[-1].append(piece)
    return ["".join(part).strip() for part in parts], found


_DENIED = re.compile(
    r"\b(?:not|nor|or|if|when|unless|never|maybe|perhaps|wrong|incorrect|false|except|without)\b", re.IGNORECASE
)
_MAX_NAME = 80
_NAME = re.compile(
    r"""(?:\\?[A-Za-z]{1,12}
        (?:_(?:\w|\\[A-Za-z]{1,12}|\{(?:[^{}=]|\{[^{}=]{0,20}\}){1,30}\}))?'{0,2}
        (?:(?:\^\{\ ?-1\ ?\})?\(\w{1,3}(?:,\ ?\w){0,3}\))?             # f(x), the inverse f^{-1}(x)
    |[A-Za-z][A-Za-z'\ ]{0,60}
    |\\mathbb\ ?\{?\ ?[LSD]\ ?\}?                                       # the set of solutions, the domain
    |d[A-Za-z]\ ?/\ ?d[a-z]|\\frac\ ?\{\ ?d[A-Za-z]?\ ?\}\ ?\{\ ?d[a-z]\ ?\}[^=]{0,40}  # a derivative
    |(?:m\ ?)?\\(?:angle|text|triangle|overline|vec|widehat|bar|tilde)\ ?\{?[A-Za-z\ ]{1,60}\}?
    |\(\w(?:,\ ?\w){1,3}\)
    |\\(?:sin|cos|tan|cot|sec|csc)\ ?\(?(?:\\angle\ ?)?[A-Z]\)?|[A-Z]\ ?_?\ ?\{?\ ?\\infty\ ?\}?  # sin A, S_\infty
    |\|[A-Z]{1,3}\||\[[A-Z]{2,8}\]|\\\#\ ?[A-Za-z]?                    # a length, an area, the number of
    |(?P<head>\\(?:max|min|sup|inf|det|deg|dim|gcd|lcm|Pr)(?:\ ?[A-Za-z]'?)?|[fghpqPQEFGHVSTRA]|Var|gcd|lcm)\ ?
        (?:[(\[](?![^()\[\]]{0,30}(?P=head))[^()\[\]]{1,30}[)\]])?     # a value of a function; p(p - 1) is none
    )\Z""",
    re.VERBOSE,
)


_PART = r"(?:\\(?:overline|text) ?)?\{?[A-Z]{2,4}\}?|[A-Za-z](?:_(?:\w|\{\w{1,6}\}))"
_QUOTIENT = re.compile(  # of lengths or areas; `x/y` is an expression that an equation restricts
    rf"(?:\\frac ?\{{ ?(?:{_PART}) ?\}} ?\{{ ?(?:{_PART}) ?\}}|(?:{_PART}) ?/ ?(?:{_PART})"
    rf"|(?:{_PART}|[A-Za-z])(?: ?: ?(?:{_PART}|[A-Za-z])){{1,2}})\Z"
)


def hedged(text: str) -> bool:
    """Return whether a word denies or conditions the left side of an equation: "not x = 5", "if x = 5"."""
    return _DENIED.search(text) is not None


_ROUNDED = re.compile(
    r"\\l(?:floor|ceil) ?[A-Za-z] ?\\r(?:floor"
    r"|ceil)\Z"
)  # a value that no equation could be solved for


def is_name(text: str) -> bool:
    """Return whether a text names a value, and is no expression whose value an equation would restrict."""
    if len(text) > _MAX_NAME or hedged(text):
        return False
    if _NAME.match(text) is not None or _QUOTIENT.match(text) is not None or _ROUNDED.match(text) is not None:
        return True
    return "\\text" in text and _NAME.match(plain_text(text)) is not None


_FLIPPED = {"<": ">", ">": "<", "<=": ">=", ">=": "<="}
_SQUARE = re.compile(r"[\[\]]")
_BUILDER = re.compile(r"([A-Za-z])(?: ?\\in ?\\mathbb\{R\})?\Z")
_VARIABLE = rf"(?:(?<![A-Za-z\\])[A-Za-z]|\\(?:{'|'.join(sorted(GREEK))}))(?![A-Za-z])"
_LETTER = re.compile(_VARIABLE)
_SUBJECT = re.compile(rf"(?P<sign>-\s?)?(?:{_VARIABLE}|[a-zA-Z]\([a-z]\))\Z|(?P<bar>\|){_VARIABLE}\|\Z")


def letters_of(text: str) -> set[str]:
    """Return the letters of a text, Latin and Greek, that may stand for something unknown."""
    return set(_LETTER.findall(plain_text(text))) - {"e"}


def bounded(texts: list[str], kinds: list[str]) -> AnswerKey | None:
    """Return the set that bounds on a letter, its negative, its size or a function's values state, else None."""
    if len(texts) > 3 or len(texts) != len(kinds) + 1:
        return None
    # `5 > x` is read as `x < 5`.
    if len(texts) == 2 and kinds[0] in _FLIPPED and _SUBJECT.match(texts[0]) is None:
        texts, kinds = texts[::-1], [_FLIPPED[kinds[0]]]
    subject = texts[len(texts) // 2] if len(texts) == 3 else texts[0]
    match = _SUBJECT.match(subject)
    if match is None or any(text.isalpha() and text not in ("e", subject) for text in texts):
        return None  # x < y bounds neither by a number
    if kinds == ["!="] and texts[1].startswith("\\pm"):  # x ≠ ±2
        size = AnswerKey("value", texts[1].removeprefix("\\pm").strip())
        return complement((size, AnswerKey("value", _negative(size.text))))
    if kinds == ["!="]:
        ends = (AnswerKey("value", "-\\infty"), AnswerKey("value", texts[1]), AnswerKey("value", "\\infty"))
        return AnswerKey("union", "", (AnswerKey("group", "()", ends[:2]), AnswerKey("group", "()", ends[1:])))
    ends_of = _ends(texts, kinds)
    if ends_of is None:
        return None
    low, high, left, right = ends_of
    if match["sign"]:
        # `1 < -x <= 5`: with the sign turned, the bounds change places and so do their brackets.
        return _interval(_negative(high), _negative(low), "[" if right == "]" else "(", "]" if left == "[" else ")")
    return _sizes(low, high, left, right) if match["bar"] else _interval(low, high, left, right)


def _ends(texts: list[str], kinds: list[str]) -> tuple[str, str, str, str] | None:
    """Return the ends and brackets of the set that bounds on the middle text, or the first of two, state."""
    if len(texts) == 2:
        if kinds[0][0] not in "<>":
            return None
        low, high = ("-\\infty", texts[1]) if kinds[0][0] == "<" else (texts[1], "\\infty")
        low_sign, high_sign = ("<", kinds[0]) if kinds[0][0] == "<" else (kinds[0], "<")
    elif {kind[0] for kind in kinds} == {"<"}:
        (low, _, high), (low_sign, high_sign) = texts, kinds
    elif {kind[0] for kind in kinds} == {">"}:
        (high, _, low), (high_sign, low_sign) = texts, kinds
    else:
        return None
    return low, high, "[" if "=" in low_sign else "(", "]" if "=" in high_sign else ")"


def _interval(low: str, high: str, left: str, right: str) -> AnswerKey:
    return AnswerKey("group", left + right, (AnswerKey("value", low), AnswerKey("value", high)))


def _negative(text: str) -> str:
    if text.startswith("-") and not re.search(r"[+-]", text[1:]):
        return text[1:].lstrip()
    return f"-{text}" if not re.search(r"[+-]", text) else f"-({text})"


def _sizes(low: str, high: str, left: str, right: str) -> AnswerKey:
    """Return the numbers whose size lies between two bounds."""
    mirrored = "[" if right == "]" else "(", "]" if left == "[" else ")"
    if low == "-\\infty":
        return _interval(_negative(high), high, mirrored[0], right)
    # `1 < |x| < 3` is two intervals, one on each side of zero.
    outer = _interval(_negative(high), _negative(low), *mirrored), _interval(low, high, left, right)
    return AnswerKey("union", "", outer)


def intersection(texts: list[str], items: list[AnswerKey]) -> AnswerKey | None:
    r"""Return the interval between two bounds on one letter, `x \ge 2, x < 3`; None where they bound no interval."""
    if len(items) != 2 or any(item.kind != "group" or item.name or len(item.items) != 2 for item in items):
        return None
    letters = [letters_of(text) for text in texts]
    if letters[0] != letters[1] or len(letters[0]) != 1 or not all(map(_BOUND.search, texts)):
        return None
    low, high = items if items[1].items[0].text == "-\\infty" else items[::-1]
    if high.items[0].text != "-\\infty" or low.items[1].text != "\\infty":
        return None
    ends = [rational_value(end.text) for end in (low.items[0], high.items[1])]
    if ends[0] is None or ends[1] is None or ends[0] >= ends[1]:
        return None
    return AnswerKey("group", low.text[0] + high.text[-1], (low.items[0], high.items[1]))


_BOUND = re.compile(r"[<>]|\\[gl]e(?![a-z])")


def usual_brackets(text: str) -> str:
    """Return `]0,1]` and `[0,1[` with the brackets `(0,1]` and `[0,1)`; any other text as it is."""
    marks = list(_SQUARE.finditer(text))
    pairs = list(zip(marks[::2], marks[1::2], strict=False))
    usual = all(left[0] == "[" and right[0] == "]" for left, right in pairs)
    ends = [text[left.end() : right.start()].replace(";", ",").split(",") for left, right in pairs]
    between = text[: marks[0].start()] if marks else ""
    between += "".join(text[left[1].end() : right[0].start()] for left, right in pairwise(pairs))
    # Unless all square brackets pair up as intervals they may be lists, and stay.
    if not pairs or len(marks) % 2 or usual or any(len(end) != 2 for end in ends) or "," in between:
        return text
    signs = list(text)
    for left, right in pairs:
        signs[left.start()] = "[" if left[0] == "[" else "("
        signs[right.start()] = "]" if right[0] == "]" else ")"
    return "".join(signs)


def condition(inner: list[str]) -> str | None:
    r"""Return the condition on real numbers by which the pieces between `\{` and `\}` build a set; None if by none."""
    at = next((index for index, piece in enumerate(inner) if piece in ("|", ":")), len(inner))
    builder = _BUILDER.match("".join(inner[:at]).strip())
    stated = _REAL.sub("", "".join(inner[at + 1 :]).strip()).strip()
    return stated if builder and letters_of(stated) == {builder[1]} else None


_REAL = re.compile(  # what says again that a letter is a real number
    r"\A[A-Za-z] ?\\in ?\\mathbb ?\{ ?R ?\}(?: ?,| and) ?|(?: ?,| and) ?[A-Za-z] ?\\in ?\\mathbb ?\{ ?R ?\}\Z"
)
Read = Callable[[str], AnswerKey]
_ROW_END = re.compile(r"\\\\(?: ?\[[^\[\]]{0,20}\])?")
_MATRIX = re.compile(
    r"(?P<factor>[^&]*?)\\begin\{(?:[pbB]?(?:small)?matrix|array)\}(?:\{[clr|]{1,20}\})?(?P<rows>.*)"
    r"\\end\{(?:[pbB]?(?:small)?matrix|array)\}\Z",
    re.DOTALL,
)
_CASES = re.compile(
    r"(?:\\begin\{[dr]?cases\}|\\\{ ?\\begin\{(?:array|aligned)\}(?:\{[clr|]{1,20}\})?)(?P<rows>.*)"
    r"\\end\{(?:[dr]?cases|array|aligned)\}\.?\Z",
    re.DOTALL,
)
_IF = re.compile(r"(?:[\s,]|\b(?:if|for|when|where)\b)+")


def matrix(text: str, read: Read) -> AnswerKey | None:
    """Return a matrix, a column as a tuple; None where the text is not one.

    Raises:
        UnreadableError: its rows differ in length.
    """
    match = _MATRIX.match(text)
    if match is None or text.count("\\begin") > 1:
        return None
    rows = [row.split("&") for row in _ROW_END.split(match["rows"]) if row.strip()]
    if len({len(row) for row in rows}) != 1:
        raise UnreadableError("ragged matrix")
    entries = [read(entry) for row in rows for entry in row]
    items = entries if not match["factor"].strip() else _multiplied(match["factor"].strip(), entries)
    if items is None:
        return None
    return (
        AnswerKey("group", "()", tuple(items))
        if len(rows[0]) == 1
        else AnswerKey("matrix", str(len(rows[0])), tuple(items))
    )


def _multiplied(factor: str, entries: list[AnswerKey]) -> list[AnswerKey] | None:
    """Return the entries times a number or a small letter; None where the factor is something else."""
    factor = re.sub(r" ?(?:\\cdot|\\times|\*)\Z", "", factor)
    # A capital letter before a matrix is another matrix.
    if any(entry.kind != "value" for entry in entries) or any(sign.isupper() for sign in factor):
        return None
    factor = f"{factor}1" if factor in ("-", "+") else factor
    try:
        parse(factor)
    except NotCoveredError:
        return None
    return [AnswerKey("value", f"({factor})*({entry.text})") for entry in entries]


def cases(text: str, read: Read) -> AnswerKey | None:
    """Return a function by cases, or the equations of a system; None where the text is neither."""
    match = _CASES.match(text)
    if match is None or text.count("\\begin") > 1:
        return None
    rows = [row.strip(" ,;.") for row in _ROW_END.split(match["rows"]) if row.strip(" ,;.")]
    parts = [split(TOKEN.findall(row), frozenset("&"))[0] for row in rows]
    if not rows:
        raise UnreadableError("no cases")
    # Rows without a condition are the equations of a system, perhaps aligned at `&=`.
    if all(len(part) == 1 or part[1].startswith("=") for part in parts):
        return read(", ".join("".join(part) for part in parts))
    if any(len(part) != 2 for part in parts):
        return None
    return AnswerKey("cases", "", tuple(_case(value.strip(" ,"), stated, read) for value, stated in parts))


def _case(value: str, stated: str, read: Read) -> AnswerKey:
    condition = _IF.sub(" ", plain_text(stated), count=1) if _IF.match(plain_text(stated)) else plain_text(stated)
    words = condition.strip().lower()
    last = not words or words.startswith(("otherwise", "else"))
    return AnswerKey("group", "if", (read(value), AnswerKey("words", "otherwise") if last else read(condition)))


_WORD_BEFORE = r"(?:\\text ?\{[^{}\d]{0,30}\}|where|for|with|and|any|all|every|some|each|,|;|\(|\s)*"
_INTEGERS = re.compile(
    rf"(?P<rest>.+?){_WORD_BEFORE}(?<![A-Za-z\\])(?P<letter>[a-zA-Z]) ?(?:\\in ?\\mathbb ?\{{ ?[ZN] ?\}}"
    r"|(?:\\text ?\{ ?)?(?:is|being|an?)? ?(?:an? )?(?:any |arbitrary )?integers?(?: ?\})?)\s?[).]*\Z"
)
_ANY_INTEGER = re.compile(
    r"(?P<rest>.+?),?\s?(?:\\text ?\{ ?)?\(?(?:where|for|with) (?:any |all |every |some )?(?:integers? )(?: ?\}\s?)?"
    r"\$?(?P<letter>[a-zA-Z])\$?\s?\}?\)?\Z"
)
_RESIDUE = re.compile(
    rf"(?P<left>[^=<>]{{0,60}}?)\\equiv ?(?P<residues>[^=<>]{{1,60}}?){MODULO}(?P<modulus>\d{{1,12}}) ?\}}? ?\)?\Z"
)
_EVERYWHERE = re.compile(
    r"(?P<rest>.*[^,;\s])[,;\s]*(?:\\forall|\bfor (?:all|every|any|each)\b)[^<>=\d]{0,60}\Z", re.DOTALL
)
_ANY_CONSTANT = re.compile(
    r"\bfor (?:all|any|every|each|some)(?: (?:real|constants?|numbers?|integers?|arbitrary|values? of)){0,3}"
    r" ([a-zA-Z])\b"
)
_FOR_ALL = re.compile(r"\\text ?\{([\s,]*for (?:all|every|any|each)\b[^{}]*)\}")
_TRANSPOSED = re.compile(r"(?P<rest>[\[(].*[\])]) ?\^ ?\{? ?(?:T|t|\\top|\\intercal|\\text ?\{ ?T ?\}) ?\}?\Z")
_UNIT_VECTOR = re.compile(
    r"\\(?:hat|vec|text|bar|overline|mathbf|boldsymbol) ?\{ ?\\?(?:text ?\{)?([ijk])(?:math)? ?\}(?:\})?"
)
_TERM = re.compile(r"\s*([+-]?)\s*((?:[^+\-()]|\([^()]*\)|(?<=\{)-)*?)\s*(?:\\cdot|\*)?\s*@([ijk])")
_WITHOUT = re.compile(
    r"(?:[a-zA-Z] ?\\in ?)?(?:\\mathbb ?\{ ?R ?\}|\(-\\infty ?, ?\+?\\infty ?\)) ?"
    r"(?:\\setminus|\\backslash|\\smallsetminus|-|\\(?=\\\{)) ?\\\{(?P<points>[^{}]*(?:\{[^{}]*\}[^{}]*)*)\\\}\Z"
)
_EXCEPT = re.compile(
    r"(?:the set of )?all (?:real numbers?|reals|real values?|real(?= [a-z]\b))(?: of)?(?: [a-z])?,? "
    r"(?:except|other than|excluding|but|not equal to|such that [a-z] ?\\ne)(?: for)? ?"
    r"(?P<points>(?:[a-z] ?= ?|\\pm ?|[-\d./, ])+(?:(?:and|or) (?:[a-z] ?= ?)?[-\d./]+)?)\Z",
    re.IGNORECASE,
)
_OF_LETTER = re.compile(r"[a-z] ?= ?")


def special_form(text: str, read: Read) -> AnswerKey | None:
    """Return the answer that a whole text spells in one of these forms."""
    for form in (_residue, _over_integers, _everywhere, _vector, _without_points):
        if (answer := form(text, read)) is not None:
            return answer
    return None


def _over_integers(text: str, read: Read) -> AnswerKey | None:
    r"""Return the values for every integer k: `x = 2k\pi, k \in \mathbb{Z}`."""
    if "mathbb" not in text and "integer" not in text:
        return None
    match = _INTEGERS.match(text) or _ANY_INTEGER.match(text)
    if match is None or match["letter"] not in match["rest"]:
        return None
    values = read(match["rest"].rstrip(" ,;("))
    return AnswerKey("progression", match["letter"], (values,))


def _residue(text: str, read: Read) -> AnswerKey | None:
    r"""Return a residue as values for every integer k: `n \equiv 3 \pmod 7` is 7k + 3."""
    match = _RESIDUE.match(text) if "equiv" in text else None
    if match is None:
        return None
    if re.search(r"\d", match["left"]) and match["residues"].strip().lstrip("-").isdigit():
        return AnswerKey("value", f"{match['residues'].strip()} mod {match['modulus']}")  # 2^{10} \equiv 2 \pmod 7
    if len(match["left"].strip()) > 1:
        return None
    residues = read(match["residues"])
    items = residues.items if residues.kind == "collection" else (residues,)
    if any(item.kind != "value" for item in items):
        return None
    values = tuple(AnswerKey("value", f"({item.text})+{match['modulus']}k") for item in items)
    return AnswerKey("progression", "k", (values[0] if len(values) == 1 else AnswerKey("collection", "", values),))


def _everywhere(text: str, read: Read) -> AnswerKey | None:
    r"""Return the equation without a condition that restricts nothing: `f(x) = x + 1 for all x \in \mathbb{R}`."""
    if "for " not in text and "forall" not in text:
        return None
    match = _EVERYWHERE.match(_FOR_ALL.sub(r" \1 ", text))
    if match is None or "=" not in match["rest"]:
        return None
    left, _, right = match["rest"].partition("=")
    constant = _ANY_CONSTANT.search(text, len(match["rest"]))
    if constant is None or constant[1] in _small_letters(left) or constant[1] not in _small_letters(right):
        return read(match["rest"])
    return AnswerKey("family", constant[1], (read(match["rest"]),))


def _small_letters(text: str) -> set[str]:
    """Return the letters of a text that is a product of letters and no words; none of any other."""
    return set() if re.search(r"[A-Za-z]{3}|\\", text) else set(re.findall("[a-zA-Z]", text))


def _vector(text: str, read: Read) -> AnswerKey | None:
    r"""Return a vector: `[1,-2,3]^T` and `\hat i - 2\hat j + 3\hat k` are (1, −2, 3)."""
    if match := _TRANSPOSED.match(text):
        inner = read(match["rest"])
        return AnswerKey("group", "()", inner.items) if inner.kind == "group" else None
    plain = _UNIT_VECTOR.sub(r"@\1", text)
    if plain.count("@") < 2:
        return None
    terms = list(_TERM.finditer(plain))
    # Every sign must belong to a term; what is left over makes it something else.
    if not terms or "".join(term[0] for term in terms) != plain.rstrip():
        return None
    entries = {term[3]: f"{term[1]}{term[2].strip() or '1'}" for term in terms}
    axes = "ijk" if "k" in entries else "ij"
    if len(entries) != len(terms):
        return None
    return AnswerKey("group", "()", tuple(read(entries.get(axis, "0").lstrip("+")) for axis in axes))


def _without_points(text: str, read: Read) -> AnswerKey | None:
    r"""Return ℝ without points as a union of intervals: `\mathbb{R} \setminus \{0\}`, or the same in words."""
    match = _WITHOUT.match(text) or _EXCEPT.match(plain_text(text))
    if match is None:
        return None
    points = read(_OF_LETTER.sub("", match["points"]))
    items = points.items if points.kind == "collection" else (points,)
    return complement(items) if all(item.kind == "value" for item in items) else None


def complement(points: tuple[AnswerKey, ...]) -> AnswerKey | None:
    """Return the real line without some points; of several, all must be rational so that they can be put in order."""
    if len(points) > 1:
        values: list[Fraction | None] = [rational_value(point.text) for point in points]
        known = [value for value in values if value is not None]
        if len(known) < len(points):
            return None
        points = tuple(point for _, point in sorted(zip(known, points, strict=True), key=lambda pair: pair[0]))
    ends = (AnswerKey("value", "-\\infty"), *points, AnswerKey("value", "\\infty"))
    parts = tuple(AnswerKey("group", "()", ends[index : index + 2]) for index in range(len(ends) - 1))
    return AnswerKey("union", "", parts)


def lone_points(answers: list[AnswerKey]) -> tuple[AnswerKey, ...] | None:
    r"""Return the points that `x \ne 0, x \ne 1` leave out; None where an answer leaves out more than one."""
    points = []
    for answer in answers:
        if answer.kind != "union" or len(answer.items) != 2:
            return None
        left, right = answer.items
        if left.kind != "group" or left.text != "()" or right.text != "()" or left.items[1:] != right.items[:1]:
            return None
        if left.items[0].text != "-\\infty" or right.items[1].text != "\\infty":
            return None
        points.append(left.items[1])
    return tuple(points)
