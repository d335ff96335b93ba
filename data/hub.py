"""Push a version to the hub: the same files, compared there by hash, and only then tagged `vN`.

The hub's `main` holds the newest version, and a tag `vN` marks each version. A push adds what is new and removes what
an older version had and this one lacks. It can be interrupted anywhere: the next push looks at what is there and does
the rest. While the client sends a very large version in several commits, `main` is incomplete; the tag never is.

The hub's client retries uploads only. Here every step can be repeated, and is: on a rate limit (after the time that
the hub asks for), on a fault of the hub, and on a broken connection.
"""

from __future__ import annotations

import hashlib
import itertools
import random
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import httpx2
from huggingface_hub import HfApi, RepoFile, get_token
from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError, RepositoryNotFoundError

from proofmill.data.card import check_licenses
from proofmill.data.errors import HubError, StoreError
from proofmill.data.files import human_size, sha256
from proofmill.data.manifest import MANIFEST, REPORT, Manifest
from proofmill.data.versions import Version, check_files

KIND = "dataset"
MAIN = "main"
_ATTEMPTS = 6
_LONGEST_WAIT = 300.0  # seconds; if the hub asks for more, the push fails
_RETRIED = (408, 412, 429, 500, 502, 503, 504)  # 412: the branch has moved since it was read
_DENIED = (401, 403)
_CHUNK = 1 << 20
_FAULTS = (HfHubHTTPError, LocalTokenNotFoundError, httpx2.TransportError, OSError, RuntimeError, ValueError)
_UNLISTED = (MANIFEST, REPORT)  # what a version holds besides the files that its manifest lists
_OURS_TO_REPLACE = {".gitattributes", "README.md"}  # what a repository made in the browser holds
_NAMED = 5

Say = Callable[[str], None]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class LocalFile:
    """A file to push: its path in the repository (`name`) and on this machine, its size and its SHA-256."""

    name: str
    path: Path
    size: int
    sha256: str

    def git_hash(self) -> str:
        """Return the id that git gives to the file's content: SHA-1 of a header and the bytes."""
        total = hashlib.sha1(f"blob {self.size}\0".encode(), usedforsecurity=False)
        with self.path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                total.update(chunk)
        return total.hexdigest()

    def is_same(self, entry: RepoFile | None) -> bool:
        """Return whether the hub's entry has this content, by the hash that the hub itself states."""
        if entry is None or entry.size != self.size:
            return False
        return bool(entry.lfs.sha256 == self.sha256 if entry.lfs else entry.blob_id == self.git_hash())


@dataclass(frozen=True, slots=True)
class Branch:
    """A branch as it was when it was read: its commit, and its files by path."""

    name: str
    head: str
    files: dict[str, RepoFile]


def checked_name(repo: str) -> str:
    """Return the name of a repository.

    Raises:
        HubError: the name is not of the form USER/NAME.
    """
    if not re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", repo):
        raise HubError(f"{repo!r} is not the name of a repository.", where="--repo", remedy="write --repo USER/NAME")
    return repo


