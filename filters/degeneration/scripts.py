"""A change of alphabet or language in the middle of a text."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping

_RANGES: Mapping[str, str] = {
    "latin": "A-Za-z\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u024f",
    "cyrillic": "\u0400-\u052f",
    "hebrew": "\u0590-\u05ff",
    "arabic": "\u0600-\u06ff\u0750-\u077f",
    "devanagari": "\u0900-\u097f",
    "bengali": "\u0980-\u09ff",
    "tamil": "\u0b80-\u0bff",
    "thai": "\u0e00-\u0e7f",
    "hangul": "\uac00-\ud7af\u1100-\u11ff",
    "cjk": "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff",  # Japanese mixes its scripts, so they count as one
}
"""Greek is missing on purpose: it is notation."""

_MIN_RUN: Mapping[str, int] = {"cjk": 4, "hangul": 6, "latin": 60}  # terms are Latin in any text
_MIN_RUN_LETTERS = 15
"""Letters in a row (spaces aside) that make a switch: a word or two, not a name or a symbol."""

_MIN_MAIN = 2.0  # the main script has at least so many times the letters of the other
_RUN = re.compile(
    "|".join(f"(?P<{name}>[{range_}]+(?:[^\\w\n]{{1,2}}[{range_}]+)*)" for name, range_ in _RANGES.items())
)
_BEYOND_LATIN = re.compile("[" + "".join(ranges for name, ranges in _RANGES.items() if name != "latin") + "]")
_QUOTED = re.compile(
    r"`[^`\n]{0,300}`|\"[^\"\n]{0,300}\"|'[^'\n]{1,300}'|“[^”\n]{0,300}”|«[^»\n]{0,300}»|「[^」\n]{0,300}」"
)

_COMMON: Mapping[str, frozenset[str]] = {
    language: frozenset(words.split())
    for language, words in {
        "English": "the of and that this with which have from they there what when you we will would",
        "German": "der die das und nicht ist wir eine einen dass auch mit für sich wird sind haben",
        "French": "le les des une est que nous pour dans avec donc cette sont qui vous pas aussi",
        "Spanish": "el los las una que por para con como entonces tenemos pero más esta donde cada",
        "Italian": "il gli della che per con sono quindi abbiamo nel questo come ogni anche più",
        "Portuguese": "o os uma não que para com são então temos mas mais cada isso está então dos",
        "Dutch": "het een van niet dat wij zijn voor met ook deze wordt naar dus hebben",
    }.items()
}
_KNOWN = frozenset().union(*_COMMON.values())
_WORD = re.compile(r"[^\W\d_]+")
_MIN_LANGUAGE_WORDS = 12  # words of a paragraph below which its language can't be told
_MIN_COMMON = 4  # common words of the other language in it


def switches(text: str, prompt: str = "") -> str | None:
    """The words at which a text changes its alphabet or language, or None.

    Quoted words, and alphabets and languages of the prompt, are no switch: a text may speak about them.
    Languages are told by their commonest words, for a handful of European ones.
    """
    plain = _QUOTED.sub(" ", text)
    return _script_switch(plain, prompt) or _language_switch(plain, prompt)


def _script_switch(text: str, prompt: str) -> str | None:
    if text.isascii() or not _BEYOND_LATIN.search(text):
        return None  # one alphabet alone
    letters: Counter[str] = Counter()
    longest: dict[str, str] = {}
    for match in _RUN.finditer(text):
        script, run = match.lastgroup or "", match[0]
        letters[script] += len(run)
        if len(run) > len(longest.get(script, "")):
            longest[script] = run
    asked = {match.lastgroup for match in _RUN.finditer(prompt)}
    main, most = letters.most_common(1)[0] if letters else ("", 0)
    for script, run in longest.items():
        long_enough = len(run) >= _MIN_RUN.get(script, _MIN_RUN_LETTERS)
        if script != main and script not in asked and long_enough and most >= _MIN_MAIN * letters[script]:
            return run
    return None


def _language_switch(text: str, prompt: str) -> str | None:
    counts = [(paragraph, _languages(paragraph)) for paragraph in text.split("\n")]
    total: Counter[str] = Counter()
    for _, found in counts:
        total.update(found)
    if len(total) < 2:
        return None
    main, asked = total.most_common(1)[0][0], _languages(prompt)
    for paragraph, found in counts:
        if not found:
            continue
        language, hits = found.most_common(1)[0]
        if language != main and hits >= max(_MIN_COMMON, 3 * found[main]) and asked[language] < _MIN_COMMON:
            return paragraph.strip()
    return None


def _languages(text: str) -> Counter[str]:
    """Common words of each language in a paragraph; empty where it is too short to tell."""
    words = _WORD.findall(text.lower())
    if len(words) < _MIN_LANGUAGE_WORDS:
        return Counter()
    known = [word for word in words if word in _KNOWN]  # few of a long text's words, asked for each language
    hits = {language: sum(word in common for word in known) for language, common in _COMMON.items()}
    return Counter({language: number for language, number in hits.items() if number})
