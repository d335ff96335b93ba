"""Procedural tasks: which scorers are trusted, and what their marks mean."""

from __future__ import annotations

from typing import Any

import pytest
import reasoning_gym

from proofmill.filters import scorers
from proofmill.filters.domains.logic import VERIFIER
from proofmill.filters.verdicts import CORRECT, ERROR, UNPARSED, WRONG, Problem

TASKS = [
    "syllogism",
    "spell_backward",
    "time_intervals",
    "mini_sudoku",
    "countdown",
    "letter_counting",
    "number_sorting",
    "puzzle24",
    "prime_factorization",
    "simple_integration",
    "spiral_matrix",
    "word_sorting",
    "n_queens",
    "zebra_puzzles",
    "game_of_life",
    "knights_knaves",
    "polynomial_multiplication",
]


def problem(task: str, index: int = 0) -> Problem:
    entry = scorers.entry_json(reasoning_gym.create_dataset(task, seed=5, size=index + 1)[index])
    return Problem("logic", entry["question"], entry["answer"], {"task": task, "entry": entry})


def tagged(answer: str) -> str:
    return f"Let me see.\n<answer>{answer}</answer>"


@pytest.mark.parametrize("task", TASKS)
def test_gold_passes_and_garbage_does_not(task: str) -> None:
    posed = problem(task)
    assert posed.answer is not None
    gold = VERIFIER.verify(posed, tagged(posed.answer))
    assert (gold.verdict, gold.extracted, gold.detail) == (CORRECT, posed.answer, "answer_tag")
    assert VERIFIER.verify(posed, tagged(f"\n{posed.answer}\n")).verdict == CORRECT
    assert VERIFIER.verify(posed, tagged("zzqx")).verdict == WRONG
    assert VERIFIER.verify(posed, tagged(posed.answer + " or " + posed.answer)).verdict == WRONG
    assert VERIFIER.verify(posed, "I can't say.").verdict == UNPARSED
    assert VERIFIER.verify(posed, "").verdict == UNPARSED


@pytest.mark.parametrize("task", ["no_such_task", "composite"])
def test_scorers_that_prove_nothing_are_refused(task: str) -> None:
    assert scorers.usable(task)
    entry = {"question": "q", "answer": "True", "metadata": {}}
    verdict = VERIFIER.verify(Problem("logic", "q", None, {"task": task, "entry": entry}), tagged("True"))
    assert verdict.verdict == ERROR
    assert task in (verdict.detail or "")


@pytest.mark.parametrize("task", TASKS)
def test_trusted_scorers_are_used(task: str) -> None:
    assert scorers.usable(task) is None


CODE = "__import__('pathlib').Path('{path}').write_text('x')"


@pytest.mark.parametrize("task", sorted(scorers.FORMS))
def test_answers_are_never_executed(task: str, tmp_path: Any) -> None:
    path = tmp_path / "executed"
    verdict = VERIFIER.verify(problem(task, 1), tagged(CODE.format(path=path)))
    assert (verdict.verdict, path.exists()) == (WRONG, False)


@pytest.mark.parametrize("task", ["number_sorting", "polynomial_multiplication", "simple_integration"])
def test_golds_are_never_executed(task: str, tmp_path: Any) -> None:
    posed, path = problem(task), tmp_path / "executed"
    entry: dict[str, Any] = {**posed.info["entry"], "answer": CODE.format(path=path)}
    entry["metadata"] = {**entry["metadata"], "integrand": CODE.format(path=path)}
    hostile = Problem("logic", "q", None, {"task": task, "entry": entry})
    assert VERIFIER.verify(hostile, tagged("['1', '2']" if task == "number_sorting" else "x**2")).verdict != CORRECT
    assert not path.exists()


ENTRY = {"question": "Is it?", "answer": "Yes", "metadata": {}}
GRID = {"question": "Rotate", "answer": "1 2\n3 4", "metadata": {}}
NUMBER = {"question": "How many?", "answer": "20", "metadata": {}}


