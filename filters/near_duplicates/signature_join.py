"""The near-duplicate join in tasks over files: ranks, equal texts, rows that agree in a band, confirmed pairs.

Each task reads some files of the join's folder and writes others, so it may run in any process, on any machine that
sees the folder, and twice. What all tasks read is `JoinRows`; no task, and not the process that hands them out, holds
signatures or shingles of all rows.

The tasks in their order; `write_part`, which comes first, and `extract_shingles` stand in `signed_parts`,
`confirm_pairs` in `confirmation`, both after the candidates:

    compare_ids      a range of id hashes: an id that comes twice, rows of earlier versions that are here again
    rank_range       a range of ranks: its rows in order, with what later tasks ask of a row
    group_equal      a range of digests: rows with the same shingles
    find_candidates  a range of band keys: pairs of rows in one bucket, and the members of large buckets
    thin_buckets     a range of band keys: what is left of the large buckets
    name_rows        a part: ids of the rows that its rows repeat

A pair is one uint64, the worse row's rank in the upper half and the better row's in the lower, so that sorting pairs
brings a row's better neighbours together, best first.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import DTypeLike, NDArray

from proofmill.data.files import existing
from proofmill.filters.near_duplicates.minhash import DedupOptions
from proofmill.filters.near_duplicates.signed_parts import (
    FACTS,
    PairRule,
    PartFacts,
    Preference,
    load_table,
    repeated,
    save,
    save_table,
)
from proofmill.filters.rolling_hash import I64, U64, to_arrow, to_numpy

MAX_ALL_PAIRS = 64
"""A bucket of more rows isn't paired in full: each row meets its best and its next `BIG_BUCKET_PARTNERS`."""

BIG_BUCKET_PARTNERS = 32
PENDING_PAIRS = 1 << 21  # candidates gathered before repeats are taken out
BINS = 4096  # of ranks, in which candidates are counted
NOBODY = 0xFFFFFFFF  # instead of a rank

Rules: TypeAlias = tuple[PairRule, ...]

_HALF = np.uint64(32)
RANKED = np.dtype([("row", "<u4"), *((name, FACTS[name]) for name in ("size", "problem", "low", "high"))])


@dataclass(frozen=True, eq=False)
class JoinRows:
    """All rows of a join. Row numbers are positions in reading order; ranks order them, best first.

    Attributes:
        folder: its files.
        rules: the pairs that are looked for.
        bands: number of bands of each rule.
        starts: first row of each part, and the number of rows.
        records: of each part, as `PartFacts` has them.
        previous: number of rows of earlier versions; they come first.
        bases: first rank of each range, and the number of rows; empty before rows are ranked.
    """

    folder: Path
    rules: Rules
    bands: tuple[int, ...]
    starts: I64
    records: tuple[tuple[int, ...], ...]
    previous: int
    bases: I64

    def __len__(self) -> int:
        return int(self.starts[-1])

    @classmethod
    def of(
        cls, folder: Path, options: DedupOptions, rules: Rules, parts: Sequence[PartFacts], previous: int
    ) -> JoinRows:
        """Return the rows of parts that are written; the first `previous` parts are those of earlier versions."""
        counts = [sum(part.rows) for part in parts]
        bands = tuple(rule.bands(options.permutations)[0] for rule in rules)
        starts = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)]).astype(np.int64)
        records = tuple(part.records for part in parts)
        return cls(folder, rules, bands, starts, records, sum(counts[:previous]), np.empty(0, np.int64))

    def mapped(self, name: str, kind: DTypeLike) -> NDArray[Any]:
        """Return the content of a file, mapped into memory."""
        path = existing(self.folder / name)
        return np.memmap(path, kind, "r") if path.stat().st_size else np.empty(0, kind)

    def array(self, name: str, kind: DTypeLike) -> NDArray[Any]:
        """Return the content of a file."""
        return np.fromfile(existing(self.folder / name), kind)

    def part_of(self, rows: I64) -> I64:
        """Return the part of each row."""
        return np.searchsorted(self.starts, rows, "right") - 1

    def in_range(self, band: int, task: KeyRange) -> tuple[U64, I64]:
        """Return the keys of a band that fall into a range and come more than once there, sorted, and their rows."""
        keys: list[U64] = [np.empty(0, np.uint64)]
        rows: list[I64] = [np.empty(0, np.int64)]
        low = (task.number << 64) // task.of
        high = ((task.number + 1) << 64) // task.of
        for part, counts in enumerate(self.records):
            count, before = counts[band], sum(counts[:band])
            if not count:
                continue
            path = existing(self.folder / f"{part}.bands")
            every = np.memmap(path, np.uint64, "r", 8 * before, (count,))
            first = int(np.searchsorted(every, np.uint64(low))) if task.number else 0
            last = int(np.searchsorted(every, np.uint64(high))) if task.number + 1 < task.of else count
            keys.append(np.fromfile(path, np.uint64, last - first, offset=8 * (before + first)))
            places = 8 * sum(counts) + 4 * (before + first)
            rows.append(np.fromfile(path, np.uint32, last - first, offset=places) + self.starts[part])
        return _sorted_repeats(np.concatenate(keys), np.concatenate(rows))


