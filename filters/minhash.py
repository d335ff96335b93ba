"""MinHash signatures of texts: datasketch's values, computed a block of texts at a time.

A text is normalised, cut into overlapping shingles, and each shingle is hashed to 32 bits by
`shingle_hash`. The signature then follows datasketch's scheme `affine32`: for permutation k the
minimum over all shingles of `a_k * fmix32(h) + b_k mod 2^32`. So for the same shingles

    MinHash(num_perm=permutations, seed=seed, hashfunc=shingle_hash)

has the same hash values, and `LeanMinHash(scheme="affine32", seed=seed, hashvalues=row)` wraps a
row of ours. Everything runs in numpy over the bytes of a whole block: shingle hashes come from
prefix sums of a polynomial, so that no shingle is ever built as an object.

Memory: about 60 bytes per byte of text in the block at work (`BLOCK_BYTES`, or the longest text).
The result takes 4 bytes a permutation and 4 bytes a distinct shingle: 512 + about 390 bytes for a
100-word text with the default options.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from proofmill.data.errors import RecipeError
from proofmill.filters.arrow_arrays import to_arrow

U8: TypeAlias = NDArray[np.uint8]
U32: TypeAlias = NDArray[np.uint32]
U64: TypeAlias = NDArray[np.uint64]
I64: TypeAlias = NDArray[np.int64]

VERSION = 1
"""Raised when the same text would get another signature or other shingles."""

BLOCK_BYTES = 256 * 1024  # keeps the working arrays of a block near the processor's caches
METADATA_KEY = b"proofmill.minhash"

_BASE = 0x9E3779B97F4A7C15  # odd, so that it has an inverse mod 2^64
_MASK = (1 << 64) - 1
_FMIX64 = (33, 0xFF51AFD7ED558CCD, 33, 0xC4CEB9FE1A85EC53, 32)  # MurmurHash3's finaliser; last: top half
_FMIX32 = (16, 0x85EBCA6B, 13, 0xC2B2AE35, 16)
_FOLD = bytes(0x20 if chr(i).isspace() and i < 0x80 else i for i in range(256)).lower()
_TOKEN = re.compile(r"[^\W\d_]+|\d+|\S")
_NEWLINE, _SPACE = 10, 32


@dataclass(frozen=True, slots=True)
class DedupOptions:
    """What counts as a near-duplicate.

    Attributes:
        threshold_within: least Jaccard similarity of two traces of the same problem, in (0, 1].
        threshold_across: least Jaccard similarity of two texts of different problems, in (0, 1].
        permutations: values in a signature.
        shingle: `words` (runs without white space), `chars` (characters, white space folded) or
            `tokens` (runs of letters, runs of digits, single symbols: for code and LaTeX). Letter
            case never matters. A text shorter than a shingle is one shingle.
        shingle_size: units in a shingle.
        seed: seed of the permutations, as in datasketch.
    """

    threshold_within: float = 0.8
    threshold_across: float = 0.8
    permutations: int = 128
    shingle: Literal["words", "chars", "tokens"] = "words"
    shingle_size: int = 5
    seed: int = 1

    def __post_init__(self) -> None:
        remedy = "correct the dedup options"
        for name in ("threshold_within", "threshold_across"):
            if not 0 < getattr(self, name) <= 1:
                raise RecipeError(f"{name} must lie above 0 and at most at 1", where=name, remedy=remedy)
        if self.shingle not in ("words", "chars", "tokens"):
            raise RecipeError(f"unknown shingle kind {self.shingle!r}", where="shingle", remedy=remedy)
        if self.permutations < 1 or self.shingle_size < 1:
            raise RecipeError(
                "permutations and shingle_size must be at least 1", where="dedup", remedy=remedy
            )

    def signature_key(self) -> bytes:
        """The part of the options that decides a signature, as canonical JSON."""
        part = {k: v for k, v in asdict(self).items() if not k.startswith("threshold")}
        return json.dumps({**part, "version": VERSION}, sort_keys=True).encode()


def signature_fields(options: DedupOptions) -> list[pa.Field]:
    """Fields of the columns `signatures` makes: `signature` (little-endian uint32 values), `shingles`."""
    return [
        pa.field("signature", pa.binary(4 * options.permutations), nullable=False),
        pa.field("shingles", pa.list_(pa.uint32()), nullable=False),
    ]


def signatures(texts: Sequence[str], options: DedupOptions = DedupOptions()) -> pa.Table:
    """The signature and the hashed shingle set of every text.

    Args:
        texts: any strings; an empty one has the empty shingle.
        options: kind and size of shingles, permutations, seed.

    Returns:
        One row a text in the same order, columns as in `signature_fields`; `shingles` is sorted and
        without repeats. The schema's metadata records the options, so that signatures made with
        others are refused instead of compared.
    """
    schema = pa.schema(signature_fields(options), metadata={METADATA_KEY: options.signature_key()})
    batches = [_block_batch(block, options, schema) for block in _blocks(texts)]
    return pa.Table.from_batches(batches, schema=schema)


def signature_matrix(texts: Sequence[str], options: DedupOptions = DedupOptions()) -> U32:
    """Signatures alone, shape (texts, permutations), dtype uint32."""
    parts = [_minimums(_hash_block(block, options), options) for block in _blocks(texts)]
    return np.concatenate(parts) if parts else np.empty((0, options.permutations), np.uint32)


def normalise(text: str, shingle: str) -> str:
    """The text in which shingles are counted: case folded, units parted by single spaces."""
    folded = text.lower() if text.isascii() else text.casefold()
    return " ".join(_TOKEN.findall(folded) if shingle == "tokens" else folded.split())


def shingle_bytes(text: str, options: DedupOptions = DedupOptions()) -> set[bytes]:
    """The distinct shingles of a text as UTF-8; for use with datasketch itself, slower than `signatures`."""
    clean, size = normalise(text, options.shingle), options.shingle_size
    units, glue = (list(clean), "") if options.shingle == "chars" else (clean.split(" "), " ")
    count = max(len(units) - size + 1, 1)
    return {glue.join(units[i : i + size]).encode("utf-8", "replace") for i in range(count)}


def shingle_hash(shingle: bytes) -> int:
    """32-bit hash of one shingle, datasketch's `hashfunc` for our signatures.

    The sum of `(byte_i + 1) * 0x9E3779B97F4A7C15^i mod 2^64`, through MurmurHash3's 64-bit
    finaliser, upper half.
    """
    value = 0
    for byte in reversed(shingle):
        value = (value * _BASE + byte + 1) & _MASK
    shift1, factor1, shift2, factor2, top = _FMIX64
    value = ((value ^ value >> shift1) * factor1) & _MASK
    return (((value ^ value >> shift2) * factor2) & _MASK) >> top


class _Hashed(NamedTuple):
    """Distinct shingle hashes of a block: `values[offsets[i]:offsets[i + 1]]` belong to text i, sorted."""

    values: U32
    offsets: I64


def _blocks(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    start = size = 0
    for end, text in enumerate(texts, 1):
        size += len(text)
        if size >= BLOCK_BYTES or end == len(texts):
            yield texts[start:end]
            start, size = end, 0


def _block_batch(texts: Sequence[str], options: DedupOptions, schema: pa.Schema) -> pa.RecordBatch:
    hashed = _hash_block(texts, options)
    matrix = _minimums(hashed, options).astype("<u4", copy=False)
    signature = pa.FixedSizeBinaryArray.from_buffers(
        schema.field("signature").type, len(texts), [None, pa.py_buffer(matrix)]
    )
    shingles = pa.ListArray.from_arrays(to_arrow(hashed.offsets.astype(np.int32)), to_arrow(hashed.values))
    return pa.record_batch([signature, shingles], schema=schema)


def _hash_block(texts: Sequence[str], options: DedupOptions) -> _Hashed:
    text = np.frombuffer(_normalised_buffer(texts, options.shingle), np.uint8)
    begins, ends, counts = _windows(text, options)
    return _distinct(_window_hashes(text, begins, ends), counts)


def _normalised_buffer(texts: Sequence[str], shingle: str) -> bytes:
    """All texts normalised, each followed by a newline (which no normalised text contains)."""
    if shingle == "tokens":
        return ("\n".join(normalise(text, shingle) for text in texts) + "\n").encode("utf-8", "replace")
    lines = b"\n".join([_folded_bytes(text) for text in texts]) + b"\n"
    if b"  " not in lines:
        return lines
    is_space = np.frombuffer(lines, np.uint8) == _SPACE
    is_space[:-1] &= is_space[1:]  # of a run of spaces all but the last go; the final byte is a newline
    return bytes(np.frombuffer(lines, np.uint8)[~is_space])


def _folded_bytes(text: str) -> bytes:
    """Lower-case ASCII with white space turned into spaces; other texts through `normalise`."""
    if not text.isascii():
        return normalise(text, "words").encode("utf-8", "replace")
    return text.encode().translate(_FOLD).strip(b" ")


def _windows(text: U8, options: DedupOptions) -> tuple[I64, I64, I64]:
    """First byte and end byte of every shingle, and the number of shingles of each text."""
    newline = text == _NEWLINE
    line_ends = np.flatnonzero(newline)
    if options.shingle == "chars":
        # A unit ends where the next character, or the newline, begins. The empty text has none.
        unit_begins = np.flatnonzero(((text & 0xC0) != 0x80) & ~newline)
        unit_ends = np.flatnonzero((text & 0xC0) != 0x80)
        unit_ends = _ends_after(unit_begins, unit_ends)
        last = np.searchsorted(unit_begins, line_ends)
    else:
        unit_ends = np.flatnonzero(newline | (text == _SPACE))
        unit_begins = np.concatenate(([0], unit_ends[:-1] + 1))
        last = np.searchsorted(unit_ends, line_ends) + 1
    return _slide(unit_begins, unit_ends, line_ends, last, options.shingle_size)


def _ends_after(begins: I64, stops: I64) -> I64:
    """For every unit the first of `stops` behind its begin."""
    return stops[np.searchsorted(stops, begins, side="right")]


def _slide(unit_begins: I64, unit_ends: I64, line_ends: I64, last: I64, size: int) -> tuple[I64, I64, I64]:
    """Windows of `size` units inside each text; `last[i]` is the number of units up to text i's end."""
    first = np.concatenate(([0], last[:-1]))
    units = last - first
    counts = np.maximum(units - size + 1, 1)
    starts = np.cumsum(counts) - counts
    head = np.repeat(first - starts, counts) + np.arange(counts.sum())
    tail = head + np.repeat(np.minimum(units, size) - 1, counts)
    if not (units == 0).any():
        return unit_begins[head], unit_ends[tail], counts
    # An empty text (only `chars` has texts without units): one empty window at its newline.
    empty = np.repeat(units == 0, counts)
    at = np.repeat(line_ends, counts)
    begins, ends = at.copy(), at
    begins[~empty], ends[~empty] = unit_begins[head[~empty]], unit_ends[tail[~empty]]
    return begins, ends, counts


