"""The Ray cluster that a run joins: one connection of this process, shared by all that use it.

Nothing here imports Ray before a cluster is asked for.
"""

from __future__ import annotations

import logging
import os
import socket
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from proofmill.data.errors import UsageError
from proofmill.data.files import digest
from proofmill.data.run import source_digest

KEEP_ALIVE = {
    "RAY_grpc_client_keepalive_time_ms": "10000",
    "RAY_grpc_client_keepalive_timeout_ms": "10000",
    "RAY_health_check_timeout_ms": "5000",
    "RAY_health_check_failure_threshold": "3",
}
"""All of Ray's processes read these; with its defaults a node that falls silent holds what it was sent for minutes."""

_PACKAGES = ("data", "filters", "generators", "flows")
_KNOCK_SECONDS = 10.0
_lock = threading.Lock()
_users: list[str] = []  # the address, once for each block that is connected


@contextmanager
def connected(address: str) -> Iterator[None]:
    """Join a cluster while the block runs; none is ever started. Blocks in any threads share the connection.

    Raises:
        UsageError: there is no cluster at the address, or Ray is not installed.
    """
    with _lock:
        if not _users:
            _join(address)
        _users.append(address)
    try:
        yield
    finally:
        with _lock:
            _users.remove(address)
            if not _users:
                import ray

                ray.shutdown()


def _join(address: str) -> None:
    for name, value in KEEP_ALIVE.items():
        os.environ.setdefault(name, value)  # Ray reads them when it is imported
    if address != "auto":
        _reach(address)
    try:
        import ray
    except ImportError as error:
        raise UsageError(
            "Ray is not installed.", where="--cluster", remedy="pip install 'proofmill[cluster]', on every node"
        ) from error
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise _absent(address, one_line(error)) from error


def _reach(address: str) -> None:
    """Knock at the port of a cluster's head, since Ray waits for one that is not there for minutes."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_KNOCK_SECONDS).close()
    except OSError as error:
        raise _absent(address, error.strerror or str(error)) from error


def _absent(address: str, why: str) -> UsageError:
    return UsageError(
        f"There is no Ray cluster to join: {why}",
        where=f"--cluster {address}",
        remedy="start one (ray start --head), or give its address, HOST:6379; see flows/CLUSTER.md",
    )


def nodes_alive() -> dict[str, dict[str, Any]]:
    """Return what Ray says of each node that is alive, by its id; the connection is open."""
    import ray

    return {node["NodeID"]: node for node in ray.nodes() if node["Alive"]}


def node_name(node: Mapping[str, Any]) -> str:
    """Return the name of a node for people."""
    return f"{node['NodeManagerHostname']} ({node['NodeID'][:6]})"


def program_of() -> dict[str, str]:
    """Return what has to be the same on every node that works for a driver, by name."""
    return {
        "python": sys.version.split()[0],
        "proofmill": digest([source_digest(f"proofmill.{name}") for name in _PACKAGES]),
    }


def differences(own: Mapping[str, str], driver: Mapping[str, str]) -> list[str]:
    """Return in words what is different on a node and where its driver is."""
    names = sorted(name for name in driver.keys() | own.keys() if own.get(name) != driver.get(name))
    return [f"{name} is {own.get(name, 'absent')} there and {driver.get(name, 'absent')} here" for name in names]


def one_line(error: object) -> str:
    """Return an error in one line that is not too long."""
    return " ".join(str(error).split())[:300]
