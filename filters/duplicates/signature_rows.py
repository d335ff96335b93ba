"""Rows of signature files laid out for the near-duplicate join: band keys and shingles on disk.

A gather over a million rows can't hold their signatures and shingle sets in memory. `SignatureRows`
reads each source once, in batches, and writes what the join needs into flat files of a scratch
folder: one file of 8-byte keys a band, one file of all shingle hashes. In memory stay, per row,
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

from proofmill.data.errors import InputError
from proofmill.filters.arrow_arrays import to_arrow, to_numpy
from proofmill.filters.duplicates.minhash import METADATA_KEY, DedupOptions
from proofmill.filters.windows import I64, U32, U64

Source: TypeAlias = Path | str | pa.Table
"""A signature file (Parquet, or Arrow's own format where it ends in .arrow), or a table."""

BATCH_ROWS = 4096
MIN_RECALL = 0.99  # of a pair exactly at the threshold: bands are as long as this allows
_BYTES = 4  # of a shingle
_MIX = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))  # splitmix64's finaliser


@dataclass(frozen=True, slots=True)
class Relation:
    """One kind of pair to look for.

    Attributes:
        threshold: least Jaccard similarity.
        same_problem: True for pairs within a problem, False for pairs across problems, None for both.
    """

    threshold: float
    same_problem: bool | None

    def bands(self, permutations: int) -> tuple[int, int]:
        """(bands, values a band): the most selective banding that still finds nearly every pair.

        A pair of similarity s agrees in one of b bands of r values with probability
        1 - (1 - s^r)^b (Leskovec, Rajaraman, Ullman: Mining of Massive Datasets, 3.4.2).
        """
        for r in range(permutations, 1, -1):
            if 1 - (1 - self.threshold**r) ** (permutations // r) >= MIN_RECALL:
                return permutations // r, r
        return permutations, 1


def relations(options: DedupOptions) -> list[Relation]:
    """The joins that the two thresholds ask for; a single one where they are equal."""
    if options.threshold_within == options.threshold_across:
        return [Relation(options.threshold_within, None)]
    return [Relation(options.threshold_within, True), Relation(options.threshold_across, False)]


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
        wanted: list[Relation],
        scratch: Path,
        previous: Iterable[Source] = (),
    ) -> None:
        self._wanted = wanted
        self._writer = _BandWriter(options, wanted, scratch)
        self._columns: list[pa.RecordBatch] = []
        self._sizes: list[U32] = []
        self._digests: list[U64] = []
        self._problems: list[U64] = []
        with self._writer:
            self.previous = self._read(previous, options, 0)
            total = self._read(sources, options, self.previous)
        self._arrange(total)
        pa.default_memory_pool().release_unused()  # what the sources were read into
        self._shingles = _Stretches(scratch / "shingles.u32")

    def close(self) -> None:
        """Ends the reading of shingles."""
        self._shingles.close()

    def __len__(self) -> int:
        return len(self.rank)

    def set_sizes(self, rows: I64) -> I64:
        """Number of distinct shingles of the given rows."""
        sizes: I64 = self.offsets[rows + 1] - self.offsets[rows]
        return sizes

    def shingles(self, rows: I64) -> U32:
        """The distinct shingle hashes of the given rows, one row after the other."""
        return self._shingles.read(self.offsets[rows], self.set_sizes(rows))

    def band_count(self, relation: int) -> int:
        """Number of bands of one of the wanted relations."""
        return self._writer.band_counts[relation]

    def band_keys(self, relation: int, band: int) -> U64:
        """Keys of all rows in one band of one of the wanted relations, uint64 (rows,).

        Rows of different problems never share a key of a relation within problems.
        """
        keys: U64 = np.fromfile(self._writer.band_path(relation, band), np.uint64)
        return _mixed(keys ^ _mixed(self.problem)) if self._wanted[relation].same_problem else keys

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
        """Joins the batches' columns and ranks the rows by the stated order."""
        keys = pa.Table.from_batches(self._columns, schema=_RANK_SCHEMA)
        self.ids: pa.ChunkedArray = keys.column("id")
        self.offsets: I64 = np.concatenate([np.zeros(1, np.uint32), *self._sizes]).cumsum(dtype=np.int64)
        self.digest = np.concatenate([np.empty(0, np.uint64), *self._digests])
        self.problem = np.concatenate([np.empty(0, np.uint64), *self._problems])
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
    """Rows in the order in which they are preferred; a missing value comes last.

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
    """A number for each problem id, equal for equal ids alone; a missing one gets a number of its own.

    Args:
        problems: the ids of some rows.
        first: number of the first of these rows.
    """
    # A hash needs no table of all ids; two of 64 bits meet among 10^9 problems with a chance of 3 %, of 10^7 with
    # 3 in a million, and then only two problems' traces are compared by the threshold of one.
    own = _mixed(np.arange(first, first + len(problems), dtype=np.uint64))
    return np.where(to_numpy(problems.is_null()).astype(bool), own, _hashes(problems))


def _hashes(values: pa.Array) -> U64:
    """A 64-bit hash of each string; a missing one counts as empty."""
    names = values.cast(pa.large_binary()).to_pylist()
    return np.fromiter((xxhash.xxh3_64_intdigest(name or b"") for name in names), np.uint64, len(names))


def _refuse_repeats(ids: pa.ChunkedArray) -> None:
    """Raises where two rows have one id; their hashes are looked at first, which takes 8 bytes a row."""
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
    """Batches of all sources; refuses signatures made with other options."""
    for source in sources:
        if isinstance(source, pa.Table):
            _check_source(source.schema, options, "a table")
            yield from source.to_batches(BATCH_ROWS)
        elif Path(source).suffix == ".arrow":
            with pa.memory_map(str(source)) as file:
                table = pa.ipc.open_file(file).read_all()
                _check_source(table.schema, options, str(source))
                yield from table.to_batches(BATCH_ROWS)
        else:
            import pyarrow.parquet as pq  # slow to import, and the commands' own files are Arrow's

            from proofmill.data.tables import batches

            schema = pq.read_schema(source)
            _check_source(schema, options, str(source))
            wanted = [name for name in (*KEY_SCHEMA.names, "signature", "shingles") if name in schema.names]
            for table in batches(Path(source), wanted, BATCH_ROWS):
                yield from table.to_batches()


def _check_source(schema: pa.Schema, options: DedupOptions, where: str) -> None:
    missing = {"id", "signature", "shingles"} - set(schema.names)
    if missing:
        raise InputError(f"no column {', '.join(sorted(missing))}", where=where, remedy="write it with `signatures`")
    made_with = (schema.metadata or {}).get(METADATA_KEY, b"other options")
    if made_with != options.signature_key():
        raise InputError(
            f"signed with {made_with.decode()}, not comparable with {options.signature_key().decode()}",
            where=where,
            remedy="sign the texts again, or use the options they were signed with",
        )


def _key_columns(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The columns that rank a row, in fixed types; a column that isn't there is all missing."""
    columns = [
        batch.column(field.name).cast(field.type)
        if field.name in batch.schema.names
        else pa.nulls(batch.num_rows, field.type)
        for field in KEY_SCHEMA
    ]
    return pa.record_batch(columns, schema=KEY_SCHEMA)


