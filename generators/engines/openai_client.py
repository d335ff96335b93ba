"""A client of one server that speaks the OpenAI protocol: requests over plain HTTP, and what its answers mean.

The `openai` package was tried: its typed answers take nearly three times the CPU of a plain request
(`tests/benchmarks/bench_servers.py`), and it sends what it finds in OPENAI_API_KEY or OPENAI_CUSTOM_HEADERS to any
server that a recipe names.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, Literal, TypeVar

import httpx2
import orjson

from proofmill.data.errors import EngineError
from proofmill.data.samples import FILTERED
from proofmill.data.sections import address_of
from proofmill.generators.engines.base import Completion, Request

_DENIED = (401, 402, 403, 404)
_BUSY = (429, 503)
_TRANSIENT = (408, 409, 425)
_TOO_LONG = ("context length", "max_model_len", "context_length_exceeded", "context window", "too long")
_DISPENSABLE = ("seed", "max_tokens")  # some servers don't know the first, some have another name for the second
# `vllm serve` takes what a request leaves out from the model's generation_config, engine `vllm` does not. So that both
# draw the same samples, requests state the neutral values.
_NEUTRAL = {"min_p": 0.0, "repetition_penalty": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0}
_JSON = {"content-type": "application/json"}
_CONNECT_SECONDS = 10.0
_CHECK_SECONDS = 3 * _CONNECT_SECONDS
_CANARY = Request("canary", (0,), 0, {"max_tokens": 1}, None, ({"role": "user", "content": "1"},))

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """The options of a recipe's engine `openai`.

    Attributes:
        endpoints: base addresses.
        served: the model's name on the servers; None: the only one that they serve.
        api: `completions` sends the prompt's tokens, `chat` its messages.
        key: of the API; None: none. Never shown.
        key_env: name of the environment variable that it comes from.
        window: requests in flight at one endpoint.
        timeout_s: of one request, seconds.
        retries: faults of one request before it counts as failed.
        wait_s: seconds to wait while no endpoint can be used.
        max_model_len: tokens of prompt and answer, for servers that don't state it.
        chat_template_args: for `chat`, where the server renders the prompt.
        probe_s: seconds between two health checks of an endpoint.
        folder: holds a file with an address for each further endpoint; None: there are no others.
        trials: one request of each kind that will come; a server that can't do one is refused before anything is drawn.
    """

    endpoints: tuple[str, ...]
    served: str | None = None
    api: Literal["completions", "chat"] = "completions"
    key: str | None = field(default=None, repr=False)
    window: int = 128
    timeout_s: float = 1800.0
    retries: int = 5
    wait_s: float = 300.0
    max_model_len: int | None = None
    chat_template_args: Mapping[str, Any] = field(default_factory=dict)
    probe_s: float = 5.0
    trials: tuple[Request, ...] = ()
    folder: Path | None = None
    key_env: str | None = None

    def about_the_key(self, *, denied: bool) -> str:
        """Return what to do about the key where servers refuse it; empty where they don't, or there is none."""
        named = f"the environment variable {self.key_env}" if self.key_env else "engine.api_key_env, which names no key"
        return f"check {named}; " if denied else ""

    def addresses(self) -> list[str]:
        """Return the addresses of all endpoints, with those that stand in the folder's files by now."""
        found = list(self.endpoints)
        for path in sorted(self.folder.glob("[!.]*")) if self.folder else ():
            with suppress(OSError, ValueError):  # half written, or gone again
                found.append(address_of(path.read_text(encoding="utf-8").strip()))
        return list(dict.fromkeys(found))

    def chats(self, request: Request) -> bool:
        """Return whether a request is sent as messages, which the server renders."""
        return self.api == "chat" and request.messages is not None and request.score_from is None


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """What a server states about itself.

    Attributes:
        model: the name under which it serves the model.
        kind: the server's software: `vllm`, …
        max_model_len: tokens of prompt and answer; None: not stated.
        lacks: parameters that it refuses by name.
    """

    model: str
    kind: str
    max_model_len: int | None
    lacks: frozenset[str] = frozenset()

    @property
    def name(self) -> str:
        """The model's name without its path on that machine."""
        return self.model.rstrip("/").rpartition("/")[2]

    @property
    def vllm(self) -> bool:
        """Whether it takes vLLM's own parameters."""
        return self.kind == "vllm"


