"""The sampling step: live samplers over the run's shards, one model after the other, in a thread of their own.

The engine never waits for the filters, and they never pile up in memory: finished shards wait as references to files.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import wait
from contextvars import copy_context
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Protocol, TypeVar

import pyarrow as pa
import pyarrow.compute as pc

from proofmill.data.errors import EngineError
from proofmill.data.files import current, digest
from proofmill.data.run import Shard, ShardStats, Step
from proofmill.data.samples import FAILED, FILTERED, QUARANTINED, REFUSED
from proofmill.data.schemas import SHARD_TRACES
from proofmill.data.sections import VllmEngine
from proofmill.filters.verification import VERDICTS
from proofmill.flows.context import RunContext
from proofmill.flows.ingest import PROBLEMS, ProblemShard, ingest_problems, problems_key
from proofmill.flows.models import node_engines, with_count
from proofmill.flows.routing import UNAVAILABLE, Gate, in_order, policy_of
from proofmill.generators import sample_plan
from proofmill.generators.engines.base import EngineFacts
from proofmill.generators.rounds import UNFUNDED, ShardOutcome, Spending
from proofmill.generators.sample_plan import SamplePlan
from proofmill.generators.sampler import Observer, Sampler

SAMPLES = Step("samples", 1, schema=SHARD_TRACES)
AHEAD = 4  # shards with the filters at once; the others wait as references to files
_STOP_SECONDS = 2.0
_TICK_SECONDS = 0.3  # Ctrl-C may reach another thread; the main one notices it between two waits, never inside one
_ACCELERATORS = ("/dev/nvidiactl", "/dev/kfd", "/dev/dri/renderD128", "/dev/accel0")
Result = TypeVar("Result")
Result_co = TypeVar("Result_co", covariant=True)
Pair = tuple[Shard, Shard]
"""Problems and traces of one shard."""

# What later steps decide by; an id is the digest of problem, sampler, index and response.
_DECIDES = ("id", "first_round", "finish_reason", "completion_tokens")
_UNANSWERED = {
    "prompt_too_long": "were not drawn, since the prompt is too long for the model",
    QUARANTINED: "were not drawn, since the prompt is in quarantine: it kills the engine",
    REFUSED: "were refused by the server as bad requests, and are not asked again",
    FILTERED: "were cut off by the server's filter of content, and are not asked again",
    FAILED: "failed in the engine, and are asked again by the next run",
}


def warm_up(run: RunContext) -> None:
    """Start to load the first engine that has something to sample, while the run prepares everything else."""
    if run.models.engines or not run.models.plans or not run.request.sample:
        return
    if run.recipe.problems.expand or run.models.near_judge:
        return  # which problems there are is known once others are asked, and that may take another model
    plan: SamplePlan | None = run.models.plans[0]
    if run.store.find(PROBLEMS, problems_key(run)):
        plan = SamplingStep(run, ingest_problems(run).shards).first_to_draw()
    if plan is not None:
        run.models.engine(plan).start()


class SamplingStep:
    """What the live samplers have to draw for a run's shards."""

    def __init__(self, run: RunContext, shards: Sequence[ProblemShard]) -> None:
        self.run = run
        self.shards = {shard.problems.name: shard for shard in shards}
        self.keys = {name: self._key(shard) for name, shard in self.shards.items()}
        self.done = {name: self._finished(key) for name, key in self.keys.items()}
        if not run.request.sample:  # an unfinished shard gets another key: it must not pass for the complete one later
            self.keys = {name: key if self.done[name] else digest(key, "recorded") for name, key in self.keys.items()}
        self._outcomes: dict[tuple[str, str], ShardOutcome] = {}  # by shard and plan, where n samples aren't the rule
        self._reached: dict[str, set[str]] = {}  # of a teacher that failed: the shards that it had sampled before
        self._policy = policy_of(run.recipe)
        self._gate = Gate(run, self._policy) if self._policy else None

    def _key(self, shard: ProblemShard) -> str:
        plans = [
            (plan.key(), plan.n, plan.name, plan.domains, plan.model.name, self._amounts(plan))
            for plan in self.run.models.plans
        ]
        routed = (
            [self.run.recipe.route, VERDICTS.key(self.run.recipe.options(VERDICTS))] if self.run.recipe.route else []
        )
        return SAMPLES.key(
            shard.problems.content, shard.recorded.content, plans, self.run.models.generation, *map(repr, routed)
        )

    def _finished(self, key: str) -> Shard | None:
        """Return a committed shard, or None if some of its samples are to be asked again."""
        shard = self.run.store.find(SAMPLES, key)
        if shard and self.run.request.sample and any(self._asks_again(plan, shard) for plan in self.run.models.plans):
            return None
        return shard

    def _asks_again(self, plan: SamplePlan, shard: Shard) -> bool:
        lacks = shard.stats.get("unanswered", {}).get(plan.name, {})
        again = FAILED in lacks or UNAVAILABLE in lacks
        return again or (QUARANTINED in lacks and not current(plan.quarantine(self.run.home)).exists())

    def _amounts(self, plan: SamplePlan) -> Any:
        """Return what decides how many samples belong to the run; with rounds, also the judge's key."""
        caps = plan.max_total_tokens, plan.max_cost and repr(plan.max_cost)
        if plan.rounds is None:
            return caps
        return repr(plan.rounds), caps, VERDICTS.key(self.run.recipe.options(VERDICTS))

    def finished_shards(self) -> Iterator[Pair]:
        """Yield (problems, traces) of each shard: those of earlier runs, then the others as they are finished."""
        for name, found in self.done.items():
            if found:
                self.run.state.unanswered |= bool(found.stats.get("unanswered"))
                yield self.shards[name].problems, found
        if not all(self.done.values()):
            yield from self._draw()

    def first_to_draw(self) -> SamplePlan | None:
        """Return the first plan whose engine is needed, judging by recorded samples; None if all shards are there."""
        plans = in_order(self._policy, self.run.models.plans)
        if all(self.done.values()):
            return None
        for plan in plans[:-1]:
            if plan.rounds is not None:
                return plan  # what its later rounds lack is known once they are judged
            with self.run.models.store(plan) as store:
                if any(sample_plan.missing_samples(plan, store, self._problems(name)) for name in self._todo()):
                    return plan
        if self._policy:
            return None  # what a teacher gets is known once the models before it are judged
        return plans[-1]  # with one plan nothing is rendered only to find this out: the engine loads meanwhile

    def _draw(self) -> Iterator[tuple[Shard, Shard]]:
        self._last = time.monotonic()
        plans = in_order(self._policy, self.run.models.plans)
        self.run.progress.expect_samplers(plan.name for plan in plans)
        self.run.progress.prices = {step.model: step.cost for step in self._policy.steps} if self._policy else {}
        if self.run.request.sample and plans:
            self._check_teachers(plans)
        # Earlier plans only record their samples; a shard is finished when the last plan has sampled it.
        for plan in plans[:-1]:
            for _ in self._sampled_by(plan):
                pass
        finished = self._sampled_by(plans[-1]) if plans else self._todo()
        for name in finished:
            yield self.shards[name].problems, self._committed(name)

    def _check_teachers(self, plans: Sequence[SamplePlan]) -> None:
        """Ask the teachers' servers whether they let the run in, before the models before them sample for hours.

        Raises:
            EngineError: one refuses the key, or serves another model.
        """
        with self.run.models.store(plans[0]) as store:
            if not any(sample_plan.missing_samples(plans[0], store, self._problems(name)) for name in self._todo()):
                return
        for plan in plans:
            if plan.name in self._teachers and (why := self.run.models.unavailable(plan)):
                self.run.progress.warn(f"teacher {plan.name}: no server answers yet ({why}); it is asked later")

    def _sampled_by(self, plan: SamplePlan) -> Iterator[str]:
        """Yield the names of shards as one plan finishes them, or as it leaves them where it is a teacher that fails.

        Raises:
            EngineError: the engine died, and it is no teacher's; what it has drawn is kept.
        """
        run = self.run
        if not run.request.sample:
            with run.models.store(plan):
                yield from self._todo()
            return
        with run.models.store(plan) as store:
            missing = sum(
                sample_plan.missing_samples(plan, store, self._problems_of(plan, name)) for name in self._todo()
            )
            run.progress.sampling(plan.name, missing)
            sampler = Sampler(
                plan, store, lambda: run.models.engine(plan), _SamplingProgress(run, plan), run.workers.judge.accepts
            )
            unfunded = 0
            reached = set()
            try:
                for shard in sampler.run(self._items(plan)):
                    if plan.rounds is not None or plan.capped:
                        self._outcomes[shard.name, plan.name] = shard.outcome
                    unfunded += shard.outcome.outcomes.get(UNFUNDED, 0)
                    reached.add(shard.name)
                    yield shard.name
            except EngineError as error:
                drawn = run.progress.drawn
                if plan.name not in self._teachers or run.state.stopping.is_set():
                    done = f"{drawn.samples:,} of {drawn.expected:,} samples"
                    raise with_count(error, f"sampler {plan.name}", done) from error
                self._reached[plan.name] = reached
                run.progress.warn(
                    f"teacher {plan.name} is given up for now, {drawn.samples:,} samples drawn: {error.what}"
                )
                run.models.discard(plan)  # a later phase that asks the same model tries it anew
            finally:
                run.models.release(plan)
            if unfunded:
                run.progress.warn(_spent(plan, unfunded))
            yield from (name for name in self._todo() if plan.name in self._reached and name not in reached)

    def _todo(self) -> Iterator[str]:
        return (name for name, found in self.done.items() if not found)

    def _problems(self, name: str) -> pa.Table:
        return self.run.store.read(self.shards[name].problems)

    def _problems_of(self, plan: SamplePlan, name: str) -> pa.Table:
        """Return the problems of a shard that a plan samples: a teacher gets what the models before it leave."""
        problems = self._problems(name)
        routed = self._routed(plan.name, name, problems)
        return problems if routed is None else _only(problems, routed)

    def _routed(self, model: str, name: str, problems: pa.Table) -> set[str] | None:
        """Return the problems of a shard that go on to a teacher; None where the model is none."""
        before = self._gate.before(model) if self._gate else None
        if before is None or self._gate is None:
            return None
        recorded = self.run.store.read(self.shards[name].recorded)
        plans = {plan.name: plan for plan in self.run.models.plans}
        samples = {}
        waiting: set[str] = set()  # for a teacher that failed: no dearer one is asked in its place
        for other in before:
            if other in plans:
                chosen = self._routed(other, name, problems)
                own = problems if chosen is None else _only(problems, chosen)
                outcome = self._outcomes.get((name, other))
                samples[other] = sample_plan.traces(
                    plans[other], self.run.models.stores[other], own, outcome.counts if outcome else None
                )
                waiting |= self._waiting(plans[other], name, own)
            else:
                samples[other] = recorded.filter(pc.equal(recorded["sampler"], other))
        return self._gate.passes(model, name, problems, samples) - waiting

    def _waiting(self, plan: SamplePlan, name: str, problems: pa.Table) -> set[str]:
        """Return which of a teacher's problems in a shard it could not be asked about."""
        if plan.name not in self._reached or name in self._reached[plan.name]:
            return set()
        return sample_plan.unsampled(plan, self.run.models.stores[plan.name], problems)

    def _items(self, plan: SamplePlan) -> Iterator[tuple[str, pa.Table | Spending]]:
        """Yield all shards in order; of finished ones only what they took of the budget."""
        for name, found in self.done.items():
            if not found:
                yield name, self._problems_of(plan, name)
            elif plan.capped and (spent := found.stats.get("rounds", {}).get(plan.name)):
                yield name, Spending(spent["tokens"], spent["money"])

    def _committed(self, name: str) -> Shard:
        """Return the traces of a shard by all samplers, as one committed table."""
        run, shard = self.run, self.shards[name]
        problems = run.store.read(shard.problems)
        routed = {model: self._routed(model, name, problems) for model in self._teachers}
        recorded, not_routed = self._recorded_of(shard, routed)
        tables, rounds, waiting = [recorded], {}, {}
        for plan in run.models.plans:
            outcome = self._outcomes.pop((name, plan.name), None)
            counts = outcome.counts if outcome else None
            if (chosen := routed.get(plan.name)) is not None:
                waiting[plan.name] = sorted(self._waiting(plan, name, _only(problems, chosen)))
                # Of a teacher that failed in between, no samples of later rounds: nobody knows whether all are there.
                most = plan.n if plan.name in self._reached else plan.rule.ceiling
                counts = dict.fromkeys(chosen, most) if counts is None else counts
                domains = (row["domain"] for row in problems.to_pylist() if row["id"] not in chosen)
                not_routed += plan.n * sum(plan.takes(domain) for domain in domains)
            tables.append(sample_plan.traces(plan, run.models.stores[plan.name], problems, counts))
            if plan.rounds is not None or plan.capped:
                rounds[plan.name] = _rounds(plan, outcome, tables[-1])
        table = pa.concat_tables(tables).sort_by(
            [("problem_id", "ascending"), ("sampler", "ascending"), ("sample_index", "ascending")]
        )
        for warning in unanswered(name, table):
            run.progress.warn(warning)
        known = digest([table[name].to_pylist() for name in _DECIDES])
        stats: ShardStats = {"tokens": pc.sum(table["completion_tokens"]).as_py() or 0, "rounds": rounds}
        if self._gate:
            self._gate.forget(name)
        if not_routed:
            stats["not_routed"] = not_routed
        stats["waiting"] = {teacher: names for teacher, names in waiting.items() if names}
        lacking = {plan.name: _unanswered(plan, table, waiting.get(plan.name, ())) for plan in run.models.plans}
        stats["unanswered"] = {sampler: lacks for sampler, lacks in lacking.items() if lacks}
        run.state.unanswered |= bool(stats["unanswered"])
        stats["took"] = self._since_last()
        return run.store.record(SAMPLES, name, self.keys[name], table, known, stats)

    @property
    def _teachers(self) -> list[str]:
        return [step.model for step in self._policy.steps[1:]] if self._policy else []

    def _recorded_of(self, shard: ProblemShard, routed: Mapping[str, set[str] | None]) -> tuple[pa.Table, int]:
        """Return a shard's replayed samples without those of teachers on problems that did not go on; their number."""
        recorded = self.run.store.read(shard.recorded)
        keep = pa.array([True] * recorded.num_rows, pa.bool_())
        for model, chosen in routed.items():
            others = pc.and_(
                pc.equal(recorded["sampler"], model),
                pc.invert(pc.is_in(recorded["problem_id"], pa.array(chosen or (), pa.string()))),
            )
            keep = pc.and_(keep, pc.invert(others))
        kept = recorded.filter(keep)
        return kept, recorded.num_rows - kept.num_rows

    def _since_last(self) -> float:
        """Return the seconds since the last shard was complete, or since drawing began, so that they sum to the
        phase.
        """
        before, self._last = self._last, time.monotonic()
        return round(self._last - before, 3)


