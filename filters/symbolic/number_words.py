"""Numbers in words: `twelve`, `twenty-five`, `one hundred and six`, `two thirds`; alone, or in a sentence."""

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


_NUMERAL_WORDS = "|".join(sorted((_SPELLED - {"a", "an", "and", "point", "minus", "negative"}), key=len, reverse=True))
_RUN = re.compile(
    r"(?<![\w.'-])(?P<sign>(?:minus|negative)\s)?"
    rf"(?P<words>(?:an?\s(?=(?:hundred|thousand|million|billion|half|third)\b))?(?:{_NUMERAL_WORDS})"
    rf"(?:(?:\s|\s?-\s?|\sand\s(?:an?\s)?)(?:{_NUMERAL_WORDS}))*)(?![\w'-]|\.\d)",
    re.IGNORECASE,
)
_PRONOUN_BEHIND = re.compile(
    r"\s(?:of|another|who|that|which|more|by|can|could|must|should|has|might|may)\b", re.IGNORECASE
)
_COUNTED_BEFORE = re.compile(r"(?:\A|\b(?:is|are|be|equals?|exactly|only|just|has|have|get)\s|=\s?)\Z", re.IGNORECASE)
_ORDINALS = frozenset(
    {"third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth", "quarter", "quarters"}
)
_BOTH_SIGNS = re.compile(r"\bplus\s(?:or|and|/)\sminus\s", re.IGNORECASE)
_SIGN = re.compile(
    r"(?:\A|(?<=\bis\s)|(?<=\bare\s)|(?<=\bequals\s)|(?<=[:,=]\s))(?:minus|negative)\s(?=[\d.$\\])", re.IGNORECASE
)
_MIXED = re.compile(r"(?<![\d./])(\d{1,9}) and (\d{1,9}/\d{1,9})(?![\d./])")
_ROOT = re.compile(
    r"(?<![\w.])(?:(\d{1,9}) (?:times )?)?(?:the )?(?:(square|cube) )?root (?:of )?(\d{1,9})(?![\w.^]|\s?[-+*/])",
    re.IGNORECASE,
)
_BELOW_ZERO = re.compile(r"(?<![\d.-])(\d{1,4}(?:\.\d{1,4})?(?:\s?(?:°C?|degrees?(?: Celsius)?))?) below zero\b")
_DOZEN = re.compile(r"(?<!half )(?<!\d )\ba dozen\b", re.IGNORECASE)


def in_figures(sentence: str) -> str:
    """Return a sentence with the numbers that it spells in figures: "is minus twenty-five years" as "is -25 years".

    Words that may be no number stay: "one of them", "the third", "no one".
    """
    text = _DOZEN.sub("1 dozen", _RUN.sub(_figure, _BOTH_SIGNS.sub("± ", sentence)))
    if "below zero" in text:
        text = _BELOW_ZERO.sub(r"-\1", text)
    if "root " in text:
        text = _ROOT.sub(_radical, text)
    return _MIXED.sub(r"\1 \2", _SIGN.sub("-", text))


def _radical(match: re.Match[str]) -> str:
    degree = "[3]" if (match[2] or "").lower() == "cube" else ""
    return f"{match[1] or ''}\\sqrt{degree}{{{match[3]}}}"


def _figure(match: re.Match[str]) -> str:
    words = match["words"].lower()
    before = match.string[: match.start()]
    behind = match.string[match.end() :]
    if words in _ORDINALS:
        return match[0]
    if words in ("one", "zero") and (
        _PRONOUN_BEHIND.match(behind) or not (match["sign"] or _COUNTED_BEFORE.search(before))
    ):
        return match[0]
    spelled = spelled_number(words)
    if spelled is None or spelled[1]:
        return match[0]
    return f"{'-' if match['sign'] else ''}{spelled[0]}"


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
