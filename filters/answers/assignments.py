r"""Values that the end of a text gives to letters: "x = 3 and y = -1", one in a line, "x is either 2 or 3".

Also what it says under (a), (b), … where a question has such parts.

Where the letters differ, only what a question asks for several letters makes them one answer: else they are steps.
"""

from __future__ import annotations

import re
from functools import lru_cache

from proofmill.filters.symbolic.units import known_unit, plain_text

_VALUE = r"[^=,;\n]{1,40}?"
_ASSIGNED = re.compile(r"[\s*$\\(•-]*([a-zA-Z])\s?[=:]\s?([^=\n]{1,60}?)[\s*$\\).,;]*\Z")
_ASKS_SEVERAL = re.compile(r"\b[a-zA-Z]\b\W{0,6}(?:and|,)\W{0,6}\b[a-zA-Z]\b|\bsystem\b", re.IGNORECASE)
_ASKS_ALL = re.compile(r"\b(?:solutions|roots|zeros|values|all|solve)\b", re.IGNORECASE)
_LETTER_IS = re.compile(r"\$?(?<![A-Za-z])([a-zA-Z])\$? (?:is|equals) (?=[-−$\\\d])")
_IS = re.compile(r" (?:is|equals) (?=[-−$\\\d])")
_REMARK = re.compile(r",\s(?:which|as|so|and)\s[a-z][^,=\d$\\]{1,60}\Z")  # x = 7 and y = 3, which check out
_GREEK_NAMES = ("alpha", "beta", "gamma", "lambda", "mu", "theta", "omega", "sigma")
_GREEK = {ord(letter): rf"\{name}" for letter, name in zip("αβγλμθωσ", _GREEK_NAMES, strict=True)}
_LETTER_OF = rf"(?:[a-zA-Z{''.join(map(chr, _GREEK))}]|\\(?:{'|'.join(_GREEK_NAMES)}))"
_NUMBERED = rf"{_LETTER_OF}(?:_\{{?\d\}}?|[₀-₉])?"
_SERIES = re.compile(
    rf"(?<![A-Za-z0-9\\_)])(?:\$?{_NUMBERED}\s?=\s?{_VALUE}(?:,?\s(?:and|or)\s|[,;]\s)){{1,5}}\$?{_NUMBERED}\s?=\s?{_VALUE}\Z"
)
_NAME = re.compile(rf"(?<![A-Za-z\\])({_NUMBERED})\s?=")
_INDEX = re.compile(r"[\d_{}₀-₉\s]+\Z")
_AND_ABROAD = re.compile(r"(?<=[\d$])\s(?:et|ou|und|oder|y|o|e|и|или)\s(?=\$?[a-zA-Z](?:_?\{?\d\}?|[₀-₉])?\s?=)")
_COMMA = re.compile(r"(?<=\d)(?:\{,\}|,)(?=\d)")
_EITHER = re.compile(
    r"\$?(?P<name>[a-zA-Z])\$? (?:is|equals|can be|must be|=) (?:either )?(?P<one>-?[\d./]+) or (?P<other>-?[\d./]+)\Z"
)


_CASE_VALUE = r"[-−]?[\d./]*\d"
_CASES = re.compile(  # Either 2x + 1 = 7, so x = 3, or 2x + 1 = -7, so x = -4
    rf"either\s[^.,;]{{1,60}},\s(?:so|thus|hence|giving|i\.e\.)\s\$?(?P<name>[a-zA-Z])\s?=\s?(?P<one>{_CASE_VALUE})\$?[,;]?\sor\s"
    rf"[^.,;]{{1,60}},\s(?:so|thus|hence|giving|i\.e\.)\s\$?(?P=name)\s?=\s?(?P<other>{_CASE_VALUE})\$?\Z",
    re.IGNORECASE,
)


@lru_cache(maxsize=4096)
def _asks_several(question: str) -> bool:
    return _ASKS_SEVERAL.search(question) is not None


