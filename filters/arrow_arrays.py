"""Arrow arrays as numpy arrays and back, for fixed-width values and strings.

pyarrow's own conversions import pandas on first use, which costs more than half a second in every
process; these only share buffers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray


def to_numpy(array: pa.Array | pa.ChunkedArray) -> NDArray[Any]:
    """The values of a fixed-width array, without a copy where it is one chunk; booleans as uint8.

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
    """An array over the memory of `values` (booleans are copied); null where `missing` is true."""
    if values.dtype == np.bool_:
        return to_arrow(values.view(np.uint8), missing).cast(pa.bool_())
    values = np.ascontiguousarray(values)
    valid = None if missing is None else pa.py_buffer(np.packbits(~missing, bitorder="little"))
    kind = pa.from_numpy_dtype(values.dtype)
    return pa.Array.from_buffers(kind, len(values), [valid, pa.py_buffer(values)])


def strings_to_arrow(values: Sequence[str]) -> pa.Array:
    """Strings as a `large_string` array."""
    encoded = [value.encode("utf-8", "replace") for value in values]
    offsets = np.zeros(len(encoded) + 1, np.int64)
    np.cumsum(np.fromiter(map(len, encoded), np.int64, len(encoded)), out=offsets[1:])
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(b"".join(encoded))]
    return pa.Array.from_buffers(pa.large_string(), len(encoded), buffers)