@pytest.mark.parametrize(
    ("task", "entry", "text", "verdict"),
    [
        ("syllogism", ENTRY, "The answer is Yes.", CORRECT),
        ("syllogism", ENTRY, "So \\boxed{\\text{Yes}}", CORRECT),
        ("syllogism", ENTRY, "<answer>**yes**</answer>", CORRECT),
        ("syllogism", ENTRY, "Yes", CORRECT),
        ("syllogism", ENTRY, "Yes, it does, since all of them do.", CORRECT),
        ("syllogism", ENTRY, "No, it does not, since some of them do.", WRONG),
        ("syllogism", ENTRY, "<answer>No</answer> Wait. <answer>Yes</answer>", CORRECT),
        ("syllogism", ENTRY, "<answer>Yes</answer> Wait. <answer>No</answer>", WRONG),
        ("syllogism", ENTRY, "<answer>No</answer>\n\n<answer>Yes</answer>", UNPARSED),
        ("syllogism", ENTRY, "<answer>Yes</answer> Indeed <answer>Yes</answer>", CORRECT),
        ("syllogism", ENTRY, "<answer>Yes or No</answer>", WRONG),
        ("syllogism", ENTRY, "<answer>not Yes</answer>", WRONG),
        ("syllogism", ENTRY, "<answer>No\nYes</answer>", WRONG),
        ("gsm_symbolic", NUMBER, "<answer>20 bananas</answer>", CORRECT),
        ("gsm_symbolic", NUMBER, "<answer>5 + 15 = 20</answer>", CORRECT),
        ("gsm_symbolic", NUMBER, "She has 5 + 15, so the answer is 20.", CORRECT),
        ("gsm_symbolic", NUMBER, "#### 21", WRONG),
        ("gsm_symbolic", NUMBER, "So she has 20 bananas.", CORRECT),
        ("gsm_symbolic", NUMBER, "<answer>20 30</answer>", WRONG),
        ("rotate_matrix", GRID, "So:\n```\n1 2\n3 4\n```", CORRECT),
        ("rotate_matrix", GRID, "1 2\n3 4", CORRECT),
        ("rotate_matrix", GRID, "So it is\n1 2\n3 4", UNPARSED),
        ("rotate_matrix", GRID, "```\n1 2\n3 4\n```\n```\n1 2\n3 5\n```", UNPARSED),
        ("gsm_symbolic", NUMBER, "<answer>nan</answer>", WRONG),
        ("gsm_symbolic", NUMBER, "<answer>x = 3, y = 20</answer>", WRONG),
        ("gsm_symbolic", NUMBER, "<answer>```\n20\n```</answer>", CORRECT),
        ("gsm_symbolic", NUMBER, "<answer>" + "20 " * 30_000 + "</answer>", WRONG),
        ("gsm_symbolic", NUMBER, "<answer>" * 30_000, UNPARSED),
    ],
)
def test_policy(task: str, entry: dict[str, Any], text: str, verdict: str) -> None:
    posed = Problem("logic", "q", None, {"task": task, "entry": entry})
    assert VERIFIER.verify(posed, text).verdict == verdict


@pytest.mark.parametrize("info", [{}, {"task": "syllogism"}, {"task": "syllogism", "entry": {"answer": None}}])
def test_bad_gold_is_an_error(info: dict[str, Any]) -> None:
    verdict = VERIFIER.verify(Problem("logic", "q", "Yes", info), tagged("Yes"))
    assert verdict.verdict == ERROR
    assert (verdict.detail or "").startswith("bad_gold")


def test_a_scorer_that_raises_is_an_error() -> None:
    broken = {"question": "q", "answer": "8 × 2", "metadata": {}}  # puzzles of this task have metadata
    verdict = VERIFIER.verify(Problem("logic", "q", None, {"task": "mini_sudoku", "entry": broken}), tagged("1"))
    assert verdict.verdict == ERROR
    assert "mini_sudoku" in (verdict.detail or "")
