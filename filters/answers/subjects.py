r"""Of what an answer speaks, and whether the question asks for that.

An answer that names another letter, angle or side than the one asked for, or counts something else that the question
sets beside what it asks for ("9 cats" where it asks how many of the dogs and cats are dogs), is no answer, whatever its
number. Neither is an amount in another role: what is off a price, what is gone where it asks for what is left.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple

from proofmill.filters.answers.prose_values import ASKS_TOTAL, STOP_WORDS
from proofmill.filters.symbolic.answer_forms import letters_of
from proofmill.filters.symbolic.notation import clean
from proofmill.filters.symbolic.number_words import in_figures
from proofmill.filters.symbolic.number_words_abroad import in_figures_abroad
from proofmill.filters.symbolic.units import plain_text, read_unit, singular

_MAX_STATED = 200  # characters
_AMOUNT = re.compile(r"\d[\d,./]*(?<![,.])")


def of_another(answer: str, gold: str, statement: str, prompt: str, response: str = "") -> bool:
    """Return whether an answer is of something else than what is asked for.

    Args:
        answer: the answer as it was found.
        gold: the gold answer.
        statement: the sentence that states it, or the answer itself where it stands for itself.
        prompt: the question.
        response: the text that says what its letters stand for.
    """
    if other_letter(answer, gold, prompt) or _other_letters(answer, prompt) or _other_noun(answer, prompt):
        return True
    if "\\bar" in answer or "\\overline" in answer:
        barred = _BARRED.search(answer)
        if (
            barred
            and not _SPEAKS_OF_BARRED.search(prompt)
            and re.search(rf"(?<![A-Za-z\\]){barred[1]}(?![A-Za-z])", prompt)
        ):
            return True  # the conjugate of z, where z is asked for
    number = _AMOUNT.search(answer, answer.rfind("=") + 1)
    statement = plain_text(statement)
    if number is not None and number[0] not in statement:
        statement = in_figures_abroad(in_figures(statement))
    at = -1 if number is None else statement.rfind(number[0])
    if number is None or at < 0:
        return False
    before, behind = statement[max(0, at - _REACH) : at], statement[at + len(number[0]) :][:_REACH]
    return (
        _other_name(before, prompt)
        or _other_person(statement[:at], prompt)
        or _other_quantity(before, prompt)
        or _of_unknown(before, prompt, response)
        or other_role(before, behind, prompt)
    )


_BARRED = re.compile(r"\\(?:overline|bar)(?![a-z])\s?\{?\s?([a-zA-Z])\s?\}?\s?=")
_SPEAKS_OF_BARRED = re.compile(r"\\(?:overline|bar)(?![a-z])|\b(?:conjugate|mean|average)\b", re.IGNORECASE)
_REACH = 120  # characters around an amount
_CLAUSE = re.compile(r"[,;.]\s|\b(?:so|and|then|hence|thus|therefore|since|because|while|but|where)\b")
_COPULA = (
    r"(?:\$|\\\)|\})?\s?(?:=|≈|\\approx|:|\b(?:is|was|equals?|measures|must be|to be|has (?:a |an )?(?:length|measure)"
    r"(?: of)?)\b)"
)
_ASKS_NAME = (
    r"(?:[Ff]ind|[Ww]hat (?:is|are)|[Mm]easures? of|[Ll]ength of|[Vv]alue of|[Dd]etermine|[Cc]alculate|[Cc]ompute"
    r"|[Ee]valuate)(?: the)?[^.?]{0,30}?"
)


class _Named(NamedTuple):
    """Things that have names: how one is written, and what two writings of one name share."""

    name: str
    key: Callable[[str], str]

    def stated(self, clause: str) -> set[str]:
        """Return the names to which a clause gives a value."""
        return {self.key(name) for name in re.findall(self.name + _COPULA, clause)}

    def asked(self, prompt: str) -> set[str]:
        """Return the names for whose value a question asks."""
        return {self.key(name) for name in re.findall(_ASKS_NAME + self.name, prompt)}


_THINGS = (
    _Named(r"(?:∠|\\angle|\bangle)\s?\{?\s?([A-Z]{1,3})(?![A-Za-z])", lambda name: name[len(name) // 2]),
    _Named(r"(?<![A-Za-z∠])(?<!angle )([A-Z]{2})(?![A-Za-z])", lambda name: "".join(sorted(name))),
    _Named(
        r"(?<![A-Za-z\\])([A-Za-z]'{0,2}\([-−]?[\d./]{1,12}\)|P\([A-Z][^()]{0,12}\))",
        lambda name: name.replace(" ", "").replace("−", "-"),
    ),
    _Named(
        r"(?<![A-Za-z])(\\?(?:sin|cos|tan|cot|sec|csc)\s?\(?(?:∠|\\angle\s?)?[A-Z])(?![A-Za-z])\)?",
        lambda name: re.sub(r"[^a-zA-Z]|angle", "", name),
    ),
)


def _other_name(before: str, prompt: str) -> bool:
    """Return whether the clause before an amount gives it to another angle, side or value of a function."""
    clause = _CLAUSE.split(before)[-1]
    if "=" not in clause and " " not in clause:
        return False
    stated = {(kind, name) for kind, things in enumerate(_THINGS) for name in things.stated(clause)}
    if stated and (asked := _asked_things(prompt)) and stated.isdisjoint(asked):
        return True
    letters = {name.lower() for name in _LETTER_STATED.findall(clause)}
    return bool(letters) and bool(wanted := _asked_letters(prompt)) and letters.isdisjoint(wanted)


@lru_cache(maxsize=4096)
def _asked_things(prompt: str) -> frozenset[tuple[int, str]]:
    return frozenset((kind, name) for kind, things in enumerate(_THINGS) for name in things.asked(prompt[-1000:]))


_UNKNOWN_STATED = re.compile(r"(?<![\w\\^_'’(/*+-])(?<![-+*/] )([xyztnk])\$?\s?(?:=|≈|\bis\b|\bequals\b)\s?\$?\Z")
_ASKED_MEASURE = re.compile(
    r"\b(?:what (?:is|was|would be|will be)|find|determine|calculate|compute)\s(?:the\s)?"
    r"(?:(?!of\b|when\b|if\b)[\w'-]+\s){0,3}?(area|perimeter|volume|slope|gradient|circumference|probability|discriminant"
    r"|determinant|(?:maximum|minimum|greatest|least|largest|smallest)\s(?:possible\s)?(?:height|profit|revenue|product"
    r"|sum))\b(?!\s(?:of|for)\s\$?(?!a\b)[a-z]\b)",
    re.IGNORECASE,
)


def _of_unknown(before: str, prompt: str, response: str) -> bool:
    """Return whether an amount is given to an unknown where a question asks for an area, a slope or the like.

    It is the amount that is asked for where the response lets the unknown stand for that.
    """
    stated = _UNKNOWN_STATED.search(before)
    asked = _ASKED_MEASURE.search(asking(prompt)) if stated is not None else None
    if stated is None or asked is None:
        return False
    meant = (
        rf"(?<![A-Za-z\\]){stated[1]}\$?\s(?:be|is|denotes?|represents?|for|as)\s[^.\n]{{0,60}}{asked[1].split()[-1]}"
    )
    return re.search(meant, response, re.IGNORECASE) is None


def _other_person(before: str, prompt: str) -> bool:
    """Return whether a sentence begins with one person, where the question is of another, or of all together."""
    lead = _SUBJECT_LEAD.match(before)
    clause = before[lead.end() :] if lead else before
    subject, together = _SUBJECT_NAME.match(clause), _TOGETHER.match(clause)
    if (subject is None and together is None) or _CLAUSE.search(clause):
        return False
    asked = asking(prompt)
    named = any(not _NO_NAMES.issuperset(filter(None, names)) for names in _ASKED_NAME.findall(asked))
    if subject is None:
        return named and not _ASKS_TOGETHER.search(asked)
    if subject[1] in asking(prompt, circumstances=True):
        return False
    if not _is_name(subject[1], prompt):
        return subject[1] in _GIVEN_NAMES and _speaks_of_others(subject[1], prompt)
    return named or _ASKS_TOGETHER.search(asked) is not None


_SUBJECT_LEAD = re.compile(
    r"\W*(?:(?:so|thus|therefore|hence|then|now|finally|in conclusion),?\s)?"
    r"(?:(?:(?:the|our|my)\s(?:final\s|correct\s)?answer\sis(?:\s?:|\sthat)?|(?:final\s)?answer\s?:"
    r"|(?:this|which|it)\s(?:means|follows|shows)(?:\sthat)?|we\s(?:find|get|see|conclude|know)\sthat)[\s*:]{1,4})?",
    re.IGNORECASE,
)
_ASKED_NAME = re.compile(
    r"\b(?:does|did|do|will|would|can|could|is|was|has|had|must|should|are|were)\s([A-Z][a-z]{2,})\b|\b([A-Z][a-z]{2,})['’]s\b"
)
_TOGETHER = re.compile(r"(?:together|altogether|in total|in all)\b,? they\b", re.IGNORECASE)
_ASKS_TOGETHER = re.compile(
    r"\btogether\b|\bboth of them\b|\bthey\b[^?]*\b(?:altogether|in total|in all|combined)\b", re.IGNORECASE
)


def _is_name(word: str, prompt: str) -> bool:
    """Return whether a word is somebody's name in a question: it does or has something there, or something is its."""
    return (
        re.search(rf"\b{word}(?:['’]s\b|\s[a-z]+)|(?<=[a-z,] ){word}\b", prompt) is not None and word not in _NO_NAMES
    )


