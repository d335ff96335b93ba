"""`--dry-run`: which steps a run will do again, what that costs, and what has changed since the last version.

It walks the steps themselves over a read-only store, so it can't differ from what they do. Importing it imports
Prefect, so import it late.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from math import comb
from typing import Any

import orjson

from proofmill.data.errors import RecipeError
from proofmill.data.files import loads_exact, write_json
from proofmill.data.run import NotCommitted, ReadOnlyRun, Shard
from proofmill.data.samples import SampleStore
from proofmill.data.versions import Version, versions
from proofmill.filters.base import MapFilter, ProblemFilter
from proofmill.filters.contamination import BENCHMARKS
from proofmill.filters.model_judge import CANARIES
from proofmill.filters.reliability import RELIABILITY
from proofmill.filters.selection import CHARACTERS_A_TOKEN
from proofmill.filters.verdicts import CORRECT
from proofmill.filters.verification import VERDICTS
from proofmill.flows.context import RunContext
from proofmill.flows.display import Progress, listed
from proofmill.flows.expansion import STEPS as EXPANSION_STEPS
from proofmill.flows.expansion import WRITTEN, expand_problems, questions_to_write
from proofmill.flows.ingest import PROBLEMS, ProblemShard, RunProblems, ingest_problems, problems_key
from proofmill.flows.model_calls import costs
from proofmill.flows.model_filters import (
    CLR_JUDGED,
    CLR_NAMED,
    JUDGE_ASKED,
    SCORES,
    open_judgements,
    open_questions,
    scored_ids,
)
from proofmill.flows.near_items import NEAR_ASKED, open_comparisons
from proofmill.flows.pipeline import (
    HOLDOUT,
    PROMPT_SIGNATURES,
    SELECTION,
    annotate_shard,
    filter_output,
    held_out_problems,
    later_steps,
)
from proofmill.flows.recipe.load import parse
from proofmill.flows.recipe.schema import ActiveFilter, Recipe, rewriting_of
from proofmill.flows.rewriting import REWRITE_ASKED
from proofmill.flows.routing import policy_of
from proofmill.flows.sampling import SAMPLES, SamplingStep
from proofmill.flows.screening import STEPS as SCREENING_STEPS
from proofmill.flows.screening import screen_problems
from proofmill.flows.shard_records import ShardRecord, contents
from proofmill.flows.topics import TOPIC_ASKED, open_topics
from proofmill.flows.up_to_date import PUBLISH, step_versions
from proofmill.generators.rounds import Rounds
from proofmill.generators.sample_plan import SamplePlan, missing_samples, rendered

_CENSUS = 20_000  # problems whose tests are read
_NAMED = 3  # changed fields that a run names in its first line


@dataclass
class DryRun:
    """What a run is about to do.

    Attributes:
        again: names of steps with something to make, in the order of the run.
        at_most: steps that depend on the content of those: they run too, unless it proves equal to the earlier one.
        samples: first-round samples to draw, by sampler.
        pending: the shards that are not completely sampled.
        records: the references of the others; one without a file is a placeholder.
        first: whether no run of this name has finished yet.
    """

    again: list[str] = field(default_factory=list)
    at_most: list[str] = field(default_factory=list)
    samples: dict[str, int] = field(default_factory=dict)
    pending: list[ProblemShard] = field(default_factory=list)
    records: list[ShardRecord] = field(default_factory=list)
    first: bool = False

    def line(self) -> str:
        """Return everything in one line."""
        parts = [f"{'runs' if self.first else 'runs again'}: {', '.join(self.again)}"]
        if self.at_most:
            parts.append(f"at most also: {', '.join(self.at_most)}")
        drawn = [f"{count:,} samples by {name}" for name, count in self.samples.items() if count]
        return "; ".join([*parts, f"to be drawn: {', '.join(drawn)}" if drawn else "nothing is sampled"])


def dry_run(run: RunContext) -> DryRun:
    """Return what an opened run would do; read the problems if needed, and sample nothing."""
    walk = _Walk(run)
    if not run.store.find(PROBLEMS, problems_key(run)):
        walk.again[PROBLEMS.name] = None
    shards = walk.prepared(ingest_problems(run)).shards
    sampling = SamplingStep(run, shards)
    pending = [shard for shard in shards if not sampling.done[shard.problems.name]]
    samples = {plan.name: open_samples(run, plan, pending) for plan in run.models.plans}
    records = list(walk.records(shards, sampling))
    walk.over_all(records, complete=not pending and not walk.unsettled)
    walk.again[PUBLISH.name] = None
    at_most = [name for name in walk.at_most if name not in walk.again]
    return DryRun(list(walk.again), at_most, samples, pending, records, first=not run.store.earlier(SELECTION))


class _Walk:
    """The run's steps over a store that makes nothing, and what was not found. The dicts are ordered sets of names."""

    def __init__(self, run: RunContext) -> None:
        self.again: dict[str, None] = {}
        self.at_most: dict[str, None] = {}
        self.run = run.read_only(ReadOnlyRun(run.store))
        self.unsettled = False  # whether a model must still be asked before it is known which problems there are

    def prepared(self, problems: RunProblems) -> RunProblems:
        """Return the problems that are sampled, screened and expanded; as they were read where that is not done."""
        try:
            return expand_problems(self.run, screen_problems(self.run, problems))
        except NotCommitted as gap:
            self.unsettled = True
            self.again[gap.step] = None
            expands = self.run.recipe.problems.expand is not None
            names = [BENCHMARKS.step.name, *(s.name for s in (*SCREENING_STEPS, *(EXPANSION_STEPS if expands else ())))]
            self.at_most |= dict.fromkeys([*names[names.index(gap.step) + 1 :], SAMPLES.name])
            return problems

    def records(self, shards: Sequence[ProblemShard], sampling: SamplingStep) -> Iterator[ShardRecord]:
        """Yield the references of each sampled shard; some are placeholders for what would be made."""
        filters = [active.filter for active in self.run.filters]
        each = [filter_.name for filter_ in filters if isinstance(filter_, MapFilter | ProblemFilter)]
        for shard in shards:
            samples = sampling.done[shard.problems.name]
            if samples is None:
                self.again[SAMPLES.name] = None
                self.at_most |= dict.fromkeys(each)
                continue
            yield annotate_shard(self.run, shard.problems, samples, self._output)

    def _output(self, run: RunContext, record: ShardRecord, active: ActiveFilter) -> Shard:
        """Return a filter's output, or a placeholder; what depends on a missing output may prove equal to the
        earlier one.
        """
        filter_ = active.filter
        known = contents(run, record, [*filter_.reads, *filter_.optional])
        uncertain = any(name in record.outputs and not record.outputs[name].file for name in known)
        try:
            return filter_output(run, record, active)
        except NotCommitted as gap:
            (self.at_most if uncertain else self.again)[filter_.name] = None
            if gap.step != filter_.name:  # the file that its workers share
                self.again[gap.step] = None
            return gap.placeholder()

    def over_all(self, records: list[ShardRecord], *, complete: bool) -> None:
        """Walk the steps over all shards up to the first that is not done; what follows it is uncertain."""
        steps = list(later_steps(self.run))
        names = [name for step in steps for name in step.names]
        self._holdout(records, complete=complete)
        # If a filter's output is only a placeholder, later steps may still prove done once it is made.
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
        """Note whether the validation split is made again; it depends on nothing but the problems."""
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
    """Yield lines that say what the run would do; read the problems and sample nothing."""
    ahead = dry_run(run)
    problems = ingest_problems(run)
    ledger = problems.stats["problems"]
    yield f"recipe {run.recipe.name}: {ledger['kept']:,} problems in {len(problems.shards)} shards"
    if ledger["dropped"]:
        yield f"  left out: {listed(ledger['dropped'])}"
    if recorded := problems.stats["recorded"]["kept"]:
        yield f"  {recorded:,} recorded samples"
    yield from expansion_cost(run, problems)
    yield from test_census(run, problems.shards)
    for plan in run.models.plans:
        yield from sampler_cost(run, plan, ahead.samples[plan.name], problems.shards, ahead.pending)
    yield from answer_judge_cost(run, ahead.records, ahead.pending)
    yield from near_judge_cost(run, ahead.records, ahead.pending)
    yield from claim_judge_cost(run, ahead.records, ahead.pending)
    yield from student_cost(run, ahead.records, ahead.pending)
    yield from topics_cost(run, ahead.records, ahead.pending)
    yield from rewriting_cost(run, problems, ahead)
    yield from changes(run)
    yield ahead.line()


