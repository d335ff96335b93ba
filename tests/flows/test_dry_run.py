"""What a run says before it runs: which steps are done again, what it samples, and what that is estimated to cost."""

from __future__ import annotations

import io
import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Any

import orjson
import pytest
from rich.console import Console

from proofmill.data.errors import UsageError
from proofmill.data.files import write_json
from proofmill.data.schemas import SAMPLES
from proofmill.data.versions import find, versions
from proofmill.filters.verification import VERDICTS
from proofmill.flows.commands import regenerate as commands
from proofmill.flows.context import RunContext, RunRequest, open_run
from proofmill.flows.display import Progress
from proofmill.flows.dry_run import (
    DryRun,
    code_changes,
    differing_fields,
    dry_run,
    later_samples,
    remember_rate,
    report,
    summary_line,
)
from proofmill.flows.ingest import ingest_problems
from proofmill.flows.recipe import load as recipe_file
from proofmill.flows.up_to_date import up_to_date_version
from proofmill.generators.rounds import Rounds
from proofmill.generators.sample_plan import SamplePlan, rendered
from support.samples import replay_recipe, sums, write_jsonl

Row = dict[str, Any]
Run = Callable[..., Row]
RATE = {"samples": 12, "tokens": 240, "tokens_per_second": 4.0}


@pytest.fixture(scope="module")
def published(regenerate: Run, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Row]:
    """A HOME with one version of a replay, and its recipe."""
    folder = tmp_path_factory.mktemp("outlook")
    recipe = replay_recipe(write_jsonl(folder / "samples.jsonl", sums()))
    regenerate(recipe, folder / "home")
    return folder / "home", recipe


def ahead(recipe: Row, home: Path) -> DryRun:
    with open_run(RunRequest(recipe_file.parse(recipe), home)) as run:
        return dry_run(run)


def committed(home: Path) -> dict[str, int]:
    """Files by step: what a run makes shows in it."""
    stages = {path.parent for path in (home / "runs" / "replayed").glob("*/*.*") if path.suffix != ".jsonl"}
    return {path.name: len(list(path.iterdir())) for path in stages}


# --- which steps ------------------------------------------------------------------------------------

BY_SHARD = ["guess_rates", "quality", "contaminated_problems", "contamination", "signatures"]
ANNOTATED = ["verdicts", "claims", "audit", *BY_SHARD, "luck"]
AFTER_VERDICTS = ["claims", "audit", "quality", "luck", "near_duplicates", "selection"]


@pytest.mark.parametrize(
    ("change", "again", "at_most"),
    [
        ({"select": {"max_per_problem": 1}}, ["selection"], []),
        ({"select": {"max_per_problem": 1, "max_total_tokens": 900}}, ["selection"], ["caps", "balance"]),
        ({"select": {"holdout": 0.5}}, ["prompt_signatures"], ["holdout"]),
        ({"verify": {"cpu_seconds": 4.0}}, ["verdicts"], AFTER_VERDICTS),
    ],
)
def test_the_steps_that_run_again_are_those_that_are_named(
    regenerate: Run, published: tuple[Path, Row], tmp_path: Path, change: Row, again: list[str], at_most: list[str]
) -> None:
    home = tmp_path / "home"
    shutil.copytree(published[0], home)
    recipe = published[1] | change
    said = ahead(recipe, home)
    assert said.again == [*again, "publish"]
    assert said.at_most == at_most
    assert said.line().endswith("nothing is sampled")

    before = committed(home)
    regenerate(recipe, home)
    made = {stage for stage, files in committed(home).items() if files > before.get(stage, 0)}
    assert set(again) <= made <= {*again, *at_most}, "said before, and done"
    assert ahead(recipe, home).again == ["publish"]


def test_a_changed_problem_source_runs_all_steps_again(published: tuple[Path, Row], tmp_path: Path) -> None:
    recipe = replay_recipe(write_jsonl(tmp_path / "more.jsonl", sums(7)))
    said = ahead(recipe, published[0])
    assert said.again == ["problems", "samples", "publish"]
    assert said.at_most == [*ANNOTATED, "near_duplicates", "selection"]


