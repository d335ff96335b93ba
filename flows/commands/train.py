"""`proofmill train` and `proofmill merge`: a model version from a data version, or from other models."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from proofmill.data.errors import RecipeError, UsageError
from proofmill.data.model_versions import ModelVersion
from proofmill.data.sections import Name
from proofmill.data.versions import Version
from proofmill.flows.checkpoints import checkpoint_chooser
from proofmill.flows.display import Progress, shown, typed
from proofmill.flows.recipe.faults import explained
from proofmill.flows.recipe.load import load, override
from proofmill.flows.recipe.training import TrainOptions
from proofmill.flows.train import (
    Base,
    base_model,
    base_name,
    known_model,
    merge,
    model_key,
    plan_stages,
    stage_options,
    train,
    training_data,
)
from proofmill.generators.trainer import DONE

_NAME: TypeAdapter[str] = TypeAdapter(Name)


def run(
    home: Path,
    label: str,
    out: Console,
    *,
    base: str | None,
    name: str | None,
    recipe: str | None,
    domains: Sequence[str],
    overrides: Sequence[str],
    dry_run: bool,
    home_given: str | None,
) -> None:
    """Train, unless that was done, and say what came of it."""
    progress = Progress()
    data = training_data(home, label, progress)
    options = train_options(data, recipe, overrides, base=base, domains=domains)
    model_name = checked_name(name or data.name)
    began = base_model(home, base_name(options, data), progress)
    if dry_run:
        for line in planned(home, model_name, began, data, options, progress):
            out.print(line, highlight=False, markup=False, soft_wrap=True)
        return
    started = time.monotonic()
    with shown(progress, f"proofmill train {data.label}: {model_name} from {began.label}", out):
        chooser = checkpoint_chooser(home, options.choose, progress)
        version, new = train(home, model_name, began, data, options, progress, chooser)
    for warning in progress.warnings:
        out.print(f"[yellow]warning:[/] {escape(warning)}", soft_wrap=True)
    if not new:
        out.print(f"Nothing to do: [bold]{version.label}[/] is this training's result.")
    else:
        _tell(version, time.monotonic() - started, out)
    out.print(f"  {version.folder}", soft_wrap=True)
    following = typed("eval", began.label, version.label, home=home_given)
    out.print(f"next: [bold]{escape(following)}[/]", soft_wrap=True)


def train_options(
    data: Version, recipe: str | None, overrides: Sequence[str], *, base: str | None, domains: Sequence[str]
) -> TrainOptions:
    """Return the section `train` of a recipe, or of the data's own, with what the command line changes.

    Raises:
        RecipeError: a key or value doesn't fit.
    """
    given: dict[str, Any] = dict(data.manifest.recipe.get("train") or {})
    if recipe is not None:
        given = load(recipe).train.model_dump(mode="json")
    given = {name: value for name, value in given.items() if value is not None}  # so that a key below can be set
    for item in overrides:
        override(given, item)
    given |= ({"base": base} if base else {}) | ({"domains": list(domains)} if domains else {})
    try:
        return TrainOptions.model_validate(given)
    except ValidationError as error:
        told = explained(error, TrainOptions)
        raise RecipeError(f"The section train doesn't fit: {told}", where="--set", remedy="fix these keys") from error


def checked_name(name: str) -> str:
    """Return the name of a model.

    Raises:
        UsageError: it is none.
    """
    try:
        return _NAME.validate_python(name)
    except ValidationError as error:
        raise UsageError(
            f"{name!r} is no name of a model.", where="--out", remedy="use letters, digits, dots and dashes, at most 64"
        ) from error


def planned(
    home: Path, name: str, base: Base, data: Version, options: TrainOptions, progress: Progress
) -> Sequence[str]:
    """Return what would be trained, in lines."""
    plans = plan_stages(home, name, base, data, options, progress)
    if known := known_model(home, name, model_key(plans, options)):
        return [f"Nothing would be trained: {known.label} is this training's result."]
    lines = [f"{name}: {base.label} trained on {data.label}"]
    for plan in plans:
        own = stage_options(options, plan.rows.stage).model_dump(exclude_none=True)
        told = ", ".join(f"{key} {value}" for key, value in own.items())
        size = f"longest {plan.rows.longest} tokens, " if plan.rows.longest else ""
        done = "done already" if (plan.folder / DONE).exists() else "to be trained"
        lines.append(f"  {plan.rows.stage}: {plan.rows.train.num_rows:,} rows, {size}{told}; {done}")
    return [*lines, "  a new version would be written"]


def _tell(version: ModelVersion, seconds: float, out: Console) -> None:
    table = Table(title=f"{version.label}: how it was trained", title_justify="left")
    table.add_column("stage")
    for name in ("rows", "steps", "tokens", "s", "loss", "validation"):
        table.add_column(name, justify="right")
    for stage in version.manifest.stages:
        losses = "-" if stage.first_loss is None else f"{stage.first_loss:.3f} → {stage.last_loss:.3f}"
        validation = "-" if stage.validation_loss is None else f"{stage.validation_loss:.3f}"
        counts = (f"{stage.rows:,}", f"{stage.steps:,}", f"{stage.tokens:,}", f"{stage.seconds:,.0f}")
        table.add_row(stage.name, *counts, losses, validation)
    out.print(table)
    if chosen := version.manifest.chosen:
        out.print(f"checkpoint {chosen['chosen']} by pass@{chosen['k']} on {chosen['suite']}", markup=False)
    out.print(f"written: [bold]{version.label}[/] in {seconds:.0f} s")


def run_merge(
    home: Path, names: Sequence[str], name: str, weights: str | None, out: Console, *, home_given: str | None
) -> None:
    """Average models and say what came of it.

    Raises:
        UsageError: weights that are no numbers.
    """
    progress = Progress()
    try:
        shares = [float(part) for part in weights.split(",")] if weights else [1.0] * len(names)
    except ValueError as error:
        raise UsageError(
            f"{weights!r} is no list of numbers.", where="--weights", remedy="for example 0.7,0.3"
        ) from error
    bases = [base_model(home, one, progress) for one in names]
    with shown(progress, f"proofmill merge {' '.join(names)}", out):
        version, new = merge(home, checked_name(name), bases, shares, progress)
    told = "written" if new else "nothing to do"
    out.print(f"{told}: [bold]{version.label}[/]  {version.folder}", soft_wrap=True)
    following = typed("eval", *(base.label for base in bases), version.label, home=home_given)
    out.print(f"next: [bold]{escape(following)}[/]", soft_wrap=True)
