"""The signed rows of a near-duplicate join, part by part: what a task reads of signature files, and what it writes.

A part is some files of signatures with about `PART_ROWS` rows. `write_part` reads it once and leaves small files in the
join's folder; everything after it works on these. Shingles are not among them: `extract_shingles` reads the sources
once more for the few rows that look alike.

Files of part n, rows in the order in which they were read:

    n.facts     problem, number of shingles, and a 128-bit digest of the shingles: 28 bytes a row
    n.keys      what a row is ranked by, its id, and the part's own order of rows
    n.bands     12 bytes a record (key, row), sorted by key: of each band, of the digest, and of the id
    n.shingles  shingle hashes of the rows that look alike, and where each row's begin
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash
from numpy.typing import NDArray

from proofmill.data.errors import InputError
from proofmill.data.files import existing, replacing
from proofmill.filters.near_duplicates.minhash import METADATA_KEY, DedupOptions
from proofmill.filters.rolling_hash import I64, U32, U64, to_arrow, to_numpy


@dataclass(frozen=True)
class Reader:
    """Signed rows that are read where they are needed.

    Attributes:
        read: returns the columns of these names; picklable where tasks run elsewhere.
        rows: their number.
    """

    read: Callable[[Sequence[str]], pa.Table]
    rows: int


Source: TypeAlias = Path | str | pa.Table | Reader
"""A signature file (Parquet, or Arrow's own format where it ends in .arrow), a table, or a reader."""

Bools = NDArray[np.bool_]

BATCH_ROWS = 4096
PART_ROWS = 1 << 17  # rows of a part, or one source that has more
MIN_RECALL = 0.99  # of a pair exactly at the threshold: bands are as long as this allows
SAMPLES = 64  # rows of a part by which ranges of ranks are cut
SHINGLE_BYTES = 4
_MIX = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))  # splitmix64's finaliser
_LAST = np.uint32(0xFFFFFFFF)

FACTS = np.dtype([("problem", "<u8"), ("low", "<u8"), ("high", "<u8"), ("size", "<u4")])

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

Preference: TypeAlias = tuple[int, int, str]
"""What a row is ranked by, as numbers that sort best first: (previous, verified, claim score), length; then its id."""


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


def pair_rules(options: DedupOptions) -> tuple[PairRule, ...]:
    """Return the pair rules that the two thresholds ask for; a single one where they are equal."""
    # One rule for both finds each pair once; two rules would look at all rows twice.
    if options.threshold_within == options.threshold_across:
        return (PairRule(options.threshold_within, None),)
    return PairRule(options.threshold_within, True), PairRule(options.threshold_across, False)


@dataclass(frozen=True)
class PartTask:
    """A part to write.

    Attributes:
        folder: of the join.
        number: of the part.
        sources: its signature files.
        options: what they were signed with.
        rules: the pairs that are looked for.
        previous: whether its rows are an earlier version's.
        apart: whether all rows of a problem, but for those of earlier versions, stand in this part.
        shared: file of the problems that earlier versions have too, sorted; None: there are none.
    """

    folder: Path
    number: int
    sources: tuple[Source, ...]
    options: DedupOptions
    rules: tuple[PairRule, ...]
    previous: bool = False
    apart: bool = False
    shared: Path | None = None


class PartFacts(NamedTuple):
    """What is known of a written part.

    Attributes:
        rows: of each source.
        records: of each band, of the digests and of the ids.
        sample: rows evenly spaced in the part's own order.
    """

    rows: tuple[int, ...]
    records: tuple[int, ...]
    sample: list[Preference]


