"""STEM multiple choice: the option that a trace settles on, by letter, by text, or by both.

`Problem.info["options"]` is a list of texts or a mapping of label to text; the gold is a label, an option's
text, or a 0-based index, tried in this order. Without options the gold must be a letter. Policy:

- The answer is looked for between `<answer>` tags, in `\\boxed{}`, in a statement ("the answer is …",
  "option B is correct"), in a final line that is nothing but an answer, in this order.
- Letter and text that disagree are `wrong`, detail `contradiction`.
- One statement that names several options is `wrong`, detail `several_options`.
- Statements that differ are `unparsed`, detail `several_answers`, unless the text between the last two takes
  the earlier one back ("wait", "actually", …): then the last counts. Different boxes never do.
- A box or tag that names no option is `wrong`, detail `no_option`.
- A statement that is taken back right behind it ("no, wait") is `unparsed`, detail `taken_back`.
- A value written in another way than the option's text is compared as mathematics: `0.5` names `\\frac12`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

from proofmill.filters.answers.hedging import denied, denied_mark, retracted
from proofmill.filters.options import Options, Reading, parse_options
from proofmill.filters.verdicts import (
    CORRECT,
    ERROR,
    NO_GOLD,
    UNPARSED,
    WRONG,
    Canary,
    Domain,
    Problem,
    Verdict,
    Voting,
)

_TAGGED = re.compile(r"<answer>([^<]{1,500})</answer>", re.IGNORECASE)
_BOXED = re.compile(r"\\boxed\s{0,3}\{((?:[^{}]|\{(?:[^{}]|\{[^{}]{0,100}\}){0,200}\}){1,300})\}")
_STATED = re.compile(
    r"(?:\b(?:answer|option|choice|solution|(?:correct|right|best)\sletter)\b"
    r"(?:\s(?:choice|option|letter|here|to\s(?:the|this)\s\w{1,20}))?[*\s]{0,3}"
    r"(?:(?:is|would\sbe|must\sbe|should\sbe)(?:\s(?:therefore|clearly|indeed|then|thus|simply|just|definitely|hence)\b)?"
    r"|:|=|[-–—](?=\s))|\bans\s?[.:]|\bI(?:['’]ll|\swill)?\s(?:choose|pick|select|go\swith)\b"
    r"|\b(?:so|thus|therefore|hence),?\sit(?:['’]s|\sis|\smust\sbe)"
    r"(?=\s[*(]{0,3}[A-Z][*)]{0,3}(?:[.,;]?\s{0,3}$|[.,;]\s|\s(?:because|since|as)\b))"
    r"|(?:答案|正确的?选项)\s?(?:应该?)?(?:是|为|选|[:：])"
    r"|(?:^|(?<=[\s,，.。;；:：*（(])|(?<![不非别勿没])(?:故|所以|因此|应该?|本题|此题|我))选择?(?![项择]))"
    r"[*:：\s]{0,6}(?=([^\n]{1,300}))",
    re.IGNORECASE | re.MULTILINE,
)
_CALLED = re.compile(
    r"\b([A-Z])[)*\]]{0,3}\s(?:is|as)\s(?:the\s)?(?:only\s)?(?:correct|right|best|answer)\b"
    r"(?:\s(?:answer|option|choice|one|letter)\b)?(?!\s(?:only|if|when|unless|except|but|side|hand|angle)\b|,?\sor\s)"
)
_JOINED = re.compile(r"\b(?:and|or|nor|neither|not|than)\s(?:option\s)?[(\[*]{0,3}\Z", re.IGNORECASE)
_REPLACES = re.compile(
    r"\b(?:wait|no|not|actually|but|however|instead|rather|mistake|correction|sorry)\b", re.IGNORECASE
)
_SENTENCE_END = re.compile(r"[.!?](?=\s[A-Z]|\s?$)|$")
_LETTERS = parse_options([""] * 10)  # A to J, for questions whose options stand in the prompt only
_TAIL = 4000  # characters: a statement further from the end than this is not the conclusion


class _Statement(NamedTuple):
    content: str
    start: int
    end: int
    reading: Reading


class Choice:
    """The judge of multiple-choice answers. All of it is cheap but comparing mathematics that is no rational number."""

    def quick(self, problem: Problem, text: str) -> Verdict | None:
        """The verdict, or None where mathematics has to be compared that may be costly; see the module's policy."""
        found = _judge(problem, text, slow=False)
        options = None if found.verdict == ERROR and found.detail != NO_GOLD else _options(problem)
        costly = options is not None and options.symbolic and not options.is_label(found.extracted or "")
        return None if costly else found

    def verify(self, problem: Problem, text: str) -> Verdict:
        """The verdict; its cost is for the caller's worker pool to bound."""
        return _judge(problem, text, slow=True)


def _options(problem: Problem, *, slow: bool = False) -> Options:
    return parse_options(problem.info["options"], slow=slow) if "options" in problem.info else _LETTERS


def _judge(problem: Problem, text: str, *, slow: bool) -> Verdict:
    try:
        options = _options(problem, slow=slow)
    except ValueError as error:
        return Verdict(ERROR, detail=f"bad_gold: {error}")
    if problem.answer is None:
        return _without_gold(_decide(options, "", text))
    gold = options.gold(problem.answer)
    if gold is None:
        return Verdict(ERROR, detail="bad_gold: neither a label, nor one option's text, nor an index")
    return _decide(options, gold, text)


