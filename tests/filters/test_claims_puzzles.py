"""Puzzle assignments held against their constraints, and stated outputs of code."""

from __future__ import annotations

import pickle
import re
from typing import Any

import pytest
import reasoning_gym

from proofmill.filters.claims.check import TraceCheck, check, check_trace
from proofmill.filters.claims.model import NOT_CHECKABLE, REFUTED, RETRACTED, VERIFIED
from proofmill.filters.verdicts import Problem


def problems(task: str, count: int = 8) -> list[tuple[Problem, dict[str, Any]]]:
    entries = reasoning_gym.create_dataset(task, size=count, seed=11)
    return [(Problem("logic", e["question"], e["answer"], {"task": task, "entry": e}), e) for e in entries]


def statuses(problem: Problem, text: str, kind: str) -> set[str]:
    return {claim.status for claim in check(problem, text) if claim.kind == kind}


def test_the_right_roles_are_verified_and_swapped_ones_refuted() -> None:
    for problem, entry in problems("knights_knaves"):
        terms = entry["metadata"]["knight_knave_terms"]
        swap = {terms["knight"]: terms["knave"], terms["knave"]: terms["knight"]}
        pattern = "|".join(map(re.escape, swap))
        wrong = re.sub(pattern, lambda match, swap=swap: swap[match.group()], entry["answer"])
        assert statuses(problem, f"The answer: {entry['answer']}", "assignment") == {VERIFIED}
        assert statuses(problem, f"The answer: {wrong}", "assignment") == {REFUTED}


def test_a_supposed_role_is_not_refuted() -> None:
    for problem, entry in problems("knights_knaves"):
        name, truthful = entry["metadata"]["names"][0], entry["metadata"]["solution"][0]
        terms = entry["metadata"]["knight_knave_terms"]
        wrong = terms["knave"] if truthful else terms["knight"]
        text = f"Suppose {name} is a {wrong}.\nThat fails.\nLet us go on."
        assert statuses(problem, text, "assignment") == {NOT_CHECKABLE}


@pytest.mark.parametrize("task", ["mini_sudoku", "sudoku", "futoshiki"])
def test_a_solved_grid_is_verified_and_a_changed_one_refuted(task: str) -> None:
    for problem, entry in problems(task, 4):
        answer = entry["answer"]
        place = re.search(r"\d", answer)
        assert place is not None
        changed = f"{answer[: place.start()]}{int(place.group()) % 4 + 1}{answer[place.end() :]}"
        assert statuses(problem, f"Solution:\n{answer}", "grid") == {VERIFIED}
        assert statuses(problem, f"Solution:\n{changed}", "grid") == {REFUTED}


def test_puzzle_data_of_another_shape_is_ignored() -> None:
    for metadata in (
        {"names": ["A"], "statements": [["??", 1]]},
        {"puzzle": "x"},
        {"puzzle": [[1, 2], [1]]},
        None,
        3,
    ):
        info = {"entry": {"metadata": metadata}}
        assert check(Problem("logic", "", None, info), "A is a knight.\n1 2\n2 1") == []


CODE = """Here it is:
```python
def f(x):
    return x * 5

f(3)  # 15
print(f(4))  # Output: 21
y = f(1)  # => 5
f(2)  # the second call
g(2)  # 3
```
And in the shell:
```
>>> f(2)
10
```
"""


def evaluate(code: str, expression: str, literal: str) -> bool | None:
    assert "def f(x):" in code
    return {"f(3)": "15", "f(4)": "20", "f(1)": "5"}[expression] == literal if expression != "f(2)" else None


def test_stated_outputs_are_run_by_the_evaluator() -> None:
    claims = [claim for claim in check(Problem("code", ""), CODE, evaluate=evaluate) if claim.kind == "output"]
    assert [claim.text for claim in claims] == [
        "f(3)  # 15",
        "print(f(4))  # Output: 21",
        "y = f(1)  # => 5",
        ">>> f(2)\n10",
    ]
    assert [claim.status for claim in claims] == [VERIFIED, REFUTED, VERIFIED, NOT_CHECKABLE]


def test_without_an_evaluator_outputs_are_not_checked() -> None:
    assert {claim.status for claim in check(Problem("code", ""), CODE)} == {NOT_CHECKABLE}


def test_a_first_pass_without_a_jail_and_a_second_one_say_what_one_pass_says() -> None:
    problem = Problem("code", "")
    first: TraceCheck = pickle.loads(pickle.dumps(check_trace(problem, CODE)))  # noqa: S301  as a pool sends it
    assert [first.claims[output.claim].text for output in first.outputs_to_run] == [
        claim.text for claim in first.claims if claim.kind == "output"
    ]
    second = first.with_outputs(evaluate)
    assert list(second.claims) == check(problem, CODE, evaluate=evaluate)
    assert second.summary.claims_refuted == 1
    assert second.outputs_to_run == ()


def test_a_stated_output_that_the_trace_takes_back_is_retracted() -> None:
    text = "```python\ndef f(x):\n    return x * 5\n\nf(3)  # 16\n```\nOops, that is wrong."
    claims = check_trace(Problem("code", ""), text).with_outputs(evaluate).claims
    assert [claim.status for claim in claims if claim.kind == "output"] == [RETRACTED]


def test_a_trace_without_code_leaves_nothing_to_run() -> None:
    result = check_trace(Problem("math", ""), "3 + 4 = 7\nThe answer is 3 + 4 = 8.", final_start=10)
    assert (result.outputs_to_run, result.steps, result.refuted_in_final) == ((), 2, True)