def write_part(task: PartTask) -> PartFacts:
    """Write the files of a part.

    Raises:
        InputError: a column is missing, or rows were signed with other options.
    """
    rows = [0] * len(task.sources)
    keys: list[pa.RecordBatch] = []
    facts: list[NDArray[Any]] = []
    bands: list[list[U64]] = []
    wanted = (*KEY_SCHEMA.names, "signature", "shingles")
    for place, source in enumerate(task.sources):
        for batch in batches(source, task.options, wanted):
            keys.append(_key_columns(batch))
            facts.append(_shingle_facts(batch.column("shingles")))
            bands.append(_band_keys(batch.column("signature"), task))
            rows[place] += batch.num_rows
    table = pa.Table.from_batches(keys, schema=KEY_SCHEMA)
    every = np.concatenate([np.empty(0, FACTS), *facts])
    problems = table["problem_id"].combine_chunks()
    every["problem"] = _problem_numbers(problems, task.number)
    save(task.folder / f"{task.number}.facts", every)
    if task.previous:
        save(task.folder / f"{task.number}.problems", np.unique(every["problem"]))
    sample = _write_order(task, table)
    records = list(_records(task, every, bands, to_numpy(problems.is_valid()).astype(bool)))
    records += [sorted_records(every["low"]), sorted_records(hashes(table["id"]))]
    save(task.folder / f"{task.number}.bands", *(key for key, _ in records), *(row for _, row in records))
    return PartFacts(tuple(rows), tuple(len(key) for key, _ in records), sample)


def _records(
    task: PartTask, facts: NDArray[Any], bands: list[list[U64]], has_problem: Bools
) -> Iterator[tuple[U64, U32]]:
    """Yield (keys, rows) of each band of each rule, sorted by key."""
    numbers = [rule for rule in task.rules for _ in range(rule.bands(task.options.permutations)[0])]
    mixed = mix(facts["problem"])
    elsewhere = _elsewhere(task, facts["problem"]) & has_problem
    for number, rule in enumerate(numbers):
        key = np.concatenate([np.empty(0, np.uint64), *(batch[number] for batch in bands)])
        if not rule.same_problem:
            yield sorted_records(key)
            continue
        # With the problem mixed into the key, a bucket holds rows of one problem; hardly a pair is thrown away later.
        key, row = sorted_records(mix(key ^ mixed))
        # Most rows are alone in their bucket: left out where no other part can hold a row of the same problem.
        mates = repeated(key) | elsewhere[row]
        yield key[mates], row[mates]


def _elsewhere(task: PartTask, problems: U64) -> Bools:
    """Return which rows may have one of the same problem in another part."""
    if task.previous or not task.apart:
        return np.ones(len(problems), np.bool_)
    if task.shared is None:
        return np.zeros(len(problems), np.bool_)
    known = np.fromfile(existing(task.shared), np.uint64)
    place = np.minimum(np.searchsorted(known, problems), max(len(known) - 1, 0))
    if not len(known):
        return np.zeros(len(problems), np.bool_)
    same: Bools = known[place] == problems
    return same


def repeated(keys: U64) -> Bools:
    """Return which of some sorted keys occur more than once."""
    shared = np.zeros(len(keys), np.bool_)
    same = keys[1:] == keys[:-1]
    shared[1:] = same
    shared[:-1] |= same
    return shared


def sorted_records(keys: U64) -> tuple[U64, U32]:
    """Return keys in order, each with its place."""
    order = np.argsort(keys, kind="stable")
    return keys[order], order.astype(np.uint32)


def _write_order(task: PartTask, table: pa.Table) -> list[Preference]:
    """Write what the rows are ranked by, with their order; return some rows of it."""
    columns = pa.table({**_preference(table, previous=task.previous), "id": pc.fill_null(table["id"], "")})
    order = pc.sort_indices(columns, sort_keys=[(name, "ascending") for name in columns.column_names])
    columns = columns.append_column("order", order.cast(pa.uint32())).combine_chunks()
    save_table(task.folder / f"{task.number}.keys", columns)
    places = np.unique(np.linspace(0, max(len(order) - 1, 0), min(SAMPLES, len(order))).astype(np.int64))
    picked = columns.take(order.take(pa.array(places))).select(["first", "second", "id"])
    return list(zip(*(column.to_pylist() for column in picked.columns), strict=True))


