"""The one number of a sentence: of one without a verb of being, or the one whose noun the question asks for."""

from __future__ import annotations

import re
from functools import lru_cache

from proofmill.filters.answers.prose_values import (
    ANY_NUMBER,
    BEFORE_CHANGES,
    CHANGERS,
    CONDITION_FIRST,
    DENIED_BEHIND,
    DENIES,
    GLOSS,
    MATH_SPAN,
    NUMBER,
    REFUSED_BEHIND,
    STOP_WORDS,
    Readable,
    harmless,
    number_of,
    of_another_case,
    without_contrast,
)
from proofmill.filters.symbolic.number_words import in_figures

_UNREAD = re.compile(
    r"[=<>^√π!×·÷≤≥≠±∞⁰¹²³⁴-⁹₀-₉\\$]|(?<=[\d)])\s?[-+*/]\s?(?=[\d(])|\d[A-Za-z](?![A-Za-z])|[A-Za-z]_?\d"
)
METHOD = re.compile(
    r"\b(?:adding|multiplying|dividing|subtracting)\b(?![^.]*\b(?:we get|gives? (?:us )?(?:a total of )?[$\d]))"
    r"|(?:^|[,;:]\s|\b(?:we|you|i|to|then|first|next|finally|must|us|let's|and|by|should)\s(?:can |need to "
    r"|must |have to |will )?)"
    r"(?:divide|multiply|subtract|add|calculate|compute|determine|convert|solve|substitute|simplify|sum"
    r"|find (?:the|out|how))\b",
    re.IGNORECASE,
)
UNSURE = re.compile(
    r"\b(?:unknown|unclear|maybe|perhaps|either|between(?=\W{0,3}\d)|impossible to|not sure|not certain"
    r"|not clear)\b|\b(?:cannot|can't|can not) (?:be )?(?:say|tell|know|determine)",
    re.IGNORECASE,
)
_TWO_CASES = re.compile(r"\d[^.]*\b(?:if|unless)\b[^.]*\b(?:otherwise|else)\b|\bdepending on\b", re.IGNORECASE)
SUBORDINATE = re.compile(
    r"\b(?:since|if|as|because|given|when|with|by|after|for|to|in|from|while|once"
    r"|out of)\b[^,]*(?:,[^,\s][^,]*)*,\s+(?:then\s+)?",
    re.IGNORECASE,
)
PARTICIPLE = re.compile(r"\A[a-z]{3,}ing\b[^,]*(?:,[^,\s][^,]*)*,\s+", re.IGNORECASE)
THEN = re.compile(
    r"(?:[,;]\s*|\s)(?:so|thus|therefore|hence|then|ending (?:up )?(?:at|with)|leaving|(?<=,\s)(?:making|giving)"
    r"|reaching)\b,?\s*",
    re.IGNORECASE,
)
_HOW_MANY = re.compile(
    r"\bhow (?:many|much)\s+(?:more\s+|total\s+|fewer\s+|less\s+|extra\s+|additional\s+)?((?:[A-Za-z'-]+\s*){1,4})",
    re.IGNORECASE,
)


def _cut_out(match: re.Match[str]) -> str:
    return ", " if match.start() else ""


def lonely_value(sentence: str, readable: Readable, question: str, *, marked: bool) -> str:
    """Return the one number of a sentence without a verb of being, or the one whose noun the question asks for."""
    if UNSURE.search(sentence) or _TWO_CASES.search(sentence):
        return ""
    clause = GLOSS.sub(" ", without_contrast(sentence))
    led = PARTICIPLE.match(clause)
    clause = clause[led.end() :] if led else SUBORDINATE.sub(_cut_out, clause, count=1)
    clause = THEN.split(clause)[-1] or clause
    spans = MATH_SPAN.findall(clause)
    if spans:
        return _lonely_span(clause, spans, readable)
    if METHOD.search(clause) or _UNREAD.search(ANY_NUMBER.sub(" ", clause)):
        return ""
    numbers = _numbers_in(clause, question, marked=marked)
    if len(numbers) > 1 and question:  # what the question gives is no answer to it
        given = set(_FIGURES.findall(question))
        new = [number for number in numbers if given.isdisjoint(_FIGURES.findall(number[0]))]
        numbers = new or numbers
        if not _asked_noun(question):
            numbers = [number for number in numbers if not number[1]] or numbers
    stated = _asked_for(numbers, clause, _asked_noun(question))
    if len(stated) != 1 or (not marked and re.search(r"\bor\b[^,]*\d", clause)):
        return ""
    return stated[0]


