"""`proofmill show` and `report`: published versions in the terminal and as a page, from the folder alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl
from rich.console import Console, Group
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from proofmill.data.errors import UsageError
from proofmill.data.files import address, atomic
from proofmill.data.objects import object_store
from proofmill.data.report.page import funnel as picture
from proofmill.data.report.page import refuted_claims, render, traces_of
from proofmill.data.versions import Version, check_files, find, names, versions
from proofmill.filters.catalog import FILTERS
from proofmill.filters.claim_checks import POLICY_REASONS
from proofmill.filters.reliability import KIND, weight
from proofmill.filters.selection import RULES
from proofmill.filters.verdicts import CORRECT, VERDICTS
from proofmill.flows.commands.regenerate import funnel, operator_funnel

_SHOWN_CHARACTERS = 600
_SHOWN_VALUE = 200
_SHOWN_REFUTED = 1500


def show_all(home: Path, out: Console) -> None:
    """Print every data set and version under HOME."""
    table = Table("version", "created", "traces", "stage 1", "stage 2", "rl")
    for name in names(home):
        for version in versions(home, name):
            rows = version.manifest.published_rows
            counts = [f"{rows.get(c, 0):,}" for c in ("traces", "sft_stage1", "sft_stage2", "rl")]
            table.add_row(version.label, version.manifest.created, *counts)
    if table.row_count:
        out.print(table)
    else:
        out.print(f"No version under {address(home)} yet. Make one: proofmill regenerate")


def show_version(home: Path, label: str, samples: int, out: Console, *, check: bool = False) -> None:
    """Print the funnel of one version and some rows of each verdict.

    Raises:
        StoreError: with `check`, a file is not what was published.
    """
    version = find(home, label)
    if check:
        check_files(version)
        here = f": {version.folder}" if object_store(version.folder) else ""
        out.print(f"{len(version.manifest.files)} files are as they were published{here or '.'}", soft_wrap=True)
    out.print(f"[bold]{version.label}[/]  {version.manifest.created}  {address(version.folder)}", soft_wrap=True)
    out.print(funnel(version.manifest))
    if version.manifest.expansion:
        out.print(operator_funnel(version.manifest))
        for row in _new_problems(version, pl.col("drop_reason").is_null(), samples):
            out.print(_new_problem_panel(row))
    for verdict in VERDICTS:
        for row in traces_of(version, _ids(version, pl.col("verdict") == verdict, samples)):
            title = f"{verdict} · {row['verdict_detail']} · answer {row['extracted']!r} · gold {row['answer']!r}"
            dropped = f"dropped: {row['drop_reason']}" if row["drop_reason"] else f"kept, stage {row['stage']}"
            out.print(Panel(_answered(row), title=Text(title), subtitle=Text(dropped), title_align="left"))


def show_dropped(home: Path, label: str, reason: str, samples: int, out: Console) -> None:
    """Print rows that were dropped for a reason (or `all`), spread over the data set, each with the evidence.

    Raises:
        UsageError: nothing was dropped for it; the error says what was.
    """
    version = find(home, label)
    counts = version.manifest.selection.dropped
    problems = version.manifest.stages["expansion"].dropped if "expansion" in version.manifest.stages else {}
    wanted = list(counts) if reason == "all" else [name for name in (reason,) if name in counts]
    if reason not in ("all", *counts, *problems):
        had = ", ".join(f"{name} {count:,}" for name, count in (*counts.items(), *problems.items()))
        raise UsageError(
            f"No row of {version.label} was dropped as {reason!r}.",
            remedy=f"there are: {had or 'nothing was dropped'}",
        )
    for name in problems if reason == "all" else [name for name in (reason,) if name in problems]:
        out.print(Text(f"{version.label}: {problems[name]:,} new problems left out as {name}"), style="bold")
        for row in _new_problems(version, pl.col("drop_reason") == name, samples):
            out.print(_new_problem_panel(row))
    shown = _evidence_columns(version)
    for name in wanted:
        out.print(Text(f"{version.label}: {counts[name]:,} dropped as {name}"), style="bold")
        for row in _dropped(version, name, samples):
            detail = Text(evidence(row, shown))
            out.print(
                Panel(_answered(row), title=row["id"], title_align="left", subtitle=detail, subtitle_align="left")
            )


def _new_problems(version: Version, among: pl.Expr, count: int) -> list[dict[str, Any]]:
    """Return up to `count` problems that expansion made, with the text of their parents."""
    made = version.scan("expansion")
    if made is None or not count:
        return []
    rows = made.filter(among).head(count).collect(engine="streaming").to_dicts()
    parents = {parent for row in rows for parent in row["parents"] or ()}
    problems = pl.scan_parquet(version.files("problems")).filter(pl.col("id").is_in(list(parents)))
    texts = dict(problems.select("id", "prompt").collect(engine="streaming").iter_rows())
    return [row | {"seeds": [texts[name] for name in row["parents"] or () if name in texts]} for row in rows]


def _new_problem_panel(row: Mapping[str, Any]) -> Panel:
    """Return a new problem beside its seeds, and why it was left out."""
    seeds = "\n".join(f"seed: {_shortened(seed, _SHOWN_VALUE)}" for seed in row["seeds"])
    text = Text.assemble((f"{seeds}\n\n" if seeds else "", "dim"), _shortened(row["prompt"] or row["reply"] or ""))
    fate = f"{row['drop_reason']}: {row['detail'] or ''}" if row["drop_reason"] else "kept"
    return Panel(text, title=Text(row["operator"]), title_align="left", subtitle=Text(fate), subtitle_align="left")


def evidence(row: Mapping[str, Any], shown: Mapping[str, Sequence[str]]) -> str:
    """Return what a person must see to agree, or not, that a row is dropped.

    Args:
        row: a trace that was dropped.
        shown: columns by drop reason.
    """
    reason = row["drop_reason"]
    general = ("extracted", "answer", "verdict_detail", "nll", "completion_tokens")
    values = {name: row[name] for name in shown.get(reason) or general if row.get(name) is not None}
    called = {"extracted": "answer", "answer": "gold"}
    return f"{reason}: " + " · ".join(
        f"{called.get(name, name)} {_shortened(str(value), _SHOWN_VALUE)!r}" for name, value in values.items()
    )


def _evidence_columns(version: Version) -> dict[str, Sequence[str]]:
    """Return columns by drop reason: of this program's filters, and of those that the version names."""
    known: dict[str, Sequence[str]] = {rule.reason: rule.evidence for filter_ in FILTERS for rule in filter_.rules}
    known |= {rule.reason: rule.evidence for rule in RULES}
    for record in version.manifest.filters:
        known |= {reason: columns for reason, columns in record.reasons.items() if reason not in known}
    return known


