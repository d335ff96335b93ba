"""`--dry-run`: what a run would do, what it would cost, and what has changed since the last one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from proofmill.data.files import write_json
from proofmill.data.versions import versions
from proofmill.flows.intake import ProblemShard, problem_shards
from proofmill.flows.progress import Progress
from proofmill.flows.session import Session
from proofmill.generators.sampling import SamplePlan, missing_samples


def outlook(session: Session) -> Iterator[str]:
    """Lines that say what the run would do. Reads the problems and samples nothing."""
    shards = problem_shards(session)
    ledger = session.problem_facts["problems"]
    yield f"recipe {session.recipe.name}: {ledger['kept']:,} problems in {len(shards)} shards"
    if ledger["dropped"]:
        yield f"  left out: {ledger['dropped']}"
    if recorded := session.problem_facts["recorded"]["kept"]:
        yield f"  {recorded:,} recorded samples"
    for plan in session.plans:
        yield from _sampler(session, plan, shards)
    yield from changes(session)


def _sampler(session: Session, plan: SamplePlan, shards: list[ProblemShard]) -> Iterator[str]:
    with plan.store(session.home) as store:
        missing = sum(missing_samples(plan, store, session.run.read(shard.problems)) for shard in shards)
    yield f"sampler {plan.name}: {plan.model.name}, {missing:,} of {session.requested:,} samples are still to be drawn"
    last = _last(session)
    if missing and last:
        tokens = int(missing * last["tokens"] / max(last["samples"], 1))
        minutes = tokens / max(last["tokens_per_second"], 1e-9) / 60
        yield f"  about {tokens:,} tokens and {minutes:.1f} minutes, at the rate of the last run"
        if last["judged"]:
            yield f"  about {int(missing * last['accepted'] / last['judged']):,} of them accepted"
    elif missing:
        yield f"  at most {missing * plan.sampling['max_tokens']:,} tokens; no earlier run to estimate from"


def changes(session: Session) -> Iterator[str]:
    """Recipe keys that differ from the newest published version's."""
    known = versions(session.home, session.recipe.name)
    if not known:
        return
    before, now = flat(known[-1].manifest["recipe"]), flat(session.recipe.published())
    differ = sorted(key for key in before.keys() | now.keys() if before.get(key) != now.get(key))
    for key in differ:
        yield f"changed since {known[-1].label}: {key}: {before.get(key)!r} -> {now.get(key)!r}"


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
    """Keeps what this run cost, for the next estimate."""
    if progress.tokens:
        facts = {
            "samples": progress.counters["samples"].done,
            "tokens": progress.tokens,
            "tokens_per_second": progress.tokens_per_second(),
            "accepted": progress.accepted,
            "judged": progress.judged,
        }
        write_json(session.run.folder / "rate.json", facts)


def _last(session: Session) -> dict[str, Any] | None:
    path = session.run.folder / "rate.json"
    return dict(orjson.loads(path.read_bytes())) if path.exists() else None
