r"""Intervals in their other spellings: `1 < x \le 5`, `\le 5`, `]1,5]`, `\{x \mid x > 1\}`."""

from __future__ import annotations

import re
from itertools import pairwise

from proofmill.filters.mathematics.names import is_name
from proofmill.filters.mathematics.quantities import plain_text
from proofmill.filters.mathematics.shapes import Shape

_FLIPPED = {"<": ">", ">": "<", "<=": ">=", ">=": "<="}
_SQUARE = re.compile(r"[\[\]]")
_BUILDER = re.compile(r"([A-Za-z])(?: ?\\in ?\\mathbb\{R\})?\Z")
_LETTER = re.compile(r"(?<![A-Za-z\\])[A-Za-z](?![A-Za-z])")
_COMMAND = re.compile(r"\\[A-Za-z]+")


def bounded(texts: list[str], kinds: list[str]) -> Shape | None:
    """The interval that bounds on a single letter state, else None."""
    if len(texts) == 2 and not is_name(texts[0]) and kinds[0] in _FLIPPED:
        texts, kinds = texts[::-1], [_FLIPPED[kinds[0]]]
    name = texts[-2] if len(texts) == 3 else texts[0]
    if not (len(name) == 1 and name.isalpha()) or len(texts) > 3:
        return None
    if any(text.isalpha() and text not in ("e", name) for text in texts):
        return None  # x < y bounds neither by a number
    if kinds == ["!="]:
        ends = (Shape("value", "-\\infty"), Shape("value", texts[1]), Shape("value", "\\infty"))
        return Shape("union", "", (Shape("group", "()", ends[:2]), Shape("group", "()", ends[1:])))
    if len(texts) == 2:
        low, high = ("-\\infty", texts[1]) if kinds[0][0] == "<" else (texts[1], "\\infty")
        low_sign, high_sign = ("<", kinds[0]) if kinds[0][0] == "<" else (kinds[0], "<")
    elif {kind[0] for kind in kinds} == {"<"}:
        (low, _, high), (low_sign, high_sign) = texts, kinds
    elif {kind[0] for kind in kinds} == {">"}:
        (high, _, low), (high_sign, low_sign) = texts, kinds
    else:
        return None
    brackets = ("[" if "=" in low_sign else "(") + ("]" if "=" in high_sign else ")")
    return Shape("group", brackets, (Shape("value", low), Shape("value", high)))


def usual_brackets(text: str) -> str:
    """`]0,1]` and `[0,1[` with the brackets `(0,1]` and `[0,1)`; any other text as it is."""
    marks = list(_SQUARE.finditer(text))
    pairs = list(zip(marks[::2], marks[1::2], strict=False))
    usual = all(left[0] == "[" and right[0] == "]" for left, right in pairs)
    ends = [text[left.end() : right.start()].replace(";", ",").split(",") for left, right in pairs]
    between = text[: marks[0].start()] if marks else ""
    between += "".join(text[left[1].end() : right[0].start()] for left, right in pairwise(pairs))
    if not pairs or len(marks) % 2 or usual or any(len(end) != 2 for end in ends) or "," in between:
        return text
    signs = list(text)
    for left, right in pairs:
        signs[left.start()] = "[" if left[0] == "[" else "("
        signs[right.start()] = "]" if right[0] == "]" else ")"
    return "".join(signs)


def condition(inner: list[str]) -> str | None:
    r"""The condition on real numbers by which the pieces between `\{` and `\}` build a set; None if by none."""
    at = next((index for index, piece in enumerate(inner) if piece in ("|", ":")), len(inner))
    builder = _BUILDER.match("".join(inner[:at]).strip())
    stated = "".join(inner[at + 1 :]).strip()
    letters = set(_LETTER.findall(_COMMAND.sub(" ", plain_text(stated)))) - {"e"}
    return stated if builder and letters == {builder[1]} else None
