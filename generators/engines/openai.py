"""An engine made of servers: one or many endpoints that speak the OpenAI protocol share one window of requests.

A thread distributes the requests. Each goes to the endpoint with the fewest in flight; a failed one is sent again after
a pause with jitter. If an endpoint dies, the requests under way there come back as `LOST`, and it is checked until it
answers again. While no endpoint can be used everything waits, for `wait_s` at most.
"""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from queue import Empty, Queue
from typing import Any

from proofmill.data.errors import EngineError
from proofmill.data.samples import FAILED, REFUSED
from proofmill.generators.engines.base import LOST, Completion, EngineFacts, Request, Watcher
from proofmill.generators.engines.openai_client import (
    OpenAIClient,
    RequestFailure,
    ServerInfo,
    ServerOptions,
    check_supported,
    connections,
)

_CLOSE_SECONDS = 10.0
_COMING = 32  # endpoints that a folder may come to hold; requests beyond what they take wait in the pool
_MISSES = 3  # health checks in a row that an endpoint may miss
_MOST_PAUSE = 30.0
_MOST_REFUSED = 16  # prompts refused with no answer in between; with more, the server must be at fault
_SEEDLESS = (
    "{url} takes no seed: what it writes is recorded and kept, but the same samples can't be drawn from it again"
)


class ServerEngine:
    """An `Engine` on servers.

    Args:
        options: how to reach them.
        sampling: decoding parameters of the run, tried once before anything is drawn.
        watcher: is notified of retries and of endpoints that go and come.
    """

    def __init__(self, options: ServerOptions, sampling: Mapping[str, Any], watcher: Watcher) -> None:
        self._pool = _Pool(options, sampling, watcher)
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start connecting to the endpoints."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._pool.serve, name="openai", daemon=True)
            self._thread.start()

    def ready(self) -> EngineFacts:
        """Wait for the first endpoint that answers."""
        self.start()
        return self._pool.facts.result()

    def submit(self, requests: Sequence[Request]) -> None:
        """Hand requests to the thread."""
        self.ready()
        self._pool.call(self._pool.add, list(requests))

    def poll(self, timeout: float) -> list[Completion]:
        """Return what has been answered; all that was under way at an endpoint that died comes at once."""
        done: list[Completion] = []
        while True:
            try:
                item = self._pool.outbox.get(timeout=timeout) if not done else self._pool.outbox.get_nowait()
            except Empty:
                return done
            if isinstance(item, EngineError):
                self._pool.outbox.put(item)  # for the next call too
                if done:
                    return done
                raise item
            done += item

    def close(self) -> None:
        """Cancel what is under way and end the thread."""
        if self._thread is not None:
            self._pool.call(self._pool.stop)
            self._thread.join(_CLOSE_SECONDS)
            self._thread = None


def check_access(options: ServerOptions) -> str | None:
    """Return why no endpoint answers now, each asked once; None where one does.

    Raises:
        EngineError: all of them refuse: the key is wrong, or they serve another model.
    """

    async def ask() -> list[ServerInfo | RequestFailure]:
        async with connections(options) as http:
            clients = [OpenAIClient(url, options, http) for url in addresses]
            return await asyncio.gather(*(client.health_check() for client in clients))

    if not (addresses := options.addresses()):
        return "no address is known yet"
    failures = [answer for answer in asyncio.run(ask()) if isinstance(answer, RequestFailure)]
    if len(failures) < len(addresses):
        return None
    if all(failure.kind == "denied" for failure in failures):
        raise EngineError(
            "No endpoint lets the run in.",
            where="; ".join(f"{url}: {failure.why}" for url, failure in zip(addresses, failures, strict=True)),
            remedy=options.about_the_key(denied=True) + "then run the same command again; nothing was spent",
        )
    return failures[0].why


@dataclass(eq=False)
class _Job:
    """A request until its completion is given out."""

    request: Request
    faults: int = 0
    answers_before: int = 0  # answers of the engine up to this request's first fault
    refused_by: set[str] = field(default_factory=set)  # endpoints that reject the request itself
    refusal: str = ""


