"""A version onto the hub: the very files, compared there by hash, and only then tagged `vN`.

The hub's `main` holds the newest version and the tag `vN` each one. A push adds what is new and removes what an older
version had and this one has not. It can be broken off anywhere: the next one looks at what is there and does the
rest. Where the client sends a very large version in several commits, `main` is in between for that long; the tag
never is.

The client itself tries again while it uploads; every other request is a single try there. Here each step is made
so that it can be repeated, and is repeated on a rate limit (after the time that the hub asks for), on a fault of
the hub's, and on a connection that broke.
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
_LONGEST_WAIT = 300.0  # seconds; a hub that asks for more is given up on
_AGAIN = (408, 412, 429, 500, 502, 503, 504)  # 412: the branch has moved since it was looked at
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
    """A file to be there: its place in the repository and on this machine, its size and its SHA-256."""

    name: str
    path: Path
    size: int
    sha256: str

    def git_hash(self) -> str:
        """The id that git gives to its content: SHA-1 of a header and the bytes."""
        total = hashlib.sha1(f"blob {self.size}\0".encode(), usedforsecurity=False)
        with self.path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                total.update(chunk)
        return total.hexdigest()

    def is_same(self, there: RepoFile | None) -> bool:
        """Whether the hub's entry has this content, by the hash that the hub itself states."""
        if there is None or there.size != self.size:
            return False
        return bool(there.lfs.sha256 == self.sha256 if there.lfs else there.blob_id == self.git_hash())


@dataclass(frozen=True, slots=True)
class Branch:
    """A branch as it was when it was looked at: its commit, and its files by path."""

    name: str
    head: str
    files: dict[str, RepoFile]


def checked_name(repo: str) -> str:
    """Return the name of a repository.

    Raises:
        HubError: it is none.
    """
    if not re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", repo):
        raise HubError(f"{repo!r} is no repository.", where="--repo", remedy="write --repo USER/NAME")
    return repo


class Hub:
    """One dataset repository, seen through the real client: asked with patience, errors explained.

    Args:
        repo: `user/name`.
        token: None: that of the environment or of `hf auth login`.
        say: told in a sentence what is waited for.
        endpoint: None: `$HF_ENDPOINT`, else the public hub.

    Raises:
        HubError: a name that is none, or no token.
    """

    def __init__(self, repo: str, *, token: str | None = None, say: Say = lambda _: None, endpoint: str | None = None):
        self.repo = checked_name(repo)
        self._token = token or get_token()
        if not self._token:
            raise HubError(
                "There is no token for the hub.",
                where="HF_TOKEN, --token, or `hf auth login`",
                remedy="make one that may write at https://huggingface.co/settings/tokens, then: hf auth login",
            )
        self._api = HfApi(endpoint=endpoint, token=self._token, library_name="proofmill")
        self._say = say

    # --- reading --------------------------------------------------------------------------------

    def is_private(self) -> bool | None:
        """Whether only its owners see it; None where there is no such repository (or this token may not see it)."""

        def look() -> bool | None:
            try:
                return bool(self._api.dataset_info(self.repo).private)
            except RepositoryNotFoundError as error:
                if error.response.status_code == 401:  # the token itself is refused
                    raise
                return None

        return self.patiently(look)

    def tags(self) -> dict[str, str]:
        """Commits by tag."""
        refs = self.patiently(lambda: self._api.list_repo_refs(self.repo, repo_type=KIND))
        return {tag.name: tag.target_commit for tag in refs.tags}

    def files(self, revision: str) -> dict[str, RepoFile]:
        """Files by path at a branch, tag or commit."""
        listed = self.patiently(
            lambda: list(self._api.list_repo_tree(self.repo, repo_type=KIND, revision=revision, recursive=True))
        )
        return {entry.path: entry for entry in listed if isinstance(entry, RepoFile)}

    def branch(self, name: str) -> Branch:
        """A branch now."""
        head = self.patiently(lambda: self._api.dataset_info(self.repo, revision=name).sha)
        return Branch(name, str(head), self.files(str(head)))

    def manifest(self, commit: str) -> Manifest | None:
        """What `manifest.json` says at a commit; None where it is no manifest of a version."""
        path = self.patiently(lambda: self._api.hf_hub_download(self.repo, MANIFEST, repo_type=KIND, revision=commit))
        try:
            return Manifest.parse(Path(path).read_bytes(), self.repo)
        except StoreError:
            return None

    # --- writing; every step may be repeated ------------------------------------------------------

    def create(self, *, private: bool) -> None:
        """Creates the repository unless it exists."""
        self.patiently(lambda: self._api.create_repo(self.repo, repo_type=KIND, private=private, exist_ok=True))

    def fork(self, name: str, head: str) -> None:
        """A branch that starts at a commit, unless it exists."""
        self.patiently(
            lambda: self._api.create_branch(self.repo, branch=name, revision=head, repo_type=KIND, exist_ok=True)
        )

    def drop_branch(self, name: str) -> None:
        """Removes a branch; a tag on its last commit keeps that one."""
        self.patiently(lambda: self._api.delete_branch(self.repo, branch=name, repo_type=KIND))

    def upload(self, folder: Path, add: Sequence[LocalFile], remove: Sequence[str], onto: Branch, message: str) -> str:
        """Sends files of a folder and removes others, on a branch that nobody has moved since it was looked at.

        Not repeated here: the answer may be lost after the commit was made, so whoever calls looks again.

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
        """Sets a tag that is not there yet; one that is there is never moved."""
        self.patiently(
            lambda: self._api.create_tag(self.repo, tag=name, revision=commit, repo_type=KIND, exist_ok=True)
        )

    def patiently(self, step: Callable[[], T]) -> T:
        """Runs a step that may be repeated, again and again until it goes through.

        Raises:
            HubError: it will not, or did not in `_ATTEMPTS` tries.
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
        raise AssertionError("counting never ends")

    def _explained(self, error: BaseException) -> HubError:
        """The error as one that a user can act on."""
        status = error.response.status_code if isinstance(error, HfHubHTTPError) else 0
        remedy = "run the same command again: what is uploaded is not uploaded twice"
        if status in _DENIED:
            remedy = "give a token that may write to this namespace (https://huggingface.co/settings/tokens)"
        elif isinstance(error, ValueError):
            remedy = "the hub refuses this card; report it, with what the hub says"
        elif isinstance(error, RepositoryNotFoundError):
            remedy = "check the name, and that the token may see this repository"
        return HubError(f"The hub said no: {_short(error)}", where=self.repo, remedy=remedy)


