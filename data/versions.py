"""HOME/datasets/NAME/vNNNN: immutable published versions, each a folder that `load_dataset` reads.

A version is written into a temporary folder, its manifest last, and renamed into place: a folder without a
manifest does not exist.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from proofmill.data.errors import StoreError, UsageError
from proofmill.data.files import sha256
from proofmill.data.manifest import MANIFEST, REPORT, FileEntry, Manifest
from proofmill.data.rows_io import Located
from proofmill.data.tables import batches, write_groups, writer

MAX_FILE_BYTES = 480 << 20  # the hub asks for at most 500 MB a file
GROUP_BYTES = 16 << 20  # rows wait for so many before they are written: in small groups one new row moves every page
_CHECK_ROWS = 1024
_NAMED = 5
_PROBLEM = ("id", "domain", "system", "prompt", "answer", "info", "verifier", "source", "license")
_SAMPLED = (
    "id", "problem_id", "sampler", "first_round", "response", "finish_reason", "completion_tokens", "model",
    "model_revision", "seed",
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
        """Parquet files of one config, in order."""
        return sorted(self.folder.glob(f"{config}/*.parquet"))

    def scan(self, config: str) -> pl.LazyFrame | None:
        """The rows of one config, read as a stream; None where the version has no such config."""
        files = self.files(config)
        return pl.scan_parquet(files) if files else None

    def data_digests(self) -> dict[str, str]:
        """SHA-256 of every Parquet file and the card, by path; the report, which shows dates, is left out."""
        return {file.path: file.sha256 for file in self.manifest.files if file.path != REPORT}


def versions(home: Path, name: str) -> list[Version]:
    """Return the versions of a data set, oldest first; a folder without a manifest is none.

    Raises:
        StoreError: a manifest can't be read.
    """
    known = []
    for folder in _folders(home, name):
        manifest = folder / MANIFEST
        if re.fullmatch(r"v\d+", folder.name) and manifest.exists():
            parsed = Manifest.parse(manifest.read_bytes(), str(manifest))
            known.append(Version(name, int(folder.name[1:]), folder, parsed))
    return sorted(known, key=lambda version: version.number)


def _folders(home: Path, name: str) -> list[Path]:
    return sorted((home / "datasets" / name).glob("v[0-9]*"))


def next_number(home: Path, name: str) -> int:
    """Number of the next version: past every folder that is there, whole or not, so that none is ever written over."""
    numbers = [int(match[1]) for path in _folders(home, name) if (match := re.fullmatch(r"v(\d+)", path.name))]
    return max(numbers, default=0) + 1


def names(home: Path) -> list[str]:
    """Names of the data sets under HOME that have a version."""
    folders = sorted(path for path in (home / "datasets").glob("*") if path.is_dir())
    return [folder.name for folder in folders if versions(home, folder.name)]


def find(home: Path, label: str) -> Version:
    """The version `NAME@vN`, or the newest of `NAME`.

    Raises:
        UsageError: there is no such version; the error lists those there are.
    """
    name, _, number = label.partition("@v")
    known = versions(home, name)
    chosen = [v for v in known if not number or str(v.number) == number.lstrip("0")]
    if not chosen:
        have = ", ".join(v.label for v in known) or ", ".join(names(home)) or "none yet"
        raise UsageError(f"There is no version {label!r}.", where=str(home / "datasets"), remedy=f"there are: {have}")
    return chosen[-1]


def check_files(version: Version) -> None:
    """Compares every file with the manifest, and looks for Parquet files that it doesn't list.

    Raises:
        StoreError: a file is missing, damaged, was edited, or nobody published it; each is named.
    """
    faults = list(_faults(version))
    if faults:
        more = f", and {len(faults) - _NAMED} more" if len(faults) > _NAMED else ""
        raise StoreError(
            f"{version.label} is not what was published: {', '.join(faults[:_NAMED])}{more}.",
            where=str(version.folder),
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
            yield f"{name} is none of its files"


def recorded(version: Version) -> Iterator[Located]:
    """Every trace of a version beside the problem it answers: recorded samples, to be judged anew.

    Raises:
        StoreError: a trace's problem is not there.
    """
    problems: _ProblemsById = {}
    ahead: Iterator[_ProblemsById] = iter(())
    for path in version.files("traces"):
        for batch in batches(path, _SAMPLED):
            for row in batch.to_pylist():
                if row["problem_id"] not in problems:
                    problems, ahead = _batch_with(row["problem_id"], version, ahead)
                yield Located(f"{version.label}: trace {row['id']}", row | problems[row["problem_id"]])


_ProblemsById: TypeAlias = dict[str, dict[str, Any]]


def _batch_with(
    problem: str, version: Version, ahead: Iterator[_ProblemsById]
) -> tuple[_ProblemsById, Iterator[_ProblemsById]]:
    """The next batch of problems that holds this one, and those after it.

    Traces stand in the order of their problems, so looking ahead nearly always finds it; else all are read anew.
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
    """Problems as they were ingested: a pseudo-label is no gold, so it is not an answer when judged anew."""
    for path in version.files("problems"):
        present = set(pq.read_schema(path).names)
        for batch in batches(path, [name for name in (*_PROBLEM, "pseudo_label") if name in present]):
            rows = batch.to_pylist()
            yield {row["id"]: row | ({"answer": None} if row.pop("pseudo_label", None) else {}) for row in rows}


