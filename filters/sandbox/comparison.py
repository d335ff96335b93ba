"""Equality of what a solution returned with what a test expects: Python's `==` on builtins, and close floats.

Policy: `True == 1` and `2 == 2.0` as in Python; a list is no tuple; NaN equals nothing, itself
included; a float may differ from the expected float by 1e-7 of it (1e-9 where zero is expected), and
from an expected integer by rounding noise only (1e-12); members of sets and keys of dicts are exact.
"""

from __future__ import annotations

import cmath
from typing import Any

from proofmill.filters.sandbox import wire

FLOAT_TOLERANCE = 1e-7
ZERO_TOLERANCE = 1e-9
ROUNDING_NOISE = 1e-12
_KEY_NODES = 1000  # parts of one foreign key or member; bounds what hash collisions can cost
_NUMBER_TAGS = ("i", "f", "c", "D", "q")
_SHORT = 4096  # characters of an exact decimal or fraction
MALFORMED = (ValueError, TypeError, LookupError, ArithmeticError)
"""What reading an answer that no honest jail would send may raise; `wire.WireError` is a ValueError."""


def numbers_equal(actual: Any, expected: Any) -> bool:
    """Whether two numbers are equal, with tolerance where one is a float."""
    if actual == expected:
        return True
    if not isinstance(actual, float | complex) and not isinstance(expected, float | complex):
        return False
    tolerance = FLOAT_TOLERANCE if isinstance(expected, float | complex) else ROUNDING_NOISE
    floor = ZERO_TOLERANCE if expected == 0 else 0.0
    try:
        return cmath.isclose(actual, expected, rel_tol=tolerance, abs_tol=floor)
    except (OverflowError, TypeError):
        return False


def same(actual: Any, expected: Any) -> bool:
    """`actual == expected` between values rebuilt as builtins, floats inside them with tolerance."""
    if actual == expected:
        return True
    numbers = (int, float, complex)
    if isinstance(actual, numbers) and isinstance(expected, numbers):
        return numbers_equal(actual, expected)
    if type(actual) is not type(expected):
        return False
    if isinstance(expected, list | tuple):
        return len(actual) == len(expected) and all(map(same, actual, expected))
    if isinstance(expected, dict):
        return actual.keys() == expected.keys() and all(same(actual[key], expected[key]) for key in expected)
    return False


def matches(expected: Any, node: wire.Node) -> bool:
    """Whether the encoded value `node`, which came out of a jail, equals the literal `expected`.

    Walks along `expected`, so that the work is bounded by the test and not by the answer.
    """
    try:
        return _matches(expected, node)
    except MALFORMED:
        return False


def _matches(expected: Any, node: wire.Node) -> bool:
    if expected is None or isinstance(expected, str):
        return type(node) is type(expected) and node == expected
    if isinstance(expected, bool | int | float | complex):
        return _number_matches(expected, node)
    if not isinstance(node, list) or len(node) < 2:
        return False
    if isinstance(expected, bytes):
        return node[0] in ("b", "B") and bytes.fromhex(node[1]) == expected
    items = node[1]
    if not isinstance(items, list) or len(items) != len(expected):
        return False
    if isinstance(expected, list | tuple):
        tag = "l" if isinstance(expected, list) else "t"
        return node[0] == tag and all(map(_matches, expected, items))
    return _unordered_matches(expected, node[0], items)


def _number_matches(expected: Any, node: wire.Node) -> bool:
    if isinstance(node, list):
        if not node or node[0] not in _NUMBER_TAGS:
            return False
        if node[0] in ("D", "q") and len(str(node[1:])) > _SHORT:
            return False
        node = wire.Decoder(max_nodes=8).decode(node)
    return node is not None and not isinstance(node, str) and numbers_equal(node, expected)


def is_near(node: wire.Node, value: float, distance: float, closed: bool) -> bool:
    """Whether the encoded number is less than `distance` (at most, if `closed`) away from `value`."""
    if isinstance(node, list):
        if node[:1] not in (["i"], ["f"]):
            return False
        node = wire.Decoder(max_nodes=8).decode(node)
    if not isinstance(node, int | float):
        return False
    try:
        gap = abs(node - value)
    except OverflowError:
        return False
    return gap <= distance if closed else gap < distance


def _unordered_matches(expected: Any, tag: str, items: list[wire.Node]) -> bool:
    seen = set()
    for item in items:
        key_node = item[0] if tag == "d" else item
        key = wire.Decoder(max_nodes=_KEY_NODES).decode(key_node)
        if key not in expected:
            return False
        seen.add(key)
        if tag == "d" and not _matches(expected[key], item[1]):
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
    """Python's truth of an encoded value; an object that is no data is true, as objects are by default."""
    if not isinstance(node, list):
        return bool(node)
    if len(node) < 2 or node[0] in ("h", "g", "o", "T"):
        return True
    if node[0] in _NUMBER_TAGS:
        return bool(wire.Decoder(max_nodes=8).decode(node)) if node[0] in ("i", "f") else node[1:] != [0, 0]
    if node[0] == "r":
        return bool(range(*node[1:]))
    return bool(node[1])