class Hub:
    """One dataset repository on the hub: requests are retried, errors say what to do.

    Args:
        repo: `user/name`.
        token: None: that of the environment or of `hf auth login`.
        say: is called with a sentence about what is waited for.
        endpoint: None: `$HF_ENDPOINT`, else the public hub.

    Raises:
        HubError: the name is malformed, or there is no token.
    """

    def __init__(self, repo: str, *, token: str | None = None, say: Say = lambda _: None, endpoint: str | None = None):
        self.repo = checked_name(repo)
        self._token = token or get_token()
        if not self._token:
            raise HubError(
                "There is no token for the hub.",
                where="HF_TOKEN, --token, or `hf auth login`",
                remedy="make one with write permission at https://huggingface.co/settings/tokens, then: hf auth login",
            )
        self._api = HfApi(endpoint=endpoint, token=self._token, library_name="proofmill")
        self._say = say

    # --- reading --------------------------------------------------------------------------------

    def is_private(self) -> bool | None:
        """Return whether only its owners see the repository; None where there is none, or this token may not see it."""

        def look() -> bool | None:
            try:
                return bool(self._api.dataset_info(self.repo).private)
            except RepositoryNotFoundError as error:
                if error.response.status_code == 401:  # the token itself is refused
                    raise
                return None

        return self.patiently(look)

    def tags(self) -> dict[str, str]:
        """Return the commit of each tag."""
        refs = self.patiently(lambda: self._api.list_repo_refs(self.repo, repo_type=KIND))
        return {tag.name: tag.target_commit for tag in refs.tags}

    def files(self, revision: str) -> dict[str, RepoFile]:
        """Return the files at a branch, tag or commit, by path."""
        listed = self.patiently(
            lambda: list(self._api.list_repo_tree(self.repo, repo_type=KIND, revision=revision, recursive=True))
        )
        return {entry.path: entry for entry in listed if isinstance(entry, RepoFile)}

    def branch(self, name: str) -> Branch:
        """Return the present state of a branch."""
        head = self.patiently(lambda: self._api.dataset_info(self.repo, revision=name).sha)
        return Branch(name, str(head), self.files(str(head)))

    def manifest(self, commit: str) -> Manifest | None:
        """Return the manifest at a commit; None where `manifest.json` is no manifest of a version."""
        path = self.patiently(lambda: self._api.hf_hub_download(self.repo, MANIFEST, repo_type=KIND, revision=commit))
        try:
            return Manifest.parse(Path(path).read_bytes(), self.repo)
        except StoreError:
            return None

    # --- writing; every step may be repeated ------------------------------------------------------

    def create(self, *, private: bool) -> None:
        """Create the repository unless it exists."""
        self.patiently(lambda: self._api.create_repo(self.repo, repo_type=KIND, private=private, exist_ok=True))

    def fork(self, name: str, head: str) -> None:
        """Create a branch at a commit, unless it exists."""
        self.patiently(
            lambda: self._api.create_branch(self.repo, branch=name, revision=head, repo_type=KIND, exist_ok=True)
        )

    def drop_branch(self, name: str) -> None:
        """Remove a branch; a tag on its last commit keeps that one."""
        self.patiently(lambda: self._api.delete_branch(self.repo, branch=name, repo_type=KIND))

    def upload(self, folder: Path, add: Sequence[LocalFile], remove: Sequence[str], onto: Branch, message: str) -> str:
        """Commit files of a folder and remove others, on a branch that nobody has moved since it was read.

        Not repeated here: the answer may be lost after the commit was made, so the caller must look again first.

        Returns:
            The commit that the branch is at afterwards.
        """
        self._say(f"uploading {len(add)} files, {human_size(sum(file.size for file in add))}")
        commit = self._api.upload_folder(
            repo_id=self.repo,
            repo_type=KIND,
            folder_path=folder,
            allow_patterns=[file.name for file in add],
            delete_patterns=list(remove),
            revision=onto.name,
            parent_commit=onto.head,
            commit_message=message,
        )
        return str(commit.oid)

    def tag(self, name: str, commit: str) -> None:
        """Set a tag that is not there yet; one that is there is never moved."""
        self.patiently(
            lambda: self._api.create_tag(self.repo, tag=name, revision=commit, repo_type=KIND, exist_ok=True)
        )

    def patiently(self, step: Callable[[], T]) -> T:
        """Run a step that may be repeated until it succeeds.

        Raises:
            HubError: the step can't succeed, or failed `_ATTEMPTS` times.
        """
        for attempt in itertools.count(1):
            try:
                return step()
            except _FAULTS as fault:
                error = _cause(fault)
                wait = _wait(error, attempt)
                if wait is None:
                    raise self._explained(error) from error
                self._say(f"the hub did not answer as it should ({_short(error)}); trying again in {wait:.0f} s")
                time.sleep(wait)
        raise AssertionError("unreachable: the count never ends")

    def _explained(self, error: BaseException) -> HubError:
        """Return the error as one that a user can act on."""
        status = error.response.status_code if isinstance(error, HfHubHTTPError) else 0
        remedy = "run the same command again: uploaded files are not uploaded twice"
        if status in _DENIED:
            remedy = "give a token that may write to this namespace (https://huggingface.co/settings/tokens)"
        elif isinstance(error, ValueError):
            remedy = "the hub refuses this card; report it, with what the hub says"
        elif isinstance(error, RepositoryNotFoundError):
            remedy = "check the name, and that the token may see this repository"
        return HubError(f"The hub refused: {_short(error)}", where=self.repo, remedy=remedy)


