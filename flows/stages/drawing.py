"""The sample stage: live samplers over the run's shards, one model after the other."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from proofmill.data.files import digest
from proofmill.data.run import Shard
from proofmill.data.samples import FAILED, FILTERED, QUARANTINED
from proofmill.flows.run.session import Session
from proofmill.flows.stages.intake import ProblemShard, problem_shards
from proofmill.flows.stages.keys import PROBLEMS, SAMPLES, VERDICTS
from proofmill.generators import sample_plan
from proofmill.generators.engines.base import EngineFacts
from proofmill.generators.rounds import UNFUNDED, Outcome
from proofmill.generators.sample_plan import SamplePlan
from proofmill.generators.sampler import Observer, Sampler

# What later stages decide by; an id is the digest of problem, sampler, index and response.
_DECIDES = ("id", "first_round", "finish_reason", "completion_tokens")
_UNANSWERED = {
    "prompt_too_long": "were not drawn, since the prompt is too long for the model",
    QUARANTINED: "were not drawn, since the prompt is in quarantine: it kills the engine",
    FILTERED: "were cut off by the server's filter of content, and are not asked again",
    FAILED: "failed in the engine, and are asked again by the next run",
}


def warm_up(session: Session) -> None:
    """Starts to load the first engine, where there is something to sample, while all else is being prepared."""
    if session.engines or not session.plans or not session.sample:
        return
    known = session.run.find(PROBLEMS, session.problems_key)
    if not known or not all(Drawing(session, problem_shards(session)).done.values()):
        session.engine(session.plans[0]).start()


class Drawing:
    """What the live samplers have to draw for a run's shards."""

    def __init__(self, session: Session, shards: Sequence[ProblemShard]) -> None:
        self.session = session
        self.shards = {shard.problems.name: shard for shard in shards}
        self.keys = {name: self._key(shard) for name, shard in self.shards.items()}
        self.done = {name: self._found(key) for name, key in self.keys.items()}
        if not session.sample:  # what is made of an unfinished shard must not pass for the whole one later
            self.keys = {name: key if self.done[name] else digest(key, "recorded") for name, key in self.keys.items()}
        self._outcomes: dict[tuple[str, str], Outcome] = {}  # by shard and plan, where n samples aren't the rule

    def _key(self, shard: ProblemShard) -> str:
        plans = [
            (plan.key(), plan.n, plan.name, plan.domains, plan.model.name, self._amounts(plan))
            for plan in self.session.plans
        ]
        return SAMPLES.key(shard.problems.content, shard.recorded.content, plans, self.session.generation)

    def _found(self, key: str) -> Shard | None:
        """A committed shard, unless some of its samples are to be asked again."""
        found = self.session.run.find(SAMPLES, key)
        again = found and self.session.sample and any(self._asks_again(plan, found) for plan in self.session.plans)
        return None if again else found

    def _asks_again(self, plan: SamplePlan, shard: Shard) -> bool:
        lacks = shard.facts.get("unanswered", {}).get(plan.name, {})
        return FAILED in lacks or (QUARANTINED in lacks and not plan.quarantine(self.session.home).exists())

    def _amounts(self, plan: SamplePlan) -> Any:
        """What decides how many samples belong to the run: with rounds, also who judges them."""
        if plan.rounds is None:
            return plan.max_total_tokens
        return repr(plan.rounds), plan.max_total_tokens, VERDICTS.key(*self.session.verifier())

    def run(self) -> Iterator[tuple[Shard, Shard]]:
        """Yields (problems, traces) of each shard: those of earlier runs, then the others as they are finished."""
        for name, found in self.done.items():
            if found:
                self.session.unanswered |= bool(found.facts.get("unanswered"))
                yield self.shards[name].problems, found
        if not all(self.done.values()):
            yield from self._draw()

    def _draw(self) -> Iterator[tuple[Shard, Shard]]:
        self._last = time.monotonic()
        plans = self.session.plans
        self.session.progress.expect_samplers(plan.name for plan in plans)
        for plan in plans[:-1]:
            for _ in self._with(plan):
                pass
        finished = self._with(plans[-1]) if plans else (name for name, found in self.done.items() if not found)
        for name in finished:
            yield self.shards[name].problems, self._committed(name)

    def _with(self, plan: SamplePlan) -> Iterator[str]:
        """Names of shards as one plan finishes them."""
        session = self.session
        if not session.sample:
            with session.store(plan):
                yield from self._todo()
            return
        engine = session.engine(plan)
        with session.store(plan) as store:
            missing = (sample_plan.missing_samples(plan, store, self._problems(name)) for name in self._todo())
            session.progress.sampling(plan.name, sum(missing))
            sampler = Sampler(plan, store, engine, _Watch(session, plan), session.pools.judge.accepts)
            unfunded = 0
            try:
                for shard in sampler.run(self._items(plan)):
                    if plan.rounds is not None or plan.max_total_tokens is not None:
                        self._outcomes[shard.name, plan.name] = shard.outcome
                    unfunded += shard.outcome.outcomes.get(UNFUNDED, 0)
                    yield shard.name
            finally:
                session.release(plan)
            if unfunded:
                session.progress.warn(_spent(plan, unfunded))

    def _todo(self) -> Iterator[str]:
        return (name for name, found in self.done.items() if not found)

    def _problems(self, name: str) -> pa.Table:
        return self.session.run.read(self.shards[name].problems)

    def _items(self, plan: SamplePlan) -> Iterator[tuple[str, pa.Table | int]]:
        """All shards in order; of finished ones only what they took of the token budget."""
        for name, found in self.done.items():
            if not found:
                yield name, self._problems(name)
            elif plan.max_total_tokens is not None:
                yield name, found.facts["rounds"][plan.name]["tokens"]

    def _committed(self, name: str) -> Shard:
        """The traces of a shard by all samplers, as one committed table."""
        session, shard = self.session, self.shards[name]
        problems = session.run.read(shard.problems)
        tables, rounds = [session.run.read(shard.recorded)], {}
        for plan in session.plans:
            outcome = self._outcomes.pop((name, plan.name), None)
            counts = outcome.counts if outcome else None
            tables.append(sample_plan.traces(plan, session.stores[plan.name], problems, counts))
            if outcome:
                spent = _spent_tokens(tables[-1])
                rounds[plan.name] = {"outcomes": outcome.outcomes, "later": outcome.later, "tokens": spent}
        table = pa.concat_tables(tables).sort_by(
            [("problem_id", "ascending"), ("sampler", "ascending"), ("sample_index", "ascending")]
        )
        for warning in unanswered(name, table):
            session.progress.warn(warning)
        known = digest([table[name].to_pylist() for name in _DECIDES])
        facts = {"tokens": pc.sum(table["completion_tokens"]).as_py() or 0, "rounds": rounds}
        facts["unanswered"] = {plan.name: lacks for plan in session.plans if (lacks := _unanswered(plan, table))}
        session.unanswered |= bool(facts["unanswered"])
        facts["took"] = self._since_last()
        return session.run.record(SAMPLES, name, self.keys[name], table, known, facts)

    def _since_last(self) -> float:
        """Seconds since the last shard was whole (the first: since drawing began), so that they sum to the phase."""
        before, self._last = self._last, time.monotonic()
        return round(self._last - before, 3)


