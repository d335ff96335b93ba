"""The one place that decides what is kept: columns in, `stage`, `drop_reason` and the SFT places out.

The rules of all filters are tried in their order, then those of the section `select`, so every dropped row has exactly
one reason and the ledger balances by construction. A changed threshold changes this step alone. Most rules look at one
row; the cap of a problem needs the rows of that problem (`curriculum.place`), and those of the whole run need all of
them (`caps`): `preselect` decides what a shard alone can decide, `apply_run_caps` the rest once all shards are counted.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Annotated, Any, Literal, Self

import polars as pl
import pyarrow as pa
from pydantic import Field, model_validator

from proofmill.data.sections import Needs, Section, Share
from proofmill.filters import caps
from proofmill.filters.base import DropRule
from proofmill.filters.caps import CAPPED_MIX, CAPPED_TEACHER, CAPPED_TOKENS, CapOptions
from proofmill.filters.curriculum import CAPPED, BroadToHard, Candidate, LongToShort, StageRow, place
from proofmill.filters.repetition import is_bare
from proofmill.filters.topics import NO_TOPIC
from proofmill.filters.verdicts import CORRECT
from proofmill.filters.verification import counts_for_passes, is_truncated

SELECTION = pa.schema(
    {
        "id": pa.string(),
        "stage": pa.int8(),  # of the trace as sampled; null where it is dropped, or only its short form is used
        "drop_reason": pa.string(),  # null = kept
        "short_form": pa.string(),  # form of the stage-2 row made from this trace, null if none
        "in_stage1": pa.bool_(),
        "domain": pa.string(),  # what `select.mix` counts the trace as: its domain, or its problem's topic
        "place": pa.int32(),  # among the kept traces of its problem, the best first; null where it is dropped
        "tokens": pa.int32(),  # of the response; four characters count as one where tokens were never counted
        "teacher": pa.bool_(),  # whether a teacher of the recipe's route wrote it
    }
)
_SELECTION = pl.Schema(SELECTION)
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

# A usual average for English text under subword tokenizers; only for traces whose tokens nobody counted.
CHARACTERS_A_TOKEN = 4
DECIDED_LATER = frozenset({"mix", "max_total_tokens", "holdout", "holdout_threshold", "rl_pass_rate"})
"""Keys of `select` that decide nothing about a shard by itself: caps of the run, the validation split, and `rl`."""


class SelectOptions(Section):
    """What is kept of what was proven. Changing it never samples again.

    The caps are asked in this order: too_long, capped_pass_rate, outside_band, capped_problem,
    capped_teacher, capped_mix, capped_tokens.
    """

    max_per_problem: int = Field(4, ge=1, description="stage-1 traces of one problem, so that easy ones don't dominate")
    pass_rate: tuple[Share, Share] = Field(
        (0.0, 1.0), description="keep traces of problems whose pass rate lies in this range, both ends included"
    )
    expanded_pass_rate: Annotated[tuple[Share, Share], Needs("problems.expand", of_recipe=True)] = Field(
        (0.125, 0.875), description="the same for problems that `problems.expand` made; `rl` keeps no others either"
    )
    mix: dict[str, Share] = Field(
        {}, description="share of the kept traces by domain; domains that are not named share the rest"
    )
    mix_by: Annotated[Literal["domain", "topic"], Needs("mix")] = Field(
        "domain", description="what `mix` names: domains, or topics (`problems.topics`; `other`: no topic)"
    )
    max_trace_tokens: int | None = Field(None, ge=1, description="longer traces are left out")
    max_total_tokens: int | None = Field(None, ge=1, description="response tokens of all kept traces")
    holdout: Share = Field(
        0.0, description="share of problems that becomes the `validation` split, near-duplicates on the same side"
    )
    holdout_threshold: Annotated[float, Needs("holdout")] = Field(
        0.7, gt=0.0, le=1.0, description="Jaccard similarity that links two problems' prompts for the holdout"
    )
    rl_pass_rate: tuple[Share, Share] = Field(
        (0.0, 1.0), description="`rl` keeps problems strictly between; the ends teach nothing"
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        # Shares such as 0.1 + 0.2 + 0.7 add up to a little more than 1 in binary.
        if sum(self.mix.values()) > 1.0 + 1e-9:
            raise ValueError("mix: the shares add up to more than 1")
        for name in ("pass_rate", "expanded_pass_rate"):
            low, high = getattr(self, name)
            if low > high:
                raise ValueError(f"{name}: the lower end comes first")
        return self

    @property
    def run_caps(self) -> CapOptions:
        """The limits that no shard can decide alone."""
        return CapOptions(tuple(sorted(self.mix.items())), self.max_total_tokens)


def _too_long(options: SelectOptions) -> pl.Expr:
    limit = options.max_trace_tokens
    return pl.lit(False) if limit is None else pl.col("completion_tokens") > limit


def _elsewhere(_: SelectOptions) -> pl.Expr:
    return pl.lit(False)  # decided by `curriculum.place` and `caps`, which see more than one row


RULES: tuple[DropRule[SelectOptions], ...] = (
    DropRule(
        "too_long",
        _too_long,
        "longer than `select.max_trace_tokens`",
        hangs_on=("max_trace_tokens",),
        evidence=("completion_tokens",),
    ),
    DropRule(
        "capped_pass_rate",
        lambda options: ~pl.col("rate").is_between(*options.pass_rate),
        "its problem's pass rate is outside `select.pass_rate`",
        hangs_on=("",),
    ),
    DropRule(
        "outside_band",
        lambda options: pl.col("expanded") & ~pl.col("rate").is_between(*options.expanded_pass_rate),
        "expansion made its problem, whose pass rate is outside `select.expanded_pass_rate`",
        hangs_on=("",),
    ),
    DropRule(CAPPED, _elsewhere, "its problem has better traces than `select.max_per_problem` lets through", ("",)),
    DropRule(CAPPED_TEACHER, _elsewhere, "teachers wrote more than `route.max_teacher_share` of what is kept", ("",)),
    DropRule(CAPPED_MIX, _elsewhere, "its domain is over its share in `select.mix`", ("",)),
    DropRule(CAPPED_TOKENS, _elsewhere, "the run is over `select.max_total_tokens`", ("",)),
)
"""What the section `select` drops, behind the rules of all filters; a key of `""` is all of the section."""

RULE_COLUMNS = ("id", "problem_id", "sampler", "first_round", "domain", "finish_reason", "completion_tokens")
"""Columns of a sample that rules may look at, beside `length` and those of filters that are no lists."""

Rules = Sequence[tuple[str, pl.Expr]]
"""(reason, what drops a row) in order; a null drops nothing."""


def pass_rates(traces: pl.DataFrame) -> pl.DataFrame:
    """Return the pass rate of each problem under each sampler: correct samples over those that count.

    An `error` that says nothing of the sample does not count (`verdicts.is_counted`).

    Only the first round counts: it is fixed, where later rounds go on or stop by what they found.

    Args:
        traces: columns problem_id, sampler, first_round (null counts as first), verdict, verdict_detail.

    Returns:
        Schema PASS, sorted; `pass_rate` is null where every sample of the first round is an `error`.
    """
    # Later rounds sample problems that were chosen by their results, which would bias the rate.
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


def _counts(among: pl.Expr, prefix: str) -> list[pl.Expr]:
    counted = {
        "n": counts_for_passes(),
        "correct": pl.col("verdict") == CORRECT,
        "truncated": is_truncated(),
    }
    return [(what & among).sum().cast(pl.Int32).alias(f"{prefix}{name}") for name, what in counted.items()]


def preselect(
    traces: pl.DataFrame,
    rules: Rules,
    options: SelectOptions,
    curriculum: LongToShort | BroadToHard,
    small: str | None = None,
    teachers: Collection[str] = (),
) -> pl.DataFrame:
    """Return the decision on each trace before the run's caps; the table holds all samples of its problems.

    Args:
        traces: the samples' columns, those of all filters, and `length` (tokens, or characters where tokens were
            never counted); `expanded` where some problems were made by expansion, `rewritten` where a model has
            written short solutions of some problems; `topic` where topics are named.
        rules: of the filters; those of `options` come behind them.
        options: the recipe's section `select`.
        curriculum: the recipe's section `curriculum`.
        small: the sampler whose pass rates count where the curriculum names no other; None: all samplers.
        teachers: samplers that others are routed to.

    Returns:
        Schema SELECTION, row by row beside `traces`.
    """
    judged = _judged(traces, rules, options, curriculum, small)
    spots = _places(judged.filter(pl.col("drop_reason").is_null()), options.max_per_problem, curriculum)
    teacher = pl.col("sampler").is_in(list(teachers))
    tokens = pl.coalesce("completion_tokens", pl.col("length") // CHARACTERS_A_TOKEN)
    return (
        judged.select(
            "id",
            "drop_reason",
            _mixed_by(options),
            tokens.alias("tokens"),
            teacher.alias("teacher"),
            is_bare().alias("bare"),
        )
        .join(spots, on="id", how="left", maintain_order="left")
        .with_columns(
            # A row without a reason and without a place is over its problem's cap. A bare answer is not: it could only
            # have been a short form, and another trace is.
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


def to_rewrite(traces: pl.DataFrame) -> pl.Series:
    """Return the places of the traces that a model is to condense: the shortest right one of each problem.

    What was judged decides it, and no threshold, so that another threshold asks the model nothing.

    Args:
        traces: columns problem_id, id, verdict, length, quality_detail, contaminated_by.
    """
    right = (pl.col("verdict") == CORRECT) & pl.col("contaminated_by").is_null() & ~is_bare()
    shortest = traces.with_row_index("row").filter(right).sort("length", "id").group_by("problem_id").first()
    return shortest["row"].sort()


def _judged(
    traces: pl.DataFrame,
    rules: Rules,
    options: SelectOptions,
    curriculum: LongToShort | BroadToHard,
    small: str | None,
) -> pl.DataFrame:
    """Return the traces with their problem's pass rate (`rate`) and why the rules drop each (`drop_reason`)."""
    # A long-to-short curriculum has no reference sampler; then all samplers count.
    rates_by_problem = problem_rates(pass_rates(traces), getattr(curriculum, "reference", None) or small)
    rate = pl.DataFrame(
        {"problem_id": list(rates_by_problem), "rate": [share for share, _ in rates_by_problem.values()]},
        schema={"problem_id": pl.String, "rate": pl.Float64},
    )
    absent = [name for name in ("expanded", "rewritten") if name not in traces.columns]
    if "topic" not in traces.columns:
        traces = traces.with_columns(pl.lit(None, pl.String).alias("topic"))
    own = [(rule.reason, rule.when(options)) for rule in RULES]
    return (
        traces.with_columns(pl.lit(False).alias(name) for name in absent)
        .join(rate, on="problem_id", how="left", maintain_order="left")
        .with_columns(_first([*rules, *own]).alias("drop_reason"))
    )


