"""What the words behind a mark do to it: they take it back, conclude something else, or say it again."""

from __future__ import annotations

import re
from collections.abc import Hashable

from proofmill.filters.answers.endings import TAIL
from proofmill.filters.answers.hedging import confirmed, corrects, doubtful, retracted
from proofmill.filters.answers.marks import Mark
from proofmill.filters.answers.reader import CLOSERS, MATHEMATICAL, NUMBER, Conclusion, Reader, agree
from proofmill.filters.answers.statements import closing_value

_CONCLUDING = re.compile(
    r"\b(?:so|thus|therefore|hence|altogether|in total|in conclusion|finally|rather|instead|must be|should be"
    r"|it is|it's|we get)\b|因此|所以|故",
    re.IGNORECASE,
)


def unless_taken_back(text: str, last: Mark, found: Conclusion, key: Hashable, reader: Reader) -> Conclusion:
    """Return what was found, unless the text behind it takes it back or concludes something else."""
    tail = text[last.end :].strip(CLOSERS)
    if not tail:
        return found
    if last.rule in ("tagged", "json"):
        otherwise = _concludes_otherwise(tail, found, key, reader, named=True)
        return Conclusion("", "several_answers") if otherwise else found
    if retracted(text, last.end):
        later, offset = closing_value(tail, reader.readable, reader.question)
        later = later if MATHEMATICAL.search(later) else ""
        if (later and agree(reader.key(later), key)) or (not later and confirmed(tail[:TAIL])):
            return found
        clear = later and _CONCLUDING.search(tail[offset : offset + 300])
        return (
            Conclusion(later, "corrected", text.find(tail, last.end) + offset)
            if clear
            else Conclusion("", "taken_back")
        )
    if _concludes_otherwise(tail, found, key, reader, named=False):
        return Conclusion("", "several_answers")
    return found


def _concludes_otherwise(tail: str, found: Conclusion, key: Hashable, reader: Reader, *, named: bool) -> bool:
    """Return whether the words behind a mark conclude another answer.

    Args:
        tail: the words.
        found: what the mark says.
        key: of that.
        reader: of the domain.
        named: whether to name its number is enough to say it again.
    """
    if not MATHEMATICAL.search(tail) or not _CONCLUDING.search(tail[-600:]):
        return False
    if _SAME_AGAIN.search(tail[-600:]) and not corrects(tail) and not doubtful(tail):
        return False
    later, offset = closing_value(tail[-TAIL:], reader.readable, reader.question)
    sentence = tail[-TAIL:][offset:]
    if "would" not in reader.question and _OTHER_CASE.search(sentence):
        return False
    if not later or not MATHEMATICAL.search(later) or not _CONCLUDING.search(sentence[:300]):
        return False
    if (named and _names(found.text, sentence)) or (_EXACT.search(found.text) and _ROUNDED.search(sentence)):
        return False
    measured = _UNIT_BEHIND.sub("", later.replace("$", "")).strip()  # the box holds 4, and the profit is 4 dollars
    return not any(agree(reader.key(said), key) for said in (later, measured) if said)


_EXACT = re.compile(r"[π√]|\\(?:pi|sqrt|[dt]?frac)\b")
_ROUNDED = re.compile(r"\b(?:about|approximately|roughly|around)\b|≈|\\approx")
_UNIT_BEHIND = re.compile(
    r"(?:\s|\\(?:[,;: ]|q?quad\b|(?:text|mathrm)\s?\{[^{}]*\})|(?<![\\A-Za-z])[A-Za-z°²³']{2,20}|\^\{?[23]\}?)+\.?\Z"
)


def _names(answer: str, sentence: str) -> bool:
    """Return whether a sentence has the number of an answer, or states it in another unit."""
    number = NUMBER.search(answer)
    if number is None:
        return False
    figures = number[0].replace(",", "").rstrip(".")
    spoken = _THOUSANDS.sub("", sentence)
    stated = re.search(rf"(?<![\d.,]){re.escape(figures)}(?![\d/]|[.,]\d)", spoken)
    return stated is not None or _converted(figures, spoken)


_OTHER_CASE = re.compile(  # Note: if the roles had been distinct, the count would have been 504
    r"\A\W{0,4}(?:(?:note|remark)\b[:,.]?\s)?(?:that\s)?(?:if|had|were)\b[^.\n]*\b(?:had|were|was|been)\b[^.\n]*\bwould\b",
    re.IGNORECASE,
)
_SAME_AGAIN = re.compile(
    r"\b(?:confirms?|confirming|which agrees|matches|same (?:answer|result|value|number|as)|result is the same"
    r"|as before)\b",
    re.IGNORECASE,
)


def _converted(figures: str, sentence: str) -> bool:
    """Return whether a sentence may state the number of a tag in another unit: 90, then 1.5 hours."""
    stated = [float(match[1]) for match in _MEASURED.finditer(sentence)]
    if not figures.replace(".", "", 1).isdecimal() or not float(figures):
        return False
    ratios = [value / float(figures) for value in stated if value]
    return any(abs(max(ratio, 1 / ratio) / factor - 1) < _ROUNDING for ratio in ratios for factor in _FACTORS)


_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3})")
_MEASURED = re.compile(
    r"(?<![\d.,])(\d{1,15}(?:\.\d{1,15})?)\s?(?:hours?|minutes?|seconds?|days?|weeks?|months?|years?|km|cm|mm|m|kg|g|ml|l"
    r"|cents?|dollars?|%|feet|foot|inch(?:es)?|yards?|miles?|met(?:er|re)s?|lit(?:er|re)s?|percent|kilo\w+|centi\w+|milli\w+)(?![A-Za-z])",
    re.IGNORECASE,
)
_FACTORS = (7, 12, 24, 60, 100, 1000, 3600)
_ROUNDING = 0.01
