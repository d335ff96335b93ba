"""What phases after the judges would ask a model, and what that would cost: estimated from the last run, or bounded.

What is already judged is counted as it stands; of shards that have no samples yet every sample may be asked about.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from proofmill.filters.verdicts import CORRECT
from proofmill.flows.run.session import Session
from proofmill.flows.stages import learning, reliability
from proofmill.flows.stages.intake import ProblemShard
from proofmill.flows.stages.keys import CLR_JUDGED, CLR_NAMED, LEARNING
from proofmill.flows.stages.phases import costs

if TYPE_CHECKING:
    from proofmill.flows.stages.tasks import Judged

_UNKNOWN = "no earlier run to estimate from"


def verifier(session: Session, judged: Sequence[Judged], pending: Sequence[ProblemShard]) -> Iterator[str]:
    """What the model is to judge as its own verifier; nothing where it isn't asked, or all is recorded."""
    plan, options = session.claim_judge, session.recipe.claims.model
    if plan is None or options is None:
        return
    traces = sum(_samples(session, shard, options.k) for shard in pending)
    claims = 0  # of traces whose claims are named already
    for shard in judged:
        unnamed, unjudged = reliability.open_questions(session, plan, options, shard)
        traces, claims = traces + unnamed, claims + unjudged
    if not traces and not claims:
        return
    head = f"verifier {plan.model.name}: " + ("at most " if pending else "")
    named, said = (costs(session, stage) for stage in (CLR_NAMED, CLR_JUDGED))
    if not named or not said:
        tokens = (traces * (1 + options.m) + claims) * options.max_tokens
        yield f"{head}{traces:,} traces to judge by at most {options.m} claims each, {claims:,} claims named already"
        yield f"  at most {tokens:,} tokens written, besides those read; {_UNKNOWN}"
        return
    claims += round(traces * said["answers"] / named["answers"])
    yield f"{head}{traces:,} traces and about {claims:,} claims to judge"
    yield _estimate([(traces, named), (claims, said)])


def student(
    session: Session, judged: Sequence[Judged], pending: Sequence[ProblemShard], rate: float | None
) -> Iterator[str]:
    """What the student is to score; nothing where it isn't asked, or all is recorded.

    Args:
        session: the run.
        judged: shards that have samples.
        pending: shards that have not.
        rate: share of samples that are accepted; None: not known.
    """
    plan = session.scorer
    if plan is None:
        return
    known = learning.known(session, plan)
    unsampled = sum(_samples(session, shard, None) for shard in pending)
    unjudged = sum(shard.samples.rows for shard in judged if not shard.verdicts.file)
    proven = sum(len(_proven(session, shard) - known) for shard in judged if shard.verdicts.file)
    traces = proven + round((unsampled + unjudged) * (1.0 if rate is None else rate))
    if not traces:
        return
    last = costs(session, LEARNING)
    told = "at most" if rate is None and unsampled + unjudged else "about" if unsampled + unjudged else "the"
    yield f"student {plan.model.name}: {told} {traces:,} proven traces to score"
    yield _estimate([(traces, last)]) if last else f"  each is read once, after its prompt; {_UNKNOWN}"


def _proven(session: Session, shard: Judged) -> set[str]:
    names = session.run.read(shard.samples, ["id"])["id"].to_pylist()
    verdicts = session.run.read(shard.verdicts, ["verdict"])["verdict"].to_pylist()
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


def _samples(session: Session, shard: ProblemShard, k: int | None) -> int:
    """Traces that a shard may come to; of each problem and sampler k at most."""
    return shard.recorded.rows + sum(
        shard.asked(plan) * min(plan.rule.ceiling, k or plan.rule.ceiling) for plan in session.plans
    )
