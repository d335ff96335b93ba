r"""A value and the words around it: what may stand behind or before a number without making another value of it."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache

from proofmill.filters.answers.hedging_abroad import RATHER_BEHIND
from proofmill.filters.symbolic.notation import VULGAR
from proofmill.filters.symbolic.units import TWO_MEASURES, known_unit

Readable = Callable[[str], bool]
_DECORATION = re.compile(
    r"[\u2600-\u27bf\u2b50\u2b55\ufe0f\U0001f000-\U0001faff\u200d]|\\(?:checkmark|blacksquare|square|qed)(?![A-Za-z])"
)
_BOLD = re.compile(
    r"</?(?:b|strong|em|i|u|mark|center|span|font|p|div)(?:\s[^<>\n]{0,80})?>|<br\s?/?>|&nbsp;|(?<![A-Za-z0-9)])\*\*|\*\*(?![A-Za-z0-9(])|__(?=\S)|(?<=\S)__|`{1,3}"
)
_ITEM = re.compile(
    r"(?:[*•]\s+|[-+]\s+(?=[A-Za-z]{2}|[A-Za-z]\s?=|[*$]|\\[(\[]|\d[^,;]*=)|\d{1,2}[.)]\s+(?=[A-Za-z*$\\]"
    r"|\d[^,;]*=))(?=.*\S)",
    re.DOTALL,
)
_CURRENCY = r"(?:US\s?)?(?:\\?\$|€|£|¥|₹|\\text\{\s?\\?\$\s?\})"
_DIGITS = (
    r"(?:\d{1,3}(?:(?:,|\{,\}|,\\!\s?|\\,|['’])\d{3})+(?!\d)|\d{1,3}(?:[ \u00a0\u202f]\d{3}){2,}(?!\d)"
    r"|\d{1,3}(?:\.\d{3}){2,}(?![\d.])|\d+)(?:\.\d+)?|\.\d+"
)
_VULGAR = "½⅓⅔¼¾⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞"
NUMBER = (
    rf"[-−–]?\s?(?:{_CURRENCY}\s?)?[-−–]?(?:{_DIGITS})(?:\s\d{{1,3}}/\d{{1,3}}|\s?/\s?\d+|\s?[{_VULGAR}])?"
    r"(?:\s?(?:\\?%|°|€|£|¥|¢|元)|\\?\$(?!\w))?"
)
NUMERAL = re.compile(rf"[+-]?(?:{_CURRENCY}\s?)?(?:{_DIGITS})%?\Z")
_MATH = r"\$\$[^$]{1,600}\$\$|\$[^$\n]{1,600}\$(?!\d)|\\\([^\n]{1,600}?\\\)|\\\[.{1,600}?\\\]"
MATH_SPAN = re.compile(_MATH, re.DOTALL)
_UNIT = r"(?:[A-Za-zµμΩ²³]{1,12}(?:/[A-Za-z]{1,8}|\^\{?[23]\}?)?)"
_VALUE_FIRST = re.compile(rf"(?P<value>{_MATH}|{NUMBER})(?P<unit>(?:/|per )?{_UNIT})?(?P<rest>.*)\Z", re.DOTALL)
_BOUNDARY = re.compile(r":(?!\d)|[.,](?!\d)|[\s;!?)\]\"'”*。，；！—–]|-(?=\s)|\Z")
_SCALE = re.compile(
    r"\s?-?\b(?:dozens?|hundred|thousand|million|billion|trillion|[kKMB](?=\b|[€$£])|万|亿|千)(?![A-Za-z])"
)
CHANGERS = re.compile(  # behind a value: what makes another one of it
    r"\s*(?:-\s?)?(?:squared|cubed|factorial|halves|thirds?|quarters?|fourths?|fifths?|sixths?|sevenths?"
    r"|eighths?|ninths?|tenths?"
    r"|hundredths?|thousandths?|plus|minus|times(?=\W{0,3}[\d$x]|\s(?:this|that|the|as|his|her|its|their|what|more|of)\b)"
    r"|over|divided|multiplied|mod(?:ulo)?|to the"
    r"|choose|base|pi|root"
    r"|(?:more|less|fewer|greater|larger|smaller|higher|lower) than(?=\W{0,3}[\d$])|too (?:many|much|few)"
    r"|and a half|and a quarter|past|of (?:the|an?) (?:half|third|quarter|fifth|sum|product|square|rest|remainder)"
    r"|(?:oder|ou|oppure|lub|eller|или|либо|o)(?=\W{0,3}[\d$])"
    r"|(?:mil|mille|millones|millón|milhões|milioni|millionen|milliarden|tausend|hundert|тысяч\w*|миллион\w*)"
    r"|or (?:more|less"
    r"|fewer|greater|above|below)"
    r"|at (?:least|most)|and (?:above|below|up|over))\b(?!-[a-z])"
    r"|\s*(?:[-+*/^!=<>|&→⇒×·÷√π≤≥≠∞²³⁴⁵⁶⁷⁸⁹½¼¾⅓⅔]|\\(?!text|,|;|\s"
    r"|quad))(?!\s*(?:\Z|-\s))",
    re.IGNORECASE,
)
BEFORE_CHANGES = re.compile(  # before a number: it is a bound, a part of an expression, a name, or denied
    r"(?:\b(?:m[áa]s de|menos de|mehr als|weniger als|plus de|moins de|pi[ùu] di|meno di|mais de|больше|меньше"
    r"|więcej niż|mniej niż|minus|negative|plus|times|twice|double|triple|thrice|among|over|root of|roots? of"
    r"|log(?:arithm)? of|multiples? of|factors? of"
    r"|divisors? of|powers? of"
    r"|(?<!root )root|half of|third of|quarter of|fraction of|square of|cube of|out of|less than|more than|greater than"
    r"|fewer than|larger than"
    r"|smaller than|higher than|lower than|other than|close to|near|at least|at most|up to|exceeds?|below|above|under"
    r"|beyond"
    r"|between|not|never|nicht|pas|non|não|niet"
    r"|n't|but|cannot be|neither|nor|without|except|maybe|perhaps|probably|possibly|either|divided by"
    r"|multiplied by|by|than|mod(?:ulo)?"
    r"|choose|base|step|line|section|theorem|lemma|part|case|day|option|problem|question|equation|figure|rule|note|exercise|page|chapter|number"
    r"|no\.|first|last|next"
    r"|(?:one|two|three|four|five) (?:in|out of)(?: every)?"
    r"|past|(?:quarter|minutes?) (?:to|till|before|after)"
    r"|every|each|horse|room|grade|percent of|%\sof|(?<!total )(?<!average )(?<!amount )(?<!cost )"
    r"(?<!price )(?<!profit )(?<!speed )(?<!area )(?<!score )(?<!refund )(?<!bid )(?<!distance )(?<!difference )"
    r"(?<!length )(?<!balance )(?<!value )"
    r"(?<!weight )(?<!height )(?<!age )(?<!rate )(?<!loss )(?<!sum )of)\s+(?:the\s+)?"
    r"|[-+*/^=<>×·÷√π≤≥≠~≈#_(\[]\s?|\d\s?"
    r"|(?:没有?|不是?|至[少多]|最[少多]|超过|不到|[少多大小]于|第|每|或)\s?)\Z",
    re.IGNORECASE,
)
DENIES = re.compile(r"\b(?:not|n't|never|neither|nor|cannot be|isn't)\s+(?:\w+\s+){0,2}\Z", re.IGNORECASE)
_CLAUSE = re.compile(r"[,;，；—–]\s*|\s-\s|\s(?=(?:because|since|as|where|when|so|but|which|that|while|whereas)\b)")
_CONCLUDES = re.compile(
    r"(?:so|thus|therefore|hence|then|but|making|giving|leaving|or|and|which (?:is|are|equals?|gives?|means"
    r"|makes?|leaves?)|i\.e|that is|meaning|equal|not"
    r"|rather|instead|no)\b",
    re.IGNORECASE,
)
_NUMBER_IN_TAIL = re.compile(
    r"(?:\b(?:than|plus|minus|times|or|and)|^\s*(?:to|of|over|by|per|through|until|from|for)"
    r"|[-+*/^(])\s?(?:[$€£]\s?)?\Z",
    re.IGNORECASE,
)
STOP_WORDS = frozenset(
    re.findall(
        r"\w+",
        "of in to that who which for on at by per each and left more as than with from is are was were be do does did "
        "will would can could if when so but or because since after before until during total altogether "
        "remaining a an the this these those it she he they we you not no only also just now then over under "
        "between among into about some such he her his its their our your my per up out down off back away",
    )
)
GLOSS = re.compile(
    r"\s*(?:(?<!\\)\((?![^()]*\b(?:or|not|wrong|incorrect|maybe|probably|if|unless|but)\b)[^()]{0,120}\)|\[[^\[\]]{0,60}\])"
)
_PLAIN_WORDS = re.compile(r"[A-Za-zÀ-ÖØ-öø-ɏЀ-ӿ](?:[A-Za-zÀ-ÖØ-öø-ɏЀ-ӿ]|[' \-])*\Z")
_MAX_LISTED = 3  # words of an item in a list of words
ANY_NUMBER = re.compile(rf"(?<![A-Za-z0-9_.,$€£])(?<!\d:)(?:{NUMBER})")


def is_prose(text: str) -> bool:
    """Return whether a text is nothing but words, and no list of short items: "red, green, blue"."""
    if "," not in text:
        return _PLAIN_WORDS.match(text) is not None
    items = [item.strip() for item in text.split(",")]
    return all(map(_PLAIN_WORDS.match, items)) and any(len(item.split()) > _MAX_LISTED for item in items)


_WRITES_COMMAS = re.compile(r"(?<![\d.,])\d{1,6},(?:\d{1,2}|\d{4,})(?![\d,])")
_WRITES_POINTS = re.compile(r"\d\.\d|\d,\d{3}(?!\d)|(?<![\d.])\.\d")
_COMMA = re.compile(r"(?<![\w.,])(\d{1,9}),(\d{1,9})(?![,.]?\d)")


def with_points(text: str, question: str) -> str:
    """Return a text with decimal points where it has decimal commas, as the question has: 16.25 for 16,25.

    Thousands with a narrow or no-break space, or with any space in a language that writes them so, lose it. The text
    stays as long as it was, so that offsets hold.
    """
    spaced = _SPACED if _speaks_with_commas(question) else None if text.isascii() else _THIN_SPACED
    if spaced is not None and spaced.search(text):
        text = spaced.sub(lambda match: re.sub(r"\s", "", match[0]).rjust(len(match[0])), text)
    if "," not in text:
        return text
    if _CENTS.search(text) and _PRICED.search(text):
        text = _PRICED.sub(_pointed_price, text)
    if _writes_commas(question):
        return _COMMA.sub(r"\1.\2", text)
    return _MEASURED_COMMA.sub(r"\1.\2", text) if _speaks_with_commas(question) else text


_DOTTED_THOUSANDS = re.compile(r"(?<![\w.,])[1-9]\d{0,2}(?:\.\d{3})+(?![\d.,]\d|\d)")


def in_whole_thousands(answer: str, gold: str, question: str) -> str:
    """Return an answer with 1500 for 1.500, where a question's language writes thousands so and gold is that number."""
    dotted = _DOTTED_THOUSANDS.search(answer)
    if dotted is None or not _speaks_with_commas(question):
        return answer
    whole = dotted[0].replace(".", "")
    return answer.replace(dotted[0], whole) if whole == re.sub(r"\.0+\Z|\D", "", gold) else answer


