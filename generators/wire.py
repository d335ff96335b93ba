"""Length-prefixed JSON over a stream socket."""

from __future__ import annotations

import socket
import struct
from typing import Any

import orjson

_HEADER = struct.Struct(">I")


class Closed(Exception):  # noqa: N818 (an event, not a fault)
    """The other side is gone."""


class Channel:
    """Messages both ways over a connected socket."""

    def __init__(self, link: socket.socket) -> None:
        self._link = link
        self._buffer = bytearray()

    def fileno(self) -> int:
        """For `select`."""
        return self._link.fileno()

    def send(self, message: dict[str, Any]) -> None:
        """Sends one message whole."""
        payload = orjson.dumps(message)
        try:
            self._link.sendall(_HEADER.pack(len(payload)) + payload)
        except OSError as error:
            raise Closed from error

    def pending(self) -> bool:
        """Whether a whole message is already here."""
        return len(self._buffer) >= 4 and len(self._buffer) >= 4 + _HEADER.unpack_from(self._buffer)[0]

    def receive(self) -> dict[str, Any]:
        """Waits for one message."""
        while not self.pending():
            try:
                block = self._link.recv(1 << 20)
            except OSError as error:
                raise Closed from error
            if not block:
                raise Closed
            self._buffer += block
        size = _HEADER.unpack_from(self._buffer)[0]
        payload = bytes(self._buffer[4 : 4 + size])
        del self._buffer[: 4 + size]
        message: dict[str, Any] = orjson.loads(payload)
        return message

    def close(self) -> None:
        """Closes the socket; the other side reads the end."""
        self._link.close()
