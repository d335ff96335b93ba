"""Whether a sentence states a number again in another unit: 90 minutes, then 1.5 hours."""

from __future__ import annotations

import re


def converted(figures: str, sentence: str) -> bool:
    """Return whether a sentence may state the number of a tag in another unit: 90, then 1.5 hours."""
    stated = [float(match[1]) for match in _MEASURED.finditer(sentence)]
    if not figures.replace(".", "", 1).isdecimal() or not float(figures):
        return False
    ratios = [value / float(figures) for value in stated if value]
    return any(abs(max(ratio, 1 / ratio) / factor - 1) < _ROUNDING for ratio in ratios for factor in _FACTORS)


THOUSANDS = re.compile(r"(?<=\d),(?=\d{3})")
_MEASURED = re.compile(
    r"(?<![\d.,])(\d{1,15}(?:\.\d{1,15})?)\s?(?:hours?|minutes?|seconds?|days?|weeks?|months?|years?|km|cm|mm|m|kg|g|ml|l"
    r"|cents?|dollars?|%|feet|foot|inch(?:es)?|yards?|miles?|met(?:er|re)s?|lit(?:er|re)s?|percent|kilo\w+|centi\w+|milli\w+)(?![A-Za-z])",
    re.IGNORECASE,
)
_FACTORS = (7, 12, 24, 60, 100, 1000, 3600)
_ROUNDING = 0.01
