"""Dates and times of day: which texts state one, and when two state the same."""

from __future__ import annotations

import re
from typing import NamedTuple

_MAX_DATE = 48  # characters
_MONTHS = (  # in English, German, French, Spanish, Italian, Portuguese; the first three letters do in English
    "january jan januar janvier enero gennaio janeiro января",
    "february feb februar février febrero febbraio fevereiro февраля",
    "march mar märz mars marzo março марта",
    "april apr avril abril aprile апреля",
    "may mai mayo maggio maio мая",
    "june jun juni juin junio giugno junho июня",
    "july jul juli juillet julio luglio julho июля",
    "august aug août agosto августа",
    "september sep sept septembre septiembre settembre setembro сентября",
    "october oct oktober octobre octubre ottobre outubro октября",
    "november nov novembre noviembre novembro ноября",
    "december dec dezember décembre diciembre dicembre dezembro декабря",
)
_MONTH = {name: month for month, names in enumerate(_MONTHS, 1) for name in names.split()}
_NAMES = "|".join(sorted(_MONTH, key=len, reverse=True))
_WEEKDAY = r"(?:(?:mon|tues|wednes|thurs|fri|satur|sun)day,? )?"
_DAY = r"(?P<{}>\d{{1,2}})(?:st|nd|rd|th|\.)?"
_NAMED = re.compile(
    rf"{_WEEKDAY}(?:the )?(?:(?P<month1>{_NAMES})\.? {_DAY.format('day1')}(?:,? (?P<year1>\d{{4}}))?"
    rf"|{_DAY.format('day2')}(?: (?:day )?of| de)? (?P<month2>{_NAMES})\b\.?(?:,? (?:de )?(?P<year2>\d{{4}}))?)"
)
_ISO = re.compile(
    r"(?P<year>\d{4})-(?P<month>\d{2})-(?P<day>\d{2})|(?P<year_>\d{4})年(?P<month_>\d{1,2})月(?P<day_>\d{1,2})日?"
)
_NUMERIC = re.compile(r"(\d{1,2})([/.-])(\d{1,2})\2([12]\d{3})")
_AT_END = re.compile(rf"(?:(?<=\s)|\A)(?:{_NAMED.pattern}|\d{{1,2}}[/.-]\d{{1,2}}[/.-][12]\d{{3}})\Z")
_DAY_MONTH = re.compile(r"\bDD?\W{1,2}MM?\b|\bday\W{1,2}month\b", re.IGNORECASE)
_MONTH_DAY = re.compile(r"\bMM?\W{1,2}DD?\b|\bmonth\W{1,2}day\b", re.IGNORECASE)


class Date(NamedTuple):
    """A day; the year is 0 where a text has none."""

    year: int
    month: int
    day: int


def _plain(text: str) -> str:
    return " ".join(re.sub(r"\\text\s*\{([^{}]*)\}", r"\1", text).lower().strip(" .$*").split())


def _named(text: str) -> Date | None:
    """Return the date that a text states with the name of its month, or with its year first."""
    if len(text) > _MAX_DATE:
        return None
    plain = _plain(text)
    if (iso := _ISO.fullmatch(plain)) is not None:
        year, month, day = (int(part) for part in iso.groups() if part is not None)
        return Date(year, month, day)
    match = _NAMED.fullmatch(plain)
    if match is None:
        return None
    side = "1" if match["month1"] else "2"
    return Date(int(match["year" + side] or 0), _MONTH[match["month" + side]], int(match["day" + side]))


def _numeric(text: str, *, day_first: bool) -> Date | None:
    """Return the date that a text states in figures: 03/05/2021."""
    match = _NUMERIC.fullmatch(_plain(text))
    if match is None:
        return None
    month, day = int(match[1]), int(match[3])
    if month > 12 or (day_first and day <= 12):
        month, day = day, month
    return Date(int(match[4]), month, day) if 1 <= month <= 12 and 1 <= day <= 31 else None


def is_date(text: str) -> bool:
    """Return whether a text is a date with the name of its month, or with its year first."""
    return _named(text) is not None


def may_be_date(text: str) -> bool:
    """Return whether a text is a date, if in figures only, of which the order may be open."""
    return is_date(text) or _numeric(text, day_first=False) is not None


def date_at_end(sentence: str) -> str:
    """Return the date with which a sentence ends, as it stands there; "" where it ends otherwise."""
    match = _AT_END.search(sentence.lower(), max(0, len(sentence) - _MAX_DATE))
    return "" if match is None or not may_be_date(match[0]) else sentence[match.start() :]


def date_in(sentence: str) -> str:
    """Return the one date with a year, or the date at the end, that a sentence states; "" where it has none or two."""
    named = [match for match in _NAMED.finditer(sentence.lower()) if match["year1"] or match["year2"]]
    if len(named) == 1:
        return sentence[named[0].start() : named[0].end()]
    return "" if named else date_at_end(sentence)


def same_date(answer: str, gold: str, prompt: str) -> bool:
    """Return whether two texts state one date; 03/05/2021 is read as the question, or the other side, writes dates."""
    one, other = _named(answer), _named(gold)
    if one is not None and other is not None:
        return one == other or (one[1:] == other[1:] and not other[0] and str(one[0]) in prompt)
    if _DAY_MONTH.search(prompt) or _MONTH_DAY.search(prompt):
        day_first = _DAY_MONTH.search(prompt) is not None
    else:
        day_first = any(
            "." in text.strip(" .*$") or ((found := _NAMED.fullmatch(_plain(text))) is not None and found["day2"])
            for text in (answer, gold)
        )
    one, other = one or _numeric(answer, day_first=day_first), other or _numeric(gold, day_first=day_first)
    return one is not None and one == other


_CLOCK = re.compile(r"(\d{1,2}):([0-5]\d)(?:\\text\{|[\s~\\])*([ap])\.?\s?m\.?\}?", re.IGNORECASE)
_MERIDIEM = re.compile(r"(?<=[\d\s])([ap])\.?m\b", re.IGNORECASE)


def same_time(answer: str, gold: str, prompt: str) -> bool:
    """Return whether a time of day is a gold that leaves out morning or afternoon, and 00 minutes: 2:00 pm for 2.

    The question must speak of times, and of none in the other half of the day only.
    """
    match = _CLOCK.fullmatch(answer.strip(" $.")) if ":" in answer else None
    if match is None:
        return False
    named = {half.lower() for half in _MERIDIEM.findall(prompt)}
    hour, minutes = match[1], match[2]
    if named and match[3].lower() not in named:
        return False
    return gold.strip() in ([f"{hour}:{minutes}", hour] if minutes == "00" and named else [f"{hour}:{minutes}"])
