"""Caps over the whole run: the share of teachers' traces, the mix of domains and the total of tokens.

All cut one order. In a domain the best trace of every problem comes first, then every problem's second, and so
on; inside such a round the ids decide, which are digests, so that no source and no shard is preferred. A cap is
the place of the last row that it lets through. So the gather reads small columns only and returns one row for each
domain and limit, which are applied shard by shard; the order of shards and rows decides nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl
import pyarrow as pa

from proofmill.data.files import digest
from proofmill.filters.order_statistics import (
    COLLECTED_ROWS,
    Parts,
    each,
    gathered,
    histogram,
    nth_smallest,
    rows_in,
    with_columns,
)

CAPPED_TEACHER, CAPPED_MIX, CAPPED_TOKENS = "capped_teacher", "capped_mix", "capped_tokens"

CANDIDATES = pa.schema(
    {
        "id": pa.string(),
        "domain": pa.string(),
        "place": pa.int32(),  # of the trace among the kept ones of its problem, from 0
        "tokens": pa.int32(),
        "teacher": pa.bool_(),  # whether a teacher of the recipe's route wrote it
    }
)
CAPS = pa.schema(
    {
        "domain": pa.string(),  # null: of every domain, teachers' traces alone
        "reason": pa.string(),
        "place": pa.int32(),  # of the last row let through; -1 where it is none
        "id": pa.string(),
    }
)
_ORDER = ("place", "id")


@dataclass(frozen=True, slots=True)
class CapOptions:
    """Limits that no shard can decide alone.

    Attributes:
        mix: share of the kept traces by domain, together at most 1; domains that are not named share the rest
            as they come. Empty: no limit.
        max_total_tokens: completion tokens of all kept traces; None: no limit.
        max_teacher_share: of the kept traces, those that teachers wrote; None: no limit.
    """

    mix: tuple[tuple[str, float], ...] = ()
    max_total_tokens: int | None = None
    max_teacher_share: float | None = None

    @property
    def any(self) -> bool:
        """Whether there is a limit at all."""
        return bool(self.mix) or self.max_total_tokens is not None or self.max_teacher_share is not None


def caps(parts: Parts, options: CapOptions, *, collected: int = COLLECTED_ROWS) -> pl.DataFrame:
    """Return where each domain is cut.

    The largest number of traces is kept that gives the domains their shares. A domain of the mix without a
    single candidate is left out of account: the others keep their proportions. The tokens are counted down to the
    limit evenly over all domains, so the mix stays what it was.

    Args:
        parts: schema CANDIDATES, the kept traces of each shard in any order; read several times.
        options: the limits.
        collected: how many rows are in memory at once, besides the counts of rows by domain and place.

    Returns:
        Schema CAPS: one row for each domain and limit.
    """
    empty = pl.DataFrame(CAPS.empty_table())
    parts = gathered(parts or [lambda: pl.DataFrame(CANDIDATES.empty_table())], collected)
    found = [empty]
    if options.max_teacher_share is not None:
        found.append(_teacher_cut(parts, options.max_teacher_share, collected))
        parts = _without(parts, _over_teachers(found[-1]))
    places = histogram(parts, ["domain", "place"])
    counts = dict(places.group_by("domain").agg(pl.col("rows").sum()).iter_rows())
    # The mix first: the limit of tokens then takes from every domain in proportion.
    kept = quotas(counts, dict(options.mix)) if options.mix else counts
    if options.mix:
        found.append(_cuts(parts, places, kept, CAPPED_MIX, collected))
        parts = _without(parts, _is_behind(found[-1]))
    if options.max_total_tokens is not None:
        within = _within(parts, kept, options.max_total_tokens, collected)
        found.append(_cuts(parts, places, within, CAPPED_TOKENS, collected))
    return pl.concat(part.cast(empty.schema) for part in found)


def _without(parts: Parts, dropped: pl.Expr) -> Parts:
    return each(parts, lambda frame: frame.filter(~dropped))


def _teacher_cut(parts: Parts, share: float, collected: int) -> pl.DataFrame:
    """Return the last trace of teachers that is let through, so that they wrote at most a share of what is kept."""
    is_teacher = pl.col("teacher").fill_null(False)
    counts = histogram(parts, ["place"], is_teacher.cast(pl.Int64).alias("teachers"))
    total = int(counts["teachers"].sum())
    # A rounding error must not cost a trace: t / (t + own) <= share.
    own = int(counts["rows"].sum()) - total
    most = total if share == 1 else math.floor(share / (1 - share) * own + 1e-9)
    if most >= total:
        return pl.DataFrame(CAPS.empty_table())
    teachers = counts.select("place", pl.col("teachers").alias("rows"), pl.lit(None, pl.String).alias("domain"))
    written = each(parts, lambda frame: frame.filter(is_teacher).with_columns(pl.lit(None, pl.String).alias("domain")))
    return _cuts(written, teachers, {None: most}, CAPPED_TEACHER, collected)


def _over_teachers(limits: pl.DataFrame) -> pl.Expr:
    """Return which rows are over the share of teachers."""
    cut = limits.filter(pl.col("reason") == CAPPED_TEACHER)
    if cut.is_empty():
        return pl.lit(False)
    over: pl.Expr = (pl.col("teacher") & _behind(*cut.select(*_ORDER).row(0))).fill_null(False)
    return over


def _behind(place: int, name: str) -> pl.Expr:
    """Return which rows come later than one in the order of `_ORDER`."""
    return (pl.col("place") > place) | ((pl.col("place") == place) & (pl.col("id") > name))


def _is_behind(cuts: pl.DataFrame) -> pl.Expr:
    """Return which rows come later than the cut of their domain."""
    behind: pl.Expr = pl.lit(False)
    for domain, _, place, name in cuts.iter_rows():
        behind = behind | (pl.col("domain").eq_missing(pl.lit(domain, pl.String)) & _behind(place, name))
    return behind


def apply(candidates: pl.DataFrame, limits: pl.DataFrame) -> pl.Series:
    """Return why each row goes, null where it stays; teachers are asked first, then the mix, then the tokens.

    Args:
        candidates: schema CANDIDATES, any part of what `caps` was given.
        limits: what it returned.
    """
    reasons = pl.lit(None, pl.String)
    frame = candidates
    for reason in (CAPPED_TOKENS, CAPPED_MIX):  # the last one asked wins
        cuts = limits.filter(pl.col("reason") == reason).select(
            "domain", pl.col("place").alias(f"{reason}_place"), pl.col("id").alias(f"{reason}_id")
        )
        frame = frame.join(cuts, on="domain", how="left", maintain_order="left")
        last, name = pl.col(f"{reason}_place"), pl.col(f"{reason}_id")
        # The order of `_ORDER`, by comparison: a shard needs no rank in the whole run.
        behind = (pl.col("place") > last) | ((pl.col("place") == last) & (pl.col("id") > name))
        reasons = pl.when(behind.fill_null(False)).then(pl.lit(reason)).otherwise(reasons)
    reasons = pl.when(_over_teachers(limits)).then(pl.lit(CAPPED_TEACHER)).otherwise(reasons)
    return frame.select(reasons.alias("reason"))["reason"]


def quotas(counts: Mapping[str, int], mix: Mapping[str, float]) -> dict[str, int]:
    """Return how many traces of each domain are kept.

    Args:
        counts: candidates by domain.
        mix: shares by domain, together at most 1.
    """
    # A domain without candidates would make the total 0, since every other one is kept in proportion to it.
    named = {domain: share for domain, share in mix.items() if counts.get(domain)}
    rest = {domain: count for domain, count in counts.items() if domain not in mix}
    left = max(0.0, 1.0 - sum(mix.values()))
    if rest and left > 0:
        named |= {domain: left * count / sum(rest.values()) for domain, count in rest.items()}
    shares = {domain: share for domain, share in named.items() if share > 0}
    total_share = sum(shares.values())
    # The total that exhausts one domain first: any larger one would need more of its traces than there are.
    total = min((counts[domain] * total_share / share for domain, share in shares.items()), default=0.0)
    # The domain that limits the total keeps all it has, whatever the rounding says.
    kept = {
        domain: min(counts[domain], math.floor(total * share / total_share + 1e-9)) for domain, share in shares.items()
    }
    return {domain: kept.get(domain, 0) for domain in counts}


_ID_DIGITS = [pl.col("id").str.slice(start, 4).alias(f"digit{start // 4}") for start in range(0, 24, 4)]


def _within(parts: Parts, kept: Mapping[str, int], limit: int, collected: int) -> dict[str, int]:
    """Return how many of each domain's first rows fit into the limit if all domains are walked at the same pace.

    Rows are walked by the middle of each one's share of its domain: half of one domain is walked when half of every
    other is. Rows of a domain that follow each other make a bin; from its two ends it is known of most bins whether
    they are within the limit. The others are divided, until few rows are left.

    Args:
        parts: rows of each shard, those behind other cuts left out.
        kept: how many rows each domain has.
        limit: of tokens.
        collected: as in `caps`.
    """
    size = pl.col("domain").replace_strict(dict(kept), default=0, return_dtype=pl.Int64).alias("size")
    tokens = pl.col("tokens").cast(pl.Int64)
    bins = histogram(parts, ["domain", "place"], tokens)
    path = ["domain", "place"]
    bins = bins.with_columns(size, (pl.col("rows").cum_sum().over("domain") - pl.col("rows")).alias("first"))
    fits = dict.fromkeys(kept, 0)
    spent = 0
    for depth in range(len(_ID_DIGITS) + 1):
        inside, unsure = _sorted_out(bins, limit - spent)
        spent += int(inside["tokens"].sum())
        for domain, rows in inside.group_by("domain").agg(pl.col("rows").sum()).iter_rows():
            fits[domain] += rows
        undecided = rows_in(with_columns(parts, *_ID_DIGITS[:depth]), unsure.select(path))
        if depth == len(_ID_DIGITS) or unsure["rows"].sum() <= collected:
            break
        digit = _ID_DIGITS[depth]
        counts = histogram(with_columns(undecided, digit), [*path, digit.meta.output_name()], tokens)
        before = pl.col("rows").cum_sum().over(path) - pl.col("rows")
        counts = counts.with_columns(before.alias("before"))
        counts = counts.join(unsure.select(*path, "size", "first"), on=path, nulls_equal=True)
        bins = counts.with_columns(pl.col("first") + pl.col("before")).drop("before")
        path.append(digit.meta.output_name())
    left = pl.concat(part().select(*path, "id", "tokens") for part in undecided).sort(*path, "id")
    left = left.join(
        unsure.select(*path, "size", "first"), on=path, how="left", maintain_order="left", nulls_equal=True
    )
    rank = pl.col("first") + pl.int_range(pl.len()).over(path)
    walked = left.sort((rank + 0.5) / pl.col("size"), "domain", "id")
    # All that is surely inside counts as walked before: of rows that come earlier this says too much, and they fit too.
    more = walked.filter(tokens.cum_sum() <= limit - spent)
    for domain, rows in more.group_by("domain").len().iter_rows():
        fits[domain] += rows
    return fits


def _sorted_out(bins: pl.DataFrame, limit: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the bins whose rows are all within the limit, and those of which it is not known.

    Args:
        bins: `rows`, `tokens`, `size` of the domain, and `first`, the rank of the first row.
        limit: of tokens, for the rows of these bins.
    """
    begin = (pl.col("first") + 0.5) / pl.col("size")
    end = (pl.col("first") + pl.col("rows") - 0.5) / pl.col("size")
    marked = bins.with_columns(begin.alias("begin"), end.alias("end"))
    begun, ended = (
        marked.group_by(name).agg(pl.col("tokens").sum()).sort(name).with_columns(pl.col("tokens").cum_sum())
        for name in ("begin", "end")
    )
    # No more than what has begun by its end is walked by then; no less than what has ended before it begins.
    most = begun.rename({"tokens": "most"})
    least = ended.rename({"tokens": "least"})
    marked = marked.sort("end").join_asof(most, left_on="end", right_on="begin", strategy="backward")
    marked = marked.sort("begin").join_asof(
        least, left_on="begin", right_on="end", strategy="backward", allow_exact_matches=False
    )
    inside = pl.col("most") <= limit
    outside = pl.col("least").fill_null(0) > limit
    return marked.filter(inside), marked.filter(~inside & ~outside).select(bins.columns)


