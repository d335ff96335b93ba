"""What counts as the same text, and what as a whole word, when a keyword is looked for.

Texts that look the same are the same: letters and their accents in one piece (Unicode's NFC) or two, straight
and curly quotes, with and without invisible characters. A word ends where the next character is neither letter,
digit nor mark; so it does at Markdown's underscores, which unlike `snake_case` have no word on their far side.
Where words are written without spaces (Chinese, Japanese, Thai) or with endings attached (Korean), a keyword is
found inside a run of letters.
"""

from __future__ import annotations

import functools
import re
import unicodedata

CHINESE_JAPANESE = (
    "\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff"
)
"""Ranges of a regular expression's set: characters, each of which a word processor counts as a word."""
_UNSPACED = re.compile(
    f"[{CHINESE_JAPANESE}\u0e00-\u109f\u1100-\u11ff\u1780-\u17ff\u3100-\u318f\ua960-\ua97f\uac00-\ud7ff]"
)
_REACH = 4  # characters: Markdown has at most three underscores in a row
_SAME = str.maketrans(
    dict.fromkeys("\u2018\u2019\u02bc\u2032", "'")
    | dict.fromkeys("\u201c\u201d", '"')
    | dict.fromkeys("\u00ad\u200b\u200c\u200d\u2060\ufeff\ufe0e\ufe0f")
)


@functools.lru_cache(maxsize=8)
def fold(text: str, *, case: bool = False) -> str:
    """The text in the form in which two that read the same are equal; `case` keeps upper and lower case apart."""
    seen = unicodedata.normalize("NFC", text).translate(_SAME)
    return seen if case else unicodedata.normalize("NFC", seen.casefold())


def is_whole(text: str, start: int, end: int) -> bool:
    """Whether `text[start:end]` is no mere part of a word."""
    before = _beyond(text[max(0, start - _REACH) : start][::-1])
    return not (_joins(text[start], before) or _joins(text[end - 1], _beyond(text[end : end + _REACH])))


def _beyond(rest: str) -> str:
    """The next character of a word, underscores aside; empty where none follows."""
    return rest.lstrip("_")[:1]


def _joins(edge: str, beyond: str) -> bool:
    """Whether a keyword's first or last character makes one word with what is beyond."""
    if not _is_word(edge) or not _is_word(beyond):
        return False
    return not (_UNSPACED.match(edge) or _UNSPACED.match(beyond))


def _is_word(char: str) -> bool:
    return char.isalnum() or char == "_" or (bool(char) and unicodedata.category(char)[0] == "M")
