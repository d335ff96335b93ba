"""Assertions with a literal on one side: what is asked of the solution, and what the answer must be.

Such an assertion needs one jail only: the call is evaluated inside, the typed answer is compared here.
"""

from __future__ import annotations

import ast
import builtins
from dataclasses import dataclass, replace
from typing import Any

from proofmill.filters.sandbox import comparison, wire
from proofmill.filters.sandbox.formats import CallTest, Suite
from proofmill.filters.sandbox.syntax import syntax_tree

_SINGLETONS = (None, True, False)
BUILTIN_NAMES = frozenset(dir(builtins))


@dataclass(frozen=True)
class Check:
    """One assertion whose expected value is a literal.

    Attributes:
        source: the expression evaluated in the solution's jail.
        asked: the name of the solution that it starts from.
        relation: `==`, `is`, `near`, `true`, `false`, or `json` (a tuple counts as a list).
        expected: the literal for `==`, `is` and `json`; (value, distance, whether it may be reached) for `near`.
        wrapped: another value that `json` takes; None where there is none.
        tolerance: relative, of floats.
    """

    source: str
    asked: str
    relation: str
    expected: Any = None
    wrapped: Any = None
    tolerance: float = comparison.FLOAT_TOLERANCE

    def with_tolerance(self, tolerance: float | None) -> Check:
        """The same check with another tolerance for floats; None leaves it."""
        return self if tolerance is None else replace(self, tolerance=tolerance)

    def holds(self, node: wire.Node) -> bool | None:
        """Whether the encoded answer satisfies the assertion; a malformed one satisfies none.

        Returns:
            None where the answer is no plain data: only in its own process Python could say.
        """
        try:
            return self._holds(node)
        except comparison.NotPlainError:
            return None
        except comparison.MALFORMED:
            return False

    def _holds(self, node: wire.Node) -> bool:
        if self.relation == "==":
            return comparison.matches(self.expected, node, self.tolerance)
        if self.relation == "json":
            node = comparison.as_json(node)
            wrapped = self.wrapped is not None and comparison.matches(self.wrapped, node, self.tolerance)
            return wrapped or comparison.matches(self.expected, node, self.tolerance)
        if self.relation == "is":
            return type(node) is type(self.expected) and node == self.expected
        if self.relation == "near":
            return comparison.is_near(node, *self.expected)
        return comparison.truth(node) is (self.relation == "true")


def of_call(call: CallTest, suite: Suite) -> Check:
    """The check of a call with plain data, as the judges of APPS and LiveCodeBench make it."""
    arguments = ", ".join(map(repr, call.arguments))
    function = suite.entry_point or suite.function
    return Check(f"{callee(function)}({arguments})", function, "json", call.expected, call.wrapped)


def callee(function: str) -> str:
    """What a function under test is called by: a bare name may also be a method of `Solution`."""
    if not function.isidentifier():
        return function
    return f"(Solution().{function} if 'Solution' in globals() and {function!r} not in globals() else {function})"


def root(node: ast.expr) -> str | None:
    """The name that a chain of calls, attributes and indices starts from."""
    while isinstance(node, ast.Call | ast.Attribute | ast.Subscript):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else None


def sides(node: ast.expr) -> tuple[ast.expr, ast.expr | None]:
    """Left and right of a comparison of two; right is None where it is none."""
    if isinstance(node, ast.Compare) and len(node.ops) == 1:
        return node.left, node.comparators[0]
    return node, None


def read(test: ast.expr, asked: frozenset[str], entry_point: str = "") -> Check | None:
    """The single-jail form of what is asserted, or None where it has none.

    Args:
        test: the asserted expression.
        asked: names that are the solution's; only what starts from one is asked of it.
        entry_point: how the data set calls what is under test.
    """
    left, right = sides(test)
    reader = _Reader(asked, entry_point)
    if right is None:
        negated = isinstance(left, ast.UnaryOp) and isinstance(left.op, ast.Not)
        expression = left.operand if isinstance(left, ast.UnaryOp) and negated else left
        return reader.ask(expression, "false" if negated else "true")
    operator = test.ops[0] if isinstance(test, ast.Compare) else None
    if isinstance(operator, ast.Eq):
        return reader.equality(left, right) or reader.equality(right, left)
    if isinstance(operator, ast.Is) and isinstance(right, ast.Constant) and right.value in _SINGLETONS:
        return reader.ask(left, "is", right.value)
    if isinstance(operator, ast.Lt | ast.LtE) and "abs" not in asked:
        return reader.distance(left, right, closed=isinstance(operator, ast.LtE))
    return None