def assigned_lines(body: str, question: str) -> tuple[str, int] | None:
    """Return the values of several letters, each in a line of its own at the end, and where the first line begins."""
    found: dict[str, str] = {}
    start = len(body)
    for line in reversed(body[-400:].split("\n")[-4:]):
        match = _ASSIGNED.match(line)
        if match is None or match[1] in found:
            break
        found[match[1]] = match[2]
        start -= len(line) + 1
    if len(found) < 2 or not _asks_several(question):
        return None
    return ", ".join(f"{name} = {found[name]}" for name in reversed(found)), max(0, start + 1)


_SET = re.compile(
    r"(?<![\w\\^*/+)(-])\$?([a-zA-Z])\$?\s?(?:=|is)\s?\$?(-?\d[\d./]*(?<![.]))\$?(?![\w^(/]|\.\d|\s?[-+*/^=<>]|\s?[a-zA-Z]\b(?!\s?=))"
)
_CHAIN = re.compile(r"(?<![A-Za-z\\])([a-zA-Z])\s?=\s?[-\d+*/()× ]{1,40}=\s?(-?\d)")  # y = 10 - 7 = 3
_LETTER = re.compile(r"(?<![A-Za-z\\])([a-zA-Z])(?![A-Za-z'’])")


def assigned_apart(body: str, question: str) -> tuple[str, int] | None:
    """Return the values that the end of a text gives to letters one after the other, and where the last one stands.

    "2x = 14, so x = 7. Then y = 3." They must be the letters of the question, all of them.
    """
    if not _asks_several(question):
        return None
    tail = body[-400:]
    found = list(_SET.finditer(_CHAIN.sub(r"\1 = \2", tail)))
    tail = _CHAIN.sub(r"\1 = \2", tail)
    if not found or tail[found[-1].end() :].strip(" $.*)\\]"):
        return None
    values = {match[1]: match[2] for match in found}
    asked = set(_LETTER.findall(question)) - set("aAI")
    if len(values) < 2 or set(values) - set("a") != asked:
        return None
    start = len(body) - len(tail) + found[-1].start()
    return ", ".join(f"{name} = {value}" for name, value in sorted(values.items())), start


def assigned_together(sentence: str, question: str) -> str:
    """Return the values that a sentence ends with: of several letters, or several of one; "" where it has none."""
    if cases := _CASES.match(sentence):
        return f"{cases['name']} = {cases['one']} or {cases['name']} = {cases['other']}"
    if match := _EITHER.match(sentence):
        return f"{match['name']} = {match['one']} or {match['name']} = {match['other']}"
    if parts := named_parts(sentence, question) or _measured_parts(sentence, question):
        return parts
    if (
        sum(_INDEX.sub("", side)[-1:].isalpha() for side in sentence.split("=")[:-1]) + len(_IS.findall(sentence))
        < _LEAST
    ):
        return ""
    sentence = _REMARK.sub("", sentence)
    abroad = "=" in sentence and _AND_ABROAD.search(sentence) is not None
    if abroad:
        sentence = _COMMA.sub(".", _AND_ABROAD.sub(" and ", sentence))
    text = (
        _LETTER_IS.sub(r"\1 = ", sentence) if len(_LETTER_IS.findall(sentence)) > 1 or " and " in sentence else sentence
    )
    match = _SERIES.search(text) if text.count("=") > 1 else None
    if match is None:
        return ""
    names = _NAME.findall(match[0])
    letters = {_INDEX.sub("", name) for name in names}
    numbered = len(letters) == 1 and letters.isdisjoint(names) and len(set(names)) == len(names)
    if numbered:
        return match[0].translate(_GREEK)
    one_letter = len(set(names)) == 1 and (abroad or " or " in match[0] or _ASKS_ALL.search(question) is not None)
    several = len(set(names)) == len(names) and _asks_several(question)
    return match[0] if one_letter or several else ""


