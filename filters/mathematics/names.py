r"""What an answer may call its value: the left side of `x = 5`, `P(A) = 5`, `[ABC] = 5`, `\max f = 5`."""

from __future__ import annotations

import re

from proofmill.filters.mathematics.quantities import plain_text

_DENIED = re.compile(
    r"\b(?:not|nor|or|if|when|unless|never|maybe|perhaps|wrong|incorrect|false|except|without)\b", re.IGNORECASE
)
_MAX_NAME = 80
_NAME = re.compile(
    r"""(?:\\?[A-Za-z]{1,12}
        (?:_(?:\w|\\[A-Za-z]{1,12}|\{(?:[^{}=]|\{[^{}=]{0,20}\}){1,30}\}))?'{0,2}
        (?:\(\w{1,3}(?:,\ ?\w){0,3}\))?
    |[A-Za-z][A-Za-z'\ ]{0,60}
    |\\(?:angle|text|triangle|overline|vec|widehat)\ ?\{?[A-Za-z\ ]{1,60}\}?
    |\(\w(?:,\ ?\w){1,3}\)
    |\|[A-Z]{1,3}\||\[[A-Z]{2,8}\]|\\\#\ ?[A-Za-z]?                    # a length, an area, the number of
    |(?P<head>\\(?:max|min|sup|inf|det|deg|dim|gcd|lcm|Pr)(?:\ ?[A-Za-z]'?)?|[fghpqPQEFGHVSTRA]|Var|gcd|lcm)\ ?
        (?:[(\[](?![^()\[\]]{0,30}(?P=head))[^()\[\]]{1,30}[)\]])?     # a value of a function; p(p - 1) is none
    )\Z""",
    re.VERBOSE,
)


def hedged(text: str) -> bool:
    """Whether the left side of an equation holds a word that denies or conditions it: "not x = 5", "if x = 5"."""
    return _DENIED.search(text) is not None


def is_name(text: str) -> bool:
    """Whether a text names a value, and is no expression whose value an equation would restrict."""
    if len(text) > _MAX_NAME or hedged(text):
        return False
    return _NAME.match(text) is not None or ("\\text" in text and _NAME.match(plain_text(text)) is not None)
