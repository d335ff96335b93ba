"""Programs, judged by running their tests in a jail.

The answer is one block of Python (`proofmill.filters.sandbox.extract` states which), with what it lacks from the
blocks before it. Its tests come in any of the formats of `proofmill.filters.sandbox.formats`; two readings of them
(`proofmill.filters.sandbox.run`) make one verdict, and its detail says where the weaker one has decided
(`in_process`).
"""

from __future__ import annotations

import atexit
import math
import os
import re
import textwrap
import threading
from collections.abc import Iterator, Mapping
from typing import Any

from proofmill.filters import verdicts
from proofmill.filters.sandbox import extract, run, solution_host
from proofmill.filters.sandbox.formats import BadTestError, ProblemTests, read_suite
from proofmill.filters.sandbox.jail import Jail, Limits
from proofmill.filters.sandbox.plan import Plan, bound_by, entry_name, plan, prompt_setup
from proofmill.filters.sandbox.run import Judging
from proofmill.filters.verdicts import Canary, Domain, Problem, Verdict

DEFAULT_CPU_S = 5.0
DEFAULT_MEMORY_MB = 512.0
MAX_CPU_S = 120.0
MAX_MEMORY_MB = 8192.0
MAX_CODE_CHARS = 1 << 18
STANDARD = Judging()
MAX_NAMES = 20  # looked for when a block is chosen
IN_PROCESS = "in_process"
"""In a verdict's detail: the tests ran beside the solution, and nothing spoke for tampering."""

_VERDICTS = {
    run.PASSED: verdicts.CORRECT,
    run.FAILED: verdicts.WRONG,
    run.NOT_PYTHON: verdicts.WRONG,
    run.TIMED_OUT: verdicts.TIMEOUT,
    run.FAULT: verdicts.ERROR,
}


class _DefaultJail:
    """The process-wide jail: made on first use, remade after a fork, closed at exit."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._jail: Jail | None = None
        self._options: dict[str, Any] = {}
        self.judging = Judging()

    def get(self) -> Jail:
        with self._lock:
            if self._jail is None:
                self._jail = Jail(**self._options)
            return self._jail

    def configure(self, options: dict[str, Any]) -> None:
        self.close()
        self._options = options

    def close(self) -> None:
        with self._lock:
            jail, self._jail = self._jail, None
        if jail is not None:
            jail.close()

    def forget(self) -> None:
        """Forget the jail in a forked child: it belongs to the parent."""
        self._lock, self._jail = threading.Lock(), None


_DEFAULT = _DefaultJail()
atexit.register(_DEFAULT.close)
os.register_at_fork(after_in_child=_DEFAULT.forget)


class _Compiler(_DefaultJail):
    """The process-wide jail with the compiler in it."""

    def get(self) -> Jail:
        with self._lock:
            if self._jail is None:
                shown = [path for path in solution_host.COMPILER_FOLDERS if os.path.isdir(path)]  # noqa: PTH112
                self._jail = Jail(**{**self._options, "allow_subprocess": True, "packages": shown})
            return self._jail


_COMPILER = _Compiler()
atexit.register(_COMPILER.close)
os.register_at_fork(after_in_child=_COMPILER.forget)


def default_jail() -> Jail:
    """Return the jail that `CodeVerifier` uses where it was given none. Thread-safe."""
    return _DEFAULT.get()


def configure_jail(**options: Any) -> None:
    """Close the process-wide jails and make the next ones with `options` of `Jail`."""
    _DEFAULT.configure(options)
    _COMPILER.configure(options)


def configure(
    *,
    float_tolerance: float | None = None,
    output_comparison: str = run.LINES,
    all_tests: bool = False,
    in_process: bool = True,
    **jail: Any,
) -> None:
    """Judge in this process from now on as the `verify` section of a recipe says; see `Judging` and `Jail`."""
    _DEFAULT.judging = Judging(float_tolerance, output_comparison, all_tests, in_process)
    configure_jail(**jail)


class CodeVerifier:
    """The judge of programs. Thread-safe; has processes of its own, so it needs no worker pool.

    Args:
        jail: where to run; default the process-wide jail.
        judging: how strictly, and by which readings; a row's own fields win.
    """

    def __init__(self, jail: Jail | None = None, judging: Judging | None = None) -> None:
        self._given = jail
        self._judging = judging

    @property
    def jail(self) -> Jail:
        """The jail this verifier runs code in."""
        return self._given or default_jail()

    @property
    def judging(self) -> Judging:
        """How this verifier judges where a row doesn't say."""
        return self._judging or _DEFAULT.judging

    def ready(self) -> None:
        """Start the jail and check its layers.

        Raises:
            VerifierError: a layer is missing, and the weaker jail was not asked for.
        """
        with self.jail.slot():
            return

    def quick(self, problem: Problem, text: str) -> Verdict | None:
        """Return `error` for a language that can't be run, `unparsed` where there is no code; else None."""
        found = _find(problem, text)
        return found if isinstance(found, Verdict) else None

    def verify(self, problem: Problem, text: str) -> Verdict:
        """Run the code of `text` against the problem's tests.

        Raises:
            VerifierError: a layer of the jail is missing, and the weaker jail was not asked for.
        """
        found = _find(problem, text)
        if isinstance(found, Verdict):
            return found
        code = found.code or ""
        try:
            judging = _judging(problem.info, self.judging)
            # Only an answer in several blocks pays for the jail that joins them.
            if found.earlier:
                code = _joined(self.jail, problem, found)
            outcome = judge(self.jail, problem, _completed(problem, code), judging)
        except BadTestError as error:
            return Verdict(verdicts.ERROR, code, _tests_fault(run.shown(error)), final_start=found.start)
        return self._verdict(found, code, outcome, judging)

    def _verdict(self, found: extract.FoundCode, code: str, outcome: run.Outcome, judging: Judging) -> Verdict:
        verdict, why = _VERDICTS[outcome.status], outcome.why
        # A package that this machine lacks is its fault, not the solution's.
        package = run.missing_package(why, code) if outcome.status == run.FAILED else None
        if package:
            verdict, why = verdicts.ERROR, f"needs {package}"
        if why.startswith("needs ") and not why.startswith(run.NEEDS_OUTWARD):
            why += f": add {why.split()[1]} to verify.jail.packages"
        if outcome.status == run.FAILED and run.FORBIDDEN in why:
            verdict, why = verdicts.ERROR, f"{run.NOT_ALLOWED} ({why})"
        # Text without a fence was only taken for code: if it is none, no answer was found.
        if outcome.status == run.NOT_PYTHON and found.rule == "bare":
            verdict = verdicts.UNPARSED
        if outcome.status == run.FAULT and outcome.in_process:
            why = _tests_fault(why)
        # Named, so that `rewards` can refuse a pass that rests on the weaker reading (`_beside_its_tests`).
        reading = IN_PROCESS if outcome.in_process and verdict != verdicts.ERROR else ""
        detail = "; ".join(part for part in (found.rule, reading, *_looser(judging), why, self.jail.stamp) if part)
        return Verdict(verdict, code, detail, outcome.passed, outcome.total, found.start)


