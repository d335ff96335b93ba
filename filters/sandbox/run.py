"""One solution against its tests: opens processes, talks to them, and says what came of it."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from proofmill.filters.sandbox import comparison, wire
from proofmill.filters.sandbox.jail import Exit, Jail, Limits, ProcessEnded, SandboxProcess
from proofmill.filters.sandbox.plan import BadTestError, Plan

PASSED, FAILED, TIMED_OUT, FAULT, NOT_PYTHON = "passed", "failed", "timed_out", "fault", "not_python"
_SYNTAX = ("SyntaxError", "IndentationError", "TabError")
EXAM_CPU_S = 20.0  # the tests' own share, on top of the solution's
_PRINTED = re.compile(r"[+-]?\d{0,400}\.?\d{0,400}(?:[eE][+-]?\d{1,4})?", re.ASCII)
_NO_MODULE = re.compile(r"(?:test \d{1,9}: |.{1,80} gave )?ModuleNotFoundError: No module named '(\w{1,60})", re.DOTALL)
# what a program may rightly expect to be installed; any other name is the model's invention, and its fault
PACKAGES = frozenset(
    {"Bio", "PIL", "attr", "attrs", "bs4", "cv2", "dateutil", "gmpy2", "jax", "lxml", "matplotlib", "more_itertools"}
    | {"mpmath", "networkx", "nltk", "numba", "numpy", "pandas", "polars", "psutil", "pydantic", "pytest", "pytz"}
    | {"regex", "requests", "scipy", "seaborn", "shapely", "skimage", "sklearn", "sortedcontainers", "statsmodels"}
    | {"sympy", "tensorflow", "torch", "tqdm", "yaml"}
)
MAX_ANSWERS = 16 << 20  # bytes of all answers of a solution: reading them is the parent's own time
PRINTED_TOLERANCE = 1e-6  # of decimals in a program's output, relative and absolute


@dataclass(frozen=True)
class Outcome:
    """What came of one solution.

    Attributes:
        status: `passed`, `failed`, `timed_out`, `fault` (of the jail or the tests) or `not_python`.
        passed: tests that held.
        total: tests there are.
        why: the first failure, one line.
        cpu_s: CPU seconds of the solution.
    """

    status: str
    passed: int
    total: int
    why: str = ""
    cpu_s: float = 0.0


class SetupFailedError(BadTestError):
    """The problem's own setup raised."""


def _decode(body: bytes) -> dict[str, Any]:
    """A hostile answer as a mapping; anything else counts as hanging up."""
    try:
        answer = wire.loads(body)
    except wire.WireError:
        raise ProcessEnded from None
    if not isinstance(answer, dict):
        raise ProcessEnded
    return answer


def _raised(answer: dict[str, Any]) -> str:
    """`NameError: message` of a hostile answer, printable and short."""
    what = answer.get("raised")
    if not isinstance(what, list) or len(what) != 2 or not isinstance(what[0], list) or not what[0]:
        return "no answer"
    return ascii(f"{str(what[0][0])[:60]}: {str(what[1])[:120]}")[1:-1]


def _verdict(end: Exit, passed: int, total: int, why: str) -> Outcome:
    """The outcome of a run; `why` is a failure that was seen, which outweighs how the run ended."""
    if end.fault is not None:
        return Outcome(FAULT, passed, total, end.fault, end.cpu_s)
    if passed == total and not why:
        return Outcome(PASSED, passed, total, "", end.cpu_s)
    if end.timed_out and not why:
        return Outcome(TIMED_OUT, passed, total, f"used {end.cpu_s:.1f} s of CPU", end.cpu_s)
    return Outcome(FAILED, passed, total, why or _ended(end), end.cpu_s)


def _load(process: SandboxProcess, setup: str, code: str) -> str | None:
    """Load a solution in a fresh process; how it failed, or None."""
    process.send(wire.JOB, wire.dumps({"role": "serve", "setup": setup, "code": code}))
    _set_up(process)
    answer = _decode(process.receive()[1])
    return None if "ok" in answer else _raised(answer)


def _set_up(process: SandboxProcess) -> None:
    """Read the report on setup, sent before the solution ran; raises `SetupFailedError`."""
    answer = _decode(process.receive()[1])
    if "ok" not in answer:
        raise SetupFailedError(_raised(answer))


