"""A version onto the hub: the very files, compared there by hash, and only then tagged `vN`.

The hub's `main` holds the newest version and the tag `vN` each one. A push is one commit that adds what is new and
removes what an older version had and this one has not. It can be broken off anywhere: the next one looks at what
is there and does the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import RepoFile

from proofmill.data.errors import HubError
from proofmill.data.files import sha256
from proofmill.data.hub import MAIN, Branch, Hub, Local
from proofmill.data.licenses import check_licenses
from proofmill.data.versions import Version, check_files

_UNLISTED = ("manifest.json", "report.html")  # what a version holds besides the files that its manifest lists
_OURS_TO_REPLACE = {".gitattributes", "README.md"}  # what a repository made in the browser holds
_NAMED = 5


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
    add: list[Local]
    remove: list[str]


def tag_of(version: Version) -> str:
    """`vN`."""
    return f"v{version.number}"


def local_files(version: Version) -> list[Local]:
    """Every file of a version, after its content was compared with the manifest.

    Raises:
        StoreError: a file is not what was published.
        InputError: a licence forbids it.
    """
    check_files(version)
    allowed = version.manifest["recipe"].get("publish", {}).get("allow_licenses", [])
    check_licenses(version.manifest["licenses"], allowed)
    listed = [
        Local(item["path"], version.folder / item["path"], item["bytes"], item["sha256"])
        for item in version.manifest["files"]
    ]
    known = {file.name for file in listed}
    extra = [version.folder / name for name in _UNLISTED if name not in known and (version.folder / name).exists()]
    return [*listed, *(Local(path.name, path, path.stat().st_size, sha256(path)) for path in extra)]


def plan(version: Version, files: list[Local], hub: Hub, *, public: bool) -> Plan:
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


def push(version: Version, files: list[Local], hub: Hub, *, public: bool) -> Plan:
    """Makes the hub hold a version. Returns what had to be done.

    Raises:
        HubError: as `plan`, and where the hub is not to be reached or refuses.
    """
    first = plan(version, files, hub, public=public)
    if first.tagged:
        return first
    hub.create(private=not public)
    commit = hub.repeatedly(lambda: _commit(version, files, hub, public=public))
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


def _commit(version: Version, files: list[Local], hub: Hub, *, public: bool) -> str:
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
    return hub.commit(hub.upload(add, onto.name), remove, onto, f"{version.label}")


def differences(files: list[Local], there: Mapping[str, RepoFile]) -> list[str]:
    """Files that the hub lacks or holds otherwise, and Parquet files that it should not have."""
    wrong = [file.name for file in files if not file.is_same(there.get(file.name))]
    names = {file.name for file in files}
    return wrong + sorted(name for name in there if name.endswith(".parquet") and name not in names)


def _compare_tag(version: Version, files: list[Local], there: Mapping[str, RepoFile], repo: str) -> None:
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


def _left_behind(version: Version, files: list[Local], hub: Hub, main: Branch) -> list[str]:
    """What an older version has left on `main` and this one has not.

    Raises:
        HubError: the repository holds something that proofmill did not put there.
    """
    if "manifest.json" not in main.files:
        if foreign := sorted(set(main.files) - _OURS_TO_REPLACE):
            raise HubError(
                f"The repository {hub.repo} holds something else already: {_named(foreign)}",
                where="--repo",
                remedy="choose a repository of its own for this data set; it is made where it does not exist",
            )
        return []
    manifest = hub.manifest(main.head)
    if manifest is None or manifest.get("name") != version.name:
        held = manifest.get("name") if manifest else None
        raise HubError(
            f"The repository {hub.repo} holds another data set: {held or 'its manifest.json is none of ours'}.",
            where="--repo",
            remedy="choose a repository of its own for this data set; it is made where it does not exist",
        )
    before = {item["path"] for item in manifest["files"] if isinstance(item, dict) and "path" in item}
    before.update(_UNLISTED)
    return sorted((before & set(main.files)) - {file.name for file in files})


def _number(tag: str) -> int:
    return int(tag[1:]) if tag[:1] == "v" and tag[1:].isdecimal() else 0


def _named(paths: list[str]) -> str:
    more = f" and {len(paths) - _NAMED} more" if len(paths) > _NAMED else ""
    return ", ".join(Path(path).as_posix() for path in paths[:_NAMED]) + more
