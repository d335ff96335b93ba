r"""Where the boxes of a text begin and end: `\boxed{…}` with its braces matched, `\fbox{…}`, `\boxed 7`."""

from __future__ import annotations

import re

_BOX = re.compile(r"\\(?:boxed|fbox)\s*(?=\{)|\\boxed\s+(?=[\d-])")
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
_BOXED_NUMBER = re.compile(r"-?[\d.,]*\d")
_MAX_BOXES = 32


def boxes_in(text: str) -> list[tuple[int, int]]:
    """(start, end) of the outermost boxes; end −1 where the last one is never closed."""
    boxes: list[tuple[int, int]] = []
    found = list(_BOX.finditer(text))[-_MAX_BOXES:]
    closings = _closings(text, found[0].end()) if found else {}
    for match in found:
        if boxes and match.start() < boxes[-1][1]:
            continue
        braced = text[match.end()] == "{"
        boxes.append((match.start(), closings.get(match.end(), -1) if braced else _bare_end(text, match.end())))
    return boxes


def _bare_end(text: str, start: int) -> int:
    number = _BOXED_NUMBER.match(text, start)
    return number.end() if number else -1


def _closings(text: str, start: int) -> dict[int, int]:
    """Where each brace from `start` on is closed; found for all boxes at once, which may all be left open."""
    opened: list[int] = []
    closings: dict[int, int] = {}
    for match in _BRACE.finditer(text, start):
        if match[0] == "{":
            opened.append(match.start())
        elif match[0] == "}" and opened:
            closings[opened.pop()] = match.end()
    return closings


def inside(text: str, box: tuple[int, int]) -> str:
    """What a box holds."""
    content = text[slice(*box)].strip()
    while match := _BOX.match(content):  # a box may hold nothing but another one
        content = content[match.end() :].strip()
        content = content[1:-1].strip() if content.startswith("{") else content
    return content
