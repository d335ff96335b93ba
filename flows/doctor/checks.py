"""What a check says, and how all of them are run at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from proofmill.data.sections import ReplayEngine, VllmEngine
from proofmill.filters.learning_potential import NLL
from proofmill.filters.reliability import RELIABILITY
from proofmill.flows.recipe.schema import Recipe, Sampler

OK, WARN, FAIL, SKIP = "ok", "warn", "fail", "skip"


@dataclass(frozen=True, slots=True)
class Check:
    """One finding.

    Attributes:
        name: what was looked at.
        status: `ok`; `warn`: runs go on, but worse; `fail`: a run would break; `skip`: nothing to look at.
        found: what was seen, one line.
        remedy: what to do about it; empty where it is ok.
    """

    name: str
    status: str
    found: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Place:
    """What is looked at: a recipe and the HOME that it would run in."""

    recipe: Recipe
    home: Path

    @property
    def live(self) -> list[Sampler]:
        """The samplers that load a model on this machine."""
        return [sampler for sampler in self.recipe.samplers if isinstance(sampler.engine, VllmEngine)]

    @property
    def asked(self) -> list[str | None]:
        """The models that later phases name: the verifier's and the student's of learning potential."""
        sections = (self.recipe.options(RELIABILITY).model, self.recipe.options(NLL))
        return [section.model for section in sections if section]

    @property
    def student(self) -> str | None:
        """The model whose tokenizer and template rows are published with."""
        served = (sampler.model for sampler in self.recipe.samplers if not isinstance(sampler.engine, ReplayEngine))
        return self.recipe.publish.student or next(served, None)


Group = Callable[[Place], Iterable[Check]]


def run(groups: Iterable[Group], place: Place) -> list[Check]:
    """All findings, in the order of the groups, which look at the same time."""
    with ThreadPoolExecutor() as pool:
        return [check for found in pool.map(lambda group: _looked(group, place), groups) for check in found]


def _looked(group: Group, place: Place) -> list[Check]:
    try:
        return list(group(place))
    except Exception as error:  # noqa: BLE001 (one broken look must not hide what the others see)
        name = group.__module__.rpartition(".")[2]
        seen = f"the check itself broke: {type(error).__name__}: {str(error)[:200]}"
        return [Check(name, FAIL, seen, "report this, with what `proofmill doctor --json` prints")]
