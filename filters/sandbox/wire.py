"""What crosses the wall of a jail: messages, and typed data in them as JSON with tags, capped in size and depth.

Both sides use this module, but neither trusts the other's use of it: what comes out of a jail is
hostile bytes. Nothing here evaluates, imports or unpickles anything.

Scalars stand for themselves (`null`, booleans, 64-bit integers, finite floats, strings); everything
else is an array whose first item is a tag. A message is a length, one byte of kind, then JSON.

Answers are compared with what a test expects as Python's `==` compares builtins, and close floats: `True == 1` and
`2 == 2.0` as in Python; a list is not a tuple; NaN equals nothing, itself included; a float may differ from an expected
float by rounding noise, a relative 1e-12 (where zero is expected, by 1e-12): a cent in a hundred million, or a
millisecond since 1970, is more than that. An expected integer, text and bytes are exact, and so are members of sets
and keys of dicts.
"""

from __future__ import annotations

import cmath
import datetime
import json
import math
import os
import struct
from collections import Counter, deque
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any, NamedTuple

MAX_FRAME = 8 << 20  # bytes of one message; a list of a million small integers fits
MAX_DIGITS = 20  # of an integer written in base 10; longer ones are tagged and in base 16
MAX_DEPTH = 150  # containers inside containers
MAX_NODES = 1_000_000
MAX_INT_BITS = 1 << 20
MAX_COLLISIONS = 200  # keys of one table with one hash
HEADER = struct.Struct("!I")
_READ_BYTES = 1 << 16

Node = Any
"""What `json.loads` gives for one encoded value."""


class WireError(ValueError):
    """The value or message is too large, too deep, or of no known type."""


def _no_other(value: object) -> Node:
    raise WireError(f"no encoding for {type(value).__name__}")


def _no_tag(node: list[Node]) -> object:
    raise WireError(f"unknown tag {str(node[:1])[:40]}")


class Encoder:
    """Turns builtins into nodes; `other` encodes what is not a builtin or raises `WireError`."""

    def __init__(self, other: Callable[[object], Node] = _no_other) -> None:
        self._other = other
        self._nodes = 0

    def encode(self, value: object, depth: int = 0) -> Node:
        """Return the node of `value`. What only extends a builtin is none: it may compare and print as it likes.

        Raises:
            WireError: too deep, too many parts, or not encodable.
        """
        self._nodes += 1
        if depth > MAX_DEPTH or self._nodes > MAX_NODES:
            raise WireError("value too large or too deep")
        if value is None or value is True or value is False:
            return value
        # The exact type, not isinstance: a subclass may lie in its own methods about what it holds.
        method = _ENCODERS.get(type(value))
        return self._other(value) if method is None else method(self, value, depth)

    def _int(self, value: int, _depth: int) -> Node:
        # The base class's own method: nothing that the solution has written is called while its answer is encoded.
        number = int.__index__(value)
        if -(1 << 63) <= number < 1 << 63:
            return number
        if number.bit_length() > MAX_INT_BITS:
            raise WireError("integer too large")
        return ["i", hex(number)]

    def _float(self, value: float, _depth: int) -> Node:
        number = float.__float__(value)
        # JSON has no infinity and no NaN.
        return number if math.isfinite(number) else ["f", repr(number)]

    def _str(self, value: str, _depth: int) -> Node:
        if str.__len__(value) > MAX_FRAME:
            raise WireError("string too large")
        return str.__str__(value)

    def _bytes(self, value: bytes, _depth: int) -> Node:
        return ["b", bytes(value).hex()]

    def _bytearray(self, value: bytearray, _depth: int) -> Node:
        return ["B", bytes(value).hex()]

    def _sequence(self, value: Any, depth: int) -> Node:
        kind: Any
        for kind, tag in _SEQUENCES:
            if isinstance(value, kind):
                return [tag, [self.encode(item, depth + 1) for item in kind.__iter__(value)]]
        raise WireError("no sequence")

    def _dict(self, value: dict[Any, Any], depth: int) -> Node:
        deeper = depth + 1
        return ["d", [[self.encode(k, deeper), self.encode(v, deeper)] for k, v in dict.items(value)]]

    def _plain(self, value: Any, _depth: int) -> Node:
        kind = type(value)
        if kind is complex:
            return ["c", self._float(value.real, 0), self._float(value.imag, 0)]
        if kind is range:
            return ["r", value.start, value.stop, value.step]
        if kind is Fraction:
            return ["q", self._int(value.numerator, 0), self._int(value.denominator, 0)]
        if kind is Decimal:
            return ["D", str(value)]
        return self._time(kind, value)

    def _time(self, kind: type, value: Any) -> Node:
        if kind is datetime.timedelta:
            return ["T", "timedelta", [value.days, value.seconds, value.microseconds]]
        if kind in _TIMES and getattr(value, "tzinfo", None) is None:
            return ["T", kind.__name__, value.isoformat()]
        return self._other(value)


