"""The tests' side: runs tests that come with a data set, in a jail of their own, against stand-ins.

The solution lives in another jail and is reached through the parent, so it can't see, patch or
outlive the tests; the tests are jailed too, since a data set is not trusted with the machine either.
"""

from __future__ import annotations

import ast
import importlib
import sys
import types
from typing import Any

from proofmill.filters.sandbox import comparison, proxies, solution_host, wire

_MESSAGE_CHARS = 200


class _Score:
    """Which of the counted tests passed, failed or never ran."""

    def __init__(self) -> None:
        self.outcome: dict[object, bool] = {}
        self.first_failure: str | None = None

    def record(self, test: object, error: BaseException | None) -> None:
        """Count one run of `test`; one failure outweighs any number of passes."""
        self.outcome[test] = error is None and self.outcome.get(test, True)
        if error is not None and self.first_failure is None:
            self.first_failure = f"{type(error).__name__}: {str(error)[:_MESSAGE_CHARS]}"


class _Counted:
    """`with` block around one assertion: records it and goes on after a failure."""

    def __init__(self, score: _Score, test: object) -> None:
        self._score, self._test = score, test

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> bool:
        if error is not None and (not isinstance(error, Exception) or _is_tests_fault(error)):
            return False
        self._score.record(self._test, error)
        return True


class _Equalities(ast.NodeTransformer):
    """Gives `a == b` the tolerance for floats; applied to what assertions assert."""

    def visit_Compare(self, node: ast.Compare) -> ast.AST:
        self.generic_visit(node)
        if len(node.ops) == 1 and isinstance(node.ops[0], ast.Eq):
            function = ast.Name("__same__", ast.Load())
            return ast.copy_location(ast.Call(function, [node.left, node.comparators[0]], []), node)
        return node


class _Instrument(ast.NodeTransformer):
    """Counts assertions that nothing catches, and goes on after one that fails."""

    def __init__(self, *, count: bool) -> None:
        self._count = count
        self.total = 0

    def visit_Assert(self, node: ast.Assert) -> ast.AST:
        node.test = _Equalities().visit(node.test)
        if not self._count:
            return node
        block = ast.parse(f"with __counted__({self.total}): pass").body[0]
        self.total += 1
        block.body = [node]  # type: ignore[attr-defined]
        return ast.fix_missing_locations(ast.copy_location(block, node))

    def visit_Try(self, node: ast.Try) -> ast.AST:
        before, self._count = self._count, False
        self.generic_visit(node)
        self._count = before
        return node


class _SolutionModule(types.ModuleType):
    """`from solution import f`, as some data sets' tests begin."""

    def __init__(self, line: proxies.Wire) -> None:
        super().__init__(solution_host.MODULE)
        self.__dict__["_line"] = line
        self.__path__: list[str] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _named(self.__dict__["_line"], name)


class _SetupFailed(BaseException):
    """The data set's own setup raised."""


def _set_up(space: solution_host.Space, setup: str) -> None:
    try:
        solution_host.run_setup(setup, space)
    except Exception as error:  # the problem's fault: no code of the solution has run here
        raise _SetupFailed(f"setup raised {type(error).__name__}: {str(error)[:_MESSAGE_CHARS]}") from error


def _named(line: proxies.Wire, name: str) -> Any:
    """The solution's global `name`: data, or a stand-in; raises what the solution's side raises."""
    return line.call("value", proxies.Remote(line, ["n", name], "name"))


def _bind(space: solution_host.Space, line: proxies.Wire, job: dict[str, Any]) -> None:
    for name in job["modules"]:
        if name not in space.names:
            space.names[name] = importlib.import_module(name)
    for name in job["names"]:
        if name in job["under_test"] or name not in space.names:
            try:
                space.names[name] = _named(line, name)
            except Exception:  # noqa: BLE001, S112 - the solution lacks the name: the test that uses it says so
                continue


