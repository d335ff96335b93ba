"""Requests a second that one process can put to a server, ours and the `openai` package's in turns.

    python tests/benchmarks/bench_servers.py [REQUESTS]

The server is a process of its own that answers at once, so what is measured is what a request costs us. CPU seconds
are the figure to trust on a machine that does other things too. vLLM brings the package.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable

import openai

from proofmill.generators.engines.base import Completion, Request
from proofmill.generators.engines.openai_client import OpenAIClient, ServerInfo, ServerOptions, connections

WINDOW, ROUNDS = 128, 3
PROMPT = tuple(range(300))
CHOICE = {"index": 0, "text": "step " * 800, "finish_reason": "stop", "logprobs": None}
ANSWER = {"id": "c", "object": "text_completion", "created": 1, "model": "tiny", "choices": [CHOICE]}
ANSWER |= {"usage": {"prompt_tokens": 300, "completion_tokens": 800, "total_tokens": 1100}}


async def serve() -> None:
    """Answers whatever it is asked, and prints its port."""
    body = json.dumps(ANSWER).encode()
    reply = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body) + body

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                await reader.readexactly(int(head.partition(b"content-length:")[2].split(b"\r\n")[0]))
                writer.write(reply)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)  # noqa: T201
    await server.serve_forever()


async def ours(url: str, requests: int) -> None:
    """As the engine asks."""
    options, server = ServerOptions((url,)), ServerInfo("tiny", "vllm", None)
    async with connections(options) as http:
        client = OpenAIClient(url, options, http)

        async def ask(number: int) -> int:
            answer = await client.complete(
                server, Request(str(number), PROMPT, number, {"max_tokens": 800, "top_k": -1})
            )
            assert isinstance(answer, Completion), answer
            return len(answer.text)

        await asyncio.gather(*windowed(ask, requests))


async def theirs(url: str, requests: int) -> None:
    """The same requests with the package's typed calls."""
    async with openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0) as client:

        async def ask(number: int) -> int:
            answer = await client.completions.create(
                model="tiny", prompt=list(PROMPT), seed=number, max_tokens=800, extra_body={"top_k": -1}
            )
            return len(answer.choices[0].text)

        await asyncio.gather(*windowed(ask, requests))


def windowed(ask: Callable[[int], Awaitable[int]], requests: int) -> list[Awaitable[int]]:
    """Requests of which at most WINDOW are under way."""
    places = asyncio.Semaphore(WINDOW)

    async def one(number: int) -> int:
        async with places:
            return await ask(number)

    return [one(number) for number in range(requests)]


def main(requests: int) -> None:
    """Prints CPU milliseconds a request of both, and their ratio."""
    with subprocess.Popen([sys.executable, __file__, "serve"], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        url = f"http://127.0.0.1:{int(server.stdout.readline())}/v1"
        try:
            costs: dict[str, list[float]] = {"ours": [], "openai": []}
            for _ in range(ROUNDS):
                for name, run in (("ours", ours), ("openai", theirs)):
                    started, cpu = time.perf_counter(), time.process_time()
                    asyncio.run(run(url, requests))
                    costs[name].append((time.process_time() - cpu) / requests)
                    rate = requests / (time.perf_counter() - started)
                    print(f"{name:8}{1000 * costs[name][-1]:6.2f} ms of CPU a request{rate:8.0f} requests/s")  # noqa: T201
        finally:
            server.kill()
    print(f"openai / ours: {min(costs['openai']) / min(costs['ours']):.2f} times the CPU of a request")  # noqa: T201


if __name__ == "__main__":
    if sys.argv[1:] == ["serve"]:
        asyncio.run(serve())
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 2000)
