"""The phrase behind a mark in words: where it begins, and where the statement ends."""

from __future__ import annotations

import re

from proofmill.filters.answers.marks import MAX_PHRASE, Mark

_STATEMENT_END = re.compile(
    r"\n|\?|(?<=[\w)}%$*\]!✅])(?:\.|(?<!\d)!)(?=\s|\Z|[\u4e00-\u9fff])|。"
    r"|[ ,](?:because|since|as there|so that|when|given that)\b"
)
_LEAD = re.compile(r"^(?:[\s:：*_`]|(?:therefore|thus|hence|so|indeed|simply|then|now)\b[ ,:]*)+", re.IGNORECASE)


def phrased(text: str, mark: Mark) -> Mark:
    """Return a sentence mark with the phrase behind it: a display, or the rest of the sentence."""
    start = mark.end
    rest = text[start : start + MAX_PHRASE]
    lead = _LEAD.match(rest)
    skipped = lead.end() if lead else 0
    # The value may stand on the next line, but a new sentence there is not the answer.
    if not mark.open and rest.lstrip(" \t*")[:1] == "\n" and rest.lstrip(" \t\n*")[:1] not in _VALUE_STARTS:
        skipped = 0
    start, rest = start + skipped, rest[skipped:]
    for opener, closer in (("$$", "$$"), ("\\[", "\\]")):
        if rest.startswith(opener):
            end = rest.find(closer, 2)
            phrase = rest[: end + 2] if end > 0 else ""
            return mark._replace(phrase=phrase, end=start + len(phrase))
    end_match = _STATEMENT_END.search(rest)
    # "Is the answer 5?" asks; it states nothing.
    if end_match and end_match[0] == "?":
        return mark._replace(phrase="", end=start + end_match.end(), open=False)
    phrase = rest[: end_match.start()] if end_match else rest
    if not phrase.isascii():
        phrase = "" if _EASTERN_DENIAL.search(phrase) else phrase
        return mark._replace(
            phrase=_JAPANESE_END.sub("", phrase.translate(_WIDE_DIGITS)).strip(), end=start + len(phrase)
        )
    return mark._replace(phrase=phrase.strip(" \t"), end=start + len(phrase))


_JAPANESE_END = re.compile(r"(?:です|である|だ|となる|になります)\s*\Z")
_EASTERN_DENIAL = re.compile(r"では(?:な|あり)|じゃな|でない|아니|아닙")  # in Japanese and Korean it comes last
_WIDE_DIGITS = {0xFF10 + digit: str(digit) for digit in range(10)}
_VALUE_STARTS = frozenset("0123456789$\\(-−")