@dataclass(eq=False)
class _Endpoint:
    """The present state of an endpoint."""

    client: OpenAIClient
    server: ServerInfo | None = None  # None: not usable
    why: str = "it has not answered yet"
    denied: bool = False
    rest_until: float = 0.0
    faults: int = 0  # since its last answer
    misses: int = 0
    retired: bool = False  # its file is gone: what is under way there may end
    running: dict[_Job, asyncio.Task[None]] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return self.client.url

    def pause(self, failure: RequestFailure) -> None:
        """Send it nothing for a while: as long as it asks, or longer each time."""
        now = time.monotonic()
        if self.rest_until <= now or failure.after:
            self.rest_until = max(self.rest_until, now + _pause(self.faults, failure.after))


class _Pool:
    """All endpoints. It lives in the engine's thread; `facts`, `outbox` and `call` are for other threads."""

    def __init__(self, options: ServerOptions, sampling: Mapping[str, Any], watcher: Watcher) -> None:
        self.facts: Future[EngineFacts] = Future()
        self.outbox: Queue[list[Completion] | EngineError] = Queue()
        self._options, self._sampling, self._watcher = options, sampling, watcher
        self._endpoints: list[_Endpoint] = []
        self._queue: deque[_Job] = deque()
        self._unfinished = self._answers = 0
        self._refused: list[_Job] = []  # by every endpoint; held until a server shows that it answers others
        self._refused_prompts: set[tuple[int, ...]] = set()  # since the last answer
        self._model: str | None = None  # the first endpoint's; all others must serve it too
        self._stuck_since: float | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._main: asyncio.Task[None] | None = None
        self._running = threading.Event()

    def serve(self) -> None:
        """Run the event loop until `stop`; this is the thread's target."""
        try:
            asyncio.run(self._run())
        except asyncio.CancelledError:
            pass
        except Exception as error:  # noqa: BLE001 (the thread's boundary: whoever waits for it must get the error)
            self._fail(EngineError(f"The engine's thread failed: {type(error).__name__}: {error}"))
        finally:
            self._running.set()
            if not self.facts.done():
                self.facts.set_exception(EngineError("The engine was closed before an endpoint answered."))

    def call(self, function: Callable[..., None], *arguments: Any) -> None:
        """Run a function in the thread."""
        self._running.wait()
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(function, *arguments)

    def stop(self) -> None:
        """End the thread."""
        if self._main is not None:
            self._main.cancel()

    def add(self, requests: list[Request]) -> None:
        """Queue requests."""
        try:
            for server in {endpoint.server for endpoint in self._endpoints if endpoint.server}:
                for request in requests:
                    check_supported(server, self._options, request)
        except EngineError as error:
            self._fail(error)
            return
        self._queue.extend(map(_Job, requests))
        self._unfinished += len(requests)
        self._dispatch()

    async def _run(self) -> None:
        self._loop, self._main = asyncio.get_running_loop(), asyncio.current_task()
        self._running.set()
        started = time.monotonic()
        async with connections(self._options) as http:
            self._endpoints = [_Endpoint(OpenAIClient(url, self._options, http)) for url in self._options.addresses()]
            await asyncio.gather(*map(self._connect, self._endpoints))
            async with asyncio.TaskGroup() as group:
                for endpoint in self._endpoints:
                    group.create_task(self._watch(endpoint))
                if self._options.folder is not None:
                    group.create_task(self._follow(group, http))
                while not self.facts.done():
                    self._announce(time.monotonic() - started)
                    await asyncio.sleep(0.1)
                while True:
                    self._dispatch()  # an endpoint's pause may have ended
                    await self._settle_refused()
                    self._check_stuck()
                    await asyncio.sleep(0.2)

    # Endpoints: connected, watched, dropped.

    async def _connect(self, endpoint: _Endpoint) -> None:
        """Connect to an endpoint, and keep why it can't be used."""
        try:
            server = await endpoint.client.handshake(self._sampling)
        except EngineError as error:
            self._fail(error)
            return
        if isinstance(server, ServerInfo) and self._model not in (None, server.name):
            server = RequestFailure("denied", f"it serves {server.name}, not {self._model}")
        if isinstance(server, RequestFailure):
            endpoint.server, endpoint.why, endpoint.denied = None, server.why, server.kind == "denied"
            return
        if "seed" in server.lacks and self._model is None:
            self._watcher.warn(_SEEDLESS.format(url=endpoint.url))
        endpoint.server, endpoint.denied = server, False
        self._alive(endpoint)

    def _announce(self, waited: float) -> None:
        """Publish the facts once an endpoint answers, or the error if none does."""
        servers = [endpoint.server for endpoint in self._endpoints if endpoint.server]
        if len({server.name for server in servers}) > 1:
            self._fail(self._unusable("The endpoints serve different models."))
        elif servers:
            self._model = servers[0].name
            details = {"served": self._model, "api": self._options.api, "endpoints": len(self._endpoints)}
            details["seeded"] = all("seed" not in server.lacks for server in servers)
            length = min((server.max_model_len or 0 for server in servers), default=0)
            count = len(self._endpoints) if self._options.folder is None else max(_COMING, len(self._endpoints))
            window = self._options.window * count
            self.facts.set_result(EngineFacts("openai", servers[0].kind, "as served", length, window, waited, details))
        elif self._shut_out():
            self._fail(self._unusable("No endpoint lets the run in."))
        elif waited > self._options.wait_s:
            self._fail(self._unusable(f"No endpoint has answered in {self._options.wait_s:g} s."))

    async def _watch(self, endpoint: _Endpoint) -> None:
        """Check an endpoint as long as the engine lives, so that a dead one comes back and a silent one is noticed."""
        while not endpoint.retired or endpoint.running:
            await asyncio.sleep(self._options.probe_s * random.uniform(0.8, 1.2))
            if endpoint.server is None:
                await self._connect(endpoint)
                if endpoint.server is not None:
                    self._watcher.warn(f"Endpoint {endpoint.url} answers again.")
                    self._dispatch()
                continue
            health = await endpoint.client.health_check()
            endpoint.misses = endpoint.misses + 1 if isinstance(health, RequestFailure) and health.kind == "cut" else 0
            if endpoint.misses >= _MISSES and endpoint.server is not None and isinstance(health, RequestFailure):
                self._give_back(endpoint, health.why)

    async def _follow(self, group: asyncio.TaskGroup, http: Any) -> None:
        """Take in endpoints whose files come, and send nothing new to those whose files go."""
        while True:
            await asyncio.sleep(self._options.probe_s)
            listed = self._options.addresses()
            for endpoint in self._endpoints:
                endpoint.retired = endpoint.url not in listed
            self._endpoints = [endpoint for endpoint in self._endpoints if not endpoint.retired or endpoint.running]
            known = {endpoint.url for endpoint in self._endpoints}
            for url in (url for url in listed if url not in known):
                endpoint = _Endpoint(OpenAIClient(url, self._options, http))
                self._endpoints.append(endpoint)
                await self._connect(endpoint)
                group.create_task(self._watch(endpoint))
            self._dispatch()

    def _drop(self, endpoint: _Endpoint, failure: RequestFailure) -> None:
        """Send nothing more to an endpoint until it answers again; what is under way there may end."""
        if endpoint.server is not None:
            self._watcher.warn(f"Endpoint {endpoint.url} is dropped until it answers again: {failure.why}")
        endpoint.server, endpoint.why, endpoint.denied = None, failure.why, failure.kind == "denied"
        if self._shut_out():
            self._fail(self._unusable("No endpoint lets the run in any more."))

    def _shut_out(self) -> bool:
        return bool(self._endpoints) and all(endpoint.denied for endpoint in self._endpoints)

    def _give_back(self, endpoint: _Endpoint, why: str) -> None:
        """Drop an endpoint that died, and give back all that was under way there at once."""
        endpoint.server, endpoint.why = None, why
        lost, endpoint.running = endpoint.running, {}
        current = asyncio.current_task()
        for task in lost.values():
            if task is not current:
                task.cancel()
        message = f"Endpoint {endpoint.url} is gone until it answers again: {why}."
        if lost:
            self._unfinished -= len(lost)
            self.outbox.put([Completion(job.request.id, message, LOST, 0) for job in lost])
        else:
            self._watcher.warn(message)

    def _check_stuck(self) -> None:
        """Fail when nothing could be sent anywhere for too long."""
        now = time.monotonic()
        usable = any(endpoint.server and endpoint.rest_until <= now for endpoint in self._endpoints)
        if not self._unfinished or usable or any(endpoint.running for endpoint in self._endpoints):
            return
        self._stuck_since = self._stuck_since or now
        if now - self._stuck_since > self._options.wait_s:
            self._fail(self._unusable(f"No endpoint could be used for {self._options.wait_s:g} s."))
            self.stop()

    # Requests: sent, answered, sent again.

    def _dispatch(self) -> None:
        now = time.monotonic()
        for _ in range(len(self._queue)):
            free = [
                endpoint
                for endpoint in self._endpoints
                if endpoint.server
                and not endpoint.retired
                and endpoint.rest_until <= now
                and len(endpoint.running) < self._options.window
            ]
            if not free:
                return
            job = self._queue.popleft()
            takers = [endpoint for endpoint in free if endpoint.url not in job.refused_by]
            if not takers:
                self._try_elsewhere(job)
                continue
            endpoint = min(takers, key=lambda endpoint: len(endpoint.running))
            endpoint.running[job] = task = asyncio.ensure_future(self._ask(endpoint, job))
            task.add_done_callback(self._check_task)

    def _check_task(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()):
            self._fail(EngineError(f"The engine's thread failed: {type(error).__name__}: {error}"))

    async def _ask(self, endpoint: _Endpoint, job: _Job) -> None:
        answer: Completion | RequestFailure = RequestFailure("fault", "it went away")
        if endpoint.server is not None:
            answer = await endpoint.client.complete(endpoint.server, job.request)
        if isinstance(answer, RequestFailure) and answer.kind == "cut":
            if isinstance(await endpoint.client.server_info(), RequestFailure):
                self._give_back(endpoint, answer.why)
                return
            answer = RequestFailure("fault", answer.why)  # one connection, not the endpoint
        endpoint.running.pop(job, None)
        if isinstance(answer, RequestFailure):
            self._failed(endpoint, job, answer)
        else:
            self._answered(endpoint)
            self._give(answer)
        self._dispatch()

    def _answered(self, endpoint: _Endpoint) -> None:
        self._refused_prompts.clear()
        self._alive(endpoint)

    def _alive(self, endpoint: _Endpoint) -> None:
        """Note that an endpoint has written something; the requests that it refused before must then be bad
        themselves.
        """
        endpoint.faults = endpoint.misses = 0
        self._answers += 1
        self._stuck_since = None
        bad = [job for job in self._refused if endpoint.url in job.refused_by]
        # An endpoint that was away when the others refused has not been asked yet.
        self._queue.extend(job for job in self._refused if endpoint.url not in job.refused_by)
        self._refused.clear()
        if bad:
            self._watcher.warn(
                f"{len(bad)} requests were refused, and are not asked again; "
                f"the first is {bad[0].request.id}: {bad[0].refusal}"
            )
        for job in bad:
            self._give(Completion(job.request.id, "", REFUSED, 0))

    async def _settle_refused(self) -> None:
        """Let a server show that it answers other requests, where only refused ones are left."""
        endpoint = next((endpoint for endpoint in self._endpoints if endpoint.server), None)
        if endpoint and self._refused and len(self._refused) == self._unfinished:
            await self._connect(endpoint)

    def _give(self, completion: Completion) -> None:
        self._unfinished -= 1
        self.outbox.put([completion])

    def _failed(self, endpoint: _Endpoint, job: _Job, failure: RequestFailure) -> None:
        """Decide whether a failure is due to the request, to its endpoint, or to what the recipe asks for."""
        if failure.kind == "refused":
            endpoint.faults = 0
            job.refused_by.add(endpoint.url)
            job.refusal = failure.why
            self._try_elsewhere(job)
        elif failure.kind == "unable":
            self._fail(_unable(endpoint, failure))
        else:
            self._retry(endpoint, job, failure)

    def _retry(self, endpoint: _Endpoint, job: _Job, failure: RequestFailure) -> None:
        endpoint.faults += endpoint.rest_until <= time.monotonic()  # many requests that fail at once are one sign
        if failure.kind == "fault":
            job.answers_before = job.answers_before if job.faults else self._answers
            job.faults += 1
            if job.faults > self._options.retries and self._answers > job.answers_before:
                self._give_up(job, failure.why)
                return
        if failure.kind == "busy":
            endpoint.pause(failure)
        elif failure.kind == "denied" or max(endpoint.faults, job.faults) > self._options.retries:
            # Nothing else was answered meanwhile either, so the server may be at fault: it must answer a check first.
            self._drop(endpoint, failure)
        self._watcher.retried(1)
        pause = _pause(job.faults, failure.after) if failure.kind == "fault" else 0.0
        asyncio.get_running_loop().call_later(pause, self._again, job)

    def _again(self, job: _Job) -> None:
        self._queue.appendleft(job)
        self._dispatch()

    def _try_elsewhere(self, job: _Job) -> None:
        """Let another endpoint try a refused request, or hold it where each has refused it."""
        if any(endpoint.server and endpoint.url not in job.refused_by for endpoint in self._endpoints):
            self._queue.append(job)
            return  # `_dispatch` comes next
        self._refused.append(job)
        self._refused_prompts.add(job.request.tokens)
        if len(self._refused_prompts) > _MOST_REFUSED:
            self._fail(_refusing(len(self._refused_prompts), job))

    def _give_up(self, job: _Job, why: str) -> None:
        self._watcher.warn(f"Request {job.request.id} failed at every try: {why}")
        self._give(Completion(job.request.id, "", FAILED, 0))

    def _fail(self, error: EngineError) -> None:
        if not self.facts.done():
            self.facts.set_exception(error)
        self.outbox.put(error)

    def _unusable(self, what: str) -> EngineError:
        """Return the error of a pool that can't go on, with the last state of each endpoint."""
        states = [(end.url, end.why if end.server is None else end.server.model) for end in self._endpoints]
        return EngineError(
            what,
            where="; ".join(f"{url}: {state}" for url, state in states),
            remedy=self._options.about_the_key(denied=self._shut_out())
            + "start or repair the servers named in engine.endpoints or endpoints_from (`vllm serve MODEL`), "
            "then run the same command again: it goes on where it stopped",
        )


def _pause(faults: int, after: float | None) -> float:
    """Return the seconds to wait: a random part of an exponential bound, so that requests don't come back all at
    once.
    """
    return (after or 0.0) + random.uniform(0.0, min(_MOST_PAUSE, 0.5 * 2.0**faults))


def _unable(endpoint: _Endpoint, failure: RequestFailure) -> EngineError:
    """Return the error of a server that lacks what every request needs."""
    return EngineError(
        f"The server can't do what the recipe asks of it: {failure.why}.",
        where=endpoint.url,
        remedy="give the address of `vllm serve` itself, not of a gateway, or give quality.learning another engine",
    )


def _refusing(prompts: int, job: _Job) -> EngineError:
    """Return the error of servers that have come to refuse every request."""
    return EngineError(
        f"The server has refused {prompts} prompts in a row, so the server itself must be at fault: {job.refusal}.",
        where=", ".join(sorted(job.refused_by)),
        remedy="correct what it complains of, then run the same command again: it goes on where it stopped, "
        "and sends the refused requests again",
    )