_SEQUENCES: tuple[tuple[type, str], ...] = (
    (list, "l"),
    (tuple, "t"),
    (set, "s"),
    (frozenset, "z"),
    (deque, "Q"),
)
_TIMES: dict[type, str] = {kind: kind.__name__ for kind in (datetime.datetime, datetime.date, datetime.time)}
_PLAIN = (complex, range, Fraction, Decimal, *_TIMES, datetime.timedelta)
_ENCODERS: dict[type, Callable[[Encoder, Any, int], Node]] = {
    int: Encoder._int,
    str: Encoder._str,
    float: Encoder._float,
    dict: Encoder._dict,
    bytes: Encoder._bytes,
    bytearray: Encoder._bytearray,
    **dict.fromkeys((kind for kind, _ in _SEQUENCES), Encoder._sequence),
    **dict.fromkeys(_PLAIN, Encoder._plain),
}


class Decoder:
    """Rebuilds builtins from nodes; `other` takes the tags it does not know or raises `WireError`."""

    def __init__(self, other: Callable[[list[Node]], object] = _no_tag, max_nodes: int = MAX_NODES) -> None:
        self._other = other
        self._left = max_nodes

    def decode(self, node: Node, depth: int = 0) -> Any:
        """Return the value of `node`.

        Raises:
            WireError: not a node this side knows, or over a cap.
        """
        self._left -= 1
        if depth > MAX_DEPTH or self._left < 0:
            raise WireError("value too large or too deep")
        if node is None or isinstance(node, str | int | float):
            return node
        if not isinstance(node, list) or not node or not isinstance(node[0], str):
            raise WireError("malformed value")
        try:
            return self._tagged(node, depth + 1)
        # Hostile bytes: a node of the wrong form may fail anywhere in its builder.
        except (TypeError, IndexError, ArithmeticError, AttributeError) as error:
            raise WireError(f"malformed value: {type(error).__name__}") from error

    def _tagged(self, node: list[Node], depth: int) -> Any:
        tag = node[0]
        if tag in _BUILDERS:
            # Items are decoded one by one against `_left`, so a short message can't grow into a large value.
            items = [self.decode(item, depth) for item in node[1]]
            return _BUILDERS[tag](_spread(items) if tag in ("s", "z") else items)
        if tag == "d":
            keys = _spread([self.decode(key, depth) for key, _ in node[1]])
            return dict(zip(keys, [self.decode(value, depth) for _, value in node[1]], strict=True))
        if tag in _SCALARS:
            return _SCALARS[tag](*node[1:])
        if tag == "q":
            return Fraction(self.decode(node[1], depth), self.decode(node[2], depth))
        if tag == "c":
            return complex(self.decode(node[1], depth), self.decode(node[2], depth))
        return self._other(node)


def _spread(keys: list[Any]) -> list[Any]:
    """Return the keys, unless many share one hash: a table of such keys takes quadratic time to build."""
    if len(keys) > MAX_COLLISIONS and max(Counter(map(hash, keys)).values()) > MAX_COLLISIONS:
        raise WireError("keys made to collide")
    return keys


def _big_int(text: str) -> int:
    # Four bits a hexadecimal digit; 8 more characters leave room for the sign and `0x`.
    if len(text) > MAX_INT_BITS // 4 + 8:
        raise WireError("integer too large")
    return int(text, 16)  # base 16 is linear in the digits, base 10 is not


def _time_value(kind: str, data: Any) -> object:
    if kind == "timedelta":
        return datetime.timedelta(*data)
    by_name = {name: cls for cls, name in _TIMES.items()}
    if kind not in by_name:
        raise WireError("unknown time type")
    return by_name[kind].fromisoformat(data)  # type: ignore[attr-defined]


_BUILDERS: dict[str, Callable[[Any], Any]] = {"l": list, "t": tuple, "s": set, "z": frozenset, "Q": deque}
_SCALARS: dict[str, Callable[..., Any]] = {
    "i": _big_int,
    "f": float,
    "b": bytes.fromhex,
    "B": bytearray.fromhex,
    "r": range,
    "D": Decimal,
    "T": _time_value,
}


