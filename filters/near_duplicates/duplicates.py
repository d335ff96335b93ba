"""Near-duplicates among traces or prompts: which rows repeat which, and which row is kept.

Candidates come from MinHash bands (rows that agree in a band share a bucket) and every one is
confirmed by the exact Jaccard similarity of the hashed shingle sets, so no text is read again and
a reported pair is a real one. Rows are then taken in a stated order: verified first, then higher
claim score, then shorter, then id. A row is kept unless a kept row is its near-duplicate; then
`duplicate_of` names the best such row. So every mark is a confirmed pair, no two kept rows are
confirmed near-duplicates, a row that is linked to a kept one only by a chain of others stays, and
the result doesn't depend on the order of the input.

Streaming: `minhash.signatures` is the map step (texts in, two columns out), `mark` the gather over
the files of signatures; it reads its sources one after the other, so they may still be in the making.
Memory of `mark`: about 200 bytes a row with its id, and 8 bytes a confirmed pair; in the scratch folder
8 bytes a band and 4 bytes a shingle (168 + about 390 bytes for a 100-word text with the default
options), of which the system's file cache keeps what it has room for.

Limits: a pair exactly at the threshold is missed with a probability of at most 1 %
(`signature_join.MIN_RECALL`), a more similar one less often. Buckets of more than
`signature_join.MAX_ALL_PAIRS` different texts are paired in part, then again among the rows still kept.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from proofmill.data.schemas import column
from proofmill.filters.base import DropRule, GatherContext, GatherFilter, MapFilter, Row
from proofmill.filters.near_duplicates.minhash import DEFAULTS, DedupOptions, signature_fields, signatures
from proofmill.filters.near_duplicates.signature_join import (
    PairRule,
    SignatureRows,
    Source,
    confirmed,
    join,
    pack,
    pair_rules,
    unpack,
)
from proofmill.filters.rolling_hash import I64, U64, to_arrow
from proofmill.filters.verdicts import CORRECT

MARK_SCHEMA = pa.schema([("id", pa.string()), ("duplicate_of", pa.string()), ("in_previous", pa.bool_())])
CLUSTER_SCHEMA = pa.schema([("id", pa.string()), ("cluster_id", pa.string())])

_PAIRS_AT_A_TIME = 1 << 18  # Python integers are large


def mark(
    sources: Iterable[Source],
    options: DedupOptions = DEFAULTS,
    *,
    previous: Iterable[Source] = (),
    scratch: Path | None = None,
) -> pa.Table:
    """Return for every row the better row that it repeats, if there is one.

    Args:
        sources: Parquet files or tables with `id`, the columns of `minhash.signature_fields` and, as far
            as there are, `problem_id`, `verified` (bool), `claim_score`, `length`.
        options: the two thresholds, and the options the rows were signed with.
        previous: the same of an earlier version; its rows are never marked and come before all others.
        scratch: folder for temporary files; the system's by default.

    Returns:
        `MARK_SCHEMA`, the rows of `sources` in their order; `duplicate_of` is null for kept rows,
        `in_previous` tells that it names a row of `previous`.

    Raises:
        InputError: ids repeat, a column is missing, or rows were signed with other options.
    """
    rules = pair_rules(options)
    with tempfile.TemporaryDirectory(dir=scratch, prefix="near-duplicates-") as folder:
        with closing(SignatureRows(sources, options, rules, Path(folder), previous)) as rows:
            kept_for = _kept_for(rows, rules)
        current = rows.rank[rows.previous :]
        repeats = kept_for[current] >= 0
        # Where nothing is repeated this takes a wrong row (-1), which `missing` below makes null.
        original = rows.by_rank[kept_for[current]]
        return pa.table(
            {
                "id": rows.ids.slice(rows.previous),
                "duplicate_of": rows.ids.take(to_arrow(original, missing=~repeats)),
                "in_previous": to_arrow(repeats & (original < rows.previous)),
            }
        ).cast(MARK_SCHEMA)


def clusters(
    sources: Iterable[Source],
    options: DedupOptions = DEFAULTS,
    *,
    scratch: Path | None = None,
) -> pa.Table:
    """Return the clusters of rows that are linked by a chain of near-duplicates at `threshold_across`.

    For a split that must not leak: rows of one cluster go to one side. Arguments and errors as for
    `mark`; problems play no part.

    Returns:
        `CLUSTER_SCHEMA`, the rows of `sources` in their order; a cluster is named by its best row's id.
    """
    rules = [PairRule(options.threshold_across, None)]
    with tempfile.TemporaryDirectory(dir=scratch, prefix="near-duplicates-") as folder:
        with closing(SignatureRows(sources, options, rules, Path(folder))) as rows:
            twin_of = _twins(rows, rules)
            links = np.concatenate([_all_pairs(rows, rules, twin_of), _twin_pairs(twin_of)])
        root = _components(links, len(rows))
        named = rows.by_rank[root[rows.rank]]
        return pa.table({"id": rows.ids, "cluster_id": rows.ids.take(to_arrow(named))}).cast(CLUSTER_SCHEMA)


def _kept_for(rows: SignatureRows, rules: list[PairRule]) -> I64:
    """Return, by rank, the rank of the kept row that this one repeats, or -1."""
    twin_of = _twins(rows, rules)
    kept_for = _keep_best(_all_pairs(rows, rules, twin_of), len(rows))
    # A twin has its best row's neighbours: it repeats that row, or what that row repeats.
    twins = np.flatnonzero(twin_of != np.arange(len(rows)))
    best = twin_of[twins]
    kept_for[twins] = np.where(kept_for[best] < 0, best, kept_for[best])
    return kept_for


def _twins(rows: SignatureRows, rules: list[PairRule]) -> I64:
    """Return, by rank, the best row with the same shingles; only that one takes part in the join.

    With two thresholds a row's twin must be of the same problem, since the twin's neighbours are
    then its own as well.
    """
    key = rows.digest if len(rules) == 1 else rows.digest ^ rows.problem
    _, first, group = np.unique(key[rows.by_rank], return_index=True, return_inverse=True)
    twin_of = first[group].astype(np.int64)
    # Equal digests may be chance, so the shingles themselves are compared (similarity 1.0).
    guess = _twin_pairs(twin_of)
    same = np.isin(guess, confirmed(rows, 1.0, [guess]), assume_unique=True)
    wrong = unpack(guess[~same])[1]
    twin_of[wrong] = wrong
    return twin_of


def _twin_pairs(twin_of: I64) -> U64:
    twins = np.flatnonzero(twin_of != np.arange(len(twin_of)))
    return pack(twin_of[twins], twins)


def _all_pairs(rows: SignatureRows, rules: list[PairRule], twin_of: I64) -> U64:
    """Return confirmed pairs; what large buckets may hide is joined again among their rows still kept."""
    pairs, crowded = join(rows, rules, twin_of == np.arange(len(rows)))
    known = 0
    # Each round drops rows, so what is left of a large bucket gets smaller until it is paired in full, or no new
    # pair is found.
    while crowded.any() and len(pairs) > known:
        known = len(pairs)
        more, crowded = join(rows, rules, crowded & (_keep_best(pairs, len(rows)) < 0))
        pairs = np.union1d(pairs, more)
    return pairs


def _keep_best(pairs: U64, count: int) -> I64:
    """Return, by rank, the best kept row among a row's better neighbours, or -1 where none of them is kept.

    Pairs are sorted by the worse row, so that every better row is decided when it is looked at.
    """
    kept_for = [-1] * count
    for start in range(0, len(pairs), _PAIRS_AT_A_TIME):
        better, worse = unpack(pairs[start : start + _PAIRS_AT_A_TIME])
        for i, j in zip(better.tolist(), worse.tolist(), strict=True):
            # The first kept neighbour is the best one, since pairs are sorted; a dropped row drops no other.
            if kept_for[j] < 0 and kept_for[i] < 0:
                kept_for[j] = i
    return np.array(kept_for, np.int64)


def _components(pairs: U64, count: int) -> I64:
    """Return, by rank, the best rank that is linked to it (union-find with path halving)."""
    root = list(range(count))

    def find(i: int) -> int:
        while root[i] != i:
            root[i] = i = root[root[i]]
        return i

    for start in range(0, len(pairs), _PAIRS_AT_A_TIME):
        better, worse = unpack(pairs[start : start + _PAIRS_AT_A_TIME])
        for i, j in zip(better.tolist(), worse.tolist(), strict=True):
            a, b = find(i), find(j)
            # The smaller rank is the better row, so the root of a cluster is its best.
            root[max(a, b)] = min(a, b)
    return np.array([find(i) for i in range(count)], np.int64)


def annotate(rows: Sequence[Row], options: DedupOptions) -> pa.Table:
    """Return the signature and the hashed shingles of each response."""
    return signatures([row["response"] for row in rows], options)


def gather(
    parts: Sequence[Callable[[], pa.Table]], options: DedupOptions, context: GatherContext
) -> Iterator[pa.Table]:
    """Yield for each trace the better one that it repeats, found by looking at all shards."""
    counts: list[int] = []

    def signed() -> Iterator[pa.Table]:
        for part in parts:
            table = part()
            counts.append(table.num_rows)
            yield _ranked(table)

    # `counts` is filled as `mark` reads the parts, so it is complete from here on.
    marks = mark(signed(), options, previous=context.previous, scratch=context.scratch)
    start = 0
    for count in counts:
        yield marks.slice(start, count)
        start += count


def _ranked(rows: pa.Table) -> pa.Table:
    """Return a shard's signatures with the columns that decide which row of a cluster is kept."""
    clean = rows["contaminated_by"].is_null()  # what is dropped must not take a clean row with it
    verified = pc.and_(pc.fill_null(pc.equal(rows["verdict"], CORRECT), False), clean)
    length = pc.utf8_length(rows["response"])
    columns = rows.select(["id", "problem_id", "signature", "shingles", "claim_score"])
    return columns.append_column("verified", verified).append_column("length", length)


