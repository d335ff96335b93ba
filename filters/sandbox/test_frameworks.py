"""Runs the test classes of `unittest`, and tests that only `pytest` can run, inside a jail; nothing is on a disk."""

from __future__ import annotations

import importlib
import os
import types
import unittest
from pathlib import Path
from typing import Any

from proofmill.filters.sandbox.scores import Failed, Score, TestsFaultError

_QUIET = ("-p", "no:cacheprovider", "-p", "no:terminal", "-p", "no:faulthandler", "-p", "no:warnings")
_HOOKS = ("-p", "no:unraisableexception", "-p", "no:threadexception")
_PYTEST = (*_QUIET, *_HOOKS, "--rootdir=/tmp", "-c", "/dev/null", "--import-mode=importlib")


class _Result(unittest.TestResult):
    """Counts what was entered and left; a test that ends the process, or is skipped by the solution, counts nothing."""

    def __init__(self, score: Score, kind: str) -> None:
        super().__init__()
        self._score = score
        self._kind = kind
        self.fault: str | None = None
        self.beyond: BaseException | None = None

    def _done(self, test: Any, error: BaseException | None) -> None:
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
        if err is not None:
            self._done(test, err[1])

    def addSkip(self, _test: Any, _reason: str) -> None:  # noqa: N802
        return

    def addExpectedFailure(self, test: Any, _err: Any) -> None:  # noqa: N802
        self._done(test, None)

    def addUnexpectedSuccess(self, test: Any) -> None:  # noqa: N802
        self._done(test, AssertionError("unexpected success"))

    def stopTest(self, test: Any) -> None:  # noqa: N802
        super().stopTest(test)
        self._score.after_each()


def run_cases(score: Score, kind: Any) -> None:
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
    if not result.testsRun:
        score.record((kind.__name__, "setUpClass"), AssertionError("no test ran"))
    if result.shouldStop:
        raise Failed


def wants_pytest(text: str, new: dict[str, Any]) -> bool:
    """Whether only pytest can run what a text has defined: it imports pytest, or its functions take fixtures."""
    if "pytest" in new or "import pytest" in text or "from pytest" in text:
        return True
    functions = [v for n, v in new.items() if n.startswith("test") and isinstance(v, types.FunctionType)]
    return any(f.__code__.co_argcount and not hasattr(f, "patchings") for f in functions)


class _Plugin:
    """Gives pytest a module from memory, and counts its reports."""

    def __init__(self, pytest: Any, module: types.ModuleType, score: Score) -> None:
        self._pytest = pytest
        self._module = module
        self._score = score
        self.fault: str | None = None

    def pytest_pycollect_makemodule(self, module_path: Any, parent: Any) -> Any:
        module = self._module

        class InMemory(self._pytest.Module):  # type: ignore[name-defined, misc]
            def _getobj(self) -> types.ModuleType:
                return module

        return InMemory.from_parent(parent, path=module_path)

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.when == "call" and report.passed:
            self._score.asserted += 1
            self._score.record(report.nodeid, None)

    def pytest_exception_interact(self, node: Any, call: Any) -> None:
        self.fault = self.fault or self._score.blame(call.excinfo.value)
        self._score.record(getattr(node, "nodeid", "tests"), call.excinfo.value)


def run_pytest(score: Score, new: dict[str, Any]) -> None:
    """Let pytest collect and run what the text has defined.

    Raises:
        TestsFaultError: pytest is not in the jail, or runs no test.
    """
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    try:
        pytest: Any = importlib.import_module("pytest")
    except ImportError:
        raise TestsFaultError("needs pytest") from None
    module = types.ModuleType("test_of_data_set")
    module.__dict__.update({name: value for name, value in new.items() if not name.startswith("__")})
    path = Path("/tmp/test_of_data_set.py")  # noqa: S108 - the jail's own; empty
    path.touch()
    plugin, before = _Plugin(pytest, module, score), len(score.outcome)
    first = [] if score.go_on else ["-x"]
    pytest.main([*_PYTEST, *first, str(path)], plugins=[plugin])
    if plugin.fault or len(score.outcome) == before:
        raise TestsFaultError(plugin.fault or "pytest ran no test")
