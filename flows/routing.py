"""Routing in a run: which problems go on to a teacher, and what a version says of it.

A teacher's problems are known when the models before it have sampled: their recorded samples are judged by the same
verifiers as later, so a resumed run routes as the first one did. Its traces are then verified, filtered and selected
like all others.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import polars as pl
import pyarrow as pa

from proofmill.filters.routing import PROVEN, Attempt, Cell, Cells, Policy, Route, Tried, band, policy_table, route
from proofmill.filters.verdicts import CORRECT, is_counted
from proofmill.flows.context import RunContext
from proofmill.flows.recipe.schema import Recipe
from proofmill.flows.recorded_attempts import attempts_by_problem
from proofmill.generators.sample_plan import SamplePlan

Row = dict[str, Any]
POLICY = "policy.json"
UNAVAILABLE = "teacher_unavailable"  # why of a route: its teacher could not be asked, and will be by the next run


def policy_of(recipe: Recipe) -> Policy | None:
    """Return the recipe's policy; None where nothing is routed."""
    return recipe.route.policy(recipe.small) if recipe.route and recipe.small else None


def in_order(policy: Policy | None, plans: Sequence[SamplePlan]) -> list[SamplePlan]:
    """Return the plans in the order of sampling: teachers last, each after those whose leavings it gets."""
    if policy is None:
        return list(plans)
    places = {step.model: number for number, step in enumerate(policy.steps)}
    return sorted(plans, key=lambda plan: places.get(plan.name, 0))


class Gate:
    """Tells which problems of a shard a teacher gets.

    Args:
        run: judges the samples.
        policy: the recipe's.
    """

    def __init__(self, run: RunContext, policy: Policy) -> None:
        self._run, self._policy = run, policy
        self._attempts: dict[tuple[str, str], dict[str, list[Attempt]]] = {}  # by shard and model, then by problem

    def before(self, model: str) -> tuple[str, ...] | None:
        """Return the models before a teacher; None where the model is no teacher."""
        names = [step.model for step in self._policy.steps]
        return tuple(names[: names.index(model)]) if model in names[1:] else None

    def passes(self, model: str, shard: str, problems: pa.Table, samples: Mapping[str, pa.Table]) -> set[str]:
        """Return the ids of the problems that go on to a teacher.

        Args:
            model: the teacher.
            shard: name of the shard.
            problems: schema PROBLEMS.
            samples: of the models before it, schema SHARD_TRACES.
        """
        before = self.before(model) or ()
        rows = {row["id"]: row for row in problems.to_pylist()}
        by_model = {name: self._judged(shard, name, rows, samples[name]) for name in before}
        policy = replace(self._policy, steps=self._policy.steps[: len(before) + 1])
        passing = set()
        for name, row in rows.items():
            attempts = {model: judged.get(name, []) for model, judged in by_model.items()}
            if _goes_on(policy, row["domain"], attempts):
                passing.add(name)
        return passing

    def forget(self, shard: str) -> None:
        """Forget the verdicts on a shard that is finished."""
        self._attempts = {key: judged for key, judged in self._attempts.items() if key[0] != shard}

    def _judged(
        self, shard: str, model: str, problems: Mapping[str, Row], samples: pa.Table
    ) -> dict[str, list[Attempt]]:
        """Return one model's attempts by problem; judged once."""
        if (shard, model) not in self._attempts:
            rows = samples.sort_by([("problem_id", "ascending"), ("sample_index", "ascending")]).to_pylist()
            responses = [(problems[row["problem_id"]], row["response"], row["finish_reason"]) for row in rows]
            attempts: dict[str, list[Attempt]] = {}
            for row, verdict in zip(rows, self._run.workers.judge.verdicts_of(responses), strict=True):
                counted = verdict is not None and is_counted(verdict.verdict, verdict.detail)
                proven = verdict is not None and verdict.verdict == CORRECT if counted else None
                tokens = row["completion_tokens"] or 0, row["prompt_tokens"] or 0
                attempts.setdefault(row["problem_id"], []).append(Attempt(proven, *tokens))
            self._attempts[shard, model] = attempts
        return self._attempts[shard, model]


def _goes_on(policy: Policy, domain: str, attempts: Mapping[str, Sequence[Attempt]]) -> bool:
    """Return whether the models before a policy's last one, which has no samples yet, leave a problem to it."""
    routed = route(policy, domain, attempts)
    return routed.why != PROVEN and routed.model in (None, policy.steps[0].model)


# --- what a version says of it -----------------------------------------------------------------------------------


@dataclass
class _Usage:
    """What one model was asked, in all."""

    problems: int = 0
    tokens: int = 0
    prompt_tokens: int = 0
    cost: float = 0.0

    def add(self, tried: Tried) -> None:
        """Count what it did on a problem."""
        self.problems += 1
        self.tokens += tried.tokens
        self.prompt_tokens += tried.prompt_tokens
        self.cost += tried.cost


