"""Claims as a filter: every intermediate claim that can be checked exactly, and what follows from a refuted one.

The checks themselves stand in `claims/`: read by a grammar, never evaluated as code. Stated outputs of code are
the exception; they are run in the jail, which belongs to the calling process, so such traces are deferred.

The cost of the policy is counted by length: long traces explore and correct themselves, and must not be the first to
be dropped.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

import polars as pl
import pyarrow as pa
from pydantic import Field

from proofmill.data.schemas import CLAIM, column
from proofmill.data.sections import ModelSection, Needs, Section, Share
from proofmill.filters.base import CallerServices, Deferred, DropRule, MapFilter, Row
from proofmill.filters.verdicts import CORRECT, NO_GOLD

if TYPE_CHECKING:
    from proofmill.filters.claims.check import TraceCheck


class ModelVerifier(ModelSection):
    """The model as its own verifier: claim-level reliability, r = (mean v)^M (arXiv 2606.16140).

    Where neither `sampler` nor `model` is given, the first live sampler's model judges.
    """

    scope: Literal["all", "accepted"] = Field(
        "all", description="traces to judge; accepted: a fraction of the cost, but no `clr@k`"
    )
    k: int | None = Field(32, ge=1, description="samples to judge for each problem and sampler; None: all")
    m: int = Field(5, ge=1, le=32, description="claims judged in a trace, and the exponent of its reliability")
    temperature: float = Field(0.0, ge=0.0, description="sampling temperature of its answers")
    top_p: float = Field(1.0, gt=0.0, le=1.0, description="nucleus sampling of its answers")
    max_tokens: int = Field(512, ge=16, description="tokens of one answer, at most")
    extra: dict[str, Any] = Field({}, description="passed through to the engine, and recorded")


class ClaimOptions(Section):
    """Intermediate claims, checked exactly and by a model; the policy is decided in the selection."""

    scope: Literal["all", "accepted", "none"] = Field(
        "all", description="traces to check; accepted: only those judged `correct`"
    )
    drop: Annotated[
        Literal["final", "any", "none"], Needs("a scope of checks", lambda section: section.scope != "none")
    ] = Field("final", description="where a refuted claim drops a trace; elsewhere it lowers score and weight")
    model: ModelVerifier | None = Field(None, description="the model as its own verifier; {}: with the defaults")
    min_reliability: Annotated[Share | None, Needs("model")] = Field(
        None, description="drop traces whose reliability r by the model is lower"
    )


def annotate(rows: Iterable[Row], options: ClaimOptions) -> Iterator[Row | Deferred]:
    """Yield the claim columns of each row; traces that state outputs of code are deferred.

    Args:
        rows: `problem`, `response`, and where known `steps`, `final_start`, `verdict`, `verdict_detail`.
        options: whose claims are checked.
    """
    from proofmill.filters.claims.check import check_trace

    for row in rows:
        accepted = row["verdict"] == CORRECT or row["verdict_detail"] == NO_GOLD
        if options.scope == "none" or (options.scope == "accepted" and not accepted):
            yield {}
            continue
        text = None if row["steps"] is not None else row["response"]
        check = check_trace(row["problem"], text, steps=row["steps"], final_start=row["final_start"])
        yield Deferred(check) if check.outputs_to_run else _columns(check)


def resolve(deferred: Sequence[TraceCheck], services: CallerServices) -> list[Row]:
    """Return the claim columns of traces that state outputs of code; without a jail the outputs stay unchecked."""
    return [_columns(check.with_outputs(services.evaluate) if services.evaluate else check) for check in deferred]


def _columns(check: TraceCheck) -> Row:
    return {
        **check.summary.columns(),
        "refuted_final": check.refuted_in_final,
        "claims": [{field.name: getattr(claim, field.name) for field in CLAIM} for claim in check.claims],
    }


def _refuted(options: ClaimOptions) -> pl.Expr:
    """Return an expression: whether a claim that the policy counts was refuted; false where none was checked."""
    if options.drop == "any":
        return pl.col("claims_refuted") > 0
    return pl.col("refuted_final") if options.drop == "final" else pl.lit(False)


ROW_LABELS = ("rows with a refuted claim", "rows without one", "rows not checked")


def labels(added: Row) -> Iterator[str]:
    """Yield the labels by which a row is counted: whether it holds a refuted claim, and its claims by their status."""
    if added["claims"] is None:
        yield ROW_LABELS[2]
        return
    yield ROW_LABELS[0] if added["claims_refuted"] else ROW_LABELS[1]
    yield from (claim["status"] for claim in added["claims"])


CLAIM_CHECKS = MapFilter(
    name="claims",
    version=4,
    section="claims",
    options=ClaimOptions,
    reads=("problem", "response"),
    optional=("steps", "final_start", "verdict", "verdict_detail"),
    adds=pa.schema(
        [
            column("claims_checked", pa.int32(), "claims that exact checks decided: verified, refuted or retracted"),
            column("claims_refuted", pa.int32(), "of them, false and not taken back"),
            column("first_refuted_step", pa.int32(), "step of the first refuted claim, from 0"),
            column("claim_score", pa.float32(), "verified / (verified + refuted); null where none was decided"),
            column("claim_coverage", pa.float32(), "steps that hold a decided claim / steps"),
        ]
    ),
    internal=pa.schema(
        [
            column("refuted_final", pa.bool_(), "whether a refuted claim stands in the final part"),
            column("claims", pa.list_(CLAIM), "every claim with its status and evidence"),
        ]
    ),
    command=pa.schema([column("claims_detail", pa.string(), "why a row's claims were not checked")]),
    labels=labels,
    why=lambda added: added["claims_detail"],
    annotate=annotate,
    resolve=resolve,
    fault=lambda kind, detail: {"claims_detail": detail if kind == "row" else kind},
    keyed_by=("scope",),
    rules=(
        DropRule(
            "refuted_claim",
            _refuted,
            "an exact check refutes a claim in the part that `claims.drop` names",
            hangs_on=("drop",),
            evidence=("refuted",),
        ),
    ),
)


EDGES = (0, 256, 1024, 4096, 16384)  # completion tokens (characters where tokens were never counted)
POLICY_REASONS = ("refuted_claim", "unreliable")
_COUNTS = ("accepted", "refuted", "dropped")
Bucket = dict[str, Any]


def by_length(traces: pl.DataFrame, drop_reasons: Sequence[str | None]) -> list[Bucket]:
    """Return counts of accepted traces by range of lengths; empty ranges are left out.

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
    """Return the sum over shards, with `drop_rate` and the mean `coverage` of each range."""
    total: dict[int, Bucket] = {}
    for part in parts:
        for bucket in part:
            summed = total.setdefault(
                bucket["from"], {"from": bucket["from"], "covered": 0.0} | dict.fromkeys(_COUNTS, 0)
            )
            for name in (*_COUNTS, "covered"):
                summed[name] += bucket[name]
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
