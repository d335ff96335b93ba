"""Runs one solution against its tests: opens processes in the jail, talks to them, and returns the outcome.

Two readings of one set of tests. The *guarded* one keeps tests and expected values out of the solution's process:
plain data is compared outside (`run_checks`), the rest runs in a second process against stand-ins (`run_apart`).
The *in-process* one runs them beside the solution, as the data sets' own harnesses do, and brings evidence of
tampering with it (`run_beside`). `run_tests` makes one verdict of them.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from proofmill.filters.sandbox import wire
from proofmill.filters.sandbox.formats import BadTestError, ProblemTests
from proofmill.filters.sandbox.jail import Exit, Jail, Limits, ProcessEnded, SandboxProcess
from proofmill.filters.sandbox.plan import Plan, job_of, load_job_of

PASSED, FAILED, TIMED_OUT, FAULT, NOT_PYTHON = "passed", "failed", "timed_out", "fault", "not_python"
_SYNTAX = ("SyntaxError", "IndentationError", "TabError")
TESTS_CPU_S = 1.0  # the tests' own share, on top of the solution's
APART_CPU_S = 5.0  # the same in a process of their own
_NO_MODULE = re.compile(r"(?:test \d{1,9}: |.{1,80} gave )?ModuleNotFoundError: No module named '(\w{1,60})", re.DOTALL)
_NEEDS = re.compile(r"needs \w{1,60}")
FORBIDDEN = "PermissionError: [Errno 1] "  # the answer of the jail's system-call filter; files say 13
NOT_ALLOWED = "not_judged: the jail allows no processes and no network"
NEEDS_OUTWARD = "needs processes or network, which the jail allows nobody"
MAX_ANSWERS = 16 << 20  # bytes of all answers of a solution: reading them is the parent's own time
MAX_PRINTED = 64 << 20  # bytes of one output, however much is expected
STACKS_MB = 640.0
COMPILE_CPU_S = 20.0
_STACK_MB = 256.0  # a C++ program's stack, which is reserved and hardly used
ROW_CPU = 20  # a row of many programs may use so many times the limit of one
_IDLE_S = 0.25  # a test may sleep, or wait for a busy machine, without counting
LINES, TOKENS, NUMBERS = "lines", "tokens", "numbers"
OUTPUT_COMPARISONS = (LINES, TOKENS, NUMBERS)


@dataclass(frozen=True)
class Judging:
    """How strictly a row is judged, and by which readings.

    Attributes:
        float_tolerance: relative, of floats that are expected; None leaves 1e-12.
        output: how printed text is compared: `lines` (trailing blanks don't count), `tokens`, or `numbers` (tokens,
            decimals within the tolerance).
        all_tests: count every test; else the first failure ends the row.
        in_process: whether a pass beside the tests may decide.
    """

    float_tolerance: float | None = None
    output: str = LINES
    all_tests: bool = False
    in_process: bool = True


STANDARD = Judging()


@dataclass(frozen=True)
class Outcome:
    """The outcome of one solution.

    Attributes:
        status: `passed`, `failed`, `timed_out`, `fault` (of the jail or the tests) or `not_python`.
        passed: tests that held.
        total: tests there are.
        why: the first failure, one line.
        cpu_s: CPU seconds of the solution.
        in_process: the reading beside the tests has decided.
    """

    status: str
    passed: int
    total: int
    why: str = ""
    cpu_s: float = 0.0
    in_process: bool = False


class SetupFailedError(BadTestError):
    """The problem's own setup raised."""


def decode_answer(body: bytes) -> dict[str, Any]:
    """Return a hostile answer as a mapping; anything else counts as hanging up."""
    try:
        answer = wire.loads(body)
    except wire.WireError:
        raise ProcessEnded from None
    if not isinstance(answer, dict):
        raise ProcessEnded
    return answer


def _raised(what: Any) -> str:
    """Return `NameError: message` of a hostile answer, printable and short."""
    if not isinstance(what, list) or len(what) != 2 or not isinstance(what[0], list) or not what[0]:
        return "no answer"
    return shown(f"{str(what[0][0])[:60]}: {str(what[1])[:120]}")


def shown(text: object) -> str:
    """Return a hostile text as one printable line of bounded length."""
    return ascii(str(text)[:300])[1:-1]