_FIGURES = re.compile(r"\d[\d,]*(?:\.\d+)?(?:/\d+)?")
_BOUNDS = (  # what makes a bound of a number, and the question whose answer is that bound
    (
        re.compile(r"\bat least\s\Z", re.IGNORECASE),
        re.compile(r"\b(?:minimum|least|fewest|smallest|lowest)\b", re.IGNORECASE),
    ),
    (
        re.compile(r"\b(?:at most|up to)\s\Z", re.IGNORECASE),
        re.compile(r"\b(?:maximum|most|largest|greatest|highest)\b|\bhow (?:many|much)\b[^.?]*\bcan\b", re.IGNORECASE),
    ),
    (re.compile(r"\bby\s\Z", re.IGNORECASE), re.compile(r"\bby how (?:many|much)\b", re.IGNORECASE)),
)


def _asked_bound(before: str, question: str) -> bool:
    """Return whether the words before a number make a bound of it, and that bound is what the question asks for."""
    return any(words.search(before) and asks.search(question) for words, asks in _BOUNDS)


def _numbers_in(clause: str, question: str, *, marked: bool) -> list[tuple[str, bool]]:
    """The numbers of a clause that are neither bounds nor names nor denied, and whether each only stands aside
    ("for 3 months")."""
    if _offers_two(clause):
        return []
    numbers, behind = [], 0
    for match in ANY_NUMBER.finditer(clause):
        before = clause[max(0, match.start() - _NEAR) : match.start()]
        if (BEFORE_CHANGES.search(before) and not _asked_bound(before, question)) or DENIES.search(before):
            continue
        if of_another_case(clause[match.end() :], question) or _PAIRED.match(clause[match.end() :]):
            continue
        if _PAIRED_BEFORE.search(before):
            continue
        tail = clause[match.end() :]
        if DENIED_BEHIND.search(tail) or REFUSED_BEHIND.match(tail) or (marked and CONDITION_FIRST.match(tail)):
            continue
        if match.start() < behind:  # the minutes of 1 hour 30 minutes
            continue
        if value := number_of(clause[match.start() :]):
            behind = match.start() + len(value) if " and " in value else behind
            numbers.append((value, _ASIDE.search(before) is not None))
    return numbers


_LABEL = r"(?:\s[^\W\d_][^\W\d_-]*){0,3}?"
_TWO_OFFERED = re.compile(  # 4 or 2 roots; 2 roots, or maybe 4
    rf"(?<![\w.,/])(?P<one>{NUMBER})(?P<first>{_LABEL}),?\s(?:or|oder|ou|o|oppure|lub|или)\s(?:(?:maybe|perhaps|even"
    rf"|possibly|else|vielleicht|peut-être|quizás?|forse|talvez)\s)?(?P<other>{NUMBER})(?P<second>{_LABEL})(?=[\s.,;!]|\Z)",
    re.IGNORECASE,
)


def _offers_two(clause: str) -> bool:
    """Return whether a clause leaves two numbers of one thing open; a second unit, 60 minutes or 1 hour, does not."""
    for match in _TWO_OFFERED.finditer(clause):
        one, other = (re.sub(r"[\s,]", "", match[name]) for name in ("one", "other"))
        if one != other and one.isdecimal() and other.isdecimal():
            first, second = match["first"].split(), match["second"].split()
            if not first or not second or first[0].lower() == second[0].lower():
                return True
    return False


_NEAR = 80  # characters before a number that may change it
_PAIRED = re.compile(r"\s(?:and|to)\s[$€£]?\d")  # the sum of 20 and 3
_PAIRED_BEFORE = re.compile(r"\d\s(?:and|to)\s[$€£]?\Z")
_MORE_THAN = r"(?:more|less|fewer|longer|older|younger|taller|farther|further|heavier|faster|cheaper)\b"
_ASKS_DIFFERENCE = re.compile(rf"\bhow (?:many|much)\s(?:\w+\s)?{_MORE_THAN}", re.IGNORECASE)
_DIFFERENCE = re.compile(rf"(?<![\w.,$/])(?P<value>{NUMBER})(?:\s[a-z]+){{0,2}}\s{_MORE_THAN}(?:\s\w+){{0,3}}?\sthan\b")


def compared_value(sentence: str, question: str) -> str:
    """Return the difference that a question asks for: "3 loaves cost $4 more than 2 bagels"."""
    if "than" not in sentence or not _ASKS_DIFFERENCE.search(question) or UNSURE.search(sentence):
        return ""
    found = [match for match in _DIFFERENCE.finditer(sentence) if not BEFORE_CHANGES.search(sentence[: match.start()])]
    return found[0]["value"].strip() if len(found) == 1 and not DENIES.search(sentence[: found[0].start()]) else ""