def _cause(error: BaseException) -> BaseException:
    """The client wraps what went wrong in one file's upload."""
    while isinstance(error, RuntimeError) and not isinstance(error, NotImplementedError) and error.__cause__:
        error = error.__cause__
    return error


def _wait(error: BaseException, attempt: int) -> float | None:
    """Seconds to wait before the next attempt; None: there is none."""
    if attempt == _ATTEMPTS:
        return None
    soon: float = 2.0 ** (attempt - 1) * random.uniform(0.5, 1.0)
    if isinstance(error, httpx2.TransportError):
        return soon
    if not isinstance(error, HfHubHTTPError) or error.response.status_code not in _AGAIN:
        return None
    asked = error.response.headers.get("Retry-After", "")
    if asked.isdigit():
        return float(asked) + random.random() if float(asked) <= _LONGEST_WAIT else None
    return soon


def _short(error: BaseException) -> str:
    """What went wrong in a line, without addresses: those of uploads are signed."""
    said = getattr(error, "server_message", None) or str(error)
    if isinstance(error, HfHubHTTPError):
        said = f"{error.response.status_code} {said}"
    line = " ".join(said.split()) or type(error).__name__
    return re.sub(r"\(?(for url: )?'?https?://\S+", "", line)[:300].strip()


# --- a push ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Plan:
    """What a push will do.

    Attributes:
        private: the repository's visibility; None: there is none yet.
        tagged: whether the tag is there, with this very content.
        onto: the branch that the commit goes to; None where there is no repository yet.
        add: files that are not there yet, or differ.
        remove: files of an older version that this one has not.
    """

    private: bool | None
    tagged: bool
    onto: Branch | None
    add: list[LocalFile]
    remove: list[str]


def tag_of(version: Version) -> str:
    """`vN`."""
    return f"v{version.number}"


