"""Engines on the nodes of a Ray cluster, used like one: they share a window of requests, and come and go.

On each node as many engines are wanted as it has room for. Each is an actor that hosts the engine of this machine, with
its process; an engine on several GPUs gets all of them on one node. A request goes to the engine with the fewest in
flight. An engine that dies, says nothing for too long or loses its node gives back what it had as `LOST`, and another
one is started where there is room.

All happens in `poll` and `ready`: there is no thread. An engine that has nothing to do is asked nothing.
"""

from __future__ import annotations

import os
import platform
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from itertools import accumulate
from pathlib import Path
from typing import Any

from proofmill.data.errors import EngineError, ProofmillError
from proofmill.flows.display import Progress
from proofmill.flows.ray_connection import connected, differences, node_name, nodes_alive, one_line, program_of
from proofmill.flows.recipe.schema import ClusterOptions, NodeEngineOptions
from proofmill.generators import models
from proofmill.generators.engines.base import LOST, Completion, Engine, EngineDiedError, EngineFacts, Request
from proofmill.generators.engines.vllm import VllmProcess
from proofmill.generators.models import Model

Make = Callable[[], Engine]

_COMING = 32  # engines that a cluster may come to have; requests beyond what they take wait here
_LOOK_SECONDS = 2.0
_TICK_SECONDS = 0.5  # of one wait; `close` in another thread waits as long
_ANSWER_SECONDS = 2.0  # an engine on a node says at least this often that it lives
_GATHER_SECONDS = 0.2  # a call costs the driver half a millisecond, so one brings more than one completion
_REPLY = 24 << 10  # characters in an answer, of up to four bytes
_ROOM_SECONDS = 60.0  # until it is said that an engine waits for a place
_EMPTY_SECONDS = 300.0  # how long a cluster may be without any node for an engine
_CLOSE_SECONDS = 10.0


def engines_on(resources: Mapping[str, float], options: NodeEngineOptions) -> int:
    """Return how many engines a node has room for: by its GPUs, or a single one on processors."""
    cpus = resources.get("CPU", 0)
    if not options.gpus:
        return int(cpus >= options.cpus)
    return int(min(resources.get("GPU", 0) / options.gpus + 1e-9, cpus / options.cpus))


def hosted(model: Model, options: Mapping[str, Any], gpus: float, logs: Path) -> Engine:
    """Return the engine of a model on this node, not started.

    Args:
        model: as the driver has it.
        options: of the recipe's engine.
        gpus: that the engine has; more than one share each layer (tensor parallel).
        logs: folder for what it prints.

    Raises:
        ProofmillError: the model is not here and can't be fetched, or is another one.
    """
    here = models.find_again(model)
    args = dict(options["args"])
    if gpus > 1:
        args = {"tensor_parallel_size": int(gpus), "distributed_executor_backend": "mp", **args}
    return VllmProcess(here.path, {**options, "args": args}, logs / f"engine-{platform.node()}-{os.getpid()}.log")


