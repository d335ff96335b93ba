"""What came of the tests, and whose fault it is where one could not be run. Runs inside a jail."""

from __future__ import annotations

import ast
import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

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
