"""Reads a problem's tests and decides what is evaluated where, so that no expected value enters the jail.

Tests come with a data set: they are parsed here, never run here. An assertion of the form
`assert CALL == LITERAL` (or bare, `not`, `is None`) needs one jail: the call is evaluated inside, and
the typed answer is compared outside. Everything else is run in a second jail, with stand-ins for what
the solution defines.
"""

from __future__ import annotations

import ast
import builtins
import functools
import symtable
from dataclasses import dataclass
from typing import Any

from proofmill.filters.sandbox import compare, wire

MAX_TEST_CHARS = 1 << 20
_BUILTIN_NAMES = frozenset(dir(builtins))
_SINGLETONS = (None, True, False)


class BadTestError(ValueError):
    """A test of the problem can't be read: the problem's fault, never the trace's."""


@dataclass(frozen=True)
class Check:
    """One assertion whose expected value is a literal.

    Attributes:
        source: the expression evaluated in the solution's jail.
        relation: `==`, `is`, `true` or `false`.
        expected: the literal for `==` and `is`.
    """

    source: str
    relation: str
    expected: Any = None

    def holds(self, node: wire.Node) -> bool:
        """Whether the encoded answer satisfies the assertion."""
        if self.relation == "==":
            return compare.matches(self.expected, node)
        if self.relation == "is":
            return type(node) is type(self.expected) and node == self.expected
        return compare.truth(node) is (self.relation == "true")


@dataclass(frozen=True)
class Plan:
    """How the tests of one problem are run.

    Attributes:
        tests: sources of the assert-style tests.
        checks: one for every test, where all of them have a literal on one side; else empty.
        names: global names of the tests that setup may not define: bound to stand-ins if it doesn't.
        under_test: names that belong to the solution even where setup or Python define them too.
        total: tests counted where they can't all be reached: assertions of the test text included.
    """

    tests: tuple[str, ...]
    checks: tuple[Check, ...]
    names: tuple[str, ...]
    under_test: frozenset[str]
    total: int


@functools.lru_cache(maxsize=512)
def plan(tests: tuple[str, ...], setup: str, test: str, entry_point: str) -> Plan:
    """The plan for assert-style `tests` and the data set's own test text `test`.

    Raises:
        BadTestError: a test is no Python, or too large.
    """
    if sum(map(len, tests)) + len(setup) + len(test) > MAX_TEST_CHARS:
        raise BadTestError("the tests are larger than 1 MiB")
    try:
        names = frozenset().union(*(_free_names(source) for source in (*tests, test)))
        own = _bound_by(setup)
        under_test = frozenset({entry_point} - {""}) or _tested_builtins(tests)
        trusted = (own | _BUILTIN_NAMES) - under_test
        checks = [_check(source, trusted) for source in tests]
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise BadTestError(f"{type(error).__name__}: {str(error)[:200]}") from error
    single = not test and "*" not in own and None not in checks
    wanted = (names - _BUILTIN_NAMES) | under_test
    kept = tuple(check for check in checks if check) if single else ()
    return Plan(tests, kept, tuple(sorted(wanted)), under_test, len(tests) + _assertions(test))


def _assertions(test: str) -> int:
    if not test.strip():
        return 0
    return max(1, sum(isinstance(node, ast.Assert) for node in ast.walk(ast.parse(test))))


def _free_names(source: str) -> frozenset[str]:
    """Global names that `source` reads and does not bind itself."""
    top = symtable.symtable(source, "<test>", "exec")
    bound = {
        s.get_name() for s in top.get_symbols() if s.is_assigned() or s.is_imported() or s.is_namespace()
    }
    read, tables = set[str](), [top]
    while tables:
        table = tables.pop()
        tables.extend(table.get_children())
        read |= {
            s.get_name() for s in table.get_symbols() if s.is_referenced() and (table is top or s.is_global())
        }
    return frozenset(read - bound)


def _bound_by(setup: str) -> frozenset[str]:
    """Names that the statements of `setup` bind; `*` where a star import hides them."""
    bound: set[str] = set()
    for node in ast.walk(ast.parse(setup)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            bound.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            bound |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            bound.add(node.id)
    return frozenset(bound)


def _tested_builtins(tests: tuple[str, ...]) -> frozenset[str]:
    """In tests that name nothing but builtins (`assert sum(1, 2) == 3`), the one called is the solution's."""
    found: set[str] = set()
    for source in tests:
        if not _free_names(source) - _BUILTIN_NAMES:
            found |= {
                root
                for node in ast.walk(ast.parse(source))
                if isinstance(node, ast.Assert) and (root := _root(_sides(node.test)[0])) is not None
            }
    return frozenset(found)


def _root(node: ast.expr) -> str | None:
    """The name that a chain of calls, attributes and indices starts from."""
    while isinstance(node, ast.Call | ast.Attribute | ast.Subscript):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else None


def _sides(node: ast.expr) -> tuple[ast.expr, ast.expr | None]:
    if isinstance(node, ast.Compare) and len(node.ops) == 1:
        return node.left, node.comparators[0]
    return node, None


def _check(source: str, trusted: frozenset[str]) -> Check | None:
    """The single-jail form of one test, or None where it has none."""
    body = ast.parse(source).body
    if len(body) != 1 or not isinstance(body[0], ast.Assert):
        return None
    test = body[0].test
    left, right = _sides(test)
    if right is None:
        negated = isinstance(left, ast.UnaryOp) and isinstance(left.op, ast.Not)
        asked = left.operand if isinstance(left, ast.UnaryOp) and negated else left
        return _remote(asked, trusted, "false" if negated else "true")
    operator = test.ops[0] if isinstance(test, ast.Compare) else None
    if isinstance(operator, ast.Eq):
        return _equality(left, right, trusted) or _equality(right, left, trusted)
    if isinstance(operator, ast.Is) and isinstance(right, ast.Constant) and right.value in _SINGLETONS:
        return _remote(left, trusted, "is", right.value)
    return None


def _equality(asked: ast.expr, literal: ast.expr, trusted: frozenset[str]) -> Check | None:
    try:
        expected = ast.literal_eval(literal)
    except (ValueError, TypeError):
        return None
    if not _plain(expected):
        return None
    return _remote(asked, trusted, "==", expected)


def _plain(value: Any) -> bool:
    return not isinstance(value, type(...))


def _remote(node: ast.expr, trusted: frozenset[str], relation: str, expected: Any = None) -> Check | None:
    root = _root(node)
    if root is None or root in trusted or isinstance(node, ast.Name):
        return None
    return Check(ast.unparse(node), relation, expected)
