"""Which candidates of the near-duplicate join are similar enough: the exact similarity of their shingle sets."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from proofmill.filters.near_duplicates.signature_join import (
    PENDING_PAIRS,
    JoinRows,
    Ranked,
    bucket_pairs,
    eligible,
    grouped,
    load_buckets,
    pack,
    unpack,
)
from proofmill.filters.near_duplicates.signed_parts import SHINGLE_BYTES, Bools, save
from proofmill.filters.rolling_hash import I64, U32, U64

CONFIRM_SHINGLES = 1 << 17  # shingles compared at a time: these stay near the processor's caches
_OPEN_FILES = 400
_HALF = np.uint64(32)


@dataclass(frozen=True, eq=False)
class ConfirmTask:
    """Candidates whose worse row has a rank from `low` to before `high`.

    Attributes:
        rows: of the join.
        number: of the range of ranks.
        low, high: its limits.
        turn: 0 for all candidates, then for what is left of large buckets.
        files: files of candidates, for each range of keys and each rule.
    """

    rows: JoinRows
    number: int
    low: int
    high: int
    turn: int
    files: tuple[tuple[int, ...], ...]


def confirm_pairs(task: ConfirmTask) -> int:
    """Write the candidates that are similar enough, in order; return their number."""
    rows, check = task.rows, _Confirmation(task.rows)
    parts: list[U64] = [np.empty(0, np.uint64)]
    for rule in range(len(rows.rules)):
        pending: list[U64] = []
        for pairs in _candidates(task, rule):
            pending.append(pairs)
            if sum(map(len, pending)) > PENDING_PAIRS:
                parts.append(check.confirmed(rule, pending))
                pending = []
        parts.append(check.confirmed(rule, pending))
    check.close()
    pairs = np.unique(np.concatenate(parts))
    save(rows.folder / f"{task.turn}-{task.number}.pairs", pairs)
    return len(pairs)


def _candidates(task: ConfirmTask, rule: int) -> Iterator[U64]:
    rows = task.rows
    for number, files in enumerate(task.files):
        for place in range(files[rule]) if task.turn == 0 else ():
            every = rows.mapped(f"{number}-{rule}-{place}.candidates", np.uint64)
            first, last = np.searchsorted(every, pack(np.zeros(2, np.int64), np.array([task.low, task.high])))
            yield np.array(every[first:last])
        yield from bucket_pairs(*load_buckets(rows, task.turn, number, rule), task.low, task.high)


class _Confirmation:
    """Compares shingle sets; rows with the same shingles are compared once."""

    def __init__(self, rows: JoinRows) -> None:
        self._rows, self._ranked = rows, Ranked(rows)
        self._equal = rows.mapped("equal", np.uint32)
        self._shingles = _Shingles(rows, self._ranked)

    def confirmed(self, rule: int, candidates: list[U64]) -> U64:
        """Return the candidates whose shingle sets have a Jaccard similarity of at least the rule's threshold."""
        pairs = np.unique(np.concatenate([np.empty(0, np.uint64), *candidates]))
        pairs = eligible(self._rows, self._ranked, rule, pairs)
        left, right = (self._equal[side].astype(np.int64) for side in unpack(pairs))
        near = left == right
        texts, of_pair = np.unique(pack(np.minimum(left, right), np.maximum(left, right))[~near], return_inverse=True)
        near[~near] = self._similar(rule, texts)[of_pair]
        similar: U64 = pairs[near]
        return similar

    def _similar(self, rule: int, pairs: U64) -> Bools:
        left, right = unpack(pairs)
        threshold = self._rows.rules[rule].threshold
        sizes = [self._ranked.take("size", side).astype(np.int64) for side in (left, right)]
        total = sizes[0] + sizes[1]
        shared = np.empty(len(pairs), np.int64)
        for part in _parts_of(total, CONFIRM_SHINGLES):
            sets = [self._owned(side[part], size[part]) for side, size in zip((left, right), sizes, strict=True)]
            keys = np.concatenate(sets)
            keys.sort()
            twice = keys[1:][keys[1:] == keys[:-1]]  # a set holds a hash once, so equal keys are the two rows'
            shared[part] = np.bincount((twice >> _HALF).astype(np.int64), minlength=len(total[part]))
        # Compared as shared >= t * union without dividing; the slack forgives the rounding of t.
        similar: Bools = shared >= threshold * (total - shared) - 1e-9
        return similar

    def _owned(self, ranks: I64, sizes: I64) -> U64:
        """Return the shingle hashes of rows, each with the position of its row in the upper half."""
        position = np.arange(len(ranks), dtype=np.uint64) << _HALF
        return np.repeat(position, sizes) | self._shingles.read(ranks)

    def close(self) -> None:
        """Close its files."""
        self._shingles.close()


def _parts_of(weights: I64, budget: int) -> Iterator[slice]:
    """Yield slices over `weights` that sum to about `budget` each."""
    ends = np.cumsum(weights)
    start = 0
    while start < len(weights):
        base = ends[start - 1] if start else 0
        # At least one row a slice: one that is heavier than the budget must still be done.
        end = max(int(np.searchsorted(ends, base + budget, side="right")), start + 1)
        yield slice(start, end)
        start = end


class _Extracted(NamedTuple):
    """The shingles of a part: an open file, the rows that it holds, and where each one's end."""

    file: int
    rows: I64
    ends: I64


class _Shingles:
    """The extracted shingles of all parts.

    They are read and not mapped: stretches lie far apart, so each would cost a page fault, and what is mapped counts
    as memory of the process.
    """

    def __init__(self, rows: JoinRows, ranked: Ranked) -> None:
        self._rows, self._ranked = rows, ranked
        self._parts: dict[int, _Extracted] = {}

    def read(self, ranks: I64) -> U32:
        """Return the distinct shingle hashes of rows, one row after the other."""
        places = self._ranked.take("row", ranks).astype(np.int64)
        files, starts, sizes = (np.empty(len(ranks), np.int64) for _ in range(3))
        order, groups = grouped(self._rows.part_of(places))
        if len(self._parts) + len(groups) > _OPEN_FILES:
            self.close()
        for part, span in groups:
            found, mine = self._part(part), order[span]
            at = np.searchsorted(found.rows, places[mine] - self._rows.starts[part])
            starts[mine] = np.where(at > 0, found.ends[at - 1], 0)
            sizes[mine], files[mine] = found.ends[at] - starts[mine], found.file
        lengths, offsets = (sizes * SHINGLE_BYTES).tolist(), (starts * SHINGLE_BYTES).tolist()
        return np.frombuffer(b"".join(map(os.pread, files.tolist(), lengths, offsets)), np.uint32)

    def _part(self, part: int) -> _Extracted:
        if part not in self._parts:
            rows, ends = self._rows.array(f"{part}.extracted", np.int64).reshape(2, -1)
            self._parts[part] = _Extracted(os.open(self._rows.folder / f"{part}.shingles", os.O_RDONLY), rows, ends)
        return self._parts[part]

    def close(self) -> None:
        """Close the files."""
        while self._parts:
            os.close(self._parts.popitem()[1].file)