def _window_hashes(text: U8, begins: I64, ends: I64) -> U64:
    """`shingle_hash` of `text[begins[i]:ends[i]]` for all i, as uint64."""
    powers, inverses = _powers(1 << len(text).bit_length())
    prefix = np.zeros(len(text) + 1, np.uint64)
    np.cumsum((text.astype(np.uint64) + np.uint64(1)) * powers[: len(text)], out=prefix[1:])
    value = (prefix[ends] - prefix[begins]) * inverses[begins]
    shift1, factor1, shift2, factor2, top = (np.uint64(c) for c in _FMIX64)
    value = (value ^ value >> shift1) * factor1
    return (value ^ value >> shift2) * factor2 >> top


@lru_cache(maxsize=4)
def _powers(count: int) -> tuple[U64, U64]:
    """`_BASE`^i and its inverse mod 2^64 for i < count."""
    tables = []
    for base in (_BASE, pow(_BASE, -1, 1 << 64)):
        table = np.full(count, base, np.uint64)
        table[0] = 1
        tables.append(np.multiply.accumulate(table))
    return tables[0], tables[1]


def _distinct(hashes: U64, counts: I64) -> _Hashed:
    """Sorts each text's hashes and drops repeats; the text's number in the upper half keeps them apart."""
    owner = np.arange(len(counts) + 1, dtype=np.uint64) << np.uint64(32)
    keys = hashes | np.repeat(owner[:-1], counts)
    keys.sort()
    fresh = np.ones(len(keys), bool)
    np.not_equal(keys[1:], keys[:-1], out=fresh[1:])
    keys = keys[fresh]
    return _Hashed(keys.astype(np.uint32), np.searchsorted(keys, owner))


