"""Looks at one endpoint: whether it is there, serves the model, and writes a token with the run's parameters."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping
from dataclasses import replace
from typing import Any, TypeVar

import httpx

from proofmill.generators.endpoints import Server, ServerOptions, Trouble, check_able, introduce, tried
from proofmill.generators.engine import Request

CONNECT_SECONDS = 10.0
_LOOK_SECONDS = 3 * CONNECT_SECONDS
_CANARY = Request("canary", (0,), 0, {"max_tokens": 1}, None, ({"role": "user", "content": "1"},))
Found = TypeVar("Found")


async def glanced(client: httpx.AsyncClient, url: str, options: ServerOptions) -> Server | Trouble:
    """What an endpoint says of itself, or that it says nothing in time."""
    return await _in_time(introduce(client, url, options))


async def looked(
    client: httpx.AsyncClient, url: str, options: ServerOptions, sampling: Mapping[str, Any]
) -> Server | Trouble:
    """An endpoint that has written a token, and how it must be asked; or why it can't be used, `denied` for good.

    Raises:
        EngineError: this kind of server can't do what it will be asked.
    """
    server = await glanced(client, url, options)
    if isinstance(server, Trouble):
        return server
    for request in options.trials:
        check_able(server, options, request)
    own = {name: value for name, value in sampling.items() if name != "min_tokens"}
    canary = replace(_CANARY, params={**own, **_CANARY.params})
    found = await _in_time(tried(client, url, server, options, canary))
    if isinstance(found, Trouble):
        return found
    known, answer = found
    if not isinstance(answer, Trouble):
        return known
    if answer.kind not in ("denied", "refused"):
        return answer
    tokens = options.api == "completions" and not server.vllm
    hint = "; if it takes no prompt as token ids, set engine.api: chat" if tokens else ""
    return Trouble("denied", answer.why + hint)


async def _in_time(asked: Awaitable[Found]) -> Found | Trouble:
    try:
        return await asyncio.wait_for(asked, _LOOK_SECONDS)
    except TimeoutError:
        return Trouble("cut", f"no answer in {_LOOK_SECONDS:g} s")
