"""`proofmill regenerate`: the flow with a display in front and a funnel table at the end."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from proofmill.data.card import funnel_by_operator
from proofmill.data.errors import EngineError, UsageError
from proofmill.data.files import address
from proofmill.data.manifest import Manifest
from proofmill.filters.reliability import CLAIM_STATUSES
from proofmill.flows import dry_run
from proofmill.flows.context import RunRequest, check_home, home_folder, open_run
from proofmill.flows.display import Progress, listed, shown, typed
from proofmill.flows.dry_run import remember_rate
from proofmill.flows.expansion import expand_problems
from proofmill.flows.ingest import ingest_problems
from proofmill.flows.pipeline import annotate_shard
from proofmill.flows.prefect_server import server
from proofmill.flows.recipe.schema import Recipe
from proofmill.flows.sampling import SamplingStep, warm_up
from proofmill.flows.screening import screen_problems
from proofmill.flows.up_to_date import up_to_date_version


def run(recipe: Recipe, home: str | None, limit: int | None, resample: bool, out: Console) -> None:
    """Run the flow, unless a finished run has already published this; then print the result.

    Raises:
        EngineError: a teacher could not be asked; what it did not get is counted, and all else is published.
    """
    request = RunRequest(recipe, home_folder(home), limit, resample)
    check_home(request)
    if version := up_to_date_version(request):
        out.print(f"Nothing to do: [bold]{version.label}[/] already holds this recipe's result.")
        out.print(f"  {address(version.folder)}", soft_wrap=True)
        return
    started = time.monotonic()
    progress = Progress()
    with shown(progress, f"proofmill regenerate {recipe.name}", out):
        result = _flow(request, progress, home, out)
    summary(result, progress, time.monotonic() - started, home, out)
    _check_teachers(result)


def _check_teachers(result: Mapping[str, Any]) -> None:
    """Raise where problems wait for a teacher, so that no script takes the version for the whole."""
    route = result["manifest"].route
    if route and route.waiting:
        raise EngineError(
            f"Teachers could not be asked, so problems wait: {route.waiting}.",
            where=f"{result['version']}, which is published without them",
            remedy="see the warnings, put the teacher right, then run the same command again: it asks about these "
            "problems alone, and publishes a version with them",
        )


def _flow(request: RunRequest, progress: Progress, home: str | None, out: Console) -> dict[str, Any]:
    """Return the flow in a run that is open already, so that its engine begins to load before Prefect does."""
    with open_run(request, progress) as opened:
        warm_up(opened)
        progress.note("starting Prefect")
        with server(request.home):
            from proofmill.flows.regenerate import regenerate

            for line in dry_run.summary_line(opened):
                out.print(line, highlight=False, markup=False, soft_wrap=True)
            result: dict[str, Any] = regenerate(
                recipe=request.recipe, home=home, limit=request.limit, resample=request.resample
            )
        remember_rate(opened, progress)
        return result


def summary(result: Mapping[str, Any], progress: Progress, seconds: float, home: str | None, out: Console) -> None:
    """Print the funnel, and what to type next."""
    manifest: Manifest = result["manifest"]
    out.print(funnel(manifest))
    if manifest.expansion:
        out.print(operator_funnel(manifest))
    where = address(Path(result["folder"]))
    state = "published" if result["new"] else "unchanged, so not written again:"
    out.print(f"{state} [bold]{result['version']}[/] in {seconds:.0f} s  {where}", soft_wrap=True)
    for name, drawn in progress.samplers.items():
        if drawn.tokens:
            who = f"sampler {name}: " if len(progress.samplers) > 1 else ""
            out.print(f"{who}sampled {drawn.tokens:,} tokens at {drawn.tokens_per_second():.0f} tokens/s", markup=False)
    if count := manifest.right_answer_refuted_step:
        correct = manifest.stages["verdicts"].kept
        out.print(f"right answer, refuted step: {count:,} of {correct:,} accepted traces (see the config `claims`)")
    for line in claim_lines(manifest):
        out.print(line, highlight=False, soft_wrap=True)
    if guessable := manifest.luck.get("guessable"):
        guesses, lucky = manifest.luck["guesses"], manifest.stages["selection"].dropped.get("lucky", 0)
        out.print(
            f"guessable answers: {guessable:,.0f} right ones, about {guesses:,.0f} by luck; {lucky:,} dropped as lucky"
        )
    for line in (*routing_lines(manifest), *preference_lines(manifest)):
        out.print(line, highlight=False, soft_wrap=True)
    for line in judge_lines(manifest):
        out.print(line, markup=False)
    for warning in progress.warnings:
        out.print(f"[yellow]warning:[/] {escape(warning)}", soft_wrap=True)
    out.print(f"next: [bold]{escape(typed('show', result['version'], home=home))}[/]", soft_wrap=True)


def judge_lines(manifest: Manifest) -> Iterator[str]:
    """Yield what models judged where rules end, compared with benchmarks, named and condensed."""
    if judge := manifest.answer_judge:
        told = listed(judge.counts) or "none"
        yield f"judged by {judge.model} where rules end: {judge.share:.1%} of all verdicts ({told})"
    if near := manifest.near_judge:
        yield f"problems near a benchmark's item, by {near.model}: {listed(near.counts) or 'none was near'}"

    if topics := manifest.topics:
        yield f"topics by {topics.model}: {listed(topics.counts) or 'no problem was solved'}"
    if short := manifest.rewritings:
        left_out = f"; left out: {listed(short.tries.dropped)}" if short.tries.dropped else ""
        yield (
            f"short solutions by {short.model}: of {short.used:,} of {short.traces:,} traces; {short.tries.kept:,} of "
            f"{short.tries.entered:,} tries are sound{left_out}; {short.completion_tokens:,} tokens written"
        )


def routing_lines(manifest: Manifest) -> Iterator[str]:
    """Yield what share the small model carries, and what the models cost together beside the dearest alone."""
    if not (found := manifest.route):
        return
    small, *teachers = found.models
    told = ", ".join(f"{t.sampler} {t.answers:,} of {t.tried:,} that went on" for t in teachers)
    share = f" ({small.answers / found.proven:.0%})" if found.proven else ""
    yield (
        f"routing: {found.proven:,} of {found.problems:,} problems proven; {small.sampler} answers "
        f"{small.answers:,}{share}, {told}"
    )
    beside = f"; the dearest teacher alone: about {found.large_alone:.4g}" if found.large_alone is not None else ""
    yield f"  cost {found.cost:.4g}{beside}, for as many proven problems"
    if found.waiting:
        yield f"  problems that wait for a teacher which could not be asked: {found.waiting}"


def preference_lines(manifest: Manifest) -> Iterator[str]:
    """Yield what became of the wrong traces in pairs, and how many rows label steps."""
    if pairs := manifest.pairs:
        left_out = f"; left out: {listed(pairs.dropped)}" if pairs.dropped else ""
        yield f"pairs: {pairs.kept:,} of {pairs.entered:,} wrong traces{left_out}"
    if rows := manifest.published_rows.get("step_labels"):
        yield f"step labels: {rows:,} rows of decided steps"


def claim_lines(manifest: Manifest) -> Iterator[str]:
    """Yield lines about what the claims policy dropped by length, and what the claim judge said, at what cost."""
    for bucket in manifest.claims_by_length:
        if bucket.refuted or bucket.dropped:
            yield (
                f"  from {bucket.start:,} tokens on: {bucket.accepted:,} accepted, {bucket.refuted:,} with a "
                f"refuted step, {bucket.dropped:,} dropped for it ({bucket.drop_rate:.1%}); "
                f"{bucket.coverage:.0%} of steps checked"
            )
    if manifest.clr:
        counts, tokens = manifest.clr.counts, manifest.tokens.verifier
        claims = sum(counts.get(status, 0) for status in CLAIM_STATUSES)
        judged = ", ".join(f"{counts[status]:,} {status}" for status in CLAIM_STATUSES if counts.get(status))
        faults = {name: n for name, n in counts.items() if name not in (*CLAIM_STATUSES, "named", "scored")}
        yield (
            f"judged by {manifest.clr.model}: {claims:,} claims of {counts.get('named', 0):,} traces ({judged})"
            + (f"; no claims from {sum(faults.values()):,} traces ({listed(faults)})" if faults else "")
        )
        if votes := manifest.at_k:
            rates = [(name, getattr(votes, name)) for name in _RATES]
            told = ", ".join(f"{_RATES[name]} {rate:.1%}" for name, rate in rates if rate is not None)
            yield f"  {told} over {votes.problems:,} problems with gold"
        yield (
            f"  that took {tokens.calls:,} calls, {tokens.prompt_tokens:,} tokens read and "
            f"{tokens.completion_tokens:,} written"
        )


_RATES = {"pass_1": "pass@1", "maj_k": "maj@k", "clr_k": "clr@k"}


def funnel(manifest: Manifest) -> Table:
    """Return a table of where every row went."""
    table = Table(title=f"{manifest.name}: where every row went", title_justify="left")
    for name, justify in (("step", "left"), ("in", "right"), ("kept", "right"), ("dropped", "left")):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    for name, ledger in manifest.stages.items():
        table.add_row(name, f"{ledger.entered:,}", f"{ledger.kept:,}", listed(ledger.dropped) or "-")
    for config in ("sft_stage1", "sft_stage2", "rl"):
        table.add_row(f"  {config}", "", f"{manifest.published_rows.get(config, 0):,}", "")
    return table


def operator_funnel(manifest: Manifest) -> Table:
    """Return a table of what became of the new problems of each operator."""
    table = Table(title=f"{manifest.name}: new problems by operator", title_justify="left")
    for name, justify in (("operator", "left"), ("written", "right"), ("kept", "right"), ("left out", "left")):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    table.add_column("tokens a kept one", justify="right")
    for row in funnel_by_operator(manifest):
        table.add_row(*row)
    return table


def dry(recipe: Recipe, home: str | None, limit: int | None, resample: bool, out: Console) -> None:
    """Print what a run would do; sample nothing."""
    request = RunRequest(recipe, home_folder(home), limit, resample, dry_run=True)
    if version := up_to_date_version(request):
        out.print(f"Nothing would be done: {version.label} already holds this recipe's result.")
        return
    with open_run(request) as opened:
        for line in dry_run.report(opened):
            out.print(line, highlight=False, markup=False, soft_wrap=True)


def probe(recipe: Recipe, home: str | None, problems: int, limit: int | None, out: Console, *, alone: bool) -> None:
    """Sample and judge a few problems, then print what the whole run would cost; the run uses their samples.

    Raises:
        UsageError: not `alone`, but with an option that it contradicts.
    """
    if not alone:
        raise UsageError(
            "A probe draws samples, which the run then uses; then it says what the run would cost.",
            where="--probe with --dry-run or --resample",
            remedy="leave one of them out",
        )
    progress = Progress()
    request = RunRequest(recipe, home_folder(home), problems)
    with shown(progress, f"probe of {problems} problems", out), open_run(request, progress) as opened:
        warm_up(opened)
        shards = expand_problems(opened, screen_problems(opened, ingest_problems(opened))).shards
        for asked, samples in SamplingStep(opened, shards).finished_shards():
            annotate_shard(opened, asked, samples)
        remember_rate(opened, progress)
    dry(recipe, home, limit, False, out)
