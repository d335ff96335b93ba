"""`proofmill improve`: the loop with a display for each phase, and what it came to as tables, JSON and a page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from proofmill.flows import dry_run
from proofmill.flows.commands.evaluate import same_problems
from proofmill.flows.context import RunRequest, open_run
from proofmill.flows.display import Progress, shown, typed
from proofmill.flows.evaluate import model_named, undrawn
from proofmill.flows.improve import Phase, bases_of, loop_name, round_recipe, run_loop, suite_of, unseen
from proofmill.flows.prefect_server import server
from proofmill.flows.recipe.schema import Recipe
from proofmill.flows.up_to_date import up_to_date_version

Json = Mapping[str, Any]


def run(recipe: Recipe, home: Path, out: Console, *, as_json: bool, dry_run: bool, home_given: str | None) -> None:
    """Run the loop and say what came of it; with `dry_run` only what it would do first."""
    if dry_run:
        for line in planned(recipe, home):
            out.print(line, highlight=False, markup=False, soft_wrap=True)
        return
    with server(home):
        story = run_loop(recipe, home, unseen if as_json else phases(out))
    if as_json:
        out.out(orjson.dumps(story, option=orjson.OPT_INDENT_2).decode(), highlight=False)
        return
    for loop in story["loops"]:
        tell(loop, out)
        out.print(f"next: [bold]{escape(following(recipe, loop, home_given))}[/]", soft_wrap=True)
    out.print(f"page: {home / 'loops' / recipe.name / 'loop.html'}", soft_wrap=True, markup=False)


def following(recipe: Recipe, loop: Json, home_given: str | None) -> str:
    """Return the command that compares the base and the best student on the problems that the loop has measured on."""
    measure = recipe.improve.measure
    words = same_problems(measure.suite, [f"repeats={measure.repeats}"] if measure.repeats else [], measure.limit)
    return typed("eval", loop["base"], loop["best"], *words, home=home_given)


def phases(out: Console) -> Phase:
    """Return what shows each phase of a loop on the console."""

    @contextmanager
    def phase(title: str) -> Iterator[Progress]:
        progress = Progress()
        out.print(f"[bold]{escape(title)}[/]", soft_wrap=True)
        with shown(progress, title, out):
            yield progress
        for warning in progress.warnings:
            out.print(f"[yellow]warning:[/] {escape(warning)}", soft_wrap=True)

    return phase


def planned(recipe: Recipe, home: Path) -> Iterator[str]:
    """Yield what the loop would do: the first round in full, the others in words, since they hang on it."""
    options = recipe.improve
    for base in bases_of(recipe):
        name = loop_name(recipe, base)
        yield f"{name}: at most {options.rounds} rounds from {base}, measured on {options.measure.suite}"
        suite, absent = suite_of(options.measure)
        yield from undrawn(suite, model_named(base, home, suite), home, limit=options.measure.limit)
        yield from (f"set {one} is left out: its file is not there" for one in absent)
        request = RunRequest(round_recipe(recipe, name, 1, base, {}), home, dry_run=True)
        yield f"round 1: {request.recipe.name}, sampled by {base}"
        if known := up_to_date_version(request):
            yield f"  {known.label} already holds it"
        else:
            with open_run(request) as opened:
                yield from (f"  {line}" for line in dry_run.report(opened))
        stages = ", ".join(recipe.train.stages)
        begins = "the base" if options.start == "base" else "the last student"
        yield f"each round: trained from {begins} by {stages}; later rounds are sampled by the last student"
        if options.ablate.arms:
            yield f"then arms of {options.ablate.seeds} seeds each: {', '.join(options.ablate.arms)}"


def tell(loop: Json, out: Console) -> None:
    """Print one base's models, rounds and controls."""
    table = Table(title=Text(f"{loop['name']} on {loop['suite']['name']}"), title_justify="left")
    table.add_column("model")
    for heading in ("round", "pass@1 [95 %]", "pass@k", "tokens"):
        table.add_column(heading, justify="right", no_wrap=True)
    for model in loop["models"]:
        table.add_row(Text(model["model"]), str(model["round"]), *_cells(model["overall"]))
    out.print(table)
    for one in loop["rounds"]:
        out.print(_round(one), highlight=False, markup=False, soft_wrap=True)
    for control in loop["controls"]:
        if found := control["difference"]:
            said = ("no difference that can be shown", "the base is better", "the student is better")[found["winner"]]
            told = f"control {control['suite']}: {said}, {_points(found['pass_1'])}"
            out.print(told, highlight=False, markup=False, soft_wrap=True)
    out.print(f"ended: {loop['why']}; best student: {loop['best']}", highlight=False, markup=False, soft_wrap=True)


def _cells(score: Json | None) -> list[str]:
    if score is None:
        return ["-", "-", "-"]
    pass_1, (k, rate) = score["pass_1"], list(score["pass_k"].items())[-1]
    spread = f"{100 * pass_1['value']:.1f} [{100 * pass_1['low']:.0f}-{100 * pass_1['high']:.0f}]"
    return [spread, f"{100 * rate:.1f} (k = {k})", f"{score['tokens']['value']:.0f}"]


def _round(one: Json) -> str:
    rates = ", ".join(f"{name} {rate:.0%}" for name, rate in one["pass_rates"].items())
    gain = f", {_points(one['gain']['pass_1'])} over the round before" if one["gain"] else ""
    return f"round {one['round']}: {one['data']}, sampled by {one['sampler']} (right: {rates}) → {one['model']}{gain}"


def _points(gain: Json) -> str:
    return "{:+.1f} points [{:+.1f}, {:+.1f}]".format(*(100 * gain[name] for name in ("value", "low", "high")))
