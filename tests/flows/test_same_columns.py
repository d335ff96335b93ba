"""A command over anyone's file says the same of a row as a run does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from typer.testing import CliRunner

from proofmill.filters.base import MapFilter
from proofmill.filters.claim_checks import CLAIM_CHECKS
from proofmill.filters.contamination import CONTAMINATION
from proofmill.filters.repetition import QUALITY
from proofmill.filters.verification import VERDICTS
from proofmill.flows.cli import app
from support.samples import SAMPLES, replay_recipe, sums, table, write_jsonl

Row = dict[str, Any]
SHARED = Path(__file__).parents[2].parent / "shared" / "data" / "gsm8k_traces_6b.jsonl"
SLIP = "I add {a} and {b} in a slow and careful way. First, 2 + 2 = 5. Then the answer is \\boxed{{{sum}}}."
THOUGHT = "<think>So {a} + {b} = {sum}. Well, {a} + {b} = {sum}.</think>\nIt is \\boxed{{{sum}}}."
OVER = "<think>Maybe {a} + {b} = {off}.</think>\nI can't say."
LOOP = "I add one more. " * 60 + "\\boxed{{{sum}}}"


def of_a_run(home: Path, label: str) -> tuple[pl.DataFrame, pl.DataFrame]:
    """What a run has published of each trace, and the same rows as somebody else would have them in a file."""
    traces = table(home, "traces", label)
    problems = table(home, "problems", label).select(pl.col("id").alias("problem_id"), "prompt", "answer", "verifier")
    rows = traces.select("id", "problem_id", "domain", "response", "finish_reason")
    return traces, rows.join(problems, on="problem_id", how="left", maintain_order="left")


def commanded(rows: Path, out: Path, *command: str) -> pl.DataFrame:
    name, *options = command
    done = CliRunner().invoke(app, [name, *options, str(rows), "--out", str(out)])
    assert done.exception is None, done.output
    return pl.read_parquet(out)


def same(found: pl.DataFrame, traces: pl.DataFrame, one: MapFilter[Any]) -> None:
    assert found["id"].to_list() == traces["id"].to_list()
    for name in one.adds.names:
        assert found[name].to_list() == traces[name].to_list(), (one.name, name)
        assert found[name].dtype == traces[name].dtype


def compare(home: Path, label: str, against: Path, tmp_path: Path) -> pl.DataFrame:
    traces, rows = of_a_run(home, label)
    rows.write_parquet(file := tmp_path / "rows.parquet")
    verdicts = tmp_path / "judged.parquet"
    same(commanded(file, verdicts, "verify"), traces, VERDICTS)
    same(commanded(verdicts, tmp_path / "claims.parquet", "claims"), traces, CLAIM_CHECKS)
    same(commanded(verdicts, tmp_path / "quality.parquet", "filter", "quality"), traces, QUALITY)
    clean = commanded(verdicts, tmp_path / "clean.parquet", "decontaminate", "--against", str(against))
    same(clean, traces, CONTAMINATION)
    return traces


def test_commands_say_what_a_run_says(regenerate: Callable[..., Row], home: Path, tmp_path: Path) -> None:
    against = write_jsonl(tmp_path / "exam.jsonl", [{"question": SAMPLES[0].format(a=11, b=5, sum=16)}])
    file = write_jsonl(tmp_path / "samples.jsonl", sums(4, (*SAMPLES, SLIP, THOUGHT, OVER, LOOP)))
    regenerate(replay_recipe(file, decontaminate={"against": [str(against)]}), home)
    traces = compare(home, "replayed", against, tmp_path)
    for column in ("contaminated_by", "quality_detail", "extracted", "first_refuted_step"):
        assert 0 < traces[column].null_count() < traces.height, f"{column}: the samples have both"


@pytest.mark.slow
@pytest.mark.skipif(not SHARED.exists(), reason="the shared data folder is not there")
def test_commands_say_what_a_run_says_of_real_solutions(
    regenerate: Callable[..., Row], home: Path, tmp_path: Path
) -> None:
    against = write_jsonl(tmp_path / "exam.jsonl", [{"question": "Janet sells the remainder at the farmers' market"}])
    engine = {
        "kind": "replay",
        "files": [str(SHARED)],
        "map": {"prompt": "question", "response": "solution", "answer": "gold_solution", "sampler": "sampler"},
        "license": "mit",
        "limit": 300,
    }
    recipe = {"name": "gsm8k", "samplers": [{"engine": engine}], "decontaminate": {"against": [str(against)], "n": 10}}
    regenerate(recipe, home)
    assert compare(home, "gsm8k", against, tmp_path).height == 300
