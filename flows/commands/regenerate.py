"""`proofmill regenerate`: the flow with a display in front and a funnel table at the end."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from proofmill.data.manifest import Manifest
from proofmill.filters.reliability import CLAIM_STATUSES
from proofmill.filters.verdicts import CORRECT
from proofmill.flows.changes.outlook import news, outlook, remember_rate
from proofmill.flows.recipe.schema import Recipe
from proofmill.flows.run.progress import CURRENT, Progress, shown
from proofmill.flows.run.server import server
from proofmill.flows.run.session import OPENED, Session, home_folder
from proofmill.flows.stages.drawing import Drawing, warm_up
from proofmill.flows.stages.intake import problem_shards
from proofmill.flows.wording import typed


def run(recipe: Recipe, home: str | None, limit: int | None, resample: bool, out: Console) -> None:
    """Runs the flow, unless a finished run has already published this; then says what came of it."""
    session = Session(recipe, home_folder(home), limit, resample)
    if version := session.already():
        out.print(f"Nothing to do: [bold]{version.label}[/] already holds this recipe's result.")
        out.print(f"  {version.folder}")
        return
    started = time.monotonic()
    progress = Progress()
    session.progress = progress
    token = CURRENT.set(progress)
    try:
        with shown(progress, f"proofmill regenerate {recipe.name}", out):
            result = _flow(session, home, out)
    finally:
        CURRENT.reset(token)
    remember_rate(session, progress)
    summary(result, progress, time.monotonic() - started, home, out)


def _flow(session: Session, home: str | None, out: Console) -> dict[str, Any]:
    """The flow in this session, whose engine begins to load before Prefect does."""
    with session.opened():
        token = OPENED.set(session)
        try:
            warm_up(session)
            session.progress.note("starting Prefect")
            with server(session.home):
                from proofmill.flows.regenerate import regenerate

                for line in news(session):
                    out.print(line, highlight=False, markup=False, soft_wrap=True)
                result: dict[str, Any] = regenerate(
                    recipe=session.recipe, home=home, limit=session.limit, resample=session.resample
                )
                return result
        finally:
            OPENED.reset(token)


def summary(result: Mapping[str, Any], progress: Progress, seconds: float, home: str | None, out: Console) -> None:
    """The funnel, and what to type next."""
    manifest = result["manifest"]
    out.print(funnel(manifest))
    state = "published" if result["new"] else "unchanged, so not written again:"
    out.print(f"{state} [bold]{result['version']}[/] in {seconds:.0f} s  {result['folder']}", soft_wrap=True)
    for name, drawn in progress.samplers.items():
        if drawn.tokens:
            who = f"sampler {name}: " if len(progress.samplers) > 1 else ""
            out.print(f"{who}sampled {drawn.tokens:,} tokens at {drawn.tokens_per_second():.0f} tokens/s", markup=False)
    if count := manifest["right_answer_refuted_step"]:
        correct = manifest["stages"]["verdicts"]["kept"]
        out.print(f"right answer, refuted step: {count:,} of {correct:,} accepted traces (see the config `claims`)")
    for line in claim_lines(manifest):
        out.print(line, highlight=False, soft_wrap=True)
    for warning in progress.warnings:
        out.print(f"[yellow]warning:[/] {escape(warning)}", soft_wrap=True)
    out.print(f"next: [bold]{escape(typed('show', result['version'], home=home))}[/]", soft_wrap=True)


def claim_lines(manifest: Manifest) -> Iterator[str]:
    """What the claims policy dropped by length, and what the model said as its own verifier, at what cost."""
    for bucket in manifest["claims_by_length"]:
        if bucket["refuted"] or bucket["dropped"]:
            yield (
                f"  from {bucket['from']:,} tokens on: {bucket['accepted']:,} accepted, {bucket['refuted']:,} with a "
                f"refuted step, {bucket['dropped']:,} dropped for it ({bucket['drop_rate']:.1%}); "
                f"{bucket['coverage']:.0%} of steps checked"
            )
    if clr := manifest["clr"]:
        counts, tokens = clr["counts"], manifest["tokens"]["verifier"]
        claims = sum(counts.get(status, 0) for status in CLAIM_STATUSES)
        judged = ", ".join(f"{counts[status]:,} {status}" for status in CLAIM_STATUSES if counts.get(status))
        faults = {name: n for name, n in counts.items() if name not in (*CLAIM_STATUSES, "named", "scored")}
        yield (
            f"judged by {clr['model']}: {claims:,} claims of {counts.get('named', 0):,} traces ({judged})"
            + (f"; no claims from {sum(faults.values()):,} traces ({_listed(faults)})" if faults else "")
        )
        if rates := manifest["at_k"]:
            yield (
                "  "
                + ", ".join(f"{_RATES[name]} {rates[name]:.1%}" for name in _RATES if name in rates)
                + (f" over {rates['problems']:,} problems with gold")
            )
        yield (
            f"  that took {tokens['calls']:,} calls, {tokens['prompt_tokens']:,} tokens read and "
            f"{tokens['completion_tokens']:,} written"
        )


_RATES = {"pass_1": "pass@1", "maj_k": "maj@k", "clr_k": "clr@k"}


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())


def funnel(manifest: Manifest) -> Table:
    """Where every row went."""
    table = Table(title=f"{manifest['name']}: where every row went", title_justify="left")
    for name, justify in (("step", "left"), ("in", "right"), ("kept", "right"), ("dropped", "left")):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    for name, step in manifest["stages"].items():
        dropped = ", ".join(f"{reason} {count:,}" for reason, count in step["dropped"].items())
        table.add_row(name, f"{step['in']:,}", f"{step['kept']:,}", dropped or "-")
    rows = manifest["stages"]["publish"]["rows"]
    for config in ("sft_stage1", "sft_stage2", "rl"):
        table.add_row(f"  {config}", "", f"{rows.get(config, 0):,}", "")
    return table


def dry(recipe: Recipe, home: str | None, limit: int | None, resample: bool, out: Console) -> None:
    """Says what a run would do, and samples nothing."""
    session = Session(recipe, home_folder(home), limit, resample, looking=True)
    if version := session.already():
        out.print(f"Nothing would be done: {version.label} already holds this recipe's result.")
        return
    with session.opened():
        for line in outlook(session):
            out.print(line, highlight=False, markup=False, soft_wrap=True)


def probe(recipe: Recipe, home: str | None, problems: int, limit: int | None, out: Console) -> None:
    """Samples and judges a few problems, then says what the whole run would cost; the run uses their samples."""
    progress = Progress()
    token = CURRENT.set(progress)
    try:
        session = Session(recipe, home_folder(home), problems)
        with shown(progress, f"probe of {problems} problems", out), session.opened():
            warm_up(session)
            for asked, samples in Drawing(session, problem_shards(session)).run():
                verdicts = session.pools.judge.verdicts(session.run.read(samples), session.run.read(asked))["verdict"]
                progress.verdicts(verdicts.to_pylist().count(CORRECT), samples.rows)
        remember_rate(session, progress)
    finally:
        CURRENT.reset(token)
    dry(recipe, home, limit, False, out)
