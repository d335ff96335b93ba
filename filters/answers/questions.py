r"""What a question asks for: a percentage, a unit, an order, a letter, a noun; and whether an answer is of another one.

An answer that names another letter than the one asked for, or counts something else that the question sets beside
what it asks for ("9 cats" where it asks how many of the dogs and cats are dogs), is no answer, whatever its number.
"""

from __future__ import annotations

import re
from functools import lru_cache

from proofmill.filters.answers.prose_values import ASKS_TOTAL, STOP_WORDS
from proofmill.filters.symbolic.answer_forms import letters_of
from proofmill.filters.symbolic.notation import clean
from proofmill.filters.symbolic.units import Unit, asked_years, plain_text, read_unit, singular
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
        asked=_asked_unit(prompt),
    )


_OPERATION = re.compile(r"[\w)}!]\s*(?:[-+*·×÷]|\\(?:cdot|times|div)\b)\s*[\w({\\√]|\)\s*\(")
_RELATION = re.compile(r"[=<>≤≥≠∈,;]|\\(?:[lg]eq?|neq?|in)\b")
_SET_ASIDE = re.compile(r"\\left|\\right|\\[,;! ]|[\s${}]")


def repeats_question(answer: str, gold: str, prompt: str) -> bool:
    """Return whether an answer is a calculation of the question, not carried out: 33 + 86 where 33 + 86 is asked.

    Its value is gold's whatever the writer knows. Where gold itself is written so, the answer is one.
    """
    if not _OPERATION.search(answer) or _RELATION.search(answer):
        return False
    plain, asked, wanted = (_SET_ASIDE.sub("", text) for text in (answer, prompt, gold))
    plain = plain.strip(".")
    return plain in asked and plain.strip("()") != wanted.strip("().")


_HOW_MANY = re.compile(
    r"\bhow (?:many|much)\s+(?:(?:more|fewer|less|total|whole|full|extra|additional|real|actual)\s)?"
    r"((?:square |cubic )?(?!in\b)[A-Za-z]{2,})\b",
    re.IGNORECASE,
)
_IN_UNIT = re.compile(
    r"\b(?:in|nearest) (?:whole |total )?"
    r"((?:square |cubic )?[A-Za-z]{2,}(?:/[a-z]{1,6}| per [a-z]{3,}|\^\{?[23]\}?|²|³)?)"
    r"(?:\)|,[^.?]{0,60})?\s{0,3}[?.]",
    re.IGNORECASE,
)


@lru_cache(maxsize=4096)
def _asked_unit(prompt: str) -> Unit | None:
    """Return the unit in which a question asks for its answer: "How many minutes …", "in dollars?"; None if unclear."""
    end = prompt[-600:]
    for pattern in (_IN_UNIT, _HOW_MANY):
        units = {unit for word in pattern.findall(end) if (unit := read_unit(tuple(word.split()))).measures}
        if units:
            return units.pop() if len(units) == 1 else None
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


_LETTER = r"(?:\$([a-zA-Z])\$|\\\(([a-zA-Z])\\\)|(?<![$\w\\])([b-hj-zB-HJ-Z])(?![\w$']))"
_ASKS_LETTER = re.compile(
    r"\b(?:(?:[Ff]ind|[Dd]etermine|[Cc]ompute|[Ww]hat (?:is|are)|[Ss]olve(?: (?:the|this|each)(?: \w+){1,2})? for"
    r"|[Vv]alues? (?:of|for)|[Ss]olve for)(?: (?:all|the|real|possible|integer|exact|positive|value|values|of))*)\s"
    rf"{_LETTER}(?!\s?(?:[-+*/^=<>(_\[]|\\[a-z])|,?\s(?:and|or)\s|,\s?\$?[a-zA-Z]\b)"
)
_MAY_RELATE = re.compile(r"[=<>≤≥≠∈]|\\(?:leq?|geq?|neq?|in|[lg]t)(?![a-z])")
_RELATED = re.compile(r"[=<>]|\\(?:le|ge|ne|in)(?![a-z])")
_SET_BUILDER = re.compile(r"\\\{[^|:]{0,40}[|:]")  # its letter is bound inside it
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
    return (_subject(gold) or letter) != letter or (
        bool(asked := _asked_letters(prompt)) and letter not in asked and letter not in _subject(gold)
    )


_MAX_STATED = 200  # characters
_ANGLE = re.compile(r"(?:∠|\\angle|\bangle)\s?\{?\s?([A-Z]{1,3})(?![A-Za-z])")
_ASKS_ANGLE = re.compile(
    r"(?:[Ff]ind|[Ww]hat is|[Mm]easure of|[Dd]etermine|[Cc]alculate|[Cc]ompute)[^.?]{0,30}?" + _ANGLE.pattern
)


