"""Pairs of near-duplicates: candidates from sorted band keys, confirmed on their shingle sets.

A pair is one uint64, the worse row's rank in the upper half and the better row's in the lower, so
that sorting pairs brings a row's better neighbours together, best first.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from proofmill.filters.duplicates.signature_rows import Relation, SignatureRows
from proofmill.filters.windows import I64, U64

MAX_ALL_PAIRS = 64
"""A bucket of more rows isn't paired in full: each row meets its best and its next `BIG_BUCKET_PARTNERS`."""

BIG_BUCKET_PARTNERS = 32
PART_ROWS = 1 << 22  # keys sorted at a time
PENDING_PAIRS = 1 << 21  # candidates gathered before they are confirmed
CONFIRM_SHINGLES = 1 << 17  # shingles compared at a time: these stay near the processor's caches

Bools = NDArray[np.bool_]

_HALF = np.uint64(32)


def join(rows: SignatureRows, wanted: list[Relation], active: Bools) -> tuple[U64, Bools]:
    """All confirmed pairs among the active rows.

    Args:
        rows: the rows, with the band keys of `wanted`.
        wanted: the relations, as given to `rows`.
        active: bool (rows,) by rank.

    Returns:
        Packed pairs, sorted, without repeats; and, bool (rows,) by rank, which rows were in a bucket that was
        too large to pair in full.
    """
    ranks = np.flatnonzero(active)
    found: list[U64] = []
    crowded = np.zeros(len(rows), np.bool_)
    for number, relation in enumerate(wanted):
        pending: list[U64] = []
        for band in range(rows.band_count(number)):
            keys = rows.band_keys(number, band)[rows.by_rank[ranks]]
            for buckets in _bucket_parts(keys, ranks):
                crowded[buckets.crowd()] = True
                for pairs in buckets.pairs():
                    pending.append(_eligible(rows, relation, pairs))
                    if sum(map(len, pending)) > PENDING_PAIRS:
                        found.append(confirmed(rows, relation.threshold, pending))
                        pending = []
        found.append(confirmed(rows, relation.threshold, pending))
    return np.unique(np.concatenate(found)), crowded


def unpack(pairs: U64) -> tuple[I64, I64]:
    """Ranks of the better and of the worse row of each pair."""
    return (pairs & np.uint64(0xFFFFFFFF)).astype(np.int64), (pairs >> _HALF).astype(np.int64)


def pack(better: I64, worse: I64) -> U64:
    """The inverse of `unpack`."""
    return worse.astype(np.uint64) << _HALF | better.astype(np.uint64)


def confirmed(rows: SignatureRows, threshold: float, candidates: list[U64]) -> U64:
    """The candidates whose shingle sets have a Jaccard similarity of at least `threshold`."""
    pairs = np.unique(np.concatenate([np.empty(0, np.uint64), *candidates]))
    left, right = (rows.by_rank[rank] for rank in unpack(pairs))
    sizes = np.stack([rows.set_sizes(left), rows.set_sizes(right)])
    near = sizes.min(axis=0) >= threshold * sizes.max(axis=0)  # the most that two such sets can share
    pairs, left, right, total = pairs[near], left[near], right[near], sizes.sum(axis=0)[near]
    shared = np.empty(len(pairs), np.int64)
    for part in _parts_of(total, CONFIRM_SHINGLES):
        shared[part] = _shared(rows, left[part], right[part])
    # Compared as shared >= t * union without dividing; the slack forgives the rounding of t.
    near_enough: U64 = pairs[shared >= threshold * (total - shared) - 1e-9]
    return near_enough


