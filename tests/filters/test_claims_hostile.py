"""Texts made to be slow or to break the reader: all are read in bounded work."""

from __future__ import annotations

import time

import pytest

from proofmill.filters.claims.check import check
from proofmill.filters.claims.model import REFUTED, VERIFIED
from proofmill.filters.verdicts import Problem

PROBLEM = Problem("math", "2 and 3")
MANY = 20_000

HOSTILE = {
    "equal signs": "1" + "=1" * 10_000,
    "only equal signs": "=" * MANY,
    "huge powers": "9^9^9^9^9^9 = 3. 2^(2^(2^(2^(2^9)))) = 1. 10^100000000 = 5",
    "power tower": "2" + "^2" * 5_000 + " = 4",
    "raised digits": "2" + "⁹" * 5_000 + " = 1, 101" + "₂" * 5_000 + " = 5",
    "functions": "\\sin " * MANY + "1 = 2",
    "primes": "f" + "'" * MANY + "(1) = 2",
    "charges": "2Cl⁻ = 3, Na⁺ + Cl⁻ = 2, 5⁻ = 1, x⁻⁻² = 3 " * 500,
    "escapes": '{"reasoning": "' + "\\\\n\\\\\\\\" * 10_000 + '3 + 4 = 8"}',
    "notes": "5 (0 boxes " * 5_000 + "= 3",
    "open ends": "3 + 4 -\n" * 5_000,
    "indices": "_{" * MANY + "}" * MANY + " 3 = 4",
    "factorials": "170!! = 3; 99999! = 1; 5" + "!" * 5_000 + " = 1",
    "nested brackets": "(" * 5_000 + "1" + ")" * 5_000 + " = 1",
    "open brackets": "(" * MANY + "1 = 2",
    "open sums": "(1+" * 10_000 + "1 = 2",
    "nested fractions": "\\frac{1}{" * 3_000 + "1" + "}" * 3_000 + " = 2",
    "no blanks": "a" * 100_000,
    "one long number": "9" * 100_000 + " = 1",
    "a long sum": "1" + "+1" * MANY + " = 3",
    "minus signs": "-" * 50_000 + "1 = 1",
    "of of of": "5% of " * 10_000 + "3 = 1",
    "half of half of": "half of " * 10_000 + "3 = 1",
    "aggregates": "the sum of " * 10_000,
    "units": "5 " + "apple " * MANY,
    "unknowns": "\n".join(f"{i}x + y = {i}" for i in range(2_000)),
    "definitions": "x = " * 5_000 + "1",
    "roots": "√" * MANY + "4 = 2",
    "fences": "```" * MANY,
    "environments": "\\begin{align}" * 10_000,
    "marks": "<<1+1=3>>" * 2_500,
    "corrections": "1+1=3. wait " * 2_100,
    "binomials": "\\binom{1000}{500}^{1000} = 1",
    "wide numbers": "1" + "0" * 39 + "^1024 = 3",
    "undefined": "1/0 = 1, 0^0 = 1, 0^{-1} = 2, \\log(0) = 1, \\sqrt{-1} = 1, (-8)^{1/3} = -2",
    "false sums": "} 3 + 4 = 8 " * 8_000,
    "called functions": "f(x) = x + 1, f(3) = 5. " * 4_000,
    "open pairs": "(x = 1, " * 8_000,
    "code that would run": "__import__('os').system('x') = 1; exec('1') = 1 + 1",
}


@pytest.mark.slow
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_text_is_read(name: str) -> None:
    """A step takes half a second at most, two on a slow machine; many times that where each claim reads it anew."""
    assert len(check(PROBLEM, HOSTILE[name])) <= 2_000
    start = time.process_time()
    assert len(check(PROBLEM, steps=[HOSTILE[name]])) <= 2_000
    assert time.process_time() - start < 8


def test_what_stands_beside_hostile_text_is_still_checked() -> None:
    text = f"3 + 4 = 7\n{HOSTILE['nested brackets']}\n{HOSTILE['power tower']}\n3 + 4 = 8"
    statuses = [claim.status for claim in check(PROBLEM, text)]
    assert statuses[0] == VERIFIED
    assert statuses[-1] == REFUTED


def test_a_value_too_large_to_hold_is_no_claim() -> None:
    assert check(PROBLEM, "2^{99999} = 1") == []


def test_what_is_cut_at_the_end_of_a_long_step_is_no_claim() -> None:
    step = "x" * 19_980 + " so 40 + 2 = 42000"
    for cut in range(12):
        assert [claim.status for claim in check(PROBLEM, steps=["x" * cut + step])] in ([], [REFUTED])
    long = " and ".join(["400 + 200 = 600"] * 2_000)
    assert REFUTED not in [claim.status for claim in check(PROBLEM, steps=[long])]
