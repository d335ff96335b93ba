r"""Forms that say the same in another way: conditions on a parameter, residues, vectors, ℝ without points.

Each reader takes a cleaned text and returns the answer that it spells, or None where the text is none of its form.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from fractions import Fraction

from proofmill.filters.symbolic.answer_key import AnswerKey
from proofmill.filters.symbolic.units import plain_text
from proofmill.filters.symbolic.values import rational_value

Read = Callable[[str], AnswerKey]

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
    r"(?:[a-zA-Z] ?)?\\equiv ?(?P<residues>[^=<>]{1,60}?) ?\(? ?(?:\\pmod|\\bmod|\\mod|\\text ?\{ ?mod ?\}|mod) ?"
    r"\{? ?(?P<modulus>\d{1,12}) ?\}? ?\)?\Z"
)
_EVERYWHERE = re.compile(
    r"(?P<rest>.*[^,;\s])[,;\s]*(?:\\forall|\bfor (?:all|every|any|each)\b)[^<>=\d]{0,60}\Z", re.DOTALL
)
_FOR_ALL = re.compile(r"\\text ?\{([\s,]*for (?:all|every|any|each)\b[^{}]*)\}")
_TRANSPOSED = re.compile(r"(?P<rest>[\[(].*[\])]) ?\^ ?\{? ?(?:T|t|\\top|\\intercal|\\text ?\{ ?T ?\}) ?\}?\Z")
_UNIT_VECTOR = re.compile(r"\\(?:hat|vec|text|bar|overline) ?\{ ?\\?(?:text ?\{)?([ijk])(?:math)? ?\}(?:\})?")
_TERM = re.compile(r"\s*([+-]?)\s*((?:[^+\-()]|\([^()]*\)|(?<=\{)-)*?)\s*(?:\\cdot|\*)?\s*@([ijk])")
_WITHOUT = re.compile(
    r"(?:[a-zA-Z] ?\\in ?)?(?:\\mathbb ?\{ ?R ?\}|\(-\\infty ?, ?\+?\\infty ?\)) ?"
    r"(?:\\setminus|\\backslash|\\smallsetminus|-|\\(?=\\\{)) ?\\\{(?P<points>[^{}]*(?:\{[^{}]*\}[^{}]*)*)\\\}\Z"
)
_EXCEPT = re.compile(
    r"(?:the set of )?all (?:real numbers?|reals|real values?)(?: of)?(?: [a-z])?,? (?:except|other than"
    r"|excluding|but|not equal to|such"
    r" that [a-z] ?\\ne)(?: for)?(?: [a-z] ?=)? ?(?P<points>[-\d./, ]+(?:(?:and|or) [-\d./]+)?)\Z",
    re.IGNORECASE,
)


def special_form(text: str, read: Read) -> AnswerKey | None:
    """The answer that a whole text spells in one of these forms."""
    for form in (_residue, _over_integers, _everywhere, _vector, _without_points):
        if (answer := form(text, read)) is not None:
            return answer
    return None


def _over_integers(text: str, read: Read) -> AnswerKey | None:
    r"""`x = 2k\pi, k \in \mathbb{Z}`: values for every integer k."""
    if "mathbb" not in text and "integer" not in text:
        return None
    match = _INTEGERS.match(text) or _ANY_INTEGER.match(text)
    if match is None or match["letter"] not in match["rest"]:
        return None
    values = read(match["rest"].rstrip(" ,;("))
    return AnswerKey("progression", match["letter"], (values,))


def _residue(text: str, read: Read) -> AnswerKey | None:
    r"""`n \equiv 3 \pmod 7` is 7k + 3 for every integer k."""
    match = _RESIDUE.match(text) if "equiv" in text else None
    if match is None:
        return None
    residues = read(match["residues"])
    items = residues.items if residues.kind == "collection" else (residues,)
    if any(item.kind != "value" for item in items):
        return None
    values = tuple(AnswerKey("value", f"({item.text})+{match['modulus']}k") for item in items)
    return AnswerKey("progression", "k", (values[0] if len(values) == 1 else AnswerKey("collection", "", values),))


def _everywhere(text: str, read: Read) -> AnswerKey | None:
    r"""`f(x) = x + 1 for all x \in \mathbb{R}` restricts nothing."""
    if "for " not in text and "forall" not in text:
        return None
    match = _EVERYWHERE.match(_FOR_ALL.sub(r" \1 ", text))
    return read(match["rest"]) if match is not None and "=" in match["rest"] else None


def _vector(text: str, read: Read) -> AnswerKey | None:
    r"""`[1,-2,3]^T` and `\hat i - 2\hat j + 3\hat k` are the vector (1, −2, 3)."""
    if match := _TRANSPOSED.match(text):
        inner = read(match["rest"])
        return AnswerKey("group", "()", inner.items) if inner.kind == "group" else None
    plain = _UNIT_VECTOR.sub(r"@\1", text)
    if plain.count("@") < 2:
        return None
    terms = list(_TERM.finditer(plain))
    if not terms or "".join(term[0] for term in terms) != plain.rstrip():
        return None
    entries = {term[3]: f"{term[1]}{term[2].strip() or '1'}" for term in terms}
    axes = "ijk" if "k" in entries else "ij"
    if len(entries) != len(terms):
        return None
    return AnswerKey("group", "()", tuple(read(entries.get(axis, "0").lstrip("+")) for axis in axes))


def _without_points(text: str, read: Read) -> AnswerKey | None:
    r"""`\mathbb{R} \setminus \{0\}` and "all real numbers except 0" as the union of the intervals between."""
    match = _WITHOUT.match(text) or _EXCEPT.match(plain_text(text))
    if match is None:
        return None
    points = read(match["points"])
    items = points.items if points.kind == "collection" else (points,)
    return complement(items) if all(item.kind == "value" for item in items) else None


def complement(points: tuple[AnswerKey, ...]) -> AnswerKey | None:
    """The real line without some points; of several, all must be rational so that they can be put in order."""
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
    r"""The points that `x \ne 0, x \ne 1` leave out; None where an answer leaves out more than one."""
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
