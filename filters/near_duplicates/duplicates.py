"""Near-duplicates among traces or prompts: which rows repeat which, and which row is kept.

Candidates come from MinHash bands (rows that agree in a band share a bucket) and every one is
confirmed by the exact Jaccard similarity of the hashed shingle sets, so no text is read again and
a reported pair is a real one. Rows are then taken in a stated order: verified first, then higher
claim score, then shorter, then id. A row is kept unless a kept row is its near-duplicate; then
`duplicate_of` names the best such row. So every mark is a confirmed pair, no two kept rows are
confirmed near-duplicates, a row that is linked to a kept one only by a chain of others stays, and
the result doesn't depend on the order of the input.

`minhash.signatures` is the map step (texts in, two columns out), `marks` the gather over the files of
signatures. It is cut into tasks over files (`signature_join`), which run here, in worker processes, or on
the nodes of a cluster, with the same result. This process hands them out and decides what is kept: 15 bytes a
row. A task holds a part of the rows (`signed_parts.PART_ROWS`), or a range of keys or ranks of about as many. The
scratch folder holds 12 bytes a band across problems, 12 bytes a band within problems for rows that may have a mate
in it, about 110 bytes and the id of each row, and 4 bytes a shingle of rows that look like others.

Limits: a pair exactly at the threshold is missed with a probability of at most 1 %
(`signed_parts.MIN_RECALL`), a more similar one less often. Buckets of more than
`signature_join.MAX_ALL_PAIRS` different texts are paired in part, then again among the rows still kept.
Not more than 2^32 - 1 rows.
"""

from __future__ import annotations

import tempfile
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from proofmill.data.errors import InputError
from proofmill.data.schemas import column
from proofmill.data.tasks import R, TaskMap, run_here
from proofmill.filters.base import DropRule, GatherContext, GatherFilter, MapFilter, Part, Row
from proofmill.filters.near_duplicates import confirmation
from proofmill.filters.near_duplicates import signature_join as join
from proofmill.filters.near_duplicates import signed_parts as parts
from proofmill.filters.near_duplicates.minhash import DEFAULTS, DedupOptions, signature_fields, signatures
from proofmill.filters.near_duplicates.signature_join import NOBODY, JoinRows, KeyRange, Rules, unpack
from proofmill.filters.near_duplicates.signed_parts import (
    ExtractTask,
    PairRule,
    PartFacts,
    PartTask,
    Preference,
    Reader,
    Source,
    pair_rules,
)
from proofmill.filters.rolling_hash import I64, U64
from proofmill.filters.verdicts import CORRECT

MARK_SCHEMA = pa.schema([("id", pa.string()), ("duplicate_of", pa.string()), ("in_previous", pa.bool_())])
CLUSTER_SCHEMA = pa.schema([("id", pa.string()), ("cluster_id", pa.string())])

RANGE_ROWS = 1 << 19  # rows ranked by one task
RANGE_RECORDS = 1 << 22  # records of bands that one task sorts
RANGE_PAIRS = 1 << 22  # candidates that one task confirms
_PAIRS_AT_A_TIME = 1 << 18  # Python integers are large


def marks(
    sources: Iterable[Source],
    options: DedupOptions = DEFAULTS,
    *,
    previous: Iterable[Source] = (),
    scratch: Path | None = None,
    apart: bool = False,
    tasks: TaskMap = run_here,
) -> Iterator[pa.Table]:
    """Yield for the rows of each source the better row that each repeats, if there is one.

    Args:
        sources: signature files, readers or tables with `id`, the columns of `minhash.signature_fields` and, as far
            as there are, `problem_id`, `verified` (bool), `claim_score`, `length`. An iterator may still be in the
            making: its files are read here, one after the other, as they come.
        options: the two thresholds, and the options the rows were signed with.
        previous: the same of earlier versions; their rows are never marked and come before all others. One with the id
            of a new row is that row, and does not count.
        scratch: folder for temporary files, which every task must see; the system's by default.
        apart: whether all rows of a problem stand in one source, which saves most records within problems.
        tasks: runs a function on each of some tasks.

    Yields:
        `MARK_SCHEMA`; `duplicate_of` is null for kept rows, `in_previous` tells that it names a row of `previous`.

    Raises:
        InputError: ids repeat, a column is missing, or rows were signed with other options.
    """
    with tempfile.TemporaryDirectory(dir=scratch, prefix="near-duplicates-") as folder:
        work = _Join(Path(folder), options, pair_rules(options), tasks, apart=apart)
        work.read(sources, previous)
        for table in work.named(_kept_for(work)):
            yield table.rename_columns(MARK_SCHEMA.names).cast(MARK_SCHEMA)


