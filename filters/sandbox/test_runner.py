"""Runs tests that come with a data set, in whatever form: bare assertions, `check(candidate)`, test functions,
plain test classes, `unittest`, `pytest`; counts what was entered and left.

Runs inside a jail. What the names of the tests mean is the caller's: stand-ins for a solution in another jail
(`proxies`), or the solution itself (`in_process`).
"""

from __future__ import annotations

import ast
import contextlib
import sys
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from proofmill.filters.sandbox import comparison
from proofmill.filters.sandbox.scores import SOURCE, Blame, Failed, Score, TestsFaultError
from proofmill.filters.sandbox.test_frameworks import run_cases, run_pytest, wants_pytest

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
        tolerance = comparison.FLOAT_TOLERANCE if self.tolerance is None else self.tolerance
        self.names["__same__"] = lambda actual, expected: comparison.same(actual, expected, tolerance)

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
