"""The order of training: which kept traces go to stage 1, which to stage 2, and in what form.

Two strategies (VibeThinker articles and report, arXiv 2606.16140): `long_to_short` first teaches to reason at
length, then to answer shortly; `broad_to_hard` first teaches everything that passed, then long traces of hard
problems. Both decide inside one problem, so they never cross a shard.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from proofmill.data.sections import Needs, Section, Share
from proofmill.filters.rewriting import Rewriting

SAMPLE: Literal["sample"] = "sample"
REWRITTEN: Literal["rewritten"] = "rewritten"
FINAL: Literal["final"] = "final"
ANSWER: Literal["answer"] = "answer"
CAPPED = "capped_problem"


class LongToShort(Section):
    """Stage 1: long chain of thought, several correct paths. Stage 2: short answers."""

    strategy: Literal["long_to_short"] = "long_to_short"
    short_forms: tuple[Literal["sample", "rewritten", "final", "answer"], ...] = Field(
        (SAMPLE, FINAL, ANSWER),
        description="what may stand in stage 2, best first: a short sample, a proven trace condensed by a model, its "
        "final part, the answer line",
    )
    max_short_ratio: Annotated[
        Share,
        Needs("`sample` or `rewritten` in short_forms", lambda section: {SAMPLE, REWRITTEN} & {*section.short_forms}),
    ] = Field(
        0.5,
        description="largest length of a short sample, or of a rewritten one, relative to every stage-1 trace of its "
        "problem",
    )
    rewriting: Annotated[
        Rewriting, Needs("`rewritten` in short_forms", lambda section: REWRITTEN in section.short_forms)
    ] = Field(Rewriting(), description="how `rewritten` is asked for")

    @model_validator(mode="after")
    def _answer_last(self) -> Self:
        behind = self.short_forms[self.short_forms.index(ANSWER) :] if ANSWER in self.short_forms else ()
        for form in (REWRITTEN, FINAL):
            if form in behind:  # each needs a trace with reasoning, of which an answer line can be made as well
                raise ValueError(f"short_forms: behind `answer`, `{form}` never gets its turn; name it before `answer`")
        return self


class BroadToHard(Section):
    """Stage 1: everything that passed. Stage 2: long traces of hard problems.

    Defaults from the VibeThinker-3B report (arXiv 2606.16140): at least 5,000 tokens and an error rate of
    at least 0.75 over 8 rollouts of a reference model.
    """

    strategy: Literal["broad_to_hard"] = "broad_to_hard"
    min_tokens: int = Field(5000, ge=0, description="smallest length of a stage-2 trace, in tokens")
    min_error_rate: Share = Field(0.75, description="smallest error rate (1 - pass rate) of a stage-2 problem")
    reference: str | None = Field(None, description="sampler whose error rate decides; None: all samplers")


def _strategy(value: Any) -> Any:
    return {"strategy": "long_to_short", **value} if isinstance(value, dict) else value


CurriculumOptions = Annotated[
    Annotated[LongToShort | BroadToHard, Field(discriminator="strategy")], BeforeValidator(_strategy)
]


@dataclass(frozen=True, slots=True)
class StageRow:
    """One row of an SFT stage.

    Attributes:
        trace: position of the trace among those given.
        stage: 1 or 2.
        form: `sample` (the whole response), `rewritten` (what a model made of it), `final` (its final part) or `answer`
            (the answer line).
    """

    trace: int
    stage: int
    form: str


@dataclass(frozen=True, slots=True)
class Candidate:
    """A kept trace of one problem.

    Attributes:
        id: the trace's.
        length: completion tokens, or characters where tokens were never counted.
        score: claim score; higher is better.
        has_reasoning: whether text stands before its final part.
        has_final: whether a final part was found.
        bare: whether it is an answer with next to no reasoning, which is good for a short answer alone.
        preferred: whether the student can learn much from it.
        rewritten: whether a model has written a short solution of its problem, soundly.
    """

    id: str
    length: int
    score: float = 1.0
    has_reasoning: bool = True
    has_final: bool = True
    bare: bool = False
    preferred: bool = True
    rewritten: bool = False

    @property
    def rank(self) -> tuple[float, bool, int, str]:
        """Sorts the better proven first, then those that teach more, then the longer."""
        return -self.score, not self.preferred, -self.length, self.id


def place(
    candidates: Sequence[Candidate],
    options: LongToShort | BroadToHard,
    max_per_problem: int,
    error_rate: float | None,
) -> list[StageRow]:
    """Return where the kept traces of one problem go; a trace in no place is over the problem's cap.

    Args:
        candidates: the problem's kept traces, in any order.
        options: the strategy and its parameters.
        max_per_problem: stage-1 traces of the problem, at most.
        error_rate: 1 - pass rate of the problem under the reference sampler; None where it has none.
    """
    order = sorted(range(len(candidates)), key=lambda i: candidates[i].rank)
    if isinstance(options, BroadToHard):
        sound = [i for i in order if not candidates[i].bare]
        return _broad_to_hard(candidates, sound[:max_per_problem], options, error_rate)
    return _long_to_short(candidates, order, options, max_per_problem)


def _broad_to_hard(
    candidates: Sequence[Candidate], chosen: Sequence[int], options: BroadToHard, error_rate: float | None
) -> list[StageRow]:
    hard = error_rate is not None and error_rate >= options.min_error_rate
    places = [StageRow(i, 1, SAMPLE) for i in chosen]
    return places + [StageRow(i, 2, SAMPLE) for i in chosen if hard and candidates[i].length >= options.min_tokens]


def _long_to_short(
    candidates: Sequence[Candidate], order: Sequence[int], options: LongToShort, max_per_problem: int
) -> list[StageRow]:
    for form in options.short_forms:
        short = _short(candidates, order, form, options, max_per_problem)
        if short is not None:
            rest = [i for i in order if i != short or form != SAMPLE]
            places = [StageRow(i, 1, SAMPLE) for i in _stage1(candidates, rest, max_per_problem)]
            return [*places, StageRow(short, 2, form)]
    return [StageRow(i, 1, SAMPLE) for i in _stage1(candidates, order, max_per_problem)]


def _stage1(candidates: Sequence[Candidate], order: Sequence[int], max_per_problem: int) -> list[int]:
    return [i for i in order if not candidates[i].bare][:max_per_problem]


def _short(
    candidates: Sequence[Candidate], order: Sequence[int], form: str, options: LongToShort, max_per_problem: int
) -> int | None:
    """Return the trace whose stage-2 row has this form; None where the problem has none."""
    if form == SAMPLE:
        return _shortest(candidates, order, options, max_per_problem)
    long = _stage1(candidates, order, max_per_problem)
    if form == REWRITTEN:
        # It is half as long as the shortest right trace of the problem, so it is so beside all of these.
        shortest = min(long, key=lambda i: (candidates[i].length, candidates[i].id), default=None)
        return shortest if shortest is not None and candidates[shortest].rewritten else None
    for i in sorted(long, key=lambda i: (candidates[i].length, candidates[i].id)):  # the shortest one's ending
        if form == ANSWER or (candidates[i].has_final and candidates[i].has_reasoning):
            return i
    return None


def _shortest(
    candidates: Sequence[Candidate], order: Sequence[int], options: LongToShort, max_per_problem: int
) -> int | None:
    """Return the shortest trace, if it is short enough beside every trace that would be stage 1 without it.

    Where all are bare answers there is no stage 1 to compare with, and the shortest one is taken.
    """
    if not order:
        return None
    short = min(order, key=lambda i: (candidates[i].length, candidates[i].id))
    rest = _stage1(candidates, [i for i in order if i != short], max_per_problem)
    if not rest:
        return short if candidates[short].bare else None
    limit = options.max_short_ratio * min(candidates[i].length for i in rest)
    return short if candidates[short].length <= limit else None
