"""The checks on real solutions with labelled steps, where the data is at hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from proofmill.filters.claims.check import check
from proofmill.filters.claims.model import REFUTED
from proofmill.filters.verdicts import Problem

DATA = Path(__file__).parents[2].parent / "shared" / "data"
LABELLED = DATA / "processbench_gsm8k.json"


@pytest.mark.skipif(not LABELLED.exists(), reason=f"{LABELLED} is not on this machine")
def test_solutions_labelled_right_raise_hardly_any_alarm() -> None:
    rows = [row for row in json.loads(LABELLED.read_text()) if row["label"] == -1]
    alarms = [
        row["id"]
        for row in rows
        if any(c.status == REFUTED for c in check(Problem("math", row["problem"]), steps=row["steps"]))
    ]
    assert len(alarms) <= len(rows) // 100
