"""The n-th smallest values of groups whose rows lie in many shards, exactly, without all of them in memory.

A histogram of each shard by the first digit of the key is merged, and says which bin holds the value; then the rows of
that bin alone are counted by the next digit, and so on. Once few rows are left they are read. So each pass reads the
shards one after the other and keeps counts; the order of shards and rows decides nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import polars as pl

COLLECTED_ROWS = 1 << 20
"""So many rows are read rather than counted once more."""

Parts = Sequence[Callable[[], pl.DataFrame]]
"""Returns the rows of each shard; called once a pass."""


def histogram(parts: Parts, by: Sequence[str], *sums: pl.Expr) -> pl.DataFrame:
    """Return `rows`, and the sum of each expression, by the values of some columns; over all shards, sorted."""
    names = ["rows", *(each.meta.output_name() for each in sums)]
    merged: pl.DataFrame | None = None
    for part in parts:
        counts = part().group_by(by).agg(pl.len().cast(pl.Int64).alias("rows"), *(each.sum() for each in sums))
        both = counts if merged is None else pl.concat([merged, counts])
        merged = both.group_by(by).agg(pl.col(name).sum() for name in names)
    if merged is None:
        raise ValueError("a histogram of no shards has no columns")
    return merged.sort(by)


def nth_smallest(
    parts: Parts, wanted: pl.DataFrame, key: str, digits: Sequence[pl.Expr], *, collected: int = COLLECTED_ROWS
) -> pl.DataFrame:
    """Return the n-th smallest key of groups.

    Args:
        parts: rows with the columns `group` (any type) and `key`.
        wanted: `group` and `nth` (from 0); a group may be asked for several. Each has enough rows.
        key: the column that orders the rows.
        digits: expressions of it, none null, whose values in turn give the same order; the first differences may
            suffice, since what is left is read.
        collected: how many rows are read at once.

    Returns:
        `wanted` with the column `key`, in its order.
    """
    bins = [f"digit{number}" for number in range(len(digits))]
    labelled = [digit.alias(name) for digit, name in zip(digits, bins, strict=True)]
    # `left` is the position in the bin that the digits so far have led to.
    open_ = wanted.with_columns(pl.col("nth").cast(pl.Int64).alias("left"))
    path = ["group"]
    for depth, name in enumerate(bins):
        inside = rows_in(with_columns(parts, *labelled[:depth]), open_.select(path).unique())
        counts = histogram(with_columns(inside, labelled[depth]), [*path, name])
        if counts["rows"].sum() <= collected:
            break
        ends = pl.col("rows").cum_sum().over(path)
        counts = counts.with_columns(ends.alias("end"), (ends - pl.col("rows")).alias("start"))
        # Of the bins of its group, the one in whose range of positions the wanted one lies.
        found = open_.join(counts, on=path, how="left", maintain_order="left", nulls_equal=True)
        found = found.filter((pl.col("left") >= pl.col("start")) & (pl.col("left") < pl.col("end")))
        open_ = found.with_columns(pl.col("left") - pl.col("start")).select(*wanted.columns, "left", *path[1:], name)
        path.append(name)
    rest = rows_in(with_columns(parts, *labelled[: len(path) - 1]), open_.select(path).unique())
    rows = pl.concat(part().select(*path, key) for part in rest).sort(*path, key)
    rows = rows.with_columns(pl.int_range(pl.len(), dtype=pl.Int64).over(path).alias("left"))
    return open_.join(rows, on=[*path, "left"], how="left", maintain_order="left", nulls_equal=True).select(
        *wanted.columns, key
    )


def gathered(parts: Parts, collected: int) -> Parts:
    """Return all rows as one part in memory where they are few, else the parts as they are."""
    frames: list[pl.DataFrame] = []
    for part in parts:
        frames.append(part())
        if sum(map(len, frames)) > collected:
            return parts
    return [partial(pl.concat, frames)] if frames else parts


def each(parts: Parts, change: Callable[[pl.DataFrame], pl.DataFrame]) -> Parts:
    """Return the parts after a change of their rows."""
    return [partial(_changed, part, change) for part in parts]


def _changed(part: Callable[[], pl.DataFrame], change: Callable[[pl.DataFrame], pl.DataFrame]) -> pl.DataFrame:
    return change(part())


def with_columns(parts: Parts, *columns: pl.Expr) -> Parts:
    """Return the parts with more columns."""
    return each(parts, lambda frame: frame.with_columns(*columns))


def rows_in(parts: Parts, bins: pl.DataFrame) -> Parts:
    """Return the parts' rows whose values occur among those of some columns."""
    return each(parts, lambda frame: frame.join(bins, on=bins.columns, how="semi", nulls_equal=True))
