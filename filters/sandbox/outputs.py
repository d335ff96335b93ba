"""What code in the jail returns or prints, as data: for tests that are made, where `run` is for those that judge."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from proofmill.filters.sandbox import wire
from proofmill.filters.sandbox.formats import ProblemTests
from proofmill.filters.sandbox.jail import Jail, Limits, ProcessEnded
from proofmill.filters.sandbox.plan import Plan
from proofmill.filters.sandbox.run import decode_answer, load_solution, open_streams, read_setup


class NoValue:
    """Stands for an expression that raised, ran out of its limits, or gave no plain data."""


NOTHING = NoValue()


def values(
    jail: Jail,
    code: str,
    expressions: Sequence[str],
    limits: Limits,
    *,
    setup: str = "",
    entry_point: str = "",
    as_json: bool = True,
) -> list[Any]:
    """Return the value of each expression behind some code.

    Args:
        jail: where it runs; all in one process.
        code: what a model wrote.
        expressions: ours.
        limits: of the process.
        setup: runs before the code.
        entry_point: a name under test that may be a method of `Solution`.
        as_json: return tuples as lists.
    """
    planned = Plan(ProblemTests("", entry_point=entry_point), setup)
    found: list[Any] = []
    with jail.slot(), jail.process(limits) as process:
        try:
            if not load_solution(process, planned, code, (wire.EVALUATE, wire.dumps(list(expressions)))):
                found.extend(_plain(decode_answer(process.receive()[1]), as_json=as_json) for _ in expressions)
        except (ProcessEnded, wire.WireError):
            pass  # what has come stays, the rest has no value
        process.close()
    return found + [NOTHING] * (len(expressions) - len(found))


def _plain(answer: dict[str, Any], *, as_json: bool) -> Any:
    if "ok" not in answer:
        return NOTHING
    try:
        return wire.Decoder().decode(wire.as_json(answer["ok"]) if as_json else answer["ok"])
    except (wire.WireError, *wire.MALFORMED):
        return NOTHING


def printed(jail: Jail, code: str, inputs: Sequence[str], limits: Limits, *, setup: str = "") -> list[Any]:
    """Return what a program prints for each standard input, each in a jail of its own; `NOTHING` where it fails."""
    job = wire.dumps({"role": "program", "setup": setup, "code": code})
    return [_printed(jail, job, given, limits) for given in inputs]


def _printed(jail: Jail, job: bytes, given: str, limits: Limits) -> Any:
    raised: Any = None
    with open_streams(given) as streams, jail.slot(), jail.process(limits, streams) as process:
        try:
            process.send(wire.JOB, job)
            read_setup(process)
            raised = decode_answer(process.receive()[1])
        except (ProcessEnded, wire.WireError):
            pass  # it says nothing where it ends well
        end = process.wait()
        text = os.pread(streams[1], limits.output_bytes, 0).decode("utf-8", "replace")
    failed = raised is not None or end.code != 0 or end.timed_out or end.fault is not None
    return NOTHING if failed or len(text) >= limits.output_bytes else text
