"""`--dry-run`: which steps a run will do again, how much it samples, and what has changed since the last version.

The steps themselves are walked, over a store that finds and makes nothing: what is said here can't differ from what
they do. Imports Prefect, so import it late.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from proofmill.data.run import NotCommitted, ReadOnlyRun, Shard
from proofmill.data.versions import Version, versions
from proofmill.filters.base import MapFilter, ProblemFilter
from proofmill.flows import cost_estimate
from proofmill.flows.context import RunContext
from proofmill.flows.ingest import PROBLEMS, ProblemShard, ingest_problems, problems_key
from proofmill.flows.pipeline import (
    HOLDOUT,
    PROMPT_SIGNATURES,
    SELECTION,
    annotate_shard,
    filter_output,
    held_out_problems,
    later_steps,
)
from proofmill.flows.recipe.schema import ActiveFilter, Recipe
from proofmill.flows.sampling import SAMPLES, SamplingStep
from proofmill.flows.shard_records import ShardRecord, contents
from proofmill.flows.up_to_date import PUBLISH, step_versions

_NAMED = 3  # changed fields that a run names in its first line


@dataclass
class DryRun:
    """What a run is about to do.

    Attributes:
        again: names of steps with something to make, in the order of the run.
        at_most: steps whose keys depend on what those make: again, unless that proves equal to what was there.
        samples: to be drawn, by sampler; of the first rounds.
        pending: the shards that are not sampled to their end.
        records: the references of the others; one without a file stands for what would be made.
        first: whether no run of this name has come to its end yet.
    """

    again: list[str] = field(default_factory=list)
    at_most: list[str] = field(default_factory=list)
    samples: dict[str, int] = field(default_factory=dict)
    pending: list[ProblemShard] = field(default_factory=list)
    records: list[ShardRecord] = field(default_factory=list)
    first: bool = False

    def line(self) -> str:
        """All of it in one line."""
        parts = [f"{'runs' if self.first else 'runs again'}: {', '.join(self.again)}"]
        if self.at_most:
            parts.append(f"at most also: {', '.join(self.at_most)}")
        drawn = [f"{count:,} samples by {name}" for name, count in self.samples.items() if count]
        return "; ".join([*parts, f"to be drawn: {', '.join(drawn)}" if drawn else "nothing is sampled"])


def dry_run(run: RunContext) -> DryRun:
    """What an opened run would do. Reads the problems where that was not done before, and samples nothing."""
    walk = _Walk(run)
    if not run.store.find(PROBLEMS, problems_key(run)):
        walk.again[PROBLEMS.name] = None
    shards = ingest_problems(run).shards
    sampling = SamplingStep(run, shards)
    pending = [shard for shard in shards if not sampling.done[shard.problems.name]]
    samples = {plan.name: cost_estimate.open_samples(run, plan, pending) for plan in run.models.plans}
    records = list(walk.records(shards, sampling))
    walk.over_all(records, complete=not pending)
    walk.again[PUBLISH.name] = None
    at_most = [name for name in walk.at_most if name not in walk.again]
    return DryRun(list(walk.again), at_most, samples, pending, records, first=not run.store.earlier(SELECTION))


class _Walk:
    """The run's steps over a store that makes nothing, and what was not found. The dicts are ordered sets of names."""

    def __init__(self, run: RunContext) -> None:
        self.again: dict[str, None] = {}
        self.at_most: dict[str, None] = {}
        self.run = run.looked_at(ReadOnlyRun(run.store))

    def records(self, shards: Sequence[ProblemShard], sampling: SamplingStep) -> Iterator[ShardRecord]:
        """The references of each sampled shard; some stand for what would be made."""
        filters = [active.filter for active in self.run.filters]
        each = [one.name for one in filters if isinstance(one, MapFilter | ProblemFilter)]
        for shard in shards:
            samples = sampling.done[shard.problems.name]
            if samples is None:
                self.again[SAMPLES.name] = None
                self.at_most |= dict.fromkeys(each)
                continue
            yield annotate_shard(self.run, shard.problems, samples, self._output)

    def _output(self, run: RunContext, record: ShardRecord, active: ActiveFilter) -> Shard:
        """A filter's output, or what stands for it; what depends on a missing one may prove equal to what was there."""
        one = active.filter
        known = contents(run, record, [*one.reads, *one.optional])
        uncertain = any(name in record.outputs and not record.outputs[name].file for name in known)
        try:
            return filter_output(run, record, active)
        except NotCommitted as gap:
            (self.at_most if uncertain else self.again)[one.name] = None
            if gap.step != one.name:  # the file that its workers share
                self.again[gap.step] = None
            return gap.placeholder()

    def over_all(self, records: list[ShardRecord], *, complete: bool) -> None:
        """The steps that look at all shards, up to the first that is not done: what follows it is uncertain."""
        steps = list(later_steps(self.run))
        names = [name for step in steps for name in step.names]
        self._holdout(records, complete=complete)
        gaps = any(not output.file for record in records for output in record.outputs.values())
        try:
            if not complete:
                raise NotCommitted(SAMPLES.name, "")
            for step in steps:
                records = step.add(self.run, records)
        except NotCommitted as gap:
            known = gap.step in names
            (self.at_most if gaps and known else self.again)[gap.step] = None
            self.at_most |= dict.fromkeys(names[names.index(gap.step) + 1 :] if known else names)

    def _holdout(self, records: list[ShardRecord], *, complete: bool) -> None:
        """The validation split, which depends on nothing but the problems."""
        recipe = self.run.recipe
        if recipe.select.holdout and (recipe.problems.pseudo_labels or not complete):
            self.at_most |= dict.fromkeys((PROMPT_SIGNATURES.name, HOLDOUT.name))
            return
        try:
            held_out_problems(self.run, records)
        except NotCommitted as gap:
            self.again[gap.step] = None
            if gap.step != HOLDOUT.name:
                self.at_most[HOLDOUT.name] = None


