"""`--dry-run`: what a run would do, what it would cost, and what has changed since the last one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from math import comb
from typing import Any

import orjson

from proofmill.data.files import write_json
from proofmill.data.samples import SampleStore
from proofmill.data.versions import Version, versions
from proofmill.flows.run.progress import Progress
from proofmill.flows.run.session import Session
from proofmill.flows.stages.intake import ProblemShard, problem_shards
from proofmill.flows.stages.manifest import stage_code
from proofmill.generators.rounds import Rounds
from proofmill.generators.sample_plan import SamplePlan, missing_samples, rendered

_RATES = "rates.json"
_NAMED = 3  # changed fields that a run names in its first line


def outlook(session: Session) -> Iterator[str]:
    """Lines that say what the run would do. Reads the problems and samples nothing; imports Prefect."""
    from proofmill.flows.changes import asking
    from proofmill.flows.changes.ahead import look_ahead

    ahead = look_ahead(session)
    shards = problem_shards(session)
    ledger = session.problem_facts["problems"]
    yield f"recipe {session.recipe.name}: {ledger['kept']:,} problems in {len(shards)} shards"
    if ledger["dropped"]:
        yield f"  left out: {ledger['dropped']}"
    if recorded := session.problem_facts["recorded"]["kept"]:
        yield f"  {recorded:,} recorded samples"
    for plan in session.plans:
        yield from _sampler(session, plan, ahead.samples[plan.name], shards, ahead.pending)
    yield from asking.verifier(session, ahead.judged, ahead.pending)
    yield from asking.student(session, ahead.judged, ahead.pending, _rate(_last(session)))
    yield from changes(session)
    yield ahead.line()


def news(session: Session) -> Iterator[str]:
    """What an opened session's run does again, in a line; none for a first run. Imports Prefect."""
    from proofmill.flows.changes.ahead import look_ahead

    if known := versions(session.home, session.recipe.name):
        fields = differing(session, known[-1])
        rest = len(fields) - _NAMED
        more = [f"{rest} more field{'s' * (rest > 1)}"] if rest > 0 else []
        changed = ", ".join([*fields[:_NAMED], *more, *code_changes(known[-1])]) or "nothing of the recipe"
        yield f"changed since {known[-1].label}: {changed}; {look_ahead(session).line()}"


def _sampler(
    session: Session, plan: SamplePlan, first: int, shards: Sequence[ProblemShard], pending: Sequence[ProblemShard]
) -> Iterator[str]:
    of = sum(shard.requested(plan) for shard in shards)
    yield f"sampler {plan.name}: {plan.model.name}, {first:,} of {of:,} samples are still to be drawn"
    known = _last(session)
    rate = _rate(known)
    last = known["samplers"].get(plan.name) if known else None
    later = _later(session, plan, pending, rate)
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


def open_samples(session: Session, plan: SamplePlan, pending: Sequence[ProblemShard]) -> int:
    """Samples of the first rounds that a run has to draw for shards that are not finished."""
    if not pending:  # nothing to look up, and another run may be holding the store
        return 0
    if session.anew:
        return sum(shard.requested(plan) for shard in pending)
    with plan.store(session.home) as store:
        return sum(missing_samples(plan, store, session.run.read(shard.problems)) for shard in pending)


def _later(session: Session, plan: SamplePlan, pending: Sequence[ProblemShard], rate: float | None) -> int:
    """Samples of later rounds, less the recorded ones: expected at an acceptance, without one at most."""
    if plan.rounds is None or not pending:
        return 0
    each = plan.rounds.ceiling - plan.n if rate is None else later_samples(plan.rounds, rate)
    wanted = round(each * sum(shard.asked(plan) for shard in pending))
    if session.anew:
        return wanted
    with plan.store(session.home) as store:
        return max(0, wanted - sum(_recorded_later(session, plan, store, shard) for shard in pending))


def _recorded_later(session: Session, plan: SamplePlan, store: SampleStore, shard: ProblemShard) -> int:
    prompts = {prompt for prompt, _ in rendered(plan, session.run.read(shard.problems)).values()}
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


def changes(session: Session) -> Iterator[str]:
    """Recipe keys that differ from the newest published version's."""
    for known in versions(session.home, session.recipe.name)[-1:]:
        for field in (*differing(session, known), *code_changes(known)):
            yield f"changed since {known.label}: {field}"


def code_changes(known: Version) -> Iterator[str]:
    """The stages that a version was made by other code of."""
    before: Mapping[str, str] = known.manifest["code_version"].get("stages", {})
    if changed := [stage for stage, now in stage_code().items() if before.get(stage, now) != now]:
        yield f"proofmill's code of {', '.join(changed)}"


def differing(session: Session, known: Version) -> list[str]:
    """Recipe keys that differ from a version's, with both values."""
    before, now = flat(known.manifest["recipe"]), flat(session.recipe.published())
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


def remember_rate(session: Session, progress: Progress) -> None:
    """Keeps what this run cost, for the next estimate; of a sampler that drew nothing, what it cost last."""
    drawn = {
        name: {"samples": done.samples, "tokens": done.tokens, "tokens_per_second": done.tokens_per_second()}
        for name, done in progress.samplers.items()
        if done.tokens
    }
    if drawn:
        before = (_last(session) or {"samplers": {}})["samplers"]
        facts = {"samplers": before | drawn, "accepted": progress.accepted, "judged": progress.judged}
        write_json(session.run.folder / _RATES, facts)


def _rate(last: Mapping[str, Any] | None) -> float | None:
    """Share of samples that the last run accepted."""
    return last["accepted"] / last["judged"] if last and last["judged"] else None


def _last(session: Session) -> dict[str, Any] | None:
    path = session.run.folder / _RATES
    return dict(orjson.loads(path.read_bytes())) if path.exists() else None
