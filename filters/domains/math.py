r"""Mathematics: the answer a trace states, proven equal to the gold answer.

How the answer is found is written in `answers.conclusion`, what counts as equal in `symbolic.equality`. A trace is
`unparsed` where it states no answer, several different ones, or one that can't be read whole; it is `wrong` where
it lists candidates of which gold is one. `timeout` is an answer that would cost more to judge than an answer may: a
power tower, a derivation in a box. `error` with detail `bad_gold` is a gold answer that can't be read.
"""

from __future__ import annotations

import re
from collections.abc import Hashable
from dataclasses import dataclass
from functools import lru_cache

from proofmill.filters.answers.assignments import in_named_order, labelled_parts, named_parts
from proofmill.filters.answers.conclusion import answering, closing_box, conclude
from proofmill.filters.answers.endings import sentence_start
from proofmill.filters.answers.marks import asked_form, asked_tag, boxes_in, inside
from proofmill.filters.answers.prose_values import in_whole_thousands
from proofmill.filters.answers.questions import (
    context,
    exclaims,
    in_its_constants,
    in_its_writing,
    not_carried_out,
    repeats_question,
)
from proofmill.filters.answers.reader import Conclusion, Reader
from proofmill.filters.answers.statements import stated_value
from proofmill.filters.answers.subjects import of_another
from proofmill.filters.answers.worded import boxed_statement, in_words_of
from proofmill.filters.symbolic.answer_forms import AnswerKey, UnreadableError
from proofmill.filters.symbolic.answer_parser import parse_answer
from proofmill.filters.symbolic.dates import is_date, may_be_date, same_date, same_time
from proofmill.filters.symbolic.equality import (
    QUICK_BITS,
    canonical,
    equivalent,
    is_answer,
    is_rational,
    named_number,
    readable,
)
from proofmill.filters.symbolic.expressions import TooCostlyError
from proofmill.filters.symbolic.gold_forms import answers_gold
from proofmill.filters.symbolic.grammar import MAX_LENGTH
from proofmill.filters.verdicts import (
    CORRECT,
    ERROR,
    NO_GOLD,
    TIMEOUT,
    UNPARSED,
    WRONG,
    Canary,
    Domain,
    Problem,
    Verdict,
    Voting,
)

_INTEGER = re.compile(r"[+-]?\d{1,400}\Z", re.ASCII)
_MAX_QUICK = 200  # characters of an answer that is judged in the caller's process
_PROSE = re.compile(r"(?<![\\a-zA-Z])[a-zA-Z]{2,}\s+[a-zA-Z]{2,}|^[a-zA-Z]{4,}$")


@dataclass(frozen=True, slots=True)
class _Gold:
    """A gold answer, read once a problem.

    Attributes:
        text: the answer without what surrounds it in the data set.
        form: the answer taken apart; None where it can't be read.
        rational: whether it is one rational number, so that most answers are judged at once.
    """

    text: str
    form: AnswerKey | None
    rational: bool