def _preference(table: pa.Table, *, previous: bool) -> dict[str, pa.Array]:
    """Return two numbers by which rows sort as they are preferred; a missing value comes last.

    The previous version's first, then verified, then claim score; in the second number shorter ones.
    """
    verified = pc.if_else(table["verified"], 0, 1)
    first = to_numpy(pc.fill_null(verified, 2).combine_chunks()).astype(np.uint64) | np.uint64(0 if previous else 4)
    score = table["claim_score"].combine_chunks()
    missing = to_numpy(score.is_null()).astype(bool)
    value = to_numpy(pc.fill_null(score, 0.0)).astype(np.float32) + np.float32(0.0)  # -0 is 0
    bits = value.view(np.uint32)
    # Floats with these bits turned sort like their numbers; inverted, the highest comes first.
    down = ~np.where(bits >> 31, ~bits, bits | np.uint32(1 << 31))
    down = np.where(missing, _LAST, np.where(np.isnan(value), _LAST - np.uint32(1), down))
    length = table["length"].combine_chunks()
    second = to_numpy(pc.fill_null(length, 0)).astype(np.int64).view(np.uint64) ^ np.uint64(1 << 63)
    second = np.where(to_numpy(length.is_null()).astype(bool), np.uint64((1 << 64) - 1), second)
    return {"first": to_arrow(first << np.uint64(32) | down), "second": to_arrow(second)}


def _shingle_facts(shingles: pa.Array) -> NDArray[Any]:
    """Return size and digest of each shingle set; rows with one digest have the same shingles."""
    values = np.ascontiguousarray(to_numpy(shingles.flatten()), np.uint32)
    sizes = to_numpy(pc.list_value_length(shingles)).astype(np.int64)
    ends = (sizes.cumsum() * SHINGLE_BYTES).tolist()
    data = memoryview(values.tobytes())
    starts = [0, *ends[:-1]]
    digests = b"".join(xxhash.xxh3_128_digest(data[start:end]) for start, end in zip(starts, ends, strict=False))
    halves = np.frombuffer(digests, "<u8").reshape(-1, 2)
    facts = np.zeros(len(sizes), FACTS)
    facts["low"], facts["high"], facts["size"] = mix(halves[:, 0].copy()), halves[:, 1], sizes
    return facts


def _band_keys(signature: pa.Array, task: PartTask) -> list[U64]:
    """Return the keys of some rows, band by band of each rule."""
    permutations = task.options.permutations
    matrix = _matrix(signature, permutations)
    keys = []
    for rule in task.rules:
        bands, width = rule.bands(permutations)
        keys += [_band_key(matrix[band * width : (band + 1) * width]) for band in range(bands)]
    return keys


def _band_key(values: U64) -> U64:
    """Return one key for each column of `values`: a multilinear hash, mixed."""
    key = np.zeros(values.shape[1], np.uint64)
    for number, value in enumerate(values):
        # Powers of an odd number differ mod 2^64, so the order of the values counts.
        key += value * np.uint64(pow(int(_MIX[0]), number + 1, 1 << 64))
    return mix(key)


def _matrix(signature: pa.Array, permutations: int) -> U64:
    """Return the signatures' values as uint64, one contiguous row for each permutation."""
    # A slice of an Arrow array shares the buffer of the whole; `offset` says where the slice begins.
    raw = np.frombuffer(signature.buffers()[1], "<u4")
    start = signature.offset * permutations
    rows = raw[start : start + len(signature) * permutations].reshape(-1, permutations)
    return np.ascontiguousarray(rows.T).astype(np.uint64)


def _problem_numbers(problems: pa.Array, part: int) -> U64:
    """Return a number for each problem id, equal for equal ids alone; a missing one gets a number of its own."""
    # A hash needs no table of all ids; two of 64 bits meet among 10^9 problems with a chance of 3 %, of 10^7 with
    # 3 in a million, and then only two problems' traces are compared by the threshold of one.
    own = mix(np.arange(len(problems), dtype=np.uint64) | np.uint64(part << 32))
    return np.where(to_numpy(problems.is_null()).astype(bool), own, hashes(problems))


def hashes(values: pa.Array | pa.ChunkedArray) -> U64:
    """Return a 64-bit hash of each string; a missing one counts as empty."""
    names = values.cast(pa.large_binary()).to_pylist()
    return np.fromiter((xxhash.xxh3_64_intdigest(name or b"") for name in names), np.uint64, len(names))


def mix(values: U64) -> U64:
    """Return the values after splitmix64's finaliser, which spreads every bit over all of them."""
    values = (values ^ values >> np.uint64(30)) * _MIX[0]
    values = (values ^ values >> np.uint64(27)) * _MIX[1]
    return values ^ values >> np.uint64(31)