def _mixed_by(options: SelectOptions) -> pl.Expr:
    return pl.col("topic").fill_null(NO_TOPIC).alias("domain") if options.mix_by == "topic" else pl.col("domain")


def apply_run_caps(preselected: pl.DataFrame, limits: pl.DataFrame) -> pl.DataFrame:
    """Return the selection of a shard once the caps of the whole run are known.

    Args:
        preselected: schema SELECTION, as `preselect` made it.
        limits: schema `caps.CAPS`, from the kept rows of all shards.
    """
    over = caps.apply(preselected, limits)
    reason = pl.coalesce("drop_reason", over.alias("over"))
    # A row that is dropped for another reason keeps that reason, so that every row has exactly one.
    goes = preselected["drop_reason"].is_null() & over.is_not_null()
    nothing = [pl.when(goes).then(None).otherwise(name).alias(name) for name in ("stage", "short_form", "place")]
    return preselected.with_columns(reason.alias("drop_reason"), *nothing, pl.col("in_stage1") & ~goes)


def _first(rules: Rules) -> pl.Expr:
    """Return the reason of the first rule that a row breaks."""
    reason = pl.lit(None, pl.String)
    # Each `when` goes around those before it, so the first rule must be added last.
    for name, broken in reversed(rules):
        reason = pl.when(broken.fill_null(False)).then(pl.lit(name)).otherwise(reason)
    return reason


