"""math-verify for what this package's own grammar does not cover: integrals, sums, limits, set-builders.

Only its LaTeX grammar is used, never its plain-expression one, which evaluates text. Its alarms are off:
they need the main thread and miss what hangs in C; the caller's worker pool kills instead.
"""

from __future__ import annotations

import logging
import re
from functools import lru_cache
from typing import Any

# What it leaves out may change what is said: `\text{…}` ("5 or maybe 6"), a number's subscript, all behind a
# dollar sign.
_LEFT_OUT = re.compile(r"\\text\s?\{[^{}\d]{0,300}?(?:\d|[A-Za-z]{3}|\b(?:or|is)\b|\?)|[\d)]\s?_|\$|\\ldots")


def library_equal(a: str, b: str) -> bool:
    """math-verify's verdict on what only its grammar covers, unless the numbers differ plainly."""
    if _LEFT_OUT.search(a) or _LEFT_OUT.search(b):
        return False
    gold, answer = library_parse(a), library_parse(b)
    if gold is None or answer is None:
        return False
    return not _library_differ(gold, answer) and bool(_library().verify(gold, answer, timeout_seconds=None))


def _library_differ(gold: Any, answer: Any) -> bool:
    """Whether two closed forms differ beyond rounding, which math-verify's six places would hide."""
    try:
        x, y = complex(gold.evalf(30)), complex(answer.evalf(30))
    except (TypeError, ValueError, AttributeError, ArithmeticError):
        return False
    return abs(x - y) > 1e-9 * max(abs(x), abs(y))


@lru_cache(maxsize=4096)
def library_parse(text: str) -> Any | None:
    """What math-verify reads in LaTeX, a sympy object; None where it reads nothing."""
    library = _library()
    config = [library.LatexExtractionConfig(boxed_match_priority=-1)]
    found = library.parse(f"${text}$", config, fallback_mode="no_fallback", parsing_timeout=None)
    return found[0] if found else None


@lru_cache(maxsize=1)
def _library() -> Any:
    """math-verify, loaded late: most answers never need it, and it brings sympy."""
    import math_verify  # type: ignore[import-untyped]

    for name in ("math_verify.parser", "math_verify.grader"):
        logging.getLogger(name).setLevel(logging.ERROR)  # it warns that its alarms are off, which is meant
    return math_verify