def test_a_run_names_changed_fields_and_steps_in_one_line(published: tuple[Path, Row], tmp_path: Path) -> None:
    same = RunRequest(recipe_file.parse(published[1]), published[0])
    assert up_to_date_version(same), "nothing changed, nothing done"
    changed = recipe_file.parse(published[1] | {"select": {"max_per_problem": 2}})
    with open_run(RunRequest(changed, published[0])) as run:
        assert list(summary_line(run)) == [
            "changed since replayed@v1: select.max_per_problem: 4 -> 2; "
            "runs again: selection, publish; nothing is sampled"
        ]
        assert list(report(run))[-2:] == [
            "changed since replayed@v1: select.max_per_problem: 4 -> 2",
            "runs again: selection, publish; nothing is sampled",
        ]
    benchmarked = recipe_file.parse(published[1] | {"decontaminate": {"against": ["aime.jsonl"]}})
    (named,) = differing_fields(benchmarked, versions(published[0], "replayed")[-1])
    assert named == "decontaminate.against.0.source: None -> 'aime.jsonl'"
    other = find(published[0], "replayed@v1")
    older = {key: value for key, value in other.manifest.recipe.items() if key != "train"}
    older = replace(other, manifest=other.manifest.replaced(recipe=older))
    assert differing_fields(same.recipe, older) == [], "a section that is younger than the version"
    code = other.manifest.to_json()["code_version"]
    code["steps"]["verdicts"] = 0
    other = replace(other, manifest=other.manifest.replaced(code_version=code))
    assert list(code_changes(other)) == [f"proofmill's code of verdicts 0 -> {VERDICTS.version}"]
    with open_run(RunRequest(changed, tmp_path / "elsewhere")) as run:
        assert list(summary_line(run)) == [], "nothing to compare a first run with"


# --- what it costs ----------------------------------------------------------------------------------


def live(**sampling: Any) -> Row:
    """A recipe with a live sampler, which nothing here loads."""
    args = {"min_terms": 2, "max_terms": 2, "min_digits": 1, "max_digits": 2}
    source = {"kind": "procedural", "task": "basic_arithmetic", "domain": "math", "count": 8, "args": args, "seed": 3}
    sampler = {"model": "bundled", "sampling": {"n": 4, "max_tokens": 32, **sampling}}
    return {"name": "live", "problems": {"sources": [source]}, "samplers": [sampler]}


@pytest.fixture
def opened(home: Path) -> Iterator[RunContext]:
    recipe = live(accept_target=3, max_samples=10, round=3)
    with open_run(RunRequest(recipe_file.parse(recipe), home)) as run:
        yield run


def record(run: RunContext, samples: int) -> int:
    """Records some samples of the first shard's problems, as a probe would; how many problems that are."""
    plan: SamplePlan = run.models.plans[0]
    table = run.store.read(ingest_problems(run).shards[0].problems)
    with plan.store(run.home) as store:
        journal = store.journal("probe")
        for name, _ in rendered(plan, table).values():
            for index in range(samples):
                journal.append(sample(name, index))
        store.seal("probe", journal)
    return table.num_rows


def sample(prompt: str, index: int) -> Row:
    known = {"prompt_digest": prompt, "sample_index": index, "response": "7", "finish_reason": "stop"}
    return dict.fromkeys(SAMPLES.names) | known


@pytest.mark.slow
def test_bounds_become_an_estimate_once_something_was_sampled(opened: RunContext) -> None:
    run = opened
    said = list(report(run))
    assert f"sampler self: {run.models.plans[0].model.name}, 32 of 32 samples are still to be drawn" in said
    assert "  and at most 48 in later rounds; no earlier run to estimate from" in said
    assert "  at most 2,560 tokens; no earlier run to estimate from" in said
    assert said[-1].endswith("to be drawn: 32 samples by self")

    problems = record(run, samples=6)  # two each beyond the first round
    rate = {"samplers": {"self": RATE}, "accepted": 6, "judged": 12}
    write_json(run.store.folder / "rates.json", rate)
    said = list(report(run))
    first = 32 - 4 * problems
    later = round(8 * later_samples(Rounds(4, 3, 10, 3), 0.5)) - 2 * problems
    assert 0 < problems < 8
    assert later > 0
    assert f"sampler self: {run.models.plans[0].model.name}, {first} of 32 samples are still to be drawn" in said
    assert f"  and about {later} in later rounds: an estimate that has every sample accepted at 50%" in said
    tokens = 20 * (first + later)
    assert f"  about {tokens:,} tokens and {tokens / 240:.1f} minutes, at the rate of the last run" in said
    assert f"  about {(first + later) // 2} of them accepted" in said
    assert said[-1].endswith(f"to be drawn: {first} samples by self")


def prompts_of(run: RunContext) -> list[str]:
    return [prompt for s in ingest_problems(run).shards for prompt in run.store.read(s.problems)["prompt"].to_pylist()]


