"""Candidates that a closing sentence rules out: "-4 is rejected and n = 5 remains", "we discard x = -3"."""

from __future__ import annotations

import re

_NUMBER = r"[-−]?(?:\d[\d,]*(?:\.\d+)?(?:/\d+)?|\\[dt]?frac\{-?\d+\}\{\d+\})"
_VALUE = rf"\$?(?:[a-zA-Z](?:_\d)?\s?=\s?)?(?P<NAME>{_NUMBER})\$?"
_REJECTED = re.compile(
    r"(?:\b(?:(?:reject|discard|dismiss)(?:ing|ed)?|exclud(?:e|ing|ed)|rul(?:e|ing|ed)\sout|throw\s(?:out|away)"
    r"|eliminat(?:e|ing|ed)|ignor(?:e|ing))\s(?:the\s(?:negative\s)?(?:root|solution|value|case|candidate)\s)?"
    rf"{_VALUE.replace('NAME', 'after')}"
    rf"|(?<![\w.,=$])(?<!=\s)(?<!-){_VALUE.replace('NAME', 'before')}"
    r"\s(?:(?:is|was|must\sbe|can\sbe|gets)\s(?:therefore\s|clearly\s|thus\s)?"
    r"(?:rejected|discarded|dismissed|excluded|eliminated|ruled\sout|extraneous|spurious|invalid|impossible|inadmissible"
    r"|not\s(?:valid|allowed|possible|admissible|a\ssolution))|cannot\s(?:be|work)\b|does\snot\swork|doesn['’]t\swork))"
    r"(?![\d/])[^,;]*?(?=,|;|\sand\s|\sso\s|\Z)"
)
_NOT_BUT = re.compile(
    rf"\b(?P<verb>is|was|are|were)(?:n['’]t|\snot)\s(?:equal\sto\s)?\$?{_NUMBER}\$?(?:\s[A-Za-z]{{1,12}})?,?\sbut\s(?:rather\s|actually\s)?"
    rf"(?=\$?{_NUMBER})"
)
_REASON = re.compile(r",\s(?:because|since|as)\s[^;]*\Z")
_ANY = re.compile(rf"(?<![\w.,/^\\{{}}])(?:\$?[a-zA-Z](?:_\d)?\s?=\s?)?\$?(?P<value>{_NUMBER})(?![\w^/]|[.,]\d)")
_MAY_REJECT = re.compile(
    r"reject|discard|dismiss|exclud|rul(?:e|ing|ed)\sout|throw\s|eliminat|ignor|extraneous|spurious|invalid|impossible"
    r"|inadmissible|not\s(?:valid|allowed|possible|admissible|a\ssol)|cannot|not\swork"
)


def without_rejected(sentence: str) -> str:
    """Return the one candidate that a sentence leaves, or the sentence without the clause that rules another one out.

    A sentence that rules nothing out stays as it is; one that leaves nothing is empty. "It isn't 16 but 12" says 12.
    """
    if " but " in sentence and (corrected := _NOT_BUT.sub(r"\g<verb> ", sentence)) != sentence:
        sentence = _REASON.sub("", corrected)
    if _MAY_REJECT.search(sentence) is None or (found := _REJECTED.search(sentence)) is None:
        return sentence
    refused = _plain(found["after"] or found["before"])
    rest = f"{sentence[: found.start()]} {sentence[found.end() :]}".strip(" ,;")
    left = {value for match in _ANY.finditer(rest) if (value := _plain(match["value"])) != refused}
    if not left:
        return ""
    return left.pop() if len(left) == 1 and not re.search(r"[*/+^()×·]", rest) else rest


def _plain(number: str) -> str:
    return number.replace("−", "-").replace(",", "")
