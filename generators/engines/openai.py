"""The requests of one engine spread over its endpoints, in a thread of its own.

Each request goes to the endpoint with the fewest; one that fails is sent again after a pause with jitter, one that
dies gives back what was under way there, as `LOST`, and is looked at until it answers again. While no endpoint can
be used everything waits, up to a stated time.
"""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from queue import Empty, Queue
from typing import Any

import httpx

from proofmill.data.errors import EngineError
from proofmill.data.samples import FAILED
from proofmill.generators.engines.base import LOST, Completion, EngineFacts, Request, Watcher
from proofmill.generators.engines.openai_client import (
    CONNECT_SECONDS,
    RequestFailure,
    Server,
    ServerOptions,
    check_supported,
    complete,
    handshake,
    health_check,
    server_info,
)


@dataclass(eq=False)
class Job:
    """A request until its completion is given out."""

    request: Request
    faults: int = 0
    answers_before: int = 0  # of the engine, when its first fault came


@dataclass(eq=False)
class Endpoint:
    """An endpoint as it stands now."""

    url: str
    server: Server | None = None  # None: not usable
    why: str = "it has not answered yet"
    denied: bool = False
    rest_until: float = 0.0
    faults: int = 0  # since its last answer
    misses: int = 0
    running: dict[Job, asyncio.Task[None]] = field(default_factory=dict)


def unusable(endpoints: Sequence[Endpoint], what: str) -> EngineError:
    """The error of a pool that can't go on, with what each endpoint said last."""
    return EngineError(
        what,
        where="; ".join(f"{end.url}: {end.why if end.server is None else end.server.model}" for end in endpoints),
        remedy="start or mend the servers named in engine.endpoints (`vllm serve MODEL`), "
        "then run the same command again: it goes on where it stopped",
    )


def unable(endpoint: Endpoint, trouble: RequestFailure) -> EngineError:
    """The error of a server that lacks what every request needs."""
    return EngineError(
        f"The server can't do what the recipe asks of it: {trouble.why}.",
        where=endpoint.url,
        remedy="name the `vllm serve` itself and no gateway before it, or give quality.learning another engine",
    )


def refusing(endpoint: Endpoint, prompts: int, trouble: RequestFailure) -> EngineError:
    """The error of a server that has come to refuse whatever it is asked."""
    return EngineError(
        f"The server has refused {prompts} prompts in a row, which accuses the server itself: {trouble.why}.",
        where=endpoint.url,
        remedy="mend what it complains of, then run the same command again: it goes on where it stopped, "
        "and asks again for what was refused",
    )


_MISSES = 3  # looks in a row that an endpoint may miss
_MOST_PAUSE = 30.0
_MOST_REFUSED = 16  # prompts with no answer between them; more of them accuse the server
_SEEDLESS = (
    "{url} takes no seed: what it writes is recorded and kept, but the same samples can't be drawn from it again"
)


