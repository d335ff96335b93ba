"""Runs tests that come with a data set, in whatever form: bare assertions, `check(candidate)`, test functions,
plain test classes, `unittest`, `pytest`; counts what was entered and left.

Runs inside a jail. What the names of the tests mean is the caller's: stand-ins for a solution in another jail
(`proxies`), or the solution itself (`in_process`).
"""

from __future__ import annotations

import ast
import contextlib
import importlib
import os
import sys
import types
import unittest
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from proofmill.filters.sandbox import wire
from proofmill.filters.sandbox.instrument import Blame, TestsFaultError, describe, open_names, woven
from proofmill.filters.sandbox.vetting import TESTS_SOURCE


class Failed(BaseException):
    """Ends the tests after the first failure; not an Exception, so that no test catches it."""


@dataclass
class TestCounts:
    """Which of the counted tests passed, failed or never ran.

    Attributes:
        outcome: by test, whether every run of it held.
        first_failure: one line.
        asserted: assertions that were evaluated.
        failed: assertions among them that failed, whoever caught that.
        go_on: count on after a failure.
        after_each: called when a test was left.
        blame: why an exception is the tests' own fault, or None.
    """

    go_on: bool
    blame: Callable[[BaseException], str | None] = lambda _error: None
    after_each: Callable[[], None] = lambda: None
    outcome: dict[object, bool] = field(default_factory=dict)
    first_failure: str | None = None
    asserted: int = 0
    failed: int = 0

    def record(self, test: object, error: BaseException | None) -> None:
        """Count one run of `test`; one failure outweighs any number of passes."""
        # A test may run several times: parametrised, as subtests, in a loop.
        self.outcome[test] = error is None and self.outcome.get(test, True)
        if error is not None and self.first_failure is None:
            self.first_failure = describe(error)

    @contextlib.contextmanager
    def counted(self, test: object) -> Iterator[None]:
        """Record the test in the `with` block, and end all tests after a failure unless told to go on."""
        try:
            yield
        except Exception as error:
            fault = self.blame(error)
            if fault:
                raise TestsFaultError(fault) from error
            self.record(test, error)
            if not self.go_on:
                raise Failed from None
        else:
            self.record(test, None)


_QUIET = ("-p", "no:cacheprovider", "-p", "no:terminal", "-p", "no:faulthandler", "-p", "no:warnings")
_HOOKS = ("-p", "no:unraisableexception", "-p", "no:threadexception")
_PYTEST = (*_QUIET, *_HOOKS, "--rootdir=/tmp", "-c", "/dev/null", "--import-mode=importlib")


class _Result(unittest.TestResult):
    """Counts what was entered and left; a test that ends the process, or is skipped by the solution, counts nothing."""

    def __init__(self, score: TestCounts, kind: str) -> None:
        super().__init__()
        self._score = score
        self._kind = kind
        self.fault: str | None = None
        self.beyond: BaseException | None = None
        self._failed_before = 0

    def startTest(self, test: Any) -> None:  # noqa: N802
        super().startTest(test)
        self._failed_before = self._score.failed

    def _done(self, test: Any, error: BaseException | None) -> None:
        # The solution's process ended, or nothing can be sent to it: no test is to blame, and none can go on.
        if getattr(error, "beyond_tests", False):
            self.beyond = error
            return self.stop()
        self.fault = self.fault or (self._score.blame(error) if isinstance(error, Exception) else None)
        self._score.asserted += 1
        self._score.record((self._kind, getattr(test, "_testMethodName", str(test)[:80])), error)
        if error is not None and not self._score.go_on:
            self.stop()
        return None

    def addSuccess(self, test: Any) -> None:  # noqa: N802 - unittest's names
        self._done(test, None)

    def addError(self, test: Any, err: Any) -> None:  # noqa: N802
        self._done(test, err[1])

    def addFailure(self, test: Any, err: Any) -> None:  # noqa: N802
        self._done(test, err[1])

    def addSubTest(self, test: Any, _subtest: Any, err: Any) -> None:  # noqa: N802
        # A subtest that holds says nothing yet: the test around it reports at its end.
        if err is not None:
            self._done(test, err[1])

    def addSkip(self, _test: Any, _reason: str) -> None:  # noqa: N802
        return

    def addExpectedFailure(self, test: Any, _err: Any) -> None:  # noqa: N802
        self._score.failed = self._failed_before  # what failed in this test was meant to; earlier failures stay
        self._done(test, None)

    def addUnexpectedSuccess(self, test: Any) -> None:  # noqa: N802
        self._done(test, AssertionError("unexpected success"))

    def stopTest(self, test: Any) -> None:  # noqa: N802
        super().stopTest(test)
        self._score.after_each()


def run_cases(score: TestCounts, kind: Any) -> None:
    """Run every test of a `unittest` class, with its fixtures.

    Raises:
        TestsFaultError: it has none, or one can't be run.
        Failed: one failed, and that ends the tests.
    """
    result = _Result(score, kind.__name__)
    suite = unittest.defaultTestLoader.loadTestsFromTestCase(kind)
    if not suite.countTestCases():
        raise TestsFaultError(f"class {kind.__name__} has no test")
    suite.run(result)
    if result.beyond is not None:
        raise result.beyond
    if result.fault:
        raise TestsFaultError(result.fault)
    # `setUpClass` failed or skipped everything, so that no test was entered.
    if not result.testsRun:
        score.record((kind.__name__, "setUpClass"), AssertionError("no test ran"))
    if result.shouldStop:
        raise Failed


