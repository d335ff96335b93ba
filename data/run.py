"""HOME/runs/NAME: the resumable state of a run. One folder a step, one file a shard under its key, and the manifest.

A file that no manifest line names does not count; a line is on disk within a second of its file. A key is the digest
of everything that decides an output: the step's version, its options, the versions of libraries, and the *content* of
its inputs. So after a changed threshold all earlier steps are done already, in a finished run all steps are, and a
verifier that changes none of a shard's verdicts makes no later step run again.
"""

from __future__ import annotations

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
from typing import Any, TypedDict

import pyarrow as pa

from proofmill.data.files import digest, locked, sha256, sweep, sync, write_json, writing
from proofmill.data.objects import object_store
from proofmill.data.segments import Segments, read_rows
from proofmill.data.tables import read_table, write_table


class ShardStats(TypedDict, total=False):
    """Small numbers kept with a shard's table, for display and for the ledgers. Each step sets some of them.

    Attributes:
        content: digest of the output; where a model wrote it, of its words alone.
        took: seconds that the step took.
        verdicts: rows by verdict.
        seconds: seconds that verifiers took.
        faults: rows that brought a worker down, by kind of fault.
        ledger: rows in, kept, and dropped by reason.
        claims: right answers by length: how many, with a refuted claim, and dropped for it.
        tokens: completion tokens.
        rounds: by sampler, how its problems ended.
        not_routed: samples of teachers on problems that did not go on to them.
        unanswered: by sampler, traces that may be asked again, by reason.
        waiting: by teacher, ids of problems that it could not be asked about.
        domains: problems by domain.
        from_sources: problems that did not come with recorded samples.
        sources: (source, licence) pairs.
        recorded_models: who wrote the recorded samples.
        licenses: of all problems.
        problems, recorded: ledgers of what was read.
        examples: messages about rows that were left out.
        clusters: groups of near-duplicate problems.
        gold_suspect: problems whose gold is doubtful.
        digest, n, items: of the benchmarks' index.
        asked: calls and tokens that a model's judgements took.
        counts: claims by what the model said; what a filter counts in all shards.
        calls, prompt_tokens, completion_tokens: of one phase of questions to a model.
        by: digest of the model that answered.
        student: digest of the model that scored.
        unscored: traces longer than the student's context.
        failed: questions that failed.
        by_k, pass_1, maj_k, clr_k: results of the votes.
    """

    content: str
    took: float
    verdicts: dict[str, int]
    seconds: float
    faults: dict[str, int]
    ledger: dict[str, Any]
    claims: list[dict[str, Any]]
    tokens: int
    rounds: dict[str, dict[str, Any]]
    not_routed: int
    unanswered: dict[str, dict[str, int]]
    waiting: dict[str, list[str]]
    domains: dict[str, int]
    from_sources: int
    sources: list[Any]
    recorded_models: list[str]
    licenses: list[str | None]
    problems: Any
    recorded: dict[str, Any]
    examples: list[str]
    clusters: int
    gold_suspect: int
    digest: str
    n: int
    items: dict[str, int]
    asked: dict[str, int]
    counts: dict[str, float]
    calls: int
    prompt_tokens: int
    completion_tokens: int
    by: str
    student: str
    unscored: int
    failed: int
    by_k: dict[str, dict[str, float]]
    pass_1: float
    maj_k: float
    clr_k: float