@dataclass(frozen=True, slots=True)
class RequestFailure:
    """Why there is no completion.

    Attributes:
        kind: `busy` (ask later), `fault` (ask again), `cut` (the connection broke), `refused` (this request is bad),
            `denied` (this endpoint refuses access, or lacks the model), `unable` (it can't do what is asked).
        why: for human readers.
        after: seconds that the server asks to wait.
    """

    kind: Literal["busy", "fault", "cut", "refused", "denied", "unable"]
    why: str
    after: float | None = None


def connections(options: ServerOptions) -> httpx2.AsyncClient:
    """Return an HTTP client for all endpoints, with one connection a request in flight; the caller closes it."""
    return httpx2.AsyncClient(
        headers={"authorization": f"Bearer {options.key}"} if options.key else {},
        timeout=httpx2.Timeout(options.timeout_s, connect=_CONNECT_SECONDS, pool=None),
        limits=httpx2.Limits(max_connections=None, max_keepalive_connections=None),
    )


class OpenAIClient:
    """One endpoint. Every method returns a `RequestFailure` where the server is at fault; none raises for it.

    Args:
        url: its base address, which ends in `/v1` as a rule.
        options: how it is asked.
        http: see `connections`.
    """

    def __init__(self, url: str, options: ServerOptions, http: httpx2.AsyncClient) -> None:
        self.url = url
        self._options, self._http = options, http

    async def server_info(self) -> ServerInfo | RequestFailure:
        """Return what the server says of the model that it serves."""
        body = await self._send("GET", "models")
        if isinstance(body, RequestFailure):
            return body
        listed = [card for card in body.get("data") or [] if isinstance(card, dict)]
        cards = {str(card["id"]): card for card in listed if "id" in card}
        served = self._options.served or (next(iter(cards)) if len(cards) == 1 else "")
        if served not in cards:
            return RequestFailure("denied", f"it serves {sorted(cards)}; engine.served must name one of them")
        length = self._options.max_model_len or cards[served].get("max_model_len")
        return ServerInfo(served, str(cards[served].get("owned_by", "unknown")), length)

    async def health_check(self) -> ServerInfo | RequestFailure:
        """Return the same as `server_info`, but wait no longer than a healthy server needs."""
        return await _in_time(self.server_info())

    async def complete(self, server: ServerInfo, request: Request) -> Completion | RequestFailure:
        """Return the completion of one request, or the score of its text."""
        room = server.max_model_len - len(request.tokens) if server.max_model_len else None
        if room is not None and room < 1:
            return Completion(request.id, "", "prompt_too_long", 0)
        path = "chat/completions" if self._options.chats(request) else "completions"
        body = await self._send("POST", path, _payload(server, self._options, request, room))
        if isinstance(body, RequestFailure):
            if body.kind == "refused" and any(mark in body.why.lower() for mark in _TOO_LONG):
                return Completion(request.id, "", "prompt_too_long", 0)
            return body
        try:
            return _completion(body, request)
        except (KeyError, IndexError, TypeError, ValueError) as error:
            return RequestFailure("fault", f"its answer is no completion ({type(error).__name__}: {error})")

    async def negotiate_params(
        self, server: ServerInfo, request: Request
    ) -> tuple[ServerInfo, Completion | RequestFailure]:
        """Send a first request, again without each dispensable parameter that the server refuses by name.

        Returns:
            The server with all that it `lacks`, and its last answer.
        """
        while True:
            answer = await self.complete(server, request)
            refusal = answer.why if isinstance(answer, RequestFailure) and answer.kind == "refused" else ""
            mentioned = (name for name in _DISPENSABLE if re.search(rf"\b{name}\b", refusal))
            lacking = next((name for name in mentioned if name not in server.lacks), None)
            if lacking is None:
                return server, answer
            server = replace(server, lacks=server.lacks | {lacking})

    async def handshake(self, sampling: Mapping[str, Any]) -> ServerInfo | RequestFailure:
        """Return the server once it has written a token, with how it must be asked; a failure `denied` is final.

        Args:
            sampling: the run's decoding parameters.

        Raises:
            EngineError: this kind of server can't do what it will be asked.
        """
        server = await self.health_check()
        if isinstance(server, RequestFailure):
            return server
        for request in self._options.trials:
            check_supported(server, self._options, request)
        params = {name: value for name, value in sampling.items() if name != "min_tokens"}  # more than its max_tokens
        canary = replace(_CANARY, params={**params, **_CANARY.params})
        result = await _in_time(self.negotiate_params(server, canary))
        if isinstance(result, RequestFailure):
            return result
        server, answer = result
        if not isinstance(answer, RequestFailure):
            return server
        if answer.kind not in ("denied", "refused"):
            return answer
        tokens = self._options.api == "completions" and not server.vllm
        hint = "; if it takes no prompt as token ids, set engine.api: chat" if tokens else ""
        return RequestFailure("denied", answer.why + hint)

    async def _send(self, method: str, path: str, payload: Mapping[str, Any] | None = None) -> Any:
        """Return the JSON object that the server answers, or a `RequestFailure`."""
        content = None if payload is None else orjson.dumps(payload)
        try:
            response = await self._http.request(method, f"{self.url}/{path}", content=content, headers=_JSON)
        except httpx2.ReadTimeout:
            return RequestFailure("fault", f"no answer in {self._options.timeout_s:g} s")
        except httpx2.HTTPError as error:
            return RequestFailure("cut", f"{type(error).__name__}: {error}".rstrip(": "))
        if response.status_code != httpx2.codes.OK:
            return _failure(response, self._options.key)
        try:
            body = response.json()
        except ValueError:
            body = None
        return body if isinstance(body, dict) else RequestFailure("fault", "its answer is not JSON")


