"""How many samples a problem gets: a fixed first round, then more while they are worth their tokens.

The number depends only on the verdicts on the problem's own samples, never on time or on other problems, so a run that
is resumed from recorded samples decides as the first one did. Problems share nothing but the budget of tokens and
money, which is granted in the order of the problems.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import ceil
from typing import NamedTuple

ENOUGH, SPENT, HOPELESS, UNFUNDED = "enough", "spent", "hopeless", "unfunded"


@dataclass(frozen=True, slots=True)
class Rounds:
    """The rule for one sampler's problems.

    With `s` samples drawn and `a` of them accepted, the pass rate is estimated by Laplace's rule of succession,
    p = (a + 1) / (s + 2), and a problem may have

        allowance = first + 4 p (1 - p) (most - first)

    samples: the whole budget at p = 1/2, where a verdict tells most (its variance is p (1 - p)), and next to
    nothing beyond the first round where nearly all or nearly none succeed. Sampling stops with

    - `enough`: a >= target;
    - `spent`, or `hopeless` where none was accepted: (allowance - s) p < 1, so the samples left are not expected to
      bring one more accepted trace;

    otherwise min(size, ceil((target - a) / p), allowance - s) more are drawn. A target of None means a fixed number of
    samples: the first round and no other.

    Attributes:
        first: samples of the first round.
        target: accepted traces to reach for each problem; None: one round.
        most: samples a problem, at most.
        size: samples of one later round, at most.
    """

    first: int
    target: int | None = None
    most: int = 0
    size: int = 1

    @property
    def ceiling(self) -> int:
        """The most samples that a problem may get."""
        return self.first if self.target is None else max(self.first, self.most)

    def allowance(self, sampled: int, accepted: int) -> int:
        """Return how many samples a problem may have in total, given its verdicts so far (see the class)."""
        rate = _rate(sampled, accepted)
        return self.first + int(4 * rate * (1 - rate) * (self.ceiling - self.first) + 1e-9)

    def more(self, sampled: int, accepted: int) -> tuple[int, str | None]:
        """Return the number of samples of the next round, or 0 and why there is none.

        Args:
            sampled: samples drawn so far, whole rounds.
            accepted: those of them with verdict `correct`.
        """
        if self.target is None:
            return 0, SPENT
        if accepted >= self.target:
            return 0, ENOUGH
        rate, left = _rate(sampled, accepted), self.allowance(sampled, accepted) - sampled
        if left * rate < 1:
            return 0, SPENT if accepted else HOPELESS
        expected = -int(-(self.target - accepted) / rate // 1)  # the quotient, rounded up
        return min(self.size, expected, left), None


def _rate(sampled: int, accepted: int) -> float:
    return (accepted + 1) / (sampled + 2)


BILLIONTHS = 1_000  # of one unit of money that a token costs at a price of 1 a million


class Spending(NamedTuple):
    """What samples take.

    Attributes:
        tokens: of completions.
        money: for these and for prompts, in billionths.
    """

    tokens: int = 0
    money: int = 0

    def times(self, count: int) -> Spending:
        """Return what so many times as much takes."""
        return Spending(self.tokens * count, self.money * count)


NOTHING = Spending()


@dataclass(frozen=True)
class MoneyCap:
    """Money that a sampler may spend, and its prices for a million tokens."""

    most: float
    price: float
    prompt_price: float = 0.0

    @property
    def billionths(self) -> int:
        """The money, in billionths."""
        return int(self.most * 1e9)

    def of(self, tokens: int, prompt_tokens: int) -> int:
        """Return what a sample costs, in billionths; rounded up, so that a cap is never exceeded."""
        return ceil((self.price * tokens + self.prompt_price * prompt_tokens) * BILLIONTHS)


@dataclass
class SpendingBudget:
    """Tokens and money that may be spent on a sampler's problems, recorded samples counted like new ones.

    A problem is admitted by reserving the most that it can cost, and gives back what it did not use as its samples
    end. Admission goes in the order of the problems, and ends at the first that does not fit after all earlier ones
    are done. Reservations only shrink, so which problems are admitted depends on their order and on the samples'
    lengths, and not on time.

    Attributes:
        tokens: completion tokens; None: no limit.
        money: in billionths; None: no limit.
        spent: by samples that have ended.
        reserved: for admitted problems, beyond what they have spent.
    """

    tokens: int | None
    money: int | None = None
    spent: Spending = NOTHING
    reserved: Spending = NOTHING

    def admit(self, most: Spending) -> bool:
        """Reserve what a problem may cost; return whether it fits."""
        limits = zip((self.tokens, self.money), self.spent, self.reserved, most, strict=True)
        if any(limit is not None and sum(parts) > limit for limit, *parts in limits):
            return False
        self.reserved = _sum(self.reserved, most)
        return True

    def settle(self, reserved: Spending, spent: Spending) -> None:
        """Replace a part of a reservation by what was spent of it."""
        self.reserved = _sum(self.reserved, reserved.times(-1))
        self.spent = _sum(self.spent, spent)


def _sum(one: Spending, other: Spending) -> Spending:
    return Spending(one.tokens + other.tokens, one.money + other.money)


@dataclass
class Tally:
    """Accepted traces of one problem, round by round.

    Attributes:
        sampled: samples whose verdicts are counted.
        accepted: those with verdict `correct`.
        outcome: why it stopped; None while it goes on.
    """

    sampled: int = 0
    accepted: int = 0
    outcome: str | None = None

    def count(self, rounds: Rounds, verdicts: list[bool]) -> int:
        """Count a whole round's verdicts; return the samples of the next one, 0 where there is none."""
        self.sampled += len(verdicts)
        self.accepted += sum(verdicts)
        more, self.outcome = rounds.more(self.sampled, self.accepted)
        return more


@dataclass
class ShardOutcome:
    """What became of a shard's problems.

    Attributes:
        counts: samples of each problem that belong to the run.
        outcomes: how many problems stopped for each reason.
    """

    counts: dict[str, int] = field(default_factory=dict)
    outcomes: dict[str, int] = field(default_factory=dict)

    def add(self, problem: str, samples: int, outcome: str) -> None:
        """Count one problem."""
        self.counts[problem] = samples
        self.outcomes[outcome] = self.outcomes.get(outcome, 0) + 1