def _sorted_repeats(keys: U64, rows: I64) -> tuple[U64, I64]:
    """Return the keys that come more than once, in order, with their rows."""
    order = np.argsort(keys, kind="stable")  # parts are sorted already, and runs are merged
    keys, rows = keys[order], rows[order]
    shared = repeated(keys)
    return keys[shared], rows[shared]


@dataclass(frozen=True, eq=False)
class KeyRange:
    """A task over one of `of` equal ranges of keys."""

    rows: JoinRows
    number: int
    of: int


# --- Ids ----------------------------------------------------------------------------------------------------


class IdFacts(NamedTuple):
    """What ids say.

    Attributes:
        repeated: an id that two rows have.
        again: rows of earlier versions whose id a new row has.
    """

    repeated: str | None
    again: I64


def compare_ids(task: KeyRange) -> IdFacts:
    """Return which ids of a range of hashes come more than once."""
    rows = task.rows
    keys, places = rows.in_range(len(rows.records[0]) - 1, task)
    by_id: dict[tuple[int, str], list[int]] = defaultdict(list)
    for key, name, place in zip(keys.tolist(), _ids(rows, places).to_pylist(), places.tolist(), strict=True):
        by_id[key, name].append(place)
    again: list[int] = []
    for (_, name), holders in by_id.items():
        earlier = [place for place in holders if place < rows.previous]
        if len(holders) - len(earlier) > 1:
            return IdFacts(name, np.empty(0, np.int64))
        if earlier and len(holders) > len(earlier):
            again += earlier
    return IdFacts(None, np.array(again, np.int64))


def _ids(rows: JoinRows, places: I64) -> pa.Array:
    """Return the ids of some rows."""
    order, groups = grouped(rows.part_of(places))
    taken = [
        load_table(rows.folder / f"{part}.keys")["id"].take(to_arrow(places[order[span]] - rows.starts[part]))
        for part, span in groups
    ]
    chunks = [chunk for column in taken for chunk in column.chunks]
    back = np.empty(len(order), np.int64)
    back[order] = np.arange(len(order))
    return pa.chunked_array(chunks, pa.large_string()).combine_chunks().take(to_arrow(back))


def grouped(numbers: I64) -> tuple[I64, list[tuple[int, slice]]]:
    """Return an order that brings equal numbers together, and for each number its stretch of it."""
    order = np.argsort(numbers, kind="stable")
    found, starts = np.unique(numbers[order], return_index=True)
    limits = [*starts.tolist(), len(order)]
    return order, [(number, slice(*span)) for number, span in zip(found.tolist(), pairwise(limits), strict=True)]


# --- Ranks --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class RankTask:
    """A range of rows in their order, from the row `first` to before `last`; None: without limit."""

    rows: JoinRows
    number: int
    first: Preference | None
    last: Preference | None


