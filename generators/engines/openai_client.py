"""One request to one server that speaks the OpenAI protocol: how it is asked, and what its answer means."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, field, replace
from email.utils import parsedate_to_datetime
from typing import Any, Literal, TypeVar

import httpx

from proofmill.data.errors import EngineError
from proofmill.data.samples import FILTERED
from proofmill.generators.engines.base import Completion, Request

_DENIED = (401, 402, 403, 404)
_BUSY = (429, 503)
_TRANSIENT = (408, 409, 425)
_TOO_LONG = ("context length", "max_model_len", "context_length_exceeded", "context window", "too long")
_DISPENSABLE = ("seed", "max_tokens")  # some servers don't know the first, some have another name for the second
# vLLM fills what a request leaves out from the model's generation_config; the engine in process does not.
_NEUTRAL = {"min_p": 0.0, "repetition_penalty": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0}


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """Engine `openai` of a recipe.

    Attributes:
        endpoints: base addresses.
        served: the name under which requests ask for the model; None: the only one that is served.
        api: `completions` sends the prompt's tokens, `chat` its messages.
        key: of the API; None: none. Never shown.
        window: requests in flight at one endpoint.
        timeout_s: of one request.
        retries: faults of one request before it counts as failed.
        wait_s: how long to wait while no endpoint can be used.
        max_model_len: tokens of prompt and answer, for servers that don't say.
        chat_template_args: for `chat`, where the server renders the prompt.
        probe_s: time between two looks at an endpoint.
        trials: requests of every kind that will come; a server that can't do one is refused before anything is drawn.
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


