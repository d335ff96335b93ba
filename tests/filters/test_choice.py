"""Multiple choice: what an answer says, and what does not count as one."""

from __future__ import annotations

from typing import Any

import pytest

from proofmill.filters.domains.choice import VERIFIER
from proofmill.filters.verdicts import CORRECT, ERROR, UNPARSED, WRONG, Problem

CITIES = ["London", "Paris", "Paris, Texas", "Rome"]
NUMBERS = ["10", "12", "12.5", "$\\frac{1}{2}$"]
DOGS = {"A": "a dog", "B": "a cat", "C": "the letter", "D": "none of the above"}


def judge(text: str, answer: str = "B", options: Any = CITIES) -> tuple[str, str | None]:
    verdict = VERIFIER.quick(Problem("choice", "?", answer, {"options": options}), text)
    return verdict.verdict, verdict.detail


@pytest.mark.parametrize(
    "text",
    [
        "The answer is B.",
        "The answer is (B).",
        "The answer is **B**",
        "The answer is: **(B) Paris**",
        "the correct option is B because Rome is in Italy.",
        "Answer: B",
        "**Answer:** B) Paris",
        "Answer:\nB",
        "The answer is Paris.",
        "The answer is Paris, which is the capital.",
        "The answer is Paris (B).",
        "Thus \\boxed{B}.",
        "Thus \\boxed{\\text{B}}.",
        "Thus $\\boxed{\\textbf{(B)}\\ \\text{Paris}}$",
        "Thus \\boxed{Paris}",
        "Thus \\boxed{b}",
        "<answer>B</answer>",
        "So option B is correct.",
        "So (B) is the correct answer.",
        "It is not in Italy.\n\nB",
        "It is not in Italy.\n(B) Paris",
        "It is not in Italy.\nparis",
        "The answer is A. Wait, that is on the Thames. The answer is B.",
        "The answer is B. Option A is wrong. So the answer is B.",
        "The answer to the question is B",
    ],
)
def test_correct(text: str) -> None:
    assert judge(text)[0] == CORRECT
    assert judge(text, answer="D")[0] == WRONG
    assert judge(text, answer="paris")[0] == CORRECT
    assert judge(text, answer="1")[0] == CORRECT  # 0-based


@pytest.mark.parametrize(
    ("text", "verdict", "detail"),
    [
        ("The answer is B) Rome.", WRONG, "contradiction"),
        ("The answer is Rome (B).", WRONG, "contradiction"),
        ("\\boxed{B. London}", WRONG, "contradiction"),
        ("The answer is B) Paris, Texas", WRONG, "contradiction"),
        ("The answer is A and B.", WRONG, "several_options"),
        ("The answer is B or C.", WRONG, "several_options"),
        ("The answer is B, C", WRONG, "several_options"),
        ("The answer is Paris or London.", WRONG, "several_options"),
        ("\\boxed{B, D}", WRONG, "several_options"),
        ("Answer: B) Paris C) Paris, Texas D) Rome", WRONG, "several_options"),
        ("\\boxed{Berlin}", WRONG, "no_option"),
        ("\\boxed{A} or rather \\boxed{B}", UNPARSED, "several_answers"),
        ("The answer is A. The answer is B.", UNPARSED, "several_answers"),
        ("The answer is A.\nThe answer is C.\nThe answer is B.", UNPARSED, "several_answers"),
        ("The answer is not B.", UNPARSED, "no_answer"),
        ("The answer is a city on the Seine", UNPARSED, "no_answer"),
        ("I can't decide between B and C.", UNPARSED, "no_answer"),
        ("Option B is not correct, I think", UNPARSED, "no_answer"),
        ("", UNPARSED, "no_answer"),
    ],
)
def test_not_correct(text: str, verdict: str, detail: str) -> None:
    assert judge(text) == (verdict, detail)


