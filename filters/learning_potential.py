"""Learning potential: which proven traces a student can still learn from.

S = -(1/|y|) sum_t ln p(y_t | q, y_<t), the length-normalised negative log-likelihood of a verified trace y for a
prompt q under the student (VibeThinker-3B report, arXiv 2606.16140, section on data). Low: the student writes
so by itself. Extremely high: noise. What lies between, from the middle up, teaches most. Long traces are more
predictable than short ones and domains differ, so S is compared inside a domain and a bucket of lengths only,
never globally.

The gather says for every bucket where it begins and ends and which values of S bound it; each shard's rows are
then placed by these few numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import polars as pl
import pyarrow as pa
from pydantic import Field

from proofmill.data.schemas import column
from proofmill.data.sections import ModelSection, Share
from proofmill.filters.base import DropRule, GatherContext, GatherFilter, ModelFilter
from proofmill.filters.order_statistics import COLLECTED_ROWS, Parts, each, gathered, histogram, nth_smallest

SCORED = pa.schema(
    {
        "domain": pa.string(),
        "tokens": pa.int32(),  # of the response, by the student's tokenizer
        "nll": pa.float32(),
    }
)
BUCKETS = pa.schema(
    {
        "domain": pa.string(),
        "bucket": pa.int32(),  # from the shortest, from 0
        "rows": pa.int32(),
        "min_tokens": pa.int32(),
        "max_tokens": pa.int32(),  # of a bucket's rows; longer ones begin the next
        "outlier": pa.float32(),  # nll above it is an outlier
        "prefer_low": pa.float32(),
        "prefer_high": pa.float32(),
    }
)
TOO_SHORT, LOW_POTENTIAL, NLL_OUTLIER = "too_short", "low_potential", "nll_outlier"


class LearningOptions(ModelSection):
    """Length-normalised NLL of every proven trace under a student, compared inside domain and length.

    The measure and its use are the VibeThinker-3B report's (arXiv 2606.16140), which gives no numbers: these are
    our own. Where neither `sampler` nor `model` names the student, it is `publish.student`, else the first live
    sampler's model, else `bundled`.
    """

    min_tokens: int = Field(32, ge=0, description="leave out shorter traces as `too_short`")
    buckets: int = Field(4, ge=1, description="ranges of length in each domain, of equally many traces each")
    outlier_quantile: Share = Field(
        0.99, description="quantile of a bucket's NLL above which a trace is an `nll_outlier`"
    )
    prefer: tuple[Share, Share] = Field(
        (0.4, 0.99), description="quantiles of a bucket's NLL between which traces come first where a cap must choose"
    )
    only_preferred: bool = Field(False, description="leave out all others as `low_potential`")


def buckets(parts: Parts, options: LearningOptions, *, collected: int = COLLECTED_ROWS) -> pl.DataFrame:
    """Return the buckets of all scored traces.

    Bounds are values that occur, the outer ones where a quantile falls between two: a bucket of few rows has no
    outlier.

    Args:
        parts: schema SCORED, verified traces of each shard in any order; rows without nll, and too short ones, don't
            count.
        options: how many buckets, and their quantiles.
        collected: how many rows are in memory at once, at most.

    Returns:
        Schema BUCKETS, sorted by domain and length.
    """
    counts = pl.col("nll").is_not_null() & (pl.col("tokens") >= options.min_tokens)
    parts = gathered(parts or [lambda: pl.DataFrame(SCORED.empty_table())], collected)
    counted = each(parts, lambda frame: frame.filter(counts))
    # Equal lengths share a bucket, so that the order of rows decides nothing.
    before = pl.col("rows").cum_sum().over("domain") - pl.col("rows")
    rank = (before * options.buckets // pl.col("rows").sum().over("domain")).alias("bucket")
    lengths = histogram(counted, ["domain", "tokens"]).with_columns(rank)
    group = ["domain", "bucket"]
    groups = lengths.select(group).unique().sort(group).with_row_index("group")
    lengths = lengths.join(groups, on=group, nulls_equal=True)
    result = (
        lengths.group_by("group")
        .agg(
            pl.col("domain").first(),
            pl.col("rows").sum(),
            pl.col("tokens").min().alias("min_tokens"),
            pl.col("tokens").max().alias("max_tokens"),
        )
        .sort("domain", "min_tokens")
        .with_columns(pl.int_range(pl.len()).over("domain").alias("bucket"))
    )
    grouped = each(counted, lambda frame: frame.join(lengths, on=["domain", "tokens"], nulls_equal=True))
    low, high = options.prefer
    position = {
        "outlier": ((pl.col("rows") - 1) * options.outlier_quantile).ceil(),
        "prefer_low": ((pl.col("rows") - 1) * low).floor(),
        "prefer_high": ((pl.col("rows") - 1) * high).ceil(),
    }
    wanted = pl.concat(
        result.select("group", nth.cast(pl.Int64).alias("nth"), pl.lit(name).alias("bound"))
        for name, nth in position.items()
    )
    bounds = nth_smallest(grouped, wanted, "nll", _NLL_DIGITS, collected=collected)
    for name in position:
        values = bounds.filter(pl.col("bound") == name).select("group", pl.col("nll").alias(name))
        result = result.join(values, on="group", how="left", maintain_order="left")
    empty = pl.DataFrame(BUCKETS.empty_table())
    return result.select(empty.columns).cast(empty.schema)


_FINITE = pl.col("nll").cast(pl.Float64).fill_nan(2.0**30).clip(-(2.0**30), 2.0**30)
_NLL_DIGITS = [(_FINITE * 2.0**bits).floor().cast(pl.Int64) for bits in (10, 20, 30)]


def judge(scored: pl.DataFrame, found: pl.DataFrame, options: LearningOptions) -> pl.DataFrame:
    """Return for each trace whether and why it goes, and whether it is preferred.

    Args:
        scored: schema SCORED, any part of what `buckets` was given; nll is null where nothing was scored.
        found: what `buckets` returned.
        options: the same.

    Returns:
        Row by row, `potential_reason` (why it goes, null if it stays) and `preferred` (bool; also where nothing
        was scored, since nothing is known against it).
    """
    sides = found.sort("min_tokens")
    numbered = scored.with_row_index("row").sort("tokens")
    joined = numbered.join_asof(
        sides, left_on="tokens", right_on="min_tokens", by="domain", strategy="backward", check_sortedness=False
    ).sort("row")
    has_score = pl.col("nll").is_not_null()
    inside = pl.col("nll").is_between("prefer_low", "prefer_high").fill_null(True)
    drop_others = pl.lit(options.only_preferred) & has_score & ~inside
    reason = (
        pl.when((pl.col("tokens") < options.min_tokens).fill_null(False))
        .then(pl.lit(TOO_SHORT))
        .when((pl.col("nll") > pl.col("outlier")).fill_null(False))
        .then(pl.lit(NLL_OUTLIER))
        .when(drop_others)
        .then(pl.lit(LOW_POTENTIAL))
        .otherwise(None)
    )
    return joined.select(reason.alias("potential_reason"), (inside | ~has_score).alias("preferred"))


def gather(
    parts: Sequence[Callable[[], pa.Table]], options: LearningOptions | None, _: GatherContext
) -> Iterator[pa.Table]:
    """Yield `potential_reason` and `preferred` of each shard's traces, by the buckets of all shards."""
    if options is None:
        return
    scored = [partial(_scored, part) for part in parts]
    found = buckets(scored, options)
    for part in scored:
        yield judge(part(), found, options).to_arrow()


