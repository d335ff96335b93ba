"""What a model is asked in a run, with the real engine and the embedded model at tiny size; all runs share one engine.

It names claims of recorded samples and judges them, scores traces as the student and condenses them, and is asked for
more samples where they are wanted.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from proofmill.data.versions import find
from proofmill.flows.context import RunRequest, open_run
from proofmill.flows.dry_run import report
from proofmill.flows.recipe import load as recipes
from proofmill.generators import models
from proofmill.generators.engines.kept import kept_engine
from support.samples import CORRECT, replay_recipe, sums, table, write_jsonl

pytestmark = [pytest.mark.model, pytest.mark.slow]

Row = dict[str, Any]
Run = Callable[..., Row]
ENGINE = {"dtype": "float32", "max_model_len": 1024}
VERIFIER = {"model": "bundled", "k": 2, "m": 2, "max_tokens": 96, "engine": ENGINE}
LEARNING = {"model": "bundled", "min_tokens": 24, "engine": ENGINE}
REWRITING = {"model": "bundled", "tries": 2, "max_tokens": 64, "engine": ENGINE}


@pytest.fixture(scope="module", autouse=True)
def engine() -> Iterator[None]:
    """One engine for all runs of this file: loading takes longer than all that it is asked."""
    with kept_engine():
        yield


def asked(home: Path) -> set[Path]:
    return {
        path for stage in ("clr_named", "clr_judged") for path in (home / "runs/replayed" / stage).glob("*.parquet")
    }


@pytest.fixture(scope="module")
def judged(regenerate: Run, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Row, Row]:
    """Three problems with two judged samples each, of which one has no gold."""
    folder = tmp_path_factory.mktemp("clr")
    rows = sums(3, (CORRECT[0], CORRECT[1], CORRECT[2]))
    for row in rows[:3]:
        row["answer"] = None
    recipe = replay_recipe(write_jsonl(folder / "samples.jsonl", rows)) | {
        "claims": {"model": VERIFIER},
        "problems": {"pseudo_labels": {"by": "clr", "min_votes": 2}},
        "prompt": {"train_as": "bare"},
        "quality": {"learning": LEARNING},
        "curriculum": {"short_forms": ["rewritten", "answer"], "rewriting": REWRITING},
    }
    result = regenerate(recipe, folder / "home")
    return folder / "home", recipe, result["manifest"].to_json()


def test_every_asked_trace_has_a_reliability_or_a_fault(judged: tuple[Path, Row, Row]) -> None:
    home, _, manifest = judged
    counts, tokens = manifest["clr"]["counts"], manifest["tokens"]["verifier"]
    faults = sum(counts.get(name, 0) for name in ("malformed", "no_claims", "cut"))
    assert counts.get("named", 0) + faults == 6
    claims = table(home, "claims").filter(pl.col("kind") == "clr") if "claims" in table_names(home) else None
    listed = 0 if claims is None else claims.height
    assert tokens["calls"] == 6 + listed, "one call a trace and one a claim"
    assert tokens["prompt_tokens"] > tokens["calls"] * 50
    scores = table(home, "traces").filter(pl.col("clr_score").is_not_null())["clr_score"].to_list()
    assert len(scores) == counts["scored"]
    assert set(scores) <= {0.0, 0.25, 1.0}


def table_names(home: Path) -> set[str]:
    return set(find(home, "replayed").manifest.published_rows)


def test_rates_at_k_stand_beside_each_other(judged: tuple[Path, Row, Row]) -> None:
    rates = {"problems": 2, "maj_k": 1.0, "clr_k": 1.0}
    assert judged[2]["at_k"] == rates | {"pass_1": 1.0, "by_k": {"1": rates, "2": rates}}
    page = (find(judged[0], "replayed").folder / "report.html").read_text()
    assert "<dt>clr@k</dt><dd>100.0%</dd>" in page
    assert f"<dt>traces judged by the model</dt><dd>{judged[2]['clr']['counts']['scored']}</dd>" in page
    assert "Claims judged by SmolLM2-135M-Instruct" in page
    assert "clr@k, k = 2: 100.0%" in page


def test_the_winner_labels_the_problem_without_gold(judged: tuple[Path, Row, Row]) -> None:
    problems = table(judged[0], "problems").filter(pl.col("pseudo_label").is_not_null())
    assert problems["answer"].to_list() == ["16"]
    assert problems["pseudo_label"][0].startswith("clr: 2 of 2 samples")


def said(recipe: Row, home: Path) -> list[str]:
    with open_run(RunRequest(recipes.parse(recipe), home)) as run:
        return [line for line in report(run) if not line.startswith("changed")]


def test_what_is_still_to_be_judged_is_counted_exactly_and_estimated(judged: tuple[Path, Row, Row]) -> None:
    home, recipe, _ = judged
    assert not any("verifier" in line for line in said(recipe, home)), "all is recorded"
    assert not any("verifier" in line for line in said(recipe | {"claims": {"model": VERIFIER | {"k": 1}}}, home))
    lines = said(recipe | {"claims": {"model": VERIFIER | {"k": 3}}}, home)
    (place,) = [place for place, line in enumerate(lines) if line.startswith("verifier")]
    assert lines[place].startswith("verifier SmolLM2-135M-Instruct: 3 traces and about "), "one a problem"
    assert lines[place + 1].endswith("at the rate of the last run")
    assert " 0 tokens read" not in lines[place + 1]


def test_recorded_judgements_are_inputs(regenerate: Run, judged: tuple[Path, Row, Row], tmp_path: Path) -> None:
    """Another policy asks the model nothing, and the same recipe gives the same bytes from the recorded answers."""
    home = tmp_path / "copy"
    shutil.copytree(judged[0], home)
    before, published = asked(home), find(home, "replayed").data_digests()
    recipe = judged[1] | {"claims": {"model": VERIFIER, "min_reliability": 1.0}}
    dropped = regenerate(recipe, home)["manifest"].selection.dropped
    low = table(judged[0], "traces").filter(pl.col("clr_score") < 1.0).height
    assert dropped.get("unreliable", 0) == low
    shutil.rmtree(home / "datasets")
    for stage in ("clr", "votes", "labels", "selection"):
        shutil.rmtree(home / "runs/replayed" / stage)
    regenerate(judged[1], home)
    assert find(home, "replayed").data_digests() == published
    assert asked(home) == before


def test_every_short_solution_that_it_tried_has_a_fate(judged: tuple[Path, Row, Row]) -> None:
    short = judged[2]["rewritings"]
    tries = short["tries"]
    assert short["traces"] == 3, "one a problem"
    assert tries["in"] == 6 == tries["kept"] + sum(tries["dropped"].values())
    assert 0 < short["completion_tokens"] <= 6 * 64
    forms = table(judged[0], "sft_stage2")["form"].to_list()
    assert forms.count("rewritten") == short["used"] <= tries["kept"]
    assert len(forms) == 3


def test_one_engine_answered_all_phases(judged: tuple[Path, Row, Row]) -> None:
    loaded = (judged[0] / "runs/replayed").glob("engine-*.json")
    assert [path.name for path in loaded] == ["engine-claims:model.json"]


def test_the_nll_is_that_of_transformers(judged: tuple[Path, Row, Row]) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    assert judged[2]["learning_student"]["model"] == "SmolLM2-135M-Instruct"
    folder = models.resolve("bundled").path
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    proven = table(judged[0], "traces").filter(pl.col("verdict") == "correct")
    assert proven["nll"].null_count() == 0
    asked = dict(table(judged[0], "problems").select("id", "prompt").iter_rows())
    for row in proven.head(4).to_dicts():
        turn = [{"role": "user", "content": asked[row["problem_id"]]}]
        text = tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True)
        begun, answer = (tokenizer(part, add_special_tokens=False)["input_ids"] for part in (text, row["response"]))
        with torch.no_grad():
            logits = model(torch.tensor([begun + answer])).logits[0, len(begun) - 1 : -1]
        loss = torch.nn.functional.cross_entropy(logits, torch.tensor(answer)).item()
        assert row["nll"] == pytest.approx(loss, abs=1e-3)


def test_short_traces_go_and_a_threshold_asks_nobody_again(
    regenerate: Run, judged: tuple[Path, Row, Row], tmp_path: Path
) -> None:
    home = tmp_path / "copy"
    shutil.copytree(judged[0], home)
    assert "too_short" in set(table(home, "traces")["drop_reason"])
    before = (home / "runs/replayed/engine.log").stat().st_size
    regenerate(judged[1] | {"quality": {"learning": LEARNING | {"min_tokens": 0, "buckets": 1}}}, home)
    assert "too_short" not in set(table(home, "traces")["drop_reason"])
    assert (home / "runs/replayed/engine.log").stat().st_size == before, "no engine was started"


# --- rounds: more samples where they are wanted, within the token budget ---------------------------------

BUDGET = 1300
SUMS = {
    "min_terms": 2,
    "max_terms": 2,
    "min_digits": 1,
    "max_digits": 1,
    "operators": ["+"],
    "allow_parentheses": False,
}
SAMPLING = {
    "temperature": 0.5,
    "top_p": 1.0,
    "n": 4,
    "accept_target": 3,
    "max_samples": 10,
    "round": 3,
    "max_total_tokens": BUDGET,
    "max_tokens": 32,
}
ROUNDS: Row = {
    "name": "rounds",
    "problems": {
        "sources": [{"kind": "procedural", "task": "basic_arithmetic", "domain": "math", "count": 4, "args": SUMS}]
    },
    "prompt": {"templates": {"math": "{problem} Put the final answer in \\boxed{}."}},
    "samplers": [{"model": "bundled", "engine": {"kind": "vllm"} | ENGINE, "sampling": SAMPLING}],
    "quality": {"max_repetition": 1.0},
}


def test_rounds_of_the_real_model(regenerate: Callable[..., Row], home: Path) -> None:
    result = regenerate(ROUNDS, home)
    facts = result["manifest"].to_json()["rounds"]["self"]
    traces, rates = (
        pl.concat(pl.read_parquet(path) for path in find(home, "rounds").files(config))
        for config in ("traces", "pass_rates")
    )
    assert sum(facts["outcomes"].values()) == 4
    assert traces["completion_tokens"].sum() == facts["tokens"] <= BUDGET
    sizes = dict(traces.group_by("problem_id").len().iter_rows())
    assert set(sizes.values()) <= set(range(4, 11)), "whole first rounds, nothing over a problem's budget"
    assert facts["later"] == sum(size - 4 for size in sizes.values()) > 0
    assert rates["n"].to_list() == [4] * len(sizes)
    assert rates["later_n"].sum() == facts["later"]
    stages = result["manifest"].to_json()["stages"]
    assert stages["samples"]["in"] == stages["samples"]["kept"] + sum(stages["samples"]["dropped"].values())

    shutil.rmtree(home / "runs")  # recorded samples alone decide the same, and no engine is loaded for it
    again = regenerate(ROUNDS, home)
    assert not again["new"], "the same bytes"
    assert again["manifest"].to_json()["rounds"] == result["manifest"].to_json()["rounds"]
    assert not list((home / "runs" / "rounds").glob("engine-*.json"))