def other_angle(answer: str, prompt: str) -> bool:
    """Return whether an answer names another angle than the one that is asked for."""
    named = _ANGLE.match(answer.lstrip("$m \\(")) if "=" in answer and len(answer) <= _MAX_STATED else None
    asked = {name[len(name) // 2] for name in _ASKS_ANGLE.findall(prompt)} if named is not None else set()
    return named is not None and bool(asked) and named[1][len(named[1]) // 2] not in asked


def _subject(text: str) -> str:
    """Return the one letter that an answer relates to numbers; "" where there is none, or several."""
    plain = clean(text)
    if not _RELATED.search(plain) or _SET_BUILDER.search(plain):
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
_EXCLUSIVE = {
    name: (kind, index)
    for kind, names in enumerate(_KINDS)
    for index, alike in enumerate(names.split())
    for name in alike.split("/")
}
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
_DIFFERENCE = re.compile(r"[\d,.]+\s(?:more|additional|extra|fewer|less)\s[a-z]+\Z", re.IGNORECASE)
_SHORT = re.compile(r"\s(?:short|missing|lacking)\b")
_ASKS_SHORT = re.compile(
    r"\b(?:short\w*|missing|lack\w*|needs?|enough|absent|gone|lost|off|below|under|miss\w*)\b", re.IGNORECASE
)
_LEFT = re.compile(r"\s(?:left|remaining|left over)\Z")
_ASKS_TAKEN = re.compile(
    r"\bhow many\b(?![^?]*\b(?:left|remain\w*|still|have|has)\b)[^?]*\b(?:did|does|do)\b[^?]*"
    r"\b(?:eat|sell|give|use|lose|spend|drink|break|throw|donate|take)\b[^?]*\?",
    re.IGNORECASE,
)
_VERBS = STOP_WORDS | {"does", "did", "do", "has", "have", "had"}
_ASKS_SHARE = re.compile(r"\bwhat (?:is the )?percent(?:age)?\b[^?]*\?", re.IGNORECASE)
_WORD = re.compile(r"[A-Za-z]+")


_LETTERS_ASKED = re.compile(
    r"(?:[Ff]ind|[Vv]alues? of|[Ss]olve for|[Dd]etermine|[Ww]hat are)\s\$?([a-zA-Z])\$?,? and \$?([a-zA-Z])\$?(?![\w^])"
)
_NAMED = re.compile(r"(?<![A-Za-z\\])([a-zA-Z])\s?=")


def other_letters(answer: str, prompt: str) -> bool:
    """Return whether an answer gives values to other letters than the two that are asked for."""
    names = {name.lower() for name in _NAMED.findall(answer)} if answer.count("=") == 2 else set()
    asked = [{letter.lower() for letter in match.groups()} for match in _LETTERS_ASKED.finditer(prompt[-1000:])]
    return len(names) == 2 and bool(asked) and names not in asked


def other_noun(answer: str, prompt: str) -> bool:
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
    if _of_one_kind(plain, nouns) or _another_share(plain, prompt[-1000:]):
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


def _another_share(answer: str, prompt: str) -> bool:
    """Return whether an answer is what is missing, or left, or a difference, where a prompt asks for something else."""
    if _SHORT.search(answer) and not _ASKS_SHORT.search(prompt):
        return True
    if _DIFFERENCE.match(answer) and ASKS_TOTAL.search(prompt):
        return True
    return _LEFT.search(answer) is not None and _ASKS_TAKEN.search(prompt) is not None


@lru_cache(maxsize=4096)
def _beside(noun: str, other: str, prompt: str) -> bool:
    """Return whether a question names two nouns side by side: "12 dogs and cats", "more cats than dogs"."""
    joint = r"s?(?:,? (?:and|or)| than) (?:(?:the|some|\d+|the (?:rest|others?) (?:are|were|is)) )?"
    text = prompt.lower()
    pairs = ((re.escape(noun), re.escape(other)), (re.escape(other), re.escape(noun)))
    return any(re.search(rf"\b{one}{joint}{two}s?\b", text) for one, two in pairs)


_ASKS_ROUNDING = re.compile(r"\bnearest\b|\bround(?:ed|ing)?\b|\bapproximat|\bdecimal", re.IGNORECASE)
_APPROXIMATED = re.compile(r".{1,100}(?:≈|\\approx(?![a-z]))\s*(-?[\d.,]+)\s*\$?\Z")


_HYPHENED = re.compile(r"(\d{1,6})-(\d{1,4})/(\d{1,4})(?![\d/])")
_ASKS_AMOUNT = re.compile(
    r"\bhow (?:many|much|long|far|tall|wide|deep|old|heavy)\b|\bin (?:inches|feet|cups)\b", re.IGNORECASE
)
_DECIMAL_COMMA = re.compile(r"(?<![\w.,])(\d{1,9}),(\d{1,9})(?![\w,.]*\d)")
_WRITES_COMMAS = re.compile(r"(?<![\d.,])\d{1,6},(?:\d{1,2}|\d{4,})(?![\d,])")
_WRITES_POINTS = re.compile(r"\d\.\d|\d,\d{3}(?!\d)|(?<![\d.])\.\d")


def in_its_writing(answer: str, prompt: str) -> str:
    """Return an answer as the question's own writing has it, "" where that changes nothing.

    - 12.6 of "4π ≈ 12.6", where a rounded value is asked for;
    - 2 1/2 of "2-1/2", where an amount is asked for, and no difference;
    - 12.5 of "12,5", where the question writes decimals with commas.
    """
    if (match := _APPROXIMATED.match(answer)) and _ASKS_ROUNDING.search(prompt):
        return match[1]
    if "-" in answer and (match := _HYPHENED.match(answer)) and int(match[2]) < int(match[3]):
        asked = _ASKS_AMOUNT.search(prompt) and not _HYPHENED.search(prompt)
        return f"{match[1]} {match[2]}/{match[3]}{answer[match.end() :]}" if asked else ""
    if "," in answer and _WRITES_COMMAS.search(prompt) and not _WRITES_POINTS.search(prompt):
        return _DECIMAL_COMMA.sub(r"\1.\2", answer) if len(_DECIMAL_COMMA.findall(answer)) == 1 else ""
    return ""


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
