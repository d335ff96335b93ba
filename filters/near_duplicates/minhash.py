"""MinHash signatures of texts: datasketch's values, computed a block of texts at a time.

A text is normalised, cut into overlapping shingles, and each shingle is hashed to 32 bits by
`shingle_hash`. The signature then follows datasketch's scheme `affine32`: for permutation k the
minimum over all shingles of `a_k * fmix32(h) + b_k mod 2^32`. So for the same shingles

    MinHash(num_perm=permutations, seed=SEED, hashfunc=shingle_hash)

has the same hash values, and `LeanMinHash(scheme="affine32", seed=SEED, hashvalues=row)` wraps a
row of ours. Everything runs in numpy over the bytes of a whole block: shingle hashes come from
prefix sums of a polynomial, so that no shingle is ever built as an object.

Memory: about 60 bytes per byte of text in the block at work (`BLOCK_BYTES`, or the longest text).
The result takes 4 bytes a permutation and 4 bytes a distinct shingle: 512 + about 390 bytes for a
100-word text with the default options.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Literal, NamedTuple

import numpy as np
import pyarrow as pa
from pydantic import Field

from proofmill.data.sections import PinnedVersion, Section
from proofmill.filters.rolling_hash import I64, U32, U64, Lines, blocks, bytes_hash, fold_words, to_arrow

VERSION = 1
"""Raised when the same text would get another signature or other shingles."""

SEED = 1
"""Of the permutations, as in datasketch."""

METADATA_KEY = b"proofmill.minhash"

# Shifts and factors of MurmurHash3's 32-bit finaliser, which the scheme `affine32` begins with.
_FMIX32 = (16, 0x85EBCA6B, 13, 0xC2B2AE35, 16)
_FOLD = bytes(0x20 if chr(i).isspace() and i < 0x80 else i for i in range(256)).lower()
_TOKEN = re.compile(r"[^\W0-9_]+|[0-9]+|\S")
_BLANK, _LETTER, _DIGIT, _SIGN = range(4)
# What each byte of a folded text is, for `_part_tokens`; capitals don't occur there.
_KINDS = np.full(256, _SIGN, np.uint8)
_KINDS[[0x0A, 0x20]] = _BLANK
_KINDS[0x30:0x3A] = _DIGIT
_KINDS[0x61:0x7B] = _LETTER
_KINDS[0x80:] = _LETTER  # text beyond ASCII comes with its tokens parted


class DedupOptions(Section):
    """MinHash near-duplicates: Jaccard thresholds within a problem and across problems."""

    threshold_within: float = Field(
        0.8, gt=0, le=1, description="smallest similarity of near-duplicates of one problem"
    )
    threshold_across: float = Field(
        0.9, gt=0, le=1, description="smallest similarity of near-duplicates of different problems"
    )
    permutations: int = Field(128, ge=1, le=1024, description="values in a signature")
    shingle: Literal["words", "chars", "tokens"] = Field(
        "words",
        description="words: runs without white space; chars: characters, white space folded; tokens: runs of letters, "
        "runs of digits, single symbols, for code and LaTeX. Letter case never matters",
    )
    shingle_size: int = Field(5, ge=1, le=64, description="units in a shingle; a shorter text is one shingle")
    against: tuple[PinnedVersion, ...] = Field(
        (),
        description="published versions, NAME@vN: traces that repeat one they kept are dropped as `in_previous`; "
        "a trace with the same id is the same trace, and stays",
    )

    def signature_key(self) -> bytes:
        """Return the part of the options that decides a signature, as canonical JSON."""
        # The thresholds are left out: they choose pairs, and signatures stay comparable when they change.
        part = self.model_dump(include={"permutations", "shingle", "shingle_size"})
        return json.dumps({**part, "seed": SEED, "version": VERSION}, sort_keys=True).encode()


DEFAULTS = DedupOptions()


def signature_fields(options: DedupOptions) -> list[pa.Field]:
    """Return the fields of what `signatures` makes: `signature` (little-endian uint32 values), `shingles`."""
    return [
        pa.field("signature", pa.binary(4 * options.permutations), nullable=False),
        pa.field("shingles", pa.list_(pa.uint32()), nullable=False),
    ]


def signatures(texts: Sequence[str], options: DedupOptions = DEFAULTS) -> pa.Table:
    """Return the signature and the hashed shingle set of every text.

    Args:
        texts: any strings; an empty one has the empty shingle.
        options: kind and size of shingles, permutations.

    Returns:
        One row for each text in the same order, columns as in `signature_fields`; `shingles` is sorted and
        without repeats. The schema's metadata records the options, so that signatures made with
        others are refused instead of compared.
    """
    schema = pa.schema(signature_fields(options), metadata={METADATA_KEY: options.signature_key()})
    batches = [_block_batch(block, options, schema) for block in blocks(texts)]
    return pa.Table.from_batches(batches, schema=schema)


def signature_matrix(texts: Sequence[str], options: DedupOptions = DEFAULTS) -> U32:
    """Return the signatures alone, shape (texts, permutations), dtype uint32."""
    parts = [_minimums(_hash_block(block, options), options) for block in blocks(texts)]
    return np.concatenate(parts) if parts else np.empty((0, options.permutations), np.uint32)


def normalise(text: str, shingle: str) -> str:
    """Return the text in which shingles are counted: case folded, units parted by single spaces."""
    # The two agree on ASCII, and `lower` is much faster.
    folded = text.lower() if text.isascii() else text.casefold()
    return " ".join(_TOKEN.findall(folded) if shingle == "tokens" else folded.split())


def shingle_bytes(text: str, options: DedupOptions = DEFAULTS) -> set[bytes]:
    """Return the distinct shingles of a text as UTF-8; for use with datasketch itself, slower than `signatures`."""
    clean, size = normalise(text, options.shingle), options.shingle_size
    units, glue = (list(clean), "") if options.shingle == "chars" else (clean.split(" "), " ")
    # A text of fewer units is one shingle, so that short texts are compared too.
    count = max(len(units) - size + 1, 1)
    return {glue.join(units[i : i + size]).encode("utf-8", "replace") for i in range(count)}


def shingle_hash(shingle: bytes) -> int:
    """Return the 32-bit hash of one shingle, datasketch's `hashfunc` for our signatures.

    The upper half of `rolling_hash.bytes_hash`.
    """
    return bytes_hash(shingle) >> 32


class _Hashed(NamedTuple):
    """Distinct shingle hashes of a block: `values[offsets[i]:offsets[i + 1]]` belong to text i, sorted."""

    values: U32
    offsets: I64


def _block_batch(texts: Sequence[str], options: DedupOptions, schema: pa.Schema) -> pa.RecordBatch:
    hashed = _hash_block(texts, options)
    matrix = _minimums(hashed, options).astype("<u4", copy=False)
    # Arrays over the memory of numpy's: no value is copied into a Python object.
    signature = pa.FixedSizeBinaryArray.from_buffers(
        schema.field("signature").type, len(texts), [None, pa.py_buffer(matrix)]
    )
    shingles = pa.ListArray.from_arrays(to_arrow(hashed.offsets.astype(np.int32)), to_arrow(hashed.values))
    return pa.record_batch([signature, shingles], schema=schema)


def _hash_block(texts: Sequence[str], options: DedupOptions) -> _Hashed:
    lines = _lines(texts, options.shingle)
    head, tail, counts = lines.windows(options.shingle_size)
    # As `shingle_hash`, for all shingles of the block at once.
    return _distinct(lines.hashes(head, tail) >> np.uint64(32), counts)


def _lines(texts: Sequence[str], shingle: str) -> Lines:
    folded = fold_words(texts, _FOLD, lambda text: normalise(text, shingle))
    if shingle == "tokens":
        folded = _part_tokens(folded)
    return Lines.of_characters(folded) if shingle == "chars" else Lines.of_words(folded)


def _part_tokens(lines: bytes) -> bytes:
    """Put a space between tokens that stand side by side, as `normalise` does."""
    text = np.frombuffer(lines, np.uint8)
    kind = _KINDS[text]
    before = np.concatenate(([_BLANK], kind[:-1]))
    # A token begins where the kind changes; every sign is a token of its own.
    begins = (kind != before) | (kind == _SIGN)
    return bytes(np.insert(text, np.flatnonzero(begins & (kind != _BLANK) & (before != _BLANK)), 0x20))


def _distinct(hashes: U64, counts: I64) -> _Hashed:
    """Sort each text's hashes and drop repeats; the text's number in the upper half keeps the texts apart."""
    owner = np.arange(len(counts) + 1, dtype=np.uint64) << np.uint64(32)
    # One sort of all texts' hashes takes the place of a sort for each text.
    keys = hashes | np.repeat(owner[:-1], counts)
    keys.sort()
    fresh = np.ones(len(keys), bool)
    np.not_equal(keys[1:], keys[:-1], out=fresh[1:])
    keys = keys[fresh]
    return _Hashed(keys.astype(np.uint32), np.searchsorted(keys, owner))


@lru_cache(maxsize=8)
def _permutations(count: int, seed: int) -> U32:
    """Return datasketch's multipliers (odd) and increments of scheme `affine32`, shape (2, count)."""
    # datasketch draws from this generator in this order; another one would give other signatures.
    generator = np.random.RandomState(seed)
    factors = generator.randint(0, 1 << 31, count, dtype=np.uint32) * np.uint32(2) + np.uint32(1)
    return np.stack([factors, generator.randint(0, 1 << 32, count, dtype=np.uint32)])


def _minimums(hashed: _Hashed, options: DedupOptions) -> U32:
    """Return the signatures of a block, shape (texts, permutations)."""
    shift1, factor1, shift2, factor2, shift3 = (np.uint32(c) for c in _FMIX32)
    mixed = (hashed.values ^ hashed.values >> shift1) * factor1
    mixed = (mixed ^ mixed >> shift2) * factor2
    mixed ^= mixed >> shift3
    starts = hashed.offsets[:-1]
    result = np.empty((options.permutations, len(starts)), np.uint32)
    permuted = np.empty_like(mixed)
    # A permutation at a time over all shingles of the block, in buffers that are used again.
    for row, a, b in zip(result, *_permutations(options.permutations, SEED), strict=True):
        np.multiply(mixed, a, out=permuted)
        np.add(permuted, b, out=permuted)
        np.minimum.reduceat(permuted, starts, out=row)  # no text is without a shingle
    return np.ascontiguousarray(result.T)
