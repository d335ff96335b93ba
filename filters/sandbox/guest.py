"""What runs inside a locked-up child: one job, one of four roles, then the end of the process."""

from __future__ import annotations

import importlib
import os
import site
import sys

from proofmill.filters.sandbox import candidate, examiner, joining, kernel, link

# Imported once, before the first fork: what solutions import most. Every module more makes every fork
# dearer, so that what few solutions need is left for them to import.
_WARM = (
    "bisect", "collections", "copy", "functools", "heapq", "itertools", "math", "operator", "random", "re",
    "string", "threading", "typing",
)  # fmt: skip


def warm_up() -> None:
    """Import the usual modules, and keep the C library from reserving address space for every thread."""
    kernel.one_arena()
    for name in _WARM:
        importlib.import_module(name)
    site.setquit()  # `exit()` is part of the language for those who write scripts; -S leaves it out
    os.environ.update(HOME="/tmp", PATH="/usr/bin:/bin", OPENBLAS_NUM_THREADS="1")  # noqa: S108
    sys.set_int_max_str_digits(4300)


def say(fd: int, fault: dict[str, str]) -> None:
    """Report that the walls could not be built."""
    link.Link(fd).send(link.FAULT, fault)


def main(fd: int) -> None:
    """Take the job from the channel and do it; the caller ends the process afterwards."""
    channel = link.Link(fd)
    channel.send(link.READY, None)
    _, job = channel.receive()
    roles = {
        "serve": candidate.serve,
        "program": candidate.run_program,
        "examine": examiner.examine,
        "join": joining.join,
    }
    roles[job["role"]](channel, job)
