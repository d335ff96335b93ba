r"""Closing sentences that conclude something other than a number: nothing, infinity, yes or no, a name, a date, a time.

They are looked at only where a text has no mark and its last sentence states no number.
"""

from __future__ import annotations

import re

from proofmill.filters.answers.prose_values import plain
from proofmill.filters.symbolic.dates import date_at_end

_MAX_SENTENCE = 300  # characters
_LEAD = re.compile(
    r"(?:(?:thus|therefore|hence|so|then|finally|in conclusion|as a result|since [^,]{1,80}|we (?:see|find|conclude)"
    r"|it follows|this means)(?: that)?[,:]?\s+)+",
    re.IGNORECASE,
)
_LIMITS = re.compile(
    r"\b(?:other|another|except|besides|but|unless|if|only|when|where|greater|less|more|fewer|outside|than|not|negative"
    r"|positive|maybe|perhaps|yet)\b|\d",
    re.IGNORECASE,
)
_NONE = re.compile(
    r"(?:(?P<subject>[^,.;:]{1,80}?)\s(?:has|have|admits?)|there (?:is|are|exists?))\sno\s"
    r"(?P<kind>(?:[a-z-]+\s){0,2})(?P<noun>solutions?|roots?|zeros?|values?|numbers?|integers?|pairs?|[a-z])"
    r"(?P<tail>\s(?:to|for|of|that|which|satisfying|in)\b[^,.;:]{1,80})?\Z",
    re.IGNORECASE,
)
_NO_SOLUTION = re.compile(r"no (?:real )?solutions?\Z", re.IGNORECASE)
_HOW_MANY = re.compile(r"\bhow many\b|\bnumber of\b", re.IGNORECASE)
_PLAIN_KINDS = frozenset({"real", "such", "valid", "possible", "real-valued"})
_STATE = re.compile(
    r"(?:[^,.;:]{1,120}?\s(?:is|are|equals?|(?:diverges?|tends?|goes) to|approaches)\s)?"
    r"(?P<state>(?:(?:positive|negative|minus|plus) )?infinity|undefined|infinite|(?:the )?empty(?: set)?"
    r"|all real numbers|any real number)\Z",
    re.IGNORECASE,
)
_MISSING = re.compile(r"[^,.;:]{1,120}?\s(?P<state>does not exist|doesn't exist|is not defined)\Z", re.IGNORECASE)
_ENDLESS = re.compile(
    r"[^,.;:]{0,80}?\b(?:has|have|there (?:is|are)) (?P<state>infinitely many)(?: \w+){0,2}\Z", re.IGNORECASE
)
_WEEKDAY = re.compile(
    r"(?:[^,.;:?]{1,120}?\s(?:is|was|be|falls|fell)\s)?on (?:an? )?"
    r"(?P<day>(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day)\Z",
    re.IGNORECASE,
)
_DOTTED = re.compile(r"(?<=\d)\.(?=\d)")
_CLOCK = re.compile(
    r"(?:[^\d]{1,120}?(?:\s|(?=在)))?(?:(?:at|is|by|be|until|was|um|à|a las|alle|às|kl\.?|om|в)\s|在)"
    r"(?P<time>\d{1,2}(?::|h| h |\.(?=\d\d Uhr))[0-5]\d(?:\s?[ap]\.?\s?m\b\.?)?)"
    r"(?:到达)?(?: (?:Uhr|uur|heures?|horas?|o'clock))?(?: (?:an|ab|aan))?"
    r"(?P<half> in the (?:morning|afternoon|evening))?\Z",
    re.IGNORECASE,
)
_CALCULATED = re.compile(r"\A[\d:+\s=]{9,60},\s(?:so|thus|hence)\s")  # 7:50 + 1:55 = 9:45, so it ends at …
_BOUND = re.compile(
    r"(?:.{0,80}\b(?:all )?(?:real )?(?:numbers?|values?)(?: of [a-z])?|.{0,80}?(?<![A-Za-z])\$?(?P<letter>[a-z])\$?)\s"
    r"(?:(?:that are|is|are|must be|has to be|can be)\s)?(?:(?P<side>greater|larger|more|bigger|less|smaller) than "
    r"(?P<equal>or equal to )?|(?P<least>at (?:least|most)) )\$?(?P<end>-?[\d./]+)\$?\Z",
    re.IGNORECASE,
)
_ASKS_BOUND = re.compile(r"[<>≤≥]|\\(?:le|ge|lt|gt)|\b(?:inequalit\w+|range|domain|interval)\b", re.IGNORECASE)
_ASKS_NAME = re.compile(
    r"\b(?:who|whose|whom|which|what (?:day|month|colou?r|name|shape|kind|type|letter))\b", re.IGNORECASE
)
_NAME = r"[A-Z][a-z]+(?: [A-Z][a-z]+)?"
_IS_NAME = re.compile(
    rf"(?:[^,.;:?]{{1,120}}\s(?:is|was|are|on)|[A-Za-z ]{{1,40}}:)\s(?:the |an? )?(?P<name>{_NAME})\Z"
)
_NAME_FIRST = re.compile(rf"(?P<name>{_NAME})\s(?P<rest>[a-z][^,.;:?]{{2,100}})\Z")
_IS_TRUE = re.compile(
    r"(?:the (?:given )?(?:statement|claim|assertion|proposition)|it|this|that)(?: given)? is (?:indeed |therefore )?"
    r"(?P<truth>true|false)\Z",
    re.IGNORECASE,
)
_OPEN = re.compile(r"\b(?:not|n't|never|or|maybe|perhaps|if|unless)\b", re.IGNORECASE)
_DENIES = re.compile(r"\b(?:not|n't|never|nor|neither|or|maybe|perhaps|probably|possibly|either)\b", re.IGNORECASE)
_ASKS_WHETHER = re.compile(
    r"(?:\A|[.!?:,]\s+)(?:is|are|was|were|does|do|did|can|could|will|would|has|have|should)\s[^?]{1,300}\?"
    r"|\byes or no\b|\byes/no\b|\bwhether\b|\btrue or false\b|\btrue/false\b",
    re.IGNORECASE,
)
_YES_OR_NO = re.compile(  # "Yes, it is prime."
    r"[*_ ]{0,4}(yes|no|true|false)[*_]{0,2}(?:[,.:!;]|\s[-–—])\s(?!(?:and|or|but|wait|maybe|no|yes|not)\b)"
    r"(?![^\n]*\b(?:but|however|wait|maybe|perhaps|actually|unless|if)\b)[^\n?.!]{1,200}[.!*]{0,3}\s*\Z",
    re.IGNORECASE,
)


