"""The kinds of filter: one object holds everything about one judgement of traces.

All other code reads what it needs from that object: the flow's loop, the commands, the schemas of a version, drop
reasons and their order, the dry run, the causes that `diff` names, the funnel, the evidence that `show` prints, and
the reference pages. `catalog.FILTERS` lists the filters in order; a new one is a file and a line there.

A filter adds columns and never drops a row. Its `annotate` is pure: no files, no clock, no random state, no Prefect.
What is kept is decided once, at the end, by the rules of all filters over the columns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, Literal, Protocol, TypeVar

import polars as pl
import pyarrow as pa

from proofmill.data.run import Step
from proofmill.data.sections import Section
from proofmill.data.tasks import TaskMap, run_here

Row = dict[str, Any]
NO_COLUMNS = pa.schema([])


class NoOptions(Section):
    """The options of a filter that has none."""


O = TypeVar("O", bound=Section)  # noqa: E741 (a type, told from others by its bound)


class CallerServices(Protocol):
    """What `resolve` may use: processes that belong to the caller and can be killed."""

    @property
    def judge(self) -> Any:
        """The verifiers (`verification.Judge`)."""

    @property
    def evaluate(self) -> Callable[[str, str, str], bool | None] | None:
        """Whether an expression has a stated value behind some code, as the jail finds; None where there is no jail."""


@dataclass(frozen=True, slots=True)
class Deferred:
    """Stands in for a row's columns that a worker must not make: the filter's `resolve` makes them from `job`."""

    job: Any


@dataclass(frozen=True)
class DropRule(Generic[O]):
    """A reason to drop a row. Of several rules that hold, the first in the order of the filters gives the reason.

    Attributes:
        reason: value of `drop_reason`, and its name in the ledger.
        when: makes, from the options, a boolean expression over the columns of a trace; null drops nothing.
        means: the reason in one sentence, for the reference page.
        hangs_on: the options that it compares with: they change what is dropped and none of the columns.
        evidence: columns that let a person judge whether the row should go.
    """

    reason: str
    when: Callable[[O], pl.Expr]
    means: str
    hangs_on: tuple[str, ...] = ()
    evidence: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, eq=False)  # each is one object: compared and hashed as such
class Filter(Generic[O]):
    """What every kind of filter declares.

    Attributes:
        name: unique; its folder in a run and its row in reports.
        version: raised when its output may change, which makes it run again; the golden test says when it must be.
        section: path of its options in the recipe, with dots; empty where it has none.
        options: type of that section, and the only copy of its defaults.
        reads: columns of a trace, of its problem (`problem` is all of it), or of earlier filters.
        optional: the same, null where there is no such column.
        adds: columns of the published `traces`.
        internal: columns that a run keeps beside them, for later filters and for publishing.
        rules: which values of its columns drop a row, in order.
        shown_as: step of the report's funnel at which its dropped rows fall off.
        keyed_by: options that decide its columns; no change of another option makes it run again.
        libraries: distributions whose version decides its columns.
        identity: what else decides them, such as the source of a user's own verifier.
        enabled: whether the options ask for it at all.
    """

    name: str
    version: int
    section: str = ""
    options: type[O] = NoOptions  # type: ignore[assignment] # a default for filters without options
    reads: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    adds: pa.Schema = NO_COLUMNS
    internal: pa.Schema = NO_COLUMNS
    rules: tuple[DropRule[O], ...] = ()
    shown_as: Literal["right answer", "sound", "new", "kept"] = "sound"
    keyed_by: tuple[str, ...] = ()
    libraries: tuple[str, ...] = ()
    identity: Callable[[O], Any] | None = None
    enabled: Callable[[O], bool] = field(default=lambda _: True)

    @cached_property
    def schema(self) -> pa.Schema:
        """The columns of its tables in a run."""
        return pa.schema([*self.adds, *self.internal])

    @cached_property
    def step(self) -> Step:
        """The step under which the run's store keeps its output."""
        return Step(self.name, self.version, self.libraries, self.schema)

    def key(self, options: O, *inputs: Any) -> str:
        """Return an output's key: name, version, libraries, columns, the options that decide it, its inputs."""
        decided = {name: value for name, value in options.model_dump(mode="json").items() if name in self.keyed_by}
        return self.step.key(decided, self.identity and self.identity(options), inputs)


