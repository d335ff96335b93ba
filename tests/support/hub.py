"""A small hub for data sets: the part of the Hugging Face hub's protocol that push and `load_dataset` speak.

Repositories live in memory. Faults can be planted: a status for the next requests of a kind, or a connection that
is cut after so many bytes of an upload. Nothing here is proofmill's own: the real client talks to it over HTTP.
"""

# ruff: noqa: ARG002 (every handler is called alike)

from __future__ import annotations

import base64
import hashlib
import json
import re
import socket
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import yaml

PAGE = 4  # entries on a page of a tree, so that paging happens
TOKEN = "hf_local_writer"  # noqa: S105 (of this server alone)
LICENSES = {"mit", "apache-2.0", "cc-by-4.0", "cc0-1.0", "other", "unknown"}
_FILE = re.compile(r"^/(?:datasets/)?(?P<repo>[^/]+/[^/]+)/resolve/(?P<rev>[^/]+)/(?P<path>.+)$")


@dataclass
class Blob:
    """A file's content; `lfs`: whether it is in the large-file store."""

    data: bytes
    lfs: bool

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()

    @property
    def oid(self) -> str:
        """The git id of what is committed: of the pointer where the content is in the large-file store."""
        content = self.data if not self.lfs else f"pointer {self.sha256}".encode()
        return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


Tree = dict[str, Blob]


@dataclass
class Repo:
    """A repository: its commits by id, branches and tags."""

    private: bool
    commits: dict[str, Tree] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)  # uploaded, by SHA-256
    messages: list[str] = field(default_factory=list)

    def commit(self, tree: Tree, branch: str, message: str = "initial commit") -> str:
        """Make a commit the head of a branch; return its id."""
        oid = hashlib.sha1(f"{len(self.commits)} {message}".encode(), usedforsecurity=False).hexdigest()
        self.commits[oid] = tree
        self.branches[branch] = oid
        self.messages.append(message)
        return oid

    def at(self, revision: str) -> str | None:
        """Return the commit of a tag, branch or commit id; None where there is none."""
        oid = self.tags.get(revision) or self.branches.get(revision) or revision
        return oid if oid in self.commits else None


@dataclass
class Fault:
    """What happens to the next `times` requests whose method and path match."""

    pattern: str
    status: int = 0  # 0: the connection is cut
    lost: bool = False  # the request is carried out, and its answer is lost
    times: int = 1
    headers: dict[str, str] = field(default_factory=dict)
    after_bytes: int = 0


