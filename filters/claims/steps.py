"""Split reasoning into steps: lines, sentences, numbered items, LaTeX environments, code blocks."""

from __future__ import annotations

import re
from itertools import pairwise

_BLOCK = re.compile(
    r"```|\\\[|\\\]|\$\$|\\begin\{(?:align|equation|gather|aligned|cases|array|[bpv]?matrix|split|multline)\*?\}"
    r"|\\end\{(?:align|equation|gather|aligned|cases|array|[bpv]?matrix|split|multline)\*?\}"
)
_CLOSERS = {"```": "```", "\\[": "\\]", "$$": "$$"}
# A sentence ends at a stop before a blank and a capital, a figure or an opening sign, but not behind a
# single letter ("a.m. Then" stays one, "5 m. Then" too) nor behind a number that begins a line ("1. First").
_BREAK = re.compile(
    r"\n+(?!\s{0,20}&?\s{0,3}(?:=|≈|\\approx))"
    r"|(?<=[a-z\d)}%\]$\"”*][a-z\d)}%\]$\"”*\\][.!?])[ \t]{1,8}(?=[A-Z\d$\\(\"“*])"
    r"|(?<=[\s=]\d[.!?])[ \t]{1,8}(?=[A-Z\"“*])"
)
_NUMBERED = re.compile(r"(?:^|\n)\s{0,8}\(?\d{1,3}[.)]\Z")


def split_steps(text: str) -> list[tuple[int, int]]:
    """The steps of a trace as (start, end) offsets, in order, blank ones left out."""
    protected = _blocks(text)
    cuts = [0]
    index = 0
    for match in _BREAK.finditer(text):
        while index < len(protected) and protected[index][1] <= match.start():
            index += 1
        inside = index < len(protected) and protected[index][0] < match.start()
        if not inside and not _NUMBERED.search(text, max(cuts[-1] - 1, match.start() - 12), match.start()):
            cuts.append(match.end())
    cuts.append(len(text))
    spans = [(start, end) for start, end in pairwise(cuts)]
    return [(start, end) for start, end in spans if text[start:end].strip()]


def _blocks(text: str) -> list[tuple[int, int]]:
    """Displayed formulas and fenced code, which are never cut inside."""
    found: list[tuple[int, int]] = []
    opening: tuple[str, int] | None = None
    for match in _BLOCK.finditer(text):
        sign = match.group()
        if opening is None:
            if sign in _CLOSERS or sign.startswith("\\begin"):
                opening = (_CLOSERS.get(sign) or sign.replace("\\begin", "\\end"), match.start())
        elif sign == opening[0]:
            found.append((opening[1], match.end()))
            opening = None
    return found
