"""The one place that decides what is kept: columns in, `stage`, `drop_reason` and the SFT places out.

Reasons are tried in a fixed order, so every dropped row has exactly one and the ledger balances by
construction: verdict, claims, quality, contamination, near-duplicates, caps. A changed threshold changes this
stage alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import polars as pl
import pyarrow as pa

from proofmill.filters.curriculum import CAPPED, Candidate, Curriculum, Place, place
from proofmill.filters.verdicts import CORRECT, ERROR, UNPARSED
from proofmill.filters.verification import TRUNCATED

SELECTION = pa.schema(
    {
        "id": pa.string(),
        "stage": pa.int8(),  # of the trace as sampled; null where it is dropped, or only its short form is used
        "drop_reason": pa.string(),  # null = kept
        "short_form": pa.string(),  # form of the stage-2 row made from this trace, null if none
        "in_stage1": pa.bool_(),
    }
)
_SELECTION = {
    "id": pl.String,
    "stage": pl.Int8,
    "drop_reason": pl.String,
    "short_form": pl.String,
    "in_stage1": pl.Boolean,
}
PASS = pa.schema(
    {
        "problem_id": pa.string(),
        "sampler": pa.string(),
        "n": pa.int32(),
        "correct": pa.int32(),
        "truncated": pa.int32(),
        "pass_rate": pa.float32(),
        "later_n": pa.int32(),
        "later_correct": pa.int32(),
        "later_truncated": pa.int32(),
    }
)

CONTAMINATED = "contaminated"

# In this order, whatever the thresholds; the funnel shows the same order.
REASONS = (
    "wrong",
    "unparsed",
    TRUNCATED,
    "timeout",
    "error",
    "refuted_claim",
    "unreliable",
    "repetition",
    "degenerate",
    CONTAMINATED,
    "near_duplicate",
    "in_previous",
    "too_long",
    CAPPED,
)


@dataclass(frozen=True, slots=True)
class SelectOptions:
    """Thresholds on columns; see the recipe's sections `quality` and `select`.

    Attributes:
        max_repetition: repetition above it drops a trace.
        drop_refuted: where a refuted claim drops a trace: in its `final` part, `any`where, or `none`.
        min_reliability: a lower reliability by the model drops a trace; None, and no reliability, drop nothing.
        max_per_problem: stage-1 traces of one problem.
        max_trace_tokens: longer traces are dropped; None: no limit.
        curriculum: strategy and parameters.
        reference: sampler whose pass rate is the problem's; None: all samplers together.
    """

    max_repetition: float = 0.5
    drop_refuted: str = "final"
    min_reliability: float | None = None
    max_per_problem: int = 4
    max_trace_tokens: int | None = None
    curriculum: Curriculum = Curriculum()  # noqa: RUF009 (frozen)
    reference: str | None = None


def pass_rates(traces: pl.DataFrame) -> pl.DataFrame:
    """Pass rate of each problem under each sampler: correct over all samples but those judged `error`.

    Only the first round counts: it is fixed, where later rounds go on or stop by what they found.

    Args:
        traces: columns problem_id, sampler, first_round (null counts as first), verdict, verdict_detail.

    Returns:
        Schema PASS, sorted; `pass_rate` is null where every sample of the first round is an `error`.
    """
    first = pl.col("first_round").fill_null(True)
    return (
        traces.group_by("problem_id", "sampler")
        .agg(*_counts(first, ""), *_counts(~first, "later_"))
        .with_columns(
            pl.when(pl.col("n") > 0).then(pl.col("correct") / pl.col("n")).cast(pl.Float32).alias("pass_rate")
        )
        .select(PASS.names)
        .sort("problem_id", "sampler")
    )


def with_contamination(traces: pl.DataFrame, marks: pa.Table) -> pl.DataFrame:
    """The columns `contaminated_by` and `contaminated_span`: of a trace's prompt, else of the trace itself.

    Args:
        traces: with id and problem_id.
        marks: schema CONTAMINATION, of these traces and their problems.
    """
    found = pl.DataFrame(marks)
    columns = ["contaminated_by", "contaminated_span"]
    for where, key in (("prompt", "problem_id"), ("response", "id")):
        mine = found.filter(pl.col("found_in") == where).select(pl.col("id").alias(key), *columns)
        names = {name: f"{name}_{where}" for name in columns}
        traces = traces.join(mine.rename(names), on=key, how="left", maintain_order="left")
    both = [pl.coalesce(f"{name}_prompt", f"{name}_response").alias(name) for name in columns]
    return traces.with_columns(both).drop([f"{name}_{where}" for name in columns for where in ("prompt", "response")])


def _counts(among: pl.Expr, prefix: str) -> list[pl.Expr]:
    counted = {
        "n": pl.col("verdict") != ERROR,
        "correct": pl.col("verdict") == CORRECT,
        "truncated": _is_truncated(),
    }
    return [(what & among).sum().cast(pl.Int32).alias(f"{prefix}{name}") for name, what in counted.items()]


def select(traces: pl.DataFrame, options: SelectOptions) -> pl.DataFrame:
    """Decides on each trace of a table that holds all samples of its problems.

    Args:
        traces: columns id, problem_id, sampler, first_round, verdict, verdict_detail, final_start, claims_refuted,
            refuted_final, claim_score, clr_score, repetition, quality_detail, contaminated_by, duplicate_of,
            in_previous, completion_tokens, length.
        options: thresholds.

    Returns:
        Schema SELECTION, row by row beside `traces`.
    """
    judged = traces.with_columns(_reason(options).alias("drop_reason"))
    rates = pass_rates(traces)
    places = _places(judged.filter(pl.col("drop_reason").is_null()), rates, options)
    stage = {trace: 1 for trace, spot in places if spot.stage == 1}
    short = {trace: spot.form for trace, spot in places if spot.stage == 2}
    ids = judged["id"].to_list()
    placed = stage.keys() | short.keys()
    unplaced = judged.select(pl.when(_is_bare()).then(pl.lit("degenerate")).otherwise(pl.lit(CAPPED)))
    reasons = [
        reason or (None if name in placed else instead)
        for name, reason, instead in zip(ids, judged["drop_reason"], unplaced.to_series(), strict=True)
    ]
    return pl.DataFrame(
        {
            "id": ids,
            "stage": [stage.get(name, 2 if name in short else None) for name in ids],
            "drop_reason": reasons,
            "short_form": [short.get(name) for name in ids],
            "in_stage1": [name in stage for name in ids],
        },
        schema={
            "id": pl.String,
            "stage": pl.Int8,
            "drop_reason": pl.String,
            "short_form": pl.String,
            "in_stage1": pl.Boolean,
        },
    )


def _is_bare() -> pl.Expr:
    """An answer with next to no reasoning: unfit for stage 1, and what stage 2 of `long_to_short` wants."""
    return pl.col("quality_detail").str.starts_with("empty_reasoning").fill_null(False)


def _is_truncated() -> pl.Expr:
    return (pl.col("verdict") == UNPARSED) & (pl.col("verdict_detail") == TRUNCATED)


def _reason(options: SelectOptions) -> pl.Expr:
    bare_may_stay = _is_bare() & pl.lit(options.curriculum.strategy == "long_to_short")
    long = pl.lit(False) if options.max_trace_tokens is None else pl.col("completion_tokens") > options.max_trace_tokens
    return (
        pl.when(_is_truncated().fill_null(False))
        .then(pl.lit(TRUNCATED))
        .when(pl.col("verdict") != CORRECT)
        .then(pl.col("verdict"))
        .when(_refuted(options.drop_refuted))
        .then(pl.lit("refuted_claim"))
        .when(_unreliable(options.min_reliability))
        .then(pl.lit("unreliable"))
        .when(pl.col("repetition") > options.max_repetition)
        .then(pl.lit("repetition"))
        .when(pl.col("quality_detail").is_not_null() & ~bare_may_stay)
        .then(pl.lit("degenerate"))
        .when(pl.col("contaminated_by").is_not_null())
        .then(pl.lit(CONTAMINATED))
        .when(pl.col("in_previous").fill_null(False))
        .then(pl.lit("in_previous"))
        .when(pl.col("duplicate_of").is_not_null())
        .then(pl.lit("near_duplicate"))
        .when(long)
        .then(pl.lit("too_long"))
        .otherwise(None)
    )


def _refuted(where: str) -> pl.Expr:
    """Whether a claim that the policy minds was refuted; traces whose claims were not checked pass."""
    if where == "any":
        return (pl.col("claims_refuted") > 0).fill_null(False)
    return pl.col("refuted_final").fill_null(False) if where == "final" else pl.lit(False)


def _unreliable(least: float | None) -> pl.Expr:
    return pl.lit(False) if least is None else (pl.col("clr_score") < least).fill_null(False)


def _places(kept: pl.DataFrame, rates: pl.DataFrame, options: SelectOptions) -> list[tuple[str, Place]]:
    known = problem_rates(rates, options.reference)
    error_rate = {problem: 1.0 - rate for problem, (rate, _) in known.items()}
    found: list[tuple[str, Place]] = []
    score = (pl.col("claim_score").fill_null(1.0) * pl.col("clr_score").fill_null(1.0)).alias("score")
    columns = kept.select("problem_id", "id", "length", score, "final_start", _is_bare().alias("bare"))
    rows = sorted(columns.iter_rows())
    for problem, group in groupby(rows, key=lambda row: row[0]):
        candidates = [
            Candidate(name, length, score, (final or 0) > 0, final is not None, bare)
            for _, name, length, score, final, bare in group
        ]
        spots = place(candidates, options.curriculum, options.max_per_problem, error_rate.get(problem))
        found += [(candidates[spot.trace].id, spot) for spot in spots]
    return found


def problem_rates(rates: pl.DataFrame, reference: str | None) -> dict[str, tuple[float, int]]:
    """(pass rate, samples) of each problem: of the reference sampler, else of all samplers together.

    Problems without a judged sample are left out.
    """
    wanted = rates if reference is None else rates.filter(pl.col("sampler") == reference)
    sums = wanted.group_by("problem_id").agg(pl.col("correct").sum(), pl.col("n").sum()).filter(pl.col("n") > 0)
    return {problem: (correct / n, n) for problem, correct, n in sums.iter_rows()}


def ledger(reasons: Iterable[str | None]) -> dict[str, Any]:
    """`in`, `kept` and `dropped` by reason, in the order of `REASONS`."""
    counts: dict[str, int] = {}
    total = kept = 0
    for reason in reasons:
        total += 1
        if reason is None:
            kept += 1
        else:
            counts[reason] = counts.get(reason, 0) + 1
    return {"in": total, "kept": kept, "dropped": {name: counts[name] for name in REASONS if name in counts}}


def add_ledgers(ledgers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The sum of ledgers, reasons in the order of `REASONS`, unknown ones after them."""
    dropped: dict[str, int] = {}
    for item in ledgers:
        for reason, count in item["dropped"].items():
            dropped[reason] = dropped.get(reason, 0) + count
    rank = {name: number for number, name in enumerate(REASONS)}
    ordered = dict(sorted(dropped.items(), key=lambda pair: (rank.get(pair[0], len(rank)), pair[0])))
    return {
        "in": sum(item["in"] for item in ledgers),
        "kept": sum(item["kept"] for item in ledgers),
        "dropped": ordered,
    }