def test_census(run: RunContext, shards: Sequence[ProblemShard]) -> Iterator[str]:
    """The formats of the tests of programs, and the packages that they import and the jail does not show."""
    from proofmill.filters.sandbox.formats import SuiteCensus  # no other recipe needs it

    census, left = SuiteCensus(), _CENSUS
    for shard in shards:
        table = run.store.read(shard.problems, ["verifier", "info"]).slice(0, left)
        left -= table.num_rows
        for row in table.to_pylist():
            if row["verifier"] == "code":
                census.add(loads_exact(row["info"]) if row["info"] else {})
    yield from census.lines(run.recipe.options(VERDICTS).jail.packages)


def summary_line(run: RunContext) -> Iterator[str]:
    """Yield in one line what an opened run does again; nothing for a first run."""
    if known := versions(run.home, run.recipe.name):
        fields = differing_fields(run.recipe, known[-1])
        rest = len(fields) - _NAMED
        more = [f"{rest} more field{'s' * (rest > 1)}"] if rest > 0 else []
        changed = ", ".join([*fields[:_NAMED], *more, *code_changes(known[-1])]) or "nothing of the recipe"
        yield f"changed since {known[-1].label}: {changed}; {dry_run(run).line()}"


def changes(run: RunContext) -> Iterator[str]:
    """Yield the recipe keys and steps that differ from the newest published version's."""
    for known in versions(run.home, run.recipe.name)[-1:]:
        for item in (*differing_fields(run.recipe, known), *code_changes(known)):
            yield f"changed since {known.label}: {item}"