def _only(problems: pa.Table, ids: set[str]) -> pa.Table:
    return problems.filter(pc.is_in(problems["id"], pa.array(ids, pa.string())))


def _rounds(plan: SamplePlan, outcome: ShardOutcome | None, traces: pa.Table) -> dict[str, Any]:
    """Return how a sampler's problems of a shard ended and what its traces took.

    Without an outcome (nothing was sampled, or the teacher had failed), the traces are what was recorded before.
    """
    later = pc.sum(pc.invert(traces["first_round"])).as_py() or 0
    return {"outcomes": outcome.outcomes if outcome else {}, "later": later, **_spending(plan, traces)._asdict()}


def _spending(plan: SamplePlan, traces: pa.Table) -> Spending:
    """Return what one sampler's traces took; a sample that several problems share counts once."""
    counts = [("completion_tokens", "max"), ("prompt_tokens", "max")]
    once = traces.group_by(["prompt_digest", "sample_index"]).aggregate(counts)
    pairs = zip(*(once[f"{name}_max"].to_pylist() for name, _ in counts), strict=True)
    each = [plan.spending(tokens or 0, prompt or 0) for tokens, prompt in pairs]
    return Spending(sum(one.tokens for one in each), sum(one.money for one in each))


def _unanswered(plan: SamplePlan, traces: pa.Table, waiting: Sequence[str]) -> dict[str, int]:
    """Return how many of a sampler's traces may be asked again later, by reason; some problems wait for it whole."""
    own = traces.filter(pc.equal(traces["sampler"], plan.name))
    reasons = own["finish_reason"].to_pylist()
    lacks = {reason: count for reason in (FAILED, QUARANTINED) if (count := reasons.count(reason))}
    drawn = pc.sum(pc.is_in(own["problem_id"], pa.array(waiting, pa.string()))).as_py() or 0
    return lacks | ({UNAVAILABLE: plan.n * len(waiting) - drawn} if waiting else {})


