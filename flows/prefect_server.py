"""Prefect for one command: the server that the user runs, or a temporary one that ends with the command.

Prefect could start its own temporary server, but that one shares the terminal's Ctrl-C, so the interrupted run
could no longer be reported, and it outlives a killed parent.
"""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from proofmill.data.errors import ProofmillError
from proofmill.data.files import writing

_START_SECONDS = 180.0
_ATTEMPTS = 3
# Dies with its parent (PR_SET_PDEATHSIG = 1, SIGTERM = 15), whatever ends that one.
_LAUNCH = "import ctypes, os, sys; ctypes.CDLL(None).prctl(1, 15); os.execv(sys.argv[1], sys.argv[1:])"


def configure(home: Path, *, debug: bool) -> None:
    """Set what Prefect reads when it is imported: quiet, and nothing written outside HOME."""
    settings = {
        "PREFECT_HOME": str(home.absolute() / ".prefect"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_LOGGING_LEVEL": "INFO" if debug else "CRITICAL",
        "PREFECT_LOGGING_TO_API_ENABLED": "false",
        "DO_NOT_TRACK": "1",
    }
    for name, value in settings.items():
        os.environ.setdefault(name, value)
    logging.getLogger("proofmill").propagate = debug
    # Of a HOME that is still to be made; whoever needs the folder makes it, or says why not.
    warnings.filterwarnings("ignore", "Failed to create the Prefect home directory")


@contextmanager
def server(home: Path) -> Iterator[None]:
    """Provide a server at `PREFECT_API_URL`, also for settings that Prefect has read already.

    Raises:
        ProofmillError: the temporary server didn't start.
    """
    if os.environ.get("PREFECT_API_URL"):
        yield
        return
    with writing(home):
        Path(os.environ["PREFECT_HOME"]).mkdir(parents=True, exist_ok=True)
    log = Path(os.environ["PREFECT_HOME"]) / "server.log"
    port = _free_port()
    process = _start(port, log)
    attempts = 1
    try:
        # Prefect reads its settings when it is imported, which is so by now or takes as long as the server does; told
        # by the environment alone it would start a second server of its own.
        from prefect.settings import PREFECT_API_URL, temporary_settings

        while not _answers(process, port):
            if process.poll() is None or attempts == _ATTEMPTS:
                raise ProofmillError(
                    "Prefect's temporary server didn't start.",
                    where=str(log),
                    remedy="read that log; or start one yourself with `prefect server start` and set PREFECT_API_URL",
                )
            port = _free_port()  # it took seconds to start, in which another program may have taken the first one
            process = _start(port, log)
            attempts += 1
        os.environ["PREFECT_API_URL"] = url = f"http://127.0.0.1:{port}/api"
        with temporary_settings({PREFECT_API_URL: url}):
            yield
    finally:
        os.environ.pop("PREFECT_API_URL", None)
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _start(port: int, log: Path) -> subprocess.Popen[bytes]:
    uvicorn = ["-m", "uvicorn", "--factory", "prefect.server.api.server:create_app", "--lifespan", "on"]
    address = ["--host", "127.0.0.1", "--port", str(port), "--log-level", "error"]
    extra = {"PREFECT_UI_ENABLED": "0", "PREFECT__SERVER_EPHEMERAL": "1", "PREFECT__SERVER_FINAL": "1"}
    with log.open("ab") as output:
        return subprocess.Popen(  # noqa: S603 (our own words)
            [sys.executable, "-c", _LAUNCH, sys.executable, *uvicorn, *address],
            env=os.environ | extra,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )


def _answers(process: subprocess.Popen[bytes], port: int) -> bool:
    """Wait for the server; return whether it answers. It doesn't if it has ended or took too long."""
    import urllib.error  # slow to import, and most commands need no server
    import urllib.request

    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/health", timeout=5):
                return True
        except (urllib.error.URLError, TimeoutError, ConnectionError):
            time.sleep(0.1)
    return False
