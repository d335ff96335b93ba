"""Which stages a run will do again, and how much it samples, before it does.

The stages themselves are asked, over a run that finds and makes nothing: so what is said here can't differ from what
they do. Imports Prefect, so import it late.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass, field

from proofmill.data.run import Looked, NotCommitted, Shard
from proofmill.flows.changes.outlook import open_samples
from proofmill.flows.recipe.options import caps_options
from proofmill.flows.run.progress import Progress
from proofmill.flows.run.session import Session
from proofmill.flows.stages import balance, learning
from proofmill.flows.stages import tasks as stages
from proofmill.flows.stages.drawing import Drawing
from proofmill.flows.stages.intake import ProblemShard, problem_shards
from proofmill.flows.stages.keys import PROBLEMS, PUBLISH, SAMPLES, SELECTION
from proofmill.flows.stages.reliability import reliability
from proofmill.flows.stages.voting import agreed


@dataclass
class Ahead:
    """What a run is about to do.

    Attributes:
        again: names of stages with something to make, in the order of the run.
        at_most: stages whose keys depend on what those make: again, unless that proves equal to what was there.
        samples: to be drawn, by sampler; of the first rounds.
        pending: the shards that are not sampled to their end.
        judged: the references of the others; one without a file stands for what would be made.
        first: whether no run of this name has come to its end yet.
    """

    again: list[str] = field(default_factory=list)
    at_most: list[str] = field(default_factory=list)
    samples: dict[str, int] = field(default_factory=dict)
    pending: list[ProblemShard] = field(default_factory=list)
    judged: list[stages.Judged] = field(default_factory=list)
    first: bool = False

    def line(self) -> str:
        """All of it in one line."""
        parts = [f"{'runs' if self.first else 'runs again'}: {', '.join(self.again)}"]
        if self.at_most:
            parts.append(f"at most also: {', '.join(self.at_most)}")
        drawn = [f"{count:,} samples by {name}" for name, count in self.samples.items() if count]
        return "; ".join([*parts, f"to be drawn: {', '.join(drawn)}" if drawn else "nothing is sampled"])


def look_ahead(session: Session) -> Ahead:
    """What an opened session's run would do. Reads the problems where that was not done before, and samples nothing."""
    look = _Look(session)
    if not session.run.find(PROBLEMS, session.problems_key):
        look.again[PROBLEMS.name] = None
    shards = problem_shards(session)
    drawing = Drawing(session, shards)
    pending = [shard for shard in shards if not drawing.done[shard.problems.name]]
    samples = {plan.name: open_samples(session, plan, pending) for plan in session.plans}
    judged = list(look.judged(shards, drawing))
    look.over_all(judged, whole=not pending)
    look.again[PUBLISH.name] = None
    at_most = [name for name in look.at_most if name not in look.again]
    return Ahead(list(look.again), at_most, samples, pending, judged, first=not session.run.earlier(SELECTION))


_EACH = ("verdicts", "claims", "audit", "quality", "contamination", "signatures")


class _Look:
    """A session whose run is looked at, and what was not found. The dicts are ordered sets of names."""

    def __init__(self, session: Session) -> None:
        self.again: dict[str, None] = {}
        self.at_most: dict[str, None] = {}
        self.session = copy(session)
        self.session.progress = _Unseen()
        vars(self.session)["run"] = Looked(session.run)  # in the place of the cached one

    def judged(self, shards: Sequence[ProblemShard], drawing: Drawing) -> Iterator[stages.Judged]:
        """The references of each sampled shard; some stand for what would be made."""
        index = self._at(stages.benchmarks.fn)
        for shard in shards:
            problems, samples = shard.problems, drawing.done[shard.problems.name]
            if samples is None:
                self.again[SAMPLES.name] = None
                self.at_most |= dict.fromkeys(_EACH)
                continue
            yield self._judged(problems, samples, index)

    def _judged(self, problems: Shard, samples: Shard, index: Shard) -> stages.Judged:
        verdicts = self._at(stages.verdicts.fn, problems, samples)
        of_verdicts = (stages.claims.fn, stages.audit.fn, stages.quality.fn)
        claims, audit, quality = (self._at(stage, problems, samples, verdicts) for stage in of_verdicts)
        if index.file:
            overlaps = self._at(stages.contamination.fn, problems, samples, index)
        else:
            self.at_most["contamination"] = None
            overlaps = index
        signatures = self._at(stages.signatures.fn, samples)
        return stages.Judged(problems, samples, verdicts, claims, audit, quality, overlaps, signatures)

    def over_all(self, judged: list[stages.Judged], *, whole: bool) -> None:
        """The stages that look at all shards, up to the first that is not done: what follows it is uncertain."""
        names = _over_all(self.session)
        self._holdout(judged, whole=whole)
        try:
            if not whole:
                raise NotCommitted(SAMPLES.name, "")
            self._gather(judged)
        except NotCommitted as gap:
            self.again[gap.stage] = None
            self.at_most |= dict.fromkeys(names[names.index(gap.stage) + 1 :] if gap.stage in names else names)

    def _gather(self, judged: list[stages.Judged]) -> None:
        session = self.session
        scored = learning.scored.fn(session, agreed.fn(session, reliability.fn(session, judged)))
        marks = stages.near_duplicates.fn(session, scored)
        usual = learning.buckets.fn(session, scored)
        offers = [stages.selected.fn(session, *item, usual) for item in zip(scored, marks, strict=True)]
        limits = balance.limits.fn(session, offers)
        for offer in offers:
            balance.balanced.fn(session, offer, limits)

    def _holdout(self, judged: list[stages.Judged], *, whole: bool) -> None:
        """The validation split, which depends on nothing but the problems."""
        recipe = self.session.recipe
        if recipe.select.holdout and (recipe.problems.pseudo_labels or not whole):
            self.at_most |= dict.fromkeys(("prompt_signatures", "holdout"))
            return
        try:
            balance.holdout.fn(self.session, judged)
        except NotCommitted as gap:
            self.again[gap.stage] = None
            if gap.stage != "holdout":
                self.at_most["holdout"] = None

    def _at(self, stage: Callable[..., Shard], *inputs: Shard) -> Shard:
        try:
            return stage(self.session, *inputs)
        except NotCommitted as gap:
            self.again[gap.stage] = None
            return gap.instead()


def _over_all(session: Session) -> list[str]:
    """Names of the stages of this recipe that come after the judges, in order."""
    recipe = session.recipe
    model, labels = recipe.claims.model, recipe.problems.pseudo_labels
    asked = {
        ("clr_named", "clr_judged", "clr"): model,
        ("votes",): labels or (model and model.scope == "all"),
        ("labels", "labelled_problems"): labels,
        ("learning",): recipe.quality.learning,
        ("near_duplicates",): True,
        ("potential",): recipe.quality.learning,
        ("selection",): True,
        ("caps", "balance"): caps_options(session.recipe).any,
    }
    return [name for names, wanted in asked.items() if wanted for name in names]


class _Unseen(Progress):
    """Shows nothing and logs nothing: what is only looked at did not happen."""

    def note(self, message: str) -> None:
        """Not shown."""

    def warn(self, message: str) -> None:
        """Not shown."""