def rank_range(task: RankTask) -> int:
    """Write the rows of a range in order, with what later tasks ask of them; return their number."""
    rows = task.rows
    tables: list[pa.Table] = []
    facts: list[NDArray[Any]] = [np.empty(0, FACTS)]
    for part in range(len(rows.records)):
        keys = load_table(rows.folder / f"{part}.keys")
        order = _between(keys, task.first, task.last)
        numbers = to_arrow(to_numpy(order).astype(np.int64) + rows.starts[part])
        tables.append(keys.select(["first", "second", "id"]).take(order).append_column("row", numbers))
        facts.append(rows.mapped(f"{part}.facts", FACTS)[to_numpy(order)])
    table = pa.concat_tables(tables)
    # Ids may repeat in earlier versions, so the row's number decides last.
    best_first = pc.sort_indices(table, sort_keys=[(name, "ascending") for name in table.column_names])
    every = np.concatenate(facts)[to_numpy(best_first)]
    ranked = np.empty(len(every), RANKED)
    ranked["row"] = to_numpy(table["row"].combine_chunks())[to_numpy(best_first)]
    for name in ("size", "problem", "low", "high"):
        ranked[name] = every[name]
    save(rows.folder / f"{task.number}.ranked", ranked)
    return len(ranked)


def _between(keys: pa.Table, first: Preference | None, last: Preference | None) -> pa.Array:
    """Return the rows of a part from one preference to before another, in order."""
    order = keys["order"].combine_chunks()
    columns = [keys[name] for name in ("first", "second", "id")]

    def preference(place: int) -> Preference:
        row = order[place].as_py()
        score, length, name = (column[row].as_py() for column in columns)
        return score, length, name

    every = range(len(order))
    start = bisect_left(every, first, key=preference) if first is not None else 0
    end = bisect_left(every, last, key=preference) if last is not None else len(order)
    return order.slice(start, max(end - start, 0))


def ranked_rows(rows: JoinRows, number: int) -> I64:
    """Return the rows of a range, best first."""
    return np.array(rows.mapped(f"{number}.ranked", RANKED)["row"]).astype(np.int64)


class Ranked:
    """What is known of a row, by its rank."""

    def __init__(self, rows: JoinRows) -> None:
        self._bases = rows.bases
        self._files = [
            np.memmap(existing(rows.folder / f"{number}.ranked"), RANKED, "r") if count else np.empty(0, RANKED)
            for number, count in enumerate(np.diff(rows.bases).tolist())
        ]

    def take(self, name: str, ranks: I64) -> NDArray[Any]:
        """Return one of `row`, `size`, `problem`, `low` and `high` for each of some ranks."""
        if len(self._files) == 1:
            return self._files[0][name][ranks]
        result = np.empty(len(ranks), RANKED[name])
        order, groups = grouped(np.searchsorted(self._bases, ranks, "right") - 1)
        for number, span in groups:
            places = order[span]
            result[places] = self._files[number][name][ranks[places] - self._bases[number]]
        return result


# --- Rows with the same shingles ----------------------------------------------------------------------------


def group_equal(task: KeyRange) -> None:
    """Write, as pairs with the best of them, which rows have the same shingles, and which of these are twins.

    Of twins only the best takes part in the join: with one threshold all rows with the same shingles, with two those
    of one problem, since a twin's neighbours are then the best one's as well.
    """
    rows = task.rows
    keys, places = rows.in_range(len(rows.records[0]) - 2, task)
    ranks = rows.mapped("rank", np.uint32)[places].astype(np.int64)
    here = rows.mapped("present", np.bool_)[ranks]
    keys, ranks = keys[here], ranks[here]
    ranked = Ranked(rows)
    order = np.lexsort((ranks, keys))
    keys, ranks = keys[order], ranks[order]
    best = _first_of_run(ranks, keys)
    # Half of the digest sorted them; the other half must agree as well.
    same = ranked.take("high", ranks) == ranked.take("high", best)
    keys, ranks, best = keys[same], ranks[same], best[same]
    save(rows.folder / f"{task.number}.equal", pack(best, ranks)[best != ranks])
    if len(rows.rules) > 1:
        problems = ranked.take("problem", ranks)
        order = np.lexsort((ranks, problems, keys))
        ranks = ranks[order]
        best = _first_of_run(ranks, keys[order], problems[order])
    save(rows.folder / f"{task.number}.twins", pack(best, ranks)[best != ranks])