class _Buckets:
    """Rows that agree in a band: `ranks` sorted by key, runs of equal keys at `starts` with `sizes`."""

    def __init__(self, keys: U64, ranks: I64) -> None:
        order = np.argsort(keys)
        keys = keys[order]
        begins = np.flatnonzero(np.concatenate(([True], keys[1:] != keys[:-1])))
        sizes = np.diff(np.append(begins, len(keys)))
        self.ranks = ranks[order]
        self.starts, self.sizes = begins[sizes > 1], sizes[sizes > 1]

    def crowd(self) -> I64:
        """Members of the buckets that are too large to pair in full."""
        large = self.sizes > MAX_ALL_PAIRS
        spans = zip(self.starts[large].tolist(), self.sizes[large].tolist(), strict=True)
        return np.concatenate([np.empty(0, np.int64), *(self.ranks[start : start + size] for start, size in spans)])

    def pairs(self) -> Iterator[U64]:
        """Packed candidate pairs, some million at a time."""
        for size in np.unique(self.sizes).tolist():
            starts = self.starts[self.sizes == size]
            better, worse = _pair_positions(size)
            step = max(PENDING_PAIRS // len(better), 1)
            for at in range(0, len(starts), step):
                members = self.ranks[starts[at : at + step, None] + np.arange(size)]
                members.sort(axis=1)
                yield pack(members[:, better].ravel(), members[:, worse].ravel())


def _pair_positions(size: int) -> tuple[I64, I64]:
    """Positions of the rows to pair in a bucket of `size` rows in order of rank."""
    if size <= MAX_ALL_PAIRS:
        better, worse = np.triu_indices(size, 1)
        return better, worse
    every = np.arange(size)
    partners = np.arange(BIG_BUCKET_PARTNERS)
    best = np.broadcast_to(partners, (size, BIG_BUCKET_PARTNERS))
    before = every[:, None] - 1 - partners
    better = np.concatenate([best, before], axis=1).ravel()
    worse = np.repeat(every, 2 * BIG_BUCKET_PARTNERS)
    real = (better >= 0) & (better < worse)
    return better[real], worse[real]


def _bucket_parts(keys: U64, ranks: I64) -> Iterator[_Buckets]:
    """Buckets by ranges of keys, so that the sort's memory doesn't grow with the rows."""
    parts = -(-len(keys) // PART_ROWS)
    if parts <= 1:
        yield _Buckets(keys, ranks)
        return
    part_of = (keys >> _HALF) * np.uint64(parts) >> _HALF
    for part in range(parts):
        here = np.flatnonzero(part_of == part)
        yield _Buckets(keys[here], ranks[here])


def _eligible(rows: SignatureRows, relation: Relation, pairs: U64) -> U64:
    """Leaves out pairs within the previous version, and pairs that the relation doesn't mean."""
    better, worse = unpack(pairs)
    wanted = worse >= rows.previous
    if relation.same_problem is not None:
        same = rows.problem[rows.by_rank[better]] == rows.problem[rows.by_rank[worse]]
        wanted &= same == relation.same_problem
    return pairs[wanted]


def _parts_of(weights: I64, budget: int) -> Iterator[slice]:
    """Slices over `weights` that sum to about `budget` each."""
    ends = np.cumsum(weights)
    start = 0
    while start < len(weights):
        base = ends[start - 1] if start else 0
        end = max(int(np.searchsorted(ends, base + budget, side="right")), start + 1)
        yield slice(start, end)
        start = end


def _shared(rows: SignatureRows, left: I64, right: I64) -> I64:
    """Number of shingles that each pair of rows has in common."""
    keys = np.concatenate([_owned_shingles(rows, left), _owned_shingles(rows, right)])
    keys.sort()
    twice = keys[1:][keys[1:] == keys[:-1]]  # a set holds a hash once, so equal keys are the two rows'
    return np.bincount((twice >> _HALF).astype(np.int64), minlength=len(left))


def _owned_shingles(rows: SignatureRows, members: I64) -> U64:
    """The shingle hashes of the rows, each with the position of its row in the upper half."""
    position = np.arange(len(members), dtype=np.uint64) << _HALF
    return np.repeat(position, rows.set_sizes(members)) | rows.shingles(members)
