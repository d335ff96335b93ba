"""vLLM as a child process: its memory, its threads and its crashes are its own.

The child (`vllm_worker`) speaks length-prefixed JSON over a socket. It leads a process group that is killed as
a whole on `close`, and it dies with its parent, so nothing is left running.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson

from proofmill.data.errors import EngineError
from proofmill.generators.engines.base import Completion, EngineDiedError, EngineFacts, Request

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


_CLOSE_SECONDS = 10.0


class VllmEngine:
    """An `Engine` on this machine.

    Args:
        model: folder of the model.
        options: dtype, max_model_len, window, args (all may be None or empty: chosen by the child).
        log: file that receives what vLLM prints.
    """

    def __init__(self, model: Path, options: dict[str, Any], log: Path) -> None:
        self._hello = {"op": "load", "model": str(model), "options": options}
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: Channel | None = None
        self._facts: EngineFacts | None = None
        self._fatal = ""

    def start(self) -> None:
        """Starts the child, which loads the model meanwhile."""
        if self._process is not None:
            return
        ours, theirs = socket.socketpair()
        self._log.parent.mkdir(parents=True, exist_ok=True)
        with theirs, self._log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 (our own module)
                [sys.executable, "-m", "proofmill.generators.engines.vllm_worker", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._channel = Channel(ours)
        self._channel.send(self._hello)

    def ready(self) -> EngineFacts:
        """Waits for the model to be loaded."""
        self.start()
        if self._facts is None:
            message = self._receive()
            if message["op"] != "ready":  # it can't load this model, and would not the next time
                raise EngineError(**self._account(message.get("message", "it said something unexpected")))
            self._facts = EngineFacts(**message["facts"])
        return self._facts

    def submit(self, requests: Sequence[Request]) -> None:
        """Sends requests to the child."""
        self.ready()
        rows = [(r.id, r.tokens, r.seed, dict(r.params), r.score_from) for r in requests]
        try:
            self._link().send({"op": "add", "requests": rows})
        except Closed as error:
            raise EngineDiedError(**self._account(self._end())) from error

    def poll(self, timeout: float) -> list[Completion]:
        """Reads what the child has finished; where it died after that, the next call says so."""
        channel = self._link()
        done: list[Completion] = []
        while not self._fatal and (channel.pending() or select.select([channel], [], [], 0.0 if done else timeout)[0]):
            try:
                message = channel.receive()
            except Closed:
                message = {"op": "fatal", "message": self._end()}
            if message["op"] == "refused":  # as it would be by a new one
                raise EngineError(
                    f"The vLLM engine refuses the decoding parameters: {message['message']}",
                    where="recipe key samplers[].sampling",
                    remedy="mend the value, or what stands under `extra`, and run again",
                )
            if message["op"] == "fatal":
                self._fatal = message["message"]
            else:
                done.extend(Completion(*row) for row in message["completions"])
        if self._fatal and not done:
            raise EngineDiedError(**self._account(self._fatal))
        return done

    def close(self) -> None:
        """Asks the child to end, and kills its group if it does not."""
        if self._process is None:
            return
        if self._channel is not None:
            self._channel.close()  # the child reads the end of the stream and leaves
        try:
            self._process.wait(_CLOSE_SECONDS)
        except subprocess.TimeoutExpired:
            pass
        finally:
            self._kill_group()
            self._process.wait()
            self._process = None

    def _kill_group(self) -> None:
        if self._process is not None:
            try:
                os.killpg(self._process.pid, signal.SIGKILL)
            except ProcessLookupError:
                return

    def _link(self) -> Channel:
        if self._channel is None:
            raise EngineError(**self._account("it was not started"))
        return self._channel

    def _receive(self) -> dict[str, Any]:
        try:
            return self._link().receive()
        except Closed as error:
            raise EngineDiedError(**self._account(self._end())) from error

    def _end(self) -> str:
        """How the child ended."""
        try:
            code = self._process.wait(_CLOSE_SECONDS) if self._process else 0
        except subprocess.TimeoutExpired:
            return "its process no longer answers"
        if code >= 0:
            return f"its process ended with exit code {code}"
        hint = ", as the system does when memory runs out" if code == -signal.SIGKILL else ""
        return f"its process was ended by {signal.Signals(-code).name}{hint}"

    def _account(self, why: str) -> dict[str, str]:
        return {
            "what": f"The vLLM engine stopped: {why}.",
            "where": f"{self._log}{_last_error(self._log)}",
            "remedy": "read the log; then run the same command again, it goes on where it stopped",
        }


def _last_error(log: Path) -> str:
    """The last line of a log that names an exception."""
    if not log.exists():
        return ""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 20_000))
        lines = file.read().decode(errors="replace").splitlines()
    named = [line.strip() for line in lines if "Error" in line and ":" in line]
    return f" says: {named[-1][-300:]}" if named else ""