def unanswered(shard: str, traces: pa.Table) -> Iterator[str]:
    """Yield warnings that name the problems which an engine could not answer."""
    names, reasons = (traces[column].to_pylist() for column in ("problem_id", "finish_reason"))
    for reason, means in _UNANSWERED.items():
        samples = [name for name, actual in zip(names, reasons, strict=True) if actual == reason]
        if problems := sorted(set(samples)):
            more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
            yield f"shard {shard}: {len(samples)} samples {means}; problem {', '.join(problems[:3])}{more}"


class _SamplingProgress(Observer):
    """Shows what a sampler does."""

    def __init__(self, run: RunContext, plan: SamplePlan) -> None:
        self._run = run
        self._plan = plan
        self._progress = run.progress

    def loading(self) -> None:
        self._progress.note(f"loading {self._plan.model.name} (about a minute)")

    def loaded(self, facts: EngineFacts) -> None:
        self._run.models.loaded(self._plan, self._run.models.engine(self._plan))
        self._progress.engine_ready(
            f"{facts.name} {facts.version}, {facts.dtype}, loaded in {facts.load_seconds:.0f} s"
        )

    def sampled(self, tokens: int, prompt_tokens: int) -> None:
        self._progress.sampled(tokens, prompt_tokens)

    def wanted(self, samples: int) -> None:
        self._progress.more_samples(samples)

    def stopping(self) -> bool:
        return self._run.state.stopping.is_set()

    def queues(self, in_flight: int, waiting: int, rounds: int) -> None:
        self._progress.queue("requests in flight", in_flight)
        self._progress.queue("requests waiting", waiting)
        self._progress.queue("rounds to judge", rounds)