def wants_pytest(text: str, new: dict[str, Any]) -> bool:
    """Return whether only pytest can run what a text has defined: it imports pytest, or its functions take fixtures."""
    if "pytest" in new or "import pytest" in text or "from pytest" in text:
        return True
    functions = [v for n, v in new.items() if n.startswith("test") and isinstance(v, types.FunctionType)]
    # Arguments are fixtures, which only pytest can give, except those that `mock.patch` hands in.
    return any(f.__code__.co_argcount and not hasattr(f, "patchings") for f in functions)


class _Plugin:
    """Gives pytest a module from memory, and counts its reports."""

    def __init__(self, pytest: Any, module: types.ModuleType, score: TestCounts) -> None:
        self._pytest = pytest
        self._module = module
        self._score = score
        self.fault: str | None = None
        self._failed_before = 0

    def pytest_runtest_logstart(self) -> None:
        self._failed_before = self._score.failed

    def pytest_pycollect_makemodule(self, module_path: Any, parent: Any) -> Any:
        module = self._module

        class InMemory(self._pytest.Module):  # type: ignore[name-defined, misc]
            def _getobj(self) -> types.ModuleType:
                return module

        return InMemory.from_parent(parent, path=module_path)

    def pytest_pyfunc_call(self, pyfuncitem: Any) -> bool | None:
        """Run async tests: the plugins that data sets use for them do no more."""
        if not _is_async(pyfuncitem.obj):
            return None
        arguments = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}
        run_async(pyfuncitem.obj(**arguments))
        return True

    def pytest_runtest_logreport(self, report: Any) -> None:
        if getattr(report, "wasxfail", None) is not None:
            self._score.failed = self._failed_before  # as its mark says
        if report.when == "call" and report.passed:
            self._score.asserted += 1
            self._score.record(report.nodeid, None)

    def pytest_exception_interact(self, node: Any, call: Any) -> None:
        self.fault = self.fault or self._score.blame(call.excinfo.value)
        self._score.record(getattr(node, "nodeid", "tests"), call.excinfo.value)


def run_pytest(score: TestCounts, new: dict[str, Any]) -> None:
    """Let pytest collect and run what the text has defined.

    Raises:
        TestsFaultError: pytest is not in the jail, or runs no test.
    """
    # Plugins of this machine would make its verdicts differ from another's.
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    try:
        pytest: Any = importlib.import_module("pytest")
    except ImportError:
        raise TestsFaultError("needs pytest") from None
    module = types.ModuleType("test_of_data_set")
    module.__dict__.update({name: value for name, value in new.items() if not name.startswith("__")})
    path = "/tmp/test_of_data_set.py"  # noqa: S108 - the jail's own; empty
    open(path, "w").close()  # noqa: PTH123 - pathlib would be in every fork
    plugin, before = _Plugin(pytest, module, score), len(score.outcome)
    first = [] if score.go_on else ["-x"]
    pytest.main([*_PYTEST, *first, path], plugins=[plugin])
    if plugin.fault or len(score.outcome) == before:
        raise TestsFaultError(plugin.fault or "pytest ran no test")


_FIXTURES = ("setup_function", "teardown_function", "setup_module", "teardown_module")