def asked_value(sentence: str, question: str) -> str:
    """Return the one number of a plain sentence that counts what the question asks for."""
    noun = _asked_noun(question)
    if not noun or noun <= _MONEY_WORDS or MATH_SPAN.search(sentence) or METHOD.search(sentence):
        return ""
    clause = SUBORDINATE.sub(_cut_out, GLOSS.sub(" ", sentence), count=1)
    last = THEN.split(clause)[-1]
    clause = last if ANY_NUMBER.search(last) else clause  # "he had 24 and ate 4, so 20 are left"
    if _UNREAD.search(ANY_NUMBER.sub(" ", clause)):
        return ""
    found = _most_named([value for value, _ in _numbers_in(clause, question, marked=False)], noun)
    return found[0] if len(found) == 1 else ""


def _most_named(values: list[str], noun: frozenset[str]) -> list[str]:
    """Return the values whose label shares most words with what is asked for, none if it shares no word."""
    shared = [len(noun.intersection(word.rstrip("s") for word in value.split())) for value in values]
    most = max(shared, default=0)
    return [value for value, count in zip(values, shared, strict=True) if count == most] if most else []


def _asked_for(numbers: list[tuple[str, bool]], clause: str, noun: frozenset[str]) -> list[str]:
    """Return the numbers that may be what the question asks for; all of them where it names no noun."""
    stated = [value for value, _ in numbers]
    if not noun:
        return stated
    main = [value for value, aside in numbers if not aside]
    stated = main or (stated if len(ANY_NUMBER.findall(clause)) == len(stated) else [])
    if len(stated) > 1:
        named = _most_named(stated, noun)
        stated = named or ([value for value in stated if value[0] in "$€£\\"] if noun & _MONEY_WORDS else [])
    if not stated and not re.search(r"\d", clause):
        words = [match for match in _WORD_NUMBER.finditer(clause) if match[2].lower().rstrip("s") in noun]
        figures = ANY_NUMBER.findall(in_figures(clause))
        words = words if figures == [str(_WORD_NUMBERS[match[1].lower()]) for match in words] else []
        stated = [f"{_WORD_NUMBERS[match[1].lower()]} {match[2]}" for match in words]
    return stated


_ASIDE = re.compile(
    r"\b(?:for|in|after|before|within|during|over|at|on|by|from|with|all|every)\s+(?:the\s+)?\Z", re.IGNORECASE
)
_MONEY_WORDS = frozenset(  # what follows "how much", which is answered by an amount
    re.findall(r"\w+", "money dollar cost price pay spend profit doe did will i wa would")
)
_WORD_NUMBERS = {
    word: value
    for value, word in enumerate(
        re.findall(
            r"\w+", "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen"
        )
    )
}
_WORD_NUMBER = re.compile(rf"\b({'|'.join(_WORD_NUMBERS)})\s+(?:more\s+|full\s+|whole\s+)?([A-Za-z]+)", re.IGNORECASE)


def _lonely_span(clause: str, spans: list[str], readable: Readable) -> str:
    if len(spans) > 1 or re.search(r"\d", MATH_SPAN.sub("", clause)):
        return ""
    before, span, after = clause.partition(spans[0])
    if BEFORE_CHANGES.search(before.rstrip() + " ") or CHANGERS.match(after) or not harmless(after, marked=True):
        return ""
    return span if readable(span) and not METHOD.search(before) else ""


_TIMES = frozenset({"second", "minute", "hour", "day", "week", "month", "year"})
_HOW_LONG = re.compile(r"\bhow long\b[^.?]*\?", re.IGNORECASE)
_ASKED_UNIT = re.compile(r"\bin (?:whole |total )?([a-z]{4,})\)?\s*\?", re.IGNORECASE)


@lru_cache(maxsize=1024)
def _asked_noun(question: str) -> frozenset[str]:
    """Return the words behind the last "how many" of a question, without their plural's s."""
    found = _HOW_MANY.findall(question)
    if not found:
        unit = _ASKED_UNIT.findall(question)
        return _TIMES if _HOW_LONG.search(question) else frozenset(word.lower().rstrip("s") for word in unit[-1:])
    words = [word.strip("'-").lower().rstrip("s") for word in found[-1].split()]
    return frozenset(word for word in words[:3] if len(word) > 1 and word not in STOP_WORDS)
