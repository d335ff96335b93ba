"""Text as benchmarks are compared: words alone, and where they stand in the original."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from proofmill.filters.windows import I64, U64, Lines, fold_words

VERSION = 2
"""Raised when the words of a text, or which of them inform, would change."""

_TABLE = bytes(ord(chr(i).lower()) if chr(i).isalnum() else 0x20 for i in range(128)) + bytes(range(128, 256))
# Scripts written without spaces between words: each character counts as a word.
_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_WORD = re.compile(rf"[{_UNSPACED}]|[^\W_{_UNSPACED}]+")
_SIGNS = r"[0-9A-Za-z\x80-\U0010ffff]+"  # no ASCII sign can be part of a word

# Commas, and what LaTeX writes for them, that part the thousands of a number.
_THOUSANDS = r"(?:,(?<=[0-9],)|\{,\}(?<=[0-9]\{,\})|\\,(?<=[0-9]\\,))(?=[0-9]{3}(?![0-9]))"
_GROUPED = re.compile(_THOUSANDS)
_STRETCH = re.compile(rf"{_SIGNS}(?:{_THOUSANDS}{_SIGNS})*")

# Commands of LaTeX for which plain text has a sign or nothing; others, as \sin and \pi, it spells out.
_LAYOUT = re.compile(
    r"\\(?:[dtc]?frac|left|right|[Bb]igg?[lrm]?|text(?:bf|it|rm|tt)?|math(?:bb|bf|cal|frak|it|rm|sf|scr)|operatorname"
    r"|boxed|displaystyle|[cdl]?dots?|times|div|pm|leq?|geq?|neq?|[lr](?:floor|ceil|angle|brace|vert|Vert)|q?quad"
    r"|over(?:line|rightarrow)|underline|limits)(?![A-Za-z])"
)

_LONG_NUMBER = 19  # digits; longer ones are no counting

# Of English, of program text, of LaTeX.
_COMMON = """
    all also and any are but can did does each every for from had has have her him his how its let may more
    must nor not off one our out per she should some such than that the their them then there these they this
    those two was were what when where which while who whom whose why will with would you your
    append class def dict elif else false import int len list none print range return self str true
    begin cdot cdots dots end frac geq ldots left leq mathbb mathrm quad right sqrt text times
"""
_COMMON_WORDS = frozenset(_COMMON.split())


def words_of(text: str) -> list[str]:
    """The words of a text: compatibility forms unified (NFKC), case folded; signs and LaTeX's layout left out."""
    return _words(_plain(text))


def word_lines(texts: Sequence[str]) -> Lines:
    """`words_of` many texts at once, one line a text."""
    return Lines.of_words(fold_words(list(map(_plain, texts)), _TABLE, lambda text: " ".join(_words(text))))


def _plain(text: str) -> str:
    """The text without commands of layout, and with numbers in one piece."""
    text = _GROUPED.sub("", text) if "," in text else text
    return _LAYOUT.sub(" ", text) if "\\" in text else text


def _words(text: str) -> list[str]:
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold())


def word_spans(text: str) -> list[tuple[int, int]]:
    """Begin and end in `text` of each of its words.

    Words that only normalisation parts, as those of one compatibility character, share a span.
    """
    spans = []
    text = _LAYOUT.sub(lambda command: " " * len(command[0]), text)  # every other character keeps its place
    for stretch in _STRETCH.finditer(text):
        count = len(words_of(stretch.group()))
        exact = [match.span() for match in _WORD.finditer(text, *stretch.span())]
        spans += exact if len(exact) == count else [stretch.span()] * count
    return spans


def word_hashes(lines: Lines) -> U64:
    """Hash of every word, uint64 (units,)."""
    every = np.arange(len(lines.begins))
    return lines.hashes(every, every)


def informative(words: Iterable[str]) -> int:
    """Number of different words that tell something: three letters or more, and not a common word."""
    return sum(
        not word.isascii() or (len(word) >= 3 and word.isalpha() and word not in _COMMON_WORDS) for word in set(words)
    )


def is_counting(words: Sequence[str]) -> bool:
    """Whether numbers follow each other by at most two different steps, as in 1 2 3 4 1 2 3 4."""
    if not all(word.isdecimal() and len(word) < _LONG_NUMBER for word in words):
        return False
    numbers = [int(word) for word in words]
    return len({after - before for before, after in pairwise(numbers)}) <= 2


def different_words(hashes: U64, head: I64, tail: I64, size: int) -> I64:
    """Number of different words in each run of at most `size` words."""
    members = hashes[np.minimum(head[:, None] + np.arange(size), tail[:, None])]
    members.sort(axis=1)
    count: I64 = 1 + (members[:, 1:] != members[:, :-1]).sum(axis=1)
    return count


def letters_inside(lines: Lines, head: I64, tail: I64) -> NDArray[np.bool_]:
    """Whether a run has a letter in it (or any character beyond ASCII)."""
    total = np.concatenate(([0], (lines.text >= 0x61).cumsum()))
    found: NDArray[np.bool_] = total[lines.ends[tail]] > total[lines.begins[head]]
    return found