@dataclass(frozen=True)
class ExtractTask:
    """Rows whose shingles are wanted.

    Attributes:
        part: as it was written.
        wanted: file with a byte for each row of the join.
        start: row of the join with which the part begins.
    """

    part: PartTask
    wanted: Path
    start: int


def extract_shingles(task: ExtractTask) -> None:
    """Write the shingles of a part's rows that are wanted, and where they are."""
    part, start = task.part, task.start
    path = part.folder / f"{part.number}.shingles"
    rows: list[I64] = []
    sizes: list[I64] = []
    with replacing(path) as temporary, temporary.open("wb") as file:
        for source in part.sources:
            for batch in batches(source, part.options, ["shingles"]):
                count = batch.num_rows
                wanted = np.fromfile(existing(task.wanted), np.bool_, count, offset=start)
                if wanted.any():
                    lists = batch.column("shingles").filter(to_arrow(wanted))
                    to_numpy(lists.flatten()).astype(np.uint32, copy=False).tofile(file)
                    rows.append(np.flatnonzero(wanted) + (start - task.start))
                    sizes.append(to_numpy(pc.list_value_length(lists)).astype(np.int64))
                start += count
    none = np.empty(0, np.int64)
    save(path.with_suffix(".extracted"), np.concatenate([none, *rows]), np.concatenate([none, *sizes]).cumsum())


def batches(source: Source, options: DedupOptions, names: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """Yield batches of a source with those of the columns that it has.

    Raises:
        InputError: a column is missing, or the rows were signed with other options.
    """
    if isinstance(source, Reader):
        table = source.read(names)
        _check_source(table.schema, options, "a reader", names)
        yield from table.to_batches(BATCH_ROWS)
    elif isinstance(source, pa.Table):
        _check_source(source.schema, options, "a table", names)
        yield from source.to_batches(BATCH_ROWS)
    elif Path(source).suffix == ".arrow":
        # Mapped, the system may drop the pages again: a file may be larger than memory.
        with pa.memory_map(str(existing(Path(source)))) as file:
            table = pa.ipc.open_file(file).read_all()
            _check_source(table.schema, options, str(source), names)
            yield from table.to_batches(BATCH_ROWS)
    else:
        import pyarrow.parquet as pq  # slow to import, and the commands' own files are Arrow's

        from proofmill.data.tables import batches as read

        schema = pq.read_schema(source)
        _check_source(schema, options, str(source), names)
        for table in read(Path(source), [name for name in names if name in schema.names], BATCH_ROWS):
            yield from table.to_batches()


def count_rows(source: Source) -> int:
    """Return the number of rows of a source."""
    if isinstance(source, Reader):
        return source.rows
    if isinstance(source, pa.Table):
        return int(source.num_rows)
    if Path(source).suffix == ".arrow":
        return int(load_table(Path(source)).num_rows)
    import pyarrow.parquet as pq  # as above

    return int(pq.read_metadata(source).num_rows)


def _check_source(schema: pa.Schema, options: DedupOptions, where: str, names: Iterable[str]) -> None:
    missing = ({"id", "signature", "shingles"} & set(names)) - set(schema.names)
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
    # A copy, since a column that shares memory with its file would keep the whole file mapped.
    return pa.ipc.read_record_batch(pa.record_batch(columns, schema=KEY_SCHEMA).serialize(), KEY_SCHEMA)


# --- Files of the join: written by one task, read by others, maybe on another node -----------------------------


def save(path: Path, *arrays: NDArray[Any]) -> None:
    """Write arrays one after the other."""
    with replacing(path) as temporary, temporary.open("wb") as file:
        for array in arrays:
            array.tofile(file)


def save_table(path: Path, table: pa.Table) -> None:
    """Write a table in Arrow's own format."""
    with (
        replacing(path) as temporary,
        pa.OSFile(str(temporary), "wb") as raw,
        pa.ipc.new_file(raw, table.schema) as file,
    ):
        file.write_table(table)


def load_table(path: Path) -> pa.Table:
    """Return a table of `save_table`, mapped into memory."""
    return pa.ipc.open_file(pa.memory_map(str(existing(path)))).read_all()
