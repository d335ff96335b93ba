"""Procedural problems: the same seed, the same problems; a task that proves nothing is refused."""

from __future__ import annotations

from functools import partial
from itertools import islice
from typing import Any

import pytest

from proofmill.data.errors import InputError, RecipeError
from proofmill.flows.ingest import prepared_row
from proofmill.flows.recipe.schema import ProceduralSource
from proofmill.generators.problems.ingest import problems_of
from proofmill.generators.problems.problem import IngestStats, SourceDefaults, problem_row
from proofmill.generators.problems.procedural import generate, is_held_out

TASK: dict[str, Any] = {"task": "basic_arithmetic", "args": {"min_terms": 2, "max_terms": 2}, "count": 5}


@pytest.mark.parametrize("domain", ["math", "logic"])
def test_the_same_seed_gives_the_same_problems(domain: str) -> None:
    first = list(generate(**TASK, seed=3, domain=domain))
    assert first == list(generate(**TASK, seed=3, domain=domain))
    assert first != list(generate(**TASK, seed=4, domain=domain))
    assert len(first) == 5
    assert all(isinstance(problem_row(item.row, SourceDefaults(domain, "s", None)), dict) for item in first)


@pytest.mark.parametrize("task", ["basic_arithmetic", "syllogism"])
def test_held_out_questions_are_enough_to_measure_with_and_other_sources_know_them(task: str) -> None:
    small = {"min_terms": 2, "max_terms": 2, "min_digits": 1, "max_digits": 1} if task == "basic_arithmetic" else {}

    def questions(seed: int, count: int, *, held_out: bool) -> list[str]:
        return [item.row["prompt"] for item in generate(task, small, count, seed, "math", held_out=held_out)]

    held = questions(0, 20, held_out=True)
    assert 8 < len(held) == len(set(held)) <= 20
    given = {question for seed in range(0, 5000, 1000) for question in questions(seed, 60, held_out=False)}
    assert len(given) > 80
    assert {question for question in given if not is_held_out(question)}.isdisjoint(held)


def test_a_run_leaves_held_out_questions_out_and_says_so() -> None:
    stats = IngestStats()
    rows = generate("basic_arithmetic", {}, 60, 0, "math")
    defaults = SourceDefaults("math", "s", None)
    source = ProceduralSource(kind="procedural", task="basic_arithmetic", domain="math", count=60)
    kept = list(problems_of(rows, stats, defaults, fields={}, prepare=partial(prepared_row, source)))
    assert not [row for row in kept if is_held_out(row["prompt"])]
    assert stats.read == 60 == len(kept) + stats.dropped["held_out"]
    assert stats.dropped["held_out"] > 2


def test_a_misspelt_task_names_the_nearest() -> None:
    with pytest.raises(RecipeError) as caught:
        list(generate("basic_arithmetics", {}, 1, 0, "math"))
    assert "'basic_arithmetic'" in caught.value.remedy


@pytest.mark.parametrize("args", [{"no_such_parameter": 1}, {"min_terms": 5, "max_terms": 2}])
def test_parameters_that_do_not_fit_are_the_recipes_fault(args: dict[str, Any]) -> None:
    with pytest.raises(RecipeError) as caught:
        list(generate("basic_arithmetic", args, 1, 0, "math"))
    assert "basic_arithmetic" in caught.value.where


@pytest.mark.parametrize("task", ["composite"])
def test_a_task_that_proves_nothing_is_refused(task: str) -> None:
    with pytest.raises(InputError, match="can't prove"):
        list(islice(generate(task, {}, 1, 0, "logic"), 1))