def local_files(version: Version) -> list[LocalFile]:
    """Every file of a version, after its content was compared with the manifest.

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


def plan(version: Version, files: list[LocalFile], hub: Hub, *, public: bool) -> Plan:
    """Looks at the hub; changes nothing.

    Raises:
        HubError: the repository is public and nobody asked for that, it holds something else, or the tag is
            there with other content.
    """
    private = hub.is_private()
    if private is None:
        return Plan(None, False, None, files, [])
    if private is False and not public:
        raise HubError(
            f"The repository {hub.repo} is public, and nobody asked for that.",
            where="--repo",
            remedy="add --public, or make the repository private in its settings first",
        )
    tags = hub.tags()
    if tag_of(version) in tags:
        _compare_tag(version, files, hub.files(tags[tag_of(version)]), hub.repo)
        return Plan(private, True, None, [], [])
    main = hub.branch(MAIN)
    remove = _left_behind(version, files, hub, main)
    if any(_number(tag) > version.number for tag in tags):  # `main` stays with the newest version
        main = Branch(f"proofmill-{tag_of(version)}", main.head, main.files)
    return Plan(private, False, main, [f for f in files if not f.is_same(main.files.get(f.name))], remove)


def push(version: Version, files: list[LocalFile], hub: Hub, *, public: bool) -> Plan:
    """Makes the hub hold a version. Returns what had to be done.

    Raises:
        HubError: as `plan`, and where the hub is not to be reached or refuses.
    """
    first = plan(version, files, hub, public=public)
    if first.tagged:
        return first
    hub.create(private=not public)
    commit = hub.patiently(lambda: _commit(version, files, hub, public=public))
    wrong = differences(files, hub.files(commit))
    if wrong:
        raise HubError(
            f"The hub holds something else than what was sent, so {tag_of(version)} was not set: {_named(wrong)}",
            where=f"{hub.repo} at {commit}",
            remedy="run the same command again; if it says the same again, report it",
        )
    hub.tag(tag_of(version), commit)
    if (found := hub.tags().get(tag_of(version))) != commit:  # somebody else was faster
        _compare_tag(version, files, hub.files(str(found)), hub.repo)
    if first.onto and first.onto.name != MAIN:
        hub.drop_branch(first.onto.name)
    return first


def _commit(version: Version, files: list[LocalFile], hub: Hub, *, public: bool) -> str:
    """The commit that holds the version, made now unless it is there."""
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


def differences(files: list[LocalFile], there: Mapping[str, RepoFile]) -> list[str]:
    """Files that the hub lacks or holds otherwise, and Parquet files that it should not have."""
    wrong = [file.name for file in files if not file.is_same(there.get(file.name))]
    names = {file.name for file in files}
    return wrong + sorted(name for name in there if name.endswith(".parquet") and name not in names)


def _compare_tag(version: Version, files: list[LocalFile], there: Mapping[str, RepoFile], repo: str) -> None:
    """A tag is never moved: either it holds these rows and this card, or the push is refused.

    Manifest and report tell the time, so the same rows made twice differ there.
    """
    content = [file for file in files if file.name not in _UNLISTED]
    wrong = differences(content, there)
    if wrong:
        raise HubError(
            f"The tag {tag_of(version)} is there with other content, and a tag is never moved: {_named(wrong)}",
            where=repo,
            remedy="push to another repository, or publish a new version and push that one",
        )


def _left_behind(version: Version, files: list[LocalFile], hub: Hub, main: Branch) -> list[str]:
    """What an older version has left on `main` and this one has not.

    Raises:
        HubError: the repository holds something that proofmill did not put there.
    """
    if MANIFEST not in main.files:
        if foreign := sorted(set(main.files) - _OURS_TO_REPLACE):
            raise HubError(
                f"The repository {hub.repo} holds something else already: {_named(foreign)}",
                where="--repo",
                remedy="choose a repository of its own for this data set; it is made where it does not exist",
            )
        return []
    manifest = hub.manifest(main.head)
    if manifest is None or manifest.name != version.name:
        raise HubError(
            f"The repository {hub.repo} holds another data set: "
            f"{manifest.name if manifest else 'its manifest.json is none of ours'}.",
            where="--repo",
            remedy="choose a repository of its own for this data set; it is made where it does not exist",
        )
    before = {file.path for file in manifest.files}
    before.update(_UNLISTED)
    return sorted((before & set(main.files)) - {file.name for file in files})


def _number(tag: str) -> int:
    return int(tag[1:]) if tag[:1] == "v" and tag[1:].isdecimal() else 0


def _named(paths: list[str]) -> str:
    more = f" and {len(paths) - _NAMED} more" if len(paths) > _NAMED else ""
    return ", ".join(Path(path).as_posix() for path in paths[:_NAMED]) + more
