"""Routing by recorded samples: where a problem ends, what it costs, and which policies none beats."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proofmill.filters.routing import (
    Attempt,
    Cell,
    Policy,
    Step,
    band,
    cheapest_first,
    frontier,
    policies,
    policy_table,
    replayed,
    route,
)

SMALL, LARGE = Step("small", 1.0), Step("large", 10.0)
BOTH = Policy((SMALL, LARGE), large_only=("knowledge",))


def drawn(*proven: bool | None) -> list[Attempt]:
    return [Attempt(one, 1000) for one in proven]


@pytest.mark.parametrize(
    ("small", "policy", "ends", "why", "cost"),
    [
        ((True, False), BOTH, "small", "proven", 0.002),
        ((False, False), BOTH, "large", "unproven", 0.012),
        ((), BOTH, "large", "untried", 0.01),
        ((None, None), BOTH, "large", "unproven", 0.012),
        ((False, True), Policy((SMALL, LARGE), below=0.5), "large", "below", 0.012),
        ((False, True), Policy((Step("small", 1.0, 1), LARGE)), "large", "unproven", 0.011),
        ((True, None), Policy((SMALL, LARGE), below=0.5), "small", "proven", 0.002),
    ],
)
def test_a_problem_ends_where_it_is_proven(
    small: tuple[bool | None, ...], policy: Policy, ends: str, why: str, cost: float
) -> None:
    found = route(policy, "math", {"small": drawn(*small), "large": drawn(True)})
    assert (found.model, found.why) == (ends, why)
    assert found.cost == pytest.approx(cost)


def test_a_domain_that_is_for_the_large_model_never_asks_the_small_one() -> None:
    found = route(BOTH, "knowledge", {"small": drawn(True), "large": drawn(False)})
    assert (found.model, found.why, [tried.model for tried in found.tried]) == (None, "large_only", ["large"])


def test_what_was_proven_stays_proven_where_no_teacher_proves_it() -> None:
    found = route(Policy((SMALL, LARGE), below=0.5), "math", {"small": drawn(True, False), "large": drawn(False)})
    assert (found.model, found.proven) == ("small", True)


PROBLEMS = st.lists(
    st.fixed_dictionaries({name: st.lists(st.booleans(), min_size=1, max_size=3) for name in ("a", "b", "c")}),
    min_size=1,
    max_size=8,
)


@settings(max_examples=50)
@given(PROBLEMS)
def test_more_models_solve_no_less_and_none_beats_the_frontier(found: list[dict[str, list[bool]]]) -> None:
    problems = [("math", {name: drawn(*proven) for name, proven in problem.items()}) for problem in found]
    outcomes = replayed(policies([Step("a", 1.0), Step("b", 2.0), Step("c", 5.0)]), problems)
    solved = {tuple(step.model for step in outcome.policy.steps): outcome.solved for outcome in outcomes}
    assert len(solved) == 6
    assert all(count >= max(solved[name,] for name in names) for names, count in solved.items())
    best = frontier(outcomes)
    for outcome in outcomes:
        better = [o for o in best if o.cost <= outcome.cost and o.solved >= outcome.solved]
        assert better or not outcome.solved
    assert [o.solved for o in best] == sorted({o.solved for o in best})


def test_the_dearest_is_who_costs_most_prompts_included() -> None:
    samples = {name: [Attempt(True, 10, 1000)] for name in ("a", "b", "c")}
    models = [Step("a", 1.0, prompt_price=10.0), Step("b", 2.0), Step("c", 2.5)]
    assert [step.model for step in cheapest_first(models, [("math", samples)])] == ["b", "c", "a"]
    assert [step.model for step in cheapest_first(models, [])] == ["a", "b", "c"], "by price where nothing was sampled"


def test_bands_hold_every_rate_once() -> None:
    assert [band(rate) for rate in (None, 0.0, 0.1, 0.25, 0.3, 0.5, 0.75, 0.8, 1.0)] == [None, 0, 1, 1, 2, 2, 3, 4, 4]


def test_the_policy_names_the_model_that_answers_most_and_the_last_one_where_none_does() -> None:
    cells = {
        ("math", 4): Cell(3, {"small": 2, "large": 1}),
        ("math", 0): Cell(2, {"large": 1}),
        ("logic", 0): Cell(1),
    }
    found = policy_table(BOTH, cells)
    assert [(rule["domain"], rule["pass_rate"], rule["model"]) for rule in found["rules"]] == [
        ("logic", [0.0, 0.0], "large"), ("math", [0.0, 0.0], "large"), ("math", [0.75, 1.0], "small"),
    ]  # fmt: skip
    assert found["by_domain"] == {"logic": "large", "math": "small"}


def test_each_sample_pays_for_its_prompt_too() -> None:
    policy = Policy((replace(SMALL, prompt_price=0.5), replace(LARGE, prompt_price=4.0)))
    attempts = {name: [Attempt(name == "large", 1000, 200)] * 2 for name in ("small", "large")}
    found = route(policy, "math", attempts)
    assert [tried.cost for tried in found.tried] == pytest.approx([0.0022, 0.0216])
    assert [tried.prompt_tokens for tried in found.tried] == [400, 400]
