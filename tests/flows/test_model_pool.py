"""Which engine is asked in which phase: those with the same model and options share one."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from proofmill.flows.display import Progress
from proofmill.flows.models import ModelPool
from proofmill.flows.recipe import load as recipes
from proofmill.generators import models
from proofmill.generators.engines.base import Engine

Row = dict[str, Any]


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
