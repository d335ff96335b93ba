"""Which model answers a problem: the small one where it proves answers, a dearer teacher where it doesn't.

A policy is models in an order. The first one tries; a problem goes on to the next one where the first proved none of
its samples, or too few, and from teacher to teacher until one proves it. Everything here works on recorded samples, so
other policies can be tried without drawing any.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import Field, model_validator

from proofmill.data.sections import Name, Section, Share

PER_TOKENS = 1_000_000
PROVEN, LARGE_ONLY, UNPROVEN, BELOW, UNTRIED = "proven", "large_only", "unproven", "below", "untried"
BANDS = (0.0, 0.25, 0.5, 0.75)
"""Lower ends of the bands of pass rates: none proven, up to a quarter, a half, three quarters, above that."""


class Teacher(Section):
    """A model for what the ones before it don't prove."""

    sampler: Name = Field(description="one of `samplers`, of any engine")
    price: float = Field(ge=0, description="money for a million completion tokens")
    prompt_price: float = Field(0.0, ge=0, description="money for a million prompt tokens, of each sample anew")
    max_tokens: int | None = Field(None, ge=1, description="completion tokens of the whole run, at most")
    max_cost: float | None = Field(None, gt=0, description="money for the whole run, prompts included, at most")


class RouteOptions(Section):
    """What the small model can't prove goes on to teachers, in order."""

    small: Name | None = Field(None, description="the sampler that tries first; null: the first of `samplers`")
    price: float = Field(ge=0, description="money for a million of its completion tokens")
    prompt_price: float = Field(0.0, ge=0, description="money for a million of its prompt tokens")
    budget: int | None = Field(None, ge=1, description="of its samples a problem, those that decide; null: all")
    below: Share = Field(
        0.0, description="problems with a pass rate up to this go on; 0: those without a proven sample"
    )
    large_only: tuple[str, ...] = Field(("knowledge",), description="domains that never go to the small model")
    teachers: tuple[Teacher, ...] = Field(min_length=1, description="who gets them, in this order")
    max_teacher_share: Share | None = Field(
        None, description="of the kept traces, those that teachers wrote, at most; null: no limit"
    )

    @model_validator(mode="after")
    def _each_once(self) -> RouteOptions:
        names = [teacher.sampler for teacher in self.teachers]
        if len({*names, self.small}) < len(names) + 1:
            raise ValueError("teachers: a sampler is named twice; the small model is no teacher of its own")
        return self

    def policy(self, small: str) -> Policy:
        """Return it as a policy; `small` is the sampler that tries first."""
        teachers = (Step(t.sampler, t.price, prompt_price=t.prompt_price) for t in self.teachers)
        steps = (Step(small, self.price, self.budget, self.prompt_price), *teachers)
        return Policy(steps, self.below, self.large_only)


@dataclass(frozen=True, slots=True)
class Step:
    """One model of a policy: who, at which prices for a million tokens, and how many samples at most."""

    model: str
    price: float
    samples: int | None = None
    prompt_price: float = 0.0

    def cost(self, tokens: int, prompt_tokens: int) -> float:
        """Return the money for so many completion and prompt tokens."""
        return (tokens * self.price + prompt_tokens * self.prompt_price) / PER_TOKENS


@dataclass(frozen=True, slots=True)
class Policy:
    """Models in the order in which a problem goes through them.

    Attributes:
        steps: the models.
        below: a problem goes on from the first one with a pass rate up to this.
        large_only: domains that skip the first one.
    """

    steps: tuple[Step, ...]
    below: float = 0.0
    large_only: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """Its models in a row, with the samples of the first and the bound where they aren't the usual ones."""
        first = self.steps[0]
        budget = f" x{first.samples}" if first.samples else ""
        bound = f" (≤ {self.below:.0%})" if self.below else ""
        return " → ".join([first.model + budget + bound * (len(self.steps) > 1), *(s.model for s in self.steps[1:])])


@dataclass(frozen=True, slots=True)
class Attempt:
    """A recorded sample.

    Attributes:
        proven: None: its verdict says nothing of it.
        tokens: of the completion.
        prompt_tokens: of its prompt, which each sample reads anew.
    """

    proven: bool | None
    tokens: int
    prompt_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Tried:
    """What one model did on a problem, as far as a policy used it."""

    model: str
    n: int
    correct: int
    tokens: int
    cost: float
    prompt_tokens: int = 0

    @property
    def rate(self) -> float | None:
        """Its pass rate; None without a judged sample."""
        return self.correct / self.n if self.n else None