def roomy(code: str, limits: Limits) -> Limits:
    """Return more address space where a program asks for deep stacks: they are reserved, and hardly used."""
    return replace(limits, memory_mb=limits.memory_mb + STACKS_MB) if "stack_size" in code else limits


def _verdict(end: Exit, passed: int, total: int, why: str) -> Outcome:
    """Return the outcome of a run; `why` is a failure that was seen, which outweighs how the run ended."""
    if end.fault is not None:
        return Outcome(FAULT, passed, total, end.fault, end.cpu_s)
    if passed == total and not why:
        return Outcome(PASSED, passed, total, "", end.cpu_s)
    # A failure that was seen before the time ran out is the verdict: the test failed, whatever came later.
    if end.timed_out and not why:
        how = f"used {end.cpu_s:.1f} s of CPU" if end.cpu_s >= _IDLE_S else "waited, and did not end"
        return Outcome(TIMED_OUT, passed, total, how, end.cpu_s)
    return Outcome(FAILED, passed, total, why or _ended(end), end.cpu_s)


def load_solution(process: SandboxProcess, planned: Plan, code: str, *more: tuple[bytes, bytes]) -> str | None:
    """Load a solution in a fresh process; return how it failed, or None. It reads `more` messages once it is loaded."""
    job = {"role": "serve", "code": code} | load_job_of(planned)
    process.send(wire.JOB, wire.dumps(job), *more)
    read_setup(process)
    answer = decode_answer(process.receive()[1])
    return None if "ok" in answer else _raised(answer.get("raised"))


def read_setup(process: SandboxProcess) -> None:
    """Read the report on setup, sent before the solution ran; raises `SetupFailedError`."""
    answer = decode_answer(process.receive()[1])
    if "ok" not in answer:
        why = _raised(answer.get("raised"))
        package = missing_package(why)
        raise SetupFailedError(f"needs {package}" if package else f"setup: {why}")


def _ended(end: Exit) -> str:
    code = end.code or 0
    return f"the process ended early ({f'signal {-code}' if code < 0 else f'exit {code}'})"


def join(jail: Jail, code: str, earlier: Sequence[str], needed: Sequence[str], known: frozenset[str]) -> str:
    """Return `code` with what it and the tests (`needed`) lack from `earlier` blocks; `code` itself if that fails."""
    job = {"role": "join", "code": code, "earlier": list(earlier), "needed": list(needed), "known": sorted(known)}
    program: object = None
    with jail.slot(), jail.process(Limits()) as process:
        try:
            process.send(wire.JOB, wire.dumps(job))
            program = decode_answer(process.receive()[1]).get("ok")
        except (ProcessEnded, wire.WireError):
            pass  # a block that brings the parser down
    return program if isinstance(program, str) else code


def missing_package(why: str, code: str | None = None) -> str | None:
    """Return the package that a failure says is absent; None for any other failure.

    Args:
        why: the failure.
        code: the solution, which must import the package for the failure to be believed.
    """
    found = _NO_MODULE.match(why)
    if found is None:
        return None
    # A solution could raise this error itself, to be called an environment's fault instead of wrong.
    if code is not None and not re.search(rf"\b(?:import|from)[ \t]{{1,9}}{re.escape(found[1])}\b", code):
        return None
    return found[1]


def run_tests(jail: Jail, planned: Plan, code: str, limits: Limits, judging: Judging) -> Outcome:
    """Return the verdict of both readings on tests that are not programs.

    Plain data that is compared outside decides at once. Else the tests run beside the solution: a failure there is
    one, and so is a pass where nothing speaks for tampering. A pass that can't be believed is tried again with
    tests and solution apart; where stand-ins can't stand for the real thing, nothing is decided.

    Raises:
        BadTestError: the problem's own tests or setup can't be run.
    """
    if planned.checks:
        outcome = run_checks(jail, planned, code, limits, all_tests=judging.all_tests)
        if outcome is not None:
            return _refused(outcome, planned)
    planned = _calls_as_sources(planned)
    if not judging.in_process:
        apart = run_apart(jail, planned, code, limits, judging)
        return apart or Outcome(FAULT, 0, planned.total, "not_decided: the guarded reading can't tell")
    beside = run_beside(jail, planned, code, limits, judging)
    # The program changed arguments that the tests still hold, so they may have compared a thing with itself.
    if beside.outcome.status == PASSED and not beside.evidence and beside.changed:
        again = run_beside(jail, planned, code, limits, judging, isolate=True)
        if again.outcome.status != PASSED:
            why = "not_judged: the solution changes what it is compared with"
            return replace(beside.outcome, status=FAULT, why=why)
    # A failure is believed whatever was seen: nobody tampers in order to fail.
    believed = beside.outcome.status not in (PASSED, FAULT) or not beside.evidence
    if believed:
        return _refused(beside.outcome, planned)
    return _apart_or_not_judged(jail, planned, code, limits, judging, "; ".join(beside.evidence[:3]))


