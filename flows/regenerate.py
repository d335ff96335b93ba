"""The main job: problems, samples, verdicts, marks, selection, a published version."""

from __future__ import annotations

from typing import Any

from prefect import flow
from prefect.task_runners import ThreadPoolTaskRunner

from proofmill.flows.recipe import file as recipes
from proofmill.flows.recipe.schema import Recipe
from proofmill.flows.run import artifacts
from proofmill.flows.run.session import home_folder, session_for
from proofmill.flows.stages import balance, learning
from proofmill.flows.stages import tasks as stages
from proofmill.flows.stages.backlog import paced
from proofmill.flows.stages.drawing import warm_up
from proofmill.flows.stages.publishing import Gathered
from proofmill.flows.stages.reliability import reliability
from proofmill.flows.stages.voting import agreed


@flow(name="regenerate", validate_parameters=False, task_runner=ThreadPoolTaskRunner(max_workers=4))  # type: ignore[arg-type]
def regenerate(
    recipe: Recipe | str = "quickstart",
    home: str | None = None,
    overrides: list[str] | None = None,
    limit: int | None = None,
    resample: bool = False,
    sample: bool = True,
) -> dict[str, Any]:
    """Regenerates a data set: all stages, only what is missing or out of date.

    Args:
        recipe: a bundled name, the path of a YAML file, or the recipe itself (its mapping, as a recipe file has it;
            Prefect's form is made from its schema, and it is checked here, where errors name the nearest key).
        home: HOME; `$PROOFMILL_HOME` or `./proofmill-home` without it.
        overrides: `a.b=value` each, as `--set`.
        limit: the first so many problems only.
        resample: draw new samples instead of recorded ones.
        sample: draw what is missing; False: publish what is recorded.

    Returns:
        `version`, `folder`, `new` and the published manifest.

    Raises:
        ProofmillError: what went wrong, where, and what to do next; what is done stays done.
    """
    resolved = recipes.of(recipe, overrides or [])
    shown = artifacts.progress(resolved.name)
    with shown, session_for(resolved, home_folder(home), limit, resample, sample) as session:
        warm_up(session)
        benchmarks = stages.benchmarks(session)
        shards = stages.problems(session)
        judging: list[tuple[Any, ...]] = []
        for problems, samples in paced(session, stages.samples(session, shards), judging):
            verdicts = stages.verdicts.submit(session, problems, samples)
            shard: tuple[Any, ...] = (session, problems, samples, verdicts)  # Prefect hands on a future's result
            claims, audit = stages.claims.submit(*shard), stages.audit.submit(*shard)
            quality = stages.quality.submit(*shard)
            overlaps = stages.contamination.submit(session, problems, samples, benchmarks)
            signatures = stages.signatures.submit(session, samples)
            judging.append((problems, samples, verdicts, claims, audit, quality, overlaps, signatures))
        judged = agreed(session, reliability(session, stages.in_order(judging)))
        judged = learning.scored(session, judged)
        session.end_engines()
        marks = stages.near_duplicates(session, judged)
        usual = learning.buckets(session, judged)
        offered = [stages.selected.submit(session, *item, usual) for item in zip(judged, marks, strict=True)]
        offers = [offer.result() for offer in offered]
        limits = balance.limits(session, offers)
        chosen = [balance.balanced.submit(session, offer, limits) for offer in offers]
        gathered = Gathered(marks, benchmarks, balance.holdout(session, judged))
        version = stages.published(session, judged, [choice.result() for choice in chosen], gathered)
        session.finished(version)
        artifacts.result(resolved.name, version)
        return version
