"""Filters on the nodes of a Ray cluster: one task judges one shard with all map filters; gathers are cut
into tasks over files.

Ray starts judges (actors) on every node and carries references; tables stay in HOME, which all nodes share. What is
done is decided by the store's keys alone: a judge writes the files that are missing, and the driver names them in the
manifest. So a task may be sent twice, or finish on a node that was given up: both write the same bytes.

The driver knows where each shard is. One that takes much longer than the others is sent to a second node, and the
first answer wins; one whose judges die on several nodes is left out, and the run ends with its name once all others
are judged.

Nothing here imports Ray before a cluster is asked for.
"""

from __future__ import annotations

import os
import shutil
import statistics
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from proofmill.data.errors import ProofmillError, ScratchError, StoreError, VerifierError
from proofmill.data.files import atomic, digest, human_size, writing
from proofmill.data.run import NotCommitted, ReadOnlyRun, Shard, WorkerRun, source_digest
from proofmill.data.tasks import R, T, run_here
from proofmill.filters.base import MapFilter, ProblemFilter
from proofmill.filters.runner import FilterWorkers
from proofmill.filters.sandbox.jail import Jail
from proofmill.filters.verification import VERDICTS
from proofmill.flows.cluster_engines import engines_on
from proofmill.flows.context import RunContext, RunRequest, RunState
from proofmill.flows.display import Progress
from proofmill.flows.models import ModelPool, node_engines
from proofmill.flows.pipeline import annotate_shard, filter_output, shared_file
from proofmill.flows.ray_connection import (
    KEEP_ALIVE,
    connected,
    differences,
    node_name,
    nodes_alive,
    one_line,
    program_of,
)
from proofmill.flows.recipe import load as recipes
from proofmill.flows.recipe.schema import ActiveFilter, JudgeOptions, Recipe
from proofmill.flows.sampling import AHEAD
from proofmill.flows.shard_records import ShardRecord
from proofmill.flows.up_to_date import libraries, step_versions

_TICK_SECONDS = 0.5
_WATCH_SECONDS = 2.0
_SEEN_SECONDS = 60.0  # until a shared folder shows on one node what another has written
_LITTLE = 1 << 30
_DEATHS = 3  # on different nodes, as far as there are so many; then the shard is to blame


class Executor(Protocol):
    """Where shards are judged.

    Attributes:
        ahead: shards to hand over at once.
    """

    ahead: int

    def annotate(self, problems: Shard, samples: Shard) -> ShardRecord | None:
        """Return a shard's record with the output of every map filter; None where it is in quarantine."""

    def finish(self) -> None:
        """End the work on shards.

        Raises:
            VerifierError: some are in quarantine.
        """

    def map(self, function: Callable[[T], R], tasks: Sequence[T]) -> Iterable[R]:
        """Return what a function gives for each of some tasks over files, in order."""


@contextmanager
def executor(run: RunContext) -> Iterator[Executor]:
    """Provide what judges shards: this machine, or the cluster that the recipe names.

    Raises:
        UsageError: there is no cluster at the address, or Ray is not installed.
        VerifierError: no node can judge; each is named with the reason.
    """
    if run.recipe.cluster.address is None:
        yield _ThisMachine(run)
        return
    with connected(run.recipe.cluster.address), _task(run.request) as task, Judges(run, task) as judges:
        yield judges


class _ThisMachine:
    """Judges shards in this process and its workers."""

    ahead = AHEAD

    def __init__(self, run: RunContext) -> None:
        self._run, self.map = run, run.workers.tasks

    def annotate(self, problems: Shard, samples: Shard) -> ShardRecord:
        return annotate_shard(self._run, problems, samples)

    def finish(self) -> None:
        """Do nothing: a fault ends the run at once."""


# --- On a node ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Task:
    """What a node has to know of a run; it gets no table.

    Attributes:
        recipe: the resolved recipe.
        home: HOME, under the same path on every node.
        limit: how many problems the run takes.
        code: what has to be the same on every node, by name.
        token: file in HOME that the driver has written.
        cpus: worker processes of one judge.
        scratch: folder for temporary files; None: the system's.
    """

    recipe: dict[str, Any]
    home: str
    limit: int | None
    code: dict[str, str]
    token: str
    cpus: int
    scratch: str | None


@dataclass
class Judged:
    """What a judge has made of a shard: files that are written, and not named in the manifest yet."""

    shards: list[Shard] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