def _refused(outcome: Outcome, planned: Plan) -> Outcome:
    """Return the outcome; a failure by what the jail refuses becomes a fault that names whose doing it was."""
    if outcome.status != FAILED or FORBIDDEN not in outcome.why:
        return outcome
    what = NEEDS_OUTWARD if planned.outward else NOT_ALLOWED
    return replace(outcome, status=FAULT, why=f"{what} ({outcome.why})")


def _apart_or_not_judged(jail: Jail, planned: Plan, code: str, limits: Limits, judging: Judging, seen: str) -> Outcome:
    apart = run_apart(jail, planned, code, limits, judging)
    if apart is not None:
        return apart
    return Outcome(FAULT, 0, planned.total, f"not_judged: {seen}")


def _calls_as_sources(planned: Plan) -> Plan:
    """Return the plan with its calls as assertions, for answers that are not plain data."""
    suite = planned.suite
    if not suite.calls:
        return planned
    made = tuple(
        f"assert __json__(candidate({', '.join(map(repr, call.arguments))})) == {call.expected!r}"
        for call in suite.calls
    )
    entry = suite.entry_point or suite.function
    return replace(planned, suite=replace(suite, calls=(), sources=made + suite.sources, entry_point=entry))


def run_checks(jail: Jail, planned: Plan, code: str, limits: Limits, *, all_tests: bool = False) -> Outcome | None:
    """Evaluate the left-hand sides inside and compare outside; return None where an answer is not plain data."""
    passed, why, checks = 0, "", planned.checks
    with jail.slot(), jail.process(limits) as process:
        try:
            sources = wire.dumps([check.source for check in checks])
            why = load_solution(process, planned, code, (wire.EVALUATE, sources)) or ""
            if not why:
                left = MAX_ANSWERS
                for check in checks:
                    body = process.receive()[1]
                    # Each answer is bounded already; this bounds their sum, which the parent has to read.
                    left -= len(body)
                    if left < 0:
                        raise ProcessEnded
                    answer = decode_answer(body)
                    held = check.holds(answer["ok"]) if "ok" in answer else False
                    # Not plain data: the reading in process decides all of it, so what was counted so far is dropped.
                    if held is None:
                        return None
                    passed += held
                    why = why or ("" if held else _difference(check.source, answer))
                    if why and not all_tests:
                        break
        except (ProcessEnded, wire.WireError):
            pass  # `end` says how
        end = process.close()
    if why.startswith(_SYNTAX) and not passed:
        return Outcome(FAULT if end.fault else NOT_PYTHON, 0, len(checks), end.fault or why, end.cpu_s)
    return _verdict(end, passed, len(checks), why)


def _difference(source: str, answer: dict[str, Any]) -> str:
    got = wire.preview(answer["ok"]) if "ok" in answer else _raised(answer.get("raised"))
    return f"{shown(source[:80])} gave {got}"


@dataclass(frozen=True)
class Beside:
    """The result of running the tests beside the solution.

    Attributes:
        outcome: what the tests say.
        evidence: what speaks for tampering; empty where nothing does.
        changed: the solution changed, and returned something for, what the tests still hold.
    """

    outcome: Outcome
    evidence: tuple[str, ...] = ()
    changed: bool = False


