"""Rounds with the real engine and real judges: more samples where they are wanted, within the token budget."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from proofmill.data.versions import find

pytestmark = [pytest.mark.model, pytest.mark.slow]

Row = dict[str, Any]
BUDGET = 2500
SUMS = {
    "min_terms": 2,
    "max_terms": 2,
    "min_digits": 1,
    "max_digits": 1,
    "operators": ["+"],
    "allow_parentheses": False,
}
SAMPLING = {"n": 4, "accept_target": 3, "max_samples": 10, "round": 3, "max_total_tokens": BUDGET, "max_tokens": 32}
RECIPE: Row = {
    "name": "rounds",
    "problems": {
        "sources": [{"kind": "procedural", "task": "basic_arithmetic", "domain": "math", "count": 8, "args": SUMS}]
    },
    "prompt": {"templates": {"math": "{problem} Put the final answer in \\boxed{}."}},
    "samplers": [{"model": "bundled", "sampling": {"temperature": 0.5, "top_p": 1.0, **SAMPLING}}],
    "quality": {"max_repetition": 1.0},
}


def test_rounds_of_the_real_model(regenerate: Callable[..., Row], home: Path) -> None:
    result = regenerate(RECIPE, home)
    facts = result["manifest"].to_json()["rounds"]["self"]
    traces, rates = (
        pl.concat(pl.read_parquet(path) for path in find(home, "rounds").files(config))
        for config in ("traces", "pass_rates")
    )
    assert sum(facts["outcomes"].values()) == 8
    assert traces["completion_tokens"].sum() == facts["tokens"] <= BUDGET
    sizes = dict(traces.group_by("problem_id").len().iter_rows())
    assert set(sizes.values()) <= set(range(4, 11)), "whole first rounds, nothing over a problem's budget"
    assert facts["later"] == sum(size - 4 for size in sizes.values()) > 0
    assert rates["n"].to_list() == [4] * len(sizes)
    assert rates["later_n"].sum() == facts["later"]
    stages = result["manifest"].to_json()["stages"]
    assert stages["samples"]["in"] == stages["samples"]["kept"] + sum(stages["samples"]["dropped"].values())

    shutil.rmtree(home / "runs")  # recorded samples alone decide the same, and no engine is loaded for it
    again = regenerate(RECIPE, home)
    assert not again["new"], "the same bytes"
    assert again["manifest"].to_json()["rounds"] == result["manifest"].to_json()["rounds"]
    assert not list((home / "runs" / "rounds").glob("engine-*.json"))
