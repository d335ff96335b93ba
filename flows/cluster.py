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

import statistics
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from proofmill.data.errors import ProofmillError, ScratchError, VerifierError
from proofmill.data.files import SEEN_SECONDS
from proofmill.data.run import NotCommitted, ReadOnlyRun, Shard
from proofmill.data.tasks import R, T, run_here
from proofmill.filters.base import MapFilter, ProblemFilter
from proofmill.flows.cluster_engines import engines_on
from proofmill.flows.cluster_judge import Judge, Judged, Task, task_of
from proofmill.flows.context import RunContext, RunRequest
from proofmill.flows.models import node_engines
from proofmill.flows.pipeline import annotate_shard, filter_output, shared_file
from proofmill.flows.ray_connection import (
    connected,
    node_name,
    nodes_alive,
    one_line,
)
from proofmill.flows.recipe.schema import ActiveFilter, JudgeOptions, Recipe
from proofmill.flows.sampling import AHEAD
from proofmill.flows.shard_records import ShardRecord

_TICK_SECONDS = 0.5
_WATCH_SECONDS = 2.0
_DEATHS = 3  # on different nodes, as far as there are so many; then the shard is to blame


class Executor(Protocol):
    """Where shards are judged."""

    @property
    def ahead(self) -> int:
        """Shards to hand over at once."""

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
    with connected(run.recipe.cluster.address), task_of(run.request) as task, Judges(run, task) as judges:
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
    with connected(request.recipe.cluster.address or "auto"), task_of(request) as task:
        import ray

        nodes = [node for node in nodes_alive().values() if _room(node["Resources"], request.recipe)]
        seats = [_seat(node["NodeID"], node_name(node), task, options) for node in nodes]
        asked = {seat.name: seat.actor.faults.remote() for seat in seats}
        ready, _ = ray.wait([*asked.values()], num_returns=len(asked), timeout=2 * SEEN_SECONDS)
        for name, ref in asked.items():
            try:
                faults, advice = ray.get(ref) if ref in ready else ([f"no answer in {2 * SEEN_SECONDS:g} s"], [])
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
        self._rooms: dict[str, int] = {}  # seats of each node that has passed its check
        self._refused: dict[str, str] = {}  # why, by name
        self._seconds: dict[str, list[float]] = {}  # that shards and tasks took, by kind
        self._quarantine: list[str] = []
        self._changed = threading.Condition(threading.RLock())
        self._closed = threading.Event()
        self._waiting = 0  # threads that wait for an answer
        self._watcher = threading.Thread(target=self._watch, name="nodes", daemon=True)

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
        """Wait until no thread asks Ray for anything: without its connection, Ray would start a cluster of its own."""
        self._closed.set()
        with self._changed:
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._waiting)
        self._watcher.join()

    @property
    def ahead(self) -> int:
        """Shards to hand over at once: one for each seat, busy or not, and one that waits."""
        with self._changed:
            judging = [node for node, name in self._nodes.items() if name not in self._refused]
            return max(AHEAD, 2 * sum(self._rooms.get(node, 0) for node in judging))

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
            self._rooms.setdefault(seat.node, room)

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
                self._run.store.adopt(shard, SEEN_SECONDS)
            for warning in judged.warnings:
                self._run.progress.warn(warning)
        return annotate_shard(self._run, problems, samples)

    def finish(self) -> None:
        """End the work on shards.

        Raises:
            VerifierError: some are in quarantine.
        """
        if count := len(self._quarantine):
            which = "A shard brings" if count == 1 else f"{count} shards bring"
            raise VerifierError(
                f"{which} down every node that judges; all others are judged.",
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
        """Return what the first judge to answer gives for a shard or a task; None where it brings down every one.

        Raises:
            VerifierError: no node can judge, or the run has ended meanwhile.
        """
        with self._changed:
            self._waiting += 1
        try:
            return self._first_answer(work)
        finally:
            with self._changed:
                self._waiting -= 1
                self._changed.notify_all()

    def _first_answer(self, work: _Work) -> Any:
        import ray

        open_: dict[Any, tuple[_Seat, float]] = {}
        deaths: list[str] = []
        try:
            while len(deaths) < _DEATHS or len(set(deaths)) < min(_DEATHS, len(self._nodes)):
                if self._closed.is_set():
                    raise VerifierError("The run has ended.", where=work.label, remedy="run the same command again")
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
