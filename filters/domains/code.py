"""Python programs, judged by running their tests in a jail.

The answer is one block of Python (`proofmill.filters.sandbox.extract` states which), with what it lacks from the
blocks before it. Its tests are
assertions, a test text of the data set's own, or inputs and outputs of a program. No expected value
enters the solution's jail, and what comes out is compared outside.
"""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from proofmill.filters import verdicts
from proofmill.filters.sandbox import extract, run
from proofmill.filters.sandbox.jail import Jail, Limits
from proofmill.filters.sandbox.plan import BadTestError, Plan, bound_by, plan, prompt_setup
from proofmill.filters.verdicts import Canary, Domain, Problem, Verdict

DEFAULT_CPU_S = 5.0
DEFAULT_MEMORY_MB = 512.0
MAX_CPU_S = 120.0
MAX_MEMORY_MB = 8192.0
MAX_CODE_CHARS = 1 << 18
MAX_NAMES = 20  # looked for when a block is chosen
_LANGUAGES = extract.PYTHON | {""}

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
        """In a forked child: the jail belongs to the parent."""
        self._lock, self._jail = threading.Lock(), None


_DEFAULT = _DefaultJail()
atexit.register(_DEFAULT.close)
os.register_at_fork(after_in_child=_DEFAULT.forget)


def default_jail() -> Jail:
    """The jail that `CodeVerifier` uses where it was given none. Thread-safe."""
    return _DEFAULT.get()


def configure_jail(**options: Any) -> None:
    """Close the process-wide jail and make the next one with `options` of `Jail`."""
    _DEFAULT.configure(options)


class CodeVerifier:
    """The judge of Python programs. Thread-safe; has processes of its own, so it needs no worker pool.

    Args:
        jail: where to run; default the process-wide jail.
    """

    def __init__(self, jail: Jail | None = None) -> None:
        self._given = jail

    @property
    def jail(self) -> Jail:
        """The jail this verifier runs code in."""
        return self._given or default_jail()

    def ready(self) -> None:
        """Start the jail and check its layers.

        Raises:
            VerifierError: a layer is missing, and the weaker jail was not asked for.
        """
        with self.jail.slot():
            return

    def quick(self, problem: Problem, text: str) -> Verdict | None:
        """`error` for a language that can't be run, `unparsed` where there is no code; else None."""
        language = str(problem.info.get("language") or "").lower()
        if language not in _LANGUAGES:
            return Verdict(verdicts.ERROR, detail="unsupported_language")
        found = extract.find_code(text, _names(problem))
        if found.rule == "unsupported_language":
            return Verdict(verdicts.ERROR, detail=found.rule)
        if found.code is None or len(found.code) > MAX_CODE_CHARS:
            return Verdict(verdicts.UNPARSED, detail=found.rule if found.code is None else "code too long")
        return None

    def verify(self, problem: Problem, text: str) -> Verdict:
        """Run the code of `text` against the problem's tests.

        Raises:
            VerifierError: a layer of the jail is missing, and the weaker jail was not asked for.
        """
        early = self.quick(problem, text)
        if early is not None:
            return early
        found = extract.find_code(text, _names(problem))
        code = found.code or ""
        try:
            if found.earlier:
                code = _joined(self.jail, problem, found)
            outcome = judge(self.jail, problem, code)
        except BadTestError as error:
            return Verdict(verdicts.ERROR, code, f"bad test: {error}", final_start=found.start)
        verdict, why = _VERDICTS[outcome.status], outcome.why
        package = run.missing_package(why) if outcome.status == run.FAILED else None
        if package:
            verdict, why = verdicts.ERROR, f"the jail has no module {package}: give its folder in verify.jail.packages"
        if outcome.status == run.NOT_PYTHON and found.rule == "bare":
            verdict = verdicts.UNPARSED
        parts = (found.rule, why, self.jail.stamp)
        detail = "; ".join(part for part in parts if part)
        return Verdict(verdict, code, detail, outcome.passed, outcome.total, found.start)


