"""`proofmill route`: routing policies replayed on a version's recorded samples, cost against solved problems."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import orjson
from rich.console import Console
from rich.table import Table
from rich.text import Text

from proofmill.data.errors import UsageError
from proofmill.data.files import check_writable, write_json
from proofmill.data.versions import Version, find
from proofmill.filters.routing import (
    Attempts,
    Cell,
    Cells,
    Outcome,
    Policy,
    RouteOptions,
    Step,
    band,
    cheapest_first,
    frontier,
    policies,
    policy_table,
    replayed,
    route,
)
from proofmill.flows.recorded_attempts import attempts_by_problem, column_of, uncounted_share


@dataclass(frozen=True)
class RouteRequest:
    """What to replay.

    Attributes:
        models: whom to compare, with their prices, by the name of a sampler or model.
        through: models of one policy each, in order; empty: each one alone and every cheaper one before a dearer one.
        budgets: samples of the first model, several to compare; empty: all.
        below: pass rates up to which a problem goes on, several to compare; empty: 0.
        large_only: domains that skip the first model.
    """

    models: Mapping[str, Step]
    through: Sequence[tuple[str, ...]] = ()
    budgets: Sequence[int] = ()
    below: Sequence[float] = ()
    large_only: tuple[str, ...] = ()


def parse_prices(texts: Sequence[str]) -> dict[str, Step]:
    """Return `["small=0.10", "large=2.5,0.5"]` as models by name; a second number is the price of prompts.

    Raises:
        UsageError: one is no name with one or two numbers.
    """
    models: dict[str, Step] = {}
    for text in texts:
        name, _, numbers = text.rpartition("=")
        try:
            price, prompt_price = [*map(float, numbers.split(",")), 0.0][:2]
        except ValueError:
            price = prompt_price = math.nan
        if not name or numbers.count(",") > 1 or not (0 <= price < math.inf and 0 <= prompt_price < math.inf):
            raise UsageError(
                f"{text!r} is no model with a price.",
                where="--price",
                remedy=f"for example --price {name or 'small'}=0.10, or with the price of prompts: "
                f"--price {name or 'small'}=0.10,0.02",
            )
        models[name] = Step(name, price, prompt_price=prompt_price)
    return models


def run(
    home: Path,
    label: str,
    request: RouteRequest,
    out: Console,
    *,
    show_all: bool = False,
    as_json: bool = False,
    out_file: Path | None = None,
) -> None:
    """Replay policies and print what each solves at what cost; nothing is sampled.

    Raises:
        UsageError: a model without samples or without a price; a policy file of no policy or of several.
    """
    version = find(home, label)
    request = _completed(version, request)
    if out_file is not None:
        check_writable(out_file.absolute().parent, "choose another file with --out")
    problems, left_out = _problems(version, request)
    ordered = cheapest_first(request.models.values(), problems)
    request = replace(request, models={step.model: step for step in ordered})
    outcomes = replayed(_policies(request), problems)
    large = next(outcome for outcome in outcomes if outcome.policy.steps == (ordered[-1],))
    if out_file is not None:
        write_json(out_file, _policy_file(version, request, problems))
    shown = outcomes if show_all or request.through else frontier(outcomes)
    if as_json:
        found = _as_json(version, shown, large, len(problems), left_out)
        out.out(orjson.dumps(found, option=orjson.OPT_INDENT_2).decode(), highlight=False)
        return
    out.print(_table(version, shown, large))
    estimated = uncounted_share(version, request.models)
    _remarks(outcomes, shown, large, len(problems), left_out, estimated, out)
    if out_file is not None:
        out.print(f"policy file: {out_file}", soft_wrap=True, markup=False)


def _completed(version: Version, request: RouteRequest) -> RouteRequest:
    """Return the request with what the version's own recipe says of prices and order, where nothing else was said."""
    section = version.manifest.recipe.get("route")
    if request.models or not section:
        if not request.models:
            raise UsageError(
                "Nothing says what the models cost.",
                where="--price",
                remedy=f"give each one's price for a million completion tokens: --price {_example(version)}=0.10",
            )
        return request
    own = RouteOptions.model_validate(section)
    small = own.small or version.manifest.recipe["samplers"][0]["name"]
    policy = own.policy(small)
    models = {step.model: replace(step, samples=None) for step in policy.steps}
    through = request.through or [tuple(models)]
    budgets = request.budgets or ([own.budget] if own.budget else [])
    below, large_only = request.below or [own.below], request.large_only or own.large_only
    return RouteRequest(models, through, budgets, below, large_only)


def _example(version: Version) -> str:
    rates = version.scan("pass_rates")
    return "NAME" if rates is None else str(rates.select("sampler").first().collect().item())


def _policies(request: RouteRequest) -> list[Policy]:
    budgets: Sequence[int | None] = request.budgets or [None]
    bounds = request.below or [0.0]
    models = list(request.models.values())
    if not request.through:
        return list(policies(models, budgets, bounds, request.large_only))
    alone = [Policy((model,)) for model in models]
    chains = [
        Policy(
            (replace(_step(request, names[0]), samples=budget), *(_step(request, name) for name in names[1:])),
            below,
            request.large_only,
        )
        for names in request.through
        for budget in budgets
        for below in bounds
    ]
    return [*alone, *chains]


