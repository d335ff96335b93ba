"""An engine wrapper that restarts a dead engine and sends only unfinished requests again.

Callers use it like any other engine. A wrapped engine that has died raises `EngineDiedError`; one that lost a part of
itself (an endpoint) returns the requests under way there as `LOST`. A prompt that kills the engine again and again is
quarantined: its requests come back as `quarantined`, now and in later runs, and all others go on.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import orjson

from proofmill.data.errors import EngineError
from proofmill.data.files import address, digest, write_json
from proofmill.data.samples import QUARANTINED
from proofmill.generators.engines.base import (
    LOST,
    Completion,
    Engine,
    EngineDiedError,
    EngineFacts,
    Request,
    Watcher,
)

_DEATHS_IN_COMPANY = 2  # deaths with a prompt and others under way, before it is tried alone
_DEATHS_ALONE = 3  # deaths with a prompt under way alone, before it is quarantined
_FORGIVEN_AFTER = 1000  # finished requests after which earlier deaths no longer count
_MOST_QUARANTINED = 16  # prompts in one run; with more, the engine itself must be at fault
_POLL_SECONDS = 0.5
_GREETING = ({"role": "user", "content": "1"},)
_CANARY = "\0canary"  # a request id that no caller uses


class PoisonPromptFinder:
    """Finds the prompt that kills the engine, by what was under way when it died, then by trial.

    One death accuses no prompt: engines also die of full memory, of drivers and of `kill`. So after a first death
    everything unfinished is simply sent again. A prompt that was under way at two deaths is a suspect. Suspects are
    tried with nothing else under way: a group that kills the engine is halved, a group that finishes is cleared, and a
    prompt that has killed the engine three times alone is the poison. Among w suspects that takes about log2(w) deaths.

    A prompt is any string that identifies it.
    """

    def __init__(self) -> None:
        self._deaths: Counter[str] = Counter()  # with others under way
        self._deaths_alone: Counter[str] = Counter()
        self._groups: list[list[str]] = []

    @property
    def trial(self) -> Sequence[str]:
        """The prompts that must run by themselves now; empty: everything may run together."""
        return self._groups[-1] if self._groups else ()

    def died(self, under_way: Iterable[str]) -> str | None:
        """Note that the engine, or a part of it, died with these prompts under way.

        Returns:
            The prompt that kills it, once that is sure.
        """
        involved = list(dict.fromkeys(under_way))
        tried = next((group for group in self._groups if not set(group).isdisjoint(involved)), None)
        if tried is None:
            self._deaths.update(involved)
            suspects = [prompt for prompt in involved if self._deaths[prompt] >= _DEATHS_IN_COMPANY]
            if suspects and suspects != involved and len(involved) > 1:
                self._groups.append(suspects)  # others were there too, so these have not been tried yet
                return None
        else:
            self._groups.remove(tried)
            suspects = [prompt for prompt in tried if prompt in involved]
            if rest := [prompt for prompt in tried if prompt not in involved]:
                self._groups.append(rest)  # still under way in another part of the engine
        if len(involved) == 1:
            return self._died_alone(involved[0])
        half = (len(suspects) + 1) // 2
        self._groups += [part for part in (suspects[half:], suspects[:half]) if part]
        return None

    def ended(self, prompt: str) -> None:
        """Clear a prompt: all its requests have come to an end."""
        self._deaths.pop(prompt, None)
        self._deaths_alone.pop(prompt, None)
        self._groups = [left for group in self._groups if (left := [name for name in group if name != prompt])]

    def _died_alone(self, prompt: str) -> str | None:
        self._deaths_alone[prompt] += 1
        if self._deaths_alone[prompt] >= _DEATHS_ALONE:
            self.ended(prompt)
            return prompt
        self._groups.append([prompt])
        return None


class RestartingEngine:
    """An `Engine` that restarts another one.

    Args:
        make: returns a fresh engine, not started.
        watcher: is notified of deaths, of requests sent again, and of quarantined prompts.
        restarts: how often in a row the engine may die with no prompt to blame.
        quarantine: file of the prompts that kill the engine, for later runs; None: known to this process alone.
    """

    def __init__(
        self, make: Callable[[], Engine], watcher: Watcher, *, restarts: int = 5, quarantine: Path | None = None
    ) -> None:
        self._make, self._watcher, self._restarts, self._quarantine_file = make, watcher, restarts, quarantine
        self._inner = make()
        self._closed = False
        self._facts: EngineFacts | None = None
        self._queue: deque[Request] = deque()
        self._under_way: dict[str, Request] = {}
        self._done: list[Completion] = []
        self._error: EngineError | None = None
        self._prompts: dict[str, str] = {}  # by open request: the digest of its prompt
        self._open: Counter[str] = Counter()  # requests by prompt
        self._finder = PoisonPromptFinder()
        self._deaths = self._finished = self._new_in_quarantine = 0

    def start(self) -> None:
        """Start loading the engine."""
        self._inner.start()

    def ready(self) -> EngineFacts:
        """Wait for the first loading; later on answer at once, even while the engine is started again."""
        return self._facts or self._load()

    def submit(self, requests: Sequence[Request]) -> None:
        """Queue requests, to be sent with the next poll."""
        for request in requests:
            prompt = digest(request.tokens)
            if prompt in self._quarantined:
                self._done.append(Completion(request.id, "", QUARANTINED, 0))
                continue
            self._prompts[request.id] = prompt
            self._open[prompt] += 1
            self._queue.append(request)

    def poll(self, timeout: float) -> list[Completion]:
        """Return completions since the last call.

        Raises:
            EngineError: the engine died too often, and no prompt is to blame; what had finished was given out before.
        """
        if not self._done:
            if self._error:
                raise self._error
            try:
                self._send()
                self._take(self._inner.poll(timeout))
            except EngineDiedError as error:
                self._restart(error)
        done, self._done = self._done, []
        return done

    def close(self) -> None:
        """End the engine for good, also while another thread waits for it."""
        self._closed = True
        self._inner.close()

    @cached_property
    def _quarantined(self) -> dict[str, dict[str, Any]]:
        """Prompts in quarantine, read when the first request comes."""
        file = self._quarantine_file
        rows = orjson.loads(file.read_bytes()) if file and file.exists() else []
        return {row["prompt"]: row for row in rows}

    def _load(self) -> EngineFacts:
        while True:
            try:
                self._facts = self._inner.ready()
                return self._facts
            except EngineDiedError as error:
                self._restart(error)
                if self._error:
                    raise self._error from error

    def _send(self) -> None:
        """Send what may be under way now: everything, or during a trial the suspects by themselves."""
        trial = self._finder.trial
        if not self._queue or (trial and any(self._prompts[name] not in trial for name in self._under_way)):
            return
        ready = [request for request in self._queue if not trial or self._prompts[request.id] in trial]
        if ready:
            self._load()
            sent = {request.id: request for request in ready}
            self._queue = deque(request for request in self._queue if request.id not in sent)
            self._under_way |= sent
            self._inner.submit(ready)

    def _take(self, completions: Sequence[Completion]) -> None:
        lost_parts: dict[str, list[Request]] = {}  # requests by what was said of the part that died
        for completion in completions:
            request = self._under_way.pop(completion.id)
            if completion.finish_reason == LOST:
                lost_parts.setdefault(completion.text, []).append(request)
            else:
                self._finish(completion)
        for why, lost in lost_parts.items():
            if (poison := self._send_again(lost, why)) and self._writes_a_token():
                self._quarantine(poison, why)

    def _finish(self, completion: Completion) -> None:
        self._done.append(completion)
        prompt = self._prompts.pop(completion.id)
        self._open[prompt] -= 1
        if not self._open[prompt]:
            del self._open[prompt]
            self._finder.ended(prompt)
        self._finished += 1

    def _restart(self, error: EngineDiedError) -> None:
        """Let a new engine take over what was under way in the one that died, unless it was closed."""
        if self._closed:
            raise error
        lost = list(self._under_way.values())
        self._under_way.clear()
        if self._finished >= _FORGIVEN_AFTER:
            self._deaths = 0
        self._finished = 0
        if not self._finder.trial:
            self._deaths += 1
        poison = self._send_again(lost, error.what)
        self._inner.close()
        if self._deaths > self._restarts:
            self._error = EngineError(
                f"The engine died {self._deaths} times, and no single prompt is to blame. {error.what}",
                where=error.where,
                remedy="read the log; a smaller engine.window needs less memory (another max_model_len too, but it "
                "draws all samples anew). Then run the same command again, it goes on where it stopped",
            )
            return
        self._inner = self._make()
        self._inner.start()
        self._watcher.restarted()
        if poison and self._writes_a_token():
            self._quarantine(poison, error.what)

    def _send_again(self, lost: Sequence[Request], why: str) -> str | None:
        """Queue requests again, first in line; return the prompt that is surely to blame for their loss."""
        self._queue.extendleft(reversed(lost))
        self._watcher.retried(len(lost))
        self._watcher.warn(f"{why} {len(lost)} unfinished requests are sent again." if lost else why)
        return self._finder.died(self._prompts[request.id] for request in lost)

    def _writes_a_token(self) -> bool:
        """Return whether the engine still answers another prompt; if not, no single prompt is to blame."""
        canary = Request(_CANARY, self._queue[0].tokens[:1], 0, {"max_tokens": 1}, None, _GREETING)
        self._under_way[canary.id], self._prompts[canary.id] = canary, canary.id
        try:
            self._inner.submit([canary])
            while canary.id in self._under_way and not self._closed:
                for completion in self._inner.poll(_POLL_SECONDS):
                    if completion.id != canary.id:
                        self._take([completion])
                    elif completion.finish_reason == LOST:
                        raise EngineDiedError(completion.text)
                    else:
                        del self._under_way[canary.id]
        except EngineDiedError as error:
            self._error = EngineError(
                f"The engine dies of any prompt. {error.what}",
                where=error.where,
                remedy="read the log; then run the same command again, it goes on where it stopped",
            )
        finally:
            self._under_way.pop(canary.id, None)
            del self._prompts[canary.id]
        return self._error is None and not self._closed

    def _quarantine(self, prompt: str, why: str) -> None:
        """Quarantine a prompt: its requests come back without an answer, now and in later runs."""
        requests = [request for request in self._queue if self._prompts[request.id] == prompt]
        self._queue = deque(request for request in self._queue if self._prompts[request.id] != prompt)
        first = requests[0]
        self._quarantined[prompt] = {"prompt": prompt, "tokens": len(first.tokens), "request": first.id, "why": why}
        if self._quarantine_file:
            write_json(self._quarantine_file, list(self._quarantined.values()))
        for request in requests:
            self._finish(Completion(request.id, "", QUARANTINED, 0))
        place = f"; to try it again, delete {address(self._quarantine_file)}" if self._quarantine_file else ""
        self._watcher.warn(
            f"The prompt of request {first.id} ({len(first.tokens)} tokens) kills the engine and is quarantined: "
            f"its {len(requests)} requests come back as quarantined{place}."
        )
        self._deaths = 0
        self._new_in_quarantine += 1
        if self._new_in_quarantine > _MOST_QUARANTINED:
            self._error = EngineError(
                f"{self._new_in_quarantine} prompts have killed the engine, which accuses the engine itself. {why}",
                where=str(self._quarantine_file or ""),
                remedy="read the log; then run the same command again, it goes on where it stopped",
            )
