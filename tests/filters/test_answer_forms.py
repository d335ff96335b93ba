r"""Forms of a right answer that must pass, beside near misses of the same form that must not."""

from __future__ import annotations

import pytest

from proofmill.filters.domains.math import VERIFIER as MATH
from proofmill.filters.verdicts import CORRECT, Problem

FORMS = {
    "differences of letters": (
        "p - q",
        ["p-q", "-q+p", "-(q-p)", "p -q"],
        ["q-p", "p+q", "pq", "p, q", "p"],
    ),
    "differences of products": ("ab-cd", ["ab - cd", "-dc+ba"], ["cd-ab", "ab-c", "abcd"]),
    "a letter that could be a unit": ("n - m", ["-m+n", "n-m"], ["n", "m - n", "n - s"]),
    "hyphens of words": ("x-ray", ["X-ray", "x - ray"], ["ray", "x ray"]),
    "names": (
        "12",
        ["[ABC]=12", r"\max f=12", r"k_{\max}=12", r"S_{\triangle ABC}=12", r"\Pr[X=1]=12", r"P(A\cap B)=12",
         "f(-2)=12", r"R_{\text{eq}}=12", r"\operatorname{Var}(X)=12"],
        ["x not = 12", "not x = 12", "wrong x = 12", r"\text{if }x=12", "1 when x=12", "3x=12", "x(x-1)=12",
         "p(p-1)=12", r"\max f \ne 12", "n!=12"],
    ),
}  # fmt: skip


def _judge(gold: str, answer: str, prompt: str = "") -> str:
    return MATH.verify(Problem("math", prompt, gold), f"So we get \\boxed{{{answer}}}.").verdict


@pytest.mark.parametrize("form", FORMS)
def test_a_form_passes_and_its_near_misses_do_not(form: str) -> None:
    gold, right, wrong = FORMS[form]
    assert [answer for answer in right if _judge(gold, answer) != CORRECT] == []
    assert [answer for answer in wrong if _judge(gold, answer) == CORRECT] == []