@dataclass(frozen=True, slots=True)
class Server:
    """What an endpoint says of itself.

    Attributes:
        model: the name under which it serves the model.
        kind: who wrote the server: `vllm`, …
        max_model_len: tokens of prompt and answer; None: it doesn't say.
        lacks: parameters that it refuses by name.
    """

    model: str
    kind: str
    max_model_len: int | None
    lacks: frozenset[str] = frozenset()

    @property
    def name(self) -> str:
        """The model's name without the place where it lies on that machine."""
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
            `denied` (this endpoint does not let us in, or hasn't the model), `unable` (it can't do what is asked).
        why: for the reader.
        after: seconds that the server asks to wait.
    """

    kind: Literal["busy", "fault", "cut", "refused", "denied", "unable"]
    why: str
    after: float | None = None


async def server_info(client: httpx.AsyncClient, url: str, options: ServerOptions) -> Server | RequestFailure:
    """Asks an endpoint what it serves."""
    body = await _send(client, "GET", f"{url}/models", None, options)
    if isinstance(body, RequestFailure):
        return body
    cards = [card for card in body.get("data") or [] if isinstance(card, dict) and "id" in card]
    known = {card["id"]: card for card in cards}
    if options.served is None and len(cards) == 1:
        card = cards[0]
    elif options.served in known:
        card = known[options.served]
    else:
        return RequestFailure("denied", f"it serves {sorted(known)}; engine.served must name one of them")
    return Server(card["id"], str(card.get("owned_by", "unknown")), options.max_model_len or card.get("max_model_len"))


async def complete(
    client: httpx.AsyncClient, url: str, server: Server, options: ServerOptions, request: Request
) -> Completion | RequestFailure:
    """Draws or scores one request."""
    room = server.max_model_len - len(request.tokens) if server.max_model_len else None
    if room is not None and room < 1:
        return Completion(request.id, "", "prompt_too_long", 0)
    chat = options.api == "chat" and request.messages is not None and request.score_from is None
    path = "chat/completions" if chat else "completions"
    body = await _send(client, "POST", f"{url}/{path}", _payload(server, options, request, room, chat=chat), options)
    if isinstance(body, RequestFailure):
        if body.kind == "refused" and any(mark in body.why.lower() for mark in _TOO_LONG):
            return Completion(request.id, "", "prompt_too_long", 0)
        return body
    try:
        return _completion(body, request)
    except (KeyError, IndexError, TypeError, ValueError) as error:
        return RequestFailure("fault", f"its answer is no completion ({type(error).__name__}: {error})")


async def negotiate_params(
    client: httpx.AsyncClient, url: str, server: Server, options: ServerOptions, request: Request
) -> tuple[Server, Completion | RequestFailure]:
    """A first request, and how the server must be asked: without parameters that it refuses by name."""
    while True:
        found = await complete(client, url, server, options, request)
        refused = found.why if isinstance(found, RequestFailure) and found.kind == "refused" else ""
        known = (name for name in _DISPENSABLE if name not in server.lacks)
        named = next((name for name in known if re.search(rf"\b{name}\b", refused)), None)
        if named is None:
            return server, found
        server = replace(server, lacks=server.lacks | {named})


def check_supported(server: Server, options: ServerOptions, request: Request) -> None:
    """Refuses what this kind of server can't do.

    Raises:
        EngineError: scoring, tokens or structured output are asked of a server that hasn't them.
    """
    chat = options.api == "chat" and request.messages is not None
    lacking = ""
    if request.score_from is not None:
        lacking = "score a text (log-probabilities of the prompt)"
    elif options.api == "chat" and request.messages is None:
        lacking = "take a prompt without messages"
    elif "json_schema" in request.params and not chat:
        lacking = "promise JSON of a schema to a prompt of tokens"
    if lacking and not server.vllm:
        raise EngineError(
            f"The server ({server.kind}) can't {lacking}; `vllm serve` can.",
            where=f"model {server.model}, engine.api {options.api}",
            remedy="serve the model with vllm"
            + (", or set engine.api: chat" if "json_schema" in request.params else "")
            + ", or give the stage that asks for this (claims.model, quality.learning) another model and engine",
        )


def _payload(
    server: Server, options: ServerOptions, request: Request, room: int | None, *, chat: bool
) -> dict[str, Any]:
    head: dict[str, Any] = {"model": server.model}
    head |= {"messages": list(request.messages or ())} if chat else {"prompt": list(request.tokens)}
    if request.score_from is not None:
        return head | {"max_tokens": 1, "temperature": 0.0, "prompt_logprobs": 0}
    params = dict(request.params)
    schema = params.pop("json_schema", None)
    if server.vllm:
        params = _NEUTRAL | params
        if chat and options.chat_template_args:
            head["chat_template_kwargs"] = dict(options.chat_template_args)
        if schema:
            params["structured_outputs"] = {"json": schema, "disable_any_whitespace": True}
    else:
        params = {name: value for name, value in params.items() if value not in ([], None)}
        if params.get("top_k", 1) < 1:
            del params["top_k"]  # off, for servers that don't know it
        if schema:
            named = {"name": "answer", "strict": True, "schema": schema}
            params["response_format"] = {"type": "json_schema", "json_schema": named}
    if room is not None:
        params["max_tokens"] = min(params.get("max_tokens", room), room)
    if "max_tokens" in server.lacks and "max_tokens" in params:
        params["max_completion_tokens"] = params.pop("max_tokens")
    return head | params | ({} if "seed" in server.lacks else {"seed": request.seed})


def _completion(body: Mapping[str, Any], request: Request) -> Completion | RequestFailure:
    choice = body["choices"][0]
    if request.score_from is not None:
        if choice.get("prompt_logprobs") is None:
            return RequestFailure("unable", "it scores no text: its answer has no prompt_logprobs")
        return Completion(request.id, "", "stop", 0, _logprob(choice, request))
    reason = choice.get("finish_reason") or "stop"
    if reason in ("abort", "error"):  # the server is being shut down
        return RequestFailure("cut", f"it gave up with '{reason}'")
    text = choice["text"] if "text" in choice else _said(choice["message"])
    tokens = int((body.get("usage") or {}).get("completion_tokens") or 0)
    known = {"length": "length", FILTERED: FILTERED}
    whole = str(text).encode("utf-8", "replace").decode()  # half an emoji, cut by the limit, has no form on disk
    return Completion(request.id, whole, known.get(reason, "stop"), tokens)


def _said(message: Mapping[str, Any]) -> str:
    """A message as the model wrote it: servers with a reasoning parser cut the reasoning off.

    One that was cut in the middle of its reasoning has no content, and its block stays open.
    """
    reasoning = message.get("reasoning") or message.get("reasoning_content")  # vLLM's name, and what it was before
    content = str(message.get("content") or "")
    if not reasoning:
        return content
    return f"<think>\n{reasoning}\n</think>\n\n{content}" if content else f"<think>\n{reasoning}"


def _logprob(choice: Mapping[str, Any], request: Request) -> float:
    """Sum of the log-probabilities of the prompt's tokens from `score_from` on; the first token of all has none."""
    start = max(request.score_from or 0, 1)
    pairs = zip(choice["prompt_logprobs"][start:], request.tokens[start:], strict=True)
    return float(sum(known[str(token)]["logprob"] for known, token in pairs))


