"""What the claims policy costs, by length: long traces explore and correct themselves and must not die first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import polars as pl

from proofmill.filters.verdicts import CORRECT

EDGES = (0, 256, 1024, 4096, 16384)  # completion tokens (characters where tokens were never counted)
POLICY_REASONS = ("refuted_claim", "unreliable")
_COUNTS = ("accepted", "refuted", "dropped")
Bucket = dict[str, Any]


def by_length(traces: pl.DataFrame, drop_reasons: Sequence[str | None]) -> list[Bucket]:
    """Counts of accepted traces, a bucket a range of lengths; empty ranges are left out.

    Args:
        traces: columns verdict, length, claims_refuted, claim_coverage.
        drop_reasons: of each trace, None where it is kept.

    Returns:
        `from` (length), `accepted` (verdict `correct`), `refuted` (of them, with a refuted claim), `dropped` (of
        them, by the policy), `covered` (sum of their coverage).
    """
    accepted = traces.with_columns(
        pl.Series("drop_reason", drop_reasons, pl.String), _edge(pl.col("length")).alias("from")
    ).filter(pl.col("verdict") == CORRECT)
    return (
        accepted.group_by("from")
        .agg(
            pl.len().alias("accepted"),
            (pl.col("claims_refuted") > 0).sum().alias("refuted"),
            pl.col("drop_reason").is_in(POLICY_REASONS).sum().alias("dropped"),
            pl.col("claim_coverage").sum().cast(pl.Float64).alias("covered"),
        )
        .sort("from")
        .to_dicts()
    )


def add_buckets(parts: Iterable[Sequence[Mapping[str, Any]]]) -> list[Bucket]:
    """The sum over shards, with `drop_rate` and the mean `coverage` of each range."""
    total: dict[int, Bucket] = {}
    for part in parts:
        for bucket in part:
            known = total.setdefault(
                bucket["from"], {"from": bucket["from"], "covered": 0.0} | dict.fromkeys(_COUNTS, 0)
            )
            for name in (*_COUNTS, "covered"):
                known[name] += bucket[name]
    return [
        {name: bucket[name] for name in ("from", *_COUNTS)}
        | {
            "drop_rate": round(bucket["dropped"] / bucket["accepted"], 4),
            "coverage": round(bucket["covered"] / bucket["accepted"], 4),
        }
        for _, bucket in sorted(total.items())
    ]


def _edge(length: pl.Expr) -> pl.Expr:
    edge = pl.lit(EDGES[0])
    for lower in EDGES[1:]:
        edge = pl.when(length >= lower).then(pl.lit(lower)).otherwise(edge)
    return edge
