"""vLLM as a child process, so that its memory, threads and crashes don't touch the run.

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
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson

from proofmill.data.errors import EngineError
from proofmill.generators.engines.base import Completion, EngineDiedError, EngineFacts, Request

_CLOSE_SECONDS = 10.0
_HEADER = struct.Struct(">I")  # the length of a message in bytes


class ChannelClosed(Exception):  # noqa: N818 (an event, not a fault)
    """The other side is gone."""


class Channel:
    """JSON messages both ways over a connected socket, each after its length."""

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self._buffer = bytearray()

    def fileno(self) -> int:
        """Return the socket's descriptor, for `select`."""
        return self._socket.fileno()

    def send(self, message: dict[str, Any]) -> None:
        """Send one message whole."""
        payload = orjson.dumps(message)
        try:
            self._socket.sendall(_HEADER.pack(len(payload)) + payload)
        except OSError as error:
            raise ChannelClosed from error

    def pending(self) -> bool:
        """Return whether a complete message has arrived."""
        return len(self._buffer) >= 4 and len(self._buffer) >= 4 + _HEADER.unpack_from(self._buffer)[0]

    def receive(self) -> dict[str, Any]:
        """Wait for one message."""
        while not self.pending():
            try:
                block = self._socket.recv(1 << 20)
            except OSError as error:
                raise ChannelClosed from error
            if not block:
                raise ChannelClosed
            self._buffer += block
        size = _HEADER.unpack_from(self._buffer)[0]
        payload = bytes(self._buffer[4 : 4 + size])
        del self._buffer[: 4 + size]
        message: dict[str, Any] = orjson.loads(payload)
        return message

    def close(self) -> None:
        """Close the socket; the other side reads the end."""
        self._socket.close()


def quiet_threads(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment for a process that computes with torch, unless it says itself how threads wait.

    OpenMP's threads spin while they wait for each other. Beside a second such process each waits for one that has no
    core, and both get a tenth of the speed; asleep they lose nothing, alone or not.
    """
    return {"OMP_WAIT_POLICY": "passive", **environment}


class VllmProcess:
    """An `Engine` on this machine.

    Args:
        model: folder of the model.
        options: dtype, max_model_len, window, args (all may be None or empty: chosen by the child).
        log: file that receives what vLLM prints.
    """

    def __init__(self, model: Path, options: dict[str, Any], log: Path) -> None:
        self._load_message = {"op": "load", "model": str(model), "options": options}
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: Channel | None = None
        self._facts: EngineFacts | None = None
        self._fatal = ""

    def start(self) -> None:
        """Start the child, which loads the model meanwhile."""
        if self._process is not None:
            return
        ours, theirs = socket.socketpair()
        self._log.parent.mkdir(parents=True, exist_ok=True)
        with theirs, self._log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 (our own module)
                [sys.executable, "-m", "proofmill.generators.engines.vllm_worker", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                env=quiet_threads(os.environ),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._channel = Channel(ours)
        self._channel.send(self._load_message)

    def ready(self) -> EngineFacts:
        """Wait for the model to be loaded."""
        self.start()
        if self._facts is None:
            try:
                message = self._open_channel().receive()
            except ChannelClosed as error:
                raise self._stopped(self._exit_reason()) from error
            if message["op"] != "ready":  # it can't load this model, so a restart would not help
                raise self._stopped(message.get("message", "it said something unexpected"), EngineError)
            self._facts = EngineFacts(**message["facts"])
        return self._facts

    def submit(self, requests: Sequence[Request]) -> None:
        """Send requests to the child."""
        self.ready()
        rows = [(r.id, r.tokens, r.seed, dict(r.params), r.score_from) for r in requests]
        try:
            self._open_channel().send({"op": "add", "requests": rows})
        except ChannelClosed as error:
            raise self._stopped(self._exit_reason()) from error

    def poll(self, timeout: float) -> list[Completion]:
        """Return what the child has finished; if it died after that, the next call raises."""
        channel = self._open_channel()
        done: list[Completion] = []
        while not self._fatal and (channel.pending() or select.select([channel], [], [], 0.0 if done else timeout)[0]):
            try:
                message = channel.receive()
            except ChannelClosed:
                message = {"op": "fatal", "message": self._exit_reason()}
            if message["op"] == "refused":  # a restarted child would refuse it too
                raise EngineError(
                    f"The vLLM engine refuses the decoding parameters: {message['message']}",
                    where="recipe key samplers[].sampling",
                    remedy="correct the value, or what `extra` holds, and run again",
                )
            if message["op"] == "fatal":
                self._fatal = message["message"]
            else:
                done.extend(Completion(*row) for row in message["completions"])
        if self._fatal and not done:
            raise self._stopped(self._fatal)
        return done

    def close(self) -> None:
        """Ask the child to end, and kill its group if it does not."""
        if self._process is None:
            return
        if self._channel is not None:
            self._channel.close()  # the child reads the end of the stream and leaves
        try:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(_CLOSE_SECONDS)
        finally:  # also when Ctrl-C interrupts the wait
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def _open_channel(self) -> Channel:
        if self._channel is None:
            raise self._stopped("it was not started", EngineError)
        return self._channel

    def _exit_reason(self) -> str:
        """Return how the child ended, in words."""
        try:
            code = self._process.wait(_CLOSE_SECONDS) if self._process else 0
        except subprocess.TimeoutExpired:
            return "its process no longer answers"
        if code >= 0:
            return f"its process ended with exit code {code}"
        hint = ", as the system does when memory runs out" if code == -signal.SIGKILL else ""
        return f"its process was ended by {signal.Signals(-code).name}{hint}"

    def _stopped(self, why: str, kind: type[EngineError] = EngineDiedError) -> EngineError:
        return kind(
            f"The vLLM engine stopped: {why}.",
            where=f"{self._log}{_last_error(self._log)}",
            remedy="read the log; then run the same command again, it goes on where it stopped",
        )


def _last_error(log: Path) -> str:
    """Return the last line of a log that names an exception."""
    if not log.exists():
        return ""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 20_000))
        lines = file.read().decode(errors="replace").splitlines()
    named = [line.strip() for line in lines if "Error" in line and ":" in line]
    return f" says: {named[-1][-300:]}" if named else ""
