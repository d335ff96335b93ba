"""The page of a loop, made from what loop.json holds alone."""

from __future__ import annotations

import copy
from typing import Any

from proofmill.data.report.improvement import render, title
from proofmill.filters.evaluation import ProblemResult, score

HOSTILE = "<script>alert(1)</script>"


def measured(right: int, tokens: int = 80) -> dict[str, Any]:
    """Scores of six problems of four samples, `right` of each right."""
    found = score([ProblemResult(str(n), "sums", "math", 4, right, tokens=tokens) for n in range(6)])
    assert found is not None
    whole = found.to_json()
    return {"overall": whole, "sets": {"sums": whole}, "ways": {"as they are": whole, "typos": whole}}


def difference(value: float, winner: int) -> dict[str, Any]:
    interval = {"value": value, "low": value - 0.1, "high": value + 0.1}
    return {"problems": 6, "pass_1": interval, "tokens": interval, "better": 1, "worse": 0, "winner": winner}


def story() -> dict[str, Any]:
    cost = {"seconds": {"data": 60.0, "train": 120.0, "eval": 60.0}, "tokens": {"sampled": 1000, "learned": 200}}
    first = {
        "round": 1, "sampler": "bundled", "data": "x-r1@v1", "model": "x-r1@v1", "levels": {"sums": 1}, "left_out": [],
        "pass_rates": {"sums": 0.5}, "rows": {"sft_stage1": 9, "sft_stage2": 4}, "cost": cost,
        "gain": difference(0.5, 2), "gain_on_base": difference(0.5, 2), "later_stages": difference(-0.01, 0),
    }  # fmt: skip
    models = [{"model": "bundled", "round": 0, "stage": "base"} | measured(1)]
    models += [{"model": "x-r1@v1", "round": 1, "stage": "sft_stage2"} | measured(3, 40)]
    control = {"suite": "knowledge", "before": measured(2), "after": measured(2), "difference": difference(0.0, 0)}
    arms = [{"arm": "wrong", "seed": 0, "rows": 9, "tokens": 200, "steps": 3, "gain": None} | measured(0)]
    loop = {"base": "bundled", "name": "x", "models": models, "rounds": [first], "controls": [control], "arms": arms}
    loop |= {"suite": {"name": "sums", "about": HOSTILE}, "stopped": "rounds", "why": "all done", "best": "x-r1@v1"}
    return {"name": "x", "loops": [loop], "seconds": {}}


def test_the_page_tells_the_story_without_a_script() -> None:
    page = render(story())
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    for told in (
        "25.0% [",
        "75.0% [",
        "Reasoning compresses",
        "Asked untidily",
        "no difference that 6 problems",
        "wrong",
    ):
        assert told in page, told
    assert "A point of pass@1 that was gained cost 24 tokens and 0.1 minutes." in page
    assert "Side by side" not in page


def test_two_bases_stand_side_by_side_and_a_loop_that_has_just_begun_has_a_page_too() -> None:
    told = story()
    other = copy.deepcopy(told["loops"][0]) | {"base": HOSTILE, "rounds": [], "controls": [], "arms": []}
    other["models"] = other["models"][:1]
    for name in ("stopped", "why", "best"):
        del other[name]
    page = render(told | {"loops": [*told["loops"], other]})
    assert "Side by side" in page
    assert "Not ended yet." in page
    assert "<script" not in page


def test_models_are_called_by_round_and_stage() -> None:
    assert [title(model) for model in story()["loops"][0]["models"]] == ["base", "round 1, stage 2"]