def _first_of_run(values: I64, *keys: U64) -> I64:
    """Return for each value the first one of its run of equal keys."""
    begins = np.ones(len(values), np.bool_)
    if len(values):
        begins[1:] = np.any([key[1:] != key[:-1] for key in keys], axis=0)
    first: I64 = values[begins][np.cumsum(begins) - 1]
    return first


# --- Candidates: rows that agree in a band ------------------------------------------------------------------


class CandidateFacts(NamedTuple):
    """What a range of keys gave.

    Attributes:
        files: of candidates, for each rule.
        counts: candidates by bin of the worse row's rank, as many as there are before repeats are taken out.
    """

    files: tuple[int, ...]
    counts: I64


def find_candidates(task: KeyRange) -> CandidateFacts:
    """Write the pairs of rows that agree in a band, large buckets as lists of their members."""
    rows, found = task.rows, _Candidates(task)
    rank, active = rows.mapped("rank", np.uint32), rows.mapped("active", np.bool_)
    band = 0
    for number, bands in enumerate(rows.bands):
        for _ in range(bands):
            keys, places = rows.in_range(band, task)
            band += 1
            ranks = rank[places].astype(np.int64)
            live = active[ranks]
            found.add(number, _Buckets(keys[live], ranks[live]))
        found.flush(number)
    return found.write()


class _Candidates:
    """The candidates of a range of keys, as they are found."""

    def __init__(self, task: KeyRange) -> None:
        self._task, self._rows = task, task.rows
        self._ranked = Ranked(task.rows)
        self._equal = task.rows.mapped("equal", np.uint32)
        self._pending: list[U64] = []
        self._files = [0] * len(task.rows.rules)
        self._counts = np.zeros(BINS, np.int64)
        self._wanted: list[I64] = []
        self._large: list[list[I64]] = [[] for _ in task.rows.rules]

    def add(self, rule: int, buckets: _Buckets) -> None:
        """Take the buckets of a band."""
        for members in buckets.large():
            self._large[rule].append(members)
            self._wanted.append(np.unique(self._equal[members]).astype(np.int64))
        for pairs in buckets.pairs():
            self._pending.append(eligible(self._rows, self._ranked, rule, pairs))
            # A pair that agrees in several bands comes several times.
            if sum(map(len, self._pending)) > PENDING_PAIRS:
                self.flush(rule)

    def flush(self, rule: int) -> None:
        """Write the candidates that are gathered."""
        pairs = np.unique(np.concatenate([np.empty(0, np.uint64), *self._pending]))
        self._pending = []
        if not len(pairs):
            return
        save(self._rows.folder / f"{self._task.number}-{rule}-{self._files[rule]}.candidates", pairs)
        self._files[rule] += 1
        better, worse = unpack(pairs)
        self._counts += bins(worse, len(self._rows))
        sides = [self._equal[side] for side in (better, worse)]
        differ = sides[0] != sides[1]
        self._wanted.append(np.unique(np.concatenate([side[differ] for side in sides])).astype(np.int64))

    def write(self) -> CandidateFacts:
        """Write the rest: members of large buckets, and the rows whose shingles have to be compared."""
        wanted = np.unique(np.concatenate([np.empty(0, np.int64), *self._wanted]))
        save(self._rows.folder / f"{self._task.number}.wanted", wanted)
        counts = self._counts + save_buckets(self._rows, 0, self._task.number, self._large)
        return CandidateFacts(tuple(self._files), counts)


