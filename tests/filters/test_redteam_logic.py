"""Attacks on scorers that see no more of an answer than its digits."""

from __future__ import annotations

import pytest

from proofmill.filters.domains.logic import VERIFIER
from proofmill.filters.verdicts import CORRECT, WRONG, Problem

pytest.importorskip("reasoning_gym")

WRONG_FORMS = [
    "-{}", "- {}", "$-{}", "minus {}", "negative {}", "{}%", "{} percent", "{} million", "2*{}", "{}/2", "{} + x",
    "{}^2",
    "√{}", "sqrt({})", "less than {}", "more than {}", "wrong: {}", "anything except {}", "{} - 7", "{} or more",
]  # fmt: skip
RIGHT_FORMS = ["{}", " {} ", "${}$", "**{}**", "{}.", "{} apples", "The total is {}", "= {}", "x = {}", "\\text{{{}}}"]


def _verdict(answer: str, gold: str) -> str:
    entry = {"answer": gold, "question": "", "metadata": {}}
    problem = Problem("logic", "", gold, {"task": "gsm_symbolic", "entry": entry})
    return VERIFIER.verify(problem, f"<answer>{answer}</answer>").verdict


@pytest.mark.parametrize("form", WRONG_FORMS)
def test_another_number_with_the_same_digits_is_wrong(form: str) -> None:
    assert _verdict(form.format("1348"), "1348") == WRONG


@pytest.mark.parametrize("form", RIGHT_FORMS)
def test_the_number_itself_is_correct(form: str) -> None:
    assert _verdict(form.format("1348"), "1348") == CORRECT


def test_a_negative_gold_keeps_its_sign() -> None:
    entry = {"answer": "-591", "question": "", "metadata": {}}
    problem = Problem("logic", "", "-591", {"task": "chain_sum", "entry": entry})
    verdicts = [VERIFIER.verify(problem, f"<answer>{text}</answer>").verdict for text in ("-591", "591", "$-591$")]
    assert verdicts == [CORRECT, WRONG, CORRECT]
