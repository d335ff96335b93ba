"""What every step of a run is given: a frozen context, the pool of models, and the run's state."""

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
from proofmill.data.files import write_json
from proofmill.data.run import RunStore
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
    """How often a run was told to sample anew, kept beside it so that `--resample` survives an interruption.

    Attributes:
        count: how often.
        open: whether the last time is not finished yet.
    """

    count: int = 0
    open: bool = False

    @classmethod
    def read(cls, folder: Path) -> Resampling:
        """Return what is kept in a run's folder."""
        path = folder / _RESAMPLED
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
    def ended_in_vain(cls, folder: Path) -> Iterator[None]:
        """Where nothing survives, the new samples are all drawn and only no good: the next `--resample` begins anew."""
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
        limit: the first so many problems only; None: all.
        resample: set recorded samples aside and draw new ones.
        sample: draw what is missing; False: go on with what is recorded.
        dry_run: say what would be done, and do nothing of it.
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
    """What becomes known while a run goes on, and is read by other threads.

    Attributes:
        stopping: set where sampling is to end before its time.
        fingerprint: of the request as it was when the run began; empty: the run does not remember that it is done.
        unanswered: whether some requests have no answer yet and may be asked again, so that the run is never done.
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
        progress: told what happens.
        workers: processes that annotate rows.
        models: plans, engines and recorded samples.
        state: the run's state.
        prior: published versions whose rows this run doesn't repeat.
        background: the sampler's thread; an engine dies with the thread that started it.
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

    @property
    def recipe(self) -> Recipe:
        """The resolved recipe."""
        return self.request.recipe

    @property
    def home(self) -> Path:
        """HOME."""
        return self.request.home

    def looked_at(self, store: RunStore) -> RunContext:
        """The same over a store that makes nothing, and says nothing: what is only looked at did not happen."""
        return replace(self, store=store, progress=_Unseen())


class _Unseen(Progress):
    def note(self, message: str) -> None:
        """Not shown."""

    def warn(self, message: str) -> None:
        """Not shown."""


_OPEN: ContextVar[tuple[RunContext, ...]] = ContextVar("open runs", default=())


@contextmanager
def open_run(request: RunRequest, progress: Progress | None = None) -> Iterator[RunContext]:
    """Holds a run's lock until all is done, then ends every process that was started.

    A run that the caller has open already is given again, so that an engine can load before Prefect is there: the
    command opens the run, and the flow finds it. Another thread of this process is refused like another process.

    Args:
        request: what the caller wants.
        progress: the caller's display; else one that nobody sees.

    Raises:
        UsageError: parts of the request don't go together, or a version that it names is not there.
        StoreError: another process is on this run.
    """
    if mine := next((run for run in _OPEN.get() if run.request == request), None):
        yield mine
        return
    if request.resample and request.limit is not None:
        raise UsageError(
            "A part of the problems can't be sampled anew: recorded samples are set aside all together.",
            where="--resample with --limit",
            remedy="leave one of them out; another seed draws other samples and keeps the recorded ones",
        )
    recipe, shown = request.recipe, progress or Progress()
    filters = recipe.active_filters()  # what can't be used is an error now, not after hours of sampling
    dedup = recipe.options(NEAR_DUPLICATES)
    prior = tuple(run_inputs.prior_versions(request.home, dedup.against, dedup))
    with ExitStack() as stack:
        store = RunStore(request.home, recipe.name, recipe.resolved() | {"limit": request.limit})
        stack.enter_context(store.opened())
        stack.enter_context(logged(store.folder / "run.log"))
        stack.enter_context(Resampling.ended_in_vain(store.folder))
        anew = Resampling.begin(store.folder, requested=request.resample, keep=not request.dry_run)
        pool = ModelPool(
            recipe, request.home, store.folder, shown, generation=anew.count, resampling=anew.open, stack=stack
        )
        workers = FilterWorkers(recipe.options(VERDICTS), stack)
        thread = stack.enter_context(ThreadPoolExecutor(1, thread_name_prefix="sampler"))
        run = RunContext(request, filters, store, shown, workers, pool, RunState(), prior, thread)
        _OPEN.set((*_OPEN.get(), run))
        stack.callback(lambda: _OPEN.set(tuple(other for other in _OPEN.get() if other is not run)))
        yield run


def home_folder(given: str | None) -> Path:
    """HOME: `--home`, else `$PROOFMILL_HOME`, else `./proofmill-home`.

    Raises:
        UsageError: the place exists and is a file.
    """
    home = Path(given or os.environ.get("PROOFMILL_HOME") or "proofmill-home").expanduser()
    if home.exists() and not home.is_dir():
        raise UsageError(f"{home} is a file, not a folder.", remedy="choose another place with --home")
    return home
