r"""How a question asks, and how it writes: for a percentage, in a unit, for a list in an order, with decimal commas."""

from __future__ import annotations

import re
from functools import lru_cache

from proofmill.filters.answers.prose_values import with_points
from proofmill.filters.symbolic.notation import clean
from proofmill.filters.symbolic.units import Unit, asked_years, read_unit
from proofmill.filters.symbolic.values import Context

_SHIFT = re.compile(r"\$|\\[()\[\]]")
_NAMES_SCALE = re.compile(r"\b(?:dozen|hundred|thousand|million|billion|trillion)s?\b", re.IGNORECASE)
_ASKS_PERCENT = re.compile(
    r"(?<!\d)(?<!\d[ \\])(?:%|\bper ?cent)|\brate\b[^.]*\?", re.IGNORECASE
)  # no number before it
_ASKS_LEVEL = re.compile(
    r"\bwhat (?:was|is|will be|would be) (?:the|his|her|its|their) (?:charge|level|share|chance|probability"
    r"|discount|humidity"
    r"|percentage|proportion|battery|concentration|efficiency|interest)\b[^?]*\?",
    re.IGNORECASE,
)
_ASKS_ORDER = re.compile(
    r"\b(?:in|by) (?:the |an? )?(?:same |correct |right |given |following )?(?:order|(?:increasing|decreasing"
    r"|ascending|descending"
    r"|alphabetical|chronological|numerical|lexicographic\w*) \w+)\b(?! to\b)|\border(?:ed)? (?:them|the|from|by"
    r"|pair|triple|tuple|list)"
    r"|\bfrom (?:the )?(?:one with the )?(?:least|smallest|lowest|shortest|slowest|fewest|greatest|largest"
    r"|highest|longest|fastest|most"
    r"|biggest|lightest|heaviest|youngest|oldest|first|left|top)\b[^.?]{0,40}\bto\b|\brespectively\b"
    r"|\bsort(?:ed)?\b|\barrange\b"
    r"|\band then\b|\bfollowed by\b|\bas (?:an ordered|the (?:ordered )?(?:pair|triple|tuple))|\bin the form\b"
    r"|\b(?:give|write|express|enter|state|list|answer|report"
    r"|format)\b[^.?]{0,40}\bas\b[^.?]{0,12}[a-zA-Z]\w*\s?,\s?[a-zA-Z]",
    re.IGNORECASE,
)


@lru_cache(maxsize=4096)
def context(prompt: str) -> Context:
    """Return how a question asks: for a percentage, in which unit, for a list in an order."""
    return Context(
        _asks_percent(prompt),
        _names_scale(prompt),
        rounding=True,
        question=_question(prompt),
        ordered=_asks_order(prompt),
        dollars="$" in prompt or "dollar" in prompt,
        whole_dollars=_whole_dollars(prompt),
        asked=_asked_unit(prompt),
    )


_OPERATION = re.compile(r"[\w)}!]\s*(?:[-+*·×÷]|\\(?:cdot|times|div)\b)\s*[\w({\\√]|\)\s*\(")
_RELATION = re.compile(r"[=<>≤≥≠∈,;]|\\(?:[lg]eq?|neq?|in)\b")
_SET_ASIDE = re.compile(r"\\left|\\right|\\[,;! ]|[\s${}]")


_ROUNDED = re.compile(r"≈|\\approx(?![a-z])")
_FUNCTION = re.compile(r"√|\\?(?:sqrt|frac|log|ln|sin|cos|tan|binom)(?![a-z])|\^|\d\s?/\s?\d|\d!")
_TO_CARRY_OUT = (
    r"(?:[Ss]implify|[Ee]valuate|[Cc]ompute|[Cc]alculate|[Ee]xpand|[Ff]actori?[sz]?e?|[Rr]educe|[Rr]ationali[sz]e"
    r"|[Vv]alueof|[Ww]hatis|(?:[Ww]rite|[Ee]xpress)(?=.*interms))(?:thevalueof|theexpression|thefraction)?:?"
)


