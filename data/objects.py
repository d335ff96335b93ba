"""HOME in an object store: `s3://bucket/prefix`, worked on in a folder of this machine that mirrors part of it.

The store alone says what exists: a file counts once its object is written, and a numbered file of a log once its
object was *created*, which of two processes only one can do (`If-None-Match: *`). The folder is a cache. A file there
is used while its MD5 is what the store calls its ETag; where the store encrypts with keys of its own, and the ETag is
something else, it is fetched anew by each process. Hidden files and folders, logs and locks stay on this machine.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from proofmill.data.errors import StoreError, UsageError

if TYPE_CHECKING:
    from obstore.store import S3Store

MARKER = "object-store.json"  # in the root of a mirror; says what it mirrors
_SCHEME = "s3://"
_OWN = ("", ".log")  # locks and logs, which stay on this machine
_PART_BYTES = 16 << 20  # larger objects travel in parts of this size
_AT_ONCE = 16  # requests
_RETRIES, _RETRY_SECONDS = 8, 90  # of the client, with a growing pause; servers that answer 5xx are asked again too
_FIRST_RETRIES = 2  # of the first request, which only looks whether the address is right
_CONFLICTS = 20  # answers "conflict" to a creation that raced with another, until it is given up
_AGAIN = "then run the same command again: what is done stays done"


class Stored(NamedTuple):
    """An object: its bytes, and what the store calls its content."""

    size: int
    e_tag: str


def is_address(home: str | Path) -> bool:
    """Return whether a HOME is named by the address of an object store."""
    return "://" in str(home)


def parts_of(address: str) -> tuple[str, str]:
    """Return bucket and prefix of an address.

    Raises:
        UsageError: it is none of `s3://bucket/prefix`.
    """
    bucket, _, prefix = address.removeprefix(_SCHEME).partition("/")
    if not address.startswith(_SCHEME) or not bucket:
        raise UsageError(
            f"{address!r} is not the address of an object store that HOME can be in.",
            remedy="write s3://bucket/prefix, with AWS_ENDPOINT_URL for a server that is not Amazon's; or a folder",
        )
    return bucket, prefix.strip("/")


def mirror_name(address: str) -> str:
    """Return the name of the folder that mirrors an address; each server has its own."""
    bucket, prefix = parts_of(address)
    return f"{bucket}-{hashlib.sha256(repr((_endpoint(), bucket, prefix)).encode()).hexdigest()[:12]}"


def _endpoint() -> str:
    names = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
    return next((os.environ[name] for name in names if os.environ.get(name)), "")


def mirror(address: str, root: Path) -> ObjectStore:
    """Make a folder the mirror of an object store, and look whether the store answers.

    Raises:
        UsageError: the address is wrong, or obstore is not installed.
        StoreError: there is no such bucket, or this user may not read it, or nobody answers.
    """
    bucket, prefix = parts_of(address)
    if find_spec("obstore") is None:
        raise UsageError(
            "A HOME in an object store needs the package obstore.",
            where=address,
            remedy="pip install 'proofmill[objects]'",
        )
    address = f"{_SCHEME}{bucket}/{prefix}".rstrip("/")
    root = root.absolute()
    root.mkdir(parents=True, exist_ok=True)
    (root / MARKER).write_text(json.dumps({"address": address}) + "\n")
    store = _opened(root)
    store.look()
    return store


def object_store(path: Path) -> ObjectStore | None:
    """Return the store that a file or folder is kept in; None: it is on this machine alone."""
    path = Path(os.path.abspath(path))  # noqa: PTH100 (no links are followed: HOME may be one)
    root = next((folder for folder in (path, *path.parents) if (folder / MARKER).exists()), None)
    if root is None or any(part.startswith(".") for part in path.relative_to(root).parts):
        return None
    return _opened(root)


@cache
def _opened(root: Path) -> ObjectStore:
    return ObjectStore(str(json.loads((root / MARKER).read_text())["address"]), root)


class ObjectStore:
    """Objects under a prefix of a bucket, and the folder that mirrors some of them. Safe for use by threads.

    Args:
        address: `s3://bucket/prefix`.
        root: the folder.
    """

    def __init__(self, address: str, root: Path) -> None:
        self.address, self.root = address, root
        self._bucket, self._prefix = parts_of(address)
        self._store = self._client(_RETRIES)
        self._known: dict[str, Stored] = {}  # by key: what was listed or written by this process
        self._creates_once = False  # whether it was seen to
        self._same: dict[str, Stored] = {}  # by key: what the mirror's file was compared with

    def _client(self, retries: int) -> S3Store:
        from obstore.store import S3Store  # an optional package, which only a HOME in an object store needs

        return S3Store(
            self._bucket,
            prefix=self._prefix or None,
            client_options={"allow_http": _endpoint().startswith("http://"), "timeout": "60s"},
            retry_config={"max_retries": retries, "retry_timeout": timedelta(seconds=_RETRY_SECONDS)},
        )

    def where(self, path: Path) -> str:
        """Return the address of what a path mirrors."""
        return f"{self.address}/{self._key(path)}".rstrip("/")

    def _key(self, path: Path) -> str:
        key = Path(os.path.abspath(path)).relative_to(self.root).as_posix()  # noqa: PTH100 (as in `object_store`)
        return "" if key == "." else key

    # Reading.

    def look(self) -> None:
        """Do nothing but ask for a list of at most one page.

        Raises:
            StoreError: the bucket can't be read.
        """
        with self._reported(self.root):
            self._client(_FIRST_RETRIES).list_with_delimiter("datasets")

    def names(self, folder: Path) -> list[str]:
        """Return the names of the folders in a folder."""
        with self._reported(folder):
            found = self._store.list_with_delimiter(self._key(folder))
        return sorted(prefix.rstrip("/").rpartition("/")[2] for prefix in found["common_prefixes"])

    def list(self, folder: Path) -> dict[Path, Stored]:
        """Return all objects under a folder, by the path of their mirror."""
        found = {}
        with self._reported(folder):
            for chunk in self._store.list(self._key(folder), chunk_size=1000):
                for item in chunk:
                    stored = Stored(item["size"], (item["e_tag"] or "").strip('"'))
                    found[self.root / item["path"]] = self._known[item["path"]] = stored
        return found

    def pull(
        self, folder: Path, wanted: Callable[[Path], bool] = lambda _: True, *, prune: bool = False
    ) -> dict[Path, Stored]:
        """Fetch what is wanted of a folder, and return all objects under it.

        Args:
            folder: in the mirror.
            wanted: says of a path whether it is fetched now.
            prune: remove files that have no object. Only for who holds the folder's lock on this machine.
        """
        found = self.list(folder)
        if prune:
            for path in folder.rglob("*") if folder.exists() else ():
                if path.is_file() and path not in found and self._is_mirrored(path):
                    path.unlink(missing_ok=True)
        paths = [path for path in found if wanted(path)]
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            list(pool.map(self.fetch, paths))
        return found

    def _is_mirrored(self, path: Path) -> bool:
        hidden = any(part.startswith(".") for part in path.relative_to(self.root).parts)
        return not hidden and path.suffix not in _OWN

    def size(self, path: Path) -> int | None:
        """Return the bytes of an object that was listed or written by this process; None where there is none."""
        stored = self._known.get(self._key(path))
        return None if stored is None else stored.size

    def fetch(self, path: Path) -> Path:
        """Return a path whose file is the object's content; it is not there where there is no such object."""
        key = self._key(path)
        stored = self._known.get(key) or self._head(path)
        if stored is None or self._same.get(key) == stored:
            return path
        if not (path.exists() and _is_content(path, stored)):
            try:
                self._download(path, key, stored)
            except FileNotFoundError:  # another process has removed it
                self._known.pop(key, None)
                return path
        self._same[key] = stored
        return path

    def refresh(self, path: Path) -> Path:
        """Return a path whose file is what the object is now; without object there is no file."""
        self._known.pop(self._key(path), None)
        if self._head(path) is None:
            path.unlink(missing_ok=True)
            return path
        return self.fetch(path)

    def _head(self, path: Path) -> Stored | None:
        key = self._key(path)
        with self._reported(path):
            try:
                found = self._store.head(key)
            except FileNotFoundError:
                return None
        self._known[key] = Stored(found["size"], (found["e_tag"] or "").strip('"'))
        return self._known[key]

    def _download(self, path: Path, key: str, stored: Stored) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.{os.getpid()}.tmp")
        try:
            with self._reported(path), temporary.open("wb") as file:
                for start in range(0, stored.size, _PART_BYTES):  # each within the client's time limit
                    file.write(self._store.get_range(key, start=start, end=min(start + _PART_BYTES, stored.size)))
            temporary.rename(path)
        finally:
            temporary.unlink(missing_ok=True)

    # Writing.

    def put(self, source: Path, path: Path) -> None:
        """Write an object, in place of one that is there, from a file that will be `path`."""
        key = self._key(path)
        size = source.stat().st_size
        with self._reported(path):
            result = self._store.put(key, source, chunk_size=_PART_BYTES, use_multipart=size > _PART_BYTES)
        self._known[key] = self._same[key] = Stored(size, (result["e_tag"] or "").strip('"'))

    def create(self, path: Path, content: bytes) -> None:
        """Write an object that nobody has written yet.

        Raises:
            FileExistsError: somebody has.
        """
        from obstore.exceptions import AlreadyExistsError

        key, writer = self._key(path), uuid.uuid4().hex
        with self._reported(path):
            for _ in range(_CONFLICTS):
                try:
                    result = self._store.put(
                        key, content, mode="create", use_multipart=False, attributes={"writer": writer}
                    )
                    e_tag = result["e_tag"]
                    break
                except AlreadyExistsError:
                    # Maybe by us: the answer to a request may be lost, and the client then sends it once more. Or
                    # nobody has, and the store answered "conflict" to several who tried at once.
                    with suppress(FileNotFoundError):
                        found = self._store.get(key)
                        if found.attributes.get("writer") != writer:
                            raise FileExistsError(self.where(path)) from None
                        e_tag = found.meta["e_tag"]
                        break
            else:
                raise FileExistsError(self.where(path))
        self._known[key] = self._same[key] = Stored(len(content), (e_tag or "").strip('"'))

    def move(self, path: Path, target: Path) -> None:
        """Give an object another name; a crash may leave it under both."""
        with self._reported(path):
            self._store.copy(self._key(path), self._key(target))
        self.remove([path])

    def remove(self, paths: Iterable[Path]) -> None:
        """Remove objects; one that is not there is no error."""
        keys = [self._key(path) for path in paths]
        with self._reported(self.root), suppress(FileNotFoundError):
            if keys:
                self._store.delete(keys)
        for key in keys:
            self._known.pop(key, None)
            self._same.pop(key, None)

    def put_folder(self, source: Path, folder: Path, last: str, before_last: Callable[[], None]) -> None:
        """Write all files of a folder that nobody has written anything into yet.

        Args:
            source: holds the files.
            folder: the mirror's name for it.
            last: the file without which the others do not count.
            before_last: is called when all others are there.

        Raises:
            FileExistsError: another process writes this folder, or has written it.
        """
        names = sorted(path.relative_to(source).as_posix() for path in source.rglob("*") if path.is_file())
        first, *others = (name for name in names if name != last)
        self.create(folder / first, (source / first).read_bytes())  # of two processes one goes on
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            list(pool.map(lambda name: self.put(source / name, folder / name), others))
        before_last()
        self.create(folder / last, (source / last).read_bytes())

    def check_creates_once(self) -> None:
        """Try, once a process, whether the store creates an object only once, which decides who goes on with a run.

        Raises:
            StoreError: it writes over it; or it can't be reached or written.
        """
        if self._creates_once:
            return
        path = self.root / f"creates-once-{uuid.uuid4().hex[:12]}"
        self.create(path, b"first")
        try:
            self.create(path, b"second")
        except FileExistsError:
            self.remove([path])
            self._creates_once = True
            return
        with suppress(StoreError):
            self.remove([path])
        raise StoreError(
            "This object store creates an object twice (it ignores If-None-Match), so two runs could write one HOME.",
            where=f"{self.address} at {_endpoint() or 'Amazon S3'}",
            remedy="use a store with conditional writes, such as Amazon S3 or SeaweedFS, or a folder",
        )

    @contextmanager
    def _reported(self, path: Path) -> Iterator[None]:
        """Turn an error of the client into one that says what, where and what next."""
        from obstore.exceptions import AlreadyExistsError, BaseError

        try:
            yield
        except AlreadyExistsError:
            raise
        except FileNotFoundError as error:
            if "NoSuchBucket" not in str(error):
                raise
            raise self._told(error, path) from error
        except BaseError as error:
            raise self._told(error, path) from error

    def _told(self, error: Exception, path: Path) -> StoreError:
        what, remedy = _meaning(str(error), self._bucket)
        return StoreError(what, where=f"{self.where(path)} at {_endpoint() or 'Amazon S3'}", remedy=remedy)