def run_beside(
    jail: Jail, planned: Plan, code: str, limits: Limits, judging: Judging, *, isolate: bool = False
) -> Beside:
    """Run the tests in one process with the solution, after a look at its source.

    The report must carry a number that only the runner was told; without it nothing has passed.
    """
    # Whoever writes the report must have read the job, which the runner reads before the solution is loaded.
    nonce = secrets.token_hex(16)
    job = job_of(planned) | {
        "role": "beside", "code": code, "nonce": nonce, "all_tests": judging.all_tests, "isolate": isolate,
        "tolerance": judging.float_tolerance,
    }  # fmt: skip
    wider = replace(limits, cpu_s=limits.cpu_s + TESTS_CPU_S * (3 if "pytest" in planned.imports else 1))
    look: dict[str, Any] = {}
    report: dict[str, Any] = {}
    with jail.slot(), jail.process(wider) as process:
        with contextlib.suppress(ProcessEnded, wire.WireError):
            process.send(wire.JOB, wire.dumps(job))
            look = decode_answer(process.receive()[1])
            if "ok" in look:
                report = decode_answer(process.receive()[1])
        end = process.close()
    total = planned.total
    if "raised" in look:
        return Beside(Outcome(NOT_PYTHON, 0, total, _raised(look["raised"]), end.cpu_s))
    found = look.get("ok") if isinstance(look.get("ok"), list) else ["it was not looked at"]
    evidence = tuple(shown(what) for what in found or ())
    # Any other report is the solution's own work, or there is none since it ended the process.
    if report.get("nonce") != nonce:
        forged = ("a forged report",) if report else ()
        return Beside(_verdict(end, 0, total, _ended(end) if report else ""), evidence + forged)
    return _report_of(report, end, total, evidence)


def _report_of(report: dict[str, Any], end: Exit, total: int, evidence: tuple[str, ...]) -> Beside:
    if report.get("fault"):
        why = shown(report["fault"])
        why = f"{NEEDS_OUTWARD} ({why})" if FORBIDDEN in why else why
        return Beside(Outcome(FAULT, 0, total, why, end.cpu_s, True), evidence)
    if report.get("raised"):
        return Beside(Outcome(FAILED, 0, total, _raised(report["raised"]), end.cpu_s, True), evidence)
    evidence = tuple(dict.fromkeys((*evidence, *map(shown, report.get("evidence") or ()))))
    if report.get("refused"):
        why = f"{NEEDS_OUTWARD} ({shown(report['refused'])})"
        return Beside(Outcome(FAULT, 0, total, why, end.cpu_s, True), evidence)
    passed, ran, why = int(report["passed"]), int(report["ran"]), shown(report.get("why") or "")
    if ran and passed == ran and not why:
        return Beside(Outcome(PASSED, passed, ran, "", end.cpu_s, True), evidence, bool(report.get("changed")))
    if not ran:
        return Beside(Outcome(FAULT, 0, total, "bad_tests: no test ran", end.cpu_s, True), evidence)
    return Beside(Outcome(FAILED, passed, max(total, ran), why or "a test failed", end.cpu_s, True), evidence)


def run_apart(jail: Jail, planned: Plan, code: str, limits: Limits, judging: Judging) -> Outcome | None:
    """Run the tests in a second process, the solution in the first, and carry their calls across.

    Returns:
        None where stand-ins can't decide: something that is not plain data crossed, or tests see more than values.
    """
    if planned.shares_process:
        return None
    # The data set's tests get their own share, however small the limits that a row sets for its solution.
    apart_limits = replace(limits, cpu_s=APART_CPU_S + limits.cpu_s, memory_mb=max(limits.memory_mb, 512.0))
    with (
        jail.slot(),
        jail.process(limits, dialogue=True) as solution,
        jail.process(apart_limits, dialogue=True) as tests,
    ):
        report: dict[str, Any] | None = None
        loaded, why = False, ""
        try:
            why = load_solution(solution, planned, code) or ""
            loaded = not why
            if loaded:
                job = job_of(planned) | {"role": "apart", "all_tests": judging.all_tests}
                tests.send(wire.JOB, wire.dumps(job))
                report = _carry(tests, solution)
        except (ProcessEnded, wire.WireError):
            pass
        ends = solution.close(), tests.close()
    if not loaded:
        if not ends[0].fault and why.startswith(_SYNTAX):
            return Outcome(NOT_PYTHON, 0, planned.total, why)
        return _verdict(ends[0], 0, planned.total, why)
    return _apart_outcome(ends, report, planned.total)


def _carry(tests: SandboxProcess, solution: SandboxProcess) -> dict[str, Any]:
    """Pass calls to the solution and answers back, unopened, until the tests are done."""
    gone = False
    while True:
        kind, body = tests.receive()
        if kind == wire.DONE:
            return decode_answer(body)
        answer = wire.dumps({"gone": True})
        if not gone:
            try:
                # Unopened: both sides are hostile to each other, and this process reads neither.
                solution.send(wire.CALL, body)
                _, answer = solution.receive()
            except ProcessEnded:
                gone = True
        tests.send(wire.ANSWER, answer)