_MEASURED_COMMA = re.compile(
    r"(?<![\w.,])(\d{1,9}),(\d{1,2})(?=\s?[^\W\d_²³°%]{1,12}|\s?[%°]|\s?\\(?:text|mathrm|[,;%\s])|\Z)(?!\s?(?:and|or|und|oder|y|o|et|ou|e|и|или|i|lub|ve|och|en)\b)"
)
_THIN_SPACED = re.compile(r"(?<![\w.,/^])[-−]?\d{1,3}(?:[\u00a0\u202f\u2009]\d{3})+(?![\d/^]|[.,]\d{3}(?!\d))")
_SPACED = re.compile(r"(?<![\w.,/^])(?<!\d )[-−]?[1-9]\d{0,2}(?:[ \u00a0\u202f\u2009]\d{3})+(?! ?[\d/^])")
_COMMA_LANGUAGES = re.compile(
    r"\b(?:wie|viel|viele|welche[rs]?|berechne|bestimme|der|das|und|ist|eine?|eines|einer|für|cuánt[oa]s?|cuál|una|del|los"
    r"|las|el|en|combien|quelle?|les|des|est|une|dans|quant[oaie]|della|uma|qual|quale|di|é|è|il|em|сколько|ile|jest"
    r"|hoeveel|het|een|hur|och|är|kaç|ve|bir|kolik|je)\b",
    re.IGNORECASE,
)
_ENGLISH = re.compile(r"\b(?:the|what|how|find|with|each|of)\b")
_CYRILLIC_WORD = re.compile(r"[А-Яа-яЁёІіЇї]{2,}")
_CYRILLIC_WORDS = 3  # of a question in Russian, Ukrainian, Bulgarian, …, which all write decimal commas