_EXPIRED = ("ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired", "RequestExpired", "InvalidToken")
_UNKNOWN = ("InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidSecurity", "AuthorizationHeaderMalformed")
_KEYS = "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY (AWS_SESSION_TOKEN, AWS_REGION where needed)"
_CODE = re.compile(r"(?:<Code>|\(code: )(\w+)")
_METADATA = "169.254."  # where machines of a cloud ask for the credentials of their role


def _meaning(error: str, bucket: str) -> tuple[str, str]:
    """Return what an error of the client means, and what to do about it."""
    code = match[1] if (match := _CODE.search(error)) else ""
    if code == "NoSuchBucket":
        return f"There is no bucket {bucket!r}.", "create it, or correct the address of --home"
    if code in _EXPIRED:
        return "The credentials for the object store have expired.", f"renew them, {_AGAIN}"
    if code in _UNKNOWN:
        return f"The object store does not know these credentials ({code}).", f"set {_KEYS}, {_AGAIN}"
    if _METADATA in error:
        return "There are no credentials for the object store.", f"set {_KEYS}, or give this machine a role; {_AGAIN}"
    if code == "AccessDenied" or "403 Forbidden" in error or "401 Unauthorized" in error:
        rights = "s3:ListBucket, s3:GetObject, s3:PutObject and s3:DeleteObject"
        return f"The object store does not allow this: {code or 'forbidden'}.", f"get the rights {rights}, {_AGAIN}"
    shown = code or (error.strip().splitlines() or ["no reason given"])[0][:300]
    return f"The object store can't be used: {shown}.", f"look at the network, and at AWS_ENDPOINT_URL; {_AGAIN}"


def _is_content(path: Path, stored: Stored) -> bool:
    """Return whether a file is an object's content: the ETag is its MD5, or that of its parts' MD5s."""
    if path.stat().st_size != stored.size:
        return False
    with path.open("rb") as file:
        if "-" not in stored.e_tag:
            return hashlib.file_digest(file, _md5).hexdigest() == stored.e_tag
        parts: Sequence[bytes] = [_md5(part).digest() for part in iter(lambda: file.read(_PART_BYTES), b"")]
    return f"{_md5(b''.join(parts)).hexdigest()}-{len(parts)}" == stored.e_tag


def _md5(content: bytes = b"") -> Any:
    return hashlib.md5(content, usedforsecurity=False)