@dataclass(frozen=True, slots=True)
class Shard:
    """A reference to one committed table; tasks pass references, never tables.

    Attributes:
        step: the step that made it.
        name: which shard of the run it belongs to; "all" for a gathered table.
        key: digest of everything that decided its content.
        file: path relative to the run's folder.
        rows: number of rows.
        size: bytes of the file.
        stats: small numbers for display and for the ledgers.
    """

    step: str
    name: str
    key: str
    file: str
    rows: int
    size: int
    stats: ShardStats = field(default_factory=ShardStats)

    @property
    def content(self) -> str:
        """What later keys depend on: the content's digest, or the key of a shard that is not made yet."""
        return self.stats.get("content", self.key)


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a run, whose outputs are kept under keys.

    Attributes:
        name: also the name of its folder.
        version: raised when the same inputs may give another output.
        libraries: distributions whose version decides its outputs; `python` is the interpreter's version.
        schema: of its tables; names and types of the columns are part of its keys.
    """

    name: str
    version: int = 1
    libraries: tuple[str, ...] = ()
    schema: pa.Schema | None = None

    def key(self, *inputs: Any) -> str:
        """Return the key of one output of this step, made from `inputs`."""
        libraries = {name: library_version(name) for name in self.libraries}
        columns = [(field.name, str(field.type)) for field in self.schema or ()]
        return digest(self.name, self.version, libraries, columns, inputs)


@cache
def library_version(name: str) -> str:
    """Return the version of an installed distribution, or `absent`; for `python`, that of the language."""
    if name == "python":
        return f"{sys.version_info.major}.{sys.version_info.minor}"
    try:
        return version(name)
    except PackageNotFoundError:
        return "absent"


@cache
def source_digest(module: str) -> str:
    """Return the digest of a user's module, or of all modules of a package.

    It stands for the version number that nobody raises there.
    """
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        return "absent"
    origin = Path(spec.origin)
    sources = sorted(origin.parent.rglob("*.py")) if origin.name == "__init__.py" else [origin]
    return digest([(path.relative_to(origin.parent).as_posix(), sha256(path)) for path in sources])


_LOOK_SECONDS = 0.2


class RunStore:
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
        self._objects = object_store(self.folder)
        self._manifest = Segments(self.folder / f"manifest-{digest(recipe)}", f"the run '{name}'")
        self._done: dict[tuple[str, str], Shard] = {}
        self._named: dict[tuple[str, str], Shard] = {}  # the part of `_done` that this recipe's manifest names
        self._adopted: dict[tuple[str, str], float] = {}  # when the patience with what another host has written ends
        self._claimed = True
        self._guard = Lock()

    @contextmanager
    def opened(self, *, claim: bool = True) -> Iterator[RunStore]:
        """Hold the run's lock and load what is already committed.

        Where locks don't hold, as between the nodes of a shared folder, the newest process to claim the run goes on,
        and an older one stops at its next commit.

        Args:
            claim: whether to work on the run, not only look at it: then nothing is added to its manifest, since that
                would stop a process on another host.

        Raises:
            StoreError: another process is on this run.
        """
        self._claimed = claim
        lock = locked(
            self.folder / "lock",
            what=f"The run '{self.name}' is already going on in another process.",
            remedy="wait for it or stop it; to run another recipe at the same time, give it another name",
        )
        with lock:
            shutil.rmtree(self.folder / "scratch", ignore_errors=True)  # of an older version of this program
            sweep(self.folder)
            sweep(self.home / "datasets" / self.name)
            if self._objects:  # tables come when they are read
                self._objects.pull(self.folder, lambda path: path.suffix in (".json", ".jsonl"), prune=True)
            with writing(self._manifest.folder):
                self._manifest.folder.mkdir(exist_ok=True)
            self._load()
            self.flush(claim=claim)
            if not (path := self._manifest.folder.with_suffix(".recipe.json")).exists():
                write_json(path, self.recipe)
            try:
                yield self
            finally:
                self.flush()

    def once(self, step: Step, name: str, key: str, make: Callable[[], tuple[pa.Table, ShardStats]]) -> Shard:
        """Return the committed output under `key`; make and commit it if there is none."""
        if shard := self.find(step, key):
            return shard
        started = time.monotonic()
        table, stats = make()
        return self._put(step, name, key, table, {**stats, "took": round(time.monotonic() - started, 3)})

    def once_each(
        self, step: Step, names: Sequence[str], key: str, make: Callable[[], Iterable[tuple[pa.Table, ShardStats]]]
    ) -> list[Shard]:
        """Return the committed outputs of a step that looks at all shards at once, one a name, made together."""
        keys = [digest(key, name) for name in names]
        shards = [shard for shard_key in keys if (shard := self.find(step, shard_key))]
        if len(shards) == len(names):
            return shards
        shards, started = [], time.monotonic()
        for name, shard_key, (table, stats) in zip(names, keys, make(), strict=True):
            timed: ShardStats = {**stats, "took": round(time.monotonic() - started, 3)}
            shards.append(self.find(step, shard_key) or self._put(step, name, shard_key, table, timed))
            started = time.monotonic()
        return shards

    def flush(self, *, claim: bool = False) -> None:
        """Make all that is committed survive a crash; else it does so within a second.

        Args:
            claim: also where nothing is new.

        Raises:
            StoreError: the disk is full, or another process goes on with this run.
        """
        self._manifest.flush(claim=claim)

    def begin(self, step: Step, key: str) -> None:
        """Announce work whose output will be recorded; only `ReadOnlyRun` objects."""

    def record(self, step: Step, name: str, key: str, table: pa.Table, content: str, stats: ShardStats) -> Shard:
        """Commit an output that its key alone does not decide, such as a model's words; later keys depend on
        `content`.
        """
        return self._put(step, name, key, table, {**stats, "content": content}, f"-{content[:8]}")

    def _put(self, step: Step, name: str, key: str, table: pa.Table, stats: ShardStats, suffix: str = "") -> Shard:
        path = self.folder / step.name / f"{key}{suffix}.parquet"
        write_table(path, table)
        return self.commit(step, name, key, path, table.num_rows, {"content": sha256(path), **stats})

    def commit(self, step: Step, name: str, key: str, path: Path, rows: int, stats: ShardStats) -> Shard:
        """Name a finished file in the manifest; from then on the output exists."""
        file = path.relative_to(self.folder).as_posix()
        shard = Shard(step.name, name, key, file, rows, path.stat().st_size, stats)
        self._name(shard)
        return shard

    def find(self, step: Step, key: str) -> Shard | None:
        """Return what is committed under a key, if its file is complete; the manifest then names it for this recipe."""
        shard = self._done.get((step.name, key))
        if shard is None:
            return None
        if (step.name, key) not in self._adopted and self._size(self.folder / shard.file) != shard.size:
            return None
        self._name(shard)
        return shard

    def _size(self, path: Path) -> int | None:
        """Return the bytes of an output's file; None where it is not there."""
        if self._objects:
            return self._objects.size(path)
        return path.stat().st_size if path.exists() else None

    def adopt(self, shard: Shard, seconds: float) -> None:
        """Name a file in the manifest that another host has written; it is done on that host's word.

        Args:
            shard: the output.
            seconds: for so long a reader here waits for the file: a shared folder may show it late.
        """
        self._adopted[shard.step, shard.key] = time.monotonic() + seconds
        self._name(shard)

    def earlier(self, step: Step) -> list[Shard]:
        """Return all outputs of a step that any recipe of this run has committed; their files may be gone."""
        with self._guard:
            return [shard for (name, _), shard in self._done.items() if name == step.name]

    def path(self, shard: Shard) -> Path:
        """Return the path of a shard's file, which is fetched if HOME is in an object store."""
        path = self.folder / shard.file
        if self._objects:
            return self._objects.fetch(path)
        while not path.exists() and time.monotonic() < self._adopted.get((shard.step, shard.key), 0.0):
            time.sleep(_LOOK_SECONDS)
        return path

    def read(self, shard: Shard, columns: list[str] | None = None) -> pa.Table:
        """Return a shard's table."""
        return read_table(self.path(shard), columns)

    def _name(self, shard: Shard) -> None:
        with self._guard:
            self._done[shard.step, shard.key] = shard
            if not self._claimed or self._named.get((shard.step, shard.key)) == shard:
                return
            self._manifest.append(asdict(shard))
            self._named[shard.step, shard.key] = shard

    def _load(self) -> None:
        own = self._manifest.folder
        for path in sorted(self.folder.glob("manifest-*.jsonl")):  # of an older version of this program
            self._take(read_rows(path), named=path.stem == own.name)
        folders = [path for path in self.folder.glob("manifest-*") if path.is_dir()]
        own_last = sorted(folders, key=lambda folder: (folder == own, folder.name))  # what it says counts
        for folder in own_last:
            log = self._manifest if folder == own else Segments(folder, "")
            self._take(log.read(), named=folder == own)
        sync(self.folder)

    def _take(self, lines: Iterable[dict[str, Any]], *, named: bool) -> None:
        for shard in filter(None, map(_shard, lines)):
            known = self._done.get((shard.step, shard.key))
            if known is None or _failures(shard) <= _failures(known):  # one that asked again what had failed stays
                self._done[shard.step, shard.key] = shard
            if named:
                self._named[shard.step, shard.key] = shard


