"""Problems made by reasoning-gym's procedural tasks, each with its scorer."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import Any

from proofmill.data.errors import InputError, RecipeError
from proofmill.data.rows_io import Located
from proofmill.filters import scorers


def generate(task: str, args: dict[str, Any], count: int, seed: int, domain: str) -> Iterator[Located]:
    """Yield `count` problems of a task.

    Raises:
        RecipeError: no such task, or parameters that it doesn't take.
        InputError: the task can't prove anything: its gold is null, or its scorer accepts garbage.
    """
    from reasoning_gym.factory import DATASETS, create_dataset

    where = f"problems.sources, task '{task}'"
    if task not in DATASETS:
        near = difflib.get_close_matches(task, DATASETS, 1)
        remedy = f"did you mean '{near[0]}'?" if near else f"one of: {', '.join(sorted(DATASETS))}"
        raise RecipeError(f"There is no procedural task {task!r}.", where=where, remedy=remedy)
    if reason := scorers.usable(task):
        raise InputError(f"The task '{task}' can't prove an answer: {reason}.", where=where, remedy="use another")
    try:
        dataset = create_dataset(task, size=count, seed=seed, **args)
    except (TypeError, ValueError, AssertionError) as error:
        raise RecipeError(
            f"The parameters don't fit the task: {error}", where=where, remedy="mend `args` of this source"
        ) from error
    for index, entry in enumerate(dataset):
        plain = scorers.entry_json(entry)
        row = {"prompt": plain["question"], "answer": plain["answer"]}
        if domain == "logic":
            row |= {"task": task, "entry": plain}
        yield Located(f"{task}#{index}", row)
