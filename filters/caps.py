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

import polars as pl
import pyarrow as pa

from proofmill.data.files import digest

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


def caps(candidates: pl.DataFrame, options: CapOptions) -> pl.DataFrame:
    """Return where each domain is cut.

    The largest number of traces is kept that gives the domains their shares. A domain of the mix without a
    single candidate is left out of account: the others keep their proportions. The tokens are counted down to the
    limit evenly over all domains, so the mix stays what it was.

    Args:
        candidates: schema CANDIDATES, the kept traces of all shards in any order.
        options: the limits.

    Returns:
        Schema CAPS: one row for each domain and limit.
    """
    empty = pl.DataFrame(CAPS.empty_table())
    first = empty if options.max_teacher_share is None else _teacher_cut(candidates, options.max_teacher_share)
    candidates = candidates.filter(~_over_teachers(first))
    ranked = candidates.sort("domain", *_ORDER).with_columns(pl.int_range(pl.len()).over("domain").alias("rank"))
    counts = dict(ranked.group_by("domain").len().iter_rows())
    # The mix first: the limit of tokens then takes from every domain in proportion.
    kept = quotas(counts, dict(options.mix)) if options.mix else counts
    parts = [_cuts(ranked, kept, CAPPED_MIX)] if options.mix else []
    if options.max_total_tokens is not None:
        parts.append(_cuts(ranked, _within(ranked, kept, options.max_total_tokens), CAPPED_TOKENS))
    return pl.concat([empty, *(part.cast(empty.schema) for part in (first, *parts))])


def _teacher_cut(candidates: pl.DataFrame, share: float) -> pl.DataFrame:
    """Return the last trace of teachers that is let through, so that they wrote at most a share of what is kept."""
    teachers = candidates.filter(pl.col("teacher").fill_null(False)).sort(*_ORDER)
    # A rounding error must not cost a trace: t / (t + own) <= share.
    most = len(teachers) if share == 1 else math.floor(share / (1 - share) * (len(candidates) - len(teachers)) + 1e-9)
    if most >= len(teachers):
        return pl.DataFrame(CAPS.empty_table())
    place, name = teachers.select(*_ORDER).row(most - 1) if most else (-1, "")
    cut = {"domain": [None], "reason": [CAPPED_TEACHER], "place": [place], "id": [name]}
    return pl.DataFrame(cut, schema=pl.DataFrame(CAPS.empty_table()).schema)


def _over_teachers(limits: pl.DataFrame) -> pl.Expr:
    """Return which rows are over the share of teachers."""
    cut = limits.filter(pl.col("reason") == CAPPED_TEACHER)
    if cut.is_empty():
        return pl.lit(False)
    place, name = cut.select(*_ORDER).row(0)
    behind = (pl.col("place") > place) | ((pl.col("place") == place) & (pl.col("id") > name))
    over: pl.Expr = (pl.col("teacher") & behind).fill_null(False)
    return over


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


def _within(ranked: pl.DataFrame, kept: Mapping[str, int], limit: int) -> dict[str, int]:
    """Return how many of each domain's first rows fit into the limit if all domains are walked at the same pace."""
    size = pl.col("domain").replace_strict(kept, default=0, return_dtype=pl.Int64)
    inside = ranked.with_columns(size.alias("size")).filter(pl.col("rank") < pl.col("size"))
    # The middle of each row's share of its domain: half of one domain is walked when half of every other is.
    walked = inside.sort((pl.col("rank") + 0.5) / pl.col("size"), "domain", "id")
    fits = walked.filter(pl.col("tokens").cast(pl.Int64).cum_sum() <= limit)
    return dict.fromkeys(kept, 0) | dict(fits.group_by("domain").len().iter_rows())


def _cuts(ranked: pl.DataFrame, kept: Mapping[str, int], reason: str) -> pl.DataFrame:
    size = pl.col("domain").replace_strict(dict(kept), default=0, return_dtype=pl.Int64)
    last = ranked.filter(pl.col("rank") == size - 1).select("domain", pl.lit(reason).alias("reason"), *_ORDER)
    none = [domain for domain, count in kept.items() if not count]
    # No last row to let through: place -1 lies before every row, so all of the domain is cut.
    cut_all = {"domain": none, "reason": [reason] * len(none), "place": [-1] * len(none), "id": [""] * len(none)}
    return pl.concat([last, pl.DataFrame(cut_all, schema=last.schema)])


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
