"""Each form of claim and each status, case by case."""

from __future__ import annotations

import pytest

from proofmill.filters.claims.check import check
from proofmill.filters.claims.model import (
    JUMP,
    NOT_CHECKABLE,
    REFUTED,
    RETRACTED,
    STATUSES,
    UNSUPPORTED,
    VERIFIED,
    Claim,
    summarise,
)
from proofmill.filters.verdicts import Problem

PROBLEM = Problem("math", "")


def statuses(text: str, prompt: str = "") -> list[str]:
    return [claim.status for claim in check(Problem("math", prompt), text)]


TRUE = [
    "7 - 2 = 5",
    "7 − 2 = 5",
    "16 - 3 - 4 = 9 duck eggs a day.",
    "1,200 + 300 = 1,500",
    "12 plus 30 is 42",
    "twelve plus thirty is forty-two",
    "the difference between 7 and 2, which is 5",
    "the difference between 2 and 7 is 5",
    "6, which is 2 times 3",
    "half of 48 is 24",
    "a third of 18 is 6",
    "three quarters of 80 is 60",
    "twice 5 is 10",
    "the sum of 3 and 4 is 7",
    "the sum of 3, 4, and 5 is 12",
    "the product of 3 and 4 equals 12",
    "the average of 3, 4 and 5 is 4",
    "subtract 3 from 10 to get 7",
    "adding 3, 4, and 5 gives 12",
    "dividing 12 by 4 gives 3",
    "7 is 2 more than 5",
    "the square of 5 is 25",
    "the square root of 16 is 4",
    "20% of 50 = 10",
    "20% of 50 is 10",
    "25\\% of \\$80 = \\frac{25}{100} \\times \\$80 = \\$20",
    "25\\% \\text{ of } \\$2,000.00 = 0.25 \\times 2000 = \\$500.00",
    "5% = 0.05",
    "5/20 * 100 = 25%",
    "100% - 20% = 80%",
    "50 + 20% = 60",
    "1/3 × 18 = 6",
    "\\(1/3 \\times 18 = 6\\) flamingos",
    "\\[ \\frac{15 \\text{ gallons}}{5 \\text{ containers}} = 3 \\text{ gallons per container} \\]",
    "$\\frac12 + \\frac12 = 1$",
    "2 1/2 + 1/2 = 3",
    "2\\frac{1}{2} + \\frac{1}{2} = 3",
    "½ + ¼ = ¾",
    "$20 - $5 = $15",
    "\\$20 - \\$5 = \\$15",
    "$2.50 - $2.24 = 26 cents",
    "48/2 = 24 clips",
    "9 ducks * $2 = $18",
    "8 hours * 60 minutes/hour = 480 minutes",
    "(40 years + 56 years) / 2 = 48 years",
    "10 x $6.50 = $65.00",
    "3 hours + 30 minutes = 210 minutes",
    "2 hours = 120 minutes",
    "3 dozen = 36",
    "1 mile = 5,280 feet",
    "2^{10} = 1024",
    "2**10 = 1024",
    "3² + 4² = 5²",
    "5! = 120",
    "\\sqrt{16} = 4",
    "√16 = 4",
    "\\sqrt{2} \\approx 1.414",
    "\\pi \\cdot 2^2 \\approx 12.57",
    "\\binom{5}{2} = 10",
    "gcd(12, 18) = 6",
    "17 = 2 mod 5",
    "17 \\equiv 2 \\pmod{5}",
    "17 mod 5 = 2",
    "101_2 = 5",
    "10 / 3 = 3.33",
    "2/3 = 0.667",
    "40 * 0.3333 ≈ 13.3",
    "299 + 2 is about 300",
    "2000 / 2/3 = 3000",
    "32 / 2 = $16 million",
    "5 > 3",
    "3/4 < 0.8",
    "7 \\ge 7",
    "7 is greater than 5",
    "12 \\neq 13",
    "- 5 + 3 = 8",
    "**5 + 3 = 8**",
    "Therefore, 0 + 6 = 6",
]


