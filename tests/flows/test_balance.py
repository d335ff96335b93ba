"""What the selection decides over all shards: the mix, the total of tokens, and the holdout."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import polars as pl
import pytest

from proofmill.data.versions import find
from proofmill.flows.recipe import load as recipes
from support.samples import replay_recipe, write_jsonl
from support.samples import sums as recorded_sums

Row = dict[str, Any]
Run = Callable[..., Row]


def table(home: Path, config: str, split: str = "*") -> pl.DataFrame:
    return pl.concat([pl.read_parquet(path) for path in find(home, "replayed").folder.glob(f"{config}/{split}-*")])


def stages(home: Path) -> dict[str, set[str]]:
    """Files by stage."""
    folders = {path.parent for path in (home / "runs" / "replayed").glob("*/*.*") if path.suffix != ".jsonl"}
    return {stage.name: {path.name for path in stage.iterdir()} for stage in folders}


@pytest.fixture(scope="module")
def run(regenerate: Run, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Row]:
    """A HOME with one version of 24 problems, and its recipe; a twin of each problem differs in a word."""
    folder = tmp_path_factory.mktemp("balance")
    twins = [
        row | {"prompt": f"{row['prompt']} {' '.join(f'no{n // 6}of{word}' for word in range(30))} {twin}"}
        for n, row in enumerate(recorded_sums(12))
        for twin in ("please", "thanks")
    ]
    recipe = replay_recipe(write_jsonl(folder / "samples.jsonl", twins))
    regenerate(recipe, folder / "home")
    return folder / "home", recipe


def test_recorded_samples_may_name_models_that_are_no_samplers(regenerate: Run, home: Path, tmp_path: Path) -> None:
    rows = [row | {"by": f"model-{number % 2}"} for number, row in enumerate(recorded_sums(2))]
    recipe = replay_recipe(write_jsonl(tmp_path / "samples.jsonl", rows))
    recipe["samplers"][0]["engine"]["map"] = {"sampler": "by"}
    regenerate(recipe, home)
    assert set(table(home, "traces")["sampler"]) == {"model-0", "model-1"}
    assert table(home, "sft_stage1").height


def test_a_total_of_tokens_is_kept_and_touches_no_other_stage(run: tuple[Path, Row], regenerate: Run) -> None:
    home, recipe = run
    before = stages(home)
    result = regenerate(recipe | {"select": {"max_total_tokens": 300, "mix": {"math": 1.0}}}, home)
    ledger = result["manifest"].to_json()["stages"]["selection"]
    assert ledger["in"] == ledger["kept"] + sum(ledger["dropped"].values())
    assert ledger["dropped"]["capped_tokens"] > 0
    kept = table(home, "traces").filter(pl.col("drop_reason").is_null())
    assert kept["response"].str.len_chars().sum() // 4 <= 300 + kept.height
    changed = {name for name, files in stages(home).items() if files != before.get(name)}
    assert changed == {"caps", "balance"}


def test_a_holdout_has_its_own_files_and_leaks_nothing(run: tuple[Path, Row], regenerate: Run, tmp_path: Path) -> None:
    home, recipe = run
    before = stages(home)
    result = regenerate(recipe | {"select": {"holdout": 0.3}}, home)
    version = find(home, "replayed")
    problems = table(home, "problems")
    held = problems.filter(pl.col("split") == "validation")
    assert 0 < held.height == result["manifest"].held_out_problems < problems.height
    sums = [set(part["prompt"].str.extract(r"(\d+ \+ \d+)")) for part in (held, problems.filter(split="train"))]
    assert sums[0].isdisjoint(sums[1]), "near-duplicate problems stand on the same side"
    for config in ("traces", "sft_stage1", "sft_stage2", "rl", "problems", "pass_rates"):
        key = "id" if config in ("rl", "problems") else "problem_id"
        both = {split: set(table(home, config, split)[key]) for split in ("train", "validation")}
        assert both["validation"] <= set(held["id"])
        assert both["train"].isdisjoint(held["id"])
        assert both["validation"]
    loaded = datasets.load_dataset(str(version.folder), "sft_stage1", cache_dir=str(tmp_path))
    rows = result["manifest"].published_rows
    assert sum(part.num_rows for part in loaded.values()) == rows["sft_stage1"]
    assert set(loaded) == {"train", "validation"}
    changed = {name for name, files in stages(home).items() if files != before.get(name)}
    assert changed == {"prompt_signatures", "holdout"}


def test_a_mix_names_what_is_not_there(
    run: tuple[Path, Row], regenerate: Run, caplog: pytest.LogCaptureFixture
) -> None:
    home, recipe = run
    regenerate(recipe | {"select": {"mix": {"math": 0.5, "code": 0.5}}}, home)
    assert "without a kept trace: code" in caplog.text


@pytest.mark.parametrize(
    ("select", "says"),
    [
        ({"mix": {"math": 0.7, "code": 0.7}}, "more than 1"),
        ({"mix": {"maths": 0.7}}, "did you mean 'math'"),
        ({"pass_rate": [0.9, 0.1]}, "lower end"),
        ({"holdout": 2}, "holdout"),
    ],
)
def test_a_selection_that_makes_no_sense_is_refused(select: Row, says: str) -> None:
    engine = {"kind": "replay", "files": ["x"]}
    with pytest.raises(recipes.RecipeError, match=says):
        recipes.parse({"name": "x", "samplers": [{"engine": engine}], "select": select})