@lru_cache(maxsize=4096)
def _speaks_with_commas(question: str) -> bool:
    """Return whether a question is in a language with decimal commas, and writes no decimal points."""
    if _WRITES_POINTS.search(question) is not None or len(set(_ENGLISH.findall(question.lower()))) > 1:
        return False
    if len(set(_COMMA_LANGUAGES.findall(question.lower()))) > 1:
        return True
    return not question.isascii() and len(_CYRILLIC_WORD.findall(question)) >= _CYRILLIC_WORDS


_CENTS = re.compile(r",\d\d(?!\d)")  # what every price below has, and few texts
_PRICED = re.compile(  # 68,00 €, R$ 1.250,00: no thousands have two figures
    r"(?P<before>R\$\s?|€\s?)(?P<one>(?:\d{1,3}(?:\.\d{3})+|\d{1,9})),(?P<cents>\d\d)(?![\d,])"
    r"|(?<![\w.,])(?P<other>(?:\d{1,3}(?:[. ]\d{3})+|\d{1,9})),(?P<rest>\d\d)"
    r"(?=\s?(?:€|EUR\b|euros?\b|reais\b|руб|zł\b|kr\b|лв\b|Kč\b|lei\b|Ft\b|грн))",
    re.IGNORECASE,
)


def _pointed_price(match: re.Match[str]) -> str:
    """Return a price with a decimal point, as long as it was: offsets stay as they are."""
    whole = (match["one"] or match["other"]).replace(".", "").replace(" ", "")
    before = (match["before"] or "").replace("R$", " $")
    price = f"{before}{whole}.{match['cents'] or match['rest']}"
    return " " * (len(match[0]) - len(price)) + price