@pytest.mark.parametrize("text", TRUE)
def test_a_true_claim_is_verified(text: str) -> None:
    found = statuses(text)
    assert VERIFIED in found
    assert REFUTED not in found


FALSE = [
    ("7 - 2 = 3", "7 - 2 = 3: the left side is 5"),
    ("12 plus 30 is 43", "12 plus 30 is 43: the left side is 42"),
    (
        "the difference between 7 and 2, which is 1",
        "difference between 7 and 2, which is 1: the left side is 5",
    ),
    ("11, which is 2 times 3", "11, which is 2 times 3: the right side is 6"),
    ("half of 48 is 25", "half of 48 is 25: the left side is 24"),
    ("twice 5 is 12", "twice 5 is 12: the left side is 10"),
    ("subtract 3 from 10 to get 6", "subtract 3 from 10 to get 6: the left side is 7"),
    ("20% of 50 = 11", "20% of 50 = 11: the left side is 10"),
    ("2 hours = 110 minutes", "2 hours = 110 minutes: the left side is 2"),
    ("1,200 + 300 = 1,600", "1,200 + 300 = 1,600: the left side is 1500"),
    ("10/3 = 3.34", "10/3 = 3.34: the left side is 10/3 ≈ 3.33333"),
    ("8 hours * 60 minutes/hour = 481 minutes", "the left side is 480"),
    ("3 + 4 = 2 + 6", "3 + 4 = 2 + 6: the left side is 7, the right side 8"),
    ("\\frac{15 \\text{ gallons}}{5} = 4", "the left side is 3"),
    ("5! = 125", "5! = 125: the left side is 120"),
    ("17 \\equiv 3 \\pmod{5}", "the sides differ by 14, modulus 5"),
    ("5 < 3", "the left side is 5, the right side 3"),
    ("the sum of 3, 4 and 5 is 13", "the left side is 12"),
    ("If she buys 15 and then 25, she has 15+25=42 cups.", "15+25=42 cups: the left side is 40"),
    ("for a total of 6+4+2 = 13 gifts", "6+4+2 = 13 gifts: the left side is 12"),
    ("he has 39 - 15 = 22 more pages to read", "the left side is 24"),
]


@pytest.mark.parametrize(("text", "evidence"), FALSE)
def test_a_false_claim_is_refuted_with_evidence(text: str, evidence: str) -> None:
    refuted = [claim for claim in check(PROBLEM, text) if claim.status == REFUTED]
    assert len(refuted) == 1
    assert evidence in refuted[0].evidence


AMBIGUOUS = [
    "x = 2y = 10",
    "1 = first",
    "Day 2 = 15 cookies",
    "1/3 = 6 apples",
    "5 pairs = 10 socks",
    "1 book = 300 pages",
    "The ratio is 2:3 = 4:6",
    "It is 12:30 + 2 = 14:30",
    "From 2020-01-05 to 2020-02-05 = 31 days",
    "Is 3 + 4 = 8?",
    "3 + 4 = 8 is false",
    "3 + 4 is not 8, so 3 + 4 = 8 is impossible",
    "If 2 + 2 = 5 then anything follows",
    "5 bags of 3 + 2 = 17",
    "total cost - 5 + 3 = 8",
    "f(2) = 7",
    "(1, 2) + (3, 4) = (4, 6)",
    "10 / 4 = 3 boxes",
    "2/3 = 0.66",
    "17 / 5 = 3 remainder 2",
    "20% is $14 + $42",
    "20 is 2*$20",
    "0900 - 0130 = 0730 hours",
    "Night 2:2(30)-2=58 pages",
    "10 + 4 = 2 pm",
    "6 - $2 = $4 more than 2 bagels",
    "4 hours less than 12*2 = 24 hours",
    "Dividing both sides by 4/3, we get b = 36",
    "```python\nx = 3 + 4 == 8\n```",
    "5 ± 2 = 8",
    "There are no integers between 0 and 6 that add up to 6.",
]


