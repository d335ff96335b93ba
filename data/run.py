"""HOME/runs/NAME: what is judged, resumable. A folder a stage, a file a shard under its key, and the manifest.

A file that no manifest line names did not happen. Keys are digests of everything that decides a result, so a
changed threshold finds all earlier stages done, and a finished run finds all of them.
"""

from __future__ import annotations

import ast
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from typing import Any

import orjson
import pyarrow as pa

from proofmill.data.files import digest, locked, sha256, sweep, sync, write_json, writing
from proofmill.data.source import tree as syntax_tree
from proofmill.data.tables import read_table, write_table

Facts = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Shard:
    """A reference to one committed table: all that a task hands on.

    Attributes:
        stage: the stage that made it.
        name: which shard of the run it belongs to; "all" for a gathered table.
        key: digest of everything that decided its content.
        file: path relative to the run's folder.
        rows: number of rows.
        size: bytes of the file.
        facts: small numbers to show and to balance: ledger, tokens, `took` (seconds that making it took).
    """

    stage: str
    name: str
    key: str
    file: str
    rows: int
    size: int
    facts: Facts = field(default_factory=dict)

    @property
    def content(self) -> str:
        """What a later key depends on: of recorded words their digest, of all else the key."""
        return str(self.facts.get("content", self.key))


@dataclass(frozen=True, slots=True)
class Stage:
    """What decides a stage's results besides its inputs and options.

    Attributes:
        name: also the name of its folder.
        code: whose source belongs to its keys: dotted names of modules or packages, or `module:name` for one
            function, class or constant of a module.
        libraries: distributions whose version belongs to its keys; `python` is this interpreter's.
        schema: of the tables that it makes; their columns belong to its keys.
    """

    name: str
    code: tuple[str, ...] = ()
    libraries: tuple[str, ...] = ()
    schema: pa.Schema | None = None

    def key(self, *inputs: Any) -> str:
        """Key of one output of this stage, made from `inputs`."""
        libraries = {name: library_version(name) for name in self.libraries}
        columns = [(field.name, str(field.type)) for field in self.schema or ()]
        return digest(self.name, [source_digest(name) for name in self.code], libraries, columns, inputs)


@cache
def library_version(name: str) -> str:
    """Version of an installed distribution, or `absent`; of `python` what decides how a program runs."""
    if name == "python":
        return f"{sys.version_info.major}.{sys.version_info.minor}"
    try:
        return version(name)
    except PackageNotFoundError:
        return "absent"


@cache
def source_digest(place: str) -> str:
    """Digest of the source of a module, of all modules of a package, or of one definition (`module:name`)."""
    module, _, name = place.partition(":")
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        return "absent"
    origin = Path(spec.origin)
    if name:
        return digest(_definition(origin.read_text(encoding="utf-8"), name))
    sources = sorted(origin.parent.rglob("*.py")) if origin.name == "__init__.py" else [origin]
    return digest([(path.relative_to(origin.parent).as_posix(), sha256(path)) for path in sources])


def _definition(source: str, name: str) -> str | None:
    """The lines that define a function, class or constant at the top of a module."""
    for node in syntax_tree(source).body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        defined = {getattr(node, "name", None), *(getattr(target, "id", None) for target in targets)}
        if name in defined:
            return ast.get_source_segment(source, node)
    return None