def _speaks_of_others(name: str, prompt: str) -> bool:
    """Return whether a question is of people, none of whom has this name or one that is short for it."""
    short = name[:_SHORTENED]
    known = {word[:_SHORTENED] for word in _CAPITALISED.findall(prompt)}
    return short not in known and bool(_PEOPLE.search(prompt))


_SHORTENED = 2  # letters that a name shares with its short form
_CAPITALISED = re.compile(r"\b[A-Z][a-z]{2,}")
_PEOPLE = re.compile(r"\b(?:he|she|his|her|him)\b|\b[A-Z][a-z]{2,}['’]s\b|\b(?:does|did|will|has|can) [A-Z][a-z]{2,}\b")
_GIVEN_NAMES = frozenset(  # none of which is a word of its own, or is short for one that begins otherwise
    re.findall(
        r"\w+",
        "Aaron Adam Alan Albert Alice Amanda Amy Andrea Andrew Angela Anna Anne Arthur Barbara Benjamin Brian "
        "Carlos Carol Caroline Charlotte Chloe Chris Christina Christopher Claire Daniel David "
        "Deborah Dennis Diana Donald Dorothy Dylan Emily Emma Eric Ethan Evelyn Fatima Fiona "
        "Francis George Gloria Greg Hannah Harold Heather Helen Isabella Jacob Janet Jason Jennifer "
        "Jeremy Jessica Jonathan Jordan Joseph Joshua Julia Julie Karen Keith Kelly Kenneth "
        "Kevin Kimberly Kyle Larry Laura Lauren Leonard Linda Lisa Louis Lucas Lucy Luis Luke Madison Maria "
        "Marie Martha Martin Matthew Megan Melissa Michael Michelle Miguel Mike Mohammed Nancy Natalie Nathan "
        "Nicholas Nicole Noah Oliver Olivia Oscar Pamela Patricia Paul Pedro Peter Philip Rachel Raymond Rebecca "
        "Roger Ronald Ryan Samantha Samuel Sandra Scott Sharon Simon Sophia Sophie Stephanie "
        "Stephen Steve Steven Susan Teresa Thomas Tim Timothy Tom Tyler Victoria Vincent Walter Wendy Zoe",
    )
)
_NO_NAMES = frozenset(
    re.findall(
        r"\w+",
        "Monday Tuesday Wednesday Thursday Friday Saturday Sunday January February March April May June July August "
        "September October November December What Who Where When How Here Let There This That These Those They The",
    )
)