@pytest.mark.parametrize("text", AMBIGUOUS)
def test_what_may_mean_something_else_is_never_refuted(text: str) -> None:
    assert REFUTED not in statuses(text)


RUN_ON = ["3 + 4 = 7 * 2 = 14", "16 - 3 - 4 = 9 ducks * $2 = $18", "10 * 2 = 20 / 4 = 5 + 1 = 6"]


@pytest.mark.parametrize("text", RUN_ON)
def test_a_run_on_chain_carries_the_last_result(text: str) -> None:
    claims = check(PROBLEM, text)
    assert {claim.status for claim in claims} == {VERIFIED}
    assert any("run-on" in claim.evidence for claim in claims)


def test_a_run_on_chain_with_a_wrong_result_is_refuted() -> None:
    assert statuses("3 + 4 = 7 * 2 = 15") == [VERIFIED, REFUTED]


def test_every_link_of_a_chain_is_a_claim() -> None:
    assert statuses("2 + 3 = 5 = 10 / 2 = 6 - 2") == [VERIFIED, VERIFIED, REFUTED]


def test_calculator_marks_are_claims_of_their_own() -> None:
    claims = check(PROBLEM, "She has 16 - 3 = <<16-3=12>>13 eggs.")
    assert {(claim.kind, claim.status) for claim in claims} == {
        ("arithmetic", VERIFIED),
        ("calculator", REFUTED),
    }


def test_marks_written_in_binary_floating_point_are_verified() -> None:
    assert statuses("a <<40*.01*589=235.60000000000002>> b") == [VERIFIED]


ALGEBRA = [
    ("Let x = 3. Then 2x + 1 = 7.", ["definition", "equation"], [NOT_CHECKABLE, VERIFIED]),
    ("2x + 1 = 7, so x = 3.", ["equation", "solution"], [NOT_CHECKABLE, VERIFIED]),
    ("2x + 1 = 7, so x = 4.", ["equation", "solution"], [NOT_CHECKABLE, REFUTED]),
    ("3x = 10, so x = 3.33", ["equation", "solution"], [NOT_CHECKABLE, VERIFIED]),
    ("x^2 - 5x + 6 = 0, so x = 2 or x = 3", ["equation", "solution", "solution"], None),
    ("(x+1)^2 = x^2 + 2x + 1", ["identity"], [VERIFIED]),
    ("(x+1)(x+2) = x^2 + 2x + x + 2 = x^2 + 3x + 3", ["identity", "identity"], [VERIFIED, REFUTED]),
    ("x + y = 10 and x - y = 2, so x = 6", None, [NOT_CHECKABLE, NOT_CHECKABLE, VERIFIED]),
    ("x + y = 10 and x - y = 2, so x = 7", None, [NOT_CHECKABLE, NOT_CHECKABLE, REFUTED]),
    ("2x + 3 = 11\n2x = 8\nx = 4", None, [NOT_CHECKABLE, VERIFIED, VERIFIED]),
    ("2x + 3 = 11\n2x = 9", None, [NOT_CHECKABLE, JUMP]),
    ("\\[ 20 = O_c - 2 \\] Adding 2 to both sides: \\[ O_c = 22 \\]", None, [NOT_CHECKABLE, VERIFIED]),
    ("\\[ 20 = O_c - 2 \\] Adding 2 to both sides: \\[ O_c = 21 \\]", None, [NOT_CHECKABLE, REFUTED]),
]


@pytest.mark.parametrize(("text", "kinds", "expected"), ALGEBRA)
def test_unknowns(text: str, kinds: list[str] | None, expected: list[str] | None) -> None:
    claims = check(PROBLEM, text)
    assert kinds is None or [claim.kind for claim in claims] == kinds
    assert expected is None or [claim.status for claim in claims] == expected