def code_changes(known: Version) -> Iterator[str]:
    """Yield the steps whose version in proofmill's code has changed since a version was made."""
    before = known.manifest.code_version.steps
    now = step_versions()
    if changed := [f"{name} {before[name]} -> {now[name]}" for name in now if before.get(name, now[name]) != now[name]]:
        yield f"proofmill's code of {', '.join(changed)}"


def differing_fields(recipe: Recipe, known: Version) -> list[str]:
    """Return the recipe keys that differ from a version's, with both values.

    A key that is younger than the version had what is its default today: a new option is no change of the recipe.
    """
    before, now = flat(_with_defaults(known.manifest.recipe)), flat(recipe.published())
    keys = sorted(key for key in before.keys() | now.keys() if _filled(before.get(key)) != _filled(now.get(key)))
    return [f"{key}: {before.get(key)!r} -> {now.get(key)!r}" for key in keys]


def _with_defaults(recipe: Mapping[str, Any]) -> Mapping[str, Any]:
    try:
        return parse(dict(recipe)).published()
    except RecipeError:  # it has a key that is gone by now
        return recipe


def _filled(value: Any) -> Any:
    """Return None for an empty list or mapping, whose items have keys of their own."""
    return None if value in ([], {}) else value


def flat(value: Any, place: str = "") -> dict[str, Any]:
    """Return nested mappings and lists as one mapping with dotted keys."""
    if isinstance(value, Mapping) and value:
        items = value.items()
    elif isinstance(value, list) and value:
        items = {str(number): item for number, item in enumerate(value)}.items()
    else:
        return {place: value}
    keys: dict[str, Any] = {}
    for key, item in items:
        keys |= flat(item, f"{place}.{key}" if place else str(key))
    return keys


# --- what it would cost: samples, questions to models, tokens and minutes, estimated from the last run, or bounded
#
# What is already judged is counted as it stands; of shards without samples every sample may be asked about.

_RATES = "rates.json"
_UNKNOWN = "no earlier run to estimate from"


def sampler_cost(
    run: RunContext, plan: SamplePlan, first: int, shards: Sequence[ProblemShard], pending: Sequence[ProblemShard]
) -> Iterator[str]:
    """Yield what a sampler still has to draw, and what that costs."""
    of = sum(shard.first_round_samples(plan) for shard in shards)
    yield f"sampler {plan.name}: {plan.model.name}, {first:,} of {of:,} samples are still to be drawn"
    if run.recipe.route and any(teacher.sampler == plan.name for teacher in run.recipe.route.teachers):
        yield "  at most: it gets only the problems that the models before it don't prove"
    known = _last(run)
    rate = _rate(known)
    last = known["samplers"].get(plan.name) if known else None
    later = _later(run, plan, pending, rate)
    if plan.rounds and pending:
        if rate is None:
            yield f"  and at most {later:,} in later rounds; no earlier run to estimate from"
        else:
            yield f"  and about {later:,} in later rounds: an estimate that has every sample accepted at {rate:.0%}"
    if not (samples := first + later):
        return
    if last is None:
        tokens = samples * plan.most_tokens
        yield f"  at most {tokens:,} tokens; no earlier run to estimate from"
    else:
        tokens = int(samples * last["tokens"] / max(last["samples"], 1))
        minutes = tokens / max(last["tokens_per_second"], 1e-9) / 60
        yield f"  about {tokens:,} tokens and {minutes:.1f} minutes, at the rate of the last run"
        if plan.max_total_tokens is not None and tokens > plan.max_total_tokens:
            yield f"  max_total_tokens ends it at {plan.max_total_tokens:,} tokens, so with fewer samples"
    read = samples * _prompt_tokens(run, plan, pending, last)
    yield from _money(run, plan, tokens, round(read), "about" if last else "at most")
    if last is not None and rate is not None:
        yield f"  about {int(samples * rate):,} of them accepted"


