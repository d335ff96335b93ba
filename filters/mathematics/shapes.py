"""What an answer looks like once it is taken apart, and how a text is cut outside its brackets."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

Kind = Literal["value", "words", "collection", "group", "union", "relation", "matrix", "cases", "empty"]


class UnreadableError(ValueError):
    """The text is no answer: empty, or its brackets do not match."""


@dataclass(frozen=True, slots=True)
class Shape:
    """One answer, taken apart down to its values.

    Attributes:
        kind: what it is.
        text: a value's text, a word answer's key, a group's two brackets, a relation's sign, or the number
            of columns of a matrix.
        items: the parts; of a relation the two sides, of cases groups of a value and its condition.
        name: the name that the answer gives its value (`x` of `x = 5`), else "".
    """

    kind: Kind
    text: str = ""
    items: tuple[Shape, ...] = ()
    name: str = ""


TOKEN = re.compile(r"\\(?:[A-Za-z]+|.)|\b(?:or|and)\b|.", re.DOTALL)
OPENERS = {"(": ")", "[": "]", "{": "}", "\\{": "\\}", "\\langle": "\\rangle"}
CLOSERS = frozenset([")", "]", "}", "\\}", "\\rangle"])


def split(pieces: list[str], signs: frozenset[str]) -> tuple[list[str], list[str]]:
    """The texts between the given pieces outside all brackets and environments, and those pieces."""
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