def repeats_question(answer: str, gold: str, prompt: str) -> bool:
    """Return whether an answer is a calculation of the question, not carried out: 33 + 86 where 33 + 86 is asked.

    Its value is gold's whatever the writer knows; a rounded value behind it makes no difference. Where gold itself is
    written so, the answer is one.
    """
    answer, *rounded = _ROUNDED.split(answer)
    operation = _OPERATION.search(answer)
    if _RELATION.search(answer) or not (operation or _FUNCTION.search(answer)):
        return False
    plain, asked, wanted = (_SET_ASIDE.sub("", text.replace("√", "\\sqrt")) for text in (answer, prompt, gold))
    plain = plain.strip(".")
    if plain not in asked or plain.strip("()") == wanted.strip("()."):
        return False
    return operation is not None or bool(rounded) or re.search(_TO_CARRY_OUT + re.escape(plain), asked) is not None


_NUMERAL = re.compile(
    r"[-−+]?\s?(?:\\?[$€£]\s?)?(?:\d[\d,]*(?:\.\d+)?|\\[dt]?frac\s?\{\d+\}\s?\{\d+\}|\d+\s?/\s?\d+)\s?(?:\\?%)?\Z"
)
_SPOKEN = re.compile(r"\\(?:text|mathrm|mbox)\s?\{[^{}]*\}")
_OF_NUMBERS = re.compile(
    r"(?<![A-Za-z_\\])[\d)}%][\s$)]*(?:[+*×·−]|-|\\(?:times|cdot)(?![a-z])|(?<=\s)x(?=\s))[\s$(]*(?:\\?\$)?[\d(\\{.]"
)
_FUNCTION_OF_NUMBER = re.compile(
    r"\\?\b(?:log|ln|lg|sin|cos|tan|cot|sec|csc)(?![a-z])|\\(?:log|ln|lg|sin|cos|tan|cot|sec|csc)(?![a-z])"
)
_DEGREES = re.compile(r"\^\s?\{?\s?\\circ\s?\}?")
_STAYS = re.compile(
    r"\^|\*\*|[⁰¹²³⁴-⁹]|!|√|π|\\(?:d?binom|pi|sqrt|pm|infty|mod|pmod|bmod)(?![a-z])|\bpi\b|[=<>≤≥≈;]|\d\s?[eE][-+]\d|\\approx"
)
_MIXED = re.compile(r"\s*-?\d+\s?\+\s?(?:\\[dt]?frac\s?\{\d+\}\s?\{\d+\}|\d+/\d+)\s*\Z")


def not_carried_out(answer: str, gold: str) -> bool:
    """Return whether an answer leaves to its reader to calculate the number that gold is: 7 × 6 for 42, log_2 16 for 4.

    Fractions, mixed numbers, powers, roots, factorials, binomial coefficients and multiples of π are numbers as they
    stand. So are the answers of math-verify, which accepts any expression of gold's value; graders that compare text
    accept none.
    """
    answer = _DEGREES.sub("", _SPOKEN.sub(" ", answer)).strip()
    if _NUMERAL.match(gold.strip(" $")) is None or _STAYS.search(answer) or _MIXED.match(answer.strip(" $")):
        return False
    return _OF_NUMBERS.search(answer) is not None or _FUNCTION_OF_NUMBER.search(answer) is not None


_HOW_MANY = re.compile(
    r"\bhow (?:many|much)\s+(?:(?:more|fewer|less|total|whole|full|extra|additional|real|actual)\s)?"
    r"((?:square |cubic )?(?!in\b)[A-Za-z]{2,})\b",
    re.IGNORECASE,
)
_IN_UNIT = re.compile(
    r"\b(?:in|nearest(?! cents?\b)(?: [a-z]+ of an?)?) (?:whole |total )?"  # dollars, to the nearest cent
    r"((?:square |cubic )?(?:[A-Za-z]{2,}|m(?=\^|/))(?:/[a-z]{1,6}| per [a-z]{3,}|\^\{?[23]\}?)?)"
    r"(?:\)|,[^.?]{0,60})?\s{0,3}[?.]",
    re.IGNORECASE,
)


_NEAREST_CENT = re.compile(r"\bnearest cents?\b", re.IGNORECASE)
_UNIT_OF_QUESTION = re.compile(  # What is the price in dollars of ten pens?
    r"(?:\b[Hh]ow (?:much|long|far)|\b[Ww]hat)\b[^.?]*?\bin (?:whole |US )?([a-z]{4,})\b[^.?]*\?"
)
_PRICE = re.compile(r"\$\s?\d[\d,]*(\.\d)?")
_COUNTS_CENTS = re.compile(r"\bcents?\b|¢|\b(?:penny|pennies|dimes?|nickels?|coins?|per ?cent)\b", re.IGNORECASE)


