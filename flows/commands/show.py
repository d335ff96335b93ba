"""`proofmill show`: what is published, from the folder alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from proofmill.data.versions import Version, find, names, versions
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


def show_version(home: Path, label: str, samples: int, out: Console) -> None:
    """The funnel of one version and some rows of each verdict."""
    version = find(home, label)
    out.print(f"[bold]{version.label}[/]  {version.manifest['created']}  {version.folder}", soft_wrap=True)
    out.print(funnel(version.manifest))
    for verdict in VERDICTS:
        for row in _sample(version, verdict, samples):
            title = f"{verdict} · {row['verdict_detail']} · answer {row['extracted']!r} · gold {row['answer']!r}"
            dropped = f"dropped: {row['drop_reason']}" if row["drop_reason"] else f"kept, stage {row['stage']}"
            text = row["response"][:_SHOWN_CHARACTERS] + ("…" if len(row["response"]) > _SHOWN_CHARACTERS else "")
            out.print(Panel(Text(text), title=Text(title), subtitle=Text(dropped), title_align="left"))


def _sample(version: Version, verdict: str, count: int) -> list[dict[str, Any]]:
    """The first traces of a verdict, with their problem's gold."""
    problems = pl.scan_parquet(version.files("problems")).select(pl.col("id").alias("problem_id"), "answer")
    traces = pl.scan_parquet(version.files("traces")).filter(pl.col("verdict") == verdict).head(count)
    return traces.join(problems, on="problem_id", how="left").collect().to_dicts()
