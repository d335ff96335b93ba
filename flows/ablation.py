"""Arms of an ablation: other rows of the same samples, trained in the same way, at equal tokens and steps.

Every arm passes the same stages with the same learning rates, and sees as many rows a stage as the filtered one does.
For each of these rows it gets one of its own pool that is about as long, so that tokens are equal as well as steps.
What differs is which traces the rows come from.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from proofmill.data.files import write_json
from proofmill.data.manifest import MANIFEST
from proofmill.data.model_versions import ModelVersion
from proofmill.data.schemas import sft
from proofmill.data.tables import from_rows, read_table, write_table
from proofmill.data.versions import Version
from proofmill.filters.verdicts import CORRECT, WRONG
from proofmill.flows.checkpoints import checkpoint_chooser
from proofmill.flows.display import Progress, log
from proofmill.flows.models import prompt_styles
from proofmill.flows.recipe.improving import Ablation, Arm
from proofmill.flows.recipe.schema import Recipe
from proofmill.flows.recipe.training import RlStage, SftStage, Stage
from proofmill.flows.train import Base, base_model, stage_options, train
from proofmill.generators import prompts
from proofmill.generators.prompts import Renderer

_STAGES: tuple[Stage, ...] = ("sft_stage1", "sft_stage2")
_TRIED = 32  # rows of the pool among which the one is taken whose length fits best
_CLAIMS = ("refuted_claim", "unreliable")
Row = dict[str, Any]
Shown = Callable[[str], AbstractContextManager[Progress]]


@dataclass(frozen=True)
class TrainedArm:
    """One training of an arm.

    Attributes:
        arm, seed: which.
        model: what came of it.
        rows: different rows among those that it saw.
        tokens: completion tokens that it learned from.
        steps: of the optimizer.
    """

    arm: Arm
    seed: int
    model: ModelVersion
    rows: int
    tokens: int
    steps: int


def train_arms(recipe: Recipe, home: Path, data: Version, start: str, shown: Shown) -> Iterator[TrainedArm]:
    """Train each arm with each seed; what is trained is not trained again.

    Args:
        recipe: of the loop; its sections `train` and `improve.ablate` say how.
        home: HOME.
        data: the version whose samples are taken.
        start: the model that each training begins from.
        shown: shows one training while a block runs.

    Raises:
        ProofmillError: as `train`.
    """
    options: Ablation = recipe.improve.ablate
    stages = tuple(stage for stage in recipe.train.stages if stage in _STAGES and data.files(stage))
    filtered = {stage: _rows(data, stage) for stage in stages}
    for arm in options.arms:
        pools = {stage: pool(recipe, data, arm, stage, filtered) for stage in stages}
        if not pools or not all(pools.values()):
            log.warning("arm %s is left out: no trace of %s fits it", arm, data.label)
            continue
        for seed in range(options.seeds):
            with shown(f"arm {arm}, seed {seed}, from {start}") as progress:
                base = base_model(home, start, progress)
                yield _trained(recipe, home, data, base, arm, seed, filtered, pools, progress)


def _trained(
    recipe: Recipe,
    home: Path,
    data: Version,
    base: Base,
    arm: Arm,
    seed: int,
    filtered: Mapping[Stage, list[Row]],
    pools: Mapping[Stage, list[Row]],
    progress: Progress,
) -> TrainedArm:
    stages = tuple(filtered)
    renderer, chance = Renderer(base.model.path), random.Random(seed)
    steps: dict[Stage, int] = {}
    tables: dict[Stage, list[Row]] = {}
    seen = 0
    for stage in stages:
        own = stage_options(recipe.train, stage)
        steps[stage] = _steps(own, len(filtered[stage]), recipe.train.batch)
        visits = [filtered[stage][n % len(filtered[stage])] for n in range(steps[stage] * recipe.train.batch)]
        wanted = _lengths(renderer, visits)
        chosen = pools[stage] if arm != "random" else _part(pools[stage], len(filtered[stage]), chance)
        picked = matched(_lengths(renderer, chosen), wanted, chance)
        tables[stage] = [chosen[n] for n in picked]
        seen += len(set(picked))
    version = _written(home, data, arm, seed, tables)
    changes = {
        name: stage_options(recipe.train, stage).model_copy(update={"steps": steps[stage]})
        for stage, name in zip(_STAGES, ("stage1", "stage2"), strict=True)
        if stage in stages
    }
    train_options = recipe.train.model_copy(update={**changes, "stages": stages, "seed": seed, "choose": None})
    chooser = checkpoint_chooser(home, None, progress)
    model, _ = train(home, f"{data.name}-{arm}-{seed}", base, version, train_options, progress, chooser)
    tokens = sum(stage.tokens for stage in model.manifest.stages)
    return TrainedArm(arm, seed, model, seen, tokens, sum(stage.steps for stage in model.manifest.stages))


def _steps(own: SftStage | RlStage, rows: int, batch: int) -> int:
    epochs = own.epochs if isinstance(own, SftStage) else 1.0
    return own.steps or max(1, round(rows * epochs / batch))


def _rows(data: Version, stage: str) -> list[Row]:
    files = [path for path in data.files(stage) if path.name.startswith("train-")]
    return [row for path in files for row in read_table(path).to_pylist()]


def pool(recipe: Recipe, data: Version, arm: Arm, stage: Stage, filtered: Mapping[Stage, list[Row]]) -> list[Row]:
    """Return the rows that an arm's stage may see: in the first whole responses, in the second their final parts."""
    if arm == "filtered":
        return filtered[stage]
    if arm == "no_curriculum":
        return [row for rows in filtered.values() for row in rows]
    traces, problems = data.scan("traces"), data.scan("problems")
    if traces is None or problems is None:
        return []
    wanted = {
        "wrong": pl.col("verdict") == WRONG,
        "no_claims": (pl.col("verdict") == CORRECT)
        & (pl.col("drop_reason").is_null() | pl.col("drop_reason").is_in(_CLAIMS)),
    }.get(arm, pl.lit(True))
    text = "response" if stage == _STAGES[0] else "final"
    wanted &= pl.col(text).str.len_chars() > 0
    kept = traces.filter(wanted).select("id", "problem_id", "sampler", "domain", text).collect()
    asked = {row["id"]: row for row in problems.collect().to_dicts()}
    styles = prompt_styles(recipe)
    return [
        {
            "id": name,
            "domain": domain,
            "prompt": prompts.as_trained(styles(sampler), asked[problem], recipe.prompt.train_as),
            "completion": [{"role": "assistant", "content": said}],
            "weight": 1.0,
        }
        for name, problem, sampler, domain, said in kept.iter_rows()
    ]