@lru_cache(maxsize=4096)
def _writes_commas(question: str) -> bool:
    return _WRITES_COMMAS.search(question) is not None and _WRITES_POINTS.search(question) is None


def is_unit(word: str) -> bool:
    """Return whether a word, with what it is divided by, is a unit of measurement."""
    return all(known_unit(part.rstrip("²³^{}23")) is not None for part in word.split("/") if part)


def plain(phrase: str) -> str:
    """Return the phrase without marks of bold type and code, without emoji, and without the full stop at its end."""
    text = phrase.strip()
    if "（" in text:
        text = _BRACKETED_UNIT.sub(r"\1", text)
        text = text.replace("（", "(").replace("）", ")")
    if text[:1] in "-*•+0123456789" and (item := _ITEM.match(text)):
        text = text[item.end() :]
    if not text.isascii() or "\\" in text:
        text = _DECORATION.sub("", text)
    if "**" in text or "`" in text or "__" in text or "<" in text or "&" in text:
        text = _BOLD.sub("", text)
    text = text.strip(' \t\r\n"“”').removeprefix("= ")
    if text[:1] in "_*" and (emphasised := _EMPHASISED.match(text)):
        text = emphasised["text"]
    if text[-1:] == "_" and text.strip("_"):
        text = text.rstrip("_")
    if "cents" in text:
        text = _DOLLARS_AND_CENTS.sub(lambda match: f"{match[1]}.{int(match[2]):02}", text)
    while text[-1:] in (".", "!", ":", ",", ";", "。", "，") and text[-2:] != "..":
        if text.endswith("!") and text[-2:-1].isalnum() and len(text) > 1 and text[-2:-1].isdigit():
            break  # a factorial
        text = text[:-1].rstrip(' \t*_"”')
    return text


