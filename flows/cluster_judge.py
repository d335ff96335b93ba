"""What runs on a node of a Ray cluster: the check of the node, and a judge that does shards and tasks over files."""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from proofmill.data.errors import ProofmillError, StoreError
from proofmill.data.files import SEEN_SECONDS, atomic, digest, existing, human_size, writing
from proofmill.data.run import Shard, WorkerRun, source_digest
from proofmill.data.tasks import R, T
from proofmill.filters.runner import FilterWorkers
from proofmill.filters.sandbox.jail import Jail
from proofmill.filters.verification import VERDICTS
from proofmill.flows.context import RunRequest, worker_context
from proofmill.flows.display import Progress
from proofmill.flows.pipeline import annotate_shard
from proofmill.flows.ray_connection import KEEP_ALIVE, differences, program_of
from proofmill.flows.recipe import load as recipes
from proofmill.flows.recipe.schema import Recipe
from proofmill.flows.up_to_date import libraries, step_versions

_LITTLE = 1 << 30


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
def task_of(request: RunRequest) -> Iterator[Task]:
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
        faults = [*differences(own, driver), *home_faults(Path(self._task.token)), *scratch_faults()]
        unset = [f"{name}={value}" for name, value in KEEP_ALIVE.items() if name not in os.environ]
        return faults, [f"start its Ray with {' '.join(unset)}: else a silent node is noticed late"] if unset else []

    def annotate(self, problems: Shard, samples: Shard, known: Sequence[Shard]) -> Judged:
        """Make the outputs of a shard that are not known yet; return references to them."""
        store = WorkerRun(Path(self._task.home), self._recipe.name, (problems, samples, *known), SEEN_SECONDS)
        progress = Progress()
        request = RunRequest(self._recipe, Path(self._task.home), self._task.limit)
        with ExitStack() as stack:
            annotate_shard(worker_context(request, store, self._workers, progress, stack), problems, samples)
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


def home_faults(token: Path) -> Iterator[str]:
    """Yield why HOME can't be used here: it is not the driver's, or does not keep what a store rests on."""
    if not existing(token).exists():
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


def scratch_faults() -> Iterator[str]:
    """Yield why the folder for temporary files can't be used here."""
    folder = Path(tempfile.gettempdir())
    try:
        tempfile.TemporaryFile(dir=folder).close()
        if (free := shutil.disk_usage(folder).free) < _LITTLE:
            yield f"only {human_size(free)} are free in {folder}"
    except OSError as error:
        yield f"{folder} can't be written: {error.strerror}"
