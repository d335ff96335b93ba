"""Labels of single steps, for process reward models: only what was decided is labelled.

A step is labelled where its own claims decide it: `right` where every claim in it was verified, `wrong` where one was
refuted. The step that states the answer, and little else, is decided by the verdict. All other steps are unchecked and
get no label, also in a trace whose answer is right, since a right answer proves none of the steps that lead to it. They
become context: a row's prompt is the problem and the trace up to a decided step, and its steps are that one and the
decided ones that follow without a gap. Behind the first wrong step of a trace nothing is labelled.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import Field

from proofmill.data.sections import Section
from proofmill.filters.claims.model import REFUTED, VERIFIED
from proofmill.filters.model_judge import DETAIL as MODEL_JUDGE
from proofmill.filters.reliability import DOUBTED, UPHELD
from proofmill.filters.verdicts import CORRECT, WRONG

EXACT, BY_VERDICT, BY_MODEL = "exact", "verdict", "model"
_LONGEST_STATEMENT = 300  # characters of a step that states the answer and little else
_LEAST_CLAIM = 8  # letters and digits of a model's claim that is looked for in the steps


class StepLabelOptions(Section):
    """Right and wrong steps, in the config `step_labels`."""

    model: bool = Field(
        True, description="claims that a model judged (`claims.model`) decide too where exact checks don't"
    )
    max_per_problem: int = Field(
        8, ge=1, description="rows of one problem, at most: by turns one that ends in a mistake and one without"
    )


@dataclass(frozen=True, slots=True)
class LabelledSteps:
    """Steps of a trace that follow one another and are all decided.

    Attributes:
        first: number of the first one in its trace, from 0.
        before: the trace up to there.
        steps: their texts.
        labels: whether each is right.
        decided_by: `exact`, `verdict` or `model`, for each.
    """

    first: int
    before: str
    steps: tuple[str, ...]
    labels: tuple[bool, ...]
    decided_by: tuple[str, ...]

    @property
    def rank(self) -> tuple[int, int]:
        """Sorts the longer ones first."""
        return -len(self.labels), self.first


Decision = tuple[bool, str]


def labelled_steps(trace: Mapping[str, Any], options: StepLabelOptions) -> list[LabelledSteps]:
    """Return the decided steps of a trace, cut into runs without a gap.

    Args:
        trace: `response`, `final_start`, `verdict`, `verdict_detail`, `claims`, `clr_claims` (null: none).
        options: the recipe's section.
    """
    from proofmill.filters.claims.check import split_steps, without_json_escapes  # a recipe is read without it

    text = trace["response"]
    spans = split_steps(without_json_escapes(text))
    steps = [text[start:end].strip() for start, end in spans]
    decisions = _up_to_the_first_mistake(_decisions(trace, steps, spans, options))
    runs = []
    for first, run in _runs(decisions):
        before = text[: spans[first][0]].strip()
        labels, decided_by = zip(*run, strict=True)
        runs.append(LabelledSteps(first, before, tuple(steps[first : first + len(run)]), labels, decided_by))
    return runs


def _decisions(
    trace: Mapping[str, Any], steps: Sequence[str], spans: Sequence[tuple[int, int]], options: StepLabelOptions
) -> Iterator[Decision | None]:
    exact: dict[int, set[str]] = {}
    for claim in trace["claims"] or ():
        exact.setdefault(claim["step"], set()).add(claim["status"])
    opinions = _opinions(trace["clr_claims"] or (), steps) if options.model else {}
    start = trace["final_start"]
    for number, (begin, end) in enumerate(spans):
        states_answer = start is not None and begin <= start < end <= begin + _LONGEST_STATEMENT
        of_step = exact.get(number, set()), opinions.get(number, set())
        yield _of_answer(trace, of_step[0], options) if states_answer else _of_step(*of_step)


def _of_step(exact: set[str], opinions: set[str]) -> Decision | None:
    if REFUTED in exact:
        return False, EXACT
    if exact - {VERIFIED}:
        return None  # a claim that stays open, or that the trace takes back
    if opinions & {DOUBTED, REFUTED}:
        return None if exact else (False, BY_MODEL)
    if exact:
        return True, EXACT
    return (True, BY_MODEL) if opinions & {UPHELD, VERIFIED} else None


def _of_answer(trace: Mapping[str, Any], exact: set[str], options: StepLabelOptions) -> Decision | None:
    """Return what the verdict says of the step that states the answer."""
    if REFUTED in exact:
        return False, EXACT
    judged = trace["verdict_detail"] == MODEL_JUDGE
    if trace["verdict"] not in (CORRECT, WRONG) or (judged and not options.model):
        return None
    return trace["verdict"] == CORRECT, BY_MODEL if judged else BY_VERDICT


def _opinions(claims: Sequence[Mapping[str, Any]], steps: Sequence[str]) -> dict[int, set[str]]:
    """Return what a model holds of the steps: a claim belongs to the one step that says it, or that it says whole."""
    plain_steps = [_plain(step) for step in steps]
    found: dict[int, set[str]] = {}
    for claim in claims:
        said = _plain(claim["text"])
        if len(said) < _LEAST_CLAIM:
            continue
        places = [
            number
            for number, step in enumerate(plain_steps)
            if said in step or (len(step) >= _LEAST_CLAIM and step in said)
        ]
        if len(places) == 1:
            found.setdefault(places[0], set()).add(claim["status"])
    return found


def _plain(text: str) -> str:
    return re.sub(r"[^\w+\-*/=<>^%]", "", text.casefold())


def _up_to_the_first_mistake(decisions: Iterator[Decision | None]) -> Iterator[Decision | None]:
    for decision in decisions:
        yield decision
        if decision is not None and not decision[0]:
            return


def _runs(decisions: Iterator[Decision | None]) -> Iterator[tuple[int, list[Decision]]]:
    """Yield (number of its first step, decisions) of each run of decided steps."""
    first, run = 0, list[Decision]()
    for number, decision in enumerate(decisions):
        if decision is not None:
            first = first if run else number
            run.append(decision)
        elif run:
            yield first, run
            run = []
    if run:
        yield first, run