def _cause(error: BaseException) -> BaseException:
    """Return the error inside the wrapper that the client puts around a failed upload of one file."""
    while isinstance(error, RuntimeError) and not isinstance(error, NotImplementedError) and error.__cause__:
        error = error.__cause__
    return error


def _wait(error: BaseException, attempt: int) -> float | None:
    """Return the seconds to wait before the next attempt; None to give up."""
    if attempt == _ATTEMPTS:
        return None
    backoff: float = 2.0 ** (attempt - 1) * random.uniform(0.5, 1.0)
    if isinstance(error, httpx2.TransportError):
        return backoff
    if not isinstance(error, HfHubHTTPError) or error.response.status_code not in _RETRIED:
        return None
    retry_after = error.response.headers.get("Retry-After", "")
    if retry_after.isdigit():
        return float(retry_after) + random.random() if float(retry_after) <= _LONGEST_WAIT else None
    return backoff


def _short(error: BaseException) -> str:
    """Return what went wrong in one line, without addresses, since those of uploads are signed."""
    message = getattr(error, "server_message", None) or str(error)
    if isinstance(error, HfHubHTTPError):
        message = f"{error.response.status_code} {message}"
    line = " ".join(message.split()) or type(error).__name__
    return re.sub(r"\(?(for url: )?'?https?://\S+", "", line)[:300].strip()


# --- a push ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PushPlan:
    """What a push will do.

    Attributes:
        private: the repository's visibility; None: there is none yet.
        tagged: whether the tag exists, with the same content.
        onto: the branch that the commit goes to; None where there is no repository yet.
        add: files that are not there yet, or differ.
        remove: files of an older version that this one lacks.
    """

    private: bool | None
    tagged: bool
    onto: Branch | None
    add: list[LocalFile]
    remove: list[str]


def tag_of(version: Version) -> str:
    """Return the tag of a version: `vN`."""
    return f"v{version.number}"


def local_files(version: Version) -> list[LocalFile]:
    """Return every file of a version, after comparing its content with the manifest.

    Raises:
        StoreError: a file is not what was published.
        InputError: a licence forbids it.
    """
    check_files(version)
    allowed = version.manifest.recipe.get("publish", {}).get("allow_licenses", [])
    check_licenses(version.manifest.licenses, allowed)
    listed = [
        LocalFile(file.path, version.folder / file.path, file.bytes, file.sha256) for file in version.manifest.files
    ]
    known = {file.name for file in listed}
    extra = [version.folder / name for name in _UNLISTED if name not in known and (version.folder / name).exists()]
    return [*listed, *(LocalFile(path.name, path, path.stat().st_size, sha256(path)) for path in extra)]


def plan(version: Version, files: list[LocalFile], hub: Hub, *, public: bool) -> PushPlan:
    """Return what a push would do; look at the hub and change nothing.

    Raises:
        HubError: the repository is public without `public`, it holds something else, or the tag exists with other
            content.
    """
    private = hub.is_private()
    if private is None:
        return PushPlan(None, False, None, files, [])
    if private is False and not public:
        raise HubError(
            f"The repository {hub.repo} is public, but --public was not given.",
            where="--repo",
            remedy="add --public, or make the repository private in its settings first",
        )
    tags = hub.tags()
    if tag_of(version) in tags:
        _compare_tag(version, files, hub.files(tags[tag_of(version)]), hub.repo)
        return PushPlan(private, True, None, [], [])
    main = hub.branch(MAIN)
    remove = _left_behind(version, files, hub, main)
    if any(_number(tag) > version.number for tag in tags):  # `main` stays with the newest version
        main = Branch(f"proofmill-{tag_of(version)}", main.head, main.files)
    return PushPlan(private, False, main, [f for f in files if not f.is_same(main.files.get(f.name))], remove)