def _answered(row: Mapping[str, Any]) -> Text:
    """Return a problem, and what was said to it."""
    asked = _shortened(row.get("prompt") or "", _SHOWN_VALUE)
    return Text.assemble((f"{asked}\n\n" if asked else "", "dim"), _shortened(row["response"]))


def _dropped(version: Version, reason: str, count: int) -> list[dict[str, Any]]:
    """Return traces dropped for a reason, evenly spaced, with gold, the first refuted claim, and what they repeat."""
    total = version.manifest.selection.dropped[reason]
    wanted = _ids(version, pl.col("drop_reason") == reason, count, max(1, total // max(count, 1)))
    rows, refuted = traces_of(version, wanted), refuted_claims(version, wanted)
    repeated = [row["duplicate_of"] for row in rows if row["duplicate_of"]]
    originals = {row["id"]: row["response"] for row in traces_of(version, repeated)}
    for row in rows:
        said = (f"{claim['text']} ({claim['evidence']})" for claim in refuted.get(row["id"], ()))
        row |= {"original": originals.get(row["duplicate_of"]), "refuted": next(said, None)}
    return rows


def _ids(version: Version, among: pl.Expr, count: int, step: int = 1) -> list[str]:
    """Return the ids of the first `count` traces among these, every `step`th; only narrow columns are read."""
    traces = version.scan("traces")
    if traces is None or not count:
        return []
    hit = traces.filter(among).select("id").with_row_index("row").filter(pl.col("row") % step == 0)
    return hit.head(count).collect(engine="streaming")["id"].to_list()


def _shortened(text: str, limit: int = _SHOWN_CHARACTERS) -> str:
    return text if len(text) <= limit else text[:limit] + "…"


# --- right answers by a wrong path --------------------------------------------------------------------------


def show_refuted(home: Path, label: str, count: int, out: Console) -> None:
    """Print how many accepted traces hold a refuted step, where they went, and the first `count` of them."""
    version = find(home, label)
    accepted = pl.scan_parquet(version.files("traces")).filter(pl.col("verdict") == CORRECT)
    refuted = accepted.filter(pl.col("claims_refuted") > 0)
    total, fates = _count(accepted), refuted.group_by("drop_reason").len().collect(engine="streaming")
    fate = dict(fates.iter_rows())
    dropped = sum(fate.get(reason, 0) for reason in POLICY_REASONS)
    policy = version.manifest.recipe["claims"]["drop"]
    out.print(
        f"[bold]{version.label}[/]: {total:,} accepted traces, {sum(fate.values()):,} of them with a refuted step: "
        f"{dropped:,} left out for it (claims.drop: {policy}), {fate.get(None, 0):,} kept with a lower weight, "
        f"{sum(fate.values()) - dropped - fate.get(None, 0):,} left out for another reason",
        highlight=False,
        soft_wrap=True,
    )
    for row in _rows(version, refuted, count):
        out.print(_panel(row))


def _count(frame: pl.LazyFrame) -> int:
    return int(frame.select(pl.len()).collect(engine="streaming").item())


def _rows(version: Version, refuted: pl.LazyFrame, count: int) -> list[dict[str, Any]]:
    """Return traces with their problem and the claims that exact checks refuted."""
    if not version.files("claims") or not count:
        return []
    wanted = refuted.select("id").head(count).collect(engine="streaming")["id"].to_list()
    claims = refuted_claims(version, wanted)
    exact = {name: [claim for claim in found if claim["kind"] != KIND] for name, found in claims.items()}
    return [row | {"claims": exact.get(row["id"], [])} for row in traces_of(version, wanted)]


def _panel(row: dict[str, Any]) -> Panel:
    text = Text(row["response"][:_SHOWN_REFUTED] + ("…" if len(row["response"]) > _SHOWN_REFUTED else ""))
    said = []
    for claim in row["claims"]:
        text.highlight_words([claim["text"]], style="bold red")
        where = f"step {claim['step'] + 1}" + (", in the final part" if claim["in_final"] else "")
        said.append(Text(f"refuted ({where}): {claim['text']}\n  {claim['evidence']}", style="red"))
    share = weight(row["claim_score"], row.get("clr_score"))
    fate = f"dropped: {row['drop_reason']}" if row["drop_reason"] else f"kept, weight {share:.2f}"
    problem = Text(f"{row['prompt'].strip()}\ngold: {row['answer']}\n", style="dim")
    return Panel(
        Group(problem, text, Text(), *said), title=Text(row["id"][:12]), subtitle=Text(fate), title_align="left"
    )


# --- the page ------------------------------------------------------------------------------------------------------


def write_report(home: Path, label: str, out: Path | None, console: Console, *, funnel: bool) -> None:
    """Write the report of a version, after its files were compared with its manifest.

    Raises:
        StoreError: a file of the version is not what was published.
    """
    version = find(home, label)
    check_files(version)
    path = out or Path(f"{version.name}-v{version.number}.{'svg' if funnel else 'html'}")
    text = picture(version, alone=True) if funnel else render(version)
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    console.print(f"written: {path}", markup=False, soft_wrap=True)
