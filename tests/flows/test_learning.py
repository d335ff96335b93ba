"""Learning potential under a real student: the NLL that transformers computes, and no trace asked twice."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import polars as pl
import pytest

from proofmill.data.versions import find
from proofmill.flows.display import Progress
from proofmill.flows.models import ModelPool
from proofmill.flows.recipe import load as recipes
from proofmill.generators import models
from proofmill.generators.engines.base import Engine
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


def asking(section: Row, learning: Row, *samplers: Row) -> ModelPool:
    source = {"kind": "procedural", "task": "basic_arithmetic"}
    recipe = {"name": "x", "problems": {"sources": [source]}, "samplers": list(samplers)}
    recipe |= {"claims": {"model": section}, "quality": {"learning": learning}}
    unused = Path("unused")
    return ModelPool(
        recipes.parse(recipe), unused, unused, Progress(), generation=0, resampling=False, stack=ExitStack()
    )


def going_on(pool: ModelPool) -> set[str]:
    """Plans whose engine goes on when its sampling has ended."""
    plans = {plan.name: plan for plan in (*pool.plans, pool.claim_judge, pool.scorer) if plan}
    for name in plans:
        pool.engines[name] = cast("Engine", SimpleNamespace(close=lambda: None))
    for plan in plans.values():
        pool.release(plan)
    return set(pool.engines)


def test_a_sampler_of_the_same_model_is_asked_and_its_engine_goes_on() -> None:
    folder = str(models.resolve("bundled").path)
    pool = asking({}, {}, {"name": "a"}, {"name": "b", "model": folder})
    assert pool.claim_judge is pool.plans[0], "the first sampler's model"
    assert pool.scorer is pool.plans[0]
    pool = asking({"model": folder}, {"sampler": "b"}, {"name": "a"}, {"name": "b", "model": folder})
    assert pool.claim_judge is pool.scorer is pool.plans[1]
    assert going_on(pool) == {"b"}


def test_two_phases_with_the_same_other_engine_share_it() -> None:
    other = {"model": "bundled", "engine": {"kind": "openai", "endpoints": ["http://gpu1:8000"]}}
    pool = asking(other, other, {"name": "a"})
    assert pool.claim_judge is pool.scorer
    assert pool.scorer not in pool.plans
    assert going_on(pool) == {"claims:model"}
    pool = asking(other, {}, {"name": "a"})
    assert pool.scorer is pool.plans[0]