def mark(
    sources: Iterable[Source],
    options: DedupOptions = DEFAULTS,
    *,
    previous: Iterable[Source] = (),
    scratch: Path | None = None,
    tasks: TaskMap = run_here,
) -> pa.Table:
    """Return the marks of all sources in one table; arguments and errors as for `marks`."""
    found = marks(sources, options, previous=previous, scratch=scratch, tasks=tasks)
    return pa.concat_tables([MARK_SCHEMA.empty_table(), *found])


def clusters(
    sources: Iterable[Source],
    options: DedupOptions = DEFAULTS,
    *,
    scratch: Path | None = None,
    tasks: TaskMap = run_here,
) -> pa.Table:
    """Return the clusters of rows that are linked by a chain of near-duplicates at `threshold_across`.

    For a split that must not leak: rows of one cluster go to one side. Arguments and errors as for
    `marks`; problems play no part.

    Returns:
        `CLUSTER_SCHEMA`, the rows of `sources` in their order; a cluster is named by its best row's id.
    """
    with tempfile.TemporaryDirectory(dir=scratch, prefix="near-duplicates-") as folder:
        work = _Join(Path(folder), options, (PairRule(options.threshold_across, None),), tasks)
        work.read(sources, ())
        work.pair()
        root = _components([*work.pairs(), *work.twins()], work.count)
        named = [table.select(["id", "named"]).rename_columns(CLUSTER_SCHEMA.names) for table in work.named(root)]
        return pa.concat_tables([CLUSTER_SCHEMA.empty_table(), *(table.cast(CLUSTER_SCHEMA) for table in named)])


def _kept_for(work: _Join) -> array[int]:
    """Return, by rank, the rank of the kept row that this one repeats, or `NOBODY`."""
    kept_for = work.pair()
    values = np.frombuffer(kept_for, np.uint32)
    for twins in work.twins():
        # A twin has its best row's neighbours: it repeats that row, or what that row repeats.
        best, twin = unpack(twins)
        values[twin] = np.where(values[best] == NOBODY, best, values[best])
    return kept_for


def _components(parts_of_pairs: Iterable[U64], count: int) -> array[int]:
    """Return, by rank, the best rank that is linked to it (union-find with path halving)."""
    root = array("I", range(count))

    def find(i: int) -> int:
        while root[i] != i:
            root[i] = i = root[root[i]]
        return i

    for pairs in parts_of_pairs:
        better, worse = unpack(pairs)
        for i, j in zip(better.tolist(), worse.tolist(), strict=True):
            a, b = find(i), find(j)
            # The smaller rank is the better row, so the root of a cluster is its best.
            root[max(a, b)] = min(a, b)
    for i in range(count):
        root[i] = find(i)
    return root


@dataclass(frozen=True)
class _Span:
    """A range of ranks."""

    low: int
    high: int