class Pool:
    """Lives in the engine's thread; `facts`, `outbox` and `call` are for the others."""

    def __init__(self, options: ServerOptions, sampling: Mapping[str, Any], watcher: Watcher) -> None:
        self.facts: Future[EngineFacts] = Future()
        self.outbox: Queue[list[Completion] | EngineError] = Queue()
        self._options, self._sampling, self._watcher = options, sampling, watcher
        self._endpoints = [Endpoint(url) for url in options.endpoints]
        self._queue: deque[Job] = deque()
        self._unfinished = self._answers = 0
        self._refused: set[tuple[int, ...]] = set()  # prompts since the last answer
        self._name: str | None = None
        self._stuck_since: float | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._main: asyncio.Task[None] | None = None
        self._client: httpx.AsyncClient
        self._born = threading.Event()

    def serve(self) -> None:
        """The thread's work."""
        try:
            asyncio.run(self._run())
        except asyncio.CancelledError:
            pass
        except Exception as error:  # noqa: BLE001 (the boundary of a thread: whoever waits must hear of it)
            self._fail(EngineError(f"The engine's thread failed: {type(error).__name__}: {error}"))
        finally:
            self._born.set()
            if not self.facts.done():
                self.facts.set_exception(EngineError("The engine was closed before an endpoint answered."))

    def call(self, function: Any, *arguments: Any) -> None:
        """Runs a function in the thread."""
        self._born.wait()
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(function, *arguments)

    def stop(self) -> None:
        """Ends the thread."""
        if self._main is not None:
            self._main.cancel()

    def add(self, requests: list[Request]) -> None:
        """Takes requests on."""
        try:
            for server in {end.server for end in self._endpoints if end.server}:
                for request in requests:
                    check_supported(server, self._options, request)
        except EngineError as error:
            self._fail(error)
            return
        self._queue.extend(map(Job, requests))
        self._unfinished += len(requests)
        self._dispatch()

    async def _run(self) -> None:
        self._loop, self._main = asyncio.get_running_loop(), asyncio.current_task()
        self._born.set()
        key = self._options.key
        started = time.monotonic()
        async with httpx.AsyncClient(
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=httpx.Timeout(self._options.timeout_s, connect=CONNECT_SECONDS, pool=None),
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=None),
        ) as self._client:
            await asyncio.gather(*map(self._look, self._endpoints))
            async with asyncio.TaskGroup() as group:
                for endpoint in self._endpoints:
                    group.create_task(self._watch(endpoint))
                while not self.facts.done():
                    self._introduced(time.monotonic() - started)
                    await asyncio.sleep(0.1)
                while True:
                    self._dispatch()  # a rest may have ended
                    self._check_stuck()
                    await asyncio.sleep(0.2)

    def _introduced(self, waited: float) -> None:
        """Tells the facts once an endpoint answers, or that none does."""
        servers = [end.server for end in self._endpoints if end.server]
        if len({server.name for server in servers}) > 1:
            self._fail(unusable(self._endpoints, "The endpoints serve different models."))
        elif servers:
            self._name = servers[0].name
            details = {"served": self._name, "api": self._options.api, "endpoints": len(self._endpoints)}
            details["seeded"] = all("seed" not in server.lacks for server in servers)
            length = min((server.max_model_len or 0 for server in servers), default=0)
            window = self._options.window * len(self._endpoints)
            self.facts.set_result(EngineFacts("openai", servers[0].kind, "as served", length, window, waited, details))
        elif all(end.denied for end in self._endpoints):
            self._fail(unusable(self._endpoints, "No endpoint lets the run in."))
        elif waited > self._options.wait_s:
            self._fail(unusable(self._endpoints, f"No endpoint has answered in {self._options.wait_s:g} s."))

    def _dispatch(self) -> None:
        now = time.monotonic()
        while self._queue:
            free = [
                end
                for end in self._endpoints
                if end.server and end.rest_until <= now and len(end.running) < self._options.window
            ]
            if not free:
                return
            endpoint = min(free, key=lambda end: len(end.running))
            job = self._queue.popleft()
            endpoint.running[job] = task = asyncio.ensure_future(self._ask(endpoint, job))
            task.add_done_callback(self._check)

    def _check(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()):
            self._fail(EngineError(f"The engine's thread failed: {type(error).__name__}: {error}"))

    async def _ask(self, endpoint: Endpoint, job: Job) -> None:
        server = endpoint.server
        found: Completion | RequestFailure = RequestFailure("fault", "it went away")
        if server is not None:
            found = await complete(self._client, endpoint.url, server, self._options, job.request)
        if isinstance(found, RequestFailure) and found.kind == "cut":
            if isinstance(await server_info(self._client, endpoint.url, self._options), RequestFailure):
                self._die(endpoint, found.why)
                return
            found = RequestFailure("fault", found.why)  # one connection, not the endpoint
        endpoint.running.pop(job, None)
        if isinstance(found, RequestFailure):
            self._trouble(endpoint, job, found)
        else:
            self._answered(endpoint)
            self._give(found)
        self._dispatch()

    def _answered(self, endpoint: Endpoint) -> None:
        endpoint.faults = endpoint.misses = 0
        self._answers += 1
        self._stuck_since = None
        self._refused.clear()

    def _give(self, completion: Completion) -> None:
        self._unfinished -= 1
        self.outbox.put([completion])

    def _trouble(self, endpoint: Endpoint, job: Job, trouble: RequestFailure) -> None:
        if trouble.kind == "refused":
            endpoint.faults = 0
            self._refused.add(job.request.tokens)
            self._give_up(job, trouble.why)
            if len(self._refused) > _MOST_REFUSED:
                self._fail(refusing(endpoint, len(self._refused), trouble))
            return
        if trouble.kind == "unable":
            self._fail(unable(endpoint, trouble))
            return
        now = time.monotonic()
        endpoint.faults += endpoint.rest_until <= now  # many requests that fail at once are one sign
        if trouble.kind == "fault":
            job.answers_before = job.answers_before if job.faults else self._answers
            job.faults += 1
            if job.faults > self._options.retries and self._answers > job.answers_before:
                self._give_up(job, trouble.why)
                return
        if trouble.kind == "busy":
            if endpoint.rest_until <= now or trouble.after:
                endpoint.rest_until = max(endpoint.rest_until, now + self._pause(endpoint.faults, trouble.after))
        elif trouble.kind == "denied" or max(endpoint.faults, job.faults) > self._options.retries:
            # Nothing else was answered meanwhile either, so the fault may be the server's: it must show itself first.
            self._drop(endpoint, trouble)
        self._watcher.retried(1)
        pause = self._pause(job.faults, trouble.after) if trouble.kind == "fault" else 0.0
        asyncio.get_running_loop().call_later(pause, self._again, job)

    def _again(self, job: Job) -> None:
        self._queue.appendleft(job)
        self._dispatch()

    def _give_up(self, job: Job, why: str) -> None:
        self._watcher.warn(f"Request {job.request.id} failed at every try: {why}")
        self._give(Completion(job.request.id, "", FAILED, 0))

    @staticmethod
    def _pause(faults: int, after: float | None) -> float:
        """Exponential, anywhere up to its bound, so that requests don't come back all at once."""
        return (after or 0.0) + random.uniform(0.0, min(_MOST_PAUSE, 0.5 * 2.0**faults))

    def _drop(self, endpoint: Endpoint, trouble: RequestFailure) -> None:
        """Sends nothing more to an endpoint until it answers again; what is under way there may end."""
        if endpoint.server is not None:
            self._watcher.warn(f"Endpoint {endpoint.url} is dropped until it answers again: {trouble.why}")
        endpoint.server, endpoint.why, endpoint.denied = None, trouble.why, trouble.kind == "denied"
        if all(end.denied for end in self._endpoints):
            self._fail(unusable(self._endpoints, "No endpoint lets the run in any more."))

    def _die(self, endpoint: Endpoint, why: str) -> None:
        """Drops an endpoint and gives back all that was under way there, at once."""
        endpoint.server, endpoint.why = None, why
        lost, endpoint.running = endpoint.running, {}
        current = asyncio.current_task()
        for task in lost.values():
            if task is not current:
                task.cancel()
        said = f"Endpoint {endpoint.url} is gone until it answers again: {why}."
        if lost:
            self._unfinished -= len(lost)
            self.outbox.put([Completion(job.request.id, said, LOST, 0) for job in lost])
        else:
            self._watcher.warn(said)

    async def _watch(self, endpoint: Endpoint) -> None:
        """Looks at an endpoint as long as the engine lives: a dead one comes back, a silent one is noticed."""
        while True:
            await asyncio.sleep(self._options.probe_s * random.uniform(0.8, 1.2))
            if endpoint.server is None:
                await self._look(endpoint)
                if endpoint.server is not None:
                    self._watcher.warn(f"Endpoint {endpoint.url} answers again.")
                    self._dispatch()
                continue
            found = await health_check(self._client, endpoint.url, self._options)
            endpoint.misses = endpoint.misses + 1 if isinstance(found, RequestFailure) and found.kind == "cut" else 0
            if endpoint.misses >= _MISSES and endpoint.server is not None and isinstance(found, RequestFailure):
                self._die(endpoint, found.why)

    async def _look(self, endpoint: Endpoint) -> None:
        """Takes an endpoint on if it can be used."""
        try:
            found = await handshake(self._client, endpoint.url, self._options, self._sampling)
        except EngineError as error:
            self._fail(error)
            return
        if isinstance(found, Server) and self._name not in (None, found.name):
            found = RequestFailure("denied", f"it serves {found.name}, not {self._name}")
        if isinstance(found, RequestFailure):
            endpoint.why, endpoint.denied = found.why, found.kind == "denied"
            return
        if "seed" in found.lacks and self._name is None:
            self._watcher.warn(_SEEDLESS.format(url=endpoint.url))
        endpoint.server, endpoint.denied = found, False
        self._answered(endpoint)

    def _check_stuck(self) -> None:
        """Fails when nothing could be sent anywhere for too long."""
        now = time.monotonic()
        usable = any(end.server and end.rest_until <= now for end in self._endpoints)
        if not self._unfinished or usable or any(end.running for end in self._endpoints):
            return
        self._stuck_since = self._stuck_since or now
        if now - self._stuck_since > self._options.wait_s:
            self._fail(unusable(self._endpoints, f"No endpoint could be used for {self._options.wait_s:g} s."))
            self.stop()

    def _fail(self, error: EngineError) -> None:
        if not self.facts.done():
            self.facts.set_exception(error)
        self.outbox.put(error)


