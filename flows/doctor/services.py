"""What is reached over the network: Prefect, the hub, Redis. Being offline is no fault."""

from __future__ import annotations

import importlib.util
import os
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from typing import Any

import httpx2
from huggingface_hub import HfApi, constants, get_token
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

from proofmill.flows.doctor.checks import FAIL, OK, SKIP, WARN, Check, Place

_SECONDS = 5
_TOKENS = "make one that may write at https://huggingface.co/settings/tokens, then: hf auth login"


def prefect(_: Place) -> Iterator[Check]:
    """The server that is named, or that a temporary one can be started."""
    url = os.environ.get("PREFECT_API_URL")
    if importlib.util.find_spec("prefect") is None:
        yield Check("Prefect", FAIL, "not installed", "pip install proofmill")
    elif not url:
        yield Check("Prefect", OK, "PREFECT_API_URL is not set: each run starts a temporary server and ends it")
    else:
        yield _answers(url)


def _answers(url: str) -> Check:
    remedy = "start it (`prefect server start`), or unset PREFECT_API_URL: a temporary one is used then"
    try:
        with urllib.request.urlopen(f"{url.rstrip('/')}/health", timeout=_SECONDS):  # noqa: S310 (the user's own address)
            return Check("Prefect", OK, f"{url} answers")
    except (urllib.error.URLError, OSError, ValueError) as error:
        return Check("Prefect", FAIL, f"{url} does not answer: {getattr(error, 'reason', error)}", remedy)


def hub(_: Place) -> Iterator[Check]:
    """Whether there is a token, and whether it may write."""
    token = get_token()
    if token is None:
        yield Check("hub token", SKIP, "none; only `push`, and gated models and data sets, need one", _TOKENS)
        return
    try:
        found = HfApi(token=token).whoami()
    except HfHubHTTPError as error:
        yield Check("hub token", FAIL, f"the hub refuses it ({error.response.status_code})", _TOKENS)
    except (httpx2.TransportError, OfflineModeIsEnabled, OSError):
        remedy = "check the network and HF_ENDPOINT; sampling, judging and publishing to HOME need no hub"
        yield Check("hub token", SKIP, f"{constants.ENDPOINT} is out of reach, so it was not checked", remedy)
    else:
        yield _scope(found)


def _scope(found: Mapping[str, Any]) -> Check:
    token = found.get("auth", {}).get("accessToken", {})
    role, name = token.get("role"), found.get("name")
    if role == "write" or (role == "fineGrained" and "repo.write" in _permissions(token)):
        return Check("hub token", OK, f"of {name}, may write")
    return Check(
        "hub token", WARN, f"of {name}, role {role!r}: it may read, and `push` needs one that may write", _TOKENS
    )


def _permissions(token: Mapping[str, Any]) -> set[str]:
    grained = token.get("fineGrained") or {}
    return {right for scope in grained.get("scoped", []) for right in scope.get("permissions", [])}


def redis(_: Place) -> Iterator[Check]:
    """The near-duplicate index shared between machines; optional."""
    url = os.environ.get("REDIS_URL")
    if importlib.util.find_spec("redis") is None:
        yield Check(
            "Redis",
            SKIP,
            "client not installed; only an index shared between machines needs it",
            "pip install 'proofmill[shared]'",
        )
    elif not url:
        yield Check("Redis", SKIP, "REDIS_URL is not set; only an index shared between machines needs it")
    else:
        yield _pings(url)


def _pings(url: str) -> Check:
    import redis as client

    try:
        client.Redis.from_url(url, socket_timeout=_SECONDS, socket_connect_timeout=_SECONDS).ping()
    except (client.RedisError, ValueError) as error:
        return Check("Redis", FAIL, f"does not answer: {type(error).__name__}", "start it, or mend or unset REDIS_URL")
    return Check("Redis", OK, "answers")