class MathVerifier:
    """The judge of mathematics."""

    def quick(self, problem: Problem, text: str) -> Verdict | None:
        """Return the verdict where no answer is stated or gold and answer are rational numbers, else None."""
        prompt = problem.prompt
        reader = _reader(prompt)
        text = answering(text, reader)
        if "!" in text:
            text = exclaims(text, problem.answer or "", prompt)
        found = (None if reader.form else closing_box(text)) or conclude(text, reader, own=True)
        if not found.text and not _in_parts(problem, text):
            return Verdict(UNPARSED, None, found.rule)
        answer = problem.answer
        if answer is None:
            return Verdict(ERROR, found.text, NO_GOLD, final_start=found.start)
        if _is_digits(found.text) and _is_digits(answer):
            return _verdict(int(found.text) == int(answer) and not _of_another(found, text, problem), found)
        if is_date(found.text) or is_date(answer):
            return _verdict(same_date(found.text, answer, prompt), found)
        if _INTEGER.match(found.text) and (integer := _integer(answer)) is not None:
            return _verdict(int(found.text) == integer and not _of_another(found, text, problem), found)
        gold = _gold(answer)
        if gold.form is None or not gold.rational or len(found.text) > _MAX_QUICK:
            return None
        try:
            stated = parse_answer(_as_gold(found.text, gold, prompt))
            decided = stated.kind not in ("value", "relation") or is_rational(stated, QUICK_BITS)
            if not decided or repeats_question(found.text, gold.text, prompt):
                return None
        except (UnreadableError, TooCostlyError):
            return None
        equal = answers_gold(gold.form, stated, context(prompt))
        return _of_equal(found, gold, text, problem) if equal else _verdict(False, found)

    def verify(self, problem: Problem, text: str) -> Verdict:
        """Return the verdict on a trace; its cost is for the caller's worker pool to bound."""
        if (verdict := self.quick(problem, text)) is not None:
            return verdict
        text = exclaims(answering(text, _reader(problem.prompt)), problem.answer or "", problem.prompt)
        return self._full(problem, text, _in_parts(problem, text) or conclude(text, _reader(problem.prompt), own=True))

    def _full(self, problem: Problem, text: str, found: Conclusion) -> Verdict:
        gold = _gold(problem.answer or "")
        try:
            if gold.form is None or not _readable(gold.text):
                return Verdict(ERROR, found.text, "bad_gold", final_start=found.start, undecided=True)
            stated = parse_answer(_as_gold(found.text, gold, problem.prompt))
            if _over_naturals(found.text, gold.text):
                return _verdict(False, found)
            prompt = problem.prompt
            if repeats_question(found.text, gold.text, prompt):
                return Verdict(UNPARSED, found.text, "repeats_question", final_start=found.start)
            if answers_gold(gold.form, stated, context(prompt)) or same_time(found.text, gold.text, prompt):
                return _of_equal(found, gold, text, problem)
            if not readable(stated):
                return _unreadable(found)
            if (unit := _unit_behind(text, found)) and gold.form.kind == "collection":
                measured = parse_answer(f"{found.text} {unit}")
                if answers_gold(gold.form, measured, context(prompt)):
                    return _verdict(True, found)
            return _verdict(False, found)._replace(undecided=_in_words(gold, found.text))
        except UnreadableError:  # a form that the grammar doesn't know
            return _unreadable(found)
        except (TooCostlyError, RecursionError) as error:
            return Verdict(TIMEOUT, found.text[:200], f"too_costly: {error}", final_start=found.start)


def _in_parts(problem: Problem, text: str) -> Conclusion | None:
    """Return what a text says under (a), (b), … as one list, where gold is as long and the question has parts."""
    if "b)" not in problem.prompt or "b)" not in text or problem.answer is None:
        return None
    form = _gold(problem.answer).form
    if form is None or form.kind not in ("collection", "group"):
        return None
    parts = [_part(said, problem.prompt) for said in labelled_parts(text, problem.prompt)]
    if len(parts) != len(form.items) or not all(parts):
        return None
    listed = ", ".join(parts)
    return Conclusion(f"({listed})" if form.kind == "group" else listed, "parts", sentence_start(text, len(text)))


def _part(said: str, prompt: str) -> str:
    boxes = boxes_in(said)
    said = re.sub(r"[,;]?\s(?:and|,)?\s*\Z", "", said)
    said = said.rstrip(" .").removesuffix("**")
    return inside(said, boxes[-1]) if boxes and boxes[-1][1] > 0 else stated_value(said, _is_answer, prompt).strip("$")


def _may_ask(prompt: str) -> bool:
    """Return whether a prompt may ask for tags or JSON, which few do."""
    lower = prompt.lower()
    return "</" in prompt or "answer>" in lower or "json" in lower


def _over_naturals(answer: str, gold: str) -> bool:
    """Return whether an answer gives for natural numbers what gold gives for all integers."""
    return "mathbb{N}" in answer and "mathbb{Z}" in gold and "mathbb{N}" not in gold


_IN_WORDS = frozenset({"answer_is", "final_line", "bold", "corrected"})
_SENTENCE_END = re.compile(r"\n|[.!?]\s+(?=[A-Z])")
_NAMES_SOMETHING = re.compile(r"(?<![A-Za-z\\])[A-Za-z]|[=<>]|\\(?:text|angle)|[^\x00-\x7f]")
_MAX_STATEMENT = 600  # characters


def _of_another(found: Conclusion, text: str, problem: Problem) -> bool:
    """Return whether what a text concludes is of something else than what is asked for."""
    statement = found.text
    if found.rule in _IN_WORDS and found.start is not None:
        statement = _SENTENCE_END.split(text[found.start : found.start + _MAX_STATEMENT], maxsplit=1)[0]
    elif _NAMES_SOMETHING.search(statement) is None:
        return False  # a number in a box or a tag, which say nothing of it
    return of_another(found.text, _gold(problem.answer or "").text, statement, problem.prompt, text)