@lru_cache(maxsize=4096)
def _whole_dollars(prompt: str) -> bool:
    """Return whether a question states prices in whole dollars only, and speaks of no cents."""
    prices = _PRICE.findall(prompt)
    return bool(prices) and not any(prices) and _COUNTS_CENTS.search(prompt) is None


@lru_cache(maxsize=4096)
def _asked_unit(prompt: str) -> Unit | None:
    """Return the unit in which a question asks for its answer: "How many minutes …", "in dollars?"; None if unclear."""
    end = prompt[-600:].replace("²", "^2").replace("³", "^3")
    for pattern in (_IN_UNIT, _HOW_MANY, _UNIT_OF_QUESTION):
        units = {unit for word in pattern.findall(end) if (unit := read_unit(tuple(word.split()))).measures}
        if units:
            return units.pop() if len(units) == 1 else None
    if "$" in end and _NEAREST_CENT.search(end):
        return read_unit(("dollars",))
    return read_unit(("years",)) if asked_years(prompt) else None


@lru_cache(maxsize=4096)
def _question(prompt: str) -> str:
    return clean(_SHIFT.sub(" ", prompt[-1000:]))


@lru_cache(maxsize=4096)
def _asks_percent(prompt: str) -> bool:
    end = prompt[-1000:]
    if _ASKS_PERCENT.search(end) is not None:
        return True
    return "%" in end and _ASKS_LEVEL.search(end) is not None  # all its facts are percentages, and it asks for one more


@lru_cache(maxsize=4096)
def _asks_order(prompt: str) -> bool:
    return _ASKS_ORDER.search(prompt[-1000:]) is not None


@lru_cache(maxsize=4096)
def _names_scale(prompt: str) -> bool:
    return _NAMES_SCALE.search(prompt[-1000:]) is not None


_ASKS_ROUNDING = re.compile(r"\bnearest\b|\bround(?:ed|ing)?\b|\bapproximat|\bdecimal", re.IGNORECASE)
_APPROXIMATED = re.compile(
    r".{1,100}(?:≈|\\approx(?![a-z]))\s*(-?[\d.,]+(?:\s?\\text\{[^{}\d]{1,20}\}|\s[A-Za-z]{1,12}[²³]?)?)\s*\$?\Z"
)


_GLOSSED = re.compile(
    r"(.{0,100}(?:[π√]|\\pi|\\sqrt|\d\s?/\s?\d|\\frac)[^,]{0,60}),?\s(?:or|that is|i\.e\.,?)?\s?"
    r"(?:approximately|about|roughly|around)\s[\d.,]+(?:\s?%|\s[a-z]{1,12}[²³]?)?\Z"
)
_HYPHENED = re.compile(r"(\d{1,6})-(\d{1,4})/(\d{1,4})(?![\d/])")
_BRACED_COMMA = re.compile(r"(?<=\d)\{,\}(?=(?:\d{1,2}|\d{4,})(?!\d))")  # 3{,}5, and no thousands
_ASKS_AMOUNT = re.compile(
    r"\bhow (?:many|much|long|far|tall|wide|deep|old|heavy)\b|\bin (?:inches|feet|cups)\b", re.IGNORECASE
)
_BRACKET = re.compile(r"[(\[]|\\(?:langle|begin|\{)")  # in which a comma parts two numbers
_DECIMAL_COMMA = re.compile(r"(?<![\w.,])\d{1,9},\d{1,9}(?![\w,.]*\d)")


