"""JSON without loss: orjson where it can, the standard library for integers of more than 64 bits."""

from __future__ import annotations

import json
import re
from typing import Any

import orjson

_LONG_INTEGER = re.compile(rb"[:,\[]\s{0,9}-?[1-9]\d{18}")
_PLAIN = frozenset({str, int, bool, type(None)})


def loads(text: bytes | str) -> Any:
    """A JSON value; long integers stay integers, where orjson makes floats of them.

    Raises:
        ValueError: it is no JSON.
    """
    value = orjson.loads(text)
    if _may_be_rounded(value) and _LONG_INTEGER.search(text.encode() if isinstance(text, str) else text):
        value = json.loads(text)
    return value


def dumps(value: Any) -> bytes:
    """A JSON value in its shortest form, keys in order, the same on every machine.

    Raises:
        TypeError, ValueError: it has no such form; half a surrogate pair has none either.
    """
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS | orjson.OPT_SERIALIZE_NUMPY)
    except TypeError:
        return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def _may_be_rounded(row: Any) -> bool:
    """Whether a number of more than 64 bits may stand in a row: as the float that orjson made of it, or deeper in."""
    return not isinstance(row, dict) or not _PLAIN.issuperset(map(type, row.values()))
