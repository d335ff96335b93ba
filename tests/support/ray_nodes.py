"""A real Ray cluster of several nodes on this machine, which can be killed and frozen; a slow filter, a free engine."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa

from proofmill.data.scratch import scratch_file
from proofmill.data.sections import Section
from proofmill.filters.base import MapFilter
from proofmill.flows.ray_connection import KEEP_ALIVE
from proofmill.generators.engines.base import Completion, EngineFacts, Request

JUDGE_GB = 1.0


class Nodes:
    """A cluster: the head has no processor for judges, so that it can stay while other nodes go."""

    def __init__(self, temporary: str) -> None:
        from ray.cluster_utils import Cluster

        self._cluster = Cluster()
        self._cluster.add_node(num_cpus=0, include_dashboard=False, temp_dir=temporary)
        self.address = str(self._cluster.address)

    def add(self, environment: Mapping[str, str] | None = None, engines: int = 0) -> Any:
        """Start a node with room for one judge, and for one engine beside it, or many on GPUs that it claims to have;
        return it.
        """
        return self._cluster.add_node(
            num_cpus=2 + engines,
            num_gpus=engines,
            memory=int(JUDGE_GB * 2**30),
            env_vars=dict(environment or {}),
        )

    def kill(self, node: Any) -> None:
        """Kill a node with all its processes, as a power cut does."""
        self._cluster.remove_node(node, allow_graceful=False)

    def engine_hosts(self, node_id: str) -> list[psutil.Process]:
        """Return the processes that host engines on the nodes whose id begins so."""
        nodes = [node for node in self._cluster.worker_nodes if node.node_id.startswith(node_id)]
        found = [process for node in nodes for process in processes(node)]
        return [process for process in found if process.name().startswith("ray::EngineHost")]

    def close(self) -> None:
        """End all nodes."""
        self._cluster.shutdown()


def processes(node: Any) -> list[psutil.Process]:
    """Return the processes of a node: its raylet, and all that this one has started."""
    raylet = psutil.Process(node.all_processes["raylet"][0].process.pid)
    return [raylet, *raylet.children(recursive=True)]


def freeze(node: Any) -> list[psutil.Process]:
    """Stop all processes of a node, as if its network were cut; return them, to be resumed."""
    frozen = processes(node)
    for process in frozen:
        process.suspend()
    return frozen


@contextmanager
def nodes() -> Iterator[Nodes]:
    """Provide a cluster without nodes for judges yet."""
    temporary = tempfile.mkdtemp(prefix="ray-")  # sockets need a short path
    before = dict(os.environ)
    os.environ |= KEEP_ALIVE | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1])])}
    waits = ("RAY_gcs_server_port_wait_time_s", "RAY_raylet_start_wait_time_s")
    os.environ |= dict.fromkeys(waits, "120")  # a busy machine starts nodes slowly
    # Where the head writes its address; the folder that Ray names by itself is only there once a cluster has run.
    Path(temporary, "ray").mkdir()
    os.environ |= {"RAY_TMPDIR": temporary}
    # Nice workers, as by default, would wait for all other tests.
    os.environ |= {"RAY_worker_niceness": "0", "RAY_USAGE_STATS_ENABLED": "0", _SLOWNESS: f"{temporary}/seconds"}
    cluster = Nodes(temporary)
    try:
        yield cluster
    finally:
        cluster.close()
        os.environ.clear()
        os.environ.update(before)
        shutil.rmtree(temporary, ignore_errors=True)


_SLOWNESS = "PROOFMILL_TEST_SLOWNESS"  # names the file that says it, since an option would be part of keys and card


def slow(seconds: float) -> None:
    """Let every shard take so long on the nodes from now on."""
    Path(os.environ[_SLOWNESS]).write_text(str(seconds))


class Poison(Section):
    """What kills."""

    kills: str = ""


def _pass(rows: Sequence[Mapping[str, Any]], options: Poison) -> Iterable[dict[str, Any]]:
    if (seconds := Path(os.environ.get(_SLOWNESS, "/nowhere"))).exists():
        time.sleep(float(seconds.read_text()))
        scratch_file().close()
    if options.kills and any(options.kills in row["prompt"] for row in rows):
        os.kill(os.getpid(), signal.SIGKILL)
    for _ in rows:
        yield {"passed": True}


SLOW = MapFilter(
    name="slow",
    version=1,
    options=Poison,
    reads=("prompt",),
    keyed_by=("kills",),
    adds=pa.schema([("passed", pa.bool_())]),
    annotate=_pass,
    runs="here",
)
"""Takes its time with every shard, and kills the process that gets a row with this text in its prompt."""


class FreeEngine:
    """An engine without a model, which costs nothing: what it writes is decided by prompt and seed.

    Args:
        window: requests in flight.
        size: characters that it writes.
        rate: completions a second, at most.
    """

    def __init__(self, window: int = 8, size: int = 10, rate: float = float("inf")) -> None:
        self._window, self._size, self._rate = window, size, rate
        self._open: list[Request] = []

    def start(self) -> None:
        """Do nothing."""

    def ready(self) -> EngineFacts:
        """Return its window."""
        return EngineFacts("free", "1", "none", 4096, self._window, 0.0, {})

    def submit(self, requests: Sequence[Request]) -> None:
        """Queue requests."""
        self._open += requests

    def poll(self, timeout: float) -> list[Completion]:
        """Return what is due by its rate."""
        if not self._open:
            time.sleep(timeout)
            return []
        count = len(self._open) if self._rate == float("inf") else 1
        time.sleep(min(timeout, count / self._rate))
        done, self._open = self._open[:count], self._open[count:]
        return [Completion(each.id, self.text(each), "stop", self._size) for each in done]

    def text(self, request: Request) -> str:
        """Return what it writes."""
        return f"{sum(request.tokens)} by {request.seed}".ljust(self._size, ".")

    def close(self) -> None:
        """Do nothing."""
