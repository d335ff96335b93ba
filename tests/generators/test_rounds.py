"""The rule that decides on further rounds: what it promises whatever the verdicts are."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proofmill.generators.rounds import (
    ENOUGH,
    HOPELESS,
    NOTHING,
    SPENT,
    MoneyCap,
    Rounds,
    Spending,
    SpendingBudget,
    Tally,
)

rules = st.builds(
    lambda first, target, more, size: Rounds(first, target, first + more, size),
    st.integers(1, 16),
    st.integers(1, 20),
    st.integers(0, 100),
    st.integers(1, 40),
)


def played(rule: Rounds, verdicts: list[bool]) -> tuple[Tally, list[int]]:
    """What becomes of a problem whose samples have these verdicts, and the sizes of its rounds."""
    tally, sizes = Tally(), [rule.first]
    while more := tally.count(rule, verdicts[sum(sizes[:-1]) : sum(sizes)]):
        sizes.append(more)
    return tally, sizes


@given(rules, st.lists(st.booleans(), min_size=116, max_size=116))
def test_no_problem_ever_gets_more_than_its_budget(rule: Rounds, verdicts: list[bool]) -> None:
    tally, sizes = played(rule, verdicts)
    assert sizes[0] == rule.first
    assert all(1 <= size <= rule.size for size in sizes[1:])
    assert tally.sampled == sum(sizes) <= rule.ceiling
    assert tally.accepted == sum(verdicts[: tally.sampled])
    assert tally.outcome == (ENOUGH if tally.accepted >= (rule.target or 0) else SPENT if tally.accepted else HOPELESS)


@given(rules, st.lists(st.booleans(), min_size=116, max_size=116), st.data())
def test_verdicts_that_come_later_change_nothing_before(
    rule: Rounds, verdicts: list[bool], data: st.DataObject
) -> None:
    """So a run that is resumed takes the same decisions from the same recorded samples."""
    _, sizes = played(rule, verdicts)
    known = sum(sizes[: data.draw(st.integers(1, len(sizes)))])
    other = verdicts[:known] + data.draw(st.lists(st.booleans(), min_size=116, max_size=116))
    _, again = played(rule, other)
    shared = [sum(sizes[:place]) for place in range(1, len(sizes) + 1) if sum(sizes[:place]) <= known]
    assert again[: len(shared)] == sizes[: len(shared)]


def spent_at(rate: float) -> float:
    """Mean number of samples of problems that are solved at a rate."""
    rule, dice = Rounds(8, 16, 64, 8), random.Random(0)
    return sum(played(rule, [dice.random() < rate for _ in range(64)])[0].sampled for _ in range(200)) / 200


def test_most_is_spent_where_a_verdict_tells_most() -> None:
    never, seldom, half, always = (spent_at(rate) for rate in (0.0, 0.1, 0.5, 1.0))
    assert always == 16, "as many as are wanted, all of them right"
    assert never < seldom < half
    assert half > 1.5 * max(never, always)


@pytest.mark.parametrize(("first", "most", "sampled"), [(8, 16, 8), (8, 32, 8), (8, 64, 12), (16, 256, 28)])
def test_a_problem_that_is_never_solved_is_given_up_early(first: int, most: int, sampled: int) -> None:
    tally, _ = played(Rounds(first, 4, most, 4), [False] * most)
    assert (tally.sampled, tally.outcome) == (sampled, HOPELESS)


def test_without_a_target_there_is_one_round() -> None:
    assert played(Rounds(5), [True, False] * 10)[1] == [5]


problems = st.tuples(st.integers(1, 300), st.integers(0, 300), st.floats(0, 1))


@given(st.integers(0, 2000), st.floats(0, 0.02), st.lists(problems, max_size=30), st.randoms())
def test_a_budget_is_never_exceeded(
    total: int, money: float, costs: list[tuple[int, int, float]], order: random.Random
) -> None:
    """Whatever is spent of each reservation, and whenever it is given back."""
    cap = MoneyCap(money, 10.0, 2.5)
    budget, open_, paid = SpendingBudget(total, cap.billionths), [], 0.0
    for most, prompt, share in costs:
        spent = int(most * share)
        if budget.admit(Spending(most, cap.of(most, prompt))):
            open_.append((Spending(most, cap.of(most, prompt)), Spending(spent, cap.of(spent, prompt))))
            paid += (10.0 * spent + 2.5 * prompt) / 1e6
        while open_ and order.random() < 0.5:
            budget.settle(*open_.pop(order.randrange(len(open_))))
        assert budget.spent.tokens + budget.reserved.tokens <= total
    for pair in open_:
        budget.settle(*pair)
    assert (budget.spent.tokens <= total, budget.reserved) == (True, NOTHING)
    assert paid <= money + 1e-12
