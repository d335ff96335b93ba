"""The one place that decides what is kept: columns in, `stage`, `drop_reason` and the SFT places out.

Reasons are tried in a fixed order, so every dropped row has exactly one and the ledger balances by
construction: verdict, claims, quality, contamination, near-duplicates, caps. A changed threshold changes this
stage alone. Most reasons are rules on a row (`_rules`); the cap of a problem needs the rows of that problem
(`curriculum.place`), and those of the whole run need all of them (`caps`): `select` says what each shard has to
offer, `capped` what is left when all shards have been counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import polars as pl
import pyarrow as pa

from proofmill.filters import caps
from proofmill.filters.caps import CAPPED_MIX, CAPPED_TOKENS
from proofmill.filters.curriculum import CAPPED, Candidate, Curriculum, Place, place
from proofmill.filters.potential import LOW_POTENTIAL, NLL_OUTLIER, TOO_SHORT
from proofmill.filters.verdicts import CORRECT, ERROR, UNPARSED
from proofmill.filters.verification import TRUNCATED

SELECTION = pa.schema(
    {
        "id": pa.string(),
        "stage": pa.int8(),  # of the trace as sampled; null where it is dropped, or only its short form is used
        "drop_reason": pa.string(),  # null = kept
        "short_form": pa.string(),  # form of the stage-2 row made from this trace, null if none
        "in_stage1": pa.bool_(),
        "domain": pa.string(),
        "place": pa.int32(),  # among the kept traces of its problem, the best first; null where it is dropped
        "tokens": pa.int32(),  # of the response; four characters count as one where tokens were never counted
    }
)
_SELECTION = pl.DataFrame(SELECTION.empty_table()).schema
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

CONTAMINATED, CAPPED_PASS_RATE = "contaminated", "capped_pass_rate"
_CHARACTERS_A_TOKEN = 4

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
    TOO_SHORT,
    NLL_OUTLIER,
    LOW_POTENTIAL,
    CONTAMINATED,
    "in_previous",
    "near_duplicate",
    "too_long",
    CAPPED_PASS_RATE,
    CAPPED,
    CAPPED_MIX,
    CAPPED_TOKENS,
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
        pass_rate: traces of problems outside of it are dropped; both ends belong to it.
        curriculum: strategy and parameters.
        reference: sampler whose pass rate is the problem's; None: all samplers together.
    """

    max_repetition: float = 0.5
    drop_refuted: str = "final"
    min_reliability: float | None = None
    max_per_problem: int = 4
    max_trace_tokens: int | None = None
    pass_rate: tuple[float, float] = (0.0, 1.0)
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
            refuted_final, claim_score, clr_score, repetition, quality_detail, potential_reason, preferred,
            contaminated_by, duplicate_of, in_previous, domain, completion_tokens, length.
        options: thresholds.

    Returns:
        Schema SELECTION, row by row beside `traces`.
    """
    rates = pass_rates(traces)
    known = problem_rates(rates, options.reference)
    rate = pl.DataFrame(
        {"problem_id": list(known), "rate": [share for share, _ in known.values()]},
        schema={"problem_id": pl.String, "rate": pl.Float64},
    )
    judged = traces.join(rate, on="problem_id", how="left", maintain_order="left").with_columns(
        _first(_rules(options)).alias("drop_reason")
    )
    spots = _places(judged.filter(pl.col("drop_reason").is_null()), options)
    tokens = pl.coalesce("completion_tokens", pl.col("length") // _CHARACTERS_A_TOKEN)
    return (
        judged.select("id", "drop_reason", "domain", tokens.alias("tokens"), _is_bare().alias("bare"))
        .join(spots, on="id", how="left", maintain_order="left")
        .with_columns(
            pl.when(pl.col("drop_reason").is_not_null() | pl.col("place").is_not_null())
            .then(pl.col("drop_reason"))
            .when("bare")
            .then(pl.lit("degenerate"))
            .otherwise(pl.lit(CAPPED))
            .alias("drop_reason"),
            pl.col("in_stage1").fill_null(False),
        )
        .select(SELECTION.names)
        .cast(_SELECTION)
    )


def capped(chosen: pl.DataFrame, limits: pl.DataFrame) -> pl.DataFrame:
    """The selection of a shard once the caps of the whole run are known.

    Args:
        chosen: schema SELECTION, as `select` made it.
        limits: schema `caps.CAPS`, from the kept rows of all shards.
    """
    over = caps.apply(chosen, limits)
    reason = pl.coalesce("drop_reason", over.alias("over"))
    goes = chosen["drop_reason"].is_null() & over.is_not_null()
    nothing = [pl.when(goes).then(None).otherwise(name).alias(name) for name in ("stage", "short_form", "place")]
    return chosen.with_columns(reason.alias("drop_reason"), *nothing, pl.col("in_stage1") & ~goes)


def _is_bare() -> pl.Expr:
    """An answer with next to no reasoning: unfit for stage 1, and what stage 2 of `long_to_short` wants."""
    return pl.col("quality_detail").str.starts_with("empty_reasoning").fill_null(False)


def _is_truncated() -> pl.Expr:
    return (pl.col("verdict") == UNPARSED) & (pl.col("verdict_detail") == TRUNCATED)


def _rules(options: SelectOptions) -> list[tuple[pl.Expr, str | pl.Expr]]:
    """(what drops a row, the reason's name) in the order of `REASONS`; a null drops nothing."""
    bare_may_stay = _is_bare() & pl.lit(options.curriculum.strategy == "long_to_short")
    limit = options.max_trace_tokens
    return [
        (_is_truncated(), TRUNCATED),
        (pl.col("verdict") != CORRECT, pl.col("verdict")),
        (_refuted(options.drop_refuted), "refuted_claim"),
        (_unreliable(options.min_reliability), "unreliable"),
        (pl.col("repetition") > options.max_repetition, "repetition"),
        (pl.col("quality_detail").is_not_null() & ~bare_may_stay, "degenerate"),
        (pl.col("potential_reason").is_not_null(), pl.col("potential_reason")),
        (pl.col("contaminated_by").is_not_null(), CONTAMINATED),
        (pl.col("in_previous"), "in_previous"),
        (pl.col("duplicate_of").is_not_null(), "near_duplicate"),
        (pl.lit(False) if limit is None else pl.col("completion_tokens") > limit, "too_long"),
        (~pl.col("rate").is_between(*options.pass_rate), CAPPED_PASS_RATE),
    ]


def _first(rules: Sequence[tuple[pl.Expr, str | pl.Expr]]) -> pl.Expr:
    """The reason of the first rule that a row breaks."""
    reason = pl.lit(None, pl.String)
    for broken, name in reversed(rules):
        named = pl.lit(name) if isinstance(name, str) else name
        reason = pl.when(broken.fill_null(False)).then(named).otherwise(reason)
    return reason


def _refuted(where: str) -> pl.Expr:
    """Whether a claim that the policy minds was refuted; traces whose claims were not checked pass."""
    if where == "any":
        return (pl.col("claims_refuted") > 0).fill_null(False)
    return pl.col("refuted_final").fill_null(False) if where == "final" else pl.lit(False)


def _unreliable(least: float | None) -> pl.Expr:
    return pl.lit(False) if least is None else (pl.col("clr_score") < least).fill_null(False)


def _places(kept: pl.DataFrame, options: SelectOptions) -> pl.DataFrame:
    """Of every trace that has a place in a stage: stage, short_form, in_stage1, and its place in the problem."""
    found: list[tuple[str, int, str | None, bool, int]] = []
    score = (pl.col("claim_score").fill_null(1.0) * pl.col("clr_score").fill_null(1.0)).alias("score")
    columns: list[str | pl.Expr] = ["problem_id", "id", "length", score, "final_start", "preferred", "rate"]
    rows = sorted(kept.select(*columns, _is_bare().alias("bare")).iter_rows(), key=lambda row: row[:2])
    for _, group in groupby(rows, key=lambda row: row[0]):
        of_problem = list(group)
        rate = of_problem[0][6]
        candidates = [
            Candidate(
                name,
                length,
                score=score,
                has_reasoning=(final or 0) > 0,
                has_final=final is not None,
                bare=bare,
                preferred=preferred is not False,
            )
            for _, name, length, score, final, preferred, _, bare in of_problem
        ]
        spots = place(candidates, options.curriculum, options.max_per_problem, None if rate is None else 1.0 - rate)
        found += _merged(candidates, spots)
    schema = {name: _SELECTION[name] for name in ("id", "stage", "short_form", "in_stage1", "place")}
    return pl.DataFrame(found, schema=schema, orient="row")


def _merged(
    candidates: Sequence[Candidate], spots: Sequence[Place]
) -> Iterator[tuple[str, int, str | None, bool, int]]:
    """One row a trace, though it may stand in both stages."""
    long = {spot.trace for spot in spots if spot.stage == 1}
    short = {spot.trace: spot.form for spot in spots if spot.stage == 2}
    for number, trace in enumerate(sorted(long | short.keys(), key=lambda i: candidates[i].rank)):
        yield candidates[trace].id, 1 if trace in long else 2, short.get(trace), trace in long, number


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
