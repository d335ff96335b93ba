"""Runs of words or characters of many texts at once, and a 64-bit hash of each run.

A block of normalised texts is one buffer of bytes, each text followed by a newline. Prefix sums of a
polynomial give the hash of any stretch of bytes in constant time, so no run is ever built as an object.
Hashing takes about 40 bytes of memory a byte of the block.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

U8: TypeAlias = NDArray[np.uint8]
U32: TypeAlias = NDArray[np.uint32]
U64: TypeAlias = NDArray[np.uint64]
I64: TypeAlias = NDArray[np.int64]

BLOCK_BYTES = 256 * 1024  # keeps the working arrays of a block near the processor's caches

_BASE = 0x9E3779B97F4A7C15  # odd, so that it has an inverse mod 2^64
_MASK = (1 << 64) - 1
_FMIX64 = (33, 0xFF51AFD7ED558CCD, 33, 0xC4CEB9FE1A85EC53, 33)  # MurmurHash3's finaliser
_NEWLINE, _SPACE = 10, 32
_END = "\x1e"  # ASCII's record separator


def bytes_hash(data: bytes) -> int:
    """Return the hash of one run: `(byte_i + 1) * 0x9E3779B97F4A7C15^i` summed mod 2^64, then finalised."""
    value = 0
    for byte in reversed(data):
        value = (value * _BASE + byte + 1) & _MASK
    shift1, factor1, shift2, factor2, shift3 = _FMIX64
    value = ((value ^ value >> shift1) * factor1) & _MASK
    value = ((value ^ value >> shift2) * factor2) & _MASK
    return value ^ value >> shift3


def blocks(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    """Yield consecutive parts of `texts` of about `BLOCK_BYTES` each, or one longer text."""
    start = size = 0
    for end, text in enumerate(texts, 1):
        size += len(text)
        if size >= BLOCK_BYTES or end == len(texts):
            yield texts[start:end]
            start, size = end, 0


def fold_words(texts: Sequence[str], table: bytes, normalise: Callable[[str], str]) -> bytes:
    """Return the texts with one line for each, words parted by single spaces.

    Args:
        texts: any strings.
        table: 256 bytes; what each ASCII byte becomes, a space where words part, as at every white space. Must do to
            texts of ASCII alone what `normalise` does, and nothing to what that returns.
        normalise: the words of any other text, parted by single spaces, without other white space.
    """
    folded = [text if text.isascii() else normalise(text) for text in texts]
    joined = _END.join(folded)
    if joined.count(_END) >= len(folded):  # one stands in a text, where it is white space
        joined = _END.join([text.replace(_END, " ") for text in folded])
    # One call for all texts, since calls on each of them would take most of the time.
    ends = table[: ord(_END)] + b"\n" + table[ord(_END) + 1 :]
    return _single_spaces(joined.encode("utf-8", "replace").translate(ends) + b"\n")


def _single_spaces(lines: bytes) -> bytes:
    """Return lines without spaces at their ends, and single ones inside; faster than bytes' own search."""
    text = np.frombuffer(b"\n" + lines, np.uint8)
    surplus = text == _SPACE
    surplus[:-1] &= (surplus | (text == _NEWLINE))[1:]  # so that of a run the last one stays
    text = text[~surplus] if surplus.any() else text
    surplus = text == _SPACE
    surplus[1:] &= text[:-1] == _NEWLINE
    text = text[~surplus] if surplus.any() else text
    return bytes(text[1:])


