"""`proofmill eval`: one or several models on a suite, as tables, JSON and a page."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import orjson
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from proofmill.data.errors import UsageError
from proofmill.data.files import atomic, check_writable, write_json
from proofmill.data.report import evaluation as page
from proofmill.filters.evaluation import Difference, Score
from proofmill.flows.display import Progress, shown, typed
from proofmill.flows.evaluate import (
    EvaluatedModel,
    PairedComparison,
    Results,
    evaluate,
    model_named,
    results_of,
    undrawn,
)
from proofmill.flows.models import model_of
from proofmill.flows.recipe.suite import Suite, load_suite

_SET, _DOMAIN = "set ", "domain "
_NAME_WIDTH = 14
Part = TypeVar("Part")


def run(
    models: Sequence[str],
    suite_name: str,
    home: Path,
    out: Console,
    *,
    overrides: Sequence[str],
    limit: int | None,
    as_json: bool,
    dry_run: bool,
    out_file: Path | None,
    home_given: str | None,
) -> None:
    """Evaluate and say what came of it; with `as_json` for programs, with `dry_run` only what would be drawn.

    Raises:
        RecipeError: the suite can't be read, or a key of it doesn't fit.
        UsageError: one model twice, or a suite without problems for a model that must be asked.
        InputError, EngineError: a model can't be found or fetched.
    """
    if len(set(models)) < len(models):
        raise UsageError("A model is named twice.", where=" ".join(models), remedy="name each model once")
    suite, absent = load_suite(suite_name, overrides).present()
    named = [model_named(name, home, suite) for name in models]
    _check_problems(suite, absent, named)
    if dry_run:
        for model in named:
            for line in undrawn(suite, model, home, limit=limit):
                out.print(line, highlight=False, markup=False, soft_wrap=True)
        return
    _check_models(suite, named)
    target = out_file or _place(home, suite, named)
    if out_file:
        check_writable(out_file.absolute().parent, "choose another file with --out")
    results = measured(suite, named, home, out, limit=limit, absent=absent, quiet=as_json)
    found = results.to_json()
    write_json(target.with_suffix(".json"), found)
    with atomic(target) as temporary:
        temporary.write_text(page.render(found), encoding="utf-8")
    if as_json:
        out.out(orjson.dumps(found, option=orjson.OPT_INDENT_2).decode(), highlight=False)
        return
    tell(results, out)
    out.print(f"page: {target}", soft_wrap=True, markup=False)
    if len(models) == 1:
        words = same_problems(suite_name, overrides, limit)
        following = typed("eval", *models, "OTHER", *words, home=home_given)
        out.print(f"to compare: [bold]{escape(following)}[/]", soft_wrap=True)


def _check_models(suite: Suite, named: Sequence[EvaluatedModel]) -> None:
    """Find all models before the first one is asked: a wrong name of the last must not show after hours."""
    for model in named if len(named) > 1 else ():
        for recipe in suite.recipes(model.engine, model.model):
            for sampler in recipe.live:
                model_of(sampler, Progress().note)


def same_problems(suite: str, overrides: Sequence[str], limit: int | None) -> list[str]:
    """Return the words of `proofmill eval` that measure on the same problems: the suite as it was named, not its name
    in itself, by which only a bundled one is found.
    """
    changes = [word for item in overrides for word in ("--set", item)]
    return ["--suite", suite, *changes, *(("--limit", str(limit)) if limit else ())]


def measured(
    suite: Suite,
    models: Sequence[EvaluatedModel],
    home: Path,
    out: Console,
    *,
    limit: int | None = None,
    absent: Sequence[str] = (),
    quiet: bool = False,
) -> Results:
    """Evaluate each model in turn, shown on the console; what is recorded is not drawn again."""
    found = []
    for model in models:
        progress = Progress()
        if quiet:
            found.append(evaluate(suite, model, home, progress, limit=limit))
        else:
            with shown(progress, f"proofmill eval {model.label}, suite {suite.name}", out):
                found.append(evaluate(suite, model, home, progress, limit=limit))
            for warning in progress.warnings:
                out.print(f"[yellow]warning:[/] {escape(warning)}", soft_wrap=True)
    return results_of(suite, found, absent)


def _check_problems(suite: Suite, absent: Sequence[str], models: Sequence[EvaluatedModel]) -> None:
    asked = [model.label for model in models if model.engine.kind != "replay"]
    if asked and not suite.sets:
        told = f"; its sets {', '.join(absent)} have no file" if absent else ""
        raise UsageError(
            f"The suite {suite.name!r} has no problems to ask {asked[0]}{told}.",
            where="--suite",
            remedy="add a set, or give the path of a set's file: --set sets.0.source.path=FILE",
        )


def _place(home: Path, suite: Suite, models: Sequence[EvaluatedModel]) -> Path:
    """Return the page's file: HOME/evaluations/SUITE/MODELS.html."""
    names = "-vs-".join(re.sub(r"[^\w.@-]+", "-", model.label).strip("-.") or "model" for model in models)
    return home / "evaluations" / suite.name / f"{names[-120:]}.html"