_LEAST = 2  # letters that have values
_NAMED_PART = re.compile(
    r"(?:the )?(?P<name>[a-z][a-z-]{2,}(?: [a-z]{3,})?)(?: (?:is|are|at|of))?(?: ?[:=])? ?"
    r"(?P<value>\$[^$\n]{1,60}\$|\\\([^\n]{1,60}?\\\)|\([^()\n]{1,60}\)|[-−]?\d*(?:π|\\pi(?![a-z]))(?:/\d+)?|[-−]?\d[\d./]*(?<![.])|\\[a-z]+[{\d][^,;]{0,60})",
    re.IGNORECASE,
)
_HOLDER = re.compile(r"\A(?:the|this|its?)\s[a-z ]{1,30}?\s(?:has|have)\s(?:an?\s)?", re.IGNORECASE)  # The circle has
_STEPS = re.compile(r"\sis\s[-−\d()/*+×·π\s]{1,30}=\s?(?=[-−\dπ])")  # the period is 2π/2 = π
_ONE_JOINT = re.compile(r"[\s,;.]|\band\b")
_JOINT = re.compile(r"(?:[\s,;.]|\band\b)*\Z")
_NO_NAMES = frozenset(
    re.findall(r"\w+", "minus negative plus about approximately either both between from over not only")
)


def named_parts(text: str, names: str) -> str:
    """Return an answer of parts with a name each, as equations: "center (3, -1), radius 4"; "" where it has no such.

    Args:
        text: the answer, or a sentence without what leads it in.
        names: a text that has all names, such as the question.
    """
    found, at = list[re.Match[str]](), 0
    text = _HOLDER.sub("", plain_text(text))
    if "=" in text:
        text = _STEPS.sub(" is ", text)
    while (match := _next_part(text, at)) is not None:
        found.append(match)
        at = match.end()
    if len(found) < _LEAST or not _JOINT.match(text[at:]):
        return ""
    named = {match["name"].lower(): match["value"].strip("$") for match in found}
    known = all(re.search(rf"\b{re.escape(name)}\b", names, re.IGNORECASE) for name in named)
    fit = len(named) == len(found) and known and _NO_NAMES.isdisjoint(" ".join(named).split())
    return ", ".join(f"\\text{{{name}}} = {value}" for name, value in named.items()) if fit else ""


_MEASURED = re.compile(r"(?<=\d)\s?(?P<unit>(?:square\s|cubic\s)?[A-Za-z]{1,12}[²³]?)(?=,?\sand\b|,|\s?\Z)")
_NAME_OF_PART = re.compile(r"\\text\{([^{}]*)\} = ")


def _measured_parts(sentence: str, question: str) -> str:
    """Return the same of parts with units, where the question asks for them side by side: "its area and width"."""
    if " and " not in sentence:
        return ""
    parts = named_parts(_MEASURED.sub(_without_unit, sentence), question)
    return parts if parts and _named_together(_NAME_OF_PART.findall(parts), question) else ""


def _without_unit(match: re.Match[str]) -> str:
    unit = match["unit"].rstrip("²³").split()[-1]
    return match[0] if known_unit(unit) is None else ""


def in_named_order(parts: str, question: str) -> str:
    """Return the values of parts with a name each, in the order in which the question names them; else ""."""
    names = _NAME_OF_PART.findall(parts)
    values = [part.partition(" = ")[2] for part in parts.split(", \\text")]
    places = [question.lower().find(name) for name in names]
    if len(names) < _LEAST or len(values) != len(names) or min(places) < 0:
        return ""
    return ", ".join(value for _, value in sorted(zip(places, values, strict=True)))


def _next_part(text: str, at: int) -> re.Match[str] | None:
    """Return the part at an offset, or behind commas and "and" there; None where another word comes first."""
    while at < len(text):
        if match := _NAMED_PART.match(text, at):
            return match
        if not (joint := _ONE_JOINT.match(text, at)):
            return None
        at = joint.end()
    return None