_WRITER = json.JSONEncoder(separators=(",", ":"))


def dumps(message: object) -> bytes:
    """Return one message as bytes without its header.

    Raises:
        WireError: larger than `MAX_FRAME`.
    """
    # ASCII: lone surrogates, which are no UTF-8, stay escapes.
    raw = _WRITER.encode(message).encode("ascii")
    if len(raw) > MAX_FRAME:
        raise WireError("message too large")
    return raw


def _short_int(text: str) -> int:
    if len(text) > MAX_DIGITS:
        raise WireError("integer too long")
    return int(text)


_READER = json.JSONDecoder(parse_int=_short_int)


def loads(raw: bytes) -> Any:
    """Return the message in `raw`.

    Raises:
        WireError: not JSON, or nested too deeply.
    """
    try:
        # Reading a long decimal integer takes quadratic time; longer ones come tagged, in base 16 (`Encoder._int`).
        return _READER.decode(raw.decode("utf-8", "surrogatepass"))
    except (ValueError, RecursionError) as error:
        raise WireError(f"malformed message: {type(error).__name__}") from error


class Bounds(NamedTuple):
    """What one run may use, as a zygote is told; see `jail.Limits`."""

    cpu_s: float
    memory_mb: float
    file_bytes: int
    scratch_mb: int
    processes: int
    subprocesses: bool
    one_exec: bool


NOTHING = Bounds(0, 0, 0, 0, 0, False, False)
ORDER = struct.Struct("!QddQII??")
"""To a zygote: the number of a run and its `Bounds`; without descriptors, the run is to be killed. The fields are
fixed: what a zygote writes to while it reads is copied at every fork."""
RECORD = struct.Struct("!idd?")
"""From a zygote: exit code (negative: the signal), CPU seconds, peak MiB, whether a limit of time has ended the run;
then the jail's own fault, if any."""

READY, FAULT, JOB, EVALUATE, CALL, ANSWER, DONE = b"R", b"F", b"J", b"E", b"C", b"A", b"D"


def frame(kind: bytes, body: bytes) -> bytes:
    """Return one message with its header."""
    return HEADER.pack(len(body) + 1) + kind + body


