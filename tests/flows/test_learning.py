"""Learning potential under a real student: the NLL that transformers computes, and no trace asked twice."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from proofmill.data.versions import find
from proofmill.flows.recipe import load as recipes
from proofmill.flows.run.session import Session
from proofmill.generators import models
from support.samples import replay_recipe, sums, table, write_jsonl

pytestmark = [pytest.mark.model, pytest.mark.slow]
Row = dict[str, Any]


@pytest.fixture(scope="module")
def run(
    regenerate: Callable[..., Row], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Row, Callable[..., Row]]:
    folder = tmp_path_factory.mktemp("learning")
    recipe = replay_recipe(write_jsonl(folder / "samples.jsonl", sums(4)))
    recipe |= {
        "prompt": {"train_as": "bare"},
        "quality": {"learning": {"min_tokens": 24, "engine": {"dtype": "float32", "max_model_len": 512}}},
    }
    regenerate(recipe, folder / "home")
    return folder / "home", recipe, regenerate


def test_the_nll_is_that_of_transformers(run: tuple[Path, Row, Any]) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    home, _, _ = run
    assert find(home, "replayed").manifest.to_json()["learning_student"]["model"] == "SmolLM2-135M-Instruct"
    folder = models.resolve("bundled").path
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    traces = table(home, "traces")
    assert traces.filter(pl.col("verdict") != "correct")["nll"].null_count() == traces.height // 2
    proven = traces.filter(pl.col("verdict") == "correct")
    assert proven["nll"].null_count() == 0
    asked = dict(table(home, "problems").select("id", "prompt").iter_rows())
    for row in proven.head(4).to_dicts():
        turn = [{"role": "user", "content": asked[row["problem_id"]]}]
        text = tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True)
        begun, answer = (tokenizer(part, add_special_tokens=False)["input_ids"] for part in (text, row["response"]))
        with torch.no_grad():
            logits = model(torch.tensor([begun + answer])).logits[0, len(begun) - 1 : -1]
        loss = torch.nn.functional.cross_entropy(logits, torch.tensor(answer)).item()
        assert row["nll"] == pytest.approx(loss, abs=1e-3)


def test_short_traces_go_and_a_threshold_asks_nobody_again(run: tuple[Path, Row, Any]) -> None:
    home, recipe, regenerate = run
    reasons = set(table(home, "traces")["drop_reason"])
    assert "too_short" in reasons
    lower = recipe | {"quality": {"learning": recipe["quality"]["learning"] | {"min_tokens": 0, "buckets": 1}}}
    before = (home / "runs" / "replayed" / "engine.log").stat().st_size
    regenerate(lower, home)
    assert "too_short" not in set(table(home, "traces")["drop_reason"])
    assert (home / "runs" / "replayed" / "engine.log").stat().st_size == before, "no engine was started"


def asking(section: Row, learning: Row, *samplers: Row) -> Session:
    source = {"kind": "procedural", "task": "basic_arithmetic"}
    recipe = {"name": "x", "problems": {"sources": [source]}, "samplers": list(samplers)}
    recipe |= {"claims": {"model": section}, "quality": {"learning": learning}}
    return Session(recipes.parse(recipe), Path("unused"))


def test_a_sampler_of_the_same_model_is_asked_and_its_engine_goes_on() -> None:
    folder = str(models.resolve("bundled").path)
    session = asking({}, {}, {"name": "a"}, {"name": "b", "model": folder})
    assert session.claim_judge is session.plans[0], "the first sampler's model"
    assert session.scorer is session.plans[0]
    session = asking({"model": folder}, {"sampler": "b"}, {"name": "a"}, {"name": "b", "model": folder})
    assert session.claim_judge is session.scorer is session.plans[1]
    assert session.asked_later == {"b"}


def test_two_phases_with_the_same_other_engine_share_it() -> None:
    other = {"model": "bundled", "engine": {"kind": "openai", "endpoints": ["http://gpu1:8000"]}}
    session = asking(other, other, {"name": "a"})
    assert session.claim_judge is session.scorer
    assert session.scorer not in session.plans
    assert session.asked_later == {"claims:model"}
    session = asking(other, {}, {"name": "a"})
    assert session.scorer is session.plans[0]
