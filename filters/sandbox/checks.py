"""Assertions with a literal on one side: what is asked of the solution, and what the answer must be.

Such an assertion needs one jail only: the call is evaluated inside, the typed answer is compared here.
"""

from __future__ import annotations

import ast
import builtins
from dataclasses import dataclass
from typing import Any

from proofmill.data.source import tree as syntax_tree
from proofmill.filters.sandbox import comparison, wire

_SINGLETONS = (None, True, False)
BUILTIN_NAMES = frozenset(dir(builtins))


@dataclass(frozen=True)
class Check:
    """One assertion whose expected value is a literal.

    Attributes:
        source: the expression evaluated in the solution's jail.
        asked: the name of the solution that it starts from.
        relation: `==`, `is`, `near`, `true` or `false`.
        expected: the literal for `==` and `is`; (value, distance, whether it may be reached) for `near`.
    """

    source: str
    asked: str
    relation: str
    expected: Any = None

    def holds(self, node: wire.Node) -> bool:
        """Whether the encoded answer satisfies the assertion; a malformed one satisfies none."""
        try:
            return self._holds(node)
        except comparison.MALFORMED:
            return False

    def _holds(self, node: wire.Node) -> bool:
        if self.relation == "==":
            return comparison.matches(self.expected, node)
        if self.relation == "is":
            return type(node) is type(self.expected) and node == self.expected
        if self.relation == "near":
            return comparison.is_near(node, *self.expected)
        return comparison.truth(node) is (self.relation == "true")


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


def read(test: ast.expr, trusted: frozenset[str]) -> Check | None:
    """The single-jail form of what is asserted, or None where it has none.

    Args:
        test: the asserted expression.
        trusted: names that are not the solution's; what starts from one is never asked of the solution.
    """
    left, right = sides(test)
    if right is None:
        negated = isinstance(left, ast.UnaryOp) and isinstance(left.op, ast.Not)
        asked = left.operand if isinstance(left, ast.UnaryOp) and negated else left
        return _ask(asked, trusted, "false" if negated else "true")
    operator = test.ops[0] if isinstance(test, ast.Compare) else None
    if isinstance(operator, ast.Eq):
        return _equality(left, right, trusted) or _equality(right, left, trusted)
    if isinstance(operator, ast.Is) and isinstance(right, ast.Constant) and right.value in _SINGLETONS:
        return _ask(left, trusted, "is", right.value)
    if isinstance(operator, ast.Lt | ast.LtE) and "abs" in trusted:
        return _distance(left, right, trusted, closed=isinstance(operator, ast.LtE))
    return None


def _literal(node: ast.expr) -> tuple[bool, Any]:
    try:
        value = ast.literal_eval(node)
    except (ValueError, TypeError):
        return False, None
    return value is not ..., value


def _equality(asked: ast.expr, literal: ast.expr, trusted: frozenset[str]) -> Check | None:
    known, expected = _literal(literal)
    return _ask(asked, trusted, "==", expected) if known else None


def _distance(left: ast.expr, bound: ast.expr, trusted: frozenset[str], *, closed: bool) -> Check | None:
    """`abs(CALL - LITERAL) < LITERAL`."""
    match left:
        case ast.Call(func=ast.Name(id="abs"), args=[ast.BinOp(left=asked, op=ast.Sub(), right=literal)]):
            (known, value), (bounded, distance) = _literal(literal), _literal(bound)
            if known and bounded and all(isinstance(n, int | float) for n in (value, distance)):
                return _ask(asked, trusted, "near", (value, distance, closed))
    return None


def _ask(node: ast.expr, trusted: frozenset[str], relation: str, expected: Any = None) -> Check | None:
    start = root(node)
    if start is None or start in trusted or isinstance(node, ast.Name):
        return None
    return Check(ast.unparse(node), start, relation, expected)


class _Rename(ast.NodeTransformer):
    def __init__(self, old: str, new: str) -> None:
        self._old, self._new = old, new

    def visit_Name(self, node: ast.Name) -> ast.AST:
        return ast.copy_location(ast.Name(self._new, node.ctx), node) if node.id == self._old else node


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
    if len(functions) != 1 or functions[0].decorator_list or not entry_point.isidentifier():
        return None
    name = functions[0].args.args[0].arg
    found: list[Check] = []
    for node in functions[0].body:
        if _harmless(node) or (isinstance(node, ast.Assert) and _always_true(node.test)):
            continue
        if not isinstance(node, ast.Assert) or not _names(node.test) <= BUILTIN_NAMES | {name}:
            return None
        check = read(_Rename(name, entry_point).visit(node.test), BUILTIN_NAMES - {entry_point})
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
