"""The context of a run, which every step gets: the request, the store, the models, and the run's state."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from threading import Event
from typing import Any

import orjson

from proofmill.data.errors import NothingKeptError, UsageError
from proofmill.data.files import current, mirrored_home, write_json
from proofmill.data.objects import is_address, object_store
from proofmill.data.run import RunStore
from proofmill.data.tasks import TaskMap, run_here
from proofmill.data.versions import Version
from proofmill.filters.near_duplicates.duplicates import NEAR_DUPLICATES
from proofmill.filters.runner import FilterWorkers
from proofmill.filters.verification import VERDICTS
from proofmill.flows import run_inputs
from proofmill.flows.display import Progress, logged
from proofmill.flows.models import ModelPool
from proofmill.flows.recipe.schema import ActiveFilter, Recipe
from proofmill.flows.run_inputs import inputs_of

_RESAMPLED = "resampled.json"


@dataclass(frozen=True, slots=True)
class Resampling:
    """How often a run was told to sample anew; kept in its folder, so that `--resample` survives an interruption.

    Attributes:
        count: how often.
        open: whether the last resampling is unfinished.
    """

    count: int = 0
    open: bool = False

    @classmethod
    def read(cls, folder: Path) -> Resampling:
        """Return what is kept in a run's folder."""
        path = current(folder / _RESAMPLED)
        kept = orjson.loads(path.read_bytes()) if path.exists() else 0
        return cls(**kept) if isinstance(kept, dict) else cls(int(kept))

    @classmethod
    def begin(cls, folder: Path, *, requested: bool, keep: bool = True) -> Resampling:
        """Return the resampling under way: an interrupted one goes on, whether or not it is requested again.

        Args:
            folder: of the run.
            requested: whether to sample anew.
            keep: remember it beside the run.
        """
        current = cls.read(folder)
        if requested and not current.open:
            current = cls(current.count + 1, open=True)
            if keep:
                write_json(folder / _RESAMPLED, asdict(current))
        return current

    @classmethod
    def end(cls, folder: Path) -> None:
        """Remember that the new samples are drawn and used."""
        current = cls.read(folder)
        if current.open:
            write_json(folder / _RESAMPLED, asdict(cls(current.count)))

    @classmethod
    @contextmanager
    def end_if_nothing_kept(cls, folder: Path) -> Iterator[None]:
        """End the resampling also where nothing survives: the samples were all drawn, so the next `--resample` draws
        anew.
        """
        try:
            yield
        except NothingKeptError:
            cls.end(folder)
            raise


@dataclass(frozen=True)
class RunRequest:
    """What a caller wants.

    Attributes:
        recipe: the resolved recipe.
        home: HOME.
        limit: how many problems to take, from the first; None: all.
        resample: set recorded samples aside and draw new ones.
        sample: draw missing samples; False: go on with the recorded ones.
        dry_run: say what would be done, and do none of it.
    """

    recipe: Recipe
    home: Path
    limit: int | None = None
    resample: bool = False
    sample: bool = True
    dry_run: bool = False

    @property
    def folder(self) -> Path:
        """The run's folder."""
        return self.home / "runs" / self.recipe.name

    @property
    def draws_anew(self) -> bool:
        """Whether recorded samples are not used: by `--resample`, or by an earlier one that was interrupted."""
        return self.resample or Resampling.read(self.folder).open

    @cached_property
    def inputs(self) -> dict[str, Any]:
        """What the problems and recorded samples come from, files by their digest."""
        return inputs_of(self.recipe, self.home, self.limit)


@dataclass
class RunState:
    """What becomes known while a run goes on; threads share it.

    Attributes:
        stopping: set to end sampling early.
        fingerprint: of the request when the run began; empty: the run is not recorded as finished.
        unanswered: whether some requests have no answer and may be asked again, so that the run is not finished.
    """

    stopping: Event = field(default_factory=Event)
    unanswered: bool = False
    fingerprint: str = ""


@dataclass(frozen=True)
class RunContext:
    """What the steps of a run may use. One process holds one context of a run at a time.

    Attributes:
        request: what the caller wants.
        filters: the filters that the recipe asks for, in order.
        store: the run's folder, where the outputs of steps are committed.
        progress: is notified of what happens.
        workers: processes that annotate rows.
        models: plans, engines and recorded samples.
        state: the run's state.
        prior: published versions whose rows this run doesn't repeat.
        background: the sampler's thread; an engine dies with the thread that started it.
        tasks: runs tasks over files, in worker processes or on the nodes of a cluster.
    """

    request: RunRequest
    filters: tuple[ActiveFilter, ...]
    store: RunStore
    progress: Progress
    workers: FilterWorkers
    models: ModelPool
    state: RunState
    prior: tuple[Version, ...]
    background: ThreadPoolExecutor
    tasks: TaskMap

    @property
    def recipe(self) -> Recipe:
        """The resolved recipe."""
        return self.request.recipe

    @property
    def home(self) -> Path:
        """HOME."""
        return self.request.home

    def read_only(self, store: RunStore) -> RunContext:
        """Return the same context over a store that makes nothing, with a progress display that shows nothing."""
        return replace(self, store=store, progress=_SilentProgress())