def _failures(shard: Shard) -> bool:
    return bool(shard.stats.get("failed") or shard.stats.get("unanswered"))


class NotCommitted(Exception):  # noqa: N818 (an answer, not an error: a run would make this output)
    """An output does not exist yet: `step` and `key` say which one a run would make."""

    def __init__(self, step: str, key: str) -> None:
        super().__init__(f"{step}/{key}")
        self.step = step
        self.key = key

    def placeholder(self) -> Shard:
        """Return a shard that stands for the missing output where only its key is needed."""
        return Shard(self.step, "", self.key, "", 0, 0)


class WorkerRun(RunStore):
    """A run's folder on a host that writes files and names none: the driver adopts them.

    Args:
        home: HOME, as this host sees it.
        name: the run's name.
        known: what is committed and may be needed.
        seconds: how long to wait for such a file.

    Attributes:
        made: what was made here.
    """

    def __init__(self, home: Path, name: str, known: Iterable[Shard], seconds: float) -> None:
        super().__init__(home, name, {})
        self.made: list[Shard] = []
        for shard in known:
            self._done[shard.step, shard.key] = shard
            self._adopted[shard.step, shard.key] = time.monotonic() + seconds

    def _name(self, shard: Shard) -> None:
        if (shard.step, shard.key) not in self._done:
            self._done[shard.step, shard.key] = shard
            self.made.append(shard)


