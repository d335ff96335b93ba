"""A small server that speaks the protocol of OpenAI's API; what it answers is up to the test."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypeVar

Body = dict[str, Any]
Reply = tuple[int, dict[str, str], Any] | None
"""Status, headers and content of an answer; None cuts the connection."""
Served = TypeVar("Served", bound="Endpoint")


class Endpoint(ThreadingHTTPServer):
    """Answers each request with what a subclass's `reply` makes of its body, which is called from many threads at once.

    Args:
        port: where it listens; 0 takes a free one.
    """

    daemon_threads = True
    request_queue_size = 64
    kind = "vllm"
    served = "tiny"
    max_model_len: int | None = 4096

    def __init__(self, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.keys: set[str | None] = set()  # the authorization of whoever asked for the models
        self.paths: set[str] = set()  # where requests went

    @property
    def url(self) -> str:
        """Its base address."""
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print nothing: a client that is killed cuts its connections."""

    def models(self, authorization: str | None) -> Reply:
        """Return what it says of itself."""
        self.keys.add(authorization)
        card = {"id": self.served, "owned_by": self.kind, "max_model_len": self.max_model_len}
        return 200, {}, {"data": [card]}

    def reply(self, body: Body) -> Reply:
        """Return the answer to one request."""
        raise NotImplementedError


class _Handler(BaseHTTPRequestHandler):
    server: Endpoint
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the base class's word)
        pass

    def do_GET(self) -> None:
        self._send(self.server.models(self.headers.get("authorization")))

    def do_POST(self) -> None:
        self.server.paths.add(self.path)
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self._send(self.server.reply(body))

    def _send(self, reply: Reply) -> None:
        if reply is None:
            self.close_connection = True
            self.connection.close()
            return
        status, headers, content = reply
        payload = json.dumps(content).encode()
        self.send_response(status)
        for name, value in {**headers, "content-length": str(len(payload))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(payload)


@contextmanager
def serving(*servers: Served) -> Iterator[tuple[Served, ...]]:
    """Serve answers while the block runs."""
    for server in servers:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield servers
    finally:
        for server in servers:
            server.shutdown()
            server.server_close()
