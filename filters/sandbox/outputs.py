"""What code in the jail returns or prints, as data: for tests that are made, where `run` is for those that judge."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import Any

from proofmill.filters.sandbox import wire
from proofmill.filters.sandbox.formats import ProblemTests
from proofmill.filters.sandbox.jail import Jail, Limits, ProcessEnded
from proofmill.filters.sandbox.plan import Plan
from proofmill.filters.sandbox.run import decode_answer, load_solution, open_streams, read_setup, roomy

MAX_BYTES = 64_000  # of one value or of what is printed: what is longer is not read
MAX_TIMEOUTS = 3  # of one program, after which its other inputs are not tried
NO_PLAN = Plan(ProblemTests(""), "")


class NoValue:
    """Stands for an expression that raised, ran out of its limits, or gave no plain data of a moderate size."""


NOTHING = NoValue()


def values(
    jail: Jail,
    code: str,
    expressions: Sequence[str],
    limits: Limits,
    planned: Plan = NO_PLAN,
    *,
    as_json: bool = True,
) -> list[Any]:
    """Return the value of each expression behind some code.

    Args:
        jail: where it runs; all in one process.
        code: what a model wrote.
        expressions: ours.
        limits: of the process.
        planned: of the problem: what is there beside the code, as where it is judged.
        as_json: return tuples as lists.

    Raises:
        SetupFailedError: the problem's own setup raised.
    """
    results: list[Any] = []
    with jail.slot(), jail.process(limits) as process:
        try:
            if not load_solution(process, planned, code, (wire.EVALUATE, wire.dumps(list(expressions)))):
                results.extend(_plain(process.receive()[1], as_json=as_json) for _ in expressions)
        except (ProcessEnded, wire.WireError):
            pass  # what has come stays, the rest has no value
        process.close()
    return results + [NOTHING] * (len(expressions) - len(results))


def _plain(body: bytes, *, as_json: bool) -> Any:
    if len(body) > MAX_BYTES:
        return NOTHING
    answer = decode_answer(body)
    if "ok" not in answer:
        return NOTHING
    try:
        return wire.Decoder().decode(wire.as_json(answer["ok"]) if as_json else answer["ok"])
    except (wire.WireError, *wire.MALFORMED):
        return NOTHING


def printed(jail: Jail, code: str, inputs: Iterable[str], limits: Limits, *, setup: str = "") -> list[Any]:
    """Return what a program prints for each standard input, each in a jail of its own; `NOTHING` where it fails.

    Raises:
        SetupFailedError: the problem's own setup raised.
    """
    job = wire.dumps({"role": "program", "setup": setup, "code": code})
    limits, timeouts, results = roomy(code, limits), 0, list[Any]()
    for text in inputs:
        result, timed_out = (NOTHING, False) if timeouts == MAX_TIMEOUTS else _printed(jail, job, text, limits)
        timeouts += timed_out
        results.append(result)
    return results


def _printed(jail: Jail, job: bytes, given: str, limits: Limits) -> tuple[Any, bool]:
    """Return what is printed, and whether the program ran out of its time."""
    raised: Any = None
    with open_streams(given) as streams, jail.slot(), jail.process(limits, streams) as process:
        try:
            process.send(wire.JOB, job)
            read_setup(process)
            raised = decode_answer(process.receive()[1])
        except (ProcessEnded, wire.WireError):
            pass  # it says nothing where it ends well
        end = process.wait()
        output = os.pread(streams[1], MAX_BYTES + 1, 0)
    failed = raised is not None or end.code != 0 or end.timed_out or end.fault is not None
    return NOTHING if failed or len(output) > MAX_BYTES else output.decode("utf-8", "replace"), end.timed_out


def outlines(jail: Jail, programs: Sequence[str]) -> list[str | None]:
    """Return the outline (`extract.outline`) of each program; None where it is not Python.

    They are read in one process of the jail: hostile code is not parsed outside.
    """
    results: list[str | None] = []
    with jail.slot(), jail.process(Limits()) as process:
        try:
            process.send(wire.JOB, wire.dumps({"role": "outline", "programs": list(programs)}))
            for _ in programs:
                outline = decode_answer(process.receive()[1]).get("ok")
                results.append(outline if isinstance(outline, str) else None)
        except (ProcessEnded, wire.WireError):
            pass  # a program that brings the parser down: it and those behind it have none
    return results + [None] * (len(programs) - len(results))
