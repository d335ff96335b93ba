"""`proofmill show NAME@vN --refuted N`: right answers by a wrong path, to be read by eye."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
from rich.console import Console, Group
from rich.panel import Panel
from rich.text import Text

from proofmill.data.report.excerpts import refuted_claims, traces_of
from proofmill.data.versions import Version, find
from proofmill.filters.claim_ledger import POLICY_REASONS
from proofmill.filters.reliability import KIND, weight
from proofmill.filters.verdicts import CORRECT

_SHOWN_CHARACTERS = 1500


def show_refuted(home: Path, label: str, count: int, out: Console) -> None:
    """How many accepted traces hold a refuted step, what became of them, and the first `count` of them."""
    version = find(home, label)
    accepted = pl.scan_parquet(version.files("traces")).filter(pl.col("verdict") == CORRECT)
    refuted = accepted.filter(pl.col("claims_refuted") > 0)
    total, fates = _count(accepted), refuted.group_by("drop_reason").len().collect(engine="streaming")
    fate = dict(fates.iter_rows())
    dropped = sum(fate.get(reason, 0) for reason in POLICY_REASONS)
    policy = version.manifest["recipe"]["claims"]["drop"]
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
    """Traces with their problem and the claims that exact checks refuted."""
    if not version.files("claims") or not count:
        return []
    wanted = refuted.select("id").head(count).collect(engine="streaming")["id"].to_list()
    claims = refuted_claims(version, wanted)
    exact = {name: [claim for claim in found if claim["kind"] != KIND] for name, found in claims.items()}
    return [row | {"claims": exact.get(row["id"], [])} for row in traces_of(version, wanted)]


def _panel(row: dict[str, Any]) -> Panel:
    text = Text(row["response"][:_SHOWN_CHARACTERS] + ("…" if len(row["response"]) > _SHOWN_CHARACTERS else ""))
    said = []
    for claim in row["claims"]:
        text.highlight_words([claim["text"]], style="bold red")
        where = f"step {claim['step'] + 1}" + (", in the final part" if claim["in_final"] else "")
        said.append(Text(f"refuted ({where}): {claim['text']}\n  {claim['evidence']}", style="red"))
    share = weight(row["claim_score"], row["clr_score"])
    fate = f"dropped: {row['drop_reason']}" if row["drop_reason"] else f"kept, weight {share:.2f}"
    problem = Text(f"{row['prompt'].strip()}\ngold: {row['answer']}\n", style="dim")
    return Panel(
        Group(problem, text, Text(), *said), title=Text(row["id"][:12]), subtitle=Text(fate), title_align="left"
    )