def _places(kept: pl.DataFrame, max_per_problem: int, curriculum: LongToShort | BroadToHard) -> pl.DataFrame:
    """Return stage, short_form, in_stage1 and place in its problem of every trace that has a place in a stage."""
    places: list[tuple[str, int, str | None, bool, int]] = []
    for candidates, rate in _problems(kept):
        spots = place(candidates, curriculum, max_per_problem, None if rate is None else 1.0 - rate)
        places += _merged(candidates, spots)
    schema = {name: _SELECTION[name] for name in ("id", "stage", "short_form", "in_stage1", "place")}
    return pl.DataFrame(places, schema=schema, orient="row")


def _problems(kept: pl.DataFrame) -> Iterator[tuple[list[Candidate], float | None]]:
    """Yield the kept traces of each problem, with its pass rate."""
    score = (pl.col("claim_score").fill_null(1.0) * pl.col("clr_score").fill_null(1.0)).alias("score")
    columns: list[str | pl.Expr] = [
        "id",
        "length",
        score,
        "final_start",
        "preferred",
        is_bare().alias("bare"),
        "rewritten",
        "rate",
    ]
    # By problem and id: the order of the input must not decide which of two equal traces is kept.
    rows = sorted(kept.select("problem_id", *columns).iter_rows(), key=lambda row: row[:2])
    for _, group in groupby(rows, key=lambda row: row[0]):
        of_problem = list(group)
        candidates = [
            Candidate(
                name,
                length,
                score=score,
                has_reasoning=(final or 0) > 0,
                has_final=final is not None,
                bare=bare,
                preferred=preferred is not False,
                rewritten=rewritten,
            )
            for _, name, length, score, final, preferred, bare, rewritten, _ in of_problem
        ]
        yield candidates, of_problem[0][-1]