_BRACKETED_UNIT = re.compile(
    r"(?<=\d)（((?:平方|立方)?[厘毫千分]?[米克升]|公里|公斤|吨|美?元|个月?|岁|天|年|周|度|小时|分钟?|秒|[本只人张条辆次页棵])）(?=[。.]?\Z)"
)  # 72（升）
_DOLLARS_AND_CENTS = re.compile(r"(\$\d{1,9}) and (\d{1,2}) cents\b")
_EMPHASISED = re.compile(r"([_*])(?P<text>[^_*]+)\1(?=[.,!]?\Z)")
_GLUED = re.compile(rf"(-?(?:{_DIGITS}))([A-Za-zµ]{{1,5}})\Z")
_LETTER_UNITS = {
    "g": r"gram|weigh|mass|\dg\b",
    "m": r"met(?:er|re)|[\d何]m\b|(?<=何)m",
    "L": "lit(?:er|re)",
    "l": "lit(?:er|re)",
    "h": "hour",
    "s": "second",
}


def glued_unit(text: str, question: str) -> str:
    """Return a number with the unit that is written to it: `48g`, if the question is of grams, and `5km`."""
    match = _GLUED.match(text)
    if match is None:
        return ""
    letter = _LETTER_UNITS.get(match[2])
    known = (
        re.search(letter, question, re.IGNORECASE) is not None if letter else len(match[2]) > 1 and is_unit(match[2])
    )
    return f"{match[1]} {match[2]}" if known else ""


_IN_WORD = re.compile(r"(?<=[A-Za-z])'(?=[A-Za-z])")
_OF_AMOUNT = re.compile(r"\s*of\b[^.,;]*\d")  # 50% of the $800


