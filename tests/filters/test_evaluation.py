"""The statistics of evaluations: known values, laws, and how often an interval holds the truth."""

from __future__ import annotations

import numpy as np
import pytest

from proofmill.filters.evaluation import Estimate, ProblemResult, by, difference, score, share


def result(number: int, correct: int, n: int = 4, **fields: object) -> ProblemResult:
    return ProblemResult(f"p{number}", "set", "math", n, correct, tokens=10 * n, **fields)  # type: ignore[arg-type]


def test_pass_at_k_is_the_unbiased_estimate() -> None:
    """Chen et al. 2021: 1 − C(n−c, k) / C(n, k); with n = 4, c = 1: 1/4, 1/2 and 1."""
    found = score([result(1, 1)])
    assert found is not None
    assert dict(found.pass_k) == {1: 0.25, 2: 0.5, 4: 1.0}


def test_samples_without_a_verdict_are_left_out_and_told() -> None:
    found = score([result(1, 2, errors=4), result(2, 0, 0, errors=4)])
    assert found is not None
    assert (found.problems, found.samples, found.pass_1.value, found.errors) == (1, 4, 0.5, 8 / 12)
    assert score([result(1, 0, 0, errors=3)]) is None


def test_guessing_is_corrected_problem_by_problem() -> None:
    """A coin gets half of the yes-or-no problems right and knows nothing; it is told where nothing can be guessed."""
    found = score([result(n, 2, guess=0.5) for n in range(9)] + [result(9, 4, guess=0.0)])
    assert found is not None
    assert found.known is not None
    assert found.known.value == pytest.approx(0.1)
    plain = score([result(1, 2)])
    assert plain is not None
    assert plain.known is None


@pytest.mark.parametrize("rate", [0.0, 1.0])
def test_an_interval_never_shrinks_to_nothing(rate: float) -> None:
    found = share(np.full(20, rate), 80)
    assert found.high - found.low > 0.1
    assert 0.0 <= found.low <= found.value <= found.high <= 1.0


@pytest.mark.parametrize(("mean", "spread"), [(0.5, 0.4), (0.15, 0.12), (0.05, 0.05)])
def test_the_interval_holds_the_truth_about_as_often_as_it_says(mean: float, spread: float) -> None:
    """Problems differ in difficulty, four samples each: an interval over samples would be too narrow."""
    random = np.random.default_rng(1)
    held = 0
    for _ in range(300):
        truth = np.clip(mean + spread * random.choice([-1.0, 1.0], 60), 0, 1)
        found = share(random.binomial(4, truth) / 4, 240)
        held += found.low <= mean <= found.high
    assert held / 300 >= 0.91


def test_more_samples_of_the_same_problems_do_not_count_as_more_problems() -> None:
    few = share(np.array([0.0, 1.0] * 10), 2000)
    assert few.high - few.low > 0.35


def test_problems_that_are_alike_make_no_certainty() -> None:
    alike, nearly = share(np.full(100, 0.5), 400), share(np.array([0.5] * 99 + [0.51]), 400)
    assert nearly.high - nearly.low > 0.08
    assert alike.high - alike.low > 0.08


def test_a_difference_is_paired() -> None:
    """All problems gain a little, though they differ a lot: only the pairing shows it."""
    first = [result(n, n % 17, 32) for n in range(40)]
    second = [result(n, n % 17 + 1 + n % 2, 32) for n in range(40)]
    found = difference(first, second)
    assert found is not None
    assert (found.winner, found.better, found.worse, found.problems) == (2, 40, 0, 40)
    assert found.pass_1.value == pytest.approx(1.5 / 32)
    reverse = difference(second, first)
    assert reverse is not None
    assert (reverse.winner, reverse.pass_1.value) == (1, pytest.approx(-1.5 / 32))


def test_models_that_are_equal_on_a_few_problems_are_not_proven_equal() -> None:
    same = [result(n, 0) for n in range(10)]
    found = difference(same, same)
    assert found is not None
    assert found.winner == 0
    assert found.pass_1.high > 0.2
    assert difference(same, [result(99, 1)]) is None


def test_votes_are_meant_over_the_sizes_that_all_have() -> None:
    found = score([result(1, 1, vote={1: 0.25, 2: 0.5}), result(2, 1, vote={1: 0.75}), result(3, 4)])
    assert found is not None
    assert (found.maj_k, found.voted) == ({1: 0.5}, 2)


def test_groups_keep_their_order_and_an_estimate_reads_well() -> None:
    assert list(by([result(1, 1), ProblemResult("q", "other", "code", 1, 1)], "group")) == ["set", "other"]
    assert str(Estimate(0.5, 0.4, 0.6)) == "50.0% [40.0%, 60.0%]"
