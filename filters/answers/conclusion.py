r"""Finding the answer that a free text states.

The rules, in this order; the first whose mark occurs in the text decides, whatever the later ones would find:

- `boxed`: `\boxed{…}`, braces matched. Boxes joined by "and", "or" or a comma are one list; boxes of the same
  number in different writing are one.
- `hashes`: `#### …` to the end of its line.
- `answer_is`: "the answer is …", "Answer: …", "A: …" (the last two at the beginning of a line).
- `bold`: the last line holds `**…**` and the bold text is nothing but an answer.
- `final_line`: the last line is nothing but an answer; or its last sentence ends in "= …" or "is …" and an
  answer; or that sentence states exactly one number. Questions, negations and headings state none.

A rule that finds statements which differ gives no answer (`several_answers`): choosing one would be luck. Nor does a
statement that is taken back right behind it ("no, wait"; `taken_back`).
A statement that lists candidates ("3 or 5") is returned whole, so it equals no single value.
All patterns are linear in the text; only its last part is read where a rule looks at the end.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from itertools import zip_longest

from proofmill.filters.answers.boxes import boxes_in, inside
from proofmill.filters.answers.hedging import denied, denied_mark, doubtful, retracted
from proofmill.filters.symbolic.notation import NEEDLESS_SPACE as _NEEDLESS_SPACE
from proofmill.filters.symbolic.notation import clean

Sense = Callable[[str], Hashable]
_TAIL = 4_000  # characters from the end within which an unmarked answer may stand
_MAX_STATEMENT = 2_000
_MAX_STATEMENTS = 32


@dataclass(frozen=True, slots=True)
class Found:
    """An answer in a text.

    Attributes:
        text: the answer as it stands there; empty where the rule found none.
        rule: the rule that found it, or why there is none.
        start: offset of the sentence or line that states it; None where there is none.
    """

    text: str
    rule: str
    start: int | None = None


_TAKEN_BACK = Found("", "taken_back")
_SINGLE_BOX = re.compile(r"\\boxed\{\s*([^\s{}][^{}]{0,200})\}")  # the common case, at a third of the cost
_HASHES = re.compile(r"^[ \t>*]{0,8}####([^\n]{1,2000})$", re.MULTILINE)
_ANSWER_IS = re.compile(
    r"(?<!the )\banswer[ \t*]{0,4}[:=][ \t*]{0,4}"  # "convert the answer to weeks: …" states none
    r"|\b(?:final|correct|the|my|our) answers?(?:[ \t]{1,3}(?:to|for|of)\b[^\n.:=]{1,80}?)?[ \t*]{0,4}"
    r"(?:\bis\b|\bare\b|\bmust be\b|\bwould be\b|\bwill be\b|(?<=answer):)[ \t*]{0,4}:?[ \t*]{0,4}",
    re.IGNORECASE,
)
_ANSWER_LINE = re.compile(r"^[ \t*_#>]{0,8}(?:A|Ans|Final result|Result|Solution)[ \t]{0,2}:[ \t*]{0,4}", re.MULTILINE)
_JOINT = re.compile(r"[\s$.,;&]*(?:and|or|\\text\{\s*(?:and|or)\s*\})?[\s$.,;&]*\Z")
_STATEMENT_END = re.compile(
    r"\n|(?<=[\w)}%$*\]])[.!](?=\s|\Z)|[ ,](?:because|since|as there|so that|which|where|when|given that)\b"
)
_LEAD = re.compile(
    r"^(?:[\s:*]|(?:therefore|thus|hence|so|indeed|simply|just|exactly|then|now|approximately|about|given by"
    r"|equal to|found to be|going to be|clearly|actually|obviously)\b[ ,:]*)+",
    re.IGNORECASE,
)
_PROSE = re.compile(r"[A-Za-z]{2}[^\d\n]*\d")
_MATHEMATICAL = re.compile(r"[\d\\$]")
_BOLD = re.compile(r"\*\*([^*\n]{1,200})\*\*|__([^_\n]{1,200})__")
_NUMBER = re.compile(r"[-−]?[$€£]?\d[\d,]*(?:\.\d+)?(?:/\d+)?%?")
_VALUE = r"[-−+]?[$€£]?\\?[$€£]?\d[\d,]*(?:\.\d+)?(?: ?/ ?\d+)?(?:\^\{?-?\d+\}?)?\\?%?"
_ENDING = re.compile(
    r"(?:=|\bis\b|\bare\b|\bequals\b|\bwas\b|\bbe\b|\bgives\b|\bgets\b)[ $*:]{0,4}"
    rf"(?P<value>{_VALUE}|\$[^$\n]{{1,200}}\$)"
    r"(?P<unit>[ $*]{0,3}(?:[A-Za-z²³°/%]{1,15}[ $*]{0,3}){0,3})[.!]?\s*\Z"
)
_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z$\\\d*(])|\n")
_NEGATION = re.compile(
    r"\bnot\b|n't\b|\bcannot\b|\bunknown\b|\bunclear\b|\bor\b|\bmaybe\b|\bperhaps\b|\bbetween\b"
    r"|\b(?:more|less|greater|fewer|larger|smaller|higher|lower) than (?=\W{0,3}\d)"  # "7, less than 9": which?
    r"|\bat (?:least|most)\b|\bup to\b|\bexcept\b|\bother than\b|\bbut (?=\W{0,3}\d)",
    re.IGNORECASE,
)
_HEADING = re.compile(
    r"(?:step|part|problem|question|case|equation|exercise|option|note|figure|page|rule)\s{0,9}#?\s{0,9}\d",
    re.IGNORECASE,
)
_BARE = re.compile(
    rf"(?:[A-Za-z]\s?=\s?)?(?:{_VALUE}(?:\s?[A-Za-z²³°/]{{1,15}}){{0,2}}|\$[^$\n]{{1,300}}\$"
    r"|\\\([^\n]{1,300}\\\)|\\\[[^\n]{1,300}\\\]|[-(\[{\d\\][\d\s.,+\-*/^()\[\]{}\\a-z]{0,100})\Z"
)


def find(text: str, sense: Sense | None = None) -> Found:
    """The answer that `text` states, by the first rule whose mark it has.

    Args:
        text: the text.
        sense: what two statements of one answer share, where it is more than their text.
    """
    for rule in (_boxed, _hashes, _answer_is, _bold):
        found = rule(text, sense or _plain)
        if found is not None:
            return found
    return _final_line(text)


def _boxed(text: str, sense: Sense) -> Found | None:
    if "boxed" not in text and "\\fbox" not in text:
        return None
    if text.count("boxed") == 1 and "\\fbox" not in text and (single := _SINGLE_BOX.search(text)):
        found = Found(single[1].strip(), "boxed", _sentence_start(text, single.start()))
        return _TAKEN_BACK if denied_mark(text, single.start()) else _unless_retracted(found, text, single.end())
    boxes = [box for box in boxes_in(text) if not denied_mark(text, box[0])]
    if not boxes:
        return _TAKEN_BACK if boxes_in(text) else None
    if boxes[-1][1] < 0:
        return Found("", "unclosed_box")
    joined = [boxes[-1]]
    for box in reversed(boxes[:-1]):
        if box[1] < 0 or not _JOINT.match(text[box[1] : joined[0][0]][:40]):
            break
        joined.insert(0, box)
    kept = _distinct([inside(text, box) for box in joined], sense)
    others = _distinct([inside(text, box) for box in boxes[: -len(joined)]], sense)
    meant = {sense(answer) for answer in kept} if others else set()
    if any(sense(other) not in meant and _plain(other) != _plain(", ".join(kept)) for other in others):
        return Found("", "several_boxes")
    if not kept:
        return Found("", "empty_box")
    return _unless_retracted(Found(" , ".join(kept), "boxed", _sentence_start(text, joined[0][0])), text, joined[-1][1])


def _unless_retracted(found: Found, text: str, end: int) -> Found:
    """What was found, unless the text takes it back right behind its end."""
    return _TAKEN_BACK if retracted(text, end) else found


def _distinct(texts: list[str], sense: Sense) -> list[str]:
    """One of the texts for each sense, the first."""
    kept: dict[Hashable, str] = {}
    for text in texts:
        if text:
            kept.setdefault(_plain(text), text)
    meant: dict[Hashable, str] = {}
    for text in kept.values() if len(kept) > 1 and sense is not _plain else ():
        meant.setdefault(sense(text), text)
    return list((meant or kept).values())


def _plain(text: str) -> str:
    """What two statements of the same text share; a long one is itself."""
    return _NEEDLESS_SPACE.sub("", clean(text)) if len(text) <= _MAX_STATEMENT else text


def _hashes(text: str, sense: Sense) -> Found | None:
    if "####" not in text:
        return None
    return _agreed([(match[1], match.start()) for match in _HASHES.finditer(text)], "hashes", sense)


def _answer_is(text: str, sense: Sense) -> Found | None:
    marks = [mark for mark in _ANSWER_IS.finditer(text) if not denied(text, mark.start())]
    marks += _ANSWER_LINE.finditer(text)
    marks = sorted(marks, key=lambda match: match.end())[-_MAX_STATEMENTS:]
    statements: list[tuple[str, int]] = []
    for mark, following in zip_longest(marks, marks[1:]):
        value = _statement(text, mark.end())
        nested = following is not None and following.start() < mark.end() + len(value)
        if value and not nested:  # of "Answer: the answer is 7" the inner one states it
            statements.append((value, mark.start()))
    # Words before the last statement ("the answer is an integer") describe, they do not compete.
    found = _agreed(
        [item for item in statements[:-1] if _MATHEMATICAL.search(item[0])] + statements[-1:], "answer_is", sense
    )
    if found is None or found.start is None:
        return found
    at = text.find(found.text, marks[-1].end())
    return _unless_retracted(found, text, at + len(found.text)) if at >= 0 else found


def _statement(text: str, start: int) -> str:
    """What follows "the answer is": a math span and its unit, or the rest of the sentence."""
    rest = text[start : start + _MAX_STATEMENT]
    lead = _LEAD.match(rest)
    rest = rest[lead.end() :] if lead else rest
    if rest.startswith(("$$", "\\[")):
        closer = "$$" if rest.startswith("$$") else "\\]"
        end = rest.find(closer, 2)
        return rest[: end + 2] if end > 0 else ""
    end_match = _STATEMENT_END.search(rest)
    value = (rest[: end_match.start()] if end_match else rest).strip(" \t*_")
    return "" if value.endswith("?") else _reduced(value)


def _reduced(value: str) -> str:
    """A statement in prose, cut down to the one number that it states; else as it is."""
    if not _PROSE.match(value) or "\\" in value or "$" in value or _is_bare(value):
        return value
    return _stated(value) or value


def _agreed(statements: list[tuple[str, int]], rule: str, sense: Sense) -> Found | None:
    if not statements:
        return None
    if len(_distinct([value for value, _ in statements], sense)) > 1:
        return Found("", "several_answers")
    value, start = statements[-1]
    return Found(value.strip(), rule, start)


def _last_line(text: str) -> tuple[str, int]:
    body = text.rstrip()
    start = body.rfind("\n", max(0, len(body) - _TAIL)) + 1
    return body[max(start, len(body) - _TAIL) :], max(start, len(body) - _TAIL)


def _bold(text: str, sense: Sense) -> Found | None:
    line, start = _last_line(text)
    spans = [match[1] or match[2] for match in _BOLD.finditer(line)]
    answers = _distinct([span for span in spans if _is_bare(span.strip(" .:")) and not _HEADING.match(span)], sense)
    if not answers:
        return None
    return Found(answers[0].strip(" .:"), "bold", start) if len(answers) == 1 else Found("", "several_answers")


def _final_line(text: str) -> Found:
    line, start = _last_line(text)
    if _is_bare(line.strip().rstrip(".")):
        return Found(line.strip(), "final_line", start)
    cuts = [match.end() for match in _SENTENCE.finditer(line)]
    sentence_start = max((cut for cut in cuts if cut < len(line)), default=0)
    sentence = line[sentence_start:]
    value = _stated(sentence)
    return Found(value, "final_line", start + sentence_start) if value else Found("", "no_answer")


def _stated(sentence: str) -> str:
    """The one value that a closing sentence states, or nothing."""
    if sentence.rstrip("* ").endswith("?") or _NEGATION.search(sentence) or doubtful(sentence):
        return ""
    ending = _ENDING.search(sentence)
    if ending:
        value = (ending["value"] + ending["unit"]).strip(" .!*")
        return value if value.count("$") != 1 or value.startswith("$") else value.replace("$", "")  # closes "$n = 42$"
    _, equals, side = sentence.rstrip(" .!*$").rpartition("=")
    if equals and _is_bare(side):
        return side.strip()
    numbers = _NUMBER.findall(_HEADING.sub("", sentence))
    return str(numbers[0]).rstrip(",") if len(numbers) == 1 and not _HEADING.search(sentence) else ""


def _is_bare(text: str) -> bool:
    """Whether a text is nothing but an answer: a number with its unit, or one piece of mathematics."""
    text = text.strip().strip("*").strip()
    return bool(text) and len(text) <= 400 and _BARE.match(text) is not None


def _sentence_start(text: str, position: int) -> int:
    """Where the sentence around `position` begins: many models write reasoning and answer in one paragraph."""
    line = max(text.rfind("\n", 0, position) + 1, position - _TAIL)
    return max((cut.end() for cut in _SENTENCE.finditer(text, line, position + 1)), default=line)