_COMPARED = re.compile(
    r"(?:\s[A-Za-z]+){0,4}?\s(?:more|less|fewer|longer|shorter|older|younger|taller|farther|further|heavier|lighter|faster"
    r"|slower|cheaper|higher|lower|larger|smaller|bigger|greater|wider|deeper)\s(?:[a-z]+\s){0,3}?than\b"
)
_ASKS_MORE = re.compile(
    r"\b(?:than|separate|apart|ahead|behind|more|fewer|less|difference|differ|extra|additional|needs?|by how)\b",
    re.IGNORECASE,
)
_ASKS_FIRST = re.compile(r"\b(?:first|beginning|start\w*|initial\w*|original\w*|before|begin|began)\b", re.IGNORECASE)
_MORE_OF = re.compile(r"\s(?:more|additional|extra|fewer|less)\s[a-z]+\b(?!\sthan)")
ASKS_TOTAL = re.compile(
    r"\bhow many\b(?![^?]*\b(?:more|less|fewer|additional|extra|than|difference|left|still|needs?|another|over|beyond"
    r"|short|missing|must|should|would|could|add\w*|buy|get|to|require[sd]?)\b)[^?]*"
    r"\b(?:have|has|are there|were there|is there|own|altogether|in all|in total)\b[^?]*\?",
    re.IGNORECASE,
)
_WHEN = re.compile(
    r"(?:\s[A-Za-z]+){0,3}?\s(?:(?P<next>next|last)\s(?:year|month|week|time)|(?:years?|months?|weeks?) ago"
    r"|(?:at|in the) (?P<first>first|beginning|start)|(?P<before>initially|originally))\b"
)


def of_another_case(tail: str, question: str) -> bool:
    """Return whether words behind a value make a difference of it, or say when it held or will, without being asked to.

    "25 years older than Ann", "25 next year".
    """
    if question and "than" in tail and _COMPARED.match(tail) and not _ASKS_MORE.search(question):
        return True
    if question and _MORE_OF.match(tail) and ASKS_TOTAL.search(question):
        return True
    when = _WHEN.match(tail)
    if when is None:
        return False
    if when["first"] or when["before"]:
        return question != "" and not _ASKS_FIRST.search(question)
    return (when["next"] or "ago") not in question.lower()


_RESTATED = re.compile(  # π/3 radians (that is 60°)
    r"\s?\((?:that['’]s|that\sis|which\sis|i\.e\.|=|or)\s([-−]?[\d.]+\s?(?:°|degrees|radians|rad))\)\Z"
)
_SHARE = re.compile(r"(\d{1,9}) (?:in|out of) (?:every )?(\d{1,9})\Z")
_ASKS_SHARE = re.compile(r"\b(?:probabilit\w+|fraction|chances?|likel\w+|proportion)\b", re.IGNORECASE)


def share_of(text: str, question: str) -> str:
    """Return the fraction that a text states as a share, where a question asks for one: "1 in 3"."""
    share = _SHARE.match(text)
    return "" if share is None or not _ASKS_SHARE.search(question) else f"{share[1]}/{share[2]}"


_ROUNDED_BEHIND = re.compile(  # 25π cm² (≈ 78.5 cm²)
    r"(?<=[\w²³π)}$%])\s?\((?:≈|~|\\approx|(?:or\s)?(?:about|approximately|roughly|approx\.))\s?"
    r"\$?\d[\d.,]*[^()\n]{0,20}\)(?=[\s.*$]*\Z)"
)


_WITH_REMAINDER = re.compile(
    r"\d{1,9},? (?:with |and )?(?:an? )?(?:R|r|[Rr]em\.?|remainder)(?: of)? ?\d{1,9}\Z"
)  # where a question asks for both


def without_gloss(text: str) -> str:
    """Return a value without the rounded one behind it in brackets: 2√5 of "2√5 (about 4.472)"."""
    return _ROUNDED_BEHIND.sub("", text)


_VULGAR_SIGN = re.compile(rf"(?P<whole>(?<=\d)\s?)?(?P<sign>[{_VULGAR}])")


def in_plain_fractions(text: str) -> str:
    """Return a text with the signs of fractions written out: 5/6 for ⅚, 2 1/2 for 2½."""
    return text if text.isascii() else _VULGAR_SIGN.sub(_written_out, text)


def _written_out(match: re.Match[str]) -> str:
    return ("" if match["whole"] is None else " ") + VULGAR[match["sign"]]


