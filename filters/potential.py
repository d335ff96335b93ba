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

from dataclasses import dataclass

import polars as pl
import pyarrow as pa

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


@dataclass(frozen=True, slots=True)
class PotentialOptions:
    """The recipe's section `quality.learning`, but for the model.

    Attributes:
        min_tokens: shorter traces are left out.
        buckets: of equally many traces by length, in each domain.
        outlier_quantile: of a bucket's nll; what lies above is left out.
        prefer: the quantiles between which a trace is preferred where a cap must choose.
        only_preferred: whether other traces are left out altogether.
    """

    min_tokens: int = 32
    buckets: int = 4
    outlier_quantile: float = 0.99
    prefer: tuple[float, float] = (0.4, 0.99)
    only_preferred: bool = False


def buckets(scored: pl.DataFrame, options: PotentialOptions) -> pl.DataFrame:
    """The buckets of all scored traces.

    Bounds are values that occur, the outer ones where a quantile falls between two: a bucket of few rows has no
    outlier.

    Args:
        scored: schema SCORED, verified traces in any order; rows without nll, and too short ones, don't count.
        options: how many buckets, and their quantiles.

    Returns:
        Schema BUCKETS, sorted by domain and length.
    """
    rows = scored.filter(pl.col("nll").is_not_null() & (pl.col("tokens") >= options.min_tokens))
    # Equal lengths share a bucket, so that the order of rows decides nothing.
    rank = (pl.col("tokens").rank("min") - 1).over("domain") * options.buckets // pl.len().over("domain")
    low, high = options.prefer
    found = (
        rows.with_columns(rank.cast(pl.Int32).alias("bucket"))
        .group_by("domain", "bucket")
        .agg(
            pl.len().alias("rows"),
            pl.col("tokens").min().alias("min_tokens"),
            pl.col("tokens").max().alias("max_tokens"),
            pl.col("nll").quantile(options.outlier_quantile, "higher").alias("outlier"),
            pl.col("nll").quantile(low, "lower").alias("prefer_low"),
            pl.col("nll").quantile(high, "higher").alias("prefer_high"),
        )
        .sort("domain", "min_tokens")
        .with_columns(pl.int_range(pl.len()).over("domain").alias("bucket"))
    )
    return found.cast(pl.DataFrame(BUCKETS.empty_table()).schema)


def judge(scored: pl.DataFrame, found: pl.DataFrame, options: PotentialOptions) -> pl.DataFrame:
    """What follows for each trace.

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
    known = pl.col("nll").is_not_null()
    inside = pl.col("nll").is_between("prefer_low", "prefer_high").fill_null(True)
    drop_others = pl.lit(options.only_preferred) & known & ~inside
    reason = (
        pl.when((pl.col("tokens") < options.min_tokens).fill_null(False))
        .then(pl.lit(TOO_SHORT))
        .when((pl.col("nll") > pl.col("outlier")).fill_null(False))
        .then(pl.lit(NLL_OUTLIER))
        .when(drop_others)
        .then(pl.lit(LOW_POTENTIAL))
        .otherwise(None)
    )
    return joined.select(reason.alias("potential_reason"), (inside | ~known).alias("preferred"))