TRANSFORMED = [
    ("(x - 16 + 100) - 25 = x + 69 - 25", REFUTED),
    ("2x + 4 = 2x + 7 is impossible", NOT_CHECKABLE),
    ("0.99b + 1.01b + b = 4500. Combine like terms: 3.01b = 4500.", REFUTED),
    ("3x + x = 20. Combine like terms: 4x = 20.", VERIFIED),
    ("2x * 3 = 12. This simplifies to: 6x = 24.", REFUTED),
    ("2x * 3 = 12. This simplifies to: 6x = 12.", VERIFIED),
    ("Simplify: Total = 3a + a + 60\nTotal = 5a + 60", REFUTED),
    ("Simplify: Total = 3a + a + 60\nTotal = 4a + 60", VERIFIED),
]


@pytest.mark.parametrize(("text", "status"), TRANSFORMED)
def test_a_rewriting_is_held_against_what_it_rewrites(text: str, status: str) -> None:
    assert statuses(text)[-1] == status


MATHEMATICS = [
    "Multiplying both sides of $\\frac{x+1}{x-1} = 3$ by $x-1$ gives $x + 1 = 3(x-1) = 3x - 3$. Thus $x = 2$.",
    "By Vieta, $r + s = 5$ and $rs = 6$, so $r^2 + s^2 = (r+s)^2 - 2rs = 25 - 12 = 13$.",
    "$x = \\frac{5 \\pm \\sqrt{25 - 24}}{2} = \\frac{5 \\pm 1}{2}$, so $x = 3$ or $x = 2$.",
    "Case 1: $x = 2$. Then $y = 3x = 6$. Case 2: $x = 5$. Then $y = 3x = 15$.",
    "$i^2 = -1$, so $(2 + 3i)(1 - i) = 2 - 2i + 3i - 3i^2 = 5 + i$.",
    "We try $k = 1$: $k^2 + 1 = 2$. $k = 2$: $k^2 + 1 = 5$. $k = 3$: $k^2 + 1 = 10$.",
    "$t = 3$ hours: $d = 60t = 180$ miles. At $t = 5$: $d = 60t = 300$.",
    "For $x=1$ we get $3x+2=5$; for $x=2$ we get $3x+2=8$; in general $3x + 2 = y$.",
    "$123_7 = 1 \\cdot 49 + 2 \\cdot 7 + 3 = 66$. $5!! = 15$. $0.\\overline{3} = \\frac{1}{3}$.",
    "$x + 3 = x^2 - 6x + 9$, so $x = 1$ or $x = 6$. Only $x = 6$ works since $\\sqrt{1+3} = 2 \\neq -2$.",
    "The equation $x + 1 = x + 2$ has no solution. $0 = 1$ is a contradiction.",
    "$-3^2 = -9$, $(-3)^2 = 9$, $2^{3^2} = 2^9 = 512$, $6 \\div 2(1+2) = 9$.",
    "$1 + 2 + 3 + \\cdots + 100 = 5050$ and $1 + \\frac12 + \\frac14 + \\cdots = 2$.",
    "$\\begin{align*} 2x + 3y &= 12 \\\\ 4x - 3y &= 6 \\end{align*}$ Adding gives $6x = 18$, so $x = 3$, $y = 2$.",
]


@pytest.mark.parametrize("text", MATHEMATICS)
def test_sound_mathematics_is_not_refuted(text: str) -> None:
    assert not {REFUTED, JUMP} & set(statuses(text))


def test_a_supposed_value_is_not_held_against_an_equation() -> None:
    assert REFUTED not in statuses("2x + 1 = 7. Suppose x = 4. Then the left side is too large.")
    assert REFUTED not in statuses("2x + 1 = 7. Let x be the number of dogs. x = 4.")


RESTATED = [
    ("Total cost = $40 + $105 + $60. Total cost = $205.", VERIFIED),
    ("Total cost = $40 + $105 + $60. Total cost = $215.", REFUTED),
    ("\\[ \\text{Total fruits} = 52 + 24 \\]\n\\[ \\text{Total fruits} = 76 \\]", VERIFIED),
]