# --- what the terminal shows -----------------------------------------------------------------------------


def tell(results: Results, out: Console) -> None:
    """Print the tables of all models, then those of each pair."""
    for label, scores in results.scores.items():
        out.print(_table(f"{label} on {results.suite.name}", scores))
        for line in _remarks(label, scores["overall"], results):
            out.print(line, highlight=False, soft_wrap=True, markup=False)
    for pair in results.comparisons:
        out.print(_differences(pair))
        out.print(_verdict(pair), highlight=False, soft_wrap=True, markup=False)
    for name in results.absent:
        out.print(f"set {name} was left out: its file is not there", highlight=False, markup=False)


def _table(title: str, scores: Mapping[str, Score]) -> Table:
    overall = scores["overall"]
    curves = {"pass": "pass_k", "maj": "maj_k"}
    named = {f"{shown}@{max(curve)}": name for shown, name in curves.items() if (curve := getattr(overall, name))}
    table = Table(title=Text(title), title_justify="left")
    table.add_column("", min_width=_NAME_WIDTH)
    for heading in ("n", "pass@1 [95 %]", "known", *named, "tokens"):
        table.add_column(heading, justify="right", no_wrap=True)
    for name, found in _telling(scores):
        table.add_row(
            Text(name),
            f"{found.problems:,}",
            f"{100 * found.pass_1.value:.1f} [{100 * found.pass_1.low:.0f}-{100 * found.pass_1.high:.0f}]",
            f"{100 * found.known.value:.1f}" if found.known else "-",
            *(_at(getattr(found, curve), int(heading.partition("@")[2])) for heading, curve in named.items()),
            f"{found.tokens.value:,.0f}",
        )
    return table


def _telling(parts: Mapping[str, Part]) -> Iterator[tuple[str, Part]]:
    """Yield the parts without what is said already: sets and domains of which there is one."""
    for name, part in parts.items():
        kind = next((kind for kind in (_SET, _DOMAIN) if name.startswith(kind)), None)
        if kind is None or sum(other.startswith(kind) for other in parts) > 1:
            yield name.removeprefix(_SET), part


def _at(curve: Mapping[int, float], k: int) -> str:
    return f"{100 * curve[k]:.1f}" if k in curve else "-"


def _remarks(label: str, overall: Score, results: Results) -> Iterator[str]:
    yield f"  pass@k: {_curve(overall.pass_k)}"
    yield (
        f"  samples without an answer {overall.unparsed:.1%} (cut {overall.truncated:.1%}), without a verdict "
        f"{overall.errors:.1%}, left out"
    )
    if overall.clr_k:
        yield f"  clr@k: {_curve(overall.clr_k)}"
    if overall.known:
        yield f"  corrected for guessing: {overall.known}"
    if count := results.left_out.get(label):
        lineage = ", ".join(results.lineage.get(label, ())) or "its training data"
        yield f"  {count:,} problems stand in {lineage} and are left out for every model"


def _curve(curve: Mapping[int, float]) -> str:
    return ", ".join(f"{k}: {rate:.1%}" for k, rate in curve.items())


def _differences(pair: PairedComparison) -> Table:
    table = Table(title=Text(f"{pair.second} minus {pair.first}, the same problems"), title_justify="left")
    table.add_column("", min_width=_NAME_WIDTH)
    for name in ("n", "pass@1, points [95 %]", "better/worse", "tokens", "winner"):
        table.add_column(name, justify="right", no_wrap=name != "winner")
    rows = {"overall": pair.overall} | {f"{_SET}{name}": found for name, found in pair.by_set.items()}
    for name, found in _telling(rows | {f"{_DOMAIN}{name}": found for name, found in pair.by_domain.items()}):
        table.add_row(Text(name), *_cells(pair, found))
    return table


def _cells(pair: PairedComparison, found: Difference) -> list[str | Text]:
    gain = found.pass_1
    return [
        f"{found.problems:,}",
        f"{100 * gain.value:+.1f} [{100 * gain.low:+.1f}, {100 * gain.high:+.1f}]",
        f"{found.better:,}/{found.worse:,}",
        f"{found.tokens.value:+,.0f}",
        Text(("-", pair.first, pair.second)[found.winner]),
    ]


def _verdict(pair: PairedComparison) -> str:
    gain, winner = pair.overall.pass_1, (None, pair.first, pair.second)[pair.overall.winner]
    if winner is None:
        return (
            f"No difference that these {pair.overall.problems:,} problems can show: {100 * gain.value:+.1f} points, "
            f"interval {100 * gain.low:+.1f} to {100 * gain.high:+.1f}. More problems or repeats narrow it."
        )
    return f"{winner} is better by {100 * abs(gain.value):.1f} points of pass@1 on these problems."