_UNIT_BEHIND = re.compile(
    r"\}\s?\$?\s?(?:\\text\{\s?)?(hours?|minutes?|days?|weeks?|years?|months?|metres?|meters?|feet|inches)\b"
)


def _unit_behind(text: str, found: Conclusion) -> str:
    """Return the unit that stands behind a box: 2 1/4, then "hours"."""
    at = text.rfind(found.text) if found.rule == "boxed" and found.text else -1
    unit = _UNIT_BEHIND.match(text, at + len(found.text)) if at >= 0 else None
    return "" if unit is None else unit[1]


def _in_words(gold: _Gold, answer: str) -> bool:
    """Return whether an answer that is not gold may be its paraphrase: one of the two is prose, gold is no number."""
    return not gold.rational and any(_PROSE.search(text) for text in (gold.text, answer))


def _is_digits(text: str) -> bool:
    return text.isdecimal() and text.isascii() and len(text) <= _MAX_QUICK


@lru_cache(maxsize=4096)
def _reader(prompt: str) -> Reader:
    form, tag = (asked_form(prompt), asked_tag(prompt)) if _may_ask(prompt) else ("", "")
    return Reader(_is_answer, _key, prompt[-1000:], form, tag, prompt=prompt)


def _is_answer(text: str) -> bool:
    try:
        return len(text) <= MAX_LENGTH and (is_answer(text) or may_be_date(text))
    except (UnreadableError, TooCostlyError):
        return False


def _key(text: str) -> Hashable:
    """Return what two statements of one answer share: the number, or the form."""
    if len(text) > MAX_LENGTH:
        return text
    try:
        return named_number(text) or parse_answer(text)
    except (UnreadableError, TooCostlyError):
        return text


def _verdict(equal: bool, found: Conclusion) -> Verdict:
    return Verdict(CORRECT if equal else WRONG, found.text, found.rule, final_start=found.start)


def _of_equal(found: Conclusion, gold: _Gold, text: str, problem: Problem) -> Verdict:
    """Return the verdict on an answer whose value is gold's: it may be of something else, or only a calculation of it.

    "42, which is 7 × 6" is none: its sentence states the value too.
    """
    if _of_another(found, text, problem):
        return _verdict(False, found)
    if not not_carried_out(_as_gold(found.text, gold, problem.prompt), gold.text):
        return _verdict(True, found)
    start = found.start or 0
    sentence = _SENTENCE_END.split(text[start : start + _MAX_STATEMENT], maxsplit=1)[0].replace(found.text, " ", 1)
    stated = rf"(?<![\d.,]){re.escape(gold.text.strip(' $'))}(?![\d/]|[.,]\d)"
    if re.search(stated, sentence.replace(",", "") if "," not in gold.text else sentence):
        return _verdict(True, found)
    return Verdict(UNPARSED, found.text, "not_carried_out", final_start=found.start)


def _unreadable(found: Conclusion) -> Verdict:
    """Return an answer of which no part is cut out, because the whole of it can't be read."""
    return Verdict(UNPARSED, found.text[:_MAX_QUICK], "unreadable", final_start=found.start, undecided=True)


@lru_cache(maxsize=4096)
def _integer(answer: str) -> int | None:
    """Return the value of a gold answer that is a plain integer; most are, and then nothing else need be read."""
    text = gold_text(answer)
    return int(text) if _INTEGER.match(text) else None


def _as_gold(answer: str, gold: _Gold, prompt: str) -> str:
    """Return an answer as the question and gold write: with decimal points or commas, with the names of its parts."""
    parts = named_parts(answer, gold.text) if "\\text" in gold.text else ""
    if not gold.rational:
        ordered = in_named_order(answer, prompt) if "\\text" not in gold.text and answer.startswith("\\text{") else ""
        if worded := in_words_of(ordered or answer, gold.text, prompt):
            return worded
        if ordered and ordered == ", ".join(re.split(r",\s*", gold.text.strip("() $"))):
            return gold.text
    if "\\" in answer and (value := boxed_statement(answer, prompt)):
        answer = value
    if gold.form is not None and gold.form.kind == "value":
        if "." in answer and gold.rational:
            answer = in_whole_thousands(answer, gold.text, prompt)
        if answer.count(",") > 1:
            answer = _INDIAN.sub(lambda match: match[0].replace(",", ""), answer)
        if "i" in answer or "j" in answer:
            answer = _with_unit_of(gold.text, answer, prompt)
    elif gold.form is not None and gold.form.kind == "group" and "(b)" in answer:
        answer = _without_labels(answer)
    return parts or in_its_writing(answer, gold.text, prompt) or in_its_constants(answer, gold.text, prompt) or answer