class Hub(ThreadingHTTPServer):
    """The server; `url` is what HF_ENDPOINT is set to."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.repos: dict[str, Repo] = {}
        self.faults: list[Fault] = []
        self.seen: list[str] = []  # "METHOD path" of each request
        self.uploaded: list[str] = []  # SHA-256 of each upload that arrived whole
        self.tampered: dict[str, bytes] = {}  # path: what a commit stores instead
        self.lock = threading.RLock()
        self.url = f"http://127.0.0.1:{self.server_port}"
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print nothing: a client that went away is no news."""

    def close(self) -> None:
        """Stop serving."""
        self.shutdown()
        self.server_close()

    def tree(self, repo: str, revision: str = "main") -> Tree:
        """Return the files of a repository at a revision."""
        return self.repos[repo].commits[str(self.repos[repo].at(revision))]

    def fault(self, line: str) -> Fault | None:
        """Return the planted fault that a request meets, and count it down."""
        with self.lock:
            for fault in self.faults:
                if fault.times and re.search(fault.pattern, line):
                    fault.times -= 1
                    return fault
        return None


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Hub
    mute = False

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the base class's word)
        pass

    def do_GET(self) -> None:
        self._route("GET")

    def do_HEAD(self) -> None:
        self._route("HEAD")

    def do_POST(self) -> None:
        self._route("POST")

    def do_PUT(self) -> None:
        self._route("PUT")

    def do_DELETE(self) -> None:
        self._route("DELETE")

    # --- plumbing -------------------------------------------------------------------------------

    def _route(self, method: str) -> None:
        parts = urlsplit(self.path)
        path, self.query = unquote(parts.path), parse_qs(parts.query)
        raw = parts.path
        line = f"{method} {path}"
        self.server.seen.append(line)
        fault = self.server.fault(line)
        if fault and not fault.lost:
            return self._fail(fault)
        self.mute = fault is not None
        body = self._body()
        if not path.startswith(("/lfs/",)) and self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self._json(401, {"error": "Invalid credentials"})
        for name, pattern, handle in _ROUTES:
            if name == method and (found := re.fullmatch(pattern, raw)):
                with self.server.lock:
                    return handle(self, body, *(unquote(part) for part in found.groups()))
        if method in ("GET", "HEAD") and (found := _FILE.match(path)):
            return self._resolve(found["repo"], unquote(found["rev"]), found["path"])
        return self._json(404, {"error": f"no such place: {line}"})

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            pieces = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                pieces.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(pieces)
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _fail(self, fault: Fault) -> None:
        if fault.status:
            self._body()
            return self._json(fault.status, {"error": "planted"}, fault.headers)
        self.rfile.read(fault.after_bytes)
        return self._cut()

    def _cut(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def _json(self, status: int, value: Any, headers: dict[str, str] | None = None) -> None:
        self._send(status, json.dumps(value).encode(), {"Content-Type": "application/json", **(headers or {})})

    def _send(self, status: int, data: bytes, headers: dict[str, str]) -> None:
        if self.mute:
            return self._cut()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", headers.get("Content-Length", str(len(data))))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)
        return None

    def _repo(self, name: str) -> Repo | None:
        repo = self.server.repos.get(name)
        if repo is None:
            self._json(404, {"error": "Repository not found"}, {"X-Error-Code": "RepoNotFound"})
        return repo

    def _at(self, name: str, revision: str) -> tuple[Repo, str] | None:
        repo = self._repo(name)
        if repo is None:
            return None
        if (oid := repo.at(revision)) is None:
            self._json(404, {"error": f"Invalid rev id: {revision}"}, {"X-Error-Code": "RevisionNotFound"})
            return None
        return repo, oid

    # --- repositories ---------------------------------------------------------------------------

    def create(self, body: bytes) -> None:
        asked = json.loads(body)
        name = f"{asked.get('organization') or 'me'}/{asked['name']}"
        if name in self.server.repos:
            return self._json(409, {"error": "exists", "url": f"{self.server.url}/datasets/{name}"})
        repo = self.server.repos[name] = Repo(asked.get("visibility") == "private" or bool(asked.get("private")))
        repo.commit({".gitattributes": Blob(b"*.parquet filter=lfs diff=lfs merge=lfs -text\n", False)}, "main")
        return self._json(200, {"url": f"{self.server.url}/datasets/{name}", "name": name})

    def info(self, body: bytes, name: str, revision: str = "main") -> None:
        if found := self._at(name, revision):
            repo, oid = found
            siblings = [{"rfilename": path} for path in sorted(repo.commits[oid])]
            self._json(200, {"id": name, "sha": oid, "private": repo.private, "tags": [], "siblings": siblings})

    def whoami(self, body: bytes) -> None:
        self._json(200, {"name": "me", "type": "user", "auth": {"accessToken": {"displayName": "t", "role": "write"}}})

    def validate_yaml(self, body: bytes) -> None:
        content = json.loads(body)["content"]
        errors = []
        try:
            head = yaml.safe_load(content.split("---")[1])
            if head.get("license") not in LICENSES:
                errors.append({"message": f'"license" must be one of {sorted(LICENSES)}'})
            errors += [
                {"message": "configs: each needs config_name and data_files"}
                for config in head.get("configs", [])
                if not {"config_name", "data_files"} <= set(config)
            ]
        except (IndexError, yaml.YAMLError, AttributeError) as error:
            errors.append({"message": str(error)})
        self._json(400 if errors else 200, {"errors": errors, "warnings": []})

    # --- uploads and commits --------------------------------------------------------------------

    def preupload(self, body: bytes, name: str, revision: str) -> None:
        if found := self._at(name, revision):
            repo, oid = found
            tree = repo.commits[oid]
            files = []
            for item in json.loads(body)["files"]:
                lfs = item["path"].endswith(".parquet")
                blob = tree.get(item["path"])
                entry = {"path": item["path"], "uploadMode": "lfs" if lfs else "regular", "shouldIgnore": False}
                files.append(entry | ({"oid": blob.sha256 if blob.lfs else blob.oid} if blob else {}))
            self._json(200, {"files": files})

    def lfs_batch(self, body: bytes, name: str) -> None:
        if repo := self._repo(name):
            objects = []
            for item in json.loads(body)["objects"]:
                place = f"{self.server.url}/lfs/{name}/{item['oid']}"
                actions = {"upload": {"href": place}, "verify": {"href": f"{place}/verify"}}
                objects.append(item | ({} if item["oid"] in repo.objects else {"actions": actions}))
            self._json(200, {"transfer": "basic", "objects": objects})

    def lfs_put(self, body: bytes, name: str, oid: str) -> None:
        if hashlib.sha256(body).hexdigest() != oid:
            return self._json(400, {"error": "checksum mismatch"})
        self.server.repos[name].objects[oid] = body
        self.server.uploaded.append(oid)
        return self._send(200, b"", {})

    def lfs_verify(self, body: bytes, name: str, oid: str) -> None:
        asked = json.loads(body)
        held = self.server.repos[name].objects.get(asked["oid"])
        self._json(200 if held is not None and len(held) == asked["size"] else 404, {})

    def commit(self, body: bytes, name: str, branch: str) -> None:
        if not (found := self._at(name, branch)):
            return None
        repo, head = found
        tree = dict(repo.commits[head])
        message = ""
        for line in body.splitlines():
            item = json.loads(line)
            value = item["value"]
            match item["key"]:
                case "header":
                    message = value["summary"]
                    if value.get("parentCommit", head) != head:
                        return self._json(412, {"error": "A commit has happened since. Please refresh and try again."})
                case "file":
                    tree[value["path"]] = Blob(base64.b64decode(value["content"]), False)
                case "lfsFile":
                    if value["oid"] not in repo.objects:
                        return self._json(400, {"error": f"no object {value['oid']}"})
                    tree[value["path"]] = Blob(repo.objects[value["oid"]], True)
                case "deletedFile":
                    del tree[value["path"]]
        for path, data in self.server.tampered.items():
            tree[path] = Blob(data, tree[path].lfs)
        oid = repo.commit(tree, branch, message)
        return self._json(200, {"commitUrl": f"{self.server.url}/datasets/{name}/commit/{oid}", "commitOid": oid})

    # --- refs -----------------------------------------------------------------------------------

    def refs(self, body: bytes, name: str) -> None:
        if repo := self._repo(name):
            branches, tags = (
                [{"name": key, "ref": f"refs/{kind}/{key}", "targetCommit": oid} for key, oid in found.items()]
                for kind, found in (("heads", repo.branches), ("tags", repo.tags))
            )
            self._json(200, {"branches": branches, "tags": tags, "converts": []})

    def branch(self, body: bytes, name: str, branch: str) -> None:
        repo = self.server.repos[name]
        if branch in repo.branches:
            return self._json(409, {"error": "exists"})
        repo.branches[branch] = str(repo.at(json.loads(body or b"{}").get("startingPoint", "main")))
        return self._json(200, {})

    def drop_branch(self, body: bytes, name: str, branch: str) -> None:
        self.server.repos[name].branches.pop(branch, None)
        self._json(200, {})

    def tag(self, body: bytes, name: str, revision: str) -> None:
        if found := self._at(name, revision):
            repo, oid = found
            tag = json.loads(body)["tag"]
            if tag in repo.tags:
                return self._json(409, {"error": "Tag reference exists already"})
            repo.tags[tag] = oid
            return self._json(200, {})
        return None

    # --- reading --------------------------------------------------------------------------------

    def tree(self, body: bytes, name: str, revision: str, folder: str = "") -> None:
        if not (found := self._at(name, revision)):
            return None
        repo, oid = found
        recursive = self.query.get("recursive", ["false"])[0].lower() == "true"
        entries = _entries(repo.commits[oid], folder.strip("/"), recursive=recursive)
        if not entries and folder:
            return self._json(404, {"error": f"{folder} does not exist"}, {"X-Error-Code": "EntryNotFound"})
        start = int(self.query.get("cursor", ["0"])[0])
        headers = {}
        if start + PAGE < len(entries):
            place = urlsplit(self.path).path
            following = f"{self.server.url}{place}?recursive={recursive}&cursor={start + PAGE}"
            headers["Link"] = f'<{following}>; rel="next"'
        return self._json(200, entries[start : start + PAGE], headers)

    def paths_info(self, body: bytes, name: str, revision: str) -> None:
        if found := self._at(name, revision):
            repo, oid = found
            typed = self.headers.get("Content-Type", "")
            asked = json.loads(body) if "json" in typed else parse_qs(body.decode())
            known = {item["path"]: item for item in _entries(repo.commits[oid], "", recursive=True)}
            self._json(200, [known[path.strip("/")] for path in asked["paths"] if path.strip("/") in known])

    def _resolve(self, name: str, revision: str, path: str) -> None:
        if not (found := self._at(name, revision)):
            return None
        repo, oid = found
        if (blob := repo.commits[oid].get(path)) is None:
            headers = {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": oid}
            return self._json(404, {"error": "Entry not found"}, headers)
        etag = f'"{blob.sha256 if blob.lfs else blob.oid}"'
        headers = {"ETag": etag, "X-Repo-Commit": oid, "Accept-Ranges": "bytes"}
        data, status = blob.data, 200
        if wanted := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")):
            first, last = int(wanted[1]), int(wanted[2] or len(data) - 1)
            headers["Content-Range"] = f"bytes {first}-{min(last, len(data) - 1)}/{len(data)}"
            data, status = data[first : last + 1], 206
        return self._send(status, data, headers)


def _entries(tree: Tree, folder: str, *, recursive: bool) -> list[dict[str, Any]]:
    start = f"{folder}/" if folder else ""
    inside = {path: blob for path, blob in sorted(tree.items()) if path.startswith(start)}
    folders = {path[: len(start) + path[len(start) :].find("/")] for path in inside if "/" in path[len(start) :]}
    found: list[dict[str, Any]] = [{"type": "directory", "path": path, "oid": "0" * 40, "size": 0} for path in folders]
    for path, blob in inside.items():
        if recursive or "/" not in path[len(start) :]:
            lfs = {"lfs": {"oid": blob.sha256, "size": len(blob.data), "pointerSize": 134}} if blob.lfs else {}
            found.append({"type": "file", "path": path, "oid": blob.oid, "size": len(blob.data), **lfs})
    return sorted(found, key=lambda item: item["path"])


_API = r"/api/datasets/([^/]+/[^/]+)"
_ROUTES = (
    ("POST", r"/api/repos/create", Handler.create),
    ("POST", r"/api/validate-yaml", Handler.validate_yaml),
    ("GET", r"/api/whoami-v2", Handler.whoami),
    ("GET", _API, Handler.info),
    ("GET", _API + r"/revision/([^/]+)", Handler.info),
    ("POST", _API + r"/preupload/([^/]+)", Handler.preupload),
    ("POST", r"/datasets/([^/]+/[^/]+)\.git/info/lfs/objects/batch", Handler.lfs_batch),
    ("PUT", r"/lfs/([^/]+/[^/]+)/([0-9a-f]+)", Handler.lfs_put),
    ("POST", r"/lfs/([^/]+/[^/]+)/([0-9a-f]+)/verify", Handler.lfs_verify),
    ("POST", _API + r"/commit/([^/]+)", Handler.commit),
    ("GET", _API + r"/refs", Handler.refs),
    ("POST", _API + r"/branch/([^/]+)", Handler.branch),
    ("DELETE", _API + r"/branch/([^/]+)", Handler.drop_branch),
    ("POST", _API + r"/tag/([^/]+)", Handler.tag),
    ("GET", _API + r"/tree/([^/]+)", Handler.tree),
    ("GET", _API + r"/tree/([^/]+)/(.+)", Handler.tree),
    ("POST", _API + r"/paths-info/([^/]+)", Handler.paths_info),
)