def _mixed(values: U64) -> U64:
    """splitmix64's finaliser: spreads every bit over all of them."""
    values = (values ^ values >> np.uint64(30)) * _MIX[0]
    values = (values ^ values >> np.uint64(27)) * _MIX[1]
    return values ^ values >> np.uint64(31)


class _Stretches:
    """A file of uint32 values, read here and there.

    Read and not mapped: stretches lie far apart, so that every one would cost a page fault, and what is mapped
    counts as memory of the process.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb", buffering=0)

    def read(self, starts: I64, sizes: I64) -> U32:
        """The values of some stretches, one after the other."""
        file = repeat(self._file.fileno())
        stretches = map(os.pread, file, (sizes * _BYTES).tolist(), (starts * _BYTES).tolist())
        return np.frombuffer(b"".join(stretches), np.uint32)

    def close(self) -> None:
        """Lets go of the file."""
        self._file.close()


class _BandWriter:
    """Appends band keys, band by band, and shingles to files of the scratch folder."""

    def __init__(self, options: DedupOptions, wanted: list[Relation], scratch: Path) -> None:
        self._scratch, self._wanted = scratch, wanted
        self._permutations = options.permutations
        self.band_counts = [relation.bands(options.permutations)[0] for relation in wanted]
        self._files: dict[tuple[int, int], BinaryIO] = {}

    def band_path(self, relation: int, band: int) -> Path:
        return self._scratch / f"{relation}-{band}.u64"

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
        """Appends some rows; gives a digest of each row's keys."""
        shingles.tofile(self._shingles)
        matrix = _matrix(signature, self._permutations)
        digest = np.zeros(len(signature), np.uint64)
        for (number, band), file in self._files.items():
            width = self._wanted[number].bands(self._permutations)[1]
            key = _band_key(matrix[band * width : (band + 1) * width])
            key.tofile(file)
            digest = digest * _MIX[0] + key
        return digest


def _band_key(values: U64) -> U64:
    """One key a column of `values`: a multilinear hash, mixed."""
    key = np.zeros(values.shape[1], np.uint64)
    for number, value in enumerate(values):
        key += value * np.uint64(pow(int(_MIX[0]), number + 1, 1 << 64))
    return _mixed(key)


def _matrix(signature: pa.Array, permutations: int) -> U64:
    """Signature values as uint64, one contiguous row a permutation."""
    raw = np.frombuffer(signature.buffers()[1], "<u4")
    start = signature.offset * permutations
    rows = raw[start : start + len(signature) * permutations].reshape(-1, permutations)
    return np.ascontiguousarray(rows.T).astype(np.uint64)
