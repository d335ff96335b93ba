"""Answers that are the same vote together, whatever their order, and estimators are what they estimate."""

from __future__ import annotations

from itertools import combinations, permutations
from math import comb
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proofmill.filters.agreement import Ballot, clusters, pass_at_k, totals, vote_at_k, votes_by_k, winners
from proofmill.filters.verdicts import Problem

MATH = Problem("math", "How much?", None)
ballots = st.lists(
    st.builds(Ballot, st.none() | st.integers(0, 3), st.floats(0, 1), st.just(False)), min_size=1, max_size=7
).map(lambda rows: [Ballot(row.cluster, row.weight, row.cluster == 1) for row in rows])


@pytest.mark.parametrize(
    ("answers", "same"),
    [
        (["1/2", "0.5", "\\frac{1}{2}", "2"], [0, 0, 0, 1]),
        (["\\sqrt{8}", "2\\sqrt{2}", "3"], [0, 0, 1]),
        (["x+1", "1+x", "x"], [0, 0, 1]),
    ],
)
def test_equal_mathematics_is_one_answer(answers: list[str], same: list[int]) -> None:
    assert clusters(MATH, answers) == same


def test_a_choice_is_its_label() -> None:
    problem = Problem("choice", "Which?", None, {"options": ["Paris", "Rome"]})
    assert clusters(problem, ["(A)", "Paris", "B", "A) Paris", "C"]) == [0, 0, 1, 0, 2]


def test_answers_of_other_domains_are_their_words() -> None:
    assert clusters(Problem("logic", "Is it?", None), ["Yes", " yes ", "No"]) == [0, 0, 1]


@given(
    st.lists(st.sampled_from(["1/2", "0.5", "\\sqrt{2}", "2^{1/2}", "7", "x", "nonsense {"]), max_size=8), st.randoms()
)
def test_clusters_do_not_depend_on_order(answers: list[str], random: Any) -> None:
    before = dict(zip(answers, clusters(MATH, answers), strict=True))
    shuffled = list(answers)
    random.shuffle(shuffled)
    after = dict(zip(shuffled, clusters(MATH, shuffled), strict=True))
    assert all((before[a] == before[b]) == (after[a] == after[b]) for a, b in combinations(answers, 2))


@given(ballots, st.randoms())
def test_the_winner_does_not_depend_on_order(votes: list[Ballot], random: Any) -> None:
    before, sums = winners(votes), totals(votes)
    random.shuffle(votes)
    assert winners(votes) == before
    assert totals(votes) == sums


@given(ballots)
def test_equal_weights_are_a_majority_vote(votes: list[Ballot]) -> None:
    plain = [Ballot(vote.cluster) for vote in votes if vote.cluster is not None]
    counts = {cluster: [v.cluster for v in plain].count(cluster) for cluster in {v.cluster for v in plain}}
    assert set(winners(plain)) == {cluster for cluster, n in counts.items() if n == max(counts.values())}


def test_reliability_can_outvote_a_majority() -> None:
    votes = [Ballot(0, 0.1), Ballot(0, 0.1), Ballot(0, 0.1), Ballot(1, 0.9, correct=True)]
    assert winners(votes) == [1]
    assert winners([Ballot(v.cluster) for v in votes]) == [0]
    assert winners([Ballot(None)]) == []


@given(st.integers(1, 7), st.data())
def test_pass_at_k_is_the_mean_over_subsets(n: int, data: Any) -> None:
    correct, k = data.draw(st.integers(0, n)), data.draw(st.integers(1, n))
    right = [place < correct for place in range(n)]
    hits = [any(subset) for subset in combinations(right, k)]
    assert pass_at_k(n, correct, k) == pytest.approx(sum(hits) / len(hits))


@given(ballots, st.randoms(), st.data())
def test_a_vote_at_k_is_a_share_that_order_does_not_change(votes: list[Ballot], random: Any, data: Any) -> None:
    k = data.draw(st.integers(1, len(votes)))
    value = vote_at_k(votes, k)
    random.shuffle(votes)
    assert vote_at_k(votes, k) == value
    assert 0.0 <= value <= 1.0


@given(ballots)
def test_a_vote_of_one_is_pass_at_one(votes: list[Ballot]) -> None:
    correct = sum(vote.correct for vote in votes)
    assert vote_at_k(votes, 1) == pytest.approx(correct / len(votes))


def test_a_tie_counts_by_its_share() -> None:
    assert vote_at_k([Ballot(0, correct=True), Ballot(1)], 2) == 0.5


def test_many_subsets_are_drawn_and_come_near() -> None:
    votes = [Ballot(0, correct=True)] * 24 + [Ballot(1)] * 16
    assert vote_at_k(votes, 1) == pytest.approx(0.6)
    exact = sum(comb(24, right) * comb(16, 15 - right) for right in range(8, 16)) / comb(40, 15)
    assert vote_at_k(votes, 15) == pytest.approx(exact, abs=0.03)


@given(st.lists(st.booleans(), min_size=1, max_size=12))
def test_votes_by_k_begin_at_the_share_of_right_ones_and_end_at_the_vote_of_all(right: list[bool]) -> None:
    votes = [Ballot(0 if correct else 1, correct=correct) for correct in right]
    found = votes_by_k(votes, (1, len(votes)))
    assert found[1] == pytest.approx(sum(right) / len(right))
    assert found[len(votes)] == vote_at_k(votes, len(votes))


def test_votes_by_k_are_unbiased() -> None:
    """Over all orders of the samples their mean is the mean over all subsets."""
    votes = [Ballot(0, correct=True), Ballot(0, 0.5, correct=True), Ballot(1, 2.0), Ballot(None), Ballot(2)]
    orders = list(permutations(votes))
    for k in (2, 3):
        mean = sum(votes_by_k(order, (k,))[k] for order in orders) / len(orders)
        assert mean == pytest.approx(vote_at_k(votes, k))
