"""Equality of what a solution returned with what a test expects: Python's `==` on builtins, and close floats.

Policy: `True == 1` and `2 == 2.0` as in Python; a list is no tuple; NaN equals nothing, itself
included; a float may differ from an expected float by rounding noise, a relative 1e-12 (where zero is expected, by
1e-12): a cent in a hundred million, or a millisecond since 1970, is more than that. An expected integer, text and
bytes are exact, and so are members of sets and keys of dicts.
"""

from __future__ import annotations

import cmath
from typing import Any

from proofmill.filters.sandbox import wire

FLOAT_TOLERANCE = 1e-12
ZERO_TOLERANCE = 1e-12
_KEY_NODES = 1000  # parts of one foreign key or member; bounds what hash collisions can cost
_NUMBER_TAGS = ("i", "f", "c", "D", "q")
_NO_DATA = ("h", "o")
_SHORT = 4096  # characters of an exact decimal or fraction
MALFORMED = (ValueError, TypeError, LookupError, ArithmeticError)
"""What reading an answer that no honest jail would send may raise; `wire.WireError` is a ValueError."""


class NotPlainError(Exception):
    """The answer is an object that stayed in its jail: how it compares, only its own process could say."""


def numbers_equal(actual: Any, expected: Any, tolerance: float = FLOAT_TOLERANCE) -> bool:
    """Whether two numbers are equal, with tolerance where a float is expected."""
    if actual == expected:
        return True
    if not isinstance(expected, float | complex) or isinstance(actual, bool):
        return False
    floor = ZERO_TOLERANCE if expected == 0 and tolerance else 0.0
    try:
        return cmath.isclose(actual, expected, rel_tol=tolerance, abs_tol=floor)
    except (OverflowError, TypeError, ValueError):
        return False


def same(actual: Any, expected: Any, tolerance: float = FLOAT_TOLERANCE) -> Any:
    """`actual == expected`, floats in plain data with tolerance; what else `==` gives where it gives no truth."""
    equal = actual == expected
    if equal is not False:
        return equal
    kinds = type(actual), type(expected)
    if all(kind in (int, float, complex) for kind in kinds):
        return numbers_equal(actual, expected, tolerance)
    if kinds[0] is not kinds[1]:
        return False
    if kinds[0] in (list, tuple):
        return len(actual) == len(expected) and all(
            same(a, b, tolerance) for a, b in zip(actual, expected, strict=True)
        )
    if kinds[0] is dict:
        return actual.keys() == expected.keys() and all(same(actual[k], expected[k], tolerance) for k in expected)
    return False


def matches(expected: Any, node: wire.Node, tolerance: float = FLOAT_TOLERANCE) -> bool:
    """Whether the encoded value `node`, which came out of a jail, equals the literal `expected`.

    Walks along `expected`, so that the work is bounded by the test and not by the answer.

    Raises:
        NotPlainError: it meets an object that stayed inside.
    """
    try:
        return _matches(expected, node, tolerance)
    except MALFORMED:
        return False


def _matches(expected: Any, node: wire.Node, tolerance: float) -> bool:
    if isinstance(node, list) and len(node) > 1 and node[0] in _NO_DATA:
        raise NotPlainError
    if expected is None or isinstance(expected, str):
        return type(node) is type(expected) and node == expected
    if isinstance(expected, bool | int | float | complex):
        return _number_matches(expected, node, tolerance)
    if not isinstance(node, list) or len(node) < 2:
        return False
    if isinstance(expected, bytes):
        return node[0] in ("b", "B") and bytes.fromhex(node[1]) == expected
    items = node[1]
    if not isinstance(items, list) or len(items) != len(expected):
        return False
    if isinstance(expected, list | tuple):
        tag = "l" if isinstance(expected, list) else "t"
        pairs = zip(expected, items, strict=True)
        return node[0] == tag and all(_matches(item, part, tolerance) for item, part in pairs)
    return _unordered_matches(expected, node[0], items, tolerance)


def _number_matches(expected: Any, node: wire.Node, tolerance: float) -> bool:
    if isinstance(node, list):
        if not node or node[0] not in _NUMBER_TAGS:
            return False
        if node[0] in ("D", "q") and len(str(node[1:])) > _SHORT:
            return False
        node = wire.Decoder(max_nodes=8).decode(node)
    return node is not None and not isinstance(node, str) and numbers_equal(node, expected, tolerance)


def is_near(node: wire.Node, value: float, distance: float, closed: bool) -> bool:
    """Whether the encoded number is less than `distance` (at most, if `closed`) away from `value`.

    Raises:
        NotPlainError: it is another kind of number, or none.
    """
    if isinstance(node, list):
        if node[:1] not in (["i"], ["f"]):
            if node[:1] in (["h"], ["o"], ["c"], ["q"], ["D"]):
                raise NotPlainError
            return False
        node = wire.Decoder(max_nodes=8).decode(node)
    if not isinstance(node, int | float):
        return False
    try:
        gap = abs(node - value)
    except OverflowError:
        return False
    return gap <= distance if closed else gap < distance


def as_json(node: wire.Node) -> wire.Node:
    """The node with every tuple as the list that JSON would make of it; keys of mappings as texts."""
    if not isinstance(node, list) or len(node) < 2 or not isinstance(node[1], list):
        return node
    if node[0] in ("l", "t"):
        return ["l", [as_json(item) for item in node[1]]]
    if node[0] == "d":
        pairs = [(key, as_json(value)) for key, value in node[1]]
        return ["d", [[str(key) if type(key) is int else key, value] for key, value in pairs]]
    return node


def _unordered_matches(expected: Any, tag: str, items: list[wire.Node], tolerance: float) -> bool:
    seen = set()
    for item in items:
        key_node = item[0] if tag == "d" else item
        if isinstance(key_node, list) and key_node[:1] in (["h"], ["o"]):
            raise NotPlainError
        key = wire.Decoder(max_nodes=_KEY_NODES).decode(key_node)
        if key not in expected:
            return False
        seen.add(key)
        if tag == "d" and not _matches(expected[key], item[1], tolerance):
            return False
    kinds = ("d",) if isinstance(expected, dict) else ("s", "z")
    return tag in kinds and len(seen) == len(expected)


def preview(node: wire.Node, limit: int = 60) -> str:
    """The start of an encoded value as one printable line."""
    text = ascii(_plain(node, 3))
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _plain(node: wire.Node, depth: int) -> Any:
    if isinstance(node, str):
        return node[:200]
    if not isinstance(node, list):
        return node
    if depth == 0 or len(node) < 2:
        return "…"
    if node[0] in ("l", "t", "s", "z", "g") and isinstance(node[1], list):
        parts = [_plain(item, depth - 1) for item in node[1][:20]]
        return tuple(parts) if node[0] == "t" else parts
    if node[0] == "h":
        return f"<{str(node[-1])[:40]}>"
    return str(node[1])[:100]


def truth(node: wire.Node) -> bool:
    """Python's truth of an encoded value.

    Raises:
        NotPlainError: it is an object that stayed inside, which may say of itself whether it is true.
    """
    if not isinstance(node, list):
        return bool(node)
    if len(node) < 2 or node[0] in _NO_DATA:
        raise NotPlainError
    if node[0] in (*_NUMBER_TAGS, "r", "T"):
        if len(str(node[1:])) > _SHORT:
            return True
        return bool(wire.Decoder(max_nodes=16).decode(node))
    return bool(node[1])