def _other_quantity(before: str, prompt: str) -> bool:
    """Return whether the clause before an amount calls it what is not asked for: the cost, where profit is."""
    named = _SUBJECT_OF.search(_CLAUSE.split(before)[-1])
    words = _WORD.findall(named["subject"].lower()) if named is not None else []
    stated = {_QUANTITY[word] for word in words if word in _QUANTITY}
    if not stated:
        return False
    asked = {_QUANTITY[word] for word in _WORD.findall(asking(prompt).lower()) if word in _QUANTITY}
    return any(
        kinds and all(index not in kinds for other, index in stated if other == kind)
        for kind in {kind for kind, _ in stated}
        if (kinds := {index for other, index in asked if other == kind})
    )


_SUBJECT_OF = re.compile(  # "Her costs were", "the area of the square is", "a loss of", "She lost"
    r"(?:\A|\b(?:her|his|the|its|a|an|their)\s)(?P<subject>(?!\W*[A-Za-z]+ing\b)"
    r"(?:(?!\b(?:of|from|after|for|on|in|with|by|per|to)\b)[^=:])*)(?:\b(?:of|from|for|on|in)\b[^=:]*)?"
    r"(?:\s(?:is|was|are|were|equals|will be|would be|comes to|of)|=|:|(?<=lost)|(?<=loses))"
    r"\s?(?:about|approximately|exactly)?\W*\Z",
    re.IGNORECASE,
)