SIGNATURES = MapFilter(
    name="signatures",
    version=1,
    section="dedup",
    options=DedupOptions,
    reads=("response",),
    internal=pa.schema(signature_fields(DEFAULTS)),
    annotate=annotate,
    runs="chunks",
    keyed_by=("permutations", "shingle", "shingle_size"),
)

NEAR_DUPLICATES = GatherFilter(
    name="near_duplicates",
    version=1,
    shown_as="new",
    section="dedup",
    options=DedupOptions,
    reads=("id", "problem_id", "signature", "shingles", "verdict", "claim_score", "contaminated_by", "response"),
    adds=pa.schema([column("duplicate_of", pa.string(), "the better trace that it repeats; null: none")]),
    internal=pa.schema([column("in_previous", pa.bool_(), "whether that one stands in a version of `dedup.against`")]),
    gather=gather,
    tally=lambda table: {"duplicates": table.num_rows - table["duplicate_of"].null_count},
    keyed_by=("threshold_within", "threshold_across", "permutations", "shingle", "shingle_size"),
    rules=(
        DropRule(
            "in_previous",
            lambda _: pl.col("in_previous"),
            "it repeats a trace that a version of `dedup.against` kept",
            hangs_on=("against",),
            evidence=("duplicate_of",),
        ),
        DropRule(
            "near_duplicate",
            lambda _: pl.col("duplicate_of").is_not_null(),
            "a better trace of the run says nearly the same",
            evidence=("duplicate_of", "original"),
        ),
    ),
)