@dataclass(frozen=True, slots=True)
class Route:
    """Where a problem ends.

    Attributes:
        model: the model that answers it; None where none proved it.
        why: why it left the small model: `large_only`, `unproven`, `below` (its pass rate), `untried` (no sample of
            its was there); `proven`: it did not leave.
        tried: what each model did that was asked.
        waits_for: the teacher that could not be asked about it; None: none is missing.
    """

    model: str | None
    why: str
    tried: tuple[Tried, ...]
    waits_for: str | None = None

    @property
    def cost(self) -> float:
        """Money for all samples that it took."""
        return math.fsum(tried.cost for tried in self.tried)

    @property
    def proven(self) -> bool:
        """Whether any sample was proven."""
        return any(tried.correct for tried in self.tried)


Attempts = Mapping[str, Sequence[Attempt]]
"""A problem's recorded samples by model, each in the order of drawing."""


def route(policy: Policy, domain: str, attempts: Attempts) -> Route:
    """Return where a policy takes a problem."""
    tried: list[Tried] = []
    why, proven_by = PROVEN, None
    for number, step in enumerate(policy.steps):
        if number == 0 and len(policy.steps) > 1 and domain in policy.large_only:
            why = LARGE_ONLY
            continue
        if not (used := _used(step, attempts)).n and not used.tokens:
            why = UNTRIED if number == 0 else why
            continue
        tried.append(used)
        if used.correct:
            proven_by = step.model
        if number == 0:
            goes_on = (used.rate or 0.0) <= policy.below
            why = PROVEN if not goes_on else BELOW if used.correct else UNPROVEN
            if not goes_on:
                break
        elif used.correct:
            break
    return Route(proven_by, why, tuple(tried))


def _used(step: Step, attempts: Attempts) -> Tried:
    samples = attempts.get(step.model, ())[: step.samples]
    judged = [sample for sample in samples if sample.proven is not None]
    tokens, read = sum(sample.tokens for sample in samples), sum(sample.prompt_tokens for sample in samples)
    correct = sum(bool(sample.proven) for sample in judged)
    return Tried(step.model, len(judged), correct, tokens, step.cost(tokens, read), read)


# --- many problems ---------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Outcome:
    """What a policy comes to over many problems.

    Attributes:
        policy: the policy.
        problems: how many.
        solved: of them, those with a proven answer.
        by_first: of these, those that its first model answers.
        cost: money for all samples.
    """

    policy: Policy
    problems: int = 0
    solved: int = 0
    by_first: int = 0
    cost: float = 0.0

    def add(self, routed: Route) -> None:
        """Count a problem."""
        self.problems += 1
        self.solved += routed.proven
        self.by_first += routed.model == self.policy.steps[0].model
        self.cost += routed.cost

    @property
    def per_solved(self) -> float | None:
        """Money for one proven problem."""
        return self.cost / self.solved if self.solved else None

    def beside(self, other: Outcome) -> float | None:
        """Return its cost over what the other one pays for as many proven problems; None where that is not known."""
        own, theirs = self.per_solved, other.per_solved
        return own / theirs if own is not None and theirs else None


def replayed(policies: Iterable[Policy], problems: Sequence[tuple[str, Attempts]]) -> list[Outcome]:
    """Return what each policy would have come to on recorded samples: (domain, attempts) of each problem."""
    outcomes = [Outcome(policy) for policy in policies]
    for domain, attempts in problems:
        for outcome in outcomes:
            outcome.add(route(outcome.policy, domain, attempts))
    return outcomes


def cheapest_first(models: Iterable[Step], problems: Iterable[tuple[str, Attempts]]) -> list[Step]:
    """Return models by what a sample of theirs costs in the mean, prompts included; by price where none has any."""
    spent = {step: [0.0, 0] for step in models}
    for _, attempts in problems:
        for step, total in spent.items():
            samples = attempts.get(step.model, ())
            total[0] += sum(step.cost(sample.tokens, sample.prompt_tokens) for sample in samples)
            total[1] += len(samples)
    return sorted(spent, key=lambda step: (spent[step][0] / max(spent[step][1], 1), step.price, step.model))


