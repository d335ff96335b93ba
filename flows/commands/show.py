"""`proofmill show`: what is published, from the folder alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl
from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from proofmill.data.errors import UsageError
from proofmill.data.versions import Version, check_files, find, names, versions
from proofmill.filters.verdicts import VERDICTS
from proofmill.flows.commands.regenerate import funnel

_SHOWN_CHARACTERS = 600


def show_all(home: Path, out: Console) -> None:
    """Every data set and version under HOME."""
    table = Table("version", "created", "traces", "stage 1", "stage 2", "rl")
    for name in names(home):
        for version in versions(home, name):
            rows = version.manifest["stages"]["publish"]["rows"]
            counts = [f"{rows.get(c, 0):,}" for c in ("traces", "sft_stage1", "sft_stage2", "rl")]
            table.add_row(version.label, version.manifest["created"], *counts)
    if table.row_count:
        out.print(table)
    else:
        out.print(f"No version under {home} yet. Make one: proofmill regenerate")


def show_version(home: Path, label: str, samples: int, out: Console, *, check: bool = False) -> None:
    """The funnel of one version and some rows of each verdict.

    Raises:
        StoreError: with `check`, a file is not what was published.
    """
    version = find(home, label)
    if check:
        check_files(version)
        out.print(f"{len(version.manifest['files'])} files are as they were published.")
    out.print(f"[bold]{version.label}[/]  {version.manifest['created']}  {version.folder}", soft_wrap=True)
    out.print(funnel(version.manifest))
    for verdict in VERDICTS:
        for row in _sample(version, verdict, samples):
            title = f"{verdict} · {row['verdict_detail']} · answer {row['extracted']!r} · gold {row['answer']!r}"
            dropped = f"dropped: {row['drop_reason']}" if row["drop_reason"] else f"kept, stage {row['stage']}"
            out.print(
                Panel(Text(_shortened(row["response"])), title=Text(title), subtitle=Text(dropped), title_align="left")
            )


def show_dropped(home: Path, label: str, reason: str, samples: int, out: Console) -> None:
    """Rows that were dropped for a reason (or `all`), spread over the data set, each with the evidence.

    Raises:
        UsageError: nothing was dropped for it; the error says what was.
    """
    version = find(home, label)
    counts: dict[str, int] = version.manifest["stages"]["selection"]["dropped"]
    wanted = list(counts) if reason == "all" else [reason]
    if reason not in ("all", *counts):
        had = ", ".join(f"{name} {count:,}" for name, count in counts.items()) or "nothing was dropped"
        raise UsageError(f"No row of {version.label} was dropped as {reason!r}.", remedy=f"there are: {had}")
    for name in wanted:
        out.print(Text(f"{version.label}: {counts[name]:,} dropped as {name}"), style="bold")
        for row in _dropped(version, name, samples):
            out.print(Panel(Text(_shortened(row["response"])), subtitle=Text(evidence(row)), subtitle_align="left"))


def evidence(row: Mapping[str, Any]) -> str:
    """What a person must see to agree that a row goes, or not."""
    reason = row["drop_reason"]
    shown = {
        "refuted_claim": ("refuted",),
        "unreliable": ("clr_score",),
        "repetition": ("repetition", "quality_detail"),
        "degenerate": ("quality_detail",),
        "contaminated": ("contaminated_by", "contaminated_span"),
        "near_duplicate": ("duplicate_of", "original"),
        "in_previous": ("duplicate_of",),
    }
    general = ("extracted", "answer", "verdict_detail", "nll", "completion_tokens")
    values = {name: row[name] for name in shown.get(reason, general) if row.get(name) is not None}
    return f"{reason}: " + " · ".join(f"{name} {_shortened(str(value), 200)!r}" for name, value in values.items())


def _dropped(version: Version, reason: str, count: int) -> list[dict[str, Any]]:
    """Traces of a reason, every so many, with gold, the first refuted claim, and what they repeat."""
    traces = pl.scan_parquet(version.files("traces"))
    hit = traces.filter(pl.col("drop_reason") == reason).with_row_index("row")
    total = version.manifest["stages"]["selection"]["dropped"][reason]
    chosen = hit.filter(pl.col("row") % max(1, total // max(count, 1)) == 0).head(count)
    problems = pl.scan_parquet(version.files("problems")).select(pl.col("id").alias("problem_id"), "answer")
    original = traces.select(pl.col("id").alias("duplicate_of"), pl.col("response").alias("original"))
    rows = chosen.join(problems, on="problem_id", how="left").join(original, on="duplicate_of", how="left")
    if files := version.files("claims"):
        refuted = pl.scan_parquet(files).filter(pl.col("status") == "refuted").group_by("trace_id")
        said = pl.format("{} ({})", "text", "evidence").first().alias("refuted")
        rows = rows.join(refuted.agg(said), left_on="id", right_on="trace_id", how="left")
    return rows.sort("row").collect().to_dicts()


def _shortened(text: str, limit: int = _SHOWN_CHARACTERS) -> str:
    return text if len(text) <= limit else text[:limit] + "…"


def _sample(version: Version, verdict: str, count: int) -> list[dict[str, Any]]:
    """The first traces of a verdict, with their problem's gold."""
    problems = pl.scan_parquet(version.files("problems")).select(pl.col("id").alias("problem_id"), "answer")
    traces = pl.scan_parquet(version.files("traces")).filter(pl.col("verdict") == verdict).head(count)
    return traces.join(problems, on="problem_id", how="left").collect().to_dicts()