def in_its_writing(answer: str, gold: str, prompt: str) -> str:
    """Return an answer as the question's own writing has it, "" where that changes nothing.

    - 12.6 of "4π ≈ 12.6", where a rounded value is asked for or given;
    - 4π of "4π cm, approximately 12.6 cm", and 7/12 of "7/12 ≈ 0.583, or about 58.3 %";
    - 2 1/2 of "2-1/2", where an amount is asked for, and no difference;
    - 12.5 of "12,5", where the question writes decimals with commas, and of `12{,}5` anywhere.
    """
    if (match := _APPROXIMATED.match(answer)) and ("." in gold or _ASKS_ROUNDING.search(prompt)):
        return match[1]
    if (match := _GLOSSED.match(answer)) and not _ASKS_ROUNDING.search(prompt):
        return match[1]
    if "{,}" in answer and (written := _BRACED_COMMA.sub(".", answer)) != answer:
        return written
    if "-" in answer and (match := _HYPHENED.match(answer)) and int(match[2]) < int(match[3]):
        asked = _ASKS_AMOUNT.search(prompt) and not _HYPHENED.search(prompt)
        return f"{match[1]} {match[2]}/{match[3]}{answer[match.end() :]}" if asked else ""
    pointed = (
        with_points(answer, prompt)
        if not _BRACKET.search(answer) and len(_DECIMAL_COMMA.findall(answer)) == 1
        else answer
    )
    return pointed if pointed != answer else ""


_LETTERS = re.compile(r"\\(?:text|mathrm|mbox|mathbb)\s?\{[^{}]*\}|\\[a-zA-Z]+|[A-Za-z]{3,}|[A-Za-z]")
_ANY_REAL = re.compile(
    r"[,;]?\s*(?:\\quad|\\;|\\,|\s)*"
    r"(?:\\text\s?\{\s*(?:where|with|for (?:any|all|some|every)(?: real)?)?\s*\}|where|with"
    r"|for (?:any|all|some|every))?\s*\$?(?P<letter>[a-zA-Z])\$?\s*(?:\\in|∈)\s*(?:\\mathbb\s?\{?R\}?|ℝ|\\R)\s*\Z"
)
_CONSTANTS = frozenset("abckmtABCDKλα")


def in_its_constants(answer: str, gold: str, prompt: str) -> str:
    """Return a family of answers with the letter that gold has for its constant, "" where it has that or no constant.

    P(x) = 2x + k is P(x) = 2x + c: the question speaks of neither letter.
    """
    if not any(letter in _CONSTANTS for letter in gold) or len(answer) > _MAX_FAMILY:
        return ""
    plain = answer
    if (real := _ANY_REAL.search(answer)) and "\\in" not in gold and real["letter"] in answer[: real.start()]:
        plain = answer[: real.start()].rstrip(" ,;$") + ("$" if answer[:1] == "$" and answer.count("$") > 1 else "")
    stated, meant, asked = _letters_in(plain), _letters_in(gold), _letters_in(prompt[-1000:])
    own, other = stated - meant, meant - stated
    if len(own) == len(other) == 1 and own | other <= _CONSTANTS and stated & meant and asked.isdisjoint(own | other):
        letter, constant = own.pop(), other.pop()
        return _LETTERS.sub(lambda match: constant if match[0] == letter else match[0], plain)
    return plain if plain != answer else ""


def _letters_in(text: str) -> set[str]:
    """Return the letters of formulas in a text; a word of three letters or more is none."""
    return {match[0] for match in _LETTERS.finditer(text) if len(match[0]) == 1}


_MAX_FAMILY = 200  # characters
_FACTORIALS = re.compile(r"\d\s?!|[a-z)}]!(?=[^A-Za-z\"']|\Z)|factorial", re.IGNORECASE)
_EXCLAIMED = re.compile(  # behind words, and no value of a formula: "it equals 5!"
    r"(?<=\d)!(?=[*_\"'”’)]{0,3}(?:\s*\Z|\s+[A-Z✅🎉]|\s*\n))"
)
_CALCULATED = re.compile(r"(?:=|\bequals?|\bvalue is|\bequal to)[\s*$]{0,4}[\d.,]{1,20}\Z")


def exclaims(text: str, gold: str, prompt: str) -> str:
    """Return a text with a full stop for an exclamation mark behind a number, where neither side is of factorials.

    In a formula, a box or a tag it stays a factorial. Offsets stay as they are.
    """
    if not _EXCLAIMED.search(text) or "!" in gold or "factorial" in gold or _FACTORIALS.search(prompt):
        return text

    def stop(match: re.Match[str]) -> str:
        line = text[: match.start()].rpartition("\n")[2][-200:]
        spoken = line[:1] == "*" or any(sign.isalpha() for sign in line)
        return "." if spoken and not _CALCULATED.search(line) else "!"

    return _EXCLAIMED.sub(stop, text)
