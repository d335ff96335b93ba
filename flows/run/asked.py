"""Whom a phase after the judges asks: a sampler of the run with that model, so its engine goes on, else a new one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from proofmill.flows.recipe.engines import Asked, LiveEngine, VllmEngine
from proofmill.flows.recipe.schema import Sampler
from proofmill.generators.engines.base import Request
from proofmill.generators.sample_plan import SamplePlan

IN_JSON = Request("json", (0,), 0, {"json_schema": {"type": "object"}}, None, ({"role": "user", "content": "1"},))
SCORED = Request("score", (0, 1), 0, {}, 1)

if TYPE_CHECKING:
    from proofmill.flows.run.session import Session


class AskedPlans:
    """The plans of later phases.

    Args:
        session: the run; its samplers are looked at first.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._own: dict[tuple[str, str], SamplePlan] = {}

    def of(self, section: Asked, purpose: str, model: str | None) -> SamplePlan:
        """The plan that a section names.

        Two sections that name the same model and engine get the same plan. Of several samplers with the model it is
        the last, whose engine may still be there.

        Args:
            section: of the recipe.
            purpose: names a plan that is no sampler's; no sampler can be called `PURPOSE:model`.
            model: whom a section means that names none; None: the first live sampler's.
        """
        if section.sampler is not None:
            return next(plan for plan in self._session.plans if plan.name == section.sampler)
        live = self._session.live
        name = section.model or model or live[0].model
        for sampler in reversed(live):
            if _spelled(sampler.model) == _spelled(name) and section.engine in (None, sampler.engine):
                return next(plan for plan in self._session.plans if plan.name == sampler.name)
        return self._another(purpose, name, section.engine or VllmEngine())

    def _another(self, purpose: str, model: str, engine: LiveEngine) -> SamplePlan:
        key = _spelled(model), engine.model_dump_json()
        if key not in self._own:
            plan = self._session.plan(Sampler(name=purpose, model=model, engine=engine))
            self._own[key] = replace(plan, name=f"{purpose}:model", sampling={}, n=1)
        return self._own[key]

    def trials(self, plan: SamplePlan) -> list[Request]:
        """Requests like those that later phases will make of a plan."""
        judge, scorer = self._session.claim_judge, self._session.scorer
        return [trial for asked, trial in ((judge, IN_JSON), (scorer, SCORED)) if asked and asked.name == plan.name]


def _spelled(model: str) -> str:
    """The same for two ways to write one folder."""
    folder = Path(model).expanduser()
    return str(folder.resolve()) if folder.is_dir() else model