class ReadOnlyRun(RunStore):
    """An opened run that is only read: it raises NotCommitted where a run would make something.

    Args:
        run: the run; both share what it has committed.
    """

    def __init__(self, run: RunStore) -> None:
        vars(self).update(vars(run))

    def find(self, step: Step, key: str) -> Shard:
        """Return what is committed under a key.

        Raises:
            NotCommitted: nothing is.
        """
        if found := super().find(step, key):
            return found
        raise NotCommitted(step.name, key)

    def begin(self, step: Step, key: str) -> None:
        """Refuse work whose output would be recorded.

        Raises:
            NotCommitted: always.
        """
        raise NotCommitted(step.name, key)

    def _name(self, shard: Shard) -> None:
        """Write nothing: an output that was only looked at does not belong to this recipe yet."""

    def path(self, shard: Shard) -> Path:
        """Return the path of a shard's file.

        Raises:
            NotCommitted: the shard is a placeholder for one that would be made.
        """
        if not shard.file:
            raise NotCommitted(shard.step, shard.key)
        return super().path(shard)


def _shard(entry: Any) -> Shard | None:
    """Return the output that a manifest line names; None where another version of this program wrote the line."""
    try:
        if "stage" in entry:  # the older format; read, so that a model's recorded answers stay valid
            entry |= {"step": entry.pop("stage"), "stats": entry.pop("facts")}
        return Shard(**entry)
    except (TypeError, KeyError):
        return None