def _prompt_tokens(
    run: RunContext, plan: SamplePlan, pending: Sequence[ProblemShard], last: Mapping[str, Any] | None
) -> float:
    """Return the mean prompt tokens of a sample: those of the last run, else by the letters of its problems."""
    if last and last.get("prompt_tokens"):
        return float(last["prompt_tokens"] / max(last["samples"], 1))
    tables = (run.store.read(shard.problems, ["domain", "prompt"]).to_pylist() for shard in pending)
    lengths: list[int] = [len(row["prompt"]) for rows in tables for row in rows if plan.takes(row["domain"])]
    return sum(lengths) / max(len(lengths), 1) / CHARACTERS_A_TOKEN


def _money(run: RunContext, plan: SamplePlan, tokens: int, read: int, bound: str) -> Iterator[str]:
    """Yield what so many completion and prompt tokens of a sampler cost; nothing where the recipe has no prices."""
    policy = policy_of(run.recipe)
    step = next((step for step in policy.steps if step.model == plan.name), None) if policy else None
    if step is None:
        return
    cost, prompts = step.cost(tokens, read), step.cost(0, read)
    yield f"  {bound} {cost:.4g} of money, {prompts:.4g} of it for about {read:,} prompt tokens"
    if plan.max_cost and cost > plan.max_cost.most:
        yield f"  max_cost ends it at {plan.max_cost.most:g} of money, so with fewer samples"


def open_samples(run: RunContext, plan: SamplePlan, pending: Sequence[ProblemShard]) -> int:
    """Return how many first-round samples a run has to draw for unfinished shards."""
    if not pending:
        return 0
    if run.request.draws_anew:
        return sum(shard.first_round_samples(plan) for shard in pending)
    store = plan.store(run.home).looked_at()
    return sum(missing_samples(plan, store, run.store.read(shard.problems)) for shard in pending)


def _later(run: RunContext, plan: SamplePlan, pending: Sequence[ProblemShard], rate: float | None) -> int:
    """Return the samples of later rounds that are not recorded: expected at an acceptance rate, else at most."""
    if plan.rounds is None or not pending:
        return 0
    each = plan.rounds.ceiling - plan.n if rate is None else later_samples(plan.rounds, rate)
    wanted = round(each * sum(shard.problems_sampled_by(plan) for shard in pending))
    if run.request.draws_anew:
        return wanted
    store = plan.store(run.home).looked_at()
    return max(0, wanted - sum(_recorded_later(run, plan, store, shard) for shard in pending))


def _recorded_later(run: RunContext, plan: SamplePlan, store: SampleStore, shard: ProblemShard) -> int:
    prompts = {prompt for prompt, _ in rendered(plan, run.store.read(shard.problems)).values()}
    return sum(index >= plan.n for _, index in store.have(prompts))


def later_samples(rounds: Rounds, rate: float) -> float:
    """Return the expected number of samples after the first round, if each is accepted with the same chance.

    The expectation of the rule in `Rounds`: with m more samples after s of which a were accepted,
    E(s, a) = m + sum over k of C(m, k) rate^k (1 - rate)^(m - k) E(s + m, a + k), and E = 0 where m = 0. Problems
    differ, so it is an estimate: real ones spread to both ends, where the rule stops early.

    Args:
        rounds: the rule.
        rate: share of samples that are accepted, 0 to 1.
    """

    @cache
    def after(sampled: int, accepted: int) -> float:
        more, _ = rounds.more(sampled, accepted)
        return more + drawn(sampled, accepted, more) if more else 0.0

    def drawn(sampled: int, accepted: int, more: int) -> float:
        chances = (comb(more, k) * rate**k * (1 - rate) ** (more - k) for k in range(more + 1))
        return sum(chance * after(sampled + more, accepted + k) for k, chance in enumerate(chances))

    return drawn(0, 0, rounds.first)