def _by_name(kinds: Sequence[str]) -> dict[str, tuple[int, int]]:
    """Return of each name its kind, and which thing of that kind it is; names of one thing stand between slashes."""
    return {
        name: (kind, index)
        for kind, names in enumerate(kinds)
        for index, alike in enumerate(names.split())
        for name in alike.split("/")
    }


_QUANTITIES = (  # of one kind, of which one is none of the others
    "revenue/income profit/gain/profits loss/lost/loses cost/costs/expense/expenses",
    "area perimeter/circumference volume", "radius diameter", "length width/breadth height", "median mode",
    "sum product difference quotient", "maximum/max/largest/greatest/highest minimum/min/smallest/least/lowest",
    "numerator denominator", "slope intercept",
)  # fmt: skip
_QUANTITY = _by_name(_QUANTITIES)
_LETTER_STATED = re.compile(r"(?<![\w\\^_'’(])([b-hj-zB-HJ-Z])(?![\w(_'’^])" + _COPULA)


_SUBJECT_NAME = re.compile(
    r"([A-Z][a-z]{2,})(?:['’]s\s[a-z ]{2,30})?(?::\s"
    r"|\s(?:hat|hatte|a|ha|tem|tiene|kauft|isst|zahlt|paie|mange|paga|is|was|has|had|needs?|gets?|got|will|would|must|can"
    r"|[a-z]{2,}(?:s|ed))\b)",
)
_NAME_INSIDE = re.compile(r"(?<=[a-z,] )[A-Z][a-z]{2,}")


@lru_cache(maxsize=4096)
def asked_names(prompt: str) -> frozenset[str]:
    """Return the names in what a question asks."""
    return frozenset(_NAME_INSIDE.findall(asking(prompt)))


class _Role(NamedTuple):
    """What words around an amount make of it.

    Attributes:
        before: words right before an amount in this role.
        behind: words right behind it.
        asked: questions that ask for an amount in this role.
        other: questions that ask for one in another role.
    """

    before: re.Pattern[str]
    behind: re.Pattern[str]
    asked: re.Pattern[str]
    other: re.Pattern[str]


def _words(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE)