def _cuts(parts: Parts, places: pl.DataFrame, kept: Mapping[Any, int], reason: str, collected: int) -> pl.DataFrame:
    """Return the last row of each domain that is let through.

    Args:
        parts: rows of each shard.
        places: how many rows each domain has at a place.
        kept: how many rows of a domain are let through.
        reason: of the limit.
        collected: as in `caps`.
    """
    empty = pl.DataFrame(CAPS.empty_table())
    some = pl.DataFrame(
        {"domain": [domain for domain, count in kept.items() if count], "last": [n - 1 for n in kept.values() if n]},
        schema={"domain": pl.String, "last": pl.Int64},
    )
    end = pl.col("rows").cum_sum().over("domain")
    ranges = places.sort("domain", "place").with_columns(end.alias("end"), (end - pl.col("rows")).alias("start"))
    at = some.join(ranges, on="domain", nulls_equal=True)
    at = at.filter((pl.col("last") >= pl.col("start")) & (pl.col("last") < pl.col("end")))
    at = at.with_row_index("group")
    places_cut = at.select("group", "domain", "place")
    inside = each(parts, lambda frame: frame.join(places_cut, on=["domain", "place"], nulls_equal=True))
    wanted = at.select("group", "domain", "place", (pl.col("last") - pl.col("start")).alias("nth"))
    last = nth_smallest(inside, wanted, "id", _ID_DIGITS, collected=collected)
    last = last.select("domain", pl.lit(reason).alias("reason"), *_ORDER)
    none = [domain for domain, count in kept.items() if not count]
    # No last row to let through: place -1 lies before every row, so all of the domain is cut.
    cut_all = {"domain": none, "reason": [reason] * len(none), "place": [-1] * len(none), "id": [""] * len(none)}
    return pl.concat([last.cast(empty.schema), pl.DataFrame(cut_all, schema=empty.schema)])


