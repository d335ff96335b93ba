"""HOME/datasets/NAME/vNNNN: immutable published versions, each a folder that `load_dataset` reads.

A version is written into a temporary folder, its manifest last, and renamed into place: a folder without a
manifest does not exist.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import polars as pl
import pyarrow.parquet as pq

from proofmill.data.errors import StoreError, UsageError
from proofmill.data.files import address, sha256
from proofmill.data.manifest import MANIFEST, REPORT, Manifest
from proofmill.data.objects import object_store
from proofmill.data.rows_io import Located
from proofmill.data.tables import batches

_NAMED = 5
_PROBLEM = ("id", "domain", "system", "prompt", "answer", "info", "verifier", "source", "license")
_SAMPLED = (
    "id", "problem_id", "sampler", "first_round", "response", "finish_reason", "prompt_tokens", "completion_tokens",
    "model", "model_revision", "seed",
)  # fmt: skip


@dataclass(frozen=True)
class Version:
    """One published version.

    Attributes:
        name: the data set's name.
        number: 1, 2, …
        folder: where it is.
        manifest: what its manifest says.
    """

    name: str
    number: int
    folder: Path
    manifest: Manifest

    @property
    def label(self) -> str:
        """`NAME@vN`."""
        return f"{self.name}@v{self.number}"

    def files(self, config: str) -> list[Path]:
        """Return the Parquet files of one config, in order; they are fetched if HOME is in an object store."""
        folder = self.folder / config
        store = object_store(folder)
        paths = store.pull(folder, lambda path: path.suffix == ".parquet") if store else folder.glob("*")
        return sorted(path for path in paths if path.parent == folder and path.suffix == ".parquet")

    def scan(self, config: str) -> pl.LazyFrame | None:
        """Return the rows of one config as a lazy frame; None where the version has no such config."""
        files = self.files(config)
        return pl.scan_parquet(files) if files else None

    def data_digests(self) -> dict[str, str]:
        """Return the SHA-256 of every Parquet file and the card, by path; the report shows dates, so it is left out."""
        return {file.path: file.sha256 for file in self.manifest.files if file.path != REPORT}


def versions(home: Path, name: str) -> list[Version]:
    """Return the versions of a data set, oldest first; a folder without a manifest does not count.

    Raises:
        StoreError: a manifest can't be read.
    """
    result = []
    for manifest in _manifests(home / "datasets" / name):
        if re.fullmatch(r"v\d+", manifest.parent.name):
            parsed = Manifest.parse(manifest.read_bytes(), address(manifest))
            result.append(Version(name, int(manifest.parent.name[1:]), manifest.parent, parsed))
    return sorted(result, key=lambda version: version.number)


def _manifests(folder: Path) -> list[Path]:
    """Return the manifests of all versions of a data set."""
    if store := object_store(folder):
        found = store.list(folder)
        return [store.fetch(path) for path in found if path.name == MANIFEST and path.parent.parent == folder]
    return list(folder.glob(f"v[0-9]*/{MANIFEST}"))


def next_number(home: Path, name: str) -> int:
    """Return the number of the next version, past every folder that is there, so that none is ever written over."""
    folders = _folders(home / "datasets" / name)
    return max((int(folder[1:]) for folder in folders if re.fullmatch(r"v\d+", folder)), default=0) + 1


def _folders(folder: Path) -> list[str]:
    store = object_store(folder)
    return store.names(folder) if store else sorted(path.name for path in folder.glob("*") if path.is_dir())


def names(home: Path) -> list[str]:
    """Return the names of the data sets under HOME that have a version."""
    return [name for name in _folders(home / "datasets") if versions(home, name)]


def find(home: Path, label: str) -> Version:
    """Return the version `NAME@vN`, or the newest of `NAME`.

    Raises:
        UsageError: there is no such version; the error lists those there are.
    """
    name, _, number = label.partition("@v")
    published = versions(home, name)
    matches = [v for v in published if not number or str(v.number) == number.lstrip("0")]
    if not matches:
        present = ", ".join(v.label for v in published) or ", ".join(names(home)) or "none yet"
        raise UsageError(
            f"There is no version {label!r}.", where=address(home / "datasets"), remedy=f"there are: {present}"
        )
    return matches[-1]


def check_files(version: Version) -> None:
    """Compare every file with the manifest, and refuse Parquet files that it doesn't list.

    Raises:
        StoreError: a file is missing, damaged or edited, or was not published; each is named.
    """
    if store := object_store(version.folder):
        store.pull(version.folder, prune=True)
    faults = list(_faults(version))
    if faults:
        more = f", and {len(faults) - _NAMED} more" if len(faults) > _NAMED else ""
        raise StoreError(
            f"{version.label} is not what was published: {', '.join(faults[:_NAMED])}{more}.",
            where=address(version.folder),
            remedy="restore it from a copy, or publish again: proofmill regenerate",
        )


def _faults(version: Version) -> Iterator[str]:
    listed = set()
    for file in version.manifest.files:
        listed.add(file.path)
        path = version.folder / file.path
        if not path.exists():
            yield f"{file.path} is missing"
        elif path.stat().st_size != file.bytes or sha256(path) != file.sha256:
            yield f"{file.path} is damaged or was edited"
    for path in sorted(version.folder.rglob("*.parquet")):
        if (name := path.relative_to(version.folder).as_posix()) not in listed:
            yield f"{name} is not in its manifest"


def recorded(version: Version) -> Iterator[Located]:
    """Yield every trace of a version with the problem it answers, as recorded samples to be judged anew.

    Raises:
        StoreError: a trace's problem is not there.
    """
    problems: _ProblemsById = {}
    ahead: Iterator[_ProblemsById] = iter(())
    for path in version.files("traces"):
        present = set(pq.read_schema(path).names)  # an earlier version lacks some
        for batch in batches(path, [name for name in _SAMPLED if name in present]):
            for row in batch.to_pylist():
                if row["problem_id"] not in problems:
                    problems, ahead = _batch_with(row["problem_id"], version, ahead)
                yield Located(f"{version.label}: trace {row['id']}", row | problems[row["problem_id"]])


_ProblemsById: TypeAlias = dict[str, dict[str, Any]]


def _batch_with(
    problem: str, version: Version, ahead: Iterator[_ProblemsById]
) -> tuple[_ProblemsById, Iterator[_ProblemsById]]:
    """Return the next batch that holds this problem, and the batches after it.

    Traces stand in the order of their problems, so looking ahead nearly always finds it; else all are read again.
    """
    for following in (ahead, _problem_batches(version)):
        for problems in following:
            if problem in problems:
                return problems, following
    raise StoreError(
        f"There is no problem {problem!r}, which a trace answers.",
        where=str(version.folder / "problems"),
        remedy="restore the folder from where it was published",
    )


def _problem_batches(version: Version) -> Iterator[_ProblemsById]:
    """Yield problems as they were ingested: a pseudo-label is not gold, so it is no answer when judged anew."""
    for path in version.files("problems"):
        present = set(pq.read_schema(path).names)
        for batch in batches(path, [name for name in (*_PROBLEM, "pseudo_label") if name in present]):
            rows = batch.to_pylist()
            yield {row["id"]: row | ({"answer": None} if row.pop("pseudo_label", None) else {}) for row in rows}