_NEVER = re.compile(r"(?!)")
_BE = r"(?:(?:is|was|are|were|be|has been|have been|had been|got|get|gets)\s(?:already\s|now\s)?)?"
_UNIT = r"\s?(?:\\?[$€£%]|(?:dollars?|cents?|euros?|pounds?|per ?cent)\b)?\s?"
_NOUNS = r"(?:\s(?!not\b|never\b|left\b|remain)[a-z]+){0,3}?\s"  # up to three words behind an amount
_OPENED = (
    r"(?:(?:is|was|are|were|of|by|equals|comes to|amounts to|a total of|about|exactly|away|out|up)\s){0,3}[$€£\\ *(]*\Z"
)
_TAKING = r"eat|sell|give|use|lose|spend|drink|break|throw|donate|take|remove|pour|read|finish"
_TAKEN = (
    r"gone|eaten|used(?: up)?|spent|sold|taken(?: away)?|lost|given(?: away| out)?|removed|missing|consumed|broken|"
    r"destroyed|thrown (?:away|out)|donated|drunk|stolen|poured(?: out)?"
)
_ROLES = (
    _Role(  # $30 off, where a price is asked for
        _words(
            r"\b(?:sav(?:es?|ed|ings?)|discount|discounted|reduc(?:es?|ed|tion)|rebate|cheaper|drop(?:s|ped)?|falls?|fell"
            rf"|(?:goes|went|marked) down|decreas(?:es?|ed)|markdown|lowered)\s{_OPENED}"
        ),
        _words(
            rf"{_UNIT}{_BE}(?:(?:the|an?|in|his|her|their|your)\s)?(?:price\s|taken\s)?"
            r"(?:off|discount|reduction|rebate|savings?|saved|cheaper|less(?!\sthan)|lower(?!\sthan))\b"
        ),
        _words(
            r"\b(?:off|discount(?!ed)(?!\sprice)|sav(?:e|es|ed|ings?)|reduction|reduced by|rebate|cheaper|less|drop"
            r"|decreas\w+|difference|change|by how)\b"
        ),
        _words(r"\b(?:price|costs?|pays?|paid|charged?|bill|total|worth|spends?|spent|sells?|sold|value|fare|fee)\b"),
    ),
    _Role(  # what is paid, where it asks for what is saved
        _words(rf"\b(?:pays?|paid|costs?|spends?|spent|price)\s{_OPENED}"),
        _NEVER,
        _words(r"\b(?:price|costs?|pays?|paid|charged?|bill|total|worth|spends?|spent|more)\b"),
        _words(r"\b(?:save|saves|saved|savings|discount|off)\b"),
    ),
    _Role(  # in 12 years, where an age is asked for
        _words(r"\b(?:in|after|for)\s\Z"),
        _words(r"(?:\s|-)years?\s(?:ago|later|from now|older|younger)\b"),
        _words(r"\b(?:how many|when|older|younger|difference)\b"),
        _words(r"\bhow old\b|\bage\b"),
    ),
    _Role(  # 3/8 is gone, where it asks for what is left
        _words(
            r"\b(?:ate|eats?|eaten|gave|gives?|given|sold|sells?|used|uses?|spent|spends?|lost|loses?|donate[ds]?"
            r"|removed?|removes|took|takes?|threw|broke|drank|comi(?:eron|ó)|mangé|vendi(?:ó|eron)|venden|vendu|verkauf\w+)"
            rf"\s{_OPENED}|[吃花用卖][了掉]\s?\Z"
        ),
        _words(rf"{_NOUNS}{_BE}(?:{_TAKEN}|gegessen|verkauft)\b"),
        _words(rf"\b(?:{_TAKING}|{_TAKEN})\b"),
        _words(r"\b(?:left|remain\w*|still|uneaten|unsold|unused|quedan|übrig|reste)\b|剩"),
    ),
    _Role(  # when it leaves, where it asks when it arrives
        _words(r"\b(?:leaves?|left|departs?|departed|starts?|started|begins?|began)\s(?:at\s)?\Z"),
        _NEVER,
        _words(r"\b(?:leaves?|departs?|starts?|begins?)\b"),
        _words(r"\b(?:arrives?|ends?|finish\w*|reach\w*|gets?|lands?)\b"),
    ),
    _Role(  # and the other way round
        _words(r"\b(?:arrives?|arrived|ends?|ended|finish\w*|lands?|landed)\s(?:at\s)?\Z"),
        _NEVER,
        _words(r"\b(?:arrives?|ends?|finish\w*|reach\w*|gets?|lands?)\b"),
        _words(r"\b(?:leaves?|departs?|starts?|begins?)\b"),
    ),
    _Role(  # where a minimum is attained, where it asks how great that is
        _words(r"\b(?:at|when|for|where)\s\$?[a-z]\$?\s?=\s?\$?\Z"),
        _NEVER,
        _words(r"\b(?:where|which|at what|for what|values? of [a-z]\b(?!\s?[-+*/^]))"),
        _words(r"\b(?:minimum|maximum|largest|smallest|greatest|least)\b"),
    ),
    _Role(  # what is left, where it asks what is gone way round
        _words(rf"\b(?:left with|leaves|leaving|remain(?:s|ing)?|still (?:has|have)|(?:has|have) still)\s{_OPENED}"),
        _words(rf"{_NOUNS}{_BE}(?:left(?!\s(?:to|for|out|the)\b)|remain(?:s|ing)?|unsold|uneaten|unused)\b"),
        _words(r"\b(?:left|remain\w*|still|has|have|uneaten|unsold|unused)\b"),
        _words(rf"\bhow (?:many|much)\b[^?]*\b(?:did|does|do)\b[^?]*\b(?:{_TAKING})\b"),
    ),
    _Role(
        _NEVER,
        _words(r"(?:\s[a-z]+){0,3}?\s(?:short|missing|lacking)\W*\Z"),
        _words(r"\b(?:short\w*|missing|lack\w*|needs?|enough|absent|gone|lost|off|below|under|miss\w*)\b"),
        _words(r""),
    ),
    _Role(
        _NEVER,
        _words(r"\s(?:more|additional|extra|fewer|less)\s[a-z]+\W*\Z"),
        _words(r"\b(?:more|additional|extra|fewer|less)\b"),
        ASKS_TOTAL,
    ),
)
_SENTENCE_END = re.compile(r"(?<=[?？!。\n])|(?<=\.)(?!\d)")
_ASKS = re.compile(r"[?？]\Z|\b(?:[Ff]ind|[Dd]etermine|[Cc]alculate|[Cc]ompute|[Gg]ive|[Ss]tate)\b")
_CIRCUMSTANCE = re.compile(
    r"\b(?:after|with|at|including|before|following|if|when|given|on|using|once|since|from|while|because|despite)\b"
    r"(?! (?:what|which|whom|how|does|did|do|will|is|was)\b)[^,?]*",
    re.IGNORECASE,
)


