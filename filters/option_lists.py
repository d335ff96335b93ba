"""The option that a list of options marks with a sign or a verdict: "❌ A … ✅ B …", "C: false"."""

from __future__ import annotations

import re
from collections.abc import Iterator

from proofmill.filters.answers.endings import TAIL
from proofmill.filters.answers.hedging import asks_faulty
from proofmill.filters.answers.marks import Mark
from proofmill.filters.multiple_choice import Choices

CONCLUDES_ON = re.compile(
    r"\b(?:so|thus|therefore|hence|however|actually|instead|wait|answer|correct|conclu\w+|sorry|mistake)\b",
    re.IGNORECASE,
)
"""Words behind a marked option that may conclude another one."""


_OPTION_LINE = re.compile(
    r"[\s|>*•-]{0,8}(?:[Oo]ption\s)?[*(\[]{0,3}(?P<label>[A-Z])"
    r"(?:[)\].:*|]{1,4}|\s(?=is\b|[–—:|-]|[✓✔✅☑✗✘❌✕])){1,2}(?P<said>.{1,300})$"
)
_VERDICT = (
    r"(?:(?P<bad>not\s(?:right|correct|true|valid|a\sfit)|wrong|incorrect|false|invalid|no|doesn['’]t\sfit|[✗✘❌✕×])"
    r"|(?P<good>right|correct|true|valid|yes|fits|[✓✔✅☑])\ufe0f?)"
)
_VERDICT_FIRST = re.compile(rf"[\s|*_–—:(-]{{0,8}}(?:is\s)?{_VERDICT}(?![\w-])", re.IGNORECASE)
_VERDICT_LAST = re.compile(rf"(?:[–—→:|(✓-]|->|\sis)\s{{0,3}}[*_]{{0,2}}{_VERDICT}[*_.|)\s]{{0,8}}\Z", re.IGNORECASE)
_SIGN_LAST = re.compile(r"(?:(?P<bad>[✗✘❌✕])|(?P<good>[✓✔✅☑]))\ufe0f?[*_.|)\s]{0,8}\Z")


def signed(choices: Choices, text: str, question: str) -> Iterator[Mark]:
    """Yield the one option that a list of all of them marks otherwise than the rest, or the only one that is ticked."""
    marks = list(_marked_one(choices, text, question))
    yield from marks or _ticked(choices, text, question)


def _marked_one(choices: Choices, text: str, question: str) -> Iterator[Mark]:
    """Yield the one option that a list or table of all of them, at the end of a text, marks otherwise than the rest."""
    marked: dict[str, bool] = {}
    body = text.rstrip()
    at = len(body)
    truths = True
    for line in reversed(body[-TAIL:].split("\n")):
        if not line.strip():
            continue
        option = _OPTION_LINE.match(line)
        if option is None or option["label"] not in choices.labels or option["label"] in marked:
            break
        said = option["said"]
        found = _VERDICT_FIRST.match(said) or _VERDICT_LAST.search(said) or _SIGN_LAST.search(said)
        if found is None:
            return
        marked[option["label"]] = found["good"] is not None
        truths = truths and re.search(r"\b(?:true|false)\b", found[0], re.IGNORECASE) is not None
        at = body.rfind(line, 0, at)
    wanted = not (truths and asks_faulty(question))
    if set(marked) != set(choices.labels) or (asks_faulty(question) and not truths):
        return
    chosen = [label for label, good in marked.items() if good == wanted]
    if len(chosen) == 1:
        yield Mark("named", chosen[0], at, len(body))


def _ticked(choices: Choices, text: str, question: str) -> Iterator[Mark]:
    """Yield the only option of a text whose line ends in a tick: "Option (C): 13 ✅"."""
    ticked = [
        Mark("named", f"{option['label']}. {option['said'][: sign.start()].strip()}", at, at + len(line))
        for at, line in _signed_lines(text)
        if (option := _OPTION_LINE.match(line))
        and option["label"] in choices.labels
        and (sign := _SIGN_LAST.search(option["said"]))
        and sign["good"]
    ]
    if len(ticked) == 1 and not asks_faulty(question) and not CONCLUDES_ON.search(text, ticked[0].end):
        yield from ticked


_SIGN_FIRST = re.compile(r"[ \t]{0,8}[-*]?\s?(?P<sign>[✓✔✅☑✗✘❌✕])\ufe0f?")


def _signed_lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield the same, each with the sign behind it that stands before the option, or begins the next line."""
    lines = list(_lines(text))
    for (at, line), (_, behind) in zip(lines, [*lines[1:], (0, "")], strict=True):
        own, sign = _SIGN_FIRST.match(line), _SIGN_FIRST.match(behind)
        if own and _OPTION_LINE.match(line, own.end()):
            yield at, f"{line[own.end() :]} {own['sign']}"
        elif sign and _SIGN_LAST.search(line) is None and not _OPTION_LINE.match(behind, sign.end()):
            yield at, f"{line} {sign['sign']}"
        else:
            yield at, line


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield the lines of the end of a text, each with where it begins."""
    at = max(0, len(text) - TAIL)
    for line in text[at:].split("\n"):
        yield at, line
        at += len(line) + 1
