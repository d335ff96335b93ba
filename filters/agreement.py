"""Which answers to one problem are the same, and what a vote of them says.

Answers cluster by the domain's own equivalence. It need not be transitive, so a cluster is what is joined by a chain
of equal answers: whatever the order of the answers, the clusters are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import comb
from random import Random

from proofmill.data.files import digest
from proofmill.filters.domains import find_domain, is_known
from proofmill.filters.verdicts import Problem, Voting

_MAX_COMPARED = 48  # different answers without a key that are compared pair by pair
_MAX_SUBSETS = 2_000  # above it, so many are drawn
_AS_TEXT = Voting()

Key = tuple[str, str]
"""`exact` or `text`, and what two answers share if they are equal; `text` says nothing of those that differ."""


def can_vote(domain: str, custom: Mapping[str, str] | None = None) -> bool:
    """Return whether a domain's answers are short statements that can agree; False for a domain that is not known."""
    return is_known(domain, custom) and find_domain(domain, custom).voting is not None


def clusters(problem: Problem, answers: Sequence[str], custom: Mapping[str, str] | None = None) -> list[int]:
    """Return a cluster number for each answer; equal answers share one.

    The cost is for the caller's worker pool to bound.

    Args:
        problem: what was answered; its domain says which answers are equal.
        answers: as they were extracted.
        custom: custom verifiers as `package.module:name`.
    """
    voting = find_domain(problem.domain, custom).voting if can_vote(problem.domain, custom) else None
    voting = voting or _AS_TEXT
    keys = {answer: _key(voting, problem, answer) for answer in set(answers)}
    if voting.equal is not None:
        keys = _joined(keys, voting.equal)
    numbers: dict[Key, int] = {}
    return [numbers.setdefault(keys[answer], len(numbers)) for answer in answers]


def _key(voting: Voting, problem: Problem, answer: str) -> Key:
    exact = voting.key(problem, answer)
    if exact is not None:
        return "exact", exact
    # Where answers are compared with each other, words mean what they say, so only blanks at the ends are dropped.
    return "text", answer.strip() if voting.equal is not None else " ".join(answer.split()).casefold()


def _joined(keys: Mapping[str, Key], equal: Callable[[str, str], bool]) -> dict[str, Key]:
    """Return the keys of answers, where one without an exact key takes that of an equal answer."""
    chosen = {key: answer for answer, key in sorted(keys.items(), reverse=True)}  # one answer for each key
    leader = {key: key for key in chosen}

    def top(key: Key) -> Key:
        while leader[key] != key:
            key = leader[key]
        return key

    for a, b in combinations(sorted(chosen, reverse=True)[:_MAX_COMPARED], 2):  # those without an exact key first
        both_exact = a[0] == b[0] == "exact"  # then they are equal or they are not
        if not both_exact and top(a) != top(b) and equal(chosen[a], chosen[b]):
            low, high = sorted((top(a), top(b)))
            leader[high] = low
    return {answer: top(key) for answer, key in keys.items()}


@dataclass(frozen=True, slots=True)
class Ballot:
    """One sample's vote.

    Attributes:
        cluster: which answer; None where it stated none.
        weight: how much it counts: 1 for a majority vote, the reliability r for CLR.
        correct: whether its answer is right.
    """

    cluster: int | None
    weight: float = 1.0
    correct: bool = False


def totals(ballots: Iterable[Ballot]) -> dict[int, float]:
    """Return the sum of weights of each answer; the same whatever the order of the ballots."""
    weights: dict[int, list[float]] = {}
    for ballot in ballots:
        if ballot.cluster is not None:
            weights.setdefault(ballot.cluster, []).append(ballot.weight)
    return {cluster: sum(sorted(each)) for cluster, each in weights.items()}


def winners(ballots: Iterable[Ballot]) -> list[int]:
    """Return the answers with the largest sum of weights: one, several at a tie, none where nobody voted."""
    sums = totals(ballots)
    best = max(sums.values(), default=0.0)
    return sorted(cluster for cluster, value in sums.items() if value == best)


def pass_at_k(n: int, correct: int, k: int) -> float:
    """Return the chance that one of k samples is right, unbiased: 1 − C(n−c, k) / C(n, k), n ≥ k (arXiv 2107.03374)."""
    return 1.0 - comb(n - correct, k) / comb(n, k)


def vote_at_k(ballots: Sequence[Ballot], k: int) -> float:
    """Return the probability that the vote of k of these samples is right; a tie counts by its share of right answers.

    The mean over all subsets of k, which is unbiased; over 2,000 drawn ones where there are more. Equal ballots in
    another order give the same value.

    Args:
        ballots: n samples of one problem, those without an answer too.
        k: 1 to n.
    """
    ordered = sorted(ballots, key=lambda b: (b.cluster is None, b.cluster or 0, b.weight, b.correct))
    subsets: Iterable[Iterable[Ballot]]
    if comb(len(ordered), k) <= _MAX_SUBSETS:
        subsets = list(combinations(ordered, k))
    else:
        draw = Random(digest("subsets", len(ordered), k))
        subsets = [draw.sample(ordered, k) for _ in range(_MAX_SUBSETS)]
    scores = [_right(list(subset)) for subset in subsets]
    return sum(scores) / len(scores)


def votes_by_k(ballots: Sequence[Ballot], sizes: Iterable[int]) -> dict[int, float]:
    """Return for each k how often the vote of k samples is right: the unbiased mean over the disjoint runs of k.

    Cheaper than `vote_at_k` and coarser: meant for means over many problems. At k = 1 it is the share of right samples.

    Args:
        ballots: n samples of one problem in the order of their index.
        sizes: each k, 1 to n.
    """
    found = {}
    for k in sizes:
        scores = [_right(ballots[start : start + k]) for start in range(0, len(ballots) - k + 1, k)]
        found[k] = sum(scores) / len(scores)
    return found


def _right(ballots: Sequence[Ballot]) -> float:
    best = winners(ballots)
    right = {ballot.cluster for ballot in ballots if ballot.correct}
    return sum(cluster in right for cluster in best) / len(best) if best else 0.0