def _without_gold(found: Verdict) -> Verdict:
    """An answer that is one, and that nothing can be compared with."""
    faulty = found.detail in ("contradiction", "several_options", "no_option")
    return found if found.verdict != WRONG or faulty else replace(found, verdict=ERROR, detail=NO_GOLD)


def _decide(options: Options, gold: str, text: str) -> Verdict:
    for rule in (_tagged, _boxed, _stated, _called, _final_line):
        statements = list(rule(options, text))
        if not statements:
            continue
        if _taken_back(options, statements[-1], text):
            return Verdict(UNPARSED, detail="taken_back")
        return _verdict(statements, gold, text, rule.__name__[1:])
    return Verdict(UNPARSED, detail="no_answer")


def _verdict(statements: list[_Statement], gold: str, text: str, rule: str) -> Verdict:
    last = statements[-1]
    said = last.content.strip()[:200]
    if _undecided(statements, text, rule):
        return Verdict(UNPARSED, said, "several_answers", final_start=last.start)
    labels, contradiction = last.reading.labels, last.reading.contradiction
    if contradiction or len(labels) > 1:
        cause = "contradiction" if contradiction else "several_options"
        return Verdict(WRONG, said, cause, final_start=last.start)
    if not labels:
        return Verdict(WRONG, said, "no_option", final_start=last.start)
    return Verdict(CORRECT if labels[0] == gold else WRONG, said, rule, final_start=last.start)


def _taken_back(options: Options, last: _Statement, text: str) -> bool:
    """Whether the text takes back its last statement, and does not go on with the option's own text ("No, …")."""
    own = any(options.owns(label, text[last.end : last.end + 500]) for label in last.reading.labels)
    return retracted(text, last.end) and not own


def _undecided(statements: list[_Statement], text: str, rule: str) -> bool:
    """Whether the statements differ and the last one does not replace the others."""
    differing = [other for other in statements if other.reading.labels != statements[-1].reading.labels]
    if not differing:
        return False
    between = text[differing[-1].end : statements[-1].start]
    return rule in {"tagged", "boxed"} or not _REPLACES.search(between)


def _tagged(options: Options, text: str) -> Iterator[_Statement]:
    return _enclosed(_TAGGED, options, text)


def _boxed(options: Options, text: str) -> Iterator[_Statement]:
    return _enclosed(_BOXED, options, text)


def _enclosed(pattern: re.Pattern[str], options: Options, text: str) -> Iterator[_Statement]:
    for match in pattern.finditer(text):
        if denied_mark(text, match.start()):
            continue
        yield _Statement(match[1], match.start(), match.end(), options.read(match[1], whole=False))


def _stated(options: Options, text: str) -> Iterator[_Statement]:
    for match in _STATED.finditer(text, max(0, len(text) - _TAIL)):
        reading = options.read(match[1], whole=False)
        if reading.labels and not denied(text, match.start()):
            end = _SENTENCE_END.search(match[1])
            content = match[1][: end.start()] if end else match[1]
            if match[1][len(content) :].startswith("?"):
                continue
            yield _Statement(content, match.start(), match.start(1) + len(content), reading)


def _called(options: Options, text: str) -> Iterator[_Statement]:
    for match in _CALLED.finditer(text, max(0, len(text) - _TAIL)):
        joined = _JOINED.search(text[max(0, match.start() - 30) : match.start()])  # "A and C is", "neither C is"
        if match[1] in options.labels and not joined and not denied(text, match.start()):
            yield _Statement(match[1], match.start(), match.end(), Reading((match[1],)))


def _final_line(options: Options, text: str) -> Iterator[_Statement]:
    stripped = text.rstrip()
    start = stripped.rfind("\n") + 1
    line = stripped[start:]
    reading = options.read(line, whole=True) if len(line) <= 300 else Reading(())
    if reading.labels:
        yield _Statement(line, start, len(stripped), reading)


def _vote_key(problem: Problem, answer: str) -> str | None:
    try:
        labels = _options(problem).read(answer, whole=False).labels
    except ValueError:
        return None
    return labels[0] if len(labels) == 1 else None


_METAL = Problem("choice", "Which one is a metal?", "B", {"options": ["oxygen", "iron", "helium", "neon"]})

VERIFIER = Choice()
DOMAIN = Domain(
    name="choice",
    version=1,
    quick=VERIFIER.quick,
    verify=VERIFIER.verify,
    ask="Think step by step, then end with: The answer is (X), where X is the letter of the correct option.",
    needs=("answer", "options"),
    fields=("options",),
    voting=Voting(key=_vote_key),
    canaries=(
        Canary(_METAL, "The answer is B.", CORRECT),
        Canary(_METAL, "The answer is C.", WRONG),
        Canary(_METAL, "I would rather not say.", UNPARSED),
        Canary(
            Problem("choice", "Which one is a metal?", "Z", {"options": ["iron", "neon"]}), "The answer is A.", ERROR
        ),
    ),
)