def yes_or_no(line: str, question: str) -> str:
    """Return the yes or no with which a last line answers; "" where it does not, or may count something."""
    match = _YES_OR_NO.match(line)
    if match is None or (re.search(r"[\d\\$]", line) and not _ASKS_WHETHER.search(question)):
        return ""
    return match[1]


def worded_value(sentence: str, question: str) -> str:
    """Return what a closing sentence concludes in words, as an answer is written; "" where it concludes nothing."""
    text = plain(sentence)
    if not text or len(text) > _MAX_SENTENCE or text.endswith(("?", "？")):
        return ""
    if lead := _LEAD.match(text):
        text = text[lead.end() :]
    if date := date_at_end(text):
        return date
    if match := _WEEKDAY.match(text):
        return match["day"]
    if (match := _CLOCK.match(text) or _CLOCK.match(_CALCULATED.sub("", text))) is not None:
        half = {"m": "am", "a": "pm", "e": "pm"}[match["half"][8]] if match["half"] else ""
        return f"{_DOTTED.sub(':', match['time'])} {half}".strip()
    if (match := _IS_TRUE.match(text)) and _ASKS_WHETHER.search(question):
        return match["truth"]
    return _nothing(text, question) or _state(text) or _bound(text, question) or _name(text, question)


def _bound(text: str, question: str) -> str:
    """Return the inequality that a sentence says in words, where a question asks for one: "x is greater than 4"."""
    match = _BOUND.match(text) if _ASKS_BOUND.search(question) and not _DENIES.search(text) else None
    if match is None:
        return ""
    upper = match["least"].lower() == "at most" if match["least"] else match["side"].lower() in ("less", "smaller")
    sign = ("<" if upper else ">") + ("=" if match["least"] or match["equal"] else "")
    return f"{match['letter'] or 'x'} {sign} {match['end']}"


def _nothing(text: str, question: str) -> str:
    """Return "no solution" for a sentence that says so of all that the question asks for; 0 if that counts them."""
    if _NO_SOLUTION.match(text):
        return "no solution"
    match = _NONE.match(text)
    if match is None or _LIMITS.search(match["subject"] or "") or _LIMITS.search(match["tail"] or ""):
        return ""
    words = question.lower()
    if any(kind not in _PLAIN_KINDS and kind not in words for kind in match["kind"].lower().split()):
        return ""
    return "0" if _HOW_MANY.search(question) else "no solution"


def _state(text: str) -> str:
    match = _STATE.match(text) or _MISSING.match(text) or _ENDLESS.match(text)
    if match is None or _OPEN.search(text, 0, match.start("state")):
        return ""
    state = match["state"].lower()
    return {"doesn't exist": "does not exist", "is not defined": "not defined"}.get(state, state)


def _name(text: str, question: str) -> str:
    """Return the name with which a sentence answers who or which: "Evelyn won the race", "The winner is Evelyn"."""
    if not _ASKS_NAME.search(question) or _DENIES.search(text):
        return ""
    if re.fullmatch(rf"{_NAME}|[a-z]{{3,20}}", text):
        return text
    if match := _IS_NAME.match(text):
        return match["name"]
    match = _NAME_FIRST.match(text)
    asked = re.search(r"\b(?:who|which(?: \w+)?)\s(?P<rest>[^?]{3,100})\?", question, re.IGNORECASE)
    if match is None or asked is None:
        return ""
    said = match["rest"].lower()
    return match["name"] if asked["rest"].lower().startswith(said) and said.split()[0] not in ("is", "was") else ""