def value_of(rest: str, readable: Readable, question: str, *, marked: bool) -> str:
    """Return the value with which a text begins, if all that follows leaves it as it is."""
    if rest.endswith("$") and rest.count("$") == 1 and "\\" in rest:
        rest = rest[:-1]  # the end of a formula that began before
    if rest.rstrip(" .*$")[-1:] == ")":
        rest = _ROUNDED_BEHIND.sub("", rest)
    whole = _RESTATED.sub(r", \1", plain(rest)) if rest.rstrip(" .*")[-1:] == ")" else plain(rest)
    if share := share_of(whole, question):
        return share
    if "emainder" in question and "uotient" in question and _WITH_REMAINDER.match(whole):
        return whole
    if "'" in whole and whole[0].isdigit():
        whole = _IN_WORD.sub("", whole)  # 7 S'mores
    if glued := glued_unit(whole, question):
        return glued
    match = _VALUE_FIRST.match(rest)
    if match is not None and of_another_case(match["rest"], question):
        return ""
    if whole and not is_prose(whole) and len(whole) <= 300 and (NUMERAL.match(whole) or readable(whole)):
        return whole
    return "" if match is None else _first_value(match, readable, marked=marked)


def _first_value(match: re.Match[str], readable: Readable, *, marked: bool) -> str:
    value, unit, tail = match["value"], match["unit"] or "", match["rest"]
    if unit and unit[0] not in "/p" and not is_unit(unit) and unit not in _LETTER_UNITS:
        return ""
    if scale := _SCALE.match(unit + tail if unit else tail):
        value, unit, tail = value + scale[0], "", (unit + tail)[scale.end() :]
        value = value.replace("-", " ") if "-" in scale[0] else value
    if not _BOUNDARY.match(tail) or CHANGERS.match(tail) or not harmless(tail, marked=marked):
        return ""
    if value.endswith("%") and _OF_AMOUNT.match(tail):
        return ""
    stated = f"{value} {unit}" if unit else _labelled(value, tail)
    if value[:1] in "$\\" and MATH_SPAN.fullmatch(value):
        return stated if readable(value) else ""
    return stated if not unit or readable(stated) else ""


DENIED_BEHIND = re.compile(
    r"\b(?:wrong|incorrect|false|mistaken|not (?:the |a |right|correct)|isn't|maybe|perhaps|probably"
    r"|below zero"
    rf"|(?<=[,.]\s)(?:nein|(?:non|não|nie|нет)(?!\s[$€£]?\d)|{RATHER_BEHIND})\b|(?<=[.…]\s)no\b"
    r"|(?<=,\s)(?:no|sorry|rather(?!\sthan)|i mean|or rather|make that),?\s"
    r"|(?:before|until) (?:i|we|you|it|they|he|she))\b|\?",
    re.IGNORECASE,
)
REFUSED_BEHIND = re.compile(  # 7 trips are not enough
    r"(?:\s(?!who\b|that\b|which\b)[a-z]+){0,3}?\s(?:is|are|was|were|would be|will be)\s?"
    r"(?:(?:not|n't)\b(?!\s(?:only|just))|too\s(?:few|many|much|little|small|large|big|low|high|short|long)|insufficient|impossible|invalid)\b"
)
CONDITION_FIRST = re.compile(r"\s*(?:[\w'-]+\s+){0,3}(?:if|unless)\b")
_MATHEMATICAL = re.compile(r"[\d$\\=<>^√π]")
_OPERATIONS = re.compile(r"[\\=<>^√π]")
_JOINED_WORDS = re.compile(
    r"\b(?:or|plus|minus|times|and)\s+(?:two|three|four|five|six|seven|eight|nine|ten|twelve|half)\b"
)
_CONTRAST = re.compile(rf",?\s(?:rather than|instead of|as opposed to)\s{NUMBER}(?:\s[a-z]+){{0,3}}(?=[.,;]|\Z)")


def without_contrast(text: str) -> str:
    """Return a text without the value that another one is set against: "14, rather than 15"."""
    return _CONTRAST.sub("", text) if "rather" in text or "instead" in text or "opposed" in text else text


