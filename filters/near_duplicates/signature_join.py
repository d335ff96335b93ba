"""The near-duplicate join: rows of signature files laid out on disk, and the pairs that agree in a band.

A gather over a million rows can't hold their signatures and shingle sets in memory. `SignatureRows`
reads each source once, in batches, and writes what the join needs into flat files of a scratch
folder: one file of 8-byte keys for each band, one file of all shingle hashes. In memory stay, per row,
its id, its rank, the row of the rank, the problem's number, the end of its shingles and their digest:
40 bytes beside the id. On disk: 8 bytes a band and 4 bytes a shingle, read as they are compared.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from typing import BinaryIO, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash
from numpy.typing import NDArray

from proofmill.data.errors import InputError
from proofmill.filters.near_duplicates.minhash import METADATA_KEY, DedupOptions
from proofmill.filters.rolling_hash import I64, U32, U64, to_arrow, to_numpy

Source: TypeAlias = Path | str | pa.Table
"""A signature file (Parquet, or Arrow's own format where it ends in .arrow), or a table."""

BATCH_ROWS = 4096
MIN_RECALL = 0.99  # of a pair exactly at the threshold: bands are as long as this allows
_BYTES = 4  # of a shingle
_MIX = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))  # splitmix64's finaliser


@dataclass(frozen=True, slots=True)
class PairRule:
    """One kind of pair to look for.

    Attributes:
        threshold: least Jaccard similarity.
        same_problem: True for pairs within a problem, False for pairs across problems, None for both.
    """

    threshold: float
    same_problem: bool | None

    def bands(self, permutations: int) -> tuple[int, int]:
        """Return (bands, values in a band): the most selective banding that still finds nearly every pair.

        A pair of similarity s agrees in one of b bands of r values with probability
        1 - (1 - s^r)^b (Leskovec, Rajaraman, Ullman: Mining of Massive Datasets, 3.4.2).
        """
        # Longer bands let fewer dissimilar pairs through, so the first length with enough recall is the cheapest.
        for r in range(permutations, 1, -1):
            if 1 - (1 - self.threshold**r) ** (permutations // r) >= MIN_RECALL:
                return permutations // r, r
        return permutations, 1


def pair_rules(options: DedupOptions) -> list[PairRule]:
    """Return the pair rules that the two thresholds ask for; a single one where they are equal."""
    # One rule for both finds each pair once; two rules would look at all rows twice.
    if options.threshold_within == options.threshold_across:
        return [PairRule(options.threshold_within, None)]
    return [PairRule(options.threshold_within, True), PairRule(options.threshold_across, False)]


class SignatureRows:
    """All rows of a join. Row numbers are positions in reading order; ranks order them, best first.

    Attributes:
        ids: the rows' ids, as chunks in reading order.
        previous: number of rows of the previous version; they come first.
        rank: int64 (rows,), rank of a row.
        by_rank: int64 (rows,), row of a rank.
        problem: uint64 (rows,), number of the problem; a row without one is its own problem.
        offsets: int64 (rows + 1,), limits of a row's part of `shingles`.
        digest: uint64 (rows,), equal for equal shingle sets, and for few others.
    """

    def __init__(
        self,
        sources: Iterable[Source],
        options: DedupOptions,
        rules: list[PairRule],
        scratch: Path,
        previous: Iterable[Source] = (),
    ) -> None:
        self._rules = rules
        self._writer = _BandWriter(options, rules, scratch)
        self._columns: list[pa.RecordBatch] = []
        self._sizes: list[U32] = []
        self._digests: list[U64] = []
        self._problems: list[U64] = []
        with self._writer:
            # The previous version comes first, so that `row < previous` says which rows are its own.
            self.previous = self._read(previous, options, 0)
            total = self._read(sources, options, self.previous)
        self._arrange(total)
        pa.default_memory_pool().release_unused()  # what the sources were read into
        self._shingles = _Stretches(scratch / "shingles.u32")

    def close(self) -> None:
        """Close the file of shingles."""
        self._shingles.close()

    def __len__(self) -> int:
        return len(self.rank)

    def set_sizes(self, rows: I64) -> I64:
        """Return the number of distinct shingles of each of the given rows."""
        sizes: I64 = self.offsets[rows + 1] - self.offsets[rows]
        return sizes

    def shingles(self, rows: I64) -> U32:
        """Return the distinct shingle hashes of the given rows, one row after the other."""
        return self._shingles.read(self.offsets[rows], self.set_sizes(rows))

    def band_count(self, rule: int) -> int:
        """Return the number of bands of one of the rules."""
        return self._writer.band_counts[rule]

    def band_keys(self, rule: int, band: int) -> U64:
        """Return the keys of all rows in one band of one rule, uint64 (rows,).

        Rows of different problems never share a key of a rule within problems.
        """
        keys: U64 = np.fromfile(self._writer.band_path(rule, band), np.uint64)
        # With the problem mixed into the key, a bucket holds rows of one problem; hardly a pair is thrown away later.
        return _mixed(keys ^ _mixed(self.problem)) if self._rules[rule].same_problem else keys

    def _read(self, sources: Iterable[Source], options: DedupOptions, start: int) -> int:
        for batch in _batches(sources, options):
            flat = batch.column("shingles")
            keys = _key_columns(batch)
            self._sizes.append(to_numpy(pc.list_value_length(flat)).astype(np.uint32))
            self._digests.append(self._writer.write(batch.column("signature"), to_numpy(flat.flatten())))
            self._problems.append(_problem_numbers(keys.column("problem_id"), start))
            self._columns.append(keys.drop_columns(["problem_id"]))
            start += batch.num_rows
        return start

    def _arrange(self, total: int) -> None:
        """Join the batches' columns and rank the rows by the stated order."""
        keys = pa.Table.from_batches(self._columns, schema=_RANK_SCHEMA)
        self.ids: pa.ChunkedArray = keys.column("id")
        self.offsets: I64 = np.concatenate([np.zeros(1, np.uint32), *self._sizes]).cumsum(dtype=np.int64)
        self.digest = np.concatenate([np.empty(0, np.uint64), *self._digests])
        self.problem = np.concatenate([np.empty(0, np.uint64), *self._problems])
        # The parts would double the memory of the sort that follows.
        del self._columns, self._sizes, self._digests, self._problems
        self.by_rank = _ranked(keys, self.previous)
        _refuse_repeats(self.ids.slice(self.previous))
        self.rank = np.empty(total, np.int64)
        self.rank[self.by_rank] = np.arange(total)


KEY_SCHEMA = pa.schema(
    [
        ("id", pa.large_string()),
        ("problem_id", pa.large_string()),
        ("verified", pa.bool_()),
        ("claim_score", pa.float32()),
        ("length", pa.int64()),
    ]
)
"""Columns of a signature file beside `minhash.signature_fields`; all but the id may be absent."""

_RANK_SCHEMA = KEY_SCHEMA.remove(KEY_SCHEMA.get_field_index("problem_id"))


def _ranked(keys: pa.Table, previous: int) -> I64:
    """Return rows in the order in which they are preferred; a missing value comes last.

    The previous version's first, then verified, claim score, shorter, id.
    """
    columns = {
        "is_new": to_arrow(np.arange(keys.num_rows) >= previous),
        "unverified": pc.invert(keys.column("verified")),
        **{name: keys.column(name) for name in ("claim_score", "length", "id")},
    }
    order = [(name, "descending" if name == "claim_score" else "ascending") for name in columns]
    return to_numpy(pc.sort_indices(pa.table(columns), sort_keys=order)).astype(np.int64)


def _problem_numbers(problems: pa.Array, first: int) -> U64:
    """Return a number for each problem id, equal for equal ids alone; a missing one gets a number of its own.

    Args:
        problems: the ids of some rows.
        first: number of the first of these rows.
    """
    # A hash needs no table of all ids; two of 64 bits meet among 10^9 problems with a chance of 3 %, of 10^7 with
    # 3 in a million, and then only two problems' traces are compared by the threshold of one.
    own = _mixed(np.arange(first, first + len(problems), dtype=np.uint64))
    return np.where(to_numpy(problems.is_null()).astype(bool), own, _hashes(problems))


def _hashes(values: pa.Array) -> U64:
    """Return a 64-bit hash of each string; a missing one counts as empty."""
    names = values.cast(pa.large_binary()).to_pylist()
    return np.fromiter((xxhash.xxh3_64_intdigest(name or b"") for name in names), np.uint64, len(names))


def _refuse_repeats(ids: pa.ChunkedArray) -> None:
    """Raise if two rows have one id; their hashes are compared first, which takes 8 bytes a row."""
    # Counting the ids themselves builds a table of strings, so it is done only where two hashes meet.
    hashes = np.concatenate([np.empty(0, np.uint64), *map(_hashes, ids.chunks)])
    hashes.sort()
    if not (hashes[1:] == hashes[:-1]).any():
        return
    counts = pc.value_counts(ids)
    repeated = counts.filter(pc.greater(counts.field("counts"), 1))
    if not len(repeated):
        return
    raise InputError(
        f"two rows have the id {repeated[0].as_py()['values']!r}",
        where="near-duplicates",
        remedy="give every row its own id; marks are given by id",
    )


def _batches(sources: Iterable[Source], options: DedupOptions) -> Iterator[pa.RecordBatch]:
    """Yield batches of all sources; raises where signatures were made with other options."""
    for source in sources:
        if isinstance(source, pa.Table):
            _check_source(source.schema, options, "a table")
            yield from source.to_batches(BATCH_ROWS)
        elif Path(source).suffix == ".arrow":
            # Mapped, the system may drop the pages again: a file may be larger than memory.
            with pa.memory_map(str(source)) as file:
                table = pa.ipc.open_file(file).read_all()
                _check_source(table.schema, options, str(source))
                yield from table.to_batches(BATCH_ROWS)
        else:
            import pyarrow.parquet as pq  # slow to import, and the commands' own files are Arrow's

            from proofmill.data.tables import batches

            schema = pq.read_schema(source)
            _check_source(schema, options, str(source))
            columns = [name for name in (*KEY_SCHEMA.names, "signature", "shingles") if name in schema.names]
            for table in batches(Path(source), columns, BATCH_ROWS):
                yield from table.to_batches()


def _check_source(schema: pa.Schema, options: DedupOptions, where: str) -> None:
    missing = {"id", "signature", "shingles"} - set(schema.names)
    if missing:
        raise InputError(f"no column {', '.join(sorted(missing))}", where=where, remedy="write it with `signatures`")
    # Signatures with other options can be compared without an error, but their similarities mean nothing.
    made_with = (schema.metadata or {}).get(METADATA_KEY, b"other options")
    if made_with != options.signature_key():
        raise InputError(
            f"signed with {made_with.decode()}, not comparable with {options.signature_key().decode()}",
            where=where,
            remedy="sign the texts again, or use the options they were signed with",
        )


def _key_columns(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Return the columns that rank a row, in fixed types; a column that isn't there is all missing."""
    columns = [
        batch.column(field.name).cast(field.type)
        if field.name in batch.schema.names
        else pa.nulls(batch.num_rows, field.type)
        for field in KEY_SCHEMA
    ]
    return pa.record_batch(columns, schema=KEY_SCHEMA)


def _mixed(values: U64) -> U64:
    """Return the values after splitmix64's finaliser, which spreads every bit over all of them."""
    values = (values ^ values >> np.uint64(30)) * _MIX[0]
    values = (values ^ values >> np.uint64(27)) * _MIX[1]
    return values ^ values >> np.uint64(31)


class _Stretches:
    """A file of uint32 values, of which single stretches are read.

    It is read and not mapped: stretches lie far apart, so each would cost a page fault, and what is mapped counts
    as memory of the process.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb", buffering=0)

    def read(self, starts: I64, sizes: I64) -> U32:
        """Return the values of some stretches, one after the other."""
        file = repeat(self._file.fileno())
        stretches = map(os.pread, file, (sizes * _BYTES).tolist(), (starts * _BYTES).tolist())
        return np.frombuffer(b"".join(stretches), np.uint32)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class _BandWriter:
    """Appends band keys, band by band, and shingles to files of the scratch folder."""

    def __init__(self, options: DedupOptions, rules: list[PairRule], scratch: Path) -> None:
        self._scratch, self._rules = scratch, rules
        self._permutations = options.permutations
        self.band_counts = [rule.bands(options.permutations)[0] for rule in rules]
        self._files: dict[tuple[int, int], BinaryIO] = {}

    def band_path(self, rule: int, band: int) -> Path:
        return self._scratch / f"{rule}-{band}.u64"

    def __enter__(self) -> _BandWriter:
        for number, count in enumerate(self.band_counts):
            for band in range(count):
                self._files[number, band] = self.band_path(number, band).open("wb")
        self._shingles = (self._scratch / "shingles.u32").open("wb")
        return self

    def __exit__(self, *_: object) -> None:
        for file in (*self._files.values(), self._shingles):
            file.close()

    def write(self, signature: pa.Array, shingles: U32) -> U64:
        """Append some rows and return a digest of each row's keys."""
        shingles.tofile(self._shingles)
        matrix = _matrix(signature, self._permutations)
        digest = np.zeros(len(signature), np.uint64)
        for (number, band), file in self._files.items():
            width = self._rules[number].bands(self._permutations)[1]
            key = _band_key(matrix[band * width : (band + 1) * width])
            key.tofile(file)
            # Equal shingles give equal keys in every band, so rows with one digest may be twins (`duplicates._twins`).
            digest = digest * _MIX[0] + key
        return digest


def _band_key(values: U64) -> U64:
    """Return one key for each column of `values`: a multilinear hash, mixed."""
    key = np.zeros(values.shape[1], np.uint64)
    for number, value in enumerate(values):
        # Powers of an odd number differ mod 2^64, so the order of the values counts.
        key += value * np.uint64(pow(int(_MIX[0]), number + 1, 1 << 64))
    return _mixed(key)


def _matrix(signature: pa.Array, permutations: int) -> U64:
    """Return the signatures' values as uint64, one contiguous row for each permutation."""
    # A slice of an Arrow array shares the buffer of the whole; `offset` says where the slice begins.
    raw = np.frombuffer(signature.buffers()[1], "<u4")
    start = signature.offset * permutations
    rows = raw[start : start + len(signature) * permutations].reshape(-1, permutations)
    return np.ascontiguousarray(rows.T).astype(np.uint64)


# --- Pairs of near-duplicates: candidates from sorted band keys, confirmed on their shingle sets ---
#
# A pair is one uint64, the worse row's rank in the upper half and the better row's in the lower, so
# that sorting pairs brings a row's better neighbours together, best first.

MAX_ALL_PAIRS = 64
"""A bucket of more rows isn't paired in full: each row meets its best and its next `BIG_BUCKET_PARTNERS`."""

BIG_BUCKET_PARTNERS = 32
PART_ROWS = 1 << 22  # keys sorted at a time
PENDING_PAIRS = 1 << 21  # candidates gathered before they are confirmed
CONFIRM_SHINGLES = 1 << 17  # shingles compared at a time: these stay near the processor's caches

Bools = NDArray[np.bool_]

_HALF = np.uint64(32)


def join(rows: SignatureRows, rules: list[PairRule], active: Bools) -> tuple[U64, Bools]:
    """Return all confirmed pairs among the active rows.

    Args:
        rows: the rows, with the band keys of `rules`.
        rules: the rules, as given to `rows`.
        active: bool (rows,) by rank.

    Returns:
        Packed pairs, sorted, without repeats; and, bool (rows,) by rank, which rows were in a bucket that was
        too large to pair in full.
    """
    ranks = np.flatnonzero(active)
    parts: list[U64] = []
    crowded = np.zeros(len(rows), np.bool_)
    for number, rule in enumerate(rules):
        pending: list[U64] = []
        for band in range(rows.band_count(number)):
            # One band at a time is in memory: 8 bytes a row, whatever the number of bands.
            keys = rows.band_keys(number, band)[rows.by_rank[ranks]]
            for buckets in _bucket_parts(keys, ranks):
                crowded[buckets.crowd()] = True
                for pairs in buckets.pairs():
                    pending.append(_eligible(rows, rule, pairs))
                    # A pair that agrees in several bands comes several times; `confirmed` looks at it once in a batch.
                    if sum(map(len, pending)) > PENDING_PAIRS:
                        parts.append(confirmed(rows, rule.threshold, pending))
                        pending = []
        parts.append(confirmed(rows, rule.threshold, pending))
    return np.unique(np.concatenate(parts)), crowded


def unpack(pairs: U64) -> tuple[I64, I64]:
    """Return the ranks of the better and of the worse row of each pair."""
    return (pairs & np.uint64(0xFFFFFFFF)).astype(np.int64), (pairs >> _HALF).astype(np.int64)


def pack(better: I64, worse: I64) -> U64:
    """Return packed pairs; the inverse of `unpack`."""
    return worse.astype(np.uint64) << _HALF | better.astype(np.uint64)


def confirmed(rows: SignatureRows, threshold: float, candidates: list[U64]) -> U64:
    """Return the candidates whose shingle sets have a Jaccard similarity of at least `threshold`."""
    pairs = np.unique(np.concatenate([np.empty(0, np.uint64), *candidates]))
    left, right = (rows.by_rank[rank] for rank in unpack(pairs))
    sizes = np.stack([rows.set_sizes(left), rows.set_sizes(right)])
    # The sizes alone rule out most candidates, before any shingle is read from the disk.
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
        """Return the members of the buckets that are too large to pair in full."""
        large = self.sizes > MAX_ALL_PAIRS
        spans = zip(self.starts[large].tolist(), self.sizes[large].tolist(), strict=True)
        return np.concatenate([np.empty(0, np.int64), *(self.ranks[start : start + size] for start, size in spans)])

    def pairs(self) -> Iterator[U64]:
        """Yield packed candidate pairs, some million at a time."""
        # Buckets of one size have the same pairs of positions, so one fancy index pairs all of them at once.
        for size in np.unique(self.sizes).tolist():
            starts = self.starts[self.sizes == size]
            better, worse = _pair_positions(size)
            step = max(PENDING_PAIRS // len(better), 1)
            for at in range(0, len(starts), step):
                members = self.ranks[starts[at : at + step, None] + np.arange(size)]
                members.sort(axis=1)
                yield pack(members[:, better].ravel(), members[:, worse].ravel())


def _pair_positions(size: int) -> tuple[I64, I64]:
    """Return the positions of the rows to pair in a bucket of `size` rows in order of rank."""
    if size <= MAX_ALL_PAIRS:
        better, worse = np.triu_indices(size, 1)
        return better, worse
    # All pairs of a large bucket would take quadratic time. A near-duplicate of many rows most often repeats the
    # best of them, or a neighbour in rank; what this misses is joined again among the rows still kept.
    every = np.arange(size)
    partners = np.arange(BIG_BUCKET_PARTNERS)
    best = np.broadcast_to(partners, (size, BIG_BUCKET_PARTNERS))
    before = every[:, None] - 1 - partners
    better = np.concatenate([best, before], axis=1).ravel()
    worse = np.repeat(every, 2 * BIG_BUCKET_PARTNERS)
    real = (better >= 0) & (better < worse)
    return better[real], worse[real]


def _bucket_parts(keys: U64, ranks: I64) -> Iterator[_Buckets]:
    """Yield the buckets by ranges of keys, so that the sort's memory doesn't grow with the rows."""
    parts = -(-len(keys) // PART_ROWS)
    if parts <= 1:
        yield _Buckets(keys, ranks)
        return
    # The keys are spread evenly (`_mixed`), so equal ranges of keys hold about equally many rows.
    part_of = (keys >> _HALF) * np.uint64(parts) >> _HALF
    for part in range(parts):
        here = np.flatnonzero(part_of == part)
        yield _Buckets(keys[here], ranks[here])


def _eligible(rows: SignatureRows, rule: PairRule, pairs: U64) -> U64:
    """Return the pairs without those inside the previous version and those that the rule is not about."""
    better, worse = unpack(pairs)
    # The worse row of a pair has the higher rank; if even that is of the previous version, both are.
    eligible = worse >= rows.previous
    if rule.same_problem is not None:
        same = rows.problem[rows.by_rank[better]] == rows.problem[rows.by_rank[worse]]
        eligible &= same == rule.same_problem
    return pairs[eligible]


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


def _shared(rows: SignatureRows, left: I64, right: I64) -> I64:
    """Return the number of shingles that each pair of rows has in common."""
    keys = np.concatenate([_owned_shingles(rows, left), _owned_shingles(rows, right)])
    keys.sort()
    twice = keys[1:][keys[1:] == keys[:-1]]  # a set holds a hash once, so equal keys are the two rows'
    return np.bincount((twice >> _HALF).astype(np.int64), minlength=len(left))


def _owned_shingles(rows: SignatureRows, members: I64) -> U64:
    """Return the shingle hashes of the rows, each with the position of its row in the upper half."""
    position = np.arange(len(members), dtype=np.uint64) << _HALF
    return np.repeat(position, rows.set_sizes(members)) | rows.shingles(members)