_LISTED = re.compile(
    r"\s{0,6}(?:\d{1,2}[.)]|[-*•])\s{1,3}(?P<said>[*_]{0,2}[A-Za-z][a-z ]{2,30}?[*_]{0,2}:"
    r"[*_]{0,2}\s.{1,80}?)[.;,]?\s*\Z"
)

_LOCAL = re.compile(r"\A(?:local|relative)\s", re.IGNORECASE)  # where all that is asked for is local
_EXTREMA = " local maximum, local minimum, absolute maximum, absolute minimum, global maximum, global minimum"


def _named_together(names: list[str], question: str) -> bool:
    """Return whether a question names all things side by side: "the length, width and height"."""
    places = [question.lower().find(name.strip().lower()) for name in names]
    between = question[min(places, default=-1) : max(places, default=-1)] if min(places, default=-1) >= 0 else ""
    return bool(between) and re.search(r"[.?!]|\b(?:after|if|with|from|for|is|was)\b", between) is None


def named_lines(body: str, question: str) -> tuple[str, int] | None:
    """Return an answer of parts with a name each, in a list that ends the text, and where the list begins."""
    found: list[str] = []
    start = len(body)
    for line in reversed(body[-400:].split("\n")[-4:]):
        item = _LISTED.match(line)
        if item is None:
            break
        said = item["said"].replace("*", "")
        found.append(_LOCAL.sub("", said) if "local" in question else said)
        start -= len(line) + 1
    names = question + _EXTREMA if "extrem" in question else question
    parts = named_parts(", ".join(reversed(found)), names) if len(found) > 1 else ""
    if "extrem" not in question and not _named_together([said.partition(":")[0] for said in found], question):
        return None  # the steps to one answer
    return (parts, max(0, start + 1)) if parts else None


_PART = re.compile(
    r"(?:^|(?<=\s))[*_]{0,2}(?:\(([a-h])\)|([a-h])[).])[*_:]{0,3}\s{0,3}(?P<said>\S.*?)(?=\n|\s[*_]{0,2}\([a-h]\)|\Z)",
    re.MULTILINE,
)
_ASKS_PARTS = re.compile(r"(?:^|\s)(?:\(a\)|a[).])\s.*\s(?:\(b\)|b[).])\s", re.DOTALL)


def labelled_parts(text: str, question: str) -> list[str]:
    """Return what the end of a text says under (a), (b), …, in order; nothing where a question has no such parts."""
    if _ASKS_PARTS.search(question) is None:
        return []
    said = {match[1] or match[2]: match["said"] for match in _PART.finditer(text[-1_500:])}
    return [said[letter] for letter in sorted(said)] if "".join(sorted(said)) == "abcdefgh"[: len(said)] else []


_BULLET = re.compile(r"[ \t]{0,8}(?:[-*•–]|\d{1,2}[.)])[ \t]{1,3}(?P<said>\S.{0,80}?)[.;,]?[ \t]*\Z")
_ASKS_LIST = re.compile(
    r"\b(?:list|find|give|name|state|determine|write(?:\sdown)?)\s(?:all|every|each|the\s(?:\w+\s){0,3}\w+s\b)|\bwhat\sare\b|\ball\b"
    r"|\bwhich\s(?:\w+\s){0,2}(?:numbers|integers|primes|values|are)\b|\bsolve\b|\b(?:solutions|roots|zeros)\b",
    re.IGNORECASE,
)
_INTRODUCES = re.compile(
    r"\b(?:are|is|satisf(?:y|ies)|include|work|answers?|solutions?|roots?|results?|values?|final|follows?|obtain|get|have)\b",
    re.IGNORECASE,
)
_NO_ANSWERS = re.compile(
    r"\b(?:not|n't|no|never|candidates?|steps?|given|divisors|check\w*|possible|possibilit\w+|consider\w*|try|trying|wrong"
    r"|excluded?|rejected|factors)\b|n't\b",
    re.IGNORECASE,
)


