"""Tell whether anything is left to do: the digest of all that decides what a run publishes, kept by finished runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import orjson

from proofmill.data.files import current, digest, sha256, write_json
from proofmill.data.run import Step, library_version, source_digest
from proofmill.data.versions import Version, find, versions
from proofmill.filters.catalog import FILTERS
from proofmill.filters.contamination import BENCHMARKS, CONTAMINATION
from proofmill.filters.domains import DOMAINS, find_domain
from proofmill.filters.near_duplicates.duplicates import NEAR_DUPLICATES
from proofmill.filters.verification import VERDICTS
from proofmill.flows import expansion, pipeline, run_inputs, voting
from proofmill.flows.context import Resampling, RunContext, RunRequest
from proofmill.flows.ingest import LEFT, PROBLEMS, RECORDED
from proofmill.flows.model_filters import CLR_JUDGED, CLR_NAMED, JUDGE_ASKED, MODEL_JUDGED, SCORES
from proofmill.flows.near_items import NEAR_ASKED, NEAR_PROBLEMS, NEAR_TRACES
from proofmill.flows.recipe.schema import ActiveFilter
from proofmill.flows.rewriting import REWRITE_ASKED, SHORT_SOLUTIONS, TO_REWRITE
from proofmill.flows.sampling import SAMPLES
from proofmill.flows.topics import TOPIC_ASKED, TOPICS
from proofmill.generators import models

PUBLISH = Step("publish", 2, ("pyarrow", "polars", "transformers"))
"""Its version is raised when publishing the same columns would give other files."""

_FINISHED = "finished.json"

_STEPS = (
    *(PROBLEMS, RECORDED, SAMPLES, BENCHMARKS.step, JUDGE_ASKED, MODEL_JUDGED, CLR_NAMED, CLR_JUDGED, SCORES),
    *(NEAR_ASKED, NEAR_PROBLEMS, NEAR_TRACES, LEFT),
    *expansion.STEPS,
    *(voting.VOTES, voting.LABELS, voting.LABELLED, TOPIC_ASKED, TOPICS, TO_REWRITE, REWRITE_ASKED, SHORT_SOLUTIONS),
    *(pipeline.SELECTION, pipeline.CAPS, pipeline.BALANCE, pipeline.PROMPT_SIGNATURES, pipeline.HOLDOUT, PUBLISH),
)


def step_versions(filters: Iterable[ActiveFilter] = ()) -> dict[str, int]:
    """Return the version of every step, filter and domain, the user's own included."""
    own = {active.filter.name: active.filter.version for active in filters}
    judges = {f"verdicts of {name}": int(find_domain(name).version) for name in DOMAINS}
    return (
        {step.name: step.version for step in _STEPS}
        | {filter_.name: filter_.version for filter_ in FILTERS}
        | judges
        | own
    )


def libraries(filters: Iterable[ActiveFilter] = ()) -> dict[str, str]:
    """Return the version of every library that decides a step's outputs."""
    steps = [*_STEPS, *(filter_.step for filter_ in FILTERS), *(active.filter.step for active in filters)]
    return {name: library_version(name) for step in steps for name in step.libraries}


def source_identities(places: Mapping[str, str]) -> dict[str, str]:
    """Return the source digest of user code at each `package.module:NAME`, by name."""
    return {name: source_digest(place.partition(":")[0]) for name, place in places.items()}


def fingerprint(request: RunRequest) -> str:
    """Return the digest of all that decides what a run publishes; if it is unchanged, there is nothing to do."""
    recipe, dedup = request.recipe, request.recipe.options(NEAR_DUPLICATES)
    named = [sampler.model for sampler in recipe.live]
    sections = (recipe.options(VERDICTS), recipe.options(CONTAMINATION))
    asked, active = recipe.resolved(), recipe.active_filters()
    named += [section["model"] for section in recipe.sections_asked(asked)]
    known = {
        "recipe": recipe.published(),
        "inputs": request.inputs,
        "models": [models.stamp(name) for name in (*named, recipe.publish.student) if name is not None],
        "verifiers": source_identities(sections[0].verifiers),
        "filters": source_identities({own.use: own.use for own in recipe.filters}),
        "previous": run_inputs.version_digests([find(request.home, label) for label in dedup.against]),
        "benchmarks": BENCHMARKS.identity(sections[1]),
        "steps": step_versions(active),
        "libraries": libraries(active),
    }
    return digest(known)


def up_to_date_version(request: RunRequest) -> Version | None:
    """Return the version that a finished run with the same recipe, inputs and code has published."""
    path = request.folder / _FINISHED
    if request.draws_anew or not current(path).exists():
        return None
    published = orjson.loads(path.read_bytes()).get(fingerprint(request))
    matches = (v for v in versions(request.home, request.recipe.name) if _identity(v.label, v.folder) == published)
    return next(matches, None) if published else None


def remember_finished(run: RunContext, version: Mapping[str, Any]) -> None:
    """Record that nothing is left to do for this recipe, these inputs and this code."""
    if not run.request.sample or not run.state.fingerprint:
        return
    Resampling.end(run.store.folder)
    if run.state.unanswered:
        return
    path = run.store.folder / _FINISHED
    finished = orjson.loads(path.read_bytes()) if path.exists() else {}
    identity = _identity(version["version"], Path(version["folder"]))
    write_json(path, finished | {run.state.fingerprint: identity})


def _identity(label: str, folder: Path) -> dict[str, str]:
    """Return what identifies a version: not its label alone, which is given again if its folder is removed."""
    return {"version": label, "manifest": sha256(folder / "manifest.json")}