def _step(request: RouteRequest, name: str) -> Step:
    if name not in request.models:
        near = difflib.get_close_matches(name, request.models, 1)
        hint = f", did you mean '{near[0]}'?" if near else ""
        raise UsageError(
            f"There is no price for '{name}'{hint}.", where="--through", remedy=f"add --price '{name}=0.10'"
        )
    return request.models[name]


def _problems(version: Version, request: RouteRequest) -> tuple[list[tuple[str, Attempts]], int]:
    """Return (domain, samples) of each problem that all models have tried, and the number of the others."""
    for names in request.through:
        for name in names:
            _step(request, name)
    column = column_of(version, request.models)
    traces, asked = version.scan("traces"), version.scan("problems")
    problems: list[tuple[str, Attempts]] = []
    left_out = 0
    for _, domain, attempts in (
        attempts_by_problem(traces, asked, column) if traces is not None and asked is not None else ()
    ):
        if request.models.keys() <= attempts.keys():
            problems.append((domain, attempts))
        else:
            left_out += 1
    if not problems:
        raise UsageError(
            "No problem was tried by all of these models, so they can't be compared.",
            where=version.label,
            remedy="name models that have samples of the same problems; a run's `route` samples teachers only where "
            "it must, and the config `routes` says what came of that",
        )
    return problems, left_out


def _policy_file(version: Version, request: RouteRequest, problems: Sequence[tuple[str, Attempts]]) -> dict[str, Any]:
    chains = [policy for policy in _policies(request) if len(policy.steps) > 1]
    if len(chains) != 1:
        raise UsageError(
            f"A policy file holds one policy, and here are {len(chains)}.",
            where="--out",
            remedy="name its models in order with --through small,large, and one --budget and --below at most",
        )
    cells: Cells = {}
    for domain, attempts in problems:
        routed = route(chains[0], domain, attempts)
        first = next((tried for tried in routed.tried if tried.model == chains[0].steps[0].model), None)
        cells.setdefault((domain, band(first.rate if first else None)), Cell()).add(routed)
    return {"data": version.label, **policy_table(chains[0], cells)}


def _table(version: Version, outcomes: Sequence[Outcome], large: Outcome) -> Table:
    table = Table(title=Text(f"{version.label}: what routing would have cost"), title_justify="left")
    table.add_column("policy", overflow="fold")
    for heading in ("solved", "by first", "cost", "per 1,000", "beside"):
        table.add_column(heading, justify="right", no_wrap=True)
    for outcome in outcomes:
        table.add_row(*_cells(outcome, large))
    if large not in outcomes:  # what all others are compared with
        table.add_section()
        table.add_row(*_cells(large, large))
    return table


def _cells(outcome: Outcome, large: Outcome) -> tuple[Text | str, ...]:
    beside = outcome.beside(large)
    return (
        Text(outcome.policy.label),
        f"{outcome.solved:,} ({outcome.solved / outcome.problems:.0%})",
        f"{outcome.by_first / outcome.solved:.0%}" if outcome.solved else "-",
        _amount(outcome.cost),
        _amount(1000 * outcome.per_solved) if outcome.per_solved is not None else "-",
        f"{beside:.1%}" if beside is not None else "-",
    )


def _amount(money: float) -> str:
    """Return money with two decimals, or with as many as show three digits of a smaller amount."""
    return f"{money:,.2f}" if money >= 1 else f"{money:.{3 - math.floor(math.log10(money)) - 1}f}" if money else "0"


def _remarks(
    outcomes: Sequence[Outcome],
    shown: Sequence[Outcome],
    large: Outcome,
    problems: int,
    left_out: int,
    estimated: float,
    out: Console,
) -> None:
    prompts = any(step.prompt_price for outcome in outcomes for step in outcome.policy.steps)
    paid = "prompt and completion tokens" if prompts else "completion tokens"
    others = f"; {left_out:,} problems that not all of them tried are left out" if left_out else ""
    told = [
        f"{problems:,} problems that all models tried{others}",
        f"solved: a sample was proven; by first: share of these that the first model answers; cost: {paid}",
        "per 1,000: cost of a thousand solved problems; beside: that over the same of "
        f"{large.policy.label} alone, the dearest",
    ]
    if estimated:
        told.append(
            f"tokens of {estimated:.0%} of the samples were never counted: four characters stand for one, so what a "
            "server thinks and does not show is missing from the cost"
        )
    if len(shown) < len(outcomes):
        told.append(f"{len(outcomes):,} policies replayed, shown are those that none beats; --all shows every one")
    for line in told:
        out.print(line, highlight=False, markup=False, soft_wrap=True)


def _as_json(
    version: Version, outcomes: Sequence[Outcome], large: Outcome, problems: int, left_out: int
) -> dict[str, Any]:
    return {
        "data": version.label,
        "problems": problems,
        "left_out": left_out,
        "policies": [
            {
                "models": [
                    {"model": s.model, "price": s.price, "prompt_price": s.prompt_price, "samples": s.samples}
                    for s in outcome.policy.steps
                ],
                "below": outcome.policy.below,
                "solved": outcome.solved,
                "by_first": outcome.by_first,
                "cost": outcome.cost,
                "beside_dearest": outcome.beside(large),
            }
            for outcome in outcomes
        ],
    }