def bulleted(body: str) -> tuple[list[str], str, int]:
    """Return the items of the list that ends a text, the line before it, and where the list begins."""
    items: list[str] = []
    tail = body[-1_500:]
    lines = tail.split("\n")
    end = len(lines)
    while end and (match := _BULLET.match(lines[end - 1])) is not None:
        items.append(match["said"].replace("**", "").strip())
        end -= 1
    start = len(body) - len(tail) + sum(len(line) + 1 for line in lines[:end])
    intro = next((line for line in reversed(lines[:end]) if line.strip()), "")
    return items[::-1], intro, start


@lru_cache(maxsize=4096)
def asks_list(question: str) -> bool:
    """Return whether a question asks for all values of a kind."""
    return (
        _ASKS_LIST.search(question) is not None and re.search(r"\bhow (?:many|much)\b", question, re.IGNORECASE) is None
    )


def introduces_answers(intro: str, question: str) -> bool:
    """Return whether a line says that the list behind it is the answer; nothing before it says so too."""
    denied = _NO_ANSWERS.search(intro) is not None and _NO_ANSWERS.search(question) is None
    return not intro.strip() or (_INTRODUCES.search(intro) is not None and not denied)


_COUNT = r"\d[\d,]*\s(?:[A-Za-z][\w-]*\s?){1,3}?"
_COUNTS = re.compile(
    rf"(?:\A|\s(?:has|have|had|are|were|is|sold|bought|needs?|uses?|used|gets?|got|owns?)\s)(?P<counts>{_COUNT}(?:,\s{_COUNT}){{0,4}},?\sand\s{_COUNT})"
    r"(?:\s?(?:altogether|in\stotal|respectively))?\Z"
)
_ASKS_EACH = re.compile(
    r"\bhow\smany\b[^.?]*\b(?:each|every\skind|both)\b|\bhow\smany\b[^.?]*\band\s(?:how\smany\b|[a-z]+s\b)",
    re.IGNORECASE,
)


def counted_together(sentence: str, question: str) -> str:
    """Return the counts that a sentence ends with, each of its own kind, where a question asks for each of several."""
    found = _COUNTS.search(sentence) if " and " in sentence and _ASKS_EACH.search(question) else None
    return "" if found is None or re.search(r"\b(?:not|or|n't)\b|n't", sentence) else found["counts"].strip()


_FAMILY = re.compile(  # $x = 7k + 4$ with $k \in \mathbb{Z}$
    r"(?P<values>\$[a-zA-Z]\s?(?:=|\\equiv)[^$]{1,60})\$,?\s(?:(?:with|where|for)\s)?(?:(?:any|all|every|some|an?)\s)?(?:integers?\s)?"
    r"\$?(?P<letter>[a-zA-Z])\$?\s?(?:\\in\s?\\mathbb\s?\{?Z\}?|∈\s?ℤ|\s?(?:is|being)\s(?:an?|any)\sinteger)\$?(?=[\s.]*\Z)"
    r"|(?P<family>\$[a-zA-Z]\s?=[^$]{1,60})\$,?\s(?:with|where|for)\s(?:any|all|every|some|an)\sintegers?\s\$?(?P<of>[a-zA-Z])\$?(?=[\s.]*\Z)"
)


def _joined_family(match: re.Match[str]) -> str:
    r"""Return a family of values and the integers that it is over as one formula."""
    values, letter = match["values"] or match["family"], match["letter"] or match["of"]
    return rf"{values}, {letter} \in \mathbb{{Z}}$" if letter in values[2:] else match[0]


def over_integers(sentence: str) -> str:
    r"""Return a sentence with a family of values, and the integers that it is over, as one formula."""
    return _FAMILY.sub(_joined_family, sentence)