def policies(
    models: Sequence[Step],
    budgets: Sequence[int | None] = (None,),
    bounds: Sequence[float] = (0.0,),
    large_only: tuple[str, ...] = (),
) -> Iterator[Policy]:
    """Yield each model alone, and each cheaper one before each dearer one, with every budget and bound.

    Args:
        models: the cheapest first.
        budgets: of the cheaper one's samples of a problem; None: all.
        bounds: pass rates up to which a problem goes on.
        large_only: domains that begin with the dearer one.
    """
    for step in models:
        yield Policy((step,))
    for place, small in enumerate(models):
        for large in models[place + 1 :]:
            for budget in budgets:
                for below in bounds:
                    yield Policy((replace(small, samples=budget), large), below, large_only)


def frontier(outcomes: Iterable[Outcome]) -> list[Outcome]:
    """Return the outcomes that none other beats, cheapest first: none solves as much for less."""
    best: list[Outcome] = []
    for outcome in sorted(outcomes, key=lambda o: (o.cost, -o.solved, len(o.policy.steps), o.policy.label)):
        if outcome.solved and (not best or outcome.solved > best[-1].solved):
            best.append(outcome)
    return best


# --- the policy as a serving router reads it ------------------------------------------------------------------------


def band(rate: float | None) -> int | None:
    """Return the number of the band of pass rates that a rate lies in; None without a rate."""
    if rate is None:
        return None
    return 0 if rate <= 0 else 1 + sum(rate > upper for upper in BANDS[1:])


@dataclass
class Cell:
    """Problems of one domain and one band of the small model's pass rates.

    Attributes:
        problems: how many.
        answered: those that each model answers.
        cost: money that they took.
    """

    problems: int = 0
    answered: dict[str, int] = field(default_factory=dict)
    cost: float = 0.0

    def add(self, routed: Route) -> None:
        """Count a problem."""
        self.problems += 1
        self.cost += routed.cost
        if routed.model is not None:
            self.answered[routed.model] = self.answered.get(routed.model, 0) + 1

    def to_json(self) -> dict[str, Any]:
        """Return the cell's counts."""
        return {"problems": self.problems, "answered": dict(sorted(self.answered.items())), "cost": round(self.cost, 9)}


Cells = dict[tuple[str, int | None], Cell]


def policy_table(policy: Policy, cells: Cells) -> dict[str, Any]:
    """Return the policy file: for each domain and band of difficulty, the model that answered most problems there.

    Where none answered one, it is the last model. `default` holds for other domains, and `by_domain` where nothing is
    known of a prompt's difficulty.
    """
    order = [step.model for step in policy.steps]
    domains: dict[str, Cell] = {}
    rules = []
    for (domain, number), cell in sorted(
        cells.items(), key=lambda item: (item[0][0], -1 if item[0][1] is None else item[0][1])
    ):
        whole = domains.setdefault(domain, Cell())
        whole.problems += cell.problems
        for model, count in cell.answered.items():
            whole.answered[model] = whole.answered.get(model, 0) + count
        rules.append({"domain": domain, "pass_rate": _range(number), "model": _most(cell, order), **cell.to_json()})
    return {
        "format": "proofmill-policy/1",
        "models": [
            {
                "model": step.model,
                "price_per_million_tokens": step.price,
                "price_per_million_prompt_tokens": step.prompt_price,
                "samples": step.samples,
            }
            for step in policy.steps
        ],
        "below": policy.below,
        "large_only": list(policy.large_only),
        "rules": rules,
        "by_domain": {name: _most(cell, order) for name, cell in domains.items()},
        "default": order[-1],
    }


def _most(cell: Cell, order: Sequence[str]) -> str:
    """Return the model that answered most of a cell's problems; of equals the one that is asked first."""
    if not cell.answered:
        return order[-1]
    return max(order, key=lambda model: (cell.answered.get(model, 0), -order.index(model)))


def _range(number: int | None) -> list[float] | None:
    """Return the lower (left out, but for 0) and upper end of a band; None where the small model did not try."""
    if number is None:
        return None
    return [0.0, 0.0] if number == 0 else [BANDS[number - 1], (*BANDS[1:], 1.0)[number - 1]]