def _apart_outcome(ends: tuple[Exit, Exit], report: dict[str, Any] | None, count: int) -> Outcome | None:
    solution, tests = ends
    if solution.fault:
        return _verdict(solution, 0, count, "")
    if report is None:
        if tests.timed_out or solution.timed_out:
            return Outcome(TIMED_OUT, 0, count, "the tests did not end in time", solution.cpu_s)
        return Outcome(FAULT, 0, count, tests.fault or "the tests' process died", solution.cpu_s)
    # The tests' fault may be that of a stand-in, which the real object would not have caused: nothing is decided.
    if report.get("fault") or report.get("inexact"):
        return None
    passed, ran = int(report["passed"]), int(report["ran"])
    reason = shown(report.get("why") or "")  # the solution's words: no lone surrogates
    total = ran if ran and passed == ran and not reason and not report["gone"] else max(ran, count)
    if report["gone"]:
        return _verdict(solution, min(passed, total - 1), total, reason)
    return _verdict(solution, passed, total, reason)


@contextlib.contextmanager
def _compiled(jail: Jail, code: str) -> Iterator[tuple[int, Outcome | None]]:
    """A descriptor of the binary, and how compiling has failed where it has."""
    limits = Limits(cpu_s=COMPILE_CPU_S, memory_mb=1024.0, output_bytes=MAX_PRINTED, scratch_mb=128, subprocesses=True)
    with open_streams(code) as streams:
        why = "the compiler did not end"
        with jail.slot(), jail.process(limits, streams) as process:
            with contextlib.suppress(ProcessEnded, wire.WireError):
                process.send(wire.JOB, wire.dumps({"role": "compile"}))
                answer = decode_answer(process.receive()[1])
                why = "" if "ok" in answer else _raised(answer.get("raised"))
            end = process.close()
        failed = Outcome(FAULT, 0, 1, end.fault) if end.fault else Outcome(NOT_PYTHON, 0, 1, why) if why else None
        yield streams[1], failed


def run_compiled(
    jail: Jail, compiler: Jail, suite: ProblemTests, code: str, limits: Limits, judging: Judging
) -> Outcome:
    """Compile C++ once and run it for every (input, output) pair.

    Args:
        jail: where it runs.
        compiler: a jail that shows the compiler.
        suite: its programs.
        code: the source.
        limits, judging: as for Python.
    """
    with _compiled(compiler, code) as (binary, failed):
        if failed is not None:
            return replace(failed, total=len(suite.programs))
        job = wire.dumps({"role": "execute"})

        def run_one(given: str, wanted: str, bound: Limits) -> Outcome:
            with open_streams(given) as streams, jail.slot():
                bound = replace(bound, one_exec=True, memory_mb=bound.memory_mb + _STACK_MB)
                with jail.process(bound, [*streams, binary]) as process:
                    with contextlib.suppress(ProcessEnded, wire.WireError):
                        process.send(wire.JOB, job)
                        read_setup(process)
                    end = process.wait()
                printed = os.pread(streams[1], bound.output_bytes, 0).decode("utf-8", "replace")
            return printed_verdict(end, printed, wanted, "", judging)

        return each_program(suite.programs, limits, judging, run_one)


@contextlib.contextmanager
def open_streams(given: str) -> Iterator[list[int]]:
    """Descriptors of a program's standard input, filled, and standard output."""
    made: list[int] = []
    try:
        for name, data in (("stdin", given.encode("utf-8", "replace")), ("stdout", b"")):
            made.append(os.memfd_create(name, os.MFD_CLOEXEC))
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(made[-1], rest) :]
            os.lseek(made[-1], 0, os.SEEK_SET)
        yield made
    finally:
        for fd in made:
            os.close(fd)


def run_programs(
    jail: Jail, suite: ProblemTests, setup: str, code: str, limits: Limits, judging: Judging = STANDARD
) -> Outcome:
    """Run the code once for every (input, output) pair, each in a jail of its own.

    A row may use `ROW_CPU` times the CPU time of one test, and sleep about as long as one test may.
    """
    limits = roomy(code, limits)
    job = wire.dumps({"role": "program", "setup": setup, "code": code})
    return each_program(
        suite.programs,
        limits,
        judging,
        lambda given, wanted, bound: _one_program(jail, job, given, wanted, bound, judging),
    )