def routed_problems(
    policy: Policy, traces: pl.DataFrame, problems: Mapping[str, Row], waiting: Mapping[str, Sequence[str]]
) -> Iterator[tuple[Row, str, Route]]:
    """Yield for each problem of a shard its row of `routes`, its domain, and its route.

    Args:
        policy: the recipe's.
        traces: of the shard, all columns.
        problems: of the shard, by id.
        waiting: by teacher, ids of the problems that it could not be asked about.
    """
    prompts = pl.DataFrame([{"id": name, "prompt": row["prompt"]} for name, row in problems.items()])
    judged = {name: (domain, tries) for name, domain, tries in attempts_by_problem(traces, prompts, "sampler")}
    unasked = {name: teacher for teacher, names in waiting.items() for name in names}
    for name in unasked.keys() - judged.keys():  # no model has a sample of it: its domain is the teachers' alone
        judged[name] = problems[name]["domain"], {}
    for name in sorted(judged):
        domain, attempts = judged[name]
        routed = route(policy, domain, attempts)
        if name in unasked and not routed.proven:
            routed = replace(routed, why=UNAVAILABLE, waits_for=unasked[name])
        yield _row(name, problems[name], routed), domain, routed


@dataclass
class RouteLedger:
    """What routing came to over all shards.

    Attributes:
        policy: the recipe's.
        cells: problems by domain and band of the small model's pass rate; without those that wait for a teacher.
        routes: problems by the model that answers them; None: nobody.
        reasons: problems by why they left the small model, or did not.
        models: what each model was asked, in all.
        waiting: problems that each teacher should have got, and could not be asked about.
    """

    policy: Policy
    cells: Cells = field(default_factory=dict)
    routes: dict[str | None, int] = field(default_factory=dict)
    reasons: dict[str, int] = field(default_factory=dict)
    models: dict[str, _Usage] = field(default_factory=dict)
    waiting: Counter[str] = field(default_factory=Counter)

    def count(self, domain: str, routed: Route) -> None:
        """Count a problem of a domain."""
        small = self.policy.steps[0].model
        first = next((tried for tried in routed.tried if tried.model == small), None)
        if routed.waits_for is not None:
            self.waiting[routed.waits_for] += 1
        else:
            self.cells.setdefault((domain, band(first.rate if first else None)), Cell()).add(routed)
        self.routes[routed.model] = self.routes.get(routed.model, 0) + 1
        self.reasons[routed.why] = self.reasons.get(routed.why, 0) + 1
        for tried in routed.tried:
            self.models.setdefault(tried.model, _Usage()).add(tried)

    def policy_file(self, data: str) -> Row:
        """Return the content of the policy file."""
        return {"data": data, **policy_table(self.policy, self.cells)}

    def to_json(self) -> Row:
        """Return the summary as the manifest has it."""
        problems = sum(self.routes.values())
        models: list[Row] = [
            {
                "sampler": step.model,
                "price": step.price,
                "prompt_price": step.prompt_price,
                "tried": (usage := self.models.get(step.model, _Usage())).problems,
                "answers": self.routes.get(step.model, 0),
                "tokens": usage.tokens,
                "prompt_tokens": usage.prompt_tokens,
                "cost": round(usage.cost, 9),
                "waiting": self.waiting[step.model],
            }
            for step in self.policy.steps
        ]
        return {
            "problems": problems,
            "proven": problems - self.routes.get(None, 0),
            "reasons": dict(sorted(self.reasons.items())),
            "models": models,
            "cost": round(sum(model["cost"] for model in models), 9),
            "large_alone": self._large_alone(models, problems),
        }

    def _large_alone(self, models: Sequence[Row], problems: int) -> float | None:
        """Return what the dearest teacher alone would cost for as many proven problems.

        It is taken to prove all that the models before it proved, at its mean cost of a problem.
        """
        means = [model["cost"] / model["tried"] for model in models[1:] if model["tried"]]
        return round(max(means) * problems, 9) if means else None


def _row(name: str, problem: Row, routed: Route) -> Row:
    return {
        "problem_id": name,
        "domain": problem["domain"],
        "route": routed.model,
        "why": routed.why,
        "tried": [
            {
                "sampler": tried.model,
                "n": tried.n,
                "correct": tried.correct,
                "pass_rate": tried.rate,
                "tokens": tried.tokens,
                "prompt_tokens": tried.prompt_tokens,
                "cost": tried.cost,
            }
            for tried in routed.tried
        ],
        "cost": routed.cost,
        "source": problem["source"],
        "license": problem["license"],
    }