def _spent_tokens(traces: pa.Table) -> int:
    """Completion tokens of one sampler's traces; a sample of several problems with one prompt is drawn once."""
    once = traces.group_by(["prompt_digest", "sample_index"]).aggregate([("completion_tokens", "max")])
    return pc.sum(once["completion_tokens_max"]).as_py() or 0


def _unanswered(plan: SamplePlan, traces: pa.Table) -> dict[str, int]:
    """How many of a sampler's traces may be asked again one day, by reason."""
    own = traces.filter(pc.equal(traces["sampler"], plan.name))["finish_reason"].to_pylist()
    return {reason: count for reason in (FAILED, QUARANTINED) if (count := own.count(reason))}


def unanswered(shard: str, traces: pa.Table) -> Iterator[str]:
    """Names the problems that an engine could not answer; their samples are recorded with the reason."""
    names, reasons = (traces[column].to_pylist() for column in ("problem_id", "finish_reason"))
    for reason, means in _UNANSWERED.items():
        samples = [name for name, found in zip(names, reasons, strict=True) if found == reason]
        if problems := sorted(set(samples)):
            more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
            yield f"shard {shard}: {len(samples)} samples {means}; problem {', '.join(problems[:3])}{more}"


class _Watch(Observer):
    """Shows what a sampler does."""

    def __init__(self, session: Session, plan: SamplePlan) -> None:
        self._session = session
        self._plan = plan
        self._progress = session.progress

    def loading(self) -> None:
        self._progress.note(f"loading {self._plan.model.name} (about a minute)")

    def loaded(self, facts: EngineFacts) -> None:
        self._session.loaded(self._plan, self._session.engine(self._plan))
        self._progress.engine_ready(
            f"{facts.name} {facts.version}, {facts.dtype}, loaded in {facts.load_seconds:.0f} s"
        )

    def sampled(self, tokens: int) -> None:
        self._progress.sampled(tokens)

    def wanted(self, samples: int) -> None:
        self._progress.more_samples(samples)

    def stopping(self) -> bool:
        return self._session.stopping.is_set()

    def queues(self, in_flight: int, waiting: int, rounds: int) -> None:
        self._progress.queue("requests in flight", in_flight)
        self._progress.queue("requests waiting", waiting)
        self._progress.queue("rounds to judge", rounds)


def _spent(plan: SamplePlan, unfunded: int) -> str:
    total = f"{plan.max_total_tokens:,}"
    return f"sampler {plan.name}: its {total} tokens are spent, so {unfunded:,} problems were not sampled"


def rounds_of(samples: Sequence[Shard]) -> dict[str, dict[str, Any]]:
    """By sampler with rounds or a token budget: how its problems ended, samples of later rounds, and tokens."""
    found: dict[str, dict[str, Any]] = {}
    for shard in samples:
        for name, facts in shard.facts.get("rounds", {}).items():
            mine = found.setdefault(name, {"outcomes": {}, "later": 0, "tokens": 0})
            for reason, count in facts["outcomes"].items():
                mine["outcomes"][reason] = mine["outcomes"].get(reason, 0) + count
            mine["later"] += facts["later"]
            mine["tokens"] += facts["tokens"]
    return found
