"""Labels of steps: nothing that was not decided is called right or wrong."""

from __future__ import annotations

from typing import Any

import pytest

from proofmill.filters.claims.check import check_trace
from proofmill.filters.step_labels import LabelledSteps, StepLabelOptions, labelled_steps
from proofmill.filters.verdicts import Problem

Row = dict[str, Any]
PROBLEM = Problem("math", "A shop sells 3 boxes of 4 eggs and 5 more. How many eggs?", "17")
STEPS = ("Three boxes hold eggs.", "3 * 4 = 12.", "12 + 5 = 17.", "That looks plausible to me.", "The answer is 17.")


def trace(*steps: str, verdict: str = "correct", detail: str = "phrase", model: tuple[Row, ...] = ()) -> Row:
    """A trace with its claims as the exact checks find them; the last step states the answer."""
    text = "\n".join(steps)
    start = text.rindex(steps[-1])
    claims = [
        {"step": claim.step, "status": claim.status, "text": claim.text}
        for claim in check_trace(PROBLEM, text, final_start=start).claims
    ]
    return {
        "response": text, "final_start": start, "verdict": verdict, "verdict_detail": detail, "claims": claims,
        "clr_claims": list(model),
    }  # fmt: skip


def labelled(row: Row, **options: Any) -> list[LabelledSteps]:
    return labelled_steps(row, StepLabelOptions(**options))


def test_unchecked_steps_are_context_and_get_no_label() -> None:
    first, last = labelled(trace(*STEPS))
    assert (first.first, first.before, first.steps) == (1, STEPS[0], STEPS[1:3])
    assert (first.labels, first.decided_by) == ((True, True), ("exact", "exact"))
    assert (last.first, last.before, last.steps) == (4, "\n".join(STEPS[:4]), STEPS[4:])
    assert (last.labels, last.decided_by) == ((True,), ("verdict",))


def test_a_right_answer_proves_no_step_on_the_way() -> None:
    rows = labelled(trace("I take the boxes.", "I take the other eggs.", "The answer is 17."))
    assert [row.steps for row in rows] == [("The answer is 17.",)]


def test_nothing_is_labelled_behind_the_first_mistake() -> None:
    rows = labelled(trace("3 * 4 = 12.", "12 + 5 = 18.", "18 - 1 = 17.", "The answer is 17."))
    assert [(row.steps, row.labels) for row in rows] == [(("3 * 4 = 12.", "12 + 5 = 18."), (True, False))]


def test_a_wrong_answer_is_a_wrong_step_though_it_follows_from_the_others() -> None:
    (row,) = labelled(trace("3 + 4 = 7.", "7 + 5 = 12.", "The answer is 12.", verdict="wrong"))
    assert row.labels == (True, True, False)
    assert row.decided_by[-1] == "verdict"


@pytest.mark.parametrize("verdict", ["error", "timeout", "unparsed"])
def test_where_nothing_is_known_of_the_answer_its_step_has_no_label(verdict: str) -> None:
    (row,) = labelled(trace("3 * 4 = 12.", "The answer is 17.", verdict=verdict))
    assert row.steps == ("3 * 4 = 12.",)


def test_a_step_with_an_open_claim_is_not_right() -> None:
    row = trace("3 * 4 = 12.", "The answer is 17.", verdict="error")
    for status in ("unsupported", "jump", "retracted", "not_checkable"):
        row["claims"] = [{"step": 0, "status": "verified", "text": ""}, {"step": 0, "status": status, "text": ""}]
        assert labelled(row) == []


MODEL = ("Three boxes hold the eggs of a dozen.", "So 3 * 4 = 12.", "The answer is 17.")


@pytest.mark.parametrize(("status", "labels"), [("upheld", (True, True)), ("doubted", (False,)), ("not_judged", None)])
def test_a_models_judgement_decides_where_exact_checks_do_not(status: str, labels: tuple[bool, ...] | None) -> None:
    row = trace(*MODEL, verdict="error", model=({"text": MODEL[0], "status": status},))
    (first,) = labelled(row)
    assert first.labels == (labels or (True,))
    assert first.decided_by[0] == ("model" if labels else "exact")
    (exact,) = labelled(row, model=False)
    assert exact.decided_by == ("exact",)


def test_a_claim_that_two_steps_make_belongs_to_none() -> None:
    row = trace(MODEL[0], MODEL[0], "17.", verdict="error", model=({"text": MODEL[0], "status": "upheld"},))
    assert labelled(row) == []


def test_a_model_does_not_overrule_an_exact_check() -> None:
    row = trace("3 * 4 = 13.", "17.", model=({"text": "3 * 4 = 13.", "status": "upheld"},))
    assert labelled(row)[0].labels == (False,)
