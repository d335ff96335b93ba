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
from pathlib import Path
from typing import Any

from proofmill.filters.sandbox import wire

SOURCE = "<tests>"
MESSAGE_CHARS = 200


class TestsFaultError(Exception):
    """The tests themselves can't be run: never the solution's fault."""


class Failed(BaseException):
    """Ends the tests after the first failure; not an Exception, so that no test catches it."""


@dataclass
class Score:
    """Which of the counted tests passed, failed or never ran.

    Attributes:
        outcome: by test, whether every run of it held.
        first_failure: one line.
        asserted: assertions that were evaluated.
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

    def record(self, test: object, error: BaseException | None) -> None:
        """Count one run of `test`; one failure outweighs any number of passes."""
        self.outcome[test] = error is None and self.outcome.get(test, True)
        if error is not None and self.first_failure is None:
            self.first_failure = describe(error)

    @contextlib.contextmanager
    def counted(self, test: object) -> Iterator[None]:
        """A `with` block around one test: records it, and ends the tests after a failure unless told to go on."""
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


def describe(error: BaseException) -> str:
    """`NameError: message`, whatever the exception's own methods do."""
    try:
        message = str(error)[:MESSAGE_CHARS]
    except BaseException as broken:  # noqa: BLE001 - foreign code: its __str__ may do anything
        message = type(broken).__name__
    return f"{type(error).__name__}: {message}"


# what Python says where a test wants of a class, a coroutine or an exception of the solution's what no stand-in has
_LIMITS = (
    "a coroutine was expected, got <coroutine ",
    "catching classes that do not inherit from BaseException",
    "issubclass() arg 1 must be a class",
    "object Remote can't be used in 'await' expression",
    "'async for' requires an object with __aiter__ method, got Remote",
    "'Remote' object does not support the",
)
_SOLUTION = "<solution>"


