r"""What LaTeX sets in rows: matrices, with a factor before them or not, and functions or systems by cases."""

from __future__ import annotations

import re
from collections.abc import Callable

from proofmill.filters.mathematics.expressions import NotCoveredError
from proofmill.filters.mathematics.grammar import parse
from proofmill.filters.mathematics.quantities import plain_text
from proofmill.filters.mathematics.shapes import TOKEN, Shape, UnreadableError, split

Read = Callable[[str], Shape]
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


def matrix(text: str, read: Read) -> Shape | None:
    """A matrix, a column as a tuple; None where the text is none.

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
    return Shape("group", "()", tuple(items)) if len(rows[0]) == 1 else Shape("matrix", str(len(rows[0])), tuple(items))


def _multiplied(factor: str, entries: list[Shape]) -> list[Shape] | None:
    """The entries times a number or a small letter; None where the factor is something else, as another matrix is."""
    factor = re.sub(r" ?(?:\\cdot|\\times|\*)\Z", "", factor)
    if any(entry.kind != "value" for entry in entries) or any(sign.isupper() for sign in factor):
        return None
    factor = f"{factor}1" if factor in ("-", "+") else factor
    try:
        parse(factor)
    except NotCoveredError:
        return None
    return [Shape("value", f"({factor})*({entry.text})") for entry in entries]


def cases(text: str, read: Read) -> Shape | None:
    """A function by cases, or the equations of a system; None where the text is neither."""
    match = _CASES.match(text)
    if match is None or text.count("\\begin") > 1:
        return None
    rows = [row.strip(" ,;.") for row in _ROW_END.split(match["rows"]) if row.strip(" ,;.")]
    parts = [split(TOKEN.findall(row), frozenset("&"))[0] for row in rows]
    if not rows:
        raise UnreadableError("no cases")
    if all(len(part) == 1 or part[1].startswith("=") for part in parts):
        return read(", ".join("".join(part) for part in parts))
    if any(len(part) != 2 for part in parts):
        return None
    return Shape("cases", "", tuple(_case(value.strip(" ,"), stated, read) for value, stated in parts))


def _case(value: str, stated: str, read: Read) -> Shape:
    condition = _IF.sub(" ", plain_text(stated), count=1) if _IF.match(plain_text(stated)) else plain_text(stated)
    words = condition.strip().lower()
    last = not words or words.startswith(("otherwise", "else"))
    return Shape("group", "if", (read(value), Shape("words", "otherwise") if last else read(condition)))