class EngineHost:
    """Hosts an engine on a node; an actor.

    Args:
        make: returns the engine, not started.
        code: what has to be the same here and where the driver is.
    """

    def __init__(self, make: Make, code: Mapping[str, str]) -> None:
        self._make, self._code = make, code
        self._engine: Engine | None = None
        self._open = 0
        self._done: list[Completion] = []  # and not given out yet

    def sit(self) -> None:
        """Answer: there is room for it here."""

    def load(self) -> EngineFacts:
        """Load the engine.

        Raises:
            EngineError: this node has other code, or can't load the model.
        """
        if faults := differences(program_of(), self._code):
            raise EngineError("; ".join(faults))
        self._engine = self._make()
        return self._engine.ready()

    def exchange(self, requests: Sequence[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
        """Take requests and return what is finished; it waits a moment for that.

        Raises:
            EngineDiedError: the engine ended; what had finished was returned before.
        """
        assert self._engine is not None  # noqa: S101 (narrowing for the type checker)
        if requests:
            self._open += len(requests)
            with suppress(EngineDiedError):  # `poll` says so too, once it has given out what was finished
                self._engine.submit([Request(*row) for row in requests])
        done = self._done or self._engine.poll(_ANSWER_SECONDS)
        until = time.monotonic() + _GATHER_SECONDS
        with suppress(EngineDiedError):  # the next call learns of it
            while done and len(done) < self._open / 4 and (left := until - time.monotonic()) > 0:
                done += self._engine.poll(left)
        # Ray sends a small answer with its reply; a large one is copied from store to store first.
        count = next((n for n, size in enumerate(accumulate(len(c.text) for c in done), 1) if size > _REPLY), len(done))
        self._open, self._done = self._open - count, done[count:]
        return [(c.id, c.text, c.finish_reason, c.completion_tokens, c.logprob) for c in done[:count]]

    def close(self) -> None:
        """End the engine."""
        if self._engine is not None:
            self._engine.close()


@dataclass(eq=False)
class _Hosted:
    """An engine on a node, as the driver knows it.

    Attributes:
        node: its id.
        name: of engine and node, for people.
        actor: the `EngineHost`.
        call: what it was asked last and has not answered; None: nothing.
        since: when it was asked that.
        seated: whether it has found room.
        facts: None until it is loaded.
        open: requests that it has, by id.
        fresh: of these, the ones that it is to be sent.
    """

    node: str
    name: str
    actor: Any
    call: Any
    since: float = field(default_factory=time.monotonic)
    seated: bool = False
    facts: EngineFacts | None = None
    open: dict[str, Request] = field(default_factory=dict)
    fresh: list[Request] = field(default_factory=list)

    def ask(self, call: Any) -> None:
        self.call, self.since = call, time.monotonic()

    @property
    def free(self) -> int:
        return self.facts.window - len(self.open) if self.facts else 0


class NodeEngines:
    """An `Engine` whose parts are on the nodes of a cluster.

    Args:
        options: the recipe's section `cluster`, with an address.
        make: returns a node's engine, not started; called there.
        restarts: how often in a row an engine may die on one node before it is loaded.
        progress: is notified of engines that come and go.
    """

    def __init__(self, options: ClusterOptions, make: Make, restarts: int, progress: Progress) -> None:
        self._options, self._make, self._restarts, self._progress = options, make, restarts, progress
        self._stack = ExitStack()
        self._turn = threading.RLock()  # held while Ray is used, so that it is not left under a call
        self._started = self._closed = False
        self._code: dict[str, str] = {}
        self._hosts: list[_Hosted] = []
        self._queue: deque[Request] = deque()
        self._done: list[Completion] = []
        self._facts: EngineFacts | None = None
        self._refused: dict[str, str] = {}  # nodes that get no engine, and why; by id
        self._deaths: Counter[str] = Counter()  # before they were loaded, by node
        self._number = self._wanted = 0
        self._looked = self._peopled = 0.0  # when nodes were last looked at, and when one last had room

    def start(self) -> None:
        """Join the cluster and start an engine wherever there is room.

        Raises:
            UsageError: there is no cluster at the address.
            EngineError: no node has room for an engine.
        """
        with self._turn:
            if self._started:
                return
            self._stack.enter_context(connected(self._options.address or "auto"))
            self._started, self._code, self._peopled = True, program_of(), time.monotonic()
            if not self._look():
                raise self._nowhere("No node of the cluster has room for an engine.", nodes_alive().values())

    def ready(self) -> EngineFacts:
        """Wait for the first engine."""
        self.start()
        while self._facts is None:
            self._work(_TICK_SECONDS)
        return self._facts

    def submit(self, requests: Sequence[Request]) -> None:
        """Queue requests, to be sent with the next poll."""
        self._queue.extend(requests)

    def poll(self, timeout: float) -> list[Completion]:
        """Return what has been answered; all that an engine had which is gone comes at once, as `LOST`.

        Raises:
            EngineError: no node can host an engine any more.
        """
        until = time.monotonic() + timeout
        while not self._done:
            self._work(max(0.0, min(until - time.monotonic(), _TICK_SECONDS)))
            if time.monotonic() >= until:
                break
        done, self._done = self._done, []
        return done

    def close(self) -> None:
        """End all engines."""
        self._closed = True
        with self._turn:
            if not self._started:
                return
            import ray

            # One that is loading reads no further call, so it is ended at once.
            ending = [host.actor.close.remote() for host in self._hosts if host.facts]
            if ending:
                ray.wait(ending, num_returns=len(ending), timeout=_CLOSE_SECONDS)
            for host in self._hosts:
                ray.kill(host.actor)
            self._hosts.clear()
            self._started = False
            self._stack.close()
            self._progress.engines(0, 0)

    def _work(self, seconds: float) -> None:
        """Send what waits, take what is there, and look at the nodes now and then."""
        with self._turn:
            if self._closed:
                raise EngineDiedError("The engines were closed.")
            self._send()
            import ray

            calls = {host.call: host for host in self._hosts if host.call is not None}
            if calls:
                answered, open_ = ray.wait(list(calls), timeout=seconds)
                if answered and open_:
                    answered += ray.wait(open_, num_returns=len(open_), timeout=0)[0]
                for call in answered:
                    self._take(ray, calls[call], call)
            else:
                time.sleep(min(seconds, _TICK_SECONDS))
            if time.monotonic() - self._looked > _LOOK_SECONDS:
                self._look()

    # Requests.

    def _send(self) -> None:
        """Give each request to the engine with the fewest, and call those that have something to do."""
        loaded = [host for host in self._hosts if host.facts]
        while self._queue and (free := max(loaded, key=lambda host: host.free, default=None)) and free.free > 0:
            # As many as bring it level with the others, at least one: choosing anew for each would cost too much.
            share = max(1, min(free.free, -(-len(self._queue) // len(loaded))))
            for _ in range(min(share, len(self._queue))):
                request = self._queue.popleft()
                free.open[request.id] = request
                free.fresh.append(request)
        for host in loaded:
            if host.call is None and host.open:
                rows = [(r.id, r.tokens, r.seed, dict(r.params), r.score_from) for r in host.fresh]
                host.fresh = []
                host.ask(host.actor.exchange.remote(rows))

    def _take(self, ray: Any, host: _Hosted, call: Any) -> None:
        """Take an answer of an engine, or note that it died."""
        host.call = None
        try:
            answer = ray.get(call)
        except ray.exceptions.RayTaskError as error:
            self._failed(host, error.cause)
        except ray.exceptions.RayError as error:
            self._lose(host, one_line(error).partition(" class_name:")[0].rstrip("."))
        else:
            if not host.seated:
                host.seated = True
                host.ask(host.actor.load.remote())
            elif host.facts is None:
                self._loaded(host, answer)
            else:
                for row in answer:
                    if host.open.pop(row[0], None):
                        self._done.append(Completion(*row))

    def _failed(self, host: _Hosted, error: Exception) -> None:
        why = error.what.rstrip(".") if isinstance(error, ProofmillError) else one_line(error)
        if isinstance(error, EngineDiedError):
            self._lose(host, f"{why} ({error.where})" if error.where else why)
        elif host.facts is None:
            self._refuse(host, why)
        elif isinstance(error, ProofmillError):
            raise error  # it refuses what is asked, as every other engine would
        else:
            self._lose(host, why)

    # Engines: loaded, refused, lost, started.

    def _loaded(self, host: _Hosted, facts: EngineFacts) -> None:
        self._deaths.pop(host.node, None)
        if self._facts is None:
            most = self._options.engines.count or max(_COMING, len(self._hosts))
            self._facts = replace(facts, window=facts.window * most)
        elif faults := differences(_character(facts), _character(self._facts)):
            # What it writes is recorded under the same key, so it must be the same engine.
            self._refuse(host, "; ".join(faults).replace(" here", " on the first node"))
            return
        host.facts = facts
        self._progress.note(f"{host.name} is loaded")
        self._show()

    def _refuse(self, host: _Hosted, why: str) -> None:
        self._refused[host.node] = why
        self._progress.warn(f"{host.name} is not used, nor another one there: {why}")
        self._drop(host)

    def _lose(self, host: _Hosted, why: str) -> None:
        """Give back what an engine had; another one takes its place when nodes are looked at."""
        message = f"{host.name} is gone: {why}."
        if not host.seated:  # it had not begun
            self._drop(host)
            return
        if host.facts is None:
            self._deaths[host.node] += 1
            if self._deaths[host.node] > self._restarts:
                self._refuse(host, f"it died {self._deaths[host.node]} times while it was loaded; {why}")
                return
        self._done += [Completion(name, message, LOST, 0) for name in host.open]
        if not host.open:
            self._progress.warn(message)
        self._drop(host)
        self._progress.restarted()

    def _drop(self, host: _Hosted) -> None:
        import ray

        self._hosts.remove(host)
        ray.kill(host.actor)
        self._show()

    def _look(self) -> int:
        """Note what has become of nodes, and start engines where they are wanted; return how many are wanted.

        Raises:
            EngineError: no node can host an engine.
        """
        alive = nodes_alive()
        for host in list(self._hosts):
            self._look_at(host, alive)
        room = {node: engines_on(facts["Resources"], self._options.engines) for node, facts in alive.items()}
        usable = {node: count for node, count in sorted(room.items()) if count and node not in self._refused}
        most = self._options.engines.count
        self._wanted = sum(usable.values()) if most is None else min(most, sum(usable.values()))
        for node, count in usable.items():
            own = [host for host in self._hosts if host.node == node]
            # One after the other on a node: the first one's compiled code is there for the next.
            loading = any(host.facts is None for host in own)
            if len(own) < count and not loading and len(self._hosts) < self._wanted:
                self._hosts.append(self._host(node, alive[node]))
        self._looked = time.monotonic()
        if usable:
            self._peopled = self._looked
        else:
            self._check_hope(alive)
        self._show()
        return self._wanted

    def _look_at(self, host: _Hosted, alive: Mapping[str, Any]) -> None:
        """Give an engine up whose node is gone or that says nothing; say so where one finds no room."""
        seconds = time.monotonic() - host.since
        if host.node not in alive:
            self._lose(host, "its node has left the cluster")
        elif host.facts and host.call is not None and seconds > _ANSWER_SECONDS + self._options.silence_s:
            self._lose(host, f"it has said nothing for {seconds:.0f} s")
        elif not host.seated and seconds > _ROOM_SECONDS:
            host.since = float("inf")  # said once
            self._progress.warn(f"{host.name} waits for room: other work has the node's GPUs or processors")

    def _check_hope(self, alive: Mapping[str, Any]) -> None:
        """Fail where every node is refused, or none has had room for too long."""
        if told := [f"{node_name(alive[node])}: {why}" for node, why in self._refused.items() if node in alive]:
            raise EngineError(
                "No node of the cluster can host an engine.",
                where="; ".join(told),
                remedy="make the nodes alike; then run the same command again, it goes on where it stopped",
            )
        if self._looked - self._peopled > _EMPTY_SECONDS:
            raise self._nowhere(f"No node has had room for an engine for {_EMPTY_SECONDS:g} s.", alive.values())

    def _host(self, node: str, facts: Mapping[str, Any]) -> _Hosted:
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        options = self._options.engines
        actor = (
            ray.remote(EngineHost)
            .options(
                num_cpus=options.cpus,
                num_gpus=options.gpus,
                max_restarts=0,
                scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False),
            )
            .remote(self._make, self._code)
        )
        self._number += 1
        return _Hosted(node, f"engine {self._number} on {node_name(facts)}", actor, actor.sit.remote())

    def _nowhere(self, what: str, nodes: Iterable[Mapping[str, Any]]) -> EngineError:
        options = self._options.engines
        told = []
        for node in nodes:
            gpus, cpus = (node["Resources"].get(name, 0) for name in ("GPU", "CPU"))
            told.append(f"{node_name(node)} has {gpus:g} GPUs and {cpus:g} CPUs")
        return EngineError(
            what,
            where="; ".join(told) or "it has no nodes",
            remedy=f"an engine takes {options.gpus:g} GPUs and {options.cpus} CPUs (recipe key cluster.engines); with "
            "gpus: 0 it computes on processors, with count: 0 it stays on the driver's machine",
        )

    def _show(self) -> None:
        self._progress.engines(sum(host.facts is not None for host in self._hosts), self._wanted)


def _character(facts: EngineFacts) -> dict[str, str]:
    """Return what decides what an engine writes, apart from its weights."""
    return {
        facts.name: facts.version,
        "the number format": facts.dtype,
        "the longest text": f"{facts.max_model_len} tokens",
    }