@dataclass(frozen=True, slots=True)
class Contents:
    """What one split of a config holds.

    Attributes:
        schema: its columns.
        rows: their number.
        memory: bytes as Arrow tables, which is what `datasets` writes into its cache.
    """

    schema: pa.Schema
    rows: int
    memory: int


@dataclass
class VersionWriter:
    """Writes the configs of a version as they come, in files of bounded size.

    Attributes:
        folder: the temporary folder.
        schemas: by config and split (`sft_stage1/train`).
        rows: by config and split.
        terms: rows by config, source and licence.
    """

    folder: Path
    schemas: Mapping[str, pa.Schema]
    rows: dict[str, int] = field(default_factory=dict)
    terms: Counter[tuple[str, str, str | None]] = field(default_factory=Counter)
    _memory: Counter[str] = field(default_factory=Counter)
    _held: dict[str, list[pa.Table]] = field(default_factory=dict)
    _open: dict[str, pq.ParquetWriter] = field(default_factory=dict)
    _files: dict[str, list[Path]] = field(default_factory=dict)

    def append(self, config: str, table: pa.Table) -> None:
        """Adds rows to a config; a table without rows opens no file."""
        if not table.num_rows:
            return
        table = table.select(self.schemas[config].names).cast(self.schemas[config])
        held = self._held.setdefault(config, [])
        for piece in _pieces(table):
            held.append(piece)
            if sum(waiting.nbytes for waiting in held) >= GROUP_BYTES:
                self._write(config)
        self.rows[config] = self.rows.get(config, 0) + table.num_rows
        if "license" in table.column_names:
            terms = table.group_by(["source", "license"]).aggregate([([], "count_all")])
            for source, name, count in zip(*(terms[n].to_pylist() for n in terms.column_names), strict=True):
                self.terms[config.partition("/")[0], source, name] += count

    def contents(self) -> dict[str, Contents]:
        """What each config and split holds, once the files are closed."""
        return {name: Contents(self.schemas[name], rows, self._memory[name]) for name, rows in self.rows.items()}

    def close(self) -> list[FileEntry]:
        """Ends all files and gives them their final names. Returns the manifest's entry of each."""
        for config, held in self._held.items():
            if held:
                self._write(config)
        for file in self._open.values():
            file.close()
        self._open.clear()
        listed = []
        for config, files in sorted(self._files.items()):
            for number, path in enumerate(files):
                final = path.with_name(f"{Path(config).name}-{number:05d}-of-{len(files):05d}.parquet")
                path.rename(final)
                listed.append(FileEntry.of(self.folder, final, pq.read_metadata(final).num_rows))
        return listed

    def _write(self, config: str) -> None:
        """Writes the rows that wait; ends the file where it is full."""
        held = self._held[config]
        if config not in self._open:
            self._next_file(config)
        table = pa.concat_tables(held).combine_chunks()
        self._memory[config] += table.nbytes
        write_groups(self._open[config], table)
        held.clear()
        if self._files[config][-1].stat().st_size > MAX_FILE_BYTES:
            self._open.pop(config).close()

    def _next_file(self, config: str) -> None:
        files = self._files.setdefault(config, [])
        path = self.folder / f"{config}-{len(files):05d}.part"
        path.parent.mkdir(parents=True, exist_ok=True)
        files.append(path)
        self._open[config] = writer(path, self.schemas[config])


def _pieces(table: pa.Table) -> Iterator[pa.Table]:
    rows = max(1, min(_CHECK_ROWS, table.num_rows * GROUP_BYTES // max(table.nbytes, 1)))
    for start in range(0, table.num_rows, rows):
        yield table.slice(start, rows)
