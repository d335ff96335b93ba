"""What a worker process does with a chunk of a user's rows: read, annotate, write back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, NamedTuple, Protocol, cast

import pyarrow as pa

from proofmill.data.rows_io import Row
from proofmill.flows.rows.reading import Chunk, View, joined, views

SHOWN_FAULTS = 5


class Stage(Protocol):
    """What a module of a command offers; it is named in a task and imported in the worker."""

    ADDED: pa.Schema
    """The columns that it adds."""

    def annotate(self, rows: Sequence[View], options: Any) -> Iterator[Row | Open]:
        """The added columns of each row, or what is left open; rows with a fault get theirs too."""

    def fault(self, detail: str, kind: str) -> Row:
        """The added columns of a row that can't be read (`row`) or brought a worker down (`timeout`, …)."""

    def tally(self, added: Row) -> Iterable[str]:
        """Under which names a row is counted."""

    def why(self, added: Row) -> str | None:
        """Why a row could not be used, None where it could."""


class Open(NamedTuple):
    """In the place of added columns: what the main process has to do first."""

    job: Any


@dataclass(frozen=True, slots=True)
class Task:
    """A chunk and what to do with it.

    Attributes:
        stage: module of the command's `Stage`.
        chunk: the rows.
        fields: our names to theirs.
        options: the stage's own.
        as_lines: whether rows come back as lines of JSON, else as mappings.
    """

    stage: str
    chunk: Chunk
    fields: Mapping[str, str]
    options: Any
    as_lines: bool


class Pending(NamedTuple):
    """A row that is still open."""

    place: int
    view: View
    job: Any


@dataclass
class Done:
    """A chunk's rows with their added columns.

    Attributes:
        as_lines: whether rows are lines of JSON, else mappings.
        rows: the rows; None at the places in `pending`.
        pending: rows that the main process finishes.
        tally: rows by the stage's names.
        faults: how many rows can't be used.
        shown: what is wrong with the first of them.
    """

    stage: str
    as_lines: bool
    rows: list[Any] = field(default_factory=list)
    pending: list[Pending] = field(default_factory=list)
    tally: Counter[str] = field(default_factory=Counter)
    faults: int = 0
    shown: list[str] = field(default_factory=list)

    def add(self, view: View, found: Row | Open) -> None:
        """Appends one row."""
        self.rows.append(None)
        if isinstance(found, Open):
            self.pending.append(Pending(len(self.rows) - 1, view, found.job))
        else:
            self.settle(len(self.rows) - 1, view, found)

    def settle(self, place: int, view: View, added: Row) -> None:
        """Fills in one row."""
        self.rows[place] = joined(view, added) if self.as_lines else view.kept | added
        stage = stage_of(self.stage)
        self.tally.update(stage.tally(added))
        if (why := stage.why(added)) is not None:
            self.faults += 1
            if len(self.shown) < SHOWN_FAULTS:
                self.shown.append(why if view.where in why else f"{view.where}: {why}")


def stage_of(name: str) -> Stage:
    """The stage of a module."""
    return cast(Stage, import_module(name))


def work(task: Task) -> Done:
    """A chunk with the columns that its stage adds."""
    stage = stage_of(task.stage)
    rows = list(views(task.chunk, task.fields, frozenset(stage.ADDED.names), as_lines=task.as_lines))
    done = Done(task.stage, task.as_lines)
    for view, found in zip(rows, stage.annotate(rows, task.options), strict=True):
        done.add(view, found)
    return done


def fallen(task: Task, kind: str, detail: str) -> Done:
    """The rows of a chunk that can't be worked on within the limits."""
    stage = stage_of(task.stage)
    done = Done(task.stage, task.as_lines)
    for view in views(task.chunk, task.fields, frozenset(stage.ADDED.names), as_lines=task.as_lines):
        done.add(view, stage.fault(detail, kind))
    return done
