"""Instruments the text of tests before it runs, and tells afterwards whose fault a failure is.

`Instrument` counts assertions, lets calls pass a wrapper and gives `==` its tolerance; `open_names` says which names a
solution can reach; `Blame` tells the tests' own faults from the solution's. Runs inside a jail.
"""

from __future__ import annotations

import ast
import builtins
import errno
from typing import Any

from proofmill.filters.sandbox.vetting import TESTS_SOURCE

MESSAGE_CHARS = 200


class TestsFaultError(Exception):
    """The tests themselves can't be run: never the solution's fault."""


def describe(error: BaseException) -> str:
    """Return `NameError: message`, whatever the exception's own methods do."""
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
        """Return why `error` is the tests' own fault; None where the solution may have caused it.

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
            return describe(error) if error.filename == TESTS_SOURCE else None
        frames = _frames(error)
        if any(frame.f_code.co_filename == _SOLUTION for frame, _ in frames):
            return None
        return self._of_expression(error, frames, calls)

    def _of_expression(self, error: BaseException, frames: list[tuple[Any, int]], calls: int) -> str | None:
        if isinstance(error, PermissionError) and error.errno == errno.EPERM:
            return describe(error)  # what the jail allows nobody, the tests neither
        if isinstance(error, ModuleNotFoundError) and error.name:
            return f"needs {error.name.split('.')[0]}"
        if isinstance(error, NameError) and not isinstance(error, UnboundLocalError):
            return None if error.name in self._asked else f"nobody defines {error.name}"
        if isinstance(error, ImportError):
            return None if "solution" in str(error) else describe(error)
        own = [(frame, at) for frame, at in frames if frame.f_code.co_filename == TESTS_SOURCE]
        if not own or (isinstance(error, OSError) and calls):
            return None
        try:
            names = self._names_at(*own[-1])
        except (SyntaxError, ValueError):
            return None
        return None if names is None or names & self._touched() else describe(error)

    def _names_at(self, frame: Any, at: int) -> set[str] | None:
        """Return the names in the expression that failed; None where it can't be told."""
        first, last, start, end = list(frame.f_code.co_positions())[at // 2]
        if None in (first, last, start, end):
            return None
        lines = self._text.encode().split(b"\n")[first - 1 : last]
        lines[-1] = lines[-1][:end]
        lines[0] = lines[0][start:]
        # In brackets, an expression may go over several lines, whatever their indentation.
        tree = ast.parse(b"(" + b"\n".join(lines) + b"\n)")
        return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}

    def _touched(self) -> set[str]:
        """Return the names that may hold something of the solution's, or that a call to it was given."""
        tree = ast.parse(self._text)
        touched = set(self._asked) | {"self", "candidate", "solution"}
        touched |= {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
        # Each round follows one more assignment; no test has chains of twenty.
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
    """Return the names that one node of the tests makes touched."""
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


_NOT_WRAPPED = frozenset({"super", "locals", "globals", "vars", "dir", "eval", "exec", "__counted__"})
# what calls a function that it is handed
_LAZY_CALLS = frozenset({"map", "filter", "starmap", "takewhile", "dropwhile", "accumulate", "iter", "filterfalse"})
_LAZY_CALLS |= frozenset({"partial", "reduce", "submit", "Thread", "Timer", "to_thread", "run_in_executor", "imap"})


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
        open_names: names that a solution's changes to its arguments can reach, where those changes are kept from the
            tests: what is compared with anything else has been judged before, and holds. None judges all.
    """

    def __init__(self, *, count: bool, watch: bool, open_names: frozenset[str] | None = None) -> None:
        self._count = count
        self._watch = watch
        self._open = open_names
        self._at = 0
        self.total = 0

    def visit_Assert(self, node: ast.Assert) -> ast.AST:
        settled = isinstance(node.test, ast.Compare) and self._settled([node.test.left, *node.test.comparators])
        self.generic_visit(node)
        node.test = _Equalities().visit(node.test)
        constant = isinstance(node.test, ast.Constant)
        held = ast.Call(ast.Name("__settled__" if settled else "__asserted__", ast.Load()), [node.test], [])
        node.test = ast.copy_location(held, node.test)
        self.total += not constant  # `assert False` is where a test must not get to
        self._at += 1
        # Each assertion in a block of its own, so that one failure neither hides nor stops the others.
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

    def _settled(self, sides: list[ast.expr]) -> bool:
        """Return whether one side of a comparison is out of reach of what the solution may have changed."""
        if self._open is None or len(sides) != 2:
            return False
        return any(self._open.isdisjoint(name.id for name in _names(side)) for side in sides)

    def visit_With(self, node: ast.With) -> ast.AST:
        """Count nothing inside a `with` on its own: it may stand for an expected exception.

        What it stands for may also be a context of the solution's that hides a failure.
        """
        before, self._count = self._count, False
        expects = any(_expects_failure(item.context_expr) for item in node.items)
        self.generic_visit(node)
        self._count = before
        if self._watch and not expects:
            # The failure goes on after it was noted: whether the context swallows it is what is to be seen.
            heard = ast.parse("try: pass\nexcept AssertionError:\n    __failed__()\n    raise").body[0]
            heard.body = node.body  # type: ignore[attr-defined]
            node.body = [ast.copy_location(heard, node.body[0])]
        return node

    def visit_AsyncWith(self, node: ast.AsyncWith) -> ast.AST:
        return self.visit_With(node)  # type: ignore[arg-type]

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        before, self._count = self._count, False  # its methods are the tests
        self.generic_visit(node)
        self._count = before
        return node

    def visit_Call(self, node: ast.Call) -> ast.AST:
        settled = getattr(node.func, "attr", "").startswith("assert") and self._settled(node.args[:2])
        self.generic_visit(node)
        # Its arguments are still evaluated: they may be what the test is about.
        if settled:
            return ast.copy_location(ast.Tuple(node.args, ast.Load()), node)
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        if not self._watch or name in _NOT_WRAPPED or isinstance(node.func, ast.Call):
            return node
        if name in _LAZY_CALLS or getattr(node.func, "attr", "") in _LAZY_CALLS:
            node.args = [_shielded(a) for a in node.args]
            for keyword in node.keywords:
                keyword.value = _shielded(keyword.value)
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


def _shielded(node: ast.expr) -> ast.expr:
    return ast.Call(ast.Name("__shield__", ast.Load()), [node], []) if isinstance(node, ast.Name) else node


def _expects_failure(node: ast.expr) -> bool:
    function = node.func if isinstance(node, ast.Call) else node
    return getattr(function, "attr", getattr(function, "id", "")).startswith(("assert", "raises", "warns", "suppress"))


def open_names(tree: ast.Module, asked: frozenset[str]) -> frozenset[str]:
    """Return the names whose values a solution can reach: it was handed them, or they came out of it.

    By names alone, without regard to order, and always on the side of too many: what the text does not bind itself is
    open, and so are the arguments of its helpers, and what is taken from one container with something open.
    """
    nodes = list(ast.walk(tree))
    written = _written_out_names(nodes)
    bound = {n.id for n in nodes if isinstance(n, ast.Name) and not isinstance(n.ctx, ast.Load)}
    bound |= {(a.asname or a.name).split(".")[0] for n in nodes if isinstance(n, ast.Import) for a in n.names}
    open_ = set(asked) | {"self", "candidate", "solution"}
    # A name that the text never binds comes from the solution or from setup, which the solution saw.
    open_ |= {n.id for n in nodes if isinstance(n, ast.Name)} - bound - set(dir(builtins))
    for node in nodes:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            arguments = {n.arg for n in ast.walk(node.args) if isinstance(n, ast.arg)}
            open_ = open_ - arguments if _parametrized(node, written) else open_ | arguments
    open_ |= asked
    parts: set[str] = set()  # containers of which some parts are open, and others can't be
    before = -1
    while before != len(open_):
        before = len(open_)
        for node in nodes:
            found = _opened(node, frozenset(open_), asked)
            if _takes_apart(node, written):
                right = {n.id for n in _names(node.iter)}  # type: ignore[attr-defined]
                parts |= found & right
                found -= right
            open_ |= found
    return frozenset(open_ | parts)


def _takes_apart(node: ast.AST, written: frozenset[str]) -> bool:
    """Return whether a loop takes written-out data apart, so that the parts have nothing in common."""
    loop = isinstance(node, ast.For | ast.comprehension) and isinstance(node.target, ast.Tuple)
    return loop and isinstance(node.iter, ast.Name) and node.iter.id in written  # type: ignore[attr-defined]


def _written_out_names(nodes: list[ast.AST]) -> frozenset[str]:
    """Return the names bound once, to data that is written out: nothing else can be part of it."""
    bound = [n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)]
    assigned = [n for n in nodes if isinstance(n, ast.Assign) and _written_out(n.value)]
    names = {t.id for n in assigned for t in n.targets if isinstance(t, ast.Name)}
    return frozenset(name for name in names if bound.count(name) == 1)


def _parametrized(node: ast.AST, written: frozenset[str]) -> bool:
    """Return whether the arguments of a test function are data that is written out."""
    if not isinstance(node, ast.FunctionDef) or not node.name.startswith("test") or not node.decorator_list:
        return False
    calls = [d for d in node.decorator_list if isinstance(d, ast.Call) and getattr(d.func, "attr", "") == "parametrize"]
    values = [a for call in calls for a in call.args]
    return bool(calls) and all((isinstance(a, ast.Name) and a.id in written) or not _names(a) for a in values)


def _opened(node: ast.AST, open_: frozenset[str], asked: frozenset[str]) -> set[str]:
    """Return the names that one node of the tests makes open."""
    if isinstance(node, ast.Call):
        direct = {a.id for a in node.args if isinstance(a, ast.Name)} & asked
        called = any(n.id in open_ for n in _names(node.func)) and not _asserting(node.func)
        if called or direct:
            return {n.id for n in _names(node)}
        if isinstance(node.func, ast.Attribute) and any(n.id in open_ for a in node.args for n in _names(a)):
            return {n.id for n in _names(node.func)} - {"self"}
    elif isinstance(node, ast.Assign | ast.AugAssign | ast.AnnAssign | ast.NamedExpr):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        left = {n.id for target in targets for n in _names(target)}
        right = {n.id for n in _names(node.value)} if node.value is not None else set()
        return left | right if (left | right) & open_ else set()
    elif isinstance(node, ast.For | ast.AsyncFor | ast.comprehension):
        left, right = {n.id for n in _names(node.target)}, {n.id for n in _names(node.iter)}
        return left | right if right & open_ else right if left & open_ else set()
    elif isinstance(node, ast.With | ast.AsyncWith):
        return {n.id for item in node.items if item.optional_vars for n in _names(item.optional_vars)}
    elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {node.name} if any(n.id in open_ for n in _names(node)) else set()
    return set()


def _asserting(function: ast.expr) -> bool:
    """Return whether a call is one of unittest's assertions, which change nothing."""
    return isinstance(function, ast.Attribute) and function.attr.startswith("assert")


def woven(
    tree: ast.Module, *, count: bool, watch: bool, reachable: frozenset[str] | None = None
) -> tuple[ast.Module, int]:
    """Return a text of tests as it is run, and how many assertions it has that may fail or hold.

    Args:
        tree: changed in place.
        count, watch: as for `_Instrument`.
        reachable: its `open_names`.
    """
    instrument = _Instrument(count=count, watch=watch, open_names=reachable)
    return ast.fix_missing_locations(instrument.visit(tree)), instrument.total


def watched(tree: Any) -> Any:
    """Return a statement of setup with its calls and assertions watched, like those of the tests that call it."""
    return _Instrument(count=False, watch=True).visit(tree)


def _written_out(node: ast.expr) -> bool:
    return not any(isinstance(part, ast.Name | ast.Attribute | ast.Starred) for part in ast.walk(node))
