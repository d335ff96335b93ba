"""What repeated samples say about a model: pass@1 with its interval, pass@k, maj@k, and the difference of two models.

Samples of one problem are no independent trials, so a problem is the unit: means are over problems, and intervals are
clustered by problem (Miller 2024, arXiv 2411.00640). For shares the interval is Wilson's with the effective number of
trials that the spread over problems gives (Korn & Graubard 1998), which stays inside 0 to 1 and does not shrink to
nothing where all or no samples are right. Differences are paired: both models answered the same problems, so what a
problem's difficulty adds to both falls out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from math import sqrt
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from proofmill.filters.agreement import pass_at_k

CONFIDENCE = 0.95
Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ProblemResult:
    """What a model's samples say of one problem.

    Attributes:
        id, group, domain: which problem; the group is its set in the suite.
        n: judged samples; those that a verifier or engine failed on are left out.
        correct, truncated, unparsed: of these; what is truncated counts as unparsed too.
        errors: samples that were left out.
        tokens: completion tokens of the n samples.
        guess: share of right answers that chance gives.
        vote: by k, how often the answer that k samples agree on is right; empty where answers can't vote.
        reliable_vote: the same with each vote weighed by a model's reliability (CLR); empty where none judged.
    """

    id: str
    group: str
    domain: str
    n: int
    correct: int
    truncated: int = 0
    unparsed: int = 0
    errors: int = 0
    tokens: int = 0
    guess: float = 0.0
    vote: Mapping[int, float] = field(default_factory=dict)
    reliable_vote: Mapping[int, float] = field(default_factory=dict)

    @property
    def rate(self) -> float:
        """Share of the judged samples that are right."""
        return self.correct / self.n


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over problems with its 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.1%} [{self.low:.1%}, {self.high:.1%}]"


@dataclass(frozen=True, slots=True)
class Score:
    """What is measured of one model on some problems.

    Attributes:
        problems, samples: judged.
        pass_1: share of right samples, the mean over problems.
        known: the same corrected for guessing, (p - g) / (1 - g); None where no problem can be guessed.
        pass_k: by k, the chance that one of k samples is right (unbiased, Chen et al. 2021).
        maj_k, clr_k: by k, the chance that the vote of k samples is right; over `voted` problems.
        voted: problems whose answers can vote.
        tokens: completion tokens of a sample.
        truncated, unparsed: shares of the judged samples.
        errors: share of all samples that no verdict was possible on.
    """

    problems: int
    samples: int
    pass_1: Estimate
    known: Estimate | None
    pass_k: Mapping[int, float]
    maj_k: Mapping[int, float]
    clr_k: Mapping[int, float]
    voted: int
    tokens: Estimate
    truncated: float
    unparsed: float
    errors: float

    def to_json(self) -> dict[str, Any]:
        """Return the measures as JSON-like data; every k is a text, as keys in JSON are."""
        plain = asdict(self)
        for name in ("pass_k", "maj_k", "clr_k"):
            plain[name] = {str(k): rate for k, rate in plain[name].items()}
        return plain


def score(results: Sequence[ProblemResult]) -> Score | None:
    """Return what these problems measure; None where not one sample could be judged."""
    judged = [result for result in results if result.n]
    if not judged:
        return None
    samples = sum(result.n for result in judged)
    errors = sum(result.errors for result in results)
    guesses = np.array([result.guess for result in judged])
    rates = np.array([result.rate for result in judged])
    known = _mean((rates - guesses) / (1 - guesses)) if guesses.any() else None
    sizes = _sizes(min(result.n for result in judged))
    voters = [result for result in judged if result.vote]
    return Score(
        problems=len(judged),
        samples=samples,
        pass_1=share(rates, samples),
        known=known,
        pass_k={k: fmean(pass_at_k(result.n, result.correct, k) for result in judged) for k in sizes},
        maj_k=_votes([result.vote for result in voters]),
        clr_k=_votes([result.reliable_vote for result in judged if result.reliable_vote]),
        voted=len(voters),
        tokens=_mean(np.array([result.tokens / result.n for result in judged])),
        truncated=sum(result.truncated for result in judged) / samples,
        unparsed=sum(result.unparsed for result in judged) / samples,
        errors=errors / (samples + errors),
    )


def _sizes(most: int) -> list[int]:
    """Return the powers of 2 up to a number, and the number itself."""
    return sorted({2**power for power in range(most.bit_length())} | {most})


def _votes(curves: Sequence[Mapping[int, float]]) -> dict[int, float]:
    """Return the mean curve over the sizes that all problems have."""
    common = set.intersection(*(set(curve) for curve in curves)) if curves else set()
    return {k: fmean(curve[k] for curve in curves) for k in sorted(common)}


def share(rates: Values, samples: int) -> Estimate:
    """Return the mean share over problems with its interval (Wilson's, with an effective number of trials).

    Args:
        rates: of each problem, 0 to 1.
        samples: of all problems; the effective number of trials is no larger, however alike the problems' rates are.
    """
    count, mean = len(rates), float(rates.mean())
    error = _standard_error(rates)
    trials = float(count)
    if error > 0 and 0 < mean < 1:
        trials = mean * (1 - mean) / error**2 * (_quantile(None) / _quantile(count - 1)) ** 2
        trials = min(trials, float(samples))
    z2 = _quantile(None) ** 2
    centre = (mean + z2 / (2 * trials)) / (1 + z2 / trials)
    half = sqrt(z2) / (1 + z2 / trials) * sqrt(mean * (1 - mean) / trials + z2 / (4 * trials**2))
    return Estimate(mean, max(0.0, min(centre - half, mean)), min(1.0, max(centre + half, mean)))


def _mean(values: Values) -> Estimate:
    """Return the mean with Student's interval; of one problem nothing but the value is known."""
    mean = float(values.mean())
    half = _quantile(len(values) - 1) * _standard_error(values) if len(values) > 1 else 0.0
    return Estimate(mean, mean - half, mean + half)


def _standard_error(values: Values) -> float:
    return float(values.std(ddof=1)) / sqrt(len(values)) if len(values) > 1 else 0.0


@cache
def _quantile(freedom: int | None) -> float:
    """Return how many standard errors the interval reaches to each side: Student's t; None: the normal distribution."""
    from scipy import stats  # takes half a second

    level = (1 + CONFIDENCE) / 2
    return float(stats.norm.ppf(level) if freedom is None else stats.t.ppf(level, max(freedom, 1)))


@dataclass(frozen=True, slots=True)
class Difference:
    """Two models on the same problems.

    Attributes:
        problems: that both answered.
        pass_1: second minus first, with its paired interval.
        tokens: of a sample, second minus first.
        better, worse: problems on which the second model's share of right samples is higher, lower.
    """

    problems: int
    pass_1: Estimate
    tokens: Estimate
    better: int
    worse: int

    @property
    def winner(self) -> int:
        """0: the interval holds 0; 1: the first model is better; 2: the second."""
        return 2 if self.pass_1.low > 0 else 1 if self.pass_1.high < 0 else 0

    def to_json(self) -> dict[str, Any]:
        """Return its attributes and the winner, as JSON-like data."""
        return asdict(self) | {"winner": self.winner}


def difference(first: Sequence[ProblemResult], second: Sequence[ProblemResult]) -> Difference | None:
    """Return how two models differ on the problems that both answered; None where there is no such problem."""
    others = {result.id: result for result in second if result.n}
    pairs = [(one, others[one.id]) for one in first if one.n and one.id in others]
    if not pairs:
        return None
    gains = np.array([b.rate - a.rate for a, b in pairs])
    gain = _mean(gains)
    if not np.ptp(gains):  # where all are equal, a share of up to 3 / n problems may still differ (rule of three)
        bound = 1 - (1 - CONFIDENCE) ** (1 / len(pairs))
        gain = Estimate(gain.value, gain.value - bound, gain.value + bound)
    return Difference(
        problems=len(pairs),
        pass_1=Estimate(gain.value, max(-1.0, gain.low), min(1.0, gain.high)),
        tokens=_mean(np.array([b.tokens / b.n - a.tokens / a.n for a, b in pairs])),
        better=int((gains > 0).sum()),
        worse=int((gains < 0).sum()),
    )


def by(results: Sequence[ProblemResult], name: str) -> dict[str, list[ProblemResult]]:
    """Return the results by `group` or `domain`, in the order in which these come."""
    groups: dict[str, list[ProblemResult]] = {}
    for result in results:
        groups.setdefault(str(getattr(result, name)), []).append(result)
    return groups