@pytest.mark.parametrize(("text", "status"), RESTATED)
def test_a_total_named_twice_is_held_against_its_calculation(text: str, status: str) -> None:
    assert [claim.status for claim in check(PROBLEM, text) if claim.kind == "restatement"] == [status]


PRICES = "Ann buys 17 pens for $23 each and 41 rulers."


def test_a_value_from_nowhere_is_unsupported() -> None:
    claims = check(Problem("math", PRICES), "She pays 17 * 23 = 391.\nThe tax is 391 * 0.0731 = 28.5821.")
    assert [claim.status for claim in claims if claim.kind == "value"] == [UNSUPPORTED]


def test_given_derived_and_common_values_are_supported() -> None:
    text = "She pays 17 * 23 = 391.\nWith tax, 391 + 41 = 432.\nA year has 365 days: 432 * 365 = 157680."
    assert set(statuses(text, PRICES)) == {VERIFIED}


def test_an_answer_from_nowhere_is_a_jump() -> None:
    claims = check(Problem("math", PRICES), "She pays 17 * 23 = 391.\nThe answer is \\boxed{7777}.")
    assert [claim.status for claim in claims if claim.kind == "conclusion"] == [JUMP]


CORRECTED = [
    "5 + 3 = 9. Wait, that's wrong. 5 + 3 = 8.",
    "17 * 3 = 41. That is incorrect.",
    "17 * 3 = 41.\nActually, 17 * 3 = 51.",
    "17 * 3 = 41. Let me recompute: 3 * 17 = 51.",
    "17 * 3 = 41, hence too many.\nDoing it again, 17 * 3 = 51.",
]


@pytest.mark.parametrize("text", CORRECTED)
def test_a_claim_that_the_trace_corrects_is_retracted(text: str) -> None:
    assert statuses(text)[0] == RETRACTED


def test_a_wrong_value_that_is_used_later_is_not_retracted() -> None:
    assert statuses("17 * 3 = 41. Then 41 + 2 = 43. Also 17 * 3 = 51.")[0] == REFUTED


def test_hesitation_alone_retracts_nothing() -> None:
    assert statuses("17 * 3 = 41. Wait for the next bus.")[0] == REFUTED


def test_offsets_point_into_the_text() -> None:
    text = "First, some words.\nThen 7 - 2 = 3 apples.\nLast 2 + 2 = 4."
    claims = check(PROBLEM, text, final_start=text.index("Last"))
    assert [text[claim.start :].startswith(claim.text) for claim in claims] == [True, True]
    assert [claim.step for claim in claims] == [1, 2]
    assert [claim.in_final for claim in claims] == [False, True]


def test_given_steps_are_kept() -> None:
    claims = check(PROBLEM, steps=["1 + 1 = 2. 2 + 2 = 4.", "nothing", "3 + 3 = 7"])
    assert [(claim.step, claim.status) for claim in claims] == [(0, VERIFIED), (0, VERIFIED), (2, REFUTED)]
    assert claims[2].start == len("1 + 1 = 2. 2 + 2 = 4.\nnothing\n")


def test_neither_text_nor_steps_is_an_error() -> None:
    with pytest.raises(ValueError, match="text or its steps"):
        check(PROBLEM)


def claim(status: str, step: int) -> Claim:
    return Claim(step, "arithmetic", "", status, "", 0)


def test_the_summary_counts_what_was_decided() -> None:
    summary = summarise([claim(status, step) for step, status in enumerate(STATUSES)], steps=12)
    assert summary.claims_checked == 3
    assert summary.claims_refuted == 1
    assert summary.first_refuted_step == STATUSES.index(REFUTED)
    assert summary.claim_score == 0.5
    assert summary.coverage == 3 / 12


def test_a_trace_without_checkable_claims_has_no_score() -> None:
    summary = summarise(check(PROBLEM, "I think that it is a nice day."), steps=1)
    assert (summary.claim_score, summary.first_refuted_step, summary.coverage) == (None, None, 0.0)
