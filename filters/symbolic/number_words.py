"""Numbers in words, as they stand alone in an answer: `twelve`, `twenty-five`, `one hundred and six`, `two thirds`."""

from __future__ import annotations

import re
from fractions import Fraction

from proofmill.filters.symbolic.notation import FRACTION_WORDS, NUMBER_WORDS, SCALE_WORDS

_SMALL = {word: value for word, value in NUMBER_WORDS.items() if value < 20}
_TENS = {word: value for word, value in NUMBER_WORDS.items() if value >= 20}
_SCALES = {word: value for word, value in SCALE_WORDS.items() if word != "hundred"}
_PARTS = {word: part.denominator for word, part in FRACTION_WORDS.items()}
_SPELLED = frozenset({*_SMALL, *_TENS, *_SCALES, *_PARTS, "hundred", "a", "an", "and", "minus", "negative", "point"})
_MAX_WORDS = 16


def spelled_number(text: str) -> tuple[Fraction, str] | None:
    """Return the number that a text begins with in words, and the words behind it; None where it doesn't.

    "one and a half" is 3/2, "two thirds" 2/3, "a hundred apples" 100 apples.
    """
    words = re.findall(r"[a-z]+|[^a-z\s-]+", text.lower().replace("-", " "))
    count = next((index for index, word in enumerate(words) if word not in _SPELLED), len(words))
    if not count or len(words) > _MAX_WORDS:
        return None
    value = _value(words[:count])
    return None if value is None else (value, " ".join(words[count:]))


def _value(words: list[str]) -> Fraction | None:
    sign = -1 if words[0] in ("minus", "negative") else 1
    words = words[1:] if sign < 0 else words
    if not words or words[-1] in ("and", "a", "an"):
        return None
    if words[-1] in _PARTS:
        return _fraction(words, sign)
    number = _integer(words)
    return None if number is None else Fraction(sign * number)


def _fraction(words: list[str], sign: int) -> Fraction | None:
    """Return a fraction, with a whole number before it or none: "two thirds", "one and a half"."""
    whole = 0
    size = _PARTS[words[-1]]
    rest = words[:-1]
    if "and" in rest:
        at = len(rest) - 1 - rest[::-1].index("and")
        before = _integer(rest[:at])
        if before is None:
            return None
        whole, rest = before, rest[at + 1 :]
    parts = 1 if not rest and not whole else _integer(rest)
    # "Two half" and "one thirds" are no fractions.
    if parts is None or not parts or (parts == 1) == (words[-1].endswith("s") or words[-1] == "halves"):
        return None
    return sign * (whole + Fraction(parts, size)) if parts < size or not whole else None


def _integer(words: list[str]) -> int | None:
    if words in (["a"], ["an"]):
        return 1
    if not words or "and" in (words[0], words[-1]):
        return None
    total, last, chunk = 0, 10**15, list[str]()
    for word in words:
        if word not in _SCALES:
            chunk.append(word)
            continue
        part = _below_thousand(chunk) if chunk else 1
        if not part or _SCALES[word] >= last or (not chunk and total):
            return None
        total, last, chunk = total + part * _SCALES[word], _SCALES[word], []
    chunk = chunk[1:] if total and chunk[:1] == ["and"] else chunk  # a thousand and one
    part = _below_thousand(chunk) if chunk else 0
    return None if part is None else total + part


def _below_thousand(words: list[str]) -> int | None:
    """Return a number of at most three digits: "a hundred and six", "twenty-five"."""
    hundreds = 0
    if "hundred" in words:
        at = words.index("hundred")
        count = 1 if words[:at] in ([], ["a"]) else _SMALL.get(words[0], 0) if at == 1 else 0
        if not 1 <= count <= 9:
            return None
        hundreds, words = 100 * count, words[at + 1 :]
        words = words[1:] if words[:1] == ["and"] else words
    if words == ["a"] and not hundreds:
        return 1  # of "a million"
    if not words:
        return hundreds
    if len(words) == 1 and (value := NUMBER_WORDS.get(words[0])) is not None:
        return hundreds + value
    if len(words) == 2 and words[0] in _TENS and 0 < _SMALL.get(words[1], 0) < 10:
        return hundreds + _TENS[words[0]] + _SMALL[words[1]]
    return None