_CLOSE_SECONDS = 10.0


class OpenAIEngine:
    """An `Engine` on servers.

    Args:
        options: how to reach them.
        sampling: decoding parameters of the run, tried once before anything is drawn.
        watcher: told of retries and of endpoints that go and come.
    """

    def __init__(self, options: ServerOptions, sampling: Mapping[str, Any], watcher: Watcher) -> None:
        self._pool = Pool(options, sampling, watcher)
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begins to look for endpoints."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._pool.serve, name="openai", daemon=True)
            self._thread.start()

    def ready(self) -> EngineFacts:
        """Waits for the first endpoint that answers."""
        self.start()
        return self._pool.facts.result()

    def submit(self, requests: Sequence[Request]) -> None:
        """Hands requests to the thread."""
        self.ready()
        self._pool.call(self._pool.add, list(requests))

    def poll(self, timeout: float) -> list[Completion]:
        """What has been answered; a whole loss of an endpoint comes at once."""
        done: list[Completion] = []
        while True:
            try:
                found = self._pool.outbox.get(timeout=timeout) if not done else self._pool.outbox.get_nowait()
            except Empty:
                return done
            if isinstance(found, EngineError):
                self._pool.outbox.put(found)
                if done:
                    return done
                raise found
            done += found

    def close(self) -> None:
        """Breaks off what is under way."""
        if self._thread is not None:
            self._pool.call(self._pool.stop)
            self._thread.join(_CLOSE_SECONDS)
            self._thread = None
