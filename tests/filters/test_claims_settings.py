"""Right mathematics in many notations and settings: not one claim of it is refuted, whatever else is said of it.

Each line of `claims_right.txt` is a problem (or what it is about) and a text that is right as it stands: residues,
bases, operations of the problem's own, suppositions, options, conversions, LaTeX. A false alarm here would cost a
good trace.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from proofmill.filters.claims.check import check
from proofmill.filters.claims.model import REFUTED, VERIFIED
from proofmill.filters.verdicts import Problem

HERE = Path(__file__).parent
RIGHT = (HERE / "claims_right.txt").read_text(encoding="utf-8").splitlines()
PLAINLY_WRONG = (HERE / "claims_wrong.txt").read_text(encoding="utf-8").splitlines()

# The same settings must not hide plain errors.
WRONG = [
    ("Find the remainder when 100 is divided by 7.", "7 * 14 = 97, so the rest is 2."),
    ("A triangle with base 6 and height 4", "Its area is 6 * 4 / 2 = 13."),
    ("Let a * b = a + 2b. Find 3 * 4.", "3 + 8 = 12."),
    ("Write 27 in base 4", "16 + 8 + 3 = 28"),
    ("What is the units digit?", "3 * 4 = 13"),
    ("", "72 km / 2 hours = 35 km per hour"),
    ("", "3 × 10^2 = 310"),
    ("", "2\\frac12 + 1 = 4.5"),
    ("", "He eats a total of 8 x 5 = 43 pounds."),
    ("", "1600*.01=18 pounds"),
]


@pytest.mark.parametrize("line", RIGHT)
def test_what_is_right_is_not_refuted(line: str) -> None:
    problem, text = line.split(" || ", 1)
    claims = check(Problem("math", problem), text)
    assert [(claim.text, claim.evidence) for claim in claims if claim.status == REFUTED] == []


def test_most_of_it_is_read() -> None:
    """Not refuting is no merit where nothing is read."""
    found = [check(Problem("math", line.split(" || ")[0]), line.split(" || ", 1)[1]) for line in RIGHT]
    assert sum(claim.status == VERIFIED for claims in found for claim in claims) >= 600


@pytest.mark.parametrize(("problem", "text"), WRONG)
def test_a_setting_hides_no_plain_error(problem: str, text: str) -> None:
    assert REFUTED in [claim.status for claim in check(Problem("math", problem), text)]


@pytest.mark.parametrize("line", PLAINLY_WRONG)
def test_one_error_among_right_steps_is_found(line: str) -> None:
    problem, text = line.split(" || ", 1)
    assert REFUTED in [claim.status for claim in check(Problem("math", problem), text)]


@pytest.mark.parametrize("base", ["0", "1", "37", "99"])
def test_a_base_that_is_none_is_passed_over(base: str) -> None:
    claims = check(Problem("math", f"Work in base {base}."), "0 + 1 = 10. Then 0 + 0 = 3.")
    assert [claim.status for claim in claims] == [REFUTED, REFUTED]