class Link:
    """The jail's end of its channel to the parent."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._received = bytearray()  # read ahead: the messages of a run come together

    def send(self, kind: bytes, message: object) -> None:
        """Send one message; raises `WireError` when it is too large."""
        rest = memoryview(frame(kind, dumps(message)))
        while rest:
            # A socket takes what fits into its buffer.
            rest = rest[os.write(self._fd, rest) :]

    def receive(self) -> tuple[bytes, Any]:
        """Return the next message; raises EOFError when the parent has hung up."""
        size = HEADER.unpack(self._exactly(HEADER.size))[0]
        raw = self._exactly(size)
        return raw[:1], loads(raw[1:])

    def _exactly(self, size: int) -> bytes:
        while len(self._received) < size:
            part = os.read(self._fd, _READ_BYTES)
            if not part:
                raise EOFError
            self._received += part
        taken = bytes(self._received[:size])
        del self._received[:size]
        return taken


FLOAT_TOLERANCE = 1e-12
ZERO_TOLERANCE = 1e-12
_KEY_NODES = 1000  # parts of one foreign key or member; bounds what hash collisions can cost
_NUMBER_TAGS = ("i", "f", "c", "D", "q")
_NO_DATA = ("h", "o")
_SHORT = 4096  # characters of an exact decimal or fraction
MALFORMED = (ValueError, TypeError, LookupError, ArithmeticError)
"""What reading an answer that no honest jail would send may raise; `WireError` is a ValueError."""


class NotPlainError(Exception):
    """The answer is an object that stayed in its jail: how it compares, only its own process could say."""


def numbers_equal(actual: Any, expected: Any, tolerance: float = FLOAT_TOLERANCE) -> bool:
    """Return whether two numbers are equal, with tolerance where a float is expected."""
    if actual == expected:
        return True
    # Only an expected float has a tolerance: an integer stated by the test is exact, and True is no 1.0000000000001.
    if not isinstance(expected, float | complex) or isinstance(actual, bool):
        return False
    # A relative tolerance of zero is zero, so rounding noise around 0.0 needs an absolute one.
    floor = ZERO_TOLERANCE if expected == 0 and tolerance else 0.0
    try:
        return cmath.isclose(actual, expected, rel_tol=tolerance, abs_tol=floor)
    except (OverflowError, TypeError, ValueError):
        return False


def same(actual: Any, expected: Any, tolerance: float = FLOAT_TOLERANCE) -> Any:
    """Return `actual == expected`, floats in plain data with tolerance; whatever `==` gives if that is not a bool."""
    equal = actual == expected
    # True, or not a bool: numpy's `==` gives an array, and the test's own words decide about that.
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


def matches(expected: Any, node: Node, tolerance: float = FLOAT_TOLERANCE) -> bool:
    """Return whether the encoded value `node`, which came out of a jail, equals the literal `expected`.

    Walks along `expected`, so that the work is bounded by the test and not by the answer.

    Raises:
        NotPlainError: it meets an object that stayed inside.
    """
    try:
        return _matches(expected, node, tolerance)
    except MALFORMED:
        return False


def _matches(expected: Any, node: Node, tolerance: float) -> bool:
    # A handle stands for an object that stayed inside. Only its own process could compare it, and that would see
    # the expected value.
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


def _number_matches(expected: Any, node: Node, tolerance: float) -> bool:
    if isinstance(node, list):
        if not node or node[0] not in _NUMBER_TAGS:
            return False
        # Comparing a Decimal with an exponent of a million digits, or a huge fraction, would cost the parent its time.
        if node[0] in ("D", "q") and len(str(node[1:])) > _SHORT:
            return False
        node = Decoder(max_nodes=8).decode(node)
    return node is not None and not isinstance(node, str) and numbers_equal(node, expected, tolerance)


def is_near(node: Node, value: float, distance: float, closed: bool) -> bool:
    """Return whether the encoded number is less than `distance` (at most, if `closed`) away from `value`.

    Raises:
        NotPlainError: it is another kind of number, or none.
    """
    if isinstance(node, list):
        if node[:1] not in (["i"], ["f"]):
            if node[:1] in (["h"], ["o"], ["c"], ["q"], ["D"]):
                raise NotPlainError
            return False
        node = Decoder(max_nodes=8).decode(node)
    if not isinstance(node, int | float):
        return False
    try:
        gap = abs(node - value)
    except OverflowError:
        return False
    return gap <= distance if closed else gap < distance


def as_json(node: Node) -> Node:
    """Return the node with every tuple as the list that JSON would make of it; keys of mappings as texts."""
    if not isinstance(node, list) or len(node) < 2 or not isinstance(node[1], list):
        return node
    if node[0] in ("l", "t"):
        return ["l", [as_json(item) for item in node[1]]]
    if node[0] == "d":
        pairs = [(key, as_json(value)) for key, value in node[1]]
        return ["d", [[str(key) if type(key) is int else key, value] for key, value in pairs]]
    return node


def _unordered_matches(expected: Any, tag: str, items: list[Node], tolerance: float) -> bool:
    seen = set()
    for item in items:
        key_node = item[0] if tag == "d" else item
        if isinstance(key_node, list) and key_node[:1] in (["h"], ["o"]):
            raise NotPlainError
        # Looked up in the test's own table: a foreign set is never built, so its hashes can't be made to collide.
        key = Decoder(max_nodes=_KEY_NODES).decode(key_node)
        if key not in expected:
            return False
        seen.add(key)
        if tag == "d" and not _matches(expected[key], item[1], tolerance):
            return False
    kinds = ("d",) if isinstance(expected, dict) else ("s", "z")
    # A repeated member would make up for a missing one, if the items alone were counted.
    return tag in kinds and len(seen) == len(expected)


def preview(node: Node, limit: int = 60) -> str:
    """Return the start of an encoded value as one printable line."""
    text = ascii(_plain(node, 3))
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _plain(node: Node, depth: int) -> Any:
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


def truth(node: Node) -> bool:
    """Return whether an encoded value is true in Python.

    Raises:
        NotPlainError: it is an object that stayed inside, which may say of itself whether it is true.
    """
    if not isinstance(node, list):
        return bool(node)
    if len(node) < 2 or node[0] in _NO_DATA:
        raise NotPlainError
    if node[0] in (*_NUMBER_TAGS, "r", "T"):
        # Too long to read cheaply; a number of so many digits is taken for other than 0.
        if len(str(node[1:])) > _SHORT:
            return True
        return bool(Decoder(max_nodes=16).decode(node))
    return bool(node[1])