def _merged(
    candidates: Sequence[Candidate], spots: Sequence[StageRow]
) -> Iterator[tuple[str, int, str | None, bool, int]]:
    """Yield one row for each trace, though it may stand in both stages."""
    long = {spot.trace for spot in spots if spot.stage == 1}
    short = {spot.trace: spot.form for spot in spots if spot.stage == 2}
    for number, trace in enumerate(sorted(long | short.keys(), key=lambda i: candidates[i].rank)):
        yield candidates[trace].id, 1 if trace in long else 2, short.get(trace), trace in long, number


def problem_rates(rates: pl.DataFrame, reference: str | None) -> dict[str, tuple[float, int]]:
    """Return (pass rate, samples) of each problem: of the reference sampler, else of all samplers together.

    Problems without a judged sample are left out.
    """
    # The sums of samples, not the mean of rates: a sampler with few samples must not weigh as much as one with many.
    rates_used = rates if reference is None else rates.filter(pl.col("sampler") == reference)
    sums = rates_used.group_by("problem_id").agg(pl.col("correct").sum(), pl.col("n").sum()).filter(pl.col("n") > 0)
    return {problem: (correct / n, n) for problem, correct, n in sums.iter_rows()}


def ledger(reasons: Iterable[str | None], order: Sequence[str]) -> dict[str, Any]:
    """Return `in`, `kept` and `dropped` by reason, reasons in their order."""
    counts: dict[str, int] = {}
    total = kept = 0
    for reason in reasons:
        total += 1
        if reason is None:
            kept += 1
        else:
            counts[reason] = counts.get(reason, 0) + 1
    return {"in": total, "kept": kept, "dropped": {name: counts[name] for name in order if name in counts}}


def add_ledgers(ledgers: Sequence[Mapping[str, Any]], order: Sequence[str]) -> dict[str, Any]:
    """Return the sum of ledgers, reasons in their order, unknown ones after them."""
    dropped: dict[str, int] = {}
    for item in ledgers:
        for reason, count in item["dropped"].items():
            dropped[reason] = dropped.get(reason, 0) + count
    rank = {name: number for number, name in enumerate(order)}
    ordered = dict(sorted(dropped.items(), key=lambda pair: (rank.get(pair[0], len(rank)), pair[0])))
    return {
        "in": sum(item["in"] for item in ledgers),
        "kept": sum(item["kept"] for item in ledgers),
        "dropped": ordered,
    }