def _tests_fault(why: str) -> str:
    return why if why.startswith(("needs ", "bad_tests", "not_judged", "not_decided")) else f"bad_tests: {why}"


def language(problem: Problem) -> str:
    """Return the language of the tests; `python` where a row says nothing."""
    return extract.language_of(str(problem.info.get("language") or "python"))


def _find(problem: Problem, text: str) -> extract.FoundCode | Verdict:
    """Return the code of an answer, or the verdict where there is none that can be run."""
    written_in = language(problem)
    if written_in not in (extract.PYTHON, extract.CPP):
        return Verdict(verdicts.ERROR, detail="unsupported_language")
    found = extract.find_code(text, asked_names(problem) if written_in == extract.PYTHON else (), written_in)
    if found.rule == "unsupported_language":
        return Verdict(verdicts.ERROR, detail=found.rule)
    if found.code is None or len(found.code) > MAX_CODE_CHARS:
        return Verdict(verdicts.UNPARSED, detail=found.rule if found.code is None else "code too long")
    return found


def judge(jail: Jail, problem: Problem, code: str, judging: Judging = STANDARD) -> run.Outcome:
    """Run `code` against the tests of `problem`.

    Raises:
        BadTestError: the problem has no tests, or one can't be read.
        VerifierError: a layer of the jail is missing.
    """
    suite, limits = read_suite(problem.info), limits_of(problem.info)
    judging = _judging(problem.info, judging)
    if language(problem) == extract.CPP:
        return _judge_compiled(jail, suite, code, limits, judging)
    outcome = run.Outcome(run.PASSED, 0, 0)
    # Programs first: they need no reading beside the tests, and their failure ends the row.
    if suite.programs:
        outcome = run.run_programs(jail, suite, _text(problem.info.get("setup")), code, limits, judging)
    if outcome.status == run.PASSED and (suite.calls or suite.sources or suite.text.strip()):
        return run.run_tests(jail, plan_of(problem, suite, judging), code, limits, judging)
    return outcome


_BODY = re.compile(r"^return\b", re.MULTILINE)  # of a function, whose head is elsewhere


def _completed(problem: Problem, code: str) -> str:
    """Return the program. HumanEval's prompts end in the head of a function, and some answers are its body alone."""
    prompt = _text(problem.prompt).rstrip()
    if not _BODY.search(code) or not prompt.endswith((":", '"""', "'''")):
        return code
    names = [entry_name(read_suite(problem.info))]
    is_body = extract.defines(prompt, names) and not extract.defines(code, names)
    return f"{prompt}\n{textwrap.indent(code, '    ')}" if is_body else code


def _judge_compiled(jail: Jail, suite: ProblemTests, code: str, limits: Limits, judging: Judging) -> run.Outcome:
    if suite.calls or suite.sources or suite.text.strip():
        raise BadTestError("C++ is judged by programs on standard input")
    if not solution_host.compiler_installed():
        raise BadTestError(f"needs {solution_host.COMPILER}")
    return run.run_compiled(jail, _COMPILER.get(), suite, code, limits, judging)