def _literal(node: ast.expr) -> tuple[bool, Any]:
    try:
        value = ast.literal_eval(node)
    except (ValueError, TypeError):
        return False, None
    return value is not ..., value


class _Reader:
    def __init__(self, asked: frozenset[str], entry_point: str) -> None:
        self._asked = asked
        self._entry_point = entry_point.replace(" ", "")

    def equality(self, asked: ast.expr, literal: ast.expr) -> Check | None:
        known, expected = _literal(literal)
        return self.ask(asked, "==", expected) if known else None

    def distance(self, left: ast.expr, bound: ast.expr, *, closed: bool) -> Check | None:
        """`abs(CALL - LITERAL) < LITERAL`."""
        match left:
            case ast.Call(func=ast.Name(id="abs"), args=[ast.BinOp(left=asked, op=ast.Sub(), right=literal)]):
                (known, value), (bounded, distance) = _literal(literal), _literal(bound)
                if known and bounded and all(isinstance(n, int | float) for n in (value, distance)):
                    return self.ask(asked, "near", (value, distance, closed))
        return None

    def ask(self, node: ast.expr, relation: str, expected: Any = None) -> Check | None:
        """None too where a method of an answer is called: it would be asked about itself, or shown what is expected."""
        start = root(node)
        if start is None or start not in self._asked or isinstance(node, ast.Name):
            return None
        part: ast.expr = node
        while isinstance(part, ast.Subscript) and relation in ("==", "near"):
            part = part.value
        if not isinstance(part, ast.Call):
            return None
        if not isinstance(part.func, ast.Name) and ast.unparse(part.func).replace(" ", "") != self._entry_point:
            return None
        return Check(ast.unparse(node), start, relation, expected)


class _Rename(ast.NodeTransformer):
    def __init__(self, old: str, new: str) -> None:
        self._old, self._new = old, new

    def visit_Name(self, node: ast.Name) -> ast.AST:
        if node.id != self._old:
            return node
        return ast.copy_location(ast.parse(self._new, mode="eval").body, node)


def renamed(node: ast.expr, old: str, expression: str) -> Any:
    """The expression with another for every `old`."""
    return _Rename(old, expression).visit(node)


def read_function(text: str, entry_point: str) -> list[Check] | None:
    """The checks of a test text that is no more than `def check(candidate)` with simple assertions.

    Returns:
        None where the text does anything else: then it has to be run.
    """
    functions: list[ast.FunctionDef] = []
    for node in syntax_tree(text).body:
        if isinstance(node, ast.FunctionDef) and node.name == "check" and len(node.args.args) == 1:
            functions.append(node)
        elif not _harmless(node):
            return None
    if len(functions) != 1 or functions[0].decorator_list or not entry_point:
        return None
    name = functions[0].args.args[0].arg
    start = root(ast.parse(entry_point, mode="eval").body)
    found: list[Check] = []
    for node in functions[0].body:
        if _harmless(node) or (isinstance(node, ast.Assert) and _always_true(node.test)):
            continue
        if start is None or not isinstance(node, ast.Assert) or not _names(node.test) <= BUILTIN_NAMES | {name}:
            return None
        check = read(renamed(node.test, name, entry_point), frozenset({start}), entry_point)
        if check is None:
            return None
        found.append(check)
    return found or None


def _names(node: ast.expr) -> set[str]:
    return {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}


def _always_true(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and bool(node.value)


def _harmless(node: ast.stmt) -> bool:
    """Docstrings, `pass`, and literals given a name that nothing else reads."""
    if isinstance(node, ast.Pass) or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)):
        return True
    return isinstance(node, ast.Assign) and _literal(node.value)[0]
