"""Check every claim of a trace: the driver that the rest of the package hangs on."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence

from proofmill.filters.claims.chains import StepJudge
from proofmill.filters.claims.functions import tied_unknowns
from proofmill.filters.claims.grounding import Sources, conclusions, explain, sources_of
from proofmill.filters.claims.links import Facts, Link
from proofmill.filters.claims.model import JUMP, UNSUPPORTED, Claim
from proofmill.filters.claims.nodes import is_leaf
from proofmill.filters.claims.outputs import Evaluator, judge_output, stated_outputs
from proofmill.filters.claims.puzzles import puzzle_links, puzzle_of
from proofmill.filters.claims.retraction import retract
from proofmill.filters.claims.setting import Setting
from proofmill.filters.claims.steps import split_steps
from proofmill.filters.claims.tokens import tokenize
from proofmill.filters.claims.wording import NUMBER_WORDS
from proofmill.filters.verdicts import Problem

_MARK = re.compile(r"<<([^<>\n]{0,200})>>")
_CHECKABLE = re.compile(rf"[\d=½⅓⅔¼¾]|\b(?:{'|'.join(NUMBER_WORDS)})\b", re.IGNORECASE)
_FENCED = re.compile(r"```.*?(?:```|\Z)", re.DOTALL)  # code: its signs are no claims
_MAX_CLAIMS = 2000
_MAX_AFTER = 240  # characters behind a step in which it may be called impossible
_MAX_STEP = 20_000  # characters of one step that are read; a longer one is a table or an attack


def check(
    problem: Problem,
    text: str | None = None,
    *,
    steps: Sequence[str] | None = None,
    final_start: int | None = None,
    evaluate: Evaluator | None = None,
) -> list[Claim]:
    """Every claim of a trace that the exact checks recognise, in order.

    Args:
        problem: the problem that the trace answers.
        text: the trace; split into steps here.
        steps: the steps, where they are already known; then `text` is not needed.
        final_start: offset at which the statement of the answer begins, in `text` or in the steps joined
            by newlines; None if unknown.
        evaluate: runs code in a jail for stated program outputs; without it they are not checked.

    Raises:
        ValueError: neither `text` nor `steps` is given.
    """
    parts = list(_steps(text, steps))
    whole = text if steps is None and text is not None else "\n".join(steps or ())
    sources = sources_of(problem.prompt)
    facts = Facts(setting=Setting(problem.prompt, whole))
    facts.functions.read(problem.prompt)
    facts.algebra.constrained |= tied_unknowns(problem.prompt)
    found: list[tuple[int, int, Link]] = []
    for number, (offset, step) in enumerate(parts):
        end = offset + len(step)
        links = check_step(step, facts, number, whole[end : end + _MAX_AFTER])
        links = [*links, *_ungrounded(step, links, sources)]
        found.extend((number, offset + link.start, link) for link in links)
        if len(found) > _MAX_CLAIMS:
            break
    found.extend(_of_the_whole(problem, whole, parts, final_start, evaluate))
    found.sort(key=lambda item: item[:2])
    judged = retract(whole, [(start, link) for _, start, link in found])
    return [
        _claim(number, start, whole, link, final_start) for (number, start, _), link in zip(found, judged, strict=True)
    ][:_MAX_CLAIMS]


def _of_the_whole(
    problem: Problem,
    whole: str,
    parts: Sequence[tuple[int, str]],
    final_start: int | None,
    evaluate: Evaluator | None,
) -> Iterator[tuple[int, int, Link]]:
    """Claims that may span steps: those about a puzzle, and stated outputs of code."""
    offsets = [offset for offset, _ in parts]
    placed = [(stated.start, judge_output(stated, evaluate)) for stated in stated_outputs(whole)]
    puzzle = puzzle_of(problem)
    if puzzle is not None:
        placed.extend(puzzle_links(puzzle, whole, parts, final_start))
    for start, link in placed:
        yield max(bisect_right(offsets, start) - 1, 0), start, link


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


def check_step(step: str, facts: Facts, number: int, after: str = "") -> list[Link]:
    """The judged links of one step; `after` is the beginning of what follows it."""
    if not _CHECKABLE.search(step, 0, _MAX_STEP):
        return []
    step = _FENCED.sub(lambda code: " " * len(code.group()), step[:_MAX_STEP])
    links, step = _calculator_marks(step, facts, number)
    facts.algebra.begin_step(step)
    tokens = tokenize(step)
    judge = StepJudge(step, tokens, facts, number, after)
    for chain in judge.scanner.scan():
        links.extend(judge.chain(chain))
    return sorted(links, key=lambda link: link.start)


def _calculator_marks(step: str, facts: Facts, number: int) -> tuple[list[Link], str]:
    """The claims of `<<16-3=13>>` marks, and the step with the marks blanked."""
    links: list[Link] = []
    for mark in _MARK.finditer(step):
        inside = mark.group(1)
        judge = StepJudge(inside, tokenize(inside), facts, number)
        for chain in judge.scanner.scan():
            for link in judge.chain(chain):
                link.kind = "calculator"
                link.start += mark.start(1)
                link.end += mark.start(1)
                links.append(link)
    return links, _MARK.sub(lambda mark: " " * len(mark.group()), step) if links else step


def _ungrounded(step: str, links: list[Link], sources: Sources) -> list[Link]:
    """Values of the step's calculations that come from nowhere, and answers that follow from nothing."""
    found: list[Link] = []
    for link in links:
        if link.inputs is not None and not is_leaf(link.inputs):
            for number in sources.unsupported(link.inputs):
                found.append(Link("value", UNSUPPORTED, explain(number.value), link.start, link.end))
                sources.add(number.value)
        for side in link.sides:
            sources.learn(side)
        for value in (link.left, link.stated):
            if value is not None:
                sources.add(value)
    for start, end, value in conclusions(step[:_MAX_STEP]):
        if sources.derived and not sources.is_supported(value):
            found.append(Link("conclusion", JUMP, explain(value), start, end))
    return found


def _claim(number: int, start: int, whole: str, link: Link, final_start: int | None) -> Claim:
    text = whole[start : start + link.end - link.start]
    in_final = final_start is not None and start >= final_start
    return Claim(number, link.kind, text, link.status, link.evidence, start, in_final)