@dataclass(frozen=True)
class SharedFile(Generic[O]):
    """A file that is made once for a run and read by all of a filter's workers, such as an index.

    Attributes:
        step: the step under which it is kept.
        identity: what it is made of, from the options.
        build: writes the file; returns facts to show, its `content` digest among them.
    """

    step: Step
    identity: Callable[[O], Any]
    build: Callable[[O, Path], Mapping[str, Any]]


@dataclass(frozen=True, kw_only=True, eq=False)
class MapFilter(Filter[O]):
    """Looks at one row at a time, or at some hundred: on any shard, in any order, on any machine.

    Attributes:
        annotate: (rows, options) to the added columns of these rows, in order: mappings (a missing key is null),
            `Deferred`, or a table. Rows have the columns of `reads` and `optional`. A filter with a shared file takes
            its path as a third argument.
        runs: `rows`: one row at a time in workers that are killed at a row which takes too long; `chunks`: some
            hundred rows at a time in workers, for what is vectorised; `here`: in the calling process, for what is
            cheap by design and defers the rest.
        resolve: (jobs, services) to the columns of deferred rows, in the calling process.
        check: raises VerifierError for a shard's table that is not to be trusted.
        fault: the columns of a row that brought its worker down or could not be read, by kind and detail.
        shared: the file that its workers read.
        command: columns that its command adds beside `adds` and `internal`.
        labels: the names under which its command counts a row, from the added columns.
        why: why a row could not be judged, from the added columns; None where it was.
    """

    annotate: Callable[..., Iterable[Row | Deferred] | pa.Table]
    runs: Literal["rows", "chunks", "here"] = "rows"
    resolve: Callable[[Sequence[Any], CallerServices], list[Row]] | None = None
    check: Callable[[pa.Table, O], None] | None = None
    fault: Callable[[str, str], Row] = field(default=lambda _kind, _detail: {})
    shared: SharedFile[O] | None = None
    command: pa.Schema = NO_COLUMNS
    labels: Callable[[Row], Iterable[str]] = field(default=lambda _: ("judged",))
    why: Callable[[Row], str | None] = field(default=lambda _: None)


@dataclass(frozen=True, kw_only=True, eq=False)
class ProblemFilter(Filter[O]):
    """Looks at the problems of a shard, with their traces where `reads` names columns of these.

    Its columns are added to the published `problems`.

    Attributes:
        annotate: (problems, traces by problem id, options, path of the shared file) to one row for each problem.
        shared: the file that it reads.
    """

    annotate: Callable[[Sequence[Row], Mapping[str, Sequence[Row]], O, Path | None], Sequence[Row]]
    shared: SharedFile[O] | None = None


class Part(Protocol):
    """The columns of a shard's traces that a gather reads; picklable, so that tasks elsewhere can read them."""

    @property
    def rows(self) -> int:
        """Number of traces."""

    def __call__(self, names: Sequence[str] = ()) -> pa.Table:
        """Return the columns of these names, read from their files anew; without names, of all that are read."""


@dataclass(frozen=True)
class GatherContext:
    """What a gather may use.

    Attributes:
        scratch: a folder for temporary files, which all tasks see.
        previous: files of signed rows of published versions that this run doesn't repeat.
        tasks: runs a function on each of some tasks.
    """

    scratch: Path
    previous: Sequence[Path] = ()
    tasks: TaskMap = run_here


@dataclass(frozen=True, kw_only=True, eq=False)
class GatherFilter(Filter[O]):
    """Looks at small columns of all shards at once.

    Attributes:
        gather: from the columns of `reads`, a part for each shard, to the added columns of each shard in order.
            The parts may be read several times.
        tally: numbers for the manifest, counted in a shard's added columns.
    """

    gather: Callable[[Sequence[Part], O, GatherContext], Iterable[pa.Table]]
    tally: Callable[[pa.Table], Mapping[str, float]] = field(default=lambda _: {})


@dataclass(frozen=True, kw_only=True, eq=False)
class ModelFilter(Filter[O]):
    """Asks a model after all verdicts; `flows.model_filters` sends its questions and reads the answers."""
