"""What must be found: false steps of our own making, and where the data is at hand, those of labelled files.

Each line of `claims_recall.txt` is the index of the first wrong step, the problem, and a solution in steps.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from proofmill.filters.claims.check import check
from proofmill.filters.claims.model import REFUTED
from proofmill.filters.verdicts import Problem

DATA = Path(__file__).parents[2].parent / "shared" / "data"
RECALL = (Path(__file__).parent / "claims_recall.txt").read_text(encoding="utf-8").splitlines()
TABLES = json.loads((Path(__file__).parents[1] / "benchmarks" / "false_equalities.json").read_text())


@pytest.mark.parametrize("line", RECALL)
def test_the_first_false_step_is_found_and_nothing_before_it(line: str) -> None:
    label, problem, solution = line.split(" || ")
    row = {"problem": problem, "steps": solution.split(" ;; ")}
    assert min(refuted_steps(row), default=None) == int(label)


@pytest.mark.parametrize("name", TABLES)
def test_steps_that_hold_a_false_equality_are_refuted(name: str) -> None:
    if not (DATA / name).exists():
        pytest.skip(f"{DATA / name} is not on this machine")
    rows = {row["id"]: row for row in json.loads((DATA / name).read_text())}
    listed = TABLES[name]["equalities"]
    assert all(rows[identity]["label"] >= 0 for identity in listed)
    found = [identity for identity in listed if rows[identity]["label"] in refuted_steps(rows[identity])]
    assert len(found) >= 0.9 * len(listed), sorted(set(listed) - set(found))


def refuted_steps(row: dict[str, Any]) -> set[int]:
    claims = check(Problem("math", row["problem"]), steps=row["steps"])
    return {claim.step for claim in claims if claim.status == REFUTED}


def test_the_detector_of_the_benchmark_finds_false_sums(false_sums: Any) -> None:
    find = false_sums.false_sums
    false = ["3 + 4 = 8", "\\frac{1}{2} \\times 10 = 6", "$1,200 + $300 = $1,600", "2 boxes * 3 = 7 balls"]
    assert [len(list(find(text))) for text in false] == [1, 1, 1, 1]
    true = ["3 + 4 = 7", "10 / 3 = 3.33", "1/4 of the oranges = 60", "- 8 / 2 = 4", "20% of 50 = 10", "x = 2y = 8"]
    assert [list(find(text)) for text in true] == [[]] * len(true)
