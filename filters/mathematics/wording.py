"""Answers in words, and the words round an answer."""

from __future__ import annotations

import re

from proofmill.filters.mathematics.expressions import FUNCTIONS
from proofmill.filters.mathematics.quantities import plain_text

_ADVERB = re.compile(
    r"^(?:(?:approximately|approx|about|exactly|only|roughly|around|nearly|almost|just|simply|either|both"
    r"|equal to|equals)\b\.?|\\approx|~|=)\s*",
    re.IGNORECASE,
)
_GLOSS = re.compile(  # 12 (twelve)
    r"(?<=[\d}%$])\s?(?P<text>\\text ?\{ ?)?\((?![^()]*\b(?:or|not|wrong|incorrect|maybe|probably|if|unless)\b)"
    r"[A-Za-z]{3,}[A-Za-z -]{0,60}\)(?(text) ?\})\Z"
)
_WORDS = re.compile(r"[A-Za-z][A-Za-z' ,.\-]*\Z")
_HYPHEN = re.compile(r" ?- ?")
_RUN = re.compile(r"[A-Za-z]+")
_MATH_WORDS = FUNCTIONS | {"sqrt", "pi"}

_VALUE = r"[\d.]|\\(?:frac|sqrt|pi|\$)|\$"
_LABELLED = re.compile(  # "(A) 7", an option with its letter; an operator behind it would make it mathematics
    rf"\\text ?\{{ ?(?:\([A-E]\)|[A-E][.):]) ?\}} ?(?=-?(?:{_VALUE})|[\\({{\[])"
    rf"|(?:\([A-E]\)|[A-E][.)]) (?={_VALUE})"
)

_SYNONYMS = {
    "empty": "no solution|no solutions|no real solution|no real solutions|none|empty set|the empty set"
    "|there is no solution|there are no solutions|no such value|no such number|no real root|no real roots"
    "|no values|null set|\\emptyset",
    "reals": "all real numbers|all reals|real numbers|any real number|every real number|\\mathbb{r}",
    "undefined": "dne|does not exist|undefined|not defined|limit does not exist",
    "infinity": "infinity|\\infty|+\\infty|positive infinity|infinite|infinitely many",
}
_SYNONYM = {text: name for name, texts in _SYNONYMS.items() for text in texts.split("|")}


def synonym(text: str) -> str:
    """Which of "empty", "reals", "undefined", "infinity" the text says; "" if none."""
    return _SYNONYM.get(plain_text(text).lower(), "")


def bare(text: str) -> str:
    """Without leading adverbs and without braces round the whole."""
    while True:
        before = text
        text = _GLOSS.sub("", _ADVERB.sub("", text, count=1)).lstrip(" ,;").rstrip(" .,;")
        if text.startswith("{") and text.endswith("}") and _closing(text) == len(text) - 1:
            text = text[1:-1]
        if text.startswith("\\text{") and _closing(text[5:]) == len(text) - 6:
            text = text[6:-1]
        if text == before:
            return text


def unlabelled(text: str) -> str:
    """An option's value without the letter before it."""
    return _LABELLED.sub("", text, count=1) if _LABELLED.match(text) else text


def _closing(text: str) -> int:
    depth = 0
    for index, sign in enumerate(text):
        depth += (sign == "{") - (sign == "}")
        if not depth:
            return index
    return -1


def word_key(text: str) -> str:
    """An answer in words, keyed by its letters; empty where it may be mathematics: `x - y`, `ab-cd`, `sin x`."""
    plain = plain_text(text)
    if not _WORDS.match(plain) or all(len(run) < 3 or run in _MATH_WORDS for run in _RUN.findall(plain)):
        return ""
    words = [word.strip(".,'-") for word in _HYPHEN.sub("-", plain.lower()).split()]
    words = [word for word in words if word not in ("the", "a", "an")] or words
    return " ".join(words)