@contextmanager
def _task(request: RunRequest) -> Iterator[Task]:
    """Provide what nodes have to know, with a token in HOME that they look for."""
    token = request.home.absolute() / ".cluster" / uuid.uuid4().hex
    with writing(token):
        token.parent.mkdir(parents=True, exist_ok=True)
        token.touch()
    recipe, options = request.recipe, request.recipe.cluster
    home, code = str(request.home.absolute()), code_of(recipe)
    try:
        yield Task(recipe.resolved(), home, request.limit, code, str(token), options.judges.cpus, options.scratch)
    finally:
        token.unlink(missing_ok=True)


class Judge:
    """Judges one shard after another on a node; an actor, so that its worker processes stay."""

    def __init__(self, task: Task) -> None:
        self._task = task
        if task.scratch:
            tempfile.tempdir = task.scratch
        self._recipe = recipes.parse(task.recipe)
        self._stack = ExitStack()
        limits = self._recipe.options(VERDICTS).model_copy(update={"workers": task.cpus})
        self._workers = FilterWorkers(limits, self._stack)

    def faults(self) -> tuple[list[str], list[str]]:
        """Return why this node must not judge, and what is to be improved here."""
        driver, own = self._task.code, code_of(self._recipe)
        faults = [*differences(own, driver), *_home_faults(Path(self._task.token)), *_scratch_faults()]
        unset = [f"{name}={value}" for name, value in KEEP_ALIVE.items() if name not in os.environ]
        return faults, [f"start its Ray with {' '.join(unset)}: else a silent node is noticed late"] if unset else []

    def annotate(self, problems: Shard, samples: Shard, known: Sequence[Shard]) -> Judged:
        """Make the outputs of a shard that are not known yet; return references to them."""
        store = WorkerRun(Path(self._task.home), self._recipe.name, (problems, samples, *known), _SEEN_SECONDS)
        progress = Progress()
        with ExitStack() as stack, ThreadPoolExecutor(1) as background:
            request = RunRequest(self._recipe, Path(self._task.home), self._task.limit)
            models = ModelPool(
                self._recipe, store.home, store.folder, progress, generation=0, resampling=False, stack=stack
            )
            active = self._recipe.active_filters()
            run = RunContext(
                request, active, store, progress, self._workers, models, RunState(), (), background, run_here
            )
            annotate_shard(run, problems, samples)
        return Judged(store.made, progress.warnings)

    def call(self, function: Callable[[T], R], task: T) -> tuple[R]:
        """Return what a function gives for a task over files."""
        return (function(task),)


def code_of(recipe: Recipe) -> dict[str, str]:
    """Return what decides the outputs of a recipe's filters on a machine, by name."""
    filters = recipe.active_filters()
    own = {active.place.partition(":")[0] for active in filters if ":" in active.place}
    return {
        **program_of(),
        "the version of the steps": digest(step_versions(filters)),
        **{f"the code of {module}": source_digest(module) for module in sorted(own)},
        "the jail": _jail(recipe),
        **libraries(filters),
    }


def _jail(recipe: Recipe) -> str:
    """Return what the jail for model-written code is like on this machine: verdicts name a layer that is missing."""
    try:
        with Jail(1, allow_subprocess=recipe.options(VERDICTS).jail.allow_subprocess) as jail:
            return jail.stamp or "whole"
    except ProofmillError as error:
        return f"broken ({error.what})"


def _home_faults(token: Path) -> Iterator[str]:
    """Yield why HOME can't be used here: it is not the driver's, or does not keep what a store rests on."""
    deadline = time.monotonic() + _SEEN_SECONDS
    while not token.exists() and time.monotonic() < deadline:
        time.sleep(_TICK_SECONDS)
    if not token.exists():
        yield f"HOME is not shared: {token} was written by the driver and is not here"
        return
    try:
        token.open("xb").close()
        yield f"in {token.parent} a file is created twice"
    except FileExistsError:
        pass
    except OSError as error:
        yield f"{token.parent} can't be written: {error.strerror}"
        return
    own = token.with_name(f"{token.name}-{uuid.uuid4().hex}")
    try:
        with atomic(own) as temporary:
            temporary.write_bytes(b"here")
        own.unlink()
    except (OSError, StoreError) as error:
        yield f"{token.parent} can't be written: {error}"


def _scratch_faults() -> Iterator[str]:
    folder = Path(tempfile.gettempdir())
    try:
        tempfile.TemporaryFile(dir=folder).close()
        if (free := shutil.disk_usage(folder).free) < _LITTLE:
            yield f"only {human_size(free)} are free in {folder}"
    except OSError as error:
        yield f"{folder} can't be written: {error.strerror}"


