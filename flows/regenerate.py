"""The main job: problems, samples, what filters say of them, selection, a published version."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.task_runners import ThreadPoolTaskRunner

from proofmill.data.run import Shard
from proofmill.flows import artifacts
from proofmill.flows.cluster import Executor, executor
from proofmill.flows.context import RunRequest, home_folder, open_run
from proofmill.flows.expansion import expand_problems
from proofmill.flows.ingest import ingest_problems
from proofmill.flows.pipeline import held_out_problems, later_steps, prepare
from proofmill.flows.publish import publish
from proofmill.flows.recipe import load as recipes
from proofmill.flows.recipe.schema import Recipe
from proofmill.flows.sampling import SamplingStep, stream_with_backpressure, warm_up
from proofmill.flows.screening import screen_problems
from proofmill.flows.shard_records import ShardRecord
from proofmill.flows.up_to_date import fingerprint, remember_finished


@task(cache_policy=NO_CACHE, task_run_name="annotate-{samples.name}")
def annotated(judges: Executor, problems: Shard, samples: Shard) -> ShardRecord | None:
    """Return a shard's record with the output of every map filter, as a Prefect task; None: it is in quarantine."""
    return judges.annotate(problems, samples)


@flow(name="regenerate", validate_parameters=False, task_runner=ThreadPoolTaskRunner(max_workers=1024))  # type: ignore[arg-type]
def regenerate(
    recipe: Recipe | str = "quickstart",
    home: str | None = None,
    overrides: list[str] | None = None,
    limit: int | None = None,
    resample: bool = False,
    sample: bool = True,
) -> dict[str, Any]:
    """Regenerate a data set: all steps, but only what is missing or out of date.

    Args:
        recipe: a bundled name, the path of a YAML file, or the recipe itself (its mapping, as a recipe file has it;
            Prefect's form is made from its schema, and it is checked here, where errors name the nearest key).
        home: HOME; `$PROOFMILL_HOME` or `./proofmill-home` without it.
        overrides: `a.b=value` each, as `--set`.
        limit: how many problems to take, from the first.
        resample: draw new samples instead of recorded ones.
        sample: draw missing samples; False: publish the recorded ones.

    Returns:
        `version`, `folder`, `new` and the published manifest.

    Raises:
        ProofmillError: what went wrong, where, and what to do next; what is done stays done.
    """
    resolved = recipes.resolve(recipe, overrides or [])
    request = RunRequest(resolved, home_folder(home), limit, resample, sample)
    with open_run(request) as run, executor(run) as judges, artifacts.progress(run.progress, resolved.name):
        run = replace(run, tasks=judges.map)
        run.state.fingerprint = fingerprint(request)  # inputs may change while it goes on
        warm_up(run)
        prepare(run)
        problems = expand_problems(run, screen_problems(run, ingest_problems(run)))
        run.progress.expect("shards judged", len(problems.shards))
        sampled = SamplingStep(run, problems.shards).finished_shards()
        annotations = stream_with_backpressure(run, sampled, partial(annotated.submit, judges), lambda: judges.ahead)
        judges.finish()
        records = sorted(filter(None, annotations), key=lambda record: record.name)
        for step in later_steps(run):  # models that judge or score, then what looks at all shards, then the selection
            records = step.add(run, records)
        run.models.end_engines()
        version = publish(run, problems, records, held_out_problems(run, records))
        remember_finished(run, version)
        artifacts.result(resolved.name, version)
        return version