class _Join:
    """Hands out the tasks of a join in their order, and decides between them what is kept.

    Args:
        folder: for its files.
        options: what rows were signed with.
        rules: the pairs to look for.
        tasks: runs a function on each of some tasks.
        apart: whether all rows of a problem stand in one source.
    """

    def __init__(
        self, folder: Path, options: DedupOptions, rules: Rules, tasks: TaskMap, *, apart: bool = False
    ) -> None:
        self._folder, self._options, self._rules, self._tasks, self._apart = folder, options, rules, tasks, apart
        self._parts: list[PartTask] = []
        self._facts: list[PartFacts] = []
        self._rows = JoinRows.of(folder, options, rules, [], 0)
        self._previous = 0  # parts
        self._spilled = 0
        self._ranges = 0  # of digests
        self._spans: list[_Span] = []  # ranges of ranks whose pairs stand in a file of their own
        self._turns = 0

    @property
    def count(self) -> int:
        """Number of rows."""
        return len(self._rows)

    # Rows: written part by part, ranked, equal ones found.

    def read(self, sources: Iterable[Source], previous: Iterable[Source]) -> None:
        """Read all rows and rank them.

        Raises:
            InputError: ids repeat, a column is missing, or rows were signed with other options.
        """
        self._write(previous, old=True)
        self._previous = len(self._parts)
        shared = self._shared_problems() if self._parts else None
        self._write(sources, old=False, shared=shared)
        self._rows = JoinRows.of(self._folder, self._options, self._rules, self._facts, self._previous)
        pa.default_memory_pool().release_unused()  # what the sources were read into
        if self.count:
            self._rank()
            self._group_equal()

    def _write(self, sources: Iterable[Source], *, old: bool, shared: Path | None = None) -> None:
        """Write parts: where all sources are there, by tasks; else here, while further ones are made."""
        first = len(self._parts)
        for number, part in enumerate(self._grouped(sources), first):
            self._parts.append(
                PartTask(self._folder, number, part, self._options, self._rules, old, self._apart, shared)
            )
        self._facts += self._tasks(parts.write_part, self._parts[first:])

    def _grouped(self, sources: Iterable[Source]) -> Iterator[tuple[Source, ...]]:
        """Yield the sources of each part; tables are written to files, since they are read twice."""
        group: list[Source] = []
        count = 0
        for source in sources:
            rows = parts.count_rows(source)
            if group and count + rows > parts.PART_ROWS:
                yield tuple(group)
                group, count = [], 0
            group.append(self._on_disk(source))
            count += rows
        if group:
            yield tuple(group)

    def _on_disk(self, source: Source) -> Source:
        if not isinstance(source, pa.Table):
            return source
        path = self._folder / f"table-{self._spilled}.arrow"
        self._spilled += 1
        parts.save_table(path, source)
        return path

    def _shared_problems(self) -> Path:
        """Write the problems of earlier versions; return the file."""
        path = self._folder / "shared"
        each = [self._rows.array(f"{part.number}.problems", np.uint64) for part in self._parts]
        parts.save(path, np.unique(np.concatenate(each)))
        return path

    def _rank(self) -> None:
        """Rank the rows, and find ids that come twice."""
        cuts = self._cuts()
        ends = zip([None, *cuts], [*cuts, None], strict=True)
        tasks = [join.RankTask(self._rows, number, *limits) for number, limits in enumerate(ends)]
        counts = list(self._tasks(join.rank_range, tasks))
        self._rows = replace(self._rows, bases=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64))
        rank = np.empty(self.count, np.uint32)
        for base, rows in self._ranked_rows():
            rank[rows] = np.arange(base, base + len(rows), dtype=np.uint32)
        self._save("rank", rank)
        self._remove("*.facts")  # later tasks read them by rank
        present = np.ones(self.count, np.bool_)
        for found in self._by_keys(join.compare_ids):
            if found.repeated is not None:
                raise InputError(
                    f"two rows have the id {found.repeated!r}",
                    where="near-duplicates",
                    remedy="give every row its own id; marks are given by id",
                )
            present[rank[found.again]] = False
        self._save("present", present)

    def _cuts(self) -> list[Preference]:
        """Return the rows between ranges of ranks, from samples of all parts."""
        sample = sorted(row for facts in self._facts for row in facts.sample)
        ranges = min(-(-self.count // RANGE_ROWS), len(sample))
        return [sample[len(sample) * number // ranges] for number in range(1, ranges)]

    def _ranked_rows(self) -> Iterator[tuple[int, I64]]:
        """Yield the first rank of each range, and the rows of its ranks."""
        for number, base in enumerate(self._rows.bases[:-1].tolist()):
            yield base, join.ranked_rows(self._rows, number)

    def _group_equal(self) -> None:
        """Find rows with the same shingles."""
        self._ranges = len(self._by_keys(join.group_equal))
        equal = np.arange(self.count, dtype=np.uint32)
        active = self._rows.array("present", np.bool_)
        for number in range(self._ranges):
            best, worse = unpack(self._rows.array(f"{number}.equal", np.uint64))
            equal[worse] = best
        for twins in self.twins():
            active[unpack(twins)[1]] = False
        self._save("equal", equal)
        self._save("active", active)

    def twins(self) -> Iterator[U64]:
        """Yield the rows that have a twin, as pairs with the best of them."""
        for number in range(self._ranges):
            yield self._rows.array(f"{number}.twins", np.uint64)

    # Pairs.

    def pair(self) -> array[int]:
        """Find the pairs; return what `_keep_best` does. What large buckets may hide is joined again among their rows
        still kept.
        """
        if not self.count:
            return array("I")
        found = self._by_keys(join.find_candidates)
        self._remove("*.bands")  # before shingles come
        files = tuple(facts.files for facts in found)
        self._spans = self._cut_ranks(sum((facts.counts for facts in found), np.zeros(join.BINS, np.int64)))
        self._extract(len(found))
        new = self._confirm(files)
        self._remove("*.candidates")
        kept_for = self._keep_best()
        # Each turn drops rows, so what is left of a large bucket gets smaller until it is paired in full, or no new
        # pair is found. Rows that are both kept have no pair yet, so every pair of a further turn is new.
        while new and self._thin(len(found), kept_for):
            new = self._confirm(files)
            kept_for = self._keep_best()
        return kept_for

    def _remove(self, names: str) -> None:
        """Remove files that no further task reads."""
        for path in self._folder.glob(names):
            path.unlink()

    def _cut_ranks(self, counts: I64) -> list[_Span]:
        """Return ranges of ranks with about `RANGE_PAIRS` candidates each."""
        spans, low, pairs = [], 0, 0
        for number, count in enumerate(counts.tolist()):
            first = -(-number * self.count // join.BINS)  # rank of the bin, see `signature_join.bins`
            if pairs and pairs + count > RANGE_PAIRS:
                spans.append(_Span(low, first))
                low, pairs = first, 0
            pairs += count
        return [*spans, _Span(low, self.count)]

    def _extract(self, ranges: int) -> None:
        """Write the shingles of the rows that look like others."""
        by_rank = np.zeros(self.count, np.bool_)
        for number in range(ranges):
            by_rank[self._rows.array(f"{number}.wanted", np.int64)] = True
        wanted = np.zeros(self.count, np.bool_)
        for base, rows in self._ranked_rows():
            wanted[rows[by_rank[base : base + len(rows)]]] = True
        self._save("wanted", wanted)
        starts = self._rows.starts.tolist()
        tasks = [
            ExtractTask(part, self._folder / "wanted", start)
            for part, start, end in zip(self._parts, starts[:-1], starts[1:], strict=True)
            if wanted[start:end].any()
        ]
        list(self._tasks(parts.extract_shingles, tasks))

    def _confirm(self, files: tuple[tuple[int, ...], ...]) -> int:
        """Confirm the candidates of this turn; return how many pairs are found."""
        tasks = [
            confirmation.ConfirmTask(self._rows, number, span.low, span.high, self._turns, files)
            for number, span in enumerate(self._spans)
        ]
        self._turns += 1
        return sum(self._tasks(confirmation.confirm_pairs, tasks))

    def _thin(self, ranges: int, kept_for: array[int]) -> int:
        """Thin the large buckets to their rows still kept; return how many rows are left in them."""
        mask = np.zeros(self.count, np.bool_)
        for members in join.crowded(self._rows, self._turns - 1, ranges):
            mask[members] = True
        mask &= np.frombuffer(kept_for, np.uint32) == NOBODY
        name = f"{self._turns}.mask"
        self._save(name, mask)
        tasks = [join.ThinTask(self._rows, number, self._turns, name) for number in range(ranges)]
        return sum(self._tasks(join.thin_buckets, tasks))

    def pairs(self) -> Iterator[U64]:
        """Yield all pairs in order, some at a time."""
        for number in range(len(self._spans)):
            turns = [self._rows.array(f"{turn}-{number}.pairs", np.uint64) for turn in range(self._turns)]
            every = np.unique(np.concatenate(turns)) if self._turns > 1 else turns[0]
            for start in range(0, len(every), _PAIRS_AT_A_TIME):
                yield every[start : start + _PAIRS_AT_A_TIME]

    def _keep_best(self) -> array[int]:
        """Return, by rank, the best kept row among a row's better neighbours, or `NOBODY` where none of them is kept.

        Pairs are sorted by the worse row, so that every better row is decided when it is looked at.
        """
        kept_for = array("I", [NOBODY]) * self.count
        values = np.frombuffer(kept_for, np.uint32)
        for pairs in self.pairs():
            better, worse = unpack(pairs)
            open_ = values[better] == NOBODY  # a dropped row drops no other
            for i, j in zip(better[open_].tolist(), worse[open_].tolist(), strict=True):
                # The first kept neighbour is the best one, since pairs are sorted.
                if kept_for[j] == NOBODY and kept_for[i] == NOBODY:
                    kept_for[j] = i
        return kept_for

    # Names.

    def named(self, ranks: array[int]) -> Iterator[pa.Table]:
        """Yield, for the rows of each new source, id, the id of the row of a rank, and whether that is an earlier
        version's.
        """
        if not self.count:
            none = pa.schema([("id", pa.string()), ("named", pa.string()), ("in_previous", pa.bool_())])
            yield from (none.empty_table() for facts in self._facts for _ in facts.rows)
            return
        self._save("named", np.frombuffer(ranks, np.uint32))
        tasks = [join.NameTask(self._rows, number, "named") for number in range(self._previous, len(self._parts))]
        for path, facts in zip(self._tasks(join.name_rows, tasks), self._facts[self._previous :], strict=True):
            table, start = parts.load_table(path), 0
            for count in facts.rows:
                yield table.slice(start, count)
                start += count

    def _by_keys(self, function: Callable[[KeyRange], R]) -> list[R]:
        """Return what a function gives for each range of keys."""
        records = sum(sum(part) for part in self._rows.records)
        ranges = -(-records // RANGE_RECORDS)
        return list(self._tasks(function, [KeyRange(self._rows, number, ranges) for number in range(ranges)]))

    def _save(self, name: str, values: NDArray[Any]) -> None:
        parts.save(self._folder / name, values)


def annotate(rows: Sequence[Row], options: DedupOptions) -> pa.Table:
    """Return the signature and the hashed shingles of each response."""
    return signatures([row["response"] for row in rows], options)


def gather(shards: Sequence[Part], options: DedupOptions, context: GatherContext) -> Iterator[pa.Table]:
    """Yield for each trace the better one that it repeats, found by looking at all shards."""
    sources = [Reader(partial(_ranked, shard), shard.rows) for shard in shards]
    # All samples of a problem stand in one shard.
    yield from marks(
        sources, options, previous=context.previous, scratch=context.scratch, apart=True, tasks=context.tasks
    )


_MADE_OF = {"verified": ("verdict", "contaminated_by"), "length": ("response",)}


def _ranked(shard: Part, names: Sequence[str]) -> pa.Table:
    """Return columns of a shard's signatures, with those that decide which row of a cluster is kept."""
    rows = shard([column for name in names for column in _MADE_OF.get(name, (name,))])
    for name in names:
        if name == "verified":
            clean = rows["contaminated_by"].is_null()  # what is dropped must not take a clean row with it
            verified = pc.and_(pc.fill_null(pc.equal(rows["verdict"], CORRECT), False), clean)
            rows = rows.append_column(name, verified)
        elif name == "length":
            rows = rows.append_column(name, pc.utf8_length(rows["response"]))
    return rows.select(names)


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