def _ended(end: Exit) -> str:
    code = end.code or 0
    return f"the process ended early ({f'signal {-code}' if code < 0 else f'exit {code}'})"


def join(jail: Jail, code: str, earlier: Sequence[str], needed: Sequence[str], known: frozenset[str]) -> str:
    """`code` with what it and the tests (`needed`) lack from `earlier` blocks; `code` itself where none can be made."""
    job = {"role": "join", "code": code, "earlier": list(earlier), "needed": list(needed), "known": sorted(known)}
    program: object = None
    with jail.slot(), jail.process(Limits()) as process:
        try:
            process.send(wire.JOB, wire.dumps(job))
            program = _decode(process.receive()[1]).get("ok")
        except (ProcessEnded, wire.WireError):
            pass  # a block that brings the parser down
    return program if isinstance(program, str) else code


def missing_package(why: str) -> str | None:
    """The well-known package that a solution asked for and the jail doesn't have; None for any other failure."""
    found = _NO_MODULE.match(why)
    return found[1] if found and found[1] in PACKAGES else None


def run_checks(jail: Jail, setup: str, code: str, plan: Plan, limits: Limits) -> Outcome:
    """Evaluate the left-hand sides inside, compare outside."""
    passed, why = 0, ""
    with jail.slot(), jail.process(limits) as process:
        try:
            why = _load(process, setup, code) or ""
            if not why:
                process.send(wire.EVALUATE, wire.dumps([check.source for check in plan.checks]))
                left = MAX_ANSWERS
                for check in plan.checks:
                    body = process.receive()[1]
                    left -= len(body)
                    if left < 0:
                        raise ProcessEnded
                    answer = _decode(body)
                    held = "ok" in answer and check.holds(answer["ok"])
                    passed += held
                    why = why or ("" if held else _difference(check.source, answer))
        except (ProcessEnded, wire.WireError):
            pass  # `end` says how
        end = process.close()
    if why.startswith(_SYNTAX) and not passed:
        return Outcome(FAULT if end.fault else NOT_PYTHON, 0, len(plan.checks), end.fault or why, end.cpu_s)
    return _verdict(end, passed, len(plan.checks), why)


def _difference(source: str, answer: dict[str, Any]) -> str:
    got = comparison.preview(answer["ok"]) if "ok" in answer else _raised(answer)
    return f"{source[:80]} gave {got}"


def run_exam(jail: Jail, setup: str, code: str, plan: Plan, test: str, entry: str, limits: Limits) -> Outcome:
    """Run the tests in a second jail, the solution in the first, and carry their calls across."""
    exam_limits = Limits(cpu_s=EXAM_CPU_S + limits.cpu_s, memory_mb=max(limits.memory_mb, 512.0))
    count = plan.total
    with jail.slot(), jail.process(limits) as solution, jail.process(exam_limits) as exam:
        report: dict[str, Any] | None = None
        loaded, why = False, ""
        try:
            why = _load(solution, setup, code) or ""
            loaded = not why
            if loaded:
                job = {
                    "role": "examine", "setup": setup, "tests": plan.tests, "test": test,
                    "entry_point": entry, "names": sorted(plan.names), "under_test": sorted(plan.under_test),
                    "modules": sorted(plan.modules),
                }  # fmt: skip
                exam.send(wire.JOB, wire.dumps(job))
                report = _carry(exam, solution)
        except (ProcessEnded, wire.WireError):
            pass
        ends = solution.close(), exam.close()
    if not loaded:
        not_python = not ends[0].fault and why.startswith(_SYNTAX)
        return Outcome(NOT_PYTHON, 0, count, why) if not_python else _verdict(ends[0], 0, count, why)
    return _exam_outcome(ends, report, count)


def _carry(exam: SandboxProcess, solution: SandboxProcess) -> dict[str, Any]:
    """Pass calls to the solution and answers back, unopened, until the tests are done."""
    gone = False
    while True:
        kind, body = exam.receive()
        if kind == wire.DONE:
            return _decode(body)
        answer = wire.dumps({"gone": True})
        if not gone:
            try:
                solution.send(wire.CALL, body)
                _, answer = solution.receive()
            except ProcessEnded:
                gone = True
        exam.send(wire.ANSWER, answer)


