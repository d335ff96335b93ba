"""What a run would cost: samples, questions to models, tokens and minutes, estimated from the last run, or bounded.

What is already judged is counted as it stands; of shards that have no samples yet every sample may be asked about.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from math import comb
from typing import Any

import orjson

from proofmill.data.files import write_json
from proofmill.data.samples import SampleStore
from proofmill.filters.model_judge import CANARIES
from proofmill.filters.reliability import RELIABILITY
from proofmill.filters.verdicts import CORRECT
from proofmill.filters.verification import VERDICTS
from proofmill.flows.context import RunContext
from proofmill.flows.display import Progress
from proofmill.flows.ingest import ProblemShard
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
from proofmill.flows.shard_records import ShardRecord
from proofmill.generators.rounds import Rounds
from proofmill.generators.sample_plan import SamplePlan, missing_samples, rendered

_RATES = "rates.json"
_UNKNOWN = "no earlier run to estimate from"


def of_sampler(
    run: RunContext, plan: SamplePlan, first: int, shards: Sequence[ProblemShard], pending: Sequence[ProblemShard]
) -> Iterator[str]:
    """What a sampler is still to draw, and what that costs."""
    of = sum(shard.first_round_samples(plan) for shard in shards)
    yield f"sampler {plan.name}: {plan.model.name}, {first:,} of {of:,} samples are still to be drawn"
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
        yield f"  at most {samples * plan.most_tokens:,} tokens; no earlier run to estimate from"
        return
    yield from _cost(plan, samples, last)
    if rate is not None:
        yield f"  about {int(samples * rate):,} of them accepted"


def _cost(plan: SamplePlan, samples: int, last: Mapping[str, Any]) -> Iterator[str]:
    tokens = int(samples * last["tokens"] / max(last["samples"], 1))
    minutes = tokens / max(last["tokens_per_second"], 1e-9) / 60
    yield f"  about {tokens:,} tokens and {minutes:.1f} minutes, at the rate of the last run"
    if plan.max_total_tokens is not None and tokens > plan.max_total_tokens:
        yield f"  max_total_tokens ends it at {plan.max_total_tokens:,} tokens, so with fewer samples"


def open_samples(run: RunContext, plan: SamplePlan, pending: Sequence[ProblemShard]) -> int:
    """Samples of the first rounds that a run has to draw for shards that are not finished."""
    if not pending:  # nothing to look up, and another run may be holding the store
        return 0
    if run.request.draws_anew:
        return sum(shard.first_round_samples(plan) for shard in pending)
    with plan.store(run.home) as store:
        return sum(missing_samples(plan, store, run.store.read(shard.problems)) for shard in pending)


def _later(run: RunContext, plan: SamplePlan, pending: Sequence[ProblemShard], rate: float | None) -> int:
    """Samples of later rounds, less the recorded ones: expected at an acceptance, without one at most."""
    if plan.rounds is None or not pending:
        return 0
    each = plan.rounds.ceiling - plan.n if rate is None else later_samples(plan.rounds, rate)
    wanted = round(each * sum(shard.problems_sampled_by(plan) for shard in pending))
    if run.request.draws_anew:
        return wanted
    with plan.store(run.home) as store:
        return max(0, wanted - sum(_recorded_later(run, plan, store, shard) for shard in pending))


def _recorded_later(run: RunContext, plan: SamplePlan, store: SampleStore, shard: ProblemShard) -> int:
    prompts = {prompt for prompt, _ in rendered(plan, run.store.read(shard.problems)).values()}
    return sum(index >= plan.n for _, index in store.have(prompts))


def later_samples(rounds: Rounds, rate: float) -> float:
    """Samples that a problem is expected to get after its first round, if each one is accepted with the same chance.

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