def report(run: RunContext) -> Iterator[str]:
    """Lines that say what the run would do. Reads the problems and samples nothing."""
    ahead = dry_run(run)
    problems = ingest_problems(run)
    ledger = problems.stats["problems"]
    yield f"recipe {run.recipe.name}: {ledger['kept']:,} problems in {len(problems.shards)} shards"
    if ledger["dropped"]:
        yield f"  left out: {ledger['dropped']}"
    if recorded := problems.stats["recorded"]["kept"]:
        yield f"  {recorded:,} recorded samples"
    for plan in run.models.plans:
        yield from cost_estimate.of_sampler(run, plan, ahead.samples[plan.name], problems.shards, ahead.pending)
    yield from cost_estimate.of_answer_judge(run, ahead.records, ahead.pending)
    yield from cost_estimate.of_claim_judge(run, ahead.records, ahead.pending)
    yield from cost_estimate.of_student(run, ahead.records, ahead.pending)
    yield from changes(run)
    yield ahead.line()


def news(run: RunContext) -> Iterator[str]:
    """What an opened run does again, in a line; none for a first run."""
    if known := versions(run.home, run.recipe.name):
        fields = differing_fields(run.recipe, known[-1])
        rest = len(fields) - _NAMED
        more = [f"{rest} more field{'s' * (rest > 1)}"] if rest > 0 else []
        changed = ", ".join([*fields[:_NAMED], *more, *code_changes(known[-1])]) or "nothing of the recipe"
        yield f"changed since {known[-1].label}: {changed}; {dry_run(run).line()}"


def changes(run: RunContext) -> Iterator[str]:
    """Recipe keys and steps that differ from the newest published version's."""
    for known in versions(run.home, run.recipe.name)[-1:]:
        for item in (*differing_fields(run.recipe, known), *code_changes(known)):
            yield f"changed since {known.label}: {item}"


def code_changes(known: Version) -> Iterator[str]:
    """The steps that another version of proofmill's code made a version by."""
    before = known.manifest.code_version.steps
    now = step_versions()
    if changed := [f"{name} {before[name]} -> {now[name]}" for name in now if before.get(name, now[name]) != now[name]]:
        yield f"proofmill's code of {', '.join(changed)}"


def differing_fields(recipe: Recipe, known: Version) -> list[str]:
    """Recipe keys that differ from a version's, with both values."""
    before, now = flat(known.manifest.recipe), flat(recipe.published())
    keys = sorted(key for key in before.keys() | now.keys() if _filled(before.get(key)) != _filled(now.get(key)))
    return [f"{key}: {before.get(key)!r} -> {now.get(key)!r}" for key in keys]


def _filled(value: Any) -> Any:
    """None for an empty list or mapping: what it is filled with stands under keys of its own."""
    return None if value in ([], {}) else value


def flat(value: Any, place: str = "") -> dict[str, Any]:
    """Nested mappings and lists as one mapping with dotted keys."""
    if isinstance(value, Mapping) and value:
        items = value.items()
    elif isinstance(value, list) and value:
        items = {str(number): item for number, item in enumerate(value)}.items()
    else:
        return {place: value}
    found: dict[str, Any] = {}
    for key, item in items:
        found |= flat(item, f"{place}.{key}" if place else str(key))
    return found