async def _send(
    client: httpx.AsyncClient, method: str, url: str, payload: Any, options: ServerOptions
) -> dict[str, Any] | RequestFailure:
    try:
        response = await client.request(method, url, json=payload)
    except httpx.ReadTimeout:
        return RequestFailure("fault", f"no answer in {options.timeout_s:g} s")
    except httpx.HTTPError as error:
        return RequestFailure("cut", f"{type(error).__name__}: {error}".rstrip(": "))
    if response.status_code == httpx.codes.OK:
        try:
            body = response.json()
        except ValueError:
            body = None
        return body if isinstance(body, dict) else RequestFailure("fault", "its answer is not JSON")
    return _trouble(response, options)


def _trouble(response: httpx.Response, options: ServerOptions) -> RequestFailure:
    status, said = response.status_code, _message(response)
    if options.key:
        said = said.replace(options.key, "***")
    why = f"HTTP {status}: {said}"
    after = _retry_after(response.headers.get("retry-after"))
    if status in _BUSY:
        return RequestFailure("busy", why, after)
    if status >= 500 or status in _TRANSIENT:
        return RequestFailure("fault", why, after)
    return RequestFailure("denied" if status in _DENIED else "refused", why)


def _message(response: httpx.Response) -> str:
    try:
        body = response.json()
        error = body.get("error", body)
        said = error.get("message") or error if isinstance(error, dict) else error
    except (ValueError, AttributeError):
        said = response.text
    return " ".join(str(said).split())[:500]


def _retry_after(value: str | None) -> float | None:
    """Seconds from now, of a header that holds seconds or a date."""
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


CONNECT_SECONDS = 10.0
_LOOK_SECONDS = 3 * CONNECT_SECONDS
_CANARY = Request("canary", (0,), 0, {"max_tokens": 1}, None, ({"role": "user", "content": "1"},))
Found = TypeVar("Found")


async def health_check(client: httpx.AsyncClient, url: str, options: ServerOptions) -> Server | RequestFailure:
    """What an endpoint says of itself, or that it says nothing in time."""
    return await _in_time(server_info(client, url, options))


async def handshake(
    client: httpx.AsyncClient, url: str, options: ServerOptions, sampling: Mapping[str, Any]
) -> Server | RequestFailure:
    """An endpoint that has written a token, and how it must be asked; or why it can't be used, `denied` for good.

    Raises:
        EngineError: this kind of server can't do what it will be asked.
    """
    server = await health_check(client, url, options)
    if isinstance(server, RequestFailure):
        return server
    for request in options.trials:
        check_supported(server, options, request)
    own = {name: value for name, value in sampling.items() if name != "min_tokens"}
    canary = replace(_CANARY, params={**own, **_CANARY.params})
    found = await _in_time(negotiate_params(client, url, server, options, canary))
    if isinstance(found, RequestFailure):
        return found
    known, answer = found
    if not isinstance(answer, RequestFailure):
        return known
    if answer.kind not in ("denied", "refused"):
        return answer
    tokens = options.api == "completions" and not server.vllm
    hint = "; if it takes no prompt as token ids, set engine.api: chat" if tokens else ""
    return RequestFailure("denied", answer.why + hint)


async def _in_time(asked: Awaitable[Found]) -> Found | RequestFailure:
    try:
        return await asyncio.wait_for(asked, _LOOK_SECONDS)
    except TimeoutError:
        return RequestFailure("cut", f"no answer in {_LOOK_SECONDS:g} s")