@lru_cache(maxsize=8)
def _permutations(count: int, seed: int) -> U32:
    """datasketch's multipliers (odd) and increments of scheme `affine32`, shape (2, count)."""
    generator = np.random.RandomState(seed)
    factors = generator.randint(0, 1 << 31, count, dtype=np.uint32) * np.uint32(2) + np.uint32(1)
    return np.stack([factors, generator.randint(0, 1 << 32, count, dtype=np.uint32)])


def _minimums(hashed: _Hashed, options: DedupOptions) -> U32:
    """Signatures of a block, shape (texts, permutations)."""
    shift1, factor1, shift2, factor2, shift3 = (np.uint32(c) for c in _FMIX32)
    mixed = (hashed.values ^ hashed.values >> shift1) * factor1
    mixed = (mixed ^ mixed >> shift2) * factor2
    mixed ^= mixed >> shift3
    starts = hashed.offsets[:-1]
    result = np.empty((options.permutations, len(starts)), np.uint32)
    permuted = np.empty_like(mixed)
    for row, a, b in zip(result, *_permutations(options.permutations, options.seed), strict=True):
        np.multiply(mixed, a, out=permuted)
        np.add(permuted, b, out=permuted)
        np.minimum.reduceat(permuted, starts, out=row)  # no text is without a shingle
    return np.ascontiguousarray(result.T)