def _part(rows: Sequence[Row], count: int, chance: random.Random) -> list[Row]:
    return chance.sample(list(rows), min(count, len(rows)))


def _lengths(renderer: Renderer, rows: Sequence[Row]) -> list[int]:
    texts = [
        row["completion"] if isinstance(row["completion"], str) else row["completion"][-1]["content"] for row in rows
    ]
    return [len(tokens) for tokens in renderer.tokens_of(texts)]


def matched(lengths: Sequence[int], wanted: Sequence[int], chance: random.Random) -> list[int]:
    """Return which rows of a pool to take, one for each wanted length, so that the sums of both come out alike.

    No row is taken again before all others were.
    """
    left: list[int] = []
    debt, taken = 0, []
    for length in chance.sample(list(wanted), len(wanted)):
        if not left:
            left = chance.sample(range(len(lengths)), len(lengths))
        place = min(
            chance.sample(range(len(left)), min(_TRIED, len(left))),
            key=lambda at: abs(lengths[left[at]] - length - debt),
        )
        row = left.pop(place)
        debt += length - lengths[row]
        taken.append(row)
    return taken


def _written(home: Path, data: Version, arm: str, seed: int, tables: Mapping[Stage, list[Row]]) -> Version:
    """The arm's rows as a version of their own, which only a training reads."""
    folder = home / "loops" / "arms" / f"{data.name}-v{data.number}-{arm}-{seed}"
    for stage, rows in tables.items():
        kind = "text" if isinstance(rows[0]["prompt"], str) else "messages"
        schema = sft(kind)
        empty = dict.fromkeys(schema.names)
        named = [empty | row | {"id": f"{row['id']}-{number}"} for number, row in enumerate(rows)]
        write_table(folder / stage / "train-00000-of-00001.parquet", from_rows(named, schema))
    for path in data.files("problems"):
        write_table(folder / "problems" / path.name, read_table(path))
    manifest = data.manifest.replaced(name=f"{data.name}-{arm}", files=[])
    write_json(folder / MANIFEST, manifest.to_json())
    return Version(f"{data.name}-{arm}", data.number, folder, manifest)
