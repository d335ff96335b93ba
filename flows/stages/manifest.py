"""What a version's manifest says: recipe, models, libraries, and a ledger of every stage that balances."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from proofmill.data.files import digest
from proofmill.data.run import Shard, library_version, source_digest
from proofmill.data.schemas import SCHEMA_VERSION
from proofmill.data.versions import VersionWriter
from proofmill.filters.claim_ledger import add_buckets
from proofmill.filters.reliability import prompts_digest
from proofmill.filters.selection import add_ledgers
from proofmill.flows.run import origin
from proofmill.flows.run.previous import INDEX
from proofmill.flows.run.session import Session
from proofmill.flows.stages.drawing import rounds_of
from proofmill.flows.stages.keys import PUBLISH, STAGES, called
from proofmill.flows.stages.voting import at_k
from proofmill.generators.rendering import StudentView
from proofmill.generators.sample_plan import SamplePlan

if TYPE_CHECKING:
    from proofmill.flows.stages.tasks import Judged


def manifest_of(
    session: Session,
    judged: Sequence[Judged],
    marks: Sequence[Shard],
    chosen: Sequence[Shard],
    out: VersionWriter,
    view: StudentView,
) -> dict[str, Any]:
    """What the manifest says of a version, but for its number, its parent and its files."""
    recipe = session.recipe.published()
    index = session.problem_facts
    traces = sum(shard.samples.rows for shard in judged)
    funnel = add_ledgers([shard.facts["ledger"] for shard in chosen])
    verdicts: dict[str, int] = {}
    for shard in judged:
        for name, count in shard.verdicts.facts["verdicts"].items():
            verdicts[name] = verdicts.get(name, 0) + count
    rows: Counter[str] = Counter()
    for config, count in sorted(out.rows.items()):
        if (name := config.partition("/")[0]) != INDEX:  # files beside the configs
            rows[name] += count
    rounds = rounds_of([shard.samples for shard in judged])
    requested = session.requested + index["recorded"]["in"] + sum(facts["later"] for facts in rounds.values())
    return {
        "name": session.recipe.name,
        "version": None,
        "parent": None,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "schema_version": SCHEMA_VERSION,
        "recipe": recipe,
        "recipe_digest": session.recipe.digest(),
        "limit": session.limit,
        "code_version": {"proofmill": library_version("proofmill"), "publish": PUBLISH.key(), "stages": stage_code()},
        "inputs": _inputs(session),
        "seconds": seconds_of(judged, marks, chosen),
        "models": [model_of(plan) for plan in session.plans],
        "engines": session.engine_facts(),
        "libraries": session.fingerprint["libraries"],
        "stages": {
            "problems": index["problems"],
            "samples": {
                "in": requested,
                "kept": traces,
                "dropped": _less(index["recorded"], requested - traces),
            },
            "verdicts": {
                "in": traces,
                "kept": verdicts.get("correct", 0),
                "dropped": {k: v for k, v in sorted(verdicts.items()) if k != "correct"},
            },
            "selection": funnel,
            "publish": {
                "in": funnel["kept"],
                "kept": funnel["kept"],
                "dropped": {},
                "rows": dict(rows),
            },
        },
        "licenses": index["licenses"],
        "sources": index["sources"],
        "terms": [[*key, count] for key, count in sorted(out.terms.items(), key=repr)],
        "recorded_models": index["recorded_models"],
        "tokens": {
            "sampled": sum(shard.samples.facts["tokens"] for shard in judged),
            "longest_row": view.longest,
            "verifier": _sums(shard.clr.facts["asked"] for shard in judged if shard.clr),
        },
        "rounds": rounds,
        "duplicates": sum(shard.facts["duplicates"] for shard in marks),
        "claims_by_length": add_buckets(shard.facts["claims"] for shard in chosen),
        "clr": _verifier(session, judged),
        "at_k": at_k(judged),
        "right_answer_refuted_step": sum(bucket["refuted"] for shard in chosen for bucket in shard.facts["claims"]),
    }


def stage_code() -> dict[str, str]:
    """Digest of each stage's source: it differs where another program wrote the stage's columns."""
    return {stage.name: digest([source_digest(name) for name in stage.code]) for stage in STAGES}


def _inputs(session: Session) -> dict[str, Any]:
    """What came from outside: files by name and digest, hub folders, custom verifiers by their source."""
    named = [called(str(path)) for path in origin.files(session.recipe, session.home)]
    return {
        "files": list(zip(named, session.inputs["files"], strict=True)),
        "hubs": session.inputs["hubs"],
        "verifiers": session.verifier()[0],
        "resampled": session.generation,
    }


def seconds_of(judged: Sequence[Judged], marks: Sequence[Shard], chosen: Sequence[Shard]) -> dict[str, float]:
    """Seconds that each stage's shards took when they were made, in this run or in an earlier one.

    Stages overlap, so the sum is more than the time that went by.
    """
    shards = [shard for item in judged for shard in vars(item).values() if isinstance(shard, Shard)]
    found: dict[str, float] = {}
    for shard in (*shards, *marks, *chosen):
        found[shard.stage] = found.get(shard.stage, 0.0) + shard.facts.get("took", 0.0)
    return {name: round(took, 1) for name, took in found.items()}


def model_of(plan: SamplePlan) -> dict[str, Any]:
    """What the manifest says of a model."""
    model = plan.model
    return {
        "sampler": plan.name,
        "model": model.name,
        "revision": model.revision,
        "weights": model.digest,
        "license": model.license,
        "samples": plan.key(),
    }


def _verifier(session: Session, judged: Sequence[Judged]) -> dict[str, Any] | None:
    """Who judged the claims, how, and how often it answered what; None where no model did."""
    plan, options = session.claim_judge, session.recipe.claims.model
    if plan is None or options is None:
        return None
    counts = _sums(shard.clr.facts["counts"] for shard in judged if shard.clr)
    return {
        "model": plan.model.name,
        "revision": plan.model.revision,
        "weights": plan.model.digest,
        "k": options.k,
        "m": options.m,
        "scope": options.scope,
        "prompts": prompts_digest(),
        "counts": counts,
    }


def _sums(parts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for part in parts:
        total.update(part)
    return dict(sorted(total.items()))


def _less(ledger: Mapping[str, Any], missing: int) -> dict[str, int]:
    """Recorded rows that could not be used by reason; whatever else is missing was never sampled."""
    dropped = dict(ledger["dropped"])
    rest = missing - sum(dropped.values())
    return dropped | ({"not_sampled": rest} if rest else {})