# --- Which problems are held out for validation: whole clusters of near-duplicates, so that nothing leaks ---

HELD_OUT = pa.schema({"id": pa.string()})
_DIGITS = 13  # hexadecimal ones; as many as a float holds exactly


def held_out(clusters: pl.DataFrame, share: float, seed: int) -> pl.DataFrame:
    """Return the problems of the validation split.

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
    # Named by its smallest id: `cluster_id` is that of the best row, which may change with a later version.
    named = clusters.group_by("cluster_id").agg(pl.col("id").min().alias("name"), pl.len().alias("size"))
    # One large cluster would make the split many times larger than was asked for.
    limit = max(1.0, share * clusters.height)
    drawn = [
        cluster for cluster, name, size in named.iter_rows() if size <= limit and _drawn("holdout", seed, name) < share
    ]
    return clusters.filter(pl.col("cluster_id").is_in(drawn)).select("id").sort("id")


def join_families(clusters: pl.DataFrame, parents: pl.DataFrame) -> pl.DataFrame:
    """Return the clusters once those of each problem and of its parents are made one.

    Args:
        clusters: id, and cluster_id.
        parents: id of a problem that was made of others, and parent, one of these; a parent may be missing.
    """
    of = dict(clusters.select("id", "cluster_id").iter_rows())
    root: dict[str, str] = {}

    def find(name: str) -> str:
        while (above := root.get(name, name)) != name:
            root[name] = root.get(above, above)  # path halving
            name = root[name]
        return name

    for child, parent in parents.select("id", "parent").iter_rows():
        if child in of and parent in of:
            one, other = find(of[child]), find(of[parent])
            root[max(one, other)] = min(one, other)
    return clusters.with_columns(pl.Series("cluster_id", [find(of[name]) for name in clusters["id"]], pl.String))


def _drawn(*parts: object) -> float:
    """Return a number in [0, 1) that a digest decides."""
    return float(int(digest(*parts)[:_DIGITS], 16) / 16**_DIGITS)
