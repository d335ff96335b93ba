r"""The shape of an answer: a value, a list or set, a tuple or interval, a union, a relation, or words.

Policy:
- `{1,2}`, `1, 2` and `1 and 2` are the same unordered collection; `(1,2)` is a tuple or an open interval,
  which are written alike and so count as the same; it is no set. `[1,2]`, `[1,2)` differ from both. A column
  of numbers is a tuple. A collection of one is that one.
- `a ± b` is the collection of both values.
- `x = 5` is the value 5 named x; `x = 2 or x = 3` is a collection; `x = 1, y = 2` is the tuple by the order
  of the names. `2 = 3` and `2x = 6` are no values: an equation only names a value where its left side is a
  name, or where a chain of numbers holds (`2 + 3 = 5`).
- `1 < x ≤ 5`, `x ∈ (1,5]` and `(1,5]` are the same interval.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from proofmill.filters.mathematics.expressions import MAX_LENGTH, TooCostlyError
from proofmill.filters.mathematics.names import is_name
from proofmill.filters.mathematics.notation import clean
from proofmill.filters.mathematics.quantities import plain_text
from proofmill.filters.mathematics.wording import bare, synonym, word_key

Kind = Literal["value", "words", "collection", "group", "union", "relation", "matrix", "empty"]
_MAX_ITEMS = 200


class UnreadableError(ValueError):
    """The text is no answer: empty, or its brackets do not match."""


@dataclass(frozen=True, slots=True)
class Shape:
    """One answer, taken apart down to its values.

    Attributes:
        kind: what it is.
        text: a value's text, a word answer's key, a group's two brackets, a relation's sign, or the number
            of columns of a matrix.
        items: the parts; of a relation the two sides.
        name: the name that the answer gives its value (`x` of `x = 5`), else "".
    """

    kind: Kind
    text: str = ""
    items: tuple[Shape, ...] = ()
    name: str = ""


_ROW_END = re.compile(r"\\\\(?: ?\[[^\[\]]{0,20}\])?")
_MATRIX = re.compile(
    r"\\begin\{[pbB]?(?:matrix|array)\}(?:\{[clr|]{1,20}\})?(.*)\\end\{[pbB]?(?:matrix|array)\}\Z", re.DOTALL
)
_TOKEN = re.compile(r"\\(?:[A-Za-z]+|.)|\b(?:or|and)\b|.", re.DOTALL)
_SPLITTERS = frozenset([",", ";", "or", "and"])
_RELATIONS = {
    "=": "=",
    "<": "<",
    ">": ">",
    "\\le": "<=",
    "\\ge": ">=",
    "\\ne": "!=",
    "\\in": "in",
    "\\approx": "~",
}
_OPENERS = {"(": ")", "[": "]", "{": "}", "\\{": "\\}", "\\langle": "\\rangle"}
_CLOSERS = frozenset([")", "]", "}", "\\}", "\\rangle"])
_THOUSANDS = re.compile(r"(?<![\d.,])\d{1,3}(?:,\d{3})+(?!,?\d)")
_FLIPPED = {"<": ">", ">": "<", "<=": ">=", ">=": "<="}


@lru_cache(maxsize=16_384)
def shape(answer: str) -> Shape:
    """The shape of an answer as it stands in a text or a data set.

    Raises:
        UnreadableError: it is empty, or its brackets do not match.
        TooCostlyError: it is longer than an answer.
    """
    if len(answer) > MAX_LENGTH:
        raise TooCostlyError("too long")
    return _read(clean(answer), 0)


def _read(text: str, depth: int) -> Shape:
    text = bare(text)
    if not text:
        raise UnreadableError("empty")
    if depth > 8:
        raise TooCostlyError("nested too deep")
    if name := synonym(text):
        return _special(name)
    pieces = _TOKEN.findall(_joined(text) if not depth else text)
    _check_balance(pieces)
    for reader in (_sequence, _union, _relation, _bracketed, _matrix):
        result = reader(pieces, depth)
        if result is not None:
            return result
    if "\\pm" in text or "\\mp" in text:
        return _both_signs(text, depth)
    key = word_key(text)
    return Shape("words", key) if key else Shape("value", "".join(pieces))


def _special(name: str) -> Shape:
    if name == "empty":
        return Shape("empty")
    if name == "reals":
        return Shape("group", "()", (Shape("value", "-\\infty"), Shape("value", "\\infty")))
    return Shape("value", "\\infty") if name == "infinity" else Shape("words", name)


def _joined(text: str) -> str:
    """Thousands separators cut out, where no bracket makes the comma one of a list."""
    if "," not in text or "(" in text or "[" in text or "{" in text:
        return text
    return _THOUSANDS.sub(lambda match: match[0].replace(",", ""), text)


def _check_balance(pieces: list[str]) -> None:
    depth = 0
    for piece in pieces:
        depth += (piece == "{") - (piece == "}")
        if depth < 0:
            break
    if depth:
        raise UnreadableError("unmatched braces")


def _split(pieces: list[str], signs: frozenset[str]) -> tuple[list[str], list[str]]:
    """The texts between the given pieces outside all brackets, and those pieces."""
    depth, parts, found = 0, [[]], []  # type: tuple[int, list[list[str]], list[str]]
    for piece in pieces:
        if piece in _OPENERS:
            depth += 1
        elif piece in _CLOSERS:
            depth -= 1
        if depth <= 0 and piece in signs:
            found.append(piece)
            parts.append([])
        else:
            parts[-1].append(piece)
    return ["".join(part).strip() for part in parts], found


def _sequence(pieces: list[str], depth: int) -> Shape | None:
    texts, signs = _split(_or_and(pieces), _SPLITTERS)
    texts = [text for text in texts if text]
    if not signs or len(texts) < 2:
        return _read(texts[0], depth + 1) if signs and texts else None
    if len(texts) > _MAX_ITEMS:
        raise TooCostlyError("too many items")
    items = [_read(text, depth + 1) for text in texts]
    if "or" in signs and all(item.kind == "group" for item in items):
        return Shape("union", "", tuple(items))
    names = [item.name for item in items]
    if all(names) and len(set(names)) == len(names):
        items.sort(key=lambda item: item.name)
        return Shape("group", "()", tuple(items))
    return _collection(items)


def _or_and(pieces: list[str]) -> list[str]:
    r"""`\text{ or }` and `\text{ and }` as the words that they are."""
    text = "".join(pieces)
    if "\\text" not in text or not ("or" in text or "and" in text):
        return pieces
    return _TOKEN.findall(re.sub(r"\\text ?\{\s?,?\s?(or|and)\s?\}", r" \1 ", text))


def _collection(items: list[Shape]) -> Shape:
    flat: list[Shape] = []
    for item in items:
        flat.extend(item.items if item.kind == "collection" else (item,))
    return flat[0] if len(flat) == 1 else Shape("collection", "", tuple(flat))


def _union(pieces: list[str], depth: int) -> Shape | None:
    texts, signs = _split(pieces, frozenset(["\\cup"]))
    if not signs:
        return None
    return Shape("union", "", tuple(_read(text, depth + 1) for text in texts))


def _relation(pieces: list[str], depth: int) -> Shape | None:
    texts, signs = _split(pieces, frozenset(_RELATIONS))
    if not signs or not all(texts):
        return None
    kinds = [_RELATIONS[sign] for sign in signs]
    if "~" in kinds:  # what is approximated is the answer, the approximation a gloss
        cut = kinds.index("~")
        keep = cut + 2 if cut == 0 and is_name(texts[0]) else cut + 1
        texts, kinds = texts[:keep], ["=" if kind == "~" else kind for kind in kinds[: keep - 1]]
        if not kinds:
            return _read(texts[0], depth + 1)
    if kinds == ["in"] and is_name(texts[0]):
        return _read(texts[1], depth + 1)
    if set(kinds) == {"="}:
        return _equation(texts, depth)
    return _inequality(texts, kinds) or _plain_relation(texts, kinds, depth)


def _equation(texts: list[str], depth: int) -> Shape | None:
    """A name with its value, or the two sides; a chain after a name gives its last value."""
    if is_name(texts[0]):
        value = _read(texts[-1], depth + 1)
        return Shape(value.kind, value.text, value.items, plain_text(texts[0]).replace(" ", ""))
    return _plain_relation(texts, ["="] * (len(texts) - 1), depth)


def _plain_relation(texts: list[str], kinds: list[str], depth: int) -> Shape:
    sides = tuple(Shape("value", text) if depth > 8 else _read(text, depth + 1) for text in texts)
    return Shape("relation", " ".join(kinds), sides)


def _inequality(texts: list[str], kinds: list[str]) -> Shape | None:
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


def _bracketed(pieces: list[str], depth: int) -> Shape | None:
    """A tuple, interval or set where one pair of brackets holds the whole."""
    opener, closer = pieces[0], pieces[-1]
    if opener not in _OPENERS or closer not in _CLOSERS or opener == "{" or not _one_pair(pieces):
        return None
    inner = pieces[1:-1]
    if opener == "\\{":
        return _set(inner, depth)
    texts, signs = _split(inner, frozenset([",", ";"]))
    if not signs:
        return _read("".join(inner), depth + 1) if (opener, closer) == ("[", "]") else None
    items = tuple(_read(text, depth + 1) for text in texts if text)
    opener, closer = opener.replace("\\langle", "("), closer.replace("\\rangle", ")")
    return Shape("group", opener + closer, items)


def _one_pair(pieces: list[str]) -> bool:
    depth = 0
    for index, piece in enumerate(pieces):
        depth += (piece in _OPENERS) - (piece in _CLOSERS)
        if depth <= 0:
            return index == len(pieces) - 1
    return False


def _set(inner: list[str], depth: int) -> Shape | None:
    if "\\mid" in inner or "|" in inner or ":" in inner:  # a set by its property
        return None
    texts = [text for text in _split(inner, frozenset([",", ";"]))[0] if text]
    if not texts:
        return Shape("empty")
    return _collection([_read(text, depth + 1) for text in texts])


def _matrix(pieces: list[str], depth: int) -> Shape | None:
    match = _MATRIX.match("".join(pieces))
    if match is None:
        return None
    rows = [row.split("&") for row in _ROW_END.split(match[1]) if row.strip()]
    if len({len(row) for row in rows}) != 1:
        raise UnreadableError("ragged matrix")
    items = tuple(_read(entry, depth + 1) for row in rows for entry in row)
    return Shape("group", "()", items) if len(rows[0]) == 1 else Shape("matrix", str(len(rows[0])), items)


def _both_signs(text: str, depth: int) -> Shape:
    r"""Both readings of `±`: all `\pm` of a text take one sign, all `\mp` the other."""
    upper = text.replace("\\pm", "+").replace("\\mp", "-")
    lower = text.replace("\\pm", "-").replace("\\mp", "+")
    return _collection([_read(upper.lstrip("+ "), depth + 1), _read(lower, depth + 1)])