async def _in_time(answer: Awaitable[Result]) -> Result | RequestFailure:
    try:
        return await asyncio.wait_for(answer, _CHECK_SECONDS)
    except TimeoutError:
        return RequestFailure("cut", f"no answer in {_CHECK_SECONDS:g} s")


def check_supported(server: ServerInfo, options: ServerOptions, request: Request) -> None:
    """Refuse what this kind of server can't do.

    Raises:
        EngineError: the request needs scoring, tokens or structured output, which the server lacks.
    """
    if server.vllm:
        return
    chat = options.api == "chat" and request.messages is not None
    if request.score_from is not None:
        lacking = "score a text (log-probabilities of the prompt)"
    elif options.api == "chat" and request.messages is None:
        lacking = "take a prompt without messages"
    elif "json_schema" in request.params and not chat:
        lacking = "promise JSON of a schema to a prompt of tokens"
    else:
        return
    raise EngineError(
        f"The server ({server.kind}) can't {lacking}; `vllm serve` can.",
        where=f"model {server.model}, engine.api {options.api}",
        remedy="serve the model with vllm"
        + (", or set engine.api: chat" if "json_schema" in request.params else "")
        + ", or give the stage that asks for this (claims.model, quality.learning) another model and engine",
    )


def _payload(server: ServerInfo, options: ServerOptions, request: Request, room: int | None) -> dict[str, Any]:
    chat = options.chats(request)
    head: dict[str, Any] = {"model": server.model}
    head |= {"messages": list(request.messages or ())} if chat else {"prompt": list(request.tokens)}
    if request.score_from is not None:
        return head | {"max_tokens": 1, "temperature": 0.0, "prompt_logprobs": 0}
    params = _vllm_params(request) if server.vllm else _plain_params(request)
    if server.vllm and chat and options.chat_template_args:
        head["chat_template_kwargs"] = dict(options.chat_template_args)
    if room is not None:
        params["max_tokens"] = min(params.get("max_tokens", room), room)
    if "max_tokens" in server.lacks and "max_tokens" in params:
        params["max_completion_tokens"] = params.pop("max_tokens")
    return head | params | ({} if "seed" in server.lacks else {"seed": request.seed})