def push(version: Version, files: list[LocalFile], hub: Hub, *, public: bool) -> PushPlan:
    """Make the hub hold a version; return what had to be done.

    Raises:
        HubError: as `plan`, and where the hub can't be reached or refuses.
    """
    first = plan(version, files, hub, public=public)
    if first.tagged:
        return first
    hub.create(private=not public)
    commit = hub.patiently(lambda: _commit(version, files, hub, public=public))
    wrong = differences(files, hub.files(commit))
    if wrong:
        raise HubError(
            f"The hub holds other content than what was sent, so {tag_of(version)} was not set: {_named(wrong)}",
            where=f"{hub.repo} at {commit}",
            remedy="run the same command again; if it fails the same way, report it",
        )
    hub.tag(tag_of(version), commit)
    if (tagged := hub.tags().get(tag_of(version))) != commit:  # another push was faster
        _compare_tag(version, files, hub.files(str(tagged)), hub.repo)
    if first.onto and first.onto.name != MAIN:
        hub.drop_branch(first.onto.name)
    return first


def _commit(version: Version, files: list[LocalFile], hub: Hub, *, public: bool) -> str:
    """Return the commit that holds the version; make it unless it is there."""
    todo = plan(version, files, hub, public=public)
    onto = todo.onto
    if onto is None:  # another push has set the tag meanwhile
        return hub.tags()[tag_of(version)]
    if onto.name != MAIN:
        hub.fork(onto.name, onto.head)
        onto = hub.branch(onto.name)
    add = [file for file in files if not file.is_same(onto.files.get(file.name))]
    remove = [name for name in todo.remove if name in onto.files]
    if not add and not remove:
        return onto.head
    return hub.upload(version.folder, add, remove, onto, version.label)


def differences(files: list[LocalFile], entries: Mapping[str, RepoFile]) -> list[str]:
    """Return the files that the hub lacks or holds with other content, and Parquet files that it should not have."""
    wrong = [file.name for file in files if not file.is_same(entries.get(file.name))]
    names = {file.name for file in files}
    return wrong + sorted(name for name in entries if name.endswith(".parquet") and name not in names)


def _compare_tag(version: Version, files: list[LocalFile], entries: Mapping[str, RepoFile], repo: str) -> None:
    """Refuse a tag that exists with other content, since a tag is never moved.

    Manifest and report hold times, so they are not compared: equal rows made twice differ there.
    """
    content = [file for file in files if file.name not in _UNLISTED]
    wrong = differences(content, entries)
    if wrong:
        raise HubError(
            f"The tag {tag_of(version)} exists with other content, and a tag is never moved: {_named(wrong)}",
            where=repo,
            remedy="push to another repository, or publish a new version and push that one",
        )


def _left_behind(version: Version, files: list[LocalFile], hub: Hub, main: Branch) -> list[str]:
    """Return the files that an older version left on `main` and this version does not have.

    Raises:
        HubError: the repository holds something that proofmill did not put there.
    """
    if MANIFEST not in main.files:
        if foreign := sorted(set(main.files) - _OURS_TO_REPLACE):
            raise HubError(
                f"The repository {hub.repo} already holds something else: {_named(foreign)}",
                where="--repo",
                remedy="give this data set a repository of its own; it is created if it does not exist",
            )
        return []
    manifest = hub.manifest(main.head)
    if manifest is None or manifest.name != version.name:
        raise HubError(
            f"The repository {hub.repo} holds another data set: "
            f"{manifest.name if manifest else 'its manifest.json is not from proofmill'}.",
            where="--repo",
            remedy="give this data set a repository of its own; it is created if it does not exist",
        )
    before = {file.path for file in manifest.files}
    before.update(_UNLISTED)
    return sorted((before & set(main.files)) - {file.name for file in files})


def _number(tag: str) -> int:
    return int(tag[1:]) if tag[:1] == "v" and tag[1:].isdecimal() else 0


def _named(paths: list[str]) -> str:
    more = f" and {len(paths) - _NAMED} more" if len(paths) > _NAMED else ""
    return ", ".join(Path(path).as_posix() for path in paths[:_NAMED]) + more