class _SilentProgress(Progress):
    def note(self, message: str) -> None:
        """Show nothing."""

    def warn(self, message: str) -> None:
        """Show nothing."""


# The runs that this thread has open. Prefect calls the flow with plain parameters, so it finds its run here.
_OPEN: ContextVar[tuple[RunContext, ...]] = ContextVar("open runs", default=())


@contextmanager
def open_run(request: RunRequest, progress: Progress | None = None) -> Iterator[RunContext]:
    """Hold a run's lock until all is done, then end every process that was started.

    A run that the caller has already opened is returned again, so that an engine can load while Prefect is imported:
    the command opens the run, and the flow finds it open. Another thread of this process is refused like another
    process.

    Args:
        request: what the caller wants.
        progress: the caller's display; None: nothing is shown.

    Raises:
        UsageError: parts of the request contradict each other, or a version that it names does not exist.
        StoreError: another process is working on this run.
    """
    if opened := next((run for run in _OPEN.get() if run.request == request), None):
        yield opened
        return
    if request.resample and request.limit is not None:
        raise UsageError(
            "A part of the problems can't be sampled anew: --resample sets all recorded samples aside.",
            where="--resample with --limit",
            remedy="leave one of them out; another seed draws other samples and keeps the recorded ones",
        )
    check_home(request)
    recipe, shown = request.recipe, progress or Progress()
    filters = recipe.active_filters()  # what can't be used is an error now, not after hours of sampling
    dedup = recipe.options(NEAR_DUPLICATES)
    prior = tuple(run_inputs.prior_versions(request.home, dedup.against, dedup))
    with ExitStack() as stack:
        store = RunStore(request.home, recipe.name, recipe.resolved() | {"limit": request.limit})
        stack.enter_context(store.opened(claim=not request.dry_run))
        stack.enter_context(logged(store.folder / "run.log"))
        stack.enter_context(Resampling.end_if_nothing_kept(store.folder))
        resampling = Resampling.begin(store.folder, requested=request.resample, keep=not request.dry_run)
        pool = ModelPool(
            recipe,
            request.home,
            store.folder,
            shown,
            generation=resampling.count,
            resampling=resampling.open,
            stack=stack,
        )
        workers = FilterWorkers(recipe.options(VERDICTS), stack)
        thread = stack.enter_context(ThreadPoolExecutor(1, thread_name_prefix="sampler"))
        run = RunContext(request, filters, store, shown, workers, pool, RunState(), prior, thread, workers.tasks)
        _OPEN.set((*_OPEN.get(), run))
        stack.callback(lambda: _OPEN.set(tuple(other for other in _OPEN.get() if other is not run)))
        yield run


def check_home(request: RunRequest) -> None:
    """Refuse an object store on which two runs could go on at once, and a cluster, whose nodes can't read one yet.

    Raises:
        UsageError, StoreError: the HOME can't be used for this run.
    """
    store = object_store(request.home)
    if store is None:
        return
    if request.recipe.cluster.address is not None:
        raise UsageError(
            "Nodes of a cluster can't work on a HOME in an object store.",
            where=f"{store.address}, with the cluster {request.recipe.cluster.address}",
            remedy="pass --home FOLDER that all nodes share, or leave --cluster out",
        )
    if not request.dry_run:
        store.check_creates_once()


def worker_context(
    request: RunRequest, store: RunStore, workers: FilterWorkers, progress: Progress, stack: ExitStack
) -> RunContext:
    """Return the context of a run in a process that works for the one which has it open.

    Args:
        request: the run's.
        store: what of the run's folder the work needs.
        workers: processes for filters.
        progress: collects warnings.
        stack: ends what is started.
    """
    recipe = request.recipe
    pool = ModelPool(recipe, request.home, store.folder, progress, generation=0, resampling=False, stack=stack)
    thread = stack.enter_context(ThreadPoolExecutor(1))
    return RunContext(
        request, recipe.active_filters(), store, progress, workers, pool, RunState(), (), thread, run_here
    )


def home_folder(given: str | None, command: str = "") -> Path:
    """Return HOME: `--home`, else `$PROOFMILL_HOME`, else `./proofmill-home`.

    That of an object store (`s3://bucket/prefix`) is the folder that mirrors it.

    Args:
        given: `--home`.
        command: of those that only work in a folder.

    Raises:
        UsageError: the place exists and is a file, or it is in an object store where this can't be.
        StoreError: the object store can't be used.
    """
    named = given or os.environ.get("PROOFMILL_HOME") or "proofmill-home"
    if is_address(named) and command:
        raise UsageError(
            f"`proofmill {command}` needs a HOME in a folder: object stores keep data, not models.",
            where=named,
            remedy="pass --home FOLDER; data goes there by `proofmill push` and hf://user/name, or as a copy of "
            "datasets/ in the bucket",
        )
    if is_address(named):
        return mirrored_home(named)
    home = Path(named).expanduser()
    if home.exists() and not home.is_dir():
        raise UsageError(f"{home} is a file, not a folder.", remedy="choose another place with --home")
    return home