@dataclass
class Tests:
    """The tests of a problem, and what is needed to run them.

    Attributes:
        names: the globals of the tests.
        score: their outcomes so far.
        entry: gives what `candidate` is; raises what reaching it raises.
        entry_point: how the data set calls it; empty where it doesn't.
        watch: whether calls go through the caller's wrappers.
        calls: how often the solution was called so far.
        asked: names that belong to the solution.
        tolerance: relative, of floats in assertions; None leaves the usual one.
        isolate: the solution gets copies of what tests still hold, and only what its changes can reach is judged.
    """

    names: dict[str, Any]
    score: TestCounts
    entry: Callable[[], Any]
    entry_point: str
    watch: bool = False
    calls: Callable[[], int] = lambda: 0
    asked: frozenset[str] = frozenset()
    tolerance: float | None = None
    isolate: bool = False

    def prepare(self) -> None:
        """Bind what the instrumented tests call."""
        self.names["__counted__"] = self.score.counted
        self.names |= {"__asserted__": self._asserted, "__settled__": self._settled, "__failed__": self._failed}
        tolerance = wire.FLOAT_TOLERANCE if self.tolerance is None else self.tolerance
        self.names["__same__"] = lambda actual, expected: wire.same(actual, expected, tolerance)

    def _asserted(self, value: Any) -> bool:
        self.score.asserted += 1
        held = bool(value)
        self.score.failed += not held
        return held

    def _settled(self, _value: Any) -> bool:
        self.score.asserted += 1
        return True

    def _failed(self) -> None:
        self.score.failed += 1

    def run(self, sources: list[str], text: str) -> None:
        """Run assert-style `sources` one after another, then the data set's own `text`.

        Raises:
            TestsFaultError: a test can't be run, or asserts nothing.
        """
        self.prepare()
        with contextlib.suppress(Failed):
            for index, source in enumerate(sources):
                asserted = self.score.asserted
                with self.score.counted(index):
                    total = self._text(source, count=False, label=f"test {index + 1}")
                    # It has assertions, and ran past none: an empty answer that a loop goes over would pass.
                    if total and self.score.asserted == asserted:
                        raise AssertionError("no assertion ran")
                self.score.after_each()
            if text.strip():
                with self.score.counted("rest"):
                    total = self._text(text, count=True, label="the test text")
                    if total and self.score.asserted == 0:
                        raise AssertionError("no assertion ran")
                self._settle()
        self.score.after_each()

    def _settle(self) -> None:
        """Count the whole text as a test only where nothing in it was counted on its own."""
        if len(self.score.outcome) > 1 and self.score.outcome.get("rest"):
            del self.score.outcome["rest"]

    def _text(self, text: str, *, count: bool, label: str) -> int:
        """Run one text of tests; return how many assertions it has that may fail or hold."""
        before = dict(self.names)
        blame = Blame(text, self.asked)
        self.score.blame = lambda error: blame.fault(error, self.calls())
        parsed = ast.parse(text, TESTS_SOURCE)
        reachable = open_names(parsed, self.asked) if self.isolate else None
        tree, total = woven(parsed, count=count, watch=self.watch, reachable=reachable)
        with _quiet_mains():
            exec(compile(tree, TESTS_SOURCE, "exec", dont_inherit=True), self.names)  # noqa: S102 - in a jail
        # Only what this text has defined: the tests of an earlier text must not run again.
        new = {name: value for name, value in self.names.items() if before.get(name) is not value}
        if callable(new.get("check")) and "check(" not in _called_at_top(text):
            if not self.entry_point:
                raise TestsFaultError(f"{label} has check(candidate), and no entry_point says what that is")
            new["check"](self.entry())
        self._collected(new, text)
        return total

    def _collected(self, new: dict[str, Any], text: str) -> None:
        """Run the test functions and classes that a text has defined."""
        if wants_pytest(text, new):
            return run_pytest(self.score, new)
        self._fixture(new, "setup_module")
        for name, value in new.items():
            if name.startswith("test") and isinstance(value, types.FunctionType):
                self._fixture(new, "setup_function")
                with self.score.counted(name):
                    self._function(value)
                self._fixture(new, "teardown_function")
                self.score.after_each()
            elif isinstance(value, type) and hasattr(value, "failureException"):  # a unittest class
                run_cases(self.score, value)
            elif isinstance(value, type) and name.startswith("Test"):
                self._class(value)
        self._fixture(new, "teardown_module")
        return None

    def _fixture(self, names: dict[str, Any], name: str) -> None:
        if callable(names.get(name)):
            names[name]()

    def _function(self, function: Any) -> None:
        asserted = self.score.asserted
        result = function()
        if isinstance(result, types.CoroutineType):
            run_async(result)
        elif isinstance(result, types.GeneratorType):
            list(result)
        if self.score.asserted == asserted and _asserts(function):
            raise AssertionError("no assertion ran")

    def _class(self, kind: type) -> None:
        for name in [n for n in vars(kind) if n.startswith("test")]:
            with self.score.counted((kind.__name__, name)):
                # A fresh object for each test, as unittest and pytest do.
                instance = kind()
                for before in ("setup_class", "setup_method", "setup"):
                    getattr(instance, before, lambda: None)()
                self._function(getattr(instance, name))
                for after in ("teardown_method", "teardown", "teardown_class"):
                    getattr(instance, after, lambda: None)()
            self.score.after_each()


def _is_async(function: Any) -> bool:
    code = getattr(function, "__code__", None)
    return code is not None and bool(code.co_flags & 0x80)  # inspect.CO_COROUTINE


def run_async(coroutine: Any) -> None:
    """Run an async test to its end."""
    import asyncio  # few tests need it, and every fork would pay for it

    asyncio.run(coroutine)


def _asserts(function: Any) -> bool:
    code = getattr(function, "__code__", None)
    return code is not None and "__asserted__" in code.co_names


def _called_at_top(text: str) -> str:
    """Return the statements of a text that are calls, as one string: whether it runs `check` itself."""
    return "\n".join(ast.unparse(node) for node in ast.parse(text).body if isinstance(node, ast.Expr | ast.If))


@contextlib.contextmanager
def _quiet_mains() -> Iterator[None]:
    """Let `unittest.main()` and `pytest.main()` at the end of a test text do nothing: the classes are run here."""
    mains = [(sys.modules[name], "main") for name in ("unittest", "pytest") if name in sys.modules]
    held = [(module, name, getattr(module, name, None)) for module, name in mains]
    for module, name, _ in held:
        setattr(module, name, lambda *_, **__: None)
    try:
        yield
    finally:
        for module, name, value in held:
            setattr(module, name, value)