@lru_cache(maxsize=4096)
def asking(prompt: str, *, circumstances: bool = False) -> str:
    """Return what a question asks, without the circumstances: "How much is it, after $10 off?" asks how much it is."""
    asked = next((part for part in reversed(_SENTENCE_END.split(prompt[-1000:])) if _ASKS.search(part)), "")
    return asked if circumstances else _CIRCUMSTANCE.sub(" ", asked)


def other_role(before: str, behind: str, prompt: str) -> bool:
    """Return whether an amount is a discount, or what is gone, where a question asks for a price, or what is left."""
    return any(role.behind.match(behind) or role.before.search(before) for role in _other_roles(prompt))


@lru_cache(maxsize=4096)
def _other_roles(prompt: str) -> tuple[_Role, ...]:
    """Return the roles for which a question does not ask, but for another one."""
    asked = asking(prompt)
    return tuple(role for role in _ROLES if role.other.search(asked) and not role.asked.search(asked))


_LETTER = r"(?:\$([a-zA-Z])\$|\\\(([a-zA-Z])\\\)|(?<![$\w\\])([b-hj-zB-HJ-Z])(?![\w$']))"
_ASKS_LETTER = re.compile(
    r"\b(?:(?:[Ff]ind|[Dd]etermine|[Cc]ompute|[Ww]hat (?:is|are)|[Ss]olve(?: (?:the|this|each)(?: \w+){1,2})? for"
    r"|[Vv]alues? (?:of|for)|[Ss]olve for)(?: (?:all|the|real|possible|integer|exact|positive|value|values|of))*)\s"
    rf"{_LETTER}(?!\s?(?:[-+*/^=<>(_\[]|\\[a-z])|,?\s(?:and|or)\s|,\s?\$?[a-zA-Z]\b)"
)
_MAY_RELATE = re.compile(r"[=<>≤≥≠∈]|\\(?:leq?|geq?|neq?|in|[lg]t)(?![a-z])")
_RELATED = re.compile(r"[=<>]|\\(?:le|ge|ne|in)(?![a-z])")
_SET_BUILDER = re.compile(r"\\\{[^|:]{0,40}[|:]")  # its letter is bound inside it
_DEFINES = re.compile(r"[A-Za-z]\(([a-z])\) ?=|\\vec\b")  # a function's variable is bound in it
_NO_VARIABLE = re.compile(r"[A-Za-z][_'(]|[A-Za-z]\d|\\mathbb ?\{ ?[A-Z] ?\}")  # x_1, f(x), a set of numbers
_CONSTANTS = frozenset("eiCR")


@lru_cache(maxsize=4096)
def _asked_letters(prompt: str) -> frozenset[str]:
    return frozenset("".join(match.groups("")).lower() for match in _ASKS_LETTER.finditer(prompt[-1000:]))


def other_letter(answer: str, gold: str, prompt: str) -> bool:
    """Return whether an answer states a value or bounds of another letter than the one that is asked for."""
    if len(answer) > _MAX_STATED or not _MAY_RELATE.search(answer):
        return False
    letter = _subject(answer)
    if not letter:
        return False
    if (_subject(gold) or letter) != letter:
        return True
    if letter in _subject(gold):
        return False
    asked = _asked_letters(prompt)
    return letter not in asked and (
        bool(asked) or (_ASSIGNED.match(answer) is not None and _is_argument(letter, prompt))
    )


