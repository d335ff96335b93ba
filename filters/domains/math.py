r"""Mathematics: the answer a trace states, proven equal to the gold answer.

How the answer is found is written in `answers`, what counts as equal in `equivalence`, `structures` and
`quantities`. A trace is `unparsed` where it states no answer or states several different ones; it is
`wrong` where it lists candidates of which gold is one. `timeout` is an answer that would cost more to judge
than an answer may: a power tower, a derivation in a box. `error` with detail `bad_gold` is a gold answer
that can't be read.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from proofmill.filters import answers
from proofmill.filters.equivalence import Context, exact_value, readable, same
from proofmill.filters.expressions import TooCostlyError
from proofmill.filters.structures import Shape, UnreadableError, shape
from proofmill.filters.verdicts import CORRECT, ERROR, TIMEOUT, UNPARSED, WRONG, Problem, Verdict

_INTEGER = re.compile(r"[+-]?\d{1,400}\Z", re.ASCII)
_SIMPLE = re.compile(r"[-+]?[$]?[\d,]{1,60}(?:[./]\d{1,60})?%?\Z", re.ASCII)
_ASKS_PERCENT = re.compile(r"(?<!\d)(?<!\d[ \\])(?:%|\bper ?cent)", re.IGNORECASE)  # no number before it


@dataclass(frozen=True, slots=True)
class _Gold:
    """A gold answer, read once a problem."""

    text: str
    value: Fraction | None
    shape: Shape | None


class MathVerifier:
    """The judge of mathematics."""

    version = "1"
    ask = "Think step by step and put the final answer in \\boxed{}."

    def quick(self, problem: Problem, text: str) -> Verdict | None:
        """The verdict where gold and answer are plain numbers or no answer is stated, else None."""
        found = answers.find(text)
        if not found.text:
            return _not_found(found)
        gold = _gold(problem.answer or "")
        if gold.value is None or not _SIMPLE.match(found.text) or "%" in found.text:
            return None
        if _INTEGER.match(found.text):
            return _verdict(int(found.text) == gold.value, found)
        value = exact_value(found.text)
        return None if value is None else _verdict(value == gold.value, found)

    def verify(self, problem: Problem, text: str) -> Verdict:
        """The verdict on a trace; its cost is for the caller's worker pool to bound."""
        return self.quick(problem, text) or self._full(problem, answers.find(text))

    def _full(self, problem: Problem, found: answers.Found) -> Verdict:
        gold = _gold(problem.answer or "")
        try:
            if gold.shape is None or not _readable(gold.text):
                return Verdict(ERROR, found.text, "bad_gold", final_start=found.start)
            context = Context(percent=_asks_percent(problem.prompt), rounding=True)
            return _verdict(_same(gold, found.text, context), found)
        except (TooCostlyError, RecursionError, MemoryError) as error:
            return Verdict(TIMEOUT, found.text[:200], f"too_costly: {error}", final_start=found.start)


def _not_found(found: answers.Found) -> Verdict:
    return Verdict(UNPARSED, None, found.rule)


def _verdict(equal: bool, found: answers.Found) -> Verdict:
    return Verdict(CORRECT if equal else WRONG, found.text, found.rule, final_start=found.start)


def _same(gold: _Gold, answer: str, context: Context) -> bool:
    try:
        stated = shape(answer)
    except UnreadableError:
        return False
    return gold.shape is not None and same(gold.shape, stated, context)


@lru_cache(maxsize=4096)
def _gold(answer: str) -> _Gold:
    text = gold_text(answer)
    try:
        form = shape(text)
    except (UnreadableError, TooCostlyError):
        form = None
    return _Gold(text, exact_value(text), form)


@lru_cache(maxsize=4096)
def _readable(text: str) -> bool:
    return readable(shape(text))


@lru_cache(maxsize=4096)
def _asks_percent(prompt: str) -> bool:
    return _ASKS_PERCENT.search(prompt[-1000:]) is not None


def gold_text(answer: str) -> str:
    """The answer inside a gold entry, which may be a worked solution that marks it at its end."""
    answer = answer.strip()
    if answer.isascii() and answer.isalnum():
        return answer
    _, mark, marked = answer.rpartition("####")
    if mark:
        return marked.strip()
    last = answers.find(answer if "boxed" in answer else answer.rpartition("\n")[2])
    return last.text if last.text and last.rule in ("boxed", "answer_is") else answer


VERIFIER = MathVerifier()