def _vllm_params(request: Request) -> dict[str, Any]:
    """Return a request's decoding parameters for `vllm serve`, all of them explicit."""
    params = _NEUTRAL | dict(request.params)
    if schema := params.pop("json_schema", None):
        params["structured_outputs"] = {"json": schema, "disable_any_whitespace": True}
    return params


def _plain_params(request: Request) -> dict[str, Any]:
    """Return a request's decoding parameters for a server that knows OpenAI's only; disabled ones are left out."""
    params = {name: value for name, value in request.params.items() if value not in ([], None)}
    schema = params.pop("json_schema", None)
    if params.get("top_k", 1) < 1:
        del params["top_k"]
    if schema:
        named = {"name": "answer", "strict": True, "schema": schema}
        params["response_format"] = {"type": "json_schema", "json_schema": named}
    return params


def _completion(body: Mapping[str, Any], request: Request) -> Completion | RequestFailure:
    choice = body["choices"][0]
    if request.score_from is not None:
        if choice.get("prompt_logprobs") is None:
            return RequestFailure("unable", "it scores no text: its answer has no prompt_logprobs")
        return Completion(request.id, "", "stop", 0, _logprob(choice, request))
    reason = choice.get("finish_reason") or "stop"
    if reason in ("abort", "error"):  # the server is being shut down
        return RequestFailure("cut", f"it gave up with '{reason}'")
    text = choice["text"] if "text" in choice else _message_text(choice["message"])
    tokens = int((body.get("usage") or {}).get("completion_tokens") or 0)
    reasons = {"length": "length", FILTERED: FILTERED}
    # The token limit may cut an emoji in half, and half a surrogate pair can't be written to disk.
    storable = str(text).encode("utf-8", "replace").decode()
    return Completion(request.id, storable, reasons.get(reason, "stop"), tokens)


def _message_text(message: Mapping[str, Any]) -> str:
    """Return a message as the model wrote it: servers with a reasoning parser split the reasoning off.

    One that was cut in the middle of its reasoning has no content, and its block stays open.
    """
    reasoning = message.get("reasoning") or message.get("reasoning_content")  # vLLM's name, and what it was before
    content = str(message.get("content") or "")
    if not reasoning:
        return content
    return f"<think>\n{reasoning}\n</think>\n\n{content}" if content else f"<think>\n{reasoning}"


def _logprob(choice: Mapping[str, Any], request: Request) -> float:
    """Return the sum of the prompt's log-probabilities from `score_from` on; the very first token has none."""
    start = max(request.score_from or 0, 1)
    pairs = zip(choice["prompt_logprobs"][start:], request.tokens[start:], strict=True)
    return float(sum(known[str(token)]["logprob"] for known, token in pairs))


def _failure(response: httpx2.Response, key: str | None) -> RequestFailure:
    """Return what a status other than 200 means; a key that the server repeats is masked."""
    status, message = response.status_code, _error_message(response)
    why = f"HTTP {status}: {message.replace(key, '***') if key else message}"
    after = _retry_after(response.headers.get("retry-after"))
    if status in _BUSY:
        return RequestFailure("busy", why, after)
    if status >= 500 or status in _TRANSIENT:
        return RequestFailure("fault", why, after)
    return RequestFailure("denied" if status in _DENIED else "refused", why)


def _error_message(response: httpx2.Response) -> str:
    """Return at most 500 characters of the server's error message, whatever its shape."""
    try:
        body = response.json()
        error = body.get("error", body)
        message = error.get("message") or error if isinstance(error, dict) else error
    except (ValueError, AttributeError):
        message = response.text
    return " ".join(str(message).split())[:500]


def _retry_after(value: str | None) -> float | None:
    """Return the seconds to wait, from a header that holds seconds or a date."""
    if value is None:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return None
