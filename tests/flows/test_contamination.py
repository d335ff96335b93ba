"""Decontamination as a stage of a run: what overlaps with a benchmark is marked, left out, and never judged again."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from rich.console import Console

from proofmill.data.errors import InputError, UsageError
from proofmill.data.versions import find
from proofmill.flows.commands.show import show_dropped
from proofmill.flows.recipe import load as recipes
from support.samples import CORRECT, replay_recipe, sums, table, write_jsonl

Row = dict[str, Any]
Run = Callable[..., Row]
ASKED = "How much is 11 + 5?"  # the first of the problems


def judged(home: Path) -> set[str]:
    """The file of every stage of every run."""
    files = (path for path in (home / "runs").glob("*/*/*.*") if path.suffix != ".jsonl")
    return {path.relative_to(home).as_posix() for path in files}


@pytest.fixture(scope="module")
def run(regenerate: Run, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Row, Row]:
    """A HOME whose second version knows a benchmark that holds one prompt and one trace of the first."""
    folder = tmp_path_factory.mktemp("contamination")
    recipe = replay_recipe(write_jsonl(folder / "samples.jsonl", sums()))
    regenerate(recipe, folder / "home")
    planted = CORRECT[0].format(a=14, b=6, sum=20).upper().replace(",", " --")
    items = [{"id": "asked", "question": ASKED}, {"id": "shown", "question": f"Read this. {planted}"}]
    benchmark = write_jsonl(folder / "exam.jsonl", items)
    recipe |= {"decontaminate": {"against": [str(benchmark)]}}
    result = regenerate(recipe, folder / "home")
    assert result["version"] == "replayed@v2"
    return folder / "home", recipe, result


def test_a_prompt_in_a_benchmark_takes_all_its_traces_and_its_rl_row_along(run: tuple[Path, Row, Row]) -> None:
    home, _, _ = run
    problem = table(home, "problems").filter(pl.col("prompt") == ASKED).row(0, named=True)
    assert (problem["contaminated_by"], problem["contaminated_span"]) == ("exam/asked", ASKED[:-1])
    traces = table(home, "traces").filter(pl.col("problem_id") == problem["id"])
    assert set(traces["contaminated_by"]) == {"exam/asked"}
    assert set(traces.filter(pl.col("verdict") == "correct")["drop_reason"]) == {"contaminated"}
    assert "wrong" in set(traces["drop_reason"]), "reasons come in their order"
    assert problem["id"] in set(table(home, "rl", "replayed@v1")["id"])
    assert problem["id"] not in set(table(home, "rl")["id"])
    for config in ("sft_stage1", "sft_stage2"):
        assert problem["id"] not in set(table(home, config)["problem_id"])


def test_a_trace_in_a_benchmark_goes_alone(run: tuple[Path, Row, Row]) -> None:
    home, _, _ = run
    hits = table(home, "traces").filter(pl.col("contaminated_by") == "exam/shown")
    assert hits["problem_id"].n_unique() == hits.height == 5, "the first trace of each other problem says nearly that"
    for row in hits.to_dicts():
        assert row["drop_reason"] == "contaminated"
        assert row["contaminated_span"] in row["response"]
    assert set(hits["problem_id"]) == set(table(home, "rl")["id"])
    assert set(hits["problem_id"]) <= set(table(home, "sft_stage1")["problem_id"])


def test_the_version_says_what_it_was_compared_with(run: tuple[Path, Row, Row]) -> None:
    home, _, result = run
    benchmarks = result["manifest"].to_json()["benchmarks"]
    assert (benchmarks["items"], benchmarks["n"]) == ({"exam": 2}, 10)
    assert "exam (2 items)" in (find(home, "replayed").folder / "README.md").read_text()
    dropped = result["manifest"].selection.dropped
    assert dropped["contaminated"] == 3 + 5


def test_dropped_rows_are_shown_with_their_evidence(run: tuple[Path, Row, Row]) -> None:
    home, _, result = run
    out = Console(record=True, width=120, file=io.StringIO())
    show_dropped(home, "replayed@v2", "all", 2, out)
    text = out.export_text()
    for reason, count in result["manifest"].selection.dropped.items():
        assert f"{count} dropped as {reason}" in text
        assert text.count(f"─ {reason}: ") == min(2, count)
    assert "contaminated_by 'exam/" in text
    with pytest.raises(UsageError, match="capped_mix") as caught:
        show_dropped(home, "replayed@v2", "capped_mix", 2, out)
    assert "contaminated 8" in caught.value.remedy


def test_nothing_else_is_done_again_and_the_place_of_files_says_nothing(
    run: tuple[Path, Row, Row], regenerate: Run, tmp_path: Path
) -> None:
    home, recipe, _ = run
    moved = tmp_path / "moved"
    shutil.copytree(home, moved)
    before = judged(moved)
    for name in ("samples.jsonl", "exam.jsonl"):
        shutil.copy(home.parent / name, tmp_path / name)
    recipe = replay_recipe(tmp_path / "samples.jsonl", decontaminate={"against": [str(tmp_path / "exam.jsonl")]})
    regenerate(recipe, moved)
    assert judged(moved) - before == set()
    count = {stage: sum(name.split("/")[2] == stage for name in before) for stage in ("verdicts", "selection")}
    assert count["selection"] == 2 * count["verdicts"], "two recipes, judged once"


def test_a_problem_that_stands_in_a_benchmark_is_not_sampled(regenerate: Run, tmp_path: Path) -> None:
    boxes = "A box holds 11 red and 30 blue balls. How many balls does it hold?"
    texts = {boxes: "41", "Four friends share 12 pears evenly among themselves. How many pears does each get?": "3"}
    asked = [{"prompt": prompt, "answer": answer, "license": "mit"} for prompt, answer in texts.items()]
    file = write_jsonl(tmp_path / "problems.jsonl", asked)
    exam = write_jsonl(tmp_path / "exam.jsonl", [{"id": "box", "question": asked[0]["prompt"]}])
    recipe = replay_recipe(
        write_jsonl(tmp_path / "samples.jsonl", sums(2)),
        problems={"sources": [{"kind": "file", "path": str(file)}]},
        decontaminate={"against": [str(exam)]},
    )
    stage = regenerate(recipe, tmp_path / "home")["manifest"].stages["problems"]
    assert (stage.entered, stage.kept, stage.dropped) == (4, 3, {"contaminated": 1})
    assert asked[0]["prompt"] not in set(table(tmp_path / "home", "problems")["prompt"])
    recipe["decontaminate"] |= {"skip_problems": False}
    stage = regenerate(recipe, tmp_path / "home")["manifest"].stages["problems"]
    assert (stage.kept, stage.dropped) == (4, {})


def test_a_benchmark_that_is_not_there_stops_the_run_first(regenerate: Run, tmp_path: Path) -> None:
    file = write_jsonl(tmp_path / "samples.jsonl", sums(1))
    recipe = replay_recipe(file, decontaminate={"against": ["nowhere.jsonl"]})
    with pytest.raises(InputError, match="no file"):
        regenerate(recipe, tmp_path / "home")
    assert not list((tmp_path / "home").rglob("*.parquet"))


def test_a_benchmark_may_have_its_own_split_and_fields() -> None:
    recipe = recipes.parse(
        {
            "name": "x",
            "samplers": [{"engine": {"kind": "replay", "files": ["x"]}}],
            "decontaminate": {
                "split": "train",
                "fields": ["problem"],
                "against": ["hf://a/b", {"source": "c.jsonl", "name": "c", "split": "dev", "fields": []}],
            },
        }
    )
    first, second = recipe.decontaminate.benchmarks
    assert (first.called, first.split, first.fields) == ("a/b", "train", ("problem",))
    assert (second.called, second.split, second.fields) == ("c", "dev", ())
