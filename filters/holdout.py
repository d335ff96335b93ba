"""Which problems are held out for validation: whole clusters of near-duplicates, so that nothing leaks."""

from __future__ import annotations

import polars as pl
import pyarrow as pa

from proofmill.data.files import digest

HELD_OUT = pa.schema({"id": pa.string()})
_DIGITS = 13  # hexadecimal ones; as many as a float holds exactly


def held_out(clusters: pl.DataFrame, share: float, seed: int) -> pl.DataFrame:
    """The problems of the validation split.

    A cluster is drawn by the digest of its smallest id, so its side depends neither on the order of problems nor
    on the other clusters: problems that come with a later version move none that was there. The share is met on
    average. A cluster of more than that share of all problems is never held out.

    Args:
        clusters: id of each problem, and cluster_id, the same for all that are linked.
        share: of all problems, in [0, 1].
        seed: the recipe's.

    Returns:
        Schema HELD_OUT, sorted.
    """
    named = clusters.group_by("cluster_id").agg(pl.col("id").min().alias("name"), pl.len().alias("size"))
    limit = max(1.0, share * clusters.height)
    drawn = [
        cluster for cluster, name, size in named.iter_rows() if size <= limit and _drawn("holdout", seed, name) < share
    ]
    return clusters.filter(pl.col("cluster_id").is_in(drawn)).select("id").sort("id")


def _drawn(*parts: object) -> float:
    """A number in [0, 1) from a digest."""
    return float(int(digest(*parts)[:_DIGITS], 16) / 16**_DIGITS)