_RANGE = re.compile(r"\b(?:between|from) \$?[\d.,]+\$? (?:and|to) \$?[\d.,]*\d\$?")
_EXPLAINS = re.compile(
    r"(?:because|since|as|where|when|while|after|given|for|which (?:(?:is|are) (?:the|an?)\b|comes|came|come|follows"
    r"|was|were|we|can|has|have))\b"
)


_OPERATED = re.compile(r"[A-Za-z]\s?(?:[*/×÷+]|\s-)\s?\(?[$€£]?\d")  # 6 days + 3 days, 21 points/game * 160 games

_OPERATED_NEXT = re.compile(r"(?:\s?[A-Za-z]+(?:/[A-Za-z]+)?){0,3}\s?(?:[*/×÷+]|\s-)\s?\(?[$€£]?\d")


def harmless(tail: str, *, marked: bool) -> bool:
    """Return whether the words behind a value leave it as it is; they may repeat the question's condition."""
    tail = without_contrast(tail)
    if (
        DENIED_BEHIND.search(tail)
        or REFUSED_BEHIND.match(tail)
        or (marked and CONDITION_FIRST.match(tail))
        or _OPERATED.search(GLOSS.sub(" ", tail))
    ):
        return False
    while gloss := GLOSS.match(tail):
        tail = tail[gloss.end() :]
    if CHANGERS.match(tail):
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
        if any(_NUMBER_IN_TAIL.search(clause[: number.start()]) for number in ANY_NUMBER.finditer(clause)):
            return False
    return True


def _labelled(value: str, tail: str) -> str:
    """Return a number with the noun behind it, so that 5 oranges are not 5 apples; money and shares need none."""
    return value if value[-1] in "%$€£°" or value[0] in "$€£" else f"{value} {_label(tail)}".strip()


_MORE = re.compile(r"\A\s*(?:more|additional|extra|full|whole|other)\s+(?!than\b)")


_STOPS_ABROAD = frozenset(
    re.findall(r"\w+", "en em au aux im zu insgesamt zusammen all tutto всего de del da do du di")
)


def _label(tail: str) -> str:
    words: list[str] = []
    for word in _MORE.sub("", tail).split()[:3]:
        bare = word.strip(".,;:!?()*\"'").lower()
        rated = bare == "per" and words and is_unit(words[-1])  # miles per hour
        if not bare.isalpha() or ((bare in STOP_WORDS or bare in _STOPS_ABROAD) and not rated) or not word[0].isalpha():
            break
        words.append(bare)
        if word[-1] in ".,;:!?)":
            break
    return " ".join(words)


_DECIMAL_COMMA = re.compile(r",\d")
_COUNTERS = frozenset(
    "个只名位本条张岁次种件辆棵朵块支瓶杯元米個人枚回円つ匹冊台歳개명원"
)  # what is counted in Chinese, Japanese, Korean


def number_of(rest: str) -> str:
    """Return the number that begins a text, with its unit or noun; "" if something makes another value of it."""
    match = _VALUE_FIRST.match(rest)
    if match is None:
        return ""
    value, unit, tail = match["value"], match["unit"] or "", match["rest"]
    if (measures := TWO_MEASURES.match(rest)) and is_unit(measures[2]) and is_unit(measures[4]):
        return "{} {} and {} {}".format(*measures.groups())
    if unit in ("st", "nd", "rd", "th") or value.startswith("000"):
        return ""
    if scale := _SCALE.match(unit + tail):
        value, unit, tail = f"{value} {scale[0].strip(' -')}", "", (unit + tail)[scale.end() :]
    closed = (_BOUNDARY.match(tail) and not _DECIMAL_COMMA.match(tail)) or tail[:1] in _COUNTERS
    if not closed or CHANGERS.match(tail) or tail.startswith("-") or _OPERATED_NEXT.match(tail):
        return ""
    return f"{value} {unit}" if unit else _labelled(value, tail)