class Run:
    """One run's folder while this process holds its lock.

    Args:
        home: HOME.
        name: the run's name.
        recipe: the resolved recipe.
    """

    def __init__(self, home: Path, name: str, recipe: Mapping[str, Any]) -> None:
        self.home = home
        self.name = name
        self.folder = home / "runs" / name
        self.recipe = recipe
        self._manifest = self.folder / f"manifest-{digest(recipe)}.jsonl"
        self._done: dict[tuple[str, str], Shard] = {}
        self._named: dict[tuple[str, str], Shard] = {}  # as this recipe's manifest has them
        self._guard = Lock()

    @contextmanager
    def opened(self) -> Iterator[Run]:
        """Holds the run's lock and reads what is already committed.

        Raises:
            StoreError: another process is on this run.
        """
        lock = locked(
            self.folder / "lock",
            what=f"The run '{self.name}' is already going on in another process.",
            remedy="wait for it or stop it; to run another recipe beside it, give that one another name",
        )
        with lock:
            shutil.rmtree(self.folder / "scratch", ignore_errors=True)  # who holds the lock has just begun
            sweep(self.folder)
            sweep(self.home / "datasets" / self.name)
            self._load()
            if not (path := self._manifest.with_suffix(".recipe.json")).exists():
                write_json(path, self.recipe)
            yield self

    def once(self, stage: Stage, name: str, key: str, make: Callable[[], tuple[pa.Table, Facts]]) -> Shard:
        """The committed output under `key`: found, or made now, written atomically and then named."""
        if found := self.find(stage, key):
            return found
        started = time.monotonic()
        table, facts = make()
        return self._put(stage, name, key, table, facts | {"took": round(time.monotonic() - started, 3)})

    def once_each(
        self, stage: Stage, names: Sequence[str], key: str, make: Callable[[], Iterable[tuple[pa.Table, Facts]]]
    ) -> list[Shard]:
        """The committed outputs of a stage that looks at all shards at once: one a name, made together."""
        keys = [digest(key, name) for name in names]
        found = [shard for item in keys if (shard := self.find(stage, item))]
        if len(found) == len(names):
            return found
        shards, started = [], time.monotonic()
        for name, item, (table, facts) in zip(names, keys, make(), strict=True):
            took = facts | {"took": round(time.monotonic() - started, 3)}
            shards.append(self.find(stage, item) or self._put(stage, name, item, table, took))
            started = time.monotonic()
        return shards

    def record(self, stage: Stage, name: str, key: str, table: pa.Table, content: str, facts: Facts) -> Shard:
        """Commits what its key alone does not decide, such as a model's words: later keys depend on `content`."""
        return self._put(stage, name, key, table, facts | {"content": content}, f"-{content[:8]}")

    def _put(self, stage: Stage, name: str, key: str, table: pa.Table, facts: Facts, mark: str = "") -> Shard:
        path = self.folder / stage.name / f"{key}{mark}.parquet"
        write_table(path, table)
        return self.commit(stage, name, key, path, table.num_rows, facts)

    def commit(self, stage: Stage, name: str, key: str, path: Path, rows: int, facts: Facts) -> Shard:
        """Names a finished file in the manifest: from here on it happened."""
        file = path.relative_to(self.folder).as_posix()
        shard = Shard(stage.name, name, key, file, rows, path.stat().st_size, facts)
        self._name(shard)
        return shard

    def find(self, stage: Stage, key: str) -> Shard | None:
        """What is committed under a key, if its file is still whole; the manifest then names it for this recipe."""
        shard = self._done.get((stage.name, key))
        if shard is None:
            return None
        path = self.path(shard)
        if not path.exists() or path.stat().st_size != shard.size:
            return None
        self._name(shard)
        return shard

    def earlier(self, stage: Stage) -> list[Shard]:
        """All that any recipe of this run has committed in a stage, under whatever key; files may be gone."""
        with self._guard:
            return [shard for (name, _), shard in self._done.items() if name == stage.name]

    def path(self, shard: Shard) -> Path:
        """Where a shard's file is."""
        return self.folder / shard.file

    def read(self, shard: Shard, columns: list[str] | None = None) -> pa.Table:
        """A shard's table."""
        return read_table(self.path(shard), columns)

    def _name(self, shard: Shard) -> None:
        with self._guard, writing(self._manifest):
            self._done[shard.stage, shard.key] = shard
            if self._named.get((shard.stage, shard.key)) == shard:
                return
            with self._manifest.open("ab") as file:
                file.write(orjson.dumps(asdict(shard), option=orjson.OPT_APPEND_NEWLINE))
                file.flush()
                os.fsync(file.fileno())
            self._named[shard.stage, shard.key] = shard

    def _load(self) -> None:
        for path in sorted(self.folder.glob("manifest-*.jsonl")):
            whole = 0
            with path.open("rb") as file:
                for line in file:
                    if (shard := _shard(line)) is None:
                        break
                    whole += len(line)
                    self._done[shard.stage, shard.key] = shard
                    if path == self._manifest:
                        self._named[shard.stage, shard.key] = shard
            if path == self._manifest and path.stat().st_size > whole:
                os.truncate(path, whole)  # a torn tail: what it named is redone
        sync(self.folder)


class NotCommitted(Exception):  # noqa: N818 (an answer, and no error: this would be made)
    """What is looked for is not there: `stage` and `key` say what would be made."""

    def __init__(self, stage: str, key: str) -> None:
        super().__init__(f"{stage}/{key}")
        self.stage = stage
        self.key = key

    def instead(self) -> Shard:
        """Stands for the missing output where only its key is needed."""
        return Shard(self.stage, "", self.key, "", 0, 0)


class Looked(Run):
    """An opened run that is only looked at: NotCommitted is raised where a run would make something.

    Args:
        run: the run; what it has found by now and finds later is the same for both.
    """

    def __init__(self, run: Run) -> None:
        vars(self).update(vars(run))

    def find(self, stage: Stage, key: str) -> Shard:
        """What is committed under a key.

        Raises:
            NotCommitted: nothing is.
        """
        if found := super().find(stage, key):
            return found
        raise NotCommitted(stage.name, key)

    def path(self, shard: Shard) -> Path:
        """Where a shard's file is.

        Raises:
            NotCommitted: the shard stands for one that would be made.
        """
        if not shard.file:
            raise NotCommitted(shard.stage, shard.key)
        return super().path(shard)


def _shard(line: bytes) -> Shard | None:
    try:
        return Shard(**orjson.loads(line)) if line.endswith(b"\n") else None
    except (orjson.JSONDecodeError, TypeError):
        return None
