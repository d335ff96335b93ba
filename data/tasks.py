"""Work cut into tasks over files: run here, in worker processes, or on other machines."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol, TypeVar

T = TypeVar("T")
R = TypeVar("R")


class TaskMap(Protocol):
    """Runs a function on each of some tasks."""

    def __call__(self, function: Callable[[T], R], tasks: Sequence[T]) -> Iterable[R]:
        """Return the results in order. Function, tasks and results are picklable; a task may run more than once."""


def run_here(function: Callable[[T], R], tasks: Sequence[T]) -> Iterator[R]:
    """Run tasks in this process."""
    return map(function, tasks)