def each_program(tests: Sequence[tuple[str, str]], limits: Limits, judging: Judging, run_one: Any) -> Outcome:
    """Return the outcome of `run_one` for every pair, until one fails or the row has used up what it may."""
    passed, first, cpu, longest, began = 0, "", 0.0, 0.0, time.monotonic()
    for index, (given, wanted) in enumerate(tests):
        printed_bytes = min(max(limits.output_bytes, 2 * len(wanted) + (1 << 16)), MAX_PRINTED)
        outcome = run_one(given, wanted, replace(limits, output_bytes=printed_bytes))
        cpu, longest = cpu + outcome.cpu_s, max(longest, outcome.cpu_s)
        if outcome.status in (FAULT, TIMED_OUT, NOT_PYTHON):
            return Outcome(outcome.status, passed, len(tests), outcome.why, longest)
        passed += outcome.passed
        first = first or (f"test {index + 1}: {outcome.why}" if outcome.why else "")
        if first and not judging.all_tests:
            break
        idle = time.monotonic() - began - 4 * cpu - _IDLE_S * (index + 1)
        if index + 1 < len(tests) and (cpu > ROW_CPU * limits.cpu_s or idle > limits.wall_s):
            return Outcome(TIMED_OUT, passed, len(tests), f"{index + 1} tests took {cpu:.1f} s of CPU", longest)
    return Outcome(PASSED if passed == len(tests) else FAILED, passed, len(tests), first, longest)


def _one_program(jail: Jail, job: bytes, given: str, wanted: str, limits: Limits, judging: Judging) -> Outcome:
    with open_streams(given) as streams, jail.slot(), jail.process(limits, streams) as process:
        why = ""
        try:
            process.send(wire.JOB, job)
            read_setup(process)
            why = _raised(decode_answer(process.receive()[1]).get("raised"))
        except (ProcessEnded, wire.WireError):
            pass
        end = process.wait()
        printed = os.pread(streams[1], limits.output_bytes, 0).decode("utf-8", "replace")
    if why.startswith(_SYNTAX):
        return Outcome(NOT_PYTHON, 0, 1, why, end.cpu_s)
    return printed_verdict(end, printed, wanted, why, judging)


def printed_verdict(end: Exit, printed: str, wanted: str, why: str, judging: Judging) -> Outcome:
    """Return the outcome of one program by how it ended and what it printed."""
    if not why and (end.code != 0 or end.timed_out):
        return _verdict(end, 0, 1, "")
    if not why and not same_output(printed, wanted, judging):
        why = f"printed {printed[:60]!a}"
    return _verdict(end, int(not why), 1, why)


def same_output(printed: str, wanted: str, judging: Judging = STANDARD) -> bool:
    """Return whether two outputs agree: line by line, blanks at line ends and empty lines at the end don't count.

    As options, token by token, and decimals within the tolerance.
    """
    ours, theirs = _lines(printed), _lines(wanted)
    if judging.output == LINES:
        return ours == theirs
    left, right = (" ".join(part).split() for part in (ours, theirs))
    if judging.output == TOKENS:
        return left == right
    tolerance = wire.FLOAT_TOLERANCE if judging.float_tolerance is None else judging.float_tolerance
    return len(left) == len(right) and all(_same_number(a, b, tolerance) for a, b in zip(left, right, strict=True))


def _lines(text: str) -> list[str]:
    """Return lines as a terminal has them; `splitlines` would also cut at separators that no line ends with."""
    return [line.rstrip(" \t") for line in re.split(r"\r\n|\n|\r", text.rstrip(" \t\r\n"))]


_PRINTED = re.compile(r"[+-]?\d{0,400}\.?\d{0,400}(?:[eE][+-]?\d{1,4})?", re.ASCII)


def _same_number(printed: str, wanted: str, tolerance: float) -> bool:
    if printed == wanted:
        return True
    if "." not in wanted or not (_PRINTED.fullmatch(wanted) and _PRINTED.fullmatch(printed)):
        return False
    try:
        return wire.numbers_equal(float(printed), float(wanted), tolerance)
    except ValueError:
        return False
