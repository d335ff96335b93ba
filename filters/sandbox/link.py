"""Messages over a descriptor inside the jail: a length, one byte of kind, then JSON."""

from __future__ import annotations

import os
from typing import Any

from proofmill.filters.sandbox import wire

READY, FAULT, JOB, EVALUATE, CALL, ANSWER, DONE = b"R", b"F", b"J", b"E", b"C", b"A", b"D"


def frame(kind: bytes, body: bytes) -> bytes:
    """One message with its header."""
    return wire.HEADER.pack(len(body) + 1) + kind + body


class Link:
    """The jail's end of its channel to the parent."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def send(self, kind: bytes, message: object) -> None:
        """Send one message; raises `WireError` when it is too large."""
        rest = memoryview(frame(kind, wire.dumps(message)))
        while rest:
            rest = rest[os.write(self._fd, rest) :]

    def receive(self) -> tuple[bytes, Any]:
        """The next message; raises EOFError when the parent has hung up."""
        size = wire.HEADER.unpack(self._exactly(wire.HEADER.size))[0]
        raw = self._exactly(size)
        return raw[:1], wire.loads(raw[1:])

    def _exactly(self, size: int) -> bytes:
        parts: list[bytes] = []
        while size:
            part = os.read(self._fd, min(size, 1 << 20))
            if not part:
                raise EOFError
            parts.append(part)
            size -= len(part)
        return b"".join(parts)
