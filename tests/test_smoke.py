"""One run of everything that needs no model, for the quick check: samples in, a version out, and nothing twice."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from proofmill.data.versions import check_files, find
from support.samples import SAMPLES, replay_recipe, table

pytestmark = pytest.mark.smoke


def test_recorded_samples_become_a_version_once(
    regenerate: Callable[..., dict[str, Any]], replay_file: Path, home: Path
) -> None:
    recipe = replay_recipe(replay_file)
    result = regenerate(recipe, home)
    assert (result["new"], result["version"]) == (True, "replayed@v1")
    version = find(home, "replayed")
    check_files(version)
    for step in result["manifest"].to_json()["stages"].values():
        assert step["in"] == step["kept"] + sum(step["dropped"].values())
    verdicts = table(home, "traces")["verdict"].value_counts()
    assert dict(verdicts.iter_rows()) == {"correct": 18, "wrong": 6, "unparsed": 12}
    assert len(SAMPLES) * 6 == verdicts["count"].sum()
    assert {"sft_stage1", "sft_stage2", "rl", "problems"} <= set(result["manifest"].published_rows)
    assert not regenerate(recipe, home)["new"]