def of_answer_judge(run: RunContext, records: Sequence[ShardRecord], pending: Sequence[ProblemShard]) -> Iterator[str]:
    """What a model is to judge where rules end; nothing where it isn't asked, or all is recorded."""
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
    told = "at most " if unknown else ""
    yield f"judge {plan.model.name}: {told}{questions:,} questions, and {2 * len(CANARIES)} planted ones"
    tokens = questions * options.max_tokens
    yield _estimate([(questions, last)]) if last and questions else f"  at most {tokens:,} tokens written; {_UNKNOWN}"


def of_claim_judge(run: RunContext, records: Sequence[ShardRecord], pending: Sequence[ProblemShard]) -> Iterator[str]:
    """What the model is to judge as its own verifier; nothing where it isn't asked, or all is recorded."""
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
    named, said = (costs(run, step) for step in (CLR_NAMED, CLR_JUDGED))
    if not named or not said:
        tokens = (traces * (1 + options.m) + claims) * options.max_tokens
        yield f"{head}{traces:,} traces to judge by at most {options.m} claims each, {claims:,} claims named already"
        yield f"  at most {tokens:,} tokens written, besides those read; {_UNKNOWN}"
        return
    claims += round(traces * said["answers"] / named["answers"])
    yield f"{head}{traces:,} traces and about {claims:,} claims to judge"
    yield _estimate([(traces, named), (claims, said)])


def of_student(run: RunContext, records: Sequence[ShardRecord], pending: Sequence[ProblemShard]) -> Iterator[str]:
    """What the student is to score; nothing where it isn't asked, or all is recorded.

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
    told = "at most" if rate is None and unsampled + unjudged else "about" if unsampled + unjudged else "the"
    yield f"student {plan.model.name}: {told} {traces:,} proven traces to score"
    yield _estimate([(traces, last)]) if last else f"  each is read once, after its prompt; {_UNKNOWN}"


def _proven(run: RunContext, record: ShardRecord) -> set[str]:
    names = run.store.read(record.samples, ["id"])["id"].to_pylist()
    verdicts = run.store.read(record.outputs["verdicts"], ["verdict"])["verdict"].to_pylist()
    return {name for name, verdict in zip(names, verdicts, strict=True) if verdict == CORRECT}


def _estimate(parts: Sequence[tuple[int, Mapping[str, Any]]]) -> str:
    """What so many questions of each kind cost, if each costs what it did in the last run."""
    total = {
        name: sum(count * last[name] / last["answers"] for count, last in parts)
        for name in ("prompt_tokens", "completion_tokens", "seconds")
    }
    return (
        f"  about {round(total['prompt_tokens']):,} tokens read, {round(total['completion_tokens']):,} written and "
        f"{total['seconds'] / 60:.1f} minutes, at the rate of the last run"
    )


def _samples(run: RunContext, shard: ProblemShard, k: int | None) -> int:
    """Traces that a shard may come to; of each problem and sampler k at most."""
    return shard.recorded.rows + sum(
        shard.problems_sampled_by(plan) * min(plan.rule.ceiling, k or plan.rule.ceiling) for plan in run.models.plans
    )


def remember_rate(run: RunContext, progress: Progress) -> None:
    """Keeps what this run cost, for the next estimate; of a sampler that drew nothing, what it cost last."""
    drawn = {
        name: {"samples": done.samples, "tokens": done.tokens, "tokens_per_second": done.tokens_per_second()}
        for name, done in progress.samplers.items()
        if done.tokens
    }
    if drawn:
        before = (_last(run) or {"samplers": {}})["samplers"]
        known = {"samplers": before | drawn, "accepted": progress.accepted, "judged": progress.judged}
        write_json(run.store.folder / _RATES, known)


def _rate(last: Mapping[str, Any] | None) -> float | None:
    """Share of samples that the last run accepted."""
    return last["accepted"] / last["judged"] if last and last["judged"] else None


def _last(run: RunContext) -> dict[str, Any] | None:
    path = run.store.folder / _RATES
    return dict(orjson.loads(path.read_bytes())) if path.exists() else None