class Blame:
    """Tells the tests' own faults from the solution's: a test that can't be compiled, lacks a module or a name, wants
    what no stand-in has, or fails in an expression that nothing of the solution's has touched.

    Args:
        text: the source of the tests.
        asked: names that belong to the solution.
    """

    def __init__(self, text: str, asked: frozenset[str]) -> None:
        self._text = text
        self._asked = asked

    def fault(self, error: BaseException, calls: int) -> str | None:
        """Why `error` is the tests' own fault; None where the solution may have caused it.

        Args:
            error: what a test let through.
            calls: how often tests have called the solution so far; files it should have written count as its own.
        """
        if isinstance(error, TestsFaultError):
            return str(error)
        if hasattr(error, "of_solution") or isinstance(error, AssertionError):
            return None
        if isinstance(error, TypeError | ValueError) and str(error).startswith(_LIMITS):
            return describe(error)
        if isinstance(error, SyntaxError):
            return describe(error) if error.filename == SOURCE else None
        frames = _frames(error)
        if any(frame.f_code.co_filename == _SOLUTION for frame, _ in frames):
            return None
        return self._of_expression(error, frames, calls)

    def _of_expression(self, error: BaseException, frames: list[tuple[Any, int]], calls: int) -> str | None:
        if isinstance(error, ModuleNotFoundError) and error.name:
            return f"needs {error.name.split('.')[0]}"
        if isinstance(error, NameError) and not isinstance(error, UnboundLocalError):
            return None if error.name in self._asked else f"nobody defines {error.name}"
        if isinstance(error, ImportError):
            return None if "solution" in str(error) else describe(error)
        own = [(frame, at) for frame, at in frames if frame.f_code.co_filename == SOURCE]
        if not own or (isinstance(error, OSError) and calls):
            return None
        try:
            names = self._names_at(*own[-1])
        except (SyntaxError, ValueError):
            return None
        return None if names is None or names & self._touched() else describe(error)

    def _names_at(self, frame: Any, at: int) -> set[str] | None:
        """The names in the expression that failed; None where it can't be told."""
        first, last, start, end = list(frame.f_code.co_positions())[at // 2]
        if None in (first, last, start, end):
            return None
        lines = self._text.encode().split(b"\n")[first - 1 : last]
        lines[-1] = lines[-1][:end]
        lines[0] = lines[0][start:]
        tree = ast.parse(b"(" + b"\n".join(lines) + b"\n)")
        return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}

    def _touched(self) -> set[str]:
        """Names that may hold something of the solution's, or that a call to it was given."""
        tree = ast.parse(self._text)
        touched = set(self._asked) | {"self", "candidate", "solution"}
        touched |= {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
        for _ in range(20):
            before = len(touched)
            for node in ast.walk(tree):
                touched |= _spread(node, touched)
            if len(touched) == before:
                break
        return touched


def _frames(error: BaseException) -> list[tuple[Any, int]]:
    found, trace = [], error.__traceback__
    while trace is not None:
        found.append((trace.tb_frame, trace.tb_lasti))
        trace = trace.tb_next
    return found


def _spread(node: ast.AST, touched: set[str]) -> set[str]:
    """The names that one node of the tests makes touched."""
    if isinstance(node, ast.With | ast.AsyncWith):
        return {n.id for item in node.items if item.optional_vars for n in _names(item.optional_vars)}
    reads = any(n.id in touched for n in _names(node))
    if not reads:
        return set()
    if isinstance(node, ast.Call):
        return {n.id for n in _names(node)} if any(n.id in touched for n in _names(node.func)) else set()
    if isinstance(node, ast.Assign | ast.AugAssign | ast.AnnAssign | ast.NamedExpr | ast.For | ast.comprehension):
        return {n.id for n in _names(node) if isinstance(n.ctx, ast.Store)}
    if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
        return {node.name}
    return set()


def _names(node: ast.AST) -> list[ast.Name]:
    return [part for part in ast.walk(node) if isinstance(part, ast.Name)]


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


_NOT_WRAPPED = frozenset({"super", "locals", "globals", "vars", "dir", "eval", "exec", "__counted__"})
_LAZY_CALLS = frozenset({"map", "filter", "starmap", "takewhile", "dropwhile", "accumulate", "iter", "filterfalse"})
_FIXTURES = ("setup_function", "teardown_function", "setup_module", "teardown_module")


class _Equalities(ast.NodeTransformer):
    """Gives `a == b` the tolerance for floats; applied to what assertions assert."""

    def visit_Compare(self, node: ast.Compare) -> ast.AST:
        self.generic_visit(node)
        if len(node.ops) == 1 and isinstance(node.ops[0], ast.Eq):
            function = ast.Name("__same__", ast.Load())
            return ast.copy_location(ast.Call(function, [node.left, node.comparators[0]], []), node)
        return node


class _Instrument(ast.NodeTransformer):
    """Counts assertions, goes on after one that fails where that is asked for, and watches calls.

    Args:
        count: whether every assertion that nothing catches is a test of its own.
        watch: whether calls go through `__call_of_test__`.
    """

    def __init__(self, *, count: bool, watch: bool) -> None:
        self._count = count
        self._watch = watch
        self._at = 0
        self.total = 0

    def visit_Assert(self, node: ast.Assert) -> ast.AST:
        self.generic_visit(node)
        node.test = _Equalities().visit(node.test)
        constant = isinstance(node.test, ast.Constant)
        held = ast.Call(ast.Name("__asserted__", ast.Load()), [node.test], [])
        node.test = ast.copy_location(held, node.test)
        self.total += not constant  # `assert False` is where a test must not get to
        self._at += 1
        if not self._count:
            return node
        block = ast.parse(f"with __counted__({self._at}): pass").body[0]
        block.body = [node]  # type: ignore[attr-defined]
        return ast.fix_missing_locations(ast.copy_location(block, node))

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        before = self._count
        self._count = before and not node.name.startswith("test")  # such a function is one test
        self.generic_visit(node)
        self._count = before
        return node

    def visit_Try(self, node: ast.Try) -> ast.AST:
        before, self._count = self._count, False
        self.generic_visit(node)
        self._count = before
        return node

    def visit_With(self, node: ast.With) -> ast.AST:
        """A `with` may stand for an expected exception: nothing in it is counted on its own."""
        before, self._count = self._count, False
        self.generic_visit(node)
        self._count = before
        return node

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        return self.visit_With(node)  # type: ignore[arg-type] # its methods are the tests

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        if not self._watch or name in _NOT_WRAPPED or isinstance(node.func, ast.Call):
            return node
        if name in _LAZY_CALLS or getattr(node.func, "attr", "") in _LAZY_CALLS:
            shield = ast.Name("__shield__", ast.Load())
            node.args = [ast.Call(shield, [a], []) if isinstance(a, ast.Name) else a for a in node.args]
        if isinstance(node.func, ast.Attribute):
            callee: list[ast.expr] = [node.func.value, ast.Constant(node.func.attr)]
            wrapper = "__method_of_test__"
        else:
            callee = [node.func]
            wrapper = "__call_of_test__"
        # what is written out in the call can't be looked at again by the test
        kept = any(not _written_out(a) for a in (*node.args, *(k.value for k in node.keywords)))
        arguments = [*callee, ast.Constant(kept), *node.args]
        return ast.copy_location(ast.Call(ast.Name(wrapper, ast.Load()), arguments, node.keywords), node)


def watched(tree: Any) -> Any:
    """A statement of setup with its calls and assertions watched, like those of the tests that call it."""
    return _Instrument(count=False, watch=True).visit(tree)


def _written_out(node: ast.expr) -> bool:
    return not any(isinstance(part, ast.Name | ast.Attribute | ast.Starred) for part in ast.walk(node))


@dataclass
class Tests:
    """What is run.

    Attributes:
        names: the globals of the tests.
        score: what came of them.
        entry: gives what `candidate` is; raises what reaching it raises.
        entry_point: how the data set calls it; empty where it doesn't.
        watch: whether calls go through the caller's wrappers.
        calls: how often the solution was called so far.
        asked: names that belong to the solution.
        tolerance: relative, of floats in assertions; None leaves the usual one.
    """

    names: dict[str, Any]
    score: Score
    entry: Callable[[], Any]
    entry_point: str
    watch: bool = False
    calls: Callable[[], int] = lambda: 0
    asked: frozenset[str] = frozenset()
    tolerance: float | None = None

    def prepare(self) -> None:
        """Bind what the instrumented tests call."""
        self.names["__counted__"] = self.score.counted
        self.names["__asserted__"] = self._asserted
        tolerance = wire.FLOAT_TOLERANCE if self.tolerance is None else self.tolerance
        self.names["__same__"] = lambda actual, expected: wire.same(actual, expected, tolerance)

    def _asserted(self, value: Any) -> Any:
        self.score.asserted += 1
        return value

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
        """The whole text is a test only where nothing in it was counted on its own."""
        if len(self.score.outcome) > 1 and self.score.outcome.get("rest"):
            del self.score.outcome["rest"]

    def _text(self, text: str, *, count: bool, label: str) -> int:
        """Run one text of tests; how many assertions it has that may fail or hold."""
        before = dict(self.names)
        blame = Blame(text, self.asked)
        self.score.blame = lambda error: blame.fault(error, self.calls())
        instrument = _Instrument(count=count, watch=self.watch)
        tree = ast.fix_missing_locations(instrument.visit(ast.parse(text, SOURCE)))
        with _quiet_mains():
            exec(compile(tree, SOURCE, "exec", dont_inherit=True), self.names)  # noqa: S102 - in a jail
        new = {name: value for name, value in self.names.items() if before.get(name) is not value}
        if callable(new.get("check")) and "check(" not in _called_at_top(text):
            if not self.entry_point:
                raise TestsFaultError(f"{label} has check(candidate), and no entry_point says what that is")
            new["check"](self.entry())
        self._collected(new, text)
        return instrument.total

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
            import asyncio  # few tests need it, and every fork would pay for it

            asyncio.run(result)
        elif isinstance(result, types.GeneratorType):
            list(result)
        if self.score.asserted == asserted and _asserts(function):
            raise AssertionError("no assertion ran")

    def _class(self, kind: type) -> None:
        for name in [n for n in vars(kind) if n.startswith("test")]:
            with self.score.counted((kind.__name__, name)):
                instance = kind()
                for before in ("setup_class", "setup_method", "setup"):
                    getattr(instance, before, lambda: None)()
                self._function(getattr(instance, name))
                for after in ("teardown_method", "teardown", "teardown_class"):
                    getattr(instance, after, lambda: None)()
            self.score.after_each()


def _asserts(function: Any) -> bool:
    code = getattr(function, "__code__", None)
    return code is not None and "__asserted__" in code.co_names


def _called_at_top(text: str) -> str:
    """The statements of a text that are calls, as one string: whether it runs `check` itself."""
    return "\n".join(ast.unparse(node) for node in ast.parse(text).body if isinstance(node, ast.Expr | ast.If))


@contextlib.contextmanager
def _quiet_mains() -> Iterator[None]:
    """`unittest.main()` and `pytest.main()` at the end of a test text do nothing: the classes are run here."""
    mains = [(sys.modules[name], "main") for name in ("unittest", "pytest") if name in sys.modules]
    held = [(module, name, getattr(module, name, None)) for module, name in mains]
    for module, name, _ in held:
        setattr(module, name, lambda *_, **__: None)
    try:
        yield
    finally:
        for module, name, value in held:
            setattr(module, name, value)