@pytest.mark.parametrize(
    ("text", "answer", "options", "verdict"),
    [
        ("The answer is 12.", "B", NUMBERS, CORRECT),
        ("The answer is 12.5", "B", NUMBERS, WRONG),
        ("The answer is 12.5", "C", NUMBERS, CORRECT),
        ("The answer is B) 12.0", "B", NUMBERS, CORRECT),
        ("The answer is B) 13", "B", NUMBERS, WRONG),
        ("\\boxed{\\frac{1}{2}}", "D", NUMBERS, CORRECT),
        ("\\boxed{B^2}", "B", NUMBERS, WRONG),
        ("Paris is the correct answer.", "B", CITIES, CORRECT),
        ("Since it is the capital, Paris is correct.", "B", CITIES, CORRECT),
        ("Paris is not correct.", "B", CITIES, UNPARSED),
        ("b) paris\n\nit lies on the seine", "B", CITIES, CORRECT),
        ("**B) Paris**\n\nWhy not the others?\n- A) London is in England.", "B", CITIES, CORRECT),
        ("A) London\nB) Paris\nC) Paris, Texas\nD) Rome", "B", CITIES, UNPARSED),
        (
            "❌ **A)** In England.\n✅ **B)** On the Seine.\n❌ **C)** In Texas.\n❌ **D)** In Italy.",
            "B",
            CITIES,
            CORRECT,
        ),
        ("That leaves us with the second option.", "B", CITIES, CORRECT),
        ("Respuesta correcta: opción **b) Paris**. ¿Quieres otro ejercicio?", "B", CITIES, CORRECT),
        ("The answer is a dog.", "A", DOGS, CORRECT),
        ("The answer is a horse.", "A", DOGS, UNPARSED),
        ("The answer is A", "A", DOGS, CORRECT),
        ("The answer is none of the above", "D", DOGS, CORRECT),
        ("The answer is 3", "3", {"1": "x", "2": "y", "3": "z"}, CORRECT),
        ("The answer is C", "3", ["1", "2", "3", "4"], CORRECT),  # the option's text goes before the index
        ("The answer is B", "B", ["A) one", "B) two"], CORRECT),
        ("The answer is two", "B", ["A) one", "B) two"], CORRECT),
    ],
)
def test_options(text: str, answer: str, options: Any, verdict: str) -> None:
    assert judge(text, answer, options)[0] == verdict


@pytest.mark.parametrize(
    ("answer", "options"),
    [
        ("E", CITIES), ("9", CITIES), ("Berlin", CITIES), ("B", []), ("B", None), ("B", "London"),
        ("same", ["same", "same"]), ("", CITIES), ("A", {"A": "x", "a": "y"}), ("9" * 5000, CITIES),
    ],
)  # fmt: skip
def test_bad_gold_is_an_error(answer: str, options: Any) -> None:
    verdict, detail = judge("The answer is B.", answer, options)
    assert verdict == ERROR
    assert (detail or "").startswith("bad_gold")


def test_without_options_the_letter_decides() -> None:
    problem = Problem("choice", "A) x B) y", "B")
    assert VERIFIER.verify(problem, "The answer is B").verdict == CORRECT
    assert VERIFIER.verify(problem, "The answer is (C) z").verdict == WRONG


def test_final_start_points_at_the_statement() -> None:
    text = "Paris is in France. The answer is B."
    verdict = VERIFIER.quick(Problem("choice", "?", "B", {"options": CITIES}), text)
    assert verdict.final_start is not None
    assert text[verdict.final_start :] == "The answer is B."
    assert verdict.extracted == "B"


@pytest.mark.parametrize(
    "text",
    ["answer is " * 20_000, "\\boxed{" * 20_000, "answer is" + " " * 100_000, "<answer>" * 20_000,
     "{" * 100_000, "(" * 100_000, "\n" * 100_000, "\\text{" * 20_000, "answer: " + "B, " * 30_000],
)  # fmt: skip
def test_hostile_text_is_judged_at_once(text: str) -> None:
    assert judge(text)[0] in {UNPARSED, WRONG}
