"""How a text ends: where its last sentence begins, an aside behind it, a sentence that breaks off."""

from __future__ import annotations

import re

TAIL = 4_000  # characters of the text around an answer that are read: what is further from the end concludes nothing
_FAR = 400  # characters from the end in which a last sentence begins
_OPENERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789$\\*(")


def sentence_start(text: str, position: int) -> int:
    """Return where the sentence around `position` begins: many models write reasoning and answer in one paragraph."""
    line = max(text.rfind("\n", 0, position) + 1, position - TAIL)
    end = position
    while (end := max(text.rfind(". ", line, end), text.rfind("! ", line, end), text.rfind("? ", line, end))) >= 0:
        start = end + 2
        while start < position and text[start].isspace():
            start += 1
        if start <= position < len(text) and text[start] in _OPENERS:
            return start
    return line


_ASIDE = re.compile(r"(?<=[.!?*])\s+\((?=[A-Z])(?:[^()\n]|\([^()\n]{0,60}\)){12,300}\)\.?\s*\Z")


def before_aside(text: str) -> str:
    """Return a text without a last sentence that stands in brackets."""
    aside = _ASIDE.search(text, max(0, len(text) - _FAR)) if text.rstrip(" .\n").endswith(")") else None
    return text if aside is None else text[: aside.start()]


_BARE_END = re.compile(r"\b(?P<verb>[a-z]+)\s\$?(?P<number>\d[\d,]*(?:\.\d+)?)\Z")
_STATES = frozenset(  # words before a number that ends a whole sentence
    re.findall(
        r"\w+",
        "is are was were be equals equal makes gives get gets has have had of total to number remains left leaves",
    )
)
_FULL_STOPS = frozenset({". ", "! "})


def cut_short(text: str, start: int, number: str, question: str) -> bool:
    """Return whether a text breaks off at a number of the question, in the last of several sentences."""
    end = _BARE_END.search(text, max(start, len(text) - _FAR))
    if end is None or end["number"] != number or end["verb"] in _STATES or text[start - 2 : start] not in _FULL_STOPS:
        return False
    return re.search(rf"(?<![\d.,]){re.escape(number)}(?![\d/]|[.,]\d)", question) is not None