def _spent(plan: SamplePlan, unfunded: int) -> str:
    caps = [f"{plan.max_total_tokens:,} tokens"] if plan.max_total_tokens is not None else []
    caps += [f"{plan.max_cost.most:g} of money"] if plan.max_cost else []
    return f"sampler {plan.name}: its {' or '.join(caps)} are spent, so {unfunded:,} problems were not sampled"


def rounds_of(samples: Sequence[Shard]) -> dict[str, dict[str, Any]]:
    """Return, by sampler with rounds or a token budget: its outcomes, samples of later rounds, and tokens."""
    totals: dict[str, dict[str, Any]] = {}
    for shard in samples:
        for name, counts in shard.stats.get("rounds", {}).items():
            total = totals.setdefault(name, {"outcomes": {}, "later": 0, "tokens": 0})
            for reason, count in counts["outcomes"].items():
                total["outcomes"][reason] = total["outcomes"].get(reason, 0) + count
            total["later"] += counts["later"]
            total["tokens"] += counts["tokens"]
    return totals


class _Future(Protocol[Result_co]):
    def result(self) -> Result_co: ...


def stream_with_backpressure(
    run: RunContext,
    sampled: Iterator[Pair],
    submit: Callable[[Shard, Shard], _Future[Result]],
    ahead: Callable[[], int] = lambda: AHEAD,
) -> list[Result]:
    """Return the result for each shard; a thread samples, and shards are submitted as the filters keep up.

    Where the engine has no device of its own, filters would take the cores that it computes on, so they begin
    when it has ended; the shards wait on disk.

    Args:
        run: the run.
        sampled: (problems, traces) of each shard as it is finished.
        submit: begins the work on a shard.
        ahead: returns how many shards may be with the filters at once.

    Raises:
        ProofmillError: what ends the sampler, or a filter: the sampler is then stopped, and keeps what it has.
    """
    feed = _Feed(run, sampled)
    futures: list[_Future[Result]] = []
    try:
        if shares_cores(run):
            run.progress.judged_after = True
            feed.wait()
        for pair in feed.pairs():
            if len(futures) >= (most := ahead()):
                futures[-most].result()
            futures.append(submit(*pair))
        return [future.result() for future in futures]
    except BaseException:
        run.workers.close()  # else whoever has submitted waits until the filters are through with whole shards
        raise
    finally:
        feed.stop()


