"""Problems made by reasoning-gym's procedural tasks, each with its scorer.

Every eighth question of every task, by its digest, is *held out*: a run leaves it out and says so in its ledger, and an
evaluation suite asks nothing else. So what a model is trained on and what it is measured on can't share a question,
whatever the seeds are, and even where a task has few questions. (Other seeds alone would not do: of the 121 sums of two
one-digit numbers that `basic_arithmetic` makes, 64 draws of any seed repeat half.)
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import Any

from proofmill.data.errors import InputError, RecipeError
from proofmill.data.files import digest
from proofmill.data.rows_io import Located
from proofmill.filters import scorers

_HELD_OUT = "01"  # first digits, of sixteen, of the digests of questions that are held out
_DRAWS, _MORE_DRAWS = (
    16,
    256,
)  # at most so many draws a held-out problem, and so many more: a task may have few questions


def generate(
    task: str, args: dict[str, Any], count: int, seed: int, domain: str, *, held_out: bool = False
) -> Iterator[Located]:
    """Yield `count` problems of a task; of held-out ones fewer where it has no more.

    Args:
        task: its name in reasoning-gym.
        args: its parameters.
        count: problems. Without `held_out` they are the task's own draws: questions may repeat, and may be held out.
        seed: of the task.
        domain: `logic` also gets what the scorer needs.
        held_out: only held-out questions, each once.

    Raises:
        RecipeError: no such task, or parameters that it doesn't take.
        InputError: the task can't prove anything: its gold is null, or its scorer accepts garbage.
    """
    tasks = scorers.library().factory.DATASETS
    where = f"problems.sources, task '{task}'"
    if task not in tasks:
        near = difflib.get_close_matches(task, tasks, 1)
        remedy = f"did you mean '{near[0]}'?" if near else f"one of: {', '.join(sorted(tasks))}"
        raise RecipeError(f"There is no procedural task {task!r}.", where=where, remedy=remedy)
    if reason := scorers.usable(task):
        raise InputError(f"The task '{task}' can't prove an answer: {reason}.", where=where, remedy="use another")
    try:
        draws = _DRAWS * count + _MORE_DRAWS if held_out else count
        dataset = scorers.library().create_dataset(task, size=draws, seed=seed, **args)
    except (TypeError, ValueError, AssertionError) as error:
        raise RecipeError(
            f"The parameters don't fit the task: {error}", where=where, remedy="correct `args` of this source"
        ) from error
    given, seen = 0, set()
    for index, entry in enumerate(dataset):
        plain = scorers.entry_json(entry)
        if given == count:
            return
        if held_out and (plain["question"] in seen or not is_held_out(plain["question"])):
            continue
        given += 1
        seen.add(plain["question"])
        row = {"prompt": plain["question"], "answer": plain["answer"]}
        if domain == "logic":
            row |= {"task": task, "entry": plain}
        yield Located(f"{task}#{index}", row)


def is_held_out(question: str) -> bool:
    """Whether a question is kept for evaluation: one of eight is, by its digest, on every machine the same."""
    return digest("held out", question)[0] in _HELD_OUT