@dataclass(frozen=True)
class _Work:
    """What one judge does at a time.

    Attributes:
        what: shard or task.
        name: for people.
        kind: works of one kind take about the same time.
        method: of the judge.
        arguments: for it.
    """

    what: str
    name: str
    kind: str
    method: str
    arguments: tuple[Any, ...]

    @property
    def label(self) -> str:
        """Its name in a sentence."""
        return f"{self.what} {self.name}"


# --- In the driver ------------------------------------------------------------------------------------------


@dataclass(eq=False)
class _Seat:
    """A judge on a node; it has one shard at a time."""

    node: str
    name: str  # of the node, for people
    actor: Any


def _room(resources: Mapping[str, float], recipe: Recipe) -> int:
    """Return how many judges a node has room for beside its engines."""
    judges, engines = recipe.cluster.judges, node_engines(recipe)
    cpus = resources.get("CPU", 0) - (engines_on(resources, engines) * engines.cpus if engines else 0)
    return int(min(cpus / judges.cpus, resources.get("memory", 0) / (judges.memory_gb * 2**30)))


def _seat(node: str, name: str, task: Task, options: JudgeOptions) -> _Seat:
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    actor = ray.remote(Judge).options(
        num_cpus=options.cpus,
        memory=int(options.memory_gb * 2**30),
        max_restarts=0,
        scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False),
    )
    return _Seat(node, name, actor.remote(task))


def node_faults(request: RunRequest) -> Iterator[tuple[str, list[str], list[str]]]:
    """Yield of each node of a recipe's cluster its name, why it can't judge, and what is to be improved there.

    Raises:
        UsageError: there is no cluster at the address, or Ray is not installed.
    """
    options = request.recipe.cluster.judges
    with connected(request.recipe.cluster.address or "auto"), _task(request) as task:
        import ray

        nodes = [node for node in nodes_alive().values() if _room(node["Resources"], request.recipe)]
        seats = [_seat(node["NodeID"], node_name(node), task, options) for node in nodes]
        asked = {seat.name: seat.actor.faults.remote() for seat in seats}
        ready, _ = ray.wait([*asked.values()], num_returns=len(asked), timeout=2 * _SEEN_SECONDS)
        for name, ref in asked.items():
            try:
                faults, advice = ray.get(ref) if ref in ready else ([f"no answer in {2 * _SEEN_SECONDS:g} s"], [])
            except ray.exceptions.RayError as error:
                faults, advice = [one_line(error)], []
            yield name, faults, advice