_ASSIGNED = re.compile(r"[\s$\\(\[]*[A-Za-z]\s*=")
_ASKS_OF_ROOTS = re.compile(
    r"\b(?:sum|product|difference)\sof\s(?:(?:all|both|the|real|complex|its|two)\s)*(?:roots|solutions|zeroe?s)\b"
)
_ASKED_OF = re.compile(
    r"\b(?:(?P<extreme>minimum|maximum|least|greatest|smallest|largest)\s(?:possible\s)?(?:value\s)?(?:of|for)"
    r"|(?:[Ff]ind|[Ww]hat\sis|[Dd]etermine|[Cc]ompute|[Cc]alculate|[Ee]valuate)"
    r"(?:\sthe)?(?:\s(?:exact|numerical))?(?:\svalue\sof)?)\s"
    r"(?:the\s)?(?:(?:function|expression|quantity)\s)?(?![A-Za-z]{2,}\b(?!\())"
    r"(?P<what>\$[^$\n]{1,120}\$|\\\([^\n]{1,120}?\\\)|[^\s,.?$]{1,40}(?:\s?[-+*/=]\s?[^\s,.?$]{1,40}){0,6})"
)
_ASKS_ARGUMENT = re.compile(  # where something is attained, for which letter
    r"\b(?:where (?:is|does|the)|(?:at|for) (?:what|which)|which (?:value|real|[a-z])|when does)\b|\b[Ss]olve\b"
)


def _is_argument(letter: str, prompt: str) -> bool:
    """Return whether a letter only stands in the expression that a question asks for: x, where that is x^2 - 12x."""
    end = prompt[-1000:]
    if _ASKS_OF_ROOTS.search(end):
        return letter in letters_of(clean(end))
    found = list(_ASKED_OF.finditer(end))
    if not found or _ASKS_ARGUMENT.search(end):
        return False
    what = found[-1]["what"].strip("$\\() ")
    name, equals, formula = what.partition("=")
    if equals and not found[-1]["extreme"]:
        return False
    if name.strip().lower() == letter:
        return False
    letters = {other.lower() for other in letters_of(clean(formula or name))}
    return letter in letters and (len(letters) > 1 or re.search(r"[-+*/^\d(|\\{]", what) is not None)


def _subject(text: str) -> str:
    """Return the one letter that an answer relates to numbers; "" where there is none, or several."""
    plain = clean(text)
    if not _RELATED.search(plain) or _SET_BUILDER.search(plain) or _DEFINES.match(plain):
        return ""
    letters = letters_of(_NO_VARIABLE.sub(" ", plain)) - _CONSTANTS
    return letters.pop().lower() if len(letters) == 1 else ""


_COUNTED = re.compile(
    r"[-+]?[\d][\d,]*(?:\.\d+)?\s+(?:[A-Za-z]+\s){0,2}?([A-Za-z]{3,})(?:\s+(?:(?:out\s)?of\b.*|old|long|tall|wide|away|short|missing"
    r"|left|remaining|more|extra))?\Z"
)
_ASKS_COUNT = re.compile(
    r"(?:\bhow many|\b(?:find|determine|calculate|what (?:is|was)) the (?:total )?number of)\s+"
    r"((?:[A-Za-z'-]+\s*){1,3})[^?.]*[?.]",
    re.IGNORECASE,
)
_KINDS = (  # names of things of one kind: what is one of them is none of the others; names of one thing stand together
    "dog/puppy cat/kitten horse/pony cow/calf/bull/ox pig/piglet sheep/lamb goat rabbit/bunny fish frog snake spider"
    " bird/chicken/hen/rooster/duck/goose/parrot/turkey/pigeon/eagle mouse/mice hamster elephant lion tiger monkey bear"
    " wolf/wolves bee ant butterfly",
    "apple orange banana pear peach plum grape lemon mango cherry strawberry blueberry kiwi melon watermelon pineapple"
    " carrot potato tomato onion cucumber",
    "boy girl", "man/men woman/women", "adult child/children/kid", "teacher student/pupil", "brother sister",
    "son daughter", "husband wife", "uncle aunt", "nephew niece", "doctor nurse", "dime nickel penny quarter",
    "car/automobile bus truck/lorry bicycle/bike motorcycle van train plane/airplane boat ship",
    "pen pencil eraser crayon marker ruler", "chair table desk bed", "fork spoon knife/knives",
    "red blue green yellow white black purple brown pink gray/grey", "rose tulip daisy lily sunflower",
    "shirt sock hat shoe jacket dress skirt", "triangle circle pentagon hexagon octagon",
    "monday tuesday wednesday thursday friday saturday sunday",
)  # fmt: skip
_EXCLUSIVE = _by_name(_KINDS)
_VAGUE = frozenset(
    {"container", "unit", "item", "thing", "total", "load", "batch", "serving", "portion", "order", "piece"}
)
_HOLDERS = _VAGUE | frozenset(  # what holds several of what is counted
    re.findall(
        r"\w+",
        "box pair pack package packet bag crate carton basket bunch set bottle jar tray row group team bundle shelve "
        "stack slice bucket barrel sack",
    )
)
_VERBS = STOP_WORDS | {"has", "have", "had"}
_ASKS_SHARE = re.compile(r"\bwhat (?:is the )?percent(?:age)?\b[^?]*\?", re.IGNORECASE)
_WORD = re.compile(r"[A-Za-z]+")