@pytest.mark.slow
def test_each_sampler_is_estimated_by_its_own_last_run(home: Path) -> None:
    other = {"name": "other", "model": "bundled", "sampling": {"n": 2, "max_tokens": 80, "temperature": 0.1}}
    teacher = {"sampler": "other", "price": 1000.0, "prompt_price": 500.0, "max_cost": 1.5}
    recipe = live() | {"route": {"price": 0.0, "teachers": [teacher]}}
    recipe["samplers"] = [*recipe["samplers"], other]
    with open_run(RunRequest(recipe_file.parse(recipe), home)) as run:
        said = list(report(run))
        read = round(16 * mean(len(prompt) for prompt in prompts_of(run)) / 4)
        most = f"  at most {1.28 + read / 2000:.4g} of money, {read / 2000:.4g} of it for about {read:,} prompt tokens"
        assert most in said, "a teacher's prompts are paid for too"
        progress = Progress()
        progress.expect_samplers(["self", "other"])
        for name, tokens, samples in (("self", 20, 12), ("other", 70, 3)):
            progress.sampling(name, samples)
            progress.engine_ready("ready")
            for _ in range(samples):
                progress.sampled(tokens, 60)
            progress.drawn.earlier = 5.0
        remember_rate(run, progress)
        said = list(report(run))
        own = said.index(f"sampler other: {run.models.plans[1].model.name}, 16 of 16 samples are still to be drawn")
        assert said[own + 2].startswith("  about 1,120 tokens and 0.4 minutes")
        assert said[own + 3] == "  about 1.6 of money, 0.48 of it for about 960 prompt tokens"
        assert said[own + 4] == "  max_cost ends it at 1.5 of money, so with fewer samples", "its prompts tip the scale"
        remember_rate(run, again := Progress())
        again.sampling("self", 1)
        again.sampled(40)
        remember_rate(run, again)
        assert set(orjson.loads((run.store.folder / "rates.json").read_bytes())["samplers"]) == {"self", "other"}


def test_what_a_model_is_asked_later_is_bounded_then_estimated(home: Path) -> None:
    recipe = live() | {"claims": {"model": {"k": 3, "m": 2, "max_tokens": 50}}, "quality": {"learning": {}}}
    with open_run(RunRequest(recipe_file.parse(recipe), home)) as run:
        name = run.models.plans[0].model.name
        said = list(report(run))
        assert f"verifier {name}: at most 24 traces to judge by at most 2 claims each, 0 claims named already" in said
        assert "  at most 3,600 tokens written, besides those read; no earlier run to estimate from" in said
        assert f"student {name}: at most 32 proven traces to score" in said
        assert "  each is read once, after its prompt; no earlier run to estimate from" in said

        def remember(stage: str, answers: int, read: int, written: int, seconds: float) -> None:
            costs = {"answers": answers, "prompt_tokens": read, "completion_tokens": written, "seconds": seconds}
            write_json(run.store.folder / f"asked-{stage}.json", costs)

        remember("clr_named", 10, 1000, 500, 60.0)
        remember("clr_judged", 15, 1500, 300, 30.0)
        remember("learning", 4, 400, 0, 12.0)
        rate = {"samplers": {"self": RATE}, "accepted": 6, "judged": 12}
        write_json(run.store.folder / "rates.json", rate)
        said = list(report(run))
        assert f"verifier {name}: at most 24 traces and about 36 claims to judge" in said
        assert "  about 6,000 tokens read, 1,920 written and 3.6 minutes, at the rate of the last run" in said
        assert f"student {name}: about 16 proven traces to score" in said
        assert "  about 1,600 tokens read, 0 written and 0.8 minutes, at the rate of the last run" in said


def test_a_probe_and_a_run_say_what_is_ahead(published: tuple[Path, Row], tmp_path: Path, prefect_server: str) -> None:
    home, told = tmp_path / "home", io.StringIO()
    shutil.copytree(published[0], home)
    changed = recipe_file.parse(published[1] | {"select": {"max_per_problem": 1}})
    out = Console(file=told, width=200)
    commands.probe(changed, str(home), 2, None, out, alone=True)
    assert "recipe replayed: 6 problems in" in told.getvalue()
    assert "runs again: selection, publish; nothing is sampled" in told.getvalue()

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PREFECT_API_URL", prefect_server)
        commands.run(changed, str(home), None, False, out)
    said = "4 -> 1; runs again: selection, publish; nothing is sampled"
    assert told.getvalue().index(said) < told.getvalue().index("published replayed@v2")


@pytest.mark.parametrize("rate", [0.0, 0.2, 0.5, 0.9, 1.0])
def test_later_rounds_are_what_the_rule_draws_on_average(rate: float) -> None:
    rule, chance, problems = Rounds(4, 3, 16, 3), random.Random(7), 4000

    def drawn() -> int:
        sampled, accepted, more = 0, 0, rule.first
        while more:
            accepted += sum(chance.random() < rate for _ in range(more))
            sampled += more
            more, _ = rule.more(sampled, accepted)
        return sampled - rule.first

    mean = sum(drawn() for _ in range(problems)) / problems
    assert later_samples(rule, rate) == pytest.approx(mean, abs=0.2)


def test_a_dry_run_of_new_samples_says_so_and_changes_nothing(published: tuple[Path, Row]) -> None:
    home, recipe = published

    def kept() -> list[bytes]:
        return [path.read_bytes() for path in sorted(home.rglob("resampled.json"))]

    before, out = kept(), io.StringIO()
    commands.dry(recipe_file.parse(recipe), str(home), None, True, Console(file=out))
    assert "Nothing would be done" not in out.getvalue()
    assert kept() == before


def test_a_part_can_not_be_drawn_anew(published: tuple[Path, Row]) -> None:
    home, recipe = published
    with (
        pytest.raises(UsageError, match="sampled anew"),
        open_run(RunRequest(recipe_file.parse(recipe), home, 2, True)),
    ):
        pass