def _joined(jail: Jail, problem: Problem, found: extract.FoundCode) -> str:
    """Return the chosen block with what it lacks from the last of the blocks before it, as many as may be read."""
    code, earlier, room = found.code or "", list[str](), MAX_CODE_CHARS
    # From the last one: a later definition replaces an earlier one.
    for block in reversed(found.earlier):
        room -= len(block)
        if room < 0:
            break
        earlier.insert(0, block)
    try:
        known = bound_by(_setup(problem))
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise BadTestError(f"setup: {type(error).__name__}: {str(error)[:200]}") from error
    return run.join(jail, code, earlier, asked_names(problem), known)


def _text(value: object) -> str:
    return str(value or "").replace("\r\n", "\n")


def _number(info: Mapping[str, Any], name: str, default: float, most: float, *, zero: bool = False) -> float:
    """Return a row's own limit; what is no positive number, or `zero` where that may be, is the row's fault."""
    value = info.get(name)
    if value is None:
        return default
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not (number > 0 or (zero and number == 0)):
        raise BadTestError(f"{name} is {ascii(value)[:40]}, no positive number")
    return min(number, most)


def limits_of(info: Mapping[str, Any]) -> Limits:
    """Return what one run of a problem's solution may use."""
    return Limits(
        cpu_s=_number(info, "time_limit_s", DEFAULT_CPU_S, MAX_CPU_S),
        memory_mb=_number(info, "memory_mb", DEFAULT_MEMORY_MB, MAX_MEMORY_MB),
        subprocesses=bool(info.get("allow_subprocess")),
    )


def _judging(info: Mapping[str, Any], judging: Judging) -> Judging:
    """Return what a row says of how it is judged; else as the verifier was told."""
    tolerance, output = info.get("float_tolerance"), info.get("output_comparison")
    if output is not None and output not in run.OUTPUT_COMPARISONS:
        raise BadTestError(f"output_comparison is {ascii(output)[:40]}: one of {', '.join(run.OUTPUT_COMPARISONS)}")
    return Judging(
        judging.float_tolerance if tolerance is None else _number(info, "float_tolerance", 0.0, 1.0, zero=True),
        output or judging.output, judging.all_tests, judging.in_process,
    )  # fmt: skip


def _looser(judging: Judging) -> Iterator[str]:
    """Yield the rules of comparison that are not the usual ones, for the verdict's detail."""
    if judging.float_tolerance is not None:
        yield f"float_tolerance {judging.float_tolerance:g}"
    if judging.output != run.LINES:
        yield f"output_comparison {judging.output}"


def plan_of(problem: Problem, suite: ProblemTests, judging: Judging = STANDARD) -> Plan:
    """Return how the tests of a problem that are no programs are run.

    Raises:
        BadTestError: setup or a test is not Python, or nothing says what is under test.
    """
    setup = _text(problem.info.get("setup"))
    return plan(suite, setup, _text(problem.prompt), tolerance=judging.float_tolerance)


def _setup(problem: Problem) -> str:
    """Return the problem's setup; without one, what the code of its prompt defines beside the entry point."""
    setup = _text(problem.info.get("setup"))
    return setup or prompt_setup(_text(problem.prompt), entry_name(read_suite(problem.info)))


def asked_names(problem: Problem) -> tuple[str, ...]:
    """Return what the solution must define: what its tests ask of it."""
    try:
        suite = read_suite(problem.info)
        if not (suite.calls or suite.sources or suite.text.strip()):
            return ()
        return tuple(sorted(plan_of(problem, suite).asked))[:MAX_NAMES]
    except BadTestError:
        return ()


def _as_block(_: str | None, extracted: str | None) -> str | None:
    """Return the trace's own program: a data set's solution is somebody else's."""
    return None if extracted is None else f"```python\n{extracted}\n```"


_ADD = Problem(
    "code",
    "Write add(a, b).",
    None,
    {"tests": ["assert add(1, 2) == 3", "assert add(-4, 4) == 0"], "entry_point": "add"},
)

_TESTS = ("tests", "test", "input_output", "setup", "entry_point", "fn_name", "time_limit_s", "memory_mb", "language")
FIELDS = (*_TESTS, "float_tolerance", "output_comparison")
VERIFIER = CodeVerifier()
DOMAIN = Domain(
    name="code",
    version=5,
    quick=VERIFIER.quick,
    verify=VERIFIER.verify,
    runs_in="jail",
    ready=VERIFIER.ready,
    ask="Answer with one Python code block (```python … ```) that holds the whole solution.",
    needs=(("tests", "test", "input_output"),),
    fields=FIELDS,
    short_answer=_as_block,
    canaries=(
        Canary(_ADD, "```python\ndef add(a, b):\n    return a + b\n```", verdicts.CORRECT),
        Canary(_ADD, "```python\ndef add(a, b):\n    return a - b\n```", verdicts.WRONG),
        Canary(_ADD, "I would rather not say.", verdicts.UNPARSED),
        Canary(
            Problem("code", "Write add(a, b).", None, {"tests": ["assert ("]}),
            "```python\ndef add(a, b):\n    return a + b\n```",
            verdicts.ERROR,
        ),
    ),
)
