"""`proofmill doctor`: what would break a run, and what to do about it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import orjson
from rich.console import Console
from rich.table import Table
from rich.text import Text

from proofmill.flows.doctor.checks import (
    FAIL,
    OK,
    SKIP,
    WARN,
    Check,
    Place,
    cluster_checks,
    hub_checks,
    library_checks,
    machine_checks,
    package_checks,
    prefect_checks,
    redis_checks,
    run,
    sandbox_checks,
    storage_checks,
)
from proofmill.flows.doctor.models import endpoint_checks, model_checks, training_checks
from proofmill.flows.recipe.schema import Recipe

GROUPS = (
    *(library_checks, machine_checks, model_checks, endpoint_checks, training_checks),
    *(sandbox_checks, package_checks, storage_checks, cluster_checks),
    *(prefect_checks, hub_checks, redis_checks),
)
_SIGNS = {OK: ("✓", "green"), WARN: ("!", "yellow"), FAIL: ("✗", "red"), SKIP: ("–", "dim")}


def examine(recipe: Recipe, home: Path, console: Console, *, as_json: bool) -> bool:
    """Run every check and print its finding; return whether a run would go through."""
    if as_json:
        checks = run(GROUPS, Place(recipe, home))
        ok = not _count(checks)[FAIL]
        report = {"ok": ok, "recipe": recipe.name, "checks": [asdict(check) for check in checks]}
        console.print(orjson.dumps(report, option=orjson.OPT_INDENT_2).decode(), markup=False, soft_wrap=True)
        return ok
    with console.status(f"looking at this machine for '{recipe.name}'"):
        checks = run(GROUPS, Place(recipe, home))
    console.print(_table(checks))
    console.print(_summary(checks, recipe))
    return not _count(checks)[FAIL]


def _count(checks: Sequence[Check]) -> Counter[str]:
    return Counter(check.status for check in checks)


def _table(checks: Sequence[Check]) -> Table:
    table = Table(box=None, show_header=False, padding=(0, 1), pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for check in checks:
        sign, style = _SIGNS[check.status]
        found = Text(check.found, style="dim" if check.status == SKIP else "")
        if check.remedy:
            found.append(f"\n→ {check.remedy}", style="dim" if check.status == SKIP else style)
        table.add_row(Text(sign, style=style), Text(check.name, style="bold"), found)
    return table


def _summary(checks: Sequence[Check], recipe: Recipe) -> Text:
    count = _count(checks)
    if count[FAIL]:
        return Text(f"{count[FAIL]} would break a run of '{recipe.name}'; what to do stands beside each.", style="red")
    seen = f"A run of '{recipe.name}' should go through"
    return Text(f"{seen}; {count[WARN]} to look at." if count[WARN] else f"{seen}.", style="green")