def expansion_cost(run: RunContext, problems: RunProblems) -> Iterator[str]:
    """Yield what expansion asks a model for; nothing where it asks none."""
    plan, options = run.models.expander, run.recipe.problems.expand
    if plan is None or options is None:
        return
    questions = questions_to_write(run, problems)
    yield f"expansion {plan.model.name}: at most {questions:,} new problems to write, those of earlier runs included"
    last, limit = costs(run, WRITTEN), options.max_total_tokens
    yield _estimate([(questions, last)]) if last else f"  at most {questions * options.max_tokens:,} tokens written"
    if limit is not None:
        yield f"  max_total_tokens ends it at {limit:,} tokens"


def answer_judge_cost(
    run: RunContext, records: Sequence[ShardRecord], pending: Sequence[ProblemShard]
) -> Iterator[str]:
    """Yield what the answer judge has to judge; nothing where none is asked, or all is recorded."""
    plan, options = run.models.answer_judge, run.recipe.options(VERDICTS).judge
    if plan is None or options is None:
        return
    questions = sum(open_judgements(run, plan, options, record) for record in records)
    unknown = sum(_samples(run, shard, None) for shard in pending)
    unknown += sum(record.samples.rows for record in records if not record.outputs["verdicts"].file)
    if not questions and not unknown:
        return
    last = costs(run, JUDGE_ASKED)
    questions += 2 * sum(_samples(run, shard, None) for shard in pending)
    bound = "at most " if unknown else ""
    yield f"judge {plan.model.name}: {bound}{questions:,} questions, and {2 * len(CANARIES)} planted ones"
    tokens = questions * options.max_tokens
    yield _estimate([(questions, last)]) if last and questions else f"  at most {tokens:,} tokens written; {_UNKNOWN}"


def near_judge_cost(run: RunContext, records: Sequence[ShardRecord], pending: Sequence[ProblemShard]) -> Iterator[str]:
    """Yield what is asked about problems near a benchmark's item; nothing where nothing is."""
    plan = run.models.near_judge
    questions = open_comparisons(run, records)
    if plan is None or not (questions or pending):
        return
    rest = f"{sum(shard.problems.rows for shard in pending):,} problems are not compared yet" if pending else "no more"
    yield f"near items {plan.model.name}: {questions:,} questions, and {rest}"
    last = costs(run, NEAR_ASKED)
    if last and questions:
        yield _estimate([(questions, last)])


def claim_judge_cost(run: RunContext, records: Sequence[ShardRecord], pending: Sequence[ProblemShard]) -> Iterator[str]:
    """Yield what the claim judge has to judge; nothing where none is asked, or all is recorded."""
    plan, options = run.models.claim_judge, run.recipe.options(RELIABILITY).model
    if plan is None or options is None:
        return
    traces = sum(_samples(run, shard, options.k) for shard in pending)
    claims = 0  # of traces whose claims are named already
    for record in records:
        unnamed, unjudged = open_questions(run, plan, options, record)
        traces, claims = traces + unnamed, claims + unjudged
    if not traces and not claims:
        return
    head = f"verifier {plan.model.name}: " + ("at most " if pending else "")
    named, judged = (costs(run, step) for step in (CLR_NAMED, CLR_JUDGED))
    if not named or not judged:
        tokens = (traces * (1 + options.m) + claims) * options.max_tokens
        yield f"{head}{traces:,} traces to judge by at most {options.m} claims each, {claims:,} claims named already"
        yield f"  at most {tokens:,} tokens written, besides those read; {_UNKNOWN}"
        return
    claims += round(traces * judged["answers"] / named["answers"])
    yield f"{head}{traces:,} traces and about {claims:,} claims to judge"
    yield _estimate([(traces, named), (claims, judged)])