_LETTERS_ASKED = re.compile(
    r"(?:[Ff]ind|[Vv]alues? of|[Ss]olve for|[Dd]etermine|[Ww]hat are)\s\$?([a-zA-Z])\$?,? and \$?([a-zA-Z])\$?(?![\w^])"
)
_NAMED = re.compile(r"(?<![A-Za-z\\])([a-zA-Z])\s?=")


def _other_letters(answer: str, prompt: str) -> bool:
    """Return whether an answer gives values to other letters than the two that are asked for."""
    if answer.count("=") != 2:
        return False
    names = {name.lower() for name in _NAMED.findall(answer)}
    asked = [{letter.lower() for letter in match.groups()} for match in _LETTERS_ASKED.finditer(prompt[-1000:])]
    return len(names) == 2 and bool(asked) and names not in asked


def _other_noun(answer: str, prompt: str) -> bool:
    """Return whether an answer counts something else than what is asked for: cats for dogs, boxes, a difference."""
    plain = plain_text(answer) if len(answer) <= _MAX_STATED else ""
    match = _COUNTED.match(plain)
    if match is None or "per cent" in plain:
        return False
    asked = list(_ASKS_COUNT.finditer(prompt))
    counted = singular(match[1].lower())
    if not asked:
        return _ASKS_SHARE.search(prompt) is not None and counted not in ("percent", "percentage", "point", "per")
    question = asked[-1][0]
    words = [word for word in asked[-1][1].lower().split() if word not in _VERBS]
    nouns = [singular(word) for word in words]
    if _of_one_kind(plain, nouns):
        return True
    named = {singular(word.lower()) for word in _WORD.findall(question)}
    if counted in named:
        return False
    if counted in _HOLDERS - _VAGUE and _HOLDERS.isdisjoint(nouns):
        return counted != "pair" or "pair" not in prompt
    if any(noun.startswith(counted) for noun in nouns):
        return False  # teaspoonfuls
    if words and words[0].endswith("s") and not read_unit((words[0],)).measures and read_unit((match[1],)).measures:
        return True  # years, where apples are asked for
    return any(_beside(noun, counted, prompt) for noun in nouns if len(noun) > 2)


def _of_one_kind(answer: str, nouns: list[str]) -> bool:
    """Return whether an answer names a thing, or a colour, that what is asked for can't be."""
    stated = [singular(word) for word in _WORD.findall(answer.lower().partition(" of ")[0])]
    asked = {_EXCLUSIVE[noun] for noun in nouns if noun in _EXCLUSIVE}
    for kind, index in (_EXCLUSIVE[word] for word in stated if word in _EXCLUSIVE):
        others = {other for asked_kind, other in asked if asked_kind == kind}
        if others and index not in others:
            return True
    return False


@lru_cache(maxsize=4096)
def _beside(noun: str, other: str, prompt: str) -> bool:
    """Return whether a question names two nouns side by side: "12 dogs and cats", "more cats than dogs"."""
    joint = r"s?(?:,? (?:and|or)| than) (?:(?:the|some|\d+|the (?:rest|others?) (?:are|were|is)) )?"
    text = prompt.lower()
    pairs = ((re.escape(noun), re.escape(other)), (re.escape(other), re.escape(noun)))
    return any(re.search(rf"\b{one}{joint}{two}s?\b", text) for one, two in pairs)