def _exam_outcome(ends: tuple[Exit, Exit], report: dict[str, Any] | None, count: int) -> Outcome:
    solution, exam = ends
    if solution.fault:
        return _verdict(solution, 0, count, "")
    if report is None:
        if exam.timed_out or solution.timed_out:
            return Outcome(TIMED_OUT, 0, count, "the tests did not end in time", solution.cpu_s)
        return Outcome(FAULT, 0, count, exam.fault or "the tests' process died", solution.cpu_s)
    if report.get("fault"):
        return Outcome(FAULT, 0, count, ascii(str(report["fault"])[:300])[1:-1], solution.cpu_s)
    passed, ran = int(report["passed"]), int(report["ran"])
    reason = ascii(str(report.get("why") or "")[:300])[1:-1]  # the solution's words: no lone surrogates
    total = ran if passed == ran and not reason and not report["gone"] else max(ran, count)
    if report["gone"]:
        return _verdict(solution, min(passed, total - 1), total, reason)
    return _verdict(solution, passed, total, reason)


def _memory_file(name: str, data: bytes = b"") -> int:
    fd = os.memfd_create(name, os.MFD_CLOEXEC)
    os.write(fd, data)
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


def run_programs(jail: Jail, setup: str, code: str, tests: Sequence[tuple[str, str]], limits: Limits) -> Outcome:
    """Run the code once for every (input, output) pair, each in a jail of its own."""
    passed, first, cpu = 0, "", 0.0
    for index, (given, wanted) in enumerate(tests):
        outcome = _run_program(jail, setup, code, given, wanted, limits)
        cpu = max(cpu, outcome.cpu_s)
        if outcome.status in (FAULT, TIMED_OUT, NOT_PYTHON):
            return Outcome(outcome.status, passed, len(tests), outcome.why, cpu)
        passed += outcome.passed
        first = first or (f"test {index + 1}: {outcome.why}" if outcome.why else "")
    return Outcome(PASSED if passed == len(tests) else FAILED, passed, len(tests), first, cpu)


def _run_program(jail: Jail, setup: str, code: str, given: str, wanted: str, limits: Limits) -> Outcome:
    streams = [_memory_file("stdin", given.encode("utf-8", "replace")), _memory_file("stdout")]
    try:
        with jail.slot(), jail.process(limits, streams) as process:
            why = ""
            try:
                process.send(wire.JOB, wire.dumps({"role": "program", "setup": setup, "code": code}))
                _set_up(process)
                why = _raised(_decode(process.receive()[1]))
            except (ProcessEnded, wire.WireError):
                pass
            end = process.wait()
        printed = os.pread(streams[1], limits.output_bytes, 0).decode("utf-8", "replace")
    finally:
        for fd in streams:
            os.close(fd)
    if why.startswith(_SYNTAX):
        return Outcome(NOT_PYTHON, 0, 1, why, end.cpu_s)
    if not why and (end.code != 0 or end.timed_out):
        return _verdict(end, 0, 1, "")
    if not why and not same_output(printed, wanted):
        why = f"printed {printed[:60]!a}"
    return _verdict(end, int(not why), 1, why)


def same_output(printed: str, wanted: str) -> bool:
    """Whether two outputs agree: white space at line ends and empty lines at the end don't count,
    runs of blanks count as one, and printed decimals may differ by `PRINTED_TOLERANCE`.
    """
    ours, theirs = ([line.split() for line in _lines(text)] for text in (printed, wanted))
    return len(ours) == len(theirs) and all(
        len(a) == len(b) and all(map(_same_token, a, b)) for a, b in zip(ours, theirs, strict=True)
    )


def _lines(text: str) -> list[str]:
    """Lines as a terminal has them; `splitlines` would also cut at separators that no line ends with."""
    return re.split(r"\r\n|\n|\r", text.rstrip())


def _same_token(printed: str, wanted: str) -> bool:
    if printed == wanted:
        return True
    if "." not in wanted or not (_PRINTED.fullmatch(wanted) and _PRINTED.fullmatch(printed)):
        return False
    try:
        ours, theirs = float(printed), float(wanted)
    except ValueError:
        return False
    return abs(ours - theirs) <= PRINTED_TOLERANCE * max(1.0, abs(theirs))
