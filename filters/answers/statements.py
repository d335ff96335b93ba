r"""What a phrase or sentence states: a value read whole, with words around it that cannot change it.

A phrase that is nothing but an answer is that answer. Of a sentence, what stands behind its last verb of being ("is",
"are", "equals", `=`) counts, with the words that go on behind it: they may not hold anything that makes another value
of it ("less than 20", "million", "squared", "or 7"). Where a sentence has no such verb it must hold exactly one
number, or exactly one that stands before the noun that the question asks for ("How many trips …": "needs 7 trips for
80 stones"). What can't be read in one of these ways states nothing: a number is never cut out of an expression.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache

from proofmill.filters.symbolic.units import known_unit

Readable = Callable[[str], bool]

MAX_SENTENCE = 600  # characters; a longer one is read from its end
_DECORATION = re.compile(
    r"[\u2600-\u27bf\u2b50\u2b55\ufe0f\U0001f000-\U0001faff\u200d]|\\(?:checkmark|blacksquare|square|qed)(?![A-Za-z])"
)
_BOLD = re.compile(r"\*\*|__(?=\S)|(?<=\S)__|`{1,3}")
_ITEM = re.compile(r"(?:[-*•+]\s+|\d{1,2}[.)]\s+(?=[A-Za-z*$\\]|\d[^,;]*=))(?=.*\S)", re.DOTALL)
_OPENING = re.compile(
    r"(?:(?:thus|therefore|hence|so|then|finally|and|also|now|clearly|we (?:get|have|find|obtain|conclude)"
    r"|this (?:gives|yields)|it follows)"
    r"(?: that)?[,:]?\s+)+",
    re.IGNORECASE,
)
_PLEASANTRY = re.compile(
    r"(?:i hope|hope (?:this|that|it)|let me know|please let|feel free|if you (?:have|need|would)|thank|happy to"
    r"|good luck"
    r"|this (?:is|was) (?:the|our|my) (?:final |correct |required |desired )?(?:answer|result|solution)"
    r"|q\.?e\.?d|done\b|great|hooray"
    r"|i am (?:sure|confident)|which is (?:the|our) (?:final )?answer)\b[^\n]*\Z",
    re.IGNORECASE,
)
_CURRENCY = r"(?:US\s?)?(?:\\?\$|€|£|¥|₹|\\text\{\s?\\?\$\s?\})"
_DIGITS = r"(?:\d{1,3}(?:(?:,|\{,\}|,\\!\s?|\\,)\d{3})+|\d+)(?:\.\d+)?|\.\d+"
_NUMBER = rf"[-−–]?\s?(?:{_CURRENCY}\s?)?[-−–]?(?:{_DIGITS})(?:\s?/\s?\d+)?(?:\s?(?:\\?%|°|€|£|¥|元)|\\?\$(?!\w))?"
_NUMERAL = re.compile(rf"[+-]?(?:{_CURRENCY}\s?)?(?:{_DIGITS})%?\Z")
_MATH = r"\$\$[^$]{1,600}\$\$|\$[^$\n]{1,600}\$|\\\([^\n]{1,600}?\\\)|\\\[.{1,600}?\\\]"
_MATH_SPAN = re.compile(_MATH, re.DOTALL)
_UNIT = r"(?:[A-Za-zµμΩ²³]{1,12}(?:/[A-Za-z]{1,8}|\^\{?[23]\}?)?)"
_VALUE_FIRST = re.compile(rf"(?P<value>{_MATH}|{_NUMBER})(?P<unit>(?:/|per )?{_UNIT})?(?P<rest>.*)\Z", re.DOTALL)
_BOUNDARY = re.compile(r"[\s,.;:!?)\]\"'”*。，；！—–]|-(?=\s)|\Z")
_LEAD = re.compile(
    r"(?:[\s:：*,]|(?:therefore|thus|hence|so|indeed|simply|just|exactly|then|now|approximately|about|around"
    r"|roughly|nearly|almost"
    r"|given by|equal to|found to be|going to be|clearly|actually|obviously|precisely|only|also|still|again"
    r"|finally|indeed"
    r"|an?\s(?:[a-z]+\s){0,3}of|(?:us|him|her|them|you|me)(?:\swith)?|with|off by|the number|the value|that|:"
    r"|approx\.?|≈|~|\\approx|约|大约|共)(?=[\s\d$\\:：,.(-])[ ,:：]*)+",
    re.IGNORECASE,
)
_COPULA = re.compile(
    r"(?<=\d)\s?,?\s?\bor(?=\s[\d.]+\s?(?:\\?%|percent))|(?<![<>!=:\\])(?:=|≈|\\approx\b|\\Rightarrow\b|⇒|→"
    r"|=>)(?![=>])|[:：]\s"
    r"|(?<!\bthat )(?<!\bwho )\b(?:is|are|was|were|be|been|equals?|equal to|equalled|equaled|gives?|gave|gets?"
    r"|got|becomes?|makes?|totals"
    r"|totall?ing|yields?|leaves?|leaving|obtains?|remains?|means|an? (?:total|average|sum|maximum|minimum) of"
    r"|off by|results? in|resulting in|amounts? to|adds? up to|comes? to)\b"
    r"|为|等于|得到?|(?<![不就还只])是|共(?:有)?|需要?"
)
_SCALE = re.compile(
    r"\s?-?\b(?:dozens?|hundred|thousand|million|billion|trillion|[kKMB](?=\b|[€$£])|万|亿|千)(?![A-Za-z])"
)
_CHANGERS = re.compile(  # behind a value: what makes another one of it
    r"\s*(?:-\s?)?(?:squared|cubed|factorial|halves|thirds?|quarters?|fourths?|fifths?|sixths?|sevenths?"
    r"|eighths?|ninths?|tenths?"
    r"|hundredths?|thousandths?|plus|minus|times|over|divided|multiplied|mod(?:ulo)?|to the|choose|base|pi|root"
    r"|(?:more|less|fewer|greater|larger|smaller|higher|lower) than(?=\W{0,3}[\d$])|and a half|and a quarter"
    r"|or (?:more|less"
    r"|fewer|greater|above|below)"
    r"|at (?:least|most)|and (?:above|below|up|over))\b|\s*(?:[-+*/^!=<>×·÷√π≤≥≠∞²³⁴⁵⁶⁷⁸⁹½¼¾⅓⅔]|\\(?!text|,|;|\s"
    r"|quad))(?!\s*(?:\Z|-\s))",
    re.IGNORECASE,
)
_BEFORE_CHANGES = re.compile(  # before a number: it is a bound, a part of an expression, a name, or denied
    r"(?:\b(?:minus|negative|plus|times|over|root of|roots? of|log(?:arithm)? of|multiples? of|factors? of"
    r"|divisors? of|powers? of"
    r"|half of|third of|quarter of|fraction of|square of|cube of|out of|less than|more than|greater than"
    r"|fewer than|larger than"
    r"|smaller than|higher than|lower than|other than|at least|at most|up to|exceeds?|below|above|under|beyond"
    r"|between|not|never"
    r"|n't|but|cannot be|neither|nor|without|except|maybe|perhaps|probably|possibly|either|divided by"
    r"|multiplied by|by|than|mod(?:ulo)?"
    r"|base|step|part|case|day|option|problem|question|equation|figure|rule|note|exercise|page|chapter|number"
    r"|no\.|first|last|next"
    r"|every|each|horse|room|grade|percent of|%\sof|of)\s+(?:the\s+)?|[-+*/^=<>×·÷√π≤≥≠~≈#_(]\s?|\d\s?)\Z",
    re.IGNORECASE,
)
_UNREAD = re.compile(
    r"[=<>^√π!×·÷≤≥≠±∞⁰¹²³⁴-⁹₀-₉\\$]|(?<=[\d)])\s?[-+*/]\s?(?=[\d(])|\d[A-Za-z](?![A-Za-z])|[A-Za-z]_?\d"
)
_METHOD = re.compile(
    r"\b(?:adding|multiplying|dividing|subtracting)\b(?![^.]*\b(?:we get|gives? (?:us )?(?:a total of )?[$\d]))"
    r"|\b(?:divide|multiply|subtract|add|calculate|compute|determine|convert|solve|substitute|simplify|sum"
    r"|we can find|find (?:the|out|how))\b",
    re.IGNORECASE,
)
_UNSURE = re.compile(
    r"\b(?:unknown|unclear|maybe|perhaps|either|between(?=\W{0,3}\d)|impossible to|not sure|not certain"
    r"|not clear)\b|\b(?:cannot|can't|can not) (?:be )?(?:say|tell|know|determine)",
    re.IGNORECASE,
)
_DENIES = re.compile(r"\b(?:not|n't|never|neither|nor|cannot be|isn't)\s+(?:\w+\s+){0,2}\Z", re.IGNORECASE)
_CLAUSE = re.compile(r"[,;，；—–]\s*|\s-\s|\s(?=(?:because|since|as|where|when|so|but|which|that|while|whereas)\b)")
_CONCLUDES = re.compile(
    r"(?:so|thus|therefore|hence|then|but|making|giving|leaving|or|and|which (?:is|are|equals?|gives?|means"
    r"|makes?|leaves?)|i\.e|that is|meaning|equal|not"
    r"|rather|instead|no)\b",
    re.IGNORECASE,
)
_NUMBER_IN_TAIL = re.compile(
    r"(?:\b(?:than|plus|minus|times|or|and|to|of|over|by|per|through|until|from)|[-+*/^(])\s?(?:[$€£]\s?)?\Z",
    re.IGNORECASE,
)
_STOP_WORDS = frozenset(
    [
        "of",
        "in",
        "to",
        "that",
        "who",
        "which",
        "for",
        "on",
        "at",
        "by",
        "per",
        "each",
        "and",
        "left",
        "more",
        "as",
        "than",
        "with",
        "from",
        "is",
        "are",
        "was",
        "were",
        "be",
        "will",
        "would",
        "can",
        "could",
        "if",
        "when",
        "so",
        "but",
        "or",
        "because",
        "since",
        "after",
        "before",
        "until",
        "during",
        "total",
        "altogether",
        "remaining",
        "a",
        "an",
        "the",
        "this",
        "these",
        "those",
        "it",
        "she",
        "he",
        "they",
        "we",
        "you",
        "not",
        "no",
        "only",
        "also",
        "just",
        "now",
        "then",
        "over",
        "under",
        "between",
        "among",
        "into",
        "about",
        "some",
        "such",
        "he",
        "her",
        "his",
        "its",
        "their",
        "our",
        "your",
        "my",
        "per",
    ]
)
_SENTENCE = re.compile(r"(?<=[.!?])[\"')\]*]*\s+(?=[A-Z$\\\d*(\[\"-])|(?<=[。！？])|\n")
_GLOSS = re.compile(
    r"\s*(?:\((?![^()]*\b(?:or|not|wrong|incorrect|maybe|probably|if|unless|but)\b)[^()]{0,120}\)|\[[^\[\]]{0,60}\])"
)
_PLAIN_WORDS = re.compile(r"[A-Za-z][A-Za-z' \-]*\Z")
_GUESSED = re.compile(r"\b(?:maybe|perhaps|possibly|probably|might be|could be)\b", re.IGNORECASE)
_ITSELF = re.compile(
    r"(?P<value>.{1,200}?)\s+(?:is|are|must be|would be)\s+(?:the|our|my)\s+(?:(?:final|correct|right"
    r"|required)\s+)?(?:answer|solution|result)s?\s*[.!]*\Z",
    re.IGNORECASE | re.DOTALL,
)
_SUBORDINATE = re.compile(
    r"(?:since|if|as|because|given|when|with|by|after|for|to|in|from|while|once"
    r"|out of)\b[^,]*(?:,[^,\s][^,]*)*,\s+(?:then\s+)?",
    re.IGNORECASE,
)
_THEN = re.compile(r"(?:[,;]\s*|\s)(?:so|thus|therefore|hence|then)\b,?\s*", re.IGNORECASE)
_HOW_MANY = re.compile(
    r"\bhow (?:many|much)\s+(?:more\s+|total\s+|fewer\s+|less\s+|extra\s+|additional\s+)?((?:[A-Za-z'-]+\s*){1,4})",
    re.IGNORECASE,
)
_ANY_NUMBER = re.compile(rf"(?<![\w.,$€£])(?:{_NUMBER})")


def is_unit(word: str) -> bool:
    """Whether a word, with what it is divided by, is a unit of measurement."""
    return all(known_unit(part.rstrip("²³^{}23")) is not None for part in word.split("/") if part)


def plain(phrase: str) -> str:
    """The phrase without marks of bold type, code and joy, and without the full stop at its end."""
    text = phrase.strip()
    if text[:1] in "-*•+0123456789" and (item := _ITEM.match(text)):
        text = text[item.end() :]
    if not text.isascii() or "\\" in text:
        text = _DECORATION.sub("", text)
    if "*" in text or "`" in text or "__" in text:
        text = _BOLD.sub("", text)
    text = text.strip(' \t\r\n"“”').removeprefix("= ")
    while text[-1:] in (".", "!", ":", ",", ";", "。", "，") and text[-2:] != "..":
        if text.endswith("!") and text[-2:-1].isalnum() and len(text) > 1 and text[-2:-1].isdigit():
            break  # a factorial
        text = text[:-1].rstrip(' \t*_"”')
    return text


def stated_value(phrase: str, readable: Readable, question: str = "") -> str:
    """What a phrase behind a mark states, "" where it can't be read whole.

    Args:
        phrase: the words behind the mark.
        readable: whether a text is an answer as it stands.
        question: the end of the prompt; what it asks for tells numbers apart.
    """
    text = plain(phrase)
    if not text or text.endswith("?"):
        return ""
    if _NUMERAL.match(text):
        return text
    if glued := _glued(text, question):
        return glued
    if readable(text):
        return text
    return _sentence_value(text, readable, question, marked=True)


def closing_value(text: str, readable: Readable, question: str = "") -> tuple[str, int]:
    """What the last statement of a text without any mark states, and where that sentence begins."""
    body = text.rstrip()
    base = max(0, len(body) - 4_000)
    display = _closing_display(body)
    if display is not None:
        content, start = display
        return (content if readable(content) else ""), start
    line_start = max(body.rfind("\n") + 1, base)
    line = body[line_start:]
    cuts = [0, *(match.end() for match in _SENTENCE.finditer(line))]
    cuts = [cut for cut in cuts if cut < len(line)] or [0]
    whole = opened(plain(line))
    if (
        len(whole) <= 400
        and not _PLAIN_WORDS.match(whole)
        and (_NUMERAL.match(whole) or readable(whole))
        and not _undecided(whole)
    ):
        name, equals, value = whole.partition("=")
        named = equals and len(name.strip()) == 1 and not re.search(r"[=,;<>]", value)  # "x = 3" states 3
        return (value.strip() if named and readable(value) else whole), line_start
    for cut in reversed(cuts[-3:]):
        sentence = plain(line[cut:][:])
        line = line[:cut].rstrip()
        if _PLEASANTRY.match(sentence):
            continue
        if sentence.endswith("?") or line[cut:].rstrip().endswith("?"):
            return "", line_start + cut
        if len(sentence) > MAX_SENTENCE:
            sentence = sentence[-MAX_SENTENCE:]
        sentence = opened(sentence)
        if not _PLAIN_WORDS.match(sentence) and readable(sentence) and not _undecided(sentence):
            return sentence, line_start + cut
        return _sentence_value(sentence, readable, question, marked=False), line_start + cut
    return "", line_start


def opened(sentence: str) -> str:
    """The sentence without the words that lead it in: "Thus x = 3"."""
    lead = _OPENING.match(sentence)
    return sentence[lead.end() :] if lead else sentence


def _undecided(value: str) -> bool:
    """Whether a sentence leaves two numbers open: "5 or 6"; the roots of "x = 2 or x = 3" are one answer."""
    return re.search(r"\bor\b", value) is not None and "=" not in value and "\\" not in value


def _closing_display(body: str) -> tuple[str, int] | None:
    """The content of a display that ends the text, over as many lines as it has, and where it begins."""
    tail = body.rstrip(" .*_")
    for opener, closer in (("$$", "$$"), ("\\[", "\\]"), ("\\begin{align", "}"), ("\\begin{equation", "}")):
        if not tail.endswith(closer):
            continue
        start = tail.rfind(opener, max(0, len(tail) - 2_000), len(tail) - len(closer))
        if start < 0:
            continue
        content = re.sub(r"\\(?:begin|end)\{(?:align|equation|aligned|gather|split)\*?\}", "", tail[start:])
        content = content.replace(opener, "").replace(closer, "") if not opener.startswith("\\begin") else content
        rows = [row.replace("&", "").strip(" ,.\n") for row in re.split(r"\\\\", content) if row.strip(" ,.&\n")]
        if not rows or "\\begin" in content:
            return content.strip(), start
        return " ".join(rows[-1].split()), start
    return None


def _sentence_value(sentence: str, readable: Readable, question: str, *, marked: bool) -> str:
    text = sentence.replace("\u2019", "'")
    if not marked and _GUESSED.search(text):
        return ""
    if len(text) > MAX_SENTENCE:
        text = text[-MAX_SENTENCE:]
    if (itself := _ITSELF.match(text)) and not _DENIES.search(itself["value"] + " "):
        value = plain(_THEN.sub(" ", " " + itself["value"]))
        if readable(value):
            return value
    for copula in reversed([*_COPULA.finditer(text)][-12:]):
        rest = text[copula.end() :]
        lead = _LEAD.match(rest)
        rest = rest[lead.end() :] if lead else rest.lstrip()
        if not rest:
            continue
        if value := _value_of(rest, readable, question):
            if not marked and _undecided(value):
                return ""
            return value
        if copula[0].strip() in ("=", "≈") and re.match(r"\s*[-+$\\\d(]", rest):
            break  # an equation that can't be read: nothing before it is the conclusion
    return _lonely_value(text, readable, question, marked=marked)


_GLUED = re.compile(rf"(-?(?:{_DIGITS}))([A-Za-zµ]{{1,5}})\Z")
_LETTER_UNITS = {
    "g": r"gram|weigh|mass|\dg\b",
    "m": r"met(?:er|re)|\dm\b",
    "L": "lit(?:er|re)",
    "l": "lit(?:er|re)",
    "h": "hour",
    "s": "second",
}


def _glued(text: str, question: str) -> str:
    """A number with the unit that is written to it: `48g`, if the question is of grams, and `5km`."""
    match = _GLUED.match(text)
    if match is None:
        return ""
    letter = _LETTER_UNITS.get(match[2])
    known = (
        re.search(letter, question, re.IGNORECASE) is not None if letter else len(match[2]) > 1 and is_unit(match[2])
    )
    return f"{match[1]} {match[2]}" if known else ""


def _value_of(rest: str, readable: Readable, question: str = "") -> str:
    """The value with which a text begins, if all that follows leaves it as it is."""
    whole = plain(rest)
    if glued := _glued(whole, question):
        return glued
    if whole and not _PLAIN_WORDS.match(whole) and len(whole) <= 300 and (_NUMERAL.match(whole) or readable(whole)):
        return whole
    match = _VALUE_FIRST.match(rest)
    if match is None:
        return ""
    value, unit, tail = match["value"], match["unit"] or "", match["rest"]
    if unit and unit[0] not in "/p" and not is_unit(unit) and unit not in _LETTER_UNITS:
        return ""
    if scale := _SCALE.match(unit + tail if unit else tail):
        value, unit, tail = value + scale[0], "", (unit + tail)[scale.end() :]
        value = value.replace("-", " ") if "-" in scale[0] else value
    if not _BOUNDARY.match(tail) or _CHANGERS.match(tail) or not _harmless(tail):
        return ""
    stated = f"{value} {unit}" if unit else f"{value} {_label(tail)}".strip()
    if value[:1] in "$\\" and _MATH_SPAN.fullmatch(value):
        return stated if readable(value) else ""
    return stated if not unit or readable(stated) else ""


_DENIED_BEHIND = re.compile(
    r"\b(?:wrong|incorrect|false|mistaken|not (?:the |a |right|correct)|isn't|maybe|perhaps|probably)\b|\?",
    re.IGNORECASE,
)
_CONDITION_FIRST = re.compile(r"\s*(?:[\w'-]+\s+){0,3}(?:if|unless)\b")
_MATHEMATICAL = re.compile(r"[\d$\\=<>^√π]")
_OPERATIONS = re.compile(r"[\\=<>^√π]")
_JOINED_WORDS = re.compile(
    r"\b(?:or|plus|minus|times|and)\s+(?:two|three|four|five|six|seven|eight|nine|ten|twelve|half)\b"
)
_RANGE = re.compile(r"\b(?:between|from) \$?[\d.,]+\$? (?:and|to) \$?[\d.,]*\d\$?")
_EXPLAINS = re.compile(
    r"(?:because|since|as|where|when|while|after|given|for|which (?:comes|came|come|follows"
    r"|was|were|we|can|has|have))\b"
)


def _harmless(tail: str) -> bool:
    """Whether the words behind a value leave it as it is."""
    if _DENIED_BEHIND.search(tail) or _CONDITION_FIRST.match(tail):
        return False
    while gloss := _GLOSS.match(tail):
        tail = tail[gloss.end() :]
    if _CHANGERS.match(tail):
        return False
    if not _MATHEMATICAL.search(tail):
        return _JOINED_WORDS.search(tail) is None
    for index, clause in enumerate(_CLAUSE.split(_RANGE.sub(" ", tail))):
        if not _MATHEMATICAL.search(clause):
            continue
        if index and _EXPLAINS.match(clause.strip()):
            return True
        if (index and _CONCLUDES.match(clause.strip())) or _OPERATIONS.search(clause):
            return False
        if any(_NUMBER_IN_TAIL.search(clause[: number.start()]) for number in _ANY_NUMBER.finditer(clause)):
            return False
    return True


def _label(tail: str) -> str:
    """The noun behind a number, so that 5 oranges are no 5 apples."""
    words: list[str] = []
    for word in tail.split()[:3]:
        bare = word.strip(".,;:!?()*\"'").lower()
        if not bare.isalpha() or bare in _STOP_WORDS or not word[0].isalpha():
            break
        words.append(bare)
        if word[-1] in ".,;:!?)":
            break
    return " ".join(words)


def _lonely_value(sentence: str, readable: Readable, question: str, *, marked: bool) -> str:
    """The one number of a sentence without a verb of being, or the one whose noun the question asks for."""
    if _UNSURE.search(sentence):
        return ""
    clause = _SUBORDINATE.sub("", _GLOSS.sub(" ", sentence), count=1)
    clause = _THEN.split(clause)[-1] or clause
    spans = _MATH_SPAN.findall(clause)
    if spans:
        return _lonely_span(clause, spans, readable)
    if _METHOD.search(clause) or _UNREAD.search(_ANY_NUMBER.sub(" ", clause)):
        return ""
    stated = _asked_for(_numbers_in(clause, marked=marked), clause, _asked_noun(question))
    if len(stated) != 1 or (not marked and re.search(r"\bor\b[^,]*\d", clause)):
        return ""
    return stated[0]


def _numbers_in(clause: str, *, marked: bool) -> list[tuple[str, bool]]:
    """The numbers of a clause that are neither bounds nor names nor denied, and whether each only stands aside
    ("for 3 months")."""
    numbers = []
    for match in _ANY_NUMBER.finditer(clause):
        before = clause[: match.start()]
        if _BEFORE_CHANGES.search(before) or _DENIES.search(before):
            continue
        if _DENIED_BEHIND.search(clause[match.end() :]) or (marked and _CONDITION_FIRST.match(clause[match.end() :])):
            continue
        if value := _value_of_number(clause[match.start() :]):
            numbers.append((value, _ASIDE.search(before) is not None))
    return numbers


def _asked_for(numbers: list[tuple[str, bool]], clause: str, noun: frozenset[str]) -> list[str]:
    """The numbers that may be what the question asks for; all of them where it names no noun."""
    stated = [value for value, _ in numbers]
    if not noun:
        return stated
    stated = [value for value, aside in numbers if not aside] or stated
    if len(stated) > 1:
        named = [value for value in stated if not noun.isdisjoint(word.rstrip("s") for word in value.split())]
        stated = named or ([value for value in stated if value[0] in "$€£\\"] if noun & _MONEY_WORDS else [])
    if not stated and not re.search(r"\d", clause):
        words = [match for match in _WORD_NUMBER.finditer(clause) if match[2].lower().rstrip("s") in noun]
        stated = [f"{_WORD_NUMBERS[match[1].lower()]} {match[2]}" for match in words]
    return stated


_ASIDE = re.compile(
    r"\b(?:for|in|after|before|within|during|over|at|on|by|from|with|all|every)\s+(?:the\s+)?\Z", re.IGNORECASE
)
_MONEY_WORDS = frozenset(
    [
        "money",
        "dollar",
        "cost",
        "price",
        "pay",
        "spend",
        "profit",
        "doe",
        "did",
        "will",
        "i",
        "wa",
        "would",
    ]  # "how much did"
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
    if len(spans) > 1 or re.search(r"\d", _MATH_SPAN.sub("", clause)):
        return ""
    before, span, after = clause.partition(spans[0])
    if _BEFORE_CHANGES.search(before.rstrip() + " ") or _CHANGERS.match(after) or not _harmless(after):
        return ""
    return span if readable(span) and not _METHOD.search(before) else ""


def _value_of_number(rest: str) -> str:
    match = _VALUE_FIRST.match(rest)
    if match is None:
        return ""
    value, unit, tail = match["value"], match["unit"] or "", match["rest"]
    if scale := _SCALE.match(unit + tail):
        value, unit, tail = f"{value} {scale[0].strip(' -')}", "", (unit + tail)[scale.end() :]
    if not _BOUNDARY.match(tail) or _CHANGERS.match(tail) or tail.startswith("-"):
        return ""
    return f"{value} {unit}" if unit else f"{value} {_label(tail)}".strip()


@lru_cache(maxsize=1024)
def _asked_noun(question: str) -> frozenset[str]:
    """The words behind the last "how many" of a question, without their plural's s."""
    found = _HOW_MANY.findall(question)
    if not found:
        return frozenset()
    words = [word.strip("'-").lower().rstrip("s") for word in found[-1].split()]
    return frozenset(word for word in words[:3] if len(word) > 1 and word not in _STOP_WORDS)