_INDIAN = re.compile(r"(?<![\d.,])\d{1,2}(?:,\d{2})+,\d{3}(?![\d,])")  # 2,50,000
_UNIT_I = re.compile(r"(?<![A-Za-z\\])i(?![A-Za-z])|(?<=\d)i(?![A-Za-z])")
_UNIT_J = re.compile(r"(?<![A-Za-z\\])j(?![A-Za-z])")
_VECTORS = re.compile(r"\bvectors?\b|\bforces?\b|displacement|velocity|\\(?:hat|vec|mathbf)", re.IGNORECASE)
_TWO_PARTS = re.compile(
    r"\(?a[).]\\?\s*(?P<one>[^,;()]{1,60}?)\s*(?:[,;]|\band\b|\\,)?\\?\s*\(b\)\\?\s*(?P<other>[^,;()]{1,60})\Z"
)


def _with_unit_of(gold: str, answer: str, prompt: str) -> str:
    """Return an answer with the imaginary unit as gold writes it, i or j; a vector along both axes is none."""
    for mine, other, letter in ((_UNIT_J, _UNIT_I, "i"), (_UNIT_I, _UNIT_J, "j")):
        both = mine.search(answer) and other.search(gold) and not mine.search(gold) and not other.search(answer)
        if both and _VECTORS.search(prompt) is None:
            return mine.sub(letter, answer)
    return answer


def _without_labels(text: str) -> str:
    """Return an answer of the parts (a) and (b) as a pair."""
    parts = _TWO_PARTS.match(text.strip(" .$"))
    return f"({parts['one']}, {parts['other']})" if parts else text


@lru_cache(maxsize=4096)
def _gold(answer: str) -> _Gold:
    text = _without_labels(gold_text(answer))
    text = named_parts(text, text) or text
    try:
        form = parse_answer(text)
        return _Gold(text, form, is_rational(form))
    except UnreadableError:
        return _Gold(text, None, False)
    except TooCostlyError:  # as long as it is not longer than an answer, an equal text still proves it
        return _Gold(text, parse_answer(text) if len(text) <= MAX_LENGTH else None, False)


@lru_cache(maxsize=4096)
def _readable(text: str) -> bool:
    return readable(parse_answer(text))


def gold_text(answer: str) -> str:
    """Return the answer inside a gold entry, which may be a worked solution that marks it at its end."""
    answer = answer.strip()
    if answer.isascii() and answer.isalnum():
        return answer
    _, mark, marked = answer.rpartition("####")
    if mark:
        return marked.strip()
    last = conclude(answer if "boxed" in answer else answer.rpartition("\n")[2])
    return last.text if last.text and last.rule in ("boxed", "answer_is") else answer


def _vote_key(_: Problem, answer: str) -> str | None:
    return canonical(answer)


def _same_vote(a: str, b: str) -> bool:
    try:
        return equivalent(a, b)
    except (TooCostlyError, RecursionError):
        return False


def _boxed_line(gold: str | None, extracted: str | None) -> str | None:
    answer = gold or extracted
    return None if answer is None else f"The answer is \\boxed{{{answer}}}."


_SUM = Problem("math", "What is 17 + 25?", "42")
_HALF = Problem("math", "What is one half?", r"\frac{1}{2}")
_ROOT = Problem("math", "Solve x^2 = 8 for x > 0.", r"2\sqrt{2}")

VERIFIER = MathVerifier()
DOMAIN = Domain(
    name="math",
    version=16,
    quick=VERIFIER.quick,
    verify=VERIFIER.verify,
    ask="Think step by step and put the final answer in \\boxed{}.",
    needs=("answer",),
    gold=gold_text,
    short_answer=_boxed_line,
    voting=Voting(key=_vote_key, equal=_same_vote),
    canaries=(
        Canary(_SUM, r"Adding, we get \boxed{42}.", CORRECT),
        Canary(_SUM, r"Adding, we get \boxed{43}.", WRONG),
        Canary(_SUM, "I would rather not say.", UNPARSED),
        Canary(_HALF, "The answer is 0.5.", CORRECT),
        Canary(_ROOT, r"So x = \boxed{\sqrt{8}}.", CORRECT),
        Canary(_ROOT, r"So x = \boxed{2\sqrt{3}}.", WRONG),
        Canary(Problem("math", "What is one half?", r"\frac{1}{"), "The answer is 0.5.", ERROR),
    ),
)