def shares_cores(run: RunContext) -> bool:
    """Return whether an engine of this run computes on the cores that the filters would use."""
    local = any(isinstance(sampler.engine, VllmEngine) for sampler in run.recipe.samplers)
    return local and not node_engines(run.recipe) and not any(Path(device).exists() for device in _ACCELERATORS)


class _Feed:
    """The sampler's thread and what it has finished."""

    def __init__(self, run: RunContext, sampled: Iterator[Pair]) -> None:
        self._context = run
        self._sampled = sampled
        self._done: SimpleQueue[Pair | None] = SimpleQueue()
        self._future = run.background.submit(copy_context().run, self._fill)

    def _fill(self) -> None:
        try:
            for pair in self._sampled:
                self._done.put(pair)
                self._context.progress.queue("shards to judge", self._done.qsize())
        finally:
            self._done.put(None)

    def wait(self) -> None:
        """Wait for the sampler to end."""
        while wait([self._future], _TICK_SECONDS).not_done:
            pass

    def pairs(self) -> Iterator[Pair]:
        """Yield what the sampler has finished, until it ends."""
        while (pair := self._next()) is not None:
            self._context.progress.queue("shards to judge", max(0, self._done.qsize() - 1))
            yield pair
        self._future.result()

    def _next(self) -> Pair | None:
        while True:
            try:
                return self._done.get(timeout=_TICK_SECONDS)
            except Empty:
                continue

    def stop(self) -> None:
        """End the sampler if it still goes on."""
        self._context.state.stopping.set()
        if wait([self._future], _STOP_SECONDS).not_done:
            self._context.models.end_engines()  # it waits for one that is loading
            wait([self._future])
        self._context.state.stopping.clear()