def _scored(part: Callable[[], pa.Table]) -> pl.DataFrame:
    return pl.DataFrame(part()).rename({"nll_tokens": "tokens"})


def _dropped(reason: str, means: str, *hangs_on: str) -> DropRule[LearningOptions]:
    is_reason = pl.col("potential_reason") == reason
    return DropRule(reason, lambda _: is_reason, means, hangs_on, evidence=("nll", "completion_tokens"))


NLL = ModelFilter(
    name="nll",
    version=1,
    section="quality.learning",
    options=LearningOptions,
    reads=("problem", "response", "verdict"),
    adds=pa.schema([column("nll", pa.float32(), "length-normalised NLL under the student; null where not scored")]),
    internal=pa.schema([column("nll_tokens", pa.int32(), "tokens of the response, by the student's tokenizer")]),
    enabled=lambda options: options is not None,
)

LEARNING_POTENTIAL = GatherFilter(
    name="potential",
    version=1,
    shown_as="kept",
    section="quality.learning",
    options=LearningOptions,
    reads=("domain", "nll_tokens", "nll"),
    internal=pa.schema(
        [
            column("potential_reason", pa.string(), "why a trace teaches too little; null if it does"),
            column("preferred", pa.bool_(), "whether it is taken first where a cap must choose"),
        ]
    ),
    gather=gather,
    keyed_by=("min_tokens", "buckets", "outlier_quantile", "prefer", "only_preferred"),
    libraries=("polars",),  # quantiles
    enabled=lambda options: options is not None,
    rules=(
        _dropped(TOO_SHORT, "fewer tokens than `quality.learning.min_tokens`", "min_tokens"),
        _dropped(NLL_OUTLIER, "an extreme NLL among traces of its domain and length", "outlier_quantile", "buckets"),
        _dropped(LOW_POTENTIAL, "an NLL outside the preferred quantiles", "prefer", "only_preferred", "buckets"),
    ),
)