def _run_strings(space: solution_host.Space, tests: list[str], score: _Score) -> None:
    for index, source in enumerate(tests):
        tree = ast.fix_missing_locations(_Instrument(count=False).visit(ast.parse(source)))
        with _Counted(score, index):
            exec(compile(tree, "<test>", "exec", dont_inherit=True), space.names)  # noqa: S102 - in a jail


def _run_function(space: solution_host.Space, job: dict[str, Any], score: _Score) -> None:
    """The data set's own text: `check(candidate)`, `test_*` functions, unittest classes, bare asserts."""
    instrument = _Instrument(count=True)
    tree = ast.fix_missing_locations(instrument.visit(ast.parse(job["test"])))
    exec(compile(tree, "<tests>", "exec", dont_inherit=True), space.names)  # noqa: S102 - in a jail
    found = dict(space.names)
    if callable(found.get("check")) and job["entry_point"]:
        found["check"](found.get(job["entry_point"]))
    for name, value in found.items():
        if name.startswith("test_") and isinstance(value, types.FunctionType):
            value()
        if isinstance(value, type) and hasattr(value, "failureException"):  # a unittest class
            _run_case(value, score)
    if not score.outcome:  # a loop over an empty answer asserts nothing, and so proves nothing
        score.record("all", AssertionError("no assertion ran") if instrument.total else None)


def _run_case(kind: Any, score: _Score) -> None:
    import unittest  # few tests need it, and every fork would pay for it

    for method in unittest.defaultTestLoader.getTestCaseNames(kind):
        with _Counted(score, (kind.__name__, method)):
            kind(method).debug()


def examine(channel: wire.Link, job: dict[str, Any]) -> None:
    """Run the job's tests and report how many passed."""
    space, score = solution_host.Space("tests"), _Score()
    line = proxies.Wire(channel, lambda: _classes(space))
    space.names["__same__"] = comparison.same
    space.names["__counted__"] = lambda test: _Counted(score, test)
    sys.modules[solution_host.MODULE] = sys.modules["main"] = _SolutionModule(line)
    report: dict[str, Any] = {"fault": None, "gone": False}
    try:
        _set_up(space, job["setup"])
        _bind(space, line, job)
        _run_strings(space, job["tests"], score)
        if job["test"]:
            _run_function(space, job, score)
    except proxies.SolutionGone:
        report["gone"] = True
    except (proxies.CannotSend, _SetupFailed) as error:
        report["fault"] = f"{type(error).__name__}: {str(error)[:_MESSAGE_CHARS]}"
    except Exception as error:  # noqa: BLE001 - what a test lets through is its failure
        if _is_tests_fault(error):
            report["fault"] = f"{type(error).__name__}: {str(error)[:_MESSAGE_CHARS]}"
        score.record("rest", error)
    report |= {"passed": sum(score.outcome.values()), "ran": len(score.outcome), "why": score.first_failure}
    channel.send(wire.DONE, report)


# what Python says where a test wants of a class, a coroutine or an exception of the solution's what no stand-in has
_LIMITS = (
    "a coroutine was expected, got <coroutine ",
    "catching classes that do not inherit from BaseException",
    "issubclass() arg 1 must be a class",
    "object Remote can't be used in 'await' expression",
    "'async for' requires an object with __aiter__ method, got Remote",
    "'Remote' object does not support the",
)


def _is_tests_fault(error: Exception) -> bool:
    """A test that can't be compiled, lacks a module, or wants what no stand-in has; not one that compiles what the
    solution gave it.
    """
    if hasattr(error, "of_solution"):
        return False
    if isinstance(error, TypeError | ValueError) and str(error).startswith(_LIMITS):
        return True
    own = isinstance(error, SyntaxError) and error.filename in ("<test>", "<tests>")
    return own or isinstance(error, ImportError)


def _classes(space: solution_host.Space) -> dict[str, type]:
    return {name: space.names[name] for name in space.classes if isinstance(space.names.get(name), type)}
