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
from proofmill.data.report.excerpts import refuted_claims, traces_of
from proofmill.data.versions import Version, check_files, find, names, versions
from proofmill.filters.verdicts import VERDICTS
from proofmill.flows.commands.regenerate import funnel

_SHOWN_CHARACTERS = 600
_SHOWN_VALUE = 200


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
        for row in traces_of(version, _ids(version, pl.col("verdict") == verdict, samples)):
            title = f"{verdict} · {row['verdict_detail']} · answer {row['extracted']!r} · gold {row['answer']!r}"
            dropped = f"dropped: {row['drop_reason']}" if row["drop_reason"] else f"kept, stage {row['stage']}"
            out.print(Panel(_answered(row), title=Text(title), subtitle=Text(dropped), title_align="left"))


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
            found = Text(evidence(row))
            out.print(Panel(_answered(row), title=row["id"], title_align="left", subtitle=found, subtitle_align="left"))


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
    called = {"extracted": "answer", "answer": "gold"}
    return f"{reason}: " + " · ".join(
        f"{called.get(name, name)} {_shortened(str(value), _SHOWN_VALUE)!r}" for name, value in values.items()
    )


def _answered(row: Mapping[str, Any]) -> Text:
    """A problem, and what was said to it."""
    asked = _shortened(row.get("prompt") or "", _SHOWN_VALUE)
    return Text.assemble((f"{asked}\n\n" if asked else "", "dim"), _shortened(row["response"]))


def _dropped(version: Version, reason: str, count: int) -> list[dict[str, Any]]:
    """Traces of a reason, every so many, with gold, the first refuted claim, and what they repeat."""
    total = version.manifest["stages"]["selection"]["dropped"][reason]
    wanted = _ids(version, pl.col("drop_reason") == reason, count, max(1, total // max(count, 1)))
    rows, refuted = traces_of(version, wanted), refuted_claims(version, wanted)
    repeated = [row["duplicate_of"] for row in rows if row["duplicate_of"]]
    originals = {row["id"]: row["response"] for row in traces_of(version, repeated)}
    for row in rows:
        said = (f"{claim['text']} ({claim['evidence']})" for claim in refuted.get(row["id"], ()))
        row |= {"original": originals.get(row["duplicate_of"]), "refuted": next(said, None)}
    return rows


def _ids(version: Version, among: pl.Expr, count: int, step: int = 1) -> list[str]:
    """Ids of the first `count` traces among these, every `step`th; reads narrow columns, and texts never."""
    traces = version.scan("traces")
    if traces is None or not count:
        return []
    hit = traces.filter(among).select("id").with_row_index("row").filter(pl.col("row") % step == 0)
    return hit.head(count).collect(engine="streaming")["id"].to_list()


def _shortened(text: str, limit: int = _SHOWN_CHARACTERS) -> str:
    return text if len(text) <= limit else text[:limit] + "…"