class _Buckets:
    """Rows that agree in a band: `ranks` sorted by key, runs of equal keys at `starts` with `sizes`."""

    def __init__(self, keys: U64, ranks: I64) -> None:
        begins = np.flatnonzero(np.concatenate(([True], keys[1:] != keys[:-1]))) if len(keys) else np.empty(0, np.int64)
        sizes = np.diff(np.append(begins, len(keys)))
        self.ranks = ranks
        self.starts, self.sizes = begins[sizes > 1], sizes[sizes > 1]

    def large(self) -> Iterator[I64]:
        """Yield the ranks in each bucket that is too large to pair in full, sorted."""
        large = self.sizes > MAX_ALL_PAIRS
        for start, size in zip(self.starts[large].tolist(), self.sizes[large].tolist(), strict=True):
            yield np.sort(self.ranks[start : start + size])

    def pairs(self) -> Iterator[U64]:
        """Yield packed candidate pairs of all other buckets, some million at a time."""
        # Buckets of one size have the same pairs of positions, so one fancy index pairs all of them at once.
        for size in np.unique(self.sizes[self.sizes <= MAX_ALL_PAIRS]).tolist():
            starts = self.starts[self.sizes == size]
            better, worse = np.triu_indices(size, 1)
            step = max(PENDING_PAIRS // len(better), 1)
            for at in range(0, len(starts), step):
                members = self.ranks[starts[at : at + step, None] + np.arange(size)]
                members.sort(axis=1)
                yield pack(members[:, better].ravel(), members[:, worse].ravel())


# Large buckets: lists of members, from which each range of ranks makes its own pairs. All pairs would take quadratic
# time. A near-duplicate of many rows most often repeats the best of them, or a neighbour in rank; what this misses is
# joined again among the rows still kept.


def save_buckets(rows: JoinRows, turn: int, number: int, large: Sequence[Sequence[I64]]) -> I64:
    """Write the members of buckets of each rule, sorted by rank; return how many pairs they give, by bin."""
    counts = np.zeros(BINS, np.int64)
    for rule, buckets in enumerate(large):
        members = np.concatenate([np.empty(0, np.int64), *buckets])
        sizes = np.array([len(bucket) for bucket in buckets], np.int64)
        save(rows.folder / f"{turn}-{number}-{rule}.members", members.astype(np.uint32))
        save(rows.folder / f"{turn}-{number}-{rule}.sizes", sizes)
        counts += bins(members, len(rows)) * (2 * BIG_BUCKET_PARTNERS)
    return counts


def load_buckets(rows: JoinRows, turn: int, number: int, rule: int) -> tuple[I64, I64]:
    """Return the members and the sizes that `save_buckets` has written."""
    members = rows.array(f"{turn}-{number}-{rule}.members", np.uint32).astype(np.int64)
    return members, rows.array(f"{turn}-{number}-{rule}.sizes", np.int64)


@dataclass(frozen=True, eq=False)
class ThinTask:
    """Large buckets of a range of keys, to be thinned to the rows that `mask` (by rank) keeps, for turn `turn`."""

    rows: JoinRows
    number: int
    turn: int
    mask: str


def thin_buckets(task: ThinTask) -> int:
    """Write what is left of the buckets that were too large to pair in full; return the number of rows in them."""
    rows, keep = task.rows, task.rows.mapped(task.mask, np.bool_)
    left = []
    for rule in range(len(rows.rules)):
        members, sizes = load_buckets(rows, task.turn - 1, task.number, rule)
        spans = np.split(members, np.cumsum(sizes)[:-1]) if len(sizes) else []
        thinned = [span[keep[span]] for span in spans if len(span) > MAX_ALL_PAIRS]
        left.append([span for span in thinned if len(span) > 1])
    save_buckets(rows, task.turn, task.number, left)
    return sum(len(span) for spans in left for span in spans)


def crowded(rows: JoinRows, turn: int, ranges: int) -> Iterator[I64]:
    """Yield the ranks of rows in buckets that are too large to pair in full."""
    for number in range(ranges):
        for rule in range(len(rows.rules)):
            members, sizes = load_buckets(rows, turn, number, rule)
            yield members[np.repeat(sizes > MAX_ALL_PAIRS, sizes)]


def bucket_pairs(members: I64, sizes: I64, low: int, high: int) -> Iterator[U64]:
    """Yield the pairs of buckets whose worse row has a rank in a range, some million at a time."""
    starts = np.cumsum(sizes) - sizes
    inside = np.flatnonzero((members >= low) & (members < high))
    step = max(PENDING_PAIRS // (2 * BIG_BUCKET_PARTNERS), 1)
    partners = np.arange(BIG_BUCKET_PARTNERS)
    for at in range(0, len(inside), step):
        worse = inside[at : at + step]
        bucket = np.searchsorted(starts, worse, "right") - 1
        place = (worse - starts[bucket])[:, None]
        large = (sizes[bucket] > MAX_ALL_PAIRS)[:, None]
        # Of a bucket that is small by now, all rows before this one: those are among the next `MAX_ALL_PAIRS`.
        near = place - 1 - np.arange(max(MAX_ALL_PAIRS, BIG_BUCKET_PARTNERS))
        better = np.concatenate([np.broadcast_to(partners, (len(worse), len(partners))), near], axis=1)
        real = (better >= 0) & (better < place)
        real[:, : len(partners)] &= large
        real[:, 2 * len(partners) :] &= ~large
        row, column = np.nonzero(real)
        yield pack(members[starts[bucket][row] + better[row, column]], members[worse[row]])


def eligible(rows: JoinRows, ranked: Ranked, rule: int, pairs: U64) -> U64:
    """Return the pairs without those inside the previous version, of another rule, or of sets that differ in size."""
    better, worse = unpack(pairs)
    # The worse row of a pair has the higher rank; if even that is of the previous version, both are.
    fits = worse >= rows.previous
    kind = rows.rules[rule]
    if kind.same_problem is not None:
        same = ranked.take("problem", better) == ranked.take("problem", worse)
        fits &= same == kind.same_problem
    sizes = np.stack([ranked.take("size", better), ranked.take("size", worse)]).astype(np.int64)
    # The sizes alone rule out most candidates, before any shingle is read.
    fits &= sizes.min(axis=0) >= kind.threshold * sizes.max(axis=0)  # the most that two such sets can share
    return pairs[fits]


def bins(ranks: I64, count: int) -> I64:
    """Return how many ranks fall into each bin."""
    return np.bincount(ranks * BINS // max(count, 1), minlength=BINS)


def unpack(pairs: U64) -> tuple[I64, I64]:
    """Return the ranks of the better and of the worse row of each pair."""
    return (pairs & np.uint64(0xFFFFFFFF)).astype(np.int64), (pairs >> _HALF).astype(np.int64)


def pack(better: I64, worse: I64) -> U64:
    """Return packed pairs; the inverse of `unpack`."""
    return worse.astype(np.uint64) << _HALF | better.astype(np.uint64)


# --- Names --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class NameTask:
    """A part whose rows are to be named by the rank that stands in a file, by their own rank."""

    rows: JoinRows
    part: int
    named: str


def name_rows(task: NameTask) -> Path:
    """Write the rows of a part: id, id of the row named, and whether that is of an earlier version; return the file."""
    rows = task.rows
    start, end = rows.starts[task.part : task.part + 2].tolist()
    ranks = np.fromfile(existing(rows.folder / "rank"), np.uint32, end - start, offset=4 * start)
    named = rows.mapped(task.named, np.uint32)[ranks].astype(np.int64)
    given = named != NOBODY
    # Where nothing is named this takes a wrong row, which `missing` below makes null.
    others = Ranked(rows).take("row", named[given]).astype(np.int64)
    place = np.cumsum(given) - 1
    names = _ids(rows, others) if len(others) else pa.nulls(1, pa.large_string())
    in_previous = given.copy()
    in_previous[given] = others < rows.previous
    columns = {
        "id": load_table(rows.folder / f"{task.part}.keys")["id"],
        "named": names.take(to_arrow(np.maximum(place, 0), missing=~given)),
        "in_previous": to_arrow(in_previous),
    }
    path = rows.folder / f"{task.part}.named"
    save_table(path, pa.table(columns))
    return path
