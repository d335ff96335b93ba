"""Procedural problems: the same seed, the same problems; a task that proves nothing is refused."""

from __future__ import annotations

from itertools import islice
from typing import Any

import pytest

from proofmill.data.errors import InputError, RecipeError
from proofmill.generators.problems.ingest import procedural
from proofmill.generators.problems.problem import SourceDefaults, problem_row

TASK: dict[str, Any] = {"task": "basic_arithmetic", "args": {"min_terms": 2, "max_terms": 2}, "count": 5}


@pytest.mark.parametrize("domain", ["math", "logic"])
def test_the_same_seed_gives_the_same_problems(domain: str) -> None:
    first = list(procedural(**TASK, seed=3, domain=domain))
    assert first == list(procedural(**TASK, seed=3, domain=domain))
    assert first != list(procedural(**TASK, seed=4, domain=domain))
    assert len(first) == 5
    assert all(isinstance(problem_row(item.row, SourceDefaults(domain, "s", None)), dict) for item in first)


def test_a_misspelt_task_names_the_nearest() -> None:
    with pytest.raises(RecipeError) as caught:
        list(procedural("basic_arithmetics", {}, 1, 0, "math"))
    assert "'basic_arithmetic'" in caught.value.remedy


@pytest.mark.parametrize("args", [{"no_such_parameter": 1}, {"min_terms": 5, "max_terms": 2}])
def test_parameters_that_do_not_fit_are_the_recipes_fault(args: dict[str, Any]) -> None:
    with pytest.raises(RecipeError) as caught:
        list(procedural("basic_arithmetic", args, 1, 0, "math"))
    assert "basic_arithmetic" in caught.value.where


@pytest.mark.parametrize("task", ["composite"])
def test_a_task_that_proves_nothing_is_refused(task: str) -> None:
    with pytest.raises(InputError, match="can't prove"):
        list(islice(procedural(task, {}, 1, 0, "logic"), 1))