def judge(jail: Jail, problem: Problem, code: str) -> run.Outcome:
    """Run `code` against the tests of `problem`.

    Raises:
        BadTestError: the problem has no tests, or one can't be read.
        VerifierError: a layer of the jail is missing.
    """
    info = problem.info
    limits, setup = _limits(info), _setup(problem)
    pairs = _pairs(info.get("tests"))
    if pairs:
        return run.run_programs(jail, setup, code, pairs, limits)
    planned = _plan(problem)
    if planned.checks:
        return run.run_checks(jail, setup, code, planned, limits)
    test, entry = _text(info.get("test")), str(info.get("entry_point") or "")
    return run.run_exam(jail, setup, code, planned, test, entry, limits)


def _joined(jail: Jail, problem: Problem, found: extract.Found) -> str:
    """The chosen block with what it lacks from the last of the blocks before it, as many as may be read."""
    code, earlier, room = found.code or "", list[str](), MAX_CODE_CHARS
    for block in reversed(found.earlier):
        room -= len(block)
        if room < 0:
            break
        earlier.insert(0, block)
    try:
        known = bound_by(_setup(problem))
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise BadTestError(f"setup: {type(error).__name__}: {str(error)[:200]}") from error
    return run.join(jail, code, earlier, _names(problem), known)


def _text(value: object) -> str:
    return str(value or "").replace("\r\n", "\n")


def _limits(info: Mapping[str, Any]) -> Limits:
    return Limits(
        cpu_s=min(float(info.get("time_limit_s") or DEFAULT_CPU_S), MAX_CPU_S),
        memory_mb=min(float(info.get("memory_mb") or DEFAULT_MEMORY_MB), MAX_MEMORY_MB),
        subprocesses=bool(info.get("allow_subprocess")),
    )


def _pairs(tests: object) -> list[tuple[str, str]]:
    """(input, output) of programs on standard input; empty where the tests are assertions."""
    if not isinstance(tests, Sequence) or isinstance(tests, str):
        return []
    mappings = [test for test in tests if isinstance(test, Mapping)]
    return [(_lines(test.get("input")), _lines(test.get("output"))) for test in mappings]


def _lines(value: object) -> str:
    if isinstance(value, list | tuple):
        return "\n".join(map(str, value))
    return "" if value is None else str(value)


def _plan(problem: Problem) -> Plan:
    info = problem.info
    given = info.get("tests") or ()
    tests = tuple(_text(test).strip() for test in ([given] if isinstance(given, str) else given))
    test = _text(info.get("test"))
    if not tests and not test.strip():
        raise BadTestError("the problem has no tests")
    return plan(tests, _setup(problem), test, str(info.get("entry_point") or ""))


def _setup(problem: Problem) -> str:
    """The problem's setup; without one, what a prompt that is itself code defines beside the entry point.

    Helpers that the prompt hands out belong to the problem: tests must not call the solution's version.
    """
    setup, entry = _text(problem.info.get("setup")), str(problem.info.get("entry_point") or "")
    return setup if setup or not entry else prompt_setup(_text(problem.prompt), entry)


def _names(problem: Problem) -> tuple[str, ...]:
    """What the solution must define: the entry point, else what the tests name and setup does not."""
    entry = problem.info.get("entry_point")
    if entry:
        return (str(entry),)
    if _pairs(problem.info.get("tests")):
        return ()
    try:
        planned = _plan(problem)
    except BadTestError:
        return ()
    return tuple(sorted(planned.names))[:MAX_NAMES]


def _as_block(_: str | None, extracted: str | None) -> str | None:
    """The trace's own program: a data set's solution is somebody else's."""
    return None if extracted is None else f"```python\n{extracted}\n```"


_ADD = Problem(
    "code",
    "Write add(a, b).",
    None,
    {"tests": ["assert add(1, 2) == 3", "assert add(-4, 4) == 0"], "entry_point": "add"},
)

VERIFIER = CodeVerifier()
DOMAIN = Domain(
    name="code",
    version=1,
    quick=VERIFIER.quick,
    verify=VERIFIER.verify,
    runs_in="jail",
    ready=VERIFIER.ready,
    ask="Answer with one Python code block (```python … ```) that holds the whole solution.",
    needs=(("tests", "test"),),
    fields=("tests", "test", "setup", "entry_point", "time_limit_s", "memory_mb", "language"),
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