class Judges:
    """The judges of a cluster, as many as its nodes have room for; nodes come and go.

    Args:
        run: the run, open in this process.
        task: what nodes have to know of it.

    Raises:
        VerifierError: on entering, where no node can judge.
    """

    def __init__(self, run: RunContext, task: Task) -> None:
        self._run, self._task, self._options = run, task, run.recipe.cluster
        self._idle: list[_Seat] = []
        self._asked: dict[Any, tuple[_Seat, int]] = {}  # nodes that are being looked at, and their seats
        self._left: dict[Any, _Seat] = {}  # answers that nobody waits for any more
        self._nodes: dict[str, str] = {}  # names of nodes that were looked at
        self._refused: dict[str, str] = {}  # why, by name
        self._seconds: dict[str, list[float]] = {}  # that shards and tasks took, by kind
        self._quarantine: list[str] = []
        self._changed = threading.Condition(threading.RLock())
        self._closed = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="nodes", daemon=True)
        self.ahead = AHEAD

    def __enter__(self) -> Judges:
        self._look()
        while self._asked and not self._idle:
            time.sleep(_TICK_SECONDS)
            self._look()
        if not self._idle:
            raise self._nobody()
        self._watcher.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()
        self._watcher.join()

    def _nobody(self) -> VerifierError:
        told = "; ".join(f"{name}: {why}" for name, why in self._refused.items()) or "it has no node with enough room"
        options = self._options.judges
        return VerifierError(
            "No node of the cluster can judge.",
            where=told,
            remedy=f"make all nodes alike; a judge takes {options.cpus} CPUs and {options.memory_gb:g} GB "
            "(recipe key cluster.judges)",
        )

    # Nodes: looked at when they come, forgotten when they go.

    def _watch(self) -> None:
        while not self._closed.wait(_WATCH_SECONDS):
            self._look()

    def _look(self) -> None:
        """Take note of nodes that have come or gone, of the answers to their checks, and of late answers to tasks."""
        import ray

        alive = nodes_alive()
        with self._changed:
            self._idle = [seat for seat in self._idle if seat.node in alive]
            self._settle(ray, alive)
            for ref in ray.wait(list(self._left), num_returns=len(self._left), timeout=0)[0] if self._left else ():
                self._come_back(ray, ref, self._left.pop(ref))
            for node, facts in alive.items():
                room = _room(facts["Resources"], self._run.recipe)
                if node not in self._nodes and room:
                    self._nodes[node] = node_name(facts)
                    seat = self._seat(node)
                    self._asked[seat.actor.faults.remote()] = seat, room
            lost = [name for node, name in self._nodes.items() if node not in alive]
            self._nodes = {node: name for node, name in self._nodes.items() if node in alive}
            self._run.progress.nodes(sum(name not in self._refused for name in self._nodes.values()))
            self._changed.notify_all()
        for name in lost:
            self._run.progress.warn(f"node {name} is gone; its shards are judged elsewhere")

    def _come_back(self, ray: Any, ref: Any, seat: _Seat) -> None:
        """Take back a judge whose answer nobody waited for: its node was frozen, or only slow."""
        try:
            ray.get(ref)
        except ray.exceptions.RayTaskError:  # another judge's answer was taken
            self._free(seat)
        except ray.exceptions.RayError:
            self._replace(seat)
        else:
            self._free(seat)

    def _settle(self, ray: Any, alive: Collection[str]) -> None:
        """Let judges sit down on nodes that have passed their check."""
        for ref in ray.wait(list(self._asked), num_returns=len(self._asked), timeout=0)[0] if self._asked else ():
            seat, room = self._asked.pop(ref)
            try:
                faults, advice = ray.get(ref)
            except ray.exceptions.RayError as error:
                if seat.node not in alive:
                    continue
                faults, advice = [one_line(error)], []
            for text in advice:
                self._run.progress.warn(f"node {seat.name}: {text}")
            if faults:
                ray.kill(seat.actor)
                self._refused[seat.name] = "; ".join(faults)
                self._run.progress.warn(f"node {seat.name} judges nothing: {self._refused[seat.name]}")
                continue
            self._idle += [seat, *(self._seat(seat.node) for _ in range(room - 1))]
            self.ahead = max(self.ahead, 2 * len(self._idle))

    def _seat(self, node: str) -> _Seat:
        return _seat(node, self._nodes[node], self._task, self._options.judges)

    # Shards.

    def annotate(self, problems: Shard, samples: Shard) -> ShardRecord | None:
        """Return a shard's record with the output of every map filter; None where it is in quarantine."""
        known, complete = _committed(self._run, problems, samples)
        if not complete:
            work = _Work("shard", samples.name, "annotate", "annotate", (problems, samples, known))
            judged: Judged | None = self._done(work)
            if judged is None:
                self._quarantine.append(samples.name)
                return None
            for shard in judged.shards:
                self._run.store.adopt(shard, _SEEN_SECONDS)
            for warning in judged.warnings:
                self._run.progress.warn(warning)
        return annotate_shard(self._run, problems, samples)

    def finish(self) -> None:
        """End the work on shards.

        Raises:
            VerifierError: some are in quarantine.
        """
        if self._quarantine:
            raise VerifierError(
                f"{len(self._quarantine)} shards bring down the nodes that judge them; all others are judged.",
                where=", ".join(f"shard {name}" for name in sorted(self._quarantine)),
                remedy="give judges more memory (cluster.judges.memory_gb) and run the same command again; else report "
                "it with the run's log",
            )

    def map(self, function: Callable[[T], R], tasks: Sequence[T]) -> Iterator[R]:
        """Return what a function gives for each of some tasks over files, in order; a single one is done here.

        Raises:
            VerifierError: a task brings down the nodes.
        """
        if len(tasks) < 2:
            yield from run_here(function, tasks)
            return
        works = [
            _Work("task", f"{function.__name__} {number}", function.__name__, "call", (function, task))
            for number, task in enumerate(tasks)
        ]
        with ThreadPoolExecutor(self.ahead) as threads:
            for work, answer in zip(works, threads.map(self._done, works), strict=True):
                if answer is None:
                    raise VerifierError(
                        f"The task {work.name} brings down the nodes that work at it.",
                        remedy="give judges more memory (cluster.judges.memory_gb) and run the same command again; "
                        "else report it with the run's log",
                    )
                yield answer[0]

    def _done(self, work: _Work) -> Any:
        """Return what the first judge to answer gives for a shard or a task; None where it brings down every one."""
        import ray

        open_: dict[Any, tuple[_Seat, float]] = {}
        deaths: list[str] = []
        try:
            while len(deaths) < _DEATHS or len(set(deaths)) < min(_DEATHS, len(self._nodes)):
                if self._nodes and all(node in self._refused for node in self._nodes.values()):
                    raise self._nobody()
                if not open_ or (len(open_) == 1 and self._late(work, *open_.values())):
                    self._send(work, open_, deaths)
                for ref in ray.wait(list(open_), timeout=_TICK_SECONDS)[0] if open_ else ():
                    seat, since = open_.pop(ref)
                    try:
                        answer = ray.get(ref)
                    except ray.exceptions.RayTaskError as error:
                        if isinstance(error.cause, ScratchError | OSError):
                            self._dismiss(seat.name, error.cause)
                            continue
                        self._free(seat)
                        raise _cause(error) from error
                    except ray.exceptions.RayError as error:
                        deaths.append(seat.node)
                        self._replace(seat)
                        self._run.progress.warn(f"{work.label}: its judge on {seat.name} died: {one_line(error)}")
                        continue
                    self._seconds.setdefault(work.kind, []).append(time.monotonic() - since)
                    self._free(seat)
                    return answer
        finally:
            self._run.progress.shard_ended(work.name)
            with self._changed:
                self._left |= {ref: seat for ref, (seat, _) in open_.items()}
        self._run.progress.warn(f"{work.label} is in quarantine: its judges died on {len(set(deaths))} nodes")
        return None

    def _late(self, work: _Work, sent: tuple[_Seat, float]) -> bool:
        seconds = self._seconds.get(work.kind)
        usual = statistics.median(seconds[-_REMEMBERED:]) if seconds else 0.0
        return time.monotonic() - sent[1] > max(self._options.silence_s, self._options.overdue * usual)

    def _send(self, work: _Work, open_: dict[Any, Any], deaths: Sequence[str]) -> None:
        """Give work to an idle judge, on another node where it is open already; wait a moment if there is none."""
        busy = {seat.node for seat, _ in open_.values()}
        with self._changed:
            free = [seat for seat in self._idle if seat.node not in busy]
            if not free:
                self._changed.wait(_TICK_SECONDS)
                return
            seat = next((seat for seat in free if seat.node not in deaths), free[0])
            self._idle.remove(seat)
        if open_:
            late = ", ".join(other.name for other, _ in open_.values())
            self._run.progress.warn(f"{work.label} is late on {late}, and was sent to {seat.name} too")
        self._run.progress.shard_sent(work.name, seat.name, again=bool(open_ or deaths))
        open_[getattr(seat.actor, work.method).remote(*work.arguments)] = seat, time.monotonic()

    def _dismiss(self, node: str, error: Exception) -> None:
        """Give a node nothing more: its own disk is full, or it can't be used for another reason of its own."""
        why = one_line(f"{error.what} {error.where}" if isinstance(error, ProofmillError) else error)
        with self._changed:
            told, self._refused[node] = node in self._refused, why
            self._idle = [seat for seat in self._idle if seat.name != node]
        if not told:
            self._run.progress.warn(f"node {node} judges nothing more, and its shards go elsewhere: {why}")

    def _free(self, seat: _Seat) -> None:
        """Take back a judge that has answered."""
        with self._changed:
            if seat.name in self._refused:
                return
            self._idle.append(seat)
            self._changed.notify_all()

    def _replace(self, seat: _Seat) -> None:
        """Start a judge in the place of one that has died; it sits down once its check says that the node lives."""
        with self._changed:
            if seat.node in self._nodes:
                other = self._seat(seat.node)
                self._asked[other.actor.faults.remote()] = other, 1


_REMEMBERED = 1000  # times of shards that say what is usual


def _committed(run: RunContext, problems: Shard, samples: Shard) -> tuple[list[Shard], bool]:
    """Return the outputs of a shard that are committed, with the files that filters share; and whether all are."""
    known: list[Shard] = []
    complete = True

    def output(reader: RunContext, record: ShardRecord, active: ActiveFilter) -> Shard:
        nonlocal complete
        assert isinstance(active.filter, MapFilter | ProblemFilter)  # noqa: S101 (narrowing for the type checker)
        if active.filter.shared:
            known.append(shared_file(run, active.filter.shared, active.options))
        try:
            known.append(filter_output(reader, record, active))
        except NotCommitted as gap:
            complete = False
            return gap.placeholder()
        return known[-1]

    annotate_shard(run.read_only(ReadOnlyRun(run.store)), problems, samples, output)
    return known, complete


def _cause(error: Any) -> Exception:
    """Return what went wrong in a judge: an error for users as it is, any other as one."""
    if isinstance(error.cause, ProofmillError):
        return error.cause
    return VerifierError(
        f"A judge failed: {one_line(error.cause)}", where=one_line(error), remedy="report this with the run's log"
    )