@dataclass(frozen=True)
class Lines:
    """The units (words or characters) of a block of lines; an empty line has one empty unit.

    Attributes:
        text: uint8 (bytes,), every line ends with a newline.
        begins: int64 (units,), first byte of each unit.
        ends: int64 (units,), the byte behind it.
        units: int64 (lines,), number of units of each line, at least 1.
    """

    text: U8
    begins: I64
    ends: I64
    units: I64

    @classmethod
    def of_words(cls, lines: bytes) -> Lines:
        """Return lines whose units are words, parted by single spaces."""
        text = np.frombuffer(lines, np.uint8)
        newline = text == _NEWLINE
        ends = np.flatnonzero(newline | (text == _SPACE))
        begins = np.concatenate(([0], ends[:-1] + 1))
        last = np.flatnonzero(newline[ends])
        return cls(text, begins, ends, np.diff(last, prepend=-1))

    @classmethod
    def of_characters(cls, lines: bytes) -> Lines:
        """Return lines whose units are characters of UTF-8."""
        text = np.frombuffer(lines, np.uint8)
        leads = (text & 0xC0) != 0x80
        newline = text == _NEWLINE
        after_newline = np.concatenate(([True], newline[:-1]))
        begins = np.flatnonzero(leads & (~newline | after_newline))
        stops = np.flatnonzero(leads)
        following = stops[np.searchsorted(stops, begins, side="right").clip(max=len(stops) - 1)]
        ends = np.where(newline[begins], begins, following)
        last = np.searchsorted(begins, np.flatnonzero(newline), side="right")
        return cls(text, begins, ends, np.diff(last, prepend=0))

    @cached_property
    def first_units(self) -> I64:
        """int64 (lines,), number of each line's first unit."""
        first: I64 = self.units.cumsum() - self.units
        return first

    def words(self, head: int, tail: int) -> list[str]:
        """Return the words from unit `head` to unit `tail` of a line, for lines of words."""
        return bytes(self.text[self.begins[head] : self.ends[tail]]).decode().split(" ")

    def line(self, number: int) -> list[str]:
        """Return all words of one line, for lines of words."""
        first = int(self.first_units[number])
        return self.words(first, first + int(self.units[number]) - 1)

    def whole_hashes(self) -> U64:
        """Return `bytes_hash` of every line, uint64 (lines,)."""
        return self.hashes(self.first_units, self.first_units + self.units - 1)

    def windows(self, size: int) -> tuple[I64, I64, I64]:
        """Return the first and last unit of every run of `size` units, and the number of runs of each line.

        A line of fewer units is a single run.
        """
        counts = np.maximum(self.units - size + 1, 1)
        head = np.repeat(self.first_units - (counts.cumsum() - counts), counts) + np.arange(counts.sum())
        tail = head + np.repeat(np.minimum(self.units, size) - 1, counts)
        return head, tail, counts

    def hashes(self, head: I64, tail: I64) -> U64:
        """Return `bytes_hash` of the stretch from unit `head[i]` to the end of unit `tail[i]`, for all i."""
        begins, ends = self.begins[head], self.ends[tail]
        value = (self._prefix[ends] - self._prefix[begins]) * _powers(len(self.text))[1][begins]
        shift1, factor1, shift2, factor2, shift3 = (np.uint64(constant) for constant in _FMIX64)
        value = (value ^ value >> shift1) * factor1
        value = (value ^ value >> shift2) * factor2
        return value ^ value >> shift3

    @cached_property
    def _prefix(self) -> U64:
        """Sums of the polynomial's terms up to each byte."""
        prefix = np.zeros(len(self.text) + 1, np.uint64)
        terms = (self.text.astype(np.uint64) + np.uint64(1)) * _powers(len(self.text))[0][: len(self.text)]
        np.cumsum(terms, out=prefix[1:])
        return prefix


def _powers(count: int) -> tuple[U64, U64]:
    """Return `_BASE`^i and its inverse mod 2^64, for at least all i <= count."""
    return _power_tables(max(count.bit_length(), 16))


@lru_cache(maxsize=4)
def _power_tables(bits: int) -> tuple[U64, U64]:
    tables = []
    for base in (_BASE, pow(_BASE, -1, 1 << 64)):
        table = np.full(1 << bits, base, np.uint64)
        table[0] = 1
        tables.append(np.multiply.accumulate(table))
    return tables[0], tables[1]


# --- Arrow arrays as numpy arrays and back, for fixed-width values and strings ---
#
# pyarrow's own conversions import pandas on first use, which costs more than half a second in every
# process; these only share buffers.


def to_numpy(array: pa.Array | pa.ChunkedArray) -> NDArray[Any]:
    """Return the values of a fixed-width array, without a copy where it is one chunk; booleans as uint8.

    What stands at a null is undefined.
    """
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    if pa.types.is_boolean(array.type):
        array = array.cast(pa.uint8())
    dtype = np.dtype(array.type.to_pandas_dtype())
    if not len(array):
        return np.empty(0, dtype)
    return np.frombuffer(array.buffers()[1], dtype)[array.offset : array.offset + len(array)]


def to_arrow(values: NDArray[Any], missing: NDArray[np.bool_] | None = None) -> pa.Array:
    """Return an array over the memory of `values` (booleans are copied); null where `missing` is true."""
    if values.dtype == np.bool_:
        return to_arrow(values.view(np.uint8), missing).cast(pa.bool_())
    values = np.ascontiguousarray(values)
    valid = None if missing is None else pa.py_buffer(np.packbits(~missing, bitorder="little"))
    kind = pa.from_numpy_dtype(values.dtype)
    return pa.Array.from_buffers(kind, len(values), [valid, pa.py_buffer(values)])


def strings_to_arrow(values: Sequence[str]) -> pa.Array:
    """Return strings as a `large_string` array."""
    encoded = [value.encode("utf-8", "replace") for value in values]
    offsets = np.zeros(len(encoded) + 1, np.int64)
    np.cumsum(np.fromiter(map(len, encoded), np.int64, len(encoded)), out=offsets[1:])
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(b"".join(encoded))]
    return pa.Array.from_buffers(pa.large_string(), len(encoded), buffers)
