"""Check every claim of a trace: the driver that the rest of the package hangs on."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from proofmill.filters.claims.chains import Facts, Link, StepJudge
from proofmill.filters.claims.model import Claim
from proofmill.filters.claims.steps import split_steps
from proofmill.filters.claims.tokens import tokenize
from proofmill.filters.verdicts import Problem

_MARK = re.compile(r"<<([^<>\n]{0,200})>>")
_MAX_CLAIMS = 2000
_MAX_STEP = 20_000  # characters of one step that are read; a longer one is a table or an attack


def check(
    problem: Problem,
    text: str | None = None,
    *,
    steps: Sequence[str] | None = None,
    final_start: int | None = None,
) -> list[Claim]:
    """Every claim of a trace that the exact checks recognise, in order.

    Args:
        problem: the problem that the trace answers.
        text: the trace; split into steps here.
        steps: the steps, where they are already known; then `text` is not needed.
        final_start: offset at which the statement of the answer begins, in `text` or in the steps joined
            by newlines; None if unknown.

    Raises:
        ValueError: neither `text` nor `steps` is given.
    """
    claims: list[Claim] = []
    facts = Facts()
    for number, (offset, step) in enumerate(_steps(text, steps)):
        for link in check_step(step, facts, number):
            if len(claims) >= _MAX_CLAIMS:
                return claims
            claims.append(_claim(number, offset, step, link, final_start))
    return claims


def _steps(text: str | None, steps: Sequence[str] | None) -> Iterator[tuple[int, str]]:
    if steps is not None:
        offset = 0
        for step in steps:
            yield offset, step
            offset += len(step) + 1
    elif text is not None:
        yield from ((start, text[start:end]) for start, end in split_steps(text))
    else:
        raise ValueError("check needs a text or its steps")


def check_step(step: str, facts: Facts, number: int) -> list[Link]:
    """The judged links of one step."""
    links, step = _calculator_marks(step[:_MAX_STEP], facts, number)
    facts.algebra.begin_step(step)
    tokens = tokenize(step)
    judge = StepJudge(step, tokens, facts, number)
    found = judge.scanner.scan()
    for chain in found.chains:
        links.extend(judge.chain(chain))
    return sorted(links, key=lambda link: link.start)


def _calculator_marks(step: str, facts: Facts, number: int) -> tuple[list[Link], str]:
    """The claims of `<<16-3=13>>` marks, and the step with the marks blanked."""
    links: list[Link] = []
    for mark in _MARK.finditer(step):
        inside = mark.group(1)
        judge = StepJudge(inside, tokenize(inside), facts, number)
        for chain in judge.scanner.scan().chains:
            for link in judge.chain(chain):
                link.kind = "calculator"
                link.start += mark.start(1)
                link.end += mark.start(1)
                links.append(link)
    return links, _MARK.sub(lambda mark: " " * len(mark.group()), step) if links else step


def _claim(number: int, offset: int, step: str, link: Link, final_start: int | None) -> Claim:
    start = offset + link.start
    text = step[link.start : link.end]
    in_final = final_start is not None and start >= final_start
    return Claim(number, link.kind, text, link.status, link.evidence, start, in_final)