def student_cost(run: RunContext, records: Sequence[ShardRecord], pending: Sequence[ProblemShard]) -> Iterator[str]:
    """Yield what the student has to score; nothing where none is asked, or all is recorded.

    Args:
        run: the run.
        records: shards that have samples.
        pending: shards that have not.
    """
    plan = run.models.scorer
    if plan is None:
        return
    known, rate = scored_ids(run, plan), _rate(_last(run))
    unsampled = sum(_samples(run, shard, None) for shard in pending)
    unjudged = sum(record.samples.rows for record in records if not record.outputs["verdicts"].file)
    proven = sum(len(_proven(run, record) - known) for record in records if record.outputs["verdicts"].file)
    traces = proven + round((unsampled + unjudged) * (1.0 if rate is None else rate))
    if not traces:
        return
    last = costs(run, SCORES)
    bound = "at most" if rate is None and unsampled + unjudged else "about" if unsampled + unjudged else "the"
    yield f"student {plan.model.name}: {bound} {traces:,} proven traces to score"
    yield _estimate([(traces, last)]) if last else f"  each is read once, after its prompt; {_UNKNOWN}"


def topics_cost(run: RunContext, records: Sequence[ShardRecord], pending: Sequence[ProblemShard]) -> Iterator[str]:
    """Yield what is asked about the topics of problems; nothing where nothing is."""
    plan = run.models.topic_namer
    questions = open_topics(run, records) + sum(shard.problems.rows for shard in pending)
    questions += sum(record.problems.rows for record in records if not record.outputs["verdicts"].file)
    if plan is None or not questions:
        return
    yield f"topics {plan.model.name}: at most {questions:,} problems to name"
    if last := costs(run, TOPIC_ASKED):
        yield _estimate([(questions, last)])


def rewriting_cost(run: RunContext, problems: RunProblems, ahead: DryRun) -> Iterator[str]:
    """Yield what the model that condenses traces may be asked; nothing where none is asked, or all is recorded."""
    plan, options = run.models.rewriter, rewriting_of(run.recipe)
    if plan is None or options is None or REWRITE_ASKED.name not in {*ahead.again, *ahead.at_most}:
        return
    tries = options.tries * sum(shard.problems.rows for shard in problems.shards)
    yield f"short solutions {plan.model.name}: at most {tries:,} to write, those of earlier runs included"
    last = costs(run, REWRITE_ASKED)
    yield _estimate([(tries, last)]) if last else f"  at most {tries * options.max_tokens:,} tokens written; {_UNKNOWN}"


def _proven(run: RunContext, record: ShardRecord) -> set[str]:
    names = run.store.read(record.samples, ["id"])["id"].to_pylist()
    verdicts = run.store.read(record.outputs["verdicts"], ["verdict"])["verdict"].to_pylist()
    return {name for name, verdict in zip(names, verdicts, strict=True) if verdict == CORRECT}


def _estimate(parts: Sequence[tuple[int, Mapping[str, Any]]]) -> str:
    """Return the cost of these questions of each kind at the cost per question of the last run."""
    total = {
        name: sum(count * last[name] / last["answers"] for count, last in parts)
        for name in ("prompt_tokens", "completion_tokens", "seconds")
    }
    return (
        f"  about {round(total['prompt_tokens']):,} tokens read, {round(total['completion_tokens']):,} written and "
        f"{total['seconds'] / 60:.1f} minutes, at the rate of the last run"
    )


def _samples(run: RunContext, shard: ProblemShard, k: int | None) -> int:
    """Return how many traces a shard may have at most; of each problem and sampler k at most."""
    return shard.recorded.rows + sum(
        shard.problems_sampled_by(plan) * min(plan.rule.ceiling, k or plan.rule.ceiling) for plan in run.models.plans
    )


def remember_rate(run: RunContext, progress: Progress) -> None:
    """Keep what this run cost for the next estimate; for a sampler that drew nothing, its last cost."""
    drawn = {
        name: {
            "samples": done.samples,
            "tokens": done.tokens,
            "prompt_tokens": done.prompt_tokens,
            "tokens_per_second": done.tokens_per_second(),
        }
        for name, done in progress.samplers.items()
        if done.tokens
    }
    if drawn:
        before = (_last(run) or {"samplers": {}})["samplers"]
        known = {"samplers": before | drawn, "accepted": progress.accepted, "judged": progress.judged}
        write_json(run.store.folder / _RATES, known)


def _rate(last: Mapping[str, Any] | None) -> float | None:
    """Return the share of samples that the last run accepted."""
    return last["accepted"] / last["judged"] if last and last["judged"] else None


def _last(run: RunContext) -> dict[str, Any] | None:
    path = run.store.folder / _RATES
    return dict(orjson.loads(path.read_bytes())) if path.exists() else None
